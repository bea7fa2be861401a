"""How a value given from outside becomes an array of a `TensorType`: Theano's rules in one place.

An array must have a dtype that upcasts into the wanted one; anything else (numbers, lists) is
converted and must compare equal. ``allow_downcast=True`` lifts both, None lifts the second for
Python floats given to a floatX scalar.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ltensor.config import config
from ltensor.ir import dtypes
from ltensor.ir.types import TensorType


def _brief(text: str) -> str:
    return text if len(text) <= 100 else text[:75] + "..." + text[-10:]


def filter_array(
    kind: TensorType, value: Any, strict: bool, allow_downcast: bool | None
) -> np.ndarray:
    """See `TensorType.filter`."""
    # (NumPy imports its masked arrays on demand)
    if type(value) is not np.ndarray and "numpy.ma" in sys.modules and np.ma.is_masked(value):
        raise TypeError(
            f"{kind} cannot store a masked array: compiled functions know no masks. Give its data "
            "(value.data) or fill the gaps (value.filled(...))."
        )
    array = _convert(kind, value, strict, allow_downcast)
    if array.ndim != kind.ndim:
        raise TypeError(
            f"Wrong number of dimensions: expected {kind.ndim}, got {array.ndim} "
            f"with shape {array.shape}."
        )
    if not array.flags.aligned:
        array = array.copy()
    for size, stretches in zip(array.shape, kind.broadcastable, strict=True):
        if stretches and size != 1:
            raise TypeError(
                "Non-unit value on shape on a broadcastable dimension.",
                array.shape,
                kind.broadcastable,
            )
    return array


def _convert(kind: TensorType, value: Any, strict: bool, allow_downcast: bool | None) -> np.ndarray:
    if isinstance(value, np.memmap):
        value = np.asarray(value)
    if hasattr(value, "owner") and hasattr(value, "type") and not isinstance(value, np.ndarray):
        raise TypeError(
            "Expected an array-like object, but found a Variable: maybe you are trying to "
            "call a function on a (possibly shared) variable instead of a numeric array?"
        )
    if type(value) is np.ndarray and value.dtype == kind.numpy_dtype:
        return value if value.dtype.isnative else value.astype(kind.numpy_dtype)
    if strict:
        if isinstance(value, np.ndarray):
            raise TypeError(
                f"{kind} expected a ndarray object with dtype = {kind.dtype} (got {value.dtype})."
            )
        raise TypeError(f"{kind} expected a ndarray object.", type(value))
    if allow_downcast:
        if not isinstance(value, np.ndarray):
            _check_range(kind, np.asarray(value))
        with np.errstate(all="ignore"):
            return _numbers(kind, value, np.asarray(value)).astype(kind.numpy_dtype)
    if isinstance(value, np.ndarray):
        found = value.dtype.name
        if found in dtypes.ALL and dtypes.upcast(kind.dtype, found) == kind.dtype:
            return np.asarray(value, dtype=kind.numpy_dtype)
        raise TypeError(
            f"{kind} cannot store a value of dtype {value.dtype} without risking loss of "
            f"precision. If you do not mind this loss, you can: 1) explicitly cast your data to "
            f'{kind.dtype}, or 2) set "allow_input_downcast=True" when calling "function". '
            f'Value: "{_brief(repr(value))}"'
        )
    if (
        allow_downcast is None
        and type(value) is float
        and kind.ndim == 0
        and kind.dtype == config.floatX
    ):
        return np.asarray(value, dtype=kind.numpy_dtype)
    return _exact(kind, value)


def _exact(kind: TensorType, value: Any) -> np.ndarray:
    original = _numbers(kind, value, np.asarray(value))
    if kind.dtype == "bool" and original.dtype != np.bool_:
        raise TypeError(_inexact(kind, value, original.astype(bool)), value)
    _check_range(kind, original)
    with np.errstate(all="ignore"):
        if original.dtype.kind == "c" and kind.numpy_dtype.kind != "c":
            # a copy without the imaginary part; it differs below if there was one
            converted = original.real.astype(kind.numpy_dtype)
        else:
            converted = original.astype(kind.numpy_dtype)
    same = converted == original
    if original.dtype.kind in "fc":
        same = same | (np.isnan(original) & np.isnan(converted.astype(original.dtype)))
    if not np.all(same):
        raise TypeError(_inexact(kind, value, converted), value)
    return converted


def _check_range(kind: TensorType, array: np.ndarray) -> None:
    """Refuse Python floats that no integer of 64 bits comes near to."""
    if array.dtype.kind not in "fc" or kind.dtype not in dtypes.DISCRETE or kind.dtype == "bool":
        return
    finite = np.abs(array.real[np.isfinite(array.real)])
    if finite.size and float(finite.max()) > 2.0**64:
        raise OverflowError("Python int too large to convert to C long")


def _numbers(kind: TensorType, value: Any, array: np.ndarray) -> np.ndarray:
    """``array`` if it holds numbers; Python ints of more than 64 bits as floats.

    Raises
    ------
    TypeError
        If it holds anything else.
    OverflowError
        If a Python int is too large for the type.
    """
    if array.dtype.kind in "biufc":
        return array
    if array.dtype == object and all(isinstance(v, int) for v in array.flat):
        if kind.dtype in dtypes.DISCRETE:
            raise OverflowError("Python int too large to convert to C long")
        return array.astype(np.float64)
    raise TypeError(f"{kind} cannot store {_brief(repr(value))}: not an array of numbers")


def _inexact(kind: TensorType, value: Any, converted: np.ndarray) -> str:
    return (
        f"{kind} cannot store accurately value {_brief(str(value))}, it would be represented as "
        f"{_brief(str(converted))}. "
        f"If you do not mind this precision loss, you can: 1) explicitly convert your data to a "
        f'numpy array of dtype {kind.dtype}, or 2) set "allow_input_downcast=True" when calling '
        f'"function".'
    )
