"""Sizes that a check has found equal to numbers, wherever that check has been passed.

A check of what a loop's step needs stands before the loop (`Builder.check`): it holds in all loops
of as many steps that follow, as those of a gradient. A loop over a known number of elements is far
less code than one over any number: no second loop for what is left over, and fewer checks.
"""

from __future__ import annotations

from typing import NamedTuple

from ltensor.lowering.program import Loop, Scope, Value


class Fact(NamedTuple):
    """What a size is equal to, and where that holds."""

    other: Value
    #: where the check stands
    scope: Scope
    #: number of steps of the loops before which it stands: it asks for nothing if one is zero
    extents: frozenset[Value]


#: sizes looked at for one question: an answer found later is worth less than the search for it
_MOST_SEEN = 32


class KnownSizes:
    """What is known of sizes in one program."""

    def __init__(self) -> None:
        self._facts: dict[Value, list[Fact]] = {}
        #: sizes that some fact ties to a number, be it through other sizes
        self._tied: set[Value] = set()

    def note(self, size: Value, other: Value, inside: Scope, check: Scope) -> list[Value]:
        """Note what a check at the end of scope ``check`` says for the code of ``inside``.

        Returns the sizes that are tied to a number since then, themselves or through others.
        """
        extents = set()
        scope = inside
        while scope is not check:
            assert isinstance(scope.holder, Loop)
            assert scope.parent is not None
            extents.add(scope.holder.extent)
            scope = scope.parent
        return self.add(size, Fact(other, check, frozenset(extents)))

    def add(self, size: Value, fact: Fact) -> list[Value]:
        """As `note`, of what holds where other facts do."""
        _, scope, extents = fact
        new: list[Value] = []
        for a, b in ((size, fact.other), (fact.other, size)):
            if a.op != "const":
                self._facts.setdefault(a, []).append(Fact(b, scope, extents))
        for a, b in ((size, fact.other), (fact.other, size)):
            if b.op == "const" or b in self._tied:
                new += self._tie(a)
        return new

    def _tie(self, size: Value) -> list[Value]:
        new: list[Value] = []
        stack = [size]
        while stack:
            tied = stack.pop()
            if tied.op != "const" and tied not in self._tied:
                self._tied.add(tied)
                new.append(tied)
                stack += [fact.other for fact in self._facts.get(tied, ())]
        return new

    def get(self, size: Value, here: Scope) -> Value:
        """The number that ``size`` is at the end of scope ``here``, else ``size``."""
        found = self.find(size, here)
        return size if found is None else found.other

    def find(self, size: Value, here: Scope) -> Fact | None:
        """The number that ``size`` is at the end of scope ``here``, and where else it is."""
        if size not in self._tied:
            return None
        around: list[Scope] = []
        scope: Scope | None = here
        while scope is not None:
            around.append(scope)
            scope = scope.parent
        running = {s.holder.extent for s in around if isinstance(s.holder, Loop)}
        seen, stack = {size}, [Fact(size, around[-1], frozenset())]
        while stack and len(seen) < _MOST_SEEN:
            reached, where, extents = stack.pop()
            for fact in self._facts.get(reached, ()):
                if fact.other in seen or fact.scope not in around or not fact.extents <= running:
                    continue
                inner = max(where, fact.scope, key=lambda scope: scope.depth)
                further = Fact(fact.other, inner, extents | fact.extents)
                if fact.other.op == "const":
                    return further
                seen.add(fact.other)
                stack.append(further)
        return None
