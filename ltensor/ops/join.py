"""Arrays side by side: concatenate, stack, and their converse, split."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ltensor.errors import UnsupportedError
from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor, constant_value
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import disconnected_type
from ltensor.ops import batching
from ltensor.ops.elementwise import zero_gradient
from ltensor.ops.opdef import Declaration, DeclaredOp, Sample, declare, new_tensor
from ltensor.ops.samples import draw
from ltensor.ops.shape import dimshuffle, shape_i
from ltensor.ops.slicing import as_int64, plus


class Join(DeclaredOp):
    """Arrays one after the other along ``axis``."""

    __props__ = ("axis",)
    kind = "kernel"
    ir_name = "join"
    batch = batching.join_rule
    #: every operand is computed right into its part of the result
    element_operands = range(1 << 30)

    def __init__(self, axis: int = 0) -> None:
        self.axis = int(axis)

    def __str__(self) -> str:
        return "Join"

    def make_node(self, *tensors: Any) -> Apply:
        from ltensor.ops.cast import cast

        variables = [as_tensor(t) for t in tensors]
        if not variables:
            raise ValueError("Cannot join an empty list of tensors")
        rank = variables[0].type.ndim
        if any(v.type.ndim == 0 for v in variables):
            raise TypeError(
                "Join cannot handle arguments of dimension 0. For joining scalar values, see stack."
            )
        if any(v.type.ndim != rank for v in variables):
            raise TypeError("Join() can only join tensors with the same number of dimensions.")
        if not 0 <= self.axis < rank:
            raise ValueError(f"Join axis {self.axis} out of bounds [0, {rank})")
        dtype = dt.upcast(*(v.type.dtype for v in variables))
        variables = [cast(v, dtype) for v in variables]
        sizes: list[int | None] = []
        for axis in range(rank):
            known = [v.type.shape[axis] for v in variables]
            if axis != self.axis:
                sizes.append(next((n for n in known if n is not None), None))
                continue
            total = None if any(n is None for n in known) else sum(n for n in known if n)
            # a joined dimension never stretches, if it has one element by chance
            sizes.append(None if total == 1 and len(variables) > 1 else total)
        return Apply(self, variables, [new_tensor(dtype, sizes)])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        output_storage[0][0] = np.concatenate(inputs, axis=self.axis)

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        result = list(shapes[0])
        total: Any = 0
        for sizes in shapes:
            total = plus(total, sizes[self.axis])
        result[self.axis] = as_int64(total)
        return [tuple(result)]

    def check(self, b: Any, node: Apply, operands: Any) -> None:
        """Equal sizes along the other axes."""
        first = operands[0].dims
        shown = [size for operand in operands for size in operand.dims]
        for number, operand in enumerate(operands[1:], 1):
            for axis, size in enumerate(operand.dims):
                if axis != self.axis and size is not first[axis]:
                    b.check(
                        b.eq(size, first[axis]),
                        "join_mismatch",
                        node,
                        (first[axis], size, *shown),
                        (number, axis),
                        shapes_at=2,
                    )

    def lower(self, k: Any) -> None:
        b = k.b
        target, written = k.block.joined.get(k.node, (None, set()))
        if target is None:
            target = k.output(0)
        else:
            k.result(target)
        units = [b.size(target.dims[axis + 1 :]) for axis in range(target.ndim)]
        start: Any = b.const(0)
        for position, variable in enumerate(k.node.inputs):
            dims = k.block.dims(variable)
            if position in written:
                start = b.add(start, dims[self.axis])
                continue
            offset = b.mul(start, units[self.axis])
            # along the first axis the part is dense
            strides = None if self.axis == 0 else tuple(units)
            part = type(target)(target.dtype, target.pointer, dims, strides, offset)
            k.fill(part, position)
            start = b.add(start, dims[self.axis])

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        from ltensor.ops.indexing import getitem
        from ltensor.ops.shape import restore_flags

        (g,) = output_grads
        results: list[Any] = []
        start: Any = 0
        for x in inputs:
            stop = plus(start, shape_i(x, self.axis))
            if dt.is_discrete(x.type.dtype):
                results.append(zero_gradient(x))
            else:
                index = [slice(None)] * self.axis + [slice(start, stop)]
                results.append(restore_flags(getitem(g, tuple(index)), x))
            start = stop
        return results

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        from ltensor.ops.alloc import zeros_like

        if all(e is None for e in eval_points):
            return [None]
        moved = [
            zeros_like(x) if e is None else e for x, e in zip(inputs, eval_points, strict=True)
        ]
        return [self(*moved)]


def static_axis(axis: Any, what: str) -> int:
    """An axis given as an int or a constant.

    Raises
    ------
    UnsupportedError
        If it is computed.
    TypeError
        If it is no integer.
    """
    if isinstance(axis, Variable):
        known = constant_value(axis)
        if known is None:
            raise UnsupportedError(
                f"{what}: the axis must be known when the graph is built, not the variable {axis}"
            )
        axis = known.item()
    if isinstance(axis, np.ndarray) and axis.ndim == 0:
        axis = axis.item()
    if not isinstance(axis, (int, np.integer)) or isinstance(axis, bool):
        raise TypeError(f"{what}: the axis must be an integer, not {axis!r}")
    return int(axis)


def join(axis: Any, *tensors: Any) -> Variable:
    """``tensors`` one after the other along ``axis``; a single one is returned as it is.

    Raises
    ------
    TypeError
        If their numbers of dimensions differ.
    """
    if len(tensors) == 1:
        return as_tensor(tensors[0])
    variables = [as_tensor(t) for t in tensors]
    axis = static_axis(axis, "join")
    if variables and axis < 0:
        rank = variables[0].type.ndim
        if rank and axis < -rank:
            raise IndexError(f"Join axis {axis} out of bounds [0, {rank})")
        axis += rank
    return Join(axis)(*variables)


def concatenate(tensor_list: Sequence[Any], axis: Any = 0) -> Variable:
    """As `join`, with the arguments in NumPy's order.

    Raises
    ------
    TypeError
        If ``tensor_list`` is no list or tuple.
    """
    if not isinstance(tensor_list, (tuple, list)):
        raise TypeError(
            "The 'tensors' argument must be either a tuple or a list, make sure you did not forget "
            "() or [] around arguments of concatenate.",
            tensor_list,
        )
    return join(axis, *tensor_list)


def stack(*tensors: Any, **kwargs: Any) -> Variable:
    """``stack(tensors, axis=0)``: arrays of equal rank along a new axis.

    Scalars give a vector. The old form ``stack(a, b, c)`` is still understood.

    Raises
    ------
    ValueError
        If there is nothing to stack.
    IndexError
        If ``axis`` is out of range; of scalars it is not looked at.
    """
    if not tensors and not kwargs:
        raise ValueError("stack(tensors, axis) must have at least one parameter")
    axis: Any = kwargs.pop("axis", None)
    rest: Sequence[Any] = ()
    if "tensors" in kwargs:
        items, rest = kwargs.pop("tensors"), tensors
    elif isinstance(tensors[0], (list, tuple)):
        items, rest = tensors[0], tensors[1:]
    elif axis is not None and len(tensors) == 1:
        items = tensors[0]
    else:
        # Of a single array, too: it gets a dimension in front.
        warnings.warn(
            "stack(*tensors) interface is deprecated, use stack(tensors, axis=0) instead.",
            DeprecationWarning,
            stacklevel=2,
        )
        items = tensors
    if isinstance(items, Variable):
        items = [items[k] for k in range(_length(items))]
    if kwargs:
        raise TypeError(f"stack got unexpected keyword arguments {sorted(kwargs)}")
    if rest:
        (axis,) = rest
    axis = static_axis(0 if axis is None else axis, "stack")
    variables = [as_tensor(t) for t in items]
    if not variables:
        raise ValueError("tensors is empty. You should at least provide one tensor to stack.")
    if all(v.type.ndim == 0 for v in variables):  # whatever the axis, as in Theano
        from ltensor.ops.alloc import make_vector

        return make_vector(variables)
    rank = variables[0].type.ndim + 1
    if not -rank <= axis < rank:
        raise IndexError(f"'axis' parameter {axis} is out of bounds [{-rank}, {rank})")
    axis %= rank
    padded = []
    for v in variables:
        if v.type.ndim != rank - 1:
            raise TypeError("Join() can only join tensors with the same number of dimensions.")
        order: list[Any] = list(range(rank - 1))
        order.insert(axis, "x")
        padded.append(dimshuffle(v, order))
    return join(axis, *padded)


def _length(vector: Variable) -> int:
    from ltensor.ops.shape import vector_length

    known = vector.type.shape[0] if vector.type.ndim > 1 else vector_length(vector)
    if known is None:
        raise TypeError("stack needs a list of tensors, or one of known length", vector)
    return known


def stacklists(arg: Any) -> Variable:
    """Nested lists of variables as one array."""
    if isinstance(arg, (tuple, list)):
        return stack([stacklists(a) for a in arg])
    return as_tensor(arg)


def horizontal_stack(*args: Any) -> Variable:
    """Matrices side by side.

    Raises
    ------
    ValueError
        If there are fewer than two, or one is no matrix.
    """
    return concatenate(_matrices(args, "horizontal_stack"), axis=1)


def vertical_stack(*args: Any) -> Variable:
    """Matrices one below the other.

    Raises
    ------
    ValueError
        If there are fewer than two, or one is no matrix.
    """
    return concatenate(_matrices(args, "vertical_stack"), axis=0)


def _matrices(args: Sequence[Any], name: str) -> list[Variable]:
    variables = [as_tensor(a) for a in args]
    if len(variables) < 2:
        raise ValueError("Too few arguments", name)
    if any(v.type.ndim != 2 for v in variables):
        raise ValueError(f"{name} takes matrices only", variables)
    return variables


class Split(DeclaredOp):
    """An array cut along ``axis`` into parts of given sizes: views of it."""

    __props__ = ("len_splits", "axis")
    kind = "kernel"
    ir_name = "split"
    batch = batching.split_rule

    def __init__(self, len_splits: int, axis: int = 0) -> None:
        self.len_splits = int(len_splits)
        self.axis = int(axis)

    def __str__(self) -> str:
        return f"Split{{{self.len_splits}}}"

    def make_node(self, x: Any, *sizes: Any) -> Apply:
        x = as_tensor(x)
        variables = [as_tensor(s) for s in sizes]
        if len(variables) != self.len_splits:
            raise ValueError("Length of splits is not equal to n_splits")
        if not 0 <= self.axis < x.type.ndim:
            raise ValueError(f"Split axis {self.axis} out of bounds [0, {x.type.ndim})")
        for v in variables:
            if v.type.ndim or not dt.is_integer(v.type.dtype):
                raise TypeError("splits must be integers", v.type)
        shape = list(x.type.shape)
        shape[self.axis] = None
        return Apply(self, [x, *variables], [new_tensor(x.type.dtype, shape) for _ in variables])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        x, *sizes = inputs
        lengths = [int(s) for s in sizes]
        if sum(lengths) != x.shape[self.axis]:
            raise ValueError(f"The splits sum to {sum(lengths)}, expected {x.shape[self.axis]}")
        if any(n < 0 for n in lengths):
            raise ValueError(
                "Split: you tried to make an ndarray with a negative number of elements"
            )
        parts = np.split(x, np.cumsum(lengths)[:-1], axis=self.axis)
        for cell, part in zip(output_storage, parts, strict=True):
            cell[0] = part

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        result = []
        for size in node.inputs[1:]:
            dims = list(shapes[0])
            dims[self.axis] = as_int64(size)
            result.append(tuple(dims))
        return result

    def check(self, b: Any, node: Apply, operands: Any) -> None:
        """The parts must make up the whole."""
        have = operands[0].dims[self.axis]
        total: Any = b.const(0)
        for operand in operands[1:]:
            size = b.cast(operand.value, "int64")
            b.check(b.ge(size, 0), "negative_size", node, (size,))
            total = b.add(total, size)
        b.check(b.eq(total, have), "split_mismatch", node, (total, have))

    def lower(self, k: Any) -> None:
        b = k.b
        x = k.operand(0)
        units = x.strides
        if units is None:
            units = tuple(b.size(x.dims[axis + 1 :]) for axis in range(x.ndim))
        start: Any = b.const(0) if x.offset is None else x.offset
        for position, variable in enumerate(k.node.outputs):
            dims = k.block.dims(variable)
            strides = None if self.axis == 0 and x.strides is None else units
            k.result(type(x)(x.dtype, x.pointer, dims, strides, start), position)
            start = b.add(start, b.mul(dims[self.axis], units[self.axis]))

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        n = len(node.outputs)
        return [[True] * n, *[[False] * n for _ in node.inputs[1:]]]

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        from ltensor.ir.types import DisconnectedType
        from ltensor.ops.alloc import zeros_like

        rest = [disconnected_type.make_variable() for _ in inputs[1:]]
        if dt.is_discrete(inputs[0].type.dtype):
            return [zero_gradient(inputs[0]), *rest]
        parts = [
            zeros_like(out) if isinstance(g.type, DisconnectedType) else g
            for out, g in zip(outputs, output_grads, strict=True)
        ]
        return [join(self.axis, *parts), *rest]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        if eval_points[0] is None:
            return [None for _ in range(self.len_splits)]
        return self(eval_points[0], *inputs[1:], return_list=True)


def split(x: Any, splits_size: Any, n_splits: Any, axis: Any = 0) -> Any:
    """``x`` cut along ``axis`` into ``n_splits`` parts of the sizes ``splits_size``.

    Raises
    ------
    ValueError
        If the number of sizes is known and is not ``n_splits``.
    """
    from ltensor.ops.indexing import getitem

    x = as_tensor(x)
    count = static_axis(n_splits, "split: n_splits")
    axis = static_axis(axis, "split")
    if axis < 0:
        axis += x.type.ndim
    if isinstance(splits_size, (list, tuple)):
        sizes = [as_tensor(s) for s in splits_size]
        if len(sizes) != count:
            raise ValueError("Length of splits is not equal to n_splits")
    else:
        vector = as_tensor(splits_size)
        if vector.type.ndim != 1:
            raise TypeError("splits_size must be a vector", vector.type)
        known = constant_value(vector)
        if known is not None and len(known) != count:
            raise ValueError("Length of splits is not equal to n_splits")
        sizes = [getitem(vector, k) for k in range(count)]
    return Split(count, axis)(x, *sizes)


# --------------------------------------------------------------------------------- registry


def _join_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for axis, shapes in (
        (0, ((3,), (4,))),
        (0, ((3,), (0,), (2,))),
        (0, ((3, 4), (2, 4))),
        (1, ((3, 4), (3, 37))),
        (-1, ((2, 3, 4), (2, 3, 1))),
        (1, ((2, 3, 4), (2, 0, 4), (2, 2, 4))),
        (0, ((1, 4), (2, 4))),
    ):
        yield Sample(
            lambda *x, axis=axis: join(axis, *x),
            [draw(rng, dtype, s) for s in shapes],
            f"{axis}{shapes}",
        )
    yield Sample(
        lambda a, b: stack([a, b], axis=1), [draw(rng, dtype, (3,)) for _ in range(2)], "stack"
    )
    other = "float64" if dtype != "float64" else "float32"
    yield Sample(
        lambda a, b: concatenate([a, b]),
        [draw(rng, dtype, (3,)), draw(rng, other, (2,))],
        "upcast",
        differentiable=False,
    )


def _split_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for shape, sizes, axis in (
        ((6,), (1, 2, 3), 0),
        ((5, 4), (2, 0, 3), 0),
        ((3, 6), (4, 2), 1),
        ((2, 3, 4), (1, 1, 2), -1),
    ):
        yield Sample(
            lambda x, s, sizes=sizes, axis=axis: split(x, s, len(sizes), axis),
            [draw(rng, dtype, shape), np.array(sizes, "int64")],
            f"{shape}{sizes}",
        )


declare(Declaration("join", "Arrays one after the other.", Join, _join_samples, 0))
declare(Declaration("split", "An array cut into parts.", Split, _split_samples, 0))
