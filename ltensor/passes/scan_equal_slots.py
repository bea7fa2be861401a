"""The pass ``scan_equal_slots``: slots of a loop that hold equal values in every step become one.

States are equal if they start with the same value and their new values are computed alike from
equal states: all that start alike are taken for equal, and told apart as long as their new values
differ. Equal outputs, and an output that is the new value of a state, share one array.
"""

from __future__ import annotations

from typing import Any

from ltensor.ir.equal import op_key
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.ops.opdef import is_pure
from ltensor.passes.loops import change_scans, keep_slots
from ltensor.passes.manager import register
from ltensor.passes.remarks import Listing, Slot, remark


def scan_equal_slots(function: Function) -> Function:
    """Join the slots of every scan that are equal in every step."""
    return change_scans(function, lambda node, _: _joined(node))


def _joined(node: Apply) -> dict[Variable, Variable] | None:
    op: Any = node.op
    states = op.n_taps + op.n_carries
    first = _equal_states(node)
    arguments = [*op.inner_taps(), *([v] for v in op.inner_carries())]
    inner: dict[Variable, Variable] = {}
    for k, same in enumerate(first):
        if same != k:
            inner.update(zip(arguments[k], arguments[same], strict=True))
    #: position of a result -> position of an equal one before it
    equal = {k: same for k, same in enumerate(first) if same != k}
    if op.n_outs:
        numbers = _Numbers(op, inner)
        seen: dict[Any, int] = {}
        for k, row in enumerate(op.inner_rows()):
            if k not in equal:
                seen.setdefault((numbers.of(row), op.keep[k], "row"), k)
        for k, out in enumerate(op.inner_outs()):
            number, keep = numbers.of(out), op.keep[op.n_taps + k]
            # of no step the last row of a state is its initial one, while an output has none
            found = seen.get((number, None, "row")) if keep is None else None
            if found is None:
                found = seen.setdefault((number, keep, "out"), states + k)
            if found != states + k:
                equal[states + k] = found
    if not equal:
        return None
    taps = [k for k in range(op.n_taps) if k not in equal]
    carries = [k for k in range(op.n_carries) if op.n_taps + k not in equal]
    outs = [k for k in range(op.n_outs) if states + k not in equal]
    _, table = keep_slots(node, range(op.n_seqs), taps, carries, outs, inner, {})
    for position, same in equal.items():
        table[node.outputs[position]] = table[node.outputs[same]]
    if any(old.type != new.type for old, new in table.items()):
        return None
    slots = Listing([Slot(node, k) for k in equal])
    remark("scan_equal_slots", node, "joins what is equal to others in every step: {}", slots)
    return table


class _Numbers:
    """Values of a body by number: equal numbers are equal values."""

    def __init__(self, op: Any, inner: dict[Variable, Variable]) -> None:
        self._numbers: dict[Any, int] = {}
        self._known: dict[Variable, int] = {}
        for v in op.body.inputs:
            self._known[v] = self._number(("argument", id(inner.get(v, v))))
        for node in op.body.nodes:
            key: Any = (id(node),)
            if is_pure(node):
                inputs = [self.of(v) for v in node.inputs]
                if getattr(node.op, "commutative", False):
                    inputs.sort()
                key = (op_key(node.op) if node.op.regions else node.op, *inputs)
            for k, v in enumerate(node.outputs):
                self._known[v] = self._number((key, k, v.type))

    def _number(self, key: Any) -> int:
        return self._numbers.setdefault(key, len(self._numbers))

    def of(self, variable: Variable) -> int:
        """The number of a value."""
        found = self._known.get(variable)
        if found is None:
            key = variable.signature() if isinstance(variable, Constant) else id(variable)
            found = self._known[variable] = self._number(("outer", key))
        return found


def _equal_states(node: Apply) -> list[int]:
    """For every state the first one that is equal."""
    op: Any = node.op
    _, _, inits, carries, _ = op.split(node.inputs)
    keys: list[Any] = []
    for k, init in enumerate(inits):
        keys.append(("tap", op.lags[k], op.keep[k], _start(init), op.inner_rows()[k].type))
    for init, argument in zip(carries, op.inner_carries(), strict=True):
        keys.append(("carry", _start(init), argument.type))
    arguments = [*op.inner_taps(), *([v] for v in op.inner_carries())]
    news = [*op.inner_rows(), *op.inner_news()]
    while True:
        groups: dict[Any, int] = {}
        first = [groups.setdefault(key, k) for k, key in enumerate(keys)]
        if len(groups) == len(keys):
            return first
        inner: dict[Variable, Variable] = {}
        for k, same in enumerate(first):
            if same != k:
                inner.update(zip(arguments[k], arguments[same], strict=True))
        numbers = _Numbers(op, inner)
        finer = [(same, numbers.of(new)) for same, new in zip(first, news, strict=True)]
        if len(set(finer)) == len(groups):
            return first
        keys = finer


def _start(init: Variable) -> Any:
    return init.signature() if isinstance(init, Constant) else id(init)


register(scan_equal_slots)
