"""Operands that are read across their rows: blocks of them are turned first.

In ``x + y.T`` the lanes of a vector lie a row of ``y`` apart, and each line of ``y`` is fetched
once for each of its elements. So the rows of the result are taken in blocks, and for each block
the run time's ``lt_turn_...`` writes that part of ``y`` as rows, into a buffer that stays in the
second cache; a copy is turned in its place. Where the loop along the rows of ``y`` is not next to
the lanes, loops change places before.
"""

from __future__ import annotations

from ltensor.ir import dtypes as dt
from ltensor.lowering.builder import Builder
from ltensor.lowering.cpu import block_pool, strided
from ltensor.lowering.program import EFFECTS, Loop, Scope, Value, new_loop
from ltensor.lowering.rewrites.loop_edits import deepen, shift

#: rows of the result whose part of an operand is turned at once, and of one that is a copy
ROWS, ROWS_OF_COPY = 32, 256
#: of matrices that are known to have fewer rows or columns, nothing is turned
LEAST = 16

#: How an offset grows with an index: not, by a number, or by a value.
Step = int | Value | None


def turn_operands(b: Builder) -> None:
    """Rewrite the nests of a program that read rows as columns, outside of its loops."""
    root = b.program.root
    for entry in list(root.body):
        if isinstance(entry, Loop):
            nest = _nest(entry)
            if len(nest) > 1:
                _Nest(b, root, nest).rewrite()
    deepen(root)


def _nest(loop: Loop) -> list[Loop]:
    """Loops in one another with nothing else, the last in lanes; [] if it is not like that."""
    found = []
    while loop.parallel and not loop.carries and loop.stop is None:
        found.append(loop)
        inner = [e for e in loop.body.body if not isinstance(e, Value)]
        values = [e for e in loop.body.body if isinstance(e, Value)]
        if not inner:
            plain = all(e.op in ("load", "store") or e.op not in EFFECTS for e in values)
            return found if loop.kind == "vector" and plain else []
        if len(inner) > 1 or not isinstance(inner[0], Loop) or loop.kind != "serial":
            return []
        if any(e.op in EFFECTS for e in values):
            return []
        loop = inner[0]
    return []


def _depends(value: Value, index: Value) -> bool:
    stack, seen = [value], {value}
    while stack:
        v = stack.pop()
        if v is index:
            return True
        new = {a for a in v.args if isinstance(a, Value)} - seen
        seen |= new
        stack += new
    return False


def _step(offset: Value, index: Value) -> Step:
    """By how much an offset grows with an index; None if that is not the same everywhere."""
    if offset is index:
        return 1
    if not _depends(offset, index):
        return 0
    if offset.op in ("add", "sub"):
        a, c = (_step(x, index) for x in offset.args)
        if a == 0 and offset.op == "add":
            return c
        return a if c == 0 else None
    if offset.op == "mul":
        factor, rest = offset.args
        if _depends(factor, index):
            factor, rest = rest, factor
        return factor if rest is index and not _depends(factor, index) else None
    return None


def _number(step: Step) -> Step:
    return step.attr if isinstance(step, Value) and step.op == "const" else step


