"""Sizes in the body of a gradient's loop, without the forward values that they are the sizes of."""

from __future__ import annotations

from ltensor.ir.function import Function
from ltensor.ir.graph import Variable
from ltensor.ir.types import TensorType
from ltensor.ir.walks import substitute, toposort
from ltensor.ops.alloc import alloc
from ltensor.ops.shape import ShapeI, restore_flags
from ltensor.ops.shape_map import ShapeMap


def use_known_shapes(body: Function, outputs: list[Variable]) -> list[Variable]:
    """Sizes of forward values as expressions of the body's inputs' sizes."""
    table = ShapeMap()
    replacements: dict[Variable, Variable] = {}
    for node in toposort(outputs):
        if isinstance(node.op, ShapeI) and node.inputs[0].owner is not None:
            dims = table.shape(node.inputs[0])
            if dims is not None and dims[node.op.axis].owner is not node:
                better = dims[node.op.axis]
                owner = better.owner
                if owner is None or not (
                    isinstance(owner.op, ShapeI) and owner.inputs[0] is node.inputs[0]
                ):
                    replacements[node.outputs[0]] = better
        elif getattr(node.op, "name", "") == "second":
            # only the size of the first operand matters
            first, value = node.inputs
            if first.owner is not None and isinstance(node.outputs[0].type, TensorType):
                dims = table.shape(node.outputs[0])
                if dims is not None:
                    if not dims:
                        replacements[node.outputs[0]] = value
                    else:
                        replacements[node.outputs[0]] = restore_flags(
                            alloc(value, *dims), node.outputs[0]
                        )
    return substitute(outputs, replacements) if replacements else outputs
