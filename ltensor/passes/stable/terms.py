"""What the rules of this folder recognize: ``1 + exp(x)``, ``1 - sigmoid(x)``, negatives."""

from __future__ import annotations

from typing import Any

from ltensor.ir import dtypes as dt
from ltensor.ir.graph import Variable
from ltensor.ops.arithmetic import add, mul, neg, sub, true_div
from ltensor.ops.transcendental import exp, sigmoid
from ltensor.passes.match import (
    apply_op,
    constant_like,
    dtype_of,
    is_number,
    made_by,
    number,
    pattern,
)


def is_real(variable: Variable) -> bool:
    """Whether the value is a real float."""
    return dt.is_float(dtype_of(variable))


def one_plus(variable: Variable) -> Variable | None:
    """``x`` if ``variable`` is ``1 + x`` (``x`` of the same size), else None."""
    node = made_by(variable, add)
    if node is None or not is_real(variable):
        return None
    ones = [k for k, v in enumerate(node.inputs) if is_number(v, 1)]
    if not ones:
        return None
    rest = [v for k, v in enumerate(node.inputs) if k != ones[0]]
    if not rest:
        return None
    value = rest[0] if len(rest) == 1 else apply_op(add, *rest)
    return value if pattern(value) == pattern(variable) else None


def one_plus_exp(variable: Variable) -> Variable | None:
    """``x`` if ``variable`` is ``1 + exp(x)``, else None."""
    rest = one_plus(variable)
    inner = None if rest is None else made_by(rest, exp)
    return None if inner is None else inner.inputs[0]


def one_minus(variable: Variable) -> Variable | None:
    """``x`` if ``variable`` is ``1 - x`` (``x`` of the same size), else None."""
    if not is_real(variable):
        return None
    node = made_by(variable, sub)
    if node is not None and is_number(node.inputs[0], 1):
        value = node.inputs[1]
        return value if pattern(value) == pattern(variable) else None
    rest = one_plus(variable)
    inner = None if rest is None else made_by(rest, neg)
    return None if inner is None else inner.inputs[0]


def one_minus_sigmoid(variable: Variable) -> Variable | None:
    """``x`` if ``variable`` is ``1 - sigmoid(x)``, else None."""
    rest = one_minus(variable)
    inner = None if rest is None else made_by(rest, sigmoid)
    return None if inner is None else inner.inputs[0]


def negated(variable: Variable) -> Variable:
    """``-variable`` without a ``neg`` where the sign can be taken in."""
    node = variable.owner
    if node is None:
        return apply_op(neg, variable)
    if node.op is neg:
        return node.inputs[0]
    if node.op is sub:
        a, b = node.inputs
        inner = made_by(a, neg)
        return apply_op(add, inner.inputs[0], b) if inner is not None else apply_op(sub, b, a)
    if node.op is mul or node.op is true_div:
        for k, operand in enumerate(node.inputs):
            value = number(operand)
            if (
                value is not None
                and dtype_of(operand) == dtype_of(variable)
                and all(pattern(operand))
            ):
                operands = list(node.inputs)
                operands[k] = constant_like(-value, operand)
                return apply_op(node.op, *operands)
    if node.op is add and all(made_by(v, neg) for v in node.inputs):
        return apply_op(add, *[v.owner.inputs[0] for v in node.inputs if v.owner is not None])
    return apply_op(neg, variable)


def opposite(a: Variable, b: Variable) -> bool:
    """Whether ``a`` is ``-b`` by their form."""
    return same(negated(a), b) or same(a, negated(b))


def same(a: Variable, b: Variable, depth: int = 3) -> bool:
    """Whether two values are equal by their form, as far as a few operations tell."""
    if a is b:
        return True
    first, second = a.owner, b.owner
    if first is None or second is None or depth == 0:
        x: Any = getattr(a, "signature", None)
        y: Any = getattr(b, "signature", None)
        return x is not None and y is not None and bool(x() == y())
    return (
        first.op == second.op
        and a.index == b.index
        and len(first.inputs) == len(second.inputs)
        and all(same(u, v, depth - 1) for u, v in zip(first.inputs, second.inputs, strict=True))
    )
