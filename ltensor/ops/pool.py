"""Pooling: maximum, sum or mean over windows of the last dimensions, and the gradients.

Windows, strides and paddings are int scalars among the operands, so they may be symbolic. The
functions programs call stand in ``pool_api``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.build import constant
from ltensor.ir.graph import Apply, Variable
from ltensor.ops import pool_loops
from ltensor.ops.elementwise import zero_gradient
from ltensor.ops.linalg import convert_into
from ltensor.ops.opdef import Declaration, Sample, declare, new_tensor, output_like
from ltensor.ops.pool_base import MODES, PoolOp, as_scalars, check_same, wide_number
from ltensor.ops.pool_loops import smallest
from ltensor.ops.pool_pixels import Around, by_pixels, gather
from ltensor.ops.samples import draw
from ltensor.ops.shape import dims_of


def _at(last: Sequence[Any], new_axes: int = 0) -> tuple[Any, ...]:
    """An index of the last axes, with some of size 1 added after them."""
    return (..., *last, *[None] * new_axes)


class Pool(PoolOp):
    """Maximum, sum or mean of windows of the last dimensions."""

    ir_name = "pool"

    def make_node(self, x: Any, ws: Any, stride: Any = None, pad: Any = None, *rest: Any) -> Apply:
        x = self.image(x)
        if rest:
            # rebuilt from a node's own operands, which are scalars
            ws, stride, pad = self.split([ws, stride, pad, *rest])
        lead = [1 if s == 1 else None for s in x.type.shape[: x.type.ndim - self.ndim]]
        result = new_tensor(x.type.dtype, [*lead, *[None] * self.ndim])
        return Apply(self, [x, *self.parameters(ws, stride, pad)], [result])

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        lead, sizes = shapes[0][: -self.ndim], shapes[0][-self.ndim :]
        return [(*lead, *self.out_sizes(list(sizes), node.inputs[1:]))]

    @staticmethod
    def out_shape(
        imgshape: Any,
        ws: Any = None,
        ignore_border: bool = False,
        stride: Any = None,
        pad: Any = None,
        ndim: int = 2,
        ds: Any = None,
        st: Any = None,
        padding: Any = None,
    ) -> list[Any]:
        """The shape of the result for an image shape of ints."""
        window = ds if ws is None else ws
        step = st if stride is None else stride
        zeros = padding if pad is None else pad
        step = window if step is None else step
        zeros = (0,) * ndim if zeros is None else zeros
        sizes = zip(imgshape[-ndim:], window, step, zeros, strict=True)
        places = [
            pool_loops.output_size(int(n), int(w), int(s), int(p), ignore_border)
            for n, w, s, p in sizes
        ]
        return [*imgshape[:-ndim], *places]

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        x = inputs[0]
        window, stride, pad = self.numbers(inputs, 1)
        sizes = x.shape[x.ndim - self.ndim :]
        out = [
            pool_loops.output_size(*values, self.ignore_border)
            for values in zip(sizes, window, stride, pad, strict=True)
        ]
        result = np.zeros((*x.shape[: x.ndim - self.ndim], *out), x.dtype)
        axes = tuple(range(-self.ndim, 0))
        for place, cut, padded in self.windows(sizes, out, inputs, 1):
            part = x[_at(cut)]
            if self.mode == "max":
                value = part.max(axis=axes)
            else:
                average = self.mode != "sum"
                wide = (
                    "int64"
                    if average and dt.is_discrete(str(x.dtype))
                    else dt.work_dtype(str(x.dtype))
                )
                value = part.sum(axis=axes, dtype=wide)
                if average:
                    count = padded
                    if self.mode == "average_exc_pad":
                        count = int(np.prod([s.stop - s.start for s in cut]))
                    value = value / wide_number(wide, count)
                value = np.trunc(value) if average and wide == "int64" else value
            result[_at(place)] = value
        output_storage[0][0] = result

    def lower(self, k: Any) -> None:
        b, x, out = k.b, k.operand(0), k.output(0)
        frame = self.frame(k, x, out.dims, 1)
        average = self.mode.startswith("average")
        work = dt.work_dtype(x.dtype)
        if average and dt.is_discrete(x.dtype):
            work = "int64"
        low = b.const(smallest(work) if self.mode == "max" else 0, work)

        def element(index: list[Any], inside: Any) -> Any:
            value = b.cast(b.load(x, index), work)
            return value if self.mode == "max" else b.select(inside, value, b.const(0, work))

        def reduced(place: list[Any], inner: bool) -> None:
            how = "max" if self.mode == "max" else "add"
            value = frame.reduce(place, inner, low, how, element)
            if average:
                # lanes beyond the last place have no pixels, and their quotient must not trap
                count = b.max(frame.count(place, inner, self.mode == "average_inc_pad"), 1)
                divide = b.int_divide if work == "int64" else b.div
                value = divide(value, b.cast(count, work))
            b.store(out, place, b.cast(value, out.dtype))

        frame.each_place(reduced)

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        x, *parameters = inputs
        cut = self.cut(len(parameters))
        if dt.is_discrete(x.type.dtype):
            return [zero_gradient(x), *cut]
        (g,) = output_grads
        if self.mode == "max":
            op = MaxPoolGrad(self.ignore_border, "max", self.ndim)
            # taken anew, as in `ltensor.ops.reduce`: a loop's gradient computes x again
            top = self(x, *self.split(parameters))
            return [op(x, top, g, *self.split(parameters)), *cut]
        average = AveragePoolGrad(self.ignore_border, self.mode, self.ndim)
        return [average(x, g, *self.split(parameters)), *cut]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        (v, *_), (x, *parameters) = eval_points, inputs
        if v is None:
            return [None]
        if self.mode != "max":
            return [self(v, *self.split(parameters))]
        op = DownsampleFactorMaxGradGrad(self.ignore_border, "max", self.ndim)
        return [op(x, self(x, *self.split(parameters)), v, *self.split(parameters))]


class _OfMaxima(PoolOp):
    """From images, the maxima of their windows and a value for each of one of these."""

    #: the operand that the result is like
    like = 0
    leading = 3

    def make_node(
        self, x: Any, maxout: Any, gz: Any, ws: Any, stride: Any = None, pad: Any = None, *rest: Any
    ) -> Apply:
        x = self.image(x)
        maxout, gz = (self.image(v, x.type.ndim) for v in (maxout, gz))
        if rest:
            ws, stride, pad = self.split([ws, stride, pad, *rest])
        parameters = self.parameters(ws, stride, pad)
        like = (x, maxout)[self.like]
        result = output_like(like, dt.upcast(x.type.dtype, gz.type.dtype))
        return Apply(self, [x, maxout, gz, *parameters], [result])

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [shapes[self.like]]


class MaxPoolGrad(_OfMaxima):
    """Every pixel that equals the maximum of its window gets the gradient of that maximum."""

    ir_name = "pool_max_grad"

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        x, maxout, gz = inputs[:3]
        lead = x.ndim - self.ndim
        result = np.zeros(x.shape, node.outputs[0].type.dtype)
        for place, cut, _ in self.windows(x.shape[lead:], gz.shape[lead:], inputs, 3):
            spread, window = _at(place, self.ndim), _at(cut)
            hit = x[window] == maxout[spread]
            result[window] += np.where(hit, gz[spread], 0).astype(result.dtype)
        output_storage[0][0] = result

    def lower(self, k: Any) -> None:
        b = k.b
        x, maxout, gz = (k.operand(p) for p in range(3))
        out = k.output(0)
        frame = self.frame(k, x, gz.dims, 3)
        check_same(k, maxout, gz)
        nothing = b.const(0, out.dtype)
        if by_pixels(frame):
            top = Around(frame, x.dtype, lambda place, inner: b.load(maxout, place))
            back = Around(
                frame, out.dtype, lambda place, inner: b.cast(b.load(gz, place), out.dtype)
            )
            gather(
                frame,
                out,
                lambda place, pixel: b.select(
                    b.eq(b.load(x, pixel), top.load(place)), back.load(place), nothing
                ),
            )
            return

        def share(place: list[Any], pixel: list[Any], inner: bool) -> Any:
            hit = b.eq(b.load(x, pixel), b.load(maxout, place))
            return b.select(hit, b.cast(b.load(gz, place), out.dtype), nothing)

        frame.spread(out, share)

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        x, maxout, _, *parameters = inputs
        op = DownsampleFactorMaxGradGrad(self.ignore_border, "max", self.ndim)
        back = op(x, maxout, output_grads[0], *self.split(parameters))
        return [zero_gradient(x), zero_gradient(maxout), back, *self.cut(len(parameters))]


class DownsampleFactorMaxGradGrad(_OfMaxima):
    """The sum over the pixels that equal the maximum of their window: transposes `MaxPoolGrad`."""

    ir_name = "pool_max_grad_grad"
    like = 1

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        x, maxout, gz = inputs[:3]
        lead = x.ndim - self.ndim
        result = np.zeros(maxout.shape, node.outputs[0].type.dtype)
        axes = tuple(range(-self.ndim, 0))
        for place, cut, _ in self.windows(x.shape[lead:], maxout.shape[lead:], inputs, 3):
            window = _at(cut)
            hit = x[window] == maxout[_at(place, self.ndim)]
            result[_at(place)] = np.where(hit, gz[window], 0).sum(axis=axes)
        output_storage[0][0] = result

    def lower(self, k: Any) -> None:
        b = k.b
        x, maxout, gz = (k.operand(p) for p in range(3))
        out = k.output(0)
        frame = self.frame(k, x, maxout.dims, 3)
        check_same(k, x, gz)
        work = dt.work_dtype(out.dtype)

        def reduced(place: list[Any], inner: bool) -> None:
            top = b.load(maxout, place)

            def element(index: list[Any], inside: Any) -> Any:
                hit = b.and_(inside, b.eq(b.load(x, index), top))
                return b.select(hit, b.cast(b.load(gz, index), work), b.const(0, work))

            value = frame.reduce(place, inner, b.const(0, work), "add", element)
            b.store(out, place, b.cast(value, out.dtype))

        frame.each_place(reduced)

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        x, maxout, _, *parameters = inputs
        op = MaxPoolGrad(self.ignore_border, "max", self.ndim)
        back = op(x, maxout, output_grads[0], *self.split(parameters))
        return [zero_gradient(x), zero_gradient(maxout), back, *self.cut(len(parameters))]


class AveragePoolGrad(PoolOp):
    """Every pixel gets its share of the gradients of the sums or means it is in.

    Operands: the gradient, the pooled sizes of the image, the parameters; calling it with an image
    in the first place takes the sizes from that.
    """

    ir_name = "pool_average_grad"

    def make_node(
        self, x: Any, gz: Any, ws: Any, stride: Any = None, pad: Any = None, *rest: Any
    ) -> Apply:
        if rest or (isinstance(gz, Variable) and gz.type.ndim == 0):
            # rebuilt from a node's own operands: the gradient, then scalars
            sizes, numbers = [gz, ws, stride, pad, *rest][: self.ndim], [gz, ws, stride, pad, *rest]
            parameters = self.parameters(*self.split(numbers[self.ndim :]))
            return self._node(self.image(x), [*as_scalars(sizes, self.ndim, "size"), *parameters])
        gz = self.image(gz)
        if isinstance(x, (list, tuple)):
            sizes = list(x)
        else:
            sizes = dims_of(self.image(x, gz.type.ndim))[-self.ndim :]
        return self._node(gz, [*sizes, *self.parameters(ws, stride, pad)])

    def _node(self, gz: Variable, scalars: list[Variable]) -> Apply:
        lead = [1 if s == 1 else None for s in gz.type.shape[: gz.type.ndim - self.ndim]]
        result = new_tensor(gz.type.dtype, [*lead, *[None] * self.ndim])
        return Apply(self, [gz, *scalars], [result])

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [(*shapes[0][: -self.ndim], *node.inputs[1 : 1 + self.ndim])]

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        gz = inputs[0]
        lead = gz.ndim - self.ndim
        sizes = [int(v) for v in inputs[1 : 1 + self.ndim]]
        work = dt.work_dtype(str(gz.dtype))
        result = np.zeros((*gz.shape[:lead], *sizes), work)
        for place, cut, padded in self.windows(sizes, gz.shape[lead:], inputs, 1 + self.ndim):
            share = gz[_at(place)].astype(work)
            if self.mode != "sum":
                count = padded
                if self.mode == "average_exc_pad":
                    count = int(np.prod([s.stop - s.start for s in cut]))
                share = share / np.dtype(work).type(count)
            result[_at(cut)] += np.expand_dims(share, tuple(range(-self.ndim, 0)))
        output_storage[0][0] = result.astype(gz.dtype)

    def lower(self, k: Any) -> None:
        b, gz, result = k.b, k.operand(0), k.output(0)
        work = dt.work_dtype(gz.dtype)
        out = result if result.dtype == work else b.temporary(work, result.dims)
        frame = self.frame(k, out, gz.dims, 1 + self.ndim)

        def part(place: list[Any], inner: bool) -> Any:
            value = b.cast(b.load(gz, place), work)
            if self.mode == "sum":
                return value
            count = frame.count(place, inner, self.mode == "average_inc_pad")
            return b.div(value, b.cast(count, work))

        if by_pixels(frame):
            shares = Around(frame, work, part)
            gather(frame, out, lambda place, pixel: shares.load(place))
            if out is not result:
                convert_into(b, result, out)
            return
        parts = None
        if self.mode != "sum" and not frame.apart(self.ndim - 1):
            # every pixel of a window takes the quotient, which lies here instead of being made anew
            parts = b.temporary(work, gz.dims)
            frame.each_place(lambda place, inner: b.store(parts, place, part(place, inner)))

        def share(place: list[Any], pixel: list[Any], inner: bool) -> Any:
            return part(place, inner) if parts is None else b.load(parts, place)

        frame.spread(out, share)
        if out is not result:
            convert_into(b, result, out)

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        parameters = inputs[1 + self.ndim :]
        pool = Pool(self.ignore_border, self.mode, self.ndim)
        back = pool(output_grads[0], *self.split(parameters))
        return [back, *self.cut(len(inputs) - 1)]


# --------------------------------------------------------------------------------- registry

_CASES: tuple[tuple[tuple[int, ...], tuple[Any, ...], dict[str, Any]], ...] = (
    ((2, 3, 4, 6), ((2, 2),), {"ignore_border": True}),
    ((1, 2, 5, 21), ((2, 2),), {"ignore_border": True}),
    ((1, 1, 5, 5), ((2, 2),), {"ignore_border": False}),
    ((2, 5, 7), ((3, 3), (1, 2), (1, 2)), {"ignore_border": True}),
    ((5, 8), ((2, 3), (3, 4)), {"ignore_border": False}),
    ((2, 6, 7), ((3, 2), (2, 1)), {"ignore_border": False}),
    ((2, 3, 40), ((2, 20), (1, 10)), {"ignore_border": True}),
    ((1, 3, 35), ((2, 20), (1, 10)), {"ignore_border": False}),
    ((0, 2, 4, 4), ((2, 2),), {"ignore_border": True}),
    ((1, 1, 1, 1), ((2, 2),), {"ignore_border": True}),
    ((2, 3, 4, 5), ((2, 2, 2), (1, 2, 2)), {"ignore_border": True, "ndim": 3}),
)


def _spaced(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Distinct values, so that finite differences do not cross a tie."""
    if not dt.is_float(dtype):
        return draw(rng, dtype, shape)
    count = int(np.prod(shape))
    return ((rng.permutation(count) - count / 2) / 8).reshape(shape).astype(dtype)


