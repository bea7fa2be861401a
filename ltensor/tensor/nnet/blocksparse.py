"""``theano.tensor.nnet.blocksparse``: products of those blocks of a matrix that indices name."""

from __future__ import annotations

from typing import Any

from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Variable
from ltensor.tensor import inc_subtensor

__all__ = ["sparse_block_dot", "sparse_block_gemv", "sparse_block_outer"]


def sparse_block_gemv(o: Any, W: Any, h: Any, inputIdx: Any, outputIdx: Any) -> Any:
    """``o[n, j] + sum over i of h[n, i] . W[inputIdx[n, i], outputIdx[n, j]]``.

    Parameters
    ----------
    o : (samples, output blocks in use, size of an output block)
    W : (input blocks, output blocks, size of an input block, size of an output block)
    h : (samples, input blocks in use, size of an input block)
    inputIdx, outputIdx : (samples, blocks in use) of integers

    Raises
    ------
    TypeError
        If one of them has another rank, or indices are no integers.
    """
    o, W, h = _ranked("o", o, 3), _ranked("W", W, 4), _ranked("h", h, 3)
    places, targets = _places("inputIdx", inputIdx), _places("outputIdx", outputIdx)
    blocks = W[places.dimshuffle(0, 1, "x"), targets.dimshuffle(0, "x", 1)]
    products = (h.dimshuffle(0, 1, "x", 2, "x") * blocks).sum(axis=(1, 3))
    return o + products.astype(o.dtype)


def sparse_block_outer(o: Any, x: Any, y: Any, xIdx: Any, yIdx: Any, alpha: Any = None) -> Any:
    """``o`` with ``alpha`` times the outer products of ``x[n, i]`` and ``y[n, j]`` added.

    Each goes to the block ``o[xIdx[n, i], yIdx[n, j]]``; ``alpha`` is 1 by default.
    """
    o, x, y = _ranked("o", o, 4), _ranked("x", x, 3), _ranked("y", y, 3)
    rows, columns = _places("xIdx", xIdx), _places("yIdx", yIdx)
    products = x.dimshuffle(0, 1, "x", 2, "x") * y.dimshuffle(0, "x", 1, "x", 2)
    if alpha is not None:
        products = as_tensor(alpha) * products
    target = o[rows.dimshuffle(0, 1, "x"), columns.dimshuffle(0, "x", 1)]
    return inc_subtensor(target, products.astype(o.dtype))


def sparse_block_dot(W: Any, h: Any, inputIdx: Any, b: Any, outputIdx: Any) -> Any:
    """`sparse_block_gemv` onto the biases ``b[outputIdx]``, also of one sample without its axis.

    Parameters
    ----------
    W, h, inputIdx, outputIdx
        See `sparse_block_gemv`.
    b : (output blocks, size of an output block)
    """
    h, b = as_tensor(h), as_tensor(b)
    places, targets = as_tensor(inputIdx), as_tensor(outputIdx)
    if h.ndim == 2:
        h = h.dimshuffle("x", 0, 1)
        places, targets = places.dimshuffle("x", 0), targets.dimshuffle("x", 0)
    return sparse_block_gemv(b[_places("outputIdx", targets)], W, h, places, targets)


def _ranked(name: str, value: Any, rank: int) -> Any:
    x = as_tensor(value)
    if x.type.ndim != rank:
        raise TypeError(f"{name} must have {rank} dimensions, not {x.type.ndim}")
    return x


def _places(name: str, value: Any) -> Variable:
    x: Variable = _ranked(name, value, 2)
    if x.type.dtype[0] not in "iu":
        raise TypeError(f"{name} must be integers, not {x.type.dtype}")
    return x
