"""Operations that are linear in their first operands; the others are indices, sizes and the like.

Of these no derivative is taken: gradients stop at them.
"""

from __future__ import annotations

from typing import Any

from ltensor.ir.graph import Apply, Variable
from ltensor.ops.opdef import DeclaredOp


class LinearInFirst(DeclaredOp):
    """Mixed into operations ``op(x, ...)`` that are linear in ``x``."""

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        return [[True], *[[False] for _ in node.inputs[1:]]]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return [None if eval_points[0] is None else self(eval_points[0], *inputs[1:])]


class LinearInTwo(DeclaredOp):
    """Mixed into operations ``op(x, y, ...)`` that are linear in ``x`` and ``y`` together.

    The result has the size of ``x``.
    """

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [tuple(shapes[0])]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        return [[True], [True], *[[False] for _ in node.inputs[2:]]]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        from ltensor.ops.alloc import zeros_like

        if eval_points[0] is None and eval_points[1] is None:
            return [None]
        moved = [
            zeros_like(v) if e is None else e
            for v, e in zip(inputs[:2], eval_points[:2], strict=True)
        ]
        return [self(*moved, *inputs[2:])]
