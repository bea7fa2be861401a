"""Kernels on the host: every thread of a block is a fiber (``ucontext``), blocks run one by one.

The kernels' LLVM text is the same as for PTX but for the names of the special functions. Checks
what kernels compute and that no barrier waits forever; it does not find races, and memory ordering
plays no part. One launch at a time in a process.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ltensor.cuda_ptx.frame import PlainFrame, plain_signature
from ltensor.cuda_ptx.host_text import LAUNCH_FAILED, Geometry, HostText
from ltensor.cuda_ptx.kernel_text import KernelText, kernel_texts, module_text
from ltensor.cuda_ptx.plan import make_plan
from ltensor.errors import UnsupportedError
from ltensor.ir import dtypes as dt
from ltensor.ir.function import Function
from ltensor.lowering.cpu import jit, libraries
from ltensor.lowering.whole import Lowered, lower

_MAX_THREADS = 1024
_STACK = 32768
_CONTEXT = 8192

# glibc's ucontext_t on x86-64 and aarch64: uc_link at 8, the stack's address and size at 16 and 32
_RUNTIME = """
@body = internal global ptr null
@args = internal global ptr null
@blocks = internal global i64 0
@threads = internal global i64 0
@block = internal global i64 0
@thread = internal global i64 0
@arrived = internal global i64 0
@generation = internal global i64 0
@progress = internal global i64 0
@warp_arrived = internal global [32 x i64] zeroinitializer
@warp_generation = internal global [32 x i64] zeroinitializer
@words = internal global [MAX x i32] zeroinitializer
@alive = internal global [MAX x i8] zeroinitializer
@home = internal global [CONTEXT x i8] zeroinitializer, align 64
@contexts = internal global ptr null
@stacks = internal global ptr null
declare ptr @aligned_alloc(i64, i64)
declare i32 @getcontext(ptr) returns_twice
declare i32 @swapcontext(ptr, ptr) returns_twice
declare void @makecontext(ptr, ptr, i32, ...)

define internal ptr @context(i64 %thread) {
  %base = load ptr, ptr @contexts
  %offset = mul i64 %thread, CONTEXT
  %at = getelementptr i8, ptr %base, i64 %offset
  ret ptr %at
}

define internal void @yield() noinline {
  %me = load volatile i64, ptr @thread
  %mine = call ptr @context(i64 %me)
  %ignored = call i32 @swapcontext(ptr %mine, ptr @home) returns_twice
  ret void
}

define internal void @fiber() noinline {
  %kernel = load ptr, ptr @body
  %arguments = load ptr, ptr @args
  call void %kernel(ptr %arguments)
  %me = load volatile i64, ptr @thread
  %flag = getelementptr i8, ptr @alive, i64 %me
  store volatile i8 0, ptr %flag
  %old = load volatile i64, ptr @progress
  %new = add i64 %old, 1
  store volatile i64 %new, ptr @progress
  ret void
}

; wait until `wanted` threads have come
define internal void @meet(ptr %arrived, ptr %generation, i64 %wanted) noinline {
  %mine = load volatile i64, ptr %generation
  %before = load volatile i64, ptr %arrived
  %count = add i64 %before, 1
  store volatile i64 %count, ptr %arrived
  %last = icmp eq i64 %count, %wanted
  br i1 %last, label %open, label %wait
open:
  store volatile i64 0, ptr %arrived
  %next = add i64 %mine, 1
  store volatile i64 %next, ptr %generation
  %old = load volatile i64, ptr @progress
  %new = add i64 %old, 1
  store volatile i64 %new, ptr @progress
  ret void
wait:
  call void @yield()
  %now = load volatile i64, ptr %generation
  %same = icmp eq i64 %now, %mine
  br i1 %same, label %wait, label %done
done:
  ret void
}

define i32 @lt.nvvm.read.ptx.sreg.tid.x() {
  %v = load volatile i64, ptr @thread
  %r = trunc i64 %v to i32
  ret i32 %r
}
define i32 @lt.nvvm.read.ptx.sreg.ntid.x() {
  %v = load volatile i64, ptr @threads
  %r = trunc i64 %v to i32
  ret i32 %r
}
define i32 @lt.nvvm.read.ptx.sreg.ctaid.x() {
  %v = load volatile i64, ptr @block
  %r = trunc i64 %v to i32
  ret i32 %r
}
define i32 @lt.nvvm.read.ptx.sreg.nctaid.x() {
  %v = load volatile i64, ptr @blocks
  %r = trunc i64 %v to i32
  ret i32 %r
}
define void @lt.nvvm.barrier.cta.sync.aligned.all(i32 %id) {
  %wanted = load volatile i64, ptr @threads
  call void @meet(ptr @arrived, ptr @generation, i64 %wanted)
  ret void
}

