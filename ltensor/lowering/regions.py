"""Ops that hold Functions: dispatch, and the lazy choice `lower_choice`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ltensor.errors import UnsupportedError
from ltensor.ir import dtypes as dt
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.ir.types import RandomStateType, TensorType
from ltensor.lowering.block import Block, Destination
from ltensor.lowering.fusion import is_scalar
from ltensor.lowering.program import Value, View
from ltensor.ops.shape import ShapeI


def lower_region(context: Any, block: Block, node: Apply) -> None:
    """Lower a node of kind ``region`` by its op's ``region_kind``."""
    kind = node.op.region_kind
    if kind == "scan":
        from ltensor.lowering.loops.scan import lower_scan

        lower_scan(context, block, node)
    elif kind == "ifelse":
        lower_choice(context, block, node)
    elif kind == "graph":
        lower_graph(context, block, node)
    else:
        raise UnsupportedError(f"{node.op}: regions of kind {kind!r} cannot be compiled")


def lower_graph(context: Any, block: Block, node: Apply) -> None:
    """A graph within the graph, where it was not inlined."""
    (function,) = node.op.regions
    operands = []
    for variable in node.inputs:
        block.prepare(variable)
        operands.append(block.value(variable))
    inner = Block(context, function, dict(zip(function.inputs, operands, strict=True)))
    inner.run()
    for output, variable in zip(node.outputs, function.outputs, strict=True):
        block.bound[output] = inner.value(variable)


def sides_of(node: Apply) -> tuple[Function, Function]:
    """The Functions of a choice; of one whose sides are plain operands, trivial ones."""
    if node.op.regions:
        then, other = node.op.regions
        return then, other
    operands = node.inputs[1:]
    inner = [v.type.make_variable(v.name) for v in operands]
    half = len(operands) // 2
    return Function(inner, inner[:half], "then"), Function(inner, inner[half:], "else")


def lower_choice(context: Any, block: Block, node: Apply) -> None:
    """A branch; each side is a block of its own that writes the results where the other does."""
    b = block.b
    then, other = sides_of(node)
    # everything from outside must exist before the branch
    operands = []
    for variable in node.inputs[1:]:
        block.prepare(variable)
        operands.append(block.value(variable))
    condition = b.ne(block.scalar(node.inputs[0]), 0)
    places = [_Place(block, node, output) for output in node.outputs]
    with b.if_(condition):
        _side(context, then, operands, places)
    with b.else_():
        _side(context, other, operands, places)
    for place in places:
        place.bind()


def _side(
    context: Any, function: Function, operands: Sequence[Any], places: Sequence[_Place]
) -> None:
    bound = dict(zip(function.inputs, operands, strict=True))
    destinations: dict[Variable, Destination] = {}
    rest: list[tuple[Variable, _Place]] = []
    for variable, place in zip(function.outputs, places, strict=True):
        if is_scalar(variable) or variable in destinations or variable in bound:
            rest.append((variable, place))
        else:
            destinations[variable] = Destination(place.provide)
    inner = Block(context, function, bound, destinations)
    inner.run()
    inner.finish()
    for variable, place in rest:
        place.write(inner, variable)


class _Place:
    """Where a result stands after the branch, whichever side was taken.

    Scalars and sizes that are not known before leave the branch through words of the frame.
    """

    def __init__(self, block: Block, node: Apply, output: Variable) -> None:
        self.block = block
        self.b = b = block.b
        self.output = output
        kind = output.type
        self.target: View | None = None
        self.sizes: list[View] = []
        if isinstance(kind, RandomStateType):
            from ltensor.lowering.rng.state import STATE_WORDS

            self.target = b.temporary("uint32", (b.const(STATE_WORDS),), ("value", output))
        elif not isinstance(kind, TensorType):
            raise UnsupportedError(f"{node.op} cannot choose between values of type {kind}")
        elif kind.ndim == 0:
            complex_ = dt.is_complex(kind.dtype)
            self.target = (
                b.temporary(kind.dtype, (), ("value", output)) if complex_ else b.local(kind.dtype)
            )
        else:
            dims = block.shapes.shape(output) or ()
            if all(not self._of_result(size) for size in dims):
                self.target = block.destination(output, tuple(block.scalar(s) for s in dims))
            else:
                self.pointer = b.local("int64")
                self.sizes = [b.local("int64") for _ in range(kind.ndim)]

    def _of_result(self, size: Variable) -> bool:
        owner = size.owner
        return owner is not None and isinstance(owner.op, ShapeI) and owner.inputs[0] is self.output

    def provide(self, dims: Sequence[Value]) -> View:
        """The buffer for the result, of which a side knows the sizes."""
        if self.target is not None:
            return self.target
        b = self.b
        view = b.temporary(self.output.type.dtype, dims, ("value", self.output))
        b.raw_store(self.pointer.pointer, 0, view.pointer)
        for place, size in zip(self.sizes, dims, strict=True):
            b.store(place, (), size)
        return view

    def write(self, inner: Block, variable: Variable) -> None:
        """Copy a value that a side did not compute in its place."""
        if is_scalar(variable):
            assert self.target is not None
            self.b.store(self.target, (), inner.scalar(variable))
            return
        source = inner.value(variable) if isinstance(variable, Constant) else inner.view(variable)
        inner.copy(self.provide(source.dims), source)

    def bind(self) -> None:
        """Make the result known to the block outside."""
        b, bound = self.b, self.block.bound
        if self.target is None:
            pointer = b.raw_load(self.pointer.pointer, 0, "ptr")
            static = self.output.type.shape
            dims = tuple(
                b.load(place, ()) if size is None else b.const(size)
                for place, size in zip(self.sizes, static, strict=True)
            )
            bound[self.output] = View(self.output.type.dtype, pointer, dims)
        elif is_scalar(self.output):
            bound[self.output] = b.load(self.target, ())
        else:
            bound[self.output] = self.target
