"""Functions of ``theano.tensor`` that few programs use, made of the common ones."""

from __future__ import annotations

from typing import Any

import ltensor.tensor as T
from ltensor.errors import NotScalarConstantError
from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import TensorType
from ltensor.ops.join import Join, static_axis
from ltensor.ops.permute import PermuteRowElements, permute_row_elements
from ltensor.ops.shape import shape_i
from ltensor.tensor.constant_values import get_scalar_constant_value

__all__ = [
    "AllocEmpty", "PermuteRowElements", "ceil_intdiv", "cov", "extract_constant",
    "inverse_permutation", "join_", "permute_row_elements", "scalar_from_tensor",
    "tensor_from_scalar",
]  # fmt: skip


class AllocEmpty:
    """Makes arrays of given sizes whose contents do not matter (they are zero here)."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    def __call__(self, *shape: Any) -> Any:
        """An array of these sizes."""
        return T.zeros(shape, dtype=self.dtype)


class _JoinAlongOperand(Join):
    """Theano's operation ``join_``, whose first operand is the axis; equal to every `Join`."""

    def make_node(self, axis: Any, *tensors: Any) -> Apply:
        variables = [as_tensor(t) for t in tensors]
        place = static_axis(axis, "join_")
        if place < 0 and variables:
            place += variables[0].type.ndim
        return Join(place).make_node(*variables)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Join)

    def __hash__(self) -> int:
        return hash(Join)


join_ = _JoinAlongOperand()


def ceil_intdiv(a: Any, b: Any) -> Any:
    """The quotient of integers, rounded up."""
    quotient = T.int_div(a, b)
    return quotient + T.cast(T.neq(T.mod(a, b), 0), quotient.dtype)


def inverse_permutation(perm: Any) -> Any:
    """The permutations that undo those in the rows of ``perm``."""
    perm = as_tensor(perm)
    last = shape_i(perm, perm.type.ndim - 1)
    return permute_row_elements(T.arange(last, dtype=perm.type.dtype), perm, inverse=True)


def tensor_from_scalar(s: Any) -> Any:
    """``s`` itself: scalars are tensors without dimensions here."""
    return as_tensor(s)


def scalar_from_tensor(t: Any) -> Any:
    """``t`` itself, which must have no dimensions.

    Raises
    ------
    TypeError
        If it has some.
    """
    t = as_tensor(t)
    if t.type.ndim:
        raise TypeError(f"a tensor without dimensions is needed, not {t.type}")
    return t


def extract_constant(x: Any, elemwise: bool = True, only_process_constants: bool = False) -> Any:
    """The value of ``x`` where it is a known scalar, else ``x``."""
    try:
        return get_scalar_constant_value(x, elemwise, only_process_constants)
    except NotScalarConstantError:
        return x


def cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
) -> Variable:
    """The covariance matrix of the rows of ``m`` (of its columns without ``rowvar``).

    Of a vector alone it is a number.

    Parameters
    ----------
    y : vector or matrix, optional
        More variables, in the layout of ``m``.
    bias : bool
        Divide by n instead of n - 1.
    ddof : int, optional
        Divide by n - ddof.
    fweights, aweights
        Not supported, as in Theano.
    """
    if fweights is not None or aweights is not None:
        raise NotImplementedError("cov takes no weights: scale the observations before")
    if ddof is not None and ddof != int(ddof):
        raise ValueError("ddof must be an integer")
    values = _as_rows(m, rowvar)
    if y is not None:
        values = T.concatenate([values, _as_rows(y, rowvar)], axis=0)
    lost = (0 if bias else 1) if ddof is None else int(ddof)
    centered = values - values.mean(axis=1, keepdims=True)
    # a quotient of integers has the dtype floatX
    products = T.dot(centered, centered.T)
    return T.squeeze(products * (T.constant(1) / (shape_i(values, 1) - lost)))


def _as_rows(x: Any, rowvar: bool) -> Any:
    x = as_tensor(x)
    assert isinstance(x.type, TensorType)
    if x.type.ndim > 2:
        raise ValueError(f"cov takes vectors and matrices, not {x.type}")
    if x.type.ndim < 2:
        return T.shape_padleft(x, 2 - x.type.ndim)
    return x if rowvar else x.T
