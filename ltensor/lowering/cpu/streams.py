"""Results far larger than the caches are written past them.

A store of half a line first reads the line; one that passes the cache does not, which is a third of
the traffic of a copy. Of results that fit the cache it loses: the next reader must fetch them. All
threads of a loop that share a large result write it so, each its part.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ltensor.ir import dtypes as dt
from ltensor.lowering.cpu.lanes import LaneAnalysis
from ltensor.lowering.program import Loop, Value, root_of

if TYPE_CHECKING:
    from ltensor.lowering.cpu.accesses import Accesses

#: bytes of a result from which on stores pass the cache: a quarter less time from there on, and up
#: to a third more for results of a quarter of it
LARGE = 16 << 20
#: bytes of a line of the cache
LINE = 64
#: what marks a store
MARK = "!nontemporal !9901"
METADATA = "!9901 = !{i32 1}"


#: a store that may pass the cache: pointer, offset of the first element, dtype
Store = tuple[Value, Value | None, str]


def streamed(loop: Loop, analysis: LaneAnalysis) -> list[Store]:
    """The stores of a vector loop if they may pass the cache; [] if not."""
    if platform.machine() not in ("x86_64", "AMD64") or loop.carries:
        return []
    body = loop.body.body
    if any(not isinstance(e, Value) or e.op == "guard" for e in body):
        return []
    found: list[Store] = []
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
        if len(begin) != 1 or (begin[0].op != "const" and loop.body.contains(begin[0].scope)):
            return []
        found.append((pointer, begin[0], entry.attr))
    read = {e.args[0] for e in body if e.op == "load"}
    # what is changed in place is in the cache already; the place of a shared variable's new value
    # may be that of the old one
    places = {p for pointer, _, _ in found for p in (pointer, *_choices(pointer))}
    return [] if places & read else found


def _choices(pointer: Value) -> tuple[Value, ...]:
    return pointer.args[1:] if pointer.op == "select" else ()


def large_vector(renderer: Accesses, stores: list[Store], extent: str) -> str:
    """Whether a loop of so many steps stores more than the cache holds; "" if it is known not to.

    ``extent`` is that of the whole loop, of which threads run chunks.
    """
    width = min(dt.item_size(dtype) for _, _, dtype in stores)
    if extent.isdigit() and int(extent) * width < LARGE:
        return ""
    return renderer.put(f"icmp sge i64 {extent}, {LARGE // width}")


def large_nest(renderer: Accesses, nest: Loop) -> dict[Loop, tuple[list[Store], str]]:
    """The vector loops of a nest whose stores may pass the cache, and whether their results do.

    ``nest`` is a loop around all of its steps, which runs once. A row may be short: what counts is
    the size of the whole result, which is known for what the function returns.
    """
    r = renderer
    found: dict[Loop, tuple[list[Store], str]] = {}
    flags: dict[tuple[Value, int], str] = {}
    for loop in _rows(nest):
        analysis = r.lane_analysis(loop)
        # whole lines of the cache at a time, else rows leave parts of them
        stores = streamed(loop, analysis) if analysis.lanes > 1 else []
        if any(analysis.lanes * dt.item_size(dtype) != LINE for _, _, dtype in stores):
            continue
        places = [(root_of(pointer), dt.item_size(dtype)) for pointer, _, dtype in stores]
        flag = ""
        for place, width in places:
            if (place, width) not in flags:
                flags[place, width] = _large_result(r, place, width)
            one = flags[place, width]
            if not one:
                break
            flag = one if flag in ("", one) else r.put(f"and i1 {flag}, {one}")
        else:
            if flag:
                found[loop] = stores, flag
    return found


def either(renderer: Accesses, rows: dict[Loop, tuple[list[Store], str]]) -> str:
    """Whether any loop of a nest passes the cache; "" if none does."""
    flags = list(dict.fromkeys(flag for _, flag in rows.values()))
    some = flags[0] if flags else ""
    for flag in flags[1:]:
        some = renderer.put(f"or i1 {some}, {flag}")
    return some


def _rows(nest: Loop) -> Iterator[Loop]:
    """The vector loops of a nest of loops whose steps are free."""
    for entry in nest.body.body:
        if isinstance(entry, Loop):
            if entry.kind == "vector":
                yield entry
            elif not entry.carries:
                yield from _rows(entry)


def _large_result(renderer: Accesses, place: Value, width: int) -> str:
    """Whether a result is larger than the cache and its rows are whole lines; "" if never known.

    Where rows end within a line, every other row would pass the cache and leave parts of lines:
    that takes longer than if none does.
    """
    r = renderer
    sizes = place.args if place.op == "alloc_output" else ()
    if not sizes or not all(size.op == "const" or size in r.registers for size in sizes):
        return ""
    line = LINE // width
    if all(size.op == "const" for size in sizes):
        count = math.prod(size.attr for size in sizes)
        return "true" if count * width >= LARGE and sizes[-1].attr % line == 0 else ""
    count, row = r.scalar(sizes[0]), r.scalar(sizes[-1])
    for size in sizes[1:]:
        count = r.put(f"mul i64 {count}, {r.scalar(size)}")
    large = r.put(f"icmp sge i64 {count}, {LARGE // width}")
    whole = r.put(f"icmp eq i64 {r.put(f'and i64 {row}, {line - 1}')}, 0")
    return r.put(f"and i1 {large}, {whole}")


def aligned(renderer: Accesses, stores: list[Store], lanes: int, begin: str, large: str) -> str:
    """Whether the stores from ``begin`` on are of whole lines, and ``large`` holds."""
    r = renderer
    for pointer, first, dtype in stores:
        where = begin
        if first is not None:
            where = r.put(f"add i64 {r.scalar(first)}, {begin}")
        address = r.put(f"ptrtoint ptr {r.element_address(pointer, where, dtype)} to i64")
        rest = r.put(f"and i64 {address}, {lanes * dt.item_size(dtype) - 1}")
        whole_lines = r.put(f"icmp eq i64 {rest}, 0")
        large = r.put(f"and i1 {large}, {whole_lines}")
    return large


def stores(renderer: Accesses, past: str, waiting: list[tuple[str, int, int]]) -> None:
    """The stores of a step: text, alignment, bytes; they pass the cache if ``past`` holds.

    A jump that always goes the same way costs nothing, other than a second copy of the loop.
    """
    r = renderer
    r.declares.add(METADATA)
    yes, no, end = r.label("past"), r.label("into"), r.label("stored")
    r.line(f"br i1 {past}, label %{yes}, label %{no}")
    r.start_block(yes)
    for text, _, width in waiting:
        r.line(f"{text}, align {width}, {MARK}")
    r.line(f"br label %{end}")
    r.start_block(no)
    for text, align, _ in waiting:
        r.line(f"{text}, align {align}")
    r.line(f"br label %{end}")
    r.start_block(end)


def fence(renderer: Accesses, done: str) -> None:
    """Other threads see the stores before whatever follows."""
    r = renderer
    yes, end = r.label("streamed"), r.label("ordered")
    r.line(f"br i1 {done}, label %{yes}, label %{end}")
    r.start_block(yes)
    r.line("fence seq_cst")
    r.line(f"br label %{end}")
    r.start_block(end)
