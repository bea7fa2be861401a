"""Choices between something and zero: their products and sums; choices within choices.

The gradient of ``switch(c, log(x), y)`` by ``x`` is ``switch(c, g, 0) / x``, which is NaN where
``x`` is 0, though the logarithm has no part in the result there. As ``switch(c, g / x, 0)`` it is
0, as in Theano. What several such factors add up to is one choice again, for the next factor.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.graph import Apply, Variable
from ltensor.ops.arithmetic import add, mul, neg, sub, switch, true_div
from ltensor.ops.cast import cast_dtype
from ltensor.ops.shape import DimShuffle
from ltensor.passes.match import apply_op, dtype_of, is_number, made_by, number, pattern
from ltensor.passes.rewrite import Rules

RULES = Rules("choices")

#: signs, constant factors, casts and permutations looked through between factor and choice
MOST_STEPS = 8


@RULES.rule(mul, true_div)
def zero_of_choice(node: Apply) -> Variable | None:
    """``a * switch(c, 0, b)`` is ``switch(c, 0, a * b)``, also if ``a`` is not finite.

    Factors that are constants stay outside: they do no harm, and sums like them there.
    """
    out = node.outputs[0]
    if dt.is_discrete(dtype_of(out)):
        return None
    for place in range(1 if node.op is true_div else len(node.inputs)):
        others = [v for k, v in enumerate(node.inputs) if k != place]
        if all(_harmless(v) for v in others):
            continue
        found = _choice_below(node.inputs[place])
        if found is None:
            continue
        condition, chosen, zero, negated = found
        factors = list(node.inputs)
        factors[place] = chosen
        value = apply_op(node.op, *factors)
        result = apply_op(switch, condition, *((zero, value) if negated else (value, zero)))
        if pattern(result) == pattern(out) and dtype_of(result) == dtype_of(out):
            return result
    return None


@RULES.rule(add, sub)
def sum_of_choices(node: Apply) -> Variable | None:
    """``switch(c, a, 0) + switch(c, b, 0)`` is ``switch(c, a + b, 0)``."""
    out = node.outputs[0]
    if dt.is_discrete(dtype_of(out)):
        return None
    sides: tuple[list[Variable], list[Variable]] = ([], [])
    shared: Variable | None = None
    for operand in node.inputs:
        found = _choice_below(operand)
        if found is None or (shared is not None and found[0] is not shared):
            return None
        shared, chosen, zero, negated = found
        sides[negated].append(chosen)
        sides[not negated].append(zero)
    assert shared is not None
    values = [_sum(node, side) for side in sides]
    result = apply_op(switch, shared, *values)
    fits = pattern(result) == pattern(out) and dtype_of(result) == dtype_of(out)
    return result if fits else None


def _sum(node: Apply, side: list[Variable]) -> Variable:
    """The operation of ``node`` on one side of its choices."""
    zeros = [is_number(v, 0) for v in side]
    if all(zeros) and all(pattern(v) == pattern(side[0]) for v in side):
        return max(side, key=lambda v: dt.item_size(dtype_of(v)))
    return apply_op(node.op, *side)


@RULES.rule(switch)
def choice_within_choice(node: Apply) -> Variable | None:
    """``switch(c, switch(c, a, b), d)`` is ``switch(c, a, d)``."""
    condition, *branches = node.inputs
    inner = [made_by(v, switch) for v in branches]
    kept = [
        within.inputs[1 + k] if within is not None and within.inputs[0] is condition else branch
        for k, (within, branch) in enumerate(zip(inner, branches, strict=True))
    ]
    if all(a is b for a, b in zip(kept, branches, strict=True)):
        return None
    result = apply_op(switch, condition, *kept)
    return result if pattern(result) == pattern(node.outputs[0]) else None


def _harmless(variable: Variable) -> bool:
    """Whether zero times this is zero: a finite constant."""
    value = number(variable)
    return value is not None and bool(np.isfinite(value))


def _choice_below(variable: Variable) -> tuple[Variable, Variable, Variable, bool] | None:
    """Condition, other branch, zero branch of the choice that ``variable`` is, and which is first.

    The other branch has gone through what stands between the choice and ``variable``.
    """
    steps: list[tuple[Apply, int]] = []
    while len(steps) < MOST_STEPS:
        owner = variable.owner
        if owner is None:
            return None
        if owner.op is switch:
            condition, first, second = owner.inputs
            if is_number(first, 0):
                return _rebuilt(condition, second, first, True, steps)
            if is_number(second, 0):
                return _rebuilt(condition, first, second, False, steps)
            return None
        place = _step(owner)
        if place is None:
            return None
        steps.append((owner, place))
        variable = owner.inputs[place]
    return None


def _step(owner: Apply) -> int | None:
    """The operand whose zeros are zeros of the result of ``owner``, if there is one."""
    op: Any = owner.op
    if op is neg or isinstance(op, DimShuffle):
        return 0
    if op is mul or op is true_div:
        moving = [k for k, v in enumerate(owner.inputs) if not _harmless(v)]
        return moving[0] if len(moving) == 1 and (op is mul or moving[0] == 0) else None
    target = cast_dtype(op)
    if target is not None and not dt.is_discrete(target):
        return None if dt.is_discrete(dtype_of(owner.inputs[0])) else 0
    return None


def _rebuilt(
    condition: Variable,
    chosen: Variable,
    zero: Variable,
    negated: bool,
    steps: list[tuple[Apply, int]],
) -> tuple[Variable, Variable, Variable, bool]:
    for owner, place in reversed(steps):
        if isinstance(owner.op, DimShuffle):
            condition, zero = apply_op(owner.op, condition), apply_op(owner.op, zero)
        elif cast_dtype(owner.op) is not None:
            zero = apply_op(owner.op, zero)
        inputs = list(owner.inputs)
        inputs[place] = chosen
        chosen = apply_op(owner.op, *inputs)
    return condition, chosen, zero, negated
