"""Draws of a random state as expressions: Theano's ``tensor.raw_random``.

Every function takes a variable of `RandomStateType` and gives two: the state after the draw, and
the sample. `RandomStreams` calls them with states of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ltensor.config import config
from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor, constant
from ltensor.ir.graph import Variable
from ltensor.ir.types import RandomStateType, TensorType, random_state_type
from ltensor.ops.alloc import make_vector
from ltensor.ops.permute import permute_row_elements
from ltensor.ops.random import RandomFunction
from ltensor.ops.shape import dims_of, shape_i, split_sizes, vector_length

__all__ = [
    "RandomFunction",
    "RandomStateType",
    "binomial",
    "choice",
    "multinomial",
    "normal",
    "permutation",
    "poisson",
    "random_integers",
    "random_state_type",
    "shuffle_row_elements",
    "uniform",
]


def infer_size(
    size: Any, ndim: int | None, parameters: Sequence[Variable] = ()
) -> tuple[list[Variable], tuple[bool, ...]]:
    """The sizes of a draw and its broadcast pattern.

    Parameters
    ----------
    size : None, sequence or int vector
        None (or empty, with parameters of some rank): the shape that the parameters broadcast
        to. A -1 in a sequence borrows that dimension from them.
    ndim : int or None
        The rank, where ``size`` does not tell it.

    Raises
    ------
    TypeError
        If ``size`` is no vector of integers.
    ValueError
        If the rank is unknown or does not fit.
    """
    rank = max((p.type.ndim for p in parameters), default=0)
    if isinstance(size, np.ndarray) and size.ndim == 1 and size.dtype.kind in "iu":
        size = tuple(int(s) for s in size)
    if isinstance(size, (list, tuple)) and not size and rank and ndim in (None, rank):
        size = None
    if size is None:
        if not parameters:
            raise TypeError("the size of the draw is needed: it has no parameters to follow")
        sizes, pattern = _broadcast_size(parameters, rank)
    elif isinstance(size, (list, tuple)):
        if ndim is not None and ndim != len(size):
            raise ValueError(
                f"ndim should be equal to len(size), but ndim = {ndim} and size = {size}"
            )
        sizes, pattern = _listed_size(size, parameters)
    else:
        vector = as_tensor(size)
        if vector.type.ndim != 1:
            raise TypeError(f"shape must be a vector or list of scalar, got '{vector}'")
        if not dt.is_integer(vector.type.dtype):
            raise TypeError("shape must be an integer vector or list", vector.type.dtype)
        length = vector_length(vector) if ndim is None else int(ndim)
        if length is None:
            raise ValueError(f"the length of the size {vector} is not known: give ndim= as well")
        sizes, pattern = split_sizes(vector, length), (False,) * length
    if rank > len(sizes):
        raise ValueError(
            f"the draw has {len(sizes)} dimensions, but its parameters have {rank}", parameters
        )
    return sizes, pattern


def _infer_ndim_bcast(
    ndim: int | None, shape: Any, *args: Variable
) -> tuple[int, Variable, tuple[bool, ...]]:
    """The rank of a draw, its sizes as a vector, and its pattern: `infer_size` by Theano's name."""
    sizes, pattern = infer_size(shape, ndim, [as_tensor(x) for x in args])
    return len(sizes), make_vector(sizes, "int64"), pattern


def _broadcast_size(
    parameters: Sequence[Variable], rank: int
) -> tuple[list[Variable], tuple[bool, ...]]:
    sizes, pattern = [], []
    for axis in range(rank):
        size = _borrowed(parameters, axis, rank)
        pattern.append(size is None)
        sizes.append(constant(1, dtype="int64") if size is None else size)
    return sizes, tuple(pattern)


