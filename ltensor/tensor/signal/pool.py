"""``theano.tensor.signal.pool``: maxima, sums and averages of windows."""

from __future__ import annotations

from ltensor.ops.pool import (
    AveragePoolGrad,
    DownsampleFactorMaxGradGrad,
    MaxPoolGrad,
    Pool,
)
from ltensor.ops.pool_api import max_pool_2d, max_pool_2d_same_size, pool_2d, pool_3d

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
