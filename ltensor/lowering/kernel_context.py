"""What an op with its own loops is given to lower itself: `KernelContext`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ltensor.ir.graph import Apply
from ltensor.lowering.fusion import is_scalar
from ltensor.lowering.nest import collapse
from ltensor.lowering.placed import make_target, placed_parts, slice_of, window
from ltensor.lowering.program import Value, View

if TYPE_CHECKING:
    from ltensor.lowering.block import Binding, Block


class KernelContext:
    """What an op with its own loops is given: operands, places for results, the builder."""

    def __init__(self, block: Block, node: Apply) -> None:
        self.block = block
        self.node = node
        self.b = block.b
        self.context = block.context

    def operand(self, position: int) -> Any:
        """Operand ``position``: a View, or a scalar if it is 0-d."""
        variable = self.node.inputs[position]
        if is_scalar(variable):
            return self.block.scalar(variable)
        return self.block.value(variable)

    def output(self, position: int = 0, dims: Sequence[Value] | None = None) -> View:
        """A buffer for result ``position``; ``dims`` default to the inferred shape."""
        variable = self.node.outputs[position]
        if dims is None:
            dims = self.block.dims(variable)
        view = self.block.destination(variable, dims)
        self.block.bound[variable] = view
        return view

    def fill(self, target: View, position: int) -> None:
        """Write the elements of operand ``position`` into the dense ``target`` of its size.

        An operand in the op's ``element_operands`` is computed into ``target`` without a buffer of
        its own.
        """
        block, b = self.block, self.b
        variable = self.node.inputs[position]
        bound = block.bound.get(variable)
        if isinstance(bound, View) and bound.dense:
            block.copy(target, bound)
            return
        space = collapse(block, [variable], target.dims, [target], computed=False)
        with ExitStack() as stack:
            index = block.open_loops(stack, space, label=str(self.node.op))
            b.store(target, index, block.element(variable, index, {}))
        b.flush_guards()

    def changed_operand(self, position: int) -> View:
        """Operand ``position`` in the buffer of the result, to be changed there.

        It is its own buffer if nobody else reads it (`Block.take_over`), else a copy.
        """
        target = self.block.take_over(self.node, position)
        if target is None:
            target = self.output(0)
            self.fill(target, position)
        else:
            self.result(target)
        return target

    def placed_part(self) -> tuple[View, bool] | None:
        """Where this node's second operand goes if it is put into zeros, and whether it is there.

        None if this node belongs to no chain of them (`ltensor.lowering.placed`). The first of a
        chain sets to zero what no part covers.
        """
        chain = placed_parts(self.block, self.node)
        if chain is None:
            return None
        target = make_target(self.block, chain)
        if self.node is chain.nodes[0]:
            for bounds in chain.gaps():
                self._clear(window(self.block, target, chain.axis, bounds))
        self.result(target)
        return slice_of(self.block, target, chain, self.node), self.node in chain.written

    def _clear(self, part: View) -> None:
        space = collapse(self.block, [], part.dims, [part])
        with ExitStack() as stack:
            index = self.block.open_loops(stack, space, label=str(self.node.op))
            self.b.store(part, index, self.b.const(0, part.dtype))

    def may_change_in_place(self, position: int) -> bool:
        """Whether operand ``position`` may turn out to be a shared variable's own memory.

        What is written to it must then stand behind all checks of the op.
        """
        from ltensor.lowering.commit import may_change_in_place

        return may_change_in_place(self.block, self.node.inputs[position])

    def result(self, value: Binding, position: int = 0) -> None:
        """Bind result ``position`` to a scalar or an existing buffer."""
        self.block.bound[self.node.outputs[position]] = value

    def check(
        self, condition: Any, kind: str, values: Sequence[Value] = (), detail: tuple[Any, ...] = ()
    ) -> None:
        """Leave with an error of this node unless ``condition`` holds."""
        self.block.check(condition, kind, self.node, values, detail)
