"""``x[index]`` in all of Theano's forms, and setting or incrementing such a part.

`getitem` sorts an index into a basic part (ints, slices, new axes: `Subtensor`, a view) and an
advanced one (integer tensors and masks: `AdvancedSubtensor`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor, constant, constant_value
from ltensor.ir.graph import Variable
from ltensor.ops.advanced import AdvancedIncSubtensor, AdvancedSubtensor
from ltensor.ops.nonzero import NonZero
from ltensor.ops.shape import DimShuffle, Reshape, dims_of, dimshuffle, reshape, set_flags
from ltensor.ops.slicing import FULL, is_full
from ltensor.ops.subtensor import IncSubtensor, Subtensor

_NOT_A_MASK = (
    "TensorType does not support Python bools for indexing, such as tensor[[True, False]]. "
    "To use a boolean mask, convert the mask to a NumPy array first, e.g., "
    "tensor[numpy.array([True, False])]."
)


# ------------------------------------------------------------------------- reading an index


def _has_python_bool(value: Any) -> bool:
    if isinstance(value, (bool, np.bool_)):
        return True
    if isinstance(value, np.ndarray):
        return False
    if isinstance(value, (list, tuple)):
        return any(_has_python_bool(v) or _is_mask(v) for v in value)
    return False


def _is_mask(value: Any) -> bool:
    return isinstance(value, (np.ndarray, Variable)) and _dtype(value) == "bool"


def _dtype(value: Any) -> str:
    return value.type.dtype if isinstance(value, Variable) else str(value.dtype)


def _integer(value: Any) -> Any:
    """An int, or an integer scalar variable; None stays None.

    Raises
    ------
    TypeError
        If it is neither.
    """
    if value is None:
        return None
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, (float, complex, np.floating, np.complexfloating, str, bool, np.bool_)):
        raise TypeError("Expected an integer", value, type(value))
    if not isinstance(value, (Variable, np.ndarray)) and hasattr(value, "__index__"):
        return value.__index__()
    variable = as_tensor(value)
    if not dt.is_integer(variable.type.dtype):
        raise TypeError("Expected an integer", value, variable.type)
    if variable.type.ndim:
        raise TypeError("Expected an integer scalar as a bound of a slice", value, variable.type)
    known = constant_value(variable)
    return variable if known is None else int(known)


def _entry(value: Any) -> Any:
    """One normalized index: an int, a scalar variable, a triple, or an integer tensor."""
    if isinstance(value, slice):
        return (_integer(value.start), _integer(value.stop), _integer(value.step))
    if isinstance(value, (list, tuple)) and len(value) == 0:
        value = np.zeros(0, dtype="int64")
    if isinstance(value, np.ndarray) and value.size == 0 and value.dtype != bool:
        value = value.astype("int64")
    if isinstance(value, (list, tuple, np.ndarray, Variable)):
        variable = as_tensor(value)
        if variable.type.ndim:
            if not dt.is_integer(variable.type.dtype):
                raise TypeError("index must be integers or a boolean mask", variable.type)
            return variable
    return _integer(value)


def _split(entries: Sequence[Any]) -> tuple[tuple[Any, ...], list[Variable]]:
    """The static pattern of basic entries, and its scalar operands."""
    scalars: list[Variable] = []

    def part(value: Any) -> Any:
        if isinstance(value, Variable):
            scalars.append(value)
            return value.type.dtype
        return value

    pattern = [tuple(map(part, e)) if isinstance(e, tuple) else part(e) for e in entries]
    return tuple(pattern), scalars


def _normalize(x: Variable, index: Any) -> list[Any]:
    """The index with the Ellipsis written out, counted against the rank.

    Raises
    ------
    IndexError, TypeError
    """
    items = list(index) if isinstance(index, tuple) else [index]
    if isinstance(index, list) and any(isinstance(i, slice) for i in index):
        items = list(index)
    count, ellipses = 0, []
    for position, item in enumerate(items):
        if item is None:
            continue
        if item is Ellipsis:
            ellipses.append(position)
        elif _is_mask(item):
            count += item.ndim if isinstance(item, np.ndarray) else item.type.ndim
        else:
            if _has_python_bool(item):
                raise TypeError(_NOT_A_MASK)
            count += 1
    if count > x.type.ndim:
        raise IndexError("too many indices for array")
    if len(ellipses) > 1:
        raise IndexError("an index can only have a single Ellipsis (`...`)")
    if ellipses:
        at = ellipses[0]
        items[at : at + 1] = [slice(None)] * (x.type.ndim - count)
    return [i if i is None or _is_mask(i) else _entry(i) for i in items]


def getitem(x: Any, index: Any) -> Variable:
    """``x[index]`` by Theano's rules.

    Raises
    ------
    IndexError
        If there are more indices than dimensions.
    TypeError
        If an index is no integer, slice, None, Ellipsis, integer tensor or mask.
    """
    x = as_tensor(x)
    entries = _normalize(x, index)
    advanced = any(_is_mask(e) or (isinstance(e, Variable) and e.type.ndim > 0) for e in entries)
    if advanced:
        return _advanced(x, entries)
    if any(e is None for e in entries):
        written = [e for e in entries if e is not None]
        if len(written) < x.type.ndim:
            # every axis must be written, as in Theano, which would drop the others here
            rest = iter(range(x.type.ndim))
            return dimshuffle(x, ["x" if e is None else next(rest) for e in entries])
        part = x if all(map(_keeps, written)) else _basic(x, written)
        rest = iter(range(part.type.ndim))
        kept = [e for e in entries if e is None or isinstance(e, tuple)]
        return dimshuffle(part, ["x" if e is None else next(rest) for e in kept])
    return _basic(x, entries)


def _keeps(entry: Any) -> bool:
    return isinstance(entry, tuple) and is_full(
        tuple("" if isinstance(p, Variable) else p for p in entry)
    )


def _basic(x: Variable, entries: Sequence[Any]) -> Variable:
    pattern, scalars = _split(entries)
    return Subtensor(pattern)(x, *scalars)


def _advanced(x: Variable, entries: list[Any]) -> Variable:
    """Basic parts first (slices, new axes), then the index tensors."""
    expanded: list[Any] = []
    position = 0
    for e in entries:
        if _is_mask(e):
            mask = as_tensor(e)
            sizes = [dims_of(x)[position + k] for k in range(mask.type.ndim)]
            expanded.extend(_masked(mask, sizes))
            position += mask.type.ndim
            continue
        expanded.append(e)
        position += e is not None
    through = 0
    if any(isinstance(e, tuple) and not _keeps(e) for e in expanded):
        slices = [e if isinstance(e, tuple) else FULL for e in expanded if e is not None]
        x = _basic(x, slices)
        through += 1
    if any(e is None for e in expanded):
        order: list[Any] = []
        for e in expanded:
            order.append("x" if e is None else len(order) - order.count("x"))
        order.extend(range(position, x.type.ndim))
        x = dimshuffle(x, order)
        through += 1
    axes = [k for k, e in enumerate(expanded) if e is not None and not isinstance(e, tuple)]
    indices = [as_tensor(expanded[k]) for k in axes]
    return AdvancedSubtensor(axes, through)(x, *indices)


def _masked(mask: Variable, sizes: Sequence[Variable]) -> list[Variable]:
    if mask.type.ndim == 0:
        raise TypeError("a 0-d boolean index is not supported: use switch, or a mask of rank 1")
    return NonZero()(mask, *sizes, return_list=True)


# ------------------------------------------------------------------------- writing


def set_subtensor(
    x: Any, y: Any, inplace: bool = False, tolerate_inplace_aliasing: bool = False
) -> Variable:
    """A copy of the array that ``x`` is a part of, with that part replaced by ``y``.

    Examples
    --------
    ``set_subtensor(r[10:], 5)`` is ``r`` with 5 from the tenth row on.

    Raises
    ------
    TypeError
        If ``x`` is not the result of indexing.
    """
    return inc_subtensor(x, y, inplace, True, tolerate_inplace_aliasing)


def inc_subtensor(
    x: Any,
    y: Any,
    inplace: bool = False,
    set_instead_of_inc: bool = False,
    tolerate_inplace_aliasing: bool = False,
) -> Variable:
    """A copy of the array that ``x`` is a part of, with ``y`` added to that part.

    Elements indexed several times are incremented several times.

    Raises
    ------
    TypeError
        If ``x`` is not the result of indexing.
    """
    x, y = as_tensor(x), as_tensor(y)
    if y.type.ndim > x.type.ndim:
        raise TypeError(
            f"Trying to increment a {x.type.ndim}-dimensional subtensor with a "
            f"{y.type.ndim}-dimensional value."
        )
    pad = x.type.ndim - y.type.ndim
    flags = x.type.broadcastable[pad:]
    if any(one and not known for one, known in zip(flags, y.type.broadcastable, strict=True)):
        # The part has one row there, so the value must: checked when the function runs.
        known = (a or b for a, b in zip(flags, y.type.broadcastable, strict=True))
        y = set_flags(y, tuple(known))
    from ltensor.ops.cast import cast

    y = cast(y, x.type.dtype)
    owner = x.owner
    op = owner.op if owner is not None else None
    if isinstance(op, Subtensor):
        assert owner is not None
        base, *scalars = owner.inputs
        return IncSubtensor(op.pattern, inplace, set_instead_of_inc)(base, y, *scalars)
    if isinstance(op, AdvancedSubtensor):
        assert owner is not None
        base, *indices = owner.inputs
        result = AdvancedIncSubtensor(op.axes, inplace, set_instead_of_inc)(base, y, *indices)
        return _put_back(base, result, op.through)
    if isinstance(op, DimShuffle):
        assert owner is not None
        return inc_subtensor(
            owner.inputs[0],
            _undo_dimshuffle(owner, y, x.type.ndim),
            inplace,
            set_instead_of_inc,
            tolerate_inplace_aliasing,
        )
    if isinstance(op, Reshape):
        assert owner is not None
        inner = owner.inputs[0]
        from ltensor.ops.alloc import second

        spread = y if y.type.broadcastable == x.type.broadcastable else second(x, y)
        flat = reshape(spread, dims_of(inner), ndim=inner.type.ndim)
        return inc_subtensor(inner, flat, inplace, set_instead_of_inc, tolerate_inplace_aliasing)
    raise TypeError("x must be the result of a subtensor operation")


def _undo_dimshuffle(owner: Any, y: Variable, rank: int) -> Variable:
    """``y``, meant for the result of a dimshuffle, for its operand."""
    order = owner.op.new_order
    if y.type.ndim < rank:
        y = dimshuffle(y, ("x",) * (rank - y.type.ndim) + tuple(range(y.type.ndim)))
    back: list[Any] = ["x"] * owner.inputs[0].type.ndim
    for position, axis in enumerate(order):
        if axis != "x":
            back[axis] = position
    return dimshuffle(y, back)


def _put_back(part: Variable, value: Variable, levels: int) -> Variable:
    """The array of which ``part`` is a view through ``levels`` views, with ``value`` there."""
    for _ in range(levels):
        owner = part.owner
        assert owner is not None
        if isinstance(owner.op, DimShuffle):
            value = _undo_dimshuffle(owner, value, part.type.ndim)
        else:
            base, *scalars = owner.inputs
            value = IncSubtensor(owner.op.pattern, False, True)(base, value, *scalars)
        part = owner.inputs[0]
    return value


def advanced_subtensor(x: Any, *index: Any) -> Variable:
    """``x[index]``, by Theano's name for the advanced case."""
    return getitem(x, tuple(index))


