"""Theano's names for the GPU that mean something without its back ends.

Where a program runs is ``config.device``'s matter here, and a variable is of the same type on
every device: moving it is doing nothing, and cuDNN's functions are those of ``nnet``.
"""

from __future__ import annotations

import warnings
from typing import Any

from ltensor.errors import UnsupportedError
from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Variable
from ltensor.tensor import nnet
from ltensor.tensor.signal import pool

_NO_TYPE = "variables of every device are of type TensorType"


class CudaNdarrayType:
    """The type of no variable: programs ask whether one is on the GPU."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise UnsupportedError(type(self).__name__, _NO_TYPE)


class GpuArrayType(CudaNdarrayType):
    """The type of no variable."""


class CudaNdarrayVariable(CudaNdarrayType):
    """The class of no variable."""


class CudaNdarrayConstant(CudaNdarrayVariable):
    """The class of no constant."""


class CudaNdarraySharedVariable(CudaNdarrayVariable):
    """The class of no shared variable."""


class GpuArrayVariable(CudaNdarrayVariable):
    """The class of no variable."""


class GpuArrayConstant(GpuArrayVariable):
    """The class of no constant."""


class GpuArraySharedVariable(GpuArrayVariable):
    """The class of no shared variable."""


def as_gpuarray_variable(x: Any, context_name: Any = None) -> Variable:
    """``x`` as a tensor variable."""
    return as_tensor(x)


def as_cuda_ndarray_variable(x: Any) -> Variable:
    """``x`` as a tensor variable."""
    return as_tensor(x)


def gpu_contiguous(x: Any) -> Variable:
    """``x``: operations take operands of any layout."""
    return as_tensor(x)


def host_from_gpu(x: Any) -> Variable:
    """``x``, wherever it is."""
    return as_tensor(x)


def gpu_from_host(x: Any) -> Variable:
    """``x``, wherever it is."""
    return as_tensor(x)


def dnn_conv(
    img: Any,
    kerns: Any,
    border_mode: Any = "valid",
    subsample: Any = (1, 1),
    dilation: Any = (1, 1),
    conv_mode: str = "conv",
    direction_hint: Any = None,
    workmem: Any = None,
    algo: Any = None,
    precision: Any = None,
    num_groups: int = 1,
) -> Variable:
    """`ltensor.tensor.nnet.conv2d` with cuDNN's arguments; hints and algorithms are not looked at.

    ``conv_mode='cross'`` leaves the filters unflipped.
    """
    if workmem is not None:
        if algo is not None:
            raise ValueError("You can't use both algo and workmem")
        warnings.warn("workmem is deprecated, use algo instead", stacklevel=2)
    return nnet.conv2d(
        img,
        kerns,
        border_mode=border_mode,
        subsample=subsample,
        filter_flip=_flip(conv_mode),
        filter_dilation=dilation,
        num_groups=num_groups,
    )


def dnn_conv3d(
    img: Any,
    kerns: Any,
    border_mode: Any = "valid",
    subsample: Any = (1, 1, 1),
    dilation: Any = (1, 1, 1),
    conv_mode: str = "conv",
    direction_hint: Any = None,
    algo: Any = None,
    precision: Any = None,
    num_groups: int = 1,
) -> Variable:
    """`ltensor.tensor.nnet.conv3d` with cuDNN's arguments, as `dnn_conv`."""
    return nnet.conv3d(
        img,
        kerns,
        border_mode=border_mode,
        subsample=subsample,
        filter_flip=_flip(conv_mode),
        filter_dilation=dilation,
        num_groups=num_groups,
    )


def _flip(conv_mode: str) -> bool:
    if conv_mode not in ("conv", "cross"):
        raise ValueError(f"conv_mode must be 'conv' or 'cross', not {conv_mode!r}")
    return conv_mode == "conv"


def dnn_pool(img: Any, ws: Any, stride: Any = None, mode: str = "max", pad: Any = None) -> Variable:
    """`pool_2d` or `pool_3d` with cuDNN's arguments: windows in the image only, strides of one."""
    size = len(ws)
    if mode == "max_deterministic":
        mode = "max"
    return (pool.pool_2d if size == 2 else pool.pool_3d)(
        img,
        ws,
        ignore_border=True,
        stride=(1,) * size if stride is None else stride,
        pad=(0,) * size if pad is None else pad,
        mode=mode,
    )


def dnn_batch_normalization_train(
    inputs: Any,
    gamma: Any,
    beta: Any,
    mode: Any = "per-activation",
    epsilon: float = 1e-4,
    running_average_factor: Any = 0.1,
    running_mean: Any = None,
    running_var: Any = None,
) -> tuple[Variable, ...]:
    """`batch_normalization_train`, whose ``axes`` are called ``mode`` here."""
    return nnet.batch_normalization_train(
        inputs, gamma, beta, mode, epsilon, running_average_factor, running_mean, running_var
    )


def dnn_batch_normalization_test(
    inputs: Any,
    gamma: Any,
    beta: Any,
    mean: Any,
    var: Any,
    mode: Any = "per-activation",
    epsilon: float = 1e-4,
) -> Variable:
    """`batch_normalization_test`, whose ``axes`` are called ``mode`` here."""
    return nnet.batch_normalization_test(inputs, gamma, beta, mean, var, mode, epsilon)
