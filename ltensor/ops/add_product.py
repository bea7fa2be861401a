"""``g + x^T y``: the form in which a loop accumulates the gradients of its matrices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Apply, Variable
from ltensor.ops.linalg import dot, emit_product, transposed
from ltensor.ops.opdef import Declaration, DeclaredOp, Sample, declare, new_tensor
from ltensor.ops.samples import draw
from ltensor.ops.shape import dimshuffle


class AddProduct(DeclaredOp):
    """``g`` (m, n) and the product of ``x`` (k, m), transposed, and ``y`` (k, n).

    As the update of a loop's carry the products of many steps are taken at once
    (`ltensor.lowering.loops.deferred`).
    """

    __props__ = ()
    kind = "kernel"
    ir_name = "add_product"

    def __str__(self) -> str:
        return "AddProduct"

    def make_node(self, *inputs: Any) -> Apply:
        g, x, y = (as_tensor(v) for v in inputs)
        if any(v.type.ndim != 2 for v in (g, x, y)):
            raise TypeError(f"add_product takes matrices, not {g.type}, {x.type}, {y.type}")
        if len({v.type.dtype for v in (g, x, y)}) != 1:
            raise TypeError(f"add_product takes one dtype, not {g.type}, {x.type}, {y.type}")
        sizes = [
            a if a is not None else b
            for a, b in zip(g.type.shape, (x.type.shape[1], y.type.shape[1]), strict=True)
        ]
        return Apply(self, [g, x, y], [new_tensor(g.type.dtype, sizes)])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        g, x, y = inputs
        product = np.dot(x.T, y)
        if product.shape != g.shape:
            raise ValueError(f"add_product: shapes {g.shape} and {product.shape} do not agree")
        output_storage[0][0] = g + product

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [tuple(shapes[0])]

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        _, x, y = inputs
        (g,) = output_grads
        return [g, dot(y, dimshuffle(g, 1, 0)), dot(x, g)]

    def lower(self, k: Any) -> None:
        b = k.b
        g, x, y = (k.operand(position) for position in range(3))
        if not k.block.same(x.dims[0], y.dims[0]):
            k.check(b.eq(x.dims[0], y.dims[0]), "dot", (x.dims[0], y.dims[0]))
        for axis, (position, factor) in enumerate(((1, x), (2, y))):
            have, want = g.dims[axis], factor.dims[1]
            if not k.block.same(have, want):
                k.check(b.eq(have, want), "mismatch", (have, want), (0, position, axis))
        target = k.output(0)
        k.block.copy(target, g)
        emit_product(b, target, transposed(b, x), y, accumulate=True)


add_product = AddProduct()


def _samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for k, m, n in ((1, 4, 3), (5, 7, 19), (0, 2, 3), (3, 0, 2), (33, 17, 1)):
        operands = [draw(rng, dtype, shape) for shape in ((m, n), (k, m), (k, n))]
        yield Sample(add_product, operands, f"{k}x{m}x{n}", ulp=64)


declare(
    Declaration(
        "add_product",
        "A matrix and the product of two others, the first transposed.",
        AddProduct,
        _samples,
        64,
        dtypes=("float32", "float64"),
    )
)
