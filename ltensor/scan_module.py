"""Theano's name for the module that `scan` is in: programs write ``theano.scan_module.until``.

``ltensor.scan`` is the function, as ``theano.scan`` is.
"""

from __future__ import annotations

from ltensor.ops.scan import Scan
from ltensor.scan import OrderedUpdates, foldl, foldr, map, reduce, scan, until

__all__ = ["OrderedUpdates", "Scan", "foldl", "foldr", "map", "reduce", "scan", "until"]
