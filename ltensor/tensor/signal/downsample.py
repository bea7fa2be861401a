"""``theano.tensor.signal.downsample``: pooling under its old name and keywords."""

from __future__ import annotations

from ltensor.ops.pool import Pool as DownsampleFactorMax
from ltensor.ops.pool_api import max_pool_2d, max_pool_2d_same_size

__all__ = ["DownsampleFactorMax", "max_pool_2d", "max_pool_2d_same_size"]
