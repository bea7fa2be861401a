"""Loops whose step is pointwise: elements outside, time inside.

If every state is an array of one size and every new row is made of the states element by element,
then the elements do not know of each other: the whole recurrence may be run for one strip of
elements after the other. The strip's states live in vector registers, nothing is loaded or stored
from step to step (the classical loop interchange; Allen and Kennedy, "Automatic Loop
Interchange", 1984).

Rows of arrays that are read or written in every step would be walked with the stride of a whole row
then. Such loops are interchanged only where a row is short; both forms are emitted and the size
decides at run time.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ltensor.ir import dtypes as dt
from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.ir.types import TensorType
from ltensor.lowering.fusion import is_scalar, kind_of
from ltensor.lowering.nest import collapse
from ltensor.lowering.program import Loop, Value, View

if TYPE_CHECKING:
    from ltensor.lowering.block import Block
    from ltensor.lowering.loops.scan import ScanLowering
    from ltensor.lowering.loops.states import State

#: bodies with more nodes than this keep their states in memory: registers would not suffice
MOST_NODES = 40
#: a row is short if it has at most so many bytes
SHORT_ROW = 1024


class Pointwise:
    """What is known of a scan whose step is pointwise.

    Attributes
    ----------
    traffic : bool
        Whether rows of arrays are read or written in every step.
    invariant : set of Variable
        Values of the body that do not change from step to step.
    """

    def __init__(self, op: Any) -> None:
        self.op = op
        self.traffic = False
        self.invariant: set[Variable] = set()
        self.reason = self._obstacle()

    def _obstacle(self) -> str | None:
        """Why the loop cannot be interchanged; None if it can."""
        op = self.op
        states = [v for slot in op.inner_taps() for v in slot] + op.inner_carries()
        results = [*op.inner_rows(), *op.inner_news(), *op.inner_outs()]
        if op.has_stop:
            return "it may stop early"
        if not states:
            return "it has no state"
        if len(op.body.nodes) > MOST_NODES:
            return f"its step has more than {MOST_NODES} operations"
        flags = getattr(states[0].type, "broadcastable", None)
        if not flags or any(flags):
            return "its states are scalars or stretched"
        for v in [*states, *results]:
            if not isinstance(v.type, TensorType) or v.type.broadcastable != flags:
                return "its states and results differ in rank"
            if dt.is_complex(v.type.dtype):
                return "complex states are kept in memory"
        self.invariant = set(op.inner_refs())
        tied = set(states)
        for node in op.body.nodes:
            if all(v in self.invariant or isinstance(v, Constant) for v in node.inputs):
                self.invariant.update(node.outputs)
            reason = self._node_obstacle(node, tied, flags)
            if reason is not None:
                return reason
        self.traffic = (
            any(k is None for k in op.keep)
            or any(v.type.ndim > 0 for v in op.inner_seqs())
            or op.n_outs > 0
        )
        return None

    def verdict(self) -> tuple[Any, ...]:
        """A remark's template and values: what becomes of the loop."""
        if self.reason is not None:
            return "steps stay outside: {}", self.reason
        if self.traffic:
            return "elements outside, steps inside if a row has at most {} bytes", SHORT_ROW
        return ("elements outside, steps inside: states stay in registers",)

    def apart(self) -> list[int]:
        """Results that nothing ties to the first one's size, by their positions.

        Operands of a pointwise operation have one size, and so have a state and its new row: both
        are checked before the loop. Other arrays may differ, and a loop over the elements of one
        would run past the end of another.
        """
        op = self.op
        states = [*op.inner_taps(), *([v] for v in op.inner_carries())]
        results = [*op.inner_rows(), *op.inner_news(), *op.inner_outs()]
        flags = results[0].type.broadcastable
        above: dict[Variable, Variable] = {}

        def root(v: Variable) -> Variable:
            while v in above:
                v = above[v]
            return v

        def tie(variables: list[Variable]) -> None:
            for v in variables[1:]:
                a, b = root(variables[0]), root(v)
                if a is not b:
                    above[b] = a

        for row, slot in zip(results, states, strict=False):
            tie([row, *slot])
        for node in op.body.nodes:
            if kind_of(node) == "pointwise":
                around = [*node.inputs, *node.outputs]
                tie([v for v in around if v.type.broadcastable == flags])
        return [k for k, v in enumerate(results) if root(v) is not root(results[0])]

    def _node_obstacle(self, node: Apply, tied: set[Variable], flags: Any) -> str | None:
        kind = kind_of(node)
        output = node.outputs[0]
        if kind == "shape":
            return None
        if len(node.outputs) != 1 or not isinstance(output.type, TensorType):
            return f"{node.op} is not pointwise"
        if not any(v in tied for v in node.inputs):
            if output in self.invariant:
                return None if kind in ("pointwise", "indexed") else f"{node.op} is not pointwise"
            by_element = kind == "pointwise" or hasattr(node.op, "new_order")
            return None if by_element else f"{node.op} is not pointwise"
        if kind != "pointwise":
            return f"{node.op} is not pointwise"
        if output.type.broadcastable != flags or dt.is_complex(output.type.dtype):
            return f"{node.op} changes the rank"
        tied.add(output)
        return None


def emit_interchanged(lowering: ScanLowering, form: Pointwise) -> None:
    """The nest: elements outside, steps inside. Results go where `ScanLowering` placed them."""
    _Interchange(lowering, form).run()