def _borrowed(parameters: Sequence[Variable], axis: int, rank: int) -> Variable | None:
    """The size along ``axis`` of the first parameter that is not stretched there."""
    for parameter in parameters:
        own = axis - (rank - parameter.type.ndim)
        if own >= 0 and not parameter.type.broadcastable[own]:
            return shape_i(parameter, own)
    return None


def _listed_size(
    size: Sequence[Any], parameters: Sequence[Variable]
) -> tuple[list[Variable], tuple[bool, ...]]:
    sizes: list[Variable] = []
    pattern: list[bool] = []
    for axis, item in enumerate(size):
        if isinstance(item, Variable):
            if item.type.ndim or not dt.is_integer(item.type.dtype):
                raise TypeError("shape must be an integer vector or list", item)
            sizes.append(item)
            pattern.append(False)
            continue
        if isinstance(item, bool) or not isinstance(item, (int, np.integer)):
            raise TypeError(f"shape must be an integer vector or list, got {item!r}")
        if item >= 0:
            sizes.append(constant(int(item), dtype="int64"))
            pattern.append(item == 1)
            continue
        if item != -1:
            raise ValueError(f"negative size {item} along axis {axis} of {tuple(size)}")
        if not any(axis >= len(size) - p.type.ndim for p in parameters):
            raise ValueError(
                "a size of -1 must overlap with the shape of one of the parameters", tuple(size)
            )
        borrowed = _borrowed(parameters, axis, len(size))
        sizes.append(constant(1, dtype="int64") if borrowed is None else borrowed)
        pattern.append(borrowed is None)
    return sizes, tuple(pattern)


def _draw(
    method: str,
    state: Any,
    sizes: Sequence[Variable],
    parameters: Sequence[Variable],
    dtype: Any,
    pattern: Sequence[bool],
) -> list[Variable]:
    op = RandomFunction(method, TensorType(dt.normalize(dtype), tuple(pattern)))
    return op(state, *sizes, *parameters)


def _real_dtype(dtype: Any, *parameters: Variable) -> str:
    if dtype is not None:
        return dt.normalize(dtype)
    return dt.upcast(str(config.floatX), *(p.type.dtype for p in parameters))


def uniform(
    random_state: Any,
    size: Any = None,
    low: Any = 0.0,
    high: Any = 1.0,
    ndim: int | None = None,
    dtype: Any = None,
) -> list[Variable]:
    """Uniform draws between ``low`` and ``high``."""
    low, high = as_tensor(low), as_tensor(high)
    sizes, pattern = infer_size(size, ndim, (low, high))
    dtype = _real_dtype(dtype, low, high)
    return _draw("uniform", random_state, sizes, (low, high), dtype, pattern)


def normal(
    random_state: Any,
    size: Any = None,
    avg: Any = 0.0,
    std: Any = 1.0,
    ndim: int | None = None,
    dtype: Any = None,
) -> list[Variable]:
    """Normal draws of mean ``avg`` and standard deviation ``std``."""
    avg, std = as_tensor(avg), as_tensor(std)
    sizes, pattern = infer_size(size, ndim, (avg, std))
    dtype = _real_dtype(dtype, avg, std)
    return _draw("normal", random_state, sizes, (avg, std), dtype, pattern)


def binomial(
    random_state: Any,
    size: Any = None,
    n: Any = 1,
    p: Any = 0.5,
    ndim: int | None = None,
    dtype: Any = "int64",
    prob: Any = None,
) -> list[Variable]:
    """How many of ``n`` trials of probability ``p`` succeed; never broadcastable."""
    n, p = as_tensor(n), as_tensor(p if prob is None else prob)
    sizes, pattern = infer_size(size, ndim, (n, p))
    return _draw("binomial", random_state, sizes, (n, p), dtype, (False,) * len(pattern))


def random_integers(
    random_state: Any,
    size: Any = None,
    low: Any = 0,
    high: Any = 1,
    ndim: int | None = None,
    dtype: Any = "int64",
) -> list[Variable]:
    """Integers from ``low`` to ``high``, both included."""
    low, high = as_tensor(low), as_tensor(high)
    sizes, pattern = infer_size(size, ndim, (low, high))
    return _draw("random_integers", random_state, sizes, (low, high), dtype, pattern)


