"""Which buffers of a call are needed at the same time; the others share memory.

A buffer lives from the place where it is reserved to the last statement of the function's outermost
scope that mentions it, whole loops counting as one statement. A later buffer takes over the block
of one that is dead by then, of the same size if there is one: what was just in the cache is written
again, and the call needs less memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ltensor.lowering.program import If, Loop, Program, Value, operands, walk

__all__ = ["follow", "share_blocks", "slots_by_number", "within"]

#: what reads or writes memory behind an address and does not keep the address
_USERS = frozenset(("load", "store", "memcpy", "call", "call_pointer", "prefetch"))
#: what speaks of a block by its number
_BY_NUMBER: dict[str, Callable[[Value], int]] = {
    "slot": lambda value: value.attr,
    "slot_address": lambda value: value.attr,
    "grow": lambda value: value.attr,
    "adopt_output": lambda value: value.attr[2],
}


def share_blocks(program: Program) -> None:
    """Let buffers that are not needed at the same time share blocks."""
    body = program.root.body
    ensures = {v: place for place, v in enumerate(body) if _is_ensure(v)}
    if len(ensures) < 2:
        return
    fixed = slots_by_number(program)
    last = _last_uses(program, ensures)
    free: list[Value] = []
    busy: list[Value] = []
    for buffer, place in ensures.items():
        if buffer.attr in fixed:
            continue
        dead = [b for b in busy if last[b] < place]
        free += sorted(dead, key=lambda b: last[b])
        busy = [b for b in busy if last[b] >= place]
        if free:
            same = [b for b in free if b.args == buffer.args]
            chosen = (same or free)[-1]
            free.remove(chosen)
            buffer.attr = chosen.attr
        busy.append(buffer)


def slots_by_number(program: Program) -> set[int]:
    """The slots of buffers that are mentioned by their number, not by their address."""
    return {
        _BY_NUMBER[v.op](v)
        for v in walk(program.root)
        if isinstance(v, Value) and v.op in _BY_NUMBER
    }


def _is_ensure(entry: Any) -> bool:
    return isinstance(entry, Value) and entry.op == "ensure"


def _last_uses(program: Program, ensures: dict[Value, int]) -> dict[Value, int]:
    """For each buffer the last place in the outermost scope where it is needed."""
    # addresses -> the buffers that they may point into
    into: dict[Value, frozenset[Value]] = {v: frozenset((v,)) for v in ensures}
    entries = list(walk(program.root))
    while follow(entries, into):
        pass
    body = program.root.body
    last = dict(ensures)
    for place, entry in enumerate(body):
        for one in within(entry):
            for value in operands(one):
                for buffer in into.get(value, ()):
                    last[buffer] = max(last[buffer], place)
            if isinstance(one, Value) and one.op == "store" and one.args[2] in into:
                # its address lies in memory: nobody knows who will read it
                for buffer in into[one.args[2]]:
                    last[buffer] = len(body)
    return last


def within(entry: Any) -> Iterator[Any]:
    """A statement and all statements inside it."""
    yield entry
    if isinstance(entry, Loop):
        yield from walk(entry.body)
    elif isinstance(entry, If):
        yield from walk(entry.then)
        yield from walk(entry.orelse)


def follow(entries: list[Any], into: dict[Value, frozenset[Value]]) -> bool:
    """One pass of following addresses (value -> what it may point into); whether more was found."""
    changed = False

    def note(value: Value, sources: list[Value | None]) -> None:
        nonlocal changed
        found: frozenset[Value] = frozenset().union(
            *(into[s] for s in sources if s is not None and s in into)
        )
        if not found <= into.get(value, frozenset()):
            into[value] = into.get(value, frozenset()) | found
            changed = True

    for entry in entries:
        if isinstance(entry, Loop):
            for c in entry.carries:
                note(c.phi, [c.init, c.next])
                note(c.result, [c.init, c.next])
        elif isinstance(entry, Value) and entry.op not in _USERS:
            note(entry, list(entry.args))
    return changed
