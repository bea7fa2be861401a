"""``theano.tensor.extra_ops``: cumulative sums, counts, repetition, broadcasting, windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ltensor.config import config
from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor, constant
from ltensor.ops.alloc import alloc, arange, as_size, as_sizes, zeros
from ltensor.ops.arithmetic import add, maximum, mul, sub, switch, true_div
from ltensor.ops.cast import cast
from ltensor.ops.compare import eq, le, lt
from ltensor.ops.control import Assert
from ltensor.ops.cumulative import CumOp, cumprod, cumsum
from ltensor.ops.diagonal import fill_diagonal, fill_diagonal_offset
from ltensor.ops.indexing import getitem, inc_subtensor, set_subtensor
from ltensor.ops.rearrange import compress, ravel_multi_index, repeat, unravel_index
from ltensor.ops.reduce import all as reduce_all
from ltensor.ops.reduce import max as reduce_max
from ltensor.ops.search import SearchSorted as SearchsortedOp
from ltensor.ops.search import searchsorted
from ltensor.ops.shape import dims_of, shape_i
from ltensor.ops.sort import Unique, unique
from ltensor.tensor.functions import squeeze

__all__ = [
    "CpuContiguous",
    "CumOp",
    "SearchsortedOp",
    "Unique",
    "bartlett",
    "bincount",
    "broadcast_shape",
    "broadcast_to",
    "compress",
    "cpu_contiguous",
    "cumprod",
    "cumsum",
    "diff",
    "fill_diagonal",
    "fill_diagonal_offset",
    "ravel_multi_index",
    "repeat",
    "searchsorted",
    "squeeze",
    "to_one_hot",
    "unique",
    "unravel_index",
]


def diff(x: Any, n: int = 1, axis: int = -1) -> Any:
    """Differences of neighbours along ``axis``, ``n`` times over."""
    x = as_tensor(x)
    if n < 0:
        raise ValueError(f"diff: order must be non-negative but got {n}")
    if not -x.type.ndim <= axis < x.type.ndim:
        raise ValueError(f"diff: {x} has no axis {axis}")
    before: list[Any] = [slice(None)] * (axis % x.type.ndim)
    for _ in range(n):
        upper = getitem(x, (*before, slice(1, None)))
        x = sub(upper, getitem(x, (*before, slice(None, -1))))
    return x


def bincount(
    x: Any, weights: Any = None, minlength: Any = None, assert_nonneg: bool = False
) -> Any:
    """How often each of 0, 1, ... occurs in an int vector.

    The result has the dtype of ``x`` (or of ``weights``).

    Parameters
    ----------
    weights : vector, optional
        What each occurrence counts.
    minlength : int, optional
        The least length of the result.
    assert_nonneg : bool
        Raise AssertionError where a number is negative (IndexError otherwise).
    """
    x = as_tensor(x)
    if x.type.ndim != 1:
        raise TypeError("Inputs must be of dimension 1.")
    if not dt.is_integer(x.type.dtype):
        raise TypeError(f"bincount takes integers, not {x.type.dtype}")
    if assert_nonneg:
        x = Assert("Input to bincount has negative values!")(x, reduce_all(le(0, x)))
    length = add(cast(reduce_max(x), "int64"), 1)
    if minlength is not None:
        length = maximum(length, cast(minlength, "int64"))
    amount = constant(1, dtype=x.type.dtype) if weights is None else as_tensor(weights)
    if weights is not None and amount.type.ndim != 1:
        raise TypeError("Weights cannot have a number of dimension different of 1.")
    places = cast(x, "int64")
    # A negative number must not count from the end: it is moved far out of bounds.
    places = switch(lt(places, 0), add(places, -(2**62)), places)
    return inc_subtensor(getitem(zeros([length], dtype=amount.type.dtype), places), amount)


def to_one_hot(y: Any, nb_class: Any, dtype: Any = None) -> Any:
    """A matrix with a row for every element of the int vector ``y``: 1 in that column, else 0.

    Parameters
    ----------
    y : int vector
    nb_class : int
        The number of columns.
    dtype : str, optional
        floatX by default.

    Raises
    ------
    TypeError
        If ``y`` is no vector of integers.
    """
    y = as_tensor(y)
    if y.type.ndim != 1 or not dt.is_integer(y.type.dtype):
        raise TypeError(f"to_one_hot takes a vector of integers, not {y.type}")
    name = str(config.floatX) if dtype is None else dt.normalize(dtype)
    rows = shape_i(y, 0)
    blank = zeros([rows, nb_class], dtype=name)
    return set_subtensor(getitem(blank, (arange(rows), y)), constant(1, dtype=name))


def broadcast_to(x: Any, shape: Any) -> Any:
    """``x`` stretched to ``shape``."""
    return alloc(x, *as_sizes(shape))


def broadcast_shape(*arrays: Any, arrays_are_shapes: bool = False) -> tuple[Any, ...]:
    """The sizes that operands have together; dimensions known to be 1 stretch.

    Raises
    ------
    ValueError
        If sizes that are known do not fit.
    """
    shapes: list[Sequence[Any]] = []
    for array in arrays:
        if arrays_are_shapes:
            shapes.append([as_size(size) for size in array])
        else:
            shapes.append(dims_of(as_tensor(array)))
    rank = max((len(shape) for shape in shapes), default=0)
    result = []
    for axis in range(-rank, 0):
        sizes = [shape[axis] for shape in shapes if len(shape) >= -axis]
        result.append(_common_size(sizes))
    return tuple(result)


def _common_size(sizes: Sequence[Any]) -> Any:
    values = [getattr(size, "data", None) for size in sizes]
    known = {int(v) for v in values if v is not None and int(v) != 1}
    if len(known) > 1:
        raise ValueError(f"the sizes {sorted(known)} do not broadcast")
    if known:
        return as_size(known.pop())
    unknown = [size for size, v in zip(sizes, values, strict=True) if v is None]
    return unknown[0] if unknown else as_size(1)


def bartlett(M: Any) -> Any:
    """The triangular window of ``M`` points, as `numpy.bartlett`."""
    points = as_tensor(M)
    if points.type.ndim != 0 or not dt.is_discrete(points.type.dtype):
        raise TypeError("bartlett takes an integer scalar")
    n = cast(arange(points), "float64")
    last = cast(maximum(sub(points, 1), 1), "float64")
    rising = true_div(mul(2.0, n), last)
    window = switch(le(n, true_div(last, 2.0)), rising, sub(2.0, rising))
    return switch(eq(points, 1), np.float64(1), window)


def cpu_contiguous(x: Any) -> Any:
    """``x`` itself: how arrays lie in memory is ltensor's own affair."""
    return as_tensor(x)


class CpuContiguous:
    """Makes `cpu_contiguous`."""

    def __call__(self, x: Any) -> Any:
        """Give ``x`` itself."""
        return cpu_contiguous(x)
