"""Where a shared variable's value lives: a Python array and the words native code reads.

A cell has an int64 array ``[data pointer, pointer to come, size 0, size 1, ...]`` beside the
ndarray it describes. Native code writes through the pointer. Room for a value of another shape is
made in two steps, so that a call that runs out of memory leaves all shared variables as they were:
``resize`` allocates it, ``adopt`` puts it in the place of the old array.

Note [Nothing in between]. Words and array change in native code only, once there is any: it runs no
bytecode, so neither another thread nor a signal sees words that point to an array that is gone. The
array is held by a list, which native code can change by Python's public functions.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from ltensor.runtime import layout

__all__ = ["EXPORTS", "Cell", "copied", "keep", "module_text", "set_natively"]

#: words in front of the address: the list, the rank, NumPy's number of the dtype
_HEAD: Final = 3

#: functions of the support module that this text defines
EXPORTS: Final = ("lt_cell_resize", "lt_cell_adopt", "lt_cell_set")

_TEXT = r"""
; Make room for a value of other sizes; not 0, with an exception set, if there is no memory.
define i64 @lt_cell_resize(ptr %cell, ptr %dims) nounwind {
  %rank.at = getelementptr i64, ptr %cell, i64 -2
  %rank.all = load i64, ptr %rank.at
  %rank = trunc i64 %rank.all to i32
  %type.at = getelementptr i64, ptr %cell, i64 -1
  %type.all = load i64, ptr %type.at
  %type = trunc i64 %type.all to i32
  %array = call ptr @lt_new_array(i32 %type, i32 %rank, ptr %dims)
  %none = icmp eq ptr %array, null
  br i1 %none, label %poor, label %rich
rich:
  %data.at = getelementptr i8, ptr %array, i64 ARRAY_DATA
  %data = load ptr, ptr %data.at
  %coming.at = getelementptr i64, ptr %cell, i64 1
  store ptr %data, ptr %coming.at
  %list.at = getelementptr i64, ptr %cell, i64 LIST
  %list = load ptr, ptr %list.at
  %ignored = call i32 @PyList_SetItem(ptr %list, i64 1, ptr %array)
  ret i64 0
poor:
  ret i64 1
}

; Put the array to come in the place of the old one.
define i64 @lt_cell_adopt(ptr %cell) nounwind {
  %list.at = getelementptr i64, ptr %cell, i64 LIST
  %list = load ptr, ptr %list.at
  %array = call ptr @PyList_GetItem(ptr %list, i64 1)
  ; freeing another array may have run Python code, and that a call that took this one away
  %gone = icmp eq ptr %array, @_Py_NoneStruct
  br i1 %gone, label %done, label %there
there:
  call void @lt_cell_set(ptr %cell, ptr %array)
  br label %done
done:
  ret i64 0
}

; Let a cell hold an array of its rank and dtype, C-contiguous and aligned.
define void @lt_cell_set(ptr %cell, ptr %array) nounwind {
start:
  %list.at = getelementptr i64, ptr %cell, i64 LIST
  %list = load ptr, ptr %list.at
  %rank.at = getelementptr i64, ptr %cell, i64 -2
  %rank = load i64, ptr %rank.at
  %data.at = getelementptr i8, ptr %array, i64 ARRAY_DATA
  %data = load ptr, ptr %data.at
  store ptr %data, ptr %cell
  %coming.at = getelementptr i64, ptr %cell, i64 1
  store ptr null, ptr %coming.at
  %dims.at = getelementptr i8, ptr %array, i64 ARRAY_DIMS
  %dims = load ptr, ptr %dims.at
  %sizes = getelementptr i64, ptr %cell, i64 2
  %bytes = shl i64 %rank, 3
  call void @llvm.memcpy.p0.p0.i64(ptr %sizes, ptr %dims, i64 %bytes, i1 false)
  %old = call ptr @PyList_GetItem(ptr %list, i64 0)
  call void @Py_IncRef(ptr %old)
  call void @Py_IncRef(ptr %array)
  %first = call i32 @PyList_SetItem(ptr %list, i64 0, ptr %array)
  call void @Py_IncRef(ptr @_Py_NoneStruct)
  %second = call i32 @PyList_SetItem(ptr %list, i64 1, ptr @_Py_NoneStruct)
  ; last: who borrowed it may have attached Python code to its end
  call void @Py_DecRef(ptr %old)
  ret void
}
"""


def module_text() -> str:
    """The part of the support module that changes cells."""
    text = _TEXT
    for name, number in (
        ("ARRAY_DATA", layout.ARRAY_DATA),
        ("ARRAY_DIMS", layout.ARRAY_DIMS),
        ("LIST", -_HEAD),
    ):
        text = text.replace(name, str(number))
    return text


_native_set: Callable[[int, np.ndarray], None] | None = None


def set_natively(address: int) -> None:
    """Change cells by ``lt_cell_set``, whose address this is, from now on."""
    global _native_set
    # of the kind that keeps Python's lock
    _native_set = ctypes.PYFUNCTYPE(None, ctypes.c_int64, ctypes.py_object)(address)


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
        self._list: list[Any] = [array, None]
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
        self._list[1] = array
        self._words[_HEAD : _HEAD + len(new)] = new
        self._list[0] = array


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
