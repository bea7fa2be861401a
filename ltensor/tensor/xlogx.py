"""``theano.tensor.xlogx``: ``x log x`` and ``x log y`` with the value 0 at ``x = 0``."""

from __future__ import annotations

from ltensor.ops.xlogx import xlogx, xlogy0

__all__ = ["xlogx", "xlogy0"]
