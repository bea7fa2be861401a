"""What those that rearrange the loops of a finished program share."""

from __future__ import annotations

from ltensor.lowering.program import EFFECTS, SERIAL_ONLY, If, Loop, Scope, Value, walk


def shift(loop: Loop, begin: Value, extent: Value) -> None:
    """Let a loop run from ``begin`` on, ``extent`` steps."""
    old = loop.index
    place = Value("add", "int64", (begin, old), None, loop.body, old.owner)
    for entry in walk(loop.body):
        if isinstance(entry, Loop):
            if entry.extent is old:
                entry.extent = place
            for c in entry.carries:
                c.init = place if c.init is old else c.init
                c.next = place if c.next is old else c.next
        elif isinstance(entry, Value) and old in entry.args:
            entry.args = tuple(place if a is old else a for a in entry.args)
    for c in loop.carries:
        c.next = place if c.next is old else c.next
    loop.body.body.insert(0, place)
    loop.extent = extent
    loop.parallel = False


def deepen(scope: Scope) -> None:
    """Set the depths of the scopes inside ``scope``."""
    for entry in scope.body:
        if isinstance(entry, Loop):
            entry.body.depth = scope.depth + 1
            deepen(entry.body)
        elif isinstance(entry, If):
            for side in (entry.then, entry.orelse):
                side.depth = scope.depth + 1
                deepen(side)


def is_plain(entry: object) -> bool:
    """Whether an entry computes, reads or writes elements, in any lane."""
    if not isinstance(entry, Value) or entry.op in SERIAL_ONLY:
        return False
    return entry.op in ("load", "store") or entry.op not in EFFECTS


def copy_value(value: Value, scope: Scope, names: dict[Value, Value]) -> None:
    """Put a copy of ``value`` into ``scope``, of the copies of its operands that ``names`` has."""
    args = tuple(names.get(a, a) for a in value.args)
    made = names[value] = Value(value.op, value.dtype, args, value.attr, scope, value.owner)
    scope.body.append(made)
