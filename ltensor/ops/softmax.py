"""Softmax and its relatives over the rows of a matrix: softmax, logsoftmax, logsumexp.

The op objects ``softmax_op``, ``logsoftmax_op`` and ``softmax_grad_op`` are what rewriting passes
match and build.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Apply, Variable
from ltensor.ops import batching
from ltensor.ops.opdef import Declaration, DeclaredOp, Sample, declare, new_tensor, output_like
from ltensor.ops.samples import draw
from ltensor.ops.shape import dimshuffle

#: elements of the longest row whose logarithm is worth a loop of its own
NARROW = 64


def as_rows(x: Any) -> Variable:
    """``x`` as a matrix of rows; a vector becomes one row.

    Raises
    ------
    ValueError
        If it is no vector or matrix of floats.
    """
    x = as_tensor(x)
    if x.type.ndim not in (1, 2) or not dt.is_float(x.type.dtype):
        raise ValueError(f"x must be 1-d or 2-d tensor of floats. Got {x.type}")
    return dimshuffle(x, ("x", 0)) if x.type.ndim == 1 else x


def column(v: Variable) -> Variable:
    """A vector as a broadcastable column."""
    return dimshuffle(v, (0, "x"))


def row_sum(x: Variable) -> Variable:
    """Sums of the rows, as a column."""
    from ltensor.ops.reduce import sum as reduce_sum

    return reduce_sum(x, axis=1, keepdims=True)


class RowLoops:
    """Loops over one row in the working dtype, for the lowerings of this file.

    Parameters
    ----------
    b : Builder
    row : Value
        Which row.
    columns : Value
        Their length.
    dtype : str
        Working dtype.
    """

    def __init__(self, b: Any, row: Any, columns: Any, dtype: str) -> None:
        self.b = b
        self.row = row
        self.columns = columns
        self.dtype = dtype

    def load(self, view: Any, j: Any) -> Any:
        """An element of this row."""
        return self.b.cast(self.b.load(view, [self.row, j]), self.dtype)

    def maximum(self, element: Any) -> Any:
        """The largest of ``element(j)``; nan if one is."""
        b = self.b
        low = b.const(-np.inf, self.dtype)
        with b.reduce(self.columns, "max", low) as loop:
            loop.next(element(loop.index))
        return loop.results[0]

    def largest(self, element: Any) -> Any:
        """The largest of ``element(j)`` that is a number; cheaper than `maximum`."""
        b = self.b
        with b.reduce(self.columns, "largest", b.const(-np.inf, self.dtype)) as loop:
            loop.next(element(loop.index))
        return loop.results[0]

    def total(self, element: Any) -> Any:
        """The sum of ``element(j)``."""
        b = self.b
        with b.reduce(self.columns, "add", b.const(0, self.dtype)) as loop:
            loop.next(element(loop.index))
        return loop.results[0]

    def each(self, action: Any) -> None:
        """Run ``action(j)`` over the row in lanes."""
        with self.b.loop(self.columns, kind="vector") as loop:
            action(loop.index)

    def store(self, view: Any, j: Any, value: Any) -> None:
        """Write an element of this row."""
        self.b.store(view, [self.row, j], self.b.cast(value, view.dtype))


@contextmanager
def rows(k: Any, view: Any) -> Iterator[RowLoops]:
    """A loop over the rows of a matrix."""
    n, m = view.dims
    with k.b.loop(n, parallel=True, label=str(k.node.op)) as loop:
        yield RowLoops(k.b, loop.index, m, dt.work_dtype(view.dtype))


def _lies_across(view: Any) -> bool:
    """Whether neighbours in memory belong to different rows, as in a transposed matrix."""
    if view.strides is None:
        return False
    first, last = (bool(s.op == "const" and s.attr == 1) for s in view.strides)
    return first and not last


class _RowOp(DeclaredOp):
    """A function of the rows of a matrix with a result of the same size."""

    __props__ = ()
    kind = "kernel"
    batch = batching.rows

    def __str__(self) -> str:
        return type(self).__name__

    def make_node(self, x: Any) -> Apply:
        x = as_rows(x)
        return Apply(self, [x], [output_like(x)])

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [shapes[0]]


def _stable(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows less their maxima in the working dtype, and the exponentials of those."""
    wide = x.astype(dt.work_dtype(str(x.dtype)))
    if wide.shape[1] == 0:
        return wide, wide
    shifted = wide - wide.max(axis=1, keepdims=True)
    return shifted, np.exp(shifted)


