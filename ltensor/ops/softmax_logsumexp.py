"""Softmax and logsumexp of the same rows, from one exponential of every element.

Graphs have the two ops; the pass ``share_powers`` makes this one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import TensorType, disconnected_type
from ltensor.ops.elementwise import zero_gradient
from ltensor.ops.opdef import Declaration, DeclaredOp, Sample, declare, new_tensor, output_like
from ltensor.ops.samples import draw
from ltensor.ops.softmax import column, logsumexp_op, rows, softmax_grad_op, softmax_op


class SoftmaxLogSumExp(DeclaredOp):
    """softmax(x) and log(sum(exp(x))) of every row of a matrix."""

    __props__ = ()
    kind = "kernel"
    ir_name = "softmax_logsumexp"
    nout = 2

    def __str__(self) -> str:
        return "SoftmaxLogSumExp"

    def make_node(self, x: Any) -> Apply:
        x = as_tensor(x)
        if x.type.ndim != 2 or not dt.is_float(x.type.dtype):
            raise TypeError(f"softmax_logsumexp takes a matrix of floats, not {x.type}")
        return Apply(self, [x], [output_like(x), new_tensor(x.type.dtype, x.type.shape[:1])])

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [shapes[0], shapes[0][:1]]

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        for op, storage in ((softmax_op, output_storage[0]), (logsumexp_op, output_storage[1])):
            op.perform(node, inputs, [storage])

    def lower(self, k: Any) -> None:
        b, x, y, s = k.b, k.operand(0), k.output(0), k.output(1)
        with rows(k, x) as row:
            top = row.largest(lambda j: row.load(x, j))
            infinite = b.isinf(top)
            shift = b.select(infinite, b.const(0, row.dtype), top)
            same = y.dtype == row.dtype

            def power(j: Any) -> Any:
                return b.exp(b.sub(row.load(x, j), shift))

            def keep(j: Any) -> Any:
                value = power(j)
                row.store(y, j, value)
                return value

            total = row.total(keep if same else power)
            b.store(s, [row.row], b.cast(b.add(b.log(total), shift), s.dtype))
            # the softmax of an infinite row is nan
            nan = b.const(np.nan, row.dtype)
            scale = b.select(infinite, nan, b.div(b.const(1, row.dtype), total))
            row.each(lambda j: row.store(y, j, b.mul(row.load(y, j) if same else power(j), scale)))

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        from ltensor.ops.arithmetic import add, mul

        soft = outputs[0]
        g_soft, g_sum = output_grads
        terms = []
        if type(g_soft.type) is TensorType:
            terms.append(softmax_grad_op(g_soft, soft))
        if type(g_sum.type) is TensorType:
            terms.append(mul(column(g_sum), soft))
        if not terms:
            return [zero_gradient(inputs[0]) if output_grads else disconnected_type.make_variable()]
        return [terms[0] if len(terms) == 1 else add(*terms)]


softmax_logsumexp_op = SoftmaxLogSumExp()


def _samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for number in (0, 1):
        for shape in ((3, 4), (2, 37), (1, 6), (0, 3)):
            yield Sample(
                lambda x, number=number: softmax_logsumexp_op(x)[number],
                [draw(rng, dtype, shape)],
                f"{number} {'x'.join(map(str, shape))}",
            )
        infinite = np.array([[-np.inf, -np.inf], [np.inf, 1], [-np.inf, 2], [600, 601]], dtype)
        yield Sample(
            lambda x, number=number: softmax_logsumexp_op(x)[number],
            [infinite],
            f"{number} infinite",
            differentiable=False,
        )


declare(
    Declaration(
        "softmax_logsumexp",
        "Softmax and log(sum(exp(x))) of every row of a matrix.",
        SoftmaxLogSumExp,
        _samples,
        16,
        dt.FLOATS,
    )
)
