"""`scan_checkpoints`: a scan that returns, and keeps for its gradient, every N-th state only."""

from __future__ import annotations

from typing import Any

import numpy as np

from ltensor.ir.build import as_tensor, constant
from ltensor.ir.graph import Variable
from ltensor.ops.scan import Scan
from ltensor.ops.scan_blocks import in_blocks
from ltensor.scan import OrderedUpdates, scan
from ltensor.scan.arguments import check_checkpoint

__all__ = ["scan_checkpoints"]


def scan_checkpoints(
    fn: Any,
    sequences: Any = None,
    outputs_info: Any = None,
    non_sequences: Any = None,
    name: str | None = "checkpointscan_fn",
    n_steps: Any = None,
    save_every_N: int = 10,
    padding: bool = True,
) -> tuple[Any, OrderedUpdates]:
    """As `scan`, for its gradient in little memory.

    Parameters
    ----------
    fn, sequences, outputs_info, non_sequences, name, n_steps
        As of `scan`. Unlike Theano's function this one takes taps, and sequences of any length.
    save_every_N : int or scalar
        The number of steps between two states that are kept. The gradient computes those between
        again.
    padding : bool
        Theano's, without a meaning here: the last block of steps may be shorter.

    Returns
    -------
    outputs : Variable, list or None
        Row ``k`` of each is the result of step ``(k + 1) * save_every_N - 1``, of the last step if
        there are fewer.
    updates : OrderedUpdates
    """
    if isinstance(save_every_N, Variable):
        size = as_tensor(save_every_N)
    else:
        number = check_checkpoint(save_every_N)
        if not isinstance(number, int):
            raise ValueError(f"save_every_N is a positive number of steps, not {save_every_N!r}")
        size = constant(number, dtype="int64")
    results, updates = scan(
        fn,
        sequences,
        outputs_info,
        non_sequences,
        n_steps,
        name=name or "checkpointscan_fn",
        return_list=True,
    )
    single = isinstance(n_steps, (int, np.integer)) and int(n_steps) == 1
    variables = [*(results or []), *updates.values()]
    node = next((v.owner for v in variables if v.owner is not None), None)
    if single or node is None or not isinstance(node.op, Scan):
        return _present(results), updates
    op = node.op
    blocks = in_blocks(op, node.inputs, size, last_outs=True)
    kept: dict[Variable, Variable] = {}
    for slot in range(op.n_taps):
        rows = blocks.node.outputs[slot]
        kept[node.outputs[slot]] = rows if op.depth(slot) == 1 else rows[:, -1]
    first_out = op.n_taps + op.n_carries
    kept.update(zip(node.outputs[op.n_taps : first_out], blocks.carries, strict=True))
    kept.update(zip(node.outputs[first_out:], blocks.block_outs, strict=True))
    final = OrderedUpdates()
    for variable, value in updates.items():
        final[variable] = kept.get(value, value)
    return _present([kept[v] for v in results]), final


def _present(results: list[Variable]) -> Any:
    return results[0] if len(results) == 1 else (results or None)
