"""Basic indexing by ints and slices: `Subtensor` reads, `IncSubtensor` adds to or sets a part.

The structure of the index is static (see `ltensor.ops.slicing`); its symbolic numbers are scalar
operands after the array. Negative ints count from the end, slices are clipped as Python's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor, constant
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import disconnected_type
from ltensor.ops.batch_index import inc_subtensor_rule, subtensor_rule
from ltensor.ops.elementwise import fit_gradient, zero_gradient
from ltensor.ops.linear import LinearInFirst, LinearInTwo
from ltensor.ops.opdef import Declaration, DeclaredOp, IndexedOp, Sample, declare, new_tensor
from ltensor.ops.samples import draw
from ltensor.ops.slicing import (
    FULL,
    Pattern,
    as_int64,
    as_pattern,
    count_scalars,
    emit_start,
    emit_wrapped,
    entry_text,
    numpy_index,
    plus,
    resolve,
    slice_length,
    theanos_form,
)


class _OfPattern(DeclaredOp):
    """What reading and writing a part have in common: the pattern, as Theano's programs see it."""

    pattern: Pattern

    @property
    def idx_list(self) -> tuple[Any, ...]:
        """The pattern with slices for triples, and types of scalars for operands."""
        return theanos_form(self.pattern)


def check_scalars(op: Any, scalars: Sequence[Any]) -> list[Variable]:
    """The scalar operands of an index.

    Raises
    ------
    TypeError
        If one is no integer scalar.
    """
    variables = [as_tensor(s) for s in scalars]
    if len(variables) != count_scalars(op.pattern):
        raise ValueError(f"{op} takes {count_scalars(op.pattern)} scalars, got {len(variables)}")
    for v in variables:
        if v.type.ndim != 0 or not dt.is_integer(v.type.dtype):
            raise TypeError("Expected an integer scalar as an index", v, v.type)
    return variables


def region_sizes(pattern: Pattern, x: Variable) -> list[int | None]:
    """Static sizes of ``x[pattern]``; Theano's rule says which stay broadcastable."""
    result: list[int | None] = []
    sizes = x.type.shape
    for entry, size in zip(pattern, sizes, strict=False):
        if not isinstance(entry, tuple):
            continue
        start, stop, step = entry
        if size == 1:
            from_zero = start is None or start == 0
            upwards = step is None or (isinstance(step, int) and step > 0)
            beyond = stop is None or (isinstance(stop, int) and stop > 0 and upwards)
            stays = from_zero and beyond
            result.append(1 if stays else None)
        elif size is None or any(isinstance(p, str) for p in entry):
            result.append(None)
        else:
            length = len(range(*slice(start, stop, step).indices(size)))
            # a slice that happens to have one element does not stretch
            result.append(None if length == 1 else length)
    return [*result, *sizes[len(pattern) :]]


def region_shape(pattern: Pattern, scalars: Sequence[Any], dims: Sequence[Any]) -> list[Any]:
    """The sizes of ``x[pattern]`` as int64 scalars, where ``dims`` are those of ``x``."""
    result = []
    for entry, size in zip(resolve(pattern, scalars), dims, strict=False):
        if isinstance(entry, tuple):
            result.append(as_int64(slice_length(entry, size)))
    return [*result, *dims[len(pattern) :]]


def _may_be_outside(pattern: Pattern, x: Variable) -> bool:
    """Whether an int of the index may be out of bounds, or a step 0."""
    sizes: Any = x.type.shape
    for entry, size in zip(pattern, sizes, strict=False):
        if isinstance(entry, tuple):
            if isinstance(entry[2], str):
                return True
        elif isinstance(entry, str) or size is None or not -size <= entry < size:
            return True
    return False


def operand_sizes(operands: Sequence[Any]) -> list[Any]:
    """All sizes of all operands, which an error message shows."""
    return [size for operand in operands for size in operand.dims]


