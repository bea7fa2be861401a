"""The pass ``scan_vectorize``: a loop without a recurrence becomes a graph without a loop.

No step of such a loop reads what another has computed, but for accumulations ``c = c + f`` (also
products, extrema, and places of an array that are added to or set) of which the last value counts.
Every value of the body is computed for all steps at once, with an axis of steps in front; the
accumulations become reductions over that axis. A scan of products of rows becomes one product of
matrices, a scan over ``T.grad(y[i], x)`` products by a unit matrix (see ``canonical/products.py``).

Of a loop with a recurrence the products that no state goes into leave (see `scan_apart`); cheap
values stay, since of them the loop needs the room for one step only.

The order of sums changes. Errors stay: what is checked in every step is checked for all of them.
A loop is left alone if a value that would have to be stored for all steps is larger than what goes
into the loop or comes out of it, for a loop needs the room for one step only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from ltensor.ir.build import constant, constant_value
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.walks import inputs_of, substitute
from ltensor.ops.arithmetic import add, maximum, minimum, mul, neg, switch
from ltensor.ops.batching import NotBatched
from ltensor.ops.cast import cast
from ltensor.ops.compare import gt
from ltensor.ops.scan import Scan
from ltensor.ops.shape import dimshuffle, set_flags
from ltensor.ops.shape_map import ShapeMap
from ltensor.ops.slicing import never_negative
from ltensor.ops.steps import Steps
from ltensor.ops.subtensor import Subtensor
from ltensor.passes.batch_body import Batch, Refused, hand_on_source, scatter
from ltensor.passes.manager import register
from ltensor.passes.remarks import Who, remark
from ltensor.passes.scan_apart import apart, state_masks
from ltensor.passes.sizes import Sizes

#: elements of a step that may always be stored for all steps
SMALL = 64
FLIPPED = ((None, None, -1),)
#: kinds of ops that need no buffer
INLINE = ("pointwise", "indexed", "shape")
#: accumulations: name of the op -> family
FAMILIES = {
    "add": "sum",
    "sub": "sum",
    "inc_subtensor": "sum",
    "advanced_inc_subtensor": "sum",
    "mul": "product",
    "maximum": "largest",
    "minimum": "smallest",
}


@register
def scan_vectorize(function: Function) -> Function:
    """Compute all steps of loops without a recurrence at once."""
    replaced: dict[Variable, Variable] = {}
    for node in function.nodes:
        if not isinstance(node.op, Scan):
            continue
        current = node
        if replaced:
            # what it reads may be results of a loop that is gone
            inputs = substitute(node.inputs, replaced)
            current = Apply(node.op, inputs, [v.clone() for v in node.outputs])
            current.source = node.source
        for position, value in _vectorize(current).items():
            replaced[node.outputs[position]] = value
    if not replaced:
        return function
    return Function(function.inputs, substitute(function.outputs, replaced), function.name)


def _vectorize(node: Apply) -> dict[int, Variable]:
    """What stands for results of a loop, by their positions."""
    try:
        return dict(enumerate(_Loop(node).results()))
    except NotBatched as refusal:
        cause = refusal.node if isinstance(refusal, Refused) else None
        if cause is None:
            remark("scan_vectorize", node, "stays a loop: {}", str(refusal))
        else:
            remark("scan_vectorize", node, "stays a loop because of {}: {}", Who(cause), refusal)
    found = apart(node)
    if found is None:
        return {}
    part, positions = found
    try:
        return dict(zip(positions, _Loop(part).results(), strict=True))
    except NotBatched:
        return {}


class _State(NamedTuple):
    """An accumulation."""

    variable: Variable
    new: Variable
    initial: Variable
    position: int
    is_tap: bool


class _Loop:
    """One scan, and what is made of it."""

    def __init__(self, node: Apply) -> None:
        self.node = node
        self.op: Any = node.op
        op = self.op
        if op.has_stop:
            raise NotBatched("it ends when a condition holds")
        self.sizes = Sizes()
        n, self.seqs, inits, carries, self.refs = op.split(node.inputs)
        self.states = self._states(inits, carries)
        self._check_independence()
        known = constant_value(n)
        self.runs = known is not None and int(known) > 0
        self.size = self._steps(n)
        # a sum may as well run backwards, but of places that are set the last value counts
        self.ordered = any(_sets(s.new) for s in self.states)

    # ------------------------------------------------------------- what kind of loop it is

    def _states(self, inits: Sequence[Variable], carries: Sequence[Variable]) -> list[_State]:
        op, result = self.op, []
        taps, rows = op.inner_taps(), op.inner_rows()
        for slot, init in enumerate(inits):
            if op.lags[slot] != (1,):
                raise NotBatched("a step reads states of earlier steps")
            if op.keep[slot] != 1:
                raise NotBatched("all values of a state are wanted")
            if not self._has_row(init):
                raise NotBatched("whether a state has an initial row is not known")
            first = Subtensor((0,))(init)
            result.append(_State(taps[slot][0], rows[slot], first, slot, True))
        news = op.inner_news()
        for k, (variable, init) in enumerate(zip(op.inner_carries(), carries, strict=True)):
            result.append(_State(variable, news[k], init, op.n_taps + k, False))
        return result

    def _has_row(self, init: Variable) -> bool:
        rows = constant_value(self.sizes.of(init)[0])
        return rows is not None and int(rows) > 0

    def _check_independence(self) -> None:
        """Nothing but accumulations may read a state."""
        masks = state_masks(self.op, [[s.variable] for s in self.states])
        self.masks = masks
        for out in self.op.inner_outs():
            if masks.get(out, 0):
                raise Refused(out.owner, "a result depends on a state")
        for k, state in enumerate(self.states):
            mask = masks.get(state.new, 0)
            if mask != 1 << k:
                reason = "a state depends on others" if mask else "a state is not accumulated"
                raise Refused(state.new.owner, reason)

    def _steps(self, n: Variable) -> Variable:
        """The number of steps, checked as the loop does where that is not known to hold."""
        wanted = self.sizes.key(n)
        owner = n.owner
        least = {wanted}
        if owner is not None and getattr(owner.op, "ir_name", "") == "minimum":
            least |= {self.sizes.key(v) for v in owner.inputs}
        lengths = [self.sizes.of(s)[0] for s in self.seqs]
        short = [v for v in lengths if self.sizes.key(v) not in least]
        if short or not never_negative(n):
            return Steps()(n, *short)
        return cast(n, "int64")

    # ------------------------------------------------------------- all steps

    def results(self) -> list[Variable]:
        """What stands for the results of the loop.

        Raises
        ------
        NotBatched
            If the loop has to stay.
        """
        op, node = self.op, self.node
        flipped = not self.ordered and self._mostly_flipped()
        rows: dict[Variable, Variable] = {}
        numbers = []
        for argument, value in zip(op.inner_seqs(), self.seqs, strict=True):
            row = self._rows(value, flipped)
            rows[argument] = row
            if _counts_up(row):
                numbers.append(row)
        fixed = dict(zip(op.inner_refs(), self.refs, strict=True))
        shapes = ShapeMap.of(op.body)
        batch = Batch(self.size, self.sizes, rows, fixed, numbers, shapes, self.runs)
        results: list[Variable] = []
        for state in self.states:
            results.append(self._accumulated(batch, state))
        traces = [batch.full(v) for v in op.inner_outs()]
        self._check_room(batch, rows.values(), traces)
        for number, trace in enumerate(traces):
            if flipped:
                trace = Subtensor(FLIPPED)(trace)
            kept = op.keep[op.n_taps + number]
            results.append(trace if kept is None else Subtensor(((-kept, None, None),))(trace))
        final = []
        for value, old in zip(results, node.outputs, strict=True):
            value = set_flags(value, old.type.broadcastable)
            if value.type != old.type:
                raise NotBatched(f"a result would be {value.type} instead of {old.type}")
            if value.owner is not None and value.name is None:
                value.name = old.name
            final.append(value)
        hand_on_source(final, node, [*node.inputs, *(v for v, _ in batch.known.values())])
        remark(
            "scan_vectorize",
            node,
            "computes all steps at once, without a loop: {} results by step, {} accumulations",
            op.n_outs,
            len(self.states),
        )
        return final

    def _mostly_flipped(self) -> bool:
        count = sum(self._base(s) is not None for s in self.seqs)
        return 2 * count > len(self.seqs)

    def _base(self, seq: Variable) -> Variable | None:
        """The sequence of which ``seq`` is the reverse, if it has one element per step."""
        owner = seq.owner
        if owner is None or not isinstance(owner.op, Subtensor) or owner.op.pattern != FLIPPED:
            return None
        return owner.inputs[0] if self.sizes.same(self.sizes.of(seq)[0], self.size) else None

    def _rows(self, seq: Variable, flipped: bool) -> Variable:
        """The elements of a sequence that the steps read, in order."""
        base = self._base(seq) if flipped else None
        if base is not None:
            row = base
        else:
            row = seq
            if not self.sizes.same(self.sizes.of(seq)[0], self.size):
                row = Subtensor(((None, "int64", None),))(row, self.size)
            if flipped:
                row = Subtensor(FLIPPED)(row)
        kind: Any = row.type
        return set_flags(row, (False, *kind.broadcastable[1:]))

    # ------------------------------------------------------------- accumulations

    def _accumulated(self, batch: Batch, state: _State) -> Variable:
        kind: Any = state.variable.type
        owner = state.new.owner
        family = "" if owner is None else FAMILIES.get(getattr(owner.op, "ir_name", ""), "")
        if state.new is state.variable:
            value = state.initial
        elif not family or kind.dtype == "bool":
            raise Refused(owner, "it makes no sum, product or extremum of the states")
        elif family == "sum":
            value = self._sum(batch, state)
        else:
            value = self._other(batch, state, family)
        if value.type.dtype != kind.dtype:
            raise Refused(owner, "it changes the dtype of the state")
        return dimshuffle(value, ("x", *range(kind.ndim))) if state.is_tap else value

    def _sum(self, batch: Batch, state: _State) -> Variable:
        dtype = state.variable.type.dtype
        terms: list[Variable] = []
        writes: list[Apply] = []
        current = state.new
        while current is not state.variable:
            node = current.owner
            name = "" if node is None else getattr(node.op, "ir_name", "")
            if node is None or FAMILIES.get(name) != "sum":
                raise Refused(node, "it makes no sum of the states")
            changed = [v for v in node.inputs if self.masks.get(v, 0)]
            if len(changed) != 1:
                raise Refused(node, "it reads a state twice")
            (current,) = changed
            if current.type != state.variable.type:
                raise Refused(node, "it changes the type of the state")
            if name == "add":
                terms += [batch.total(v, dtype) for v in node.inputs if v is not current]
            elif current is not node.inputs[0]:
                raise Refused(node, "it makes no sum of the states")
            elif name == "sub":
                terms.append(neg(batch.total(node.inputs[1], dtype)))
            else:
                writes.append(node)
        value = state.initial
        for write in reversed(writes):
            replace = write.op.set_instead_of_inc
            if replace and (terms or len(writes) > 1):
                raise Refused(write, "it sets part of a state that is added to")
            written = scatter(batch, write, value, replace)
            if written is None:
                raise Refused(write, "the part of the state that it writes has no batched form")
            value = written
        if not terms:
            return value
        total = add(value, *terms)
        if self.runs or not dtype.startswith(("f", "c")):
            return total
        # without a step not even infinity counts: 0 * inf is nan
        some = dimshuffle(gt(self.size, constant(0, dtype="int64")), ("x",) * total.type.ndim)
        return set_flags(switch(some, total, value), total.type.broadcastable)

    def _other(self, batch: Batch, state: _State, family: str) -> Variable:
        from ltensor.ops.reduce import Prod
        from ltensor.ops.total import LargestOr, SmallestOr

        node = state.new.owner
        assert node is not None
        others = [v for v in node.inputs if v is not state.variable]
        if len(others) != len(node.inputs) - 1 or any(self.masks.get(v, 0) for v in others):
            raise Refused(node, "it reads a state twice")
        value: Variable = state.initial
        dtype = state.variable.type.dtype
        rows = set(self.op.inner_seqs())
        for v in others:
            if state.variable.type.ndim and not rows & set(inputs_of([v])):
                # lowering keeps the state in registers: nothing is to be gained
                raise Refused(node, "every step joins the same array")
            row = cast(batch.full(v), dtype)
            if family == "product":
                if dtype.startswith(("f", "c")):
                    # factors 1e200, 1e-200, 1e200, ..: parts of the product overflow, no step does
                    raise Refused(node, "a product of some factors may overflow where no step does")
                value = mul(value, Prod((0,), dtype, dtype)(row))
            elif family == "largest":
                value = maximum(value, LargestOr((0,))(row))
            else:
                value = minimum(value, SmallestOr((0,))(row))
        return value

    # ------------------------------------------------------------- cost

    def _check_room(self, batch: Batch, rows: Any, traces: Sequence[Variable]) -> None:
        """No value that is stored for all steps may outgrow what the loop reads and returns."""
        key = self.sizes.key
        arrays = [*rows, *traces, *self.refs]
        have = [Counter(key(d) for d in self.sizes.of(v)) for v in arrays if v.type.ndim]
        steps = key(self.size)
        for inner, (value, changes) in batch.lifted:
            if not changes or value.owner is None:
                continue
            if getattr(value.owner.op, "kind", "python") in INLINE:
                continue
            kept = [value]
            if inner.op.kind == "alias":
                # the same buffer under other sizes
                source, also = batch.known.get(inner.inputs[0], (value, False))
                computed = getattr(getattr(source.owner, "op", None), "kind", "") in INLINE
                kept = [value] if also and computed else []
            elif not hasattr(inner.op, "element_operands") and inner.op.kind == "kernel":
                read = (batch.known[v] for v in inner.inputs if v in batch.known)
                kept += [v for v, also in read if also]
            for stored in kept:
                wanted = Counter(key(d) for d in self.sizes.of(stored))
                small = 1
                for size in list(wanted):
                    if isinstance(size, int):
                        small *= size ** wanted.pop(size)
                if small <= SMALL and wanted <= Counter([steps]):
                    continue
                if not any(wanted <= other for other in have) and not self._as_long(stored):
                    raise Refused(
                        inner,
                        "its values of all steps may be larger than what the loop reads and "
                        "returns",
                    )

    def _as_long(self, stored: Variable) -> bool:
        """Whether there are as many steps as rows or columns of an invariant, as in a Jacobian.

        A matrix of such sizes is then allowed.
        """
        key = self.sizes.key
        lengths = {key(d) for v in self.refs if v.type.ndim for d in self.sizes.of(v)}
        return stored.type.ndim == 2 and all(key(d) in lengths for d in self.sizes.of(stored))


def _sets(new: Variable) -> bool:
    return new.owner is not None and bool(getattr(new.owner.op, "set_instead_of_inc", False))


def _counts_up(row: Variable) -> bool:
    """Whether an array holds 0, 1, 2, ..."""
    while row.owner is not None and isinstance(row.owner.op, Subtensor):
        if len(row.owner.op.pattern) != 1 or not isinstance(row.owner.op.pattern[0], tuple):
            return False
        start, _, step = row.owner.op.pattern[0]
        if start not in (None, 0) or step not in (None, 1):
            return False
        row = row.owner.inputs[0]
    owner = row.owner
    if owner is None or getattr(owner.op, "ir_name", "") != "arange":
        return False
    start, _, step = (constant_value(v) for v in owner.inputs)
    return start is not None and start == 0 and step is not None and step == 1
