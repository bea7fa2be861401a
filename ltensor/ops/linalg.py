"""Products of vectors and matrices: `dot` and what is built of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Apply, Variable
from ltensor.ops import batching
from ltensor.ops.arithmetic import add, mul
from ltensor.ops.opdef import Declaration, DeclaredOp, Sample, declare, new_tensor
from ltensor.ops.samples import draw
from ltensor.ops.shape import dims_of, dimshuffle, reshape, set_flags


def product_symbol(dtype: str, form: str = "matmul") -> str:
    """The run time's product of matrices of ``dtype``: ``lt_matmul_f32``.

    Other forms: ``matmul_batched``, and for real floats ``matmul_kept``, whose right operand may
    have been packed: ``keep_columns`` says whether that pays, ``keep_packed`` does it.
    """
    names = {"bool": "bool", "complex64": "c64", "complex128": "c128"}
    short = names.get(dtype)
    if short is None:
        bits = dtype.lstrip("uintfloa")
        short = f"{dtype[0]}{bits}"
    return f"lt_{form}_{short}"


def scalar_arguments(b: Any, dtype: str, alpha: float, beta: float) -> list[Any]:
    """``alpha`` and ``beta`` as the run time's products take them."""
    part = "int8" if dtype == "bool" else dt.real_part(dtype)
    values = []
    for number in (alpha, beta):
        values.append(b.const(number, part))
        if dt.is_complex(dtype):
            values.append(b.const(0, part))
    return values


def matrix_strides(b: Any, view: Any) -> tuple[Any, ...]:
    """The strides of a view, in elements."""
    if view.strides is not None:
        return tuple(view.strides)
    return tuple(b.size(view.dims[axis + 1 :]) for axis in range(view.ndim))


def transposed(b: Any, view: Any) -> Any:
    """The same elements of a matrix, rows and columns exchanged."""
    (rows, columns), (down, across) = view.dims, matrix_strides(b, view)
    return type(view)(view.dtype, view.pointer, (columns, rows), (across, down), view.offset)


def converted(b: Any, view: Any, dtype: str) -> Any:
    """``view`` in ``dtype``, copied only if its dtype is another."""
    if view.dtype == dtype:
        return view
    copy = b.temporary(dtype, view.dims)
    convert_into(b, copy, view)
    return copy


