"""What rules look at and build with: constants, owners, stretching. Knows ops, not passes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ltensor.ir.graph import Apply, Constant, Op, Variable
from ltensor.ir.types import TensorType, tensor_type
from ltensor.ops.alloc import Alloc, second
from ltensor.ops.cast import cast
from ltensor.ops.shape import DimShuffle, Flags


def made_by(variable: Variable, op: Op | type[Op] | str) -> Apply | None:
    """The node that computes ``variable`` if its op is ``op`` (an op, a class, or a name)."""
    owner = variable.owner
    if owner is None:
        return None
    if isinstance(op, str):
        return owner if getattr(owner.op, "ir_name", None) == op else None
    if isinstance(op, type):
        return owner if isinstance(owner.op, op) else None
    return owner if owner.op is op or owner.op == op else None


def number(variable: Variable) -> Any | None:
    """The value of every element, as a NumPy scalar, if that is known; else None."""
    for _ in range(8):
        if isinstance(variable, Constant):
            return _uniform(variable)
        owner = variable.owner
        if owner is None:
            return None
        if isinstance(owner.op, (DimShuffle, Alloc, Flags)):
            variable = owner.inputs[0]
        elif owner.op is second:
            variable = owner.inputs[1]
        else:
            return None
    return None


def _uniform(variable: Constant) -> Any | None:
    data = variable.data
    if type(data) is not np.ndarray:
        return None
    if data.ndim == 0:
        return data[()]
    cached = variable.__dict__.get("_uniform")
    if cached is None:
        first = data.flat[0] if data.size else None
        same = first is not None and bool((data == first).all())
        cached = variable.__dict__["_uniform"] = (first if same else None,)
    return cached[0]


def is_number(variable: Variable, value: float) -> bool:
    """Whether every element of ``variable`` is known to equal ``value``."""
    found = number(variable)
    return found is not None and bool(found == value)


def constant_like(value: Any, like: Variable) -> Variable:
    """``value`` in dtype and rank of ``like``, all dimensions broadcastable."""
    kind: Any = like.type
    return constant_of(value, kind.dtype, kind.ndim)


def constant_of(value: Any, dtype: str, ndim: int) -> Variable:
    """``value`` as a constant of one element."""
    with np.errstate(all="ignore"):
        data = np.asarray(value).astype(dtype).reshape((1,) * ndim)
    return tensor_type(dtype, (1,) * ndim).make_constant(data)


def pattern(variable: Variable) -> tuple[bool, ...]:
    """The broadcast pattern."""
    kind: Any = variable.type
    return kind.broadcastable


def dtype_of(variable: Variable) -> str:
    """The dtype."""
    kind: Any = variable.type
    return kind.dtype


def joint_pattern(variables: list[Variable]) -> tuple[bool, ...]:
    """The broadcast pattern of an elementwise result of operands of equal rank."""
    return tuple(all(flags) for flags in zip(*(pattern(v) for v in variables), strict=True))


def stretch(value: Variable, node: Apply) -> Variable | None:
    """``value`` in type and size of the output of an elementwise ``node``, or None.

    The size is taken from an operand that has it; None if no single one has.
    """
    out = node.outputs[0]
    kind: Any = out.type
    value = cast(value, kind.dtype)
    if pattern(value) == kind.broadcastable:
        return value
    for operand in node.inputs:
        if pattern(operand) == kind.broadcastable:
            return second(operand, value)
    return None


def as_type(value: Variable, like: Variable) -> Variable | None:
    """``value`` cast to the dtype of ``like`` if it has its pattern, else None."""
    if not isinstance(value.type, TensorType) or pattern(value) != pattern(like):
        return None
    return cast(value, dtype_of(like))


def apply_op(op: Op, *inputs: Any) -> Variable:
    """``op(*inputs)`` without looking for the user's line (the sweep knows it)."""
    return op.make_node(*inputs).outputs[0]
