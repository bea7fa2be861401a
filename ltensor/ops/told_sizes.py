"""Sizes that ``infer_shape`` of a user's op tells, in the form in which sizes are computed.

A user writes them with any operation: ``node.inputs[0].shape[0]``, ``x.size``, ``lengths.sum()``.
Sizes have to be scalar functions of other sizes and of scalars, as they are needed before any array
is computed.  What cannot be brought into this form is not known before the op has run.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, Final

from ltensor.ir.build import constant
from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.ops.shape import DimShuffle, ShapeI

__all__ = ["Told"]

Dims = tuple[Variable, ...]

_FOLDS: Final[dict[str, Callable[[Any, Any], Any]]] = {"sum": operator.add, "prod": operator.mul}


class Told:
    """The sizes told for the results of one node.

    Parameters
    ----------
    node
        The user's node.
    shapes
        The sizes of its inputs, None of those that are no tensors.
    shape_of
        Gives the sizes of any tensor.
    """

    def __init__(
        self,
        node: Apply,
        shapes: Sequence[Dims | None],
        shape_of: Callable[[Variable], Dims | None],
    ) -> None:
        self._shapes = dict(zip(node.inputs, shapes, strict=True))
        self._shape_of = shape_of
        self._known: dict[Variable, Variable | None] = {
            size: size for dims in shapes for size in dims or ()
        }

    def size(self, told: Any) -> Variable | None:
        """A size as a scalar function of sizes and scalars; None if it is none."""
        if not isinstance(told, Variable):
            return constant(int(told), dtype="int64")
        if told not in self._known:
            self._known[told] = self._scalar(told)
        return self._known[told]

    def _scalar(self, v: Variable) -> Variable | None:
        node = v.owner
        if node is None or v in self._shapes:
            return v
        op: Any = node.op
        if isinstance(op, ShapeI):
            return self._dim(node.inputs[0], op.axis)
        name = getattr(op, "ir_name", "")
        if getattr(op, "kind", "") == "pointwise":
            operands = [self.size(x) for x in node.inputs]
            if any(x is None for x in operands):
                return None
            made: Variable = op(*operands)
            return made
        if name == "subtensor" and len(op.pattern) == 1 and isinstance(op.pattern[0], int):
            items = self._items(node.inputs[0])
            place = op.pattern[0]
            fits = items is not None and -len(items) <= place < len(items)
            return self.size(items[place]) if items is not None and fits else None
        if name in _FOLDS and node.inputs[0].type.ndim == 1:
            items = self._items(node.inputs[0])
            if not items:
                return None
            return self.size(functools.reduce(_FOLDS[name], items))
        return None

    def _dim(self, x: Variable, axis: int) -> Variable | None:
        dims = self._shapes[x] if x in self._shapes else self._shape_of(x)
        if dims is None:
            return None
        found = dims[axis]
        owner = found.owner
        if owner is None or found in self._known:
            return found
        if isinstance(owner.op, ShapeI) and owner.inputs[0] is x:
            # of what the program does not compute there is no size to be read
            return found if x.owner is None else None
        return self.size(found)

    def _items(self, vector: Variable) -> list[Any] | None:
        """The elements of a vector whose length is known."""
        if isinstance(vector, Constant):
            return [constant(n) for n in vector.data]
        node = vector.owner
        if node is None:
            return None
        op: Any = node.op
        name = getattr(op, "ir_name", "")
        if name == "shape":
            x = node.inputs[0]
            return [ShapeI(axis)(x) for axis in range(x.type.ndim)]
        if name == "make_vector":
            return list(node.inputs)
        if isinstance(op, DimShuffle) and node.inputs[0].type.ndim == 0:
            return list(node.inputs)
        if name == "join":
            parts = [self._items(part) for part in node.inputs]
            return None if None in parts else [item for part in parts for item in part or ()]
        if name == "subtensor":
            bounds = op.constant_slice(node)
            items = self._items(node.inputs[0])
            return None if bounds is None or items is None else items[bounds]
        if getattr(op, "kind", "") == "pointwise":
            operands = [self._items(x) for x in node.inputs]
            if None in operands:
                return None
            count = max(len(items or ()) for items in operands)
            columns = [
                items if len(items) == count else items * count for items in operands if items
            ]
            return [op(*row) for row in zip(*columns, strict=True)]
        return None
