"""What passes on loops share: visiting the scans of a function one after the other."""

from __future__ import annotations

from collections.abc import Callable

from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Variable
from ltensor.ops.scan import Scan

#: (scan with its present operands, the scan in the function, which knows its readers) -> what
#: replaces results of the former; None or nothing if it stays
Change = Callable[[Apply, Apply], dict[Variable, Variable] | None]


def change_scans(function: Function, change: Change) -> Function:
    """``function`` with ``change`` applied to every scan in it, not to those inside regions.

    A scan is shown after those it depends on, reading what these were replaced by: several loops in
    a row are changed at once, and no old one stays because a new one still reads it.

    Returns
    -------
    Function
        The same object if nothing changed.
    """
    memo: dict[Variable, Variable] = {}
    for node in function.nodes:
        current = node
        if memo:
            inputs = [memo.get(v, v) for v in node.inputs]
            if any(a is not b for a, b in zip(inputs, node.inputs, strict=True)):
                current = node.clone_with_new_inputs(inputs)
        table = change(current, node) if isinstance(node.op, Scan) else None
        for old, now in zip(node.outputs, current.outputs, strict=True):
            new = table.get(now, now) if table else now
            if new is not old:
                memo[old] = new
    if not memo:
        return function
    return Function(function.inputs, [memo.get(v, v) for v in function.outputs], function.name)
