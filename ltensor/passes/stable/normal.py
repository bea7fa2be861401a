"""The error functions where they cancel or vanish: the normal distribution and its logarithm.

``1 - erf(x)`` is 0 from 6 on and ``erfc(x)`` from 27 on, and with them go the logarithms of what
they say. ``erfcx(x)``, which is ``exp(x**2) erfc(x)``, is of moderate size on the right, where it
gives ``log(erfc(x))`` and its derivative.
"""

from __future__ import annotations

from ltensor.ir.graph import Apply, Variable
from ltensor.ops.arithmetic import add, mul, neg, sqr, sub, switch, true_div
from ltensor.ops.cast import cast
from ltensor.ops.compare import gt
from ltensor.ops.special import erf, erfc, erfcx
from ltensor.ops.transcendental import exp, log, log1p
from ltensor.passes.canonical.algebra import build_product, collect_product, product_of
from ltensor.passes.match import (
    apply_op,
    constant_like,
    dtype_of,
    is_number,
    made_by,
    number,
    pattern,
    stretch,
)
from ltensor.passes.rewrite import ANY_USES, Rules
from ltensor.passes.stable.terms import is_real, negated, opposite, same

RULES = Rules("normal")


@RULES.rule(add, sub)
def complement(node: Apply) -> Variable | None:
    """``1 + erf(x)``, ``1 - erf(x)``, ``1 - erfc(x)`` by the function that does not cancel."""
    out = node.outputs[0]
    if not is_real(out) or len(node.inputs) != 2:
        return None
    for one, term in (node.inputs, reversed(node.inputs)):
        sign = 1 if is_number(one, 1) else -1 if is_number(one, -1) else 0
        inner = made_by(term, neg)
        value = term if inner is None else inner.inputs[0]
        owner = made_by(value, erf) or made_by(value, erfc)
        if sign == 0 or owner is None:
            continue
        if dtype_of(value) != dtype_of(out) or pattern(value) != pattern(out):
            continue
        positive = inner is None
        if node.op is sub and one is node.inputs[0]:
            positive = not positive
        elif node.op is sub:
            sign = -sign
        (x,) = owner.inputs
        found = _sum_with_one(owner, x, (sign > 0) == positive)
        return found if found is None or sign > 0 else apply_op(neg, found)
    return None


def _sum_with_one(owner: Apply, x: Variable, plus: bool) -> Variable | None:
    """``1 + f(x)`` or ``1 - f(x)`` of an error function."""
    if owner.op is erfc:
        return None if plus else apply_op(erf, x)
    return apply_op(erfc, negated(x) if plus else x)


@RULES.rule(log)
def log_of_erfc(node: Apply) -> Variable | None:
    """``log(c erfc(x))`` for a constant ``c``: by erfcx on the right, by ``1 - erf(x)`` left.

    Half of erfc goes to one on the left, and its logarithm to zero: ``1 - erfc(-x) / 2`` there.
    """
    (y,) = node.inputs
    if not is_real(y) or y.owner is None:
        return None
    factor: Variable | None = None
    owner = made_by(y, erfc)
    product = made_by(y, mul)
    if owner is None and product is not None and len(product.inputs) == 2:
        for factor, other in (product.inputs, reversed(product.inputs)):
            owner = made_by(other, erfc) if _positive(factor) else None
            if owner is not None:
                break
    if owner is None or dtype_of(owner.outputs[0]) != dtype_of(y):
        return None
    (x,) = owner.inputs
    if dtype_of(x) != dtype_of(y) or pattern(x) != pattern(y):
        return None
    right = apply_op(sub, apply_op(log, apply_op(erfcx, x)), apply_op(sqr, x))
    border = 1
    if factor is None:
        left = apply_op(log1p, apply_op(neg, apply_op(erf, x)))
    else:
        half = is_number(factor, 0.5)
        factor = cast(factor, dtype_of(y))
        right = apply_op(add, apply_op(log, factor), right)
        if half:
            border = 0
            mirrored = apply_op(mul, factor, apply_op(erfc, negated(x)))
            left = apply_op(log1p, apply_op(neg, mirrored))
        else:
            left = apply_op(log1p, apply_op(neg, apply_op(erf, x)))
            left = apply_op(add, apply_op(log, factor), left)
    value = apply_op(switch, apply_op(gt, x, constant_like(border, x)), right, left)
    return stretch(value, node)


def _positive(variable: Variable) -> bool:
    value = number(variable)
    return value is not None and bool(value > 0)


@RULES.rule(mul, true_div)
def density_over_tail(node: Apply) -> Variable | None:
    """``exp(-x**2) / erfc(x)`` in a product is ``1 / erfcx(x)``."""
    out = node.outputs[0]
    if not is_real(out):
        return None
    terms = collect_product(node, ANY_USES)
    for divisor in terms.down:
        tail = made_by(divisor, erfc)
        if tail is None or dtype_of(divisor) != dtype_of(out):
            continue
        for power in terms.up:
            if not _is_density(power, tail.inputs[0]):
                continue
            terms.up.remove(power)
            terms.down.remove(divisor)
            terms.down.append(apply_op(erfcx, tail.inputs[0]))
            above, below = product_of(terms, dtype_of(out))
            return stretch(build_product(terms, above, below, out), node)
    return None


def _is_density(power: Variable, x: Variable) -> bool:
    """Whether ``power`` is ``exp(-x**2)``."""
    raised = made_by(power, exp)
    minus = None if raised is None else made_by(raised.inputs[0], neg)
    if minus is None:
        return False
    (square,) = minus.inputs
    owner = square.owner
    if owner is None or owner.op not in (sqr, mul):
        return False
    if owner.op is mul and (len(owner.inputs) != 2 or owner.inputs[0] is not owner.inputs[1]):
        return False
    base = owner.inputs[0]
    return same(base, x) or opposite(base, x)
