"""Compiled functions on disk: a second process compiles the same graph in milliseconds.

A *plan* is what a call needs besides object code: which object it is, what the code's table of
addresses holds (constants, shared variables), which functions of the run time it calls. It is found
by the graph before any pass (`ltensor.runtime.plan_key`), so that neither passes nor lowering run.
Object code and plans lie in one folder (`ltensor.lowering.cpu.object_cache`): they are written
whole, checked when they are read, and the oldest go when there are too many.

Not kept: functions that call Python, those with large constants, and those of which somebody wants
to see the stages (who compiles them says so). ``LTENSOR_PLANS=0`` turns it off, ``LTENSOR_CACHE=0``
object code as well.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ltensor.lowering.cpu import jit, object_cache
from ltensor.runtime import link, plan_key
from ltensor.runtime.cell import Cell

if TYPE_CHECKING:
    from ltensor.lowering.whole import Lowered
    from ltensor.runtime.build import Build

__all__ = ["Plan", "find", "keep", "key", "load"]

#: bytes of constants that a plan may hold
MOST_BYTES = 4 << 20


@dataclass
class Plan:
    """What is kept of a compiled function.

    Attributes
    ----------
    object_name : str
        The entry of the object code, which is the hash of the module's text.
    entries : list of (str, object)
        What the table of addresses holds; arrays as (dtype, shape, bytes).
    calls : list of str
        Functions of the run time.
    """

    object_name: str
    entries: list[tuple[str, Any]]
    calls: list[str]
    code: bytes = b""

    def is_of(self, text: str) -> bool:
        """Whether the code was made of ``text``."""
        return jit.object_name(text) == self.object_name


def is_on() -> bool:
    """Whether plans are kept and used."""
    if os.environ.get("LTENSOR_PLANS", "1").lower() in ("0", "off", "false", "no"):
        return False
    return object_cache.folder() is not None


def key(build: Build) -> str | None:
    """The name of a function's plan; None if it has none."""
    mode = build.mode
    if not is_on() or getattr(mode, "checks", None) is not None:
        return None
    from ltensor.passes.pipeline import stages

    counts = build.n_arguments, build.n_results, build.updated
    signature = *counts, build.returns, build.keeps_memory, build.lent
    return plan_key.function_key(build.graph, build.flags, stages(mode), signature)


def find(name: str) -> Plan | None:
    """The plan called ``name`` with its object code, or None."""
    data = object_cache.load(name, "plan")
    if data is None:
        return None
    try:
        plan = Plan(*pickle.loads(data))
    except Exception:  # whole, but of another kind: as good as none
        return None
    code = object_cache.load(plan.object_name)
    if code is None:
        return None
    plan.code = code
    return plan


def load(
    plan: Plan, shared: Sequence[Cell], source: Callable[[], tuple[Lowered, str]]
) -> link.Linked:
    """The code of a plan in memory."""
    return link.load(plan.code, list(map(_unpacked, plan.entries)), plan.calls, shared, source)


def keep(name: str, lowered: Lowered, text: str) -> None:
    """Write the plan of a compiled function, if it can have one."""
    total = 0
    for kind, thing in lowered.table:
        if kind == "callback":
            return
        if kind == "data":
            total += thing.nbytes
    if total > MOST_BYTES:
        return
    entries = list(map(_packed, lowered.table))
    parts = (jit.object_name(text), entries, sorted(lowered.program.calls))
    object_cache.store(name, pickle.dumps(parts), "plan")


def _packed(entry: tuple[str, Any]) -> tuple[str, Any]:
    kind, thing = entry
    return (kind, (thing.dtype.str, thing.shape, thing.tobytes())) if kind == "data" else entry


def _unpacked(entry: tuple[str, Any]) -> tuple[str, Any]:
    kind, thing = entry
    if kind != "data":
        return entry
    dtype, shape, data = thing
    # a copy: aligned, as the code may expect
    return kind, np.ndarray(shape, dtype, data).copy()
