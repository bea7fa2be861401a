"""Loops that threads share: in the function a test and a call, elsewhere the code of a chunk.

A shared loop stays where it is, for small sizes. Before it stands a test of its expected cost;
above it the values that the body needs go into a record and the pool (`thread_pool`) runs chunks
of steps by a function of their own. That function is a module of its own which is compiled when
it is first wanted: who never calls with large arrays never pays for it.
"""

from __future__ import annotations

from ltensor.lowering.cpu import block_pool, thread_pool
from ltensor.lowering.cpu.llvm import Renderer
from ltensor.lowering.llvm_text import scalar_type
from ltensor.lowering.program import Program, Value, walk
from ltensor.lowering.rewrites.parallel import WORTH_SHARING, SharedLoop

#: chunks of vector loops are a multiple of so many steps: whole vectors, whole cache lines
GRAIN = 64


def render_shared(renderer: Renderer, shared: SharedLoop) -> None:
    """The loop in its function: the pool if that pays, else its steps."""
    r, loop = renderer, shared.loop
    alone, ask, done = r.label("alone"), r.label("ask"), r.label("shared")
    assert loop.cost is not None
    assert loop.steps is not None
    extent = r.scalar(loop.extent)
    worth = r.put(f"icmp sgt i64 {r.scalar(loop.cost)}, {WORTH_SHARING}")
    r.line(f"br i1 {worth}, label %{ask}, label %{alone}")
    r.start_block(ask)
    data = "%shared"
    flags = _flags(shared)
    r.shared_words = max(r.shared_words, len(shared.live_ins) + 2 * len(flags))
    for place, value in enumerate(shared.live_ins):
        where = r.put(f"getelementptr i64, ptr {data}, i64 {place}")
        register = r.scalar(value)
        r.line(f"store {scalar_type(value.dtype)} {register}, ptr {where}")
    for number, flag in enumerate(flags):
        place = len(shared.live_ins) + 2 * number
        for offset, name in enumerate(("flag", "noted")):
            where = r.put(f"getelementptr i64, ptr {data}, i64 {place + offset}")
            r.line(f"store ptr %{name}{flag}, ptr {where}")
    word = r.put(f"getelementptr i64, ptr @lt_table, i64 {shared.word}")
    where = r.put(f"getelementptr i64, ptr @lt_table, i64 {shared.compiler_word}")
    compiler = r.put(f"load ptr, ptr {where}")
    number = r.program.shared_loops.index(shared)
    grain = GRAIN if loop.kind == "vector" else 1
    pool = r.put("load ptr, ptr @lt_parallel_word")
    status = r.put(
        f"call i32 {pool}(ptr {word}, i64 {number}, ptr {compiler}, ptr {data}, "
        f"i64 {extent}, i64 {r.scalar(loop.cost)}, i64 {grain})"
    )
    r.line(
        f"switch i32 {status}, label %out_of_memory [ i32 {thread_pool.DONE}, label %{done} "
        f"i32 {thread_pool.REFUSED}, label %{alone} ]"
    )
    r.start_block(alone)
    # what is large is left to the chunks
    r.streams = False
    r.render_steps(loop)
    r.streams = True
    r.line(f"br label %{done}")
    r.start_block(done)
    # defined where the branches meet
    r.registers[loop.steps] = extent


def render_ready(renderer: Renderer, shared: SharedLoop) -> None:
    """Have the code of a shared loop's chunks made if it is going to be asked for.

    The pool is told to run no step.
    """
    r, cost = renderer, renderer.scalar(shared.loop.cost)  # type: ignore[arg-type]
    make, made = r.label("make"), r.label("made")
    word = r.put(f"getelementptr i64, ptr @lt_table, i64 {shared.word}")
    known = r.put(f"load ptr, ptr {word}")
    unknown = r.put(f"icmp eq ptr {known}, null")
    worth = r.put(f"icmp sgt i64 {cost}, {WORTH_SHARING}")
    r.line(f"br i1 {r.put(f'and i1 {unknown}, {worth}')}, label %{make}, label %{made}")
    r.start_block(make)
    where = r.put(f"getelementptr i64, ptr @lt_table, i64 {shared.compiler_word}")
    compiler = r.put(f"load ptr, ptr {where}")
    number = r.program.shared_loops.index(shared)
    pool = r.put("load ptr, ptr @lt_parallel_word")
    r.shared_words = max(r.shared_words, len(shared.live_ins) + 2 * len(_flags(shared)))
    r.put(
        f"call i32 {pool}(ptr {word}, i64 {number}, ptr {compiler}, ptr %shared, i64 0, "
        f"i64 {cost}, i64 1)"
    )
    r.line(f"br label %{made}")
    r.start_block(made)


