"""Which shared variables are updated where they lie, and what of a program must run last for that.

A new value is computed in a buffer of the call and put into the shared variable when nothing can
fail any more. Where every element is computed from the old one at the same place, or only some
elements change, the buffer may be the shared variable's own memory, if

* what writes to it runs after all that may fail, allocate or call Python: these statements, and
  what depends on them, are moved to the end of the program (the *phase*);
* nothing in the phase reads the old value after it has changed.

Whether other memory that the phase reads overlaps is for the run to say (`Phase.read`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from ltensor.ir import dtypes as dt
from ltensor.lowering.program import EFFECTS, If, Loop, Program, Value, operands
from ltensor.lowering.rewrites.liveness import follow, within

__all__ = ["Phase", "Update", "plan_phase"]

#: what the phase may do besides arithmetic
_HARMLESS = frozenset(("load", "store", "memcpy", "prefetch"))
#: what gives an address of memory that nothing else of the program is part of
_PRIVATE = frozenset(("ensure", "slot", "local", "alloc_output", "adopt_output"))


@dataclass(eq=False)
class Update:
    """A shared array's new value.

    Attributes
    ----------
    begin : Value
        Address of the old value when the call began.
    buffer : Value
        The ``ensure`` that holds the new value and nothing else.
    dtype : str
    copied : Value or None
        The copy of the old value into the buffer, of which the update changes some elements.
    spare : int
        Number of the block that is used if the run does not allow it.
    """

    begin: Value
    buffer: Value
    dtype: str
    copied: Value | None = None
    spare: int = -1


@dataclass
class Phase:
    """The end of a program.

    Attributes
    ----------
    updates : list of Update
        Those that may be made in place.
    entries : list
        Statements of the outermost scope, in order.
    read : set of Value
        Addresses of memory outside the call that is read in it.
    """

    updates: list[Update] = field(default_factory=list)
    entries: list[Any] = field(default_factory=list)
    read: set[Value] = field(default_factory=set)


def plan_phase(program: Program, updates: Collection[Update], known: Collection[Value]) -> Phase:
    """Find the updates that can be made in place.

    Parameters
    ----------
    program : Program
        Up to where the new values are written.
    updates : collection of Update
        With buffers that are different from each other.
    known : collection of Value
        Addresses of memory outside the call whose sizes are known.
    """
    if not updates:
        return Phase()
    planner = _Planner(program, known)
    left = list(updates)
    while left:
        refused, phase = planner.attempt(left)
        if not refused:
            return phase
        left = [u for u in left if u not in refused]
    return Phase()


@dataclass(eq=False)
class _Facts:
    """What a statement of the outermost scope does; memory by its `_key`."""

    uses: set[Value] = field(default_factory=set)
    makes: set[Value] = field(default_factory=set)
    reads: set[Any] = field(default_factory=set)
    writes: set[Any] = field(default_factory=set)
    #: loads, copies, and the roots of what they read
    sources: list[tuple[Value, frozenset[Value]]] = field(default_factory=list)
    #: by what they write
    stores: dict[Any, list[Value]] = field(default_factory=dict)
    copies: bool = False
    calls: bool = False
    harmless: bool = True


class _Planner:
    def __init__(self, program: Program, known: Collection[Value]) -> None:
        self.body = program.root.body
        self.known = set(known)
        entries = [e for entry in self.body for e in within(entry)]
        self.into: dict[Value, frozenset[Value]] = {
            e: frozenset((e,))
            for e in entries
            if isinstance(e, Value) and e.dtype == "ptr" and e.op not in ("ptradd", "select")
        }
        while follow(entries, self.into):
            pass
        #: memory whose address is in memory: whoever calls somebody may reach it
        self.escaped: set[Any] = set()
        for e in entries:
            if isinstance(e, Value) and e.op == "store":
                self.escaped |= self._keys(e.args[2])
        #: sizes that checks have found equal to others
        self.equal: dict[Value, Value] = {}
        for e in self.body:
            if isinstance(e, Value) and e.op == "check":
                self._note_equal(e.args[0])
        self.facts = {entry: self._facts(entry) for entry in self.body}
        self.places = {entry: place for place, entry in enumerate(self.body)}

    def _note_equal(self, condition: Value) -> None:
        if condition.op == "cmp" and condition.attr == "eq" and condition.args[0].dtype == "int64":
            first, other = map(self._first, condition.args)
            if first is not other and "const" not in (first.op, other.op):
                self.equal[first] = other

    def _first(self, value: Value) -> Value:
        while value in self.equal:
            value = self.equal[value]
        return value

    def _same(self, a: Value, b: Value) -> bool:
        """Whether two offsets are equal wherever all checks hold."""
        if self._first(a) is self._first(b):
            return True
        if a.op != b.op or a.op not in ("add", "mul") or a.dtype != b.dtype:
            return False
        (x, y), (u, v) = a.args, b.args
        straight = self._same(x, u) and self._same(y, v)
        return straight or (self._same(x, v) and self._same(y, u))

    def _keys(self, pointer: Value) -> set[Any]:
        return {_key(root) for root in self.into.get(pointer, ())}

    def _facts(self, entry: Any) -> _Facts:
        facts = _Facts()
        for e in within(entry):
            facts.uses.update(operands(e))
            if isinstance(e, If):
                continue
            if isinstance(e, Loop):
                if e is not entry and isinstance(entry, If) and e.cost is not None:
                    # the code for threads could not be asked for beforehand
                    facts.harmless = False
                facts.makes.update(c.result for c in e.carries)
                if e.steps is not None:
                    facts.makes.add(e.steps)
            else:
                self._note(facts, e, entry)
        return facts

    def _note(self, facts: _Facts, e: Value, entry: Any) -> None:
        if e is entry:
            facts.makes.add(e)
        if e.op in ("load", "memcpy"):
            source = e.args[0] if e.op == "load" else e.args[1]
            facts.reads |= self._keys(source)
            facts.sources.append((e, self.into.get(source, frozenset())))
            facts.copies |= e.op == "memcpy"
        if e.op in ("store", "memcpy"):
            written = self._keys(e.args[0])
            facts.writes |= written
            if e.op == "store":
                for key in written:
                    facts.stores.setdefault(key, []).append(e)
        if e.op in ("call", "call_pointer"):
            facts.calls = True
            touched = {k for a in e.args for k in self._keys(a)}
            facts.reads |= touched
            facts.writes |= touched
        elif e.op == "grow":
            facts.writes.add(("block", e.attr))
        elif e.op == "adopt_output":
            # it speaks of the block by its number, and may copy what lies there
            facts.reads.add(("block", e.attr[2]))
        if e.op in EFFECTS and e.op not in _HARMLESS:
            facts.harmless = False
        if e.op == "store" and isinstance(entry, Loop) and not _varies(e, entry):
            # scratch memory: threads take some of their own, which may fail
            facts.harmless = False

    # ------------------------------------------------------------------ one attempt

    def attempt(self, updates: list[Update]) -> tuple[set[Update], Phase]:
        """The updates that cannot be made in place, or the phase of all."""
        wanted = {u.buffer: u for u in updates}
        owners: dict[Value, set[Update]] = {}
        read: dict[Any, set[Update]] = {}
        written: dict[Any, set[Update]] = {}
        phase = Phase(updates)
        mine: list[set[Update]] = []
        for entry in self.body:
            facts = self.facts[entry]
            if self._begins(entry, wanted):
                continue
            why: set[Update] = set()
            for value in facts.uses:
                if value in wanted:
                    why.add(wanted[value])
                why |= owners.get(value, set())
            reads, writes = facts.reads, facts.writes
            if facts.calls:
                reads, writes = reads | self.escaped, writes | self.escaped
            for key in reads:
                why |= written.get(key, set())
            for key in writes:
                why |= written.get(key, set()) | read.get(key, set())
            if not why:
                continue
            if not facts.harmless:
                return why, phase
            phase.entries.append(entry)
            mine.append(why)
            for value in facts.makes:
                owners[value] = why
            for table, keys in ((read, reads), (written, writes)):
                for key in keys:
                    table.setdefault(key, set()).update(why)
        refused: set[Update] = set()
        for entry, why in zip(phase.entries, mine, strict=True):
            for _, roots in self.facts[entry].sources:
                outside = {r for r in roots if r.op not in (*_PRIVATE, "table")}
                phase.read |= outside
                if not outside <= self.known:
                    refused |= why
        for update in updates:
            if not self._keeps_old_value(update, phase.entries):
                refused.add(update)
        return refused, phase

    @staticmethod
    def _begins(entry: Any, wanted: dict[Value, Update]) -> bool:
        """Whether a statement is a buffer, or puts the old value into one that is still empty."""
        if entry in wanted:
            wanted[entry].copied = None
            return True
        if not isinstance(entry, Value) or entry.op != "memcpy":
            return False
        update = wanted.get(entry.args[0])
        if update is None or entry.args[1] is not update.begin or update.copied is not None:
            return False
        if entry.args[2] is not update.buffer.args[0]:
            return False
        update.copied = entry
        return True

    def _keeps_old_value(self, update: Update, phase: list[Any]) -> bool:
        """Whether nobody reads old elements after they have changed."""
        key = _key(update.buffer)
        places = [n for n, e in enumerate(phase) if key in self.facts[e].writes]
        if not places:
            # nothing changes: the copy is all
            return False
        mentioned = [n for n, e in enumerate(phase) if update.buffer in self.facts[e].uses]
        if update.copied is not None:
            before = self.places[update.copied]
            if any(self.places[phase[n]] < before for n in mentioned):
                return False
        for number in range(places[0], len(phase)):
            entry = phase[number]
            reads = [e for e, roots in self.facts[entry].sources if update.begin in roots]
            if not reads:
                continue
            if number > places[0] or update.copied is not None:
                return False
            if not self._element_by_element(update, entry, reads):
                return False
        return True

    def _element_by_element(self, update: Update, entry: Any, reads: list[Value]) -> bool:
        """Whether ``entry`` writes every element once, in a step that reads no other old one."""
        facts, key = self.facts[entry], _key(update.buffer)
        if facts.copies or key in facts.reads:
            return False
        stores = facts.stores.get(key, [])
        if len(stores) != (2 if dt.is_complex(update.dtype) else 1):
            return False
        scope = stores[0].scope
        first = scope.body.index(stores[0]) if stores[0] in scope.body else -1
        for e in reads:
            same = any(
                self._same(e.args[1], s.args[1])
                and e.dtype == s.attr
                and s.args[0] is update.buffer
                for s in stores
            )
            if not same or e.args[0] is not update.begin or e.scope is not scope:
                return False
            if scope.body.index(e) > first:
                return False
        return all(s.scope is scope for s in stores)


def _key(root: Value) -> Any:
    """What stands for a piece of memory: blocks of the call go by their number."""
    return ("block", root.attr) if root.op in ("ensure", "slot") else root


def _varies(store: Value, loop: Loop) -> bool:
    """Whether the place of a store depends on the step of the loop."""
    seen: set[Value] = set()
    stack: list[Any] = [store.args[1], store.args[0]]
    while stack:
        value = stack.pop()
        if value is loop.index:
            return True
        if value in seen:
            continue
        seen.add(value)
        stack.extend(_made_of(value))
    return False


def _made_of(value: Value) -> Iterator[Value]:
    yield from value.args
    if value.op == "result" and isinstance(value.attr, Loop):
        yield from operands(value.attr)
