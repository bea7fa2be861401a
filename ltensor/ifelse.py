"""Theano's module ``theano.ifelse``: the lazy conditional."""

from ltensor.ops.ifelse import IfElse, ifelse

__all__ = ["IfElse", "ifelse"]
