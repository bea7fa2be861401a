"""Bodies of loops over small arrays of known sizes, as scalars: `Elements` and what is done to it.

An array of a few elements whose sizes are known when compiling needs no memory: each of its
elements is a scalar value, operations are written out element by element, and a state of such
elements stays in registers from step to step. `Body` does this to a Function;
`ltensor.lowering.loops.small` decides for which loops.

Divisions and functions of neighbouring elements are still computed in lanes: see `pack`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.ir.types import TensorType
from ltensor.ir.walks import toposort
from ltensor.lowering.fusion import kind_of
from ltensor.lowering.program import Value
from ltensor.ops.add_product import AddProduct
from ltensor.ops.alloc import MakeVector
from ltensor.ops.join import Join
from ltensor.ops.linalg import Dot
from ltensor.ops.shape_map import ShapeMap
from ltensor.ops.slicing import numpy_index
from ltensor.ops.subtensor import IncSubtensor

#: arrays with more elements stay in memory
MOST_ELEMENTS = 36

#: instructions that are worth the way into lanes and back
_DEAR = frozenset(("div", "sqrt", "math"))
#: bytes of a register for them
_LANES = 32
_COMMUTES = frozenset(("add", "mul"))


class NotSmall(Exception):
    """A body that cannot be written out; says why."""


@dataclass(eq=False)
class Elements:
    """A small array: its sizes, and its elements as scalars in C order."""

    dtype: str
    dims: tuple[int, ...]
    values: list[Any]

    def at(self, index: Sequence[int]) -> Any:
        """The element at ``index``."""
        flat = 0
        for position, size in zip(index, self.dims, strict=True):
            if not 0 <= position < size:
                raise NotSmall("an index is out of bounds")
            flat = flat * size + position
        return self.values[flat]


def indices(dims: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """All indices of an array of ``dims`` in C order."""
    return iter(np.ndindex(*dims))


def count(dims: Sequence[int]) -> int:
    """The number of elements."""
    return int(np.prod(dims, dtype=np.int64)) if dims else 1


class _Operand:
    """An operand as the element code of an op sees it; see `ltensor.lowering.block.operand`."""

    def __init__(self, b: Any, elements: Elements) -> None:
        self._b = b
        self._elements = elements
        self.dtype = elements.dtype
        self.ndim = len(elements.dims)

    def at(self, index: Sequence[Any]) -> Any:
        return self._elements.at([_number(i) for i in index])

    @property
    def dims(self) -> tuple[Value, ...]:
        return tuple(self._b.const(n) for n in self._elements.dims)

    @property
    def value(self) -> Any:
        return self._elements.at(())


def _number(index: Any) -> int:
    if isinstance(index, Value):
        if index.op != "const":
            raise NotSmall("an index is only known in the loop")
        index = index.attr
    return int(index)


class Body:
    """Writes out a Function at the builder's current position.

    Parameters
    ----------
    b : Builder
    function : Function
    sizes : dict
        The sizes of inputs that are arrays.
    read : callable
        The elements of an input, given its sizes.
    """

    def __init__(
        self,
        b: Any,
        function: Function,
        sizes: dict[Variable, tuple[int, ...]],
        read: Callable[[Variable, tuple[int, ...]], list[Any]],
    ) -> None:
        self.b = b
        self.function = function
        self.sizes = sizes
        self.read = read
        self.shapes = ShapeMap.of(function)
        self.known: dict[Variable, Elements] = {}

    def run(self) -> None:
        """Write everything that the outputs need."""
        nodes = toposort(self.function.outputs)
        inputs = set(self.function.inputs)
        for variable in dict.fromkeys(v for n in nodes for v in n.inputs if v in inputs):
            if kind_of_reads(nodes, variable):
                self.get(variable)
        for node in nodes:
            self._node(node)
        for variable in self.function.outputs:
            self.get(variable)

    # ------------------------------------------------------------- values

    def get(self, variable: Variable) -> Elements:
        """The elements of ``variable``."""
        found = self.known.get(variable)
        if found is not None:
            return found
        kind = variable.type
        if not isinstance(kind, TensorType) or dt.is_complex(kind.dtype):
            raise NotSmall(f"a value is of type {kind}")
        if variable.owner is not None:
            for operand in variable.owner.inputs:
                if kind_of(variable.owner) != "shape":
                    self.get(operand)
            self._node(variable.owner)
            return self.known[variable]
        if isinstance(variable, Constant):
            data = np.asarray(variable.data)
            self._limit(data.shape)
            values = [self.b.const(x.item(), kind.dtype) for x in data.ravel()]
            dims = data.shape
        else:
            dims = self._input_dims(variable)
            self._limit(dims)
            values = self.read(variable, dims)
        found = self.known[variable] = Elements(kind.dtype, tuple(dims), values)
        return found

    def _input_dims(self, variable: Variable) -> tuple[int, ...]:
        if variable.type.ndim == 0:
            return ()
        dims = self.sizes.get(variable)
        if dims is None:
            raise NotSmall("the size of an array is not known")
        return dims

    def dims(self, variable: Variable) -> tuple[int, ...]:
        """The sizes of ``variable``."""
        found = self.known.get(variable)
        if found is not None:
            return found.dims
        if variable.owner is None and not isinstance(variable, Constant):
            return self._input_dims(variable)
        shape = self.shapes.shape(variable)
        if shape is None:
            raise NotSmall(f"a value is of type {variable.type}")
        return tuple(_number(self.get(size).at(())) for size in shape)

    def _limit(self, dims: Sequence[int]) -> None:
        if 0 in dims or count(dims) > MOST_ELEMENTS:
            raise NotSmall(f"an array has none or more than {MOST_ELEMENTS} elements")

    def _set(self, variable: Variable, dims: Sequence[int], values: list[Any]) -> None:
        self.known[variable] = Elements(variable.type.dtype, tuple(dims), values)

    # ------------------------------------------------------------- operations

    def _node(self, node: Apply) -> None:
        """The results of one operation."""
        if node.outputs[0] in self.known:
            return
        b, kind, output = self.b, kind_of(node), node.outputs[0]
        if kind == "shape":
            axis = node.op.axis
            self._set(output, (), [b.const(self.dims(node.inputs[0])[axis])])
            return
        if len(node.outputs) != 1 or not isinstance(output.type, TensorType):
            raise NotSmall(f"{node.op} is not written out")
        operands = [self.get(v) for v in node.inputs]
        b.current_node = node
        if kind == "pointwise":
            self._pointwise(node, operands)
        elif kind == "indexed":
            self._indexed(node, operands)
        elif kind == "reduction":
            self._reduction(node, operands[0])
        elif kind == "alias":
            self._alias(node, operands[0])
        elif isinstance(node.op, Dot):
            self._dot(node, *operands)
        elif isinstance(node.op, AddProduct):
            self._add_product(node, *operands)
        elif isinstance(node.op, Join):
            self._join(node, operands)
        elif isinstance(node.op, MakeVector):
            dtype = output.type.dtype
            self._set(output, (len(operands),), [b.cast(x.at(()), dtype) for x in operands])
        elif isinstance(node.op, IncSubtensor):
            self._increment(node, *operands)
        else:
            raise NotSmall(f"{node.op} is not written out")
        b.flush_guards()

    def _pointwise(self, node: Apply, operands: list[Elements]) -> None:
        b, output = self.b, node.outputs[0]
        flags = [v.type.broadcastable for v in node.inputs]
        dims = []
        for axis in range(output.type.ndim):
            sizes = {
                x.dims[axis] for x, one in zip(operands, flags, strict=True) if not one[axis]
            } or {1}
            if len(sizes) > 1:
                raise NotSmall("sizes differ")
            dims.append(sizes.pop())
        self._limit(dims)
        wanted = node.op.operand_dtypes(node)
        commutes = len(operands) == 2 and getattr(node.op, "ir_name", "") in _COMMUTES
        made: dict[tuple[int, ...], Any] = {}
        values = []
        start = len(b.scope.body)
        for index in indices(dims):
            args = []
            for x, one, dtype in zip(operands, flags, wanted, strict=True):
                place = [0 if stretched else i for i, stretched in zip(index, one, strict=True)]
                args.append(b.cast(x.at(place), dtype))
            # c[i] * c[j] is c[j] * c[i]
            key = tuple(sorted(map(id, args))) if commutes else tuple(map(id, args))
            if key not in made:
                b.current_node = node
                made[key] = folded(b, node, args)
            values.append(made[key])
        if len(values) > 1:
            pack(b, start)
        self._set(output, dims, values)

    def _indexed(self, node: Apply, operands: list[Elements]) -> None:
        b, output = self.b, node.outputs[0]
        dims = self.dims(output)
        self._limit(dims)
        seen = [_Operand(b, x) for x in operands]
        check = getattr(node.op, "check", None)
        if check is not None:
            check(b, node, seen)
        values = []
        for index in indices(dims):
            b.current_node = node
            element = node.op.element(b, node, seen, [b.const(i) for i in index])
            values.append(b.cast(element, output.type.dtype))
        self._set(output, dims, values)

    def _reduction(self, node: Apply, x: Elements) -> None:
        b, op, output = self.b, node.op, node.outputs[0]
        dtype = op.accumulator(x.dtype)
        reduced = op.reduced_axes(len(x.dims))
        kept = [n for k, n in enumerate(x.dims) if k not in reduced]
        parts: dict[tuple[int, ...], list[Any]] = {}
        for index in indices(x.dims):
            place = tuple(i for k, i in enumerate(index) if k not in reduced)
            term = op.contribution(b, b.cast(x.at(index), dtype))
            parts.setdefault(place, []).append(term)
        values = []
        for place in indices(kept):
            total = tree(parts[place], lambda p, q: op.combine(b, p, q))
            if op.combine_name != "add":
                total = op.combine(b, op.initial(b, dtype), total)
            values.append(b.cast(op.finish(b, total), output.type.dtype))
        self._set(output, kept, values)

    def _alias(self, node: Apply, x: Elements) -> None:
        dims = self.dims(node.outputs[0])
        if count(dims) != count(x.dims) or min(dims, default=1) < 0:
            raise NotSmall("a reshape does not fit")
        self._set(node.outputs[0], dims, x.values)

    def _dot(self, node: Apply, x: Elements, y: Elements) -> None:
        b, output = self.b, node.outputs[0]
        dtype = dt.work_dtype(output.type.dtype)
        if x.dims[-1] != y.dims[0]:
            raise NotSmall("sizes differ")
        dims = (*x.dims[:-1], *y.dims[1:])
        self._limit(dims)
        left = np.array([b.cast(v, dtype) for v in x.values], object).reshape(-1, y.dims[0])
        right = np.array([b.cast(v, dtype) for v in y.values], object).reshape(y.dims[0], -1)
        values = [self._sum_of_products(row, column) for row in left for column in right.T]
        self._set(output, dims, [b.cast(v, output.type.dtype) for v in values])

    def _sum_of_products(self, x: Iterable[Any], y: Iterable[Any], total: Any = None) -> Any:
        """One term after the other: each sum fuses with its product."""
        b = self.b
        for p, q in zip(x, y, strict=True):
            term = b.mul(p, q)
            total = term if total is None else b.add(total, term)
        return total

    def _add_product(self, node: Apply, g: Elements, x: Elements, y: Elements) -> None:
        if x.dims[0] != y.dims[0] or g.dims != (x.dims[1], y.dims[1]):
            raise NotSmall("sizes differ")
        left = np.array(x.values, object).reshape(x.dims)
        right = np.array(y.values, object).reshape(y.dims)
        values = [
            self._sum_of_products(left[:, i], right[:, j], g.at((i, j))) for i, j in indices(g.dims)
        ]
        self._set(node.outputs[0], g.dims, values)

    def _join(self, node: Apply, operands: list[Elements]) -> None:
        axis = node.op.axis
        parts = []
        start = 0
        everything: list[Any] = []
        for x in operands:
            places = np.arange(start, start + len(x.values)).reshape(x.dims)
            parts.append(places)
            everything += x.values
            start += len(x.values)
        rest = {(*x.dims[:axis], *x.dims[axis + 1 :]) for x in operands}
        if len(rest) > 1:
            raise NotSmall("sizes differ")
        joined = np.concatenate(parts, axis=axis)
        self._limit(joined.shape)
        self._set(node.outputs[0], joined.shape, [everything[k] for k in joined.ravel()])

    def _increment(self, node: Apply, x: Elements, y: Elements, *scalars: Elements) -> None:
        b, op = self.b, node.op
        numbers = [_number(s.at(())) for s in scalars]
        places = np.arange(len(x.values)).reshape(x.dims)
        flags = node.inputs[1].type.broadcastable
        try:
            chosen = np.asarray(places[numpy_index(op.pattern, numbers)])
        except (IndexError, ValueError) as error:
            raise NotSmall("an index does not fit") from error
        pad = chosen.ndim - len(y.dims)
        if any(
            not one and have != want
            for have, want, one in zip(y.dims, chosen.shape[pad:], flags, strict=True)
        ):
            raise NotSmall("sizes differ")
        sources = np.broadcast_to(np.arange(len(y.values)).reshape(y.dims), chosen.shape)
        values = list(x.values)
        for place, source in zip(chosen.ravel(), sources.ravel(), strict=True):
            new = y.values[source]
            values[place] = new if op.set_instead_of_inc else b.add(values[place], new)
        self._set(node.outputs[0], x.dims, values)


def folded(b: Any, node: Apply, args: Sequence[Any]) -> Any:
    """A pointwise operation on scalars; on known integers, of which sizes are made, its result."""
    dtype = node.outputs[0].type.dtype
    if dt.is_discrete(dtype) and all(x.op == "const" and x.attr != 0 for x in args):
        cell: list[list[Any]] = [[None]]
        node.op.perform(node, [np.asarray(x.attr, x.dtype) for x in args], cell)
        return b.const(np.asarray(cell[0][0]).item(), dtype)
    return b.cast(node.op.emit(b, *args), dtype)


def kind_of_reads(nodes: Sequence[Apply], variable: Variable) -> bool:
    """Whether elements of ``variable`` are read, not only its sizes."""
    return any(variable in n.inputs and kind_of(n) != "shape" for n in nodes)


def tree(values: Sequence[Any], combine: Callable[[Any, Any], Any]) -> Any:
    """All values combined, in pairs: the latencies of a long sum overlap."""
    row = list(values)
    while len(row) > 1:
        half = [combine(row[k], row[k + 1]) for k in range(0, len(row) - 1, 2)]
        row = half + row[len(row) - len(row) % 2 :]
    return row[0]


def pack(b: Any, start: int) -> None:
    """Compute dear instructions from ``start`` of the current scope on in lanes.

    Those that do not depend on each other become one ``packed`` instruction of several lanes, and
    they themselves ``lane`` instructions that take their result.
    """
    body = b.scope.body[start:]
    if not all(isinstance(v, Value) and v.dtype != "void" for v in body):
        return
    if sum(v.op in _DEAR for v in body) < 2 or any(v.op in ("load", "call") for v in body):
        return
    level: dict[Value, int] = {}
    for v in body:
        level[v] = max((level[a] + (a.op in _DEAR) for a in v.args if a in level), default=0)
    ordered: list[Value] = []
    for depth in range(max(level.values()) + 1):
        here = [v for v in body if level[v] == depth]
        ordered += [v for v in here if v.op not in _DEAR]
        groups: dict[Any, list[Value]] = {}
        for v in here:
            if v.op in _DEAR:
                groups.setdefault((v.op, v.dtype, v.attr), []).append(v)
        for group in groups.values():
            width = max(2, _LANES // dt.item_size(group[0].dtype))
            for k in range(0, len(group), width):
                ordered += _packed(b, group[k : k + width])
    b.scope.body[start:] = ordered


def _packed(b: Any, group: list[Value]) -> list[Value]:
    first = group[0]
    if len(group) == 1 or not first.dtype.startswith("float") or first.dtype == "float16":
        return group
    lanes = 1 << (len(group) - 1).bit_length()
    # lanes that nobody reads repeat the first: they cost nothing and raise nothing new
    filled = group + [first] * (lanes - len(group))
    args = tuple(v.args[k] for k in range(len(first.args)) for v in filled)
    packed = Value("packed", first.dtype, args, (first.op, first.attr, lanes), first.scope, b)
    for lane, v in enumerate(group):
        v.op, v.args, v.attr = "lane", (packed,), (lane, lanes)
    return [packed, *group]
