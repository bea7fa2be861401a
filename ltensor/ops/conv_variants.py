"""Convolutions that are made of others: separable ones, and causal ones along a sequence."""

from __future__ import annotations

from typing import Any

from ltensor.errors import UnsupportedError
from ltensor.ir.build import as_tensor, constant_value
from ltensor.ir.graph import Variable
from ltensor.ops.conv_api import conv2d, conv3d
from ltensor.ops.indexing import getitem
from ltensor.ops.shape import dimshuffle

__all__ = ["causal_conv1d", "separable_conv2d", "separable_conv3d"]


def separable_conv2d(
    input: Any,
    depthwise_filters: Any,
    pointwise_filters: Any,
    num_channels: int,
    input_shape: Any = None,
    depthwise_filter_shape: Any = None,
    pointwise_filter_shape: Any = None,
    border_mode: Any = "valid",
    subsample: Any = (1, 1),
    filter_flip: bool = True,
    filter_dilation: Any = (1, 1),
) -> Variable:
    """Filters of each channel alone, then a mixture of all channels pixel by pixel.

    Parameters
    ----------
    depthwise_filters : 4-d Variable
        (Results, 1, rows, columns), as many results from each of the ``num_channels`` channels.
    pointwise_filters : 4-d Variable
        (Channels of the result, channels that the first convolution gives, 1, 1).
    """
    deep = conv2d(
        input,
        depthwise_filters,
        input_shape,
        depthwise_filter_shape,
        border_mode,
        subsample,
        filter_flip,
        filter_dilation=filter_dilation,
        num_groups=num_channels,
    )
    return conv2d(deep, pointwise_filters, None, pointwise_filter_shape, filter_flip=filter_flip)


def separable_conv3d(
    input: Any,
    depthwise_filters: Any,
    pointwise_filters: Any,
    num_channels: int,
    input_shape: Any = None,
    depthwise_filter_shape: Any = None,
    pointwise_filter_shape: Any = None,
    border_mode: Any = "valid",
    subsample: Any = (1, 1, 1),
    filter_flip: bool = True,
    filter_dilation: Any = (1, 1, 1),
) -> Variable:
    """`separable_conv2d` with one dimension more."""
    deep = conv3d(
        input,
        depthwise_filters,
        input_shape,
        depthwise_filter_shape,
        border_mode,
        subsample,
        filter_flip,
        filter_dilation,
        num_channels,
    )
    return conv3d(deep, pointwise_filters, None, pointwise_filter_shape, filter_flip=filter_flip)


def causal_conv1d(
    input: Any,
    filters: Any,
    filter_shape: Any,
    input_shape: Any = None,
    subsample: int = 1,
    filter_flip: bool = True,
    filter_dilation: int = 1,
    num_groups: int = 1,
    unshared: bool = False,
) -> Variable:
    """Convolution along a sequence where no result looks ahead: padded at the left only.

    Parameters
    ----------
    input : 3-d Variable
        (Batch, channels, time).
    filters : 3-d Variable
        (Channels of the result, channels, taps).
    filter_shape : sequence
        Its last entry says how many taps there are.

    Raises
    ------
    ValueError
        If an operand has not three dimensions.
    UnsupportedError
        If the number of taps is not known.
    """
    images, kernels = as_tensor(input), as_tensor(filters)
    for name, variable in (("input", images), ("filters", kernels)):
        if variable.type.ndim != 3:
            raise ValueError(
                f"causal_conv1d: {name} must have three dimensions, {variable} is a {variable.type}"
            )
    taps = constant_value(as_tensor(filter_shape[2]))
    if taps is None:
        raise UnsupportedError(
            "causal_conv1d with a number of taps that is only known at run time is not compiled. "
            "Pad the input by concatenate and use conv2d."
        )
    left = filter_dilation * (int(taps) - 1)
    out = conv2d(
        dimshuffle(images, (0, 1, 2, "x")),
        dimshuffle(kernels, (0, 1, 2, "x")),
        border_mode=((left, 0), 0),
        subsample=(subsample, 1),
        filter_flip=filter_flip,
        filter_dilation=(filter_dilation, 1),
        num_groups=num_groups,
        unshared=unshared,
    )
    return getitem(out, (slice(None), slice(None), slice(None), 0))
