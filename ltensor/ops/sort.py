"""Sorting: sort, argsort, the largest k, unique. Stable; NaNs come last.

Numbers are sorted by the run time's vectors (`ltensor.lowering.sorting`); complex and
half-precision ones, and whatever a GPU sorts, by a merge sort written with the loop builder. There
the rows are copied to a scratch buffer of twice their length, between whose halves the runs are
merged; what travels with the keys (their places) lies in buffers of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from ltensor.errors import UnsupportedError
from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor, constant
from ltensor.ir.graph import Apply, Variable
from ltensor.ops import batching
from ltensor.ops.elementwise import zero_gradient
from ltensor.ops.join import static_axis
from ltensor.ops.opdef import Declaration, DeclaredOp, Sample, declare, new_tensor
from ltensor.ops.samples import draw
from ltensor.ops.shape import dimshuffle, reshape, shape_i
from ltensor.ops.sort_rows import DTYPES, sort_rows


def comes_before(b: Any, x: Any, y: Any) -> Any:
    """Whether ``x`` is to stand strictly before ``y``: smaller, or a number before a NaN.

    Complex numbers stand as NumPy has them: those without a NaN first, then those whose imaginary
    part is one, whose real part is one, both; within each group by real, then by imaginary part.
    """
    if dt.is_complex(x.dtype):
        group, other = (
            b.add(b.mul(b.cast(b.isnan(z.re), "int64"), 2), b.cast(b.isnan(z.im), "int64"))
            for z in (x, y)
        )
        tie = b.or_(b.eq(x.re, y.re), b.isnan(x.re))
        smaller = b.or_(b.lt(x.re, y.re), b.and_(tie, b.lt(x.im, y.im)))
        return b.or_(b.lt(group, other), b.and_(b.eq(group, other), smaller))
    if not dt.is_float(x.dtype):
        return b.lt(x, y)
    return b.or_(b.lt(x, y), b.and_(b.isnan(y), b.not_(b.isnan(x))))


def merge_sort(b: Any, columns: Sequence[Any], length: Any) -> Any:
    """Sort the first ``length`` rows of ``columns`` by the first column; stable.

    Parameters
    ----------
    columns : list of View
        Vectors of ``2 * length`` elements.
    length : Value

    Returns
    -------
    Value
        Where the sorted rows begin: 0 or ``length``.
    """
    keys = columns[0]
    zero, one = b.const(0), b.const(1)
    last = b.sub(length, 1)
    # one pass merges all pairs of neighbouring runs of `width` from one half into the other
    passes = b.select(b.gt(length, 1), b.const(64), zero)
    with b.loop(passes, carries=[one, zero]) as outer:
        width, source = outer.carry
        target = b.sub(length, source)
        double = b.add(width, width)
        pairs = b.int_divide(b.add(last, double), double)
        with b.loop(pairs) as pair:
            begin = b.mul(pair.index, double)
            middle = b.min(b.add(begin, width), length)
            end = b.min(b.add(begin, double), length)
            with b.loop(b.sub(end, begin), carries=[begin, middle]) as merge:
                left, right = merge.carry
                x = b.load(keys, [b.add(source, b.min(left, last))])
                y = b.load(keys, [b.add(source, b.min(right, last))])
                take_right = b.and_(
                    b.lt(right, end), b.or_(b.ge(left, middle), comes_before(b, y, x))
                )
                chosen = b.add(source, b.select(take_right, right, left))
                place = b.add(target, b.add(begin, merge.index))
                rows = [b.load(column, [chosen]) for column in columns]
                for column, row in zip(columns, rows, strict=True):
                    b.store(column, [place], row)
                step = b.cast(take_right, "int64")
                merge.next(b.add(left, b.sub(1, step)), b.add(right, step))
        outer.next(double, target)
        outer.stop = b.ge(double, length)
    return outer.results[1]


class _Sorting(DeclaredOp):
    """What sort and argsort have in common: rows along ``axis``, sorted one after the other."""

    __props__ = ("axis",)
    kind = "kernel"
    batch = batching.shifted_axis("axis")
    places = False

    def __init__(self, axis: int = -1) -> None:
        self.axis = int(axis)

    def make_node(self, x: Any) -> Apply:
        x = as_tensor(x)
        if not 0 <= self.axis < x.type.ndim:
            raise ValueError(f"sort: axis {self.axis} of an array of {x.type.ndim} dimensions")
        dtype = "int64" if self.places else x.type.dtype
        return Apply(self, [x], [new_tensor(dtype, x.type.shape)])

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [tuple(shapes[0])]

    def lower(self, k: Any) -> None:
        b = k.b
        x = k.operand(0)
        target = k.output(0)
        length = x.dims[self.axis]
        if b.threads and x.dtype in DTYPES:
            sort_rows(k, x, target, self.axis, self.places)
            return
        double = b.mul(length, 2)
        columns = [b.temporary(x.dtype, (double,))]
        if self.places:
            columns.append(b.temporary("int64", (double,)))
        with ExitStack() as stack:
            index: list[Any] = []
            for axis, extent in enumerate(x.dims):
                fixed = axis == self.axis
                index.append(None if fixed else stack.enter_context(b.loop(extent)).index)

            def at(position: Any) -> list[Any]:
                return [position if i is None else i for i in index]

            with b.loop(length, kind="vector") as loop:
                b.store(columns[0], [loop.index], b.load(x, at(loop.index)))
                if self.places:
                    b.store(columns[1], [loop.index], loop.index)
            begin = merge_sort(b, columns, length)
            with b.loop(length, kind="vector") as loop:
                value = b.load(columns[-1], [b.add(begin, loop.index)])
                b.store(target, at(loop.index), value)


class Sort(_Sorting):
    """The elements along an axis in ascending order."""

    ir_name = "sort"

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        output_storage[0][0] = np.sort(inputs[0], axis=self.axis, kind="stable")

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        from ltensor.ops.advanced import AdvancedIncSubtensor
        from ltensor.ops.subtensor import zeros_for

        (x,), (g,) = inputs, output_grads
        if dt.is_discrete(x.type.dtype):
            return [zero_gradient(x)]
        places, axes = _all_places(x, self.axis)
        scatter = AdvancedIncSubtensor(axes, set_instead_of_inc=True)
        return [scatter(zeros_for(x, g), g, *places)]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        from ltensor.ops.advanced import AdvancedSubtensor

        if eval_points[0] is None:
            return [None]
        places, axes = _all_places(inputs[0], self.axis)
        return [AdvancedSubtensor(axes)(eval_points[0], *places)]


def _all_places(x: Variable, axis: int) -> tuple[list[Variable], tuple[int, ...]]:
    """Index tensors, one per axis, that pick the elements of ``x`` in sorted order."""
    from ltensor.ops.alloc import arange

    rank = x.type.ndim
    places = []
    for k in range(rank):
        if k == axis:
            places.append(ArgSort(axis)(x))
            continue
        order: list[Any] = ["x"] * rank
        order[k] = 0
        places.append(dimshuffle(arange(shape_i(x, k)), order))
    return places, tuple(range(rank))


class ArgSort(_Sorting):
    """The places of the elements along an axis in ascending order; equal ones stay in order."""

    ir_name = "argsort"
    places = True

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        output_storage[0][0] = np.argsort(inputs[0], axis=self.axis, kind="stable")

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        return [zero_gradient(inputs[0])]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return [None]


def _along(a: Any, axis: Any, what: str) -> tuple[Variable, int]:
    """``a`` (flattened if ``axis`` is None) and the axis as a non-negative int."""
    a = as_tensor(a)
    if axis is None or a.type.ndim == 0:
        return reshape(a, [-1], ndim=1), 0
    axis = static_axis(axis, what)
    if not -a.type.ndim <= axis < a.type.ndim:
        raise ValueError(f"{what}: axis {axis} of an array of {a.type.ndim} dimensions")
    return a, axis % a.type.ndim


def _check_kind(kind: str, order: Any, what: str) -> None:
    if kind not in ("quicksort", "mergesort", "heapsort", "stable"):
        raise ValueError(f"{what}: unknown kind {kind!r}")
    if order is not None:
        raise ValueError(f"{what}: order is for structured arrays only")


def sort(a: Any, axis: Any = -1, kind: str = "quicksort", order: Any = None) -> Variable:
    """The elements along ``axis`` (flattened if None) in ascending order, NaNs last."""
    _check_kind(kind, order, "sort")
    a, axis = _along(a, axis, "sort")
    return Sort(axis)(a)


def argsort(a: Any, axis: Any = -1, kind: str = "quicksort", order: Any = None) -> Variable:
    """The places of the elements along ``axis`` in ascending order; stable whatever ``kind``."""
    _check_kind(kind, order, "argsort")
    a, axis = _along(a, axis, "argsort")
    return ArgSort(axis)(a)


# ------------------------------------------------------------------------- the largest k


def _top_slice(x: Variable, kth: Any, axis: int) -> tuple[Any, ...]:
    """The part of a sorted array with its ``kth`` largest (or ``-kth`` smallest) elements."""
    from ltensor.ops.arithmetic import neg, sub, switch
    from ltensor.ops.cast import cast
    from ltensor.ops.compare import ge, gt, le, neq
    from ltensor.ops.control import Assert

    before = [slice(None)] * axis
    if isinstance(kth, (int, np.integer)):
        if kth == 0:
            raise ValueError("topk: kth cannot be zero")
        return (*before, slice(-int(kth), None) if kth > 0 else slice(None, -int(kth)))
    k, size = cast(as_tensor(kth), "int64"), shape_i(x, axis)
    k = Assert("topk: kth must not be zero nor exceed the size of the axis")(
        k, neq(k, constant(0, dtype="int64")), le(k, size), ge(k, neg(size))
    )
    zero = constant(0, dtype="int64")
    largest = gt(k, zero)
    start = switch(largest, sub(size, k), zero)
    return (*before, slice(start, switch(largest, size, neg(k))))


def topk(
    x: Any, kth: Any, axis: Any = -1, sorted: bool = True, idx_dtype: str = "int64"
) -> Variable:
    """The ``kth`` largest elements along ``axis`` (the smallest if negative), ascending."""
    from ltensor.ops.indexing import getitem

    x, axis = _along(x, axis, "topk")
    return getitem(Sort(axis)(x), _top_slice(x, kth, axis))


def argtopk(
    x: Any, kth: Any, axis: Any = -1, sorted: bool = True, idx_dtype: str = "int64"
) -> Variable:
    """The places of `topk`'s elements."""
    from ltensor.ops.cast import cast
    from ltensor.ops.indexing import getitem

    x, axis = _along(x, axis, "argtopk")
    return cast(getitem(ArgSort(axis)(x), _top_slice(x, kth, axis)), idx_dtype)


