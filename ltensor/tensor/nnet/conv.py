"""``theano.tensor.nnet.conv``: convolution under its old keywords (``image_shape``)."""

from __future__ import annotations

from ltensor.ops.conv_api import AbstractConv2d as ConvOp
from ltensor.ops.conv_api import old_conv2d as conv2d

__all__ = ["ConvOp", "conv2d"]
