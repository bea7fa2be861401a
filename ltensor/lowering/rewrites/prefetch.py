"""Rows that are read more than once: while the last loop computes, the next rows are fetched.

The first loop over a row waits for memory, the later ones find it in the cache and wait for the
arithmetic. A prefetch of what the next step will read lets both go on at once.
"""

from __future__ import annotations

from collections.abc import Iterator

from ltensor.lowering.program import If, Loop, Program, Scope, Value, walk


def prefetch_rows(program: Program) -> None:
    """Add prefetches to the loops over rows, or blocks of rows, of a program."""
    for scope in _scopes(program.root):
        for entry in list(scope.body):
            if isinstance(entry, Loop) and entry.parallel and entry.kind == "serial":
                _prefetch(scope, entry)


def _scopes(scope: Scope) -> Iterator[Scope]:
    """The scopes in which no loop over rows has been opened."""
    yield scope
    for entry in scope.body:
        if isinstance(entry, Loop) and not entry.parallel and entry.kind == "serial":
            yield from _scopes(entry.body)
        elif isinstance(entry, If):
            yield from _scopes(entry.then)
            yield from _scopes(entry.orelse)


def _prefetch(scope: Scope, outer: Loop) -> None:
    entries = list(walk(outer.body))
    if any(isinstance(e, If) for e in entries):
        return
    written = {e.args[0] for e in entries if isinstance(e, Value) and e.op == "store"}
    readers: dict[Value, list[tuple[Loop, Value]]] = {}
    for leaf in entries:
        if not isinstance(leaf, Loop) or leaf.kind != "vector":
            continue
        for e in leaf.body.body:
            if isinstance(e, Value) and e.op == "load" and leaf.index in _parts(e.args[1]):
                readers.setdefault(e.args[0], []).append((leaf, e))
    for pointer, found in readers.items():
        if pointer in written or len({id(leaf) for leaf, _ in found}) < 2:
            continue
        leaf, load = found[-1]
        step = _Step(scope, outer).of(load.args[1])
        if step is None or step.op == "const":
            continue
        body, owner = leaf.body, load.owner
        ahead = Value("add", "int64", (load.args[1], step), None, body, owner)
        hint = Value("prefetch", "void", (pointer, ahead), load.dtype, body, owner)
        where = body.body.index(load)
        body.body[where + 1 : where + 1] = [ahead, hint]


def _parts(value: Value) -> Iterator[Value]:
    """The terms of a sum."""
    if value.op == "add":
        for part in value.args:
            yield from _parts(part)
    else:
        yield value


class _Step:
    """By how much an address grows from one step of a loop to the next, computed before it."""

    def __init__(self, scope: Scope, loop: Loop) -> None:
        self.scope = scope
        self.loop = loop

    def of(self, value: Value) -> Value | None:
        """The growth of ``value``; None if that is not the same for all steps."""
        if value is self.loop.index:
            return self._const(value, 1)
        if not self._inside(value) or value.op in ("index", "phi", "result"):
            return self._const(value, 0)
        if value.op not in ("add", "mul"):
            return None
        a, b = (self.of(v) for v in value.args)
        if a is None or b is None:
            return None
        if value.op == "add":
            return self._make("add", a, b)
        x, y = value.args
        if self._is(b, 0) and not self._inside(y):
            return self._make("mul", a, y)
        if self._is(a, 0) and not self._inside(x):
            return self._make("mul", b, x)
        return None

    def _inside(self, value: Value) -> bool:
        return value.op != "const" and self.loop.body.contains(value.scope)

    @staticmethod
    def _is(value: Value, number: int) -> bool:
        return bool(value.op == "const" and value.attr == number)

    @staticmethod
    def _const(value: Value, number: int) -> Value:
        found: Value = value.owner.const(number)
        return found

    def _make(self, op: str, a: Value, b: Value) -> Value:
        neutral = 0 if op == "add" else 1
        for x, y in ((a, b), (b, a)):
            if self._is(x, neutral):
                return y
            if op == "mul" and self._is(x, 0):
                return x
        made = Value(op, "int64", (a, b), None, self.scope, a.owner)
        self.scope.body.insert(self.scope.body.index(self.loop), made)
        return made
