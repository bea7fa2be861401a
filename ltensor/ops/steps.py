"""The number of steps of a loop that became a graph, with the checks that the loop made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import disconnected_type
from ltensor.ops import batching
from ltensor.ops.cast import cast
from ltensor.ops.opdef import Declaration, IndexedOp, Sample, declare, new_tensor


class Steps(IndexedOp):
    """``Steps()(n, *lengths)``: is ``n``, which must not be negative nor beyond a length."""

    __props__: ClassVar[tuple[str, ...]] = ()
    affine = True
    ir_name = "steps"
    natural = "always"
    batch = batching.no_rule

    def __str__(self) -> str:
        return "Steps"

    def make_node(self, n: Any, *lengths: Any) -> Apply:
        scalars = [cast(as_tensor(v), "int64") for v in (n, *lengths)]
        if any(v.type.ndim for v in scalars):
            raise TypeError("steps takes scalars", scalars)
        return Apply(self, scalars, [new_tensor("int64", ())])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        n, *lengths = (int(v) for v in inputs)
        if n < 0:
            raise IndexError(f"Scan was asked to run for negative number of step {n}")
        for number, length in enumerate(lengths):
            if length < n:
                raise ValueError(
                    f"Scan: sequence {number} has {length} elements but {n} are needed"
                )
        output_storage[0][0] = np.asarray(n, dtype="int64")

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [()]

    def check(self, b: Any, node: Apply, operands: Any) -> None:
        """The run-time checks."""
        n, *lengths = (operand.value for operand in operands)
        b.check(b.ge(n, 0), "negative_steps", node, (n,))
        for number, length in enumerate(lengths):
            b.check(b.ge(length, n), "scan_sequence", node, (length, n), (number,))

    def element(self, e: Any, node: Apply, operands: Any, index: Any) -> Any:
        return operands[0].value

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        return [[False] for _ in node.inputs]

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        return [disconnected_type.make_variable() for _ in inputs]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return [None]


def _samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for numbers in ((3,), (0, 2), (2, 2, 5)):
        arrays = [np.asarray(v, dtype=dtype) for v in numbers]
        yield Sample(lambda *v: Steps()(*v), arrays, str(numbers), differentiable=False)


declare(
    Declaration(
        "steps",
        "A number of steps, checked.",
        Steps,
        _samples,
        0,
        ("int8", "int32", "int64"),
        differentiable=False,
    )
)
