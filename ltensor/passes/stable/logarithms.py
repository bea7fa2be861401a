"""Logarithms of sums of exponentials, and of what is picked out of a softmax."""

from __future__ import annotations

from typing import Any

from ltensor.ir.graph import Apply, Variable
from ltensor.ops.arithmetic import abs_, add, maximum, mul, neg, sub, switch, true_div
from ltensor.ops.cast import cast
from ltensor.ops.compare import eq
from ltensor.ops.crossentropy import Pick, pick_op
from ltensor.ops.reduce import Max, Sum
from ltensor.ops.shape import DimShuffle
from ltensor.ops.softmax import Softmax, logsoftmax_op, logsumexp, logsumexp_op, softmax_op
from ltensor.ops.transcendental import exp, log, sigmoid, softplus
from ltensor.passes.canonical.algebra import Terms, build_product, collect_product, product_of
from ltensor.passes.match import apply_op, constant_like, dtype_of, made_by, pattern, stretch
from ltensor.passes.rewrite import ANY_USES, Rules
from ltensor.passes.stable.terms import is_real

RULES = Rules("logarithms")

#: ops that only choose or move elements of their first operand
MOVES = ("dimshuffle", "reshape", "subtensor", "advanced_subtensor", "pick", "rebroadcast")


@RULES.rule(log)
def log_of_softmax(node: Apply) -> Variable | None:
    """``log(softmax(x))`` without computing softmax."""
    inner = made_by(node.inputs[0], Softmax)
    return None if inner is None else apply_op(logsoftmax_op, inner.inputs[0])


@RULES.rule(log)
def log_of_picked_softmax(node: Apply) -> Variable | None:
    """``log`` of one element per row of a softmax: the element less the row's logsumexp."""
    chosen = made_by(node.inputs[0], Pick)
    inner = None if chosen is None else made_by(chosen.inputs[0], Softmax)
    if chosen is None or inner is None:
        return None
    x = inner.inputs[0]
    total = apply_op(logsumexp_op, x)
    value = apply_op(pick_op, x, chosen.inputs[1])
    return apply_op(sub, value, total) if pattern(value) == pattern(total) else None


@RULES.rule(log)
def log_of_moved(node: Apply) -> Variable | None:
    """``log`` goes inside of indexing where it meets something it has a stable form with."""
    (x,) = node.inputs
    if not is_real(x) or getattr(getattr(x.owner, "op", None), "ir_name", "") not in MOVES:
        return None
    chain: list[Apply] = []
    variable = x
    while variable.owner is not None and len(chain) < 8:
        owner = variable.owner
        if getattr(owner.op, "ir_name", "") not in MOVES:
            break
        chain.append(owner)
        variable = owner.inputs[0]
    if not _has_stable_log(variable):
        return None
    value = apply_op(log, variable)
    for owner in reversed(chain):
        value = owner.op.make_node(value, *owner.inputs[1:]).outputs[0]
    return value if value.type == node.outputs[0].type else None


def _has_stable_log(variable: Variable) -> bool:
    owner = variable.owner
    if owner is None:
        return False
    if isinstance(owner.op, Softmax) or owner.op is sigmoid:
        return True
    return isinstance(owner.op, Sum) and made_by(owner.inputs[0], exp) is not None


@RULES.rule(log)
def log_of_sum_of_exp(node: Apply) -> Variable | None:
    """``log(sum(exp(x), axis))`` is ``logsumexp(x, axis)``, which does not overflow."""
    (x,) = node.inputs
    total = made_by(x, Sum)
    power = None if total is None else made_by(total.inputs[0], exp)
    if (
        total is None
        or power is None
        or not is_real(x)
        or dtype_of(power.outputs[0]) != dtype_of(x)
    ):
        return None
    op: Any = total.op
    inside = power.inputs[0]
    if inside.type.ndim == 0 or _cannot_overflow(inside, op):
        return None
    return logsumexp(cast(inside, dtype_of(x)), op.axis)


