"""Loops over whole vectors with one masked tail; reductions with several accumulators."""

from __future__ import annotations

from ltensor.lowering.cpu import streams
from ltensor.lowering.cpu.accesses import Accesses
from ltensor.lowering.cpu.lanes import LaneAnalysis
from ltensor.lowering.llvm_text import lanes_type, literal, scalar_type
from ltensor.lowering.program import Loop, Value


class VectorLoops(Accesses):
    """Renders the loops that the analysis found lanes for."""

    def render_vector_loop(
        self, loop: Loop, analysis: LaneAnalysis, begin: str, extent: str
    ) -> None:
        """Whole vectors, then a masked tail; a row that is held is one masked vector."""
        self.analysis, self.lanes = analysis, analysis.lanes
        self.vectors, self.bases = {}, {}
        for value in analysis.outer_splats:
            self.vectors[value] = self.splat(value.dtype, self.scalar(value))
        if loop.held:
            self._held_row(loop, extent)
            return
        outer = dict(self.vectors)
        unroll = analysis.unroll if loop.carries else 1
        step = self.lanes * unroll
        if begin == "0" and extent.isdigit():
            whole = str(int(extent) // step * step)
        elif begin == "0":
            whole = self.put(f"and i64 {extent}, {-step}")
        else:
            span = self.put(f"sub i64 {extent}, {begin}")
            whole = self.put(f"add i64 {begin}, {self.put(f'and i64 {span}, {-step}')}")
        stores, large = self._past_cache(loop, analysis)
        if large:
            self.past_cache = streams.aligned(self, stores, self.lanes, begin, large)
        accumulators = [
            [self._neutral(c.combine, c.init) for k in range(unroll)] for c in loop.carries
        ]
        accumulators = self._vector_part(loop, begin, whole, step, accumulators, masked=False)
        if large and not self.depth:
            streams.fence(self, self.past_cache)
        self.past_cache = ""
        self.vectors = dict(outer)
        # the tail joins its contributions to the first accumulator
        first = [[row[0]] for row in accumulators]
        first = self._vector_part(
            loop, whole, extent, self.lanes, first, masked=True, once=unroll == 1
        )
        self.vectors = dict(outer)
        for c, row, tail in zip(loop.carries, accumulators, first, strict=True):
            total = tail[0]
            for other in row[1:]:
                total = self.combine(c.combine, c.phi.dtype, total, other, self.lanes)
            scalar = self._horizontal(c.combine, c.phi.dtype, total)
            if c.combine in ("add", "mul"):
                scalar = self.combine(c.combine, c.phi.dtype, self.scalar(c.init), scalar, 1)
            self.registers[c.result] = scalar
        assert loop.steps is not None
        self.registers[loop.steps] = extent
        self.analysis, self.lanes, self.mask = None, 1, None
        self.vectors, self.bases = {}, {}

    def _held_row(self, loop: Loop, extent: str) -> None:
        """The only step of a row: without a branch, also if the row is empty."""
        analysis = self.analysis
        assert analysis is not None
        self.bases[loop.index] = "0"
        self.mask = self._lanes_before(extent, "0")
        if loop.index in analysis.need_vector:
            iota = ", ".join(f"i64 {k}" for k in range(self.lanes))
            self.vectors[loop.index] = f"<{iota}>"
        self.render_scope(loop.body)
        assert loop.steps is not None
        self.registers[loop.steps] = extent
        self.analysis, self.lanes, self.mask = None, 1, None
        self.vectors, self.bases = {}, {}

    def do_across(self, value: Value) -> None:
        """A reduction of the lanes that a row has."""
        element, init = value.args
        how, dtype = value.attr, value.dtype
        neutral = self._neutral(how, init)
        kind, flags = lanes_type(dtype, self.lanes), lanes_type("bool", self.lanes)
        picked = self.put(
            f"select {flags} {self.mask}, {kind} {self.vector(element)}, {kind} {neutral}"
        )
        register = self._horizontal(how, dtype, picked)
        if how in ("add", "mul"):
            register = self.combine(how, dtype, self.scalar(init), register, 1)
        self.registers[value] = register
        self.after_uniform(value)

    def _past_cache(self, loop: Loop, analysis: LaneAnalysis) -> tuple[list[streams.Store], str]:
        """The stores of a loop that may pass the cache, and whether its results are large."""
        if self.depth:
            return self.past_cache_rows.get(loop, ([], ""))
        stores = streams.streamed(loop, analysis) if self.streams else []
        if not stores:
            return [], ""
        return stores, streams.large_vector(self, stores, self.scalar(loop.extent))

    def _neutral(self, how: str | None, init: Value) -> str:
        """What changes no result of a reduction from ``init`` on, in all lanes."""
        if how in ("add", "mul"):
            neutral = 0 if how == "add" else 1
            return f"splat ({scalar_type(init.dtype)} {literal(neutral, init.dtype)})"
        return (
            self.vector(init) if init.op == "const" else self.splat(init.dtype, self.scalar(init))
        )

    def _vector_part(
        self,
        loop: Loop,
        start: str,
        stop: str,
        step: int,
        carried: list[list[str]],
        *,
        masked: bool,
        once: bool = False,
    ) -> list[list[str]]:
        """The loop from ``start`` to ``stop``; returns the accumulators after it.

        ``once``: it has one step at most. Where the numbers are known, what is not needed is left
        out.
        """
        analysis = self.analysis
        assert analysis is not None
        steps = None
        if start.isdigit() and stop.isdigit():
            steps = -(-(int(stop) - int(start)) // step)
            if steps <= 0:
                return carried
        once = once or steps == 1
        body, exit_label = self.label("vbody"), self.label("vexit")
        before = self.block
        if steps is None:
            some = self.put(f"icmp slt i64 {start}, {stop}")
            self.line(f"br i1 {some}, label %{body}, label %{exit_label}")
        else:
            self.line(f"br label %{body}")
        self.start_block(body)
        index = start if once else self.fresh()
        mark = len(self.lines)
        phis = carried if once else [[self.fresh() for _ in row] for row in carried]
        nexts: list[list[str]] = [[] for _ in carried]
        outer = dict(self.vectors)
        for copy in range(len(carried[0]) if carried else 1):
            self.vectors, self.bases = dict(outer), {}
            here = index if copy == 0 else self.put(f"add nuw nsw i64 {index}, {copy * self.lanes}")
            self.bases[loop.index] = here
            iota = ", ".join(f"i64 {k}" for k in range(self.lanes))
            self.mask = None
            if masked:
                self.mask = self._lanes_before(stop, here)
            if loop.index in analysis.need_vector:
                spread = self.splat("int64", here)
                self.vectors[loop.index] = self.put(f"add <{self.lanes} x i64> {spread}, <{iota}>")
            self.render_scope(loop.body)
            if self.waiting_stores:
                streams.stores(self, self.past_cache, self.waiting_stores)
                self.waiting_stores = []
            for number, c in enumerate(loop.carries):
                assert c.next is not None
                phi = phis[number][copy]
                kind = lanes_type(c.phi.dtype, self.lanes)
                new = self.combine(c.combine, c.phi.dtype, phi, self.vector(c.next), self.lanes)
                if masked:
                    lane_mask = lanes_type("bool", self.lanes)
                    new = self.put(f"select {lane_mask} {self.mask}, {kind} {new}, {kind} {phi}")
                nexts[number].append(new)
        latch = self.block
        if once:
            self.line(f"br label %{exit_label}")
        else:
            following = self.put(f"add nuw nsw i64 {index}, {step}")
            again = self.put(f"icmp slt i64 {following}, {stop}")
            self.line(f"br i1 {again}, label %{body}, label %{exit_label}")
            head = [f"  {index} = phi i64 [ {start}, %{before} ], [ {following}, %{latch} ]"]
            for row, inits, news, c in zip(phis, carried, nexts, loop.carries, strict=True):
                kind = lanes_type(c.phi.dtype, self.lanes)
                for phi, init, new in zip(row, inits, news, strict=True):
                    head.append(f"  {phi} = phi {kind} [ {init}, %{before} ], [ {new}, %{latch} ]")
            self.lines[mark:mark] = head
        self.start_block(exit_label)
        self.mask = None
        if steps is not None:
            return nexts
        results: list[list[str]] = []
        for inits, news, c in zip(carried, nexts, loop.carries, strict=True):
            kind = lanes_type(c.phi.dtype, self.lanes)
            results.append(
                [
                    self.put(f"phi {kind} [ {init}, %{before} ], [ {new}, %{latch} ]")
                    for init, new in zip(inits, news, strict=True)
                ]
            )
        return results

    def _lanes_before(self, stop: str, here: str) -> str:
        """The lanes whose index is below ``stop`` if that of lane 0 is ``here``."""
        lanes = self.lanes
        if stop.isdigit() and here.isdigit():
            rest = int(stop) - int(here)
            self.left = str(rest)
            return f"<{', '.join(f'i1 {int(k < rest)}' for k in range(lanes))}>"
        kind, last = "i64", self.put(f"sub i64 {stop}, {here}")
        self.left = last
        if lanes * 8 > self.vector_bytes:
            # numbers of half the size take half the registers
            kind, last = "i32", self.put(f"trunc i64 {last} to i32")
        spread = self.splat("int64" if kind == "i64" else "int32", last)
        iota = ", ".join(f"{kind} {k}" for k in range(lanes))
        return self.put(f"icmp slt <{lanes} x {kind}> <{iota}>, {spread}")

    def _horizontal(self, how: str | None, dtype: str, register: str) -> str:
        lanes, element = self.lanes, scalar_type(dtype)
        kind = lanes_type(dtype, lanes)
        while lanes > 1:
            half = lanes // 2
            low = ", ".join(f"i32 {k}" for k in range(half))
            high = ", ".join(f"i32 {k + half}" for k in range(half))
            kind = f"<{lanes} x {element}>"
            a = self.put(f"shufflevector {kind} {register}, {kind} poison, <{half} x i32> <{low}>")
            b = self.put(f"shufflevector {kind} {register}, {kind} poison, <{half} x i32> <{high}>")
            if half == 1:
                a = self.put(f"extractelement <1 x {element}> {a}, i64 0")
                b = self.put(f"extractelement <1 x {element}> {b}, i64 0")
            register = self.combine(how, dtype, a, b, half)
            lanes = half
        return register
