"""The pass ``sink_branches``: what only one side of an ``ifelse`` needs moves into that side.

An `IfElse` becomes `Branches`, whose Functions hold those nodes; what both sides, the condition or
anything else needs stays outside and is computed once. Choices on the same condition that do not
depend on each other are joined first, so that work they share is lazy too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.ir.types import TensorType
from ltensor.ir.walks import substitute, toposort
from ltensor.ops.ifelse import Branches, IfElse
from ltensor.ops.shape import ShapeI
from ltensor.passes.manager import register
from ltensor.passes.shapes import ShapeMap


@register
def sink_branches(function: Function) -> Function:
    """Every ``ifelse`` gets its sides as Functions with what only they need."""
    function = _join_choices(function)
    while True:
        # the last one first: choices inside its sides move with them
        node = next((n for n in reversed(function.nodes) if isinstance(n.op, IfElse)), None)
        if node is None:
            return function
        function = _sink(function, node)


def _sink(function: Function, node: Apply) -> Function:
    then, other = node.op.branches(node)
    clients = function.clients
    first = _only_for(function, clients, node, range(1, 1 + len(then)))
    second = _only_for(function, clients, node, range(1 + len(then), len(node.inputs)))
    sizes, dims = _sizes(function, node, first | second)
    outside = _read_outside((*_ordered(function, first), *_ordered(function, second)), then + other)
    outside += [v for v in dims if v not in outside]
    position = {v: k + 1 for k, v in enumerate(outside)}
    op = Branches(
        _region(then, outside, "then"),
        _region(other, outside, "else"),
        [None if s is None else tuple(position[v] for v in s) for s in sizes],
    )
    fresh = Apply(op, [node.inputs[0], *outside], [v.clone() for v in node.outputs])
    fresh.source = node.source
    return function.replace(dict(zip(node.outputs, fresh.outputs, strict=True)))


def _only_for(
    function: Function, clients: Any, choice: Apply, positions: Iterable[int]
) -> set[Apply]:
    """The nodes of which all results are read by operands ``positions`` of ``choice`` alone."""
    wanted = set(positions)
    found: set[Apply] = set()
    candidates = set(toposort([choice.inputs[k] for k in wanted], blockers=function.inputs))
    for node in reversed(function.nodes):
        if node not in candidates:
            continue
        if all(
            (reader is choice and place in wanted) or reader in found
            for output in node.outputs
            for reader, place in clients.get(output, ())
        ):
            found.add(node)
    return found


def _ordered(function: Function, nodes: set[Apply]) -> list[Apply]:
    return [n for n in function.nodes if n in nodes]


def _read_outside(nodes: Sequence[Apply], values: Sequence[Variable]) -> list[Variable]:
    """What ``nodes`` and ``values`` read and ``nodes`` do not compute, without constants."""
    inside = {output for node in nodes for output in node.outputs}
    found: dict[Variable, None] = {}
    for variable in [*(v for node in nodes for v in node.inputs), *values]:
        if variable not in inside and not isinstance(variable, Constant):
            found[variable] = None
    return list(found)


def _region(values: Sequence[Variable], outside: Sequence[Variable], name: str) -> Function:
    inner = {v: v.clone() for v in outside}
    outputs = substitute(values, dict(inner))
    return sink_branches(Function(list(inner.values()), outputs, name))


def _sizes(
    function: Function, node: Apply, inside: set[Apply]
) -> tuple[list[tuple[Variable, ...] | None], list[Variable]]:
    """Per result its sizes, where they follow from what is known outside; and all of these."""
    shapes = ShapeMap.of(function)
    result: list[tuple[Variable, ...] | None] = []
    found: dict[Variable, None] = {}
    for output in node.outputs:
        dims = shapes.shape(output) if isinstance(output.type, TensorType) else None
        if not dims or any(not _known_before(d, function, node, inside) for d in dims):
            result.append(None)
            continue
        result.append(tuple(dims))
        found.update(dict.fromkeys(dims))
    return result, list(found)


def _known_before(size: Variable, function: Function, choice: Apply, inside: set[Apply]) -> bool:
    """Whether a size is an expression that needs no value which may stay lazy."""
    for node in toposort([size], blockers=function.inputs):
        if node is choice or node in inside:
            return False
        if isinstance(node.op, ShapeI) and node.inputs[0].owner is not None:
            return False
    return True


# --------------------------------------------------------------------------------- joining


def _join_choices(function: Function) -> Function:
    """One choice instead of several independent ones on the same condition."""
    groups: dict[Variable, list[Apply]] = {}
    for node in function.nodes:
        if isinstance(node.op, IfElse):
            groups.setdefault(node.inputs[0], []).append(node)
    for nodes in groups.values():
        if len(nodes) < 2:
            continue
        member = [nodes[0]]
        for node in nodes[1:]:
            before = set(toposort(node.inputs, blockers=function.inputs))
            if not any(m in before for m in member):
                member.append(node)
        if len(member) > 1:
            return _join_choices(_joined(function, member))
    return function


def _joined(function: Function, nodes: Sequence[Apply]) -> Function:
    then = [v for n in nodes for v in n.op.branches(n)[0]]
    other = [v for n in nodes for v in n.op.branches(n)[1]]
    outputs = [v for n in nodes for v in n.outputs]
    op = IfElse(len(then), nodes[0].op.name)
    joined = Apply(op, [nodes[0].inputs[0], *then, *other], [v.clone() for v in outputs])
    joined.source = nodes[0].source
    return function.replace(dict(zip(outputs, joined.outputs, strict=True)))
