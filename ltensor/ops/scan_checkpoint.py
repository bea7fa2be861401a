"""Gradients of scans that keep states at some steps only and run the steps between them again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ltensor.ir.build import constant
from ltensor.ir.graph import Constant, Variable, substitute
from ltensor.ir.types import DisconnectedType, disconnected_type
from ltensor.ops.arithmetic import maximum
from ltensor.ops.cast import cast
from ltensor.ops.differentiate import pullback
from ltensor.ops.last_row import split_last_row
from ltensor.ops.scan_blocks import in_blocks
from ltensor.ops.transcendental import ceil, sqrt


def block_size(op: Any, n: Variable) -> Variable:
    """The number of steps between two states that are kept."""
    if op.checkpoint == "auto":
        root = ceil(sqrt(cast(n, "float64")))
        return maximum(cast(root, "int64"), constant(1, dtype="int64"))
    return constant(int(op.checkpoint), dtype="int64")


def checkpointed_pullback(op: Any, inputs: Sequence[Variable], grads: Sequence[Any]) -> list[Any]:
    """Gradients of a scan node by way of the same loop in blocks."""
    first_out = op.n_taps + op.n_carries
    last: dict[int, Variable] = {}
    whole: dict[int, Variable] = {}
    for slot in range(op.n_taps):
        rest, row = split_last_row(grads[slot])
        if row is not None:
            last[slot] = row
        if _connected(rest):
            whole[slot] = rest
    for number in range(op.n_outs):
        if _connected(grads[first_out + number]):
            whole[op.n_taps + number] = grads[first_out + number]
    # operands may be equal or depend on each other: they are told apart while this is built
    stand_ins = [v if isinstance(v, Constant) else v.type.make_variable(v.name) for v in inputs]
    blocks = in_blocks(op, stand_ins, block_size(op, stand_ins[0]), list(whole))
    starts = [blocks.traces[number] for number in whole]
    cotangents = list(whole.values())
    for slot, row in last.items():
        starts.append(blocks.lasts[slot][-1])
        cotangents.append(row)
    for k, value in enumerate(blocks.carries):
        if _connected(grads[op.n_taps + k]):
            starts.append(value)
            cotangents.append(grads[op.n_taps + k])
    targets = [v for v in stand_ins if not isinstance(v, Constant)]
    table = {
        v: g
        for v, g in zip(targets, pullback(starts, cotangents, targets), strict=True)
        if g is not None
    }
    operands = dict(zip(stand_ins, inputs, strict=True))
    gradients = dict(zip(table, substitute(list(table.values()), operands), strict=True))
    return [gradients.get(v) or disconnected_type.make_variable() for v in stand_ins]


def _connected(g: Any) -> bool:
    return isinstance(g, Variable) and not isinstance(g.type, DisconnectedType)
