"""The pass ``scan_hoist``: what does not change in a loop is computed before it.

A value is invariant if it depends on refs and constants only. It is moved if computing it costs
anything; views, constants spread over an array and sizes are free in the loop and stay.

What may fail (divisions of integers, indices, inverses) must not fail where no step is run. Unless
one is known to be run, scalars that depend on it stay - the lowering computes them before the loop,
under that condition - and arrays are computed outside in an ``ifelse``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ltensor.ir.build import constant, constant_value
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.ir.types import TensorType
from ltensor.ir.walks import substitute
from ltensor.ops.alloc import alloc
from ltensor.ops.compare import gt
from ltensor.ops.ifelse import IfElse
from ltensor.ops.shape import restore_flags
from ltensor.ops.shape_map import ShapeMap
from ltensor.passes.loops import change_scans
from ltensor.passes.manager import register
from ltensor.passes.remarks import Listing, Who, remark
from ltensor.passes.rewrite import is_pure


def scan_hoist(function: Function) -> Function:
    """Move invariants out of every scan."""

    def change(node: Apply, _: Apply) -> dict[Variable, Variable] | None:
        fresh = _hoist(node)
        return None if fresh is None else dict(zip(node.outputs, fresh.outputs, strict=True))

    return change_scans(function, change)


def _is_left(node: Apply) -> bool:
    """Whether an invariant that may fail stays in the loop: scalars, which the lowering moves."""
    op: Any = node.op
    return op.kind in ("pointwise", "indexed") and all(_rank(v) == 0 for v in node.outputs)


def _rank(variable: Variable) -> int:
    kind: Any = variable.type
    return kind.ndim


class _Invariants:
    """What does not change in a loop: which of it costs anything, which may fail."""

    def __init__(self, node: Apply) -> None:
        op: Any = node.op
        count = constant_value(node.inputs[0])
        self.known: set[Variable] = set(op.inner_refs())
        self.costly: set[Variable] = set()
        self.risky: set[Variable] = set()
        self.runs = count is not None and int(count) > 0
        #: nodes that are in the loop afterwards
        self.staying: list[Apply] = []
        for inner in op.body.nodes:
            if not self._enter(node, inner):
                self.staying.append(inner)

    def _enter(self, node: Apply, inner: Apply) -> bool:
        """Take up a node of the body; False if it stays."""
        op: Any = inner.op
        if not all(v in self.known or isinstance(v, Constant) for v in inner.inputs):
            return False
        if not is_pure(inner) or getattr(op, "kind", "python") == "python":
            remark(
                "scan_hoist",
                node,
                "leaves {} in the loop, though its operands do not change: it may have effects",
                Who(inner),
            )
            return False
        if not all(isinstance(v.type, TensorType) for v in inner.outputs):
            return False
        if not any(v in self.known for v in inner.inputs):
            return False
        self.known.update(inner.outputs)
        if not op.is_free or any(v in self.costly for v in inner.inputs):
            self.costly.update(inner.outputs)
        if self.runs:
            return True
        if op.may_fail(inner) or any(v in self.risky for v in inner.inputs):
            self.risky.update(inner.outputs)
            return not _is_left(inner)
        return True

    def frontier(self, results: Sequence[Variable]) -> list[Variable]:
        """The invariants that are worth moving and read by what stays, or results."""
        found: dict[Variable, None] = {}
        left = {v for inner in self.staying for v in inner.outputs}
        for v in (*(v for inner in self.staying for v in inner.inputs), *results):
            if v in self.costly and v not in left:
                found[v] = None
        return list(found)


def _if_run(node: Apply, values: list[Variable]) -> list[Variable] | None:
    """Values that are only computed if the loop takes a step; None if their sizes are not known."""
    shapes = ShapeMap()
    others = []
    for value in values:
        kind: Any = value.type
        dims = shapes.shape(value)
        if dims is None:
            return None
        others.append(restore_flags(alloc(constant(0, dtype=kind.dtype), *dims), value))
    condition = gt(node.inputs[0], constant(0, dtype="int8"))
    return list(IfElse(len(values)).make_node(condition, *values, *others).outputs)


def _hoist(node: Apply) -> Apply | None:
    op: Any = node.op
    found = _Invariants(node)
    frontier = found.frontier(op.body.outputs)
    if not frontier:
        return None
    outer = dict(zip(op.inner_refs(), op.split(node.inputs)[4], strict=True))
    moved = dict(zip(frontier, substitute(frontier, dict(outer)), strict=True))
    risky = [v for v in frontier if v in found.risky]
    if risky:
        guarded = _if_run(node, [moved[v] for v in risky])
        if guarded is None:
            moved = {v: value for v, value in moved.items() if v not in found.risky}
        else:
            moved.update(zip(risky, guarded, strict=True))
            text = "computes only if a step is run, as it may fail: {}"
            remark("scan_hoist", node, text, Listing([Who(v) for v in risky]))
    if not moved:
        return None
    arguments = {v: v.type.make_variable(v.name) for v in moved}
    body = Function(
        [*op.body.inputs, *arguments.values()],
        substitute(op.body.outputs, dict(arguments)),
        op.body.name,
    )
    fresh = op.replace(body=body).make_node(*node.inputs, *moved.values())
    fresh.source = node.source
    remark(
        "scan_hoist",
        node,
        "computes before the loop what does not change in it: {}",
        Listing([Who(v) for v in moved]),
    )
    for old, new in zip(node.outputs, fresh.outputs, strict=True):
        new.name = old.name
    if any(a.type != b.type for a, b in zip(fresh.outputs, node.outputs, strict=True)):
        return None
    return fresh


register(scan_hoist)
