"""Values of a Function at the builder's current position: scalars, sizes, views, elements.

Each is computed when it is first asked for, of others; what a loop's body reads is asked for
(`Evaluation.prepare`) before the loop is opened. Element code is composed of the ops' own ``emit``
and ``element`` declarations; this file knows kinds of ops, not ops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ltensor.errors import LoweringError
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.ir.types import TensorType
from ltensor.ir.walks import toposort
from ltensor.lowering.block.copies import copy_elements
from ltensor.lowering.block.operand import Operand, affine_view
from ltensor.lowering.block.tied_sizes import TiedSizes
from ltensor.lowering.builder import Builder
from ltensor.lowering.fusion import Plan, is_inline, is_scalar, kind_of
from ltensor.lowering.program import Value, View
from ltensor.ops.shape_map import ShapeMap

Binding = Any  # View, Value or Complex


class Evaluation:
    """What is bound, and everything that can be evaluated from it; see `Block`."""

    def __init__(self, context: Any, function: Function, bound: dict[Variable, Binding]) -> None:
        self.context = context
        self.b: Builder = context.b
        self.function = function
        self.bound = bound
        self.shapes: ShapeMap = ShapeMap.of(function)
        self._checked: set[Any] = set()
        self._equal: dict[Value, Value] = {}
        self.nodes = _ordered(function, self.shapes, bound)
        stop = set(bound)
        self.ties = TiedSizes(self.nodes, self.shapes, bound)
        self.plan = Plan(function, self.nodes, stop, self._space, self._shape_or_none)

    def _shape_or_none(self, variable: Variable) -> Sequence[Variable]:
        if not isinstance(variable.type, TensorType):
            return ()
        return self.shapes.shape(variable) or ()

    def _space(self, variable: Variable) -> Any:
        dims = self.shapes.shape(variable)
        if dims is None:
            raise LoweringError(f"the shape of {variable} is not known before it is computed")
        return tuple(
            d.signature() if isinstance(d, Constant) else id(d) for d in map(self.ties.first, dims)
        )

    def value(self, variable: Variable) -> Binding:
        """The scalar or buffer of a stored variable."""
        found = self.bound.get(variable)
        if found is not None:
            return found
        if is_scalar(variable):
            return self.scalar(variable)
        if isinstance(variable, Constant):
            found = self.bound[variable] = self.context.constant(variable)
            return found
        return self.view(variable)

    # --------------------------------------------------------------------- scalars, sizes

    def scalar(self, variable: Variable) -> Any:
        """The value of a 0-d variable in a register."""
        found = self.bound.get(variable)
        if found is not None:
            if isinstance(found, View):
                found = self.b.load(found, ())
                self.bound[variable] = found
            return found
        if isinstance(variable, Constant):
            data = variable.data
            result = self.b.const(data.item(), variable.type.dtype)
            self.bound[variable] = result
            return result
        node = variable.owner
        if node is None:
            raise LoweringError(f"{variable} is not computed and not an input")
        # operands first, from the bottom up: chains of sizes may be long
        stack = [variable]
        while stack:
            v = stack[-1]
            if v in self.bound or v.owner is None or not is_scalar(v):
                stack.pop()
                continue
            waiting = [
                u
                for u in v.owner.inputs
                if is_scalar(u)
                and u not in self.bound
                and u.owner is not None
                and kind_of(u.owner) in ("pointwise", "shape")
            ]
            if kind_of(v.owner) == "pointwise" and waiting:
                stack.extend(waiting)
                continue
            self.bound[v] = self._scalar_node(v, v.owner)
            stack.pop()
        return self.bound[variable]

    def _scalar_node(self, variable: Variable, node: Apply) -> Any:
        kind = kind_of(node)
        if kind == "shape":
            return self.size(node.inputs[0], node.op.axis)
        if kind in ("pointwise", "indexed"):
            if kind == "indexed":
                for operand in node.inputs:
                    self.prepare(operand)
                self.check_node(node)
            result = self.element_of(node, (), {})
            self.b.flush_guards()
            return result
        raise LoweringError(f"{variable} is used before {node} ran")

    def size(self, variable: Variable, axis: int) -> Value:
        """The size of ``variable`` along ``axis``."""
        return self.b.known_size(self._size(variable, axis))

    def _size(self, variable: Variable, axis: int) -> Value:
        found = self.bound.get(variable)
        if isinstance(found, View):
            return found.dims[axis]
        if isinstance(variable, Constant):
            return self.b.const(variable.data.shape[axis])
        shape = self.shapes.shape(variable)
        if shape is None:
            view = self.value(variable)
            return view.dims[axis]
        dim = shape[axis]
        owner = dim.owner
        if owner is not None and kind_of(owner) == "shape" and owner.inputs[0] is variable:
            return self.value(variable).dims[axis]
        return self.scalar(dim)

    def dims(self, variable: Variable) -> tuple[Value, ...]:
        """All sizes of ``variable``."""
        found = self.bound.get(variable)
        if isinstance(found, View):
            return tuple(map(self.b.known_size, found.dims))
        return tuple(self.size(variable, k) for k in range(variable.type.ndim))

    def same(self, a: Value, b: Value) -> bool:
        """Whether two sizes are known to be equal."""
        while a in self._equal:
            a = self._equal[a]
        while b in self._equal:
            b = self._equal[b]
        return a is b

    def unify(self, a: Value, b: Value) -> None:
        """Note that two sizes are equal from here on."""
        while a in self._equal:
            a = self._equal[a]
        while b in self._equal:
            b = self._equal[b]
        if a is not b:
            self._equal[a] = b

    # --------------------------------------------------------------------- views

    def view(self, variable: Variable) -> View:
        """A buffer, or a strided window of one, that holds ``variable``."""
        found = self.bound.get(variable)
        if isinstance(found, View):
            return found
        if isinstance(variable, Constant) and not is_scalar(variable):
            return self.value(variable)
        if found is not None:
            # a scalar whose address is wanted
            place = self.b.temporary(variable.type.dtype, (), ("value", variable))
            self.b.store(place, (), found)
            return place
        if is_scalar(variable):
            place = self.b.temporary(variable.type.dtype, (), ("value", variable))
            self.b.store(place, (), self.scalar(variable))
            return place
        node = variable.owner
        if node is not None and getattr(node.op, "affine", False):
            view = affine_view(self, variable, node)
            self.bound[variable] = view
            return view
        raise LoweringError(f"{variable} has no buffer: it is used before it is computed")

    def dense(self, variable: Variable) -> View:
        """A C-ordered buffer that holds ``variable`` (copied if need be)."""
        view = self.view(variable)
        if view.dense and view.offset is None:
            return view
        copy = self.b.temporary(view.dtype, view.dims, ("copy", variable))
        copy_elements(self.b, copy, view)
        return copy

    # --------------------------------------------------------------------- elements

    def prepare(self, variable: Variable) -> None:
        """Evaluate, before any loop is opened, all that the element code of ``variable`` reads."""
        stack = [variable]
        seen: set[Variable] = set()
        while stack:
            v = stack.pop()
            if v in seen or not isinstance(v.type, TensorType):
                continue
            seen.add(v)
            if is_scalar(v):
                self.scalar(v)
                continue
            if v in self.bound:
                continue
            if isinstance(v, Constant):
                if not _uniform(v):
                    self.value(v)
                continue
            node = v.owner
            assert node is not None
            if not is_inline(v) or v in self.plan.roots:
                if v not in self.computing:
                    self.value(v)
                continue
            self.dims(v)
            for operand in node.inputs:
                if kind_of(node) == "indexed":
                    self.dims(operand)
            self.check_node(node)
            stack.extend(node.inputs)

    #: roots of the nest being emitted
    computing: frozenset[Variable] = frozenset()

    def element(self, variable: Variable, index: tuple[Value, ...], memo: dict[Any, Any]) -> Any:
        """The element of ``variable`` at ``index``, computed or loaded."""
        if not index:
            return self.scalar(variable)
        key = (variable, *map(id, index))
        found = memo.get(key)
        if found is not None:
            return found
        if isinstance(variable, Constant) and _uniform(variable):
            data = variable.data
            result = self.b.const(data.flat[0].item(), variable.type.dtype)
        else:
            place = self.bound.get(variable)
            if isinstance(place, View):
                result = self.b.load(place, index)
            elif is_inline(variable):
                assert variable.owner is not None
                result = self.element_of(variable.owner, index, memo)
            else:
                result = self.b.load(self.value(variable), index)
        memo[key] = result
        return result

    def element_of(self, node: Apply, index: tuple[Value, ...], memo: dict[Any, Any]) -> Any:
        """The element code of one node."""
        b = self.b
        b.current_node = node
        output = node.outputs[0]
        if kind_of(node) == "indexed":
            operands = [Operand(self, v, memo) for v in node.inputs]
            result = node.op.element(b, node, operands, index)
            return b.cast(result, output.type.dtype)
        wanted = node.op.operand_dtypes(node)
        args = []
        for operand, dtype in zip(node.inputs, wanted, strict=True):
            position = tuple(
                b.const(0) if one else i
                for i, one in zip(index, operand.type.broadcastable, strict=True)
            )
            args.append(b.cast(self.element(operand, position, memo), dtype))
        b.current_node = node
        return b.cast(node.op.emit(b, *args), output.type.dtype)

    # --------------------------------------------------------------------- checks

    def check_node(self, node: Apply) -> None:
        """Run-time checks of operand sizes, once per node."""
        if node in self._checked:
            return
        self._checked.add(node)
        if kind_of(node) == "pointwise":
            self._check_operands(node)
        check = getattr(node.op, "check", None)
        if check is not None:
            check(self.b, node, [Operand(self, v, {}) for v in node.inputs])

    def _check_operands(self, node: Apply) -> None:
        for axis in range(node.outputs[0].type.ndim):
            reference: tuple[int, Value] | None = None
            for k, operand in enumerate(node.inputs):
                if operand.type.broadcastable[axis]:
                    continue
                size = self.size(operand, axis)
                if reference is None:
                    reference = (k, size)
                    continue
                if self.same(size, reference[1]):
                    continue
                self.b.check_sizes(
                    size,
                    reference[1],
                    "mismatch",
                    node,
                    values=(reference[1], size, *self._all_dims(node)),
                    detail=(reference[0], k, axis),
                    shapes_at=2,
                )
                self.unify(size, reference[1])

    def _all_dims(self, node: Apply) -> list[Value]:
        dims: list[Value] = []
        for operand in node.inputs:
            if isinstance(operand.type, TensorType):
                dims.extend(self.dims(operand))
        return dims

    def check(
        self,
        condition: Any,
        kind: str,
        node: Apply,
        values: Sequence[Value] = (),
        detail: tuple[Any, ...] = (),
    ) -> None:
        """A run-time check that also records all operand sizes."""
        numbers = (*values, *self._all_dims(node))
        self.b.check(condition, kind, node, numbers, detail, shapes_at=len(values))


def _ordered(function: Function, shapes: ShapeMap, bound: dict[Variable, Binding]) -> list[Apply]:
    """The nodes to be lowered, in order."""
    # A loop reserves its results before it runs: what their sizes are made of comes first.
    first: list[Variable] = []
    outputs = list(function.outputs)
    for node in function.nodes:
        sizes = first if kind_of(node) == "region" else outputs
        for output in node.outputs:
            if isinstance(output.type, TensorType):
                sizes.extend(shapes.shape(output) or ())
    asked = [dim for dim in first if dim.owner is not None and kind_of(dim.owner) == "shape"]
    outputs = [*(dim for dim in first if dim not in asked), *outputs, *asked]
    stop = set(bound)
    return [n for n in toposort(outputs, blockers=stop) if not all(o in stop for o in n.outputs)]


def _uniform(constant: Constant) -> bool:
    """Whether all elements of a constant are the same."""
    known = constant.__dict__.get("_all_equal")
    if known is None:
        data = constant.data
        known = bool(
            isinstance(data, np.ndarray)
            and data.size > 0
            and (data.size == 1 or bool((data == data.flat[0]).all()))
        )
        constant.__dict__["_all_equal"] = known
    return known
