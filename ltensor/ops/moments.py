"""Means, variances and standard deviations, made of sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor, constant
from ltensor.ir.graph import Variable
from ltensor.ops.arithmetic import mul, sqr, sub, true_div
from ltensor.ops.cast import cast
from ltensor.ops.reduce import sum
from ltensor.ops.reduce_base import Axes, normalize_axes
from ltensor.ops.shape import shape_i


def _reduced(x: Variable, axis: Axes) -> Sequence[int]:
    axes = normalize_axes(axis, x)
    return range(x.type.ndim) if axes is None else axes


def mean(
    input: Any,
    axis: Axes = None,
    dtype: Any = None,
    op: bool = False,
    keepdims: bool = False,
    acc_dtype: Any = None,
) -> Variable:
    """Mean over ``axis``; of discrete operands in float64."""
    x = as_tensor(input)
    if dtype is not None:
        sum_dtype = dt.normalize(dtype)
        if dt.is_discrete(sum_dtype):
            sum_dtype = "float64"
    elif dt.is_discrete(x.type.dtype):
        sum_dtype = "float64"
    else:
        sum_dtype = x.type.dtype
    # Sums and counts of many elements overflow float16, their quotient need not.
    half = sum_dtype == "float16"
    if half:
        sum_dtype = "float32"
    total = sum(x, axis=axis, dtype=sum_dtype, keepdims=keepdims, acc_dtype=acc_dtype)
    count: Variable | None = None
    for k in _reduced(x, axis):
        size = cast(shape_i(x, k), total.type.dtype)
        count = size if count is None else mul(count, size)
    result = total if count is None else true_div(total, count)
    return cast(result, "float16") if half else result


def var(
    input: Any,
    axis: Axes = None,
    ddof: int = 0,
    keepdims: bool = False,
    corrected: bool = False,
) -> Variable:
    """Variance over ``axis``, divided by n - ddof."""
    x = as_tensor(input)
    centered = sub(x, mean(x, axis, keepdims=True))
    spread = mean(sqr(centered), axis, keepdims=keepdims)
    if ddof:
        count: Variable = constant(1, dtype="int64")
        for k in _reduced(x, axis):
            count = mul(count, shape_i(x, k))
        n = cast(count, spread.type.dtype)
        spread = true_div(mul(spread, n), sub(n, cast(ddof, spread.type.dtype)))
    return spread


def std(
    input: Any,
    axis: Axes = None,
    ddof: int = 0,
    keepdims: bool = False,
    corrected: bool = False,
) -> Variable:
    """Standard deviation over ``axis``."""
    from ltensor.ops.transcendental import sqrt

    return sqrt(var(input, axis, ddof, keepdims, corrected))
