"""Where a shared variable's value lives: a Python array and the words native code reads.

A cell is an int64 array ``[data pointer, 0, size 0, size 1, ...]`` beside the ndarray it
describes. Native code writes through the pointer; a value of another shape comes by `resize`.
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

    __slots__ = ("__weakref__", "array", "words")

    def __init__(self, array: np.ndarray) -> None:
        self.words = np.zeros(2 + max(1, array.ndim), dtype=np.int64)
        self.array = array
        self.set(array)
        _cells[self.address] = self

    @property
    def address(self) -> int:
        """Address of the words."""
        return int(self.words.ctypes.data)

    def set(self, array: np.ndarray) -> None:
        """Replace the array; the rank must stay."""
        self.array = array
        self.words[0] = array.ctypes.data
        self.words[2 : 2 + array.ndim] = array.shape


def _resize(address: int, dims: int) -> int:
    cell = _cells.get(address)
    if cell is None:
        return 1
    rank = cell.array.ndim
    shape = tuple((ctypes.c_int64 * rank).from_address(dims)) if rank else ()
    try:
        cell.set(np.empty(shape, dtype=cell.array.dtype))
    except MemoryError:
        return 1
    return 0


_RESIZE = ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(_resize)


def resize_address() -> int:
    """Address of the native function ``i64 resize(cell, dims)``."""
    return int(ctypes.cast(_RESIZE, ctypes.c_void_p).value or 0)


def keep(value: Any) -> Any:
    """``value`` as a C-contiguous, aligned, writable, native-order array (the same if it is one)."""
    if (
        value.flags.c_contiguous
        and value.flags.aligned
        and value.flags.writeable
        and value.dtype.isnative
    ):
        return value
    return np.array(value, dtype=value.dtype.newbyteorder("="), order="C")
