"""Reads the textual IR (see `ltensor.ir.text`) back into Functions.

The parser knows no op: ``resolve(name, attributes, regions)`` makes it. `ltensor.ops.textual`
gives one that looks into the registry. Every node remembers its line of the text.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ltensor.errors import ParseError
from ltensor.ir import text as printed
from ltensor.ir import types
from ltensor.ir.dtypes import is_discrete
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Op, Variable
from ltensor.source import Frame, Source

#: makes an op of its name, attributes and regions
Resolve = Callable[[str, dict[str, Any], Sequence[Function]], Op]

_DTYPES = {short: dtype for dtype, short in printed.SHORT.items()}
_OTHERS = {text: kind for kind, text in printed.OTHER_TYPES.items()}
_WORDS = {"true": True, "false": False, "none": None, "inf": np.inf, "nan": np.nan}

_TOKEN = re.compile(
    r"""(?P<skip>[ \t\r]+|;[^\n]*)
      | (?P<line>\n)
      | (?P<value>%[A-Za-z0-9_]+)
      | (?P<name>@(?:[A-Za-z_]\w*|"(?:\\.|[^"\\])*"))
      | (?P<text>"(?:\\.|[^"\\])*")
      | (?P<number>-?\d+\.?\d*(?:[eE][+-]?\d+)?|-inf\b)
      | (?P<word>[A-Za-z_]\w*)
      | (?P<mark>->|[(){}\[\],:=?!])
    """,
    re.X,
)


class Token(NamedTuple):
    """A piece of text and where it stands."""

    kind: str
    text: str
    line: int
    column: int


def tokens(text: str) -> list[Token]:
    """The tokens of ``text``, ending in one of kind ``end``."""
    found: list[Token] = []
    position, line, start = 0, 1, 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ParseError(f"cannot read {text[position]!r}", line, position - start + 1)
        kind = match.lastgroup or ""
        if kind == "line":
            line, start = line + 1, match.end()
        elif kind != "skip":
            found.append(Token(kind, match.group(), line, position - start + 1))
        position = match.end()
    found.append(Token("end", "", line, position - start + 1))
    return found


class Parser:
    """A parser of one text; see `parse`."""

    def __init__(self, text: str, resolve: Resolve, filename: str) -> None:
        self.tokens = tokens(text)
        self.position = 0
        self.resolve = resolve
        self.filename = filename
        self.function_name = "f"

    # ------------------------------------------------------------- tokens

    @property
    def next(self) -> Token:
        """The token to be read."""
        return self.tokens[self.position]

    def fail(self, message: str, token: Token | None = None) -> ParseError:
        """The error for a token (the next one)."""
        at = token or self.next
        return ParseError(message, at.line, at.column)

    def take(self, wanted: str) -> Token:
        """Read a token of a kind, or a mark or word."""
        token = self.next
        if wanted not in (token.kind, token.text):
            found = repr(token.text) if token.text else "the end"
            raise self.fail(f"expected {wanted}, found {found}")
        self.position += 1
        return token

    def accept(self, wanted: str) -> bool:
        """Read a mark or word if it is next."""
        if self.next.text != wanted:
            return False
        self.position += 1
        return True

    def several(self, read: Callable[[], Any], end: str) -> list[Any]:
        """Items separated by commas up to a closing mark, which is read."""
        items: list[Any] = []
        while not self.accept(end):
            if items:
                self.take(",")
            items.append(read())
        return items

    # ------------------------------------------------------------- functions

    def module(self) -> list[Function]:
        """All functions of the text."""
        functions = []
        while self.next.kind != "end":
            functions.append(self.function())
        return functions

    def function(self) -> Function:
        """``func @name(...) -> types { ... }``."""
        self.take("func")
        name = self.take("name").text[1:]
        self.function_name = json.loads(name) if name.startswith('"') else name
        scope: dict[str, Variable] = {}
        self.take("(")
        inputs = self.several(lambda: self.argument(scope), ")")
        declared = None
        if self.accept("->"):
            declared = self.several(self.type, ")") if self.accept("(") else [self.type()]
        self.take("{")
        at = self.next
        outputs = self.body(scope, "return")
        if declared is not None:
            self.check_types(outputs, declared, at)
        return Function(inputs, outputs, self.function_name)

    def check_types(self, outputs: list[Variable], declared: list[Any], at: Token) -> None:
        """Results against the types in the head."""
        have = [v.type for v in outputs]
        if len(have) != len(declared) or any(a != b for a, b in zip(have, declared, strict=True)):
            shown = ", ".join(printed.type_text(t) for t in have)
            raise self.fail(f"@{self.function_name} returns ({shown}), not what its head says", at)

    def argument(self, scope: dict[str, Variable]) -> Variable:
        """``%x: f64[?]``."""
        token = self.take("value")
        self.take(":")
        variable = self.type().make_variable()
        variable.source = self.source(token)
        self.define(scope, token, variable)
        return variable

    def define(self, scope: dict[str, Variable], token: Token, variable: Variable) -> None:
        """Enter a value; numbers are no names."""
        if token.text in scope:
            raise self.fail(f"{token.text} is defined twice", token)
        scope[token.text] = variable
        name = token.text[1:]
        variable.name = None if name[0].isdigit() else name

    def source(self, token: Token) -> Source:
        """The place of a token, as a user's frame."""
        return Source((), (Frame(self.filename, token.line, self.function_name),))

    def body(self, scope: dict[str, Variable], last: str) -> list[Variable]:
        """Operations up to ``return`` or ``yield``, and the closing brace."""
        while not self.accept(last):
            if self.next.kind != "value":
                raise self.fail(f"expected an operation or {last}, found {self.next.text!r}")
            self.operation(scope)
        outputs: list[Variable] = []
        while not self.accept("}"):
            if outputs:
                self.take(",")
            outputs.append(self.operand(scope))
        return outputs

    # ------------------------------------------------------------- operations

    def operation(self, scope: dict[str, Variable]) -> None:
        """``%a, %b = op operands {attributes} regions : types``."""
        results = [self.take("value")]
        while self.accept(","):
            results.append(self.take("value"))
        self.take("=")
        at = self.take("word")
        if at.text == "constant":
            self.constant(scope, results[0])
            return
        if at.text == "python":
            raise self.fail(
                f"the op {self.next.text} is a Python op of the program that was printed: it "
                "cannot be read back",
                at,
            )
        operands: list[Variable] = []
        while self.starts_operand():
            operands.append(self.operand(scope))
            if not self.accept(","):
                break
        attributes = self.attributes() if self.next.text == "{" else {}
        regions = []
        while self.next.text == "(":
            regions.append(self.region())
        node = self.build(at, operands, attributes, regions)
        if self.accept(":"):
            kinds = [self.type()]
            while self.accept(","):
                kinds.append(self.type())
            node = self.declared(node, kinds, at)
        if len(node.outputs) != len(results):
            raise self.fail(
                f"{at.text} has {len(node.outputs)} results, not {len(results)}", results[0]
            )
        node.source = self.source(at)
        for token, variable in zip(results, node.outputs, strict=True):
            self.define(scope, token, variable)

    def starts_operand(self) -> bool:
        """Whether the next token begins an operand and not the next line."""
        token = self.next
        if token.kind == "value":
            after = self.tokens[self.position + 1].text
            same_line = self.tokens[self.position - 1].line == token.line
            return same_line or after not in ("=", ",")
        if token.text == "(":  # a complex number, or the arguments of a region
            second = self.tokens[self.position + 1]
            return second.kind == "number" or second.text in ("nan", "inf")
        return token.kind == "number" or token.text in ("true", "false", "nan", "inf", "none")

    def build(
        self, at: Token, operands: list[Variable], attributes: dict[str, Any], regions: list[Any]
    ) -> Apply:
        """The node, through the op's own type rules."""
        try:
            op = self.resolve(at.text, attributes, regions)
            return op.make_node(*operands)
        except ParseError:
            raise
        except Exception as error:
            raise self.fail(f"{at.text}: {error}", at) from error

    def declared(self, node: Apply, kinds: list[Any], at: Token) -> Apply:
        """``node`` with the result types that the text gives (they may know more or less)."""
        if len(kinds) != len(node.outputs):
            raise self.fail(f"{at.text} has {len(node.outputs)} results, not {len(kinds)}", at)
        exact = True
        for kind, output in zip(kinds, node.outputs, strict=True):
            if printed.type_text(kind) == printed.type_text(output.type):
                continue
            exact = False
            if not _compatible(kind, output.type):
                raise self.fail(
                    f"{at.text} gives {printed.type_text(output.type)}, the text says "
                    f"{printed.type_text(kind)}",
                    at,
                )
        if exact:
            return node
        return Apply(node.op, node.inputs, [kind.make_variable() for kind in kinds])

    def region(self) -> Function:
        """``(%a: type, ...) { ... yield ... }``: closed, with names of its own."""
        scope: dict[str, Variable] = {}
        self.take("(")
        inputs = self.several(lambda: self.argument(scope), ")")
        self.take("{")
        return Function(inputs, self.body(scope, "yield"))

    def operand(self, scope: dict[str, Variable]) -> Variable:
        """A value, or a constant of one element: ``2.0:f64``."""
        token = self.next
        if token.kind == "value":
            self.position += 1
            if token.text not in scope:
                raise self.fail(f"{token.text} is not defined", token)
            return scope[token.text]
        value = self.literal()
        self.take(":")
        kind = self.type()
        if isinstance(kind, types.NoneType):
            return kind.make_constant(None)
        return self.tensor_constant(value, kind, token)

    # ------------------------------------------------------------- literals

    def constant(self, scope: dict[str, Variable], result: Token) -> None:
        """``%c = constant value : type``."""
        at = self.next
        if self.accept("bytes"):
            self.take("[")
            shape = self.several(lambda: int(self.take("number").text), "]")
            coded = json.loads(self.take("text").text)
            self.take(":")
            kind = self.type()
            variable = self.bytes_constant(coded, shape, kind, at)
        else:
            value = self.literal()
            self.take(":")
            variable = self.tensor_constant(value, self.type(), at)
        self.define(scope, result, variable)

    def bytes_constant(self, coded: str, shape: list[int], kind: Any, at: Token) -> Variable:
        """An array of its bytes."""
        if not isinstance(kind, types.TensorType):
            raise self.fail("only arrays are given by their bytes", at)
        little = np.dtype(kind.dtype).newbyteorder("<")
        try:
            data = np.frombuffer(base64.b64decode(coded), dtype=little).reshape(shape)
        except (ValueError, binascii.Error) as error:
            raise self.fail(f"not an array of {kind.dtype} of shape {shape}: {error}", at) from None
        return self.fitting(data.astype(kind.dtype), kind, at)

    def tensor_constant(self, value: Any, kind: Any, at: Token) -> Variable:
        """A constant of a literal."""
        if not isinstance(kind, types.TensorType):
            raise self.fail(f"no literal has the type {printed.type_text(kind)}", at)
        complex_ = kind.dtype.startswith("complex")
        try:
            data = np.asarray(_complex(value) if complex_ else value)
            if kind.dtype == "uint64" and data.dtype.kind == "f":
                # NumPy takes floats for a list in which only some ints need the 64th bit
                whole = np.asarray(value, dtype=object)
                if all(type(v) is int and 0 <= v < 2**64 for v in whole.flat):
                    data = whole.astype(np.uint64)
            if data.ndim == 0 and all(size == 1 for size in kind.shape):
                data = data.reshape((1,) * kind.ndim)
            with np.errstate(all="ignore"):
                converted = data.astype(kind.dtype)
        except (ValueError, TypeError) as error:
            raise self.fail(f"not a value of type {printed.type_text(kind)}: {error}", at) from None
        exact = data.dtype.kind not in "fc"
        wrong = data.dtype.kind == "O" or (exact and not np.array_equal(converted, data))
        if wrong or (not exact and is_discrete(kind.dtype)):
            raise self.fail(f"{value} does not fit {printed.type_text(kind)}", at)
        return self.fitting(converted, kind, at)

    def fitting(self, data: np.ndarray, kind: Any, at: Token) -> Variable:
        """A constant, if the array has the sizes of the type."""
        same = len(data.shape) == kind.ndim and all(
            want is None or want == have for want, have in zip(kind.shape, data.shape, strict=True)
        )
        if not same:
            raise self.fail(f"a value of shape {data.shape} is no {printed.type_text(kind)}", at)
        return kind.make_constant(data)

    def literal(self) -> Any:
        """A number, text, word, list, or complex number ``(re, im)``."""
        token = self.next
        self.position += 1
        if token.kind == "number":
            return _number(token.text)
        if token.kind == "text":
            return json.loads(token.text)
        if token.text in _WORDS:
            return _WORDS[token.text]
        if token.text == "[":
            return tuple(self.several(self.literal, "]"))
        if token.text == "(":
            parts = self.several(self.literal, ")")
            if len(parts) != 2:
                raise self.fail("a complex number is (re, im)", token)
            return complex(*parts)
        if token.text == "{":
            self.position -= 1
            return self.attributes()
        raise self.fail(f"expected a value, found {token.text!r}", token)

    def attributes(self) -> dict[str, Any]:
        """``{axis=[0], dtype="float64"}``."""
        self.take("{")

        def pair() -> tuple[str, Any]:
            key = self.take("word").text
            self.take("=")
            return key, self.literal()

        return dict(self.several(pair, "}"))

    def type(self) -> Any:
        """``f64[?,3,1]``, ``f64``, ``rng``."""
        token = self.take("word")
        if token.text in _OTHERS:
            return _OTHERS[token.text]()
        dtype = _DTYPES.get(token.text)
        if dtype is None:
            raise self.fail(f"no such type: {token.text}", token)
        if not self.accept("["):
            return types.tensor_type(dtype, ())

        def size() -> int | None:
            return None if self.accept("?") else int(self.take("number").text)

        return types.tensor_type(dtype, tuple(self.several(size, "]")))


def _number(text: str) -> Any:
    return float(text) if re.search(r"[.eEn]", text) else int(text)


def _complex(value: Any) -> Any:
    return [_complex(v) for v in value] if isinstance(value, tuple) else complex(value)


def _compatible(declared: Any, computed: Any) -> bool:
    """Whether a result may be declared so: the sizes that both know are the same."""
    if not isinstance(declared, types.TensorType) or not isinstance(computed, types.TensorType):
        return bool(declared == computed)
    if declared.dtype != computed.dtype or declared.ndim != computed.ndim:
        return False
    return all(
        a is None or b is None or a == b
        for a, b in zip(declared.shape, computed.shape, strict=True)
    )


def parse_all(text: str, resolve: Resolve, filename: str = "<text>") -> list[Function]:
    """All functions of a text.

    Raises
    ------
    ParseError
        With line and column.
    """
    return Parser(text, resolve, filename).module()


def parse(text: str, resolve: Resolve, filename: str = "<text>") -> Function:
    """The one function of a text; see `parse_all`."""
    functions = parse_all(text, resolve, filename)
    if len(functions) != 1:
        raise ParseError(f"expected one function, found {len(functions)}")
    return functions[0]
