"""Operands of a concatenation that are computed right where they belong.

A gradient reads the initial rows of a state and its trace as one array. If the trace is written
into its part of that array at once, nothing is copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.lowering.fusion import is_scalar, kind_of
from ltensor.lowering.program import Value, View

if TYPE_CHECKING:
    from ltensor.lowering.block.places import Places

#: sizes are followed through so many operations
MOST_SIZE_NODES = 40


def join_window(
    block: Places, variable: Variable, dims: Sequence[Value], reason: tuple[Any, ...] | None
) -> View | None:
    """The part of a join's buffer where ``variable`` belongs; None if no join reads it.

    The join must be along the first axis, where parts are dense, and the sizes of its other
    operands known now. Its `lower` finds the buffer in ``block.joined``.
    """
    for reader in block.plan.readers.get(variable, ()):
        if getattr(reader.op, "ir_name", "") != "join" or reader.op.axis != 0:
            continue
        output = reader.outputs[0]
        if reader in block.joined or output in block.destinations:
            continue
        if sum(v is variable for v in reader.inputs) != 1:
            continue
        sizes = _first_sizes(block, reader, variable, dims)
        if sizes is None:
            continue
        b = block.b
        total: Any = b.const(0)
        start: Any = b.const(0)
        for operand, size in zip(reader.inputs, sizes, strict=True):
            if operand is variable:
                start = total
            total = b.add(total, size)
        why = reason or ("value", output)
        buffer = b.temporary(variable.type.dtype, (total, *dims[1:]), why)
        block.joined[reader] = (buffer, {reader.inputs.index(variable)})
        pointer = b.shifted(buffer, b.mul(start, b.size(dims[1:])))
        return View(variable.type.dtype, pointer, tuple(dims))
    return None


def _first_sizes(
    block: Places, join: Apply, variable: Variable, dims: Sequence[Value]
) -> list[Value] | None:
    sizes: list[Value] = []
    for operand in join.inputs:
        if operand is variable:
            sizes.append(dims[0])
            continue
        shape = block.shapes.shape(operand)
        if shape is None or not known_now(block, shape[0]):
            return None
        sizes.append(block.scalar(shape[0]))
    return sizes


def known_now(block: Places, size: Variable) -> bool:
    """Whether a size follows from what is bound already."""
    stack, seen = [size], 0
    while stack:
        v = stack.pop()
        seen += 1
        if seen > MOST_SIZE_NODES:
            return False
        if v in block.bound or isinstance(v, Constant):
            continue
        node = v.owner
        if node is None or not is_scalar(v):
            return False
        kind = kind_of(node)
        if kind == "shape":
            if node.inputs[0] not in block.bound and not isinstance(node.inputs[0], Constant):
                return False
        elif kind == "pointwise":
            stack.extend(node.inputs)
        else:
            return False
    return True
