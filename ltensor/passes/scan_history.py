"""The pass ``scan_history``: a state of which only the last rows are read keeps only these.

``result[-1]`` of a million steps then needs the memory of one. With no step at all the last row is
that of the initial state, as in Theano's optimized code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ltensor.ir.build import constant_value
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Variable
from ltensor.ops.cast import cast
from ltensor.ops.join import concatenate
from ltensor.ops.scan import Scan
from ltensor.ops.shape import set_flags
from ltensor.ops.subtensor import Subtensor
from ltensor.passes.last_rows import Chain, chains_of, like, read_again
from ltensor.passes.manager import register
from ltensor.passes.remarks import Slot, Who, remark


def scan_history(function: Function) -> Function:
    """Limit the history of every scan's results to what is read."""
    memo: dict[Variable, Variable] = {}
    for node in function.nodes:
        if all(v in memo for v in node.outputs):
            continue
        inputs = [memo.get(v, v) for v in node.inputs]
        if isinstance(node.op, Scan):
            memo.update(_limit(node, inputs, function))
        elif any(a is not b for a, b in zip(inputs, node.inputs, strict=True)):
            fresh = node.clone_with_new_inputs(inputs)
            for old, new in zip(node.outputs, fresh.outputs, strict=True):
                memo.setdefault(old, new)
    if not memo:
        return function
    return Function(function.inputs, [memo.get(v, v) for v in function.outputs], function.name)


_READ = "keeps all rows of {}: {} reads others than the last"

#: ops that hand on the rows of a trace
_VIEWS = ("subtensor", "join", "rebroadcast")


def _limit(node: Apply, inputs: list[Variable], function: Function) -> dict[Variable, Variable]:
    """What replaces the results of a scan and what is read of them; its new operands are given."""
    op: Any = node.op
    keep = list(op.keep)
    first_out = op.n_taps + op.n_carries
    changed: dict[int, int] = {}
    plans: dict[int, tuple[list[Chain], list[Apply]]] = {}

    def readers(variable: Variable) -> list[tuple[Apply | None, int]]:
        return function.clients.get(variable, [])

    for number in range(op.n_taps + op.n_outs):
        if keep[number] is not None:
            continue
        position = number if number < op.n_taps else first_out + number - op.n_taps
        chains, other, asked = chains_of(node.outputs[position], readers)
        if chains is None:
            _all_kept(node, position, other, function)
            continue
        if not chains:
            if number < op.n_taps:
                # the loop itself needs it, nobody else does: adjoints in gradients, mostly
                keep[number] = changed[position] = 1
                plans[position] = ([], asked)
                slot = Slot(node, position)
                remark("scan_history", node, "keeps 1 of n rows of {}: none is read outside", slot)
            continue
        rows = max(chain.rows for chain in chains)
        limit = op.depth(number) if number < op.n_taps else 1
        if number >= op.n_taps and not all(chain.is_row for chain in chains):
            # with no step an out has no last row, while a slice of none is empty
            remark(
                "scan_history",
                node,
                "keeps all rows of {}: a slice of its last rows is read, which may be empty",
                Slot(node, position),
            )
        elif rows <= limit:
            keep[number] = rows
            changed[position] = rows
            plans[position] = (chains, asked)
            _last_kept(node, position, rows, chains)
        else:
            remark(
                "scan_history",
                node,
                "keeps all rows of {}: the last {} are read, its taps keep {}",
                Slot(node, position),
                rows,
                limit,
            )
    if changed:
        fresh = op.replace(keep=keep).make_node(*inputs)
        fresh.source = node.source
    elif any(a is not b for a, b in zip(inputs, node.inputs, strict=True)):
        fresh = node.clone_with_new_inputs(inputs)
    else:
        fresh = node
    table: dict[Variable, Variable] = {}
    steps = fresh.outputs[-1] if op.has_stop else cast(inputs[0], "int64")
    for position, (old, new) in enumerate(zip(node.outputs, fresh.outputs, strict=True)):
        if old is not new:
            new.name = old.name
        if position in changed:
            chains, asked = plans[position]
            for reader in asked:
                table[reader.outputs[0]] = reader.op(new)
            for chain in chains:
                table[chain.nodes[-1].outputs[0]] = read_again(chain, new, changed[position], steps)
            continue
        if old is not new:
            table[old] = new
        if position < op.n_taps and op.keep[position] is None:
            table.update(_or_initial(fresh, position, function.clients.get(old, ())))
    return table


def _or_initial(node: Apply, slot: int, readers: Sequence[Any]) -> dict[Variable, Variable]:
    """``trace[-1]`` of a trace that is kept: of no step it is the initial state, as elsewhere."""
    op: Any = node.op
    steps = constant_value(node.inputs[0])
    if steps is not None and int(steps) > 0:
        return {}
    trace, depth = node.outputs[slot], op.depth(slot)
    init = op.split(node.inputs)[2][slot]
    table: dict[Variable, Variable] = {}
    for reader, position in readers:
        if reader is None or position != 0 or not isinstance(reader.op, Subtensor):
            continue
        if not reader.op.pattern or reader.op.pattern[0] != -1:
            continue
        before = set_flags(init[depth - 1 : depth], trace.type.broadcastable)
        rows = concatenate([before, trace[-1:]], axis=0)
        old = reader.outputs[0]
        table[old] = like(reader.op(rows, *reader.inputs[1:]), old)
    return table


def _all_kept(node: Apply, position: int, reader: Apply | None, function: Function) -> None:
    slot = Slot(node, position)
    # a trace is read through views: backwards, without its first row
    while isinstance(reader, Apply) and getattr(reader.op, "ir_name", "") in _VIEWS:
        behind = function.clients.get(reader.outputs[0], [])
        if not behind or behind[0][0] is None:
            break
        reader = behind[0][0]
    if reader is None:
        remark("scan_history", node, "keeps all rows of {}: the whole trace is an output", slot)
    elif isinstance(reader.op, Scan):
        gradient = f"grad_of_{getattr(node.op, 'name', '')}" == reader.op.name
        text = "keeps all rows of {} for the gradient: {} reads them" if gradient else _READ
        remark("scan_history", node, text, slot, Who(reader))
    else:
        remark("scan_history", node, _READ, slot, Who(reader))


def _last_kept(node: Apply, position: int, rows: int, chains: list[Chain]) -> None:
    widest = max(chains, key=lambda chain: chain.rows)
    remark(
        "scan_history",
        node,
        "keeps {} of n rows of {} because only {} is read by {}",
        rows,
        Slot(node, position),
        widest.text,
        Who(widest.nodes[-1]),
    )


register(scan_history)
