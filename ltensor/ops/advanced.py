"""Indexing by integer tensors: gather and scatter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor, constant
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import disconnected_type
from ltensor.ops.batch_index import gather_rule, scatter_rule
from ltensor.ops.elementwise import zero_gradient
from ltensor.ops.linear import LinearInFirst, LinearInTwo
from ltensor.ops.opdef import Declaration, IndexedOp, Sample, declare, new_tensor
from ltensor.ops.samples import draw
from ltensor.ops.subtensor import fit_gradient_to, operand_sizes, zeros_for


class Placement:
    """Where the axes of ``x[..., i, ..., j, ...]`` come from.

    Attributes
    ----------
    axes : tuple of int
        The indexed axes of x.
    kept : list of int
        The others.
    rank : int
        Rank of the index tensors after broadcasting.
    first : int
        Where the dimensions of the index tensors stand in the result: at the first indexed axis
        if the indexed axes are adjacent, else in front (NumPy's rule).
    """

    def __init__(self, axes: Sequence[int], x: Variable, indices: Sequence[Variable]) -> None:
        self.axes = tuple(axes)
        self.kept = [k for k in range(x.type.ndim) if k not in self.axes]
        self.rank = max((v.type.ndim for v in indices), default=0)
        adjacent = self.axes == tuple(range(self.axes[0], self.axes[0] + len(self.axes)))
        self.first = self.axes[0] if adjacent else 0

    def join(self, index_dims: Sequence[Any], kept_dims: Sequence[Any]) -> list[Any]:
        """Dimensions of the result from those of the index tensors and of the kept axes."""
        return [*kept_dims[: self.first], *index_dims, *kept_dims[self.first :]]

    def split(self, index: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """The converse: the index into the index tensors, and that along the kept axes."""
        end = self.first + self.rank
        return list(index[self.first : end]), [*index[: self.first], *index[end:]]

    def source(self, positions: Sequence[Any], kept: Sequence[Any]) -> list[Any]:
        """The index in x."""
        result: list[Any] = [None] * (len(self.axes) + len(self.kept))
        for axis, position in zip(self.axes, positions, strict=True):
            result[axis] = position
        for axis, position in zip(self.kept, kept, strict=True):
            result[axis] = position
        return result


def broadcast_sizes(indices: Sequence[Variable], shapes: Sequence[Any], rank: int) -> list[Any]:
    """Sizes (static or symbolic) of index tensors broadcast by their flags."""
    result: list[Any] = []
    for axis in range(rank):
        candidates = []
        one: Any = 1
        for v, sizes in zip(indices, shapes, strict=True):
            own = axis - (rank - v.type.ndim)
            if own < 0:
                continue
            if v.type.broadcastable[own]:
                one = sizes[own]
            else:
                candidates.append(sizes[own])
        # a static size is better than an unknown one
        known = [size for size in candidates if size is not None]
        result.append(one if not candidates else known[0] if known else None)
    return result


def check_axes(op: Any, x: Any, indices: Sequence[Any]) -> tuple[Variable, list[Variable]]:
    """The operands of a gather or scatter.

    Raises
    ------
    TypeError
        If an index is no tensor of integers.
    """
    x = as_tensor(x)
    variables = [as_tensor(v) for v in indices]
    if len(variables) != len(op.axes):
        raise ValueError(f"{op} takes {len(op.axes)} index tensors, got {len(variables)}")
    if max(op.axes) >= x.type.ndim:
        raise IndexError("too many indices for array")
    for v in variables:
        if not dt.is_integer(v.type.dtype):
            raise TypeError("index must be integers", v.type)
    return x, variables


def check_indices(
    b: Any,
    node: Apply,
    axes: Sequence[int],
    operands: Sequence[Any],
) -> None:
    """The run-time checks before the loops: sizes of index tensors, and of indexed axes.

    The index tensors are the last operands.
    """
    shown = operand_sizes(operands)
    x, indices, variables = operands[0], operands[-len(axes) :], node.inputs[-len(axes) :]
    rank = max(v.type.ndim for v in variables)
    total: Any = b.const(1)
    for axis in range(rank):
        reference = None
        for operand, v in zip(indices, variables, strict=True):
            own = axis - (rank - v.type.ndim)
            if own < 0 or v.type.broadcastable[own]:
                continue
            size = operand.dims[own]
            if reference is None:
                reference = size
            else:
                same = b.eq(size, reference)
                numbers = (reference, size, *shown)
                b.check(same, "index_mismatch", node, numbers, (axis,), shapes_at=2)
        if reference is not None:
            total = b.mul(total, reference)
    # an index into an empty axis has no valid element at all
    for axis in axes:
        size = x.dims[axis]
        possible = b.or_(b.gt(size, 0), b.eq(total, 0))
        b.check(possible, "index", node, (b.const(0), size, *shown), (axis,), shapes_at=2)


def emit_position(e: Any, node: Apply, value: Any, size: Any) -> Any:
    """An index counted from the end if negative, guarded, and 0 if it is out of bounds."""
    value = e.cast(value, "int64")
    position = e.select(e.lt(value, 0), e.add(value, size), value)
    inside = e.and_(e.ge(position, 0), e.lt(position, size))
    e.current_node = node
    e.guard(inside, "index", (value, size))
    return e.select(inside, position, 0)


class AdvancedSubtensor(LinearInFirst, IndexedOp):
    """Elements at places given by integer tensors, one for each of ``axes``.

    ``through`` counts the views below that belong to the same index expression (its slices and
    new axes): `set_subtensor` goes through them.
    """

    __props__ = ("axes", "through")
    repeats = True
    ir_name = "advanced_subtensor"
    batch = gather_rule

    def __init__(self, axes: Sequence[int] = (0,), through: int = 0) -> None:
        self.axes = tuple(int(a) for a in axes)
        self.through = int(through)

    def __str__(self) -> str:
        return "AdvancedSubtensor1" if self.axes == (0,) else "AdvancedSubtensor"

    __repr__ = __str__

    def make_node(self, x: Any, *indices: Any) -> Apply:
        x, variables = check_axes(self, x, indices)
        place = Placement(self.axes, x, variables)
        shapes = [v.type.shape for v in variables]
        sizes = broadcast_sizes(variables, shapes, place.rank)
        kept = [x.type.shape[k] for k in place.kept]
        return Apply(self, [x, *variables], [new_tensor(x.type.dtype, place.join(sizes, kept))])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        x, *indices = inputs
        output_storage[0][0] = np.asarray(x[numpy_places(self.axes, x.ndim, indices)])

    def may_fail(self, node: Apply, known: Any = None) -> bool:
        return True

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        x, *indices = node.inputs
        place = Placement(self.axes, x, indices)
        sizes = broadcast_sizes(indices, shapes[1:], place.rank)
        return [tuple(place.join(sizes, [shapes[0][k] for k in place.kept]))]

    def check(self, b: Any, node: Apply, operands: Any) -> None:
        """The run-time checks before the loops."""
        check_indices(b, node, self.axes, operands)

    def element(self, e: Any, node: Apply, operands: Any, index: Any) -> Any:
        x, *indices = node.inputs
        place = Placement(self.axes, x, indices)
        inner, kept = place.split(index)
        positions = []
        for axis, v, operand in zip(self.axes, indices, operands[1:], strict=True):
            if v.type.ndim == 0:
                value = operand.value
            else:
                own = inner[place.rank - v.type.ndim :]
                value = operand.at(
                    [0 if one else i for i, one in zip(own, v.type.broadcastable, strict=True)]
                )
            positions.append(emit_position(e, node, value, operands[0].dims[axis]))
        return operands[0].at(place.source(positions, kept))

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        x, *indices = inputs
        (g,) = output_grads
        rest = [disconnected_type.make_variable() for _ in indices]
        if dt.is_discrete(x.type.dtype):
            return [zero_gradient(x), *rest]
        return [AdvancedIncSubtensor(self.axes)(zeros_for(x, g), g, *indices), *rest]


def numpy_places(axes: Sequence[int], rank: int, indices: Sequence[Any]) -> tuple[Any, ...]:
    """The index to give to an ndarray."""
    result: list[Any] = [slice(None)] * rank
    for axis, value in zip(axes, indices, strict=True):
        # uint64 does not mix with the others in NumPy
        result[axis] = np.asarray(value).astype("int64")
    return tuple(result)


class AdvancedIncSubtensor(LinearInTwo):
    """``x`` with ``y`` added at places given by integer tensors, or put there (the last wins)."""

    __props__ = ("axes", "inplace", "set_instead_of_inc")
    kind = "kernel"
    ir_name = "advanced_inc_subtensor"
    batch = scatter_rule
    element_operands = (0,)
    base_operand = 0

    def __init__(
        self, axes: Sequence[int] = (0,), inplace: bool = False, set_instead_of_inc: bool = False
    ) -> None:
        self.axes = tuple(int(a) for a in axes)
        self.inplace = bool(inplace)
        self.set_instead_of_inc = bool(set_instead_of_inc)

    def __str__(self) -> str:
        inside = f"inplace={self.inplace},  set_instead_of_inc={self.set_instead_of_inc}"
        one = "1" if self.axes == (0,) else ""
        return f"AdvancedIncSubtensor{one}{{{inside}}}"

    __repr__ = __str__

    def make_node(self, x: Any, y: Any, *indices: Any) -> Apply:
        from ltensor.ops.cast import cast

        x, variables = check_axes(self, x, indices)
        y = cast(as_tensor(y), x.type.dtype)
        place = Placement(self.axes, x, variables)
        rank = place.rank + len(place.kept)
        if y.type.ndim > rank:
            raise ValueError(
                f"Trying to increment a {rank}-dimensional subtensor with a "
                f"{y.type.ndim}-dimensional value."
            )
        return Apply(self, [x, y, *variables], [x.type.make_variable()])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        x, y, *indices = inputs
        result = np.array(x)
        where = numpy_places(self.axes, x.ndim, indices)
        if self.set_instead_of_inc:
            result[where] = y
        else:
            np.add.at(result, where, y)
        output_storage[0][0] = result

    def may_fail(self, node: Apply, known: Any = None) -> bool:
        return True

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        x, y, *indices = inputs
        (g,) = output_grads
        rest = [disconnected_type.make_variable() for _ in indices]
        if dt.is_discrete(x.type.dtype):
            return [zero_gradient(x), zero_gradient(y), *rest]
        part = AdvancedSubtensor(self.axes)(g, *indices)
        if not self.set_instead_of_inc:
            return [g, fit_gradient_to(part, y), *rest]
        zero = constant(0, dtype=g.type.dtype)
        to_x = AdvancedIncSubtensor(self.axes, set_instead_of_inc=True)(g, zero, *indices)
        # of elements written several times only the last counts
        last = self._is_last(x, part, indices)
        from ltensor.ops.arithmetic import switch

        return [to_x, fit_gradient_to(switch(last, part, zero), y), *rest]

    def _is_last(self, x: Variable, part: Variable, indices: Sequence[Variable]) -> Variable:
        """Whether an element of the region is the last that is written to its place."""
        from ltensor.ops.alloc import arange, second
        from ltensor.ops.arithmetic import mul
        from ltensor.ops.cast import cast
        from ltensor.ops.compare import eq
        from ltensor.ops.shape import dims_of, reshape

        sizes = dims_of(part)
        total = mul(*sizes) if len(sizes) > 1 else sizes[0]
        number = reshape(arange(total), sizes, ndim=len(sizes))
        from ltensor.ops.shape import restore_flags

        number = restore_flags(number, part)
        blank = second(x, constant(0, dtype="int64"))
        written = AdvancedIncSubtensor(self.axes, set_instead_of_inc=True)(blank, number, *indices)
        return eq(cast(AdvancedSubtensor(self.axes)(written, *indices), "int64"), number)

    # -------------------------------------------------------------------- lowering

    def check(self, b: Any, node: Apply, operands: Any) -> None:
        """The run-time checks before the loops."""
        check_indices(b, node, self.axes, operands)

    def lower(self, k: Any) -> None:
        b, node = k.b, k.node
        x, _, *indices = node.inputs
        target = k.changed_operand(0)
        y = k.operand(1)
        places = [k.operand(n) for n in range(2, len(node.inputs))]
        place = Placement(self.axes, x, indices)
        index_dims = broadcast_sizes(indices, [getattr(p, "dims", ()) for p in places], place.rank)
        kept_dims = [target.dims[a] for a in place.kept]
        # the innermost loop runs over a kept axis: is that the last one of y too?
        lanes = len(place.kept) > place.first or place.rank == 0
        read = self._reader(k, y, place.join(index_dims, kept_dims), lanes)
        checks_first = k.may_change_in_place(0)
        if checks_first:
            # a shared variable is only written when nothing can fail any more
            with ExitStack() as stack:
                inner = [stack.enter_context(b.loop(n)).index for n in index_dims]
                self._positions(k, target, inner, place, places, check=True)
        # repeated places: the elements of the index run in order, the kept axes may be lanes
        with ExitStack() as stack:
            inner = [stack.enter_context(b.loop(n)).index for n in index_dims]
            positions = self._positions(k, target, inner, place, places, check=not checks_first)
            kept = []
            for number, extent in enumerate(kept_dims):
                kind = "vector" if number == len(kept_dims) - 1 else "serial"
                kept.append(stack.enter_context(b.loop(extent, kind=kind)).index)
            where = place.source(positions, kept)
            value = read(place.join(inner, kept))
            if not self.set_instead_of_inc:
                value = b.add(b.load(target, where), value)
            b.store(target, where, value)

    def _positions(
        self, k: Any, target: Any, inner: Sequence[Any], place: Placement, places: Any, check: bool
    ) -> list[Any]:
        """The indices into the indexed axes, for an element of the index tensors."""
        b, positions = k.b, []
        for axis, v, p in zip(self.axes, k.node.inputs[2:], places, strict=True):
            value = p
            if v.type.ndim:
                own = inner[place.rank - v.type.ndim :]
                flags = v.type.broadcastable
                value = b.load(p, [b.const(0) if f else i for i, f in zip(own, flags, strict=True)])
            value, size = b.cast(value, "int64"), target.dims[axis]
            position = b.select(b.lt(value, 0), b.add(value, size), value)
            if check:
                inside = b.and_(b.ge(position, 0), b.lt(position, size))
                b.check(inside, "index", k.node, (value, size), (axis,))
            positions.append(position)
        return positions

    def _reader(self, k: Any, y: Any, dims: Sequence[Any], lanes: bool) -> Any:
        """How the element of ``y`` for an index of the region is read."""
        b = k.b
        if not hasattr(y, "dims"):
            return lambda index: y
        pad = len(dims) - y.ndim
        strides = []
        for axis, flag in enumerate(k.node.inputs[1].type.broadcastable):
            have, want = y.dims[axis], dims[pad + axis]
            unit = b.size(y.dims[axis + 1 :])
            if flag:
                strides.append(b.const(0))
                continue
            same = b.eq(have, want)
            if k.block.same(have, want):
                strides.append(unit)
            elif axis == y.ndim - 1 and lanes:
                # only a known stride lets the loop run in lanes
                k.check(same, "subtensor_mismatch", (have, want), (axis,))
                strides.append(unit)
            else:
                fits = b.or_(same, b.eq(have, 1))
                k.check(fits, "subtensor_mismatch", (have, want), (axis,))
                strides.append(b.select(b.eq(have, 1), 0, unit))
        view = type(y)(y.dtype, y.pointer, y.dims, tuple(strides), y.offset) if y.dense else y
        return lambda index: b.load(view, index[pad:])


# --------------------------------------------------------------------------------- registry

_ROWS = np.array([2, 0, -1, 2])
_GRID = np.array([[0, 1], [2, 2], [-3, 1]])


def _gathers() -> Iterator[tuple[tuple[int, ...], Any, str]]:
    yield (5,), lambda a, b: (a,), "vector"
    yield (3, 37), lambda a, b: (a,), "rows"
    yield (3, 4), lambda a, b: (slice(None), a), "columns"
    yield (3, 4), lambda a, b: (b,), "grid"
    yield (3, 4), lambda a, b: (a, a), "pairs"
    yield (3, 4), lambda a, b: (a, 1), "with int"
    yield (3, 4), lambda a, b: (slice(1, None), [0, 1]), "after slice"
    yield (3, 4, 5), lambda a, b: (a, slice(None), a), "separated"
    yield (3, 4, 5), lambda a, b: (slice(None), a, a), "adjacent"
    yield (4, 3, 5), lambda a, b: (1, b), "int first"
    yield (4, 3, 5), lambda a, b: (slice(None), b, slice(1, -1)), "middle"
    yield (3, 4), lambda a, b: (None, a), "new axis"


def _index_arrays() -> list[np.ndarray]:
    return [_ROWS.astype("int32"), _GRID]


def _gather_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    from ltensor.ops.indexing import getitem

    for shape, index, label in _gathers():
        yield Sample(
            lambda x, a, b, index=index: getitem(x, index(a, b)),
            [draw(rng, dtype, shape), *_index_arrays()],
            label,
        )
    empty = [draw(rng, dtype, (3, 4)), np.zeros(0, "int64")]
    yield Sample(lambda x, a: getitem(x, a), empty, "no rows")
    for mask_shape, shape in (((5,), (5,)), ((3,), (3, 4)), ((3, 4), (3, 4)), ((3, 4), (3, 4, 2))):
        mask = rng.integers(0, 2, mask_shape).astype(bool)
        yield Sample(
            lambda x, m: getitem(x, m), [draw(rng, dtype, shape), mask], f"mask{mask_shape}"
        )


def _scatter_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    from ltensor.ops.indexing import getitem, inc_subtensor, set_subtensor

    for shape, index, label in _gathers():
        part = np.zeros(shape)[index(*_index_arrays())].shape
        for name, function in (("set", set_subtensor), ("inc", inc_subtensor)):

            def build(
                x: Any, y: Any, a: Any, b: Any, index: Any = index, function: Any = function
            ) -> Any:
                return function(getitem(x, index(a, b)), y)

            arrays = [draw(rng, dtype, shape), draw(rng, dtype, part), *_index_arrays()]
            yield Sample(build, arrays, f"{name} {label}", ulp=4)
    for value in ((), (4,), (4, 1), (1, 4)):
        arrays = [draw(rng, dtype, (3, 4)), draw(rng, dtype, value), _ROWS]
        yield Sample(
            lambda x, y, a: inc_subtensor(getitem(x, a), y), arrays, f"spread {value}", ulp=4
        )
    mask = rng.integers(0, 2, (3, 4)).astype(bool)
    yield Sample(
        lambda x, m: set_subtensor(getitem(x, m), 3), [draw(rng, dtype, (3, 4)), mask], "mask"
    )


declare(
    Declaration(
        "advanced_subtensor", "Elements at given places.", AdvancedSubtensor, _gather_samples, 0
    )
)
declare(
    Declaration(
        "advanced_inc_subtensor",
        "A copy with given places set or incremented, repeated ones too.",
        AdvancedIncSubtensor,
        _scatter_samples,
        0,
    )
)
