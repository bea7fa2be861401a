"""The pooling functions programs call: ``signal.pool.pool_2d`` and its relatives."""

from __future__ import annotations

import warnings
from typing import Any

from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Variable
from ltensor.ops.pool import (
    AveragePoolGrad,
    DownsampleFactorMaxGradGrad,
    MaxPoolGrad,
    Pool,
)

__all__ = [
    "AveragePoolGrad",
    "DownsampleFactorMaxGradGrad",
    "MaxPoolGrad",
    "Pool",
    "max_pool_2d",
    "max_pool_2d_same_size",
    "pool_2d",
    "pool_3d",
]


def _renamed(new: Any, old: Any, names: tuple[str, str], default: Any = None) -> Any:
    """A parameter given under its new or its older name."""
    if old is None:
        return new
    if new is not None and new != default:
        raise ValueError(
            f"You can't provide a value to both '{names[0]}' and '{names[1]}'. Please provide a "
            f"value only to '{names[0]}'."
        )
    warnings.warn(
        f"DEPRECATION: the '{names[1]}' parameter is not going to exist anymore as it is going to "
        f"be replaced by the parameter '{names[0]}'.",
        stacklevel=4,
    )
    return old


def _pool(
    ndim: int,
    x: Any,
    ws: Any,
    ignore_border: Any,
    stride: Any,
    pad: Any,
    mode: str,
    old: tuple[Any, Any, Any],
) -> Variable:
    zeros = (0,) * ndim
    ws = _renamed(ws, old[0], ("ws", "ds"))
    if ws is None:
        raise ValueError("You must provide a tuple value for the window size.")
    stride = _renamed(stride, old[1], ("stride", "st"))
    pad = _renamed(pad, old[2], ("pad", "padding"), zeros)
    x = as_tensor(x)
    if x.type.ndim < ndim:
        raise NotImplementedError(f"pool_{ndim}d requires a dimension >= {ndim}")
    if ignore_border is None:
        warnings.warn(
            f"pool_{ndim}d() will have the parameter ignore_border default value changed to True "
            "(currently False). To have consistent behavior with all Theano version, explicitly "
            "add the parameter ignore_border=True.",
            stacklevel=3,
        )
        ignore_border = False
    result: Variable = Pool(bool(ignore_border), mode, ndim)(x, ws, stride, pad)
    return result


def pool_2d(
    input: Any,
    ws: Any = None,
    ignore_border: Any = None,
    stride: Any = None,
    pad: Any = (0, 0),
    mode: str = "max",
    ds: Any = None,
    st: Any = None,
    padding: Any = None,
) -> Variable:
    """Pool the last two dimensions.

    Parameters
    ----------
    ws : pair of int
        Window; may be symbolic, as ``stride`` and ``pad``.
    ignore_border : bool, optional
        Whether to leave out windows that reach over the border. None warns and means False.
    stride : pair of int, optional
        Step of the windows, by default their size.
    mode : str
        ``'max'``, ``'sum'``, ``'average_inc_pad'`` or ``'average_exc_pad'``.
    """
    return _pool(2, input, ws, ignore_border, stride, pad, mode, (ds, st, padding))


def pool_3d(
    input: Any,
    ws: Any = None,
    ignore_border: Any = None,
    stride: Any = None,
    pad: Any = (0, 0, 0),
    mode: str = "max",
    ds: Any = None,
    st: Any = None,
    padding: Any = None,
) -> Variable:
    """Pool the last three dimensions; see `pool_2d`."""
    return _pool(3, input, ws, ignore_border, stride, pad, mode, (ds, st, padding))


def max_pool_2d(
    input: Any,
    ds: Any,
    ignore_border: Any = None,
    st: Any = None,
    padding: Any = (0, 0),
    mode: str = "max",
) -> Variable:
    """The function of Theano's removed module ``downsample``."""
    return _pool(2, input, ds, ignore_border, st, padding, mode, (None, None, None))


def max_pool_2d_same_size(input: Any, patch_size: Any) -> Variable:
    """``input`` with everything but the maxima of its windows set to zero."""
    x = as_tensor(input)
    top = Pool(True, "max")(x, patch_size)
    result: Variable = MaxPoolGrad(True, "max")(x, top, top, patch_size)
    return result
