"""``theano.tensor.slinalg``: the Kronecker product."""

from __future__ import annotations

from typing import Any

from ltensor.errors import UnsupportedError
from ltensor.ir.build import as_tensor
from ltensor.ops.arithmetic import mul
from ltensor.ops.shape import dims_of, dimshuffle, reshape

__all__ = ["kron"]


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
_MISSING = frozenset(
    {
        "Cholesky",
        "cholesky",
        "CholeskyGrad",
        "Solve",
        "solve",
        "solve_symmetric",
        "solve_lower_triangular",
        "solve_upper_triangular",
        "Expm",
        "expm",
        "ExpmGrad",
        "Eigvalsh",
        "eigvalsh",
        "EigvalshGrad",
        "lu_solve",
    }
)


def __getattr__(name: str) -> object:
    if name in _MISSING:
        raise AttributeError(
            str(UnsupportedError(f"tensor.slinalg.{name}", "compute it in an Op of your own"))
        )
    raise AttributeError(f"ltensor.tensor.slinalg has no {name!r}")
