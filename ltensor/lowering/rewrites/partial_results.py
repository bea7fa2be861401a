"""Reductions of everything: partial results of chunks, which threads may share, then their total.

How elements are grouped depends on their number alone, so that the result has the same bits for
any number of threads. Chunks also make long sums accurate: a chunk is summed in many registers,
the sums of chunks are added with the rounding errors carried along (Kahan, "Further remarks on
reducing truncation errors", 1965).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ltensor.ir.dtypes import is_float
from ltensor.lowering.program import Value

if TYPE_CHECKING:
    from ltensor.lowering.builder import Builder

#: elements of a chunk, as long as there are at most `MOST_CHUNKS`
CHUNK = 1 << 16
#: partial results are kept in the native frame
MOST_CHUNKS = 1 << 10
#: steps of a chunk are a multiple of this: whole vectors
WHOLE = 64

#: Reduces some steps of the outermost loop: (first step, number of steps) -> result.
Part = Callable[[Value, Value], Value]


def in_chunks(
    b: Builder, op: Any, dtype: str, extents: Sequence[Value], part: Part, label: str
) -> Value:
    """The result of a reduction over loops of ``extents``, outermost first.

    Parameters
    ----------
    op : ReduceOp
    dtype : str
        Of the accumulator.
    part : callable
        Writes the loops for some steps of the outermost one.
    """
    extent = extents[0]
    per_step = b.size(extents[1:])
    least = CHUNK if len(extents) == 1 else b.int_divide(b.const(CHUNK), b.max(per_step, 1))
    some = b.and_(b.add(b.shift_right(extent, MOST_CHUNKS.bit_length() - 1), WHOLE), -WHOLE)
    steps = b.max(least, some) if len(extents) == 1 else b.max(b.max(least, some), 1)
    count = b.int_divide(b.sub(b.add(extent, steps), 1), steps)
    partials = b.local_array(dtype, MOST_CHUNKS)
    with b.loop(count, parallel=True, label=label, inner_steps=steps) as chunk:
        begin = b.mul(chunk.index, steps)
        result = part(begin, b.min(steps, b.sub(extent, begin)))
        b.store(partials, (chunk.index,), result)
    first = op.initial(b, dtype)
    exact = op.combine_name == "add" and is_float(dtype) and dtype != "float16"
    carries = [first, b.const(0, dtype)] if exact else [first]
    with b.loop(count, carries=carries) as loop:
        value = b.load(partials, (loop.index,))
        if not exact:
            loop.next(op.combine(b, loop.carry[0], value))
        else:
            total, lost = loop.carry
            value = b.sub(value, lost)
            following = b.add(total, value)
            lost = b.sub(b.sub(following, total), value)
            # infinities lose nothing
            lost = b.select(b.eq(lost, lost), lost, b.const(0, dtype))
            loop.next(following, lost)
    return loop.results[0]


def is_long(extents: Sequence[Value]) -> bool:
    """Whether there may be more elements than a chunk has."""
    known = 1
    for extent in extents:
        if extent.op != "const":
            return True
        known *= extent.attr
    return known > CHUNK
