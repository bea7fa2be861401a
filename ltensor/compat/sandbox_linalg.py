"""What ``theano.sandbox.linalg.ops`` has besides the functions of ``nlinalg`` and ``slinalg``."""

from __future__ import annotations

from typing import Any

from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Variable
from ltensor.ops.linalg import dot
from ltensor.tensor.nlinalg import trace

__all__ = ["psd", "spectral_radius_bound"]


def psd(v: Any) -> Variable:
    """``v`` itself; in Theano a hint that it is positive semi-definite."""
    return as_tensor(v)


def spectral_radius_bound(X: Any, log2_exponent: int) -> Variable:
    """An upper bound of the largest eigenvalue of a symmetric positive semi-definite matrix.

    Parameters
    ----------
    X : matrix
    log2_exponent : int
        How often the matrix is squared, 1 at least: the more, the closer is the bound.

    Raises
    ------
    TypeError
        If ``X`` is no matrix, or ``log2_exponent`` no integer.
    ValueError
        If ``log2_exponent`` is not positive.
    """
    power = as_tensor(X)
    if power.type.ndim != 2:
        raise TypeError("spectral_radius_bound requires a matrix argument", X)
    if not isinstance(log2_exponent, int):
        raise TypeError("spectral_radius_bound requires an integer exponent", log2_exponent)
    if log2_exponent <= 0:
        raise ValueError("spectral_radius_bound requires a strictly positive exponent")
    for _ in range(log2_exponent):
        power = dot(power, power)
    bound: Variable = trace(power) ** 2.0**-log2_exponent
    return bound
