"""Walks over graphs: what variables depend on, in which order, and with others in their place.

None is recursive: graphs may be deep.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ltensor.ir.graph import Apply, Variable

__all__ = ["ancestors", "inputs_of", "substitute", "toposort"]


def inputs_of(outputs: Iterable[Variable], blockers: Iterable[Variable] = ()) -> list[Variable]:
    """The variables without owner that ``outputs`` depend on, constants included, in order.

    ``blockers`` are not looked behind, and listed as well.
    """
    blocked = set(blockers)
    return [v for v in ancestors(outputs, blocked) if v.owner is None or v in blocked]


def toposort(outputs: Iterable[Variable], blockers: Iterable[Variable] = ()) -> list[Apply]:
    """The nodes that compute ``outputs``, each after those it depends on. Not recursive."""
    blocked = set(blockers)
    order: list[Apply] = []
    state: dict[int, bool] = {}
    for output in outputs:
        if output.owner is None or output in blocked:
            continue
        stack: list[tuple[Apply, bool]] = [(output.owner, False)]
        while stack:
            node, expanded = stack.pop()
            key = id(node)
            if expanded:
                if not state[key]:
                    state[key] = True
                    order.append(node)
                continue
            if key in state:
                continue
            state[key] = False
            stack.append((node, True))
            for variable in reversed(node.inputs):
                owner = variable.owner
                if owner is not None and id(owner) not in state and variable not in blocked:
                    stack.append((owner, False))
    return order


def ancestors(outputs: Iterable[Variable], blockers: Iterable[Variable] = ()) -> list[Variable]:
    """All variables that ``outputs`` depend on, themselves included."""
    blocked = set(blockers)
    seen: set[Variable] = set()
    found: list[Variable] = []
    stack = list(reversed(list(outputs)))
    while stack:
        variable = stack.pop()
        if variable in seen:
            continue
        seen.add(variable)
        found.append(variable)
        if variable.owner is not None and variable not in blocked:
            stack.extend(reversed(variable.owner.inputs))
    return found


def substitute(
    outputs: Sequence[Variable],
    replacements: dict[Variable, Variable],
    copy_all: bool = False,
) -> list[Variable]:
    """``outputs`` rebuilt with some variables replaced.

    Nodes that do not depend on a replaced variable are shared with the old graph, unless
    ``copy_all`` (then every node, but no input, is fresh).
    """
    memo: dict[Variable, Variable] = dict(replacements)
    for node in toposort(outputs, blockers=replacements):
        if all(output in memo for output in node.outputs):
            continue
        new_inputs = [memo.get(v, v) for v in node.inputs]
        if copy_all or any(a is not b for a, b in zip(new_inputs, node.inputs, strict=True)):
            fresh = node.clone_with_new_inputs(new_inputs)
            for old, new in zip(node.outputs, fresh.outputs, strict=True):
                memo.setdefault(old, new)
    return [memo.get(v, v) for v in outputs]
