"""The builder of kernel programs, and the emitter protocol that the ops' lowerings are written in.

Scalars are `Value` (complex ones `Complex`); Python numbers are taken as constants of the other
operand's dtype. Loops and branches are context managers::

    with b.loop(n, carries=[zero]) as loop:
        loop.next(b.add(loop.carry[0], x))
    total = loop.results[0]

`Builder` is one class in layers, each in a file: ``values``, on them ``logic``, on that
``functions`` and ``checks``, on both ``arithmetic``, then ``memory``, and here loops and branches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ltensor.lowering.builder.memory import Memory
from ltensor.lowering.program import Carry, If, Loop, Scope, Value, new_loop

__all__ = ["Builder"]


class Builder(Memory):
    """Appends to a `Program`.

    Parameters
    ----------
    name : str
    threads : int
        How many threads of a CPU may share the program's loops; 0 if it is for something else.
    """

    def __init__(self, name: str, threads: int = 0) -> None:
        super().__init__(name, threads)
        self._open_if: If | None = None

    @contextmanager
    def loop(
        self,
        extent: Any,
        *,
        carries: Sequence[Any] = (),
        kind: str = "serial",
        combine: Sequence[str] | None = None,
        parallel: bool = False,
        label: str = "",
        inner_steps: Value | None = None,
    ) -> Iterator[Loop]:
        """A loop over ``range(extent)``; ``carries`` are the initial carried values.

        ``inner_steps`` is the usual trip count of loops inside whose own is not known outside.
        """
        extent = extent if isinstance(extent, Value) else self.const(extent)
        parent = self.scope
        loop = new_loop(parent, extent, kind, self, parallel=parallel, label=label)
        body = loop.body
        for number, init in enumerate(carries):
            phi = Value("phi", init.dtype, (), None, body, self)
            result = Value("result", init.dtype, (), loop, parent, self)
            loop.carries.append(Carry(init, phi, result, combine[number] if combine else None))
        self.scope = body
        self._epoch += 1
        try:
            yield loop
        finally:
            self.scope = parent
        if parallel and self.threads > 1:
            from ltensor.lowering.rewrites.parallel import expected_cost

            # now, and not when all is built: what it is made of must stand before the loop
            loop.cost = expected_cost(self, loop, inner_steps)
        self._epoch += 1
        parent.body.append(loop)

    def reduce(self, extent: Any, combine: str, init: Value, kind: str = "vector") -> Any:
        """A loop with a carried value joined by ``combine``: ``loop.next`` takes contributions."""
        return self.loop(extent, carries=[init], combine=[combine], kind=kind)

    @contextmanager
    def if_(self, condition: Value) -> Iterator[None]:
        """A branch; follow it by ``else_`` for the other side."""
        parent = self.scope
        branch = If(condition, Scope(parent), Scope(parent))
        self.scope = branch.then
        self._epoch += 1
        yield
        self.scope = parent
        self._epoch += 1
        parent.body.append(branch)
        self._open_if = branch

    @contextmanager
    def else_(self) -> Iterator[None]:
        """The other side of the last ``if_``."""
        branch = self._open_if
        if branch is None or self.scope.body[-1] is not branch:
            raise RuntimeError("else_ without if_")
        parent = self.scope
        self.scope = branch.orelse
        self._epoch += 1
        # nothing may be hoisted behind the branch while its other side is written
        parent.body.pop()
        yield
        self.scope = parent
        self._epoch += 1
        parent.body.append(branch)

    def steps_here(self) -> list[tuple[str, Value]]:
        """The scans around the current position, outermost first: label and current step."""
        found: list[tuple[str, Value]] = []
        scope: Scope | None = self.scope
        while scope is not None:
            loop = scope.holder
            if isinstance(loop, Loop) and loop.label.startswith("for{"):
                found.append((loop.label, loop.index))
            scope = scope.parent
        return found[::-1]
