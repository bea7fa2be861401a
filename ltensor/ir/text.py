"""The textual form of Functions: strictly SSA, one operation a line, the same syntax for all ops.

::

    func @f(%x: f64[?,?], %s: f64[]) -> f64[?,?] {
      %0 = dimshuffle %s {new_order=["x", "x"]} : f64[1,1]
      %y = mul %x, %0, 2.0:f64[1,1] : f64[?,?]
      return %y
    }

`ltensor.ir.parser.parse` reads it back. This module knows no op: it asks every op for ``ir_name``,
``attributes()`` and ``regions``. The grammar stands in docs/ir.md.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from ltensor.ir import types
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Constant, Op, Variable

#: dtypes in the text
SHORT = {
    "bool": "bool",
    **{f"int{n}": f"i{n}" for n in (8, 16, 32, 64)},
    **{f"uint{n}": f"u{n}" for n in (8, 16, 32, 64)},
    **{f"float{n}": f"f{n}" for n in (16, 32, 64)},
    **{f"complex{n}": f"c{n}" for n in (64, 128)},
}
#: types that are not tensors, in the text
OTHER_TYPES: dict[type[types.Type], str] = {
    types.RandomStateType: "rng",
    types.Generic: "generic",
    types.NoneType: "none",
    types.SliceType: "slice",
    types.DisconnectedType: "disconnected",
}
#: constants up to this many elements are written as numbers
MOST_NUMBERS = 16


def type_text(kind: types.Type) -> str:
    """A type: ``f64[?,3,1]`` (1: broadcastable), ``rng``, ...

    Examples
    --------
    >>> type_text(types.TensorType("float32", (False, True)))
    'f32[?,1]'
    """
    if isinstance(kind, types.TensorType):
        sizes = ",".join("?" if size is None else str(size) for size in kind.shape)
        return f"{SHORT[kind.dtype]}[{sizes}]"
    return OTHER_TYPES.get(type(kind)) or f"!{type(kind).__name__}"


def number_text(value: Any, dtype: str) -> str | None:
    """A NumPy scalar so that reading it gives the same bits; None if that is not possible."""
    if dtype == "bool":
        return "true" if value else "false"
    if dtype.startswith("complex"):
        part = "float32" if dtype == "complex64" else "float64"
        real, imaginary = number_text(value.real, part), number_text(value.imag, part)
        if real is None or imaginary is None:
            return None
        return f"({real}, {imaginary})"
    if not dtype.startswith("float"):
        return str(int(value))
    text = repr(float(value)) if dtype == "float64" else str(value)
    if text in ("inf", "-inf", "nan"):
        back = np.asarray(text, dtype=dtype)
    else:
        text = text if "." in text or "e" in text else text + ".0"
        back = np.asarray(float(text)).astype(dtype)
    return text if back.tobytes() == np.asarray(value, dtype=dtype).tobytes() else None


def attribute_text(value: Any) -> str:
    """An attribute: numbers, texts, true, false, none, lists and records of such.

    Raises
    ------
    TypeError
        If it is something else.
    """
    if value is None:
        return "none"
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (float, np.floating)):
        return repr(float(value))
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(attribute_text(v) for v in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}={attribute_text(v)}" for k, v in value.items()) + "}"
    raise TypeError(f"an attribute cannot be a {type(value).__name__}: {value!r}")


def sanitized(name: Any) -> str:
    """A variable's name as an SSA name: letters, digits, ``_``; not beginning with a digit."""
    text = re.sub(r"[^0-9A-Za-z_]", "_", str(name))
    return text if text and not text[0].isdigit() else "_" + text


class _Names:
    """Unique SSA names: the variable's own where it has one, else numbers."""

    def __init__(self) -> None:
        self._of: dict[Variable, str] = {}
        self._used: set[str] = set()
        self._count = 0

    def __contains__(self, variable: Variable) -> bool:
        return variable in self._of

    def __getitem__(self, variable: Variable) -> str:
        return self._of[variable]

    def add(self, variable: Variable) -> str:
        """Name ``variable``."""
        if variable.name:
            base = text = sanitized(variable.name)
            number = 0
            while text in self._used:
                number += 1
                text = f"{base}_{number}"
            self._used.add(text)
        else:
            text = str(self._count)
            self._count += 1
        self._of[variable] = "%" + text
        return "%" + text