def advanced_subtensor1(x: Any, ilist: Any) -> Variable:
    """The rows of ``x`` that the int vector ``ilist`` names."""
    return AdvancedSubtensor((0,))(x, ilist)


def advanced_inc_subtensor1(x: Any, y: Any, ilist: Any) -> Variable:
    """A copy of ``x`` with ``y`` added to the rows that ``ilist`` names."""
    return AdvancedIncSubtensor((0,))(x, y, ilist)


def advanced_set_subtensor1(x: Any, y: Any, ilist: Any) -> Variable:
    """A copy of ``x`` with the rows that ``ilist`` names replaced by ``y``."""
    return AdvancedIncSubtensor((0,), set_instead_of_inc=True)(x, y, ilist)


# ------------------------------------------------------------------------- other ways to index


def nonzero(a: Any, return_matrix: bool = False) -> Any:
    """Indices of the non-zero elements: one int64 vector per axis, or one matrix.

    Raises
    ------
    ValueError
        Of a scalar.
    """
    a = as_tensor(a)
    if a.type.ndim == 0:
        raise ValueError("Nonzero only supports non-scalar arrays.")
    vectors = NonZero()(a, return_list=True)
    if return_matrix:
        from ltensor.ops.join import stack

        return stack(vectors, axis=0)
    return tuple(vectors)


