"""Reductions down the columns of a matrix, row by row.

Lanes are neighbouring columns, each with its running value in a register, and step from row to row.
Of a tall matrix that reads a few hundred bytes here and there, which memory serves at less than
half its speed. So the rows are gone through one after the other, with the running values in a
buffer that stays in the first cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ltensor.lowering.builder import Builder
from ltensor.lowering.program import EFFECTS, Loop, Scope, Value, View, walk
from ltensor.lowering.rewrites.loop_edits import deepen, shift

#: rows of a sweep: with two to sixteen, memory was half as fast as with one
ROWS = 1
#: columns of a strip, which threads share; narrower ones are not read at full speed
STRIP = 2048
#: narrower matrices keep their running values in registers
NARROW = 128

#: what must not stand in a loop that is rewritten
_EFFECTS = EFFECTS - {"load"}


def sweep_columns(b: Builder) -> None:
    """Rewrite the reductions down columns of a program, outside of its loops."""
    root = b.program.root
    for entry in list(root.body):
        down = _recurrence(entry) if isinstance(entry, Loop) else None
        if down is not None:
            _Sweep(b, root, entry, down).rewrite()


def _recurrence(loop: Loop) -> Loop | None:
    """The loop down a column in a loop over columns that may be rewritten."""
    if loop.kind != "vector" or not loop.parallel or loop.carries or loop.stop is not None:
        return None
    inner = [e for e in loop.body.body if not isinstance(e, Value)]
    if len(inner) != 1 or not isinstance(inner[0], Loop):
        return None
    down = inner[0]
    if down.kind != "serial" or not down.carries or any(c.combine for c in down.carries):
        return None
    if down.stop is not None or _small(loop.extent, NARROW) or _small(down.extent, 4 * ROWS):
        return None
    if down.extent.op != "const" and loop.body.contains(down.extent.scope):
        return None
    if any(not isinstance(e, Value) or e.op in _EFFECTS for e in down.body.body):
        return None
    place = loop.body.body.index(down)
    before, after = loop.body.body[:place], loop.body.body[place + 1 :]
    if any(e.op in _EFFECTS for e in before):
        return None
    if any(e.op in _EFFECTS and e.op != "store" for e in after):
        return None
    written = {e.args[0] for e in after if e.op == "store"}
    loads = [e for e in walk(loop.body) if isinstance(e, Value) and e.op == "load"]
    # what the rows are read from may not be what the results are written to
    return None if any(e.args[0] in written for e in loads) else down


def _small(extent: Value, limit: int) -> bool:
    return bool(extent.op == "const" and extent.attr < limit)


class _Sweep:
    """Rewrites one reduction."""

    def __init__(self, b: Builder, scope: Scope, loop: Loop, down: Loop) -> None:
        self.b, self.scope, self.loop, self.down = b, scope, loop, down
        self.head = Scope(None)

    def rewrite(self) -> None:
        """Put strips of columns in the place of the loop."""
        b, loop, down = self.b, self.loop, self.down
        kept = [self._buffer(c.phi.dtype) for c in down.carries]
        columns, rows = loop.extent, down.extent
        body = loop.body.body
        place = body.index(down)
        before, after = body[:place], body[place + 1 :]

        strips = self._loop(self.scope, self._blocks(columns, b.const(STRIP)), "serial")
        strips.parallel, strips.label, strips.cost = True, loop.label, loop.cost
        begin = self._make(strips.body, "mul", strips.index, b.const(STRIP))
        rest = self._make(strips.body, "sub", columns, begin)
        width = self._make(strips.body, "min", rest, b.const(STRIP))

        start = self._loop(strips.body, width, "vector")
        here = self._make(start.body, "add", begin, start.index)
        names = self._clone(before, start.body, here)
        for carry, place_ in zip(down.carries, kept, strict=True):
            self._store(start.body, place_, here, names.get(carry.init, carry.init))
        strips.body.body.append(start)

        wide = self._make(self.head, "cmp", columns, b.const(NARROW), dtype="bool", attr="ge")
        height = self._make(self.head, "select", wide, b.const(ROWS), self._at_least_one(rows))
        sweeps = self._loop(strips.body, self._blocks(rows, height), "serial")
        first = self._make(sweeps.body, "mul", sweeps.index, height)
        some = self._make(sweeps.body, "min", self._make(sweeps.body, "sub", rows, first), height)
        across = self._loop(sweeps.body, width, "vector")
        here = self._make(across.body, "add", begin, across.index)
        names = self._clone(before, across.body, here)
        names[loop.index] = here
        results = []
        for carry, place_ in zip(down.carries, kept, strict=True):
            carry.init = self._load(across.body, place_, here)
            results.append(carry.result)
        self._replace(down, names)
        shift(down, first, some)
        down.body.parent = across.body
        across.body.body.append(down)
        for carry, place_ in zip(down.carries, kept, strict=True):
            self._store(across.body, place_, here, carry.result)
        sweeps.body.body.append(across)
        strips.body.body.append(sweeps)

        # the loop over columns is left with what follows
        finals = Scope(None)
        values = {
            result: self._load(finals, place_, loop.index)
            for result, place_ in zip(results, kept, strict=True)
        }
        for entry in after:
            entry.args = tuple(values.get(a, a) for a in entry.args)
        loop.body.body[:] = [*before, *finals.body, *after]
        for entry in finals.body:
            entry.scope = loop.body
        shift(loop, begin, width)
        loop.cost = None
        loop.body.parent = strips.body
        strips.body.body.append(loop)
        for value in self.head.body:
            value.scope = self.scope
        position = self.scope.body.index(loop)
        self.scope.body[position : position + 1] = [*self.head.body, strips]
        deepen(self.scope)

    # ------------------------------------------------------------------ pieces

    def _buffer(self, dtype: str) -> View:
        """Running values of all columns."""
        b = self.b
        size = self.loop.extent
        found = b.temporary(dtype, (size,))
        # values are made at the end of the scope: these must stand before the loop
        for value in (*self._made_of(found.pointer), found.pointer):
            late = value.scope is self.scope and value in self.scope.body
            if late and self.scope.body.index(value) > self.scope.body.index(self.loop):
                self.scope.body.remove(value)
                self.head.body.append(value)
        return found

    def _made_of(self, value: Value) -> list[Value]:
        found: list[Value] = []
        for a in value.args:
            if a.op != "const":
                found += [v for v in (*self._made_of(a), a) if v not in found]
        return found

    def _make(
        self, scope: Scope, op: str, *args: Value, dtype: str = "int64", attr: Any = None
    ) -> Value:
        value = Value(op, dtype, args, attr, scope, self.b)
        scope.body.append(value)
        return value

    def _at_least_one(self, rows: Value) -> Value:
        return self._make(self.head, "max", rows, self.b.const(1))

    def _blocks(self, count: Value, size: Value) -> Value:
        more = self._make(self.head, "add", count, size)
        less = self._make(self.head, "sub", more, self.b.const(1))
        return self._make(self.head, "div", less, size)

    def _loop(self, scope: Scope, extent: Value, kind: str) -> Loop:
        body = Scope(scope)
        made = Loop(Value("index", "int64", (), None, body, self.b), extent, body, kind)
        made.steps = Value("result", "int64", (), made, scope, self.b)
        body.holder = made
        return made

    def _load(self, scope: Scope, view: View, index: Value) -> Value:
        return self._make(scope, "load", view.pointer, index, dtype=view.dtype)

    def _store(self, scope: Scope, view: View, index: Value, value: Value) -> None:
        self._make(scope, "store", view.pointer, index, value, dtype="void", attr=view.dtype)

    def _clone(self, entries: Sequence[Value], scope: Scope, index: Value) -> dict[Value, Value]:
        """Copies of values that depend on the column, for another loop over columns."""
        names: dict[Value, Value] = {self.loop.index: index}
        for entry in entries:
            args = tuple(names.get(a, a) for a in entry.args)
            names[entry] = self._make(scope, entry.op, *args, dtype=entry.dtype, attr=entry.attr)
        return names

    @staticmethod
    def _replace(loop: Loop, names: dict[Value, Value]) -> None:
        for entry in loop.body.body:
            if isinstance(entry, Value):
                entry.args = tuple(names.get(a, a) for a in entry.args)
        for carry in loop.carries:
            if carry.next is not None:
                carry.next = names.get(carry.next, carry.next)
