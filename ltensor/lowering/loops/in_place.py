"""Arrays that a loop carries and only changes at the place where it has read: no second buffer.

The new value of a state must follow from the old one by a chain of operations that read an element
of it and write the same element: pointwise ones, and those that change a part of an array
(``base_operand``). Nothing else may read the old value, whose buffer is overwritten on the way.
"""

from __future__ import annotations

from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import TensorType, Type
from ltensor.lowering.fusion import kind_of


def updated_in_place(body: Function, old: Variable, new: Variable) -> bool:
    """Whether the buffer of ``old``, an input of a loop's body, may become that of ``new``."""
    if old is new or not isinstance(old.type, TensorType) or old.type.ndim == 0:
        return False
    current = old
    while current is not new:
        readers = [(n, k) for n, k in body.clients.get(current, ()) if not _asks_size(n)]
        if len(readers) != 1:
            return False
        node, position = readers[0]
        if node is None or len(node.outputs) != 1:
            return False
        if kind_of(node) != "pointwise" and getattr(node.op, "base_operand", None) != position:
            return False
        output = node.outputs[0]
        if not _alike(current.type, output.type):
            return False
        current = output
    return True


def _asks_size(node: Apply | None) -> bool:
    return node is not None and kind_of(node) == "shape"


def _alike(a: Type, b: Type) -> bool:
    """Whether an element of the one has the size and the place of that of the other."""
    if not (isinstance(a, TensorType) and isinstance(b, TensorType)):
        return False
    return a.dtype == b.dtype and a.broadcastable == b.broadcastable
