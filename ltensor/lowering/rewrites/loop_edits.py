"""What those that rearrange the loops of a finished program share."""

from __future__ import annotations

from collections.abc import Callable

from ltensor.lowering.program import EFFECTS, SERIAL_ONLY, If, Loop, Scope, Value, walk

#: makes a loop for a scope
Form = Callable[[Scope], Loop]


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


def choose_by_length(scope: Scope, loop: Loop, extent: Value, most: int, form: Form) -> Scope:
    """Put another form of ``loop`` beside it, for an ``extent`` of so many steps at most.

    Parameters
    ----------
    form : callable
        Makes the other form for the scope that it gets. It stands alone if the extent is known.

    Returns
    -------
    Scope
        Where ``loop`` is now. Who has edited all scopes calls `deepen`.
    """
    place, owner = scope.body.index(loop), extent.owner
    if extent.op == "const":
        scope.body[place] = form(scope)
        return scope
    limit = owner.const(most)
    condition = Value("cmp", "bool", (extent, limit), "le", scope, owner)
    branch = If(condition, Scope(scope), Scope(scope))
    branch.then.body.append(form(branch.then))
    branch.orelse.body.append(loop)
    loop.body.parent = branch.orelse
    if loop.steps is not None:
        loop.steps.scope = branch.orelse
    scope.body[place : place + 1] = [condition, branch]
    return branch.orelse


def is_plain(entry: object) -> bool:
    """Whether an entry computes, reads or writes elements, in any lane."""
    if not isinstance(entry, Value) or entry.op in SERIAL_ONLY:
        return False
    return entry.op in ("load", "store") or entry.op not in EFFECTS


def copy_value(value: Value, scope: Scope, names: dict[Value, Value]) -> Value:
    """Put a copy of ``value`` into ``scope``, of the copies of its operands that ``names`` has."""
    args = tuple(names.get(a, a) for a in value.args)
    made = names[value] = Value(value.op, value.dtype, args, value.attr, scope, value.owner)
    scope.body.append(made)
    return made
