"""Places of the largest and the smallest element."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import tensor_type
from ltensor.ops import batching
from ltensor.ops.elementwise import zero_gradient
from ltensor.ops.opdef import Declaration, DeclaredOp, Sample, declare
from ltensor.ops.reduce import CASES
from ltensor.ops.reduce_base import keep_dims, normalize_axes
from ltensor.ops.samples import draw

Axes = Any

#: elements of a vector that one thread looks at, if there are no more than `MOST_CHUNKS`
CHUNK = 1 << 16
MOST_CHUNKS = 1 << 10
#: bytes of which the largest element is found in lanes before its place is sought: they stay in
#: the first cache, and the second look takes less the fewer they are
BLOCK_BYTES = 2048
#: elements of the longest row that is looked through together with others
NARROW = 16


class ArgExtremum(DeclaredOp):
    """The place of the first largest (or smallest) element; of the first NaN if there is one.

    Over several axes it counts in C order among them.
    """

    __props__ = ("axis", "largest")
    kind = "kernel"
    ir_name = "arg_extremum"
    batch = batching.reduction

    def __init__(self, axis: tuple[int, ...] | None = None, largest: bool = True) -> None:
        self.axis = None if axis is None else tuple(axis)
        self.largest = bool(largest)

    def __str__(self) -> str:
        return f"{'Argmax' if self.largest else 'Argmin'}{{axis={self.axis}}}"

    def reduced_axes(self, rank: int) -> tuple[int, ...]:
        """The axes that vanish."""
        return tuple(range(rank)) if self.axis is None else self.axis

    def make_node(self, x: Any) -> Apply:
        x = as_tensor(x)
        reduced = self.reduced_axes(x.type.ndim)
        if any(a >= x.type.ndim for a in reduced):
            raise ValueError(f"Not enough dimensions on {x} to reduce on axis {max(reduced)}")
        sizes = tuple(s for k, s in enumerate(x.type.shape) if k not in reduced)
        return Apply(self, [x], [tensor_type("int64", sizes).make_variable()])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        (x,) = inputs
        reduced = self.reduced_axes(x.ndim)
        kept = [k for k in range(x.ndim) if k not in reduced]
        moved = x.transpose([*kept, *reduced])
        length = int(np.prod([x.shape[a] for a in reduced], dtype="int64"))
        flat = moved.reshape([*(x.shape[k] for k in kept), length])
        function = np.argmax if self.largest else np.argmin
        output_storage[0][0] = np.asarray(function(flat, axis=-1), dtype="int64")

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        reduced = self.reduced_axes(node.inputs[0].type.ndim)
        return [tuple(s for k, s in enumerate(shapes[0]) if k not in reduced)]

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        return [zero_gradient(inputs[0])]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return [None]

    def _better(self, b: Any, x: Any, best: Any) -> Any:
        """Whether ``x`` is to replace ``best``."""
        better = b.gt(x, best) if self.largest else b.lt(x, best)
        if not dt.is_float(x.dtype):
            return better
        return b.or_(better, b.and_(b.isnan(x), b.not_(b.isnan(best))))

    def lower(self, k: Any) -> None:
        b = k.b
        x = k.operand(0)
        if not hasattr(x, "dims"):
            k.result(b.const(0))
            return
        reduced = self.reduced_axes(x.ndim)
        kept = [a for a in range(x.ndim) if a not in reduced]
        name = "argmax" if self.largest else "argmin"
        for a in reduced:
            k.check(b.gt(x.dims[a], 0), "empty_reduction", (), (name,))
        target = k.output(0) if kept else None
        if len(reduced) > 1 and reduced[0] == len(kept) and x.dense:
            # one row instead of many short ones
            dims = (*x.dims[: len(kept)], b.size(x.dims[len(kept) :]))
            x = type(x)(x.dtype, x.pointer, dims, None, x.offset)
            reduced = (len(kept),)
        near = _nearest(x)
        rows = near in reduced
        one_row = rows and len(reduced) == 1 and x.dtype != "bool" and not dt.is_complex(x.dtype)
        if one_row and not kept and b.threads:
            k.result(self._by_chunks(b, x, str(self)))
            return

        def nest(find: Callable[[list[Any], Any], Any], lanes: int = near) -> Any:
            index: list[Any] = [b.const(0)] * x.ndim
            with ExitStack() as stack:
                for a in sorted(kept, key=lambda a: a == lanes):
                    # neighbouring results are found side by side
                    kind = "vector" if a == lanes and not dt.is_complex(x.dtype) else "serial"
                    kept_loop = b.loop(x.dims[a], kind=kind, parallel=True)
                    index[a] = stack.enter_context(kept_loop).index
                place = find(index, b.load(x, index))
                if target is not None:
                    b.store(target, [index[a] for a in kept], place)
            return place

        def walk(index: list[Any], first: Any) -> Any:
            return self._walk(b, x, index, reduced, 0, [first, b.const(0), b.const(0)])[1]

        def by_blocks(index: list[Any], first: Any) -> Any:
            return self._by_blocks(b, x, index, reduced[0], x.dims[reduced[0]])[1]

        if not reduced:
            place = nest(lambda index, first: b.const(0))
        elif dt.is_complex(x.dtype):
            place = nest(lambda index, first: self._walk_complex(b, x, index, reduced, first))
        elif one_row and kept and b.threads and b.scope is b.root:
            # lanes along a row of a few elements would be busy with their tails: lanes are rows
            with b.if_(b.le(x.dims[reduced[0]], NARROW)):
                nest(walk, kept[-1])
            with b.else_():
                nest(by_blocks)
            return
        elif one_row:
            place = nest(by_blocks)
        elif rows:
            place = nest(lambda index, first: self._by_rows(b, x, index, reduced, near, first))
        else:
            place = nest(walk)
        if target is None:
            k.result(place)

    def _by_chunks(self, b: Any, x: Any, label: str) -> Any:
        """The place in a vector, of whose chunks threads may take some each."""
        length = x.dims[0]
        some = b.add(b.int_divide(length, MOST_CHUNKS), 1)
        steps = b.max(b.const(CHUNK), some)
        count = b.int_divide(b.sub(b.add(length, steps), 1), steps)
        bests, places = b.local_array(x.dtype, MOST_CHUNKS), b.local_array("int64", MOST_CHUNKS)
        with b.loop(count, parallel=True, label=label, inner_steps=steps) as chunk:
            begin = b.mul(chunk.index, steps)
            size = b.min(steps, b.sub(length, begin))
            best, place = self._by_blocks(b, x, [begin], 0, size)
            b.store(bests, [chunk.index], best)
            b.store(places, [chunk.index], b.add(begin, place))
        first = b.load(bests, [b.const(0)])
        with b.loop(count, carries=[first, b.load(places, [b.const(0)])]) as loop:
            best, where = loop.carry
            found = b.load(bests, [loop.index])
            better = self._better(b, found, best)
            place = b.load(places, [loop.index])
            loop.next(b.select(better, found, best), b.select(better, place, where))
        return loop.results[1]

    def _by_blocks(self, b: Any, x: Any, index: list[Any], axis: int, length: Any) -> list[Any]:
        """The extremum of ``length`` elements from ``index`` on along ``axis``, and its place.

        The block that has it is sought first, then its place there.
        """
        index = list(index)
        origin, first = index[axis], b.load(x, index)
        zero = b.const(0)
        most = BLOCK_BYTES // dt.item_size(x.dtype)
        blocks = b.int_divide(b.add(length, most - 1), most)

        def block(start: Any) -> Any:
            return b.min(b.sub(length, start), b.const(most))

        with b.loop(blocks, carries=[first, zero]) as loop:
            best, where = loop.carry
            start = b.mul(loop.index, most)
            how = "max" if self.largest else "min"
            with b.reduce(block(start), how, first) as inner:
                index[axis] = b.add(b.add(origin, start), inner.index)
                inner.next(b.load(x, index))
            found = inner.results[0]
            better = self._better(b, found, best)
            loop.next(b.select(better, found, best), b.select(better, start, where))
        best, where = loop.results
        # counted in 32 bits: as many lanes as the elements have
        nowhere = b.const(1 << 30, "int32")
        with b.reduce(block(where), "min", nowhere) as inner:
            index[axis] = b.add(b.add(origin, where), inner.index)
            hit = _is_found(b, b.load(x, index), best)
            inner.next(b.select(hit, b.cast(inner.index, "int32"), nowhere))
        return [best, b.add(where, b.cast(inner.results[0], "int64"))]

    def _by_rows(self, b: Any, x: Any, index: list[Any], axes: Any, near: int, first: Any) -> Any:
        """The extremum in lanes along ``near``, then in lanes the first place that holds it."""
        order = sorted(axes, key=lambda a: a == near)
        if x.dtype == "bool":
            how = "or" if self.largest else "and"
        else:
            how = "max" if self.largest else "min"

        def reduce(level: int, carried: Any, how: str, element: Any) -> Any:
            axis, last = order[level], level == len(axes) - 1
            lanes = {"kind": "vector", "combine": [how]} if last else {}
            with b.loop(x.dims[axis], carries=[carried], **lanes) as loop:
                index[axis] = loop.index
                if last:
                    loop.next(element())
                else:
                    loop.next(reduce(level + 1, loop.carry[0], how, element))
            return loop.results[0]

        best = reduce(0, first, how, lambda: b.load(x, index))
        nowhere = b.const(1 << 62)

        def candidate() -> Any:
            found = _is_found(b, b.load(x, index), best)
            position: Any = b.const(0)
            for number, axis in enumerate(axes):
                unit = b.size([x.dims[a] for a in axes[number + 1 :]])
                position = b.add(position, b.mul(index[axis], unit))
            return b.select(found, position, nowhere)

        return reduce(0, nowhere, "min", candidate)

    def _walk(
        self, b: Any, x: Any, index: list[Any], axes: Any, level: int, carried: list[Any]
    ) -> list[Any]:
        """Loops over the reduced axes; carries the best value, its place, and the place reached."""
        axis = axes[level]
        with b.loop(x.dims[axis], carries=carried) as loop:
            index[axis] = loop.index
            best, place, at = loop.carry
            if level + 1 < len(axes):
                loop.next(*self._walk(b, x, index, axes, level + 1, [best, place, at]))
            else:
                value = b.load(x, index)
                better = self._better(b, value, best)
                loop.next(b.select(better, value, best), b.select(better, at, place), b.add(at, 1))
        return loop.results

    def _walk_complex(self, b: Any, x: Any, index: list[Any], axes: Any, first: Any) -> Any:
        """As `_walk`, for pairs."""
        pair = type(first)

        def level(number: int, carried: list[Any]) -> list[Any]:
            with b.loop(x.dims[axes[number]], carries=carried) as loop:
                index[axes[number]] = loop.index
                if number + 1 < len(axes):
                    loop.next(*level(number + 1, list(loop.carry)))
                else:
                    re, im, place, at = loop.carry
                    best, value = pair(re, im, x.dtype), b.load(x, index)
                    better = b.and_(
                        b.gt(value, best) if self.largest else b.lt(value, best),
                        b.not_(b.isnan(best)),
                    )
                    better = b.or_(better, b.and_(b.isnan(value), b.not_(b.isnan(best))))
                    loop.next(
                        b.select(better, value.re, re),
                        b.select(better, value.im, im),
                        b.select(better, at, place),
                        b.add(at, 1),
                    )
            return loop.results

        return level(0, [first.re, first.im, b.const(0), b.const(0)])[2] if axes else b.const(0)


def _is_found(b: Any, value: Any, best: Any) -> Any:
    """Whether it is the extremum of elements that ``value`` is one of; NaN if there is one."""
    same = b.eq(value, best)
    return b.or_(same, b.isnan(value)) if dt.is_float(value.dtype) else same


def _nearest(x: Any) -> int:
    """The dimension whose elements are neighbours in memory; the last if none is known to be."""
    strides = x.strides or ()
    for axis in reversed(range(len(strides))):
        if strides[axis].op == "const" and strides[axis].attr == 1:
            return axis
    return x.ndim - 1


def _apply(x: Any, axis: Axes, keepdims: bool, largest: bool) -> Variable:
    x = as_tensor(x)
    axes = normalize_axes(axis, x)
    result = ArgExtremum(axes, largest)(x)
    return keep_dims(x, result, axes) if keepdims else result


def argmax(x: Any, axis: Axes = None, keepdims: bool = False) -> Variable:
    """The place (int64) of the first largest element over ``axis``, or of the first NaN."""
    return _apply(x, axis, keepdims, True)


def argmin(x: Any, axis: Axes = None, keepdims: bool = False) -> Variable:
    """The place (int64) of the first smallest element over ``axis``, or of the first NaN."""
    return _apply(x, axis, keepdims, False)


def max_and_argmax(a: Any, axis: Axes = None, keepdims: bool = False) -> list[Variable]:
    """The largest element over ``axis``, and its place."""
    from ltensor.ops.reduce import max as largest

    return [largest(a, axis, keepdims), argmax(a, axis, keepdims)]


# --------------------------------------------------------------------------------- registry


def _samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for name, function in (("max", argmax), ("min", argmin)):
        if name == "min" and dt.is_complex(dtype):
            continue
        for shape, axis in (*CASES, ((2, 3, 4), (1, 2)), ((3, 0), ())):
            if 0 in shape and axis != ():
                continue
            data = rng.integers(0, 9, shape).astype(dtype)
            yield Sample(
                lambda x, axis=axis, function=function: function(x, axis),
                [data],
                f"{name}{shape}{axis}",
                differentiable=False,
            )
        if dt.is_float(dtype):
            data = draw(rng, dtype, (9,))
            data[[3, 6]] = np.nan
            yield Sample(
                lambda x, function=function: function(x),
                [data],
                f"{name} nan",
                differentiable=False,
            )


declare(
    Declaration(
        "arg_extremum",
        "Place of the largest or smallest element.",
        ArgExtremum,
        _samples,
        0,
        differentiable=False,
    )
)
