"""Memory of temporaries: blocks that compiled functions take and give back (layer 4).

The system gives large blocks as untouched pages and takes them back when they are freed, so a
function that allocates its temporaries anew pays for a page fault every 4 KiB, often more than for
its arithmetic. Large blocks are therefore kept for the next caller, whichever function that is, up
to ``limit`` bytes in all. Small blocks go to ``malloc`` and ``free``.

The table of free blocks is guarded by a flag that nobody waits for: who finds it taken uses
``malloc`` and ``free``. So a fork or a killed thread cannot leave anybody waiting.
"""

from __future__ import annotations

import ctypes
import os
import sys

from ltensor.lowering.cpu import jit
from ltensor.lowering.cpu.once import Once
from ltensor.lowering.cpu.placeholders import filled

#: blocks below this size (bytes) are not kept
SMALL = 16 << 10
#: entries of the table of free blocks
ENTRIES = 64
#: blocks of this size (bytes) or more are put on huge pages where the system has them
HUGE = 2 << 20
#: default limit of the bytes kept
DEFAULT_LIMIT = 256 << 20

#: Declarations for modules that use the pool.
DECLARATIONS = """\
declare ptr @lt_block_take(i64)
declare void @lt_block_give(ptr)
declare ptr @lt_block_ensure(ptr, i64)
declare void @lt_block_give_all(ptr, i64)
declare i1 @lt_block_open(ptr, ptr, i64)
declare void @lt_block_close(ptr, ptr, i64, i1)"""
#: what they declare
SYMBOLS = (
    "lt_block_take",
    "lt_block_give",
    "lt_block_ensure",
    "lt_block_give_all",
    "lt_block_open",
    "lt_block_close",
)