def flatnonzero(a: Any) -> Variable:
    """Indices of the non-zero elements of the flattened ``a``."""
    a = as_tensor(a)
    if a.type.ndim == 0:
        raise ValueError("Nonzero only supports non-scalar arrays.")
    return nonzero(_flat(a))[0]


def nonzero_values(a: Any) -> Variable:
    """The non-zero elements, in C order."""
    a = as_tensor(a)
    return getitem(_flat(a), flatnonzero(a))


def _flat(a: Variable) -> Variable:
    return a if a.type.ndim == 1 else reshape(a, [-1], ndim=1)


def take(a: Any, indices: Any, axis: int | None = None, mode: str = "raise") -> Variable:
    """``a[indices]`` along ``axis`` (of the flattened ``a`` by default).

    ``mode``: ``'raise'`` (negative indices count from the end), ``'clip'`` or ``'wrap'``.

    Raises
    ------
    ValueError
        If ``mode`` is unknown or ``a`` has no such axis.
    """
    from ltensor.ops.arithmetic import clip, mod, sub

    a, indices = as_tensor(a), as_tensor(indices)
    if not dt.is_integer(indices.type.dtype):
        raise TypeError("index must be integers", indices.type)
    if axis is None:
        a, axis = _flat(a), 0
    if not -a.type.ndim <= axis < a.type.ndim:
        raise ValueError(f"take: axis {axis} of an array of {a.type.ndim} dimensions")
    axis %= a.type.ndim
    size = dims_of(a)[axis]
    if mode == "clip":
        indices = clip(indices, constant(0, dtype="int64"), sub(size, constant(1, dtype="int64")))
    elif mode == "wrap":
        indices = mod(indices, size)
    elif mode != "raise":
        raise ValueError(f"take: mode must be 'raise', 'clip' or 'wrap', not {mode!r}")
    index: list[Any] = [slice(None)] * axis
    return getitem(a, (*index, indices))


