"""The pass ``inline_graphs``: graphs made into operations (`OpFromGraph`) become graphs again."""

from __future__ import annotations

from ltensor.ir.function import Function
from ltensor.ir.graph import Variable
from ltensor.ops.subgraph import OpFromGraph
from ltensor.passes.manager import register


@register
def inline_graphs(function: Function) -> Function:
    """Every `OpFromGraph` is replaced by what it holds."""
    while any(isinstance(node.op, OpFromGraph) for node in function.nodes):
        memo: dict[Variable, Variable] = {}
        for node in function.nodes:
            inputs = [memo.get(v, v) for v in node.inputs]
            if isinstance(node.op, OpFromGraph):
                memo.update(zip(node.outputs, node.op.graph.inline(inputs), strict=True))
            elif any(a is not b for a, b in zip(inputs, node.inputs, strict=True)):
                fresh = node.clone_with_new_inputs(inputs)
                memo.update(zip(node.outputs, fresh.outputs, strict=True))
        outputs = [memo.get(v, v) for v in function.outputs]
        function = Function(function.inputs, outputs, function.name)
    return function