# A block has 128 bytes in front of its 64-byte aligned address at most: the address that malloc
# gave (-16) and the usable bytes (-8), 0 for a small block.
_TEXT = r"""
declare ptr @malloc(i64)
declare void @free(ptr)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
DECLARE_ADVISE

@lt_block_busy = global i32 0
@lt_block_kept = global i64 0
@lt_block_limit = global i64 LIMIT
@lt_block_hand = global i64 0
@lt_block_table = global [ENTRIES x ptr] zeroinitializer

define internal ptr @lt_block_new(i64 %size, i64 %mark) {
  %total = add i64 %size, 128
  %raw = call ptr @malloc(i64 %total)
  %none = icmp eq ptr %raw, null
  br i1 %none, label %fail, label %good
good:
  %address = ptrtoint ptr %raw to i64
  %beyond = add i64 %address, 79
  %cut = and i64 %beyond, -64
  %skip = sub i64 %cut, %address
  %block = getelementptr i8, ptr %raw, i64 %skip
  %base.at = getelementptr i8, ptr %block, i64 -16
  store ptr %raw, ptr %base.at
  %size.at = getelementptr i8, ptr %block, i64 -8
  store i64 %mark, ptr %size.at
  ret ptr %block
fail:
  ret ptr null
}

define internal void @lt_block_drop(ptr %block) {
  %base.at = getelementptr i8, ptr %block, i64 -16
  %base = load ptr, ptr %base.at
  call void @free(ptr %base)
  ret void
}

define ptr @lt_block_take(i64 %size) {
  %small = icmp ult i64 %size, SMALL
  br i1 %small, label %direct, label %large
direct:
  %plain = call ptr @lt_block_new(i64 %size, i64 0)
  ret ptr %plain
large:
  %most = icmp ugt i64 %size, 2305843009213693952
  br i1 %most, label %refuse, label %seek
refuse:
  ret ptr null
seek:
  %wasted = lshr i64 %size, 1
  %loosest = add i64 %size, %wasted
  %free = cmpxchg ptr @lt_block_busy, i32 0, i32 1 acquire monotonic
  %mine = extractvalue { i32, i1 } %free, 1
  br i1 %mine, label %head, label %make
head:
  %k = phi i64 [ 0, %seek ], [ %k.next, %more ]
  %best = phi i64 [ -1, %seek ], [ %best.next, %more ]
  %best.size = phi i64 [ %loosest, %seek ], [ %best.size.next, %more ]
  %entry = getelementptr [ENTRIES x ptr], ptr @lt_block_table, i64 0, i64 %k
  %block = load ptr, ptr %entry
  %empty = icmp eq ptr %block, null
  br i1 %empty, label %more, label %look
look:
  %have.at = getelementptr i8, ptr %block, i64 -8
  %have = load i64, ptr %have.at
  %enough = icmp uge i64 %have, %size
  %close = icmp ule i64 %have, %best.size
  %better = and i1 %enough, %close
  %best.new = select i1 %better, i64 %k, i64 %best
  %best.size.new = select i1 %better, i64 %have, i64 %best.size
  br label %more
more:
  %best.next = phi i64 [ %best, %head ], [ %best.new, %look ]
  %best.size.next = phi i64 [ %best.size, %head ], [ %best.size.new, %look ]
  %k.next = add i64 %k, 1
  %again = icmp ult i64 %k.next, ENTRIES
  br i1 %again, label %head, label %chosen
chosen:
  %found = icmp sge i64 %best.next, 0
  br i1 %found, label %reuse, label %leave
reuse:
  %slot = getelementptr [ENTRIES x ptr], ptr @lt_block_table, i64 0, i64 %best.next
  %taken = load ptr, ptr %slot
  store ptr null, ptr %slot
  %kept = load i64, ptr @lt_block_kept
  %kept.less = sub i64 %kept, %best.size.next
  store i64 %kept.less, ptr @lt_block_kept
  store atomic i32 0, ptr @lt_block_busy release, align 4
  ret ptr %taken
leave:
  store atomic i32 0, ptr @lt_block_busy release, align 4
  br label %make
make:
  %up = add i64 %size, 4095
  %rounded = and i64 %up, -4096
  %made = call ptr @lt_block_new(i64 %rounded, i64 %rounded)
  ADVISE
  ret ptr %made
}

define void @lt_block_give(ptr %block) {
  %none = icmp eq ptr %block, null
  br i1 %none, label %done, label %some
some:
  %size.at = getelementptr i8, ptr %block, i64 -8
  %size = load i64, ptr %size.at
  %small = icmp eq i64 %size, 0
  %limit = load i64, ptr @lt_block_limit
  %beyond = icmp ugt i64 %size, %limit
  %unkept = or i1 %small, %beyond
  br i1 %unkept, label %drop, label %keep
drop:
  call void @lt_block_drop(ptr %block)
  br label %done
keep:
  %free = cmpxchg ptr @lt_block_busy, i32 0, i32 1 acquire monotonic
  %mine = extractvalue { i32, i1 } %free, 1
  br i1 %mine, label %turn, label %drop
turn:
  ; the oldest entries make room
  %n = phi i64 [ 0, %keep ], [ %n.next, %turned ]
  %hand = load i64, ptr @lt_block_hand
  %entry = getelementptr [ENTRIES x ptr], ptr @lt_block_table, i64 0, i64 %hand
  %old = load ptr, ptr %entry
  %vacant = icmp eq ptr %old, null
  %kept = load i64, ptr @lt_block_kept
  %with = add i64 %kept, %size
  %fits = icmp ule i64 %with, %limit
  %put = and i1 %vacant, %fits
  br i1 %put, label %store, label %evict
evict:
  ; a first round only seeks a vacant entry if there is room
  %first = icmp ult i64 %n, ENTRIES
  %patient = and i1 %first, %fits
  %stay = or i1 %vacant, %patient
  br i1 %stay, label %turned, label %free.old
free.old:
  %old.at = getelementptr i8, ptr %old, i64 -8
  %old.size = load i64, ptr %old.at
  %less = sub i64 %kept, %old.size
  store i64 %less, ptr @lt_block_kept
  store ptr null, ptr %entry
  call void @lt_block_drop(ptr %old)
  %now = add i64 %less, %size
  %now.fits = icmp ule i64 %now, %limit
  br i1 %now.fits, label %store, label %turned
turned:
  %hand.up = add i64 %hand, 1
  %hand.next = and i64 %hand.up, ENTRIES_MASK
  store i64 %hand.next, ptr @lt_block_hand
  %n.next = add i64 %n, 1
  br label %turn
store:
  store ptr %block, ptr %entry
  %sum.old = load i64, ptr @lt_block_kept
  %sum = add i64 %sum.old, %size
  store i64 %sum, ptr @lt_block_kept
  store atomic i32 0, ptr @lt_block_busy release, align 4
  br label %done
done:
  ret void
}

; A pair is a block and its size: make it large enough, whatever it holds. Null without memory.
define ptr @lt_block_ensure(ptr %pair, i64 %size) {
  %room.at = getelementptr i64, ptr %pair, i64 1
  %room = load i64, ptr %room.at
  %old = load ptr, ptr %pair
  %more = icmp ugt i64 %size, %room
  br i1 %more, label %grow, label %have
grow:
  call void @lt_block_give(ptr %old)
  %new = call ptr @lt_block_take(i64 %size)
  store ptr %new, ptr %pair
  store i64 %size, ptr %room.at
  ret ptr %new
have:
  ; of no bytes: any address that is not null
  %none = icmp eq ptr %old, null
  %block = select i1 %none, ptr %pair, ptr %old
  ret ptr %block
}

; Give the blocks of some pairs back.
define void @lt_block_give_all(ptr %pairs, i64 %count) {
  br label %head
head:
  %k = phi i64 [ 0, %0 ], [ %k.next, %body ]
  %go = icmp slt i64 %k, %count
  br i1 %go, label %body, label %done
body:
  %twice = shl i64 %k, 1
  %pair = getelementptr i64, ptr %pairs, i64 %twice
  %block = load ptr, ptr %pair
  call void @lt_block_give(ptr %block)
  %k.next = add i64 %k, 1
  br label %head
done:
  ret void
}

; An arena is a flag in 16 bytes, then pairs. Let a call have its pairs if no other call has them,
; else empty ones; whether it has them.
define i1 @lt_block_open(ptr %arena, ptr %pairs, i64 %count) {
  %bytes = shl i64 %count, 4
  %free = cmpxchg ptr %arena, i32 0, i32 1 acquire monotonic
  %mine = extractvalue { i32, i1 } %free, 1
  br i1 %mine, label %have, label %other
have:
  %kept = getelementptr i8, ptr %arena, i64 16
  call void @llvm.memcpy.p0.p0.i64(ptr %pairs, ptr %kept, i64 %bytes, i1 false)
  ret i1 true
other:
  call void @llvm.memset.p0.i64(ptr %pairs, i8 0, i64 %bytes, i1 false)
  ret i1 false
}

; The end of such a call.
define void @lt_block_close(ptr %arena, ptr %pairs, i64 %count, i1 %mine) {
  br i1 %mine, label %keep, label %give
keep:
  %bytes = shl i64 %count, 4
  %kept = getelementptr i8, ptr %arena, i64 16
  call void @llvm.memcpy.p0.p0.i64(ptr %kept, ptr %pairs, i64 %bytes, i1 false)
  store atomic i32 0, ptr %arena release, align 4
  ret void
give:
  call void @lt_block_give_all(ptr %pairs, i64 %count)
  ret void
}

; Give the memory of an arena back to the system, unless a call has it.
define void @lt_block_empty(ptr %arena, i64 %count) {
  %free = cmpxchg ptr %arena, i32 0, i32 1 acquire monotonic
  %mine = extractvalue { i32, i1 } %free, 1
  br i1 %mine, label %head, label %done
head:
  %k = phi i64 [ 0, %0 ], [ %k.next, %more ]
  %go = icmp slt i64 %k, %count
  br i1 %go, label %body, label %clean
body:
  %k.next = add i64 %k, 1
  %twice = shl i64 %k.next, 1
  %pair = getelementptr i64, ptr %arena, i64 %twice
  %block = load ptr, ptr %pair
  call void @llvm.memset.p0.i64(ptr %pair, i8 0, i64 16, i1 false)
  %none = icmp eq ptr %block, null
  br i1 %none, label %more, label %drop
drop:
  call void @lt_block_drop(ptr %block)
  br label %more
more:
  br label %head
clean:
  store atomic i32 0, ptr %arena release, align 4
  br label %done
done:
  ret void
}

define void @lt_block_clear() {
  %free = cmpxchg ptr @lt_block_busy, i32 0, i32 1 acquire monotonic
  %mine = extractvalue { i32, i1 } %free, 1
  br i1 %mine, label %head, label %done
head:
  %k = phi i64 [ 0, %0 ], [ %k.next, %more ]
  %entry = getelementptr [ENTRIES x ptr], ptr @lt_block_table, i64 0, i64 %k
  %block = load ptr, ptr %entry
  store ptr null, ptr %entry
  %empty = icmp eq ptr %block, null
  br i1 %empty, label %more, label %drop
drop:
  call void @lt_block_drop(ptr %block)
  br label %more
more:
  %k.next = add i64 %k, 1
  %again = icmp ult i64 %k.next, ENTRIES
  br i1 %again, label %head, label %clean
clean:
  store i64 0, ptr @lt_block_kept
  store atomic i32 0, ptr @lt_block_busy release, align 4
  br label %done
done:
  ret void
}
"""

