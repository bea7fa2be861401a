"""The pass ``scan_share_taps``: states that are multiples of one value become taps of that value.

The gradient of ``a*y[t-1] + b*y[t-2]`` hands on two adjoints, ``a*g`` and ``b*g``, each with a tap
of its own lag. It is cheaper to hand on ``g`` alone and to multiply where it is read: of ``k`` taps
as many registers stay as the longest reaches back, instead of their sum.
"""

from __future__ import annotations

from typing import Any

from ltensor.ir.build import constant
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.ir.walks import inputs_of, substitute
from ltensor.ops.alloc import alloc
from ltensor.ops.arithmetic import mul
from ltensor.ops.last_row import is_zero
from ltensor.passes.loops import change_scans
from ltensor.passes.manager import register
from ltensor.passes.remarks import remark


def scan_share_taps(function: Function) -> Function:
    """Join scalar states that differ by an invariant factor."""
    return change_scans(function, lambda node, old: _shared(node, old, function))


def _shared(node: Apply, old: Apply, function: Function) -> dict[Variable, Variable] | None:
    op: Any = node.op
    if op.n_taps < 2:
        return None
    _, _, inits, _, _ = op.split(node.inputs)
    groups: dict[Variable, list[tuple[int, Variable]]] = {}
    for slot, (row, init) in enumerate(zip(op.inner_rows(), inits, strict=True)):
        unread = not function.clients.get(old.outputs[slot])
        if not unread or len(op.lags[slot]) != 1 or row.type.ndim or not _all_zero(init):
            continue
        found = _factors(op, row)
        if found is not None:
            groups.setdefault(found[0], []).append((slot, found[1]))
    for value, members in groups.items():
        joined = _join(node, value, members) if len(members) > 1 else None
        if joined is not None:
            return joined
    return None


def _all_zero(init: Variable) -> bool:
    if isinstance(init, Constant):
        return not init.data.any()
    return is_zero(init)


def _factors(op: Any, row: Variable) -> tuple[Variable, Variable] | None:
    """``(v, c)`` with ``row = v * c`` and a ``c`` that does not change."""
    inner = row.owner
    if inner is None or inner.op is not mul or len(inner.inputs) != 2:
        return None
    refs = set(op.inner_refs())

    def fixed(v: Variable) -> bool:
        return all(isinstance(u, Constant) or u in refs for u in inputs_of([v]))

    a, b = inner.inputs
    if fixed(a):
        a, b = b, a
    if fixed(a) or not fixed(b) or a.type.dtype != row.type.dtype:
        return None
    return a, b


def _join(
    node: Apply, value: Variable, members: list[tuple[int, Variable]]
) -> dict[Variable, Variable] | None:
    op: Any = node.op
    n, seqs, inits, carries, refs = op.split(node.inputs)
    gone = {slot for slot, _ in members}
    stay = [k for k in range(op.n_taps) if k not in gone]
    # the same lag may occur twice, with other factors
    lags = tuple(sorted({op.lags[slot][0] for slot in gone}, reverse=True))
    taps = op.inner_taps()
    arguments = {lag: value.type.make_variable(f"shared_{lag}") for lag in lags}
    table: dict[Variable, Variable] = {
        taps[slot][0]: mul(arguments[op.lags[slot][0]], factor) for slot, factor in members
    }
    rows = op.inner_rows()
    rest = op.body.outputs[op.n_taps :]
    outputs = substitute([*(rows[k] for k in stay), value, *rest], table)
    body = Function(
        [
            *op.inner_seqs(),
            *(v for k in stay for v in taps[k]),
            *arguments.values(),
            *op.inner_carries(),
            *op.inner_refs(),
        ],
        outputs,
        op.body.name,
    )
    fresh_op = op.replace(
        body=body,
        lags=[*(op.lags[k] for k in stay), lags],
        keep=[*(op.keep[k] for k in stay), 1, *op.keep[op.n_taps :]],
    )
    zeros = alloc(constant(0, dtype=value.type.dtype), lags[0])
    fresh = fresh_op.make_node(n, *seqs, *(inits[k] for k in stay), zeros, *carries, *refs)
    fresh.source = node.source
    result = {node.outputs[k]: fresh.outputs[position] for position, k in enumerate(stay)}
    after = len(stay) + 1
    result.update(zip(node.outputs[op.n_taps :], fresh.outputs[after:], strict=True))
    if any(a.type != b.type for a, b in result.items()):
        return None
    remark("scan_share_taps", node, "{} states are multiples of one value", len(members))
    for before, now in result.items():
        now.name = before.name
    return result


register(scan_share_taps)
