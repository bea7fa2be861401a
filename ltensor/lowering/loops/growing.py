"""Traces of loops that may stop early: they grow with the steps that are run.

``n_steps`` of an `until` loop is often no more than "far enough", so nothing of that size is
reserved. All traces of a loop have room for the same number of rows; a step that finds it used up
takes blocks several times as large, copies the rows and gives the old blocks back. Rows move then:
a tap is addressed by the number of its step, not by a pointer that is carried along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ltensor.ir import dtypes as dt
from ltensor.ir.graph import Variable
from ltensor.lowering.cpu import block_pool
from ltensor.lowering.program import Buffer, Value, View

if TYPE_CHECKING:
    from ltensor.lowering.loops.scan import ScanLowering
    from ltensor.lowering.loops.states import State

#: bytes that the traces of a loop take at first, and the fewest rows
FIRST_BYTES, FIRST_ROWS = 64 << 10, 16
#: how many times more rows there is room for after a step that found none; a third of what a long
#: loop writes is copied then, and pages that are not reached are never touched
FACTOR = 4


class GrowingTraces:
    """The traces of one loop."""

    def __init__(self, lowering: ScanLowering) -> None:
        self.lowering = lowering
        self.b: Any = lowering.b
        self.slots: list[tuple[Any, int, Value, int]] = []
        self.room: View | None = None
        #: where the number of steps of the call before is
        self.before: Value | None = None

    def prepare(self) -> None:
        """Reserve the first rows, once states and outs are known."""
        b, lowering = self.b, self.lowering
        found: list[tuple[Any, Any, int]]
        found = [(state, state.trace, state.position) for state in lowering.states]
        first = lowering.op.n_taps + lowering.op.n_carries
        found += [(k, out, first + k) for k, out in enumerate(lowering.outs)]
        traces = [(h, t, p) for h, t, p in found if isinstance(t, View) and t.pointer is ABSENT]
        if not traces:
            return
        widths = [b.mul(b.size(t.dims[1:]), dt.item_size(t.dtype)) for _, t, _ in traces]
        total = widths[0]
        for width in widths[1:]:
            total = b.add(total, width)
        rows = b.int_divide(b.const(FIRST_BYTES), b.max(total, 1))
        # calls after the first mostly run as many steps again
        self.before = b.remembered(b.program.slots)
        rows = b.max(b.max(rows, FIRST_ROWS), b.raw_load(self.before, 0))
        rows = b.min(lowering.steps, rows)
        self.room = b.local("int64")
        b.store(self.room, (), rows)
        b.program.calls.update(block_pool.SYMBOLS)
        for (holder, trace, position), width in zip(traces, widths, strict=True):
            slot = b.program.slots
            b.program.slots += 1
            size = b.byte_size(trace.dtype, (rows, *trace.dims[1:]))
            pointer = b.pure("ensure", "ptr", (size,), slot)
            why = ("trace", lowering.node, position)
            self.slots.append((holder, slot, width, len(b.program.buffers)))
            b.program.buffers.append(Buffer(pointer, trace.dtype, trace.dims, why))
            self._set(holder, pointer)

    def _set(self, holder: Any, pointer: Value) -> None:
        outs = self.lowering.outs
        old = self._trace(holder)
        view = View(old.dtype, pointer, old.dims)
        if isinstance(holder, int):
            outs[holder] = view
        else:
            holder.trace = view

    def step(self, index: Value) -> None:
        """Room for the row of step ``index``; traces are where they are now."""
        b = self.b
        if self.room is None:
            return
        with b.if_(b.eq(index, b.load(self.room, ()))):
            # loaded again: what follows from a value is computed where the value is
            room = b.load(self.room, ())
            more = b.min(b.mul(room, FACTOR), self.lowering.steps)
            for holder, slot, width, _ in self.slots:
                trace = self._trace(holder)
                size = b.byte_size(trace.dtype, (more, *trace.dims[1:]))
                b.grow(slot, b.mul(index, width), size)
            b.store(self.room, (), more)
        self.renew()

    def renew(self) -> None:
        """Look up where the traces are."""
        for holder, slot, _, _ in self.slots:
            self._set(holder, self.b.effect("slot", "ptr", (), slot))

    def finish(self, done: Value) -> None:
        """After the loop of ``done`` steps."""
        if self.before is not None:
            self.b.raw_store(self.before, 0, done)
        self.renew()
        buffers = self.b.program.buffers
        for *_, number in self.slots:
            rows = (done, *buffers[number].dims[1:])
            buffers[number] = buffers[number]._replace(dims=rows)

    def handed_over(self, holder: Any, variable: Variable, view: View) -> View:
        """``view`` of a trace; if it is returned, the block of the trace becomes the output's."""
        destinations = self.lowering.block.destinations
        destination = destinations.get(variable)
        adopt = None if destination is None else destination.adopt
        for owner, slot, _, number in self.slots:
            if owner is holder and adopt is not None:
                del destinations[variable]
                adopted: View = adopt(view, slot)
                buffers = self.b.program.buffers
                # the trace is the output: one buffer, not two
                buffers[number] = buffers.pop()._replace(dims=buffers[number].dims)
                return adopted
        return view

    def _trace(self, holder: Any) -> View:
        view = self.lowering.outs[holder] if isinstance(holder, int) else holder.trace
        assert isinstance(view, View)
        return view

    def rows_before(self, state: State, index: Value) -> None:
        """Addresses of the rows that step ``index`` reads."""
        b = self.b
        if state.kind == "scalar" or all(holder is not state for holder, *_ in self.slots):
            return
        assert state.trace is not None
        current = []
        for lag in range(1, state.depth + 1):
            inside = b.max(b.sub(index, lag), 0)
            pointer = b.shifted(b.row(state.trace, inside), 0)
            for early in range(lag):
                # step ``early`` still reads a row of the initial state
                pointer = b.select(b.eq(index, early), state.inits[lag - 1 - early], pointer)
            current.append(pointer)
        state.current = current


#: the address of a trace that is not reserved yet
ABSENT: Any = object()
