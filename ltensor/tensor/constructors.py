"""Making variables: ``T.matrix('x')``, ``T.dscalar('x')``, ``T.fmatrices(3)``, ``T.constant(2)``.

``T.dscalar`` and its likes are the types themselves, which make a variable when called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from ltensor.config import config
from ltensor.ir import build
from ltensor.ir import dtypes as dt
from ltensor.ir.graph import Variable, mark_source
from ltensor.ir.types import TensorType, tensor_type

__all__ = [
    "PLURALS",
    "TYPES",
    "as_tensor_variable",
    "col",
    "constant",
    "matrix",
    "row",
    "scalar",
    "tensor",
    "tensor3",
    "tensor4",
    "tensor5",
    "vector",
]

#: Broadcast patterns by the name of a kind.
KINDS: Final[dict[str, tuple[bool, ...]]] = {
    "scalar": (),
    "vector": (False,),
    "matrix": (False, False),
    "row": (True, False),
    "col": (False, True),
    "tensor3": (False,) * 3,
    "tensor4": (False,) * 4,
    "tensor5": (False,) * 5,
    "tensor6": (False,) * 6,
    "tensor7": (False,) * 7,
}

_PLURAL: Final[dict[str, str]] = {
    kind: {"matrix": "matrices"}.get(kind, kind + "s") for kind in KINDS
}


def _kind(dtype: str, kind: str) -> TensorType:
    return tensor_type(dtype, tuple(1 if flag else None for flag in KINDS[kind]))


def _make(kind: str, name: str | None, dtype: Any) -> Any:
    chosen = str(config.floatX) if dtype is None else dt.normalize(dtype)
    return _kind(chosen, kind)(name)


def scalar(name: str | None = None, dtype: Any = None) -> Any:
    """A 0-d variable, of dtype floatX by default."""
    return _make("scalar", name, dtype)


def vector(name: str | None = None, dtype: Any = None) -> Any:
    """A 1-d variable, of dtype floatX by default."""
    return _make("vector", name, dtype)


def matrix(name: str | None = None, dtype: Any = None) -> Any:
    """A 2-d variable, of dtype floatX by default."""
    return _make("matrix", name, dtype)


def row(name: str | None = None, dtype: Any = None) -> Any:
    """A 2-d variable with one row, which stretches."""
    return _make("row", name, dtype)


def col(name: str | None = None, dtype: Any = None) -> Any:
    """A 2-d variable with one column, which stretches."""
    return _make("col", name, dtype)


def tensor3(name: str | None = None, dtype: Any = None) -> Any:
    """A 3-d variable, of dtype floatX by default."""
    return _make("tensor3", name, dtype)


def tensor4(name: str | None = None, dtype: Any = None) -> Any:
    """A 4-d variable, of dtype floatX by default."""
    return _make("tensor4", name, dtype)


def tensor5(name: str | None = None, dtype: Any = None) -> Any:
    """A 5-d variable, of dtype floatX by default."""
    return _make("tensor5", name, dtype)


def tensor6(name: str | None = None, dtype: Any = None) -> Any:
    """A 6-d variable, of dtype floatX by default."""
    return _make("tensor6", name, dtype)


def tensor7(name: str | None = None, dtype: Any = None) -> Any:
    """A 7-d variable, of dtype floatX by default."""
    return _make("tensor7", name, dtype)


def tensor(
    dtype: Any, broadcastable: Sequence[Any] = (), name: str | None = None, **more: Any
) -> Any:
    """A variable of any dtype and broadcast pattern."""
    return TensorType(dtype, broadcastable, **more)(name)


# ------------------------------------------------------------------------- tables of names


def _plural(make: Callable[..., Any], name: str) -> Callable[..., Any]:
    def several(*names: Any, **more: Any) -> Any:
        if len(names) == 1 and isinstance(names[0], int):
            return [make(**more) for _ in range(names[0])]
        if len(names) == 1:
            # one name is a variable; any other text a variable per letter, as in Theano
            (names,) = names
        if len(names) == 1:
            return make(names[0], **more)
        return [make(each, **more) for each in names]

    several.__name__ = several.__qualname__ = name
    several.__doc__ = "Several variables at once: by names, letters of one text, or a count."
    return several


#: ``bscalar`` ... ``ztensor7``: every letter of a dtype with every kind.
TYPES: Final[dict[str, TensorType]] = {
    letter + kind: _kind(dtype, kind) for letter, dtype in dt.LETTERS.items() for kind in KINDS
}

#: ``scalars``, ``dvectors``, ``fmatrices``, ...
PLURALS: Final[dict[str, Callable[..., Any]]] = {
    **{plural: _plural(globals()[kind], plural) for kind, plural in _PLURAL.items()},
    **{
        letter + plural: _plural(TYPES[letter + kind], letter + plural)
        for letter in dt.LETTERS
        for kind, plural in _PLURAL.items()
    },
}


# ------------------------------------------------------------------------- of values


def as_tensor_variable(x: Any, name: str | None = None, ndim: int | None = None) -> Any:
    """``x`` as a tensor variable: variables as they are, numbers and arrays as constants.

    Parameters
    ----------
    x : Variable, number, array, or nested list of them
    name : str, optional
        The name of a constant that is made.
    ndim : int, optional
        The rank wanted; broadcastable dimensions are added or dropped on the left.

    Raises
    ------
    AsTensorError
        If ``x`` cannot be a tensor (Python's True and False among others).
    """
    return _marked(build.as_tensor(x, name, ndim))


def constant(x: Any, name: str | None = None, ndim: int | None = None, dtype: Any = None) -> Any:
    """A constant; Python numbers take the smallest dtype that holds them."""
    return _marked(build.constant(x, name=name, ndim=ndim, dtype=dtype))


def _marked(variable: Variable) -> Variable:
    if variable.source is None and variable.owner is None:
        mark_source(variable)
    return variable
