"""Sizes and views: shape, dimshuffle, reshape, flags of dimensions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ltensor.ir import build
from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor, constant, constant_value
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import TensorType, disconnected_type, tensor_type
from ltensor.ops import batching
from ltensor.ops.linear import LinearInFirst
from ltensor.ops.opdef import Declaration, DeclaredOp, IndexedOp, Sample, declare, new_tensor
from ltensor.ops.samples import draw


class ShapeI(DeclaredOp):
    """The size along one axis: ``x.shape[i]`` without computing ``x``."""

    __props__ = ("axis",)
    kind = "shape"
    ir_name = "dim"
    natural = "always"

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def __str__(self) -> str:
        return f"Shape_i{{{self.axis}}}"

    def make_node(self, x: Any) -> Apply:
        x = as_tensor(x)
        if not 0 <= self.axis < x.type.ndim:
            raise TypeError(f"Shape_i: {x} has no axis {self.axis}")
        return Apply(self, [x], [new_tensor("int64", ())])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        output_storage[0][0] = np.asarray(inputs[0].shape[self.axis], dtype="int64")

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [()]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        return [[False]]

    def grad(self, inputs: list[Variable], output_grads: list[Variable]) -> list[Any]:
        return [disconnected_type.make_variable()]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return [None]


def shape_i(x: Any, axis: int) -> Variable:
    """The size of ``x`` along ``axis``: an int64 scalar, constant where the type knows it."""
    x = as_tensor(x)
    known = x.type.shape[axis]
    if known is not None:
        return constant(known, dtype="int64")
    return ShapeI(axis)(x)


def dims_of(x: Variable) -> list[Variable]:
    """All sizes of ``x``."""
    return [shape_i(x, k) for k in range(x.type.ndim)]


class Shape(DeclaredOp):
    """All sizes as an int64 vector."""

    __props__ = ()
    kind = "kernel"
    ir_name = "shape"

    def __str__(self) -> str:
        return "Shape"

    def make_node(self, x: Any) -> Apply:
        x = as_tensor(x) if not isinstance(x, Variable) else x
        return Apply(self, [x], [new_tensor("int64", (None,))])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        output_storage[0][0] = np.asarray(np.shape(inputs[0]), dtype="int64")

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [(constant(node.inputs[0].type.ndim, dtype="int64"),)]

    def lower(self, k: Any) -> None:
        target = k.output(0)
        for axis, size in enumerate(k.block.dims(k.node.inputs[0])):
            k.b.store(target, [axis], size)

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        return [[False]]

    def grad(self, inputs: list[Variable], output_grads: list[Variable]) -> list[Any]:
        return [disconnected_type.make_variable()]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return [None]


shape = Shape()


class DimShuffle(IndexedOp):
    """Axes permuted, broadcastable ones dropped or added (``'x'``)."""

    __props__ = ("new_order",)
    affine = True
    repeats = False
    ir_name = "dimshuffle"
    batch = batching.dimshuffle_rule

    def __init__(self, new_order: Sequence[Any], *order: Any, inplace: bool = True) -> None:
        # Theano's form names the broadcast flags of the operand first, which it knows by itself.
        self.new_order = tuple(order[0] if order else new_order)

    def __str__(self) -> str:
        return f"InplaceDimShuffle{{{','.join(map(str, self.new_order))}}}"

    def make_node(self, x: Any) -> Apply:
        x = as_tensor(x)
        rank = x.type.ndim
        for axis in self.new_order:
            if axis == "x":
                continue
            if not isinstance(axis, (int, np.integer)) or not 0 <= axis < rank:
                raise ValueError(
                    f"new_order[...] contains {axis}, but the input only has {rank} dimensions"
                )
        named = [axis for axis in self.new_order if axis != "x"]
        if len(set(named)) != len(named):
            raise ValueError(
                "The same input dimension may not appear twice in the list of output dimensions",
                self.new_order,
            )
        pattern = x.type.broadcastable
        dropped = [k for k in range(rank) if k not in self.new_order]
        for axis in dropped:
            if not pattern[axis]:
                raise ValueError(
                    "You cannot drop a non-broadcastable dimension.",
                    (list(pattern), self.new_order),
                )
        sizes = [1 if a == "x" else x.type.shape[a] for a in self.new_order]
        return Apply(self, [x], [tensor_type(x.type.dtype, tuple(sizes)).make_variable()])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        (x,) = inputs
        kept = [a for a in self.new_order if a != "x"]
        dropped = [k for k in range(x.ndim) if k not in kept]
        for axis in dropped:
            if x.shape[axis] != 1:
                raise ValueError(f"Dimension {axis} was supposed to be 1 (got {x.shape[axis]})")
        x = x.transpose(kept + dropped).reshape([x.shape[a] for a in kept])
        for position, axis in enumerate(self.new_order):
            if axis == "x":
                x = np.expand_dims(x, position)
        output_storage[0][0] = x

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        one = constant(1, dtype="int64")
        return [tuple(one if a == "x" else shapes[0][a] for a in self.new_order)]

    def source_index(self, e: Any, node: Apply, operands: Any, index: Any) -> list[Any]:
        result = [0] * node.inputs[0].type.ndim
        for position, axis in enumerate(self.new_order):
            if axis != "x":
                result[axis] = index[position]
        return result

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        (x,), (g,) = inputs, output_grads
        order: list[Any] = ["x"] * x.type.ndim
        for position, axis in enumerate(self.new_order):
            if axis != "x":
                order[axis] = position
        if dt.is_discrete(x.type.dtype):
            from ltensor.ops.elementwise import zero_gradient

            return [zero_gradient(x)]
        from ltensor.ops.reduce import sum as reduce_sum

        axes = [p for p, a in enumerate(self.new_order) if a == "x" and not g.type.broadcastable[p]]
        if axes:
            g = reduce_sum(g, axis=axes, keepdims=True)
        return [dimshuffle(g, order)]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return [None if eval_points[0] is None else self(eval_points[0])]


def dimshuffle(x: Any, *order: Any) -> Variable:
    """``x`` with its axes in ``order``; ``'x'`` adds a broadcastable axis.

    Raises
    ------
    ValueError
        If an axis is named twice, unknown, or dropped without being broadcastable.
    """
    x = as_tensor(x)
    if len(order) == 1 and isinstance(order[0], (list, tuple)):
        order = tuple(order[0])
    if order == tuple(range(x.type.ndim)):
        return x
    return DimShuffle(order)(x)


def _pad(value: Variable, order: Sequence[Any]) -> Variable:
    return dimshuffle(value, tuple(order))


build.rank_hook = _pad


class Reshape(LinearInFirst):
    """The same elements in C order under another shape, given as an int vector."""

    __props__ = ("ndim",)
    kind = "alias"
    ir_name = "reshape"
    batch = batching.reshape_rule

    def __init__(self, ndim: int) -> None:
        self.ndim = ndim

    def __str__(self) -> str:
        return f"Reshape{{{self.ndim}}}"

    def make_node(self, x: Any, *sizes: Any) -> Apply:
        x = as_tensor(x)
        variables = [as_tensor(s) for s in sizes]
        if len(variables) == 1 and variables[0].type.ndim == 1:
            variables = split_sizes(variables[0], self.ndim)
        if len(variables) != self.ndim:
            raise ValueError(f"reshape to {self.ndim} dimensions got {len(variables)} sizes")
        static: list[int | None] = []
        for v in variables:
            if v.type.ndim != 0 or not dt.is_integer(v.type.dtype):
                raise TypeError("Shape must be integers", v, v.type.dtype)
            known = constant_value(v)
            static.append(int(known) if known is not None and int(known) >= 0 else None)
        return Apply(self, [x, *variables], [new_tensor(x.type.dtype, static)])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        x, *sizes = inputs
        wanted = [int(s) for s in sizes]
        try:
            output_storage[0][0] = np.reshape(x, wanted)
        except ValueError as error:
            shown = "[" + " ".join(map(str, wanted)) + "]"
            raise ValueError(f"Cannot reshape input of shape {x.shape} to shape {shown}") from error

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        from ltensor.ops.arithmetic import int_div, maximum, mul, neg, switch
        from ltensor.ops.cast import cast
        from ltensor.ops.compare import eq
        from ltensor.ops.slicing import never_negative

        sizes = [cast(s, "int64") for s in node.inputs[1:]]
        constants = [constant_value(s) for s in sizes]
        if all(never_negative(s) for s in sizes):
            return [tuple(sizes)]
        total: Any = None
        for size in shapes[0]:
            total = size if total is None else mul(total, size)
        total = constant(1, dtype="int64") if total is None else total
        product: Any = None
        for size in sizes:
            product = size if product is None else mul(product, size)
        result: list[Variable] = []
        for size, known in zip(sizes, constants, strict=True):
            if never_negative(size):
                result.append(size)
                continue
            # the product of all sizes but the -1 is minus the product of all
            rest = int_div(total, maximum(neg(product), constant(1, dtype="int64")))
            if known is not None:
                result.append(rest)
            else:
                result.append(switch(eq(size, constant(-1, dtype="int64")), rest, size))
        return [tuple(result)]

    def check_alias(self, block: Any, node: Apply, source: Sequence[Any], dims: Any) -> None:
        """The run-time check of the number of elements."""
        b = block.b
        before, after = b.size(source), b.size(dims)
        wanted = [block.scalar(s) for s in node.inputs[1:]]
        wanted = [b.cast(s, "int64") for s in wanted]
        b.check(b.eq(before, after), "reshape", node, (*source, *wanted), (len(source),))
        for dim in dims:
            b.check(b.ge(dim, 0), "reshape", node, (*source, *wanted), (len(source),))

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        x, *sizes = inputs
        (g,) = output_grads
        back = reshape(g, dims_of(x), ndim=x.type.ndim)
        back = restore_flags(back, x)
        return [back, *[disconnected_type.make_variable() for _ in sizes]]


def split_sizes(vector: Variable, count: int) -> list[Variable]:
    """The elements of an int vector as scalars; that it has so many is checked when run."""
    owner = vector.owner
    made = owner is not None and getattr(owner.op, "ir_name", "") == "make_vector"
    if owner is not None and made and len(owner.inputs) == count:
        return list(owner.inputs)
    if owner is not None and isinstance(owner.op, Shape) and owner.inputs[0].type.ndim == count:
        return dims_of(owner.inputs[0])
    known = constant_value(vector)
    if known is not None and known.shape == (count,):
        return [constant(int(size), dtype="int64") for size in known]
    if vector_length(vector) is None:
        from ltensor.ops.identity import SizeVector

        vector = SizeVector()(vector, count)
    return [vector[k] for k in range(count)]


def vector_length(sizes: Any) -> int | None:
    """The length of a list of sizes or of an int vector, if it is known."""
    if isinstance(sizes, (list, tuple)):
        return len(sizes)
    if isinstance(sizes, np.ndarray):
        return int(sizes.shape[0]) if sizes.ndim == 1 else None
    if not isinstance(sizes, Variable) or sizes.type.ndim != 1:
        return None
    if sizes.type.shape[0] is not None:
        return sizes.type.shape[0]
    owner = sizes.owner
    if owner is None:
        return None
    if isinstance(owner.op, Shape):
        return int(owner.inputs[0].type.ndim)
    if getattr(owner.op, "ir_name", "") == "make_vector":
        return len(owner.inputs)
    if getattr(owner.op, "ir_name", "") == "join":
        lengths = [vector_length(v) for v in owner.inputs]
        return None if any(n is None for n in lengths) else sum(n for n in lengths if n)
    if getattr(owner.op, "ir_name", "") == "subtensor":
        return _slice_length(owner)
    if getattr(owner.op, "kind", "") == "pointwise":
        for operand in owner.inputs:
            if not operand.type.broadcastable[0]:
                length = vector_length(operand)
                if length is not None:
                    return length
    return None


def _slice_length(owner: Apply) -> int | None:
    bounds = owner.op.constant_slice(owner)
    length = vector_length(owner.inputs[0])
    if bounds is None or length is None:
        return None
    return len(range(*bounds.indices(length)))


def reshape(x: Any, sizes: Any, ndim: int | None = None) -> Variable:
    """``x`` under another shape (one size may be -1).

    Raises
    ------
    ValueError
        If the number of dimensions is not known.
    """
    x = as_tensor(x)
    if isinstance(sizes, (int, np.integer)) or (
        isinstance(sizes, Variable) and sizes.type.ndim == 0
    ):
        sizes = [sizes]
    if ndim is None:
        ndim = vector_length(sizes)
        if ndim is None:
            raise ValueError(
                f"The length of the provided shape ({sizes}) cannot be automatically determined, "
                "so Theano is not able to know what the number of dimensions of the reshaped "
                "variable will be. You can provide the 'ndim' keyword argument to 'reshape' to "
                "avoid this problem."
            )
    if isinstance(sizes, Variable):
        sizes = [sizes] if sizes.type.ndim == 1 else sizes
    if isinstance(sizes, np.ndarray):
        sizes = [int(s) for s in sizes]
    if ndim == 0:
        sizes = []
    return Reshape(int(ndim))(x, *sizes)


class Flags(IndexedOp):
    """The same array with some dimensions declared broadcastable, or not; checked when run."""

    __props__ = ("pattern",)
    affine = True
    ir_name = "rebroadcast"
    batch = batching.flags_rule

    def __init__(self, pattern: Sequence[bool]) -> None:
        self.pattern = tuple(bool(p) for p in pattern)

    def __str__(self) -> str:
        inside = ",".join(str(int(p)) for p in self.pattern)
        return f"Rebroadcast{{{inside}}}"

    @property
    def new_order(self) -> tuple[int, ...]:
        """The axes are those of the operand."""
        return tuple(range(len(self.pattern)))

    def make_node(self, x: Any) -> Apply:
        x = as_tensor(x)
        sizes: list[int | None] = []
        for flag, size in zip(self.pattern, x.type.shape, strict=True):
            if flag and size not in (None, 1):
                raise ValueError(f"Rebroadcast: {x} has size {size} where 1 is declared")
            sizes.append(1 if flag else (None if size == 1 else size))
        return Apply(self, [x], [tensor_type(x.type.dtype, tuple(sizes)).make_variable()])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        for axis, flag in enumerate(self.pattern):
            if flag and inputs[0].shape[axis] != 1:
                raise ValueError(
                    f"Dimension {axis} in Rebroadcast's input was supposed to be 1 "
                    f"(got {inputs[0].shape[axis]} instead)"
                )
        output_storage[0][0] = inputs[0]

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        one = constant(1, dtype="int64")
        return [tuple(one if f else s for f, s in zip(self.pattern, shapes[0], strict=True))]

    def check(self, b: Any, node: Apply, operands: Any) -> None:
        """The run-time check of the declared sizes."""
        for axis, flag in enumerate(self.pattern):
            if flag and not node.inputs[0].type.broadcastable[axis]:
                size = operands[0].dims[axis]
                b.check(b.eq(size, 1), "rebroadcast", node, (size,), (axis,))

    def source_index(self, e: Any, node: Apply, operands: Any, index: Any) -> list[Any]:
        return list(index)

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        (x,), (g,) = inputs, output_grads
        return [Flags(x.type.broadcastable)(g)]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return [None if eval_points[0] is None else self(eval_points[0])]


def set_flags(x: Any, pattern: Sequence[bool]) -> Variable:
    """``x`` with the broadcast pattern ``pattern``."""
    x = as_tensor(x)
    pattern = tuple(bool(p) for p in pattern)
    return x if x.type.broadcastable == pattern else Flags(pattern)(x)


def restore_flags(x: Variable, like: Variable) -> Variable:
    """``x`` with the pattern of ``like``."""
    return set_flags(x, like.type.broadcastable)


# --------------------------------------------------------------------------------- registry


def _dimshuffle_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for shape_, order in (
        ((3, 4), (1, 0)),
        ((3, 4), (0, "x", 1)),
        ((2, 3, 4), (2, 0, 1)),
        ((2, 1, 4), (2, 0)),
        ((5,), ("x", 0)),
        ((), ("x", "x")),
        ((0, 3), (1, 0)),
        ((17, 9), (1, 0)),
    ):
        yield Sample(
            lambda x, order=order: dimshuffle(x, order), [draw(rng, dtype, shape_)], str(order)
        )


def _reshape_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for before, after in (
        ((6,), (2, 3)),
        ((2, 3), (6,)),
        ((2, 6), (3, -1)),
        ((4,), (-1, 2, 2)),
        ((1,), ()),
        ((), (1, 1)),
        ((0, 3), (3, 0)),
    ):
        yield Sample(
            lambda x, after=after: reshape(x, after), [draw(rng, dtype, before)], f"{before}{after}"
        )


def _shape_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    yield Sample(shape, [draw(rng, dtype, (2, 3, 1))], "2x3x1", differentiable=False)
    yield Sample(shape, [draw(rng, dtype, ())], "scalar", differentiable=False)


def _dim_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    yield Sample(lambda x: ShapeI(1)(x), [draw(rng, dtype, (2, 3))], "2x3", differentiable=False)


def _flags_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    yield Sample(lambda x: Flags((False, False))(x), [draw(rng, dtype, (1, 3))], "forget")
    yield Sample(
        lambda x: Flags((True, False))(Flags((False, False))(x)), [draw(rng, dtype, (1, 3))], "both"
    )


declare(Declaration("dim", "Size along one axis.", ShapeI, _dim_samples, 0))
declare(Declaration("shape", "All sizes as an int64 vector.", Shape, _shape_samples, 0))
declare(Declaration("dimshuffle", "Permute, drop or add axes.", DimShuffle, _dimshuffle_samples, 0))
declare(Declaration("reshape", "Same elements, other shape.", Reshape, _reshape_samples, 0))
declare(Declaration("rebroadcast", "Declare broadcast flags.", Flags, _flags_samples, 0))
_ = TensorType
