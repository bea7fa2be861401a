"""Where a shared variable's value lives: a Python array and the words native code reads.

A cell has an int64 array ``[data pointer, 0, size 0, size 1, ...]`` beside the ndarray it
describes. Native code writes through the pointer. New values that are not computed in place are
put there in two steps, so that a call that runs out of memory leaves all shared variables as they
were: ``prepare`` makes what arrays are wanted, ``commit`` cannot fail.

Note [Copy or exchange]. A large new value lies in a block of the pool. If nobody else knows the
array of the old one (no reference, no view), the block becomes an array that takes its place and
nothing is copied. Somebody who borrowed the array, or lent it, sees it change as before.

Note [Nothing in between]. Words and array change in native code only, once there is any: it runs no
bytecode, so neither another thread nor a signal sees words that point to an array that is gone. The
array is held by a list, which native code can change by Python's public functions.

Note [Overtaken]. A call whose code is yet to be compiled waits for Python, and another thread may
run meanwhile. New values are not written if any shared variable was since the call began: it is
made again (`ltensor.lowering.commit`), so that no update is lost.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from ltensor.lowering import update_record
from ltensor.lowering.cpu.placeholders import filled
from ltensor.runtime import apart, layout

__all__ = ["EXPORTS", "Cell", "changes_address", "copied", "keep", "module_text", "set_natively"]

#: words in front of the address: the list, the rank, NumPy's number of the dtype
_HEAD: Final = 3

#: functions of the support module that this text defines
EXPORTS: Final = (
    "lt_apart",
    "lt_cells_prepare",
    "lt_cells_commit",
    "lt_cell_set",
    "lt_lend_output",
)

#: goes through the records, which differ in length; ends at "end"
_EACH_RECORD = """\
  br label %head
head:
  %k = phi i64 [ 0, %start ], [ %k.next, %next ]
  %record = phi ptr [ %records, %start ], [ %record.next, %next ]
  %more = icmp slt i64 %k, %count
  br i1 %more, label %body, label %end
body:
  %k.next = add i64 %k, 1
  %cell = load ptr, ptr %record
  %rank.at = getelementptr i64, ptr %cell, i64 -2
  %rank = load i64, ptr %rank.at
  %words = add i64 %rank, R_DIMS
  %record.next = getelementptr i64, ptr %record, i64 %words"""

_TEXT = r"""
declare void @PyErr_Clear()
@lt_changes = external global i64

; Whether nobody but the list of its cell, and %holds calls that run, knows an array.
define internal i1 @lt_is_exclusive(ptr %array, i64 %holds) nounwind {
  %count.32 = load i32, ptr %array
  %count = zext i32 %count.32 to i64
  %others = sub i64 %count, %holds
  %alone = icmp eq i64 %others, 1
  %flags.at = getelementptr i8, ptr %array, i64 ARRAY_FLAGS
  %flags = load i32, ptr %flags.at
  %owns = and i32 %flags, OWNS
  %owner = icmp ne i32 %owns, 0
  %good = and i1 %alone, %owner
  ret i1 %good
}

; The array that takes over the block of a record; null, maybe with an exception set, if it cannot.
define internal ptr @lt_record_around(ptr %record, i32 %type, i32 %rank, ptr %dims, i64 %bytes)
    nounwind {
  %pair.at = getelementptr i64, ptr %record, i64 R_BLOCK
  %pair = load ptr, ptr %pair.at
  %none = icmp eq ptr %pair, null
  br i1 %none, label %no, label %look
look:
  %block = load ptr, ptr %pair
  %size.at = getelementptr i8, ptr %block, i64 -8
  %size = load i64, ptr %size.at
  %twice = shl i64 %bytes, 1
  %wasteful = icmp ugt i64 %size, %twice
  %short = icmp ult i64 %size, %bytes
  %unfit = or i1 %wasteful, %short
  br i1 %unfit, label %no, label %make
make:
  %array = call ptr @lt_array_around(i32 %type, i32 %rank, ptr %dims, ptr %block)
  %failed = icmp eq ptr %array, null
  br i1 %failed, label %no, label %good
good:
  store ptr null, ptr %pair
  %room.at = getelementptr i64, ptr %pair, i64 1
  store i64 0, ptr %room.at
  ret ptr %array
no:
  ret ptr null
}