class _Interchange:
    def __init__(self, lowering: ScanLowering, form: Pointwise) -> None:
        self.lowering = lowering
        self.form = form
        self.op: Any = lowering.op
        self.b = lowering.b

    def run(self) -> None:
        """Emit the nest."""
        b, op, lowering = self.b, self.op, self.lowering
        states = lowering.states
        inner = lowering.inner_block()
        inner.computing = frozenset(inner.plan.roots)
        for node in op.body.nodes:
            if node.outputs[0] in self.form.invariant and is_scalar(node.outputs[0]):
                inner.scalar(node.outputs[0])
            elif kind_of(node) in ("pointwise", "indexed"):
                inner.check_node(node)
        results = [*op.inner_rows(), *op.inner_news(), *op.inner_outs()]
        self._check_sizes(inner, results)
        # the rows before the first step and results that are just read count as well: strided
        # ones keep their dimensions apart
        read = [v for slot in op.inner_taps() for v in slot] + op.inner_carries()
        space = collapse(inner, list(dict.fromkeys([*results, *read])), states[0].dims)
        with ExitStack() as stack:
            index = lowering.block.open_loops(stack, space, label=f"{op} by elements")
            memo: dict[Any, Any] = {}
            self._invariants(inner, index, memo)
            carried = [b.load(row, index) for s in states for row in s.rows]
            with b.loop(lowering.steps, carries=carried, label=str(op)) as loop:
                self._step(inner, states, index, dict(memo), loop)
            self._finals(states, index, loop)
        b.flush_guards()

    def _check_sizes(self, inner: Block, results: list[Variable]) -> None:
        """What a step gives must be of the size of the rows that it is stored in."""
        b, lowering = self.b, self.lowering
        for position, (variable, wanted) in enumerate(
            zip(results, row_sizes(lowering), strict=True)
        ):
            dims = inner.dims(variable)
            for have, want in zip(dims, wanted, strict=True):
                if not inner.same(have, want):
                    b.check(
                        b.eq(have, want),
                        "scan_shape",
                        lowering.node,
                        (b.const(0), *dims, *wanted),
                        (position, len(wanted)),
                    )

    def _invariants(self, inner: Block, index: tuple[Value, ...], memo: dict[Any, Any]) -> None:
        """Elements of what does not change, before the loop over time."""
        invariant = self.form.invariant
        for node in self.op.body.nodes:
            if kind_of(node) != "pointwise" or node.outputs[0] in invariant:
                continue
            for operand in node.inputs:
                if operand not in invariant or operand.type.ndim != len(index):
                    # scalars are there, and operands of another rank are read elsewhere
                    continue
                position = tuple(
                    self.b.const(0) if one else i
                    for i, one in zip(index, operand.type.broadcastable, strict=True)
                )
                inner.element(operand, position, memo)

    def _step(
        self,
        inner: Block,
        states: list[State],
        index: tuple[Value, ...],
        memo: dict[Any, Any],
        loop: Loop,
    ) -> None:
        b, op, lowering = self.b, self.op, self.lowering
        for variable, view in zip(op.inner_seqs(), lowering.seq_views, strict=True):
            inner.bound[variable] = row_at(b, view, loop.index)
        values = iter(loop.carry)
        current = [[next(values) for _ in range(s.depth)] for s in states]
        arguments = [*op.inner_taps(), *([v] for v in op.inner_carries())]
        where = tuple(map(id, index))
        for state, rows, variables in zip(states, current, arguments, strict=True):
            for lag, variable in zip(state.lags, variables, strict=True):
                key = (variable, *where)
                memo[key] = rows[lag - 1]
        n_states = len(states)
        results = [*op.inner_rows(), *op.inner_news(), *op.inner_outs()]
        elements = [inner.element(v, index, memo) for v in results]
        for state, element in zip(states, elements, strict=False):
            if state.trace is not None:
                b.store(row_at(b, state.trace, loop.index), index, element)
        for number, trace in enumerate(lowering.outs):
            assert isinstance(trace, View)
            last_only = op.keep[op.n_taps + number] is not None
            row = row_at(b, trace, b.const(0) if last_only else loop.index)
            b.store(row, index, elements[n_states + number])
        shifted: list[Value] = []
        for rows, element in zip(current, elements, strict=False):
            shifted += [element, *rows[:-1]]
        loop.next(*shifted)

    def _finals(self, states: list[State], index: tuple[Value, ...], loop: Loop) -> None:
        results = iter(loop.results)
        for state in states:
            final = [next(results) for _ in range(state.depth)]
            if state.trace is not None:
                continue
            assert state.last is not None
            keep = state.last.dims[0].attr
            for k in range(keep):
                row = row_at(self.b, state.last, self.b.const(keep - 1 - k))
                self.b.store(row, index, final[k])


def row_sizes(lowering: ScanLowering) -> list[tuple[Value, ...]]:
    """The sizes of the rows that results are stored in, by result."""
    sizes = [state.dims for state in lowering.states]
    for trace in lowering.outs:
        assert isinstance(trace, View)
        sizes.append(trace.dims[1:])
    return sizes


def one_size(lowering: ScanLowering, form: Pointwise) -> Value | None:
    """Whether rows that need not be of one size are; None if all are known to be."""
    b, sizes = lowering.b, row_sizes(lowering)
    condition = None
    for position in form.apart():
        for have, want in zip(sizes[position], sizes[0], strict=True):
            if not lowering.block.same(have, want):
                equal = b.eq(have, want)
                condition = equal if condition is None else b.and_(condition, equal)
    return condition


def row_at(b: Any, view: View, step: Value) -> View:
    """Row ``step`` of ``view`` as an offset, which unlike an address may differ by lane."""
    first = view.strides[0] if view.strides is not None else b.size(view.dims[1:])
    offset = b.mul(step, first)
    if view.offset is not None:
        offset = b.add(view.offset, offset)
    strides = view.strides[1:] if view.strides is not None else None
    return View(view.dtype, view.pointer, view.dims[1:], strides or None, offset)