def _flags(shared: SharedLoop) -> list[int]:
    """The guards of the body, each once: all forms of a nest along rows have the same."""
    guards = (e for e in walk(shared.loop.body) if isinstance(e, Value) and e.op == "guard")
    return list(dict.fromkeys(guard.attr for guard in guards))


class ChunkRenderer(Renderer):
    """Renders the steps of a shared loop as ``define i32 @NAME(ptr %data, i64 %begin, i64 %end)``.

    It returns `thread_pool.DONE` or `thread_pool.NO_MEMORY`.
    """

    def __init__(
        self, program: Program, shared: SharedLoop, vector_bytes: int = 64, fma: bool = True
    ) -> None:
        super().__init__(program, vector_bytes, fma)
        self.chunk = shared
        self.shared = {}

    def render(self) -> str:
        """The module text (without target triple)."""
        chunk = self.chunk
        inside = [e for e in walk(chunk.loop.body) if isinstance(e, Value)]
        slots = list(dict.fromkeys(e.attr for e in (*chunk.private, *inside) if e.op == "ensure"))
        for place, value in enumerate(chunk.live_ins):
            where = self.put(f"getelementptr i64, ptr %data, i64 {place}")
            self.registers[value] = self.put(f"load {scalar_type(value.dtype)}, ptr {where}")
        for number, flag in enumerate(_flags(chunk)):
            place = len(chunk.live_ins) + 2 * number
            for offset, name in enumerate(("flag", "noted")):
                where = self.put(f"getelementptr i64, ptr %data, i64 {place + offset}")
                self.line(f"%{name}{flag} = load ptr, ptr {where}")
        head = [f"define i32 @{self.name}(ptr %data, i64 %begin, i64 %end) {{", "entry:"]
        head += self.slots_head(slots)
        for value in (*chunk.private, *inside):
            if value.op == "local":
                head.append(self.local_text(value.attr))
        for value in chunk.private:
            self.render_value(value)
        self.render_steps(chunk.loop, "%begin", "%end")
        self.line("br label %leave")
        tail = [
            "out_of_memory:",
            "  br label %leave",
            "leave:",
            f"  %status = phi i32 [ {thread_pool.DONE}, %{self.block} ], "
            f"[ {thread_pool.NO_MEMORY}, %out_of_memory ]",
        ]
        tail += [*self.slots_tail(slots), "  ret i32 %status", "}"]
        text = [
            *((block_pool.DECLARATIONS,) if slots else ()),
            *sorted(self.declares),
            *self.functions.values(),
            *head,
            *self.allocas,
            *self.lines,
            *tail,
        ]
        return "\n".join(text) + "\n"

    #: the symbol of the function
    name = "chunk"

    def claim_note(self, flag: str, end: str) -> None:
        """Threads may fail at once: the numbers of one of them are told."""
        mine = self.label("mine")
        pair = self.put(f"cmpxchg ptr {flag}, i32 0, i32 1 monotonic monotonic")
        won = self.put(f"extractvalue {{ i32, i1 }} {pair}, 1")
        self.line(f"br i1 {won}, label %{mine}, label %{end}")
        self.start_block(mine)


def render_chunk(program: Program, number: int, vector_bytes: int = 64, fma: bool = True) -> str:
    """The LLVM IR text of the chunks of a program's shared loop, for a CPU as `render` takes it."""
    return ChunkRenderer(program, program.shared_loops[number], vector_bytes, fma).render()
