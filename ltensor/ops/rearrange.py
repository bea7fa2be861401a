"""Repeating, tiling, rolling, grids: functions made of other operations, and `RepeatPlaces`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor, constant
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import disconnected_type
from ltensor.ops.alloc import alloc, arange
from ltensor.ops.arithmetic import int_div, maximum, mod, mul, sub, switch
from ltensor.ops.cast import cast
from ltensor.ops.compare import ge, lt
from ltensor.ops.join import join, static_axis
from ltensor.ops.opdef import Declaration, DeclaredOp, Sample, declare, new_tensor
from ltensor.ops.samples import draw
from ltensor.ops.shape import dims_of, dimshuffle, reshape, shape_i, split_sizes, vector_length

#: no result can have more elements
MOST_ELEMENTS = 2**46


class RepeatPlaces(DeclaredOp):
    """Counts (2, 0, 3) as places (0, 0, 2, 2, 2). How many there must be is the second operand."""

    __props__ = ()
    kind = "kernel"
    ir_name = "repeat_places"

    def make_node(self, counts: Any, size: Any) -> Apply:
        counts, size = as_tensor(counts), as_tensor(size)
        if counts.type.ndim != 1 or not dt.is_integer(counts.type.dtype):
            raise TypeError("repeats must be an integer scalar or vector", counts.type)
        return Apply(self, [counts, size], [new_tensor("int64", (None,))])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        counts, size = inputs
        if len(counts) != size:
            raise ValueError(f"repeat: {len(counts)} counts for {int(size)} elements")
        if (counts < 0).any():
            raise ValueError("repeats may not contain negative values.")
        output_storage[0][0] = np.repeat(np.arange(len(counts)), counts.astype("int64"))

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [None]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        return [[False], [False]]

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        return [disconnected_type.make_variable() for _ in inputs]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return [None]

    def check(self, b: Any, node: Apply, operands: Any) -> None:
        """One count for every element."""
        have, want = operands[0].dims[0], b.cast(operands[1].value, "int64")
        b.check(b.eq(have, want), "repeat_mismatch", node, (have, want))

    def lower(self, k: Any) -> None:
        b = k.b
        counts = k.operand(0)
        zero = b.const(0)
        # the sum is taken again here, where negative counts are found before anything is written
        with b.loop(counts.dims[0], carries=[zero]) as loop:
            count = b.cast(b.load(counts, [loop.index]), "int64")
            k.check(b.ge(count, 0), "negative_repeats", (count,))
            room = b.sub(b.const(MOST_ELEMENTS), loop.carry[0])
            k.check(b.le(count, room), "too_many_repeats", (count,), ("repeat",))
            loop.next(b.add(loop.carry[0], count))
        target = k.output(0, [loop.results[0]])
        with b.loop(counts.dims[0], carries=[zero]) as outer:
            at = outer.carry[0]
            count = b.cast(b.load(counts, [outer.index]), "int64")
            with b.loop(count, kind="vector") as inner:
                b.store(target, [b.add(at, inner.index)], outer.index)
            outer.next(b.add(at, count))


def repeat(x: Any, repeats: Any, axis: Any = None) -> Variable:
    """Every element along ``axis`` repeated; of the flattened ``x`` by default.

    Raises
    ------
    TypeError
        If ``repeats`` is no integer scalar or vector.
    """
    from ltensor.ops.indexing import getitem, take

    x, repeats = as_tensor(x), as_tensor(repeats)
    if not dt.is_integer(repeats.type.dtype):
        raise TypeError("repeats must be integers", repeats.type)
    if repeats.type.ndim > 1:
        raise ValueError("The dimension of repeats should not exceed 1.")
    if axis is None:
        x = x if x.type.ndim == 1 else reshape(x, [-1], ndim=1)
        axis = 0
    axis = static_axis(axis, "repeat")
    rank = x.type.ndim
    if not -rank <= axis < rank:
        raise ValueError(f"repeat: axis {axis} of an array of {rank} dimensions")
    axis %= rank
    if repeats.type.ndim == 1 and repeats.type.broadcastable[0]:
        repeats = getitem(repeats, 0)
    if repeats.type.ndim == 1:
        return take(x, RepeatPlaces()(repeats, shape_i(x, axis)), axis)
    order: list[Any] = list(range(rank))
    order.insert(axis + 1, "x")
    sizes: list[Any] = dims_of(x)
    wide = alloc(dimshuffle(x, order), *sizes[: axis + 1], repeats, *sizes[axis + 1 :])
    sizes[axis] = mul(sizes[axis], cast(repeats, "int64"))
    return reshape(wide, sizes, ndim=rank)


def tile(x: Any, reps: Any, ndim: int | None = None) -> Variable:
    """``x`` repeated ``reps`` times along the axes, as NumPy's.

    Raises
    ------
    ValueError
        If the number of repetitions is not known, or does not fit ``ndim``.
    """
    from ltensor.ops.alloc import as_sizes

    x = as_tensor(x)
    if ndim is not None and ndim < x.type.ndim:
        raise ValueError("ndim should be equal or larger than x.ndim")
    if isinstance(reps, Variable) and reps.type.ndim > 1:
        raise ValueError("when reps is a tensor, it must be a scalar or a vector")
    if isinstance(reps, Variable) and not dt.is_integer(reps.type.dtype):
        raise ValueError("elements of reps must be scalars of integer dtype")
    if isinstance(reps, (float, np.floating)):
        raise ValueError("reps must be an integer, a vector or a list of integers", reps)
    if isinstance(reps, Variable) and ndim is not None and vector_length(reps) is None:
        reps = _aligned_counts(reps, ndim)
    counts = as_sizes(reps)
    rank = max(len(counts), x.type.ndim)
    if ndim is not None:
        if len(counts) > ndim:
            raise ValueError("if specified, ndim must not be smaller than the length of reps")
        rank = ndim
    one = constant(1, dtype="int64")
    counts = [one] * (rank - len(counts)) + counts
    pad = rank - x.type.ndim
    if pad:
        x = dimshuffle(x, ["x"] * pad + list(range(x.type.ndim)))
    sizes = dims_of(x)
    order = [part for axis in range(rank) for part in ("x", axis)]
    inner = [part for c, n in zip(counts, sizes, strict=True) for part in (c, n)]
    wide = alloc(dimshuffle(x, order), *inner)
    outer = [mul(cast(c, "int64"), n) for c, n in zip(counts, sizes, strict=True)]
    return reshape(wide, outer, ndim=rank)


def _aligned_counts(reps: Variable, ndim: int) -> list[Variable]:
    """The elements of a vector of unknown length after as many ones as make ``ndim`` of them."""
    from ltensor.ops.control import Assert
    from ltensor.ops.indexing import getitem

    missing = sub(constant(ndim, dtype="int64"), shape_i(reps, 0))
    missing = Assert(f"tile: reps has more than {ndim} entries")(missing, ge(missing, 0))
    places = [sub(constant(axis, dtype="int64"), missing) for axis in range(ndim)]
    one = constant(1, dtype=reps.type.dtype)
    return [switch(lt(k, 0), one, getitem(reps, maximum(k, 0))) for k in places]


def roll(x: Any, shift: Any, axis: int | None = None) -> Variable:
    """``x`` shifted along ``axis`` (flattened by default); what falls off comes in at the front."""
    from ltensor.ops.indexing import getitem

    x = as_tensor(x)
    if axis is None:
        if x.type.ndim <= 1:
            return roll(x, shift, axis=0) if x.type.ndim else x
        flat = reshape(x, [-1], ndim=1)
        return reshape(roll(flat, shift, axis=0), dims_of(x), ndim=x.type.ndim)
    axis = static_axis(axis, "roll")
    if axis < 0:
        axis += x.type.ndim
    size = shape_i(x, axis)
    from ltensor.ops.arithmetic import maximum, sub

    shift = as_tensor(shift)
    by = mod(cast(shift, "int64"), maximum(size, constant(1, dtype="int64")))
    cut = sub(size, by)
    before: list[Any] = [slice(None)] * axis
    front = getitem(x, (*before, slice(cut, None)))
    back = getitem(x, (*before, slice(None, cut)))
    return join(axis, front, back)


def compress(condition: Any, x: Any, axis: int | None = None) -> Variable:
    """The slices of ``x`` along ``axis`` for which the vector ``condition`` is true."""
    from ltensor.ops.indexing import flatnonzero, take

    return take(x, flatnonzero(condition), axis=axis)


class _Grid:
    """``mgrid[0:2, 0:3]`` or ``ogrid[...]``: a list of index grids, dense or open."""

    def __init__(self, sparse: bool) -> None:
        self.sparse = sparse

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return _range(index)
        ranges = [_range(part) for part in index]
        rank = len(ranges)
        open_grids = []
        for axis, r in enumerate(ranges):
            order: list[Any] = ["x"] * rank
            order[axis] = 0
            open_grids.append(dimshuffle(r, order))
        if self.sparse:
            return open_grids
        common = dt.upcast(*(r.type.dtype for r in ranges))
        sizes = [shape_i(r, 0) for r in ranges]
        return [alloc(cast(g, common), *sizes) for g in open_grids]


def _range(part: slice) -> Variable:
    start = 0 if part.start is None else part.start
    step = 1 if part.step is None else part.step
    if part.stop is None:
        raise ValueError("mgrid and ogrid need the end of every slice")
    if isinstance(step, complex):
        raise NotImplementedError(
            "mgrid and ogrid do not take a number of points (a complex step): use a real step"
        )
    return arange(start, part.stop, step)


mgrid = _Grid(sparse=False)
ogrid = _Grid(sparse=True)


def unravel_index(indices: Any, dims: Any, order: str = "C", ndim: int | None = None) -> Any:
    """Flat indices as a tuple of indices into an array of sizes ``dims``.

    Raises
    ------
    ValueError
        If ``order`` is neither ``'C'`` nor ``'F'``.
    """
    flat = as_tensor(indices)
    if not dt.is_integer(flat.type.dtype):
        raise TypeError("unravel_index takes integers", flat.type)
    flat = cast(flat, "int64")
    sizes = _sizes(dims, order, ndim)
    ordered = list(reversed(sizes)) if order == "C" else list(sizes)
    result = []
    for number, size in enumerate(ordered):
        last = number == len(ordered) - 1
        result.append(flat if last else mod(flat, size))
        if not last:
            flat = int_div(flat, size)
    return tuple(reversed(result)) if order == "C" else tuple(result)


def ravel_multi_index(
    multi_index: Any, dims: Any, mode: str = "raise", order: str = "C"
) -> Variable:
    """A tuple of indices into an array of sizes ``dims`` as flat indices.

    ``mode`` ``'wrap'`` and ``'clip'`` as NumPy's.

    Raises
    ------
    ValueError
        If ``order`` or ``mode`` is unknown.
    """
    from ltensor.ops.indexing import _by_mode, getitem

    known = None if isinstance(multi_index, Variable) else len(multi_index)
    sizes = _sizes(dims, order, known)
    if isinstance(multi_index, Variable):
        parts = [getitem(multi_index, k) for k in range(len(sizes))]
    else:
        parts = [as_tensor(p) for p in multi_index]
    if len(parts) != len(sizes):
        raise ValueError(f"{len(parts)} indices for {len(sizes)} dimensions")
    parts = [_by_mode(cast(p, "int64"), n, mode) for p, n in zip(parts, sizes, strict=True)]
    pairs = list(zip(parts, sizes, strict=True))
    if order == "F":
        pairs.reverse()
    total: Any = None
    for part, size in pairs:
        from ltensor.ops.arithmetic import add

        total = part if total is None else add(mul(total, size), part)
    return total


def _sizes(dims: Any, order: str, count: int | None = None) -> list[Variable]:
    from ltensor.ops.alloc import as_sizes

    if order not in ("C", "F"):
        raise ValueError(f"order must be 'C' or 'F', not {order!r}")
    if isinstance(dims, Variable) and count is not None and vector_length(dims) is None:
        return [cast(s, "int64") for s in split_sizes(dims, count)]
    return [cast(s, "int64") for s in as_sizes(dims)]


# --------------------------------------------------------------------------------- registry


def _repeat_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    counts = np.array([2, 0, 3, 1], "int32")
    yield Sample(lambda x, r: repeat(x, r), [draw(rng, dtype, (4,)), counts], "vector")
    yield Sample(lambda x, r: repeat(x, r, 1), [draw(rng, dtype, (3, 4)), counts], "axis 1")
    yield Sample(lambda x: repeat(x, 3, 0), [draw(rng, dtype, (2, 3))], "scalar")
    yield Sample(lambda x: repeat(x, 2), [draw(rng, dtype, (2, 3))], "flat")
    yield Sample(lambda x: tile(x, (2, 3)), [draw(rng, dtype, (2, 3))], "tile")
    yield Sample(lambda x: tile(x, (2, 1, 2)), [draw(rng, dtype, (3,))], "tile pad")
    for shift in (1, -2, 7, 0):
        yield Sample(
            lambda x, shift=shift: roll(x, shift), [draw(rng, dtype, (5,))], f"roll {shift}"
        )
    yield Sample(lambda x: roll(x, 1, 1), [draw(rng, dtype, (3, 4))], "roll axis")
    yield Sample(lambda x: roll(x, 5), [draw(rng, dtype, (3, 4))], "roll flat")


declare(
    Declaration(
        "repeat_places",
        "Which element comes where when each is repeated.",
        RepeatPlaces,
        _repeat_samples,
        0,
    )
)
