"""Reductions along rows of a few elements, which lanes along the row would spend on their tails.

A reduction over the last axis runs in lanes along the row. Of a row of two or three elements
that is one masked vector, several accumulators and their sum, ten times what adding the elements
takes. So such a nest exists twice, and the length of the rows chooses: narrow ones are reduced
element by element, which the processor does for several rows at once; if elements are functions,
the lanes are rows.
"""

from __future__ import annotations

import functools

from ltensor.lowering.builder import Builder
from ltensor.lowering.program import Carry, Loop, Scope, Value, new_loop
from ltensor.lowering.rewrites.loop_edits import choose_by_length, copy_value, deepen, is_plain

#: elements of the longest row that is narrow, and of one whose elements are functions; longer ones
#: are a single step (`held_rows`). `ltensor.ops.extrema` has another limit, for its nests in lanes
#: of rows take less per element
NARROW, NARROW_FUNCTIONS = 2, 4


def split_narrow_rows(b: Builder) -> None:
    """Give the reductions along rows of a program their second nest, outside of its loops."""
    root = b.program.root
    for entry in list(root.body):
        inner = _reduction(entry) if isinstance(entry, Loop) else None
        if inner is None:
            continue
        assert isinstance(entry, Loop)
        form = functools.partial(_narrow, b, entry, inner)
        choose_by_length(root, entry, inner.extent, _limit(inner), form)
    deepen(root)


def _reduction(loop: Loop) -> Loop | None:
    """The loop along a row in a loop over rows that does nothing else of note."""
    if loop.kind != "serial" or not loop.parallel or loop.carries or loop.stop is not None:
        return None
    inner = [e for e in loop.body.body if not isinstance(e, Value)]
    if len(inner) != 1 or not isinstance(inner[0], Loop):
        return None
    along = inner[0]
    if along.kind != "vector" or not along.carries or along.stop is not None:
        return None
    if any(c.combine is None for c in along.carries) or _is_long(along):
        return None
    if along.extent.op != "const" and loop.body.contains(along.extent.scope):
        return None
    if not all(is_plain(e) and e.op != "store" for e in along.body.body):
        return None
    return along if all(is_plain(e) for e in loop.body.body if e is not along) else None


def _is_long(along: Loop) -> bool:
    return bool(along.extent.op == "const" and along.extent.attr > _limit(along))


def _limit(along: Loop) -> int:
    return NARROW_FUNCTIONS if _has_functions(along) else NARROW


def _has_functions(along: Loop) -> bool:
    return any(isinstance(e, Value) and e.op == "math" for e in along.body.body)


def _narrow(b: Builder, loop: Loop, along: Loop, scope: Scope) -> Loop:
    """The nest for narrow rows."""
    names: dict[Value, Value] = {}
    kind = "vector" if _has_functions(along) else "serial"
    made = new_loop(scope, loop.extent, kind, b, parallel=True, label=loop.label, cost=loop.cost)
    names[loop.index] = made.index
    for entry in loop.body.body:
        if isinstance(entry, Value):
            copy_value(entry, made.body, names)
            continue
        inner = new_loop(made.body, along.extent, kind, b, label=along.label, plain=along.plain)
        names[along.index] = inner.index
        for c in along.carries:
            phi = Value("phi", c.phi.dtype, (), c.phi.attr, inner.body, b)
            result = Value("result", c.result.dtype, (), inner, made.body, b)
            inner.carries.append(Carry(names.get(c.init, c.init), phi, result, c.combine))
            names[c.phi], names[c.result] = phi, result
        for value in along.body.body:
            assert isinstance(value, Value)
            copy_value(value, inner.body, names)
        for c, new in zip(along.carries, inner.carries, strict=True):
            assert c.next is not None
            new.next = names.get(c.next, c.next)
        made.body.body.append(inner)
    return made