define i32 @lt.nvvm.shfl.sync.down.i32(i32 %mask, i32 %value, i32 %delta, i32 %clamp) {
  %me = load volatile i64, ptr @thread
  %all = load volatile i64, ptr @threads
  %warp = lshr i64 %me, 5
  %first = shl i64 %warp, 5
  %left = sub i64 %all, %first
  %few = icmp ult i64 %left, 32
  %size = select i1 %few, i64 %left, i64 32
  %arrived = getelementptr i64, ptr @warp_arrived, i64 %warp
  %generation = getelementptr i64, ptr @warp_generation, i64 %warp
  %slot = getelementptr i32, ptr @words, i64 %me
  store volatile i32 %value, ptr %slot
  call void @meet(ptr %arrived, ptr %generation, i64 %size)
  %lane = and i64 %me, 31
  %step = zext i32 %delta to i64
  %from = add i64 %lane, %step
  %inside = icmp ult i64 %from, %size
  %there = add i64 %me, %step
  %source = select i1 %inside, i64 %there, i64 %me
  %other = getelementptr i32, ptr @words, i64 %source
  %got = load volatile i32, ptr %other
  call void @meet(ptr %arrived, ptr %generation, i64 %size)
  ret i32 %got
}

; 0, or 1 if threads wait for each other forever, 2 without memory or for a bad size
define i32 @lt_emulate(ptr %kernel, ptr %arguments, i64 %grid, i64 %size) {
entry:
  %big = icmp ugt i64 %size, MAX
  br i1 %big, label %bad, label %sized
sized:
  store ptr %kernel, ptr @body
  store ptr %arguments, ptr @args
  store i64 %grid, ptr @blocks
  store i64 %size, ptr @threads
  %have = load ptr, ptr @contexts
  %none = icmp eq ptr %have, null
  br i1 %none, label %allocate, label %ready
allocate:
  %c = call ptr @aligned_alloc(i64 64, i64 ALL_CONTEXTS)
  %s = call ptr @aligned_alloc(i64 64, i64 ALL_STACKS)
  store ptr %c, ptr @contexts
  store ptr %s, ptr @stacks
  %no.c = icmp eq ptr %c, null
  %no.s = icmp eq ptr %s, null
  %no = or i1 %no.c, %no.s
  br i1 %no, label %bad, label %ready
ready:
  br label %blocks.head
blocks.head:
  %b = phi i64 [ 0, %ready ], [ %b.next, %block.done ]
  %more.blocks = icmp ult i64 %b, %grid
  br i1 %more.blocks, label %block.start, label %good
block.start:
  store volatile i64 %b, ptr @block
  store volatile i64 0, ptr @arrived
  call void @llvm.memset.p0.i64(ptr @warp_arrived, i8 0, i64 256, i1 false)
  br label %make
make:
  %t = phi i64 [ 0, %block.start ], [ %t.next, %make ]
  %ctx = call ptr @context(i64 %t)
  %ignored = call i32 @getcontext(ptr %ctx) returns_twice
  %link = getelementptr i8, ptr %ctx, i64 8
  store ptr @home, ptr %link
  %base = load ptr, ptr @stacks
  %offset = mul i64 %t, STACK
  %stack = getelementptr i8, ptr %base, i64 %offset
  %sp = getelementptr i8, ptr %ctx, i64 16
  store ptr %stack, ptr %sp
  %sz = getelementptr i8, ptr %ctx, i64 32
  store i64 STACK, ptr %sz
  call void (ptr, ptr, i32, ...) @makecontext(ptr %ctx, ptr @fiber, i32 0)
  %flag = getelementptr i8, ptr @alive, i64 %t
  store volatile i8 1, ptr %flag
  %t.next = add i64 %t, 1
  %more = icmp ult i64 %t.next, %size
  br i1 %more, label %make, label %round
round:
  %seen = load volatile i64, ptr @progress
  br label %turn
turn:
  %k = phi i64 [ 0, %round ], [ %k.next, %after ]
  %living = phi i64 [ 0, %round ], [ %living.next, %after ]
  %flag.k = getelementptr i8, ptr @alive, i64 %k
  %state = load volatile i8, ptr %flag.k
  %runs = icmp ne i8 %state, 0
  br i1 %runs, label %run, label %after
run:
  store volatile i64 %k, ptr @thread
  %ctx.k = call ptr @context(i64 %k)
  call void @resume(ptr %ctx.k)
  br label %after
after:
  %one = zext i1 %runs to i64
  %living.next = add i64 %living, %one
  %k.next = add i64 %k, 1
  %others = icmp ult i64 %k.next, %size
  br i1 %others, label %turn, label %judge
judge:
  %nobody = icmp eq i64 %living.next, 0
  br i1 %nobody, label %block.done, label %alive.some
alive.some:
  %now = load volatile i64, ptr @progress
  %stuck = icmp eq i64 %now, %seen
  br i1 %stuck, label %deadlock, label %round
block.done:
  %b.next = add i64 %b, 1
  br label %blocks.head
good:
  ret i32 0
deadlock:
  ret i32 1
bad:
  ret i32 2
}

