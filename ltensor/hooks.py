"""Who wants to know what is compiled: ``ltensor dump``, tests, profilers.

Layer 4: the front end reports every function it compiled by `compiled`; whoever listens put a
callback into `listeners` (or uses `recording`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ltensor.ir.function import Function


@dataclass
class CompileRecord:
    """One compiled function at all its stages.

    Attributes
    ----------
    name : str
    graph : Function
        As built, before any pass.
    snapshots : list of (str, Function)
        The Function after each pass that changed it; empty unless a listener wants them.
    optimized : Function
        After all passes.
    program : Program or None
        The kernel program (`ltensor.lowering.program.Program`).
    llvm : str
        The LLVM IR text.
    module : CompiledModule or None
        The loaded code; ``module.assembly()`` lists it.
    function : callable or None
        What the user gets, if it is a compiled function.
    """

    name: str
    graph: Function
    optimized: Function
    snapshots: list[tuple[str, Function]] = field(default_factory=list)
    program: Any = None
    llvm: str = ""
    module: Any = None
    function: Any = None


@dataclass(eq=False)
class Listener:
    """A callback and what it wants."""

    callback: Callable[[CompileRecord], None]
    snapshots: bool = False


#: called for every function compiled, in this order
listeners: list[Listener] = []


def wants_snapshots() -> bool:
    """Whether somebody wants the Function after every pass (it costs memory)."""
    return any(listener.snapshots for listener in listeners)


def compiled(record: CompileRecord) -> None:
    """Tell all listeners of a compiled function."""
    for listener in list(listeners):
        listener.callback(record)


@contextmanager
def listening(
    callback: Callable[[CompileRecord], None], snapshots: bool = False
) -> Iterator[Listener]:
    """Call ``callback`` for every function that is compiled inside the ``with`` block."""
    listener = Listener(callback, snapshots)
    listeners.append(listener)
    try:
        yield listener
    finally:
        listeners.remove(listener)


@contextmanager
def recording(snapshots: bool = False) -> Iterator[list[CompileRecord]]:
    """A list that takes the record of every function compiled inside the ``with`` block.

    Examples
    --------
    >>> with recording() as records:
    ...     pass
    >>> records
    []
    """
    records: list[CompileRecord] = []
    with listening(records.append, snapshots):
        yield records
