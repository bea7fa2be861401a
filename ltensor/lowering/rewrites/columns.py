"""Reductions down the columns of a matrix, row by row.

Lanes are neighbouring columns, each with its running value in a register, and step from row to row.
Of a tall matrix that reads a few hundred bytes here and there, which memory serves at less than
half its speed. So the rows are gone through one after the other, with the running values in a
buffer that stays in the first cache.

Threads share strips of columns. Of matrices that are one strip the rows are cut as well, into
chunks whose results are put together afterwards; how many depends on the matrix alone, so that the
result has the same bits for any number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ltensor.lowering.builder import Builder
from ltensor.lowering.program import EFFECTS, Carry, Loop, Scope, Value, View, new_loop, walk
from ltensor.lowering.rewrites.loop_edits import copy_value, deepen, shift

#: rows of a sweep: with two to sixteen, memory was half as fast as with one
ROWS = 1
#: columns of a strip, which threads share; narrower ones are not read at full speed
STRIP = 2048
#: elements of a chunk of rows, as long as there are no more than `MOST_CHUNKS`
CHUNK_BITS = 17
MOST_CHUNKS = 8
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


#: how results of chunks are put together, and what a chunk must begin with
_NEUTRAL = {"add": 0, "mul": 1, "max": None, "min": None, "and": None, "or": None}


def _combination(down: Loop, carry: Carry) -> str | None:
    """The operation that joins an element to a running value, if it also joins two of these."""
    following = carry.next
    if following is None or following.op not in _NEUTRAL or carry.init.op != "const":
        return None
    neutral = _NEUTRAL[following.op]
    if neutral is not None and carry.init.attr != neutral:
        return None
    uses = [e for e in down.body.body if carry.phi in e.args]
    others = any(c.next is carry.phi or c.init is carry.phi for c in down.carries)
    return following.op if uses == [following] and not others else None


class _Sweep:
    """Rewrites one reduction."""

    def __init__(self, b: Builder, scope: Scope, loop: Loop, down: Loop) -> None:
        self.b, self.scope, self.loop, self.down = b, scope, loop, down
        self.head = Scope(None)

    def rewrite(self) -> None:
        """Put strips of columns in the place of the loop."""
        b, loop, down = self.b, self.loop, self.down
        columns, rows = loop.extent, down.extent
        hows = [_combination(down, c) for c in down.carries]
        chunks = self._chunks(columns, rows) if all(hows) else b.const(1)
        kept = [self._buffer(c.phi.dtype, chunks) for c in down.carries]
        body = loop.body.body
        place = body.index(down)
        before, after = body[:place], body[place + 1 :]

        count = self._blocks(columns, b.const(STRIP))
        tasks = count if chunks.op == "const" else self._make(self.head, "mul", count, chunks)
        strips = self._loop(self.scope, tasks, "serial")
        strips.parallel, strips.label, strips.cost = True, loop.label, loop.cost
        strip, top, length, row = strips.index, b.const(0), rows, b.const(0)
        if chunks.op != "const":
            chunk = self._make(strips.body, "div", strips.index, count)
            strip = self._make(
                strips.body, "sub", strip, self._make(strips.body, "mul", chunk, count)
            )
            share = self._blocks(rows, chunks)
            top = self._make(strips.body, "mul", chunk, share)
            rest = self._make(strips.body, "sub", rows, top)
            length = self._make(strips.body, "min", rest, share)
            row = self._make(strips.body, "mul", chunk, columns)
        begin = self._make(strips.body, "mul", strip, b.const(STRIP))
        rest = self._make(strips.body, "sub", columns, begin)
        width = self._make(strips.body, "min", rest, b.const(STRIP))

        start = self._loop(strips.body, width, "vector")
        here = self._make(start.body, "add", begin, start.index)
        names = self._clone(before, start.body, here)
        where = self._make(start.body, "add", row, here)
        for carry, place_ in zip(down.carries, kept, strict=True):
            self._store(start.body, place_, where, names.get(carry.init, carry.init))
        strips.body.body.append(start)

        wide = self._make(self.head, "cmp", columns, b.const(NARROW), dtype="bool", attr="ge")
        height = self._make(self.head, "select", wide, b.const(ROWS), self._at_least_one(rows))
        sweeps = self._loop(strips.body, self._blocks(length, height, strips.body), "serial")
        done = self._make(sweeps.body, "mul", sweeps.index, height)
        some = self._make(sweeps.body, "min", self._make(sweeps.body, "sub", length, done), height)
        first = self._make(sweeps.body, "add", top, done)
        across = self._loop(sweeps.body, width, "vector")
        here = self._make(across.body, "add", begin, across.index)
        names = self._clone(before, across.body, here)
        names[loop.index] = here
        where = self._make(across.body, "add", row, here)
        initial = [(c.init, c.phi.dtype) for c in down.carries]
        results = []
        for carry, place_ in zip(down.carries, kept, strict=True):
            carry.init = self._load(across.body, place_, where)
            results.append(carry.result)
        self._replace(down, names)
        shift(down, first, some)
        down.body.parent = across.body
        across.body.body.append(down)
        for carry, place_ in zip(down.carries, kept, strict=True):
            self._store(across.body, place_, where, carry.result)
        sweeps.body.body.append(across)
        strips.body.body.append(sweeps)

        # the loop over columns is left with what follows
        finals = Scope(None)
        if chunks.op == "const":
            totals = [self._load(finals, place_, loop.index) for place_ in kept]
        else:
            totals = self._together(finals, kept, chunks, hows, initial)
        values = dict(zip(results, totals, strict=True))
        for entry in after:
            entry.args = tuple(values.get(a, a) for a in entry.args)
        loop.body.body[:] = [*before, *finals.body, *after]
        for entry in finals.body:
            if isinstance(entry, Value):
                entry.scope = loop.body
            else:
                entry.body.parent = loop.body
        entries = [*self.head.body, strips]
        if chunks.op == "const":
            shift(loop, begin, width)
            loop.body.parent = strips.body
            strips.body.body.append(loop)
        else:
            entries.append(loop)
        loop.cost = None
        for value in self.head.body:
            value.scope = self.scope
        position = self.scope.body.index(loop)
        self.scope.body[position : position + 1] = entries
        deepen(self.scope)

    def _chunks(self, columns: Value, rows: Value) -> Value:
        """How many chunks the rows are cut into."""
        b = self.b
        elements = b.shift_right(b.mul(columns, rows), CHUNK_BITS)
        some = b.max(b.min(elements, b.const(MOST_CHUNKS)), b.const(1))
        return b.select(b.gt(columns, STRIP), b.const(1), some)

    def _together(
        self,
        scope: Scope,
        kept: list[View],
        chunks: Value,
        hows: list[str | None],
        initial: list[tuple[Value, str]],
    ) -> list[Value]:
        """The results of all chunks of a column, in their order."""
        columns = self.loop.extent
        loop = self._loop(scope, chunks, "serial")
        where = self._make(loop.body, "mul", loop.index, columns)
        where = self._make(loop.body, "add", where, self.loop.index)
        for place, how, (init, dtype) in zip(kept, hows, initial, strict=True):
            assert how is not None
            phi = Value("phi", dtype, (), None, loop.body, self.b)
            result = Value("result", dtype, (), loop, scope, self.b)
            part = self._load(loop.body, place, where)
            following = self._make(loop.body, how, phi, part, dtype=dtype)
            loop.carries.append(Carry(init, phi, result, None, following))
        scope.body.append(loop)
        return loop.results

    # ------------------------------------------------------------------ pieces

    def _buffer(self, dtype: str, chunks: Value) -> View:
        """Running values of all columns, for each chunk of rows."""
        b = self.b
        size = b.mul(self.loop.extent, chunks)
        found = b.temporary(dtype, (size,))
        # values are made at the end of the scope: these must stand before the loop
        body = self.scope.body
        behind = body.index(self.loop) + 1
        moved = _made_of(found.pointer, set(body[behind:]))
        body[behind:] = [entry for entry in body[behind:] if entry not in moved]
        self.head.body += moved
        return found

    def _make(
        self, scope: Scope, op: str, *args: Value, dtype: str = "int64", attr: Any = None
    ) -> Value:
        value = Value(op, dtype, args, attr, scope, self.b)
        scope.body.append(value)
        return value

    def _at_least_one(self, rows: Value) -> Value:
        return self._make(self.head, "max", rows, self.b.const(1))

    def _blocks(self, count: Value, size: Value, scope: Scope | None = None) -> Value:
        place = self.head if scope is None else scope
        more = self._make(place, "add", count, size)
        less = self._make(place, "sub", more, self.b.const(1))
        return self._make(place, "div", less, size)

    def _loop(self, scope: Scope, extent: Value, kind: str) -> Loop:
        return new_loop(scope, extent, kind, self.b)

    def _load(self, scope: Scope, view: View, index: Value) -> Value:
        return self._make(scope, "load", view.pointer, index, dtype=view.dtype)

    def _store(self, scope: Scope, view: View, index: Value, value: Value) -> None:
        self._make(scope, "store", view.pointer, index, value, dtype="void", attr=view.dtype)

    def _clone(self, entries: Sequence[Value], scope: Scope, index: Value) -> dict[Value, Value]:
        """Copies of values that depend on the column, for another loop over columns."""
        names: dict[Value, Value] = {self.loop.index: index}
        for entry in entries:
            copy_value(entry, scope, names)
        return names

    @staticmethod
    def _replace(loop: Loop, names: dict[Value, Value]) -> None:
        for entry in loop.body.body:
            if isinstance(entry, Value):
                entry.args = tuple(names.get(a, a) for a in entry.args)
        for carry in loop.carries:
            if carry.next is not None:
                carry.next = names.get(carry.next, carry.next)


def _made_of(value: Value, among: set[Any]) -> dict[Value, None]:
    """What of ``among`` is needed for ``value``, and it: operands first."""
    found: dict[Value, None] = {}
    stack = [value]
    while stack:
        part = stack[-1]
        waiting = [a for a in part.args if a in among and a not in found]
        if waiting:
            stack += waiting
            continue
        stack.pop()
        if part in among:
            found[part] = None
    return found
