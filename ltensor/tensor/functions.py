"""Functions of the ``tensor`` namespace that are built of several operations."""

from __future__ import annotations

import builtins
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ltensor.config import config
from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Variable
from ltensor.ops import shape as shapes
from ltensor.ops.alloc import arange, eye
from ltensor.ops.arithmetic import abs_, add, int_div, maximum, minimum, mod, mul, sub
from ltensor.ops.bits import and_, or_
from ltensor.ops.cast import cast
from ltensor.ops.compare import eq, ge, isinf, isnan, le
from ltensor.ops.indexing import getitem, inc_subtensor, set_subtensor
from ltensor.ops.reduce import all as reduce_all
from ltensor.ops.reduce import max as reduce_max
from ltensor.ops.reduce import min as reduce_min
from ltensor.ops.reduce_base import keep_dims, normalize_axes
from ltensor.ops.transcendental import round_half_away_from_zero, round_half_to_even

__all__ = [
    "addbroadcast",
    "advanced_inc_subtensor1",
    "advanced_set_subtensor1",
    "advanced_subtensor1",
    "allclose",
    "divmod",
    "dimshuffle",
    "flatten",
    "identity_like",
    "iround",
    "isclose",
    "largest",
    "makeKeepDims",
    "moveaxis",
    "patternbroadcast",
    "ptp",
    "reshape",
    "round",
    "shape_padaxis",
    "shape_padleft",
    "shape_padright",
    "smallest",
    "squeeze",
    "swapaxes",
    "transpose",
    "tri",
    "tril",
    "triu",
    "unbroadcast",
]


# ------------------------------------------------------------------------- elementwise


def round(a: Any, mode: str | None = None) -> Any:
    """The nearest integers, as floats.

    Parameters
    ----------
    mode : {'half_to_even', 'half_away_from_zero'}
        Where to round what lies in the middle.
    """
    if mode in (None, "half_to_even"):
        return round_half_to_even(a)
    if mode == "half_away_from_zero":
        return round_half_away_from_zero(a)
    raise Exception(f"round mode {mode} is not implemented.")


def iround(a: Any, mode: str | None = None) -> Any:
    """The nearest integers, as int64."""
    return cast(round(a, mode), "int64")


def divmod(x: Any, y: Any) -> tuple[Any, Any]:
    """Quotient rounded down, and remainder."""
    return int_div(x, y), mod(x, y)


def isclose(
    a: Any, b: Any, rtol: float = 1.0e-5, atol: float = 1.0e-8, equal_nan: bool = False
) -> Any:
    """Where ``abs(a - b) <= atol + rtol * abs(b)``; infinities are close to themselves only."""
    a, b = as_tensor(a), as_tensor(b)
    near = le(abs_(sub(a, b)), add(atol, mul(rtol, abs_(b))))
    infinite = or_(isinf(a), isinf(b))
    from ltensor.ops.arithmetic import switch

    close = switch(infinite, eq(a, b), near)
    return or_(close, and_(isnan(a), isnan(b))) if equal_nan else close


def allclose(
    a: Any, b: Any, rtol: float = 1.0e-5, atol: float = 1.0e-8, equal_nan: bool = False
) -> Any:
    """Whether all elements are close (see `isclose`)."""
    return reduce_all(isclose(a, b, rtol, atol, equal_nan))


def _allclose(a: Any, b: Any, rtol: float | None = None, atol: float | None = None) -> bool:
    """Whether two arrays are close, by tolerances for the narrower of their dtypes."""
    a, b = np.asarray(a), np.asarray(b)
    loose = {"float16": (1e-3, 1e-3), "float32": (1e-5, 1e-5), "complex64": (1e-5, 1e-5)}
    found = [loose.get(str(array.dtype), (1e-5, 1e-8)) for array in (a, b)]
    relative, absolute = max(found)
    return np.allclose(
        a, b, rtol=relative if rtol is None else rtol, atol=absolute if atol is None else atol
    )


def largest(*args: Any) -> Any:
    """The element-wise maximum of two or more operands."""
    return _fold(maximum, "largest", args)


def smallest(*args: Any) -> Any:
    """The element-wise minimum of two or more operands."""
    return _fold(minimum, "smallest", args)


