"""Numerically stable forms of expressions that overflow or cancel as they are written.

The rules stand in `ltensor.passes.stable`, by subject. As in Theano they make ``log(softmax(x))``,
``log(1 - sigmoid(x))``, ``log(1 + exp(x))``, ``log(sum(exp(x)))``, ``log(erfc(x))`` and their
gradients finite wherever the mathematical value is.
"""

from __future__ import annotations

from ltensor.ir.function import Function
from ltensor.passes.manager import register
from ltensor.passes.rewrite import Rules, rewrite
from ltensor.passes.stable import logarithms, normal, quotients, sigmoids, softmaxes

RULES = Rules("stabilize")
for _part in (sigmoids, normal, logarithms, softmaxes, quotients):
    RULES.include(_part.RULES)


@register
def stabilize(function: Function) -> Function:
    """Replace expressions that overflow or cancel by stable ones: sigmoids, softmax, log1p.

    ``log(softmax(x))``, ``log(sigmoid(x))``, ``log(1 + exp(x))``, ``log(sum(exp(x)))``,
    ``exp(x) - 1``, ``1 / (1 + exp(-x))``, and the gradients of such.
    """
    return rewrite(function, RULES)