class _Nest:
    """Rewrites one nest."""

    def __init__(self, b: Builder, root: Scope, loops: list[Loop]) -> None:
        self.b, self.root, self.loops = b, root, loops
        self.lanes = loops[-1]

    def rewrite(self) -> None:
        """Turn the operands that are read across, all those along the rows of the first."""
        written = {e.args[0] for e in self.lanes.body.body if e.op == "store"}
        turned: list[Value] = []
        rows: Loop | None = None
        for entry in self.lanes.body.body:
            if entry.op != "load" or entry.args[0] in written:
                continue
            along = self._along(entry)
            if along is not None and rows in (None, along):
                rows = along
                turned.append(entry)
        if rows is None or any(_few(loop.extent) for loop in (rows, self.lanes)):
            return
        if rows is not self.loops[-2]:
            if not self._can_swap(rows):
                return
            self._swap(rows)
            rows = self.loops[-2]
        self._blocks(rows, turned)

    def _along(self, load: Value) -> Loop | None:
        """The loop along whose steps an operand's elements are neighbours, unless it is lanes."""
        offset = load.args[1]
        across = _number(_step(offset, self.lanes.index))
        if across is None or across in (0, 1) or across in strided.STRIDES:
            return None
        near = [loop for loop in self.loops[:-1] if _number(_step(offset, loop.index)) == 1]
        if len(near) != 1 or not isinstance(across, int | Value):
            return None
        # how far the rows are apart must be known before all loops
        fixed = isinstance(across, int) or not any(
            _depends(across, loop.index) for loop in self.loops
        )
        return near[0] if fixed else None

    def _can_swap(self, rows: Loop) -> bool:
        place = self.loops.index(rows)
        inside = rows.body
        return all(
            not inside.contains(loop.extent.scope) or loop.extent.op == "const"
            for loop in self.loops[place + 1 :]
        )

    def _swap(self, rows: Loop) -> None:
        """Let the loop outside the lanes and ``rows`` change places."""
        place, near = self.loops.index(rows), self.loops[-2]
        late = rows.index
        rows.index, near.index = near.index, rows.index
        rows.extent, near.extent = near.extent, rows.extent
        moved: list[Value] = []
        for loop in self.loops[place:-2]:
            for entry in list(loop.body.body):
                if isinstance(entry, Value) and _depends(entry, late):
                    loop.body.body.remove(entry)
                    moved.append(entry)
        for value in moved:
            value.scope = near.body
        near.body.body[:0] = moved
        rows.index.scope, near.index.scope = rows.body, near.body

    def _blocks(self, rows: Loop, turned: list[Value]) -> None:
        """Put blocks of rows in the place of the loop over rows."""
        b, lanes = self.b, self.lanes
        copy = self._copied(turned)
        outside = self.loops[-3].body if len(self.loops) > 2 else self.root
        before: list[Value] = []
        height = b.const(ROWS_OF_COPY if copy else ROWS)
        more = self._add(before, outside, "add", rows.extent, b.const(height.attr - 1))
        count = self._add(before, outside, "div", more, height)
        blocks = new_loop(outside, count, "serial", b, parallel=True, label=rows.label)
        blocks.cost, rows.cost = rows.cost, None
        body, index = blocks.body, blocks.index
        begin = self._add(body.body, body, "mul", index, height)
        rest = self._add(body.body, body, "sub", rows.extent, begin)
        size = self._add(body.body, body, "min", rest, height)
        first = {rows.index: begin, lanes.index: b.const(0)}
        columns, local = lanes.extent, rows.index
        for load in turned:
            pointer, offset = load.args
            where = self._clone(offset, first, body)
            across = _step(offset, lanes.index)
            across = b.const(across) if isinstance(across, int) else across
            if copy is not None:
                apart = _step(copy.args[1], rows.index)
                apart = b.const(apart) if isinstance(apart, int) else apart
                start = self._clone(copy.args[1], first, body)
                target = (copy.args[0], start, apart)
            else:
                target = (self._buffer(load.dtype, rows.extent), b.const(0), columns)
            arguments = (pointer, where, across, *target, size, columns)
            symbol = f"lt_turn_u{8 * dt.item_size(load.dtype)}"
            b.program.calls.add(symbol)
            body.body.append(Value("call", "void", arguments, symbol, body, b))
            if copy is None:
                row = Value("mul", "int64", (local, columns), None, rows.body, b)
                rows.body.body.insert(0, row)
                place = Value("add", "int64", (row, lanes.index), None, lanes.body, b)
                lanes.body.body.insert(lanes.body.body.index(load), place)
                load.args = (target[0], place)
        if copy is None:
            self._local_rows(rows, begin, size)
            rows.body.parent = body
            body.body.append(rows)
        position = outside.body.index(rows)
        outside.body[position : position + 1] = [*before, blocks]

    def _local_rows(self, rows: Loop, begin: Value, size: Value) -> None:
        """Let ``rows`` count from ``begin``, but not in the rows of buffers."""
        own = [e for e in rows.body.body if isinstance(e, Value)][: self._added]
        local = {id(e): e.args for e in own}
        shift(rows, begin, size)
        for entry in own:
            entry.args = local[id(entry)]

    def _copied(self, turned: list[Value]) -> Value | None:
        """The store, if all that is done is to store what is read."""
        self._added = len(turned)
        effects = [e for e in self.lanes.body.body if e.op in ("load", "store")]
        if len(effects) != 2 or effects[1].op != "store" or effects[1].args[2] is not turned[0]:
            return None
        store = effects[1]
        near, far = (_step(store.args[1], loop.index) for loop in (self.lanes, self.loops[-2]))
        dense = store.attr == turned[0].dtype and _number(near) == 1
        return store if dense and far is not None else None

    def _add(self, place: list[Value], scope: Scope, op: str, first: Value, second: Value) -> Value:
        value = Value(op, "int64", (first, second), None, scope, self.b)
        place.append(value)
        return value

    def _clone(self, value: Value, names: dict[Value, Value], body: Scope) -> Value:
        """``value`` with other indices, written at the end of ``body``."""
        if value in names:
            return names[value]
        if value.op == "const" or not self.loops[-2].body.contains(value.scope):
            return value
        args = tuple(self._clone(a, names, body) for a in value.args)
        made = Value(value.op, value.dtype, args, value.attr, body, self.b)
        body.body.append(made)
        return made

    def _buffer(self, dtype: str, rows: Value) -> Value:
        """Room for a block, reserved before the nest."""
        b, head = self.b, self.root.body
        some = Value("cmp", "bool", (rows, b.const(0)), "gt", self.root, b)
        columns = Value(
            "select", "int64", (some, self.lanes.extent, b.const(0)), None, self.root, b
        )
        made = [some, columns]
        size = self._add(made, self.root, "mul", columns, b.const(ROWS * dt.item_size(dtype)))
        slot = b.program.slots
        b.program.slots += 1
        b.program.calls.update(block_pool.SYMBOLS)
        pointer = Value("ensure", "ptr", (size,), slot, self.root, b)
        at = head.index(self.loops[0])
        head[at:at] = [*made, pointer]
        return pointer


def _few(extent: Value) -> bool:
    return extent.op == "const" and extent.attr < LEAST
