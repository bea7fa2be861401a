"""One step of a scan's loop: the body, which writes its results straight to where they belong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ltensor.ir.graph import Variable
from ltensor.ir.types import TensorType
from ltensor.lowering.block import Block, Destination
from ltensor.lowering.loops.states import UnsizedTrace
from ltensor.lowering.program import Complex, Loop, Value, View

if TYPE_CHECKING:
    from ltensor.lowering.loops.scan import ScanLowering


class Step:
    """The step at the current position, inside ``loop``."""

    def __init__(self, lowering: ScanLowering, loop: Loop) -> None:
        self.lowering = lowering
        self.b = lowering.b
        self.op = lowering.op
        self.states = lowering.states
        self.loop = loop

    def receive(self) -> None:
        """Take what the step before has carried on."""
        values = iter(self.loop.carry)
        for state in self.states:
            state.current = []
            for init in state.inits:
                if isinstance(init, Complex):
                    state.current.append(Complex(next(values), next(values), init.dtype))
                else:
                    state.current.append(next(values))

    def bind(self) -> dict[Variable, Any]:
        """The inputs of the body: rows, states, and what does not change."""
        b, op = self.b, self.op
        bound: dict[Variable, Any] = {}
        for variable, view in zip(op.inner_seqs(), self.lowering.seq_views, strict=True):
            row = b.row(view, self.loop.index)
            bound[variable] = b.load(row, ()) if variable.type.ndim == 0 else row
        for state, variables in zip(self.states[: op.n_taps], op.inner_taps(), strict=True):
            for lag, variable in zip(state.lags, variables, strict=True):
                value = state.current[lag - 1]
                bound[variable] = (
                    value if state.kind == "scalar" else View(state.dtype, value, state.dims)
                )
        for state, variable in zip(self.states[op.n_taps :], op.inner_carries(), strict=True):
            value = state.current[0]
            bound[variable] = (
                value if state.kind == "scalar" else View(state.dtype, value, state.dims)
            )
        bound.update(zip(op.inner_refs(), self.lowering.ref_values, strict=True))
        return bound

    def run(
        self, bound: dict[Variable, Any], pending: Value | None
    ) -> tuple[list[Any], Value | None]:
        """Emit it; returns what is carried on, and whether to stop.

        ``pending`` is how many steps' rows wait for the deferred products.
        """
        lowering, op = self.lowering, self.op
        results = [*op.inner_rows(), *op.inner_news(), *op.inner_outs()]
        olds = [*(taps[0] for taps in op.inner_taps()), *op.inner_carries()]
        targets = self._targets()
        destinations, direct = self._destinations(results, targets, bound)
        deferred = lowering.deferred
        if pending is not None:
            gathered = deferred.destinations(pending, lowering)
            gathered = {v: place for v, place in gathered.items() if v not in destinations}
            destinations.update(gathered)
        inner = Block(lowering.context, deferred.body, bound, destinations)
        inner.kept = lowering.kept
        inner.own_inputs(v for v, state in zip(olds, self.states, strict=True) if state.in_place)
        inner.run()
        for position in direct:
            variable = results[position]
            provider = inner.destinations.pop(variable, None)
            if provider is not None:
                inner.write(variable, provider)
        scalars = self._write(inner, results, targets, direct)
        news = self._carried(scalars, targets)
        if pending is not None:
            written = {v for v in gathered if v not in inner.destinations}
            news.append(deferred.step(lowering, inner, pending, written))
        stop = op.inner_stop()
        if stop is None:
            return news, None
        condition = inner.scalar(stop)
        return news, self.b.cast(condition, "bool")

    def _targets(self) -> list[View | UnsizedTrace | None]:
        """Where the results of this step are written; None if they are not."""
        b, op, loop = self.b, self.op, self.loop
        targets: list[View | UnsizedTrace | None] = []
        for state in self.states:
            if state.kind == "scalar" or state.summed:
                targets.append(None)
            elif state.trace is not None:
                targets.append(b.row(state.trace, loop.index))
            else:
                targets.append(View(state.dtype, state.current[-1], state.dims))
        for number, trace in enumerate(self.lowering.outs):
            if isinstance(trace, UnsizedTrace):
                targets.append(trace)
                continue
            last_only = op.keep[op.n_taps + number] is not None
            targets.append(b.row(trace, b.const(0) if last_only else loop.index))
        return targets

    def _destinations(
        self,
        results: list[Variable],
        targets: list[View | UnsizedTrace | None],
        bound: dict[Variable, Any],
    ) -> tuple[dict[Variable, Destination], list[int]]:
        """Which results the body writes to their places itself, and their positions."""
        destinations: dict[Variable, Destination] = {}
        direct: list[int] = []
        for position, (variable, target) in enumerate(zip(results, targets, strict=True)):
            if target is None or variable in bound or variable in destinations:
                continue
            if not isinstance(variable.type, TensorType) or variable.type.ndim == 0:
                continue
            destinations[variable] = self._provider(target, position)
            direct.append(position)
        return destinations, direct

    def _provider(self, target: View | UnsizedTrace, position: int) -> Destination:
        if isinstance(target, UnsizedTrace):
            number = position - self.op.n_taps - self.op.n_carries
            return Destination(
                lambda dims: target.row(dims, self.loop.index, self.lowering.node, number)
            )

        def provide(dims: Sequence[Value]) -> View:
            for have, want in zip(dims, target.dims, strict=True):
                if not self.lowering.block.same(have, want):
                    self.b.check(
                        self.b.eq(have, self.b.known_size(want)),
                        "scan_shape",
                        self.lowering.node,
                        (self.loop.index, *dims, *target.dims),
                        (position, len(target.dims)),
                    )
            return target

        return Destination(provide)

    def _write(
        self,
        inner: Block,
        results: list[Variable],
        targets: list[View | UnsizedTrace | None],
        direct: list[int],
    ) -> list[Any]:
        """Bring the other results to their places; returns the values of those that are scalars."""
        b = self.b
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
            place = self._provider(target, position).place(source.dims)
            self.lowering.block.copy(place, source)
        return scalars

    def _carried(self, scalars: list[Any], targets: list[View | UnsizedTrace | None]) -> list[Any]:
        """What the states hand on to the next step."""
        b, loop = self.b, self.loop
        news: list[Any] = []
        for position, state in enumerate(self.states):
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
        return news
