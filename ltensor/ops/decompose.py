"""Decompositions of matrices that NumPy computes: eigenvalues, SVD, QR, least squares, expm.

They are called back from native code (kind ``python``). What has native code is in ``matrix``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from ltensor.errors import UnsupportedError
from ltensor.ir import dtypes as dt
from ltensor.ir.build import constant
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import DisconnectedType
from ltensor.ops.arithmetic import add, mul, neg, sub, switch, true_div
from ltensor.ops.cast import cast
from ltensor.ops.compare import eq
from ltensor.ops.linalg import dot
from ltensor.ops.matrix import as_matrix, half, identity_like, transpose
from ltensor.ops.opdef import Declaration, DeclaredOp, Sample, declare, new_tensor
from ltensor.ops.samples import draw
from ltensor.ops.shape import dimshuffle


class _Called(DeclaredOp):
    """An op of one matrix that NumPy computes."""

    kind = "python"
    __props__: ClassVar[tuple[str, ...]] = ()

    def __str__(self) -> str:
        return type(self).__name__

    def grad(self, inputs: list[Variable], output_grads: list[Variable]) -> list[Any]:
        raise UnsupportedError(
            f"the gradient of {self.ir_name} is not defined: use eigh, solve, cholesky or "
            "matrix_inverse in the cost, or give an op of your own with a grad"
        )


class Eig(_Called):
    """Eigenvalues and right eigenvectors of a square matrix, where they are real."""

    ir_name = "eig"

    def make_node(self, x: Any) -> Apply:
        x = as_matrix("eig", x)
        dtype, n = x.type.dtype, x.type.shape[0]
        return Apply(self, [x], [new_tensor(dtype, (n,)), new_tensor(dtype, (n, n))])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        values, vectors = np.linalg.eig(inputs[0])
        if np.iscomplexobj(values):
            raise UnsupportedError(
                "eig: the eigenvalues are complex; use an op of your own with complex results"
            )
        output_storage[0][0], output_storage[1][0] = values, vectors

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        n = shapes[0][0]
        return [(n,), (n, n)]


class Eigh(Eig):
    """Eigenvalues, ascending, and eigenvectors of a symmetric matrix, of which one half is read.

    Parameters
    ----------
    UPLO : {'L', 'U'}
    """

    __props__ = ("UPLO",)
    ir_name = "eigh"

    def __init__(self, UPLO: Literal["L", "U"] = "L") -> None:
        if UPLO not in ("L", "U"):
            raise ValueError("UPLO must be 'L' or 'U'")
        self.UPLO: Literal["L", "U"] = UPLO

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        values, vectors = np.linalg.eigh(inputs[0], self.UPLO)
        output_storage[0][0], output_storage[1][0] = values, vectors

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        (values, vectors), (gw, gv) = outputs, output_grads
        dtype = values.type.dtype
        inner: Any = None
        if not isinstance(gw.type, DisconnectedType):
            inner = mul(identity_like(vectors), dimshuffle(gw, 0, "x"))
        if not isinstance(gv.type, DisconnectedType):
            gaps = sub(dimshuffle(values, "x", 0), dimshuffle(values, 0, "x"))
            one, zero = constant(1, dtype=dtype), constant(0, dtype=dtype)
            same = eq(identity_like(vectors), 1)
            weights = switch(same, zero, true_div(one, switch(same, one, gaps)))
            turning = mul(weights, dot(transpose(vectors), gv))
            inner = turning if inner is None else add(inner, turning)
        full = dot(dot(vectors, inner), transpose(vectors))
        # the other half is not read: its share goes to the half that is
        upper = self.UPLO == "U"
        whole = add(full, transpose(full))
        return [sub(half(whole, upper), mul(identity_like(full), full))]


class SVD(_Called):
    """Singular value decomposition: ``U``, the singular values, ``V.T``.

    Parameters
    ----------
    full_matrices, compute_uv : bool
        As NumPy's.
    """

    __props__ = ("full_matrices", "compute_uv")
    ir_name = "svd"

    def __init__(self, full_matrices: bool = True, compute_uv: bool = True) -> None:
        self.full_matrices, self.compute_uv = bool(full_matrices), bool(compute_uv)

    def make_node(self, x: Any) -> Apply:
        x = as_matrix("svd", x)
        dtype = x.type.dtype
        values = new_tensor(dtype, (None,))
        if not self.compute_uv:
            return Apply(self, [x], [values])
        u, v = new_tensor(dtype, (None, None)), new_tensor(dtype, (None, None))
        return Apply(self, [x], [u, values, v])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        found: Sequence[Any]
        if self.compute_uv:
            found = np.linalg.svd(inputs[0], self.full_matrices)
        else:
            found = [np.linalg.svd(inputs[0], self.full_matrices, compute_uv=False)]
        for cell, array in zip(output_storage, found, strict=True):
            cell[0] = array


class QR(_Called):
    """QR decomposition, in one of NumPy's modes ``reduced``, ``complete`` and ``r``."""

    __props__ = ("mode",)
    ir_name = "qr"

    def __init__(self, mode: Literal["reduced", "complete", "r"] = "reduced") -> None:
        if mode not in ("reduced", "complete", "r"):
            raise UnsupportedError(
                f"qr: mode {mode!r} is not supported: use reduced, complete or r"
            )
        self.mode: Literal["reduced", "complete", "r"] = mode

    def make_node(self, x: Any) -> Apply:
        x = as_matrix("qr", x)
        count = 1 if self.mode == "r" else 2
        return Apply(self, [x], [new_tensor(x.type.dtype, (None, None)) for _ in range(count)])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        found = np.linalg.qr(inputs[0], self.mode)
        for cell, array in zip(output_storage, [found] if self.mode == "r" else found, strict=True):
            cell[0] = np.asarray(array)


