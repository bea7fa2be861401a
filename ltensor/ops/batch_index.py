"""Batching rules of indexing: rows that depend on the step become gathers and scatters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ltensor.ir.build import constant_value
from ltensor.ir.graph import Variable
from ltensor.ops.batching import Lift, NotBatched
from ltensor.ops.shape import dimshuffle
from ltensor.ops.slicing import FULL


def split_index(
    pattern: Sequence[Any], scalars: Sequence[Variable], changing: Sequence[bool]
) -> tuple[list[Any], list[Variable], list[int], list[Variable]]:
    """A basic index as (the part that does not change, its scalars, axes, their positions).

    The axes are those of the array that the first part leaves whose index changes from step to
    step; they are whole in the first part.

    Raises
    ------
    NotBatched
        If a bound of a slice changes.
    """
    rest = iter(zip(scalars, changing, strict=True))
    first: list[Any] = []
    fixed: list[Variable] = []
    axes: list[int] = []
    positions: list[Variable] = []
    left = 0
    for entry in pattern:
        if isinstance(entry, tuple):
            for part in entry:
                if isinstance(part, str):
                    scalar, changes = next(rest)
                    if changes:
                        raise NotBatched("the bounds of a slice change from step to step")
                    fixed.append(scalar)
            first.append(entry)
            left += 1
            continue
        if isinstance(entry, str):
            scalar, changes = next(rest)
            if changes:
                first.append(FULL)
                axes.append(left)
                positions.append(scalar)
                left += 1
                continue
            fixed.append(scalar)
        first.append(entry)
    return first, fixed, axes, positions


def subtensor_rule(op: Any, lift: Lift) -> list[Variable]:
    """The fixed part of the index as it is, then a gather along the axes that change."""
    from ltensor.ops.advanced import AdvancedSubtensor
    from ltensor.ops.shape import shape_i

    x = lift.operands[0]
    first, fixed, axes, positions = split_index(op.pattern, lift.operands[1:], lift.batched[1:])
    if lift.batched[0]:
        first = [FULL, *first]
    if not all(entry == FULL for entry in first):
        x = type(op)(first)(x, *fixed)
    if not axes:
        return [x]
    if lift.batched[0]:
        return [AdvancedSubtensor((0, *(a + 1 for a in axes)))(x, lift.steps(), *positions)]
    if len(axes) == 1:
        front = [axes[0], *(a for a in range(x.type.ndim) if a != axes[0])]
        if lift.counts(positions[0], shape_i(x, axes[0])):
            # every row in order
            return [dimshuffle(x, front)]
        gathered = AdvancedSubtensor((axes[0],))(x, positions[0])
        return [dimshuffle(gathered, front)]
    gathered = AdvancedSubtensor(axes)(x, *positions)
    adjacent = axes == list(range(axes[0], axes[0] + len(axes)))
    place = axes[0] if adjacent else 0
    order = [place, *(a for a in range(gathered.type.ndim) if a != place)]
    return [dimshuffle(gathered, order)]


def inc_subtensor_rule(op: Any, lift: Lift) -> list[Variable]:
    """A part of every step, or a scatter if its place changes."""
    from ltensor.ops.advanced import AdvancedIncSubtensor

    first, fixed, axes, positions = split_index(op.pattern, lift.operands[2:], lift.batched[2:])
    if not axes:
        rank = lift.node.inputs[0].type.ndim - sum(not isinstance(e, tuple) for e in first)
        wide = type(op)([FULL, *first], set_instead_of_inc=op.set_instead_of_inc)
        return [wide(lift.full(0), lift.stretched(1, rank), *fixed)]
    whole = _identity(op, lift, axes, positions)
    if whole is not None:
        return [whole]
    if any(entry != FULL for entry in first):
        raise NotBatched("a place that changes from step to step is joined with a slice or number")
    rank = lift.node.inputs[0].type.ndim
    if axes != list(range(len(axes))):
        raise NotBatched("the axis of a place that changes from step to step is not the first")
    scatter = AdvancedIncSubtensor(range(len(axes) + 1), set_instead_of_inc=op.set_instead_of_inc)
    value = lift.stretched(1, rank - len(axes))
    return [scatter(lift.full(0), value, lift.steps(), *positions)]


def _identity(
    op: Any, lift: Lift, axes: Sequence[int], positions: Sequence[Variable]
) -> Variable | None:
    """One-hot rows: of as many steps as columns, the rows of a unit matrix."""
    from ltensor.ops.alloc import Eye
    from ltensor.ops.last_row import is_zero

    x = lift.node.inputs[0]
    if x.type.ndim != 1 or list(axes) != [0] or lift.batched[0] or not is_zero(x):
        return None
    (size,) = lift.dims(x)
    value = constant_value(lift.operands[1])
    if value is None or value.size != 1 or value.item() != 1:
        return None
    if not lift.counts(positions[0], size):
        return None
    return Eye(x.type.dtype)(size, size, 0)


def _gather_axes(op: Any, rank: int, positions: Sequence[Variable]) -> tuple[int, int]:
    """Where the dimensions of the index tensors stand in a result, and how many they are."""
    axes = op.axes
    adjacent = axes == tuple(range(axes[0], axes[0] + len(axes)))
    return (axes[0] if adjacent else 0), max(v.type.ndim for v in positions)


def gather_rule(op: Any, lift: Lift) -> list[Variable]:
    """Gathers with further positions: the number of the step where the array changes."""
    x, indices = lift.node.inputs[0], lift.node.inputs[1:]
    first, rank = _gather_axes(op, x.type.ndim, indices)
    kept = x.type.ndim - len(op.axes)
    if not any(lift.batched[1:]):
        gathered = type(op)([a + 1 for a in op.axes])(lift.operands[0], *lift.operands[1:])
        axes = op.axes
        if axes == tuple(range(axes[0], axes[0] + len(axes))):
            return [gathered]
        return [dimshuffle(gathered, (rank, *range(rank), *range(rank + 1, rank + 1 + kept)))]
    places = [lift.stretched(k, rank) for k in range(1, len(indices) + 1)]
    if lift.batched[0]:
        steps = dimshuffle(lift.steps(), (0, *["x"] * rank))
        gathered = type(op)([0, *(a + 1 for a in op.axes)])(lift.operands[0], steps, *places)
        now = 0
    else:
        gathered = type(op)(op.axes)(lift.operands[0], *places)
        now = first
    # dimensions: kept[:now], step, index, kept[now:]
    index = list(range(now + 1, now + 1 + rank))
    others = [*range(now), *range(now + 1 + rank, kept + 1 + rank)]
    return [dimshuffle(gathered, (now, *others[:first], *index, *others[first:]))]


def scatter_rule(op: Any, lift: Lift) -> list[Variable]:
    """Scatters with the number of the step as a further position."""
    x, indices = lift.node.inputs[0], lift.node.inputs[2:]
    first, rank = _gather_axes(op, x.type.ndim, indices)
    kept = x.type.ndim - len(op.axes)
    places = [lift.stretched(k, rank) for k in range(2, len(indices) + 2)]
    steps = dimshuffle(lift.steps(), (0, *["x"] * rank))
    value = lift.stretched(1, rank + kept)
    # the region's dimensions become: step, index, kept
    value = dimshuffle(
        value,
        (
            0,
            *range(1 + first, 1 + first + rank),
            *range(1, 1 + first),
            *range(1 + first + rank, 1 + rank + kept),
        ),
    )
    axes = [0, *(a + 1 for a in op.axes)]
    # index dimensions stand in front, be it as adjacent first axes or as scattered ones
    wide = type(op)(axes, set_instead_of_inc=op.set_instead_of_inc)
    return [wide(lift.full(0), value, steps, *places)]
