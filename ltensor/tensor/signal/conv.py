"""``theano.tensor.signal.conv``: convolution of a stack of images by a stack of filters."""

from __future__ import annotations

from ltensor.ops.conv_api import signal_conv2d as conv2d

__all__ = ["conv2d"]
