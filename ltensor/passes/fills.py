"""What is left of ``second`` becomes ``alloc``: its first operand matters for its size only."""

from __future__ import annotations

from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.ops.alloc import alloc, second
from ltensor.ops.shape import DimShuffle, dims_of
from ltensor.passes.manager import register
from ltensor.passes.match import constant_of, dtype_of, made_by, pattern
from ltensor.passes.rewrite import Rules, rewrite

RULES = Rules("fills")


@RULES.rule(second)
def fill_to_alloc(node: Apply) -> Variable | None:
    """``second(x, v)`` is ``alloc(v, sizes of x)``."""
    model, value = node.inputs
    out = node.outputs[0]
    if pattern(model) != pattern(out):
        return None
    view = made_by(value, DimShuffle)
    if view is not None and all(a == "x" for a in view.op.new_order):
        value = view.inputs[0]
    if isinstance(value, Constant) and value.data.size == 1:
        value = constant_of(value.data.reshape(()), dtype_of(value), 0)
    return alloc(value, *dims_of(model))


@register
def fills(function: Function) -> Function:
    """Turn fills into allocations, so that what they take their size from need not exist."""
    return rewrite(function, RULES)
