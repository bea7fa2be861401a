"""Sizes as text and numbers: an int64 `Value` in terms of the shapes of the function's inputs.

The lowering computes all sizes as values of the kernel program. Here these are read back: ``frame``
words are sizes of arguments, words of a cell sizes of shared variables. What depends on data has a
text that says so and no number until the function runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ltensor.ir.dtypes import item_size
from ltensor.lowering.gemm.kept import kept_columns
from ltensor.lowering.program import Value

#: longer formulas are cut
MOST_TEXT = 160

_SUM, _PRODUCT, _ATOM = 1, 2, 3
_COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}


class Size(NamedTuple):
    """A size: its formula, and its number if all that it depends on is known."""

    text: str
    number: int | None
    #: how tightly the text binds
    level: int = _ATOM
    #: not negative
    natural: bool = False
    #: of a min or max: what it is of
    parts: tuple[Size, ...] = ()

    def within(self, level: int) -> str:
        """The text as an operand: in parentheses if it binds less tightly than ``level``."""
        return self.text if self.level >= level else f"({self.text})"


def number(value: int) -> Size:
    """A known size."""
    return Size(str(value), value, _ATOM if value >= 0 else _SUM, value >= 0)


class Formulas:
    """Reads sizes back.

    Parameters
    ----------
    frame : object
        The layout of the call's frame: ``input_data(i)`` and ``input_dim(i, k)``.
    arguments : sequence of str
        Names of the arguments, in order.
    ranks : sequence of int
        Their dimensions.
    shared : mapping
        For every table entry of a cell the name of its shared variable.
    known : mapping
        (name, axis) -> size, (name, None) -> value of a 0-d argument.
    natural : iterable of Value
        Values that are not negative because the program checks it.
    """

    def __init__(
        self,
        frame: Any,
        arguments: Sequence[str],
        ranks: Sequence[int],
        shared: Mapping[int, str],
        known: Mapping[tuple[str, int | None], int],
        natural: Iterable[Value] = (),
    ) -> None:
        self.words: dict[int, tuple[str, int | None]] = {}
        for position, (name, rank) in enumerate(zip(arguments, ranks, strict=True)):
            self.words[frame.input_data(position)] = (name, None)
            for axis in range(rank):
                self.words[frame.input_dim(position, axis)] = (name, axis)
        self.shared = shared
        self.known = known
        self.natural = {id(v) for v in natural}
        self._memo: dict[Value, Size] = {}

    def size(self, value: Value) -> Size:
        """The formula and the number of a value."""
        found = self._memo.get(value)
        if found is None:
            try:
                found = self._read(value)
            except RecursionError:
                found = Size("...", None)
            if id(value) in self.natural:
                found = found._replace(natural=True)
            if len(found.text) > MOST_TEXT:
                found = found._replace(text="...", level=_ATOM)
            self._memo[value] = found
        return found

    def bytes(self, dtype: str, dims: Sequence[Value]) -> Size:
        """The bytes of a dense buffer."""
        return product([number(item_size(dtype)), *map(self.size, dims)])

    # ------------------------------------------------------------- reading

    def _read(self, value: Value) -> Size:
        op = value.op
        if op == "const":
            return number(int(value.attr))
        if op == "frame":
            word = self.words.get(value.attr)
            return self._named(word) if word is not None else Size("?", None)
        if op == "load":
            return self._load(value)
        if op == "cast":
            return self.size(value.args[0])
        if op == "call" and value.attr.startswith("lt_keep_columns_"):
            numbers = [self.size(a).number for a in value.args]
            known = [n for n in numbers if n is not None]
            columns = kept_columns(value.attr, known) if len(known) == len(numbers) else None
            return Size(f"({self.size(value.args[2]).text} if packing pays)", columns, _ATOM, True)
        reader = _READERS.get(op)
        if reader is not None:
            return reader(value.attr, *map(self.size, value.args))
        if op == "result":
            return Size(f"steps of {value.attr.label or 'a loop'}", None, _SUM, True)
        return Size(f"{op} (known when it runs)", None, _SUM)

    def _named(self, word: tuple[str, int | None]) -> Size:
        name, axis = word
        text = name if axis is None else f"{name}.shape[{axis}]"
        return Size(text, self.known.get(word), _ATOM, axis is not None)

    def _load(self, value: Value) -> Size:
        pointer, offset = value.args[0], value.args[1]
        unknown = Size("a number computed before", None, _SUM)
        if offset.op != "const":
            return unknown
        if pointer.op == "frame" and offset.attr == 0:
            word = self.words.get(pointer.attr)
            return unknown if word is None else self._named(word)
        if pointer.op == "table" and offset.attr >= 2:
            name = self.shared.get(pointer.attr)
            return unknown if name is None else self._named((name, offset.attr - 2))
        if pointer.op == "load" and pointer.args[0].op == "table" and offset.attr == 0:
            name = self.shared.get(pointer.args[0].attr)
            return unknown if name is None else self._named((name, None))
        if pointer.op == "local":
            return Size("a size known when it runs", None, _SUM, True)
        return unknown


def _both(a: Size, b: Size, how: Callable[[int, int], int]) -> int | None:
    return None if a.number is None or b.number is None else how(a.number, b.number)


def product(factors: Sequence[Size]) -> Size:
    """Factors in order; ones are left out, except alone."""
    total: int | None = 1
    for factor in factors:
        total = None if total is None or factor.number is None else total * factor.number
    shown = [f for f in factors if f.text != "1"]
    if not shown:
        return number(1)
    natural = all(f.natural for f in factors)
    if len(shown) == 1:
        return shown[0]._replace(number=total, natural=natural)
    return Size(" * ".join(f.within(_PRODUCT) for f in shown), total, _PRODUCT, natural)


def _mul(_: Any, a: Size, b: Size) -> Size:
    if "0" in (a.text, b.text):
        return number(0)
    return product([a, b])


def _add(_: Any, a: Size, b: Size) -> Size:
    total = _both(a, b, lambda x, y: x + y)
    if b.level == _ATOM and a.number is not None and a.text == str(a.number) and a.number > 0:
        a, b = b, a  # constants last
    if b.text.lstrip("-").isdigit() and b.text.startswith("-"):
        return Size(f"{a.within(_SUM)} - {b.text[1:]}", total, _SUM)
    return Size(f"{a.within(_SUM)} + {b.within(_SUM)}", total, _SUM, a.natural and b.natural)


def _sub(_: Any, a: Size, b: Size) -> Size:
    total = _both(a, b, lambda x, y: x - y)
    if a.text == "0":
        return Size(f"-{b.within(_PRODUCT)}", total, _SUM)
    return Size(f"{a.within(_SUM)} - {b.within(_PRODUCT)}", total, _SUM)


def _parts(name: str, size: Size) -> tuple[Size, ...]:
    """What a min or max is of; other sizes stand for themselves."""
    return size.parts if size.parts and size.text.startswith(name) else (size,)


def _extreme(name: str, a: Size, b: Size, total: int | None, natural: bool) -> Size:
    parts = {part.text: part for part in (*_parts(name, a), *_parts(name, b))}
    known = [part for part in parts.values() if part.text == str(part.number)]
    if len(known) > 1:
        chosen = (min if name == "min" else max)(known, key=lambda part: part.number or 0)
        parts = {t: p for t, p in parts.items() if p not in known or p is chosen}
    if len(parts) == 1:
        return a._replace(number=total, natural=natural)
    text = f"{name}({', '.join(parts)})"
    return Size(text, total, _ATOM, natural, tuple(parts.values()))


def _least(_: Any, a: Size, b: Size) -> Size:
    return _extreme("min", a, b, _both(a, b, min), a.natural and b.natural)


def _most(_: Any, a: Size, b: Size) -> Size:
    for x, y in ((a, b), (b, a)):
        if x.text == "0" and y.natural:
            return y
    return _extreme("max", a, b, _both(a, b, max), a.natural or b.natural)


def _compare(op: str, a: Size, b: Size) -> Size:
    if op in ("lt", "ge") and a.natural and b.text == "0":
        return Size("false" if op == "lt" else "true", int(op == "ge"))
    tests = {
        "eq": lambda x, y: x == y,
        "ne": lambda x, y: x != y,
        "lt": lambda x, y: x < y,
        "le": lambda x, y: x <= y,
        "gt": lambda x, y: x > y,
        "ge": lambda x, y: x >= y,
    }
    found = _both(a, b, tests[op])
    text = f"{a.within(_SUM)} {_COMPARISONS[op]} {b.within(_SUM)}"
    return Size(text, None if found is None else int(found), 0)


def _select(_: Any, condition: Size, a: Size, b: Size) -> Size:
    if condition.text in ("true", "false"):
        return a if condition.text == "true" else b
    chosen = None
    if condition.number is not None:
        chosen = (a if condition.number else b).number
    text = f"{a.within(_SUM)} if {condition.text} else {b.within(_SUM)}"
    return Size(text, chosen, 0, a.natural and b.natural)


def _and(_: Any, a: Size, b: Size) -> Size:
    return Size(f"{a.within(_SUM)} and {b.within(_SUM)}", _both(a, b, min), 0)


def _or(_: Any, a: Size, b: Size) -> Size:
    return Size(f"{a.within(_SUM)} or {b.within(_SUM)}", _both(a, b, max), 0)


def _divide(_: Any, a: Size, b: Size) -> Size:
    total = None if b.number == 0 else _both(a, b, _toward_zero)
    return Size(f"{a.within(_PRODUCT)} // {b.within(_ATOM)}", total, _PRODUCT, a.natural)


def _shift(_: Any, a: Size, bits: Size) -> Size:
    """A division by a power of two that rounds down."""
    total = _both(a, bits, lambda x, y: x >> y)
    divisor = "?" if bits.number is None else str(1 << bits.number)
    return Size(f"{a.within(_PRODUCT)} // {divisor}", total, _PRODUCT, a.natural)


def _toward_zero(a: int, b: int) -> int:
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


_READERS: dict[str, Callable[..., Size]] = {
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "min": _least,
    "max": _most,
    "cmp": _compare,
    "select": _select,
    "and": _and,
    "or": _or,
    "div": _divide,
    "ashr": _shift,
}