def _cannot_overflow(x: Variable, op: Any) -> bool:
    """Whether the largest element of ``x`` along the axes of a sum is 0: ``a - max(a, axes)``.

    The sum of its exponentials is as good as a logsumexp, which would look for the largest again.
    """
    difference = made_by(x, sub)
    if difference is None:
        return False
    a, largest = difference.inputs
    view = made_by(largest, DimShuffle)
    found = made_by(largest if view is None else view.inputs[0], Max)
    if found is None or found.inputs[0] is not a:
        return False
    axes = op.reduced_axes(a.type.ndim)
    reduced: Any = found.op
    if tuple(reduced.reduced_axes(a.type.ndim)) != tuple(axes):
        return False
    if view is None:
        return len(axes) == a.type.ndim
    shuffle: Any = view.op
    kept = iter(range(a.type.ndim))
    order = tuple("x" if k in axes else next(kept) for k in range(a.type.ndim))
    return tuple(shuffle.new_order) == order


@RULES.rule(log)
def log_of_two_exps(node: Apply) -> Variable | None:
    """``log(exp(a) + exp(b))`` is the larger of both and a correction."""
    (x,) = node.inputs
    total = made_by(x, add)
    if total is None or len(total.inputs) != 2 or not is_real(x):
        return None
    powers = [made_by(v, exp) for v in total.inputs]
    if any(p is None or pattern(p.outputs[0]) != pattern(x) for p in powers):
        return None
    a, b = (cast(p.inputs[0], dtype_of(x)) for p in powers if p is not None)
    # where both are the same infinity their difference is nan
    zero = constant_like(0, x)
    distance = apply_op(switch, apply_op(eq, a, b), zero, apply_op(abs_, apply_op(sub, a, b)))
    correction = apply_op(softplus, apply_op(neg, distance))
    return apply_op(add, apply_op(maximum, a, b), correction)


@RULES.rule(true_div, mul)
def normalized_exp(node: Apply) -> Variable | None:
    """``exp(x) / sum(exp(x))`` in a product is ``softmax(x)``, or ``exp(x - logsumexp(x))``."""
    out = node.outputs[0]
    if not is_real(out):
        return None
    terms = collect_product(node, ANY_USES)
    powers = [v for v in terms.up if made_by(v, exp) is not None and pattern(v) == pattern(out)]
    for power in powers:
        if _divisor_outside(terms, power) or _divisor_inside(terms, power):
            above, below = product_of(terms, dtype_of(out))
            if terms.negative:
                above, terms.negative = -above, False
            return stretch(build_product(terms, above, below, out), node)
    return None


def _divisor_outside(terms: Terms, power: Variable) -> bool:
    """``exp(x) ... / dimshuffle(sum(exp(x)))``."""
    for divisor in terms.down:
        view = made_by(divisor, DimShuffle)
        value = None if view is None else _normalized(power, view.inputs[0], view)
        if value is not None:
            terms.down.remove(divisor)
            terms.up.remove(power)
            terms.up.append(value)
            return True
    return False


def _divisor_inside(terms: Terms, power: Variable) -> bool:
    """``exp(x) ... * dimshuffle(... / sum(exp(x)))``."""
    for factor in terms.up:
        view = made_by(factor, DimShuffle)
        if view is None or view.inputs[0].owner is None or not is_real(factor):
            continue
        inner = view.inputs[0]
        parts = collect_product(view.inputs[0], ANY_USES)
        for divisor in parts.down:
            value = _normalized(power, divisor, view)
            if value is None:
                continue
            parts.down.remove(divisor)
            above, below = product_of(parts, dtype_of(inner))
            rest = build_product(parts, above, below, inner)
            if rest.type.ndim != inner.type.ndim:
                continue
            terms.up.remove(factor)
            terms.up.remove(power)
            terms.up += [view.op.make_node(rest).outputs[0], value]
            return True
    return False


def _normalized(power: Variable, divisor: Variable, view: Apply) -> Variable | None:
    """``power`` over its sum ``divisor``, which ``view`` puts back into the shape of ``power``."""
    total, inner = made_by(divisor, Sum), made_by(power, exp)
    if total is None or inner is None or total.inputs[0] is not power:
        return None
    op: Any = total.op
    shuffle: Any = view.op
    axes = op.reduced_axes(power.type.ndim)
    order, position = [], 0
    for k in range(power.type.ndim):
        order.append("x" if k in axes else position)
        position += k not in axes
    if tuple(order) != shuffle.new_order or any(pattern(power)[k] for k in axes):
        return None
    if _cannot_overflow(inner.inputs[0], op):
        return None
    x = cast(inner.inputs[0], dtype_of(power))
    if power.type.ndim == 2 and axes == (1,):
        return apply_op(softmax_op, x)
    return apply_op(exp, apply_op(sub, x, logsumexp(x, axes, keepdims=True)))
