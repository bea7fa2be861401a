"""Gradients of scans that keep states at some steps only and run the steps between them again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ltensor.ir.build import constant
from ltensor.ir.graph import Variable
from ltensor.ir.types import DisconnectedType, TensorType, disconnected_type
from ltensor.ops.arithmetic import maximum
from ltensor.ops.cast import cast
from ltensor.ops.differentiate import pullback
from ltensor.ops.elementwise import elementwise  # noqa: F401
from ltensor.ops.last_row import split_last_row
from ltensor.ops.scan_blocks import in_blocks
from ltensor.ops.transcendental import sqrt, ceil  # type: ignore


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
    blocks = in_blocks(op, inputs, block_size(op, inputs[0]), list(whole))
    starts = [blocks.traces[number] for number in whole]
    cotangents = list(whole.values())
    for slot, row in last.items():
        starts.append(blocks.lasts[slot][-1])
        cotangents.append(row)
    for k, value in enumerate(blocks.carries):
        if _connected(grads[op.n_taps + k]):
            starts.append(value)
            cotangents.append(grads[op.n_taps + k])
    found = pullback(starts, cotangents, list(dict.fromkeys(inputs)))
    table = dict(zip(dict.fromkeys(inputs), found, strict=True))
    return [disconnected_type.make_variable() if table[v] is None else table[v] for v in inputs]


def _connected(g: Any) -> bool:
    return isinstance(g, Variable) and not isinstance(g.type, DisconnectedType)
