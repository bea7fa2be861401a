"""What passes on loops share: visiting the scans of a function one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.walks import substitute
from ltensor.ops.scan import Scan

#: (scan with its present operands, the scan in the function, which knows its readers) -> what
#: replaces results of the former; None or nothing if it stays
Change = Callable[[Apply, Apply], dict[Variable, Variable] | None]


def change_scans(function: Function, change: Change) -> Function:
    """``function`` with ``change`` applied to every scan in it, not to those inside regions.

    A scan is shown after those it depends on, reading what these were replaced by: several loops in
    a row are changed at once, and no old one stays because a new one still reads it.

    Returns
    -------
    Function
        The same object if nothing changed.
    """
    memo: dict[Variable, Variable] = {}
    for node in function.nodes:
        current = node
        if memo:
            inputs = [memo.get(v, v) for v in node.inputs]
            if any(a is not b for a, b in zip(inputs, node.inputs, strict=True)):
                current = node.clone_with_new_inputs(inputs)
        table = change(current, node) if isinstance(node.op, Scan) else None
        for old, now in zip(node.outputs, current.outputs, strict=True):
            new = table.get(now, now) if table else now
            if new is not old:
                memo[old] = new
    if not memo:
        return function
    return Function(function.inputs, [memo.get(v, v) for v in function.outputs], function.name)


def with_results(node: Apply, outputs: Sequence[Variable]) -> dict[Variable, Variable] | None:
    """What replaces the results of a scan whose step has other ``outputs`` by the same slots.

    None if a result would be of another type.
    """
    op: Any = node.op
    fresh = op.replace(body=Function(op.body.inputs, outputs, op.body.name)).make_node(*node.inputs)
    fresh.source = node.source
    for old, new in zip(node.outputs, fresh.outputs, strict=True):
        if old.type != new.type:
            return None
        new.name = old.name
    return dict(zip(node.outputs, fresh.outputs, strict=True))


def keep_slots(
    node: Apply,
    seqs: Sequence[int],
    taps: Sequence[int],
    carries: Sequence[int],
    outs: Sequence[int],
    inner: dict[Variable, Variable],
    added: dict[Variable, Variable],
) -> tuple[Apply, dict[Variable, Variable]]:
    """A scan with some of the slots of ``node``, by number and in order.

    Parameters
    ----------
    inner : dict
        What arguments of the body become, those of dropped slots among them.
    added : dict
        Further refs: outer value -> argument.

    Returns
    -------
    fresh : Apply
    table : dict
        From the results of ``node`` that are left to those of ``fresh``.
    """
    op: Any = node.op
    n, seq_values, inits, carry_values, refs = op.split(node.inputs)
    rows, news, results = op.inner_rows(), op.inner_news(), op.inner_outs()
    outputs = [rows[k] for k in taps] + [news[k] for k in carries] + [results[k] for k in outs]
    if op.has_stop:
        outputs.append(op.body.outputs[-1])
    tap_arguments = op.inner_taps()
    arguments = [
        *(op.inner_seqs()[k] for k in seqs),
        *(v for k in taps for v in tap_arguments[k]),
        *(op.inner_carries()[k] for k in carries),
        *op.inner_refs(),
        *added.values(),
    ]
    changed = op.replace(
        body=Function(arguments, substitute(outputs, dict(inner)), op.body.name),
        n_seqs=len(seqs),
        lags=[op.lags[k] for k in taps],
        n_carries=len(carries),
        n_outs=len(outs),
        keep=[*(op.keep[k] for k in taps), *(op.keep[op.n_taps + k] for k in outs)],
    )
    fresh = changed.make_node(
        n,
        *(seq_values[k] for k in seqs),
        *(inits[k] for k in taps),
        *(carry_values[k] for k in carries),
        *refs,
        *added,
    )
    fresh.source = node.source
    first_out = op.n_taps + op.n_carries
    positions = [*taps, *(op.n_taps + k for k in carries), *(first_out + k for k in outs)]
    if op.has_stop:
        positions.append(len(node.outputs) - 1)
    table: dict[Variable, Variable] = {}
    for position, new in zip(positions, fresh.outputs, strict=True):
        old = node.outputs[position]
        new.name = old.name
        table[old] = new
    return fresh, table
