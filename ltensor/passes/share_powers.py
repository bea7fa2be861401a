"""The pass ``share_powers``: softmax and logsumexp of one matrix take its exponentials once.

A cross entropy and its gradient have both.
"""

from __future__ import annotations

from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.walks import substitute
from ltensor.ops.softmax import LogSumExp, Softmax
from ltensor.ops.softmax_logsumexp import softmax_logsumexp_op
from ltensor.passes.manager import register


@register
def share_powers(function: Function) -> Function:
    """Make one operation of ``softmax(x)`` and ``logsumexp(x)``."""
    sums: dict[Variable, Apply] = {}
    softmaxes: dict[Variable, Apply] = {}
    for node in function.nodes:
        if isinstance(node.op, LogSumExp):
            sums[node.inputs[0]] = node
        elif isinstance(node.op, Softmax):
            softmaxes[node.inputs[0]] = node
    table: dict[Variable, Variable] = {}
    for x, node in softmaxes.items():
        other = sums.get(x)
        if other is None:
            continue
        soft, total = softmax_logsumexp_op(x)
        soft.name, total.name = node.outputs[0].name, other.outputs[0].name
        soft.owner.source = node.source
        table[node.outputs[0]], table[other.outputs[0]] = soft, total
    if not table:
        return function
    return Function(function.inputs, substitute(function.outputs, table), function.name)
