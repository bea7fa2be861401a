"""Square matrices: determinant, inverse, linear systems; native code.

Elimination is by rows with partial pivoting, which suits the small matrices of filters and
Gaussian models; there are no calls and no other temporaries than a copy of the operand.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ltensor.errors import UnsupportedError
from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor, constant
from ltensor.ir.graph import Apply, Variable
from ltensor.ops.arithmetic import add, mul, neg
from ltensor.ops.cast import cast
from ltensor.ops.linalg import dot, outer
from ltensor.ops.opdef import Declaration, DeclaredOp, Sample, declare, new_tensor
from ltensor.ops.samples import draw
from ltensor.ops.shape import dimshuffle

#: what is known of the matrix of a linear system
STRUCTURES = ("general", "symmetric", "lower_triangular", "upper_triangular")


def as_matrix(name: str, value: Any, ranks: tuple[int, ...] = (2,)) -> Variable:
    """``value`` as a float matrix (or vector, if ``ranks`` says so).

    Raises
    ------
    TypeError
        If it has another rank.
    """
    x = as_tensor(value)
    if x.type.ndim not in ranks:
        wanted = " or ".join(f"{rank}-d" for rank in ranks)
        raise TypeError(f"{name} takes a {wanted} tensor, not {x.type}")
    if dt.is_complex(x.type.dtype) or x.type.dtype == "float16":
        raise UnsupportedError(
            f"{name} of {x.type.dtype} is not supported: cast to float32 or float64, or compute it "
            "in an op of your own (as_op)"
        )
    return cast(x, "float64") if dt.is_discrete(x.type.dtype) else x


def transpose(x: Variable) -> Variable:
    """A matrix with rows and columns exchanged."""
    return dimshuffle(x, 1, 0)


# --------------------------------------------------------------------------------- elimination


def square_size(k: Any, dims: Any) -> Any:
    """The size of a square matrix, checked."""
    rows, columns = dims
    if not k.block.same(rows, columns):
        k.check(k.b.eq(rows, columns), "not_square", (rows, columns))
        k.block.unify(rows, columns)
    return rows


def _copy(k: Any, x: Any) -> Any:
    copy = k.b.temporary(x.dtype, x.dims)
    k.block.copy(copy, x)
    return copy


def _swap(b: Any, a: Any, i: Any, j: Any) -> None:
    """Exchange two rows."""
    with b.loop(a.dims[1], kind="vector") as column:
        x, y = b.load(a, [i, column.index]), b.load(a, [j, column.index])
        b.store(a, [i, column.index], y)
        b.store(a, [j, column.index], x)


def _take_away(b: Any, a: Any, target: Any, source: Any, factor: Any, start: Any = 0) -> None:
    """Subtract ``factor`` times row ``source`` from row ``target``, from column ``start`` on."""
    with b.loop(b.sub(a.dims[1], start), kind="vector") as loop:
        column = b.add(loop.index, start)
        term = b.mul(factor, b.load(a, [source, column]))
        b.store(a, [target, column], b.sub(b.load(a, [target, column]), term))


def _pivot(b: Any, a: Any, k: Any) -> Any:
    """The row, from ``k`` on, with the largest entry in column ``k``."""
    first = b.abs(b.load(a, [k, k]))
    with b.loop(b.sub(a.dims[0], k), carries=[first, k]) as loop:
        row = b.add(loop.index, k)
        size = b.abs(b.load(a, [row, k]))
        better = b.gt(size, loop.carry[0])
        loop.next(b.select(better, size, loop.carry[0]), b.select(better, row, loop.carry[1]))
    return loop.results[1]


def eliminate(k: Any, a: Any, right: Any | None, regular: bool) -> Any:
    """Make ``a`` upper triangular by row operations, done to ``right`` as well.

    With ``regular`` a zero pivot is an error of kind ``singular``. Returns the determinant.
    """
    b = k.b
    n = a.dims[0]
    zero, one = b.const(0, a.dtype), b.const(1, a.dtype)
    with b.loop(n, carries=[one], label=str(k.node.op)) as step:
        i = step.index
        row = _pivot(b, a, i)
        _swap(b, a, i, row)
        if right is not None:
            _swap(b, right, i, row)
        pivot = b.load(a, [i, i])
        if regular:
            k.check(b.ne(pivot, zero), "singular")
        sign = b.select(b.eq(row, i), one, b.const(-1, a.dtype))
        step.next(b.mul(step.carry[0], b.mul(sign, pivot)))
        with b.loop(b.sub(b.sub(n, i), 1)) as below:
            target = b.add(below.index, b.add(i, 1))
            quotient = b.div(b.load(a, [target, i]), pivot)
            factor = quotient if regular else b.select(b.eq(pivot, zero), zero, quotient)
            _take_away(b, a, target, i, factor, i)
            if right is not None:
                _take_away(b, right, target, i, factor)
    return step.results[0]


def substitute_rows(k: Any, a: Any, right: Any, upper: bool) -> None:
    """Solve for a triangular ``a``: ``right`` becomes the solution."""
    b = k.b
    n = a.dims[0]
    with b.loop(n) as step:
        i = b.sub(b.sub(n, 1), step.index) if upper else step.index
        pivot = b.load(a, [i, i])
        k.check(b.ne(pivot, 0), "singular")
        with b.loop(right.dims[1], kind="vector") as column:
            value = b.load(right, [i, column.index])
            b.store(right, [i, column.index], b.div(value, pivot))
        with b.loop(i if upper else b.sub(b.sub(n, i), 1)) as rest:
            target = rest.index if upper else b.add(rest.index, b.add(i, 1))
            _take_away(b, right, target, i, b.load(a, [target, i]))


# --------------------------------------------------------------------------------- ops


class Det(DeclaredOp):
    """The determinant of a square matrix."""

    __props__ = ()
    kind = "kernel"
    ir_name = "det"

    def __str__(self) -> str:
        return "Det"

    def make_node(self, x: Any) -> Apply:
        x = as_matrix("det", x)
        return Apply(self, [x], [new_tensor(x.type.dtype, ())])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        output_storage[0][0] = np.asarray(np.linalg.det(inputs[0]), dtype=inputs[0].dtype)

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [()]

    def lower(self, k: Any) -> None:
        x = k.operand(0)
        square_size(k, x.dims)
        k.result(eliminate(k, _copy(k, x), None, regular=False))

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        inverse = transpose(matrix_inverse(inputs[0]))
        return [mul(output_grads[0], outputs[0], inverse)]


class MatrixInverse(DeclaredOp):
    """The inverse of a square matrix."""

    __props__ = ()
    kind = "kernel"
    ir_name = "matrix_inverse"

    def __str__(self) -> str:
        return "MatrixInverse"

    def make_node(self, x: Any) -> Apply:
        x = as_matrix("matrix_inverse", x)
        return Apply(self, [x], [new_tensor(x.type.dtype, x.type.shape)])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        output_storage[0][0] = np.linalg.inv(inputs[0])

    def may_fail(self, node: Apply, known: Any = None) -> bool:
        return True

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [shapes[0]]

    def lower(self, k: Any) -> None:
        b = k.b
        x = k.operand(0)
        n = square_size(k, x.dims)
        a, target = _copy(k, x), k.output(0)
        with b.loop(n) as row, b.loop(n, kind="vector") as column:
            one, zero = b.const(1, x.dtype), b.const(0, x.dtype)
            value = b.select(b.eq(row.index, column.index), one, zero)
            b.store(target, [row.index, column.index], value)
        eliminate(k, a, target, regular=True)
        substitute_rows(k, a, target, upper=True)

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        turned = transpose(outputs[0])
        return [neg(dot(dot(turned, output_grads[0]), turned))]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        if eval_points[0] is None:
            return [None]
        inverse = self(inputs[0])
        return [neg(dot(dot(inverse, eval_points[0]), inverse))]


class Solve(DeclaredOp):
    """The ``x`` with ``A x = b``, for a vector or matrix ``b``.

    Parameters
    ----------
    A_structure : {'general', 'symmetric', 'lower_triangular', 'upper_triangular'}
        Of a triangular matrix only that half is read.
    lower, overwrite_A, overwrite_b
        Accepted for Theano's sake; ``lower`` follows from the structure.
    """

    __props__ = ("A_structure",)
    kind = "kernel"
    ir_name = "solve"

    def __init__(
        self,
        A_structure: str = "general",
        lower: bool = False,
        overwrite_A: bool = False,
        overwrite_b: bool = False,
    ) -> None:
        if A_structure not in STRUCTURES:
            raise ValueError("Invalid matrix structure argument", A_structure)
        self.A_structure = A_structure

    def __str__(self) -> str:
        return f"Solve{{{self.A_structure}}}"

    def make_node(self, a: Any, b: Any) -> Apply:
        a, b = as_matrix("solve", a), as_matrix("solve", b, (1, 2))
        dtype = dt.upcast(a.type.dtype, b.type.dtype)
        a, b = cast(a, dtype), cast(b, dtype)
        sizes = (a.type.shape[1], *b.type.shape[1:])
        return Apply(self, [a, b], [new_tensor(dtype, sizes)])

    def _half(self, a: Any) -> Any:
        if self.A_structure == "lower_triangular":
            return np.tril(a)
        return np.triu(a) if self.A_structure == "upper_triangular" else a

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        a, b = inputs
        if a.shape[0] != b.shape[0]:
            raise ValueError(
                f"solve: the matrix has {a.shape[0]} rows, the right hand side {b.shape[0]}"
            )
        right = b[:, None] if b.ndim == 1 else b
        output_storage[0][0] = np.linalg.solve(self._half(a), right).reshape(
            (a.shape[1], *b.shape[1:])
        )

    def may_fail(self, node: Apply, known: Any = None) -> bool:
        return True

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [(shapes[0][1], *shapes[1][1:])]

    def lower(self, k: Any) -> None:
        b = k.b
        a, right = k.operand(0), k.operand(1)
        n = square_size(k, a.dims)
        if not k.block.same(n, right.dims[0]):
            k.check(b.eq(n, right.dims[0]), "solve", (n, right.dims[0]))
        target = k.output(0)
        k.block.copy(target, right)
        columns = target.dims[1] if target.ndim == 2 else b.const(1)
        matrix = type(target)(target.dtype, target.pointer, (n, columns), None, target.offset)
        if self.A_structure == "lower_triangular":
            substitute_rows(k, a, matrix, upper=False)
        elif self.A_structure == "upper_triangular":
            substitute_rows(k, a, matrix, upper=True)
        else:
            work = _copy(k, a)
            eliminate(k, work, matrix, regular=True)
            substitute_rows(k, work, matrix, upper=True)

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        (a, _), (x,), (g,) = inputs, outputs, output_grads
        turned = {"lower_triangular": "upper_triangular", "upper_triangular": "lower_triangular"}
        gb = Solve(turned.get(self.A_structure, self.A_structure))(transpose(a), g)
        ga = neg(outer(gb, x) if x.type.ndim == 1 else dot(gb, transpose(x)))
        if self.A_structure == "lower_triangular":
            ga = half(ga, upper=False)
        elif self.A_structure == "upper_triangular":
            ga = half(ga, upper=True)
        return [ga, gb]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        (a, b), (da, db) = inputs, eval_points
        moved = None if da is None else neg(dot(da, self(a, b)))
        if db is not None:
            moved = db if moved is None else add(moved, db)
        return [None if moved is None else self(a, moved)]


def identity_like(x: Variable) -> Variable:
    """Ones on the diagonal, in the size and dtype of ``x``."""
    from ltensor.ops.alloc import eye
    from ltensor.ops.shape import shape_i

    return eye(shape_i(x, 0), shape_i(x, 1), 0, dtype=x.type.dtype)


def half(x: Variable, upper: bool) -> Variable:
    """``x`` with zeros below (or above) the diagonal."""
    from ltensor.ops.alloc import arange
    from ltensor.ops.arithmetic import switch
    from ltensor.ops.compare import ge, le
    from ltensor.ops.shape import shape_i

    row = dimshuffle(arange(shape_i(x, 0)), 0, "x")
    column = dimshuffle(arange(shape_i(x, 1)), "x", 0)
    inside = (ge if upper else le)(column, row)
    return switch(inside, x, constant(0, dtype=x.type.dtype))


det = Det()
matrix_inverse = MatrixInverse()
solve = Solve()
solve_symmetric = Solve("symmetric")
solve_lower_triangular = Solve("lower_triangular")
solve_upper_triangular = Solve("upper_triangular")


# --------------------------------------------------------------------------------- registry


def _matrix(rng: np.random.Generator, dtype: str, n: int) -> np.ndarray:
    """A matrix that is far from singular."""
    x = draw(rng, dtype, (n, n))
    return x + np.asarray(4 * n, dtype) * np.eye(n, dtype=dtype)


def _square_samples(op: Any) -> Any:
    def samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
        for n in (1, 2, 5, 19):
            yield Sample(op, [_matrix(rng, dtype, n)], str(n), ulp=1e9 if op == det else 4096)
        yield Sample(op, [np.zeros((0, 0), dtype)], "empty")
        if dtype != "bool":
            swap = np.array([[0, 2, 1], [1, 0, 0], [3, 1, 0]], dtype)
            yield Sample(op, [swap], "pivots", ulp=256)
            yield Sample(lambda x: op(transpose(x)), [swap], "transposed", ulp=256)

    return samples


def _det_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for n in (1, 2, 5):
        yield Sample(det, [rng.normal(size=(n, n)).astype(dtype)], str(n), ulp=512)
    yield Sample(det, [np.zeros((0, 0), dtype)], "empty")
    yield Sample(det, [np.zeros((2, 2), dtype)], "singular", differentiable=False)
    yield Sample(det, [np.array([[0, 2, 1], [1, 0, 0], [3, 1, 0]], dtype)], "pivots", ulp=256)


def _solve_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for structure in STRUCTURES:
        for n, columns in ((3, None), (4, 2), (17, 5), (0, 2)):
            right = (n,) if columns is None else (n, columns)
            yield Sample(
                Solve(structure),
                [_matrix(rng, dtype, n), draw(rng, dtype, right)], f"{structure} {right}",
                ulp=4096,
            )  # fmt: skip


_REAL = ("float32", "float64")
declare(Declaration("det", "Determinant.", Det, _det_samples, 512, dtypes=(*_REAL, "int32")))
declare(
    Declaration(
        "matrix_inverse", "Inverse.", MatrixInverse, _square_samples(matrix_inverse), 4096,
        dtypes=(*_REAL, "int32"),
    )
)  # fmt: skip
declare(Declaration("solve", "Linear systems.", Solve, _solve_samples, 4096, dtypes=_REAL))
