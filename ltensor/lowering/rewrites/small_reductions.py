"""Reductions of a few elements, whose number is known: the lanes are the results.

The maximum of every square of two by two, as in ``x.reshape((n, h, 2, w, 2)).max((2, 4))``, would
be a vector of two lanes for each row of a square. Here the lanes are squares: neighbours lie two to
four elements apart, which is read by whole vectors (`ltensor.lowering.cpu.strided`).
"""

from __future__ import annotations

from ltensor.lowering.builder import Builder
from ltensor.lowering.cpu.strided import STRIDES
from ltensor.lowering.program import If, Loop, Scope
from ltensor.lowering.rewrites.loop_edits import is_plain

#: elements that are reduced at most, and along the last axis, where they are neighbours
MOST, MOST_NEIGHBOURS = 16, max(STRIDES)
#: results in a row at least, if their number is known
LEAST_RESULTS = 4


def lanes_of_results(b: Builder) -> None:
    """Let lanes be results where each of them is made of a few elements."""
    _visit(b.program.root)


def _visit(scope: Scope) -> None:
    for entry in scope.body:
        if isinstance(entry, If):
            _visit(entry.then)
            _visit(entry.orelse)
        elif isinstance(entry, Loop) and entry.parallel and entry.kind == "serial":
            if _fits(entry):
                entry.kind = "vector"
                _one_by_one(entry.body)
            else:
                _visit(entry.body)


def _fits(loop: Loop) -> bool:
    extent = loop.extent
    if loop.carries or loop.stop is not None:
        return False
    if extent.op == "const" and extent.attr < LEAST_RESULTS:
        return False
    reductions = [e for e in loop.body.body if isinstance(e, Loop)]
    return bool(reductions) and _is_small(loop.body, MOST)


def _is_small(scope: Scope, most: int) -> bool:
    """Whether the loops of a scope are reductions of so many elements at most, and nothing else."""
    for entry in scope.body:
        if isinstance(entry, Loop):
            extent = entry.extent
            if extent.op != "const" or not 1 < extent.attr <= most:
                return False
            if not entry.carries or entry.stop is not None or not _joins(entry):
                return False
            innermost = not any(isinstance(e, Loop) for e in entry.body.body)
            if innermost and extent.attr > MOST_NEIGHBOURS:
                return False
            if not _is_small(entry.body, most // extent.attr):
                return False
        elif not is_plain(entry):
            return False
    return True


def _joins(loop: Loop) -> bool:
    """Whether a loop only joins what its steps contribute, itself or by a loop inside of it."""
    results = {c.result for e in loop.body.body if isinstance(e, Loop) for c in e.carries}
    return all(c.combine is not None or c.next in results for c in loop.carries)


def _one_by_one(scope: Scope) -> None:
    for entry in scope.body:
        if isinstance(entry, Loop):
            entry.kind = "serial"
            _one_by_one(entry.body)
