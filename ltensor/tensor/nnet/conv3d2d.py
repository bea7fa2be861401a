"""``theano.tensor.nnet.conv3d2d``: convolution over time and space, time being axis 1."""

from __future__ import annotations

from typing import Any

from ltensor.errors import UnsupportedError
from ltensor.ir.build import as_tensor
from ltensor.ops.conv_api import conv3d as _conv3d
from ltensor.ops.shape import dimshuffle

__all__ = ["conv3d"]

_SWAPPED = (0, 2, 1, 3, 4)


def conv3d(
    signals: Any,
    filters: Any,
    signals_shape: Any = None,
    filters_shape: Any = None,
    border_mode: Any = "valid",
) -> Any:
    """Convolution of signals with filters over time, rows and columns.

    Parameters
    ----------
    signals : (batch, time, channels, rows, columns)
    filters : (filters, time, channels, rows, columns)
    signals_shape, filters_shape : tuple, optional
        Hints, not relied upon.
    border_mode : str or three of them
        ``'valid'``, ``'full'`` or ``'half'``; different ones for time and space need
        ``filters_shape``.

    Returns
    -------
    TensorVariable
        (batch, time, filters, rows, columns)
    """
    signals, filters = as_tensor(signals), as_tensor(filters)
    result = _conv3d(
        dimshuffle(signals, _SWAPPED),
        dimshuffle(filters, _SWAPPED),
        border_mode=_border(border_mode, filters_shape),
    )
    return dimshuffle(result, _SWAPPED)


def _border(mode: Any, filters_shape: Any) -> Any:
    if isinstance(mode, str):
        return mode
    modes = tuple(mode)
    if len(set(modes)) == 1 and isinstance(modes[0], str):
        return modes[0]
    if filters_shape is None:
        raise UnsupportedError(
            f"conv3d2d.conv3d with border_mode={mode!r} and unknown sizes", "give filters_shape"
        )
    sizes = [filters_shape[k] for k in (1, 3, 4)]
    pads = {"valid": lambda size: 0, "full": lambda size: size - 1, "half": lambda size: size // 2}
    return tuple(
        pads[one](int(size)) if isinstance(one, str) else int(one)
        for one, size in zip(modes, sizes, strict=True)
    )
