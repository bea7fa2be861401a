"""Rows that fit into a register: read once, reduced across their lanes, written once.

A softmax runs along a row three times: for the maximum, for the sum, for the result. Of a row of
ten elements each time is one masked vector with a loop around it, and the second stores what the
third reads. So such a nest exists twice, and the length of the rows chooses: a short one is a
single masked step, in which a reduction is a value, ``across`` the lanes.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable, Iterator

from ltensor.ir.dtypes import item_size
from ltensor.lowering.builder import Builder
from ltensor.lowering.program import EFFECTS, If, Loop, Scope, Value, new_loop, walk
from ltensor.lowering.rewrites.loop_edits import choose_by_length, copy_value, deepen, is_plain

#: elements of the longest row that is held: a register of float32, two of float64 with AVX-512
HELD = 16


def hold_short_rows(b: Builder) -> None:
    """Give the nests along rows of a program their second form, outside of its loops over time."""
    for scope, loop in list(_nests(b.program.root)):
        extent = _length(loop)
        if extent is None:
            continue
        if extent.op == "const":
            sizes: tuple[int, ...] = (max(2, 1 << (extent.attr - 1).bit_length()),)
        else:
            sizes = (HELD // 2, HELD) if _is_wide(loop) else (HELD,)
        for lanes in sizes:
            form = functools.partial(_held, b, loop, extent, lanes)
            scope = choose_by_length(scope, loop, extent, lanes, form)
    deepen(b.program.root)


def _is_wide(loop: Loop) -> bool:
    """Whether half as many elements fill a register: there are two forms then."""
    loads = [e for e in walk(loop.body) if isinstance(e, Value) and e.op == "load"]
    return all(item_size(e.dtype) == 8 for e in loads)


def _nests(scope: Scope) -> Iterator[tuple[Scope, Loop]]:
    """Loops of a scope whose steps are free, and where they are, outer ones first."""
    for entry in scope.body:
        if isinstance(entry, If):
            yield from _nests(entry.then)
            yield from _nests(entry.orelse)
        elif isinstance(entry, Loop) and entry.kind == "serial" and not entry.carries:
            yield scope, entry
            if entry.parallel:
                yield from _nests(entry.body)


def _length(loop: Loop) -> Value | None:
    """The length of the rows if the nest can have the other form."""
    rows = [e for e in loop.body.body if isinstance(e, Loop)]
    if loop.stop is not None or not any(row.carries for row in rows):
        return None
    extent = rows[0].extent
    if extent.op == "const" and extent.attr > HELD:
        return None
    if extent.op != "const" and loop.body.contains(extent.scope):
        return None
    for entry in loop.body.body:
        if not (_along(entry, extent) if isinstance(entry, Loop) else _is_fit(entry)):
            return None
    return extent


def _along(row: Loop, extent: Value) -> bool:
    """Whether a loop runs once along the row and does nothing else of note."""
    same = row.extent is extent or (
        row.extent.op == "const" and extent.op == "const" and row.extent.attr == extent.attr
    )
    carries = all(c.combine is not None and c.init.op == "const" for c in row.carries)
    plain = row.kind == "vector" and row.stop is None and carries
    return plain and same and all(map(_is_fit, row.body.body))


def _is_fit(entry: object) -> bool:
    return is_plain(entry) or (isinstance(entry, Value) and entry.op == "guard")


class _Step:
    """The one step of a row: equal values are one, what was stored is not read again."""

    def __init__(self, body: Scope, names: dict[Value, Value]) -> None:
        self.body, self.names = body, names
        self._known: dict[Hashable, Value] = {}
        #: elements in memory that are in a register, by address
        self._elements: dict[Hashable, Value] = {}
        #: stores that nothing has read, by address
        self._unread: dict[Hashable, Value] = {}

    def add(self, value: Value) -> None:
        """A copy of ``value``, or what is known to be equal to it."""
        args = tuple(self.names.get(a, a) for a in value.args)
        if value.op == "load":
            self._load(value, args)
        elif value.op == "store":
            self._store(copy_value(value, self.body, self.names))
        elif value.op in EFFECTS:
            copy_value(value, self.body, self.names)
        else:
            key = (value.op, value.dtype, _words(args), repr(value.attr))
            if key not in self._known:
                self._known[key] = copy_value(value, self.body, self.names)
            self.names[value] = self._known[key]

    def across(self, loop: Loop) -> None:
        """The results of a loop along the row."""
        for c in loop.carries:
            assert c.next is not None
            args = tuple(self.names.get(a, a) for a in (c.next, c.init))
            made = Value("across", c.phi.dtype, args, c.combine, self.body, c.phi.owner)
            self.body.body.append(made)
            self.names[c.result] = made

    def _load(self, value: Value, args: tuple[Value, ...]) -> None:
        key = (_words(args), value.dtype)
        if key not in self._elements:
            self._unread.clear()
            self._elements[key] = copy_value(value, self.body, self.names)
        self.names[value] = self._elements[key]

    def _store(self, store: Value) -> None:
        pointer, offset, element = store.args
        key = (_words((pointer, offset)), store.attr)
        before = self._unread.pop(key, None)
        if before is not None:
            self.body.body.remove(before)
        # other addresses may be the same
        self._elements = {key: element} if element.dtype == store.attr else {}
        self._unread[key] = store


def _words(values: tuple[Value, ...]) -> tuple[Hashable, ...]:
    """Names of values, the same for equal constants."""
    return tuple((v.dtype, repr(v.attr)) if v.op == "const" else v for v in values)


def _held(b: Builder, loop: Loop, extent: Value, lanes: int, scope: Scope) -> Loop:
    """The nest for short rows."""
    rows = new_loop(
        scope, loop.extent, "serial", b, parallel=loop.parallel, label=loop.label, cost=loop.cost
    )
    row = new_loop(rows.body, extent, "vector", b, held=lanes)
    step = _Step(row.body, {loop.index: rows.index})
    for entry in loop.body.body:
        if isinstance(entry, Value):
            step.add(entry)
        else:
            step.names[entry.index] = row.index
            for value in entry.body.body:
                step.add(value)
            step.across(entry)
    rows.body.body.append(row)
    return rows
