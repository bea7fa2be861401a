"""The records of `f.explain()` and their report: plain data, no graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = [
    "BufferRecord",
    "Explanation",
    "KeptRecord",
    "LoopRecord",
    "RemarkRecord",
    "UpdateRecord",
]


@dataclass
class BufferRecord:
    """One buffer.

    Attributes
    ----------
    formula : str
        Its bytes in the sizes of the function's inputs: item size first, then the dimensions.
    bytes : int or None
        The number, if the sizes are known.
    dtype : str
    shape : list of str
        Formulas of the dimensions.
    kind : str
        ``output``, ``value``, ``copy``, ``scratch``, ``trace``, ``ring``, ``last``, ``carry``,
        ``packed``, ``block`` or ``update``.
    reason : str
        Why it exists.
    lifetime : str
        ``returned``, ``call`` (given back when the call ends), ``function`` (kept between calls,
        with ``allow_gc=False``) or ``loop NAME`` (allocated there, once).
    line : str
        The user's line, ``file.py:12``; empty if it is not known.
    block : int or None
        Buffers of a call that are not needed at the same time lie in one block of memory; those
        with the same number share one.
    """

    formula: str
    bytes: int | None
    dtype: str
    shape: list[str]
    kind: str
    reason: str
    lifetime: str
    line: str
    block: int | None = None


@dataclass
class KeptRecord:
    """A value of the forward loop that is kept for a gradient.

    Attributes
    ----------
    value : str
        What it is, with the user's line.
    formula : str
        Bytes per step.
    bytes_per_step : int or None
    reader : str
        The loop that reads it.
    """

    value: str
    formula: str
    bytes_per_step: int | None
    reader: str


@dataclass
class RemarkRecord:
    """What a pass did to a loop, or could not do and why."""

    pass_name: str
    text: str
    line: str


@dataclass
class LoopRecord:
    """One scan.

    Attributes
    ----------
    name, line : str
    depth : int
        How many loops it lies in.
    steps : str
        Formula of the number of steps; empty for a loop that is gone.
    n_steps : int or None
    slots : list of str
        Its states and outputs: taps, and where their rows are.
    kept : list of KeptRecord
        What it keeps for gradients.
    computed_again : list of str
        Forward values that this gradient loop computes again instead of reading kept ones.
    remarks : list of RemarkRecord
    """

    name: str
    line: str
    depth: int = 0
    steps: str = ""
    n_steps: int | None = None
    note: str = ""
    slots: list[str] = field(default_factory=list)
    kept: list[KeptRecord] = field(default_factory=list)
    computed_again: list[str] = field(default_factory=list)
    remarks: list[RemarkRecord] = field(default_factory=list)

    @property
    def kept_bytes_per_step(self) -> int | None:
        """Bytes that a step leaves for gradients, if the sizes are known."""
        known = [k.bytes_per_step for k in self.kept]
        return None if None in known else sum(n for n in known if n is not None)


#: what `UpdateRecord.way` means, in the report
WAYS = {
    "in place": "updated in place",
    "exchange": "computed in a buffer, which becomes its array if it is large and nobody has "
    "borrowed the old one; else copied",
    "copy": "copied from where it is computed",
    "store": "stored",
}


@dataclass
class UpdateRecord:
    """How a shared variable gets its new value when the call has succeeded.

    Attributes
    ----------
    name : str
    way : str
        ``'in place'``: its elements are written where the old ones are (unless the run finds that
        memory which is read overlaps); ``'exchange'``: it is computed in a buffer that
        becomes the variable's array if it has 64 KB and more and nobody has borrowed the old one,
        and is copied otherwise; ``'copy'``: from a buffer that stays the call's; ``'store'``: one
        element.
    formula : str
        Bytes of the new value.
    bytes : int or None
    line : str
    """

    name: str
    way: str
    formula: str
    bytes: int | None
    line: str


@dataclass
class Explanation:
    """What `CompiledFunction.explain` returns; ``str()`` is the report.

    Attributes
    ----------
    name : str
    buffers : list of BufferRecord
    loops : list of LoopRecord
        Outermost first, in the order in which they run; then loops that passes did away with.
    remarks : list of RemarkRecord
        Those on other things than loops.
    updates : list of UpdateRecord
    """

    name: str
    buffers: list[BufferRecord]
    loops: list[LoopRecord]
    remarks: list[RemarkRecord]
    updates: list[UpdateRecord] = field(default_factory=list)

    @property
    def bytes(self) -> int | None:
        """The sum over all buffers, those that share memory counted once, if sizes are known."""
        blocks: dict[object, int] = {}
        for b in self.buffers:
            if b.bytes is None:
                return None
            key = id(b) if b.block is None else ("block", b.block)
            blocks[key] = max(blocks.get(key, 0), b.bytes)
        return sum(blocks.values())

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain data."""
        return asdict(self) | {"bytes": self.bytes}

    def __str__(self) -> str:
        return "\n".join(_report(self))

    def __repr__(self) -> str:
        return f"<explanation of {self.name!r}: {len(self.buffers)} buffers>"


def _report(told: Explanation) -> Iterator[str]:
    total = told.bytes
    yield f"{told.name}: {len(told.buffers)} buffers" + (
        ", bytes depend on sizes" if total is None else f", {total:,} bytes"
    )
    width = max((len(b.formula) for b in told.buffers), default=0)
    width = min(width, 48)
    taken: set[int] = set()
    for b in told.buffers:
        known = "?" if b.bytes is None else f"{b.bytes:,}"
        told_as = {"call": "", "function": " [kept between calls]"}
        where = told_as.get(b.lifetime, f" [{b.lifetime}]")
        if b.block is not None:
            where += " [in memory of another]" if b.block in taken else ""
            taken.add(b.block)
        yield f"  {b.formula:<{width}}  {known:>12}  {b.reason}{where}"
    if total is None and told.buffers:
        yield "  (?: give sizes, as f.explain(sizes={'x': (100, 3)}), or arguments)"
    for u in told.updates:
        yield f"  shared {u.name}: {WAYS[u.way]}{_at(u.line)}"
    for loop in told.loops:
        yield ""
        yield from _loop_report(loop)
    if told.remarks:
        yield ""
        for remark in told.remarks:
            yield f"{remark.pass_name}: {remark.text}{_at(remark.line)}"


def _at(line: str) -> str:
    return f" ({line})" if line else ""


def _loop_report(loop: LoopRecord) -> Iterator[str]:
    pad = "  " * loop.depth
    head = f"{pad}loop {loop.name}{_at(loop.line)}: "
    if not loop.steps:
        yield head + "is no loop any more"
    else:
        known = ""
        if loop.n_steps is not None and loop.steps != str(loop.n_steps):
            known = f" = {loop.n_steps:,}"
        yield f"{head}{loop.steps}{known} steps"
    pad += "  "
    if loop.note:
        yield pad + loop.note
    for slot in loop.slots:
        yield pad + slot
    if loop.kept:
        total = loop.kept_bytes_per_step
        known = "" if total is None else f", {total:,} bytes per step"
        yield f"{pad}kept for the gradient{known}:"
        for kept in loop.kept:
            number = "" if kept.bytes_per_step is None else f" = {kept.bytes_per_step:,}"
            if kept.formula == str(kept.bytes_per_step):
                number = ""
            yield f"{pad}  {kept.formula}{number} bytes per step: {kept.value}, for {kept.reader}"
    if loop.computed_again:
        yield f"{pad}computed again instead of kept: {'; '.join(loop.computed_again)}"
    for remark in loop.remarks:
        yield f"{pad}{remark.pass_name}: {remark.text}"
