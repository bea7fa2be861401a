"""``theano.tensor.nlinalg``: traces, diagonals and products of matrices."""

from __future__ import annotations

from typing import Any

from ltensor.errors import UnsupportedError
from ltensor.ir.build import as_tensor
from ltensor.ops.diagonal import AllocDiag, ExtractDiag, alloc_diag, diag, diagonal
from ltensor.ops.linalg import dot
from ltensor.ops.reduce import sum as reduce_sum

__all__ = [
    "AllocDiag",
    "ExtractDiag",
    "alloc_diag",
    "diag",
    "diagonal",
    "extract_diag",
    "matrix_dot",
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


#: Names of Theano that are not here.
_MISSING = frozenset(
    {
        "MatrixInverse",
        "matrix_inverse",
        "MatrixPinv",
        "pinv",
        "Det",
        "det",
        "Eig",
        "eig",
        "Eigh",
        "eigh",
        "SVD",
        "svd",
        "QRFull",
        "QRIncomplete",
        "qr",
        "matrix_power",
        "norm",
        "lstsq",
        "tensorinv",
        "TensorInv",
        "tensorsolve",
        "TensorSolve",
    }
)


def __getattr__(name: str) -> object:
    if name in _MISSING:
        raise AttributeError(
            str(UnsupportedError(f"tensor.nlinalg.{name}", "compute it in an Op of your own"))
        )
    raise AttributeError(f"ltensor.tensor.nlinalg has no {name!r}")
