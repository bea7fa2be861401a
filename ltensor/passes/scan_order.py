"""The pass ``scan_order``: in sums and products of a step the newest state comes last.

A step waits for the state of the step before it. In ``a*y[t-1] + b*y[t-2] + x`` everything else
can be computed meanwhile, if the term of ``y[t-1]`` is added last; added first, it makes each step
wait for all additions. Sums and products of several operands have no order of their own here: they
come out of ``canonicalize``.
"""

from __future__ import annotations

from typing import Any

from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.walks import substitute
from ltensor.ops.arithmetic import add, mul
from ltensor.passes.loops import change_scans, with_results
from ltensor.passes.manager import register

#: the age of what depends on no state
AGELESS = 1 << 30


def scan_order(function: Function) -> Function:
    """Order the operands of sums and products in every scan."""
    return change_scans(function, lambda node, _: _ordered(node))


def _ordered(node: Apply) -> dict[Variable, Variable] | None:
    op: Any = node.op
    ages: dict[Variable, int] = {}
    for lags, variables in zip(op.lags, op.inner_taps(), strict=True):
        ages.update(zip(variables, lags, strict=True))
    ages.update(dict.fromkeys(op.inner_carries(), 1))
    table: dict[Variable, Variable] = {}
    for inner in op.body.nodes:
        youngest = min((ages.get(v, AGELESS) for v in inner.inputs), default=AGELESS)
        ages.update(dict.fromkeys(inner.outputs, youngest))
        if inner.op not in (add, mul) or len(inner.inputs) < 3 or youngest == AGELESS:
            continue
        # sorting is stable: operands of equal age keep their order
        ordered = sorted(inner.inputs, key=lambda v: -ages.get(v, AGELESS))
        if any(a is not b for a, b in zip(ordered, inner.inputs, strict=True)):
            table[inner.outputs[0]] = _again(inner, ordered)
    if not table:
        return None
    return with_results(node, substitute(op.body.outputs, table))


def _again(inner: Apply, operands: list[Variable]) -> Variable:
    result = inner.op(*operands)
    result.name = inner.outputs[0].name
    if result.owner is not None:
        result.owner.source = inner.source
    return result


register(scan_order)