def convert_into(b: Any, target: Any, source: Any) -> None:
    """Copy elements between views of equal sizes and different dtypes."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        index = []
        for axis, dim in enumerate(target.dims):
            kind = "vector" if axis == target.ndim - 1 else "serial"
            loop = b.loop(dim, kind=kind, parallel=True)
            index.append(stack.enter_context(loop).index)
        b.store(target, index, b.cast(b.load(source, index), target.dtype))


class Dot(DeclaredOp):
    """The product of two matrices, of a matrix and a vector, or of two vectors."""

    __props__ = ()
    kind = "kernel"
    ir_name = "dot"
    batch = batching.dot_rule

    def __str__(self) -> str:
        return "dot"

    def make_node(self, *inputs: Any) -> Apply:
        if len(inputs) != 2:
            raise TypeError(f"theano.tensor.Dot: 2 arguments required, {len(inputs)} given ")
        x, y = (as_tensor(value) for value in inputs)
        for position, v in enumerate((x, y)):
            if v.type.ndim not in (1, 2):
                raise TypeError(
                    f"theano.tensor.Dot: input {position} (0-indexed) must have ndim of 1 or 2, "
                    f"{v.type.ndim} given. Consider calling theano.tensor.dot instead."
                )
        inner = {x.type.shape[-1], y.type.shape[0]} - {None}
        if len(inner) > 1:
            raise ValueError(
                f"dot: the operands' static shapes do not fit: {x.type.shape}, {y.type.shape}"
            )
        sizes = x.type.shape[:-1] + (y.type.shape[1:] if y.type.ndim == 2 else ())
        dtype = dt.upcast(x.type.dtype, y.type.dtype)
        return Apply(self, [x, y], [new_tensor(dtype, sizes)])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        x, y = inputs
        if x.shape[-1] != y.shape[0]:
            raise ValueError(
                f"shapes {x.shape} and {y.shape} not aligned: {x.shape[-1]} (dim {x.ndim - 1}) != "
                f"{y.shape[0]} (dim 0)"
            )
        with np.errstate(all="ignore"):
            output_storage[0][0] = np.asarray(np.dot(x, y))

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [tuple(shapes[0][:-1]) + tuple(shapes[1][1:])]

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        from ltensor.ops.elementwise import zero_gradient

        (x, y), (g,) = inputs, output_grads
        if dt.is_discrete(outputs[0].type.dtype):
            return [zero_gradient(x), zero_gradient(y)]
        if x.type.ndim == 1 and y.type.ndim == 1:
            gx, gy = mul(g, y), mul(g, x)
        elif x.type.ndim == 1:
            gx, gy = dot(g, dimshuffle(y, 1, 0)), outer(x, g)
        elif y.type.ndim == 1:
            gx, gy = outer(g, y), dot(dimshuffle(x, 1, 0), g)
        else:
            gx, gy = dot(g, dimshuffle(y, 1, 0)), dot(dimshuffle(x, 1, 0), g)
        return [set_flags(gx, x.type.broadcastable), set_flags(gy, y.type.broadcastable)]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        (x, y), (dx, dy) = inputs, eval_points
        terms = []
        if dx is not None:
            terms.append(self(dx, y))
        if dy is not None:
            terms.append(self(x, dy))
        if not terms:
            return [None]
        return [terms[0] if len(terms) == 1 else add(*terms)]

    # ---------------------------------------------------------------- lowering

    def lower(self, k: Any) -> None:
        b = k.b
        out = k.node.outputs[0].type.dtype
        dtype = dt.work_dtype(out)
        x, y = k.operand(0), k.operand(1)
        n, m = x.dims[-1], y.dims[0]
        if not k.block.same(n, m):
            k.check(b.eq(n, m), "dot", (n, m))
            k.block.unify(n, m)
        kept = k.block.kept.get(k.node)
        halves = x.dtype == y.dtype == out == "float16" and kept is None
        if not halves:
            x, y = converted(b, x, dtype), converted(b, y, dtype)
        if x.ndim == 1 and y.ndim == 1:
            k.result(b.cast(_inner(b, x, y, dtype), out))
            return
        target = k.output(0)
        if halves:
            if not _by_rows(b, target, x, y, dtype):
                emit_product(b, target, x, y)
            return
        place = target if out == dtype else b.temporary(dtype, target.dims)
        if not _by_rows(b, place, x, y, dtype):
            emit_product(b, place, x, y, kept=kept)
        if place is not target:
            convert_into(b, target, place)


def _inner(b: Any, x: Any, y: Any, dtype: str) -> Any:
    """The sum of the products of two vectors."""
    n = x.dims[0]
    zero = b.const(0, dtype)
    if dt.is_complex(dtype):
        with b.loop(n, carries=[zero.re, zero.im]) as loop:
            term = b.mul(b.load(x, [loop.index]), b.load(y, [loop.index]))
            loop.next(b.add(loop.carry[0], term.re), b.add(loop.carry[1], term.im))
        return type(zero)(loop.results[0], loop.results[1], dtype)
    combine = "or" if dtype == "bool" else "add"
    with b.reduce(n, combine, zero) as loop:
        loop.next(b.mul(*(b.cast(b.load(v, [loop.index]), dtype) for v in (x, y))))
    return loop.results[0]


def sums_adjacent(b: Any, matrix: Any, axis: int) -> bool:
    """Whether elements along ``axis`` are adjacent, for all that is known when compiling."""
    step = matrix_strides(b, matrix)[axis]
    return bool(step.op == "const" and step.attr == 1)


def _by_rows(b: Any, target: Any, x: Any, y: Any, dtype: str) -> bool:
    """Write ``target = x y`` as one sum per row, if one operand is a vector and that is fastest.

    Wherever the matrix is summed along adjacent elements this is up to a fifth faster than the run
    time's product (and no call); otherwise that one is several times faster.
    """
    if dt.is_complex(dtype) or (x.ndim == 2 and y.ndim == 2):
        return False
    matrix, vector = (x, y) if x.ndim == 2 else (y, x)
    along = 1 if matrix is x else 0
    if not sums_adjacent(b, matrix, along):
        return False
    combine = "or" if dtype == "bool" else "add"
    # inside of loops it is mostly too little work to ask whether threads should share it
    shared = b.scope is b.root
    with b.loop(matrix.dims[1 - along], parallel=shared, label="dot") as outer_loop:
        with b.reduce(matrix.dims[along], combine, b.const(0, dtype)) as loop:
            loop.plain = True
            index = [loop.index, loop.index]
            index[1 - along] = outer_loop.index
            factors = b.load(matrix, index), b.load(vector, [loop.index])
            loop.next(b.mul(*(b.cast(value, dtype) for value in factors)))
        b.store(target, [outer_loop.index], b.cast(loop.results[0], target.dtype))
    return True


def emit_product(
    b: Any, target: Any, x: Any, y: Any, *, kept: Any = None, accumulate: bool = False
) -> None:
    """``target = x y``, or ``target += x y``, for dense ``target``, by the run time's product.

    ``kept`` is ``y`` as it was packed before a loop: for how many rows of ``x``, and where.
    """
    dtype = target.dtype
    # a product of float16 is rounded, never added to what is there
    halves = dtype == "float16"
    assert not (halves and accumulate)
    scalars = [] if halves else scalar_arguments(b, dtype, 1, int(accumulate))
    one, zero = b.const(1), b.const(0)
    xs, ys = matrix_strides(b, x), matrix_strides(b, y)
    rows, inner = (x.dims[0], x.dims[1]) if x.ndim == 2 else (one, x.dims[0])
    columns = y.dims[1] if y.ndim == 2 else one
    a_strides = xs if x.ndim == 2 else (zero, xs[0])
    b_strides = ys if y.ndim == 2 else (ys[0], one)
    right, last = (b.shifted(y, 0), []) if kept is None else (kept.pointer, [kept.rows])
    b.call(
        product_symbol(dtype, "matmul" if kept is None else "matmul_kept"),
        [
            rows, columns, inner,
            b.shifted(x, 0), *a_strides,
            right, *b_strides,
            b.shifted(target, 0), columns,
            *scalars, *last,
        ],
    )  # fmt: skip


_dot = Dot()


def dot(x: Any, y: Any) -> Variable:
    """The product of ``x`` and ``y``: NumPy's ``dot``.

    A 0-d operand multiplies; vectors and matrices are multiplied as usual; for more dimensions the
    last axis of ``x`` is summed with the last but one of ``y``.
    """
    x, y = as_tensor(x), as_tensor(y)
    if x.type.ndim == 0 or y.type.ndim == 0:
        return mul(x, y)
    if x.type.ndim > 2 or y.type.ndim > 2:
        return tensordot(x, y, [[x.type.ndim - 1], [max(0, y.type.ndim - 2)]])
    return _dot(x, y)


def outer(x: Any, y: Any) -> Variable:
    """All products of an element of ``x`` and one of ``y``, both flattened."""
    x, y = (v if v.type.ndim == 1 else reshape(v, [-1]) for v in (as_tensor(x), as_tensor(y)))
    return mul(dimshuffle(x, 0, "x"), dimshuffle(y, "x", 0))


def tensordot(a: Any, b: Any, axes: Any = 2) -> Variable:
    """Sum products over pairs of axes, as NumPy's ``tensordot``.

    Parameters
    ----------
    axes : int or pair
        How many of the last axes of ``a`` meet the first of ``b``; or the axes (ints or lists) of
        ``a`` and of ``b`` that meet.

    Raises
    ------
    ValueError
        If there are no such axes, or unequally many.
    """
    a, b = as_tensor(a), as_tensor(b)
    first, second = met_axes(a, b, axes)
    kept_a = [k for k in range(a.type.ndim) if k not in first]
    kept_b = [k for k in range(b.type.ndim) if k not in second]
    left = _flat(a, kept_a, first)
    right = _flat(b, second, kept_b)
    product = _dot(left, right)
    dims_a, dims_b = dims_of(a), dims_of(b)
    sizes = [dims_a[k] for k in kept_a] + [dims_b[k] for k in kept_b]
    if len(kept_a) == 1 and len(kept_b) == 1:
        return product
    flags = [a.type.broadcastable[k] for k in kept_a] + [b.type.broadcastable[k] for k in kept_b]
    return set_flags(reshape(product, sizes, ndim=len(sizes)), flags)


def _flat(x: Variable, rows: Sequence[int], columns: Sequence[int]) -> Variable:
    """``x`` as a matrix whose rows are the axes ``rows`` and whose columns are ``columns``."""
    order = (*rows, *columns)
    turned = dimshuffle(x, order)
    if len(rows) == 1 and len(columns) == 1:
        return turned
    dims = dims_of(x)
    return reshape(turned, [product_of(dims, rows), product_of(dims, columns)], ndim=2)


def product_of(dims: Sequence[Variable], axes: Sequence[int]) -> Any:
    """The product of some sizes."""
    if not axes:
        return 1
    return mul(*(dims[k] for k in axes)) if len(axes) > 1 else dims[axes[0]]


def met_axes(a: Variable, b: Variable, axes: Any) -> tuple[list[int], list[int]]:
    """The axes of ``a`` and of ``b`` that meet, as non-negative ints."""
    if isinstance(axes, (int, np.integer)):
        count = int(axes)
        if count < 0 or count > min(a.type.ndim, b.type.ndim):
            raise ValueError(
                f"axes should be between 0 and the operands' ranks, got {count} for ranks "
                f"{a.type.ndim} and {b.type.ndim}"
            )
        return list(range(a.type.ndim - count, a.type.ndim)), list(range(count))
    if isinstance(axes, Variable) or len(axes) != 2:
        raise ValueError(
            f"Axes should be an integer or a list/tuple of len 2 ({axes} was provided)"
        )
    found = []
    for operand, chosen in zip((a, b), axes, strict=True):
        listed = [chosen] if isinstance(chosen, (int, np.integer)) else list(chosen)
        rank = operand.type.ndim
        for axis in listed:
            if not -rank <= int(axis) < rank:
                raise ValueError(f"tensordot: {operand} of rank {rank} has no axis {axis}")
        found.append([int(axis) % rank for axis in listed])
    if len(found[0]) != len(found[1]):
        raise ValueError("tensordot: unequally many axes of the two operands are summed")
    return found[0], found[1]


# --------------------------------------------------------------------------------- registry


_SOME = (slice(1, None), slice(None, None, 2))


def _dot_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    from ltensor.ops.indexing import getitem

    for first, second in (
        ((3, 4), (4, 5)),
        ((7, 33), (33, 18)),
        ((1, 5), (5, 1)),
        ((3, 0), (0, 2)),
        ((0, 3), (3, 2)),
        ((3, 4), (4,)),
        ((9, 37), (37,)),
        ((4,), (4, 3)),
        ((37,), (37, 21)),
        ((5,), (5,)),
        ((0,), (0,)),
        ((0,), (0, 3)),
        ((2, 0), (0,)),
        ((1,), (1,)),
    ):
        yield Sample(
            dot, [draw(rng, dtype, first), draw(rng, dtype, second)], f"{first}{second}", ulp=64
        )
    turned = ((4, 3), (5, 4))
    yield Sample(
        lambda x, y: dot(dimshuffle(x, 1, 0), dimshuffle(y, 1, 0)),
        [draw(rng, dtype, s) for s in turned], "transposed", ulp=64,
    )  # fmt: skip
    yield Sample(
        lambda x, y: dot(x, dimshuffle(y, 1, 0)),
        [draw(rng, dtype, (6,)), draw(rng, dtype, (5, 6))], "vector, transposed", ulp=64,
    )  # fmt: skip
    yield Sample(
        lambda x, y: dot(dimshuffle(x, 1, 0), y),
        [draw(rng, dtype, (6, 19)), draw(rng, dtype, (6,))], "transposed, vector", ulp=64,
    )  # fmt: skip
    yield Sample(
        lambda x, y: dot(getitem(x, _SOME), getitem(y, slice(None, None, -1))),
        [draw(rng, dtype, (4, 7)), draw(rng, dtype, (4, 2))], "windows", ulp=64,
    )  # fmt: skip
    for one, other, axes in (
        ((2, 3, 4), (4, 3, 2), [[1, 2], [1, 0]]),
        ((2, 3, 4), (3, 4, 5), 2),
        ((2, 3), (3, 2), [0, 1]),
        ((2, 3), (4,), 0),
        ((3,), (3, 1, 2), 1),
    ):
        yield Sample(
            lambda x, y, axes=axes: tensordot(x, y, axes),
            [draw(rng, dtype, one), draw(rng, dtype, other)], f"tensordot {axes}", ulp=64,
        )  # fmt: skip


declare(Declaration("dot", "Product of vectors and matrices.", Dot, _dot_samples, 64))