def check_bounds(
    e: Any, node: Apply, pattern: Pattern, scalars: Sequence[Any], operands: Sequence[Any]
) -> None:
    """Run-time checks of the ints of an index against the sizes of operand 0."""
    dims, shown = operands[0].dims, operand_sizes(operands)
    for axis, entry in enumerate(resolve(pattern, scalars)):
        if isinstance(entry, tuple):
            step = entry[2]
            if step is not None and not isinstance(step, int):
                unit = e.cast(step, "int64")
                e.check(e.ne(unit, 0), "zero_step", node, shown, shapes_at=0)
            continue
        size = dims[axis]
        value = e.const(entry) if isinstance(entry, int) else e.cast(entry, "int64")
        inside = e.and_(e.ge(value, e.neg(size)), e.lt(value, size))
        if isinstance(entry, int):
            inside = e.lt(value, size) if entry >= 0 else e.ge(value, e.neg(size))
        e.check(inside, "index", node, (value, size, *shown), (axis,), shapes_at=2)


class Subtensor(_OfPattern, LinearInFirst, IndexedOp):
    """A part of an array: ints and slices. A strided view where one is wanted."""

    __props__ = ("pattern",)
    affine = True
    ir_name = "subtensor"
    batch = subtensor_rule

    def __init__(self, pattern: Sequence[Any]) -> None:
        self.pattern = as_pattern(pattern)

    def __str__(self) -> str:
        return f"Subtensor{{{', '.join(map(entry_text, self.pattern))}}}"

    __repr__ = __str__

    def make_node(self, x: Any, *scalars: Any) -> Apply:
        x = as_tensor(x)
        if len(self.pattern) > x.type.ndim:
            raise ValueError("The index list is longer than the number of dimensions", x)
        variables = check_scalars(self, scalars)
        sizes = region_sizes(self.pattern, x)
        return Apply(self, [x, *variables], [new_tensor(x.type.dtype, sizes)])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        x, *scalars = inputs
        output_storage[0][0] = np.asarray(x[numpy_index(self.pattern, scalars)])

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [tuple(region_shape(self.pattern, node.inputs[1:], shapes[0]))]

    def may_fail(self, node: Apply, known: Any = None) -> bool:
        return _may_be_outside(self.pattern, node.inputs[0])

    def constant_slice(self, node: Apply) -> slice | None:
        """The slice, if this is one slice of a vector by constants."""
        if len(self.pattern) != 1 or not isinstance(self.pattern[0], tuple):
            return None
        if any(isinstance(part, str) for part in self.pattern[0]):
            return None
        return slice(*self.pattern[0])

    def check(self, b: Any, node: Apply, operands: Any) -> None:
        """The run-time checks of ints and steps."""
        if any(not isinstance(entry, tuple) for entry in self.pattern) or any(
            isinstance(entry[2], str) for entry in self.pattern
        ):
            scalars = [o.value for o in operands[1:]]
            check_bounds(b, node, self.pattern, scalars, operands)

    def source_index(self, e: Any, node: Apply, operands: Any, index: Any) -> list[Any]:
        dims = operands[0].dims
        entries = resolve(self.pattern, [o.value for o in operands[1:]])
        result = []
        rest = iter(index)
        for entry, size in zip(entries, dims, strict=False):
            if not isinstance(entry, tuple):
                result.append(emit_wrapped(e, entry, size))
                continue
            start, step = emit_start(e, entry, size)
            result.append(e.add(start, e.mul(next(rest), step)))
        return [*result, *rest]

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        x, *scalars = inputs
        (g,) = output_grads
        rest = [disconnected_type.make_variable() for _ in scalars]
        if dt.is_discrete(x.type.dtype):
            return [zero_gradient(x), *rest]
        return [IncSubtensor(self.pattern)(zeros_for(x, g), g, *scalars), *rest]


def zeros_for(x: Variable, g: Variable) -> Variable:
    """Zeros of the size of ``x`` to which ``g`` is to be added."""
    from ltensor.ops.alloc import zeros_like

    return zeros_like(x, dtype=dt.upcast(x.type.dtype, g.type.dtype))