def _fold(op: Any, name: str, args: Sequence[Any]) -> Any:
    if not args:
        raise TypeError(f"{name} needs an operand")
    result = as_tensor(args[0])
    for other in args[1:]:
        result = op(result, other)
    return result


def ptp(a: Any, axis: Any = None) -> Any:
    """Maximum minus minimum over ``axis``."""
    return sub(reduce_max(a, axis), reduce_min(a, axis))


# ------------------------------------------------------------------------- shape


def dimshuffle(x: Any, *pattern: Any) -> Any:
    """Axes permuted, dropped or added (``'x'``)."""
    return shapes.dimshuffle(x, *pattern)


def reshape(x: Any, newshape: Any, ndim: int | None = None) -> Any:
    """The same elements under another shape, of which one size may be -1.

    Parameters
    ----------
    newshape : int, sequence of ints and scalars, or int vector
    ndim : int, optional
        The number of dimensions, where the length of ``newshape`` does not tell.
    """
    if isinstance(newshape, (list, tuple)):
        for size in newshape:
            kind = getattr(getattr(size, "type", None), "dtype", None) or np.asarray(size).dtype
            if not isinstance(size, (int, np.integer)) and not dt.is_discrete(str(kind)):
                raise TypeError(f"Expected shape elements to be integers, got {size!r}")
    return shapes.reshape(x, newshape, ndim)


def flatten(x: Any, ndim: int | None = None, outdim: int | None = None) -> Any:
    """The first ``ndim - 1`` axes kept, all others joined into one.

    Raises
    ------
    ValueError
        If ``x`` has fewer than ``ndim`` dimensions.
    """
    if outdim is not None:
        if ndim is not None:
            raise ValueError("You should only specify ndim")
        warnings.warn("flatten outdim parameter is deprecated, use ndim instead.", stacklevel=2)
        ndim = outdim
    count = 1 if ndim is None else int(ndim)
    x = as_tensor(x)
    if count < 1 or (count > 1 and count > x.type.ndim):
        raise ValueError(f"ndim {count} out of bound [1, {x.type.ndim + 1})")
    pattern = x.type.broadcastable
    joined = 1 if builtins.all(pattern[count - 1 :]) else -1
    return shapes.reshape(x, [*shapes.dims_of(x)[: count - 1], joined])


def transpose(x: Any, axes: Any = None) -> Any:
    """Axes permuted; reversed by default."""
    x = as_tensor(x)
    backwards = list(range(x.type.ndim - 1, -1, -1))
    order = backwards if axes is None else [int(a) % builtins.max(1, x.type.ndim) for a in axes]
    result = shapes.dimshuffle(x, order)
    if x.name and order == backwards and result is not x:
        result.name = x.name + ".T"
    return result


def swapaxes(y: Any, axis1: int, axis2: int) -> Any:
    """Two axes exchanged."""
    y = as_tensor(y)
    order = list(range(y.type.ndim))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return shapes.dimshuffle(y, order)


def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    """Axes moved to other places, the others in their order."""
    a = as_tensor(a)
    rank = a.type.ndim
    sources = [s % rank for s in ([source] if isinstance(source, int) else source)]
    targets = [t % rank for t in ([destination] if isinstance(destination, int) else destination)]
    order = [axis for axis in range(rank) if axis not in sources]
    for target, axis in sorted(zip(targets, sources, strict=True)):
        order.insert(target, axis)
    return shapes.dimshuffle(a, order)


def squeeze(x: Any) -> Any:
    """Without the broadcastable axes."""
    x = as_tensor(x)
    return shapes.dimshuffle(x, [k for k, one in enumerate(x.type.broadcastable) if not one])


def shape_padleft(t: Any, n_ones: int = 1) -> Any:
    """With ``n_ones`` broadcastable axes before the others."""
    t = as_tensor(t)
    return shapes.dimshuffle(t, ["x"] * n_ones + list(range(t.type.ndim)))


def shape_padright(t: Any, n_ones: int = 1) -> Any:
    """With ``n_ones`` broadcastable axes after the others."""
    t = as_tensor(t)
    return shapes.dimshuffle(t, [*range(t.type.ndim)] + ["x"] * n_ones)


