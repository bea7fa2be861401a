"""The pass of ``NanGuardMode``: every float value is checked where it is computed."""

from __future__ import annotations

from typing import Any

from ltensor.ir import dtypes as dt
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.ir.types import TensorType
from ltensor.ops.guard import Guard
from ltensor.passes.manager import map_regions

#: ops of which the values mean nothing yet
_UNSET = ("empty", "alloc_empty")


def insert_checks(function: Function, checks: Any) -> Function:
    """``function`` with a `Guard` behind every float value, loop bodies and branches included.

    Parameters
    ----------
    checks : object
        Has ``nan``, ``inf`` and ``big``: what is refused (`ltensor.nanguard.Checks`).
    """
    if not (checks.nan or checks.inf or checks.big):
        return function
    return _guarded(function, checks, outermost=True)


def _guarded(function: Function, checks: Any, outermost: bool) -> Function:
    function = map_regions(function, lambda region: _guarded(region, checks, outermost=False))
    plain: dict[Variable, Variable] = {}
    memo: dict[Variable, Variable] = {}

    def guard(old: Variable, new: Variable, where: str) -> None:
        plain[old] = new
        if not _holds_floats(new):
            memo[old] = new
            return
        guarded = Guard(checks.nan, checks.inf, checks.big, where)(new)
        guarded.name, guarded.source = old.name, old.source
        memo[old] = guarded

    if outermost:
        for variable in function.inputs:
            guard(
                variable,
                variable,
                f"NanGuardMode found an error in an input of this graph: {variable}",
            )
    for node in function.nodes:
        # sizes are asked of the bare value: nobody computes it for that
        table = plain if getattr(node.op, "kind", "") == "shape" else memo
        inputs = [table.get(v, v) for v in node.inputs]
        fresh = node
        if any(a is not b for a, b in zip(inputs, node.inputs, strict=True)):
            fresh = Apply(node.op, inputs, [v.clone() for v in node.outputs])
            fresh.source = node.source
        if getattr(node.op, "ir_name", "") in _UNSET or isinstance(node.op, Guard):
            memo.update(zip(node.outputs, fresh.outputs, strict=True))
            continue
        for old, new in zip(node.outputs, fresh.outputs, strict=True):
            guard(old, new, "NanGuardMode found an error in the output of a node in this variable:")
    outputs = [v if isinstance(v, Constant) else memo.get(v, v) for v in function.outputs]
    return Function(function.inputs, outputs, function.name)


def _holds_floats(variable: Variable) -> bool:
    kind = variable.type
    return isinstance(kind, TensorType) and not dt.is_discrete(kind.dtype)
