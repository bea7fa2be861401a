"""Data types, their promotion, and the dtype a Python number takes (Theano's "autocast").

Source of the behaviour: Theano 1.0.5, observed; the tables stand in docs/theano.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np

from ltensor.config import config

INTEGERS = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
FLOATS = ("float16", "float32", "float64")
COMPLEX = ("complex64", "complex128")
DISCRETE = frozenset(("bool", *INTEGERS, *UNSIGNED))
CONTINUOUS = frozenset((*FLOATS, *COMPLEX))
ALL = ("bool", *INTEGERS, *UNSIGNED, *FLOATS, *COMPLEX)

#: Theano's one-letter codes of the constructors: ``T.dmatrix``, ``T.ivector``, ...
LETTERS = {
    "b": "int8",
    "w": "int16",
    "i": "int32",
    "l": "int64",
    "f": "float32",
    "d": "float64",
    "c": "complex64",
    "z": "complex128",
}


@cache
def item_size(dtype: str) -> int:
    """Bytes of one element."""
    return int(np.dtype(dtype).itemsize)


@cache
def _promote(first: str, second: str) -> str:
    return str(np.promote_types(first, second))


@cache
def upcast(*dtypes: str) -> str:
    """The smallest dtype that holds all values of ``dtypes`` (NumPy's array promotion).

    Raises
    ------
    TypeError
        If called without a dtype or with an unknown one.
    """
    if not dtypes:
        raise TypeError("upcast needs at least one dtype")
    result = dtypes[0]
    for dtype in dtypes[1:]:
        result = _promote(result, dtype)
    return result


def upcast_all(dtypes: Iterable[str]) -> str:
    """`upcast` of an iterable."""
    return upcast(*dtypes)


def is_float(dtype: str) -> bool:
    """Whether ``dtype`` is a real floating point type."""
    return dtype.startswith("float")


def is_complex(dtype: str) -> bool:
    """Whether ``dtype`` is complex."""
    return dtype.startswith("complex")


def is_discrete(dtype: str) -> bool:
    """Whether ``dtype`` is bool or an integer type."""
    return dtype in DISCRETE


def is_integer(dtype: str) -> bool:
    """Whether ``dtype`` is a signed or unsigned integer (not bool)."""
    return dtype in DISCRETE and dtype != "bool"


def is_signed(dtype: str) -> bool:
    """Whether ``dtype`` is a signed integer."""
    return dtype.startswith("int")


def is_unsigned(dtype: str) -> bool:
    """Whether ``dtype`` is an unsigned integer."""
    return dtype.startswith("uint")


def real_part(dtype: str) -> str:
    """The float dtype of a complex dtype's components; other dtypes as they are."""
    return {"complex64": "float32", "complex128": "float64"}.get(dtype, dtype)


@cache
def upgrade_to_float(dtype: str) -> str:
    """The float in which a function such as ``exp`` of a discrete dtype is computed.

    float32 for bool and integers of at most 16 bits, float64 for wider ones; floats and
    complex numbers keep their dtype.
    """
    if dtype in CONTINUOUS:
        return dtype
    return "float32" if item_size(dtype) <= 2 else "float64"


def work_dtype(dtype: str) -> str:
    """The dtype that values of ``dtype`` are computed in: float16 in float32."""
    return "float32" if dtype == "float16" else dtype


@cache
def accumulator(dtype: str) -> str:
    """The dtype in which sums and products of ``dtype`` accumulate.

    Floats are widened once (float16 in float32, float32 in float64, complex64 in complex128).
    """
    widened = {"float16": "float32", "float32": "float64", "complex64": "complex128"}
    return widened.get(dtype, reduced(dtype))


@cache
def reduced(dtype: str) -> str:
    """The dtype of a sum or product over ``dtype``: integers widen to 64 bits."""
    if dtype == "bool" or dtype in INTEGERS:
        return "int64"
    if dtype in UNSIGNED:
        return "uint64"
    return dtype


def normalize(dtype: Any) -> str:
    """The canonical name of a dtype given as text, NumPy dtype or type; ``floatX`` is resolved.

    Raises
    ------
    TypeError
        If ltensor has no such dtype.
    """
    if type(dtype) is str and dtype in _KNOWN:
        return dtype
    if dtype == "floatX":
        return str(config.floatX)
    try:
        name = np.dtype(dtype).name
    except TypeError as error:
        raise TypeError(f"Unsupported dtype for TensorType: {dtype}") from error
    if name not in _KNOWN:
        raise TypeError(f"Unsupported dtype for TensorType: {dtype}")
    return name


_KNOWN = frozenset(ALL)


def autocast_int(value: int) -> np.ndarray:
    """A Python int as an array of the smallest signed integer dtype that holds it."""
    if config.cast_policy == "numpy+floatX":
        return np.asarray(value, dtype="int64")
    for dtype in INTEGERS:
        info = np.iinfo(dtype)
        if info.min <= value <= info.max:
            return np.asarray(value, dtype=dtype)
    if 0 <= value <= np.iinfo("uint64").max:
        return np.asarray(value, dtype="uint64")
    raise OverflowError(f"Python int too large for any integer dtype: {value}")


def autocast_float(value: float) -> np.ndarray:
    """A Python float as float32 if that holds it exactly, else as floatX."""
    floatx = str(config.floatX)
    if config.cast_policy == "numpy+floatX":
        return np.asarray(value, dtype=floatx)
    with np.errstate(over="ignore"):
        for dtype in ("float32", floatx):
            if floatx == "float16":
                dtype = floatx
            candidate = np.asarray(value, dtype=dtype)
            if float(candidate) == value or value != value or dtype == floatx:
                return candidate
    return np.asarray(value, dtype=floatx)


def autocast(value: Any) -> np.ndarray:
    """A Python number as the array Theano would make of it.

    NumPy arrays and scalars keep their dtype: ``np.float64`` is not a Python float here.
    """
    if isinstance(value, (np.ndarray, np.generic)):
        return np.asarray(value)
    if isinstance(value, bool):
        return np.asarray(value)
    if isinstance(value, int):
        return autocast_int(value)
    if isinstance(value, float):
        return autocast_float(value)
    if isinstance(value, complex):
        return np.asarray(value, dtype="complex128")
    return np.asarray(value)
