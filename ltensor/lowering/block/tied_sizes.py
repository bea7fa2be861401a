"""Sizes of bound arrays that must be equal, else a pointwise operation fails.

These operations are checked first, so that values of either size may share a nest.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.lowering.fusion import is_scalar, kind_of
from ltensor.ops.shape_map import ShapeMap


class TiedSizes:
    """What the pointwise operations of a Function tell before anything is computed.

    Parameters
    ----------
    nodes : sequence of Apply
    shapes : ShapeMap
    bound : collection of Variable
        Arrays whose sizes are known; expressions of these sizes are known as well.

    Attributes
    ----------
    nodes : list of Apply
        The operations that need different variables to be one number.
    """

    def __init__(
        self, nodes: Sequence[Apply], shapes: ShapeMap, bound: Collection[Variable]
    ) -> None:
        self.nodes: list[Apply] = []
        #: a size -> one that it is equal to
        self._tied: dict[Variable, Variable] = {}
        self._bound = bound
        self._known: dict[Variable, bool] = {}

        for node in nodes:
            if kind_of(node) != "pointwise" or node.outputs[0].type.ndim == 0:
                continue
            dims_of = [shapes.shape(v) for v in node.inputs]
            if not all(dims is not None and all(map(self._is_known, dims)) for dims in dims_of):
                continue
            ties = False
            for axis in range(node.outputs[0].type.ndim):
                sizes = [
                    dims[axis]
                    for v, dims in zip(node.inputs, dims_of, strict=True)
                    if dims is not None and not v.type.broadcastable[axis]
                ]
                for size in sizes[1:]:
                    ties |= self._tie(sizes[0], size)
            if ties:
                self.nodes.append(node)

    def _tie(self, size: Variable, other: Variable) -> bool:
        """Let two sizes be one; whether that is news. A number stands for all equal to it."""
        size, other = self.first(size), self.first(other)
        if size is other:
            return False
        if isinstance(other, Constant):
            size, other = other, size
        if isinstance(other, Constant):
            return False
        self._tied[other] = size
        return True

    def _is_known(self, size: Variable) -> bool:
        """Whether ``size`` can be computed before anything else is."""
        stack = [size]
        while stack:
            v = stack[-1]
            owner = v.owner
            if v in self._known:
                stack.pop()
            elif isinstance(v, Constant) or v in self._bound:
                self._known[v] = True
            elif owner is None or not is_scalar(v):
                self._known[v] = False
            elif kind_of(owner) == "shape":
                self._known[v] = owner.inputs[0] in self._bound
            elif kind_of(owner) != "pointwise":
                self._known[v] = False
            else:
                waiting = [u for u in owner.inputs if u not in self._known]
                stack += waiting
                if not waiting:
                    self._known[v] = all(self._known[u] for u in owner.inputs)
        return self._known[size]

    def first(self, size: Variable) -> Variable:
        """The one that stands for all sizes that are equal to ``size``."""
        while size in self._tied:
            size = self._tied[size]
        return size