class IncSubtensor(_OfPattern, LinearInTwo):
    """``x`` with ``y`` added to ``x[index]``, or put there (``set_instead_of_inc``)."""

    __props__ = ("pattern", "inplace", "set_instead_of_inc")
    kind = "kernel"
    ir_name = "inc_subtensor"
    batch = inc_subtensor_rule
    #: operands whose elements are read once and in order, so that they need no buffer
    element_operands = (0,)
    base_operand = 0

    def __init__(
        self, pattern: Sequence[Any], inplace: bool = False, set_instead_of_inc: bool = False
    ) -> None:
        self.pattern = as_pattern(pattern)
        self.inplace = bool(inplace)
        self.set_instead_of_inc = bool(set_instead_of_inc)

    def __str__(self) -> str:
        name = "Set" if self.set_instead_of_inc else "Inc"
        before = "Inplace" if self.inplace else ""
        return f"IncSubtensor{{{before}{name};{', '.join(map(entry_text, self.pattern))}}}"

    __repr__ = __str__

    def make_node(self, x: Any, y: Any, *scalars: Any) -> Apply:
        from ltensor.ops.cast import cast

        x, y = as_tensor(x), as_tensor(y)
        if len(self.pattern) > x.type.ndim:
            raise ValueError("The index list is longer than the number of dimensions", x)
        variables = check_scalars(self, scalars)
        rank = sum(isinstance(p, tuple) for p in self.pattern) + x.type.ndim - len(self.pattern)
        if y.type.ndim > rank:
            raise ValueError(
                f"Trying to increment a {rank}-dimensional subtensor with a "
                f"{y.type.ndim}-dimensional value."
            )
        y = cast(y, x.type.dtype)
        return Apply(self, [x, y, *variables], [x.type.make_variable()])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        x, y, *scalars = inputs
        index = numpy_index(self.pattern, scalars)
        result = np.array(x)
        if self.set_instead_of_inc:
            result[index] = y
        else:
            # 0-d views come back as numbers, so += would not write
            result[index] = result[index] + y
        output_storage[0][0] = result

    def may_fail(self, node: Apply, known: Any = None) -> bool:
        return _may_be_outside(self.pattern, node.inputs[0])

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        x, y, *scalars = inputs
        (g,) = output_grads
        rest = [disconnected_type.make_variable() for _ in scalars]
        if dt.is_discrete(x.type.dtype):
            return [zero_gradient(x), zero_gradient(y), *rest]
        to_y = fit_gradient_to(Subtensor(self.pattern)(g, *scalars), y)
        to_x = g
        if self.set_instead_of_inc:
            zero = constant(0, dtype=g.type.dtype)
            to_x = IncSubtensor(self.pattern, set_instead_of_inc=True)(g, zero, *scalars)
        return [to_x, to_y, *rest]

    # -------------------------------------------------------------------- lowering

    def check(self, b: Any, node: Apply, operands: Any) -> None:
        """The run-time checks of ints and steps."""
        scalars = [o.value for o in operands[2:]]
        check_bounds(b, node, self.pattern, scalars, operands)

    def lower(self, k: Any) -> None:
        if k.node.inputs[0].type.ndim == 0:
            x, y = k.operand(0), k.operand(1)
            k.result(y if self.set_instead_of_inc else k.b.add(x, y))
            return
        placed = k.placed_part()
        if placed is not None:
            region, is_there = placed
            if not is_there:
                write_region(k, region, k.operand(1), replace=True)
            return
        target = k.changed_operand(0)
        y = k.operand(1)
        region = window(k, target, self.pattern, k.node.inputs[2:])
        write_region(k, region, y, self.set_instead_of_inc)


