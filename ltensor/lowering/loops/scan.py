"""Lowering of scan: one native loop.

Scalar states are carried in registers (a shift register per tap slot). States that are arrays are
carried as pointers to their rows: to rows of the trace itself if all rows are kept, else to a ring
of rows, so that nothing is copied from step to step. The body writes its results straight to where
they belong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ltensor.ir import dtypes as dt
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import TensorType
from ltensor.lowering.block import Block
from ltensor.lowering.loops import interchange, small
from ltensor.lowering.loops.deferred import DeferredProducts
from ltensor.lowering.loops.growing import ABSENT, GrowingTraces
from ltensor.lowering.loops.in_place import updated_in_place
from ltensor.lowering.loops.kept_products import Kept, KeptProducts
from ltensor.lowering.loops.sequence_products import SequenceProducts
from ltensor.lowering.loops.sequence_values import SequenceValues
from ltensor.lowering.program import Complex, Loop, Value, View
from ltensor.passes.remarks import remark

if TYPE_CHECKING:
    from ltensor.lowering.whole import WholeFunction


def lower_scan(context: WholeFunction, block: Block, node: Apply) -> None:
    """Lower a scan node at the current position."""
    ScanLowering(context, block, node).run()


class State:
    """One tap slot or carry: what is carried from step to step, and where its rows go."""

    def __init__(self, kind: str, dtype: str, dims: tuple[Value, ...]) -> None:
        self.kind = kind  # 'scalar' or 'rows'
        self.dtype = dtype
        self.dims = dims
        self.depth = 1
        self.lags: tuple[int, ...] = (1,)
        #: initial rows, newest first; of scalars their values, of arrays addresses (`_start_rows`)
        self.rows: list[View] = []
        self.inits: list[Any] = []
        self.current: list[Any] = []
        self.trace: View | None = None
        #: where the last rows go if the loop is interchanged, oldest first
        self.last: View | None = None
        self.keep: int | None = None
        self.is_carry = False
        #: a carry that products are added to in place, outside of the step
        self.summed = False
        #: one buffer is enough: the step changes elements where it reads them
        self.in_place = False
        self.position = 0


class _Unsized:
    """The trace of an out whose row's sizes are not known before the first step.

    The first step tells them; each later one must agree. Sizes and address leave the loop through
    words of the frame.
    """

    def __init__(self, b: Any, kind: Any, steps: Value | None, reason: tuple[Any, ...]) -> None:
        self.b = b
        self.kind = kind
        self.reason = reason
        self.steps = steps  # None: only the last row is kept
        self.rows = b.const(1) if steps is None else steps
        self.sizes = [b.local("int64") for _ in range(kind.ndim)]
        self.pointer = b.local("int64")
        for place, size in zip(self.sizes, kind.shape, strict=True):
            b.store(place, (), b.const(size or 0))
        empty = b.temporary(kind.dtype, [b.const(0)], reason)
        b.raw_store(self.pointer.pointer, 0, empty.pointer)

    def row(self, dims: Sequence[Value], step: Value, node: Apply, number: int) -> View:
        """Where step ``step`` writes its row of sizes ``dims``."""
        b = self.b
        before = [b.load(place, ()) for place in self.sizes]
        for place, have, size in zip(self.sizes, before, dims, strict=True):
            fine = b.or_(b.eq(step, 0), b.eq(have, size))
            b.check(fine, "scan_out_shape", node, (step, *dims, *before), (number, len(before)))
            b.store(place, (), size)
        trace = b.temporary(self.kind.dtype, (self.rows, *dims), self.reason)
        b.raw_store(self.pointer.pointer, 0, trace.pointer)
        return b.row(trace, b.const(0) if self.steps is None else step)

    def whole(self) -> View:
        """The trace, after the loop."""
        b = self.b
        dims = [b.load(place, ()) for place in self.sizes]
        pointer = b.raw_load(self.pointer.pointer, 0, "ptr")
        return View(self.kind.dtype, pointer, (self.rows, *dims))


def _asked_of(size: Variable, output: Variable) -> bool:
    """Whether a size is only known by asking the result for it."""
    owner = size.owner
    return owner is not None and bool(owner.inputs) and owner.inputs[0] is output


class ScanLowering:
    """One scan node: where its states and results live, and the loop."""

    def __init__(self, context: WholeFunction, block: Block, node: Apply) -> None:
        self.context = context
        self.block = block
        self.b = block.b
        self.node = node
        self.op: Any = node.op
        self.deferred = DeferredProducts(node.op)
        self.kept: dict[Apply, Kept] = {}
        self.growing = GrowingTraces(self)

    # ------------------------------------------------------------- before the loop

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
        if form.reason is None and any(isinstance(out, _Unsized) for out in self.outs):
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
            self._receive(states, loop)
            self.growing.step(loop.index)
            for state in states:
                self.growing.rows_before(state, loop.index)
            bound = self._bind(self.seq_views, states, self.ref_values, loop)
            if products.nodes:
                bound.update(products.bind(loop.index, loop.carry[products_at]))
            if ahead.values:
                bound.update(ahead.bind(loop.index, loop.carry[ahead_at]))
            pending = loop.carry[pending_at] if deferred.pairs else None
            news, stop = self._body(bound, states, self.outs, loop, pending)
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

    def _find_in_place(self) -> None:
        """Which states of one row are updated in the buffer that they are read from."""
        op, body = self.op, self.deferred.body
        olds = [*(taps[0] for taps in op.inner_taps()), *op.inner_carries()]
        news = [*op.inner_rows(), *op.inner_news()]
        for state, old, new in zip(self.states, olds, news, strict=True):
            one_row = state.is_carry or (state.depth == 1 and state.keep == 1)
            if state.kind == "rows" and one_row and not state.summed:
                state.in_place = updated_in_place(body, old, new)

    def _view(self, variable: Variable) -> View:
        value = self.block.value(variable)
        assert isinstance(value, View)
        return value

    def _tap_state(self, slot: int, init: Variable, steps: Value) -> State:
        b, op = self.b, self.op
        view = self._view(init)
        dtype = view.dtype
        depth = op.depth(slot)
        b.check(
            b.ge(view.dims[0], depth),
            "scan_init",
            self.node,
            (view.dims[0], b.const(depth)),
            (slot,),
        )
        output = self.node.outputs[slot]
        keep = op.keep[slot]
        scalar = init.type.ndim == 1
        state = State("scalar" if scalar else "rows", dtype, tuple(view.dims[1:]))
        state.depth, state.lags, state.keep = depth, op.lags[slot], keep
        state.position = slot
        if keep is None:
            state.trace = self._trace(output, dtype, (steps, *state.dims))
        if scalar:
            state.inits = [b.load(view, [depth - k]) for k in range(1, depth + 1)]
            return state
        state.rows = [b.row(view, depth - k) for k in range(1, depth + 1)]
        return state

    def _start_rows(self, state: State) -> None:
        """Addresses of the rows that the first step reads and writes."""
        b = self.b
        if state.kind == "scalar":
            return
        if state.is_carry:
            reason = ("carry", self.node, state.position)
            count = 1 if state.summed or state.in_place else 2
            pair = [b.temporary(state.dtype, state.dims, reason) for _ in range(count)]
            self.block.copy(pair[0], state.rows[0])
            state.inits = [p.pointer for p in pair]
            return
        if state.trace is not None and all(row.dense for row in state.rows):
            state.inits = [b.shifted(row, 0) for row in state.rows]
            return
        depth = state.depth
        # one row more than the taps reach back is where the next one is written
        extra = 0 if state.trace is not None or state.in_place else 1
        reason = ("ring", self.node, state.position)
        ring = b.temporary(state.dtype, (b.const(depth + extra), *state.dims), reason)
        places = [b.row(ring, k) for k in range(depth + extra)]
        for place, row in zip(places, state.rows, strict=False):
            self.block.copy(place, row)
        state.inits = [place.pointer for place in places]

    def _trace(self, output: Variable, dtype: str, dims: Sequence[Value]) -> View:
        reason = ("trace", self.node, output.index)
        if self.op.has_stop:
            # its length is known after the loop: written to a temporary, copied if it is returned
            return View(dtype, ABSENT, tuple(dims))
        return self.block.destination(output, dims, reason)

    def _carry_state(self, number: int, init: Variable) -> State:
        value = self.block.value(init)
        if not isinstance(value, View):
            state = State("scalar", value.dtype, ())
            state.is_carry = True
            state.inits = [value]
            return state
        state = State("rows", value.dtype, value.dims)
        state.is_carry = True
        state.position = self.op.n_taps + number
        state.summed = number in self.deferred.pairs
        state.rows = [value]
        return state

    def _out_trace(self, number: int, steps: Value) -> View | _Unsized:
        op, b = self.op, self.b
        position = op.n_taps + op.n_carries + number
        output = self.node.outputs[position]
        out = op.inner_outs()[number]
        last_only = op.keep[op.n_taps + number] is not None
        if last_only:
            b.check(b.gt(steps, 0), "index", self.node, (b.const(-1), b.const(0)))
        shape = self.block.shapes.shape(output)
        dims = list(shape or ())[1:]
        if any(_asked_of(dim, output) for dim in dims):
            why = ("last" if last_only else "trace", self.node, position)
            return _Unsized(b, out.type, None if last_only else steps, why)
        rows = [self.block.scalar(dim) for dim in dims]
        if last_only:
            return b.temporary(out.type.dtype, (b.const(1), *rows), ("last", self.node, position))
        return self._trace(output, out.type.dtype, (steps, *rows))

    # ------------------------------------------------------------- the body

    def _receive(self, states: list[State], loop: Loop) -> None:
        values = iter(loop.carry)
        for state in states:
            state.current = []
            for init in state.inits:
                if isinstance(init, Complex):
                    state.current.append(Complex(next(values), next(values), init.dtype))
                else:
                    state.current.append(next(values))

    def _bind(
        self, seqs: list[View], states: list[State], refs: list[Any], loop: Loop
    ) -> dict[Variable, Any]:
        b, op = self.b, self.op
        bound: dict[Variable, Any] = {}
        for variable, view in zip(op.inner_seqs(), seqs, strict=True):
            row = b.row(view, loop.index)
            bound[variable] = b.load(row, ()) if variable.type.ndim == 0 else row
        for state, variables in zip(states[: op.n_taps], op.inner_taps(), strict=True):
            for lag, variable in zip(state.lags, variables, strict=True):
                value = state.current[lag - 1]
                bound[variable] = (
                    value if state.kind == "scalar" else View(state.dtype, value, state.dims)
                )
        for state, variable in zip(states[op.n_taps :], op.inner_carries(), strict=True):
            value = state.current[0]
            bound[variable] = (
                value if state.kind == "scalar" else View(state.dtype, value, state.dims)
            )
        bound.update(zip(op.inner_refs(), refs, strict=True))
        return bound

    def _body(
        self,
        bound: dict[Variable, Any],
        states: list[State],
        outs: list[View | _Unsized],
        loop: Loop,
        pending: Value | None,
    ) -> tuple[list[Any], Value | None]:
        """One step; ``pending`` is how many steps' rows wait for the deferred products."""
        b, op = self.b, self.op
        results = [*op.inner_rows(), *op.inner_news(), *op.inner_outs()]
        olds = [*(taps[0] for taps in op.inner_taps()), *op.inner_carries()]
        targets: list[View | _Unsized | None] = []
        for state in states:
            if state.kind == "scalar" or state.summed:
                targets.append(None)
            elif state.trace is not None:
                targets.append(b.row(state.trace, loop.index))
            else:
                targets.append(View(state.dtype, state.current[-1], state.dims))
        for number, trace in enumerate(outs):
            if isinstance(trace, _Unsized):
                targets.append(trace)
                continue
            last_only = op.keep[op.n_taps + number] is not None
            targets.append(b.row(trace, b.const(0) if last_only else loop.index))
        destinations: dict[Variable, Any] = {}
        direct: set[int] = set()
        for position, (variable, target) in enumerate(zip(results, targets, strict=True)):
            if target is None or variable in bound or variable in destinations:
                continue
            if not isinstance(variable.type, TensorType) or variable.type.ndim == 0:
                continue
            destinations[variable] = self._provider(target, position, loop)
            direct.add(position)
        deferred = self.deferred
        if pending is not None:
            gathered = deferred.destinations(pending, self)
            gathered = {v: place for v, place in gathered.items() if v not in destinations}
            destinations.update(gathered)
        inner = Block(self.context, deferred.body, bound, destinations)
        inner.kept = self.kept
        inner.own_inputs(v for v, state in zip(olds, states, strict=True) if state.in_place)
        inner.run()
        for position in sorted(direct):
            variable = results[position]
            provider = inner.destinations.pop(variable, None)
            if provider is not None:
                inner.write(variable, provider)
        news: list[Any] = []
        scalars: list[Any] = []
        for position, (variable, target) in enumerate(zip(results, targets, strict=True)):
            if isinstance(variable.type, TensorType) and variable.type.ndim == 0:
                value = inner.scalar(variable)
                scalars.append(value)
                if target is not None:
                    assert isinstance(target, View)
                    b.store(target, (), value)
                continue
            scalars.append(None)
            if position in direct or target is None:
                continue
            source = inner.value(variable)
            place = self._provider(target, position, loop)(source.dims)
            self.block.copy(place, source)
        for position, state in enumerate(states):
            if state.kind == "scalar":
                value = scalars[position]
                if state.trace is not None:
                    b.store(b.row(state.trace, loop.index), (), value)
                shifted = [value, *state.current[:-1]]
                for v in shifted:
                    news += [v.re, v.im] if isinstance(v, Complex) else [v]
            elif state.summed:
                news += state.current
            else:
                target = targets[position]
                assert isinstance(target, View)
                # the row just written comes first, the oldest drops out (or is written next)
                news += [target.pointer, *state.current[:-1]]
        if pending is not None:
            written = {v for v in gathered if v not in inner.destinations}
            news.append(deferred.step(self, inner, pending, written))
        stop = op.inner_stop()
        if stop is None:
            return news, None
        condition = inner.scalar(stop)
        return news, b.cast(condition, "bool")

    def _provider(self, target: View | _Unsized, position: int, loop: Loop) -> Any:
        if isinstance(target, _Unsized):
            number = position - self.op.n_taps - self.op.n_carries
            return lambda dims: target.row(dims, loop.index, self.node, number)

        def provide(dims: Sequence[Value]) -> View:
            for have, want in zip(dims, target.dims, strict=True):
                if not self.block.same(have, want):
                    self.b.check(
                        self.b.eq(have, want),
                        "scan_shape",
                        self.node,
                        (loop.index, *dims, *target.dims),
                        (position, len(target.dims)),
                    )
            return target

        return provide

    # ------------------------------------------------------------- after the loop

    def _finals(self, loop: Loop) -> list[list[Any]]:
        """What the loop carried to its end, by state."""
        results = iter(loop.results)
        found: list[list[Any]] = []
        for state in self.states:
            final: list[Any] = []
            for init in state.inits:
                if isinstance(init, Complex):
                    final.append(Complex(next(results), next(results), init.dtype))
                else:
                    final.append(next(results))
            found.append(final)
        return found

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
            trace = place.whole() if isinstance(place, _Unsized) else place
            last_only = op.keep[op.n_taps + number] is not None
            cut = trace if last_only else self._cut(trace, done)
            block.bound[variable] = self.growing.handed_over(number, variable, cut)
        if op.has_stop:
            block.bound[self.node.outputs[-1]] = done

    def _cut(self, trace: View, done: Value) -> View:
        if not self.op.has_stop:
            return trace
        return View(trace.dtype, trace.pointer, (done, *trace.dims[1:]))

    def _last_rows(self, state: State, final: list[Any]) -> View:
        b = self.b
        keep = state.keep
        assert keep is not None
        if state.kind == "rows" and keep == 1:
            return View(state.dtype, final[0], (b.const(1), *state.dims))
        reason = ("last", self.node, state.position)
        buffer = b.temporary(state.dtype, (b.const(keep), *state.dims), reason)
        for k in range(keep):
            row = b.row(buffer, k)
            if state.kind == "scalar":
                b.store(row, (), final[keep - 1 - k])
            else:
                self.block.copy(row, View(state.dtype, final[keep - 1 - k], state.dims))
        return buffer
