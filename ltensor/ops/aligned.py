"""A value with a check of sizes: products that became one fail as each of them would have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import disconnected_type
from ltensor.ops import batching
from ltensor.ops.cast import cast
from ltensor.ops.opdef import Declaration, IndexedOp, Sample, declare, output_like
from ltensor.ops.samples import draw


class Aligned(IndexedOp):
    """``Aligned()(z, n, m, ...)``: is ``z``; there must be as many columns ``n`` as rows ``m``."""

    __props__: ClassVar[tuple[str, ...]] = ()
    affine = True
    ir_name = "aligned"
    batch = batching.no_rule

    def __str__(self) -> str:
        return "Aligned"

    def make_node(self, *inputs: Any) -> Apply:
        value, *sizes = inputs
        scalars = [cast(as_tensor(v), "int64") for v in sizes]
        if len(scalars) % 2 or any(v.type.ndim for v in scalars):
            raise TypeError("aligned takes a value and pairs of scalars", scalars)
        value = as_tensor(value)
        return Apply(self, [value, *scalars], [output_like(value)])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        value, *sizes = inputs
        for n, m in zip(sizes[::2], sizes[1::2], strict=True):
            if n != m:
                raise ValueError(f"Shape mismatch: x has {n} cols but y has {m} rows")
        output_storage[0][0] = value

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [shapes[0]]

    def check(self, b: Any, node: Apply, operands: Any) -> None:
        """The run-time checks."""
        sizes = [operand.value for operand in operands[1:]]
        for n, m in zip(sizes[::2], sizes[1::2], strict=True):
            b.check(b.eq(n, m), "aligned", node, (n, m))

    def source_index(self, e: Any, node: Apply, operands: Any, index: Any) -> list[Any]:
        return list(index)

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        return [[True], *[[False] for _ in node.inputs[1:]]]

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        return [output_grads[0], *(disconnected_type.make_variable() for _ in inputs[1:])]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return [eval_points[0]]


def _samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for sizes in ((3, 3), (2, 2, 5, 5)):
        value = draw(rng, dtype, (2, 3))
        yield Sample(lambda z, sizes=sizes: Aligned()(z, *sizes), [value], str(sizes))


declare(
    Declaration("aligned", "A value, with a check of sizes.", Aligned, _samples, 0, ("float64",))
)
