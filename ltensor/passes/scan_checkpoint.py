"""The pass ``scan_checkpoint``: a loop that its gradient runs in blocks is not run apart as well.

The gradient of a scan with ``checkpoint`` runs the loop in blocks (`ltensor.ops.scan_blocks`). If
the program reads the last rows of the loop only, they are read from the loop over blocks; if it
keeps all rows, the states between blocks are among them.
"""

from __future__ import annotations

from typing import Any

from ltensor.ir.build import constant
from ltensor.ir.equal import equal
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.walks import substitute
from ltensor.ops.arithmetic import sub
from ltensor.ops.join import concatenate
from ltensor.ops.scan import Scan
from ltensor.ops.scan_blocks import state_rows
from ltensor.ops.shape import ShapeI, set_flags
from ltensor.passes.last_rows import chains_of, like, read_again
from ltensor.passes.manager import register
from ltensor.passes.remarks import remark


def scan_checkpoint(function: Function) -> Function:
    """Read what loops compute from the same loops in blocks, or the other way round."""
    scans = [node for node in function.nodes if isinstance(node.op, Scan)]
    table: dict[Variable, Variable] = {}
    for blocks in scans:
        inner = _inner(blocks)
        if inner is None:
            continue
        for node in scans:
            if node is not blocks and _same_loop(node, blocks, inner):
                table.update(_joined(node, blocks, function))
                break
    if not table:
        return function
    return Function(function.inputs, substitute(function.outputs, table), function.name)


def _inner(node: Apply) -> Apply | None:
    """The loop over the steps of a block, if ``node`` is a loop over blocks."""
    op: Any = node.op
    if op.n_seqs != 1 or op.has_stop:
        return None
    found = [inner for inner in op.body.nodes if isinstance(inner.op, Scan)]
    if len(found) != 1 or found[0].op.n_taps != op.n_taps:
        return None
    # number of steps and size of a block come first, then sequences and refs
    count = 2 + found[0].op.n_seqs + found[0].op.n_refs
    if op.n_refs != count or found[0].op.n_carries != op.n_carries:
        return None
    return found[0] if f"blocks_of_{found[0].op.name}" == op.name else None


def _same_loop(node: Apply, blocks: Apply, inner: Apply) -> bool:
    """Whether the steps of ``node`` are those of a loop over blocks."""
    op: Any = node.op
    slots = ("n_seqs", "lags", "n_carries", "n_outs", "has_stop", "name")
    if any(getattr(op, s) != getattr(inner.op, s) for s in slots):
        return False
    n, seqs, inits, carries, refs = op.split(node.inputs)
    _, _, starts, moving, (steps, _, *arrays) = blocks.op.split(blocks.inputs)
    theirs = [steps, *moving, *arrays]
    if any(a is not b for a, b in zip([n, *carries, *seqs, *refs], theirs, strict=True)):
        return False
    for slot, (init, start) in enumerate(zip(inits, starts, strict=True)):
        if start is not init and _rows_of(start, op.depth(slot)) is not init:
            return False
    return equal(op.body, inner.op.body)


def _rows_of(start: Variable, depth: int) -> Variable | None:
    """The array of which a loop over blocks starts with the first ``depth`` rows."""
    for name in ("dimshuffle", "subtensor"):
        while start.owner is not None and start.owner.op.ir_name == "rebroadcast":
            start = start.owner.inputs[0]
        if start.owner is None or start.owner.op.ir_name != name:
            return None
        op: Any = start.owner.op
        if name == "subtensor" and op.pattern != ((None, depth, None),):
            return None
        start = start.owner.inputs[0]
    return start


def _joined(node: Apply, blocks: Apply, function: Function) -> dict[Variable, Variable]:
    """What replaces results of the two loops."""
    op: Any = node.op
    first_out = op.n_taps + op.n_carries
    clients = function.clients
    table: dict[Variable, Variable] = {}
    for v in node.outputs[: op.n_taps]:
        for reader, _ in clients.get(v, []):
            if reader is not None and isinstance(reader.op, ShapeI) and reader.op.axis == 0:
                table[reader.outputs[0]] = node.inputs[0]

    def readers(variable: Variable) -> list[tuple[Apply | None, int]]:
        found = clients.get(variable, [])
        return [(r, k) for r, k in found if r is None or r.outputs[0] not in table]

    plans = [chains_of(v, readers) for v in node.outputs[: op.n_taps]]
    if any(clients.get(v) for v in node.outputs[first_out:]):
        return {}
    if all(p[0] is None for p in plans) and op.n_taps and not op.n_carries:
        return _from_rows(node, blocks)
    for slot, (chains, _, asked) in enumerate(plans):
        depth = op.depth(slot)
        if chains is None or any(chain.rows > depth for chain in chains):
            return {}
        rows = state_rows(op, slot, blocks.outputs[slot][-1])
        for reader in asked:
            table[reader.outputs[0]] = reader.op(rows)
        for chain in chains:
            kept = rows if chain.rows == depth else rows[depth - chain.rows :]
            table[chain.nodes[-1].outputs[0]] = read_again(chain, kept, chain.rows, node.inputs[0])
    table.update(
        zip(node.outputs[op.n_taps : first_out], blocks.outputs[op.n_taps :], strict=False)
    )
    remark("scan_checkpoint", blocks, "gives the last rows, so that the loop is not run apart")
    return table


def _from_rows(node: Apply, blocks: Apply) -> dict[Variable, Variable]:
    """The states between blocks, of a loop of which all rows are kept anyway."""
    op: Any = node.op
    if any(op.depth(slot) > 1 for slot in range(op.n_taps)):
        return {}
    count, size = blocks.inputs[0], blocks.op.split(blocks.inputs)[4][1]
    table: dict[Variable, Variable] = {}
    for trace, states in zip(node.outputs, blocks.outputs, strict=False):
        ends = trace[sub(size, constant(1, dtype="int64")) :: size]
        # the last block may be shorter
        rows = concatenate([ends, trace[-1:]], axis=0)[:count]
        table[states] = like(set_flags(rows, states.type.broadcastable), states)
    remark("scan_checkpoint", node, "keeps all rows anyway: the gradient's blocks start from these")
    return table


register(scan_checkpoint)
