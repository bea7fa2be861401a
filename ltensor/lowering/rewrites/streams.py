"""Results far larger than the caches are written past them.

A store of half a line first reads the line; one that passes the cache does not, which is a third of
the traffic of a copy. Of results that fit the cache it loses: the next reader must fetch them.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from ltensor.ir import dtypes as dt
from ltensor.lowering.cpu.lanes import LaneAnalysis
from ltensor.lowering.program import Loop, Value

if TYPE_CHECKING:
    from ltensor.lowering.cpu.accesses import Accesses

#: bytes of a result from which on stores pass the cache: a quarter less time from there on, and up
#: to a third more for results of a quarter of it
LARGE = 16 << 20
#: longest body (values) of a loop that is written down twice for it; one with exp or the like takes
#: longer than memory
LONGEST = 24

#: what marks a store
MARK = "!nontemporal !9901"
METADATA = "!9901 = !{i32 1}"


def streamed(loop: Loop, analysis: LaneAnalysis) -> list[tuple[Value, Value | None, str]]:
    """The stores of a loop that may pass the cache: pointer, first element, dtype; [] if none."""
    if platform.machine() not in ("x86_64", "AMD64") or loop.carries:
        return []
    body = loop.body.body
    if len(body) > LONGEST or any(
        not isinstance(e, Value) or e.op in ("guard", "math") for e in body
    ):
        return []
    found: list[tuple[Value, Value | None, str]] = []
    for entry in body:
        if entry.op != "store":
            continue
        pointer, offset, _ = entry.args
        if analysis.lanes * dt.item_size(entry.attr) not in (16, 32, 64):
            return []
        if offset is loop.index:
            found.append((pointer, None, entry.attr))
            continue
        begin = [a for a in offset.args if a is not loop.index] if offset.op == "add" else []
        if len(begin) != 1 or begin[0] in analysis.varying:
            return []
        found.append((pointer, begin[0], entry.attr))
    read = {e.args[0] for e in body if e.op == "load"}
    # what is changed in place is in the cache already; the place of a shared variable's new value
    # may be that of the old one
    places = {p for pointer, _, _ in found for p in (pointer, *_choices(pointer))}
    return [] if places & read else found


def _choices(pointer: Value) -> tuple[Value, ...]:
    return pointer.args[1:] if pointer.op == "select" else ()


def boundary(
    renderer: Accesses,
    stores: list[tuple[Value, Value | None, str]],
    lanes: int,
    begin: str,
    whole: str,
) -> tuple[str, str]:
    """Up to where the stores pass the cache, and whether they do."""
    r = renderer
    width = min(dt.item_size(dtype) for _, _, dtype in stores)
    count = whole if begin == "0" else r.put(f"sub i64 {whole}, {begin}")
    large = r.put(f"icmp sge i64 {count}, {LARGE // width}")
    for pointer, first, dtype in stores:
        where = begin
        if first is not None:
            where = r.put(f"add i64 {r.scalar(first)}, {begin}")
        address = r.put(f"ptrtoint ptr {r.element_address(pointer, where, dtype)} to i64")
        rest = r.put(f"and i64 {address}, {lanes * dt.item_size(dtype) - 1}")
        whole_lines = r.put(f"icmp eq i64 {rest}, 0")
        large = r.put(f"and i1 {large}, {whole_lines}")
    return r.put(f"select i1 {large}, i64 {whole}, i64 {begin}"), large


def fence(renderer: Accesses, done: str) -> None:
    """Other threads see the stores before whatever follows."""
    r = renderer
    yes, end = r.label("streamed"), r.label("ordered")
    r.line(f"br i1 {done}, label %{yes}, label %{end}")
    r.start_block(yes)
    r.line("fence seq_cst")
    r.line(f"br label %{end}")
    r.start_block(end)
