"""Operands as ops see them: elements at an index, and windows where the index is affine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ltensor.ir.graph import Apply, Variable
from ltensor.lowering.builder import Builder
from ltensor.lowering.program import Value, View

if TYPE_CHECKING:
    from ltensor.lowering.block.evaluation import Evaluation


class Operand:
    """An operand as the element code of an indexed op sees it."""

    def __init__(self, block: Evaluation, variable: Variable, memo: dict[Any, Any]) -> None:
        self._block = block
        self._variable = variable
        self._memo = memo
        self.dtype = variable.type.dtype
        self.ndim = variable.type.ndim

    def at(self, index: Sequence[Any]) -> Any:
        """The element at ``index``."""
        b = self._block.b
        positions = tuple(i if isinstance(i, Value) else b.const(i) for i in index)
        return self._block.element(self._variable, positions, self._memo)

    @property
    def dims(self) -> tuple[Value, ...]:
        """The sizes."""
        return self._block.dims(self._variable)

    @property
    def value(self) -> Any:
        """The value of a 0-d operand."""
        return self._block.scalar(self._variable)


def affine_view(block: Evaluation, variable: Variable, node: Apply) -> View:
    """The window of its operand that ``variable`` is: strides are differences of addresses."""
    b = block.b
    source = block.view(node.inputs[0])
    for operand in node.inputs[1:]:
        block.prepare(operand)
    operands = [Operand(block, v, {}) for v in node.inputs]
    dims = block.dims(variable)
    block.check_node(node)
    zero = [b.const(0)] * len(dims)
    start = b.address(source, _source(b, node, operands, zero))
    strides = []
    places = _source(b, node, operands, zero)
    steps = b.strides(source)
    for axis in range(len(dims)):
        unit = list(zero)
        unit[axis] = b.const(1)
        stride: Any = b.const(0)
        for new, old, step in zip(_source(b, node, operands, unit), places, steps, strict=True):
            stride = b.add(stride, b.mul(b.sub(new, old), step))
        strides.append(stride)
    if all(a is c for a, c in zip(strides, b.strides(View("", start, dims)), strict=True)):
        return View(variable.type.dtype, source.pointer, dims, None, start)
    return View(variable.type.dtype, source.pointer, dims, tuple(strides), start)


def _source(b: Builder, node: Apply, operands: list[Operand], index: Sequence[Any]) -> list[Any]:
    positions = node.op.source_index(b, node, operands, index)
    return [p if isinstance(p, Value) else b.const(p) for p in positions]
