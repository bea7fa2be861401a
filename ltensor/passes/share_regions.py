"""The pass ``share_regions``: loop bodies and branches that are equal become one object.

A program that calls a function of its own several times, or has several layers of one kind, holds
equal bodies many times over, and gradients of them. The pipeline runs a pass once on each object.
"""

from __future__ import annotations

from typing import Any

from ltensor.ir.equal import structure
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Variable
from ltensor.passes.manager import map_regions, register


def share_regions(function: Function) -> Function:
    """Let equal regions be the same object."""
    first_of: dict[Any, Function] = {}
    done: dict[int, Function] = {}

    def shared(region: Function) -> Function:
        found = done.get(id(region))
        if found is None:
            inner = map_regions(region, shared)
            found = first_of.setdefault(_key(inner), inner)
            done[id(region)] = found
        return found

    return map_regions(function, shared)


register(share_regions, regions=False)


def _key(region: Function) -> Any:
    """Equal for regions that do the same at the same line, on values of the same known sizes."""
    return structure(region, _operation, _kind)


def _operation(node: Apply) -> Any:
    op: Any = node.op
    regions = op.regions
    if regions:
        # equal ones are the same object already
        op = (type(op), *op.attributes().items(), *map(id, regions))
    line = None if node.source is None else node.source.innermost
    return op, line, *map(_kind, node.outputs)


def _kind(variable: Variable) -> Any:
    return variable.type, getattr(variable.type, "shape", None)
