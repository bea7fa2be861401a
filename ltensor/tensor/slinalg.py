"""``theano.tensor.slinalg``: linear systems, Cholesky, expm, Kronecker."""

from __future__ import annotations

from typing import Any, Literal

from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Constant
from ltensor.ir.types import NoneType
from ltensor.ops.arithmetic import mul
from ltensor.ops.cholesky import Cholesky, cholesky
from ltensor.ops.decompose import Expm, eigh, expm
from ltensor.ops.matrix import (
    Solve,
    half,
    identity_like,
    solve,
    solve_lower_triangular,
    solve_symmetric,
    solve_upper_triangular,
    transpose,
)
from ltensor.ops.shape import dims_of, dimshuffle, reshape

__all__ = [
    "Cholesky",
    "Eigvalsh",
    "Expm",
    "Solve",
    "cholesky",
    "eigvalsh",
    "expm",
    "kron",
    "solve",
    "solve_lower_triangular",
    "solve_symmetric",
    "solve_upper_triangular",
]


def kron(a: Any, b: Any) -> Any:
    """The Kronecker product of two matrices (or of vectors and matrices).

    Raises
    ------
    TypeError
        If both operands have one dimension, or one has more than two.
    """
    a, b = as_tensor(a), as_tensor(b)
    if a.type.ndim + b.type.ndim <= 2 or max(a.type.ndim, b.type.ndim) > 2:
        raise TypeError(
            "kron: inputs dimensions must sum to 3 or more. "
            f"You passed {a.type.ndim} and {b.type.ndim}."
        )
    a, b = (v if v.type.ndim == 2 else dimshuffle(v, ("x", 0)) for v in (a, b))
    blocks = mul(dimshuffle(a, (0, "x", 1, "x")), dimshuffle(b, ("x", 0, "x", 1)))
    (rows, columns), (height, width) = dims_of(a), dims_of(b)
    return reshape(blocks, [mul(rows, height), mul(columns, width)])


#: Names of Theano that are not here.


def eigvalsh(a: Any, b: Any = None, lower: bool = True) -> Any:
    """The eigenvalues of the symmetric ``a``, or of the pair with the definite ``b``.

    Only one half of each matrix is read.
    """
    uplo: Literal["L", "U"] = "L" if lower else "U"
    if b is None or (isinstance(b, Constant) and isinstance(b.type, NoneType)):
        return eigh(a, uplo)[0]
    factor = Cholesky(lower)(b)
    if not lower:
        factor = transpose(factor)
    a = as_tensor(a)
    diagonal = a * identity_like(a)
    a = half(a, upper=not lower)
    a = a + transpose(a) - diagonal
    inner = solve_lower_triangular(factor, transpose(solve_lower_triangular(factor, a)))
    return eigh(inner)[0]


def Eigvalsh(lower: bool = True) -> Any:
    """`eigvalsh` with ``lower`` chosen (Theano's class)."""
    return lambda a, b=None: eigvalsh(a, b, lower)
