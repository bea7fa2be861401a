"""Diagonals: read one (a view), make an array of one, fill one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import disconnected_type
from ltensor.ops import batching
from ltensor.ops.elementwise import zero_gradient
from ltensor.ops.opdef import Declaration, IndexedOp, Sample, declare, new_tensor
from ltensor.ops.samples import draw
from ltensor.ops.shape import dimshuffle, shape_i
from ltensor.ops.slicing import as_int64, larger, minus, plus, smaller


class ExtractDiag(IndexedOp):
    """The diagonals over two axes, as the last axis of the result. A view."""

    __props__ = ("offset", "axis1", "axis2")
    affine = True
    ir_name = "extract_diag"
    batch = batching.shifted_axis("axis1", "axis2")

    def __init__(self, offset: int = 0, axis1: int = 0, axis2: int = 1, view: bool = False) -> None:
        self.offset = int(offset)
        self.axis1, self.axis2 = int(axis1), int(axis2)
        self.view = view

    def make_node(self, x: Any) -> Apply:
        x = as_tensor(x)
        if x.type.ndim < 2:
            raise ValueError("ExtractDiag needs an input with 2 or more dimensions", x)
        if (
            self.axis1 == self.axis2
            or not 0 <= min(self.axis1, self.axis2) <= max(self.axis1, self.axis2) < x.type.ndim
        ):
            raise ValueError(f"ExtractDiag: no axes {self.axis1}, {self.axis2} of {x}")
        sizes = [s for k, s in enumerate(x.type.shape) if k not in (self.axis1, self.axis2)]
        return Apply(self, [x], [new_tensor(x.type.dtype, [*sizes, None])])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        output_storage[0][0] = inputs[0].diagonal(self.offset, self.axis1, self.axis2)

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        kept = [s for k, s in enumerate(shapes[0]) if k not in (self.axis1, self.axis2)]
        rows, columns = shapes[0][self.axis1], shapes[0][self.axis2]
        if self.offset > 0:
            columns = minus(columns, self.offset)
        elif self.offset < 0:
            rows = plus(rows, self.offset)
        length = smaller(rows, columns)
        return [(*kept, as_int64(length if self.offset == 0 else larger(length, 0)))]

    def source_index(self, e: Any, node: Apply, operands: Any, index: Any) -> list[Any]:
        *kept, at = index
        rest = iter(kept)
        result = []
        for axis in range(node.inputs[0].type.ndim):
            if axis == self.axis1:
                result.append(e.add(at, e.const(max(-self.offset, 0))))
            elif axis == self.axis2:
                result.append(e.add(at, e.const(max(self.offset, 0))))
            else:
                result.append(next(rest))
        return result

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        (x,), (g,) = inputs, output_grads
        if dt.is_discrete(x.type.dtype):
            return [zero_gradient(x)]
        sizes = [shape_i(x, self.axis1), shape_i(x, self.axis2)]
        from ltensor.ops.shape import restore_flags

        placed = PlaceDiag(self.offset, self.axis1, self.axis2)(g, *sizes)
        return [restore_flags(placed, x)]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return [None if eval_points[0] is None else self(eval_points[0])]


class PlaceDiag(IndexedOp):
    """Zeros with the last axis of the operand on a diagonal of two axes of given sizes."""

    __props__ = ("offset", "axis1", "axis2")
    ir_name = "alloc_diag"
    batch = batching.shifted_axis("axis1", "axis2")

    def __init__(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> None:
        self.offset = int(offset)
        self.axis1, self.axis2 = int(axis1), int(axis2)

    def __str__(self) -> str:
        return f"AllocDiag{{offset={self.offset}, axis1={self.axis1}, axis2={self.axis2}}}"

    def make_node(self, x: Any, rows: Any, columns: Any) -> Apply:
        x, rows, columns = as_tensor(x), as_tensor(rows), as_tensor(columns)
        if x.type.ndim < 1:
            raise ValueError("AllocDiag needs an input with 1 or more dimensions", x)
        if any(v.type.ndim or not dt.is_integer(v.type.dtype) for v in (rows, columns)):
            raise TypeError("AllocDiag: sizes must be integer scalars", rows, columns)
        sizes = self._spread(list(x.type.shape[:-1]), None, None)
        return Apply(self, [x, rows, columns], [new_tensor(x.type.dtype, sizes)])

    def _spread(self, kept: list[Any], row: Any, column: Any) -> list[Any]:
        """``kept`` with two entries put in at the two axes."""
        rest = iter(kept)
        result = []
        for axis in range(len(kept) + 2):
            if axis == self.axis1:
                result.append(row)
            elif axis == self.axis2:
                result.append(column)
            else:
                result.append(next(rest))
        return result

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        x, rows, columns = inputs
        shape = self._spread(list(x.shape[:-1]), int(rows), int(columns))
        result = np.zeros(shape, dtype=x.dtype)
        at = np.arange(x.shape[-1])
        moved = np.moveaxis(result, (self.axis1, self.axis2), (-2, -1))
        moved[..., at + max(-self.offset, 0), at + max(self.offset, 0)] = x
        output_storage[0][0] = result

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        rows, columns = (as_int64(v) for v in node.inputs[1:])
        return [tuple(self._spread(list(shapes[0][:-1]), rows, columns))]

    def element(self, e: Any, node: Apply, operands: Any, index: Any) -> Any:
        row = e.sub(index[self.axis1], max(-self.offset, 0))
        column = e.sub(index[self.axis2], max(self.offset, 0))
        size = operands[0].dims[-1]
        inside = e.and_(e.eq(row, column), e.and_(e.ge(row, 0), e.lt(row, size)))
        kept = [i for k, i in enumerate(index) if k not in (self.axis1, self.axis2)]
        # off the diagonal any element may be read, if there is one
        at = e.min(e.max(row, e.const(0)), e.max(e.sub(size, 1), e.const(0)))
        value = operands[0].at([*kept, at])
        return e.select(inside, value, e.const(0, operands[0].dtype))

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        return [[True], [False], [False]]

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        x = inputs[0]
        rest = [disconnected_type.make_variable() for _ in inputs[1:]]
        if dt.is_discrete(x.type.dtype):
            return [zero_gradient(x), *rest]
        from ltensor.ops.shape import restore_flags

        back = ExtractDiag(self.offset, self.axis1, self.axis2)(output_grads[0])
        return [restore_flags(back, x), *rest]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return [None if eval_points[0] is None else self(eval_points[0], *inputs[1:])]


def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Variable:
    """The diagonals over two axes, as the last axis of the result."""
    a = as_tensor(a)
    rank = a.type.ndim
    if rank < 2:
        raise ValueError("diagonal needs an input with 2 or more dimensions", a)
    first, second = (x + rank if x < 0 else x for x in (axis1, axis2))
    return ExtractDiag(offset, first, second)(a)


def alloc_diag(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Variable:
    """Zeros with the last axis of ``x`` on the diagonal of two new axes."""
    x = as_tensor(x)
    rank = x.type.ndim + 1
    axes = [a + rank if a < 0 else a for a in (axis1, axis2)]
    size = as_int64(plus(shape_i(x, x.type.ndim - 1), abs(int(offset))))
    return PlaceDiag(offset, *axes)(x, size, size)


class AllocDiag:
    """Theano's op by that name: call it with the diagonal."""

    def __init__(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> None:
        self.arguments = (offset, axis1, axis2)

    def __call__(self, x: Any) -> Variable:
        return alloc_diag(x, *self.arguments)


def diag(v: Any, k: int = 0) -> Variable:
    """The diagonal of a matrix, or the matrix of a diagonal.

    Raises
    ------
    ValueError
        Of a scalar.
    """
    v = as_tensor(v)
    if v.type.ndim == 0:
        raise ValueError("Number of dimensions of `v` must be greater than or equal to 1.")
    return alloc_diag(v, k) if v.type.ndim == 1 else diagonal(v, k)


def fill_diagonal(a: Any, val: Any) -> Variable:
    """A copy of ``a`` with its main diagonal set to the scalar ``val``.

    Raises
    ------
    TypeError
        If ``a`` has fewer than two dimensions, or cannot hold ``val``.
    """
    return _fill(a, val, None, "fill_diagonal")


def fill_diagonal_offset(a: Any, val: Any, offset: Any) -> Variable:
    """A copy of the matrix ``a`` with one diagonal set to the scalar ``val``.

    Raises
    ------
    TypeError
        If ``a`` is no matrix, or cannot hold ``val``.
    """
    return _fill(a, val, offset, "fill_diagonal_offset")


def _fill(a: Any, val: Any, offset: Any, name: str) -> Variable:
    from ltensor.ops.alloc import arange
    from ltensor.ops.arithmetic import add, switch
    from ltensor.ops.bits import and_
    from ltensor.ops.cast import cast
    from ltensor.ops.compare import eq

    a, val = as_tensor(a), as_tensor(val)
    rank = a.type.ndim
    if rank < 2 or (offset is not None and rank != 2):
        wanted = "two dimensions" if offset is not None else "two dimensions or more"
        raise TypeError(f"{name}: first parameter must have exactly {wanted}", a.type)
    if val.type.ndim:
        raise TypeError(f"{name}: second parameter has to be a scalar", val.type)
    if dt.upcast(a.type.dtype, val.type.dtype) != a.type.dtype:
        raise TypeError(
            f"{name}: type of second parameter must be the same as or be upcasted to that of the "
            f"first: {val.type.dtype}, {a.type.dtype}"
        )
    places = []
    for axis in range(rank):
        order: list[Any] = ["x"] * rank
        order[axis] = 0
        places.append(dimshuffle(arange(shape_i(a, axis)), order))
    if offset is not None:
        places[0] = add(places[0], as_tensor(offset))
    where = eq(places[0], places[1])
    for place in places[2:]:
        where = and_(where, eq(places[0], place))
    return switch(where, cast(val, a.type.dtype), a)


# --------------------------------------------------------------------------------- registry


def _extract_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for shape, offset, axes in (
        ((4, 4), 0, (0, 1)),
        ((3, 40), 1, (0, 1)),
        ((5, 3), -2, (0, 1)),
        ((3, 3), 5, (0, 1)),
        ((2, 3, 4), 0, (1, 2)),
        ((2, 3, 4), 1, (2, 0)),
    ):
        yield Sample(
            lambda x, offset=offset, axes=axes: diagonal(x, offset, *axes),
            [draw(rng, dtype, shape)],
            f"{shape}{offset}",
        )


def _place_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for shape, offset, axes in (
        ((4,), 0, (0, 1)),
        ((4,), 2, (0, 1)),
        ((4,), -1, (0, 1)),
        ((2, 3), 1, (1, 2)),
        ((2, 3), 0, (2, 0)),
        ((0,), 1, (0, 1)),
    ):
        yield Sample(
            lambda x, offset=offset, axes=axes: alloc_diag(x, offset, *axes),
            [draw(rng, dtype, shape)],
            f"{shape}{offset}",
        )
    yield Sample(lambda x: fill_diagonal(x, 1), [draw(rng, dtype, (4, 3))], "fill")
    yield Sample(lambda x: fill_diagonal_offset(x, 1, -1), [draw(rng, dtype, (3, 4))], "fill -1")
    yield Sample(lambda x: fill_diagonal(x, 1), [draw(rng, dtype, (3, 3, 3))], "fill 3d")


declare(Declaration("extract_diag", "Diagonals over two axes.", ExtractDiag, _extract_samples, 0))
declare(Declaration("alloc_diag", "Zeros but for a diagonal.", PlaceDiag, _place_samples, 0))
