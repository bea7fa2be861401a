"""Scalar code of one thread: values, sequential loops, branches, loads and stores as LLVM text.

The text uses address space 1 for buffers and is legal for NVPTX; with the names of the special
functions replaced it is compiled for the host as well (see `emulator`).
"""

from __future__ import annotations

from collections.abc import Sequence

from ltensor.cuda_ptx.plan import Kernel
from ltensor.ir import dtypes as dt
from ltensor.lowering.llvm_text import literal, memory_type, scalar_type
from ltensor.lowering.program import Loop, Scope, Value, root_of
from ltensor.lowering.scope_text import ScopeText

GLOBAL = "ptr addrspace(1)"
#: on half precision numbers these are computed in single precision, which is exact enough
_NOT_FOR_HALF = frozenset(("sqrt", "floor", "ceil", "trunc", "rint", "round", "rem", "frem", "div"))
RECORD_VALUES = 60


class ScalarText(ScopeText):
    """One kernel's thread. Subclasses spread loops over threads."""

    target = "nvptx"
    fma = True

    def __init__(self, kernel: Kernel) -> None:
        super().__init__()
        self.kernel = kernel
        self.head: list[str] = []

    # ------------------------------------------------------------------ operands

    def is_private(self, pointer: Value) -> bool:
        """Whether the memory behind ``pointer`` is the thread's own."""
        return root_of(pointer) in self.kernel.private

    def register_type(self, value: Value) -> str:
        """The LLVM type of a value in a register."""
        if value.dtype == "ptr":
            return "ptr" if self.is_private(value) else GLOBAL
        return scalar_type(value.dtype)

    def parameter(self, value: Value, name: str) -> str:
        """Declare a parameter; its text in the signature."""
        if value.dtype == "bool":
            self.head.append(f"  {name}.b = icmp ne i8 {name}, 0")
            self.registers[value] = f"{name}.b"
            return f"i8 {name}"
        self.registers[value] = name
        return f"{self.register_type(value)} {name}"

    # ------------------------------------------------------------------ scopes

    def render_loop(self, loop: Loop) -> None:
        """A loop inside the kernel."""
        self.serial_loop(loop)

    def render_value(self, value: Value) -> None:
        """One instruction."""
        handler = getattr(self, "do_" + value.op, None)
        if handler is not None:
            handler(value)
        else:
            self.registers[value] = self.compute(value, [self.scalar(a) for a in value.args], 1)

    def compute(self, value: Value, args: Sequence[str], lanes: int) -> str:
        """A pure instruction."""
        first = value.args[0].dtype if value.args else value.dtype
        if value.dtype == "ptr":
            kind = self.register_type(value)
            return self.put(f"select i1 {args[0]}, {kind} {args[1]}, {kind} {args[2]}")
        if value.op == "cast" and value.dtype == "uint64" and first.startswith("float"):
            return self.unsigned_long(first, args[0])
        if first == "float16" and value.op in _NOT_FOR_HALF:
            wide = [self.put(f"fpext half {a} to float") for a in args]
            single = Value(
                value.op, "float32", (_SINGLE,) * len(args), value.attr, value.scope, None
            )
            return self.put(f"fptrunc float {super().compute(single, wide, 1)} to half")
        return super().compute(value, args, lanes)

    def unsigned_long(self, source: str, register: str) -> str:
        """A float as uint64; negative ones wrap, as NumPy's do on x86 (the GPU's own gives 0)."""
        if source != "float64":
            register = self.put(f"fpext {scalar_type(source)} {register} to double")
        half = literal(2.0**63, "float64")
        low = self.put(f"fptosi double {register} to i64")
        rest = self.put(f"fsub double {register}, {half}")
        upper = self.put(f"fptosi double {rest} to i64")
        high = self.put(f"xor i64 {upper}, {-(1 << 63)}")
        large = self.put(f"fcmp oge double {register}, {half}")
        return self.put(f"select i1 {large}, i64 {high}, i64 {low}")

    def serial_loop(self, loop: Loop) -> None:
        """One step after the other."""
        body, exit_label = self.label("body"), self.label("exit")
        extent, before = self.scalar(loop.extent), self.block
        kinds = [self.register_type(c.phi) for c in loop.carries]
        inits = [self.scalar(c.init) for c in loop.carries]
        some = self.put(f"icmp sgt i64 {extent}, 0")
        self.line(f"br i1 {some}, label %{body}, label %{exit_label}")
        self.start_block(body)
        index = self.registers[loop.index] = self.fresh()
        phis = [self.fresh() for _ in loop.carries]
        for c, phi in zip(loop.carries, phis, strict=True):
            self.registers[c.phi] = phi
        mark = len(self.lines)
        self.enter_body(loop)
        self.render_scope(loop.body)
        nexts = []
        for c, phi in zip(loop.carries, phis, strict=True):
            assert c.next is not None
            new = self.scalar(c.next)
            nexts.append(self.combine(c.combine, c.phi.dtype, phi, new) if c.combine else new)
        following = self.put(f"add nuw nsw i64 {index}, 1")
        again = self.put(f"icmp slt i64 {following}, {extent}")
        if loop.stop is not None:
            flipped = self.put(f"xor i1 {self.scalar(loop.stop)}, true")
            again = self.put(f"and i1 {again}, {flipped}")
        latch = self.block
        self.line(f"br i1 {again}, label %{body}, label %{exit_label}")
        head = [f"  {index} = phi i64 [ 0, %{before} ], [ {following}, %{latch} ]"]
        for phi, init, new, kind in zip(phis, inits, nexts, kinds, strict=True):
            head.append(f"  {phi} = phi {kind} [ {init}, %{before} ], [ {new}, %{latch} ]")
        self.lines[mark:mark] = head
        self.start_block(exit_label)
        for c, kind, init, new in zip(loop.carries, kinds, inits, nexts, strict=True):
            self.registers[c.result] = self.put(
                f"phi {kind} [ {init}, %{before} ], [ {new}, %{latch} ]"
            )
        assert loop.steps is not None
        self.registers[loop.steps] = self.put(
            f"phi i64 [ 0, %{before} ], [ {following}, %{latch} ]"
        )

    def enter_body(self, loop: Loop) -> None:
        """Called at the start of each step of a sequential loop."""

    def combine(self, how: str | None, dtype: str, a: str, b: str, lanes: int = 1) -> str:
        """Join two partial results of a reduction."""
        return super().combine("max" if how == "largest" else how, dtype, a, b, lanes)

    # ------------------------------------------------------------------ memory

    def element(self, pointer: Value, offset: str, dtype: str) -> tuple[str, str]:
        """The pointer type and the address of an element."""
        kind = self.register_type(pointer)
        where = self.put(
            f"getelementptr {memory_type(dtype)}, {kind} {self.scalar(pointer)}, i64 {offset}"
        )
        return kind, where

    def do_load(self, value: Value) -> None:
        """A load."""
        pointer, offset = value.args
        dtype = value.dtype
        kind, where = self.element(pointer, self.scalar(offset), dtype)
        loaded = self.put(f"load {memory_type(dtype)}, {kind} {where}, align {dt.item_size(dtype)}")
        if dtype == "bool":
            loaded = self.put(f"icmp ne i8 {loaded}, 0")
        self.registers[value] = loaded

    def do_store(self, value: Value) -> None:
        """A store."""
        pointer, offset, stored = value.args
        register = self.scalar(stored)
        if value.attr == "bool":
            register = self.put(f"zext i1 {register} to i8")
        kind, where = self.element(pointer, self.scalar(offset), value.attr)
        self.line(
            f"store {memory_type(value.attr)} {register}, {kind} {where}, "
            f"align {dt.item_size(value.attr)}"
        )

    def do_ptradd(self, value: Value) -> None:
        """An address within a buffer."""
        pointer, offset = value.args
        self.registers[value] = self.element(pointer, self.scalar(offset), value.attr)[1]

    def do_memcpy(self, value: Value) -> None:
        """Bytes, one by one."""
        target, source, size = value.args
        self.copy_bytes(target, source, "0", self.scalar(size), "1")

    def copy_bytes(self, target: Value, source: Value, start: str, size: str, step: str) -> None:
        """Copy every ``step``-th byte from ``start`` on."""
        body, done, before = self.label("copy"), self.label("copied"), self.block
        some = self.put(f"icmp slt i64 {start}, {size}")
        self.line(f"br i1 {some}, label %{body}, label %{done}")
        self.start_block(body)
        index = self.fresh()
        mark = len(self.lines)
        kind, where = self.element(source, index, "uint8")
        byte = self.put(f"load i8, {kind} {where}")
        kind, where = self.element(target, index, "uint8")
        self.line(f"store i8 {byte}, {kind} {where}")
        following = self.put(f"add i64 {index}, {step}")
        again = self.put(f"icmp slt i64 {following}, {size}")
        self.line(f"br i1 {again}, label %{body}, label %{done}")
        self.lines.insert(
            mark, f"  {index} = phi i64 [ {start}, %{before} ], [ {following}, %{body} ]"
        )
        self.start_block(done)

    # ------------------------------------------------------------------ checks

    def do_guard(self, value: Value) -> None:
        """Note a failed element in the flags."""
        bad, good = self.label("failed"), self.label("passed")
        self.line(f"br i1 {self.scalar(value.args[0])}, label %{good}, label %{bad}")
        self.start_block(bad)
        where = self.put(f"getelementptr i32, {GLOBAL} %flags, i64 {value.attr}")
        self.put(f"atomicrmw or {GLOBAL} {where}, i32 1 monotonic")
        self.line(f"br label %{good}")
        self.start_block(good)

    def do_check(self, value: Value) -> None:
        """Leave the kernel; the first thread that fails writes the record: site + 1, values."""
        bad, mine, good = self.label("bad"), self.label("first"), self.label("good")
        self.line(f"br i1 {self.scalar(value.args[0])}, label %{good}, label %{bad}")
        self.start_block(bad)
        site = value.attr + 1
        pair = self.put(f"cmpxchg {GLOBAL} %record, i64 0, i64 {site} monotonic monotonic")
        won = self.put(f"extractvalue {{i64, i1}} {pair}, 1")
        self.line(f"br i1 {won}, label %{mine}, label %leave")
        self.start_block(mine)
        for k, number in enumerate(value.args[1 : RECORD_VALUES + 1]):
            where = self.put(f"getelementptr i64, {GLOBAL} %record, i64 {k + 1}")
            self.line(f"store i64 {self.scalar(number)}, {GLOBAL} {where}")
        self.line("br label %leave")
        self.start_block(good)


_SINGLE = Value("single", "float32", (), None, Scope(None), None)
