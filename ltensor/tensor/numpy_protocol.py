"""NumPy's functions on variables: ``np.exp(x)``, ``np.sum(x, axis=0)``, ``array * x``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import ltensor.tensor as T
from ltensor.ir.graph import Variable

#: Where NumPy's ufuncs have other names than Theano's functions.
_UFUNCS = {
    "absolute": "abs_",
    "arccos": "arccos",
    "bitwise_and": "and_",
    "bitwise_or": "or_",
    "bitwise_xor": "xor",
    "divide": "true_div",
    "fabs": "abs_",
    "floor_divide": "int_div",
    "fmod": "mod",
    "greater": "gt",
    "greater_equal": "ge",
    "less": "lt",
    "less_equal": "le",
    "multiply": "mul",
    "negative": "neg",
    "positive": "tensor_copy",
    "power": "pow",
    "reciprocal": "inv",
    "remainder": "mod",
    "rint": "round",
    "sign": "sgn",
    "square": "sqr",
    "subtract": "sub",
    "true_divide": "true_div",
}

#: NumPy functions that mean the function of that name here; others see a variable as one object.
_FUNCTIONS = frozenset(
    [
        "all",
        "any",
        "argmax",
        "argmin",
        "argsort",
        "clip",
        "concatenate",
        "cumprod",
        "cumsum",
        "diag",
        "dot",
        "imag",
        "max",
        "mean",
        "min",
        "ones_like",
        "outer",
        "prod",
        "ptp",
        "ravel",
        "real",
        "repeat",
        "reshape",
        "round",
        "sort",
        "squeeze",
        "stack",
        "std",
        "sum",
        "swapaxes",
        "take",
        "tensordot",
        "tile",
        "trace",
        "transpose",
        "tril",
        "triu",
        "var",
        "where",
        "zeros_like",
    ]
)


def apply_ufunc(ufunc: Any, method: str, inputs: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """What a ufunc called with a variable gives: the operation of that meaning."""
    name = ufunc.__name__
    if inputs and len(kwargs.get("out", ())) == 1 and kwargs["out"][0] is inputs[0]:
        # ``array += x``: the name is bound to what comes back, and the array stays as it is
        kwargs = {key: value for key, value in kwargs.items() if key != "out"}
    # Equality of variables is identity; what NumPy asks here is ``array == x``.
    if name in ("equal", "not_equal") and method == "__call__":
        same = inputs[0] is inputs[1]
        return same if name == "equal" else not same
    if name == "matmul" and method == "__call__" and not kwargs:
        # There is no such operation, but a program's own class of variables may define it.
        right = inputs[1]
        reflected = getattr(right, "__rmatmul__", None) if isinstance(right, Variable) else None
        return NotImplemented if reflected is None else reflected(inputs[0])
    function = getattr(T, _UFUNCS.get(name, name), None) if method == "__call__" else None
    if function is None or kwargs:
        return NotImplemented
    return function(*inputs)


def apply_function(function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """What a NumPy function called with a variable gives."""
    name = function.__name__
    meant = getattr(T, {"amax": "max", "amin": "min"}.get(name, name), None)
    if meant is not None and name in (*_FUNCTIONS, "amax", "amin"):
        # NumPy hands on what its own methods take: ``out=None``, ``where=<no value>``.
        given = {k: v for k, v in kwargs.items() if v is not None and v is not np._NoValue}
        return meant(*args, **given)
    return function._implementation(*args, **kwargs)
