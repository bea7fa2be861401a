"""The convolutions programs call: ``nnet.conv2d``, ``nnet.conv.conv2d``, ``signal.conv.conv2d``,
their gradients, transposed convolution and bilinear upsampling.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ltensor.config import config
from ltensor.errors import UnsupportedError
from ltensor.ir.build import as_tensor, constant
from ltensor.ir.graph import Variable
from ltensor.ops.conv import (
    AbstractConv2d,
    AbstractConv2d_gradInputs,
    AbstractConv2d_gradWeights,
    AbstractConv3d,
    AbstractConv3d_gradInputs,
    AbstractConv3d_gradWeights,
)
from ltensor.ops.conv_base import normalize_border
from ltensor.ops.conv_loops import Geometry, PlainSizes
from ltensor.ops.shape import dims_of, dimshuffle, reshape, vector_length

__all__ = [
    "AbstractConv2d",
    "AbstractConv2d_gradInputs",
    "AbstractConv2d_gradWeights",
    "AbstractConv3d",
    "AbstractConv3d_gradInputs",
    "AbstractConv3d_gradWeights",
    "bilinear_kernel_1D",
    "bilinear_kernel_2D",
    "bilinear_upsampling",
    "conv2d",
    "conv2d_grad_wrt_inputs",
    "conv2d_grad_wrt_weights",
    "conv2d_transpose",
    "conv3d",
    "conv3d2d",
    "conv3d_grad_wrt_inputs",
    "conv3d_grad_wrt_weights",
    "get_conv_output_shape",
    "old_conv2d",
    "signal_conv2d",
]


def _old_arguments(given: dict[str, Any], shape: Any, image_shape: Any, name: str) -> Any:
    """``input_shape`` under its older name; options of Theano's old engine are ignored."""
    if image_shape is not None:
        if shape is not None:
            raise ValueError("input_shape and image_shape should not be provided at the same time.")
        shape = image_shape
    if given:
        warnings.warn(
            f"Keyword arguments {sorted(given)} are now deprecated in `{name}` interface and will "
            "be ignored.",
            stacklevel=3,
        )
    return shape


def conv2d(
    input: Any,
    filters: Any,
    input_shape: Any = None,
    filter_shape: Any = None,
    border_mode: Any = "valid",
    subsample: Any = (1, 1),
    filter_flip: bool = True,
    image_shape: Any = None,
    filter_dilation: Any = (1, 1),
    num_groups: int = 1,
    unshared: bool = False,
    **kwargs: Any,
) -> Variable:
    """Convolution of images (batch, channels, rows, columns) with filters (filters, channels, rows,
    columns).

    Parameters
    ----------
    input_shape, filter_shape : tuple, optional
        Hints, not relied upon.
    border_mode : str, int or tuple
        ``'valid'``, ``'full'``, ``'half'``, or the padding.
    subsample, filter_dilation : pair of int
    filter_flip : bool
        False for a correlation.
    num_groups : int
    """
    input_shape = _old_arguments(kwargs, input_shape, image_shape, "conv2d")
    op = AbstractConv2d(
        input_shape,
        filter_shape,
        border_mode,
        subsample,
        filter_flip,
        filter_dilation,
        num_groups,
        unshared,
    )
    return op(input, filters)


def old_conv2d(
    input: Any,
    filters: Any,
    image_shape: Any = None,
    filter_shape: Any = None,
    border_mode: str = "valid",
    subsample: Any = (1, 1),
    **kargs: Any,
) -> Variable:
    """``theano.tensor.nnet.conv.conv2d``: options of the old engine (unroll_batch, ...) are taken
    and ignored.
    """
    return AbstractConv2d(image_shape, filter_shape, border_mode, subsample)(input, filters)


def conv3d(
    input: Any,
    filters: Any,
    input_shape: Any = None,
    filter_shape: Any = None,
    border_mode: Any = "valid",
    subsample: Any = (1, 1, 1),
    filter_flip: bool = True,
    filter_dilation: Any = (1, 1, 1),
    num_groups: int = 1,
) -> Variable:
    """Convolution of images (batch, channels, depth, rows, columns)."""
    op = AbstractConv3d(
        input_shape, filter_shape, border_mode, subsample, filter_flip, filter_dilation, num_groups
    )
    return op(input, filters)


def conv3d2d(
    signals: Any,
    filters: Any,
    signals_shape: Any = None,
    filters_shape: Any = None,
    border_mode: Any = "valid",
) -> Variable:
    """``theano.tensor.nnet.conv3d2d.conv3d``: time stands before the channels, in the signals
    (batch, time, channels, rows, columns), the filters and the result.
    """
    order = (0, 2, 1, 3, 4)
    images, kernels = (dimshuffle(as_tensor(v), order) for v in (signals, filters))
    if isinstance(border_mode, (tuple, list)) and all(isinstance(m, str) for m in border_mode):
        if len(set(border_mode)) != 1:
            raise UnsupportedError(
                "conv3d2d with different border modes is not compiled. Pad with zeros first and "
                "use 'valid'."
            )
        border_mode = border_mode[0]
    return dimshuffle(conv3d(images, kernels, border_mode=border_mode), order)


