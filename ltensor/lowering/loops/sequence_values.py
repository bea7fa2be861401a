"""Scalars of a step that do not depend on the recurrence, computed for a block of steps in lanes.

A loop over scalars runs one element at a time. What its step makes of the sequences alone (a
quotient, a logarithm) may be had sixteen at a time: at the first step of a block a nest in lanes
fills a small buffer, of which each step reads its number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ltensor.ir import dtypes as dt
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.ir.types import TensorType
from ltensor.lowering.block import Block
from ltensor.lowering.fusion import is_scalar, kind_of
from ltensor.lowering.program import Value, View

if TYPE_CHECKING:
    from ltensor.lowering.loops.scan import ScanLowering

#: steps of a block: its buffers stay in the first cache
STEPS = 256
#: values that take fewer operations are computed in the step
LEAST_COST = 4


class SequenceValues:
    """The values of one scan that are computed ahead."""

    def __init__(self, lowering: ScanLowering) -> None:
        self.lowering = lowering
        op = lowering.op
        self.values: list[Variable] = [] if op.has_stop else _ahead(op)
        self.buffers: list[View] = []

    def prepare(self) -> None:
        """Reserve the buffers, before the loop."""
        b = self.lowering.b
        self.buffers = [
            b.temporary(v.type.dtype, (b.const(STEPS),), ("block", v)) for v in self.values
        ]

    def bind(self, step: Value, position: Value) -> dict[Variable, Any]:
        """At the beginning of a step: fill the buffers if a block begins; this step's numbers."""
        lowering, b = self.lowering, self.lowering.b
        op = lowering.op
        with b.if_(b.eq(position, 0)):
            count = b.min(b.const(STEPS), b.sub(lowering.steps, step))
            body = Function(op.body.inputs, self.values, op.body.name)
            with b.loop(count, kind="vector", parallel=True, label="values by step") as lane:
                bound: dict[Variable, Any] = dict(
                    zip(op.inner_refs(), lowering.ref_values, strict=True)
                )
                at = b.add(step, lane.index)
                for variable, view in zip(op.inner_seqs(), lowering.seq_views, strict=True):
                    if variable.type.ndim == 0:
                        bound[variable] = b.load(view, [at])
                inner = Block(lowering.context, body, bound)
                for v, buffer in zip(self.values, self.buffers, strict=True):
                    b.store(buffer, [lane.index], inner.scalar(v))
        return {
            v: b.load(buffer, [position])
            for v, buffer in zip(self.values, self.buffers, strict=True)
        }

    def following(self, position: Value) -> Value:
        """The place of the next step in its block."""
        b = self.lowering.b
        return b.pure("and", "int64", (b.add(position, 1), b.const(STEPS - 1)))


def _ahead(op: Any) -> list[Variable]:
    """Dear scalars made pointwise of sequences' scalars and invariants, the outermost of them."""
    cost: dict[Variable, int] = {}
    fixed = {v for v in op.inner_refs() if is_scalar(v)}
    moving = {v for v in op.inner_seqs() if is_scalar(v)}
    cost.update(dict.fromkeys((*fixed, *moving), 0))
    by_step = set(moving)
    for node in op.body.nodes:
        output = node.outputs[0]
        if not _plain(node) or not all(isinstance(v, Constant) or v in cost for v in node.inputs):
            continue
        total = sum(cost.get(v, 0) for v in node.inputs)
        if any(v in by_step for v in node.inputs):
            by_step.add(output)
            total += getattr(node.op, "cost", 1)
        cost[output] = total
    results = set(op.body.outputs)
    found = []
    for v, dear in cost.items():
        if v not in by_step or v in moving or dear < LEAST_COST:
            continue
        readers = [r for r, _ in op.body.clients.get(v, ()) if r is not None]
        if v in results or any(r.outputs[0] not in by_step for r in readers):
            found.append(v)
    return found


def _plain(node: Apply) -> bool:
    """Whether a node may be computed ahead and in lanes."""
    output = node.outputs[0]
    return (
        kind_of(node) == "pointwise"
        and len(node.outputs) == 1
        and isinstance(output.type, TensorType)
        and is_scalar(output)
        and all(isinstance(v.type, TensorType) and is_scalar(v) for v in node.inputs)
        and not dt.is_complex(output.type.dtype)
        and not _may_fail(node)
    )


def _may_fail(node: Apply) -> bool:
    """Whether an element may raise: then it must not be computed before its step."""
    fails = getattr(node.op, "fails", None)
    if fails is None or not dt.is_discrete(node.outputs[0].type.dtype):
        return False
    last = node.inputs[-1]
    return not isinstance(last, Constant) or bool(fails(last.data))
