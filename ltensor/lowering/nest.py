"""Iteration spaces: which dimensions of a nest become loops, and which run as one.

Adjacent dimensions that every operand either walks through without a gap or does not have at all
are collapsed into one loop, so that a matrix is added as one long vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ltensor.ir.graph import Constant, Variable
from ltensor.lowering.fusion import is_inline, is_scalar, kind_of
from ltensor.lowering.program import Value, View

if TYPE_CHECKING:
    from ltensor.lowering.block import Block


@dataclass
class Space:
    """The loops of a nest: ``(axis, extent)`` pairs, outermost first.

    ``axis`` is the dimension whose index the loop's counter stands for; of collapsed dimensions the
    last, the others keep index 0: a dense operand is addressed alike.
    """

    rank: int
    loops: list[tuple[int, Value]]


#: where a dimension of an operand comes from: an axis of the space, or None if it is stretched
Pattern = tuple[int | None, ...]


def leaf_patterns(
    block: Block, variables: Sequence[Variable], rank: int, computed: bool = True
) -> list[tuple[Pattern, bool]] | None:
    """How every stored operand is indexed by the space, with whether it is dense.

    None if some operand is reached through an op whose index is computed.
    """
    found: list[tuple[Pattern, bool]] = []
    identity: Pattern = tuple(range(rank))
    stack: list[tuple[Variable, Pattern, bool]] = [
        (v, identity, computed and v not in block.bound) for v in variables
    ]
    seen: set[tuple[Variable, Pattern]] = set()
    while stack:
        variable, pattern, is_root = stack.pop()
        if is_scalar(variable) or (variable, pattern) in seen:
            continue
        if not is_root and variable in block.computing:
            # before it is marked: as a root of the nest it has yet to be looked at
            continue
        seen.add((variable, pattern))
        inline = is_inline(variable) and variable not in block.bound
        if not is_root and (not inline or variable in block.plan.roots):
            if isinstance(variable, Constant) and variable.data.size == 1:
                continue
            view = block.bound.get(variable)
            found.append((pattern, not isinstance(view, View) or view.dense))
            continue
        node = variable.owner
        assert node is not None
        if kind_of(node) == "pointwise":
            for operand in node.inputs:
                inner = tuple(
                    None if one else axis
                    for axis, one in zip(pattern, operand.type.broadcastable, strict=True)
                )
                stack.append((operand, inner, False))
            continue
        order = getattr(node.op, "new_order", None)
        if order is None:
            return None
        source = node.inputs[0]
        inner_list: list[int | None] = [None] * source.type.ndim
        for position, origin in enumerate(order):
            if origin != "x":
                inner_list[origin] = pattern[position]
        stack.append((source, tuple(inner_list), False))
    return found


def collapse(
    block: Block,
    variables: Sequence[Variable],
    dims: Sequence[Value],
    targets: Sequence[View] = (),
    classes: Sequence[Any] | None = None,
    computed: bool = True,
) -> Space:
    """The loops over ``dims`` for computing ``variables`` (or reading them, if not ``computed``).

    ``classes`` (per dimension) forbids joining dimensions of different classes.
    """
    rank = len(dims)
    patterns = leaf_patterns(block, variables, rank, computed)
    dense_targets = all(t.dense for t in targets)
    axes = [k for k in range(rank) if not _is_one(dims[k])]
    if not axes:
        return Space(rank, [(rank - 1, dims[rank - 1])] if rank else [])
    groups: list[list[int]] = [[axes[0]]]
    for axis in axes[1:]:
        previous = groups[-1][-1]
        joinable = (
            patterns is not None
            and dense_targets
            and (classes is None or classes[axis] == classes[previous])
            and axis == previous + 1
            and all(_joins(p, dense, previous, axis) for p, dense in patterns)
        )
        if joinable:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    return Space(rank, [(g[-1], block.b.size([dims[k] for k in g])) for g in groups])


def _is_one(dim: Value) -> bool:
    return dim.op == "const" and dim.attr == 1


def _joins(pattern: Pattern, dense: bool, first: int, second: int) -> bool:
    """Whether an operand walks from ``first`` to ``second`` without a gap, or has neither."""
    has_first, has_second = first in pattern, second in pattern
    if not has_first and not has_second:
        return True
    if not (has_first and has_second and dense):
        return False
    position = pattern.index(first)
    return position + 1 < len(pattern) and pattern[position + 1] == second
