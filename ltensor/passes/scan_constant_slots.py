"""The pass ``scan_constant_slots``: slots of a loop that hold the same value in every step.

* A state whose new value is the old one, and one that is set to the number that it starts with
  (the adjoint of a state that nobody reads is zero in every step), become invariants.
* So does a sequence of equal rows: the gradient of a sum comes as an array of ones.
* An output that does not change is computed once, and spread over the steps.

None of these needs an array of all rows then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ltensor.ir.build import constant, constant_value
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.ir.types import TensorType
from ltensor.ir.walks import substitute
from ltensor.ops.alloc import Alloc, alloc
from ltensor.ops.cast import cast
from ltensor.ops.keep_or_recompute import invariants
from ltensor.ops.shape import Flags, dims_of, dimshuffle, restore_flags
from ltensor.ops.shape_map import ShapeMap
from ltensor.ops.slicing import never_negative
from ltensor.ops.steps import Steps
from ltensor.ops.subtensor import Subtensor
from ltensor.passes.loops import change_scans, keep_slots
from ltensor.passes.manager import register
from ltensor.passes.match import number
from ltensor.passes.remarks import Slot, Who, remark
from ltensor.passes.sizes import Sizes


def scan_constant_slots(function: Function) -> Function:
    """Make invariants of the slots of every scan that never change."""
    return change_scans(function, lambda node, _: _Loop(node).table())


class _Loop:
    """One scan, what its slots become, and what stands for their results."""

    def __init__(self, node: Apply) -> None:
        self.node = node
        self.op: Any = node.op
        self.n, self.seqs, self.inits, self.carries, self.refs = self.op.split(node.inputs)
        self.shapes = ShapeMap()
        #: argument of the body -> what it is in every step
        self.inner: dict[Variable, Variable] = {}
        #: new refs: outer value -> argument
        self.added: dict[Variable, Variable] = {}
        self.results: dict[Variable, Variable] = {}

    def table(self) -> dict[Variable, Variable] | None:
        """New variables for the results; None if nothing is constant."""
        self._walk_sequences()
        self._walk_taps()
        self._walk_carries()
        self._walk_outs()
        if not self.inner and not self.results:
            return None
        op, old = self.op, self.node.outputs
        first_out = op.n_taps + op.n_carries
        seqs = [k for k, v in enumerate(op.inner_seqs()) if v not in self.inner]
        taps = [k for k in range(op.n_taps) if old[k] not in self.results]
        carries = [k for k in range(op.n_carries) if old[op.n_taps + k] not in self.results]
        outs = [k for k in range(op.n_outs) if old[first_out + k] not in self.results]
        if not (taps or carries or outs or op.has_stop):
            return self.results
        fresh, table = keep_slots(self.node, seqs, taps, carries, outs, self.inner, self.added)
        if any(new.type != before.type for before, new in table.items()):
            return None
        if op.has_stop:
            # spread over the steps that were run
            stop = {old[-1]: fresh.outputs[-1]}
            values = substitute(list(self.results.values()), stop)
            self.results = dict(zip(self.results, values, strict=True))
        return {**self.results, **table}

    # ------------------------------------------------------------- pieces

    def _ref(self, value: Variable) -> Variable:
        """``value`` inside the body."""
        if isinstance(value, Constant):
            return value
        for argument, outer in zip(self.op.inner_refs(), self.refs, strict=True):
            if outer is value and argument.type == value.type:
                return argument
        if value not in self.added:
            self.added[value] = value.type.make_variable(value.name)
        return self.added[value]

    def _spread(self, value: Variable, dims: Sequence[Variable], like: Variable) -> Variable:
        """``value`` in the size of a row, inside the body: never stored there."""
        inside = self._ref(value)
        if value.type != like.type:
            inside = restore_flags(alloc(inside, *map(self._ref, dims)), like)
        return inside

    def _steps(self) -> Variable:
        """How many steps there are, checked as the loop does."""
        if self.op.has_stop:
            return self.node.outputs[-1]
        return cast(self.n, "int64") if never_negative(self.n) else Steps()(self.n)

    def _trace(self, row: Variable, dims: Sequence[Variable], keep: int | None) -> Variable:
        count = self._steps() if keep is None else constant(keep, dtype="int64")
        return alloc(row, count, *dims)

    def _result(self, position: int, value: Variable) -> None:
        old = self.node.outputs[position]
        value = restore_flags(value, old)
        self.results[old] = value
        text = "{} has the same value in every step"
        remark("scan_constant_slots", self.node, text, Slot(self.node, position))

    # ------------------------------------------------------------- slots

    def _walk_sequences(self) -> None:
        for argument, seq in zip(self.op.inner_seqs(), self.seqs, strict=True):
            found = _equal_rows(seq)
            if found is None or not self._long_enough(seq):
                continue
            value, dims = found
            self.inner[argument] = self._spread(value, dims, argument)
            text = "the rows of {} are equal: none is stored"
            remark("scan_constant_slots", self.node, text, Who(seq))

    def _long_enough(self, seq: Variable) -> bool:
        """Whether a sequence is known to have a row for every step, so that no check is lost."""
        sizes = Sizes()
        length = _least(sizes.key(cast(sizes.of(seq)[0], "int64")))
        return length <= _least(sizes.key(cast(self.n, "int64")))

    def _walk_taps(self) -> None:
        op = self.op
        for slot, (arguments, row) in enumerate(zip(op.inner_taps(), op.inner_rows(), strict=True)):
            init, keep = self.inits[slot], op.keep[slot]
            shape = self.shapes.shape(init)
            if shape is None or keep not in (None, 1):
                continue
            depth = op.depth(slot)
            have = constant_value(shape[0])
            if have is None or int(have) < depth:
                continue
            value = _same_number(row, init)
            if value is None and op.lags[slot] == (1,) and row is arguments[0]:
                value = Subtensor((depth - 1,))(init)
            if value is None:
                continue
            dims = list(shape[1:])
            for argument in arguments:
                self.inner[argument] = self._spread(value, dims, argument)
            self._result(slot, self._trace(value, dims, keep))

    def _walk_carries(self) -> None:
        op = self.op
        news = zip(op.inner_carries(), op.inner_news(), self.carries, strict=True)
        for k, (argument, new, init) in enumerate(news):
            if new is argument:
                self.inner[argument] = self._ref(init)
            else:
                value = _same_number(new, init)
                shape = self.shapes.shape(init) if value is not None else None
                if value is None or shape is None:
                    continue
                self.inner[argument] = self._spread(value, shape, argument)
            self.results[self.node.outputs[op.n_taps + k]] = init
            text = "{} has the same value in every step"
            remark("scan_constant_slots", self.node, text, Slot(self.node, op.n_taps + k))

    def _walk_outs(self) -> None:
        op = self.op
        first_out = op.n_taps + op.n_carries
        outs = op.inner_outs()
        fixed = invariants(op.body, op.inner_refs()) if outs else set()
        outer = dict(zip(op.inner_refs(), self.refs, strict=True))
        for k, out in enumerate(outs):
            if not (out in fixed or isinstance(out, Constant)) or op.keep[op.n_taps + k]:
                continue
            if any(_may_fail(v) for v in _above(out, outer)):
                continue
            (value,) = substitute([out], dict(outer))
            dims = dims_of(value)
            self._result(first_out + k, self._trace(value, dims, None))


def _least(key: Any) -> frozenset[Any]:
    """The sizes of which a size is the smallest."""
    return key[1] if isinstance(key, tuple) and key[0] == "least" else frozenset((key,))


def _above(variable: Variable, ends: dict[Variable, Variable]) -> list[Apply]:
    found, stack = [], [variable]
    while stack:
        node = stack.pop().owner
        if node is not None and node not in found:
            found.append(node)
            stack.extend(v for v in node.inputs if v not in ends)
    return found


def _may_fail(node: Apply) -> bool:
    op: Any = node.op
    return bool(op.may_fail(node))


def _same_number(row: Variable, init: Variable) -> Variable | None:
    """The number that every element of both is known to be."""
    if not isinstance(row.type, TensorType) or not isinstance(init.type, TensorType):
        return None
    a, b = number(row), number(init)
    if a is None or b is None or row.type.dtype != init.type.dtype:
        return None
    # bit by bit: neither 0.0 for -0.0
    x, y = (np.asarray(v).astype(row.type.dtype) for v in (a, b))
    return constant(x[()], dtype=row.type.dtype) if x.tobytes() == y.tobytes() else None


def _equal_rows(seq: Variable) -> tuple[Variable, list[Variable]] | None:
    """The row of which a sequence is made, before it is spread to sizes, and these."""
    while (node := seq.owner) is not None:
        op: Any = node.op
        sliced = isinstance(op, Subtensor) and len(op.pattern) == 1
        if not isinstance(op, Flags) and not (sliced and isinstance(op.pattern[0], tuple)):
            break
        seq = node.inputs[0]
    if seq.owner is None or not isinstance(seq.owner.op, Alloc):
        return None
    value, *sizes = seq.owner.inputs
    kind: Any = value.type
    if kind.ndim == len(sizes):
        if not kind.broadcastable[0]:
            return None
        value = dimshuffle(value, *range(1, kind.ndim))
    return value, sizes[1:]


register(scan_constant_slots)