def conv2d_grad_wrt_inputs(
    output_grad: Any,
    filters: Any,
    input_shape: Any,
    filter_shape: Any = None,
    border_mode: Any = "valid",
    subsample: Any = (1, 1),
    filter_flip: bool = True,
    filter_dilation: Any = (1, 1),
    num_groups: int = 1,
    unshared: bool = False,
) -> Variable:
    """Gradient of `conv2d` with respect to its images; ``input_shape`` may be symbolic."""
    op = AbstractConv2d_gradInputs(
        None,
        filter_shape,
        border_mode,
        subsample,
        filter_flip,
        filter_dilation,
        num_groups,
        unshared,
    )
    return op(filters, output_grad, _last(input_shape, 2))


def conv2d_grad_wrt_weights(
    input: Any,
    output_grad: Any,
    filter_shape: Any,
    input_shape: Any = None,
    border_mode: Any = "valid",
    subsample: Any = (1, 1),
    filter_flip: bool = True,
    filter_dilation: Any = (1, 1),
    num_groups: int = 1,
    unshared: bool = False,
) -> Variable:
    """Gradient of `conv2d` with respect to its filters; ``filter_shape`` may be symbolic."""
    op = AbstractConv2d_gradWeights(
        input_shape,
        None,
        border_mode,
        subsample,
        filter_flip,
        filter_dilation,
        num_groups,
        unshared,
    )
    return op(input, output_grad, _last(filter_shape, 2))


def conv3d_grad_wrt_inputs(
    output_grad: Any,
    filters: Any,
    input_shape: Any,
    filter_shape: Any = None,
    border_mode: Any = "valid",
    subsample: Any = (1, 1, 1),
    filter_flip: bool = True,
    filter_dilation: Any = (1, 1, 1),
    num_groups: int = 1,
) -> Variable:
    """Gradient of `conv3d` with respect to its images."""
    op = AbstractConv3d_gradInputs(
        None, filter_shape, border_mode, subsample, filter_flip, filter_dilation, num_groups
    )
    return op(filters, output_grad, _last(input_shape, 3))


def conv3d_grad_wrt_weights(
    input: Any,
    output_grad: Any,
    filter_shape: Any,
    input_shape: Any = None,
    border_mode: Any = "valid",
    subsample: Any = (1, 1, 1),
    filter_flip: bool = True,
    filter_dilation: Any = (1, 1, 1),
    num_groups: int = 1,
) -> Variable:
    """Gradient of `conv3d` with respect to its filters."""
    op = AbstractConv3d_gradWeights(
        input_shape, None, border_mode, subsample, filter_flip, filter_dilation, num_groups
    )
    return op(input, output_grad, _last(filter_shape, 3))


def _last(shape: Any, count: int) -> list[Any]:
    """The spatial sizes of a full shape, given as a list or an int vector.

    The other two may be None in a list: they follow from the operands.
    """
    from ltensor.ops.alloc import as_sizes
    from ltensor.ops.indexing import getitem

    if isinstance(shape, Variable) and shape.type.ndim == 1 and vector_length(shape) is None:
        return [getitem(shape, 2 + axis) for axis in range(count)]
    if isinstance(shape, (list, tuple, np.ndarray)):
        shape = list(shape)[-count:]
    return as_sizes(shape)[-count:]


def conv2d_transpose(
    input: Any,
    filters: Any,
    output_shape: Any,
    filter_shape: Any = None,
    border_mode: Any = "valid",
    input_dilation: Any = (1, 1),
    filter_flip: bool = True,
    filter_dilation: Any = (1, 1),
    num_groups: int = 1,
    unshared: bool = False,
) -> Variable:
    """Transposed ("fractionally strided") convolution; ``input_dilation`` is its upsampling."""
    return conv2d_grad_wrt_inputs(
        input,
        filters,
        output_shape,
        filter_shape,
        border_mode,
        input_dilation,
        filter_flip,
        filter_dilation,
        num_groups,
        unshared,
    )


