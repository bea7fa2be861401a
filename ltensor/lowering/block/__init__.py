"""A Function (whole program, loop body or branch) becomes loops: `Block`.

Values are bound to scalars (`Value`, `Complex`) or buffers (`View`). ``evaluation`` gives any of
them, ``places`` says where they are stored, and here every group of the plan
(`ltensor.lowering.fusion`) becomes a nest or what else it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import TensorType
from ltensor.lowering.block.evaluation import Binding
from ltensor.lowering.block.places import Destination, Places
from ltensor.lowering.fusion import Group, is_scalar, kind_of
from ltensor.lowering.kernel_context import KernelContext
from ltensor.lowering.nest import Space, collapse
from ltensor.lowering.program import Value, View
from ltensor.lowering.reduction import emit_reduction, emit_shared_nest

__all__ = ["Binding", "Block", "Destination"]


class Block(Places):
    """Lowers one Function at the builder's current position.

    Parameters
    ----------
    context : object
        Has ``b`` (the builder), ``constant(variable)`` (a View of a constant's data) and
        ``lower_region(block, node)``.
    function : Function
    bound : dict
        Variables that exist already -> View or scalar.
    destinations : dict, optional
        For outputs: where to write them, as a function of the dims.
    """

    def __init__(
        self,
        context: Any,
        function: Function,
        bound: dict[Variable, Binding],
        destinations: dict[Variable, Destination] | None = None,
    ) -> None:
        super().__init__(context, function, bound, destinations)
        #: products of a loop's body -> their right operand as `kept_products` has packed it
        self.kept: Mapping[Apply, Any] = {}

    def run(self) -> None:
        """Emit the code of all groups; afterwards `value` gives any output."""
        for tying in self.ties.nodes:
            self.check_node(tying)
        for group in self.plan.groups:
            self.b.lowered_node = group.node
            if group.kind == "nest":
                self._emit_nest(group)
                continue
            if group.kind == "shared":
                emit_shared_nest(self, group)
                continue
            node = group.node
            assert node is not None
            if group.kind == "reduction":
                emit_reduction(self, node)
            elif group.kind == "alias":
                self._emit_alias(node)
            elif group.kind == "kernel":
                self._emit_kernel(node)
            else:
                self.context.lower_region(self, node, group.kind)

    def prepare_group(self, group: Group) -> None:
        """Check, and evaluate what is read by, the values that a nest stores."""
        self.computing = frozenset(group.variables)
        for variable in group.variables:
            assert variable.owner is not None
            self.check_node(variable.owner)
            for operand in variable.owner.inputs:
                if kind_of(variable.owner) == "indexed":
                    self.dims(operand)
                self.prepare(operand)

    def _emit_nest(self, group: Group) -> None:
        b = self.b
        first = group.variables[0]
        self.prepare_group(group)
        dims = self.dims(first)
        targets = {v: self.destination(v, self.dims(v), by_element=True) for v in group.variables}
        space = collapse(self, group.variables, dims, list(targets.values()))
        memo: dict[Any, Any] = {}
        with ExitStack() as stack:
            index = self.open_loops(stack, space, label=str(first.owner and first.owner.op))
            for variable in group.variables:
                assert variable.owner is not None
                value = self.element_of(variable.owner, index, memo)
                key = (variable, *map(id, index))
                memo[key] = value
                b.store(targets[variable], index, value)
        b.flush_guards()
        self.computing = frozenset()
        self.bound.update(targets)

    def open_loops(self, stack: ExitStack, space: Space, label: str = "") -> tuple[Value, ...]:
        """Open the loops of a space, the innermost in lanes; returns the full index."""
        b = self.b
        index: list[Value] = [b.const(0)] * space.rank
        for number, (axis, extent) in enumerate(space.loops):
            last = number == len(space.loops) - 1
            loop = stack.enter_context(
                b.loop(
                    extent,
                    kind="vector" if last else "serial",
                    parallel=True,
                    label=label if number == 0 else "",
                )
            )
            index[axis] = loop.index
        return tuple(index)

    def _emit_alias(self, node: Apply) -> None:
        source = self.dense(node.inputs[0])
        for operand in node.inputs[1:]:
            self.prepare(operand)
        self.check_node(node)
        output = node.outputs[0]
        dims = self.dims(output)
        node.op.check_alias(self, node, source.dims, dims)
        self.bound[output] = View(source.dtype, source.pointer, dims, None, source.offset)

    def _emit_kernel(self, node: Apply) -> None:
        by_element = getattr(node.op, "element_operands", ())
        for position, operand in enumerate(node.inputs):
            self.prepare(operand)
            if position in by_element:
                continue
            if isinstance(operand.type, TensorType) and not is_scalar(operand):
                if getattr(node.op, "dense_operands", False):
                    self.bound_dense(operand)
                else:
                    self.value(operand)
        self.check_node(node)
        node.op.lower(KernelContext(self, node))
        self.b.flush_guards()

    def bound_dense(self, variable: Variable) -> View:
        """A dense buffer of ``variable``, remembered."""
        view = self.dense(variable)
        self.bound[variable] = view
        return view
