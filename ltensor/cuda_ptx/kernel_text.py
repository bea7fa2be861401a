"""Kernels as LLVM text: how threads and blocks share the loops of a `Kernel`.

Note [Uniform code]. In a kernel whose block works together, code outside of spread loops is run by
all threads alike, with the same values; only thread 0 stores. `Hazards` puts a barrier wherever a
thread could read what another has yet to write, or write what another has yet to read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ltensor.cuda_ptx.chains import Chain, chain_of
from ltensor.cuda_ptx.plan import Kernel
from ltensor.cuda_ptx.scalar_text import GLOBAL
from ltensor.cuda_ptx.threads import Hazards, ThreadText
from ltensor.lowering.llvm_text import memory_type
from ltensor.lowering.program import If, Loop, Scope, Value, root_of, walk


@dataclass(frozen=True)
class KernelText:
    """One entry point.

    Attributes
    ----------
    parameters : tuple of str
        LLVM types, in order.
    shared : str
        Definition of its shared memory, or the empty string.
    functions : dict
        The mathematical functions that it calls, by symbol.
    """

    name: str
    parameters: tuple[str, ...]
    text: str
    shared: str
    declares: frozenset[str]
    functions: dict[str, str] = field(default_factory=dict)


class Writer(ThreadText):
    """Writes the entry points of one `Kernel`."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.signature: list[str] = []
        self.uniform = False
        self.written = {
            root_of(e.args[0])
            for e in walk(kernel.loop.body)
            if isinstance(e, Value) and e.op in ("store", "memcpy")
        }
        self._weak = any(v.op not in ("ensure", "alloc_output", "local") for v in self.written)

    # ------------------------------------------------------------------ whole kernels

    def begin(self) -> None:
        """Parameters and thread numbers."""
        for number, value in enumerate(self.kernel.parameters):
            self.signature.append(self.parameter(value, f"%p{number}"))

    def finish(self, name: str) -> KernelText:
        """The text of the entry point."""
        self.line("br label %leave")
        if self.kernel.flags:
            self.signature.append(f"{GLOBAL} %flags")
        if self.kernel.checks:
            self.signature.append(f"{GLOBAL} %record")
        for value in self.kernel.private:
            kind = memory_type(self.local_dtype(value))
            self.head.append(f"  {self.registers[value]} = alloca {kind}, align 8")
        shared = ""
        if self.shared_words:
            shared = (
                f"@{name}_shared = internal addrspace(3) global "
                f"[{self.shared_words} x i64] poison, align 8"
            )
        text = [
            f"define ptx_kernel void @{name}({', '.join(self.signature)}) {{",
            "entry:",
            *self.head,
            *(line.replace("@SHARED", f"@{name}_shared") for line in self.lines),
            "leave:",
            "  ret void",
            "}",
        ]
        types = tuple(s.rsplit(" ", 1)[0] for s in self.signature)
        return KernelText(
            name, types, "\n".join(text), shared, frozenset(self.declares), self.functions
        )

    def local_dtype(self, value: Value) -> str:
        """The dtype of a private local, by its uses."""
        for entry in walk(self.kernel.loop.body):
            if not isinstance(entry, Value) or entry.op not in ("load", "store"):
                continue
            if entry.args[0] is value:
                return entry.dtype if entry.op == "load" else str(entry.attr)
        return "float64"

    def entry(self) -> KernelText:
        """The main entry point."""
        kernel = self.kernel
        for number, value in enumerate(sorted(kernel.private, key=lambda v: int(v.attr))):
            self.registers[value] = f"%private{number}"
        self.begin()
        loop, chain = kernel.loop, kernel.chain
        if kernel.kind == "map":
            assert chain is not None
            self.spread(chain, *self.grid_threads(), lambda: self.render_scope(chain.body))
        elif kernel.kind == "rows":
            assert chain is not None
            block, blocks = self.special("ctaid"), self.special("nctaid")
            self.uniform = True

            def row() -> None:
                self.hazards = Hazards()  # rows do not depend on one another
                self.render_scope(chain.body)

            self.spread(chain, block, blocks, row)
        elif kernel.kind == "reduce":
            self.partials()
        else:
            self.uniform = kernel.kind == "block"
            self.serial_loop(loop)
            self.leave_results()
        return self.finish(kernel.name)

    def join(self) -> KernelText:
        """The second entry point of a reduction: one block joins the partials of all blocks."""
        chain = self.kernel.chain
        assert chain is not None
        self.begin()
        self.uniform = True
        self.signature.append("i64 %blocks")
        for number in range(len(chain.carries)):
            self.signature.append(f"{GLOBAL} %partial{number}")
        thread, threads = self.special("tid"), self.special("ntid")

        def contribution(index: str) -> list[str]:
            found = []
            for number, carry in enumerate(chain.carries):
                cell = self.cell(carry.phi.dtype, f"%partial{number}", index)
                found.append(self.read_cell(carry.phi.dtype, cell))
            return found

        totals = self.accumulate(
            "%blocks", thread, threads, chain.carries, chain.combines, contribution
        )
        self.join_block(chain, totals)
        self.leave_results()
        kernel, self.kernel = self.kernel, _without_errors(self.kernel)
        text = self.finish(kernel.name + "_join")
        self.kernel = kernel
        return text

    def partials(self) -> None:
        """The whole grid reduces; each block leaves one partial result per carry."""
        chain = self.kernel.chain
        assert chain is not None
        for number in range(len(chain.carries)):
            self.signature.append(f"{GLOBAL} %partial{number}")
        totals = self.reduce_space(chain, *self.grid_threads())
        totals = self.block_reduce(chain.carries, chain.combines, totals)
        block = self.special("ctaid")

        def write() -> None:
            for number, (carry, value) in enumerate(zip(chain.carries, totals, strict=True)):
                dtype = carry.phi.dtype
                self.write_cell(dtype, self.cell(dtype, f"%partial{number}", block), value)

        self.only_first(write)

    def leave_results(self) -> None:
        """Store the kernel's results in their cells."""
        for number, value in enumerate(self.kernel.results):
            self.signature.append(f"{GLOBAL} %result{number}")
            register = self.scalar(value)
            dtype = value.dtype

            def write(number: int = number, register: str = register, dtype: str = dtype) -> None:
                self.write_cell(dtype, f"%result{number}", register)

            if self.uniform:
                self.only_first(write)
            else:
                write()

    # ------------------------------------------------------------------ threads

    def product(self, chain: Chain) -> str:
        """The number of points of a space."""
        total = ""
        for loop in chain.loops:
            size = self.scalar(loop.extent)
            if len(chain.loops) > 1:
                # a negative extent means no steps, and two of them must not make a positive one
                size = self.intrinsic("llvm.smax.i64", "i64", ("i64", "i64"), (size, "0"))
            total = size if not total else self.put(f"mul i64 {total}, {size}")
        return total

    def place(self, chain: Chain, position: str) -> None:
        """Give the loops of a space their indices at ``position``."""
        for loop in reversed(chain.loops[1:]):
            extent = self.scalar(loop.extent)
            self.registers[loop.index] = self.put(f"urem i64 {position}, {extent}")
            position = self.put(f"udiv i64 {position}, {extent}")
        self.registers[chain.loops[0].index] = position

    def between(self, chain: Chain) -> None:
        """The values that stand between the loops of a chain."""
        for loop in chain.loops[:-1]:
            for entry in loop.body.body:
                if isinstance(entry, Value):
                    self.render_value(entry)

    def spread(self, chain: Chain, start: str, step: str, body: Callable[[], None]) -> None:
        """``body`` at every ``step``-th point of a space from ``start`` on."""

        def point(index: str) -> list[str]:
            self.place(chain, index)
            self.between(chain)
            body()
            return []

        self.accumulate(self.product(chain), start, step, [], [], point)

    # ------------------------------------------------------------------ reductions

    def reduce_space(self, chain: Chain, start: str, step: str) -> list[str]:
        """This thread's share of a reduction."""

        def point(index: str) -> list[str]:
            self.place(chain, index)
            self.between(chain)
            for carry in chain.loops[-1].carries:
                self.registers[carry.phi] = "poison"  # the body of a reduction never reads it
            self.render_scope(chain.body)
            return [self.scalar(v) for v in chain.contributions]

        return self.accumulate(
            self.product(chain), start, step, chain.carries, chain.combines, point
        )

    def join_block(self, chain: Chain, values: list[str]) -> None:
        """The block's result of a reduction under the names of the outer loop."""
        totals = self.block_reduce(chain.carries, chain.combines, values)
        for carry, how, total in zip(chain.carries, chain.combines, totals, strict=True):
            if how in ("add", "mul"):
                total = self.combine(how, carry.phi.dtype, self.scalar(carry.init), total)
            self.registers[carry.result] = total

    # ------------------------------------------------------------------ uniform code

    def render_loop(self, loop: Loop) -> None:
        """A loop in uniform code is spread over the block if it may be."""
        chain = chain_of(loop) if self.uniform else None
        if chain is None:
            self.serial_loop(loop)
            return
        reads, writes = self.touches(loop.body)
        self.before(reads, writes)
        thread, threads = self.special("tid"), self.special("ntid")
        self.uniform = False
        if chain.carries:
            values = self.reduce_space(chain, thread, threads)
            self.uniform = True
            self.join_block(chain, values)
        else:
            self.spread(chain, thread, threads, lambda: self.render_scope(chain.body))
            self.uniform = True
        assert loop.steps is not None
        self.registers[loop.steps] = self.scalar(loop.extent)
        self.after(reads, writes)

    def enter_body(self, loop: Loop) -> None:
        """The last step of a loop may have written what this one reads."""
        if self.uniform:
            _, writes = self.touches(loop.body)
            if writes:
                self.barrier()

    def serial_loop(self, loop: Loop) -> None:
        """A sequential loop, by one thread or by all alike."""
        if not self.uniform:
            super().serial_loop(loop)
            return
        reads, writes = self.touches(loop.body)
        self.before(reads, False)
        super().serial_loop(loop)
        self.after(reads, writes)

    def render_if(self, branch: If) -> None:
        """A branch that all threads take alike, or one of a single thread."""
        if self.uniform:
            reads = writes = False
            for scope in (branch.then, branch.orelse):
                r, w = self.touches(scope)
                reads, writes = reads or r, writes or w
            self.before(reads, writes)
            super().render_if(branch)
            self.after(reads, writes)
        else:
            super().render_if(branch)

    def touches(self, scope: Scope) -> tuple[bool, bool]:
        """Whether a scope reads memory that the kernel writes, and whether it writes."""
        reads = writes = False
        for entry in walk(scope):
            if isinstance(entry, Value):
                reads = reads or (entry.op == "load" and self.is_shared_buffer(entry.args[0]))
                writes = writes or entry.op in ("store", "memcpy")
                reads = reads or entry.op == "memcpy"
        return reads, writes

    def is_shared_buffer(self, pointer: Value) -> bool:
        """Whether the kernel may write what ``pointer`` leads to."""
        root = root_of(pointer)
        if root in self.written:
            return True
        # buffers of the call are distinct; other addresses might be equal
        return self._weak and root.op not in ("ensure", "alloc_output", "local", "frame")

    def before(self, reads: bool, writes: bool) -> None:
        """Wait if others may not be done with what is about to be touched."""
        if (reads and self.hazards.writes) or (
            writes and (self.hazards.reads or self.hazards.writes)
        ):
            self.barrier()

    def after(self, reads: bool, writes: bool) -> None:
        """Note what was touched."""
        self.hazards.reads |= reads
        self.hazards.writes |= writes

    def do_load(self, value: Value) -> None:
        """A load; a uniform one waits for other threads' stores."""
        if self.uniform and self.is_shared_buffer(value.args[0]):
            self.before(True, False)
            self.after(True, False)
        super().do_load(value)

    def do_store(self, value: Value) -> None:
        """A store; in uniform code thread 0 does it."""
        if not self.uniform or self.is_private(value.args[0]):
            super().do_store(value)
            return
        self.before(False, True)
        self.only_first(lambda: super(Writer, self).do_store(value))
        self.after(False, True)

    def do_memcpy(self, value: Value) -> None:
        """A copy; in uniform code all threads share it."""
        if not self.uniform:
            super().do_memcpy(value)
            return
        self.before(True, True)
        target, source, size = value.args
        thread, threads = self.special("tid"), self.special("ntid")
        self.copy_bytes(target, source, thread, self.scalar(size), threads)
        self.after(True, True)


def _without_errors(kernel: Kernel) -> Kernel:
    return Kernel(
        kernel.name, kernel.kind, kernel.loop, kernel.chain, kernel.parameters, kernel.results
    )


def kernel_texts(kernel: Kernel) -> list[KernelText]:
    """The entry points of a kernel: one, or two for a reduction over the grid."""
    texts = [Writer(kernel).entry()]
    if kernel.kind == "reduce":
        texts.append(Writer(kernel).join())
    return texts


def module_text(texts: Sequence[KernelText]) -> str:
    """A module of several kernels."""
    declares = sorted({d for t in texts for d in t.declares})
    shared = [t.shared for t in texts if t.shared]
    functions: dict[str, str] = {}
    for t in texts:
        functions.update(t.functions)
    return "\n".join([*declares, *shared, *functions.values(), *(t.text for t in texts)]) + "\n"
