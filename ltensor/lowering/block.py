"""A Function (whole program, loop body or branch) becomes loops: `Block`.

Values are bound to scalars (`Value`, `Complex`) or buffers (`View`). Element code is composed of
the ops' own ``emit`` and ``element`` declarations; this file knows kinds of ops, not ops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from ltensor.errors import LoweringError
from ltensor.ir import dtypes as dt
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Constant, Variable, toposort
from ltensor.ir.types import TensorType
from ltensor.lowering.builder import Builder
from ltensor.lowering.fusion import Group, Plan, is_inline, is_scalar, kind_of
from ltensor.lowering.joined import join_window
from ltensor.lowering.kernel_context import KernelContext
from ltensor.lowering.nest import Space, collapse
from ltensor.lowering.program import Complex, Value, View, root_of
from ltensor.lowering.reduction import emit_reduction, emit_shared_nest
from ltensor.ops.shape_map import ShapeMap

Binding = Any  # View, Value or Complex
Destination = Callable[[Sequence[Value]], View]


class Operand:
    """An operand as the element code of an indexed op sees it."""

    def __init__(self, block: Block, variable: Variable, memo: dict[Any, Any]) -> None:
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


class Block:
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
        self.context = context
        self.b: Builder = context.b
        self.function = function
        self.bound = bound
        self.destinations = dict(destinations or {})
        self.shapes: ShapeMap = ShapeMap.of(function)
        #: values with a buffer that is theirs alone
        self._own: set[Variable] = set()
        #: joins whose buffer exists already, with the operands that have been written into it
        self.joined: dict[Apply, tuple[View, set[int]]] = {}
        #: products of a loop's body -> their right operand as `kept_products` has packed it
        self.kept: Mapping[Apply, Any] = {}
        #: buffers that have become results
        self._given: set[Value] = set()
        self._checked: set[Any] = set()
        self._equal: dict[Value, Value] = {}
        # A loop reserves its results before it runs: what their sizes are made of comes first.
        first: list[Variable] = []
        outputs = list(function.outputs)
        for node in function.nodes:
            sizes = first if kind_of(node) == "region" else outputs
            for output in node.outputs:
                if isinstance(output.type, TensorType):
                    sizes.extend(self.shapes.shape(output) or ())
        asked = [dim for dim in first if dim.owner is not None and kind_of(dim.owner) == "shape"]
        outputs = [*(dim for dim in first if dim not in asked), *outputs, *asked]
        stop = set(bound)
        self.nodes = [
            n for n in toposort(outputs, blockers=stop) if not all(o in stop for o in n.outputs)
        ]
        #: sizes of what is bound that operations need to be equal -> the first of them
        self._tied: dict[Variable, Variable] = {}
        self._tying: list[Apply] = []
        self._tie_sizes()
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
            d.signature() if isinstance(d, Constant) else id(d) for d in map(self._first, dims)
        )

    def _tie_sizes(self) -> None:
        """Find sizes of bound arrays that must be equal, else a pointwise operation fails.

        These operations are checked first, so that values of either size may share a nest.
        """
        for node in self.nodes:
            if kind_of(node) != "pointwise" or node.outputs[0].type.ndim == 0:
                continue
            shapes = [self.shapes.shape(v) for v in node.inputs]
            if not all(dims is not None and all(map(self._known_first, dims)) for dims in shapes):
                continue
            ties = False
            for axis in range(node.outputs[0].type.ndim):
                sizes = [
                    dims[axis]
                    for v, dims in zip(node.inputs, shapes, strict=True)
                    if dims is not None and not v.type.broadcastable[axis]
                ]
                if len(sizes) < 2:
                    continue
                first = self._first(sizes[0])
                for size in sizes[1:]:
                    other = self._first(size)
                    if other is not first and not isinstance(other, Constant):
                        self._tied[other] = first
                        ties = True
            if ties:
                self._tying.append(node)

    def _known_first(self, size: Variable) -> bool:
        """Whether a size is known before anything is computed."""
        owner = size.owner
        if isinstance(size, Constant):
            return True
        return owner is not None and kind_of(owner) == "shape" and owner.inputs[0] in self.bound

    def _first(self, size: Variable) -> Variable:
        while size in self._tied:
            size = self._tied[size]
        return size

    # --------------------------------------------------------------------- running

    def run(self) -> None:
        """Emit the code of all groups; afterwards `value` gives any output."""
        for tying in self._tying:
            self._check_node(tying)
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
                self._emit_reduction(node)
            elif group.kind == "alias":
                self._emit_alias(node)
            elif group.kind == "kernel":
                self._emit_kernel(node)
            else:
                self.context.lower_region(self, node, group.kind)

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

    def destination(
        self, variable: Variable, dims: Sequence[Value], reason: tuple[Any, ...] | None = None
    ) -> View:
        """Where to write ``variable``: the output's own buffer if it is one.

        ``reason`` is that of a temporary: see `ltensor.lowering.program.Buffer`.
        """
        provider = self.destinations.pop(variable, None)
        if provider is not None:
            return provider(dims)
        window = join_window(self, variable, dims, reason)
        if window is not None:
            return window
        self._own.add(variable)
        return self.b.temporary(variable.type.dtype, dims, reason or ("value", variable))

    def own_inputs(self, variables: Iterable[Variable]) -> None:
        """Let the buffers of bound values be overwritten after their last use."""
        self._own.update(variables)

    def take_over(self, node: Apply, position: int) -> View | None:
        """The buffer of an operand that nobody reads after ``node``, for its result."""
        variable, output = node.inputs[position], node.outputs[0]
        view = self.bound.get(variable)
        if variable not in self._own or not isinstance(view, View) or not view.dense:
            return None
        if view.offset is not None or output in self.destinations:
            return None
        readers = [r for r in self.plan.readers.get(variable, ()) if kind_of(r) != "shape"]
        if len(readers) != 1 or variable in self.function.outputs:
            return None
        if sum(v is variable for v in node.inputs) != 1 or view.dtype != output.type.dtype:
            return None
        self._own.add(output)
        return view

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
                self._check_node(node)
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
            view = self._affine_view(variable, node)
            self.bound[variable] = view
            return view
        raise LoweringError(f"{variable} has no buffer: it is used before it is computed")

    def _affine_view(self, variable: Variable, node: Apply) -> View:
        b = self.b
        source = self.view(node.inputs[0])
        for operand in node.inputs[1:]:
            self.prepare(operand)
        operands = [Operand(self, v, {}) for v in node.inputs]
        dims = self.dims(variable)
        self._check_node(node)
        zero = [b.const(0)] * len(dims)
        start = b.address(source, self._source(node, operands, zero))
        strides = []
        places = self._source(node, operands, zero)
        steps = b.strides(source)
        for axis in range(len(dims)):
            unit = list(zero)
            unit[axis] = b.const(1)
            stride: Any = b.const(0)
            for new, old, step in zip(
                self._source(node, operands, unit), places, steps, strict=True
            ):
                stride = b.add(stride, b.mul(b.sub(new, old), step))
            strides.append(stride)
        if all(a is c for a, c in zip(strides, b.strides(View("", start, dims)), strict=True)):
            return View(variable.type.dtype, source.pointer, dims, None, start)
        return View(variable.type.dtype, source.pointer, dims, tuple(strides), start)

    def _source(self, node: Apply, operands: list[Operand], index: Sequence[Any]) -> list[Any]:
        positions = node.op.source_index(self.b, node, operands, index)
        return [p if isinstance(p, Value) else self.b.const(p) for p in positions]

    def dense(self, variable: Variable) -> View:
        """A C-ordered buffer that holds ``variable`` (copied if need be)."""
        view = self.view(variable)
        if view.dense and view.offset is None:
            return view
        copy = self.b.temporary(view.dtype, view.dims, ("copy", variable))
        self.copy(copy, view)
        return copy

    def copy(self, target: View, source: View) -> None:
        """Copy elements between buffers of equal dims."""
        b = self.b
        if target.dense and source.dense:
            if target.pointer is source.pointer and target.offset is source.offset:
                # a state that is updated in place
                return
            size = b.mul(b.size(target.dims), dt.item_size(target.dtype))
            b.memcpy(b.shifted(target, 0), b.shifted(source, 0), size)
            return
        if len(target.dims) == 2 and _dense_rows(target) and _dense_rows(source):
            # row by row: a call is less code than a loop over lanes, and compiled in no time
            size = b.mul(target.dims[1], dt.item_size(target.dtype))
            with b.loop(target.dims[0], parallel=True) as loop:
                rows = (b.row(target, loop.index), b.row(source, loop.index))
                b.memcpy(b.shifted(rows[0], 0), b.shifted(rows[1], 0), size)
            return
        with ExitStack() as stack:
            index = []
            for k, dim in enumerate(target.dims):
                kind = "vector" if k == len(target.dims) - 1 else "serial"
                step = stack.enter_context(b.loop(dim, kind=kind, parallel=True))
                index.append(step.index)
            b.store(target, index, b.load(source, index))

    # --------------------------------------------------------------------- element code

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
                if v not in self._computing:
                    self.value(v)
                continue
            self.dims(v)
            for operand in node.inputs:
                if kind_of(node) == "indexed":
                    self.dims(operand)
            self._check_node(node)
            stack.extend(node.inputs)

    #: roots of the nest being emitted
    _computing: frozenset[Variable] = frozenset()

    def _check_node(self, node: Apply) -> None:
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

    # --------------------------------------------------------------------- nests

    def prepare_group(self, group: Group) -> None:
        """Check, and evaluate what is read by, the values that a nest stores."""
        self._computing = frozenset(group.variables)
        for variable in group.variables:
            assert variable.owner is not None
            self._check_node(variable.owner)
            for operand in variable.owner.inputs:
                if kind_of(variable.owner) == "indexed":
                    self.dims(operand)
                self.prepare(operand)

    def _emit_nest(self, group: Group) -> None:
        b = self.b
        first = group.variables[0]
        self.prepare_group(group)
        dims = self.dims(first)
        targets = {v: self.destination(v, self.dims(v)) for v in group.variables}
        space = collapse(self, group.variables, dims, list(targets.values()))
        memo: dict[Any, Any] = {}
        with ExitStack() as stack:
            index = self._open(stack, space, label=str(first.owner and first.owner.op))
            for variable in group.variables:
                assert variable.owner is not None
                value = self.element_of(variable.owner, index, memo)
                key = (variable, *map(id, index))
                memo[key] = value
                b.store(targets[variable], index, value)
        b.flush_guards()
        self._computing = frozenset()
        self.bound.update(targets)

    def _open(self, stack: ExitStack, space: Space, label: str = "") -> tuple[Value, ...]:
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

    def _emit_reduction(self, node: Apply) -> None:
        emit_reduction(self, node)

    def _emit_alias(self, node: Apply) -> None:
        source = self.dense(node.inputs[0])
        for operand in node.inputs[1:]:
            self.prepare(operand)
        self._check_node(node)
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
        self._check_node(node)
        node.op.lower(KernelContext(self, node))
        self.b.flush_guards()

    def bound_dense(self, variable: Variable) -> View:
        """A dense buffer of ``variable``, remembered."""
        view = self.dense(variable)
        self.bound[variable] = view
        return view

    # --------------------------------------------------------------------- outputs

    def finish(self) -> None:
        """Write the outputs that no nest has written in their place."""
        for variable in dict.fromkeys(self.function.outputs):
            provider = self.destinations.pop(variable, None)
            if provider is None:
                continue
            self.write(variable, provider)

    def write(self, variable: Variable, provider: Destination) -> None:
        """Copy a computed value to a place of its own."""
        if is_scalar(variable):
            value = self.scalar(variable)
            self.b.store(provider(()), (), value)
            return
        source = self.view(variable)
        adopt = getattr(provider, "adopt", None)
        if adopt is not None and self.b.threads and self._is_only(variable, source):
            adopt(source, source.pointer.attr)
            self._given.add(source.pointer)
            # one buffer, not two
            buffers = self.b.program.buffers
            old = [k for k, buffer in enumerate(buffers) if buffer.pointer is source.pointer]
            if old:
                buffers[old[0]] = buffers.pop()
            return
        self.copy(provider(source.dims), source)

    def _is_only(self, variable: Variable, view: View) -> bool:
        """Whether a value has memory of the call that no other result lies in."""
        pointer = view.pointer
        if pointer.op != "ensure" or pointer.scope is not self.b.root or pointer in self._given:
            return False
        if not view.dense or view.offset is not None:
            return False
        others = (self.bound.get(v) for v in self.function.outputs if v is not variable)
        return all(not isinstance(o, View) or root_of(o.pointer) is not pointer for o in others)


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


def _dense_rows(view: View) -> bool:
    """Whether the elements of a row are next to each other."""
    step = None if view.strides is None else view.strides[-1]
    return step is None or (step.op == "const" and step.attr == 1)


def is_complex(value: Any) -> bool:
    """Whether a scalar is a complex pair."""
    return isinstance(value, Complex)