; Make the arrays that new values of other sizes need, and let large values that nobody else knows
; change places with the buffers that their new ones were computed in. Nothing changes for anybody
; yet; not 0, with an exception set, if there is no memory.
define i64 @lt_cells_prepare(ptr %records, i64 %count, i64 %holds) nounwind {
start:
EACH_RECORD
  %coming.at = getelementptr i64, ptr %record, i64 R_ARRAY
  store ptr null, ptr %coming.at
  %done.at = getelementptr i64, ptr %record, i64 R_DONE
  %done = load i64, ptr %done.at
  %is.done = icmp ne i64 %done, 0
  br i1 %is.done, label %next, label %compare
compare:
  %rank.32 = trunc i64 %rank to i32
  %type.at = getelementptr i64, ptr %cell, i64 -1
  %type.all = load i64, ptr %type.at
  %type = trunc i64 %type.all to i32
  %dims = getelementptr i64, ptr %record, i64 R_DIMS
  %sizes = getelementptr i64, ptr %cell, i64 2
  br label %dim.head
dim.head:
  %d = phi i64 [ 0, %compare ], [ %d.next, %dim ]
  %differs = phi i1 [ false, %compare ], [ %differs.next, %dim ]
  %d.more = icmp slt i64 %d, %rank
  br i1 %d.more, label %dim, label %sized
dim:
  %want.at = getelementptr i64, ptr %dims, i64 %d
  %want = load i64, ptr %want.at
  %have.at = getelementptr i64, ptr %sizes, i64 %d
  %have = load i64, ptr %have.at
  %other = icmp ne i64 %want, %have
  %differs.next = or i1 %differs, %other
  %d.next = add i64 %d, 1
  br label %dim.head
sized:
  %bytes = call i64 @lt_pooled_bytes(i32 %type, i32 %rank.32, ptr %dims)
  %large = icmp ne i64 %bytes, 0
  br i1 %differs, label %fresh, label %same
same:
  br i1 %large, label %ask, label %next
ask:
  %list.at = getelementptr i64, ptr %cell, i64 LIST
  %list = load ptr, ptr %list.at
  %old = call ptr @PyList_GetItem(ptr %list, i64 0)
  %mine = call i1 @lt_is_exclusive(ptr %old, i64 %holds)
  br i1 %mine, label %exchange, label %next
exchange:
  %turned = call ptr @lt_record_around(ptr %record, i32 %type, i32 %rank.32, ptr %dims, i64 %bytes)
  store ptr %turned, ptr %coming.at
  %stays = icmp eq ptr %turned, null
  br i1 %stays, label %clear, label %next
clear:
  ; copied then
  call void @PyErr_Clear()
  br label %next
fresh:
  br i1 %large, label %take, label %usual
take:
  %taken = call ptr @lt_record_around(ptr %record, i32 %type, i32 %rank.32, ptr %dims, i64 %bytes)
  %not.taken = icmp eq ptr %taken, null
  br i1 %not.taken, label %usual.clear, label %note
usual.clear:
  call void @PyErr_Clear()
  br label %usual
usual:
  %made = call ptr @lt_new_array(i32 %type, i32 %rank.32, ptr %dims)
  %poor = icmp eq ptr %made, null
  br i1 %poor, label %fail, label %note
note:
  %array = phi ptr [ %taken, %take ], [ %made, %usual ]
  store ptr %array, ptr %coming.at
  br label %next
next:
  br label %head
fail:
  call void @lt_records_drop(ptr %records, i64 %k)
  ret i64 1
end:
  ret i64 0
}

