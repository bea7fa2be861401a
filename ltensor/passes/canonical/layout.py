"""Views and sizes: dimshuffle, reshape, rebroadcast, dim, and indexing of what is put together."""

from __future__ import annotations

from typing import Any

from ltensor.ir.build import constant, constant_value
from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.ops.alloc import Alloc, MakeVector, alloc, second
from ltensor.ops.arithmetic import maximum
from ltensor.ops.elementwise import broadcast_rank
from ltensor.ops.shape import (
    DimShuffle,
    Flags,
    Reshape,
    Shape,
    ShapeI,
    dimshuffle,
    reshape,
    set_flags,
)
from ltensor.ops.slicing import never_negative
from ltensor.passes.match import apply_op, is_number, made_by, pattern
from ltensor.passes.rewrite import Rules

RULES = Rules("layout")


@RULES.rule(DimShuffle)
def compose_dimshuffles(node: Apply) -> Variable | None:
    """The identity; one dimshuffle after another."""
    op: Any = node.op
    (x,) = node.inputs
    if op.new_order == tuple(range(x.type.ndim)):
        return x
    inner = made_by(x, DimShuffle)
    if inner is None:
        return None
    before: Any = inner.op
    order = tuple("x" if a == "x" else before.new_order[a] for a in op.new_order)
    return dimshuffle(inner.inputs[0], order)


@RULES.rule(DimShuffle)
def dimshuffle_of_constant(node: Apply) -> Variable | None:
    """A constant of one element is a constant in any rank."""
    (x,) = node.inputs
    if not isinstance(x, Constant) or x.data.size != 1:
        return None
    return node.outputs[0].type.make_constant(x.data.reshape((1,) * node.outputs[0].type.ndim))


@RULES.rule(DimShuffle)
def dimshuffle_of_stretched(node: Apply) -> Variable | None:
    """``dimshuffle(second(a, b))`` and ``dimshuffle(alloc(v, ...))``: the value is turned."""
    op: Any = node.op
    (x,) = node.inputs
    fill = made_by(x, second)
    if fill is not None:
        a, b = fill.inputs
        return second(dimshuffle(a, op.new_order), dimshuffle(b, op.new_order))
    inner = made_by(x, Alloc)
    if inner is None:
        return None
    value, *sizes = inner.inputs
    value = broadcast_rank(value, len(sizes)) if value.type.ndim < len(sizes) else value
    one = constant(1, dtype="int64")
    turned = [one if a == "x" else sizes[a] for a in op.new_order]
    if any(not pattern(value)[a] for a in range(len(sizes)) if a not in op.new_order):
        return None
    return alloc(dimshuffle(value, op.new_order), *turned)


@RULES.rule(Flags)
def compose_flags(node: Apply) -> Variable | None:
    """A declaration that says nothing new, or that replaces one that only forgot flags."""
    op: Any = node.op
    (x,) = node.inputs
    if pattern(x) == op.pattern:
        return x
    inner = made_by(x, Flags)
    if inner is None:
        return None
    source = inner.inputs[0]
    before: Any = inner.op
    if all(flag or not new for flag, new in zip(pattern(source), before.pattern, strict=True)):
        return set_flags(source, op.pattern)
    return None


@RULES.rule(Reshape)
def useless_reshape(node: Apply) -> Variable | None:
    """To the shape the operand has; of something reshaped; of added axes."""
    x, *sizes = node.inputs
    if _own_shape(x, sizes) and pattern(x) == pattern(node.outputs[0]):
        return x
    inner = made_by(x, Reshape)
    if inner is not None:
        return reshape(inner.inputs[0], sizes, ndim=len(sizes)) if sizes else None
    view = made_by(x, DimShuffle)
    if view is not None and sizes:
        op: Any = view.op
        kept = [a for a in op.new_order if a != "x"]
        if kept == sorted(kept):
            return reshape(view.inputs[0], sizes, ndim=len(sizes))
    return None


