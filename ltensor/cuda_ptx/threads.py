"""What the threads of a block do together: strided loops, shuffles, block-wide reductions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ltensor.cuda_ptx.plan import Kernel
from ltensor.cuda_ptx.scalar_text import GLOBAL, ScalarText
from ltensor.ir import dtypes as dt
from ltensor.lowering.llvm_text import literal, memory_type, scalar_type
from ltensor.lowering.program import Carry

_SHARED = "ptr addrspace(3)"
_SREG = "llvm.nvvm.read.ptx.sreg"
_SHUFFLE = "llvm.nvvm.shfl.sync.down.i32"
_BARRIER = "llvm.nvvm.barrier.cta.sync.aligned.all"
_WARPS = 32


@dataclass
class Hazards:
    """What the threads of a block may have done since the last barrier."""

    reads: bool = False
    writes: bool = False


class ThreadText(ScalarText):
    """A thread that knows its place. Shared memory is spelled ``@SHARED`` until the kernel ends."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.hazards = Hazards()
        self.shared_words = 0

    def cell(self, dtype: str, base: str, index: str) -> str:
        """The address of a cell of 8 bytes."""
        del dtype
        return self.put(f"getelementptr i64, {GLOBAL} {base}, i64 {index}")

    def read_cell(self, dtype: str, where: str) -> str:
        """A scalar from a cell."""
        value = self.put(f"load {memory_type(dtype)}, {GLOBAL} {where}, align 8")
        return self.put(f"icmp ne i8 {value}, 0") if dtype == "bool" else value

    def write_cell(self, dtype: str, where: str, register: str) -> None:
        """A scalar to a cell."""
        if dtype == "bool":
            register = self.put(f"zext i1 {register} to i8")
        self.line(f"store {memory_type(dtype)} {register}, {GLOBAL} {where}, align 8")

    def special(self, name: str) -> str:
        """A thread or block number as i64."""
        word = self.intrinsic(f"{_SREG}.{name}.x", "i32", (), ())
        return self.put(f"zext i32 {word} to i64")

    def grid_threads(self) -> tuple[str, str]:
        """This thread's number in the grid, and the number of threads."""
        size = self.special("ntid")
        first = self.put(f"mul i64 {self.special('ctaid')}, {size}")
        start = self.put(f"add i64 {first}, {self.special('tid')}")
        return start, self.put(f"mul i64 {self.special('nctaid')}, {size}")

    def barrier(self) -> None:
        """Wait for all threads of the block."""
        self.declares.add(f"declare void @{_BARRIER}(i32) convergent nounwind")
        self.line(f"call void @{_BARRIER}(i32 0)")
        self.hazards = Hazards()

    def only_first(self, action: Callable[[], object]) -> None:
        """Something that thread 0 of the block does."""
        yes, end = self.label("first"), self.label("joined")
        here = self.put(f"icmp eq i64 {self.special('tid')}, 0")
        self.line(f"br i1 {here}, label %{yes}, label %{end}")
        self.start_block(yes)
        action()
        self.line(f"br label %{end}")
        self.start_block(end)

    def accumulate(
        self,
        total: str,
        start: str,
        step: str,
        carries: Sequence[Carry],
        combines: Sequence[str],
        body: Callable[[str], list[str]],
    ) -> list[str]:
        """A strided loop; joins what ``body`` returns and gives the sums."""
        inits = []
        for carry, how in zip(carries, combines, strict=True):
            neutral = {"add": 0, "mul": 1}.get(how)
            dtype = carry.phi.dtype
            inits.append(self.scalar(carry.init) if neutral is None else literal(neutral, dtype))
        label, done, before = self.label("strided"), self.label("done"), self.block
        some = self.put(f"icmp slt i64 {start}, {total}")
        self.line(f"br i1 {some}, label %{label}, label %{done}")
        self.start_block(label)
        index = self.fresh()
        phis = [self.fresh() for _ in carries]
        mark = len(self.lines)
        news = [
            self.combine(how, c.phi.dtype, phi, new)
            for c, how, phi, new in zip(carries, combines, phis, body(index), strict=True)
        ]
        following = self.put(f"add nuw nsw i64 {index}, {step}")
        again = self.put(f"icmp slt i64 {following}, {total}")
        latch = self.block
        self.line(f"br i1 {again}, label %{label}, label %{done}")
        head = [f"  {index} = phi i64 [ {start}, %{before} ], [ {following}, %{latch} ]"]
        kinds = [scalar_type(c.phi.dtype) for c in carries]
        for phi, kind, init, new in zip(phis, kinds, inits, news, strict=True):
            head.append(f"  {phi} = phi {kind} [ {init}, %{before} ], [ {new}, %{latch} ]")
        self.lines[mark:mark] = head
        self.start_block(done)
        return [
            self.put(f"phi {kind} [ {init}, %{before} ], [ {new}, %{latch} ]")
            for kind, init, new in zip(kinds, inits, news, strict=True)
        ]

    def block_reduce(
        self, carries: Sequence[Carry], combines: Sequence[str], values: list[str]
    ) -> list[str]:
        """Join one value per thread; all threads get the result."""
        lane_values = []
        for carry, how, value in zip(carries, combines, values, strict=True):
            for delta in (16, 8, 4, 2, 1):
                other = self.shuffle_down(carry.phi.dtype, value, delta)
                value = self.combine(how, carry.phi.dtype, value, other)
            lane_values.append(value)
        thread = self.special("tid")
        warp = self.put(f"lshr i64 {thread}, 5")
        lane = self.put(f"and i64 {thread}, 31")
        self.shared_words = max(self.shared_words, _WARPS * len(carries))
        write, wait = self.label("leader"), self.label("wait")
        leads = self.put(f"icmp eq i64 {lane}, 0")
        self.line(f"br i1 {leads}, label %{write}, label %{wait}")
        self.start_block(write)
        for number, (carry, value) in enumerate(zip(carries, lane_values, strict=True)):
            slot = self.put(f"add i64 {warp}, {number * _WARPS}")
            where = self.put(f"getelementptr i64, {_SHARED} @SHARED, i64 {slot}")
            if carry.phi.dtype == "bool":
                value = self.put(f"zext i1 {value} to i8")
            self.line(f"store {memory_type(carry.phi.dtype)} {value}, {_SHARED} {where}, align 8")
        self.line(f"br label %{wait}")
        self.start_block(wait)
        self.barrier()
        threads = self.special("ntid")
        rounded = self.put(f"add i64 {threads}, 31")
        warps = self.put(f"lshr i64 {rounded}, 5")
        totals = [self.shared_value(c, k, "0") for k, c in enumerate(carries)]
        label, done, before = self.label("warps"), self.label("all"), self.block
        more = self.put(f"icmp ugt i64 {warps}, 1")
        self.line(f"br i1 {more}, label %{label}, label %{done}")
        self.start_block(label)
        index = self.fresh()
        phis = [self.fresh() for _ in carries]
        mark = len(self.lines)
        news = [
            self.combine(how, c.phi.dtype, phi, self.shared_value(c, k, index))
            for k, (c, how, phi) in enumerate(zip(carries, combines, phis, strict=True))
        ]
        following = self.put(f"add i64 {index}, 1")
        again = self.put(f"icmp ult i64 {following}, {warps}")
        self.line(f"br i1 {again}, label %{label}, label %{done}")
        head = [f"  {index} = phi i64 [ 1, %{before} ], [ {following}, %{label} ]"]
        kinds = [scalar_type(c.phi.dtype) for c in carries]
        for phi, kind, init, new in zip(phis, kinds, totals, news, strict=True):
            head.append(f"  {phi} = phi {kind} [ {init}, %{before} ], [ {new}, %{label} ]")
        self.lines[mark:mark] = head
        self.start_block(done)
        results = [
            self.put(f"phi {kind} [ {init}, %{before} ], [ {new}, %{label} ]")
            for kind, init, new in zip(kinds, totals, news, strict=True)
        ]
        self.barrier()  # the shared words may be written again
        return results

    def shared_value(self, carry: Carry, number: int, warp: str) -> str:
        """The partial result of a warp."""
        slot = self.put(f"add i64 {warp}, {number * _WARPS}")
        where = self.put(f"getelementptr i64, {_SHARED} @SHARED, i64 {slot}")
        kind = memory_type(carry.phi.dtype)
        value = self.put(f"load {kind}, {_SHARED} {where}, align 8")
        return self.put(f"icmp ne i8 {value}, 0") if carry.phi.dtype == "bool" else value

    def shuffle_down(self, dtype: str, value: str, delta: int) -> str:
        """The value of the thread ``delta`` lanes further on, as 32-bit pieces."""
        size = 1 if dtype == "bool" else 8 * dt.item_size(dtype)
        kind = scalar_type(dtype)
        bits = value
        if dtype.startswith("float"):
            bits = self.put(f"bitcast {kind} {value} to i{size}")
        if size == 64:
            high = self.put(f"lshr i64 {bits}, 32")
            pieces = [
                self.put(f"zext i32 {self.shuffle_word(word, delta)} to i64")
                for word in (
                    self.put(f"trunc i64 {bits} to i32"),
                    self.put(f"trunc i64 {high} to i32"),
                )
            ]
            upper = self.put(f"shl i64 {pieces[1]}, 32")
            got = self.put(f"or i64 {pieces[0]}, {upper}")
        else:
            word = bits if size == 32 else self.put(f"zext i{size} {bits} to i32")
            got = self.shuffle_word(word, delta)
            if size != 32:
                got = self.put(f"trunc i32 {got} to i{size}")
        if dtype.startswith("float"):
            got = self.put(f"bitcast i{size} {got} to {kind}")
        return got

    def shuffle_word(self, word: str, delta: int) -> str:
        """One 32-bit shuffle of a whole warp."""
        self.declares.add(f"declare i32 @{_SHUFFLE}(i32, i32, i32, i32) convergent nounwind")
        return self.put(f"call i32 @{_SHUFFLE}(i32 -1, i32 {word}, i32 {delta}, i32 31)")
