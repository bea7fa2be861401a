"""Bounds of slices, once as graph expressions (for shapes) and once as emitted scalars.

A *pattern* is the static part of a basic index, one entry per indexed axis: an int, the dtype of a
scalar operand (a string), or a ``(start, stop, step)`` triple of such things and None.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ltensor.ir.build import constant, constant_value
from ltensor.ir.graph import Variable
from ltensor.ir.types import TensorType, tensor_type

Entry = Any  # int, str, or a triple of int, str and None
Pattern = tuple[Entry, ...]
FULL = (None, None, None)


def as_pattern(entries: Sequence[Any]) -> Pattern:
    """The pattern of entries in this form, or in Theano's (`theanos_form`)."""

    def part(value: Any) -> Any:
        return value.dtype if isinstance(value, TensorType) else value

    result: list[Entry] = []
    for entry in entries:
        if isinstance(entry, slice):
            entry = (entry.start, entry.stop, entry.step)
        triple = isinstance(entry, (list, tuple))
        result.append(tuple(map(part, entry)) if triple else part(entry))
    return tuple(result)


def theanos_form(pattern: Pattern) -> tuple[Any, ...]:
    """The pattern with slices for triples, and types of scalars for operands."""

    def part(value: Any) -> Any:
        return tensor_type(value, ()) if isinstance(value, str) else value

    return tuple(
        slice(*map(part, entry)) if isinstance(entry, tuple) else part(entry) for entry in pattern
    )


def entry_text(entry: Entry) -> str:
    """Theano's text of one index: dtypes in place of numbers."""
    if isinstance(entry, tuple):
        start, stop, step = ("" if part is None else entry_text(part) for part in entry)
        return f"{start}:{stop}:{step}"
    return entry if isinstance(entry, str) else "int64"


def count_scalars(pattern: Pattern) -> int:
    """How many scalar operands the pattern stands for."""
    return sum(
        sum(isinstance(part, str) for part in entry)
        if isinstance(entry, tuple)
        else isinstance(entry, str)
        for entry in pattern
    )


def resolve(pattern: Pattern, scalars: Sequence[Any]) -> list[Any]:
    """The pattern with the scalar operands put in (slices stay triples)."""
    rest: Iterator[Any] = iter(scalars)

    def part(value: Any) -> Any:
        return next(rest) if isinstance(value, str) else value

    return [
        tuple(part(p) for p in entry) if isinstance(entry, tuple) else part(entry)
        for entry in pattern
    ]


def numpy_index(pattern: Pattern, scalars: Sequence[Any]) -> tuple[Any, ...]:
    """The index to give to an ndarray."""
    values = resolve(pattern, [int(s) for s in scalars])
    return tuple(slice(*v) if isinstance(v, tuple) else v for v in values)


def is_full(entry: Entry) -> bool:
    """Whether an index entry keeps its axis as it is."""
    return isinstance(entry, tuple) and (
        entry[0] in (None, 0) and entry[1] is None and entry[2] in (None, 1)
    )


# ------------------------------------------------------------------------- graph expressions


def _int(value: Any) -> int | None:
    if isinstance(value, (int, np.integer)):
        return int(value)
    known = constant_value(value)
    return None if known is None else int(known)


def as_int64(value: Any) -> Variable:
    """An int or an integer scalar as an int64 scalar."""
    from ltensor.ops.cast import cast

    if isinstance(value, Variable):
        return cast(value, "int64")
    return constant(int(value), dtype="int64")


def plus(a: Any, b: Any) -> Any:
    """Sum of sizes, folded where both are known."""
    from ltensor.ops.arithmetic import add

    x, y = _int(a), _int(b)
    if x is not None and y is not None:
        return x + y
    if x == 0:
        return b
    if y == 0:
        return a
    return add(as_int64(a), as_int64(b))


def minus(a: Any, b: Any) -> Any:
    """Difference of sizes, folded where both are known."""
    from ltensor.ops.arithmetic import sub

    x, y = _int(a), _int(b)
    if x is not None and y is not None:
        return x - y
    if y == 0:
        return a
    return 0 if a is b else sub(as_int64(a), as_int64(b))


def larger(a: Any, b: Any) -> Any:
    """Maximum of sizes, folded where both are known."""
    from ltensor.ops.arithmetic import maximum

    x, y = _int(a), _int(b)
    if x is not None and y is not None:
        return max(x, y)
    if x == 0 and never_negative(b):
        return b
    if y == 0 and never_negative(a):
        return a
    return maximum(as_int64(a), as_int64(b))


def smaller(a: Any, b: Any) -> Any:
    """Minimum of sizes, folded where both are known."""
    from ltensor.ops.arithmetic import minimum

    x, y = _int(a), _int(b)
    if x is not None and y is not None:
        return min(x, y)
    if a is b:
        return a
    return minimum(as_int64(a), as_int64(b))


