"""Slices of whole axes: there and back, of stretched values, and put into zeros."""

from __future__ import annotations

from typing import Any

from ltensor.ir.build import constant_value
from ltensor.ir.graph import Apply, Variable
from ltensor.ops.alloc import Alloc
from ltensor.ops.arithmetic import add
from ltensor.ops.last_row import is_zero
from ltensor.ops.shape import DimShuffle, Flags, dimshuffle
from ltensor.ops.slicing import is_full, resolve
from ltensor.ops.subtensor import IncSubtensor, Subtensor
from ltensor.passes.match import apply_op, made_by, pattern
from ltensor.passes.rewrite import Rules
from ltensor.passes.sizes import Sizes

RULES = Rules("slices")
FLIP = (None, None, -1)


def _flipped_axes(node: Apply) -> list[int] | None:
    """The axes that a subtensor turns around, if it does nothing else."""
    op: Any = node.op
    if not all(e == FLIP or is_full(e) for e in op.pattern):
        return None
    axes = [axis for axis, e in enumerate(op.pattern) if e == FLIP]
    return axes or None


@RULES.rule("subtensor")
def flip_of_flip(node: Apply) -> Variable | None:
    """``x[::-1][::-1]``."""
    axes = _flipped_axes(node)
    inner = made_by(node.inputs[0], Subtensor)
    if axes is None or inner is None or _flipped_axes(inner) != axes:
        return None
    x = inner.inputs[0]
    return x if pattern(x) == pattern(node.outputs[0]) else None


@RULES.rule("subtensor")
def flip_of_stretched(node: Apply) -> Variable | None:
    """A stretched value is the same the other way round."""
    axes = _flipped_axes(node)
    x = node.inputs[0]
    inner = made_by(x, Alloc)
    if axes is None or inner is None or pattern(x) != pattern(node.outputs[0]):
        return None
    value = inner.inputs[0]
    pad = x.type.ndim - value.type.ndim
    turned = all(axis < pad or value.type.broadcastable[axis - pad] for axis in axes)
    return x if turned else None


@RULES.rule("subtensor")
def index_of_new_axis(node: Apply) -> Variable | None:
    """The only element along an axis that a dimshuffle added."""
    op: Any = node.op
    x, *scalars = node.inputs
    if not op.pattern or op.pattern[0] not in (0, -1) or isinstance(op.pattern[0], tuple):
        return None
    flags = made_by(x, Flags)
    view = made_by(x if flags is None else flags.inputs[0], DimShuffle)
    if view is None or view.op.new_order[0] != "x":
        return None
    rest = dimshuffle(view.inputs[0], view.op.new_order[1:])
    if flags is not None and flags.op.pattern[1:] != rest.type.broadcastable:
        return None
    if len(op.pattern) == 1:
        return rest
    return apply_op(Subtensor(op.pattern[1:]), rest, *scalars)


@RULES.rule(add)
def sum_with_increments(node: Apply) -> Variable | None:
    """``x + inc_subtensor(zeros[i], y)`` is ``inc_subtensor(x[i], y)``: no zeros, one pass less."""
    out = node.outputs[0]
    plain: list[Variable] = []
    parts: list[Apply] = []
    for v in node.inputs:
        inner = made_by(v, IncSubtensor)
        if inner is not None and v.type == out.type and is_zero(inner.inputs[0]):
            parts.append(inner)
        else:
            plain.append(v)
    if not parts or any(getattr(part.op, "set_instead_of_inc", False) for part in parts):
        return None
    if not plain:
        if len(parts) == 1:
            return None
        base = parts.pop(0).outputs[0]
    else:
        base = plain[0] if len(plain) == 1 else apply_op(add, *plain)
    if base.type != out.type:
        return None
    for part in parts:
        base = part.op(base, *part.inputs[1:])
    return base


@RULES.rule(IncSubtensor)
def all_of_zeros(node: Apply) -> Variable | None:
    """Zeros of which the whole is added to, or set."""
    x, y, *scalars = node.inputs
    if pattern(x) != pattern(y) or x.type.dtype != y.type.dtype or not is_zero(x):
        return None
    entries = resolve(node.op.pattern, scalars)
    sizes = Sizes()
    shape = sizes.of(x)
    for entry, size in zip(entries, shape, strict=False):
        if not isinstance(entry, tuple):
            return None
        start, stop, step = entry
        first, unit = (constant_value(v) if isinstance(v, Variable) else v for v in (start, step))
        if first not in (None, 0) or unit not in (None, 1):
            return None
        if isinstance(start, Variable) and first is None:
            return None
        if isinstance(step, Variable) and unit is None:
            return None
        if stop is None:
            continue
        if not isinstance(stop, Variable) or not sizes.same(stop, size):
            return None
    # a size that happens to be 1 would stretch
    if not all(sizes.same(a, b) for a, b in zip(sizes.of(y), shape, strict=True)):
        return None
    return y
