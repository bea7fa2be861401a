"""The gradient of the logarithm of a softmax: ``1 / softmax`` never appears."""

from __future__ import annotations

from typing import Any

from ltensor.ir.graph import Apply, Variable
from ltensor.ops.alloc import second
from ltensor.ops.arithmetic import add, mul, neg, sub
from ltensor.ops.crossentropy import Place, pick_op
from ltensor.ops.softmax import SoftmaxGrad, column, row_sum
from ltensor.passes.canonical.algebra import build_product, collect_product, product_of
from ltensor.passes.match import apply_op, dtype_of, is_number, made_by, pattern
from ltensor.passes.rewrite import ANY_USES, Rules
from ltensor.passes.stable.terms import is_real, same

RULES = Rules("softmaxes")


def divided(value: Variable, divisor: Any, depth: int = 3) -> Variable | None:
    """``value * divisor`` if ``value`` is a quotient by ``divisor`` (a test), else None."""
    if value.owner is None or not is_real(value):
        return None
    if value.owner.op in (add, sub) and depth:
        parts = [divided(v, divisor, depth - 1) for v in value.owner.inputs]
        if any(part is None for part in parts):
            return None
        return apply_op(value.owner.op, *parts)
    terms = collect_product(value, ANY_USES)
    for k, factor in enumerate(terms.down):
        if divisor(factor):
            del terms.down[k]
            above, below = product_of(terms, dtype_of(value))
            if terms.negative:
                above, terms.negative = -above, False
            result = build_product(terms, above, below, value)
            return result if pattern(result) == pattern(value) else second(factor, result)
    return None


@RULES.rule(SoftmaxGrad)
def gradient_of_log_softmax(node: Apply) -> Variable | None:
    """``softmax_grad(g / s, s)`` is ``g - s sum(g)``."""
    g, s = node.inputs
    clean = divided(g, lambda v: v is s)
    if clean is None:
        return None
    return apply_op(sub, clean, apply_op(mul, s, row_sum(clean)))


@RULES.rule(SoftmaxGrad)
def gradient_of_picked_log(node: Apply) -> Variable | None:
    """The same for a cross entropy with class numbers: ``place(g / pick(s, y), y)``."""
    g, s = node.inputs
    placed = made_by(g, Place)
    if placed is None:
        return None
    values, y, columns = placed.inputs
    chosen = apply_op(pick_op, s, y)
    clean = divided(values, lambda v: same(v, chosen))
    if clean is None:
        return None
    onehot = placed.op.make_node(clean, y, columns).outputs[0]
    return apply_op(sub, onehot, apply_op(mul, s, column(clean)))


@RULES.rule(SoftmaxGrad)
def gradient_of_indexed_log(node: Apply) -> Variable | None:
    """The same for ``log(softmax(x)[i, j])`` and ``log(softmax(x)[i:j])``."""
    g, s = node.inputs
    sign, target = _without_sign(g)
    inner = made_by(target, "advanced_inc_subtensor") or made_by(target, "inc_subtensor")
    if inner is None or inner.op.set_instead_of_inc:
        return None
    base, values, *index = inner.inputs
    if not is_number(base, 0):
        return None
    clean = divided(values, lambda v: _reads(v, s, index))
    if clean is None:
        return None
    total = inner.op.make_node(base, clean, *index).outputs[0]
    result = apply_op(sub, total, apply_op(mul, s, row_sum(total)))
    return apply_op(neg, result) if sign else result


def _without_sign(value: Variable) -> tuple[bool, Variable]:
    inner = made_by(value, neg)
    return (True, inner.inputs[0]) if inner is not None else (False, value)


def _reads(value: Variable, source: Variable, index: list[Variable]) -> bool:
    """Whether ``value`` is ``source`` at ``index``."""
    owner = value.owner
    if owner is None or getattr(owner.op, "ir_name", "") not in ("advanced_subtensor", "subtensor"):
        return False
    return (
        owner.inputs[0] is source
        and len(owner.inputs) == len(index) + 1
        and all(same(a, b) for a, b in zip(owner.inputs[1:], index, strict=True))
    )