def never_negative(value: Any, depth: int = 4) -> bool:
    """Whether a size expression is known not to be negative."""
    dtype = value.type.dtype if isinstance(value, Variable) else "int64"
    if dtype.startswith("uint"):
        return True
    if dtype != "int64" and not (dtype.startswith("int") and value.owner is None):
        # no size: part of a number may be lost in `_int`, and sums of small numbers overflow
        return False
    known = _int(value)
    if known is not None:
        return known >= 0
    owner = getattr(value, "owner", None)
    if owner is None or depth == 0:
        return False
    how = getattr(owner.op, "natural", "")
    if how == "any":
        return any(never_negative(v, depth - 1) for v in owner.inputs)
    if how == "all":
        return all(never_negative(v, depth - 1) for v in owner.inputs)
    return bool(how)


def wrapped(value: Any, size: Any) -> Any:
    """``value``, counted from the end if negative; not clipped."""
    from ltensor.ops.arithmetic import switch
    from ltensor.ops.compare import lt

    known = _int(value)
    if known is not None:
        return known if known >= 0 else plus(size, known)
    value = as_int64(value)
    if never_negative(value):
        return value
    return switch(lt(value, constant(0, dtype="int64")), plus(value, size), value)


def slice_length(entry: tuple[Any, Any, Any], size: Any) -> Any:
    """The length of a slice of an axis of ``size``: an int or an int64 scalar."""
    start, stop, step = entry
    width = 1 if step is None else _int(step)
    if width is None:
        from ltensor.ops.arithmetic import switch
        from ltensor.ops.compare import gt

        # a step beyond every size is as good as a smaller one, and its negative exists
        step = smaller(larger(as_int64(step), -(2**62)), 2**62)
        up = _length_up(start, stop, larger(step, 1), size)
        down = _length_down(start, stop, larger(minus(0, step), 1), size)
        return switch(gt(step, constant(0, dtype="int64")), as_int64(up), as_int64(down))
    if width > 0:
        return _length_up(start, stop, width, size)
    return _length_down(start, stop, -width, size)


def _clip_up(bound: Any, size: Any) -> Any:
    """A bound of a slice that walks up, in 0 ... size."""
    known = _int(bound)
    if known is not None and known < 0:
        return larger(plus(size, known), 0)
    return smaller(larger(wrapped(bound, size), 0), size)


def _length_up(start: Any, stop: Any, step: Any, size: Any) -> Any:
    if start is None or _int(start) == 0:
        span = size if stop is None else _clip_up(stop, size)
        return _steps(span, step)
    first = _int(start)
    if stop is None:
        # a start beyond the end gives a negative span, cut below: no need to clip it
        if first is not None and first < 0:
            return _steps(smaller(size, -first), step)
        return _steps(larger(minus(size, larger(wrapped(start, size), 0)), 0), step)
    last = _int(stop)
    if first is not None and last is not None and first > 0 and last < 0:
        return _steps(larger(plus(size, last - first), 0), step)
    if first is not None and last is not None and first > 0 and last >= 0:
        return _steps(larger(minus(smaller(size, last), first), 0), step)
    span = minus(_clip_up(stop, size), larger(wrapped(start, size), 0))
    return _steps(larger(span, 0), step)


def _length_down(start: Any, stop: Any, step: Any, size: Any) -> Any:
    """Length of a slice that walks down by ``step`` (given positive)."""
    top: Any = minus(size, 1)
    if start is None or _int(start) == -1:
        if stop is None:
            return _steps(size, step)
        first = top
    else:
        first = smaller(wrapped(start, size), top)
    last = -1 if stop is None else larger(wrapped(stop, size), -1)
    return _steps(larger(minus(first, last), 0), step)


def _steps(span: Any, step: Any) -> Any:
    """``ceil(span / step)`` for a span that is not negative."""
    from ltensor.ops.arithmetic import int_div

    width = _int(step)
    if width == 1:
        return span
    known = _int(span)
    if width is not None and known is not None:
        return -(-known // width)
    # (span - 1) // step + 1 is the same for every span >= 0, and cannot overflow
    return plus(int_div(as_int64(minus(span, 1)), as_int64(step)), 1)


# ------------------------------------------------------------------------- emitted scalars


def emit_wrapped(e: Any, value: Any, size: Any) -> Any:
    """``value`` counted from the end if negative."""
    if isinstance(value, int):
        return e.const(value) if value >= 0 else e.add(size, e.const(value))
    value = e.cast(value, "int64")
    return e.select(e.lt(value, 0), e.add(value, size), value)


def emit_start(e: Any, entry: tuple[Any, Any, Any], size: Any) -> tuple[Any, Any]:
    """First position and step of a slice. The start may lie outside if the slice is empty."""
    start, _, step = entry
    if step is None:
        step = 1
    if isinstance(step, int):
        width = e.const(step)
        return (_start_up if step > 0 else _start_down)(e, start, size), width
    width = e.cast(step, "int64")
    up, down = _start_up(e, start, size), _start_down(e, start, size)
    return e.select(e.gt(width, 0), up, down), width


def _start_up(e: Any, start: Any, size: Any) -> Any:
    if start is None:
        return e.const(0)
    position = emit_wrapped(e, start, size)
    if isinstance(start, int) and start >= 0:
        return position
    return e.max(position, e.const(0))


def _start_down(e: Any, start: Any, size: Any) -> Any:
    top = e.sub(size, 1)
    if start is None:
        return top
    position = emit_wrapped(e, start, size)
    if isinstance(start, int) and start < 0:
        return position
    return e.min(position, top)