def topk_and_argtopk(
    x: Any,
    kth: Any,
    axis: Any = -1,
    sorted: bool = True,
    idx_dtype: str = "int64",
) -> list[Variable]:
    """`topk` and `argtopk`."""
    return [topk(x, kth, axis), argtopk(x, kth, axis, idx_dtype=idx_dtype)]


# ------------------------------------------------------------------------- unique


class Unique(DeclaredOp):
    """The distinct elements in ascending order, and as asked their first places, where each
    element went, and how often each occurs."""

    __props__ = ("return_index", "return_inverse", "return_counts")
    kind = "kernel"
    ir_name = "unique"

    def __init__(
        self,
        return_index: bool = False,
        return_inverse: bool = False,
        return_counts: bool = False,
        axis: Any = None,
    ) -> None:
        if axis is not None:
            raise UnsupportedError("Unique along an axis is not supported: use axis=None")
        self.return_index = bool(return_index)
        self.return_inverse = bool(return_inverse)
        self.return_counts = bool(return_counts)

    def make_node(self, x: Any) -> Apply:
        x = as_tensor(x)
        if x.type.ndim != 1:
            x = reshape(x, [-1], ndim=1)
        outputs = [new_tensor(x.type.dtype, (None,))]
        if self.return_index:
            outputs.append(new_tensor("int64", (None,)))
        if self.return_inverse:
            outputs.append(new_tensor("int64", x.type.shape))
        if self.return_counts:
            outputs.append(new_tensor("int64", (None,)))
        return Apply(self, [x], outputs)

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        unique_of: Any = np.unique
        results = unique_of(
            inputs[0],
            self.return_index,
            self.return_inverse,
            self.return_counts,
            equal_nan=False,
        )
        if not isinstance(results, tuple):
            results = (results,)
        for cell, result in zip(output_storage, results, strict=True):
            cell[0] = np.asarray(result)

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        count = (shape_i(node.outputs[0], 0),)
        result: list[Any] = [None]
        if self.return_index:
            result.append(count)
        if self.return_inverse:
            result.append(tuple(shapes[0]))
        if self.return_counts:
            result.append(count)
        return result

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        return [[True] + [False] * (len(node.outputs) - 1)]

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        from ltensor.ops.indexing import getitem, inc_subtensor
        from ltensor.ops.subtensor import zeros_for

        (x,), g = inputs, output_grads[0]
        if dt.is_discrete(x.type.dtype):
            return [zero_gradient(x)]
        first = Unique(return_index=True)(x)[1]
        return [inc_subtensor(getitem(zeros_for(x, g), first), g)]

    def lower(self, k: Any) -> None:
        b = k.b
        x = k.operand(0)
        length = x.dims[0]
        zero = b.const(0)
        if b.threads and x.dtype in DTYPES:
            keys, places = b.temporary(x.dtype, (length,)), b.temporary("int64", (length,))
            sort_rows(k, x, places, 0, True)
            with b.loop(length, kind="vector") as loop:
                where = b.load(places, [loop.index])
                b.store(keys, [loop.index], b.load(x, [where]))
            begin: Any = zero
        else:
            double = b.mul(length, 2)
            keys, places = b.temporary(x.dtype, (double,)), b.temporary("int64", (double,))
            with b.loop(length, kind="vector") as loop:
                b.store(keys, [loop.index], b.load(x, [loop.index]))
                b.store(places, [loop.index], loop.index)
            begin = merge_sort(b, [keys, places], length)

        def is_new(at: Any) -> tuple[Any, Any]:
            here = b.load(keys, [b.add(begin, at)])
            before = b.load(keys, [b.add(begin, b.max(b.sub(at, 1), zero))])
            return here, b.or_(b.eq(at, 0), b.ne(here, before))

        with b.loop(length, carries=[zero]) as loop:
            loop.next(b.add(loop.carry[0], b.cast(is_new(loop.index)[1], "int64")))
        count = loop.results[0]
        position = iter(range(len(k.node.outputs)))
        values = k.output(next(position), [count])
        first = k.output(next(position), [count]) if self.return_index else None
        inverse = k.output(next(position), [length]) if self.return_inverse else None
        counts = k.output(next(position), [count]) if self.return_counts else None
        with b.loop(length, carries=[b.const(-1), zero]) as loop:
            number, start = loop.carry
            here, new = is_new(loop.index)
            number = b.add(number, b.cast(new, "int64"))
            start = b.select(new, loop.index, start)
            place = b.load(places, [b.add(begin, loop.index)])
            with b.if_(new):
                b.store(values, [number], here)
                if first is not None:
                    b.store(first, [number], place)
            if inverse is not None:
                b.store(inverse, [place], number)
            if counts is not None:
                # the last element of a run leaves the right count
                b.store(counts, [number], b.add(b.sub(loop.index, start), 1))
            loop.next(number, start)


