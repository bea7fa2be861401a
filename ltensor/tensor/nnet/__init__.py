"""``theano.tensor.nnet``: activations, softmax, losses, normalization and convolution."""

# ruff: noqa: F401 - everything imported here is part of the namespace
from __future__ import annotations

import importlib

from ltensor.ops.conv_api import (
    AbstractConv2d,
    AbstractConv2d_gradInputs,
    AbstractConv2d_gradWeights,
    AbstractConv3d,
    AbstractConv3d_gradInputs,
    AbstractConv3d_gradWeights,
    bilinear_kernel_1D,
    bilinear_kernel_2D,
    bilinear_upsampling,
    conv2d,
    conv2d_grad_wrt_inputs,
    conv2d_grad_wrt_weights,
    conv2d_transpose,
    conv3d,
    conv3d_grad_wrt_inputs,
    conv3d_grad_wrt_weights,
    get_conv_output_shape,
)
from ltensor.ops.conv_variants import causal_conv1d, separable_conv2d, separable_conv3d
from ltensor.ops.neighbours import Images2Neibs, images2neibs, neibs2images
from ltensor.ops.nnet import (
    CrossentropySoftmaxArgmax1HotWithBias,
    LogSoftmax,
    Softmax,
    SoftmaxGrad,
    batch_normalization,
    batch_normalization_test,
    batch_normalization_train,
    binary_crossentropy,
    categorical_crossentropy,
    confusion_matrix,
    crossentropy_categorical_1hot,
    crossentropy_softmax_1hot,
    crossentropy_softmax_1hot_with_bias,
    crossentropy_softmax_argmax_1hot_with_bias,
    crossentropy_softmax_max_and_argmax_1hot,
    crossentropy_softmax_max_and_argmax_1hot_with_bias,
    elu,
    h_softmax,
    hard_sigmoid,
    logsoftmax,
    logsoftmax_op,
    relu,
    selu,
    sigmoid,
    sigmoid_binary_crossentropy,
    softmax,
    softmax_grad_op,
    softmax_op,
    softmax_with_bias,
    softplus,
    softsign,
    ultra_fast_sigmoid,
)

#: Theano's modules below this one; most are views of this namespace.
_MODULES = {
    "abstract_conv": "ltensor.tensor.nnet",
    "blocksparse": "ltensor.tensor.nnet.blocksparse",
    "bn": "ltensor.tensor.nnet",
    "conv": "ltensor.tensor.nnet.conv",
    "conv3d2d": "ltensor.tensor.nnet.conv3d2d",
    "corr": "ltensor.tensor.nnet",
    "neighbours": "ltensor.tensor.nnet",
    "nnet": "ltensor.tensor.nnet",
    "sigm": "ltensor.tensor.nnet",
}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        value: object = importlib.import_module(_MODULES[name])
    elif name == "sparse_block_dot":
        value = importlib.import_module(_MODULES["blocksparse"]).sparse_block_dot
    else:
        raise AttributeError(f"ltensor.tensor.nnet has no {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, "sparse_block_dot"})
