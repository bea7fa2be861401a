"""The pass ``scan_accumulate``: what is linear leaves the sum that a loop accumulates.

In ``g += L(v)`` with a linear ``L`` that does not change from step to step the sum may as well be
of ``v``, and ``L`` be applied once, after the loop. That pays where ``v`` is smaller than
``L(v)``: the gradient of ``w[2]`` with respect to ``w`` is a vector of zeros with one number in it,
and only the number has to be summed, in a register. The order of the sum does not change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ltensor.ir.build import constant, constant_value
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.ir.types import TensorType
from ltensor.ir.walks import inputs_of, substitute
from ltensor.ops.alloc import alloc
from ltensor.ops.arithmetic import add
from ltensor.ops.compare import gt
from ltensor.ops.ifelse import IfElse
from ltensor.ops.last_row import is_zero
from ltensor.ops.subtensor import IncSubtensor
from ltensor.passes.loops import change_scans
from ltensor.passes.manager import register
from ltensor.passes.remarks import Slot, remark


def scan_accumulate(function: Function) -> Function:
    """Sum smaller values in the carries of every scan."""
    return change_scans(
        function, lambda node, _: _Loop(node).results() if node.op.n_carries else None
    )


class _Term(NamedTuple):
    """A term ``L(v)`` of a sum: ``v``, and the operations of ``L`` from the inside out."""

    value: Variable
    wrappers: list[Apply]


class _Loop:
    def __init__(self, node: Apply) -> None:
        self.node = node
        self.op: Any = node.op
        _, _, _, self.carries, refs = self.op.split(node.inputs)
        self.refs = dict(zip(self.op.inner_refs(), refs, strict=True))
        self.clients = self.op.body.clients

    def results(self) -> dict[Variable, Variable]:
        """New values of the node's results; empty if nothing leaves a sum."""
        op, node = self.op, self.node
        news, taken = list(op.inner_news()), {}
        for k, (argument, new) in enumerate(zip(op.inner_carries(), news, strict=True)):
            found = self._split(argument, new)
            if found is not None:
                news[k], taken[k] = found
        if not taken:
            return {}
        arguments: list[Variable] = []
        sums: list[Variable] = []
        starts: list[Variable] = []
        for terms in taken.values():
            for term in terms:
                argument = term.value.type.make_variable("total")
                arguments.append(argument)
                sums.append(add(argument, term.value))
                starts.append(self._zero(term.value))
        before = len(op.body.inputs) - op.n_refs
        body = Function(
            [*op.body.inputs[:before], *arguments, *op.body.inputs[before:]],
            [*op.inner_rows(), *news, *sums, *op.body.outputs[op.n_taps + op.n_carries :]],
            op.body.name,
        )
        fresh_op = op.replace(body=body, n_carries=op.n_carries + len(sums))
        cut = len(node.inputs) - op.n_refs
        fresh = fresh_op.make_node(*node.inputs[:cut], *starts, *node.inputs[cut:])
        fresh.source = node.source
        first_new = op.n_taps + op.n_carries
        outputs = [*fresh.outputs[:first_new], *fresh.outputs[first_new + len(sums) :]]
        table = dict(zip(node.outputs, outputs, strict=True))
        totals = iter(fresh.outputs[first_new : first_new + len(sums)])
        for k, terms in taken.items():
            old = node.outputs[op.n_taps + k]
            value = self.carries[k] if news[k] is op.inner_carries()[k] else table[old]
            before = value
            for term in terms:
                value = self._outside(term, next(totals), value)
            if self._may_fail(terms):
                some = gt(node.inputs[0], constant(0, dtype="int8"))
                value = IfElse(1).make_node(some, value, before).outputs[0]
            table[old] = value
            remark(
                "scan_accumulate",
                node,
                "{}: sums {} smaller values and spreads them out after the loop",
                Slot(node, op.n_taps + k),
                len(terms),
            )
        if any(new.type != old.type for old, new in table.items()):
            return {}
        for old, new in table.items():
            if new.name is None and new.owner is not None:
                new.name = old.name
        return table

    def _may_fail(self, terms: list[_Term]) -> bool:
        """Whether an index may be out of range, which counts only if a step is run."""
        steps = constant_value(self.node.inputs[0])
        if steps is not None and int(steps) > 0:
            return False
        wrappers: list[Any] = [inner for term in terms for inner in term.wrappers]
        return any(isinstance(w.op, IncSubtensor) and w.op.may_fail(w) for w in wrappers)

    # ------------------------------------------------------------- the sum

    def _split(self, argument: Variable, new: Variable) -> tuple[Variable, list[_Term]] | None:
        """The sum without the terms that leave it, and these."""
        if argument.type != new.type or len(self.clients.get(argument, ())) != 1:
            return None
        terms: list[Variable] = []
        increments: list[Apply] = []
        stack, count = [new], 0
        while stack:
            v = stack.pop()
            if v is argument:
                count += 1
            elif (
                v.owner is not None
                and v.owner.op is add
                and v.type == new.type
                and (v is new or len(self.clients.get(v, ())) == 1)
            ):
                stack.extend(reversed(v.owner.inputs))
            elif self._increments(v, new):
                assert v.owner is not None
                stack.append(v.owner.inputs[0])
                increments.append(v.owner)
            else:
                terms.append(v)
        if count != 1:
            return None
        leaving = [_Term(inner.inputs[1], [inner]) for inner in reversed(increments)]
        staying = []
        for term in terms:
            found = self._linear(term) if term.type.dtype == new.type.dtype else None
            if found is None:
                staying.append(term)
            else:
                leaving.append(found)
        if not leaving:
            return None
        return (add(argument, *staying) if staying else argument), leaving

    def _increments(self, v: Variable, new: Variable) -> bool:
        """Whether ``v`` adds something of its own to a fixed part of another term of the sum."""
        node = v.owner
        if node is None or not isinstance(node.op, IncSubtensor) or node.op.set_instead_of_inc:
            return False
        y = node.inputs[1]
        if v.type != new.type or node.inputs[0].type != new.type or is_zero(node.inputs[0]):
            return False
        if v is not new and len(self.clients.get(v, ())) != 1:
            return False
        if self._invariant(y) or not all(self._invariant(u) for u in node.inputs[2:]):
            return False
        return y.type.ndim == 0 or self.op.sized_outside(y)

    def _linear(self, term: Variable) -> _Term | None:
        """``term`` as a linear function of something smaller."""
        wrappers: list[Apply] = []
        v, smaller = term, False
        while v.owner is not None:
            node = v.owner
            shrinks = _WRAPPERS.get(getattr(node.op, "ir_name", ""), _none)(node)
            if shrinks is None:
                break
            position = 1 if isinstance(node.op, IncSubtensor) else 0
            if not all(self._invariant(u) for k, u in enumerate(node.inputs) if k != position):
                break
            wrappers.append(node)
            smaller = smaller or shrinks
            v = node.inputs[position]
        if not smaller or self._invariant(v) or v.type.dtype != term.type.dtype:
            return None
        if v.type.ndim and not self.op.sized_outside(v):
            return None
        return _Term(v, wrappers[::-1])

    def _invariant(self, variable: Variable) -> bool:
        return all(isinstance(v, Constant) or v in self.refs for v in inputs_of([variable]))

    # ------------------------------------------------------------- outside the loop

    def _hoisted(self, variable: Variable) -> Variable:
        table: dict[Variable, Variable] = dict(self.refs)
        return substitute([variable], table)[0]

    def _zero(self, value: Variable) -> Variable:
        zero = constant(0, dtype=value.type.dtype)
        if value.type.ndim == 0:
            return zero
        dims = self.op.shape_outside(self.node, value)
        return restore(alloc(zero, *dims), value)

    def _outside(self, term: _Term, total: Variable, base: Variable) -> Variable:
        """``base + L(total)``."""
        value = total
        for k, node in enumerate(term.wrappers):
            if isinstance(node.op, IncSubtensor):
                scalars = [self._hoisted(u) for u in node.inputs[2:]]
                last = k == len(term.wrappers) - 1
                into = base if last else self._hoisted(node.inputs[0])
                value = node.op(into, value, *scalars)
                if last:
                    return value
            else:
                value = node.op.make_node(
                    value, *[self._hoisted(u) for u in node.inputs[1:]]
                ).outputs[0]
        return add(base, value)


def restore(variable: Variable, like: Variable) -> Variable:
    """``variable`` with the flags of ``like``."""
    from ltensor.ops.shape import restore_flags

    return variable if variable.type == like.type else restore_flags(variable, like)


def _none(node: Apply) -> bool | None:
    return None


def _increment(node: Apply) -> bool | None:
    op: Any = node.op
    fine = not op.set_instead_of_inc and is_zero(node.inputs[0])
    x, y = node.inputs[0].type, node.inputs[1].type
    # a stretched ``y`` would still be right, but its gradient never makes one
    return True if fine and isinstance(x, TensorType) and isinstance(y, TensorType) else None


def _spread(node: Apply) -> bool | None:
    return True


def _moved(node: Apply) -> bool | None:
    return False


#: linear operations that may leave a sum -> whether their operand is smaller than their result
_WRAPPERS: dict[str, Callable[[Apply], bool | None]] = {
    "inc_subtensor": _increment,
    "alloc": _spread,
    "dimshuffle": _moved,
    "neg": _moved,
}

register(scan_accumulate)