def fit_gradient_to(gradient: Variable, y: Variable) -> Variable:
    """``gradient`` of a region summed over the dimensions along which ``y`` was stretched."""
    from ltensor.ops.reduce import sum as reduce_sum

    pad = gradient.type.ndim - y.type.ndim
    if pad:
        gradient = reduce_sum(gradient, axis=list(range(pad)))
    if dt.is_discrete(y.type.dtype):
        return zero_gradient(y)
    axes = [
        a
        for a in range(y.type.ndim)
        if y.type.broadcastable[a] and not gradient.type.broadcastable[a]
    ]
    if axes:
        gradient = reduce_sum(gradient, axis=axes, keepdims=True)
    return fit_gradient(gradient, y)


def window(k: Any, view: Any, pattern: Pattern, scalars: Sequence[Variable]) -> Any:
    """The part of the dense ``view`` of operand 0's size that an index selects."""
    b = k.b
    sizes = k.block.shapes.shape(k.node.inputs[0])
    dims = [k.block.scalar(v) for v in region_shape(pattern, scalars, sizes)]
    entries = resolve(pattern, [k.block.scalar(v) for v in scalars])
    entries += [FULL] * (view.ndim - len(entries))
    offset: Any = b.const(0)
    strides = []
    for axis, (entry, size) in enumerate(zip(entries, view.dims, strict=True)):
        unit = b.size(view.dims[axis + 1 :])
        if not isinstance(entry, tuple):
            offset = b.add(offset, b.mul(emit_wrapped(b, entry, size), unit))
            continue
        start, step = emit_start(b, entry, size)
        offset = b.add(offset, b.mul(start, unit))
        strides.append(b.mul(step, unit))
    return type(view)(view.dtype, view.pointer, tuple(dims), tuple(strides), offset)


def write_region(k: Any, region: Any, y: Any, replace: bool) -> None:
    """Add ``y`` (a View, or a scalar) to every element of ``region``, or put it there.

    Dimensions of ``y`` that are 1 stretch, also if only the run tells; then the loops exist twice,
    so that the common case runs in lanes.
    """
    b, block = k.b, k.block

    def nest(where: Any) -> None:
        with ExitStack() as stack:
            index = []
            for axis, extent in enumerate(region.dims):
                kind = "vector" if axis == region.ndim - 1 else "serial"
                index.append(stack.enter_context(b.loop(extent, kind=kind)).index)
            value = y if where is None else b.load(y, where(index))
            if not replace:
                value = b.add(b.load(region, index), value)
            b.store(region, index, value)

    if not hasattr(y, "dims"):
        nest(None)
        return
    pad = region.ndim - y.ndim
    flags = k.node.inputs[1].type.broadcastable
    equal: Any = b.const(True, "bool")
    for axis, flag in enumerate(flags):
        if not flag and not block.same(y.dims[axis], region.dims[pad + axis]):
            equal = b.and_(equal, b.eq(y.dims[axis], region.dims[pad + axis]))

    def direct(index: Sequence[Any]) -> list[Any]:
        return [b.const(0) if flag else index[pad + axis] for axis, flag in enumerate(flags)]

    def stretched(index: Sequence[Any]) -> list[Any]:
        return [b.select(b.eq(y.dims[a], 1), 0, index[pad + a]) for a in range(y.ndim)]

    if equal.op == "const":
        nest(direct)
        return
    for axis in range(y.ndim):
        # before anything is written: the region may be a shared variable's
        have, want = y.dims[axis], region.dims[pad + axis]
        fits = b.or_(b.eq(have, want), b.eq(have, 1))
        k.check(fits, "subtensor_mismatch", (have, want), (axis,))
    with b.if_(equal):
        nest(direct)
    with b.else_():
        nest(stretched)


# --------------------------------------------------------------------------------- registry