; Let go of the arrays of the first %count records.
define internal void @lt_records_drop(ptr %records, i64 %count) nounwind {
start:
EACH_RECORD
  %array.at = getelementptr i64, ptr %record, i64 R_ARRAY
  %array = load ptr, ptr %array.at
  %none = icmp eq ptr %array, null
  br i1 %none, label %next, label %drop
drop:
  call void @Py_DecRef(ptr %array)
  br label %next
next:
  br label %head
end:
  ret void
}

; Put new values where the old ones were.
define void @lt_cells_commit(ptr %records, i64 %count) nounwind {
start:
EACH_RECORD
  %done.at = getelementptr i64, ptr %record, i64 R_DONE
  %done = load i64, ptr %done.at
  %is.done = icmp ne i64 %done, 0
  br i1 %is.done, label %next, label %write
write:
  %data.at = getelementptr i64, ptr %record, i64 R_DATA
  %data = load ptr, ptr %data.at
  %bytes.at = getelementptr i64, ptr %record, i64 R_BYTES
  %bytes = load i64, ptr %bytes.at
  %array.at = getelementptr i64, ptr %record, i64 R_ARRAY
  %array = load ptr, ptr %array.at
  %none = icmp eq ptr %array, null
  br i1 %none, label %copy, label %put
copy:
  %here = load ptr, ptr %cell
  call void @llvm.memcpy.p0.p0.i64(ptr %here, ptr %data, i64 %bytes, i1 false)
  br label %next
put:
  %there.at = getelementptr i8, ptr %array, i64 ARRAY_DATA
  %there = load ptr, ptr %there.at
  %filled = icmp eq ptr %there, %data
  br i1 %filled, label %change, label %fill
fill:
  call void @llvm.memcpy.p0.p0.i64(ptr %there, ptr %data, i64 %bytes, i1 false)
  br label %change
change:
  %old = call ptr @lt_cell_exchange(ptr %cell, ptr %array)
  store ptr %old, ptr %array.at
  br label %next
next:
  br label %head
end:
  ; last: who borrowed a value may have attached Python code to its end
  call void @lt_records_drop(ptr %records, i64 %count)
  ret void
}

; Let an output be the array of a cell itself.
define void @lt_lend_output(ptr %frame, i64 %slot, ptr %cell) nounwind {
  %list.at = getelementptr i64, ptr %cell, i64 LIST
  %list = load ptr, ptr %list.at
  %array = call ptr @PyList_GetItem(ptr %list, i64 0)
  call void @Py_IncRef(ptr %array)
  %at = getelementptr i64, ptr %frame, i64 %slot
  store ptr %array, ptr %at
  ret void
}

; Let a cell hold an array of its rank and dtype, C-contiguous and aligned, which it takes over;
; the array that it held is the caller's now.
define internal ptr @lt_cell_exchange(ptr %cell, ptr %array) nounwind {
start:
  %list.at = getelementptr i64, ptr %cell, i64 LIST
  %list = load ptr, ptr %list.at
  %rank.at = getelementptr i64, ptr %cell, i64 -2
  %rank = load i64, ptr %rank.at
  %data.at = getelementptr i8, ptr %array, i64 ARRAY_DATA
  %data = load ptr, ptr %data.at
  store ptr %data, ptr %cell
  %dims.at = getelementptr i8, ptr %array, i64 ARRAY_DIMS
  %dims = load ptr, ptr %dims.at
  %sizes = getelementptr i64, ptr %cell, i64 2
  %bytes = shl i64 %rank, 3
  call void @llvm.memcpy.p0.p0.i64(ptr %sizes, ptr %dims, i64 %bytes, i1 false)
  %old = call ptr @PyList_GetItem(ptr %list, i64 0)
  call void @Py_IncRef(ptr %old)
  %ignored = call i32 @PyList_SetItem(ptr %list, i64 0, ptr %array)
  ret ptr %old
}

