"""What a scan's loop carries and writes: states, traces, and where their rows lie.

Scalar states are carried in registers (a shift register per tap slot). States that are arrays are
carried as pointers to their rows: to rows of the trace itself if all rows are kept, else to a ring
of rows, so that nothing is copied from step to step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ltensor.ir.graph import Apply, Variable
from ltensor.lowering.block import Block
from ltensor.lowering.loops.deferred import DeferredProducts
from ltensor.lowering.loops.growing import ABSENT
from ltensor.lowering.loops.in_place import updated_in_place
from ltensor.lowering.program import Complex, Loop, Value, View

if TYPE_CHECKING:
    from ltensor.lowering.whole import WholeFunction


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


class UnsizedTrace:
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


class States:
    """The places of one scan node's states and results; see `ltensor.lowering.loops.scan`."""

    def __init__(self, context: WholeFunction, block: Block, node: Apply) -> None:
        self.context = context
        self.block = block
        self.b = block.b
        self.node = node
        self.op: Any = node.op
        self.deferred = DeferredProducts(node.op)
        self.states: list[State] = []
        self.outs: list[View | UnsizedTrace] = []

    # ------------------------------------------------------------- before the loop

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

    def _trace(self, output: Variable, dtype: str, dims: Sequence[Value]) -> View:
        reason = ("trace", self.node, output.index)
        if self.op.has_stop:
            # its length is known after the loop: written to a temporary, copied if it is returned
            return View(dtype, ABSENT, tuple(dims))
        return self.block.destination(output, dims, reason)

    def _out_trace(self, number: int, steps: Value) -> View | UnsizedTrace:
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
            return UnsizedTrace(b, out.type, None if last_only else steps, why)
        rows = [self.block.scalar(dim) for dim in dims]
        if last_only:
            return b.temporary(out.type.dtype, (b.const(1), *rows), ("last", self.node, position))
        return self._trace(output, out.type.dtype, (steps, *rows))

    def _find_in_place(self) -> None:
        """Which states of one row are updated in the buffer that they are read from."""
        op, body = self.op, self.deferred.body
        olds = [*(taps[0] for taps in op.inner_taps()), *op.inner_carries()]
        news = [*op.inner_rows(), *op.inner_news()]
        for state, old, new in zip(self.states, olds, news, strict=True):
            one_row = state.is_carry or (state.depth == 1 and state.keep == 1)
            if state.kind == "rows" and one_row and not state.summed:
                state.in_place = updated_in_place(body, old, new)

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


def _asked_of(size: Variable, output: Variable) -> bool:
    """Whether a size is only known by asking the result for it."""
    owner = size.owner
    return owner is not None and bool(owner.inputs) and owner.inputs[0] is output
