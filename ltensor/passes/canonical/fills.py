"""``second`` (Theano's fill) and ``alloc``: stretched values are used unstretched where they can.

A gradient is full of ``second(x, g)``. Inside an elementwise operation that has another operand of
that size it does nothing, so it is dropped; otherwise it sinks below the operation.
"""

from __future__ import annotations

from typing import Any

from ltensor.ir.build import constant_value
from ltensor.ir.graph import Apply, Variable
from ltensor.ops.alloc import Alloc, alloc, second
from ltensor.ops.elementwise import ElementwiseOp, broadcast_rank
from ltensor.ops.shape import DimShuffle, ShapeI
from ltensor.passes.match import apply_op, joint_pattern, made_by, pattern
from ltensor.passes.rewrite import Rules

RULES = Rules("fills")
#: how many operations are looked through for the size of a value
DEEPEST = 6


@RULES.rule(second)
def useless_fill(node: Apply) -> Variable | None:
    """A value that has the size already; a fill of a fill."""
    model, value = node.inputs
    if pattern(value) == pattern(node.outputs[0]):
        return value
    inner = made_by(value, second)
    if inner is not None:
        return apply_op(second, model, inner.inputs[1])
    outer = made_by(model, second)
    if outer is not None:
        return apply_op(second, outer.inputs[0], value) if _full(outer.inputs[0], node) else None
    return _smaller_model(node)


def _full(variable: Variable, node: Apply) -> bool:
    return pattern(variable) == pattern(node.outputs[0])


def _smaller_model(node: Apply) -> Variable | None:
    """The size is taken from an operand of an elementwise model: the model need not exist."""
    model, value = node.inputs
    owner = model.owner
    if owner is None or not isinstance(owner.op, ElementwiseOp) or owner.op is second:
        return None
    if pattern(model) != pattern(node.outputs[0]):
        return None
    for operand in owner.inputs:
        if pattern(operand) == pattern(model):
            return apply_op(second, operand, value)
    return None


@RULES.rule(ElementwiseOp)
def sink_fill(node: Apply) -> Variable | None:
    """Operands that are fills are taken unstretched; the result is stretched if it must be."""
    if node.op is second:
        return None
    operands = list(node.inputs)
    models: list[Variable] = []
    for position, operand in enumerate(operands):
        inner = made_by(operand, second)
        if inner is not None:
            operands[position] = inner.inputs[1]
            models.append(inner.inputs[0])
    if not models:
        return None
    wanted = pattern(node.outputs[0])
    if joint_pattern(operands) == wanted:
        return apply_op(node.op, *operands)
    for model in models:
        if pattern(model) == wanted:
            return apply_op(second, model, apply_op(node.op, *operands))
    return None


@RULES.rule(ElementwiseOp)
def sink_alloc(node: Apply) -> Variable | None:
    """An ``alloc`` whose sizes are those of another operand; a result of allocs of one size."""
    allocs = {k: made_by(v, Alloc) for k, v in enumerate(node.inputs)}
    found = {k: a for k, a in allocs.items() if a is not None}
    if not found or (node.op is second and 1 not in found):
        return None
    rank = node.outputs[0].type.ndim
    operands = list(node.inputs)
    for k, inner in found.items():
        if node.op is second and k == 0:
            continue
        value = inner.inputs[0]
        if pattern(value) == pattern(operands[k]):
            continue
        others = [v for j, v in enumerate(operands) if j != k]
        if all(_same_size(inner, axis, others) for axis in _stretched(inner)):
            operands[k] = broadcast_rank(value, rank) if value.type.ndim < rank else value
    if any(a is not b for a, b in zip(operands, node.inputs, strict=True)):
        return apply_op(node.op, *operands)
    return _alloc_of_result(node, found)


def _stretched(inner: Apply) -> list[int]:
    """The axes along which an alloc stretches its value."""
    value, out = inner.inputs[0], inner.outputs[0]
    pad = out.type.ndim - value.type.ndim
    flags = (True,) * pad + pattern(value)
    return [k for k, (a, b) in enumerate(zip(flags, pattern(out), strict=True)) if a and not b]


def _same_size(inner: Apply, axis: int, others: list[Variable]) -> bool:
    """Whether one of ``others`` is known to have the size of the alloc along ``axis``."""
    return any(_has_size(other, axis, inner.inputs[1 + axis], DEEPEST) for other in others)


def _has_size(variable: Variable, axis: int, size: Variable, depth: int) -> bool:
    """Whether ``variable`` is known to have ``size`` along ``axis``, to a certain ``depth``."""
    if pattern(variable)[axis]:
        return False
    if _is_dim(size, variable, axis):
        return True
    known = constant_value(size)
    if known is not None and int(known) == variable.type.shape[axis]:
        return True
    owner = variable.owner
    if owner is None or depth == 0:
        return False
    if isinstance(owner.op, Alloc):
        return owner.inputs[1 + axis] is size
    if isinstance(owner.op, ElementwiseOp):
        return any(_has_size(v, axis, size, depth - 1) for v in owner.inputs)
    if isinstance(owner.op, DimShuffle):
        return _has_size(owner.inputs[0], owner.op.new_order[axis], size, depth - 1)
    return False


def _alloc_of_result(node: Apply, found: dict[int, Apply]) -> Variable | None:
    """``f(alloc(a, n), b)`` is ``alloc(f(a, b), n)`` if all that has the size are such allocs."""
    if node.op is second:
        return None
    sizes = [tuple(map(id, a.inputs[1:])) for a in found.values()]
    if len(set(sizes)) != 1:
        return None
    rank = node.outputs[0].type.ndim
    operands: list[Variable] = []
    for k, v in enumerate(node.inputs):
        inner: Any = found.get(k)
        if inner is None:
            if not all(pattern(v)):
                return None
            operands.append(v)
        else:
            value = inner.inputs[0]
            operands.append(broadcast_rank(value, rank) if value.type.ndim < rank else value)
    if joint_pattern(operands) == pattern(node.outputs[0]):
        return None
    first = next(iter(found.values()))
    result = alloc(apply_op(node.op, *operands), *first.inputs[1:])
    return result if pattern(result) == pattern(node.outputs[0]) else None


@RULES.rule(Alloc)
def useless_alloc(node: Apply) -> Variable | None:
    """An alloc of an alloc or fill; one that stretches nothing."""
    value, *sizes = node.inputs
    inner = made_by(value, Alloc)
    if inner is not None:
        return alloc(inner.inputs[0], *sizes)
    fill = made_by(value, second)
    if fill is not None and pattern(fill.inputs[1]) != pattern(value):
        return alloc(fill.inputs[1], *sizes)
    if value.type.ndim == len(sizes) and not _stretched(node):
        same = all(_is_size(s, value, k) for k, s in enumerate(sizes))
        return value if same else None
    return None


def _is_size(size: Variable, value: Variable, axis: int) -> bool:
    known = constant_value(size)
    if known is not None:
        return int(known) == value.type.shape[axis]
    return _is_dim(size, value, axis)


def _is_dim(size: Variable, value: Variable, axis: int) -> bool:
    """Whether ``size`` is ``dim`` of ``value`` along ``axis``."""
    owner = size.owner
    return (
        owner is not None
        and isinstance(owner.op, ShapeI)
        and owner.op.axis == axis
        and owner.inputs[0] is value
    )