def shape_padaxis(t: Any, axis: int) -> Any:
    """With one broadcastable axis at ``axis`` of the result.

    Raises
    ------
    IndexError
        If the result has no such axis.
    """
    t = as_tensor(t)
    rank = t.type.ndim + 1
    if not -rank <= axis < rank:
        raise IndexError(f"axis {axis} is out of bounds [-{rank}, {rank})")
    order: list[Any] = list(range(rank - 1))
    order.insert(axis % rank, "x")
    return shapes.dimshuffle(t, order)


def _with_flags(x: Any, axes: Sequence[Any], flag: bool) -> Any:
    x = as_tensor(x)
    pattern = list(x.type.broadcastable)
    for axis in axes:
        if not 0 <= int(axis) < len(pattern):
            raise ValueError("Trying to rebroadcast non-existent dimension")
        pattern[int(axis)] = flag
    return shapes.set_flags(x, pattern)


def addbroadcast(x: Any, *axes: Any) -> Any:
    """``x`` with some axes declared broadcastable (checked to be 1 when the function runs)."""
    return _with_flags(x, axes, True)


def unbroadcast(x: Any, *axes: Any) -> Any:
    """``x`` with some axes declared not broadcastable."""
    return _with_flags(x, axes, False)


def patternbroadcast(x: Any, broadcastable: Sequence[bool]) -> Any:
    """``x`` with the broadcast pattern given, or that of its first dimensions."""
    x = as_tensor(x)
    pattern = tuple(bool(flag) for flag in broadcastable)
    return shapes.set_flags(x, pattern + x.type.broadcastable[len(pattern) :])


def makeKeepDims(x: Any, y: Any, axis: Any) -> Any:
    """``y``, a reduction of ``x`` over ``axis``, with the reduced axes as broadcastable ones."""
    x = as_tensor(x)
    return keep_dims(x, as_tensor(y), normalize_axes(axis, x))


# ------------------------------------------------------------------------- making arrays


def identity_like(x: Any, dtype: Any = None) -> Any:
    """The identity matrix in the size of ``x``."""
    x = as_tensor(x)
    name = x.type.dtype if dtype is None else dtype
    return eye(shapes.shape_i(x, 0), shapes.shape_i(x, 1), k=0, dtype=name)


def tri(N: Any, M: Any = None, k: Any = 0, dtype: Any = None) -> Any:
    """Ones at and below a diagonal."""
    chosen = str(config.floatX) if dtype is None else dtype
    rows = shape_padright(arange(N))
    columns = shape_padleft(arange(N if M is None else M))
    return cast(ge(add(rows, k), columns), chosen)


def _triangle(m: Any, k: Any) -> tuple[Variable, Any]:
    m = as_tensor(m)
    rows, columns = shapes.dims_of(m)[-2:]
    return m, tri(rows, columns, k=k, dtype="bool")


def tril(m: Any, k: Any = 0) -> Any:
    """``m`` with zeros above diagonal ``k``."""
    from ltensor.ops.arithmetic import switch

    m, below = _triangle(m, k)
    return switch(below, m, np.zeros((), dtype=m.type.dtype))


def triu(m: Any, k: Any = 0) -> Any:
    """``m`` with zeros below diagonal ``k``."""
    from ltensor.ops.arithmetic import switch

    m, below = _triangle(m, sub(k, 1) if isinstance(k, Variable) else k - 1)
    return switch(below, np.zeros((), dtype=m.type.dtype), m)


# ------------------------------------------------------------------------- rows by numbers


def advanced_subtensor1(x: Any, ilist: Any) -> Any:
    """The rows of ``x`` with the numbers ``ilist``."""
    return getitem(x, as_tensor(ilist))


def advanced_inc_subtensor1(x: Any, y: Any, ilist: Any) -> Any:
    """``x`` with ``y`` added to the rows ``ilist``; repeated numbers add up."""
    return inc_subtensor(advanced_subtensor1(x, ilist), y)


def advanced_set_subtensor1(x: Any, y: Any, ilist: Any) -> Any:
    """``x`` with the rows ``ilist`` replaced by ``y``."""
    return set_subtensor(advanced_subtensor1(x, ilist), y)