def choice(
    random_state: Any,
    size: Any = None,
    a: Any = 2,
    replace: Any = True,
    p: Any = None,
    ndim: int | None = None,
    dtype: Any = "int64",
) -> list[Variable]:
    """Draws of 0..a-1, or of the elements of a vector ``a``, by the probabilities ``p``."""
    a = as_tensor(a)
    if a.type.ndim > 1:
        raise ValueError(f"a.ndim ({a.type.ndim}) must be 0 or 1")
    if not isinstance(replace, Variable):
        replace = constant(int(bool(replace)), dtype="int8")
    if p is None or (isinstance(p, (list, tuple)) and not p):
        p = np.empty(0, str(config.floatX))
    p = as_tensor(p)
    sizes, pattern = infer_size(size, ndim)
    return _draw("choice", random_state, sizes, (a, replace, p), dtype, pattern)


def poisson(
    random_state: Any,
    size: Any = None,
    lam: Any = 1.0,
    ndim: int | None = None,
    dtype: Any = "int64",
) -> list[Variable]:
    """Poisson draws of rate ``lam``."""
    lam = as_tensor(1.0 if lam is None else lam)
    sizes, pattern = infer_size(size, ndim, (lam,))
    return _draw("poisson", random_state, sizes, (lam,), dtype, pattern)


def permutation(
    random_state: Any,
    size: Any = None,
    n: Any = 1,
    ndim: int | None = None,
    dtype: Any = "int64",
) -> list[Variable]:
    """Permutations of 0..n-1 along a further last axis; one of them if ``size`` is None."""
    sizes: list[Variable] = []
    pattern: tuple[bool, ...] = ()
    n = as_tensor(n)
    if not dt.is_integer(n.type.dtype):
        raise TypeError(f"permutation: n must be an integer, not {n.type.dtype}")
    if size is None or (isinstance(size, (list, tuple)) and not size):
        if ndim not in (None, 0, 1):
            raise TypeError(f"one permutation has one dimension, not {ndim}")
    else:
        sizes, pattern = infer_size(size, ndim)
    return _draw("permutation", random_state, sizes, (n,), dtype, (*pattern, False))


def multinomial(
    random_state: Any,
    size: Any = None,
    n: Any = 1,
    pvals: Any = (0.5, 0.5),
    ndim: int | None = None,
    dtype: Any = "int64",
) -> list[Variable]:
    """How often each category comes in ``n`` draws by ``pvals``, along a further last axis."""
    n, pvals = as_tensor(n), as_tensor(list(pvals) if isinstance(pvals, tuple) else pvals)
    if pvals.type.ndim == 0:
        raise ValueError("pvals must have a dimension of categories")
    sizes, pattern = _size_of_multinomial(size, ndim, n, pvals)
    pattern = (*pattern, pvals.type.broadcastable[-1])
    return _draw("multinomial", random_state, sizes, (n, pvals), dtype, pattern)


def _size_of_multinomial(
    size: Any, ndim: int | None, n: Variable, pvals: Variable
) -> tuple[list[Variable], tuple[bool, ...]]:
    if pvals.type.ndim == 1:
        return infer_size(size, ndim, (n,))
    rows = pvals[(slice(None),) * (pvals.type.ndim - 1) + (0,)]
    return infer_size(size, ndim, (n, rows))


def shuffle_row_elements(random_state: Any, x: Any) -> list[Variable]:
    """Every row (of the last axis) of ``x`` in an order of its own."""
    x = as_tensor(x)
    dims = dims_of(x)
    new_state, order = permutation(random_state, dims[:-1], dims[-1])
    return [new_state, permute_row_elements(x, order)]
