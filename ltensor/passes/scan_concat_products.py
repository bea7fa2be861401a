"""The pass ``scan_concat_products``: products of a step that share an operand become one product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ltensor.ir.build import constant
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Constant, Variable, substitute
from ltensor.ops.arithmetic import add
from ltensor.ops.join import Join
from ltensor.ops.keep_or_recompute import invariants
from ltensor.ops.linalg import Dot
from ltensor.ops.shape import restore_flags, shape_i
from ltensor.ops.subtensor import Subtensor
from ltensor.passes.loops import change_scans
from ltensor.passes.manager import register
from ltensor.passes.remarks import Listing, Who, remark


def scan_concat_products(function: Function, left: bool = True, right: bool = True, sums: bool = True) -> Function:
    """Make one product of those in a step that share an operand."""

    def change(node: Apply, _: Apply) -> dict[Variable, Variable] | None:
        return _concatenated(node, left, right, sums)

    return change_scans(function, change)


def _concatenated(node: Apply, left, right, sums) -> dict[Variable, Variable] | None:
    op: Any = node.op
    products = [v for v in op.body.nodes if isinstance(v.op, Dot)]
    if len(products) < 2:
        return None
    fixed = invariants(op.body, op.inner_refs())
    table: dict[Variable, Variable] = {}
    if sums:
        for inner in op.body.nodes:
            if inner.op is not add:
                continue
            terms = [v for v in inner.inputs if v.owner in products and v.owner.inputs[1] in fixed and v.owner.inputs[0] not in fixed and len(op.body.clients[v]) == 1]
            if len(terms) < 2:
                continue
            rank = terms[0].type.ndim
            a = Join(rank - 1)(*(v.owner.inputs[0] for v in terms))
            b = Join(0)(*(v.owner.inputs[1] for v in terms))
            new = restore_flags(Dot()(a, b), terms[0])
            rest = [v for v in inner.inputs if v not in terms]
            table[inner.outputs[0]] = add(new, *rest) if rest else new
    for side, on in ((0, left), (1, right)):
        if not on:
            continue
        groups: dict[Variable, list[Apply]] = {}
        for p in products:
            shared, other = p.inputs[side], p.inputs[1 - side]
            if shared not in fixed and other in fixed and other.type.ndim == 2:
                groups.setdefault(shared, []).append(p)
        for shared, members in groups.items():
            if len(members) < 2:
                continue
            others = list(dict.fromkeys(p.inputs[1 - side] for p in members))
            axis = 1 - side
            joined = Join(axis)(*others)
            result = Dot()(shared, joined) if side == 0 else Dot()(joined, shared)
            rank = result.type.ndim
            along = rank - 1 if side == 0 else 0
            start = constant(0, dtype="int64")
            for p in members:
                if p.outputs[0] in table: continue
            bounds = {}
            for v in others:
                stop = add(start, shape_i(v, axis)) if start.owner is not None or not isinstance(start, Constant) else shape_i(v, axis)
                bounds[v] = start, stop
                start = stop
            for p in members:
                lo, hi = bounds[p.inputs[1 - side]]
                index = ((None, None, None),) * along + (("int64", "int64", None),)
                table[p.outputs[0]] = restore_flags(Subtensor(index)(result, lo, hi), p.outputs[0])
    if not table:
        return None
    body = Function(op.body.inputs, substitute(op.body.outputs, dict(table)), op.body.name)
    fresh = op.replace(body=body).make_node(*node.inputs)
    fresh.source = node.source
    return dict(zip(node.outputs, fresh.outputs))

register(scan_concat_products)