# madvise(MADV_HUGEPAGE) of the whole huge pages inside a block; a refusal does not matter.
_ADVISE = r"""
  %wide = icmp uge i64 %rounded, HUGE_BYTES
  %here = icmp ne ptr %made, null
  %ask = and i1 %wide, %here
  br i1 %ask, label %advise, label %ready
advise:
  %from = ptrtoint ptr %made to i64
  %from.up = add i64 %from, 2097151
  %from.cut = and i64 %from.up, -2097152
  %to = add i64 %from, %rounded
  %to.cut = and i64 %to, -2097152
  %span = sub i64 %to.cut, %from.cut
  %start = inttoptr i64 %from.cut to ptr
  %any = icmp sgt i64 %span, 0
  br i1 %any, label %really, label %ready
really:
  %told = call i32 @madvise(ptr %start, i64 %span, i32 14)
  br label %ready
ready:
"""


def module_text() -> str:
    """The LLVM text of the pool, for this system."""
    linux = sys.platform.startswith("linux")
    text = _TEXT.replace(
        "DECLARE_ADVISE", "declare i32 @madvise(ptr, i64, i32)" if linux else ""
    ).replace("ADVISE", _ADVISE if linux else "")
    return filled(
        text,
        (
            ("ENTRIES_MASK", ENTRIES - 1),
            ("ENTRIES", ENTRIES),
            ("SMALL", SMALL),
            ("HUGE_BYTES", HUGE),
            ("LIMIT", _limit()),
        ),
    )


