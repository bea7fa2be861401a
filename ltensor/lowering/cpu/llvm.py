"""The CPU's renderer: a kernel program as LLVM IR text with explicit vectors.

A loop of kind ``vector`` becomes a main loop over whole vectors and one masked tail; as a
reduction it runs several independent accumulators. Everything else is scalar code. No LLVM
optimization pass is needed afterwards: the builder has shared and hoisted values already.
"""

from __future__ import annotations

from collections.abc import Sequence

from ltensor.ir import dtypes as dt
from ltensor.lowering.cpu import block_pool, strided, thread_pool
from ltensor.lowering.cpu.lanes import LaneAnalysis
from ltensor.lowering.llvm_text import (
    InstructionText,
    lanes_type,
    literal,
    memory_type,
    scalar_type,
    suffix,
)
from ltensor.lowering.program import GUARD_WORDS, Carry, If, Loop, Program, Scope, Value
from ltensor.lowering.rewrites import streams
from ltensor.lowering.rewrites.twins import Twin, render_twin
from ltensor.lowering.rewrites.twins import find as find_twins

#: floats that a loop carries in registers with nothing said about where they are afterwards
MOST_HELD = 8
_COMBINE = {"add": "add", "mul": "mul", "max": "max", "min": "min", "and": "and", "or": "or"}