def unique(
    x: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: Any = None,
) -> Any:
    """The distinct elements in ascending order; with more asked, a list."""
    return Unique(return_index, return_inverse, return_counts, axis)(x)


# --------------------------------------------------------------------------------- registry


def _sort_samples(function: Any) -> Any:
    def samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
        for shape, axis in (
            ((1,), -1),
            ((2,), 0),
            ((5,), 0),
            ((64,), 0),
            ((101,), -1),
            ((3, 17), -1),
            ((9, 4), 0),
            ((2, 7, 3), 1),
            ((3, 5), None),
            ((0,), 0),
        ):
            yield Sample(
                lambda x, axis=axis: function(x, axis), [draw(rng, dtype, shape)], f"{shape}{axis}"
            )
        if dt.is_float(dtype):
            data = draw(rng, dtype, (13,))
            data[[2, 5, 6]] = np.nan, np.inf, np.nan
            yield Sample(lambda x: function(x), [data], "nan", differentiable=False)

    return samples


def _unique_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for shape in ((1,), (40,), (3, 4), (0,)):
        data = rng.integers(0, 7, shape).astype(dtype)
        yield Sample(lambda x: unique(x), [data], f"{shape}", differentiable=False)
        yield Sample(
            lambda x: unique(x, True, True, True), [data], f"{shape}all", differentiable=False
        )


def _topk_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    yield from _sort_samples(sort)(rng, dtype)
    for kth in (1, 3, -2):
        yield Sample(
            lambda x, kth=kth: topk_and_argtopk(x, kth), [draw(rng, dtype, (3, 8))], f"top{kth}"
        )


declare(Declaration("sort", "Ascending order.", Sort, _topk_samples, 0))
declare(
    Declaration(
        "argsort",
        "Places in ascending order.",
        ArgSort,
        _sort_samples(argsort),
        0,
        differentiable=False,
    )
)
declare(Declaration("unique", "Distinct elements.", Unique, _unique_samples, 0))
