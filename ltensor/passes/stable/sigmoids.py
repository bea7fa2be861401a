"""Sigmoids: recognized in quotients, kept out of ``1 - sigmoid`` and of logarithms."""

from __future__ import annotations

from ltensor.ir.graph import Apply, Variable
from ltensor.ops.arithmetic import add, inv, mul, neg, sub, true_div
from ltensor.ops.cast import cast
from ltensor.ops.transcendental import exp, expm1, log, log1p, sigmoid, softplus
from ltensor.passes.canonical.algebra import Terms, build_product, collect_product, product_of
from ltensor.passes.match import apply_op, dtype_of, is_number, made_by, pattern, stretch
from ltensor.passes.rewrite import ANY_USES, Rules
from ltensor.passes.stable.terms import (
    is_real,
    negated,
    one_minus,
    one_minus_sigmoid,
    one_plus,
    one_plus_exp,
    opposite,
)

RULES = Rules("sigmoids")


@RULES.rule(sub, add)
def complement_of_sigmoid(node: Apply) -> Variable | None:
    """``1 - sigmoid(x)`` is ``sigmoid(-x)``, exact where sigmoid is nearly 1."""
    x = one_minus_sigmoid(node.outputs[0])
    return None if x is None else apply_op(sigmoid, negated(x))


@RULES.rule(true_div, mul, inv)
def sigmoid_in_product(node: Apply) -> Variable | None:
    """``1 / (1 + exp(-x))`` is ``sigmoid(x)``, and ``exp(x) sigmoid(-x)`` too, in any product."""
    out = node.outputs[0]
    if not is_real(out):
        return None
    if node.op is not inv and not _interesting(node):
        return None
    terms = collect_product(node, ANY_USES)
    found = _divisors(terms)
    while _exponentials(terms) or _ratios(terms):
        found = True
    if not found:
        return None
    above, below = product_of(terms, dtype_of(out))
    if terms.negative:
        above, terms.negative = -above, False
    return stretch(build_product(terms, above, below, out), node)


def _interesting(node: Apply) -> bool:
    """A quick look before the tree is collected."""
    if node.op is true_div:
        return True
    return any(
        v.owner is not None and v.owner.op in (sigmoid, exp, true_div, inv) for v in node.inputs
    )


def _divisors(terms: Terms) -> bool:
    """Divisors ``1 + exp(x)`` become factors ``sigmoid(-x)``."""
    left: list[Variable] = []
    for divisor in terms.down:
        x = one_plus_exp(divisor)
        if x is None:
            left.append(divisor)
        else:
            terms.up.append(apply_op(sigmoid, cast(negated(x), dtype_of(divisor))))
    found = len(left) < len(terms.down)
    terms.down[:] = left
    return found


def _exponentials(terms: Terms) -> bool:
    """One pair ``exp(x) sigmoid(-x)`` becomes ``sigmoid(x)``."""
    powers = [(v, e) for v in terms.up if (e := made_by(v, exp)) is not None]
    if not powers:
        return False
    for factor in terms.up:
        inner = made_by(factor, sigmoid)
        if inner is None:
            continue
        for power, node in powers:
            if pattern(power) == pattern(factor) and opposite(node.inputs[0], inner.inputs[0]):
                terms.up.remove(factor)
                terms.up.remove(power)
                terms.up.append(apply_op(sigmoid, cast(node.inputs[0], dtype_of(power))))
                return True
    return False


def _ratios(terms: Terms) -> bool:
    """``exp(a) / (exp(a) + exp(b))`` becomes ``sigmoid(a - b)``."""
    for divisor in terms.down:
        total = made_by(divisor, add)
        if total is None or len(total.inputs) != 2:
            continue
        powers = [made_by(v, exp) for v in total.inputs]
        if any(p is None or pattern(p.outputs[0]) != pattern(divisor) for p in powers):
            continue
        for k, power in enumerate(total.inputs):
            if power in terms.up:
                a, b = (total.inputs[j].owner.inputs[0] for j in (k, 1 - k))  # type: ignore[union-attr]
                difference = cast(apply_op(sub, a, b), dtype_of(divisor))
                terms.down.remove(divisor)
                terms.up.remove(power)
                terms.up.append(apply_op(sigmoid, difference))
                return True
    return False


@RULES.rule(log)
def log_of_sigmoid(node: Apply) -> Variable | None:
    """``log(sigmoid(x))`` is ``-softplus(-x)``."""
    inner = made_by(node.inputs[0], sigmoid)
    if inner is None:
        return None
    return apply_op(neg, apply_op(softplus, negated(inner.inputs[0])))


@RULES.rule(log)
def log_of_one_plus(node: Apply) -> Variable | None:
    """``log(1 + exp(x))`` is ``softplus(x)``, ``log(1 + x)`` is ``log1p(x)``."""
    (x,) = node.inputs
    power = one_plus_exp(x)
    if power is not None:
        return apply_op(softplus, cast(power, dtype_of(x)))
    rest = one_plus(x)
    if rest is not None:
        return apply_op(log1p, cast(rest, dtype_of(x)))
    rest = one_minus(x)
    return None if rest is None else apply_op(log1p, cast(negated(rest), dtype_of(x)))


@RULES.rule(log1p)
def log1p_of_exp(node: Apply) -> Variable | None:
    """``log1p(exp(x))`` is ``softplus(x)``; ``log1p(-sigmoid(x))`` is ``-softplus(x)``."""
    (x,) = node.inputs
    out = node.outputs[0]
    if not is_real(out):
        return None
    power = made_by(x, exp)
    if power is not None:
        return apply_op(softplus, cast(power.inputs[0], dtype_of(out)))
    minus = made_by(x, neg)
    inner = None if minus is None else made_by(minus.inputs[0], sigmoid)
    return None if inner is None else apply_op(neg, apply_op(softplus, inner.inputs[0]))


@RULES.rule(sub, add)
def exp_minus_one(node: Apply) -> Variable | None:
    """``exp(x) - 1`` is ``expm1(x)``."""
    out = node.outputs[0]
    if not is_real(out) or len(node.inputs) != 2:
        return None
    first, second = node.inputs
    if node.op is add and is_number(first, -1):
        first, second = second, first
    minus = 1 if node.op is sub else -1
    power = made_by(first, exp)
    if power is None or not is_number(second, minus) or pattern(first) != pattern(out):
        return None
    return apply_op(expm1, cast(power.inputs[0], dtype_of(out)))