; The same for who keeps the array, as a change that calls which wait will see.
define void @lt_cell_set(ptr %cell, ptr %array) nounwind {
  %before = load i64, ptr @lt_changes
  %after = add i64 %before, 1
  store i64 %after, ptr @lt_changes
  call void @Py_IncRef(ptr %array)
  %old = call ptr @lt_cell_exchange(ptr %cell, ptr %array)
  call void @Py_DecRef(ptr %old)
  ret void
}
"""


def module_text() -> str:
    """The part of the support module that changes cells."""
    return apart.TEXT + filled(
        _TEXT,
        (
            ("EACH_RECORD", _EACH_RECORD),
            ("ARRAY_DATA", layout.ARRAY_DATA),
            ("ARRAY_DIMS", layout.ARRAY_DIMS),
            ("ARRAY_FLAGS", layout.ARRAY_FLAGS),
            ("OWNS", layout.OWNS_DATA),
            ("LIST", -_HEAD),
            ("R_DIMS", update_record.DIMS),
            ("R_DATA", update_record.DATA),
            ("R_BLOCK", update_record.BLOCK),
            ("R_DONE", update_record.DONE),
            ("R_ARRAY", update_record.ARRAY),
            ("R_BYTES", update_record.BYTES),
        ),
    )


_native_set: Callable[[int, np.ndarray], None] | None = None


def set_natively(address: int) -> None:
    """Change cells by ``lt_cell_set``, whose address this is, from now on."""
    global _native_set
    # of the kind that keeps Python's lock
    _native_set = ctypes.PYFUNCTYPE(None, ctypes.c_int64, ctypes.py_object)(address)


#: how often shared variables were written; see Note [Overtaken]
_changes = ctypes.c_int64(0)


def changes_address() -> int:
    """Address of the number of changes of shared variables, an int64 that native code counts up."""
    return ctypes.addressof(_changes)


class Cell:
    """Holds one array. Native code knows its address for as long as it lives.

    Parameters
    ----------
    array : ndarray
        C-contiguous and aligned; kept, not copied.

    Attributes
    ----------
    address : int
        Address of the words.
    """

    __slots__ = ("_list", "_words", "address")

    def __init__(self, array: np.ndarray) -> None:
        self._list: list[Any] = [array]
        # rank and dtype are kept apart: whoever borrows the array may assign to its shape and dtype
        head = (id(self._list), array.ndim, array.dtype.num)
        self._words = np.array([*head, array.ctypes.data, 0, *array.shape, 0], dtype=np.int64)
        self.address = int(self._words.ctypes.data) + 8 * _HEAD

    @property
    def list_address(self) -> int:
        """Address of the list whose first item is the array."""
        return id(self._list)

    @property
    def array(self) -> np.ndarray:
        """The array."""
        array: np.ndarray = self._list[0]
        return array

    def set(self, array: np.ndarray) -> None:
        """Replace the array; the rank must stay.  See Note [Nothing in between]."""
        if _native_set is not None and type(array) is np.ndarray:
            _native_set(self.address, array)
            return
        new = [array.ctypes.data, 0, *array.shape]
        former, self._list[0] = self._list[0], array
        self._words[_HEAD : _HEAD + len(new)] = new
        _changes.value += 1
        del former


def copied(array: np.ndarray) -> np.ndarray:
    """A copy during which no other thread runs (NumPy lets go of Python's lock)."""
    if array.size < 256 or not array.flags.c_contiguous:
        return array.copy()
    copy = np.empty(array.shape, array.dtype)
    copy.reshape(-1).view(np.uint8).data[:] = array.reshape(-1).view(np.uint8).data
    return copy


def keep(value: Any) -> Any:
    """``value`` as a C-contiguous, aligned, writable, native-order array (itself if it is one)."""
    if (
        value.flags.c_contiguous
        and value.flags.aligned
        and value.flags.writeable
        and value.dtype.isnative
    ):
        return value
    return np.array(value, dtype=value.dtype.newbyteorder("="), order="C")