class MatrixPinv(_Called):
    """The pseudo-inverse (Moore and Penrose) of a matrix."""

    ir_name = "pinv"

    def make_node(self, x: Any) -> Apply:
        x = as_matrix("pinv", x)
        return Apply(self, [x], [new_tensor(x.type.dtype, (x.type.shape[1], x.type.shape[0]))])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        output_storage[0][0] = np.linalg.pinv(inputs[0]).astype(inputs[0].dtype)

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [(shapes[0][1], shapes[0][0])]

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        """Golub and Pereyra (1973), for a rank that does not change nearby."""
        (x,), (z,), (g,) = inputs, outputs, output_grads
        zt, gt = transpose(z), transpose(g)
        left = sub(identity_like(dot(x, z)), dot(x, z))
        right = sub(identity_like(dot(z, x)), dot(z, x))
        terms = [
            neg(dot(dot(zt, g), zt)),
            dot(dot(left, gt), dot(z, zt)),
            dot(dot(zt, z), dot(gt, right)),
        ]
        return [add(*terms)]


class Lstsq(_Called):
    """Least squares: the solution, residuals, rank and singular values, as NumPy's ``lstsq``."""

    ir_name = "lstsq"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Apply; without arguments give itself: ``lstsq`` is a class in Theano."""
        return super().__call__(*args, **kwargs) if args or kwargs else self

    def make_node(self, a: Any, b: Any, rcond: Any) -> Apply:
        a, b = as_matrix("lstsq", a), as_matrix("lstsq", b, (1, 2))
        dtype = dt.upcast(a.type.dtype, b.type.dtype)
        a, b = cast(a, dtype), cast(b, dtype)
        rcond = cast(rcond, "float64")
        outputs = [
            new_tensor(dtype, (a.type.shape[1], *b.type.shape[1:])),
            new_tensor(dtype, (None,)),
            new_tensor("int64", ()),
            new_tensor(dtype, (None,)),
        ]
        return Apply(self, [a, b, rcond], outputs)

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        found = np.linalg.lstsq(inputs[0], inputs[1], rcond=float(inputs[2]))
        for cell, array, output in zip(output_storage, found, node.outputs, strict=True):
            cell[0] = np.asarray(array, dtype=output.type.dtype)


class Expm(_Called):
    """The exponential of a square matrix: scaling, squaring and a Pade approximant."""

    ir_name = "expm"

    def make_node(self, x: Any) -> Apply:
        x = as_matrix("expm", x)
        return Apply(self, [x], [new_tensor(x.type.dtype, x.type.shape)])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        output_storage[0][0] = _expm(inputs[0]).astype(inputs[0].dtype)

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [shapes[0]]

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        """The derivative stands beside the diagonal of the exponential of a matrix of blocks."""
        from ltensor.ops.alloc import zeros_like
        from ltensor.ops.indexing import getitem
        from ltensor.ops.join import concatenate
        from ltensor.ops.shape import shape_i

        turned, g = transpose(inputs[0]), output_grads[0]
        first = concatenate([turned, g], axis=1)
        second = concatenate([zeros_like(turned), turned], axis=1)
        n = shape_i(inputs[0], 0)
        blocks = self(concatenate([first, second], axis=0))
        return [getitem(blocks, (slice(None, n), slice(n, None)))]


def _expm(x: np.ndarray) -> np.ndarray:
    """The exponential of an array, in float64."""
    a = x.astype(np.float64)
    if a.ndim != 2 or a.shape[0] != a.shape[1]:
        raise np.linalg.LinAlgError(f"expm: the matrix must be square, not {a.shape}")
    size = np.abs(a).sum(axis=0).max(initial=0.0)
    if not np.isfinite(size):
        return np.full_like(a, np.nan)
    halvings = max(0, int(np.ceil(np.log2(size))) + 1) if size > 0.5 else 0
    a = a / 2.0**halvings
    degree, one = 8, np.eye(a.shape[0])
    numerator, denominator, power, weight = one.copy(), one.copy(), one, 1.0
    for k in range(1, degree + 1):
        weight *= (degree - k + 1) / (k * (2 * degree - k + 1))
        power = power @ a
        numerator += weight * power
        denominator += (-1) ** k * weight * power
    result = np.linalg.solve(denominator, numerator)
    for _ in range(halvings):
        result = result @ result
    return result


eig = Eig()
pinv = MatrixPinv()
lstsq = Lstsq()
expm = Expm()


def eigh(a: Any, UPLO: Literal["L", "U"] = "L") -> Any:
    """Eigenvalues, ascending, and eigenvectors of a symmetric matrix."""
    return Eigh(UPLO)(a)


def svd(a: Any, full_matrices: Any = 1, compute_uv: Any = 1) -> Any:
    """``U``, the singular values and ``V.T``; only the values without ``compute_uv``."""
    return SVD(bool(full_matrices), bool(compute_uv))(a)


def qr(a: Any, mode: str = "reduced") -> Any:
    """``Q`` and ``R``; only ``R`` with mode ``r``."""
    old = {"full": "reduced", "economic": "reduced"}
    known: Any = old.get(mode, mode)
    return QR(known)(a)


# --------------------------------------------------------------------------------- registry


def _samples(build: Callable[..., Any], square: bool, symmetric: bool = False) -> Any:
    def samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
        for rows, columns in ((1, 1), (3, 3), (5, 5)) if square else ((3, 3), (4, 2), (2, 5)):
            x = draw(rng, dtype, (rows, columns))
            yield Sample(build, [x + x.T if symmetric else x], f"{rows}x{columns}", ulp=1e4)

    return samples


def _only(index: int, build: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: build(x)[index]


_REAL = ("float32", "float64")
for _name, _make, _build, _square, _symmetric, _smooth in (
    ("eig", Eig, lambda x: Eig()(dot(x, transpose(x))), True, False, False),
    ("eigh", Eigh, Eigh(), True, True, True),
    ("svd", SVD, SVD(), False, False, False),
    ("qr", QR, QR(), False, False, False),
    ("pinv", MatrixPinv, pinv, False, False, True),
    ("expm", Expm, expm, True, False, True),
):
    declare(
        Declaration(
            _name,
            (_make.__doc__ or "").split("\n")[0],
            _make,
            _samples(_build, _square, _symmetric),
            1e4,
            dtypes=_REAL,
            differentiable=_smooth,
        )
    )


def _lstsq_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for rows, columns in ((4, 2), (2, 3)):
        arrays = [draw(rng, dtype, (rows, columns)), draw(rng, dtype, (rows,))]
        yield Sample(lambda a, b: lstsq(a, b, 1e-9), arrays, f"{rows}x{columns}", ulp=1e4)


declare(
    Declaration(
        "lstsq", "Least squares.", Lstsq, _lstsq_samples, 1e4, dtypes=_REAL, differentiable=False
    )
)