def _limit() -> int:
    given = os.environ.get("LTENSOR_KEEP_BYTES", "")
    return int(given) if given.isdigit() else DEFAULT_LIMIT


@Once
def _module() -> jit.CompiledModule:
    return jit.compile_library(f"block pool that keeps {_limit()}", module_text)


def address(symbol: str) -> int:
    """The address of a function of the pool."""
    return _module().address(symbol)


class Arena:
    """Memory that a function keeps between its calls (``allow_gc=False``): the blocks of its slots.

    They grow with what calls need. A call that comes while another has them, from another thread or
    from Python that the first one calls, takes its blocks from the pool.

    Parameters
    ----------
    slots : int

    Attributes
    ----------
    address : int
        What ``lt_block_open`` takes.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._words = (ctypes.c_int64 * (2 + 2 * slots))()
        self.address = ctypes.addressof(self._words)
        self._empty = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(
            address("lt_block_empty")
        )

    @property
    def kept_bytes(self) -> int:
        """How many bytes are kept."""
        rooms = self._words[3::2]
        return sum(room for block, room in zip(self._words[2::2], rooms, strict=True) if block)

    def free(self) -> None:
        """Give the memory back to the system, unless a call is using it."""
        self._empty(self.address, self._slots)

    def __del__(self) -> None:
        self.free()


def kept_bytes() -> int:
    """How many bytes the pool keeps for later calls."""
    return ctypes.c_int64.from_address(_module().address("lt_block_kept")).value


def release() -> None:
    """Give all kept blocks back to the system."""
    ctypes.CFUNCTYPE(None)(_module().address("lt_block_clear"))()
