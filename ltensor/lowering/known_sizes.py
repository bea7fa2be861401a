"""Sizes that a check has found equal to numbers, wherever that check has been passed.

A check of what a loop's step needs stands before the loop (`Builder.check`): it holds in all loops
of as many steps that follow, as those of a gradient. A loop over a known number of elements is far
less code than one over any number: no second loop for what is left over, and fewer checks.
"""

from __future__ import annotations

from typing import NamedTuple

from ltensor.lowering.program import Loop, Scope, Value


class _Fact(NamedTuple):
    #: what the size is equal to
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
        self._facts: dict[Value, list[_Fact]] = {}
        #: sizes that some fact ties to a number, be it through other sizes
        self._tied: set[Value] = set()

    def note(self, size: Value, other: Value, inside: Scope, check: Scope) -> None:
        """Note what a check at the end of scope ``check`` says for the code of ``inside``."""
        extents = set()
        scope = inside
        while scope is not check:
            assert isinstance(scope.holder, Loop)
            assert scope.parent is not None
            extents.add(scope.holder.extent)
            scope = scope.parent
        for a, b in ((size, other), (other, size)):
            if a.op != "const":
                self._facts.setdefault(a, []).append(_Fact(b, check, frozenset(extents)))
        for a, b in ((size, other), (other, size)):
            if b.op == "const" or b in self._tied:
                self._tie(a)

    def _tie(self, size: Value) -> None:
        stack = [size]
        while stack:
            tied = stack.pop()
            if tied.op != "const" and tied not in self._tied:
                self._tied.add(tied)
                stack += [fact.other for fact in self._facts.get(tied, ())]

    def get(self, size: Value, here: Scope) -> Value:
        """The number that ``size`` is at the end of scope ``here``, else ``size``."""
        if size not in self._tied:
            return size
        around: list[Scope] = []
        scope: Scope | None = here
        while scope is not None:
            around.append(scope)
            scope = scope.parent
        running = {s.holder.extent for s in around if isinstance(s.holder, Loop)}
        seen, stack = {size}, [size]
        while stack and len(seen) < _MOST_SEEN:
            for fact in self._facts.get(stack.pop(), ()):
                if fact.other in seen or fact.scope not in around or not fact.extents <= running:
                    continue
                if fact.other.op == "const":
                    return fact.other
                seen.add(fact.other)
                stack.append(fact.other)
        return size
