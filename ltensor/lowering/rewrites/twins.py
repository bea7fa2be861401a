"""Loop nests of a program that are equal up to constants and buffers: written once, called by all.

An unrolled loop gives the same nest for every step, on other buffers. Compiling it costs far more
than calling it, so equal nests become calls of one function whose parameters are what the nests
have from outside and their floating constants. Only nests that a call of the compiled function
runs once are considered: in a loop over steps the call could cost more than the nest.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

from ltensor.lowering.llvm_text import literal
from ltensor.lowering.program import SERIAL_ONLY, If, Loop, Program, Scope, Value

#: what ties a nest to its place: checks, allocations, calls, Python
_TIED = (SERIAL_ONLY - {"ptradd"}) | {"guard", "frame", "table"}


@dataclass
class Twin:
    """One of several equal nests.

    Attributes
    ----------
    name : str
        The function that they share.
    given : list of Value
        What this one hands over: values from outside, constants.
    """

    name: str
    given: list[Value]


@dataclass
class _Description:
    """A nest in words that are the same for all nests that differ in what is given only."""

    words: list[Hashable] = field(default_factory=list)
    given: list[Value] = field(default_factory=list)
    known: dict[Hashable, int] = field(default_factory=dict)
    inside: dict[Value, int] = field(default_factory=dict)

    def define(self, *values: Value | None) -> None:
        for value in values:
            if value is not None:
                self.inside[value] = len(self.inside)

    def use(self, value: Value | None) -> Hashable:
        """The word for an operand."""
        if value is None:
            return None
        if value in self.inside:
            return self.inside[value]
        key: Hashable = value
        if value.op == "const":
            text = literal(value.attr, value.dtype)
            if not value.dtype.startswith("float"):
                # sizes, strides and offsets decide how the nest is written
                return value.dtype, text
            key = "const", value.dtype, text
        number = self.known.get(key)
        if number is None:
            number = self.known[key] = len(self.given)
            self.given.append(value)
        return "given", number, value.dtype

    def loop(self, loop: Loop) -> bool:
        """Describe a loop; False if it must stay in its place."""
        if loop.stop is not None:
            return False
        self.words.append((loop.kind, loop.held, self.use(loop.extent)))
        self.words += [(c.combine, c.phi.dtype, self.use(c.init)) for c in loop.carries]
        self.define(loop.index, *(c.phi for c in loop.carries))
        if not self.scope(loop.body):
            return False
        self.words.append(tuple(self.use(c.next) for c in loop.carries))
        self.define(loop.steps, *(c.result for c in loop.carries))
        return True

    def scope(self, scope: Scope) -> bool:
        for entry in scope.body:
            if isinstance(entry, Loop):
                if not self.loop(entry):
                    return False
            elif isinstance(entry, If) or entry.op in _TIED:
                return False
            else:
                operands = tuple(map(self.use, entry.args))
                self.words.append((entry.op, entry.dtype, repr(entry.attr), operands))
                self.define(entry)
        self.words.append("end")
        return True


def find(program: Program) -> dict[Loop, Twin]:
    """The nests of a program that have an equal, by their outermost loops."""
    alike: dict[Hashable, list[tuple[Loop, list[Value]]]] = {}
    for entry in _once(program.root):
        if not entry.carries:
            description = _Description()
            if description.loop(entry):
                key = tuple(description.words)
                alike.setdefault(key, []).append((entry, description.given))
    found = {}
    for number, group in enumerate(g for g in alike.values() if len(g) > 1):
        for loop, given in group:
            found[loop] = Twin(f"nest{number}", given)
    return found


def _once(scope: Scope) -> Iterator[Loop]:
    """The nests that a call of the compiled function runs once at most."""
    for entry in scope.body:
        if isinstance(entry, Loop):
            yield entry
        elif isinstance(entry, If):
            yield from _once(entry.then)
            yield from _once(entry.orelse)
