"""Where a shared variable's value lives: a Python array and the words native code reads.

A cell is an int64 array ``[data pointer, pointer to come, size 0, size 1, ...]`` beside the ndarray
it describes. Native code writes through the pointer. Room for a value of another shape is made in
two steps, so that a call that runs out of memory leaves all shared variables as they were:
``resize`` allocates it, ``adopt`` puts it in the place of the old array.
"""

from __future__ import annotations

import ctypes
import weakref
from typing import Any

import numpy as np

_cells: weakref.WeakValueDictionary[int, Cell] = weakref.WeakValueDictionary()


class Cell:
    """Holds one array. Native code knows its address for as long as it lives.

    Parameters
    ----------
    array : ndarray
        C-contiguous and aligned; kept, not copied.
    """

    __slots__ = ("__weakref__", "array", "coming", "dtype", "rank", "words")

    def __init__(self, array: np.ndarray) -> None:
        self.words = np.zeros(2 + max(1, array.ndim), dtype=np.int64)
        # kept apart: whoever borrows the array may assign to its shape and dtype
        self.rank, self.dtype = array.ndim, array.dtype
        self.coming: np.ndarray | None
        self.set(array)
        _cells[self.address] = self

    @property
    def address(self) -> int:
        """Address of the words."""
        return int(self.words.ctypes.data)

    def set(self, array: np.ndarray) -> None:
        """Replace the array; the rank must stay."""
        self.array, self.coming = array, None
        self.words[0] = array.ctypes.data
        self.words[2 : 2 + array.ndim] = array.shape


def _resize(address: int, dims: int) -> int:
    try:
        cell = _cells[address]
        shape = tuple((ctypes.c_int64 * cell.rank).from_address(dims)) if cell.rank else ()
        cell.coming = np.empty(shape, dtype=cell.dtype)
        cell.words[1] = cell.coming.ctypes.data
    except Exception:
        # an exception cannot pass through native code, which raises MemoryError for us
        return 1
    return 0


def _adopt(address: int) -> int:
    cell = _cells[address]
    array, cell.coming = cell.coming, None
    assert array is not None
    cell.set(array)
    return 0


_RESIZE = ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(_resize)
_ADOPT = ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(_adopt)


def resize_address() -> int:
    """Address of the native function ``i64 resize(cell, dims)``; not zero if there is no memory."""
    return int(ctypes.cast(_RESIZE, ctypes.c_void_p).value or 0)


def adopt_address() -> int:
    """Address of the native function ``i64 adopt(cell)``."""
    return int(ctypes.cast(_ADOPT, ctypes.c_void_p).value or 0)


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
