"""Sizes of bound arrays that must be equal, else a pointwise operation fails.

These operations are checked first, so that values of either size may share a nest.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.lowering.fusion import kind_of
from ltensor.ops.shape_map import ShapeMap


class TiedSizes:
    """What the pointwise operations of a Function tell before anything is computed.

    Parameters
    ----------
    nodes : sequence of Apply
    shapes : ShapeMap
    bound : collection of Variable
        Arrays whose sizes are known.

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

        def known(size: Variable) -> bool:
            owner = size.owner
            if isinstance(size, Constant):
                return True
            return owner is not None and kind_of(owner) == "shape" and owner.inputs[0] in bound

        for node in nodes:
            if kind_of(node) != "pointwise" or node.outputs[0].type.ndim == 0:
                continue
            dims_of = [shapes.shape(v) for v in node.inputs]
            if not all(dims is not None and all(map(known, dims)) for dims in dims_of):
                continue
            ties = False
            for axis in range(node.outputs[0].type.ndim):
                sizes = [
                    dims[axis]
                    for v, dims in zip(node.inputs, dims_of, strict=True)
                    if dims is not None and not v.type.broadcastable[axis]
                ]
                if len(sizes) < 2:
                    continue
                first = self.first(sizes[0])
                for size in sizes[1:]:
                    other = self.first(size)
                    if other is not first and not isinstance(other, Constant):
                        self._tied[other] = first
                        ties = True
            if ties:
                self.nodes.append(node)

    def first(self, size: Variable) -> Variable:
        """The one that stands for all sizes that are equal to ``size``."""
        while size in self._tied:
            size = self._tied[size]
        return size