define internal void @resume(ptr %context) noinline {
  %ignored = call i32 @swapcontext(ptr @home, ptr %context) returns_twice
  ret void
}
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
"""

_SPECIALS = (
    "lt.nvvm.read.ptx.sreg.tid.x",
    "lt.nvvm.read.ptx.sreg.ntid.x",
    "lt.nvvm.read.ptx.sreg.ctaid.x",
    "lt.nvvm.read.ptx.sreg.nctaid.x",
    "lt.nvvm.barrier.cta.sync.aligned.all",
    "lt.nvvm.shfl.sync.down.i32",
    "lt_emulate",
)


def available() -> bool:
    """Whether this platform has the fibers that the emulator needs."""
    return sys.platform == "linux"


@functools.cache
def _runtime() -> jit.CompiledModule:
    text = _RUNTIME.replace("ALL_CONTEXTS", str(_CONTEXT * _MAX_THREADS))
    text = text.replace("ALL_STACKS", str(_STACK * _MAX_THREADS))
    text = text.replace("STACK", str(_STACK)).replace("CONTEXT", str(_CONTEXT))
    return jit.compile_module(text.replace("MAX", str(_MAX_THREADS)))


def _thunk(kernel: KernelText) -> list[str]:
    """A function that calls the kernel with parameters from an array of words."""
    lines = [f"define internal void @{kernel.name}_thunk(ptr %args) {{"]
    for number, kind in enumerate(kernel.parameters):
        lines.append(f"  %w{number} = getelementptr i64, ptr %args, i64 {number}")
        lines.append(f"  %a{number} = load {kind}, ptr %w{number}")
    given = ", ".join(f"{kind} %a{number}" for number, kind in enumerate(kernel.parameters))
    return [*lines, f"  call void @{kernel.name}({given})", "  ret void", "}"]


def _kernel_module(kernels: Sequence[KernelText]) -> str:
    text = module_text(kernels).replace("@llvm.nvvm.", "@lt.nvvm.").replace("ptx_kernel ", "")
    lines = [text]
    for kernel in kernels:
        lines.extend(_thunk(kernel))
    table = ", ".join(f"ptr @{k.name}_thunk" for k in kernels)
    lines += [
        "declare i32 @lt_emulate(ptr, ptr, i64, i64)",
        f"@entries = internal constant [{len(kernels)} x ptr] [{table}]",
        "define i32 @launch(i64 %entry, i64 %grid, i64 %block, ptr %args) {",
        "  %where = getelementptr ptr, ptr @entries, i64 %entry",
        "  %thunk = load ptr, ptr %where",
        "  %status = call i32 @lt_emulate(ptr %thunk, ptr %args, i64 %grid, i64 %block)",
        "  ret i32 %status",
        "}",
    ]
    return "\n".join(lines) + "\n"


class EmulatedError(RuntimeError):
    """A run-time check of an emulated program failed.

    Attributes
    ----------
    kind : str
        The kind of the error site.
    values : tuple of int
        What the check recorded.
    """

    def __init__(self, kind: str, values: tuple[int, ...]) -> None:
        super().__init__(f"{kind} {values}")
        self.kind = kind
        self.values = values


class Emulated:
    """A Function whose kernels run in the emulator; call it with arrays, it returns a list."""

    def __init__(self, function: Function | Lowered, geometry: Geometry | None = None) -> None:
        if not available():
            raise UnsupportedError("emulated kernels on this system", "run them on Linux")
        geometry = geometry or Geometry(threads=64, max_blocks=3)
        if isinstance(function, Function):
            signature, frame = plain_signature(function)
            function = lower(function, signature, frame)
        inner = function.function
        n = function.signature.n_arguments
        ndims = tuple(v.type.ndim for v in inner.inputs[:n])
        self.frame = PlainFrame(ndims, function.signature.n_results)
        self.lowered = function
        self.plan = make_plan(function.program)
        kernels = [t for k in self.plan.kernels.values() for t in kernel_texts(k)]
        symbols: dict[str, int] = {}
        self._keep: list[Any] = []
        if kernels:
            names = {s: _runtime().address(s) for s in _SPECIALS}
            module = jit.compile_module(_kernel_module(kernels), names)
            symbols["lt_launch"] = module.address("launch")
            self._keep.append(module)
        self._table = np.zeros(max(1, len(function.table)), np.int64)
        for number, (kind, thing) in enumerate(function.table):
            if kind != "data":
                raise UnsupportedError(
                    f"the table entry {kind!r} in the emulator", "emulate a graph without it"
                )
            self._table[number] = thing.ctypes.data
        self._allocate = _ALLOCATE(self._alloc_output)
        symbols["lt_table"] = self._table.ctypes.data
        symbols["lt_alloc_output"] = ctypes.cast(self._allocate, ctypes.c_void_p).value or 0
        self._adopt = _ADOPT(self._adopt_output)
        symbols["lt_adopt_output"] = ctypes.cast(self._adopt, ctypes.c_void_p).value or 0
        symbols.update(libraries.addresses(function.program.calls))
        text = HostText(self.plan, geometry, jit.host().has_fma).render()
        if not kernels:
            text = text.replace("declare i32 @lt_launch(i64, i64, i64, ptr)\n", "")
        self._module = jit.compile_module(text, symbols)
        address = self._module.address(function.program.name)
        self._core = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(address)
        self._outputs: dict[int, np.ndarray] = {}

    def _alloc_output(self, frame: int, slot: int, number: int, rank: int, dims: Any) -> int:
        del frame
        shape = tuple(dims[k] for k in range(rank))
        self._outputs[slot] = array = np.empty(shape, _DTYPES[number])
        return int(array.ctypes.data)

    def _adopt_output(
        self, frame: int, slot: int, number: int, rank: int, dims: Any, size: int, block: Any,
        room: int,
    ) -> int:  # fmt: skip
        del room
        data = self._alloc_output(frame, slot, number, rank, dims)
        if size:
            ctypes.memmove(data, block[0], size)
        return data

    def __call__(self, *arrays: np.ndarray) -> list[np.ndarray]:
        """The outputs for ``arrays``."""
        frame = np.zeros(self.frame.size + 1, np.int64)
        record = np.zeros(64, np.int64)
        frame[0] = record.ctypes.data
        held = [np.ascontiguousarray(a).reshape(np.shape(a)) for a in arrays]
        for number, array in enumerate(held):
            frame[self.frame.input_data(number)] = array.ctypes.data
            for axis in range(array.ndim):
                frame[self.frame.input_dim(number, axis)] = array.shape[axis]
        self._outputs = {}
        if self._core(int(frame.ctypes.data)):
            site = int(record[0])
            if site == LAUNCH_FAILED:
                raise RuntimeError("threads of an emulated kernel wait for each other forever")
            if site < 0:
                raise MemoryError
            known = self.lowered.program.errors[site]
            raise EmulatedError(known.kind, tuple(int(v) for v in record[1:]))
        count = self.lowered.signature.n_results
        return [self._outputs[self.frame.output_object(k)] for k in range(count)]


_ALLOCATE = ctypes.CFUNCTYPE(
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_int32,
    ctypes.c_int32,
    ctypes.POINTER(ctypes.c_int64),
)
_ADOPT = ctypes.CFUNCTYPE(
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_int32,
    ctypes.c_int32,
    ctypes.POINTER(ctypes.c_int64),
    ctypes.c_int64,
    ctypes.POINTER(ctypes.c_int64),
    ctypes.c_int64,
)
_DTYPES = {int(np.dtype(name).num): np.dtype(name) for name in dt.ALL}
