"""Shared variables: values that live between calls and that functions may update.

Behaviour from Theano 1.0.5: dtypes of `shared`, copies unless ``borrow``, fixed ranks, no casts.
"""

from __future__ import annotations

import copy
from collections.abc import MutableSequence
from typing import Any, NoReturn

import numpy as np

from ltensor.errors import UnsupportedError
from ltensor.ir import dtypes as dt
from ltensor.ir.graph import Variable, mark_source
from ltensor.ir.types import (
    RandomStateType,
    TensorType,
    Type,
    generic,
    random_state_type,
)
from ltensor.runtime.cell import Cell, copied, keep
from ltensor.tensor.variable import _tensor_py_operators

__all__ = [
    "ScalarSharedVariable",
    "SharedVariable",
    "TensorSharedVariable",
    "cell_of",
    "shared",
    "shared_constructor",
]


class Storage(MutableSequence[Any]):
    """Theano's list of one element: ``container.storage[0] = value`` stores a value.

    Parameters
    ----------
    container : Container
    """

    def __init__(self, container: Container) -> None:
        self._container = container

    def __repr__(self) -> str:
        return repr([self._container.get()])

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: Any) -> Any:
        return [self._container.get()][index]

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            (value,) = value
        elif index not in (0, -1):
            raise IndexError("a container holds one value")
        self._container.set(value)

    def __delitem__(self, index: Any) -> NoReturn:
        raise TypeError("a container holds one value")

    def insert(self, index: int, value: Any) -> NoReturn:
        """Refuse: there is one element.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError("a container holds one value")


class Container:
    """Holds the value of a shared variable, filtered by its type.

    Attributes
    ----------
    storage : Storage
        One element, the value (Theano's attribute).
    """

    def __init__(
        self,
        kind: Type,
        value: Any,
        strict: bool = False,
        allow_downcast: bool | None = None,
        name: str | None = None,
    ) -> None:
        self.type = kind
        self.strict = strict
        self.allow_downcast = allow_downcast
        self.name = name
        self.readonly = False
        self.cell: Cell | None = None
        self._object: Any = None
        self.set(value)

    def set(self, value: Any) -> None:
        """Store a value.

        Raises
        ------
        TypeError
            If it does not fit the type.
        """
        try:
            filtered = self.type.filter(value, self.strict, self.allow_downcast)
        except (TypeError, ValueError) as error:
            error.args = (*error.args, f'Container name "{self.name}"')
            raise
        if isinstance(self.type, TensorType):
            self._store(keep(filtered))
        elif isinstance(self.type, RandomStateType):
            from ltensor.lowering.rng.state import pack

            self._store(pack(filtered))
        else:
            self._object = filtered

    def _store(self, array: np.ndarray) -> None:
        if self.cell is None:
            self.cell = Cell(array)
        else:
            self.cell.set(array)

    def get(self) -> Any:
        """The stored value itself."""
        if isinstance(self.type, TensorType):
            assert self.cell is not None
            return self.cell.array
        if isinstance(self.type, RandomStateType):
            from ltensor.lowering.rng.state import unpack

            assert self.cell is not None
            return unpack(self.cell.array)
        return self._object

    @property
    def value(self) -> Any:
        """The stored value itself, as in Theano; assigning filters."""
        return self.get()

    @value.setter
    def value(self, value: Any) -> None:
        self.set(value)

    data = value

    @property
    def storage(self) -> Storage:
        """The value as the one element of a sequence, which can be set."""
        return Storage(self)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "type": self.type,
            "value": self.get(),
            "strict": self.strict,
            "allow_downcast": self.allow_downcast,
            "name": self.name,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(  # type: ignore[misc]
            state["type"], state["value"], state["strict"], state["allow_downcast"], state["name"]
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Container:
        return Container(
            self.type, copy.deepcopy(self.get()), self.strict, self.allow_downcast, self.name
        )


class SharedVariable(Variable):
    """A variable with a value that functions read and may update.

    Parameters
    ----------
    name : str or None
    type : Type
    value : object or None
        The initial value, if no ``container`` is given.
    strict : bool
        Refuse values that are not already of the type.
    allow_downcast : bool or None
        Whether values may lose precision.
    container : Container, optional
        Shares the storage of another shared variable.
    """

    #: expression that every function updates this variable with, unless told otherwise
    default_update: Any = None

    def __init__(
        self,
        name: str | None = None,
        type: Type = generic,
        value: Any = None,
        strict: bool = False,
        allow_downcast: bool | None = None,
        container: Container | None = None,
    ) -> None:
        super().__init__(type, None, None, name)
        if container is None:
            container = Container(type, value, strict, allow_downcast, name)
        self.container = container

    def get_value(self, borrow: bool = False, return_internal_type: bool = False) -> Any:
        """The value, copied unless ``borrow``."""
        value = self.container.get()
        if borrow:
            return value
        if isinstance(value, np.ndarray):
            return copied(value)
        return copy.deepcopy(value)

    def set_value(self, new_value: Any, borrow: bool = False) -> None:
        """Replace the value; of a tensor the shape may change, rank and dtype may not."""
        self.container.set(new_value if borrow else _copied(new_value))

    def zero(self, borrow: bool = False) -> None:
        """Fill the value with zeros."""
        self.container.set(np.zeros_like(self.container.get()))

    def clone(self) -> SharedVariable:
        copy_ = self.__class__(self.name, self.type, container=self.container)
        copy_.default_update = self.default_update
        return copy_

    @property
    def value(self) -> Any:
        """Removed in Theano; use get_value and set_value."""
        raise Exception("sharedvar.value does not exist anymore. Use sharedvar.get_value()")

    def filter_update(self, update: Any) -> Variable:
        """``update`` as a variable that may become the new value of this one."""
        return self.type.filter_variable(update, allow_convert=True)

    def __str__(self) -> str:
        return self.name if self.name is not None else f"<{self.type}>"

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return state


def _copied(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        # a masked array stays one, and is refused
        return np.array(value, copy=True, subok=True)
    return copy.deepcopy(value)


class TensorSharedVariable(_tensor_py_operators, SharedVariable):
    """A shared array."""


class ScalarSharedVariable(TensorSharedVariable):
    """A shared scalar."""


class RandomStateSharedVariable(SharedVariable):
    """A shared Mersenne Twister state."""

    def __str__(self) -> str:
        return self.name if self.name is not None else f"<{self.type}>"


def shared(
    value: Any,
    name: str | None = None,
    strict: bool = False,
    allow_downcast: bool | None = None,
    **kwargs: Any,
) -> Any:
    """A shared variable of ``value``.

    Parameters
    ----------
    value : number, array, RandomState or any object
        Arrays and NumPy scalars keep their dtype, Python ints become int64, floats float64, bools
        bool; lists and other objects make a variable without tensor operations.
    name : str, optional
    strict, allow_downcast : bool
        How later values are taken (see `ltensor.ir.types.TensorType.filter`).
    borrow : bool
        Keep the array itself instead of a copy.
    broadcastable : sequence of bool
        The pattern; no dimension is broadcastable by default, even of length 1.

    Raises
    ------
    TypeError
        If ``value`` is symbolic.
    UnsupportedError
        If it is a sparse matrix.
    """
    if isinstance(value, Variable):
        raise TypeError(
            "Shared variable constructor needs numeric values and not symbolic variables."
        )
    borrow = kwargs.pop("borrow", False)
    pattern = kwargs.pop("broadcastable", None)
    kwargs.pop("target", None)
    if kwargs:
        raise TypeError(f"No suitable SharedVariable constructor could be found: {sorted(kwargs)}")
    variable: SharedVariable
    if isinstance(value, np.random.RandomState):
        state = value if borrow else copy.deepcopy(value)
        variable = RandomStateSharedVariable(name, random_state_type, state, strict, allow_downcast)
    elif isinstance(value, np.ndarray) and value.dtype.name in dt.ALL:
        flags = (False,) * value.ndim if pattern is None else tuple(pattern)
        kind = TensorType(value.dtype.name, flags)
        stored = value if borrow else _copied(value)
        cls = TensorSharedVariable if value.ndim else ScalarSharedVariable
        variable = cls(name, kind, stored, strict, allow_downcast)
    elif isinstance(value, (bool, int, float, complex, np.generic)) and (
        np.asarray(value).dtype.name in dt.ALL
    ):
        array = np.asarray(value)
        kind = TensorType(array.dtype.name, ())
        variable = ScalarSharedVariable(name, kind, array.copy(), strict, allow_downcast)
    elif type(value).__module__.startswith("scipy.sparse"):
        raise UnsupportedError("shared sparse matrices", "use a dense one, `value.toarray()`")
    else:
        variable = SharedVariable(name, generic, _copied(value), strict, allow_downcast)
    mark_source(variable)
    return variable


def cell_of(variable: SharedVariable) -> Cell:
    """The cell that native code reads and writes.

    Raises
    ------
    UnsupportedError
        If the variable holds another object.
    """
    cell = variable.container.cell
    if cell is None:
        raise UnsupportedError(
            f"the shared variable {variable} holds a {type(variable.container.get()).__name__}, "
            "which native code cannot read. Use an array, a number or a RandomState."
        )
    return cell


def shared_constructor(constructor: Any, remove: bool = False) -> Any:
    """Theano's hook for further kinds of shared values; accepted and ignored."""
    return constructor