def _own_shape(x: Variable, sizes: list[Variable]) -> bool:
    if x.type.ndim != len(sizes):
        return False
    unknown = 0
    for axis, size in enumerate(sizes):
        known = constant_value(size)
        source = made_by(size, ShapeI)
        if source is not None and source.op.axis == axis and source.inputs[0] is x:
            continue
        if known is not None and int(known) == x.type.shape[axis]:
            continue
        unknown += 1
        # one size that is not said follows from the others
        if known is None or int(known) != -1:
            return False
    return unknown <= 1


@RULES.rule(ShapeI)
def known_size(node: Apply) -> Variable | None:
    """A size that the type knows."""
    op: Any = node.op
    (x,) = node.inputs
    size = x.data.shape[op.axis] if isinstance(x, Constant) else x.type.shape[op.axis]
    return None if size is None else constant(int(size), dtype="int64")


@RULES.rule(maximum)
def size_is_not_negative(node: Apply) -> Variable | None:
    """``maximum(n, 0)`` of a size ``n``."""
    for value, other in (node.inputs, reversed(node.inputs)):
        if is_number(value, 0) and other.type.ndim == 0 and never_negative(other):
            return other
    return None


@RULES.rule("subtensor")
def index_of_vector(node: Apply) -> Variable | None:
    """An element of ``make_vector`` or of a shape; a slice of ``make_vector``."""
    op: Any = node.op
    x = node.inputs[0]
    if len(op.pattern) != 1 or x.type.ndim != 1:
        return None
    entry = op.pattern[0]
    parts = _elements(x)
    if parts is None:
        return None
    if isinstance(entry, str):
        known = constant_value(node.inputs[1])
        entry = None if known is None else int(known)
    if isinstance(entry, int) and -len(parts) <= entry < len(parts):
        return parts[entry]
    if isinstance(entry, tuple) and not any(isinstance(p, str) for p in entry):
        chosen = parts[slice(*entry)]
        kind: Any = node.outputs[0].type
        if len(chosen) > 1:
            return apply_op(MakeVector(kind.dtype), *chosen)
    return None


def _elements(x: Variable) -> list[Variable] | None:
    inner = made_by(x, MakeVector)
    if inner is not None:
        return list(inner.inputs)
    inner = made_by(x, Shape)
    if inner is not None and hasattr(inner.inputs[0].type, "shape"):
        source = inner.inputs[0]
        return [
            constant(size, dtype="int64") if size is not None else apply_op(ShapeI(k), source)
            for k, size in enumerate(source.type.shape)
        ]
    return None


@RULES.rule("subtensor")
def static_index(node: Apply) -> Variable | None:
    """Numbers that are known go from the operands into the op; ``x[:n]`` of a size ``n`` is all."""
    op: Any = node.op
    x, *scalars = node.inputs
    if not scalars:
        return None
    rest = iter(scalars)
    kept: list[Variable] = []

    def number_of(entry: Any, axis: int, stop: bool) -> Any:
        if not isinstance(entry, str):
            return entry
        scalar = next(rest)
        known = constant_value(scalar)
        if known is not None:
            return int(known)
        source = made_by(scalar, ShapeI)
        if stop and source is not None and source.inputs[0] is x and source.op.axis == axis:
            return None
        kept.append(scalar)
        return entry

    entries = []
    for axis, entry in enumerate(op.pattern):
        if isinstance(entry, tuple):
            first, last, step = entry
            first = number_of(first, axis, False)
            # with a negative step the stop is not the end
            last = number_of(last, axis, step is None or (isinstance(step, int) and step > 0))
            entries.append((first, last, number_of(step, axis, False)))
        else:
            entries.append(number_of(entry, axis, False))
    if len(kept) == len(scalars):
        return None
    return apply_op(type(op)(tuple(entries)), x, *kept)


@RULES.rule("subtensor")
def whole_array(node: Apply) -> Variable | None:
    """``x[:]``."""
    op: Any = node.op
    x = node.inputs[0]
    whole = all(
        isinstance(e, tuple) and e[0] in (None, 0) and e[1] is None and e[2] in (None, 1)
        for e in op.pattern
    )
    return x if whole and pattern(x) == pattern(node.outputs[0]) else None