class _Printer:
    def __init__(self, locations: bool) -> None:
        self.names = _Names()
        self.locations = locations

    def function(self, function: Function) -> Iterator[str]:
        arguments = ", ".join(self.argument(v) for v in function.inputs)
        results = [type_text(v.type) for v in function.outputs]
        result = results[0] if len(results) == 1 else f"({', '.join(results)})"
        name = function.name if function.name.isidentifier() else json.dumps(function.name)
        yield f"func @{name}({arguments}) -> {result} {{"
        yield from self.body(function, "  ", "return")
        yield "}"

    def argument(self, variable: Variable) -> str:
        return f"{self.names.add(variable)}: {type_text(variable.type)}"

    def body(self, function: Function, pad: str, last: str) -> Iterator[str]:
        for node in function.nodes:
            yield from self.node(node, pad)
        for variable in function.outputs:
            yield from self.constants([variable], pad)
        results = [self.operand(v) for v in function.outputs]
        yield pad + " ".join(filter(None, [last, ", ".join(results)]))

    def node(self, node: Apply, pad: str) -> Iterator[str]:
        yield from self.constants(node.inputs, pad)
        operands = ", ".join(self.operand(v) for v in node.inputs)
        text = " ".join(filter(None, [op_text(node.op), operands, attributes_text(node.op)]))
        kinds = ", ".join(type_text(v.type) for v in node.outputs)
        end = f" : {kinds}"
        if self.locations and node.source is not None and node.source.frames:
            end += f"  ; {node.source.location()}"
        results = ", ".join(self.names.add(v) for v in node.outputs)
        text = f"{pad}{results} = {text}"
        regions = list(self.regions(node.op, pad))
        if not regions:
            yield text + end
            return
        yield f"{text} {regions[0]}"
        yield from regions[1:-1]
        yield regions[-1] + end

    def regions(self, op: Op, pad: str) -> Iterator[str]:
        head = ""
        for region in op.regions:
            arguments = ", ".join(self.argument(v) for v in region.inputs)
            yield f"{head}({arguments}) {{"
            yield from self.body(region, pad + "  ", "yield")
            head = pad + "} "
        if op.regions:
            yield pad + "}"

    def constants(self, variables: list[Variable], pad: str) -> Iterator[str]:
        """Lines for constants that are not written where they are used."""
        for variable in variables:
            if not isinstance(variable, Constant) or variable in self.names:
                continue
            if self.inline(variable) is None:
                text = constant_text(variable)
                name = self.names.add(variable)
                yield f"{pad}{name} = constant {text} : {type_text(variable.type)}"

    def operand(self, variable: Variable) -> str:
        if variable in self.names:
            return self.names[variable]
        text = self.inline(variable) if isinstance(variable, Constant) else None
        return f"%<{variable}>" if text is None else text

    def inline(self, variable: Constant) -> str | None:
        """A constant of one element without a name, as an operand."""
        kind, data = variable.type, variable.data
        if isinstance(kind, types.NoneType):
            return "none:none"
        if variable.name or not isinstance(kind, types.TensorType):
            return None
        if data.size != 1 or kind.shape != data.shape:
            return None
        text = number_text(data.reshape(())[()], kind.dtype)
        short = SHORT[kind.dtype] if kind.ndim == 0 else type_text(kind)
        return None if text is None else f"{text}:{short}"


def op_text(op: Op) -> str:
    """The name of an op; user ops are ``python "name"`` and do not parse back."""
    name = getattr(op, "ir_name", "")
    return name or f"python {json.dumps(str(op))}"


def attributes_text(op: Op) -> str:
    """The attributes of an op in braces, or nothing."""
    attributes = getattr(op, "attributes", None)
    if attributes is None or not getattr(op, "ir_name", ""):
        return ""
    parts = [f"{key}={attribute_text(value)}" for key, value in attributes().items()]
    return "{" + ", ".join(parts) + "}" if parts else ""


def constant_text(variable: Constant) -> str:
    """The value of a constant: numbers, or its bytes."""
    kind, data = variable.type, variable.data
    if not isinstance(kind, types.TensorType):
        return json.dumps(repr(data))
    if data.size and data.size <= MOST_NUMBERS:
        numbers = [number_text(v, kind.dtype) for v in data.reshape(-1)]
        if None not in numbers:
            return _nested(numbers, data.shape)
    shape = ",".join(map(str, data.shape))
    swapped = np.ascontiguousarray(data).astype(data.dtype.newbyteorder("<"), copy=False)
    return f'bytes[{shape}] "{base64.b64encode(swapped.tobytes()).decode()}"'


def _nested(numbers: list[Any], shape: tuple[int, ...]) -> str:
    if not shape:
        return str(numbers[0])
    step = len(numbers) // shape[0]
    parts = [_nested(numbers[k * step : (k + 1) * step], shape[1:]) for k in range(shape[0])]
    return "[" + ", ".join(parts) + "]"


def print_function(function: Function, locations: bool = False) -> str:
    """The text of a Function, ending in a newline.

    Parameters
    ----------
    locations : bool
        Add the user's line of every operation as a comment.
    """
    return "\n".join(_Printer(locations).function(function)) + "\n"
