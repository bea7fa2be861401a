"""The pass ``scan_prune``: slots that nobody needs, equal slots and constant refs go away."""

from __future__ import annotations

from typing import Any

from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.ir.walks import inputs_of, substitute
from ltensor.passes.loops import change_scans
from ltensor.passes.manager import register
from ltensor.passes.remarks import Listing, Slot, remark


def scan_prune(function: Function) -> Function:
    """Remove dead and duplicate slots of every scan."""

    def change(node: Apply, old: Apply) -> dict[Variable, Variable] | None:
        return _prune(node, [bool(function.clients.get(v)) for v in old.outputs])

    return change_scans(function, change)


def _prune(node: Apply, used: list[bool]) -> dict[Variable, Variable] | None:
    op: Any = node.op
    n, seqs, inits, carries, refs = op.split(node.inputs)
    taps, rows = op.inner_taps(), op.inner_rows()
    carry_args, news = op.inner_carries(), op.inner_news()
    outs, stop = op.inner_outs(), op.inner_stop()
    first_out = op.n_taps + op.n_carries
    # duplicates and constants first: they change what the body reads
    inner: dict[Variable, Variable] = {}
    seq_args, keep_seqs = _unique(op.inner_seqs(), seqs, inner)
    ref_args, keep_refs = _unique(op.inner_refs(), refs, inner)
    for argument, value in zip(ref_args, keep_refs, strict=True):
        if isinstance(value, Constant):
            inner[argument] = value
    body_outputs = substitute(op.body.outputs, inner) if inner else list(op.body.outputs)
    rows, news = body_outputs[: op.n_taps], body_outputs[op.n_taps : first_out]
    outs = body_outputs[first_out : first_out + op.n_outs]
    stop = body_outputs[-1] if op.has_stop else None
    live_taps, live_carries, live_outs = _live(op, used, taps, rows, carry_args, news, outs, stop)
    kept_outputs = [rows[k] for k in live_taps] + [news[k] for k in live_carries]
    kept_outputs += [outs[k] for k in live_outs] + ([stop] if stop is not None else [])
    needed = set(inputs_of(kept_outputs))
    final_seqs = [(a, v) for a, v in zip(seq_args, keep_seqs, strict=True) if a in needed]
    final_refs = [(a, v) for a, v in zip(ref_args, keep_refs, strict=True) if a in needed]
    lags: list[tuple[int, ...]] = []
    tap_args: list[Variable] = []
    for k in live_taps:
        deepest = max(op.lags[k])
        pairs = [
            (lag, a)
            for lag, a in zip(op.lags[k], taps[k], strict=True)
            if a in needed or lag == deepest
        ]
        lags.append(tuple(lag for lag, _ in pairs))
        tap_args += [a for _, a in pairs]
    unchanged = (
        not inner
        and len(final_seqs) == op.n_seqs
        and len(final_refs) == op.n_refs
        and len(live_taps) == op.n_taps
        and len(live_carries) == op.n_carries
        and len(live_outs) == op.n_outs
        and tuple(lags) == op.lags
    )
    if unchanged:
        return None
    body_inputs = [
        *[a for a, _ in final_seqs],
        *tap_args,
        *[carry_args[k] for k in live_carries],
        *[a for a, _ in final_refs],
    ]
    keep = [op.keep[k] for k in live_taps] + [op.keep[op.n_taps + k] for k in live_outs]
    new = op.replace(
        body=Function(body_inputs, kept_outputs, op.body.name),
        n_seqs=len(final_seqs),
        lags=lags,
        n_carries=len(live_carries),
        n_outs=len(live_outs),
        keep=keep,
    )
    fresh = new.make_node(
        n,
        *[v for _, v in final_seqs],
        *[inits[k] for k in live_taps],
        *[carries[k] for k in live_carries],
        *[v for _, v in final_refs],
    )
    fresh.source = node.source
    old_positions = [
        *live_taps,
        *[op.n_taps + k for k in live_carries],
        *[first_out + k for k in live_outs],
    ]
    if op.has_stop:
        old_positions.append(len(node.outputs) - 1)
    table: dict[Variable, Variable] = {}
    for position, output in zip(old_positions, fresh.outputs, strict=True):
        old = node.outputs[position]
        output.name = old.name
        if output.type != old.type:
            return None
        table[old] = output
    dropped = [
        Slot(node, position)
        for position in range(first_out + op.n_outs)
        if position not in old_positions
    ]
    if dropped:
        remark("scan_prune", node, "drops what nobody reads: {}", Listing(dropped))
    joined = op.n_seqs - len(seq_args) + op.n_refs - len(ref_args)
    if joined:
        remark("scan_prune", node, "joins {} arguments of the step with equal ones", joined)
    idle = len(seq_args) - len(final_seqs)
    if idle:
        remark("scan_prune", node, "drops {} sequences that the step does not read", idle)
    return table


def _unique(
    arguments: list[Variable], values: list[Any], inner: dict[Variable, Variable]
) -> tuple[list[Variable], list[Any]]:
    """Arguments with equal operands joined; the others are mapped in ``inner``."""
    seen: dict[Any, Variable] = {}
    kept_arguments: list[Variable] = []
    kept_values: list[Any] = []
    for argument, value in zip(arguments, values, strict=True):
        first = seen.get(value)
        if first is not None and first.type == argument.type:
            inner[argument] = first
            continue
        seen[value] = argument
        kept_arguments.append(argument)
        kept_values.append(value)
    return kept_arguments, kept_values


def _live(
    op: Any,
    used: list[bool],
    taps: Any,
    rows: Any,
    carry_args: Any,
    news: Any,
    outs: Any,
    stop: Any,
) -> tuple[list[int], list[int], list[int]]:
    """Which tap slots, carries and outs matter to a used output or to the stop condition."""
    first_out = op.n_taps + op.n_carries
    live_outs = [k for k in range(op.n_outs) if used[first_out + k]]
    live_taps = {k for k in range(op.n_taps) if used[k]}
    live_carries = {k for k in range(op.n_carries) if used[op.n_taps + k]}
    while True:
        roots = [rows[k] for k in live_taps] + [news[k] for k in live_carries]
        roots += [outs[k] for k in live_outs] + ([stop] if stop is not None else [])
        needed = set(inputs_of(roots))
        more_taps = {k for k in range(op.n_taps) if any(v in needed for v in taps[k])}
        more_carries = {k for k, v in enumerate(carry_args) if v in needed}
        if more_taps <= live_taps and more_carries <= live_carries:
            return sorted(live_taps), sorted(live_carries), live_outs
        live_taps |= more_taps
        live_carries |= more_carries


register(scan_prune)
