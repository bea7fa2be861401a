"""Arguments of draws: sizes as scalars, parameters in the dtype of the draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ltensor.config import config
from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor, constant, constant_value
from ltensor.ir.graph import Variable
from ltensor.ops.arithmetic import add, int_div, mod, mul
from ltensor.ops.cast import cast
from ltensor.ops.shape import split_sizes, vector_length

__all__ = ["halved", "parameters", "product", "sizes_of"]


def sizes_of(size: Any, ndim: int | None) -> list[Variable]:
    """The sizes of a draw as scalars.

    Raises
    ------
    ValueError
        If ``size`` is no size.
    """
    if isinstance(size, Variable):
        if size.type.ndim == 0:
            size = [size]
        elif size.type.ndim > 1:
            raise ValueError("a variable must have 1 dimension to be a size", size)
    elif isinstance(size, (int, np.integer)) and not isinstance(size, bool):
        size = (int(size),)
    elif isinstance(size, np.ndarray) and size.ndim == 1:
        size = tuple(size.tolist())
    elif not isinstance(size, (tuple, list)):
        raise ValueError("size must be an int, a tuple, a list or a variable", size)
    if isinstance(size, Variable):
        if not dt.is_integer(size.type.dtype):
            raise ValueError("size must be a vector of integers", size)
        length = vector_length(size) if ndim is None else int(ndim)
        if length is None:
            raise ValueError(f"the length of the size {size} is not known: give ndim= as well")
        return split_sizes(size, length)
    result = []
    for item in size:
        if isinstance(item, Variable):
            if item.type.ndim or not dt.is_integer(item.type.dtype):
                raise ValueError("a size must be an integer scalar", item)
            result.append(item)
        elif isinstance(item, (int, np.integer)) and not isinstance(item, bool):
            if item <= 0:
                raise ValueError("a size must be positive", size)
            result.append(constant(int(item), dtype="int64"))
        else:
            raise ValueError("only integers and integer scalars are allowed in a size", item)
    if ndim is not None and ndim != len(result):
        raise ValueError(f"ndim = {ndim}, but size {size} has {len(result)} entries")
    return result


def product(sizes: Sequence[Variable]) -> Variable:
    """The number of elements, a constant if all sizes are."""
    known = [constant_value(size) for size in sizes]
    if all(value is not None for value in known):
        return constant(math.prod(int(v) for v in known if v is not None), dtype="int64")
    total: Variable = constant(1, dtype="int64")
    for number, size in enumerate(sizes):
        wide = cast(size, "int64")
        total = wide if number == 0 else mul(total, wide)
    return total


def halved(count: Variable) -> tuple[Variable, Variable]:
    """``count`` rounded up to an even number (itself if it is known to be one), and half of it."""
    known = constant_value(count)
    if known is not None:
        half = (int(known) + 1) // 2
        even = count if int(known) % 2 == 0 else constant(2 * half, dtype="int64")
        return even, constant(half, dtype="int64")
    two = constant(2, dtype="int64")
    even = add(count, mod(count, two))
    return even, int_div(even, two)


def parameters(a: Any, b: Any, dtype: Any) -> tuple[Variable, Variable, str]:
    """The two parameters of a distribution in the dtype of the draw, and that dtype.

    By default it is floatX, or wider if a parameter is.
    """
    a, b = as_tensor(a), as_tensor(b)
    if dtype is None:
        name = dt.upcast(str(config.floatX), a.type.dtype, b.type.dtype)
    else:
        name = dt.normalize(dtype)
    return cast(a, name), cast(b, name), name
