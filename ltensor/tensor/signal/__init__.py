"""``theano.tensor.signal``: pooling, and convolution of images without channels."""

from __future__ import annotations

import importlib


def __getattr__(name: str) -> object:
    if name not in ("conv", "downsample", "pool"):
        raise AttributeError(f"ltensor.tensor.signal has no {name!r}")
    return importlib.import_module(f"ltensor.tensor.signal.{name}")