class Softmax(_RowOp):
    """exp(x) over its sum, row by row, computed from x less its maximum."""

    ir_name = "softmax"

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        with np.errstate(all="ignore"):
            _, powers = _stable(inputs[0])
            result = powers / powers.sum(axis=1, keepdims=True)
        output_storage[0][0] = result.astype(inputs[0].dtype)

    def lower(self, k: Any) -> None:
        b, x, y = k.b, k.operand(0), k.output(0)
        with rows(k, x) as row:
            top = row.largest(lambda j: row.load(x, j))
            if y.dtype == row.dtype:

                def keep(j: Any) -> Any:
                    power = b.exp(b.sub(row.load(x, j), top))
                    row.store(y, j, power)
                    return power

                scale = b.div(b.const(1, row.dtype), row.total(keep))
                row.each(lambda j: row.store(y, j, b.mul(row.load(y, j), scale)))
            else:
                # a narrow result cannot hold the powers: they are computed twice
                def power(j: Any) -> Any:
                    return b.exp(b.sub(row.load(x, j), top))

                scale = b.div(b.const(1, row.dtype), row.total(power))
                row.each(lambda j: row.store(y, j, b.mul(power(j), scale)))

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        return [softmax_grad_op(output_grads[0], outputs[0])]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        if eval_points[0] is None:
            return [None]
        # the Jacobian is symmetric
        return [softmax_grad_op(eval_points[0], self(inputs[0]))]


class SoftmaxGrad(DeclaredOp):
    """(g - sum(g s)) s over rows: the gradient of softmax from that of its result."""

    __props__ = ()
    kind = "kernel"
    ir_name = "softmax_grad"
    batch = batching.rows

    def __str__(self) -> str:
        return "SoftmaxGrad"

    def make_node(self, g: Any, s: Any) -> Apply:
        from ltensor.ops.cast import cast

        g, s = as_rows(g), as_rows(s)
        common = dt.upcast(g.type.dtype, s.type.dtype)
        g, s = cast(g, common), cast(s, common)
        return Apply(self, [g, s], [output_like(s)])

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [shapes[1]]

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        wide = dt.work_dtype(str(inputs[1].dtype))
        g, s = (v.astype(wide) for v in inputs)
        result = (g - (g * s).sum(axis=1, keepdims=True)) * s
        output_storage[0][0] = result.astype(inputs[1].dtype)

    def lower(self, k: Any) -> None:
        b, g, s, y = k.b, k.operand(0), k.operand(1), k.output(0)
        for axis in (0, 1):
            same = b.eq(g.dims[axis], s.dims[axis])
            k.check(same, "shape_mismatch", (), ("softmax_grad", axis))
        with rows(k, s) as row:
            mean = row.total(lambda j: b.mul(row.load(g, j), row.load(s, j)))
            row.each(lambda j: row.store(y, j, b.mul(b.sub(row.load(g, j), mean), row.load(s, j))))

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        from ltensor.ops.arithmetic import mul, sub

        (g, s), (h,) = inputs, output_grads
        centered = sub(h, row_sum(mul(h, s)))
        return [mul(centered, s), sub(mul(centered, g), mul(h, row_sum(mul(g, s))))]


class LogSoftmax(_RowOp):
    """Logarithm of softmax without computing softmax: x - max - log(sum(exp(x - max)))."""

    ir_name = "logsoftmax"

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        with np.errstate(all="ignore"):
            shifted, powers = _stable(inputs[0])
            result = shifted - np.log(powers.sum(axis=1, keepdims=True))
        output_storage[0][0] = result.astype(inputs[0].dtype)

    def lower(self, k: Any) -> None:
        b, x, y = k.b, k.operand(0), k.output(0)
        if b.threads and b.scope is b.root:
            with b.if_(b.le(x.dims[1], NARROW)):
                self._lower_apart(k, x, y)
            with b.else_():
                self._lower_rows(k, x, y)
        else:
            self._lower_rows(k, x, y)

    def _lower_rows(self, k: Any, x: Any, y: Any) -> None:
        with rows(k, x) as row:
            top, total = self._sum(row, x)
            self._write(row, x, y, top, k.b.log(total))

    def _lower_apart(self, k: Any, x: Any, y: Any) -> None:
        """Of narrow rows: the logarithms are apart, each would take longer than its row."""
        b, wide = k.b, dt.work_dtype(x.dtype)
        tops, logs = (b.temporary(wide, x.dims[:1]) for _ in range(2))
        with rows(k, x) as row:
            top, total = self._sum(row, x)
            b.store(tops, [row.row], top)
            b.store(logs, [row.row], total)
        with b.loop(x.dims[0], kind="vector", parallel=True, label="LogSoftmax") as loop:
            b.store(logs, [loop.index], b.log(b.load(logs, [loop.index])))
        with rows(k, x) as row:
            self._write(row, x, y, b.load(tops, [row.row]), b.load(logs, [row.row]))

    @staticmethod
    def _sum(row: RowLoops, x: Any) -> tuple[Any, Any]:
        """The largest element of a row, and the sum of the powers of what they are less."""
        b, top = row.b, row.largest(lambda j: row.load(x, j))
        return top, row.total(lambda j: b.exp(b.sub(row.load(x, j), top)))

    @staticmethod
    def _write(row: RowLoops, x: Any, y: Any, top: Any, rest: Any) -> None:
        b = row.b
        row.each(lambda j: row.store(y, j, b.sub(b.sub(row.load(x, j), top), rest)))

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        from ltensor.ops.arithmetic import mul, sub

        (g,) = output_grads
        return [sub(g, mul(row_sum(g), softmax_op(inputs[0])))]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        from ltensor.ops.arithmetic import mul, sub

        (v,) = eval_points
        if v is None:
            return [None]
        return [sub(v, row_sum(mul(v, softmax_op(inputs[0]))))]


