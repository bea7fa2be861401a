"""The host's part of a planned program: the CPU renderer, with launches in the place of kernels.

A launch is ``i32 @lt_launch(i64 entry, i64 blocks, i64 threads, ptr arguments)``: ``entry`` counts
the entry points of the plan, ``arguments`` has a word of 8 bytes for each parameter (what
``cuLaunchKernel`` takes, but for one indirection). Zero means that the launch was taken.

This text treats device memory as its own, as the emulator's is: a driver's version of it has to
move what the host reads and writes (`Plan` says what that is).
"""

from __future__ import annotations

from dataclasses import dataclass

from ltensor.cuda_ptx.plan import Kernel, Plan
from ltensor.cuda_ptx.scalar_text import RECORD_VALUES
from ltensor.ir import dtypes as dt
from ltensor.lowering.cpu.llvm import Renderer
from ltensor.lowering.llvm_text import memory_type, scalar_type
from ltensor.lowering.program import Loop, Value

LAUNCH_FAILED = -2


@dataclass(frozen=True)
class Geometry:
    """How many threads a block has (a multiple of 32, at most 1024), and blocks a grid at most."""

    threads: int = 256
    max_blocks: int = 1024


class HostText(Renderer):
    """Renders ``define i32 @NAME(ptr %frame)`` of a planned program."""

    def __init__(self, plan: Plan, geometry: Geometry, fma: bool = True) -> None:
        super().__init__(plan.program, 16, fma)
        self.plan = plan
        self.geometry = geometry
        self.entries: dict[Kernel, int] = {}
        for kernel in plan.kernels.values():
            count = sum(2 if k.kind == "reduce" else 1 for k in self.entries)
            self.entries[kernel] = count
        flags = max(1, plan.program.flags)
        self.allocas.append(f"  %errors = alloca [{flags} x i32]")
        for flag in range(plan.program.flags):
            self.allocas.append(f"  %error{flag} = getelementptr i32, ptr %errors, i64 {flag}")
            self.allocas.append(f"  store i32 0, ptr %error{flag}")
        self.allocas.append(f"  %noted = alloca [{RECORD_VALUES + 1} x i64]")
        self.declares.add("declare i32 @lt_launch(i64, i64, i64, ptr)")

    def render_loop(self, loop: Loop) -> None:
        """A launch, or a loop of the host."""
        kernel = self.plan.kernels.get(loop)
        if kernel is None:
            self.render_serial_loop(loop, "0", self.scalar(loop.extent))
        else:
            self._launch(kernel)

    # ------------------------------------------------------------------ launches

    def _total(self, kernel: Kernel) -> str:
        loops = kernel.chain.loops if kernel.chain is not None else []
        total = "1"
        for loop in loops:
            kind = ("i64", "i64")
            size = self.intrinsic("llvm.smax.i64", "i64", kind, (self.scalar(loop.extent), "0"))
            total = self.put(f"mul i64 {total}, {size}")
        return total

    def _grid(self, kernel: Kernel) -> tuple[str, str]:
        """Numbers of blocks and of threads per block."""
        threads = self.geometry.threads
        if kernel.kind == "serial":
            return "1", "1"
        if kernel.kind == "block":
            return "1", str(threads)
        wanted = self._total(kernel)
        if kernel.kind != "rows":
            more = self.put(f"add i64 {wanted}, {threads - 1}")
            wanted = self.put(f"udiv i64 {more}, {threads}")
        kind = ("i64", "i64")
        wanted = self.intrinsic("llvm.umax.i64", "i64", kind, (wanted, "1"))
        limit = str(self.geometry.max_blocks)
        return self.intrinsic("llvm.umin.i64", "i64", kind, (wanted, limit)), str(threads)

    def _words(self, words: list[tuple[str, str]]) -> str:
        """The argument words of a launch."""
        place = f"%args{len(self.allocas)}"
        self.allocas.append(f"  {place} = alloca [{max(1, len(words))} x i64]")
        for number, (kind, register) in enumerate(words):
            where = self.put(f"getelementptr i64, ptr {place}, i64 {number}")
            self.line(f"store {kind} {register}, ptr {where}")
        return place

    def _cell(self, words: int = 1) -> str:
        place = f"%cell{len(self.allocas)}"
        self.allocas.append(f"  {place} = alloca [{words} x i64]")
        return place

    def _call(self, entry: int, grid: str, block: str, words: list[tuple[str, str]]) -> None:
        place = self._words(words)
        status = self.put(f"call i32 @lt_launch(i64 {entry}, i64 {grid}, i64 {block}, ptr {place})")
        good, bad = self.label("launched"), self.label("refused")
        fine = self.put(f"icmp eq i32 {status}, 0")
        self.line(f"br i1 {fine}, label %{good}, label %{bad}")
        self.start_block(bad)
        record = self.put("load ptr, ptr %frame")
        self.line(f"store i64 {LAUNCH_FAILED}, ptr {record}")
        self.line("br label %fail")
        self.start_block(good)

    def _launch(self, kernel: Kernel) -> None:
        words: list[tuple[str, str]] = []
        for value in kernel.parameters:
            register = self.scalar(value)
            if value.dtype == "bool":
                register = self.put(f"zext i1 {register} to i8")
            words.append((memory_type(value.dtype), register))
        errors = [("ptr", "%errors")] if kernel.flags else []
        if kernel.checks:
            errors.append(("ptr", "%noted"))
            self.line("store i64 0, ptr %noted")
        entry = self.entries[kernel]
        grid, block = self._grid(kernel)
        loop = kernel.loop
        reduction = kernel.kind == "reduce"
        taken = [v for v in kernel.results if not (reduction and v is loop.steps)]
        cells = [self._cell() for _ in taken]
        results = [("ptr", cell) for cell in cells]
        if reduction:
            partials = [("ptr", self._cell(self.geometry.max_blocks)) for _ in loop.carries]
            self._call(entry, grid, block, [*words, *partials, *errors])
            self._call(entry + 1, "1", block, [*words, ("i64", grid), *partials, *results])
        else:
            self._call(entry, grid, block, [*words, *results, *errors])
        if kernel.checks:
            self._report()
        for value, cell in zip(taken, cells, strict=True):
            register = self.put(f"load {memory_type(value.dtype)}, ptr {cell}")
            if value.dtype == "bool":
                register = self.put(f"icmp ne i8 {register}, 0")
            self.registers[value] = register
        assert loop.steps is not None
        if loop.steps not in self.registers:
            self.registers[loop.steps] = self.scalar(loop.extent)

    def _report(self) -> None:
        """Leave with the error that a kernel noted."""
        site = self.put("load i64, ptr %noted")
        good, bad = self.label("ok"), self.label("bad")
        clear = self.put(f"icmp eq i64 {site}, 0")
        self.line(f"br i1 {clear}, label %{good}, label %{bad}")
        self.start_block(bad)
        record = self.put("load ptr, ptr %frame")
        number = self.put(f"sub i64 {site}, 1")
        self.line(f"store i64 {number}, ptr {record}")
        self.declares.add("declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)")
        here = self.put("getelementptr i64, ptr %noted, i64 1")
        there = self.put(f"getelementptr i64, ptr {record}, i64 1")
        self.line(
            f"call void @llvm.memcpy.p0.p0.i64(ptr {there}, ptr {here}, "
            f"i64 {8 * RECORD_VALUES}, i1 false)"
        )
        self.line("br label %fail")
        self.start_block(good)

    # ------------------------------------------------------------------ guards

    def do_guard(self, value: Value) -> None:
        """Note a failed element that the host computes."""
        failed = self.put(f"xor i1 {self.scalar(value.args[0])}, true")
        word = self.put(f"zext i1 {failed} to i32")
        old = self.put(f"load i32, ptr %error{value.attr}")
        new = self.put(f"or i32 {old}, {word}")
        self.line(f"store i32 {new}, ptr %error{value.attr}")

    def do_check_flag(self, value: Value) -> None:
        """Report what kernels or the host noted."""
        flag = value.attr[0]
        state = self.put(f"load i32, ptr %error{flag}")
        self.line(f"store i32 {state}, ptr %flag{flag}")
        super().do_check_flag(value)


def argument_size(dtype: str) -> int:
    """Bytes of a kernel parameter."""
    return 8 if dtype == "ptr" else dt.item_size(dtype) if scalar_type(dtype) != "i1" else 1
