"""Reductions of what needs no loop, or a smaller one."""

from __future__ import annotations

from typing import Any

from ltensor.ir import dtypes as dt
from ltensor.ir.build import constant
from ltensor.ir.graph import Apply, Variable
from ltensor.ops.alloc import Alloc, alloc, second
from ltensor.ops.arithmetic import mul, neg
from ltensor.ops.cast import cast
from ltensor.ops.elementwise import broadcast_rank
from ltensor.ops.reduce import Sum
from ltensor.ops.shape import DimShuffle, ShapeI, dimshuffle
from ltensor.passes.match import apply_op, dtype_of, made_by, pattern
from ltensor.passes.rewrite import Rules, Uses

RULES = Rules("reductions")
_PLAIN = ("sum", "prod", "max", "min", "any", "all")


@RULES.rule(*_PLAIN)
def nothing_to_reduce(node: Apply) -> Variable | None:
    """Over no axis, or over axes of size 1."""
    op: Any = node.op
    (x,) = node.inputs
    reduced = op.reduced_axes(x.type.ndim)
    if not all(pattern(x)[k] for k in reduced):
        return None
    kept = [k for k in range(x.type.ndim) if k not in reduced]
    return cast(dimshuffle(x, kept), dtype_of(node.outputs[0]))


@RULES.rule(*_PLAIN)
def reduce_of_view(node: Apply) -> Variable | None:
    """Over all elements of a permuted array; over an axis that was only added."""
    op: Any = node.op
    (x,) = node.inputs
    inner = made_by(x, DimShuffle)
    if inner is None:
        return None
    order = inner.op.new_order
    reduced = op.reduced_axes(x.type.ndim)
    source = inner.inputs[0]
    if len(reduced) == x.type.ndim:
        return _again(op, source, None)
    kept = [a for k, a in enumerate(order) if k not in reduced]
    dropped = [k for k in range(source.type.ndim) if k not in order]
    if "x" in kept or kept != sorted(kept):
        return None
    axes = tuple(sorted([a for k, a in enumerate(order) if k in reduced and a != "x"] + dropped))
    return _again(op, source, axes)


def _again(op: Any, x: Variable, axes: tuple[int, ...] | None) -> Variable:
    return apply_op(type(op)(axes, op.dtype, op.acc_dtype), x)


@RULES.rule("sum", "max", "min", "any", "all")
def reduce_of_reduce(node: Apply) -> Variable | None:
    """Two reductions of the same kind are one over both axes."""
    op: Any = node.op
    (x,) = node.inputs
    inner = made_by(x, type(op))
    if inner is None:
        return None
    before: Any = inner.op
    source = inner.inputs[0]
    if isinstance(op, Sum) and (op.dtype != before.dtype or op.acc_dtype != before.acc_dtype):
        return None
    first = before.reduced_axes(source.type.ndim)
    left = [k for k in range(source.type.ndim) if k not in first]
    second_ = [left[k] for k in op.reduced_axes(x.type.ndim)]
    axes = tuple(sorted({*first, *second_}))
    return _again(op, source, None if len(axes) == source.type.ndim else axes)


@RULES.rule(Sum, uses=True)
def sum_of_negative(node: Apply, uses: Uses) -> Variable | None:
    """The sign of all terms is taken once."""
    (x,) = node.inputs
    inner = made_by(x, neg)
    if inner is None or not uses.single(x) or dtype_of(x) != dtype_of(node.outputs[0]):
        return None
    return apply_op(neg, apply_op(node.op, inner.inputs[0]))


@RULES.rule(Sum)
def sum_of_stretched(node: Apply) -> Variable | None:
    """A sum of equal terms is a product with their number."""
    op: Any = node.op
    (x,) = node.inputs
    fill, stretched = made_by(x, second), made_by(x, Alloc)
    rank = x.type.ndim
    if fill is not None:
        model, value = fill.inputs
        sizes = [_size(model, k) for k in range(rank)]
    elif stretched is not None:
        value, *sizes = stretched.inputs
        value = broadcast_rank(value, rank) if value.type.ndim < rank else value
    else:
        return None
    reduced = op.reduced_axes(rank)
    axes = [k for k in reduced if pattern(value)[k] and not pattern(x)[k]]
    if not axes or any(not pattern(value)[k] for k in reduced):
        return None
    out = node.outputs[0]
    wide = dtype_of(out) if dt.is_discrete(dtype_of(out)) else op.acc_dtype or dtype_of(out)
    kept = [k for k in range(rank) if k not in reduced]
    total = cast(dimshuffle(value, kept), wide)
    factors = [cast(sizes[k], wide) for k in axes]
    if total.type.ndim:
        factors = [broadcast_rank(f, total.type.ndim) for f in factors]
    total = cast(apply_op(mul, total, *factors), dtype_of(out))
    if pattern(total) == pattern(out):
        return total
    return alloc(total, *[sizes[k] for k in kept])


def _size(x: Variable, axis: int) -> Variable:
    known = x.type.shape[axis]
    return apply_op(ShapeI(axis), x) if known is None else constant(known, dtype="int64")
