"""The pass ``shapes``: ``dim`` of a computed value becomes an expression of the inputs' sizes.

A value of which only the size is wanted is then not computed.
"""

from __future__ import annotations

from ltensor.ir.function import Function
from ltensor.ir.graph import Constant, Variable
from ltensor.ir.types import TensorType
from ltensor.ir.walks import substitute
from ltensor.ops.shape import ShapeI
from ltensor.ops.shape_map import ShapeMap
from ltensor.passes.manager import register


def use_shapes(function: Function) -> Function:
    """The pass ``shapes``: sizes of computed values become expressions of the inputs' sizes."""
    for _ in range(8):
        table = ShapeMap()
        replacements: dict[Variable, Variable] = {}
        for node in function.nodes:
            if isinstance(node.op, ShapeI):
                source = node.inputs[0]
                if source.owner is None and not isinstance(source, Constant):
                    continue
                dims = table.shape(source)
                assert dims is not None
                better = dims[node.op.axis]
                owner = better.owner
                same = (
                    owner is not None and isinstance(owner.op, ShapeI) and owner.inputs[0] is source
                )
                if not same:
                    replacements[node.outputs[0]] = better
            elif getattr(node.op, "ir_name", "") == "shape":
                from ltensor.ops.alloc import make_vector

                source = node.inputs[0]
                dims = table.shape(source) if isinstance(source.type, TensorType) else None
                if dims is not None:
                    replacements[node.outputs[0]] = make_vector(dims, "int64")
        if not replacements:
            return function
        function = Function(
            function.inputs, substitute(function.outputs, replacements), function.name
        )
    return function


register(use_shapes, name="shapes")