class LogSumExp(DeclaredOp):
    """log(sum(exp(x))) of every row of a matrix, without overflow."""

    __props__ = ()
    kind = "kernel"
    ir_name = "logsumexp"
    batch = batching.rows

    def __str__(self) -> str:
        return "LogSumExp"

    def make_node(self, x: Any) -> Apply:
        x = as_tensor(x)
        if x.type.ndim != 2 or not dt.is_float(x.type.dtype):
            raise TypeError(f"logsumexp takes a matrix of floats, not {x.type}")
        return Apply(self, [x], [new_tensor(x.type.dtype, x.type.shape[:1])])

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [shapes[0][:1]]

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        x = inputs[0].astype(dt.work_dtype(str(inputs[0].dtype)))
        top = x.max(axis=1, initial=-np.inf)
        with np.errstate(all="ignore"):
            # an infinite maximum must not be subtracted from itself
            shift = np.where(np.isinf(top), x.dtype.type(0), top)
            result = np.log(np.exp(x - shift[:, None]).sum(axis=1)) + shift
        output_storage[0][0] = result.astype(inputs[0].dtype)

    def lower(self, k: Any) -> None:
        b, x, y = k.b, k.operand(0), k.output(0)
        if _lies_across(x):
            self._lower_across(k, x, y)
            return
        with rows(k, x) as row:
            top = row.largest(lambda j: row.load(x, j))
            shift = b.select(b.isinf(top), b.const(0, row.dtype), top)
            total = row.total(lambda j: b.exp(b.sub(row.load(x, j), shift)))
            b.store(y, [row.row], b.cast(b.add(b.log(total), shift), y.dtype))

    def _lower_across(self, k: Any, x: Any, y: Any) -> None:
        """Of rows whose elements are far apart: many at once, as sums down columns are taken."""
        b, dtype = k.b, dt.work_dtype(x.dtype)
        count, length = x.dims
        shifts = b.temporary(dtype, (count,), ("value", k.node.outputs[0]))
        with b.loop(count, kind="vector", parallel=True, label=str(self)) as row:
            with b.loop(length, carries=[b.const(-np.inf, dtype)]) as along:
                element = b.cast(b.load(x, [row.index, along.index]), dtype)
                along.next(b.max(along.carry[0], element))
            top = along.results[0]
            b.store(shifts, [row.index], b.select(b.isinf(top), b.const(0, dtype), top))
        with b.loop(count, kind="vector", parallel=True) as row:
            shift = b.load(shifts, [row.index])
            with b.loop(length, carries=[b.const(0, "float64")]) as along:
                element = b.cast(b.load(x, [row.index, along.index]), dtype)
                power = b.cast(b.exp(b.sub(element, shift)), "float64")
                along.next(b.add(along.carry[0], power))
            total = b.log(b.cast(along.results[0], dtype))
            b.store(y, [row.index], b.cast(b.add(total, shift), y.dtype))

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        from ltensor.ops.arithmetic import mul, sub
        from ltensor.ops.transcendental import exp

        (x,), (y,), (g,) = inputs, outputs, output_grads
        return [mul(column(g), exp(sub(x, column(y))))]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        from ltensor.ops.arithmetic import mul
        from ltensor.ops.reduce import sum as reduce_sum

        (v,) = eval_points
        if v is None:
            return [None]
        return [reduce_sum(mul(v, softmax_op(inputs[0])), axis=1)]


