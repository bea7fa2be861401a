"""Arrays from nothing much: alloc, zeros, ones, fill, arange, eye, vectors of scalars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ltensor.config import config
from ltensor.ir import build
from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor, constant, constant_value
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import disconnected_type
from ltensor.ops import batching
from ltensor.ops.elementwise import elementwise, fit_gradient, zero_gradient
from ltensor.ops.linear import LinearInFirst
from ltensor.ops.opdef import Declaration, DeclaredOp, IndexedOp, Sample, declare, new_tensor
from ltensor.ops.samples import draw
from ltensor.ops.shape import dims_of, shape_i, split_sizes, vector_length


class Alloc(LinearInFirst, IndexedOp):
    """A value stretched to given sizes."""

    __props__ = ()
    ir_name = "alloc"
    batch = batching.alloc_rule
    repeats = True

    def __str__(self) -> str:
        return "Alloc"

    def make_node(self, value: Any, *sizes: Any) -> Apply:
        value = as_tensor(value)
        variables = [as_size(s) for s in sizes]
        if value.type.ndim > len(variables):
            raise TypeError(
                f"The Alloc value to use has more dimensions than the specified dimensions: "
                f"{value.type.ndim}, {len(variables)}"
            )
        static: list[int | None] = []
        for v in variables:
            known = constant_value(v)
            static.append(None if known is None else int(known))
        return Apply(self, [value, *variables], [new_tensor(value.type.dtype, static)])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        value, *sizes = inputs
        result = np.empty([int(s) for s in sizes], dtype=value.dtype)
        result[...] = value
        output_storage[0][0] = result

    def elements_made(self, values: Sequence[Any]) -> float:
        return float(np.prod([float(s) for s in values[1:]]))

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        from ltensor.ops.cast import cast

        return [tuple(cast(s, "int64") for s in node.inputs[1:])]

    def check(self, b: Any, node: Apply, operands: Any) -> None:
        """Sizes must not be negative, and those of the value must fit."""
        sizes = [b.cast(o.value, "int64") for o in operands[1:]]
        for size in sizes:
            b.check(b.ge(size, 0), "negative_size", node, (size,))
        value = node.inputs[0]
        # also where it is only read element by element: products of sizes must not wrap
        room = b.fits_memory(value.type.dtype, sizes)
        b.check(room, "too_large", node, sizes, (len(sizes),))
        pad = len(sizes) - value.type.ndim
        for axis in range(value.type.ndim):
            if not value.type.broadcastable[axis]:
                have, want = operands[0].dims[axis], sizes[pad + axis]
                fits = b.or_(b.eq(have, want), b.eq(have, 1))
                b.check(fits, "alloc_mismatch", node, (have, want), (axis,))

    def element(self, e: Any, node: Apply, operands: Any, index: Any) -> Any:
        value = node.inputs[0]
        if value.type.ndim == 0:
            return operands[0].value
        pad = len(index) - value.type.ndim
        position = []
        for axis in range(value.type.ndim):
            size = e.cast(operands[1 + pad + axis].value, "int64")
            if value.type.broadcastable[axis]:
                position.append(e.const(0))
            elif operands[0].dims[axis] is size:
                position.append(index[pad + axis])
            else:
                stretched = e.eq(operands[0].dims[axis], 1)
                position.append(e.select(stretched, 0, index[pad + axis]))
        return operands[0].at(position)

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        value, *sizes = inputs
        (g,) = output_grads
        from ltensor.ops.reduce import sum as reduce_sum

        pad = g.type.ndim - value.type.ndim
        if pad:
            g = reduce_sum(g, axis=list(range(pad)))
        gradient = (
            zero_gradient(value) if dt.is_discrete(value.type.dtype) else fit_gradient(g, value)
        )
        return [gradient, *[disconnected_type.make_variable() for _ in sizes]]


def as_size(value: Any) -> Variable:
    """A size as an integer scalar.

    Raises
    ------
    TypeError
        If it is no integer scalar.
    """
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return constant(int(value), dtype="int64")
    variable = as_tensor(value)
    if variable.type.ndim == 1 and variable.type.broadcastable[0]:
        variable = variable[0]
    if variable.type.ndim != 0 or not dt.is_integer(variable.type.dtype):
        raise TypeError("Shape arguments to Alloc must be integers, but argument is", variable)
    return variable


def as_sizes(sizes: Any) -> list[Variable]:
    """A list of sizes from an int, a sequence or an int vector."""
    if isinstance(sizes, (int, np.integer)):
        return [as_size(sizes)]
    if isinstance(sizes, Variable):
        if sizes.type.ndim == 0:
            return [as_size(sizes)]
        length = vector_length(sizes)
        if length is None:
            raise ValueError(f"the number of dimensions of shape {sizes} is not known")
        return split_sizes(sizes, length)
    return [as_size(s) for s in sizes]


def alloc(value: Any, *sizes: Any) -> Variable:
    """``value`` stretched to ``sizes``."""
    return Alloc()(value, *sizes)


def zeros(shape: Any, dtype: Any = None) -> Variable:
    """Zeros of a shape, in floatX by default."""
    return filled(0, shape, dtype)


def ones(shape: Any, dtype: Any = None) -> Variable:
    """Ones of a shape, in floatX by default."""
    return filled(1, shape, dtype)


def filled(value: Any, shape: Any, dtype: Any = None) -> Variable:
    """``value`` in every element of a shape."""
    name = dt.normalize(dtype) if dtype is not None else str(config.floatX)
    return alloc(np.asarray(value, dtype=name), *as_sizes(shape))


def zeros_like(x: Any, dtype: Any = None, opt: bool = False) -> Variable:
    """Zeros of the size of ``x``."""
    return _like(x, 0, dtype)


def ones_like(x: Any, dtype: Any = None, opt: bool = False) -> Variable:
    """Ones of the size of ``x``."""
    return _like(x, 1, dtype)


def _like(x: Any, value: int, dtype: Any) -> Variable:
    x = as_tensor(x)
    name = dt.normalize(dtype) if dtype is not None else x.type.dtype
    return second(x, constant(value, dtype=name))


second = elementwise(
    "second",
    doc="The second operand stretched to the size of the first (Theano's fill).",
    types=lambda a, b: ((a, b), b),
    ref=lambda a, b: np.broadcast_arrays(a, b)[1],
    emit=lambda e, a, b: b,
    vjp=lambda x, y, g: [None, g],
    arity=2,
    display="Elemwise{second,no_inplace}",
    is_free=True,
)
fill = second


class MakeVector(DeclaredOp):
    """Scalars side by side in a vector."""

    __props__ = ("dtype",)
    kind = "kernel"
    ir_name = "make_vector"
    batch = batching.vector_rule

    def __init__(self, dtype: str = "int64") -> None:
        self.dtype = dtype

    def __str__(self) -> str:
        return f"MakeVector{{dtype='{self.dtype}'}}"

    def make_node(self, *inputs: Any) -> Apply:
        from ltensor.ops.cast import cast

        variables = [as_tensor(v) for v in inputs]
        if any(v.type.ndim != 0 for v in variables):
            raise TypeError("MakeVector takes scalars only", variables)
        if variables:
            common = dt.upcast(self.dtype, *(v.type.dtype for v in variables))
            if common != self.dtype:
                raise TypeError(f"MakeVector of {self.dtype} cannot hold {common}")
        variables = [cast(v, self.dtype) for v in variables]
        return Apply(self, variables, [new_tensor(self.dtype, (len(variables),))])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        output_storage[0][0] = np.asarray(inputs, dtype=self.dtype).reshape(len(inputs))

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [(constant(len(node.inputs), dtype="int64"),)]

    def lower(self, k: Any) -> None:
        target = k.output(0)
        for position in range(len(k.node.inputs)):
            k.b.store(target, [position], k.operand(position))

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        (g,) = output_grads
        return [
            zero_gradient(x) if dt.is_discrete(x.type.dtype) else g[k] for k, x in enumerate(inputs)
        ]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        if all(e is None for e in eval_points):
            return [None]
        return [
            self(
                *[
                    zeros_like(x) if e is None else e
                    for x, e in zip(inputs, eval_points, strict=True)
                ]
            )
        ]


def make_vector(scalars: Sequence[Any], dtype: str | None = None) -> Variable:
    """A vector of scalars in their common dtype."""
    variables = [as_tensor(s) for s in scalars]
    if dtype is None:
        dtype = dt.upcast(*(v.type.dtype for v in variables)) if variables else "int64"
    return MakeVector(dtype)(*variables)


class ARange(IndexedOp):
    """start, start + step, ... up to but without stop."""

    __props__ = ("dtype",)
    ir_name = "arange"

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    def __str__(self) -> str:
        return f"ARange{{dtype='{self.dtype}'}}"

    def make_node(self, start: Any, stop: Any, step: Any) -> Apply:
        bounds = [as_tensor(v) for v in (start, stop, step)]
        if any(v.type.ndim != 0 for v in bounds):
            raise TypeError("arange takes scalars", bounds)
        return Apply(self, bounds, [new_tensor(self.dtype, (None,))])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        start, stop, step = (v.item() for v in inputs)
        output_storage[0][0] = np.arange(start, stop, step, dtype=self.dtype)

    def elements_made(self, values: Sequence[Any]) -> float:
        start, stop, step = (float(np.asarray(v).real) for v in values)
        return abs(stop - start) / abs(step) if step else 0

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        from ltensor.ops.arithmetic import int_div, maximum, neg, sub, true_div
        from ltensor.ops.cast import cast
        from ltensor.ops.transcendental import ceil

        start, stop, step = node.inputs
        zero = constant(0, dtype="int64")
        first, width = constant_value(start), constant_value(step)
        if all(dt.is_discrete(v.type.dtype) for v in node.inputs):
            start, stop, step = (cast(v, "int64") for v in (start, stop, step))
            span = stop if first is not None and first == 0 else sub(stop, start)
            if width is not None and width == 1:
                return [(maximum(span, zero),)]
            return [(maximum(neg(int_div(neg(span), step)), zero),)]
        start, stop, step = (cast(v, "float64") for v in (start, stop, step))
        count = cast(ceil(true_div(sub(stop, start), step)), "int64")
        return [(maximum(count, zero),)]

    def check(self, b: Any, node: Apply, operands: Any) -> None:
        """The step must not be zero, the length must be a number."""
        if all(dt.is_discrete(v.type.dtype) for v in node.inputs):
            # the length is a quotient of integers, which says so itself
            return
        start, stop, step = (b.cast(o.value, "float64") for o in operands)
        b.check(b.ne(step, 0), "division", node)
        length = b.div(b.sub(stop, start), step)
        # false for NaN as well
        b.check(b.lt(length, 2.0**61), "arange_length", node)

    def element(self, e: Any, node: Apply, operands: Any, index: Any) -> Any:
        if not dt.is_float(self.dtype):
            start, step = (e.cast(operands[k].value, "int64") for k in (0, 2))
            return e.cast(e.add(start, e.mul(index[0], step)), self.dtype)
        # As NumPy does it: the step is the distance of the first two elements as they are rounded.
        start, step = (e.cast(operands[k].value, "float64") for k in (0, 2))
        work = dt.work_dtype(self.dtype)
        first, second = (
            e.cast(e.cast(value, self.dtype), work) for value in (start, e.add(start, step))
        )
        count, width = e.cast(index[0], work), e.sub(second, first)
        if work == "float32":
            # rounded by itself, as no fused operation would do it
            wide = e.mul(e.cast(count, "float64"), e.cast(width, "float64"))
            return e.cast(e.add(first, e.cast(wide, work)), self.dtype)
        return e.add(first, e.mul(count, width))

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        # the end says how many elements there are, not what they are
        return [[True], [False], [True]]

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        from ltensor.ops.arithmetic import mul
        from ltensor.ops.reduce import sum as reduce_sum

        (start, _, step), (g,) = inputs, output_grads
        end = disconnected_type.make_variable()
        if dt.is_discrete(self.dtype):
            return [zero_gradient(start), end, zero_gradient(step)]
        steps = arange(shape_i(outputs[0], 0), dtype=self.dtype)
        return [reduce_sum(g), end, reduce_sum(mul(g, steps))]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return [None]


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> Variable:
    """As NumPy's; integers give int64, floats at least float32.

    Source: Theano's rule (the upcast of the arguments' dtypes, ints widened to int64).
    """
    if stop is None:
        start, stop = 0, start
    bounds = [as_tensor(v) for v in (start, stop, step)]
    if dtype is None:
        common = dt.upcast(*(v.type.dtype for v in bounds))
        if dt.is_discrete(common):
            common = dt.upcast(common, "int64")
        dtype = common
    return ARange(dt.normalize(dtype))(*bounds)


class Eye(IndexedOp):
    """Ones on a diagonal."""

    __props__ = ("dtype",)
    ir_name = "eye"

    def __init__(self, dtype: str = "float64") -> None:
        self.dtype = dtype

    def make_node(self, n: Any, m: Any, k: Any) -> Apply:
        sizes = [as_size(v) for v in (n, m, k)]
        return Apply(self, sizes, [new_tensor(self.dtype, (None, None))])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        n, m, k = (int(v) for v in inputs)
        output_storage[0][0] = np.eye(n, m, k, dtype=self.dtype)

    def elements_made(self, values: Sequence[Any]) -> float:
        return float(values[0]) * float(values[1])

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        from ltensor.ops.cast import cast

        return [tuple(cast(v, "int64") for v in node.inputs[:2])]

    def check(self, b: Any, node: Apply, operands: Any) -> None:
        """Sizes must not be negative."""
        sizes = [b.cast(o.value, "int64") for o in operands[:2]]
        for size in sizes:
            b.check(b.ge(size, 0), "negative_size", node, (size,))
        b.check(b.fits_memory(self.dtype, sizes), "too_large", node, sizes, (2,))

    def element(self, e: Any, node: Apply, operands: Any, index: Any) -> Any:
        shift = e.cast(operands[2].value, "int64")
        return e.cast(e.eq(e.add(index[0], shift), index[1]), self.dtype)

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        return [[False], [False], [False]]

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        return [disconnected_type.make_variable() for _ in inputs]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return [None]


def eye(n: Any, m: Any = None, k: Any = 0, dtype: Any = None) -> Variable:
    """An identity-like matrix."""
    name = dt.normalize(dtype) if dtype is not None else str(config.floatX)
    return Eye(name)(n, n if m is None else m, k)


def _stack(values: Sequence[Any]) -> Variable:
    items = [as_tensor(v) for v in values]
    if all(v.type.ndim == 0 for v in items):
        return make_vector(items)
    from ltensor.ops.join import stack

    return stack(items)


build.stack_hook = _stack


# --------------------------------------------------------------------------------- registry


def _alloc_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    yield Sample(lambda x: alloc(x, 2, 3), [draw(rng, dtype, ())], "scalar")
    yield Sample(lambda x: alloc(x, 2, 3), [draw(rng, dtype, (3,))], "row")
    yield Sample(lambda x: alloc(x, 4, 3), [draw(rng, dtype, (1, 3))], "stretched")
    yield Sample(lambda x: alloc(x, 0, 3), [draw(rng, dtype, (3,))], "empty")


def _vector_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    yield Sample(
        lambda a, b: make_vector([a, b, a]), [draw(rng, dtype, ()), draw(rng, dtype, ())], "3"
    )


def _arange_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for first, last, step in ((0, 5, 1), (2, 11, 3), (3, 3, 1), (5, 1, 1), (9, 2, -2)):
        if dtype in dt.UNSIGNED and (step < 0 or last < first):
            continue
        arrays = [np.asarray(v, dtype=dtype) for v in (first, last, step)]
        yield Sample(arange, arrays, f"{first}:{last}:{step}", differentiable=False)


def _eye_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for n, m, k in ((3, 3, 0), (2, 4, 1), (4, 2, -1), (0, 3, 0)):
        arrays = [np.asarray(v, dtype="int64") for v in (n, m, k)]
        yield Sample(
            lambda n, m, k, dtype=dtype: Eye(dtype)(n, m, k),
            arrays,
            f"{n}x{m}",
            differentiable=False,
        )


_COUNTS = ("int8", "int32", "int64", "uint8", "float32", "float64")
declare(Declaration("alloc", "Stretch a value to given sizes.", Alloc, _alloc_samples, 0))
declare(Declaration("make_vector", "Scalars as a vector.", MakeVector, _vector_samples, 0))
declare(Declaration("arange", "Evenly spaced values.", ARange, _arange_samples, 1, _COUNTS))
declare(Declaration("eye", "Ones on a diagonal.", Eye, _eye_samples, 0))
__all__ = ["alloc", "arange", "eye", "fill", "ones", "second", "zeros"]
_ = (dims_of, shape_i)