#: shapes and indices that `Subtensor` and `IncSubtensor` are tested on
_CASES: tuple[tuple[tuple[int, ...], Any], ...] = (
    ((5,), np.s_[2]),
    ((5,), np.s_[-1]),
    ((5,), np.s_[1:]),
    ((5,), np.s_[:-1]),
    ((5,), np.s_[::-1]),
    ((5,), np.s_[7:]),
    ((5,), np.s_[-7:-2]),
    ((5,), np.s_[4:1:-2]),
    ((37,), np.s_[3:-2]),
    ((6,), np.s_[::2]),
    ((0,), np.s_[1:]),
    ((3, 4), np.s_[1]),
    ((3, 4), np.s_[:, 1]),
    ((3, 40), np.s_[1:, 2:-3]),
    ((3, 4), np.s_[::-1, ::-2]),
    ((3, 4), np.s_[-2, 1:3]),
    ((4, 3, 5), np.s_[1]),
    ((4, 3, 5), np.s_[:, -1]),
    ((4, 3, 5), np.s_[..., 2]),
    ((4, 3, 5), np.s_[2, 1, 0]),
    ((1, 4), np.s_[:, 2:]),
)
_SYMBOLIC: tuple[tuple[tuple[int, ...], Any, int, int], ...] = (
    ((5,), lambda i, j: np.s_[i], 2, 0),
    ((5,), lambda i, j: np.s_[i], -2, 0),
    ((5,), lambda i, j: np.s_[i:j], 1, 4),
    ((5,), lambda i, j: np.s_[i:j], -3, 9),
    ((5,), lambda i, j: np.s_[i:j], 4, 1),
    ((5,), lambda i, j: np.s_[i::j], 0, 2),
    ((5,), lambda i, j: np.s_[i::j], 3, -2),
    ((5,), lambda i, j: np.s_[::j], 0, -1),
    ((5,), lambda i, j: np.s_[:i:j], -4, -1),
    ((4, 5), lambda i, j: np.s_[i, j:], 1, 2),
    ((4, 5), lambda i, j: np.s_[i : plus(i, j)], 1, 2),
)


def subtensor_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    """Reads of constant and symbolic parts."""
    from ltensor.ops.indexing import getitem

    for shape, index in _CASES:
        yield Sample(
            lambda x, index=index: getitem(x, index), [draw(rng, dtype, shape)], f"{shape}{index}"
        )
    for number, (shape, index, i, j) in enumerate(_SYMBOLIC):
        arrays = [draw(rng, dtype, shape), np.asarray(i, "int64"), np.asarray(j, "int32")]
        yield Sample(
            lambda x, i, j, index=index: getitem(x, index(i, j)), arrays, f"symbolic {number}"
        )


def inc_subtensor_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    """Writes into constant and symbolic parts, stretched values among them."""
    from ltensor.ops.indexing import getitem, inc_subtensor, set_subtensor

    functions = (("set", set_subtensor), ("inc", inc_subtensor))
    for shape, index in _CASES:
        region = np.zeros(shape)[index].shape
        if any(a == 1 for a in region) and 1 not in shape:
            continue
        cases = [(region, "")]
        if shape == (3, 40):
            cases += [((35,), "row"), ((), "scalar"), ((1, 35), "flat"), ((2, 1), "column")]
        for value, label in cases:
            for name, function in functions:
                yield Sample(
                    lambda x, y, index=index, function=function: function(getitem(x, index), y),
                    [draw(rng, dtype, shape), draw(rng, dtype, value)],
                    f"{name}{shape}{index}{label}",
                )
    for name, function in functions:
        yield Sample(
            lambda x, y, i, function=function: function(getitem(x, slice(i, plus(i, 2))), y),
            [draw(rng, dtype, (6, 3)), draw(rng, dtype, (2, 3)), np.asarray(1, "int64")],
            f"{name} symbolic",
        )


declare(
    Declaration("subtensor", "A part given by ints and slices.", Subtensor, subtensor_samples, 0)
)
declare(
    Declaration(
        "inc_subtensor",
        "A copy with a part given by ints and slices set or incremented.",
        IncSubtensor,
        inc_subtensor_samples,
        0,
    )
)
