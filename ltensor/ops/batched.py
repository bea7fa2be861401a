"""Products of many matrices at once: `batched_dot` and `batched_tensordot`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Apply, Variable
from ltensor.ops import batching
from ltensor.ops.arithmetic import mul
from ltensor.ops.linalg import (
    Dot,
    convert_into,
    converted,
    emit_product,
    matrix_strides,
    met_axes,
    product_of,
    product_symbol,
    scalar_arguments,
)
from ltensor.ops.opdef import Declaration, DeclaredOp, Sample, declare, new_tensor
from ltensor.ops.samples import draw
from ltensor.ops.shape import dims_of, dimshuffle, reshape, set_flags


class BatchedDot(DeclaredOp):
    """The products of the matrices ``x[i]`` and ``y[i]``, for every ``i``."""

    __props__ = ()
    kind = "kernel"
    ir_name = "batched_dot"
    batch = batching.batched_dot_rule

    def __str__(self) -> str:
        return "BatchedDot"

    def make_node(self, *inputs: Any) -> Apply:
        x, y = (as_tensor(value) for value in inputs)
        for v in (x, y):
            if v.type.ndim != 3:
                raise TypeError(f"BatchedDot takes 3-d tensors, not {v.type}: use batched_dot")
        sizes = (x.type.shape[0] or y.type.shape[0], x.type.shape[1], y.type.shape[2])
        return Apply(self, [x, y], [new_tensor(dt.upcast(x.type.dtype, y.type.dtype), sizes)])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        x, y = inputs
        if x.shape[0] != y.shape[0]:
            raise ValueError(
                f"batched_dot: the operands' batches have {x.shape[0]} and {y.shape[0]} entries"
            )
        with np.errstate(all="ignore"):
            output_storage[0][0] = np.matmul(x, y)

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [(shapes[0][0], shapes[0][1], shapes[1][2])]

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        from ltensor.ops.elementwise import zero_gradient

        (x, y), (g,) = inputs, output_grads
        if dt.is_discrete(outputs[0].type.dtype):
            return [zero_gradient(x), zero_gradient(y)]
        gx, gy = self(g, dimshuffle(y, 0, 2, 1)), self(dimshuffle(x, 0, 2, 1), g)
        return [set_flags(gx, x.type.broadcastable), set_flags(gy, y.type.broadcastable)]

    R_op = Dot.R_op

    def lower(self, k: Any) -> None:
        b = k.b
        out = k.node.outputs[0].type.dtype
        dtype = dt.work_dtype(out)
        x, y = k.operand(0), k.operand(1)
        for n, m, kind in (
            (x.dims[0], y.dims[0], "batched_dot"),
            (x.dims[2], y.dims[1], "dot"),
        ):
            if not k.block.same(n, m):
                k.check(b.eq(n, m), kind, (n, m))
                k.block.unify(n, m)
        if x.dtype == y.dtype == out == "float16":
            target = k.output(0)
            with b.loop(target.dims[0], parallel=True) as loop:
                emit_product(b, *(b.row(view, loop.index) for view in (target, x, y)))
            return
        x, y = converted(b, x, dtype), converted(b, y, dtype)
        target = k.output(0)
        place = target if out == dtype else b.temporary(dtype, target.dims)
        batch, rows, columns = place.dims
        b.call(
            product_symbol(dtype, form="matmul_batched"),
            [
                batch, rows, columns, x.dims[2],
                b.shifted(x, 0), *matrix_strides(b, x),
                b.shifted(y, 0), *matrix_strides(b, y),
                b.shifted(place, 0), b.mul(rows, columns), columns,
                *scalar_arguments(b, dtype, 1, 0),
            ],
        )  # fmt: skip
        if place is not target:
            convert_into(b, target, place)


_batched = BatchedDot()


def batched_dot(a: Any, b: Any) -> Variable:
    """The product of ``a[i]`` and ``b[i]``, for every ``i`` along the first axis.

    Raises
    ------
    TypeError
        If an operand is a scalar.
    """
    a, b = as_tensor(a), as_tensor(b)
    for name, v in (("a", a), ("b", b)):
        if v.type.ndim == 0:
            raise TypeError(f"{name} must have at least one (batch) axis")
    if a.type.ndim == 1 or b.type.ndim == 1:
        rank = max(a.type.ndim, b.type.ndim)
        return mul(*(dimshuffle(v, _behind(v, rank)) for v in (a, b)))
    if a.type.ndim > 3 or b.type.ndim > 3:
        return batched_tensordot(a, b, [[a.type.ndim - 1], [max(1, b.type.ndim - 2)]])
    if a.type.ndim == 2 and b.type.ndim == 2:
        from ltensor.ops.reduce import sum as reduce_sum

        # a sum in the dtype of the operands, as products are
        dtype = dt.upcast(a.type.dtype, b.type.dtype)
        return reduce_sum(mul(a, b), axis=1, dtype=dtype)
    if a.type.ndim == 2:
        return dimshuffle(_batched(dimshuffle(a, 0, "x", 1), b), 0, 2)
    if b.type.ndim == 2:
        return dimshuffle(_batched(a, dimshuffle(b, 0, 1, "x")), 0, 1)
    return _batched(a, b)


def _behind(v: Variable, rank: int) -> list[Any]:
    """The axes of ``v`` with broadcastable ones added behind."""
    return [*range(v.type.ndim), *["x"] * (rank - v.type.ndim)]


def batched_tensordot(x: Any, y: Any, axes: Any = 2) -> Variable:
    """`tensordot` of ``x[i]`` and ``y[i]``, for every ``i`` along the first axis.

    Parameters
    ----------
    axes : int or pair
        As for `tensordot`; axes given by number count the first axis, which none of them may be.
    """
    x, y = as_tensor(x), as_tensor(y)
    if isinstance(axes, (int, np.integer)):
        count = int(axes)
        if count > min(x.type.ndim, y.type.ndim) - 1:
            raise ValueError(f"batched_tensordot: there are no {count} axes behind the first")
        first = list(range(x.type.ndim - count, x.type.ndim))
        second = list(range(1, 1 + count))
    else:
        first, second = met_axes(x, y, axes)
    if 0 in first or 0 in second:
        raise ValueError(
            "Axes to sum over must not contain the batch axis (axes=" + f"{[first, second]})"
        )
    kept_x = [k for k in range(1, x.type.ndim) if k not in first]
    kept_y = [k for k in range(1, y.type.ndim) if k not in second]
    product = _batched(_flat_batch(x, kept_x, first), _flat_batch(y, second, kept_y))
    if len(kept_x) == 1 and len(kept_y) == 1:
        return product
    dims_x, dims_y = dims_of(x), dims_of(y)
    sizes = [dims_x[0], *(dims_x[k] for k in kept_x), *(dims_y[k] for k in kept_y)]
    flags = [product.type.broadcastable[0]]
    flags += [x.type.broadcastable[k] for k in kept_x] + [y.type.broadcastable[k] for k in kept_y]
    return set_flags(reshape(product, sizes, ndim=len(sizes)), flags)


def _flat_batch(x: Variable, rows: Sequence[int], columns: Sequence[int]) -> Variable:
    """``x`` as a batch of matrices, see `_flat`."""
    turned = dimshuffle(x, (0, *rows, *columns))
    if len(rows) == 1 and len(columns) == 1:
        return turned
    dims = dims_of(x)
    return reshape(turned, [dims[0], product_of(dims, rows), product_of(dims, columns)], ndim=3)


# --------------------------------------------------------------------------------- registry


def _batched_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for first, second in (
        ((3, 2, 4), (3, 4, 5)),
        ((0, 2, 3), (0, 3, 2)),
        ((2, 3, 0), (2, 0, 2)),
        ((1, 2, 2), (1, 2, 2)),
        ((3, 4), (3, 4, 2)),
        ((3, 2, 4), (3, 4)),
        ((3, 4), (3, 4)),
        ((3,), (3, 2)),
        ((2, 3, 2, 4), (2, 4, 3)),
    ):
        yield Sample(
            batched_dot,
            [draw(rng, dtype, first), draw(rng, dtype, second)], f"{first}{second}", ulp=64,
        )  # fmt: skip
    yield Sample(
        lambda x, y: batched_dot(dimshuffle(x, 1, 0, 2), dimshuffle(y, 0, 2, 1)),
        [draw(rng, dtype, (5, 2, 3)), draw(rng, dtype, (2, 4, 3))], "views", ulp=64,
    )  # fmt: skip
    yield Sample(
        lambda x, y: batched_tensordot(x, y, [[1, 3], [2, 1]]),
        [draw(rng, dtype, (2, 3, 4, 5)), draw(rng, dtype, (2, 5, 3))], "tensordot", ulp=64,
    )  # fmt: skip


declare(
    Declaration("batched_dot", "Products of matrices by batch.", BatchedDot, _batched_samples, 64)
)
