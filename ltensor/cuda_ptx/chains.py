"""Which loops of a kernel program may be spread over threads, and which run as one space.

Loops that stand directly inside one another (nothing between them but values that may as well be
computed for every inner step) form a *chain* and are run as the product of their extents.
"""

from __future__ import annotations

from dataclasses import dataclass

from ltensor.lowering.program import Carry, If, Loop, Scope, Value, operands, walk

#: statements that must not be repeated for every step of an inner loop
_STATEMENTS = frozenset(("store", "check", "memcpy", "check_flag", "call", "call_pointer"))


@dataclass(eq=False)
class Chain:
    """Loops run as one space; ``carries`` are those of a reduction, under their outer names."""

    loops: list[Loop]
    carries: list[Carry]
    combines: list[str]

    @property
    def body(self) -> Scope:
        """What is done at each point of the space."""
        return self.loops[-1].body

    @property
    def contributions(self) -> list[Value]:
        """What each point adds to the carried values."""
        found = [c.next for c in self.loops[-1].carries]
        return [v for v in found if v is not None]


def is_independent(loop: Loop) -> bool:
    """Whether the steps may run in any order, or at once."""
    return not loop.carries and loop.stop is None and (loop.parallel or loop.kind == "vector")


def _only_loop(scope: Scope) -> Loop | None:
    """The one loop of a scope that has nothing else to do."""
    inner = [e for e in scope.body if isinstance(e, (Loop, If))]
    if len(inner) != 1 or not isinstance(inner[0], Loop):
        return None
    if any(isinstance(e, Value) and e.op in _STATEMENTS for e in scope.body):
        return None
    return inner[0]


def _map_chain(loop: Loop) -> list[Loop]:
    loops = [loop]
    while True:
        inner = _only_loop(loops[-1].body)
        if inner is None or not is_independent(inner) or loop.body.contains(inner.extent.scope):
            return loops
        loops.append(inner)


def _reduction_chain(loop: Loop) -> tuple[list[Loop], list[str]] | None:
    if not loop.carries or loop.stop is not None:
        return None
    names = [c.combine for c in loop.carries if c.combine]
    if len(names) == len(loop.carries):
        return [loop], names
    inner = _only_loop(loop.body)
    if names or inner is None or len(inner.carries) != len(loop.carries):
        return None
    for outer_carry, carry in zip(loop.carries, inner.carries, strict=True):
        if carry.init is not outer_carry.phi or outer_carry.next is not carry.result:
            return None
    phis = {c.phi for c in loop.carries}
    for entry in walk(loop.body):
        if entry is not inner and any(v in phis for v in operands(entry)):
            return None
    rest = _reduction_chain(inner)
    if rest is None or any(loop.body.contains(x.extent.scope) for x in rest[0]):
        return None
    return [loop, *rest[0]], rest[1]


def chain_of(loop: Loop) -> Chain | None:
    """The space that starts with ``loop``, or None if its steps must follow one another."""
    if is_independent(loop):
        return Chain(_map_chain(loop), [], [])
    found = _reduction_chain(loop)
    return None if found is None else Chain(found[0], loop.carries, found[1])


def has_chain(scope: Scope) -> bool:
    """Whether some loop in ``scope`` may be spread over threads."""
    return any(isinstance(e, Loop) and chain_of(e) is not None for e in walk(scope))