softmax_op = Softmax()
logsoftmax_op = LogSoftmax()
softmax_grad_op = SoftmaxGrad()
logsumexp_op = LogSumExp()


def softmax(c: Any) -> Variable:
    """Softmax of a vector (giving a row) or of every row of a matrix.

    Raises
    ------
    ValueError
        For other ranks, or integers.
    """
    c = as_tensor(c)
    if c.type.ndim and c.type.broadcastable[-1]:
        warnings.warn(
            "The softmax is applied on a dimension of shape 1, which does not have a semantic "
            "meaning.",
            stacklevel=2,
        )
    return softmax_op(c)


def logsoftmax(c: Any) -> Variable:
    """Logarithm of `softmax`, accurate where softmax is nearly 0."""
    return logsoftmax_op(c)


def softmax_with_bias(x: Any, b: Any) -> Variable:
    """``softmax(x + b)`` with the vector ``b`` added to every row."""
    from ltensor.ops.arithmetic import add

    return softmax_op(add(as_tensor(x), as_tensor(b)))


def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Variable:
    """log(sum(exp(x))) over ``axis``, without overflow."""
    from ltensor.ops.arithmetic import mul
    from ltensor.ops.cast import cast
    from ltensor.ops.reduce_base import keep_dims, normalize_axes
    from ltensor.ops.shape import reshape, shape_i

    x = as_tensor(x)
    if not dt.is_float(x.type.dtype):
        x = cast(x, dt.upgrade_to_float(x.type.dtype))
    rank = x.type.ndim
    axes = normalize_axes(axis, x)
    reduced = list(range(rank)) if axes is None else list(axes)
    kept = [k for k in range(rank) if k not in reduced]
    flat = dimshuffle(x, [*kept, *reduced])

    def count(which: list[int]) -> Any:
        total: Any = 1
        for k in which:
            total = shape_i(x, k) if isinstance(total, int) else mul(total, shape_i(x, k))
        return total

    if len(kept) != 1 or len(reduced) != 1:
        flat = reshape(flat, [count(kept), count(reduced)], ndim=2)
    result = logsumexp_op(flat)
    if len(kept) != 1:
        result = reshape(result, [shape_i(x, k) for k in kept], ndim=len(kept))
    return keep_dims(x, result, axes) if keepdims else result


# --------------------------------------------------------------------------------- registry

_SHAPES = ((5,), (3, 4), (2, 37), (1, 6), (0, 3), (1, 1))


def _row_samples(function: Any) -> Any:
    def samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
        for shape in _SHAPES:
            yield Sample(function, [draw(rng, dtype, shape)], "x".join(map(str, shape)))
        large = (draw(rng, dtype, (2, 5)) * 1000).astype(dtype)
        yield Sample(function, [large], "large", differentiable=False)
        turned = Sample(
            lambda x: function(dimshuffle(x, (1, 0))), [draw(rng, dtype, (4, 3))], "turned"
        )
        yield turned

    return samples


def _grad_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for shape in ((3, 4), (2, 37), (0, 3)):
        powers = np.exp(rng.normal(size=shape))
        result = (powers / powers.sum(axis=1, keepdims=True)).astype(dtype)
        pair = [draw(rng, dtype, shape), result]
        yield Sample(softmax_grad_op, pair, "x".join(map(str, shape)))


def _logsumexp_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for shape, axis in (((7,), None), ((3, 4), 1), ((3, 37), 0), ((2, 3, 4), (0, 2)), ((0, 3), 1)):
        yield Sample(
            lambda x, axis=axis: logsumexp(x, axis),
            [draw(rng, dtype, shape)],
            f"{'x'.join(map(str, shape))}-{axis}",
        )
    infinite = np.array([[-np.inf, -np.inf], [np.inf, 1], [-np.inf, 2], [600, 601]], dtype)
    yield Sample(lambda x: logsumexp(x, 1), [infinite], "infinite", differentiable=False)


declare(
    Declaration("softmax", Softmax.__doc__ or "", Softmax, _row_samples(softmax_op), 8, dt.FLOATS)
)
declare(
    Declaration(
        "logsoftmax",
        LogSoftmax.__doc__ or "",
        LogSoftmax,
        _row_samples(logsoftmax_op),
        8,
        dt.FLOATS,
    )
)
declare(
    Declaration(
        "softmax_grad", SoftmaxGrad.__doc__ or "", SoftmaxGrad, _grad_samples, 32, dt.FLOATS
    )
)
declare(
    Declaration("logsumexp", LogSumExp.__doc__ or "", LogSumExp, _logsumexp_samples, 8, dt.FLOATS)
)
