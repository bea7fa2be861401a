"""Sums of quotients times their divisors: ``(a / p - b / q) p q`` is ``a q - b p``.

The gradient of a cross entropy of two logarithms has this form; where ``p`` or ``q`` is rounded to
0 the quotients are infinite and the product is nan.
"""

from __future__ import annotations

from ltensor.ir.graph import Apply, Variable
from ltensor.ops.arithmetic import add, mul, sub, true_div
from ltensor.passes.canonical.algebra import Terms, build_product, collect_product, product_of
from ltensor.passes.match import apply_op, dtype_of, made_by, pattern, stretch
from ltensor.passes.rewrite import ANY_USES, Rules
from ltensor.passes.stable.terms import is_real

RULES = Rules("quotients")

#: sums of more terms are left alone
MOST_PARTS = 4

#: without an operand made by one of these there is nothing to find
_PARTS = (add, sub, mul, true_div)


@RULES.rule(mul, true_div)
def distribute(node: Apply) -> Variable | None:
    """Factors that divide a term of a sum are multiplied into the sum."""
    out = node.outputs[0]
    if not is_real(out):
        return None
    if not any(v.owner is not None and v.owner.op in _PARTS for v in node.inputs):
        return None
    terms = collect_product(node, ANY_USES)
    for total in terms.up:
        owner = made_by(total, add) or made_by(total, sub)
        if owner is None or len(owner.inputs) > MOST_PARTS or dtype_of(total) != dtype_of(out):
            continue
        value = _multiplied_in(terms, total, owner, out)
        if value is not None:
            return stretch(value, node)
    return None


def _multiplied_in(terms: Terms, total: Variable, owner: Apply, out: Variable) -> Variable | None:
    parts = []
    for variable in owner.inputs:
        if variable.owner is not None and is_real(variable) and pattern(variable) == pattern(total):
            parts.append(collect_product(variable, ANY_USES))
        else:
            parts.append(Terms(up=[variable]))
    common = [v for v in dict.fromkeys(terms.up) if any(v in part.down for part in parts)]
    if not common or total in common:
        return None
    for part in parts:
        for factor in common:
            if factor in part.down:
                part.down.remove(factor)
            else:
                part.up.append(factor)
    values = [_built(part, total) for part in parts]
    for factor in common:
        terms.up.remove(factor)
    terms.up.remove(total)
    terms.up.append(apply_op(owner.op, *values))
    return _built(terms, out)


def _built(terms: Terms, like: Variable) -> Variable:
    above, below = product_of(terms, dtype_of(like))
    return build_product(terms, above, below, like)