def choose(a: Any, choices: Any, out: Any = None, mode: str = "raise") -> Variable:
    """Element by element the one of ``choices`` that ``a`` names (NumPy's ``choose``)."""
    from ltensor.ops.alloc import arange
    from ltensor.ops.elementwise import broadcast_rank
    from ltensor.ops.join import stack

    if out is not None:
        raise NotImplementedError("choose: out is not supported: use the result")
    a = as_tensor(a)
    if isinstance(choices, (list, tuple)):
        options = [as_tensor(c) for c in choices]
        rank = max([a.type.ndim, *(c.type.ndim for c in options)])
        from ltensor.ops.alloc import second
        from ltensor.ops.arithmetic import add
        from ltensor.ops.cast import cast

        common = dt.upcast(*(c.type.dtype for c in options))
        shaped = [broadcast_rank(cast(c, common), rank) for c in options]
        frame = add(*(cast(v, "int8") for v in [broadcast_rank(a, rank), *shaped]))
        table = stack([second(frame, c) for c in shaped])
        a = second(frame, broadcast_rank(a, rank))
    else:
        table = as_tensor(choices)
        rank = table.type.ndim - 1
        a = broadcast_rank(a, rank) if a.type.ndim < rank else a
        if a.type.ndim != rank:
            raise ValueError("choose: the choices must have one dimension more than the index")
    count = dims_of(table)[0]
    which = _by_mode(a, count, mode)
    sizes = dims_of(table)[1:]
    others = []
    for axis, size in enumerate(sizes):
        order: list[Any] = ["x"] * rank
        order[axis] = 0
        others.append(dimshuffle(arange(size), order))
    return AdvancedSubtensor(tuple(range(rank + 1)), 0)(table, which, *others)


def _by_mode(indices: Variable, size: Variable, mode: str) -> Variable:
    from ltensor.ops.arithmetic import clip, mod, sub

    if mode == "clip":
        return clip(indices, constant(0, dtype="int64"), sub(size, constant(1, dtype="int64")))
    if mode == "wrap":
        return mod(indices, size)
    if mode != "raise":
        raise ValueError(f"mode must be 'raise', 'clip' or 'wrap', not {mode!r}")
    return indices
