"""The pass ``scan_merge``: loops over the same body and operands become one loop.

Differentiating a scan asks the forward loop for further results; this joins that wider loop with
the original, whose body it shares.
"""

from __future__ import annotations

from typing import Any

from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.walks import substitute
from ltensor.ops.scan import Scan
from ltensor.passes.manager import register
from ltensor.passes.remarks import remark


def _key(node: Apply) -> Any:
    op: Any = node.op
    # states and the stop condition drive the loop; outs only watch it
    driving = (*op.inner_rows(), *op.inner_news(), *([op.inner_stop()] if op.has_stop else []))
    return (
        op.n_seqs,
        op.lags,
        op.n_carries,
        op.has_stop,
        op.truncate,
        op.name,
        tuple(map(id, node.inputs)),
        tuple(map(id, op.body.inputs)),
        tuple(map(id, driving)),
    )


def scan_merge(function: Function) -> Function:
    """Join scans that differ only in which results they return."""
    while True:
        groups: dict[Any, list[Apply]] = {}
        for node in function.nodes:
            if isinstance(node.op, Scan) and not any(k is not None for k in node.op.keep):
                groups.setdefault(_key(node), []).append(node)
        equal = next((nodes for nodes in groups.values() if len(nodes) > 1), None)
        if equal is None:
            return function
        # one group at a time: the next loops must read the results of this one
        outputs = substitute(function.outputs, _joined(equal))
        function = Function(function.inputs, outputs, function.name)


def _joined(nodes: list[Apply]) -> dict[Variable, Variable]:
    first: Any = nodes[0].op
    outs: dict[Variable, int] = {}
    for node in nodes:
        for out in node.op.inner_outs():
            outs.setdefault(out, len(outs))
    outputs = [*first.inner_rows(), *first.inner_news(), *outs]
    if first.has_stop:
        outputs.append(first.inner_stop())
    body = Function(first.body.inputs, outputs, first.body.name)
    op = first.replace(body=body, n_outs=len(outs))
    merged = op.make_node(*nodes[0].inputs)
    merged.source = nodes[0].source
    remark(
        "scan_merge",
        merged,
        "joins {} loops over the same steps; the loop has {} outputs besides its states",
        len(nodes),
        len(outs),
    )
    start = first.n_taps + first.n_carries
    table: dict[Variable, Variable] = {}
    for node in nodes:
        table.update(zip(node.outputs[:start], merged.outputs[:start], strict=True))
        for number, out in enumerate(node.op.inner_outs()):
            table[node.outputs[start + number]] = merged.outputs[start + outs[out]]
        if first.has_stop:
            table[node.outputs[-1]] = merged.outputs[-1]
    for old, new in table.items():
        new.name = new.name or old.name
    return table


register(scan_merge)
