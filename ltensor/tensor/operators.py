"""Python's operators on tensor variables: ``x + 1``, ``-x``, ``x > 0``, ``x[1:]``, iteration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ltensor.errors import AsTensorError, ComplexError
from ltensor.ops import arithmetic, bits, compare

_Binary = Callable[[Any, Any], Any]


def _binary(op: _Binary, symbol: str) -> tuple[_Binary, _Binary]:
    """The operator and its reflected form."""

    def forward(self: Any, other: Any) -> Any:
        # What cannot become a tensor may know itself how to combine with one.
        try:
            return op(self, other)
        except ComplexError:
            raise
        except (NotImplementedError, AsTensorError):
            return NotImplemented

    def reflected(self: Any, other: Any) -> Any:
        try:
            return op(other, self)
        except ComplexError:
            raise
        except (NotImplementedError, AsTensorError):
            return NotImplemented

    forward.__doc__ = f"``self {symbol} other``."
    reflected.__doc__ = f"``other {symbol} self``."
    return forward, reflected


def _comparison(op: _Binary, symbol: str) -> _Binary:
    def compared(self: Any, other: Any) -> Any:
        result = op(self, other)
        # Only the result of an operator: ``0 < x < 1`` would ask for its truth and mean nothing.
        result._is_nonzero = False
        return result

    compared.__doc__ = f"``self {symbol} other``, element by element."
    return compared


class Operators:
    """The operators; mixed into every class of tensor variables.

    ``==`` and ``hash`` stay Python's identity (use ``tensor.eq``), as in Theano.
    """

    #: whether ``bool(self)`` is allowed
    _is_nonzero = True

    # NumPy arrays leave mixed operators to variables.
    __array_priority__ = 1000

    __add__, __radd__ = _binary(arithmetic.add, "+")
    __sub__, __rsub__ = _binary(arithmetic.sub, "-")
    __mul__, __rmul__ = _binary(arithmetic.mul, "*")
    __truediv__, __rtruediv__ = _binary(arithmetic.true_div, "/")
    __div__, __rdiv__ = __truediv__, __rtruediv__
    __floordiv__, __rfloordiv__ = _binary(arithmetic.int_div, "//")
    __mod__, __rmod__ = _binary(arithmetic.mod, "%")
    __pow__, __rpow__ = _binary(arithmetic.pow, "**")
    __and__, __rand__ = _binary(bits.and_, "&")
    __or__, __ror__ = _binary(bits.or_, "|")
    __xor__, __rxor__ = _binary(bits.xor, "^")

    __lt__ = _comparison(compare.lt, "<")
    __le__ = _comparison(compare.le, "<=")
    __gt__ = _comparison(compare.gt, ">")
    __ge__ = _comparison(compare.ge, ">=")

    def __divmod__(self, other: Any) -> Any:
        return arithmetic.int_div(self, other), arithmetic.mod(self, other)

    def __rdivmod__(self, other: Any) -> Any:
        return arithmetic.int_div(other, self), arithmetic.mod(other, self)

    def __neg__(self) -> Any:
        return arithmetic.neg(self)

    def __abs__(self) -> Any:
        return arithmetic.abs_(self)

    def __invert__(self) -> Any:
        return bits.invert(self)

    def __ceil__(self) -> Any:
        from ltensor.ops.transcendental import ceil

        return ceil(self)

    def __floor__(self) -> Any:
        from ltensor.ops.transcendental import floor

        return floor(self)

    def __trunc__(self) -> Any:
        from ltensor.ops.transcendental import trunc

        return trunc(self)

    def __bool__(self) -> bool:
        if self._is_nonzero:
            return True
        raise TypeError("Variables do not support boolean operations.")

    # ----------------------------------------------------------------- as a container

    def __getitem__(self, index: Any) -> Any:
        from ltensor.ops.indexing import getitem

        return getitem(self, index)

    # There is no __len__: programs tell lists from variables by it (`hasattr(v, "__len__")`).

    def __iter__(self) -> Iterator[Any]:
        from ltensor.tensor.constant_values import get_vector_length

        try:
            length = get_vector_length(self)
        except TypeError:
            # Most often Python's sum() or max() where tensor.sum or tensor.max is meant.
            raise TypeError(
                "TensorType does not support iteration. Maybe you are using builtin.sum instead "
                "of theano.tensor.sum? (Maybe .max?)"
            ) from None
        return (self[k] for k in range(length))

    # ----------------------------------------------------------------- NumPy's functions

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        from ltensor.tensor.numpy_protocol import apply_ufunc

        return apply_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from ltensor.tensor.numpy_protocol import apply_function

        return apply_function(function, args, kwargs)