class Renderer(InstructionText):
    """Renders one program as ``define i32 @NAME(ptr %frame)``.

    Parameters
    ----------
    program : Program
    vector_bytes : int
        Width of a vector register that the loops are cut to; 64 stands for AVX-512.
    fma : bool
        Whether the machine fuses multiply and add (else ``llvm.fma`` would be a library call).
    """

    def __init__(self, program: Program, vector_bytes: int = 64, fma: bool = True) -> None:
        super().__init__()
        self.program = program
        self.vector_bytes = vector_bytes
        self.fma = fma
        self.target = "avx512" if vector_bytes == 64 else "cpu"
        self.registers: dict[Value, str] = {}
        self.vectors: dict[Value, str] = {}
        self.bases: dict[Value, str] = {}
        self.lanes = 1
        self.mask: str | None = None
        #: stores of whole vectors pass the cache
        self.past_cache = False
        #: in a masked tail: how many lanes are left, in all lanes
        self.left: str | None = None
        self.analysis: LaneAnalysis | None = None
        self.block = "entry"
        self.allocas: list[str] = []
        self.dims_words = 1
        #: loops around what is being written
        self.depth = 0
        #: nests that are called
        self.twins: dict[Loop, Twin] = {}
        #: loops that threads may share
        self.shared = {shared.loop: shared for shared in program.shared_loops}
        self.shared_words = 0

    # ------------------------------------------------------------------ whole

    def render(self) -> str:
        """The module text (without target triple)."""
        if type(self) is Renderer:
            self.twins = find_twins(self.program)
        self.render_scope(self.program.root)
        self.line("br label %leave")
        body = self.lines
        head = [f"define i32 @{self.program.name}(ptr %frame) {{", "entry:"]
        slots = list(range(self.program.slots))
        head += self.slots_head(slots, self.program.arena)
        for flag in range(self.program.flags):
            head.append(f"  %flag{flag} = alloca i32")
            head.append(f"  store i32 0, ptr %flag{flag}")
            head.append(f"  %noted{flag} = alloca [{GUARD_WORDS} x i64]")
        for number in range(len(self.program.locals)):
            head.append(self.local_text(number))
        head.append(f"  %dims = alloca [{self.dims_words} x i64]")
        if self.shared:
            head.append(f"  %shared = alloca [{self.shared_words} x i64]")
        head.extend(self.allocas)
        tail = [
            "out_of_memory:",
            "  %oomrec = load ptr, ptr %frame",
            "  store i64 -1, ptr %oomrec",
            "  br label %fail",
            "fail:",
            "  br label %leave",
            "leave:",
        ]
        # every way out frees the temporaries; "fail" is reached from checks only
        preds = f"[ 0, %{self.block} ], [ 1, %fail ]"
        tail.append(f"  %status = phi i32 {preds}")
        tail += [*self.slots_tail(slots, self.program.arena), "  ret i32 %status", "}"]
        text = [
            "@lt_table = external global [0 x i64]",
            *((block_pool.DECLARATIONS,) if self.program.slots else ()),
            *((thread_pool.DECLARATIONS,) if self.shared else ()),
            *sorted(self.declares),
            *self.functions.values(),
            *head,
            *body,
            *tail,
        ]
        return "\n".join(text) + "\n"

    def slots_head(self, slots: Sequence[int], arena: int | None = None) -> list[str]:
        """Make ``%slotN``: a block of memory and its size, none yet or the arena's.

        ``arena`` is the word of the table of addresses that leads to it.
        """
        if not slots:
            return []
        size = 16 * len(slots)
        lines = [f"  %slots = alloca [{size} x i8], align 16"]
        if arena is None:
            self.declares.add("declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)")
            empty = f"(ptr align 16 %slots, i8 0, i64 {size}, i1 false)"
            lines.append(f"  call void @llvm.memset.p0.i64{empty}")
        else:
            lines += [
                f"  %arena.at = getelementptr i64, ptr @lt_table, i64 {arena}",
                "  %arena = load ptr, ptr %arena.at",
                f"  %mine = call i1 @lt_block_open(ptr %arena, ptr %slots, i64 {len(slots)})",
            ]
        return lines + [
            f"  %slot{slot} = getelementptr i8, ptr %slots, i64 {16 * place}"
            for place, slot in enumerate(slots)
        ]

    def slots_tail(self, slots: Sequence[int], arena: int | None = None) -> list[str]:
        """Give the memory of `slots_head` back."""
        if not slots:
            return []
        if arena is not None:
            args = f"ptr %arena, ptr %slots, i64 {len(slots)}, i1 %mine"
            return [f"  call void @lt_block_close({args})"]
        return [f"  call void @lt_block_give_all(ptr %slots, i64 {len(slots)})"]

    def local_text(self, number: int) -> str:
        """The reservation of an array in the frame."""
        dtype, count = self.program.locals[number]
        return f"  %local{number} = alloca [{count} x {memory_type(dtype)}], align 8"

    def start_block(self, label: str) -> None:
        """Begin a basic block."""
        self.lines.append(f"{label}:")
        self.block = label

    # ------------------------------------------------------------------ operands

    def scalar(self, value: Value) -> str:
        """``value`` in a scalar register."""
        if value.op == "const":
            return literal(value.attr, value.dtype)
        return self.registers[value]

    def vector(self, value: Value) -> str:
        """``value`` in all lanes."""
        if self.lanes == 1:
            return self.scalar(value)
        if value.op == "const":
            text = literal(value.attr, value.dtype)
            return f"splat ({scalar_type(value.dtype)} {text})"
        found = self.vectors.get(value)
        if found is None:
            found = self.vectors[value] = self.splat(value.dtype, self.scalar(value))
        return found

    def splat(self, dtype: str, register: str) -> str:
        """A scalar register in every lane."""
        element, kind = scalar_type(dtype), lanes_type(dtype, self.lanes)
        one = self.put(f"insertelement {kind} poison, {element} {register}, i64 0")
        order = f"<{self.lanes} x i32> zeroinitializer"
        return self.put(f"shufflevector {kind} {one}, {kind} poison, {order}")

    def base(self, value: Value) -> str:
        """An index value at lane 0."""
        if self.analysis is None or value not in self.analysis.varying:
            return self.scalar(value)
        return self.bases[value]

    # ------------------------------------------------------------------ scopes

    def render_scope(self, scope: Scope) -> None:
        """All entries of a scope."""
        for entry in scope.body:
            if isinstance(entry, Loop):
                self.render_loop(entry)
            elif isinstance(entry, If):
                self.render_if(entry)
            else:
                self.render_value(entry)

    def render_value(self, value: Value) -> None:
        """One instruction."""
        handler = getattr(self, "do_" + value.op, None)
        if handler is not None:
            handler(value)
            return
        analysis = self.analysis
        if analysis is not None and value in analysis.varying:
            if value in analysis.need_base:
                args = [self.base(a) for a in value.args]
                self.bases[value] = self.compute(value, args, 1)
            if value in analysis.need_vector:
                args = [self.vector(a) for a in value.args]
                self.vectors[value] = self.compute(value, args, self.lanes)
            return
        self.registers[value] = self.compute(value, [self.scalar(a) for a in value.args], 1)
        self.after_uniform(value)

    def after_uniform(self, value: Value) -> None:
        """Spread a uniform value of a vector loop at its definition if lanes want it."""
        if self.analysis is not None:
            self.vectors.pop(value, None)
            if value in self.analysis.need_splat:
                self.vectors[value] = self.splat(value.dtype, self.scalar(value))

    def render_if(self, branch: If) -> None:
        """A branch of scalar code."""
        yes, no, end = self.label("then"), self.label("else"), self.label("endif")
        self.line(f"br i1 {self.scalar(branch.condition)}, label %{yes}, label %{no}")
        self.start_block(yes)
        self.render_scope(branch.then)
        self.line(f"br label %{end}")
        self.start_block(no)
        self.render_scope(branch.orelse)
        self.line(f"br label %{end}")
        self.start_block(end)

    # ------------------------------------------------------------------ loops

    def render_loop(self, loop: Loop) -> None:
        """A loop, by threads if it pays, in lanes if it may."""
        if loop in self.shared:
            from ltensor.lowering.cpu.chunks import render_shared

            render_shared(self, self.shared[loop])
        else:
            self.render_steps(loop)

    def render_steps(self, loop: Loop, begin: str = "0", end: str | None = None) -> None:
        """The steps of a loop from ``begin`` to ``end``, else to its extent, in lanes if it may."""
        if end is None and loop in self.twins:
            render_twin(self, loop, self.twins[loop])
            return
        end = self.scalar(loop.extent) if end is None else end
        if loop.kind == "vector" and self.analysis is None:
            analysis = LaneAnalysis(loop, self.vector_bytes)
            if analysis.lanes > 1:
                self.render_vector_loop(loop, analysis, begin, end)
                return
        self.render_serial_loop(loop, begin, end)

    def carried_type(self, carry: Carry) -> tuple[str, bool]:
        """The register type of a carried value, and whether it differs by lane."""
        wide = self.analysis is not None and carry.phi in self.analysis.varying
        return lanes_type(carry.phi.dtype, self.lanes if wide else 1), wide

    def render_serial_loop(self, loop: Loop, begin: str, extent: str) -> None:
        """One step after the other; inside a vector loop all lanes step together."""
        body, exit_label = self.label("body"), self.label("exit")
        before = self.block
        kinds = [self.carried_type(c) for c in loop.carries]
        inits = [
            self.vector(c.init) if wide else self.scalar(c.init)
            for c, (_, wide) in zip(loop.carries, kinds, strict=True)
        ]
        some = self.put(f"icmp sgt i64 {extent}, {begin}")
        self.line(f"br i1 {some}, label %{body}, label %{exit_label}")
        self.start_block(body)
        index = self.fresh()
        self.registers[loop.index] = index
        mark = len(self.lines)
        phis = []
        for c, (_, wide) in zip(loop.carries, kinds, strict=True):
            phi = self.fresh()
            (self.vectors if wide else self.registers)[c.phi] = phi
            phis.append(phi)
        self.after_uniform(loop.index)
        for c, (_, wide) in zip(loop.carries, kinds, strict=True):
            if not wide:
                self.after_uniform(c.phi)
        self.depth += 1
        self.render_scope(loop.body)
        self.depth -= 1
        nexts = []
        for c, (_, wide), phi in zip(loop.carries, kinds, phis, strict=True):
            assert c.next is not None
            new = self.vector(c.next) if wide else self.scalar(c.next)
            if c.combine:
                new = self.combine(c.combine, c.phi.dtype, phi, new, self.lanes if wide else 1)
            nexts.append(new)
        following = self.put(f"add nuw nsw i64 {index}, 1")
        again = self.put(f"icmp slt i64 {following}, {extent}")
        if loop.stop is not None:
            flipped = self.put(f"xor i1 {self.scalar(loop.stop)}, true")
            again = self.put(f"and i1 {again}, {flipped}")
        latch = self.block
        self.line(f"br i1 {again}, label %{body}, label %{exit_label}")
        head = [f"  {index} = phi i64 [ {begin}, %{before} ], [ {following}, %{latch} ]"]
        for phi, init, new, (kind, _) in zip(phis, inits, nexts, kinds, strict=True):
            head.append(f"  {phi} = phi {kind} [ {init}, %{before} ], [ {new}, %{latch} ]")
        self.lines[mark:mark] = head
        self.start_block(exit_label)
        for c, (kind, wide), init, new in zip(loop.carries, kinds, inits, nexts, strict=True):
            result = self.put(f"phi {kind} [ {init}, %{before} ], [ {new}, %{latch} ]")
            (self.vectors if wide else self.registers)[c.result] = result
        assert loop.steps is not None
        self.registers[loop.steps] = self.put(
            f"phi i64 [ {begin}, %{before} ], [ {following}, %{latch} ]"
        )
        if self.analysis is not None:
            for c, (_, wide) in zip(loop.carries, kinds, strict=True):
                if not wide:
                    self.after_uniform(c.result)
        else:
            self._set_down([c for c in loop.carries if c.phi.dtype in ("float32", "float64")])

    def _set_down(self, carries: list[Carry]) -> None:
        """Take the results of a loop that carries many floats through memory.

        A call further on has all vector registers saved, and LLVM's allocator would do that for
        such values in every step of the loop.
        """
        if len(carries) <= MOST_HELD:
            return
        for c in carries:
            kind, place = memory_type(c.phi.dtype), f"%held{len(self.allocas)}"
            self.allocas.append(f"  {place} = alloca {kind}")
            self.line(f"store volatile {kind} {self.registers[c.result]}, ptr {place}")
            self.registers[c.result] = self.put(f"load volatile {kind}, ptr {place}")

    def render_vector_loop(
        self, loop: Loop, analysis: LaneAnalysis, begin: str, extent: str
    ) -> None:
        """Whole vectors, then a masked tail."""
        self.analysis, self.lanes = analysis, analysis.lanes
        self.vectors, self.bases = {}, {}
        for value in analysis.outer_splats:
            self.vectors[value] = self.splat(value.dtype, self.scalar(value))
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
        # rows inside a loop are seldom that long, and the code is half as long again
        stores = [] if self.depth else streams.streamed(loop, analysis)
        if stores and not (begin + whole).isdigit():
            limit, large = streams.boundary(self, stores, self.lanes, begin, whole)
            self.past_cache = True
            self._vector_part(loop, begin, limit, step, [], masked=False)
            self.past_cache = False
            streams.fence(self, large)
            self.vectors, begin = dict(outer), limit
        accumulators = [[self._start(c, k) for k in range(unroll)] for c in loop.carries]
        accumulators = self._vector_part(loop, begin, whole, step, accumulators, masked=False)
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

    def _start(self, carry: Carry, number: int) -> str:
        if carry.combine in ("add", "mul"):
            neutral = 0 if carry.combine == "add" else 1
            return f"splat ({scalar_type(carry.phi.dtype)} {literal(neutral, carry.phi.dtype)})"
        return (
            self.vector(carry.init)
            if carry.init.op == "const"
            else self.splat(carry.phi.dtype, self.scalar(carry.init))
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

    def combine(self, how: str | None, dtype: str, a: str, b: str, lanes: int) -> str:
        """Join two partial results of a reduction."""
        kind = lanes_type(dtype, lanes)
        floating = dtype.startswith("float")
        if how in ("add", "mul"):
            return self.put(f"{'f' if floating else ''}{how} {kind} {a}, {b}")
        if how in ("and", "or"):
            return self.put(f"{how} {kind} {a}, {b}")
        if how == "largest":
            # one instruction where nobody asks for nan
            mask = self.put(f"fcmp ogt {kind} {b}, {a}")
            return self.put(f"select {lanes_type('bool', lanes)} {mask}, {kind} {b}, {kind} {a}")
        assert how is not None
        if floating:
            name = "maximum" if how == "max" else "minimum"
            return self._extremum(name, kind, dtype, (a, b), lanes)
        sign = "s" if dtype.startswith("int") else "u"
        return self.intrinsic(
            f"llvm.{sign}{how}.{suffix(dtype, lanes)}", kind, (kind, kind), (a, b)
        )

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

    # ------------------------------------------------------------------ memory

    def _element(self, pointer: Value, offset: str, dtype: str) -> str:
        return self.put(
            f"getelementptr {memory_type(dtype)}, ptr {self.scalar(pointer)}, i64 {offset}"
        )

    def do_load(self, value: Value) -> None:
        pointer, offset = value.args
        dtype = value.dtype
        align = 8 if dtype == "ptr" else dt.item_size(dtype)
        analysis = self.analysis
        if analysis is None or value not in analysis.varying:
            where = self._element(pointer, self.scalar(offset), dtype)
            loaded = self.put(f"load {memory_type(dtype)}, ptr {where}, align {align}")
            if dtype == "bool":
                loaded = self.put(f"icmp ne i8 {loaded}, 0")
            self.registers[value] = loaded
            self.after_uniform(value)
            return
        stored = lanes_type(dtype, self.lanes, memory=True)
        name = suffix(dtype, self.lanes, memory=True)
        mask_type = f"<{self.lanes} x i1>"
        stride = analysis.stride(offset)
        if stride == 1:
            where = self._element(pointer, self.base(offset), dtype)
            if self.mask is None:
                loaded = self.put(f"load {stored}, ptr {where}, align {align}")
            else:
                self.declares.add(
                    f"declare {stored} @llvm.masked.load.{name}.p0(ptr, {mask_type}, {stored})"
                )
                loaded = self.put(
                    f"call {stored} @llvm.masked.load.{name}.p0(ptr align {align} {where}, "
                    f"{mask_type} {self.mask}, {stored} zeroinitializer)"
                )
        elif stride is not None and analysis.whole(offset):
            where = self._element(pointer, self.base(offset), dtype)
            loaded = strided.load(self, where, stride, memory_type(dtype), name, align)
        else:
            pointers = f"<{self.lanes} x ptr>"
            where = self.put(
                f"getelementptr {memory_type(dtype)}, ptr {self.scalar(pointer)}, "
                f"<{self.lanes} x i64> {self.vector(offset)}"
            )
            mask = self.mask or "splat (i1 true)"
            self.declares.add(
                f"declare {stored} @llvm.masked.gather.{name}.v{self.lanes}p0({pointers}, "
                f"{mask_type}, {stored})"
            )
            loaded = self.put(
                f"call {stored} @llvm.masked.gather.{name}.v{self.lanes}p0({pointers} "
                f"align {align} {where}, {mask_type} {mask}, {stored} zeroinitializer)"
            )
        if dtype == "bool":
            loaded = self.put(f"icmp ne {stored} {loaded}, zeroinitializer")
        self.vectors[value] = loaded

    def do_store(self, value: Value) -> None:
        pointer, offset, stored_value = value.args
        dtype = value.attr
        align = 8 if dtype == "ptr" else dt.item_size(dtype)
        analysis = self.analysis
        if analysis is None:
            register = self.scalar(stored_value)
            if dtype == "bool":
                register = self.put(f"zext i1 {register} to i8")
            where = self._element(pointer, self.scalar(offset), dtype)
            self.line(f"store {memory_type(dtype)} {register}, ptr {where}, align {align}")
            return
        stored = lanes_type(dtype, self.lanes, memory=True)
        name = suffix(dtype, self.lanes, memory=True)
        mask_type = f"<{self.lanes} x i1>"
        register = self.vector(stored_value)
        if dtype == "bool":
            register = self.put(f"zext {mask_type} {register} to {stored}")
        stride = analysis.stride(offset)
        if stride is not None and stride != 1 and analysis.whole(offset):
            where = self._element(pointer, self.base(offset), dtype)
            strided.store(self, where, stride, memory_type(dtype), name, align, register)
            return
        if stride == 1:
            where = self._element(pointer, self.base(offset), dtype)
            if self.mask is None and self.past_cache:
                self.declares.add(streams.METADATA)
                width = self.lanes * dt.item_size(dtype)
                store = f"store {stored} {register}, ptr {where}, align {width}"
                self.line(f"{store}, {streams.MARK}")
                return
            if self.mask is None:
                self.line(f"store {stored} {register}, ptr {where}, align {align}")
                return
            self.declares.add(
                f"declare void @llvm.masked.store.{name}.p0({stored}, ptr, {mask_type})"
            )
            self.line(
                f"call void @llvm.masked.store.{name}.p0({stored} {register}, "
                f"ptr align {align} {where}, {mask_type} {self.mask})"
            )
            return
        pointers = f"<{self.lanes} x ptr>"
        where = self.put(
            f"getelementptr {memory_type(dtype)}, ptr {self.scalar(pointer)}, "
            f"<{self.lanes} x i64> {self.vector(offset)}"
        )
        mask = self.mask or "splat (i1 true)"
        self.declares.add(
            f"declare void @llvm.masked.scatter.{name}.v{self.lanes}p0({stored}, {pointers}, "
            f"{mask_type})"
        )
        self.line(
            f"call void @llvm.masked.scatter.{name}.v{self.lanes}p0({stored} {register}, "
            f"{pointers} align {align} {where}, {mask_type} {mask})"
        )

    def do_prefetch(self, value: Value) -> None:
        if self.mask is None:
            pointer, offset = value.args
            where = self._element(pointer, self.base(offset), value.attr)
            self.declares.add("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
            self.line(f"call void @llvm.prefetch.p0(ptr {where}, i32 0, i32 3, i32 1)")

    def do_ptradd(self, value: Value) -> None:
        pointer, offset = value.args
        self.registers[value] = self._element(pointer, self.scalar(offset), value.attr)

    def do_ensure(self, value: Value) -> None:
        slot = value.attr
        size = self.scalar(value.args[0])
        ensure = f"call ptr @lt_block_ensure(ptr %slot{slot}, i64 {size})"
        if self.depth == 0:
            # once in a call: the shortest code
            self.registers[value] = new = self.put(ensure)
            got = self.label("got")
            empty = self.put(f"icmp eq ptr {new}, null")
            self.line(f"br i1 {empty}, label %out_of_memory, label %{got}")
            self.start_block(got)
            return
        grow, have = self.label("grow"), self.label("have")
        capacity = self.put(f"load i64, ptr {self._room(slot)}")
        more = self.put(f"icmp ugt i64 {size}, {capacity}")
        self.line(f"br i1 {more}, label %{grow}, label %{have}")
        self.start_block(grow)
        empty = self.put(f"icmp eq ptr {self.put(ensure)}, null")
        self.line(f"br i1 {empty}, label %out_of_memory, label %{have}")
        self.start_block(have)
        self.registers[value] = self.put(f"load ptr, ptr %slot{slot}")

    def _room(self, slot: int) -> str:
        """The address of the size of a slot's memory."""
        return self.put(f"getelementptr i64, ptr %slot{slot}, i64 1")

    def do_grow(self, value: Value) -> None:
        slot = value.attr
        used, size = (self.scalar(a) for a in value.args)
        grow, have, got = self.label("grow"), self.label("have"), self.label("got")
        room = self._room(slot)
        capacity = self.put(f"load i64, ptr {room}")
        more = self.put(f"icmp ugt i64 {size}, {capacity}")
        self.line(f"br i1 {more}, label %{grow}, label %{have}")
        self.start_block(grow)
        new = self.put(f"call ptr @lt_block_take(i64 {size})")
        empty = self.put(f"icmp eq ptr {new}, null")
        self.line(f"br i1 {empty}, label %out_of_memory, label %{got}")
        self.start_block(got)
        old = self.put(f"load ptr, ptr %slot{slot}")
        self.declares.add("declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)")
        self.line(f"call void @llvm.memcpy.p0.p0.i64(ptr {new}, ptr {old}, i64 {used}, i1 false)")
        self.line(f"call void @lt_block_give(ptr {old})")
        self.line(f"store ptr {new}, ptr %slot{slot}")
        self.line(f"store i64 {size}, ptr {room}")
        self.line(f"br label %{have}")
        self.start_block(have)

    def do_remembered(self, value: Value) -> None:
        name = f"@lt_remembered{value.attr}"
        self.declares.add(f"{name} = internal global i64 0")
        self.registers[value] = name

    def do_slot(self, value: Value) -> None:
        self.registers[value] = self.put(f"load ptr, ptr %slot{value.attr}")

    def do_slot_address(self, value: Value) -> None:
        self.registers[value] = f"%slot{value.attr}"

    def do_ready(self, value: Value) -> None:
        loop = self.program.awaited[value.attr]
        if loop in self.shared:
            from ltensor.lowering.cpu.chunks import render_ready

            render_ready(self, self.shared[loop])

    def do_alloc_output(self, value: Value) -> None:
        slot, type_number = value.attr
        self.dims_words = max(self.dims_words, len(value.args))
        for k, dim in enumerate(value.args):
            where = self.put(f"getelementptr i64, ptr %dims, i64 {k}")
            self.line(f"store i64 {self.scalar(dim)}, ptr {where}")
        self.declares.add("declare ptr @lt_alloc_output(ptr, i64, i32, i32, ptr)")
        made = self.put(
            f"call ptr @lt_alloc_output(ptr %frame, i64 {slot}, i32 {type_number}, "
            f"i32 {len(value.args)}, ptr %dims)"
        )
        empty = self.put(f"icmp eq ptr {made}, null")
        good = self.label("made")
        self.line(f"br i1 {empty}, label %out_of_memory, label %{good}")
        self.start_block(good)
        self.registers[value] = made

    def do_lend_output(self, value: Value) -> None:
        self.declares.add("declare void @lt_lend_output(ptr, i64, ptr)")
        cell = self.scalar(value.args[0])
        self.line(f"call void @lt_lend_output(ptr %frame, i64 {value.attr}, ptr {cell})")

    def do_adopt_output(self, value: Value) -> None:
        slot, type_number, block = value.attr
        *sizes, size = value.args
        self.dims_words = max(self.dims_words, len(sizes))
        for k, dim in enumerate(sizes):
            where = self.put(f"getelementptr i64, ptr %dims, i64 {k}")
            self.line(f"store i64 {self.scalar(dim)}, ptr {where}")
        self.declares.add("declare ptr @lt_adopt_output(ptr, i64, i32, i32, ptr, i64, ptr, ptr)")
        made = self.put(
            f"call ptr @lt_adopt_output(ptr %frame, i64 {slot}, i32 {type_number}, "
            f"i32 {len(sizes)}, ptr %dims, i64 {self.scalar(size)}, ptr %slot{block}, "
            f"ptr {self._room(block)})"
        )
        empty = self.put(f"icmp eq ptr {made}, null")
        good = self.label("made")
        self.line(f"br i1 {empty}, label %out_of_memory, label %{good}")
        self.start_block(good)
        self.registers[value] = made

    def do_local(self, value: Value) -> None:
        self.registers[value] = f"%local{value.attr}"

    def do_frame(self, value: Value) -> None:
        where = self.put(f"getelementptr i64, ptr %frame, i64 {value.attr}")
        self.registers[value] = self.put(f"load {scalar_type(value.dtype)}, ptr {where}")

    def do_table(self, value: Value) -> None:
        where = self.put(f"getelementptr i64, ptr @lt_table, i64 {value.attr}")
        self.registers[value] = self.put(f"load {scalar_type(value.dtype)}, ptr {where}")

    def do_memcpy(self, value: Value) -> None:
        self.declares.add("declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)")
        target, source, size = (self.scalar(a) for a in value.args)
        self.line(
            f"call void @llvm.memcpy.p0.p0.i64(ptr {target}, ptr {source}, i64 {size}, i1 false)"
        )

    def do_call(self, value: Value) -> None:
        types = [scalar_type(a.dtype) for a in value.args]
        result = "void" if value.dtype == "void" else scalar_type(value.dtype)
        self.declares.add(f"declare {result} @{value.attr}({', '.join(types)})")
        args = ", ".join(f"{t} {self.scalar(a)}" for t, a in zip(types, value.args, strict=True))
        if result == "void":
            self.line(f"call void @{value.attr}({args})")
        else:
            self.registers[value] = self.put(f"call {result} @{value.attr}({args})")

    def do_call_pointer(self, value: Value) -> None:
        target, *rest = value.args
        args = ", ".join(f"{scalar_type(a.dtype)} {self.scalar(a)}" for a in rest)
        result = "void" if value.dtype == "void" else scalar_type(value.dtype)
        if result == "void":
            self.line(f"call void {self.scalar(target)}({args})")
        else:
            self.registers[value] = self.put(f"call {result} {self.scalar(target)}({args})")

    # ------------------------------------------------------------------ checks

    def _fail(self, site: int, values: tuple[Value, ...]) -> None:
        record = self.put("load ptr, ptr %frame")
        self.line(f"store i64 {site}, ptr {record}")
        for k, number in enumerate(values[:60]):
            where = self.put(f"getelementptr i64, ptr {record}, i64 {k + 1}")
            self.line(f"store i64 {self.scalar(number)}, ptr {where}")
        self.line("br label %fail")

    def do_check(self, value: Value) -> None:
        good, bad = self.label("ok"), self.label("bad")
        self.line(f"br i1 {self.scalar(value.args[0])}, label %{good}, label %{bad}")
        self.start_block(bad)
        self._fail(value.attr, value.args[1:])
        self.start_block(good)

    def do_guard(self, value: Value) -> None:
        condition, *values = value.args
        lanes = self.analysis is not None and condition in self.analysis.varying
        if lanes:
            kind = f"<{self.lanes} x i1>"
            each = self.put(f"xor {kind} {self.vector(condition)}, splat (i1 true)")
            if self.mask is not None:
                each = self.put(f"and {kind} {each}, {self.mask}")
            failed = self.intrinsic(
                f"llvm.vector.reduce.or.v{self.lanes}i1", "i1", (kind,), (each,)
            )
        else:
            failed = self.put(f"xor i1 {self.scalar(condition)}, true")
        flag = f"%flag{value.attr}"
        if not values:
            word = self.put(f"zext i1 {failed} to i32")
            old = self.put(f"load i32, ptr {flag}")
            new = self.put(f"or i32 {old}, {word}")
            self.line(f"store i32 {new}, ptr {flag}")
            return
        # the numbers of the first failure are wanted: a branch that is never taken is cheap
        registers = [self._guarded(number, lanes) for number in values]
        old = self.put(f"load i32, ptr {flag}")
        fresh = self.put(f"icmp eq i32 {old}, 0")
        note = self.put(f"and i1 {failed}, {fresh}")
        yes, end = self.label("note"), self.label("noted")
        self.line(f"br i1 {note}, label %{yes}, label %{end}")
        self.start_block(yes)
        self.claim_note(flag, end)
        if lanes:
            bits = self.put(f"bitcast {kind} {each} to i{self.lanes}")
            name = f"llvm.cttz.i{self.lanes}"
            self.declares.add(f"declare i{self.lanes} @{name}(i{self.lanes}, i1)")
            lane = self.put(f"call i{self.lanes} @{name}(i{self.lanes} {bits}, i1 true)")
        for place, (register, wide) in enumerate(registers):
            if wide:
                register = self.put(
                    f"extractelement <{self.lanes} x i64> {register}, i{self.lanes} {lane}"
                )
            where = self.put(f"getelementptr i64, ptr %noted{value.attr}, i64 {place}")
            self.line(f"store i64 {register}, ptr {where}")
        self.line(f"br label %{end}")
        self.start_block(end)

    def claim_note(self, flag: str, end: str) -> None:
        """Mark that the numbers of a guard are taken; who comes too late goes on at ``end``."""
        self.line(f"store i32 1, ptr {flag}")

    def _guarded(self, value: Value, lanes: bool) -> tuple[str, bool]:
        """The register of a number that a guard records, and whether it is one per lane."""
        wide = lanes and self.analysis is not None and value in self.analysis.varying
        return (self.vector(value) if wide else self.scalar(value)), wide

    def do_check_flag(self, value: Value) -> None:
        flag, site, words = value.attr
        state = self.put(f"load i32, ptr %flag{flag}")
        clear = self.put(f"icmp eq i32 {state}, 0")
        good, bad = self.label("ok"), self.label("bad")
        self.line(f"br i1 {clear}, label %{good}, label %{bad}")
        self.start_block(bad)
        record = self.put("load ptr, ptr %frame")
        self.line(f"store i64 {site}, ptr {record}")
        for word in range(words):
            source = self.put(f"getelementptr i64, ptr %noted{flag}, i64 {word}")
            number = self.put(f"load i64, ptr {source}")
            where = self.put(f"getelementptr i64, ptr {record}, i64 {word + 1}")
            self.line(f"store i64 {number}, ptr {where}")
        self.line("br label %fail")
        self.start_block(good)


def render(program: Program, vector_bytes: int = 64, fma: bool = True) -> str:
    """The LLVM IR text of ``program`` for a CPU with registers of ``vector_bytes``."""
    return Renderer(program, vector_bytes, fma).render()