def _pool_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for mode in MODES:
        for shape, parameters, attributes in _CASES:
            op = Pool(mode=mode, **attributes)
            yield Sample(
                lambda x, op=op, parameters=parameters: op(x, *parameters),
                [_spaced(rng, dtype, shape)],
                f"{mode} {'x'.join(map(str, shape))} {parameters}",
            )
    yield Sample(
        lambda x, w, s: Pool(True)(x, [w, w], [s, s]),
        [_spaced(rng, dtype, (6, 7)), np.asarray(3, "int32"), np.asarray(2, "int64")],
        "symbolic",
    )


def _out_of(shape: tuple[int, ...], parameters: tuple[Any, ...], attributes: Any) -> Any:
    stride, pad = (*parameters[1:], None, None)[:2]
    return Pool.out_shape(
        shape, parameters[0], attributes["ignore_border"], stride, pad, attributes.get("ndim", 2)
    )


def _max_samples(kind: Any) -> Any:
    def samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
        for shape, parameters, attributes in _CASES:
            op, pool = kind(**attributes), Pool(**attributes)
            other = shape
            if kind is MaxPoolGrad:
                other = tuple(_out_of(shape, parameters, attributes))
            yield Sample(
                lambda x, g, op=op, pool=pool, p=parameters: op(x, pool(x, *p), g, *p),
                [_spaced(rng, dtype, shape), draw(rng, dtype, other)],
                f"{'x'.join(map(str, shape))} {parameters}",
                which=(1,),
            )
        # ties: all of them count
        tied = np.asarray([[1, 1, 0, 2], [1, 0, 2, 2]], dtype)
        other = (2, 4) if kind is not MaxPoolGrad else (1, 2)
        yield Sample(
            lambda x, g: kind(True)(x, Pool(True)(x, (2, 2)), g, (2, 2)),
            [tied, draw(rng, dtype, other)],
            "ties",
            which=(1,),
        )

    return samples


def _average_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for mode in MODES[1:]:
        for shape, parameters, attributes in _CASES:
            op = AveragePoolGrad(mode=mode, **attributes)
            sizes = [constant(s, dtype="int64") for s in shape[-op.ndim :]]
            yield Sample(
                lambda g, op=op, sizes=sizes, p=parameters: op(sizes, g, *p),
                [draw(rng, dtype, tuple(_out_of(shape, parameters, attributes)))],
                f"{mode} {'x'.join(map(str, shape))} {parameters}",
            )


declare(
    Declaration(
        "pool",
        Pool.__doc__ or "",
        Pool,
        _pool_samples,
        16,
        (*dt.FLOATS, "int8", "int32", "uint8"),
    )
)
for _class in (MaxPoolGrad, DownsampleFactorMaxGradGrad):
    declare(
        Declaration(
            _class.ir_name, _class.__doc__ or "", _class, _max_samples(_class), 32, dt.FLOATS
        )
    )
declare(
    Declaration(
        "pool_average_grad",
        AveragePoolGrad.__doc__ or "",
        AveragePoolGrad,
        _average_samples,
        32,
        dt.FLOATS,
    )
)
