"""Which results of a loop need no state of it, so that they can be computed in a loop of their own.

That is worth it for products of matrices, of which those of all steps make one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.walks import toposort
from ltensor.ops.scan import Scan

#: ops by name that are cheaper for all steps at once
PRODUCTS = ("dot", "batched_dot")


def state_masks(op: Any, states: Sequence[Sequence[Variable]]) -> dict[Variable, int]:
    """Which states the values of a body depend on: bits by position; nothing for none."""
    masks: dict[Variable, int] = {}
    for k, variables in enumerate(states):
        masks.update(dict.fromkeys(variables, 1 << k))
    for inner in op.body.nodes:
        mask = 0
        for v in inner.inputs:
            mask |= masks.get(v, 0)
        if mask:
            masks.update(dict.fromkeys(inner.outputs, mask))
    return masks


def _has_product(variable: Variable) -> bool:
    for node in toposort([variable]):
        name = getattr(node.op, "ir_name", "")
        if name in PRODUCTS:
            return True
        if name == "mul" and {(True, False), (False, True)} <= {
            v.type.broadcastable for v in node.inputs
        }:
            return True
    return False


def apart(node: Apply) -> tuple[Apply, list[int]] | None:
    """A loop of the results of ``node`` that need no state, and their positions; None if none do.

    Sums of which nothing else reads the state count as such results.
    """
    op: Any = node.op
    if op.has_stop or not (op.n_taps or op.n_carries):
        return None
    args, news, outs = op.inner_carries(), op.inner_news(), op.inner_outs()
    masks = state_masks(op, [*op.inner_taps(), *([v] for v in args)])
    carries = []
    for k, new in enumerate(news):
        bit = 1 << (op.n_taps + k)
        read = any(masks.get(v, 0) & bit for v in op.body.outputs if v is not new)
        if masks.get(new, 0) == bit and not read and _has_product(new):
            carries.append(k)
    free = [k for k, out in enumerate(outs) if not masks.get(out, 0) and _has_product(out)]
    if not carries and not free:
        return None
    n, seqs, _, initial, refs = op.split(node.inputs)
    inputs = [*op.inner_seqs(), *(args[k] for k in carries), *op.inner_refs()]
    outputs = [*(news[k] for k in carries), *(outs[k] for k in free)]
    part = Scan(
        Function(inputs, outputs, op.body.name),
        op.n_seqs,
        [],
        len(carries),
        len(free),
        keep=[op.keep[op.n_taps + k] for k in free],
        truncate=op.truncate,
        name=op.name,
    ).make_node(n, *seqs, *(initial[k] for k in carries), *refs)
    part.source = node.source
    first_out = op.n_taps + op.n_carries
    return part, [*(op.n_taps + k for k in carries), *(first_out + k for k in free)]
