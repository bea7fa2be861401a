"""The pass ``scan_hoist``: what does not change in a loop is computed before it.

A value is invariant if it depends on refs and constants only. It is moved if computing it costs
anything; views, constants spread over an array and sizes are free in the loop and stay. Integer
divisions stay too unless a step is sure to be taken: outside they would fail where the loop is not
run.
"""

from __future__ import annotations

from typing import Any

from ltensor.ir.build import constant_value
from ltensor.ir.dtypes import is_discrete
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Constant, Variable, substitute
from ltensor.ir.types import TensorType
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


def _free(node: Apply) -> bool:
    kind = getattr(node.op, "kind", "python")
    return kind in ("indexed", "shape", "alias") or getattr(node.op, "name", "") == "second"


def _divides(node: Apply) -> bool:
    """Whether a node may divide by zero, which it must not do if the loop takes no step."""
    kind = node.outputs[0].type
    return (
        isinstance(kind, TensorType)
        and is_discrete(kind.dtype)
        and getattr(node.op, "name", "") in ("int_div", "mod")
    )


def _hoist(node: Apply) -> Apply | None:
    op: Any = node.op
    refs = set(op.inner_refs())
    invariant: set[Variable] = set(refs)
    costly: set[Variable] = set()
    count = constant_value(node.inputs[0])
    runs = count is not None and int(count) > 0
    nodes = op.body.nodes
    for inner in nodes:
        if not all(v in invariant or isinstance(v, Constant) for v in inner.inputs):
            continue
        if not is_pure(inner) or getattr(inner.op, "kind", "python") == "python":
            remark(
                "scan_hoist",
                node,
                "leaves {} in the loop, though its operands do not change: it may have effects",
                Who(inner),
            )
            continue
        if not all(isinstance(v.type, TensorType) for v in inner.outputs):
            continue
        if not any(v in invariant for v in inner.inputs):
            continue
        if _divides(inner) and not runs:
            remark(
                "scan_hoist",
                node,
                "leaves {} in the loop, though it does not change: it fails where the divisor is "
                "0, also if no step is run",
                Who(inner),
            )
            continue
        invariant.update(inner.outputs)
        if not _free(inner) or any(v in costly for v in inner.inputs):
            costly.update(inner.outputs)
    if not costly:
        return None
    frontier: list[Variable] = []
    for inner in nodes:
        if all(o in invariant for o in inner.outputs):
            continue
        for v in inner.inputs:
            if v in costly and v not in frontier:
                frontier.append(v)
    for v in op.body.outputs:
        if v in costly and v not in frontier:
            frontier.append(v)
    if not frontier:
        return None
    outer = dict(zip(op.inner_refs(), op.split(node.inputs)[4], strict=True))
    moved = substitute(frontier, dict(outer))
    arguments = [v.type.make_variable(v.name) for v in frontier]
    body = Function(
        [*op.body.inputs, *arguments],
        substitute(op.body.outputs, dict(zip(frontier, arguments, strict=True))),
        op.body.name,
    )
    fresh = op.replace(body=body).make_node(*node.inputs, *moved)
    fresh.source = node.source
    remark(
        "scan_hoist",
        node,
        "computes before the loop what does not change in it: {}",
        Listing([Who(v) for v in frontier]),
    )
    for old, new in zip(node.outputs, fresh.outputs, strict=True):
        new.name = old.name
    if any(a.type != b.type for a, b in zip(fresh.outputs, node.outputs, strict=True)):
        return None
    return fresh


register(scan_hoist)
