"""The CPU's renderer: a kernel program as LLVM IR text with explicit vectors.

A loop of kind ``vector`` becomes a main loop over whole vectors and one masked tail; as a
reduction it runs several independent accumulators. Everything else is scalar code. No LLVM
optimization pass is needed afterwards: the builder has shared and hoisted values already.
"""

from __future__ import annotations

from ltensor.lowering.cpu import block_pool, streams, thread_pool
from ltensor.lowering.cpu.checks import Checks
from ltensor.lowering.cpu.storage import Storage
from ltensor.lowering.cpu.vector_loops import VectorLoops
from ltensor.lowering.llvm_text import lanes_type, memory_type, scalar_type
from ltensor.lowering.program import GUARD_WORDS, Carry, Loop, Program, Value
from ltensor.lowering.rewrites.twins import Twin
from ltensor.lowering.rewrites.twins import find as find_twins

#: floats that a loop carries in registers with nothing said about where they are afterwards
MOST_CARRIED = 8
#: integer operations that follow from each other before the result is taken through memory; and in
#: a loop, where that could be felt
MOST_LINKS, MOST_LINKS_INSIDE = 4, 16


class Renderer(VectorLoops, Storage, Checks):
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
        super().__init__(program, vector_bytes, fma)
        #: nests that are called
        self.twins: dict[Loop, Twin] = {}
        #: loops that threads may share
        self.shared = {shared.loop: shared for shared in program.shared_loops}
        self.shared_words = 0
        #: how many operations on integers a value follows from
        self._links: dict[Value, int] = {}

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

    # ------------------------------------------------------------------ scopes

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
        if value.dtype in ("int32", "uint32", "int64", "uint64"):
            self._cut_chain(value)
        self.after_uniform(value)

    def _cut_chain(self, value: Value) -> None:
        """Take an integer that is made of sums of sums through memory.

        LLVM's allocator computes a sum again where a register for it is missing, from operands that
        it computes again; with twenty sizes that are sums of others it gives up, and ends the
        process ("ran out of registers"). What was loaded is not computed again.
        """
        links = max((self._links.get(a, 0) for a in value.args), default=0)
        links += value.op in ("add", "sub", "mul")
        if links > (MOST_LINKS_INSIDE if self.depth else MOST_LINKS):
            self._through_memory(value)
            links = 0
        self._links[value] = links

    def _through_memory(self, value: Value) -> None:
        """Store a scalar and load it again, which LLVM must not see through."""
        kind, place = memory_type(value.dtype), f"%set{len(self.allocas)}"
        self.allocas.append(f"  {place} = alloca {kind}")
        self.line(f"store volatile {kind} {self.registers[value]}, ptr {place}")
        self.registers[value] = self.put(f"load volatile {kind}, ptr {place}")

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
            from ltensor.lowering.cpu.nest_renderer import render_twin

            render_twin(self, loop, self.twins[loop])
            return
        end = self.scalar(loop.extent) if end is None else end
        if loop.kind == "vector" and self.analysis is None:
            analysis = self.lane_analysis(loop)
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
        large = ""
        if self.streams and self.analysis is None and not self.depth and loop.parallel:
            self.past_cache_rows = streams.large_nest(self, loop)
            large = streams.either(self, self.past_cache_rows)
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
        if large:
            streams.fence(self, large)

    def _set_down(self, carries: list[Carry]) -> None:
        """Take the results of a loop that carries many floats through memory.

        A call further on has all vector registers saved, and LLVM's allocator would do that for
        such values in every step of the loop.
        """
        if len(carries) <= MOST_CARRIED:
            return
        for c in carries:
            self._through_memory(c.result)

    # ------------------------------------------------------------------ calls

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

    def do_ready(self, value: Value) -> None:
        loop = self.program.awaited[value.attr]
        if loop in self.shared:
            from ltensor.lowering.cpu.chunks import render_ready

            render_ready(self, self.shared[loop])


def render(program: Program, vector_bytes: int = 64, fma: bool = True) -> str:
    """The LLVM IR text of ``program`` for a CPU with registers of ``vector_bytes``."""
    return Renderer(program, vector_bytes, fma).render()
