"""`TensorVariable` and `TensorConstant`: the variables of `TensorType`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ltensor.ir.graph import Constant, Variable
from ltensor.ir.types import TensorType
from ltensor.tensor.methods import Methods
from ltensor.tensor.operators import Operators

__all__ = ["TensorConstant", "TensorVariable", "_tensor_py_operators"]


class _tensor_py_operators(Operators, Methods):
    """Operators, methods and properties of all tensor variables (Theano's name for the mixin)."""


class TensorVariable(_tensor_py_operators, Variable):
    """A symbolic array.

    Examples
    --------
    >>> import ltensor.tensor as T
    >>> x = T.dvector("x")
    >>> (2 * x + 1).sum()
    Sum{acc_dtype=float64}.0
    """


class TensorConstant(_tensor_py_operators, Constant):
    """A constant array, shown as ``TensorConstant{value}``."""

    def __str__(self) -> str:
        data = self.data
        if data.ndim and data.size and bool((data == data.flat[0]).all()):
            text = f"{data.shape} of {data.flat[0]}"
        else:
            text = str(data)
        if len(text) > 20:
            text = text[:10] + ".." + text[-10:]
        return f"TensorConstant{{{text}}}"

    def equals(self, other: Any) -> bool:
        """Whether ``other`` is the same constant by type and value."""
        if not isinstance(other, TensorConstant):
            return isinstance(other, (int, float, np.ndarray)) and bool(
                np.array_equal(self.data, other)
            )
        return bool(self.signature() == other.signature())

    def copy(self, name: str | None = None) -> Any:
        """The same constant under another name."""
        return type(self)(self.type, self.data, name)


TensorType.variable_class = TensorVariable
TensorType.constant_class = TensorConstant
