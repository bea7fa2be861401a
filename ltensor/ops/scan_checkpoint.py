"""Gradients of scans that keep states at some steps only and run the steps between them again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ltensor.config import config
from ltensor.errors import UnsupportedError
from ltensor.ir import dtypes as dt
from ltensor.ir.build import constant
from ltensor.ir.graph import Constant, Variable
from ltensor.ir.types import DisconnectedType, TensorType, disconnected_type
from ltensor.ir.walks import substitute
from ltensor.ops.arithmetic import add, maximum, mul, switch
from ltensor.ops.cast import cast
from ltensor.ops.compare import le
from ltensor.ops.differentiate import pullback
from ltensor.ops.last_row import split_last_row
from ltensor.ops.scan_blocks import in_blocks
from ltensor.ops.shape import dims_of
from ltensor.ops.transcendental import ceil, sqrt


def root_size(n: Variable) -> Variable:
    """The size of blocks that needs the least memory."""
    root = ceil(sqrt(cast(n, "float64")))
    return maximum(cast(root, "int64"), constant(1, dtype="int64"))


def given_size(op: Any, n: Variable) -> Variable | None:
    """The size of blocks that the program asks for; None if it does not.

    Raises
    ------
    UnsupportedError
        If the loop cannot be cut into blocks.
    """
    if not op.checkpoint or not _can_be_cut(op):
        return None
    generator = _generator(op)
    if generator is not None:
        raise UnsupportedError(
            f"the gradient of scan {op.name} with checkpoint: the state of its random numbers "
            f"({generator.type}) cannot be kept by block. Draw from MRG_RandomStreams or "
            "PhiloxStreams, or leave checkpoint out."
        )
    if op.checkpoint == "auto":
        return root_size(n)
    return constant(int(op.checkpoint), dtype="int64")


def size_within_budget(op: Any, n: Variable, traces: Sequence[Variable]) -> Variable | None:
    """The size of blocks within ``config.scan.memory_budget``; None if no blocks are needed.

    The rows of ``traces`` are what the gradient of the whole loop would keep. All steps are one
    block if they fit, which is only known when the loop runs.
    """
    budget = int(config.scan.memory_budget)
    if budget <= 0 or op.checkpoint is not None or not traces:
        return None
    if not _can_be_cut(op) or _generator(op) is not None:
        return None
    per_step = []
    for trace in traces:
        item = constant(dt.item_size(trace.type.dtype), dtype="int64")
        per_step.append(mul(item, *dims_of(trace)[1:]) if trace.type.ndim > 1 else item)
    row = per_step[0] if len(per_step) == 1 else add(*per_step)
    fits = le(mul(cast(n, "int64"), row), constant(budget, dtype="int64"))
    return switch(fits, maximum(cast(n, "int64"), constant(1, dtype="int64")), root_size(n))


def _can_be_cut(op: Any) -> bool:
    return not op.has_stop and op.truncate < 0


def _generator(op: Any) -> Variable | None:
    """A carry that is no array: there are no arrays of such."""
    return next((v for v in op.inner_carries() if not isinstance(v.type, TensorType)), None)


def checkpointed_pullback(
    op: Any, inputs: Sequence[Variable], grads: Sequence[Any], size: Variable
) -> list[Any]:
    """Gradients of a scan node by way of the same loop in blocks of ``size`` steps."""
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
    operands = [*inputs, size]
    stand_ins = [v if isinstance(v, Constant) else v.type.make_variable(v.name) for v in operands]
    blocks = in_blocks(op, stand_ins[:-1], stand_ins[-1], list(whole))
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
    real = substitute(list(table.values()), dict(zip(stand_ins, operands, strict=True)))
    gradients = dict(zip(table, real, strict=True))
    return [
        gradients[v] if v in gradients else disconnected_type.make_variable()
        for v in stand_ins[:-1]
    ]


def _connected(g: Any) -> bool:
    return isinstance(g, Variable) and not isinstance(g.type, DisconnectedType)
