"""Theano's module ``theano.compile.builders``: operations made of graphs."""

from ltensor.ops.subgraph import OpFromGraph

__all__ = ["OpFromGraph"]
