"""Constant folding: what depends on constants only is computed now, by the ops' references."""

from __future__ import annotations

from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
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
    if _too_large(op, values) or _may_fail(node, values):
        return None
    try:
        with np.errstate(all="ignore"):
            results = evaluate(node, values)
    except Exception:
        return None  # whatever is wrong with it is told when it runs
    constants = []
    for output, result in zip(node.outputs, results, strict=True):
        if result.size > MOST_ELEMENTS and result.size > max(v.size for v in values):
            return None
        constant = output.type.make_constant(np.ascontiguousarray(result).reshape(result.shape))
        constants.append(constant)
    return constants


def _too_large(op: Any, values: list[Any]) -> bool:
    """Whether evaluating alone would take memory: ops that make arrays of given sizes."""
    if op.kind == "pointwise" and len(values) > 1:
        size = int(np.prod(np.broadcast_shapes(*(v.shape for v in values)), dtype=float))
        return size > MOST_ELEMENTS and size > max(v.size for v in values)
    if op.ir_name in ("alloc", "eye"):
        sizes = values[1:] if op.ir_name == "alloc" else values[:2]
        return float(np.prod([float(s) for s in sizes])) > MOST_ELEMENTS
    if op.ir_name == "arange":
        start, stop, step = (float(np.asarray(v).real) for v in values)
        return step != 0 and abs(stop - start) / abs(step) > MOST_ELEMENTS
    return False


def _may_fail(node: Apply, values: list[Any]) -> bool:
    """Whether the compiled op would raise where the reference does not."""
    op: Any = node.op
    if not getattr(op, "guarded", False):
        return False
    kind: Any = node.outputs[0].type
    if not dt.is_discrete(kind.dtype):
        return False
    last = np.asarray(values[-1])
    return bool(np.any(last < 0 if op.ir_name == "pow" else last == 0))


@register
def fold_constants(function: Function) -> Function:
    """Compute what depends on constants only.

    Not: ops with side effects, random draws, Python ops, results above 4096 elements, and
    what would raise when run.
    """
    return rewrite(function, RULES)
