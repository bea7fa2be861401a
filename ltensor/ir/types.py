"""Types of variables: what is known of a value before the program runs.

A `TensorType` carries dtype, rank and, per dimension, a size or "unknown"; ``broadcastable`` is
the pattern of dimensions known to be 1, Theano's view of the same fact.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ltensor.ir import dtypes

if TYPE_CHECKING:
    from ltensor.ir.graph import Variable


class Type:
    """What a variable may hold. Compared by value."""

    #: class of the variables of this type; the front end installs its own (`TensorVariable`)
    variable_class: ClassVar[Any] = None
    constant_class: ClassVar[Any] = None

    def make_variable(self, name: str | None = None) -> Variable:
        """A fresh variable of this type, without owner."""
        from ltensor.ir.graph import Variable

        return (self.variable_class or Variable)(self, name=name)

    def make_constant(self, value: Any, name: str | None = None) -> Variable:
        """A constant of this type."""
        from ltensor.ir.graph import Constant

        return (self.constant_class or Constant)(self, value, name=name)

    def __call__(self, name: str | None = None) -> Variable:
        variable = self.make_variable(name)
        from ltensor.ir.graph import mark_source

        mark_source(variable)
        return variable

    def filter(self, value: Any, strict: bool = False, allow_downcast: bool | None = None) -> Any:
        """``value`` as this type stores it, or TypeError."""
        return value

    def filter_variable(self, other: Any, allow_convert: bool = True) -> Variable:
        """``other`` (variable or value) as a variable of this type, or TypeError."""
        from ltensor.ir.graph import Variable

        if not isinstance(other, Variable):
            other = self.make_constant(self.filter(other))
        if other.type == self:
            return other
        if allow_convert:
            converted = self.convert_variable(other)
            if converted is not None:
                return converted
        raise TypeError(
            f"Cannot convert Type {other.type} (of Variable {other}) into Type {self}. "
            f"You can try to manually convert {other} into a {self}."
        )

    def convert_variable(self, other: Variable) -> Variable | None:
        """``other`` converted without loss, or None."""
        return other if other.type == self else None

    def is_valid_value(self, value: Any) -> bool:
        """Whether ``value`` may be stored as it is."""
        try:
            self.filter(value, strict=True)
        except (TypeError, ValueError):
            return False
        return True

    @staticmethod
    def values_eq(a: Any, b: Any) -> bool:
        """Whether two stored values are equal."""
        return bool(a == b)

    values_eq_approx = values_eq

    @property
    def ndim(self) -> int:
        raise AttributeError(f"{self} has no number of dimensions")


_NAMES = {
    (): "scalar",
    (False,): "vector",
    (False, False): "matrix",
    (True, False): "row",
    (False, True): "col",
}


class TensorType(Type):
    """Arrays of one dtype and rank.

    Parameters
    ----------
    dtype : str
        One of `ltensor.ir.dtypes.ALL`, or ``'floatX'``.
    broadcastable : sequence of bool, or of int/None
        Theano's pattern (True or 1: the dimension is 1 and stretches, False or 0: it does not),
        or sizes (None: unknown).
    name : str, optional
        Only shown.
    sparse_grad : bool
        Only kept, as Theano's types have it: gradients of rows are never stored sparsely.
    shape : sequence of int or None, optional
        Sizes, instead of ``broadcastable``.
    """

    __slots__ = ("_hash", "broadcastable", "dtype", "name", "shape", "sparse_grad")

    def __init__(
        self,
        dtype: Any,
        broadcastable: Sequence[bool | int | None] = (),
        name: str | None = None,
        sparse_grad: bool = False,
        *,
        shape: Sequence[int | None] | None = None,
    ) -> None:
        self.dtype = dtypes.normalize(dtype)
        if shape is None:
            shape = tuple(
                (1 if size else None) if isinstance(size, (bool, np.bool_)) else size or None
                for size in broadcastable
            )
        self.shape: tuple[int | None, ...] = tuple(shape)
        self.broadcastable: tuple[bool, ...] = tuple(size == 1 for size in self.shape)
        self.name = name
        self.sparse_grad = sparse_grad
        self._hash = hash((self.dtype, self.broadcastable))

    def __eq__(self, other: object) -> bool:
        return self is other or (
            type(other) is TensorType
            and self.dtype == other.dtype
            and self.broadcastable == other.broadcastable
        )

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> Any:
        return _tensor_type, (self.dtype, self.name, self.sparse_grad, self.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def numpy_dtype(self) -> np.dtype:
        """The NumPy dtype."""
        return np.dtype(self.dtype)

    def clone(
        self, dtype: str | None = None, broadcastable: Sequence[bool | int | None] | None = None
    ) -> TensorType:
        """This type with another dtype or pattern."""
        if broadcastable is None:
            return TensorType(dtype or self.dtype, shape=self.shape)
        return TensorType(dtype or self.dtype, broadcastable)

    def __str__(self) -> str:
        if self.name:
            return self.name
        pattern = self.broadcastable
        text = _NAMES.get(pattern)
        if text is None:
            text = str(pattern) if any(pattern) else f"{len(pattern)}D"
        return f"TensorType({self.dtype}, {text})"

    __repr__ = __str__

    def is_super(self, other: Type) -> bool:
        """Whether every value of ``other`` is one of this type (flags may be forgotten)."""
        return (
            type(other) is TensorType
            and other.dtype == self.dtype
            and other.ndim == self.ndim
            and all(
                b or not a for a, b in zip(self.broadcastable, other.broadcastable, strict=True)
            )
        )

    def convert_variable(self, other: Variable) -> Variable | None:
        if other.type == self:
            return other
        if self.is_super(other.type):
            return other
        return None

    def filter(
        self, value: Any, strict: bool = False, allow_downcast: bool | None = None
    ) -> np.ndarray:
        """``value`` as an aligned array of this type, by Theano's rules against silent downcasts.

        Raises
        ------
        TypeError
            If rank, dtype or a broadcast flag does not fit.
        OverflowError
            If a Python number does not fit an integer dtype at all.
        """
        from ltensor.ir.filter import filter_array

        return filter_array(self, value, strict, allow_downcast)

    def value_zeros(self, shape: Any) -> np.ndarray:
        """An array of zeros of this dtype."""
        return np.zeros(shape, self.dtype)

    @staticmethod
    def may_share_memory(a: Any, b: Any) -> bool:
        """Whether two stored values may overlap."""
        return all(isinstance(v, np.ndarray) for v in (a, b)) and np.may_share_memory(a, b)

    @staticmethod
    def values_eq(a: Any, b: Any) -> bool:
        a, b = np.asarray(a), np.asarray(b)
        return (
            a.shape == b.shape
            and a.dtype == b.dtype
            and bool(np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"))
        )

    @staticmethod
    def values_eq_approx(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8) -> bool:
        """Equality within a tolerance."""
        a, b = np.asarray(a), np.asarray(b)
        return a.shape == b.shape and bool(np.allclose(a, b, rtol=rtol, atol=atol, equal_nan=True))


def _tensor_type(
    dtype: str, name: str | None, sparse_grad: bool, shape: tuple[int | None, ...]
) -> TensorType:
    return TensorType(dtype, (), name, sparse_grad, shape=shape)


class Singleton(Type):
    """A type without parameters."""

    text = "Type"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__


class RandomStateType(Singleton):
    """The state of a Mersenne Twister (`numpy.random.RandomState`)."""

    text = "RandomStateType"

    def filter(
        self, value: Any, strict: bool = False, allow_downcast: bool | None = None
    ) -> np.random.RandomState:
        if not isinstance(value, np.random.RandomState):
            raise TypeError(f"expected a numpy.random.RandomState, got {type(value).__name__}")
        return value

    @staticmethod
    def values_eq(a: Any, b: Any) -> bool:
        sa, sb = a.get_state(legacy=True), b.get_state(legacy=True)
        return sa[0] == sb[0] and bool((sa[1] == sb[1]).all()) and sa[2:] == sb[2:]


class Generic(Singleton):
    """Any Python object; only Python ops work on it."""

    text = "<theano.gof.type.Generic object>"


class NoneType(Singleton):
    """The type of ``None``."""

    text = "NoneTypeT"

    def filter(self, value: Any, strict: bool = False, allow_downcast: bool | None = None) -> None:
        if value is not None:
            raise TypeError("Expected None!")


class SliceType(Singleton):
    """A slice held in a variable."""

    text = "slice"


class DisconnectedType(Singleton):
    """The gradient of a cost with respect to what it does not depend on."""

    text = "DisconnectedType"

    def filter(self, value: Any, strict: bool = False, allow_downcast: bool | None = None) -> Any:
        raise AssertionError("a disconnected gradient has no value")


class NullType(Type):
    """The gradient where none is defined; ``why_null`` says why."""

    def __init__(self, why_null: str = "(no explanation given)") -> None:
        self.why_null = why_null

    def __eq__(self, other: object) -> bool:
        return type(other) is NullType

    def __hash__(self) -> int:
        return hash(NullType)

    def __str__(self) -> str:
        return "NullType"

    def filter(self, value: Any, strict: bool = False, allow_downcast: bool | None = None) -> Any:
        raise ValueError("NullType has no values")


@cache
def tensor_type(dtype: str, shape: tuple[int | None, ...]) -> TensorType:
    """A shared `TensorType` instance (most graphs use few types many times)."""
    return TensorType(dtype, shape=shape)


random_state_type = RandomStateType()
generic = Generic()
none_type = NoneType()
disconnected_type = DisconnectedType()
null_type = NullType()
