"""Making variables of values: `constant` and `as_tensor`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ltensor.config import config
from ltensor.errors import AsTensorError
from ltensor.ir import dtypes
from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.ir.types import TensorType, tensor_type

_small: dict[Any, Variable] = {}


def constant(
    value: Any, name: str | None = None, ndim: int | None = None, dtype: str | None = None
) -> Variable:
    """A constant tensor.

    Parameters
    ----------
    value : number, array or nested list
        Python numbers take Theano's autocast dtype; arrays keep theirs.
    ndim : int, optional
        The rank, padded on the left with broadcastable dimensions.
    dtype : str, optional
        Force a dtype.
    """
    if type(value) is int and name is None and ndim is None:
        key = (value, dtype, config.cast_policy)
        known = _small.get(key)
        if known is None:
            if dtype is None:
                data = dtypes.autocast_int(value)
            else:
                data = np.asarray(value, dtype=dtypes.normalize(dtype))
            known = tensor_type(str(data.dtype), ()).make_constant(data)
            if -2048 <= value <= 2048:
                _small[key] = known
        return known
    if isinstance(value, bool) and dtype is None:
        data = np.asarray(value, dtype="int8")
    elif dtype is not None:
        data = np.asarray(value, dtype=dtypes.normalize(dtype))
    elif isinstance(value, (list, tuple)) and not value:
        data = np.zeros(0, dtype=config.floatX)  # nothing in it says otherwise
    else:
        data = dtypes.autocast(value)
    if data.dtype == object or data.dtype.name not in dtypes.ALL:
        raise TypeError(f"Could not convert {value!r} to TensorType", type(value))
    if ndim is not None:
        if data.ndim > ndim:
            raise ValueError(f"ndarray could not be cast to constant with {ndim} dimensions")
        data = data.reshape((1,) * (ndim - data.ndim) + data.shape)
    if not data.flags.c_contiguous or not data.dtype.isnative:
        data = np.ascontiguousarray(data, dtype=data.dtype.newbyteorder("="))
    return tensor_type(str(data.dtype), tuple(data.shape)).make_constant(data, name=name)


def as_tensor(value: Any, name: str | None = None, ndim: int | None = None) -> Variable:
    """A tensor variable of ``value``: variables as they are, numbers and arrays as constants.

    Lists and tuples that hold variables are stacked.

    Raises
    ------
    AsTensorError
        If there is no sensible conversion.
    """
    if isinstance(value, Variable):
        kind = value.type
        if type(kind) is not TensorType:
            raise AsTensorError(f"Variable type field must be a TensorType. {value} {kind}")
        if ndim is None or kind.ndim == ndim:
            return value
        return _with_rank(value, ndim)
    if isinstance(value, (bool, np.bool_)) and isinstance(value, bool):
        raise AsTensorError(
            "Cannot cast True or False as a tensor variable. Please use np.array(True) or "
            "np.array(False) if you need these constants. This error might be caused by using "
            "the == operator on Variables. v == w does not do what you think it does, use "
            "theano.tensor.eq(v, w) instead."
        )
    if isinstance(value, Apply):
        if len(value.outputs) != 1 and value.op.default_output is None:
            raise ValueError(
                "It is ambiguous which output of a multi-output Op has to be fetched.", value
            )
        return as_tensor(value.default_output(), name, ndim)
    convert = getattr(value, "_as_TensorVariable", None)
    if convert is not None:
        return as_tensor(convert(), name, ndim)
    if isinstance(value, (list, tuple)) and _holds_variable(value):
        return stack_hook(value)
    try:
        return constant(value, name=name, ndim=ndim)
    except (TypeError, ValueError) as error:
        if isinstance(error, ValueError) and "could not be cast to constant" in str(error):
            raise
        raise AsTensorError(f"Cannot convert {value!r} to TensorType", type(value)) from error


def _holds_variable(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_holds_variable(item) for item in value)
    return isinstance(value, Variable)


def _with_rank(value: Variable, ndim: int) -> Variable:
    if value.type.ndim > ndim:
        first_non_one = next(
            (k for k, b in enumerate(value.type.broadcastable) if not b), value.type.ndim
        )
        if value.type.ndim - first_non_one > ndim:
            raise ValueError(f"TensorType could not be cast to have {ndim} dimensions", value.type)
        return rank_hook(value, tuple(range(value.type.ndim - ndim, value.type.ndim)))
    pad = ("x",) * (ndim - value.type.ndim)
    return rank_hook(value, pad + tuple(range(value.type.ndim)))


def _missing(*_: Any) -> Any:
    raise RuntimeError("import ltensor before building graphs")


#: installed by the ops layer: stacking of a list that holds variables, dimshuffle
stack_hook: Any = _missing
rank_hook: Any = _missing


def constant_value(variable: Any) -> np.ndarray | None:
    """The array of a constant, or None."""
    if isinstance(variable, Constant) and isinstance(variable.data, np.ndarray):
        return variable.data
    return None