def get_conv_output_shape(
    image_shape: Any,
    kernel_shape: Any,
    border_mode: Any,
    subsample: Any,
    filter_dilation: Any = None,
) -> tuple[int | None, ...]:
    """The shape of a convolution's result; None where an operand's size is None."""
    rank = len(image_shape) - 2
    dilation = tuple(filter_dilation) if filter_dilation is not None else (1,) * rank
    border = normalize_border(border_mode, rank)
    geometry = Geometry(border, tuple(subsample), dilation, True, 1)
    places: list[int | None] = []
    for axis in range(rank):
        sizes = (image_shape[2 + axis], kernel_shape[2 + axis])
        if None in sizes:
            places.append(None)
        else:
            places.append(geometry.output_size(PlainSizes, axis, *map(int, sizes)))
    return (image_shape[0], kernel_shape[0], *places)


def signal_conv2d(
    input: Any,
    filters: Any,
    image_shape: Any = None,
    filter_shape: Any = None,
    border_mode: str = "valid",
    subsample: Any = (1, 1),
    **kargs: Any,
) -> Variable:
    """``theano.tensor.signal.conv.conv2d``: every image with every filter, without channels.

    Two matrices give a matrix; a stack of images or of filters gives a stack, both a 4-d result
    (image, filter, rows, columns).

    Raises
    ------
    Exception
        If an operand is neither 2-d nor 3-d.
    """
    images, kernels = as_tensor(input), as_tensor(filters)
    for name, v in (("input", images), ("filters", kernels)):
        if v.type.ndim not in (2, 3):
            raise Exception(f"signal.conv.conv2d: {name} must be a 2D or 3D tensor, not {v.type}")

    def lift(v: Variable) -> Variable:
        order = ("x", "x", 0, 1) if v.type.ndim == 2 else (0, "x", 1, 2)
        return dimshuffle(v, order)

    result = AbstractConv2d(None, None, border_mode, subsample)(lift(images), lift(kernels))
    kept = [2, 3]
    if kernels.type.ndim == 3:
        kept.insert(0, 1)
    if images.type.ndim == 3:
        kept.insert(0, 0)
    return dimshuffle(result, kept)


# ------------------------------------------------------------------------------ upsampling


def bilinear_kernel_1D(ratio: int, normalize: bool = True) -> Variable:
    """The triangle 1, 2, ..., ratio, ..., 1, over ``ratio`` if normalized."""
    ratio = int(ratio)
    rise = np.arange(1, ratio + 1, dtype=str(config.floatX))
    triangle = np.concatenate([rise, rise[-2::-1]])
    return constant(triangle / ratio if normalize else triangle)


def bilinear_kernel_2D(ratio: int, normalize: bool = True) -> Variable:
    """The outer product of two triangles, over ``ratio ** 2`` if normalized."""
    line = np.asarray(bilinear_kernel_1D(ratio, normalize).data)  # type: ignore[attr-defined]
    return constant(line[:, None] * line[None, :])


def bilinear_upsampling(
    input: Any,
    ratio: int | None = None,
    frac_ratio: Any = None,
    batch_size: Any = None,
    num_input_channels: Any = None,
    use_1D_kernel: bool = True,
) -> Variable:
    """Images enlarged ``ratio`` times by bilinear interpolation; borders repeat the last pixel.

    Raises
    ------
    UnsupportedError
        For ``frac_ratio``.
    """
    if frac_ratio is not None or ratio is None:
        raise UnsupportedError(
            "bilinear_upsampling by a fraction is not compiled. Enlarge by an integer ratio and "
            "take every n-th pixel."
        )
    from ltensor.ops.arithmetic import mul
    from ltensor.ops.indexing import getitem
    from ltensor.ops.join import concatenate

    x, ratio = as_tensor(input), int(ratio)
    n, c, rows, columns = dims_of(x)
    flat = reshape(x, [mul(n, c), 1, rows, columns], ndim=4)

    def extended(image: Variable, axis: int) -> Variable:
        """One pixel more at both ends, equal to its neighbour."""
        ends = []
        for end in (slice(0, 1), slice(-1, None)):
            index: list[Any] = [slice(None)] * 4
            index[axis] = end
            ends.append(getitem(image, tuple(index)))
        return concatenate([ends[0], image, ends[1]], axis=axis)

    size = [rows, columns]
    kernel = np.asarray(bilinear_kernel_1D(ratio).data)  # type: ignore[attr-defined]
    kernel = kernel.astype(x.type.dtype)
    result = flat
    for axis in (0, 1):
        shape = (1, 1, -1, 1) if axis == 0 else (1, 1, 1, -1)
        filters = constant(kernel.reshape(shape))
        border = [0, 0]
        border[axis] = 2 * ratio - (ratio - 1) // 2 - 1
        subsample = [1, 1]
        subsample[axis] = ratio
        wide = extended(result, 2 + axis)
        size[axis] = mul(size[axis], constant(ratio, dtype="int64"))
        op = AbstractConv2d_gradInputs(None, None, tuple(border), tuple(subsample))
        result = op(filters, wide, list(size))
    return reshape(result, [n, c, *size], ndim=4)
