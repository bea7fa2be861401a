"""Gradients of ``trace[-1]``: the part of a trace's gradient that belongs to its last row alone."""

from __future__ import annotations

from typing import Any

from ltensor.ir.build import constant_value
from ltensor.ir.graph import Variable
from ltensor.ir.types import DisconnectedType, disconnected_type
from ltensor.ops.arithmetic import add
from ltensor.ops.subtensor import IncSubtensor


def split_last_row(g: Any) -> tuple[Any, Variable | None]:
    """A gradient of a trace as (what is left of it, what is added to the last row alone).

    ``trace[-1]`` has the gradient ``inc_subtensor(zeros[-1], y)``, which takes as much memory as
    the trace, and has no place for ``y`` if there is no row.
    """
    if not isinstance(g, Variable) or isinstance(g.type, DisconnectedType) or g.owner is None:
        return g, None
    op, operands = g.owner.op, g.owner.inputs
    if isinstance(op, IncSubtensor) and op.pattern == (-1,) and not op.set_instead_of_inc:
        base, part = operands
        if part.type.ndim != g.type.ndim - 1:
            return g, None
        if is_zero(base):
            return disconnected_type.make_variable(), part
        rest, more = split_last_row(base)
        return rest, part if more is None else add(more, part)
    if op is add and all(term.type == g.type for term in operands):
        found = [split_last_row(term) for term in operands]
        parts = [part for _, part in found if part is not None]
        if not parts:
            return g, None
        dense = [left for left, _ in found if not isinstance(left.type, DisconnectedType)]
        rest = _sum(dense) if dense else disconnected_type.make_variable()
        return rest, _sum(parts)
    return g, None


def is_zero(variable: Variable) -> bool:
    """Whether this is an array of zeros, as gradients begin with."""
    while (node := variable.owner) is not None:
        # a user's operation has no such name
        name = getattr(node.op, "ir_name", "")
        if name == "second":
            variable = node.inputs[1]
        elif name in ("alloc", "dimshuffle"):
            variable = node.inputs[0]
        else:
            return False
    value = constant_value(variable)
    return value is not None and value.size == 1 and not value.any()


def _sum(terms: list[Any]) -> Variable:
    return terms[0] if len(terms) == 1 else add(*terms)
