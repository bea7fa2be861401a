"""Logarithms of sums of exponentials whose maximum is taken out: the gradient ignores the maximum.

``log(sum(exp(x - m))) + m`` is the same for every ``m``. The gradients that reach ``m = max(x)``
through its two readers cancel, but for rounding; `ltensor.ops.differentiate` leaves them out,
which saves a sum, a comparison with the maximum and what these need of a loop's forward values.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from ltensor.ir.graph import Apply, Variable
from ltensor.ops.arithmetic import add, sub
from ltensor.ops.reduce import Max, Sum
from ltensor.ops.shape import DimShuffle
from ltensor.ops.transcendental import exp, log

#: an operand of a node, by its position
Edge = tuple[Apply, int]
#: where each dimension comes from: a dimension of another variable or 'x'
Order = list[Any]


def idle_edges(nodes: Sequence[Apply], fixed: Collection[Variable]) -> set[Edge]:
    """Operands that no gradient need be sent to.

    Parameters
    ----------
    nodes : sequence of Apply
        What is differentiated.
    fixed : collection of Variable
        Variables whose gradients are given or asked for.
    """
    ends = [node for node in nodes if node.op is add]
    if not any(node.op is log for node in nodes):
        return set()
    readers: dict[Variable, int] = {}
    for node in nodes:
        for variable in node.inputs:
            readers[variable] = readers.get(variable, 0) + 1
    known = set(nodes)
    found: set[Edge] = set()
    for end in ends:
        for position, shift in enumerate(end.inputs):
            maximum, spread = _origin(shift)
            if maximum.owner is None or not isinstance(maximum.owner.op, Max):
                continue
            for other in end.inputs:
                chain, difference = _shifted_sum(other, maximum.owner, spread)
                if difference is None or any(v.owner not in known for v in chain):
                    continue
                if any(readers.get(v) != 1 or v in fixed for v in chain):
                    continue
                if fixed and {maximum, shift, difference.inputs[1]} & set(fixed):
                    continue
                found |= {(end, position), (difference, 1)}
                break
    return found


def _origin(variable: Variable) -> tuple[Variable, Order]:
    """The variable that ``variable`` is a dimshuffle of, and how its dimensions come from there."""
    order: Order = list(range(variable.type.ndim))
    while variable.owner is not None and isinstance(variable.owner.op, DimShuffle):
        step = variable.owner.op.new_order
        order = ["x" if k == "x" else step[k] for k in order]
        variable = variable.owner.inputs[0]
    return variable, order


def _shifted_sum(
    value: Variable, peak: Apply, spread: Order
) -> tuple[list[Variable], Apply | None]:
    """The subtraction of ``peak`` if ``value`` is log(sum(exp(x - peak))), and all on the way.

    ``spread`` is how the dimensions of ``value`` must come from those of the sum.
    """
    nothing: tuple[list[Variable], None] = ([], None)
    chain: list[Variable] = []
    order: Order = list(range(value.type.ndim))
    logarithms = 0
    while value.owner is not None and (
        value.owner.op is log or isinstance(value.owner.op, DimShuffle)
    ):
        chain.append(value)
        if isinstance(value.owner.op, DimShuffle):
            step = value.owner.op.new_order
            order = ["x" if k == "x" else step[k] for k in order]
        else:
            logarithms += 1
        value = value.owner.inputs[0]
    total = value.owner
    if logarithms != 1 or order != spread or total is None or not isinstance(total.op, Sum):
        return nothing
    power = total.inputs[0].owner
    difference = None if power is None else power.inputs[0].owner
    if power is None or power.op is not exp or difference is None or difference.op is not sub:
        return nothing
    (x,) = peak.inputs
    if difference.inputs[0] is not x:
        return nothing
    rank = x.type.ndim
    axes = total.op.reduced_axes(rank)
    kept = iter(range(rank))
    back = ["x" if k in axes else next(kept) for k in range(rank)]
    peaks: Any = peak.op
    if peaks.reduced_axes(rank) != axes or _origin(difference.inputs[1]) != (peak.outputs[0], back):
        return nothing
    return [*chain, value, total.inputs[0], power.inputs[0]], difference
