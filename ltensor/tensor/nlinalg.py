"""``theano.tensor.nlinalg``: inverses, decompositions, norms, traces, products of matrices."""

from __future__ import annotations

from typing import Any

from ltensor.ir.build import as_tensor
from ltensor.ops.arithmetic import abs_, sqr
from ltensor.ops.compare import neq
from ltensor.ops.decompose import (
    SVD,
    Eig,
    Eigh,
    MatrixPinv,
    eig,
    eigh,
    lstsq,
    pinv,
    qr,
    svd,
)
from ltensor.ops.diagonal import AllocDiag, ExtractDiag, alloc_diag, diag, diagonal
from ltensor.ops.linalg import dot
from ltensor.ops.matrix import Det, MatrixInverse, det, identity_like, matrix_inverse, solve
from ltensor.ops.reduce import max as reduce_max
from ltensor.ops.reduce import min as reduce_min
from ltensor.ops.reduce import sum as reduce_sum
from ltensor.ops.shape import dims_of, dimshuffle, reshape
from ltensor.ops.transcendental import sqrt

__all__ = [
    "AllocDiag",
    "Det",
    "Eig",
    "Eigh",
    "ExtractDiag",
    "MatrixInverse",
    "MatrixPinv",
    "QRFull",
    "QRIncomplete",
    "SVD",
    "TensorInv",
    "TensorSolve",
    "alloc_diag",
    "det",
    "diag",
    "diagonal",
    "eig",
    "eigh",
    "extract_diag",
    "lstsq",
    "matrix_dot",
    "matrix_inverse",
    "matrix_power",
    "norm",
    "pinv",
    "qr",
    "svd",
    "tensorinv",
    "tensorsolve",
    "trace",
]


def extract_diag(x: Any) -> Any:
    """The diagonal of a matrix."""
    return diagonal(x)


def trace(X: Any) -> Any:
    """The sum of the diagonal of a matrix.

    Raises
    ------
    TypeError
        If ``X`` is not a matrix.
    """
    X = as_tensor(X)
    if X.type.ndim != 2:
        raise TypeError(f"trace takes a matrix, not {X.type}")
    return reduce_sum(diagonal(X))


def matrix_dot(*args: Any) -> Any:
    """The product of several matrices, from left to right."""
    if not args:
        raise TypeError("matrix_dot needs an operand")
    result = as_tensor(args[0])
    for other in args[1:]:
        result = dot(result, other)
    return result


def matrix_power(M: Any, n: int) -> Any:
    """The product of ``n`` times the square matrix ``M``; of its inverse if ``n`` is negative."""
    M = as_tensor(M)
    if n < 0:
        return matrix_power(matrix_inverse(M), -n)
    if n == 0:
        return identity_like(M)
    result, square = None, M
    while n:
        if n & 1:
            result = square if result is None else dot(result, square)
        n >>= 1
        if n:
            square = dot(square, square)
    return result


def norm(x: Any, ord: Any = None) -> Any:
    """The norm of a vector (``None``, ``'inf'``, ``'-inf'``, 0 or a number) or of a matrix
    (``None``, ``'fro'``, ``'inf'``, ``'-inf'``, 1, -1).

    Raises
    ------
    ValueError
        For another ``ord``, or a scalar.
    """
    x = as_tensor(x)
    if x.type.ndim == 0:
        raise ValueError("'axis' entry is out of bounds.")
    if x.type.ndim > 2:
        raise NotImplementedError("We don't support norm with ndim > 2")
    size = abs_(x)
    extremum = {"inf": reduce_max, "-inf": reduce_min}
    if isinstance(ord, float) and ord in (float("inf"), float("-inf")):
        ord = "inf" if ord > 0 else "-inf"
    if ord is None or (ord == "fro" and x.type.ndim == 2):
        return sqrt(reduce_sum(sqr(size)))
    if x.type.ndim == 1:
        if ord in extremum:
            return extremum[ord](size)
        if ord == 0:
            return reduce_sum(neq(x, 0))
        try:
            return reduce_sum(size**ord) ** (1.0 / ord)
        except TypeError as error:
            raise ValueError("Invalid norm order.") from error
    if ord in extremum:
        return extremum[ord](reduce_sum(size, axis=1))
    if ord in (1, -1):
        return extremum["inf" if ord == 1 else "-inf"](reduce_sum(size, axis=0))
    raise ValueError("Invalid norm order for matrices.")


def tensorinv(a: Any, ind: int = 2) -> Any:
    """The inverse of ``a`` for `tensordot` over its first ``ind`` axes."""
    a = as_tensor(a)
    if ind <= 0 or ind >= a.type.ndim:
        raise ValueError("Invalid ind argument.")
    dims = dims_of(a)
    first, rest = dims[:ind], dims[ind:]
    flat = reshape(a, [_product(first), _product(rest)], ndim=2)
    return reshape(matrix_inverse(flat), [*rest, *first], ndim=a.type.ndim)


def tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    """The ``x`` with ``tensordot(a, x, x.ndim) = b``."""
    a, b = as_tensor(a), as_tensor(b)
    if axes is not None:
        moved = [int(k) % a.type.ndim for k in axes]
        a = dimshuffle(a, [k for k in range(a.type.ndim) if k not in moved] + moved)
    inner = dims_of(a)[b.type.ndim :]
    count = _product(dims_of(b))
    solution = solve(reshape(a, [count, _product(inner)], ndim=2), reshape(b, [-1], ndim=1))
    return reshape(solution, inner, ndim=len(inner))


def _product(dims: Any) -> Any:
    result = dims[0]
    for size in dims[1:]:
        result = result * size
    return result


class QRFull:
    """`qr` with both factors (Theano's class)."""

    def __init__(self, mode: str = "reduced") -> None:
        self.mode = mode

    def __call__(self, a: Any) -> Any:
        """The two factors."""
        return qr(a, self.mode)


class QRIncomplete(QRFull):
    """`qr` with the second factor only (Theano's class)."""

    def __call__(self, a: Any) -> Any:
        """The factor R."""
        return qr(a, "r")


TensorInv, TensorSolve = tensorinv, tensorsolve
