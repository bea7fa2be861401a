"""Lowering of scan: one native loop, in the form that suits it.

Where states and results lie is in `States`, a step of the general loop in `Step`. Pointwise steps
may run with elements outside and time inside (`interchange`), those of small arrays in registers
(`small`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ltensor.ir import dtypes as dt
from ltensor.ir.graph import Apply, Variable
from ltensor.lowering.block import Block
from ltensor.lowering.loops import interchange, small
from ltensor.lowering.loops.growing import GrowingTraces
from ltensor.lowering.loops.kept_products import Kept, KeptProducts
from ltensor.lowering.loops.sequence_products import SequenceProducts
from ltensor.lowering.loops.sequence_values import SequenceValues
from ltensor.lowering.loops.states import States, UnsizedTrace
from ltensor.lowering.loops.step import Step
from ltensor.lowering.program import Complex, Loop, Value, View
from ltensor.passes.remarks import remark

if TYPE_CHECKING:
    from ltensor.lowering.whole import WholeFunction


def lower_scan(context: WholeFunction, block: Block, node: Apply) -> None:
    """Lower a scan node at the current position."""
    ScanLowering(context, block, node).run()


class ScanLowering(States):
    """One scan node: the form of its loop, and the loop."""

    def __init__(self, context: WholeFunction, block: Block, node: Apply) -> None:
        super().__init__(context, block, node)
        self.kept: dict[Apply, Kept] = {}
        self.growing = GrowingTraces(self)

    def run(self) -> None:
        """Emit everything."""
        b, op, block = self.b, self.op, self.block
        n, seqs, inits, carries, refs = op.split(self.node.inputs)
        steps = b.cast(block.scalar(n), "int64")
        b.program.scans.append((self.node, steps))
        b.check(b.ge(steps, 0), "negative_steps", self.node, (steps,))
        seq_views = [self._view(s) for s in seqs]
        for number, view in enumerate(seq_views):
            b.check(
                b.ge(view.dims[0], steps),
                "scan_sequence",
                self.node,
                (view.dims[0], steps),
                (number,),
            )
        ref_values = [block.value(r) for r in refs]
        states = [self._tap_state(k, v, steps) for k, v in enumerate(inits)]
        states += [self._carry_state(k, v) for k, v in enumerate(carries)]
        outs = [self._out_trace(k, steps) for k in range(op.n_outs)]
        self.steps, self.seq_views, self.ref_values = steps, seq_views, ref_values
        self.states, self.outs = states, outs
        self.growing.prepare()
        form = self._interchangeable()
        written_out = None if form is not None else small.find(self)
        if written_out is not None:
            self._write_out(written_out)
            return
        if form is None:
            self._finish(self._loop())
            return
        condition = interchange.one_size(self, form)
        if form.traffic:
            row = b.mul(b.size(states[0].dims), dt.item_size(states[0].dtype))
            short = b.le(row, interchange.SHORT_ROW)
            condition = short if condition is None else b.and_(condition, short)
        self._reserve_last()
        if condition is None:
            self._by_elements(form)
        else:
            with b.if_(condition):
                self._by_elements(form)
            with b.else_():
                self._copy_last(self._loop())
        self._finish(None)

    def _write_out(self, form: small.Small) -> None:
        """The loop over small arrays, and the general one if sizes are not as assumed."""
        b = self.b
        self._reserve_last()
        if form.condition is None:
            self._finish(None, small.SmallLoop(self, form).run().steps)
            return
        done = b.local("int64")
        with b.if_(form.condition):
            b.store(done, (), small.SmallLoop(self, form).run().steps)
        with b.else_():
            loop = self._loop()
            self._copy_last(loop)
            b.store(done, (), loop.steps)
        self._finish(None, b.load(done, ()) if self.op.has_stop else self.steps)

    # ------------------------------------------------------------- elements outside, time inside

    def _interchangeable(self) -> interchange.Pointwise | None:
        """The analysis of the step if it is pointwise and its loop may be interchanged."""
        form = interchange.Pointwise(self.op)
        if form.reason is None and any(isinstance(out, UnsizedTrace) for out in self.outs):
            form.reason = "the size of a result is only known in the loop"
        remark("interchange", self.node, *form.verdict())
        return form if form.reason is None else None

    def inner_block(self) -> Block:
        """A block for element code of the body: taps are bound to rows of no address."""
        op = self.op
        bound: dict[Variable, Any] = dict(zip(op.inner_refs(), self.ref_values, strict=True))
        for variable, view in zip(op.inner_seqs(), self.seq_views, strict=True):
            bound[variable] = interchange.row_at(self.b, view, self.b.const(0))
        arguments = [*op.inner_taps(), *([v] for v in op.inner_carries())]
        for state, variables in zip(self.states, arguments, strict=True):
            for lag, variable in zip(state.lags, variables, strict=True):
                bound[variable] = state.rows[lag - 1]
        return Block(self.context, op.body, bound)

    def _reserve_last(self) -> None:
        b = self.b
        for state in self.states:
            if state.trace is None:
                keep = 1 if state.keep is None else state.keep
                why = ("last", self.node, state.position)
                state.last = b.temporary(state.dtype, (b.const(keep), *state.dims), why)

    def _by_elements(self, form: interchange.Pointwise) -> None:
        b = self.b
        with b.if_(b.gt(self.steps, 0)):
            interchange.emit_interchanged(self, form)
        with b.else_():
            for state in self.states:
                if state.last is not None:
                    keep = state.last.dims[0].attr
                    for k in range(keep):
                        self.block.copy(b.row(state.last, keep - 1 - k), state.rows[k])

    def _copy_last(self, loop: Loop) -> None:
        """The last rows of a loop in time, to where both forms of the loop leave them."""
        for state, final in zip(self.states, self._finals(loop), strict=True):
            if state.last is not None:
                keep = state.last.dims[0].attr
                for k in range(keep):
                    place = self.b.row(state.last, keep - 1 - k)
                    if state.kind == "scalar":
                        self.b.store(place, (), final[k])
                    else:
                        self.block.copy(place, View(state.dtype, final[k], state.dims))

    # ------------------------------------------------------------- the loop in time

    def _loop(self) -> Loop:
        """The loop over steps."""
        b, states = self.b, self.states
        carried: list[Any] = []
        deferred = self.deferred
        self._find_in_place()
        for state in states:
            self._start_rows(state)
            for value in state.inits:
                carried += [value.re, value.im] if isinstance(value, Complex) else [value]
        # what counts steps of blocks comes after the states
        pending_at = len(carried)
        if deferred.pairs:
            deferred.prepare(self)
            carried.append(b.const(0))
        keeper = KeptProducts(self)
        self.kept = keeper.prepare()
        products = SequenceProducts(self)
        products_at = len(carried)
        if products.nodes:
            products.prepare(keeper)
            carried.append(b.const(0))
        ahead = SequenceValues(self)
        ahead_at = len(carried)
        if ahead.values:
            ahead.prepare()
            carried.append(b.const(0))
        with b.loop(self.steps, carries=carried, label=str(self.op)) as loop:
            step = Step(self, loop)
            step.receive()
            self.growing.step(loop.index)
            for state in states:
                self.growing.rows_before(state, loop.index)
            bound = step.bind()
            if products.nodes:
                bound.update(products.bind(loop.index, loop.carry[products_at]))
            if ahead.values:
                bound.update(ahead.bind(loop.index, loop.carry[ahead_at]))
            pending = loop.carry[pending_at] if deferred.pairs else None
            news, stop = step.run(bound, pending)
            if products.nodes:
                news.append(products.following(loop.carry[products_at]))
            if ahead.values:
                news.append(ahead.following(loop.carry[ahead_at]))
            loop.next(*news)
            loop.stop = stop
        if deferred.pairs:
            pending = loop.results[pending_at]
            with b.if_(b.gt(pending, 0)):
                deferred.multiply(self, pending)
        return loop

    # ------------------------------------------------------------- after the loop

    def _finish(self, loop: Loop | None, done: Value | None = None) -> None:
        """Bind the node's outputs; without ``loop`` the last rows are in places of their own."""
        b, op, block = self.b, self.op, self.block
        if done is None:
            done = self.steps if loop is None else loop.steps
        assert done is not None
        finals = None if loop is None else self._finals(loop)
        self.growing.finish(done)
        for position, state in enumerate(self.states):
            variable = self.node.outputs[position]
            if state.trace is not None:
                cut = self._cut(state.trace, done)
                block.bound[variable] = self.growing.handed_over(state, variable, cut)
            elif finals is None:
                assert state.last is not None
                last = b.row(state.last, 0) if state.is_carry else state.last
                block.bound[variable] = last if last.dims else b.load(last, ())
            elif state.is_carry:
                final = finals[position][0]
                block.bound[variable] = (
                    final if state.kind == "scalar" else View(state.dtype, final, state.dims)
                )
            else:
                block.bound[variable] = self._last_rows(state, finals[position])
        for number, place in enumerate(self.outs):
            variable = self.node.outputs[op.n_taps + op.n_carries + number]
            trace = place.whole() if isinstance(place, UnsizedTrace) else place
            last_only = op.keep[op.n_taps + number] is not None
            cut = trace if last_only else self._cut(trace, done)
            block.bound[variable] = self.growing.handed_over(number, variable, cut)
        if op.has_stop:
            block.bound[self.node.outputs[-1]] = done
