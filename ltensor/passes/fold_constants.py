"""Constant folding: what depends on constants only is computed now, by the ops' references."""

from __future__ import annotations

from typing import Any

import numpy as np

from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Constant, Variable, evaluate
from ltensor.ir.types import TensorType
from ltensor.ops.opdef import DeclaredOp
from ltensor.passes.manager import register
from ltensor.passes.rewrite import Rules, is_pure, rewrite

#: results above this many elements are computed at run time: a constant costs memory for ever
MOST_ELEMENTS = 4096

RULES = Rules("fold_constants")


@RULES.rule(DeclaredOp)
def fold(node: Apply) -> list[Variable] | None:
    """The outputs of a node that reads constants only."""
    op: Any = node.op
    if not node.inputs or op.regions or op.kind == "python" or not is_pure(node):
        return None
    for variable in node.inputs:
        if not (isinstance(variable, Constant) and isinstance(variable.type, TensorType)):
            return None
    if not all(isinstance(v.type, TensorType) for v in node.outputs):
        return None
    values = [v.data for v in node.inputs]  # type: ignore[attr-defined]
    # evaluating alone may take memory, and what would raise when run must do so
    largest = max(v.size for v in values)
    if op.elements_made(values) > max(MOST_ELEMENTS, largest) or op.may_fail(node):
        return None
    try:
        with np.errstate(all="ignore"):
            results = evaluate(node, values)
    except Exception:
        return None  # whatever is wrong with it is told when it runs
    constants = []
    for output, result in zip(node.outputs, results, strict=True):
        if result.size > MOST_ELEMENTS and result.size > largest:
            return None
        constant = output.type.make_constant(np.ascontiguousarray(result).reshape(result.shape))
        constants.append(constant)
    return constants


@register
def fold_constants(function: Function) -> Function:
    """Compute what depends on constants only.

    Not: ops with side effects, random draws, Python ops, results above 4096 elements, and
    what would raise when run.
    """
    return rewrite(function, RULES)
