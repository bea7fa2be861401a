"""``theano.tensor.extra_ops``: differences, counts, one-hot coding, broadcasting, windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ltensor.config import config
from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor
from ltensor.ops.alloc import alloc, arange, as_size, as_sizes, zeros
from ltensor.ops.arithmetic import add, maximum, mul, sub, switch, true_div
from ltensor.ops.cast import cast
from ltensor.ops.compare import eq, le
from ltensor.ops.control import Assert
from ltensor.ops.diagonal import fill_diagonal, fill_diagonal_offset
from ltensor.ops.indexing import getitem, inc_subtensor
from ltensor.ops.rearrange import compress, ravel_multi_index, repeat, unravel_index
from ltensor.ops.reduce import all as reduce_all, max as reduce_max
from ltensor.ops.shape import dims_of, dimshuffle
from ltensor.ops.sort import Unique, unique
from ltensor.tensor.functions import squeeze

__all__ = [
    "CpuContiguous",
    "Unique",
    "bartlett",
    "bincount",
    "broadcast_shape",
    "broadcast_to",
    "compress",
    "cpu_contiguous",
    "diff",
    "fill_diagonal",
    "fill_diagonal_offset",
    "ravel_multi_index",
    "repeat",
    "squeeze",
    "to_one_hot",
    "unique",
    "unravel_index",
]


def diff(x: Any, n: int = 1, axis: int = -1) -> Any:
    """Differences of neighbours along ``axis``, ``n`` times over."""
    x = as_tensor(x)
    axis = axis % x.type.ndim
    first: list[Any] = [slice(None)] * x.type.ndim
    second = list(first)
    first[axis], second[axis] = slice(1, None), slice(None, -1)
    for _ in range(n):
        x = sub(getitem(x, tuple(first)), getitem(x, tuple(second)))
    return x


def bincount(
    x: Any, weights: Any = None, minlength: Any = None, assert_nonneg: bool = False
) -> Any:
    """How often each number occurs in a vector of non-negative ints.

    Parameters
    ----------
    weights : vector, optional
        What each occurrence counts.
    minlength : int, optional
        The least length of the result.
    assert_nonneg : bool
        Check that no number is negative.
    """
    x = as_tensor(x)
    if x.type.ndim != 1:
        raise TypeError("Inputs must be of dimension 1.")
    if not dt.is_discrete(x.type.dtype):
        raise TypeError(f"bincount takes integers, not {x.type.dtype}")
    if assert_nonneg:
        x = Assert("Input to bincount has negative values!")(x, reduce_all(le(0, x)))
    length = add(cast(reduce_max(x), "int64"), 1)
    if minlength is not None:
        length = maximum(length, minlength)
    if weights is None:
        return inc_subtensor(zeros([length], dtype=x.type.dtype)[x], 1)
    weights = as_tensor(weights)
    return inc_subtensor(zeros([length], dtype=weights.type.dtype)[x], weights)


def to_one_hot(y: Any, nb_class: Any, dtype: Any = None) -> Any:
    """A matrix with a 1 in each row, in the column that ``y`` names.

    Parameters
    ----------
    y : int vector
    nb_class : int
        The number of columns.
    dtype : str, optional
        floatX by default.
    """
    y = as_tensor(y)
    classes = arange(nb_class)
    same = eq(dimshuffle(y, (0, "x")), dimshuffle(classes, ("x", 0)))
    return cast(same, str(config.floatX) if dtype is None else dtype)


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


def bartlett(M: Any) -> Any:  # noqa: N803 - Theano's name
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
        return cpu_contiguous(x)
