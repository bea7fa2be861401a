"""Where the fields of NumPy's and CPython's structs lie in memory (layer 4).

JITted entries read arrays without calling anyone, so they depend on offsets that neither NumPy nor
CPython promise. They have been the same for NumPy 1.26 to 2.4 and CPython 3.10 to 3.13, in
ordinary 64-bit builds; others (free-threaded, debug with reference tracing) differ. `probe`
compares them with what Python says about a few objects, once; where it fails, calls take the
Python path.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import sysconfig
from typing import Final

import numpy as np

OBJECT_TYPE: Final = 8
ARRAY_DATA: Final = 16
ARRAY_NDIM: Final = 24
ARRAY_DIMS: Final = 32
ARRAY_STRIDES: Final = 40
ARRAY_DESCR: Final = 56
ARRAY_FLAGS: Final = 64
DESCR_WORD: Final = 24
"""Eight bytes of a descr: kind, char, byte order, flags (one each) and type number (four)."""
SCALAR_VALUE: Final = 16
"""Where a Python float and NumPy's scalars keep their value."""

C_CONTIGUOUS_ALIGNED: Final = 0x101
OWNS_DATA: Final = 0x4
DESCR_WORD_MASK: Final = 0xFFFF_FFFF_00FF_FFFF
"""Leaves out the flags byte, which NumPy 2 does not use any more."""

TYPE_BASICSIZE: Final = 32
TYPE_VECTORCALL_OFFSET: Final = 56
TYPE_FLAGS: Final = 168
FLAG_VECTORCALL: Final = 1 << 11

_SCALARS = (
    1.5,
    np.float64(-2.5),
    np.float32(3.25),
    np.int64(7),
    np.int32(-9),
    np.int8(5),
    np.bool_(True),
)


def descr_word(dtype: str) -> int:
    """Return the masked `DESCR_WORD` of a native dtype: constants of NumPy's ABI, no addresses."""
    descr = np.dtype(dtype)
    return ord(descr.kind) | ord(descr.char) << 8 | ord(descr.byteorder) << 16 | descr.num << 32


def _word(address: int) -> int:
    return ctypes.c_uint64.from_address(address).value


def _int(address: int) -> int:
    return ctypes.c_int32.from_address(address).value


def _array_as_assumed(array: np.ndarray) -> bool:
    """Compare one array's struct with what its attributes say."""
    at = id(array)
    descr = _word(at + ARRAY_DESCR)
    fields = (
        _word(at + OBJECT_TYPE) == id(np.ndarray),
        _word(at + ARRAY_DATA) == array.ctypes.data,
        _int(at + ARRAY_NDIM) == array.ndim,
        _int(at + ARRAY_FLAGS) == array.flags.num,
        descr == id(array.dtype),
    )
    if not all(fields):
        return False
    dims, strides = _word(at + ARRAY_DIMS), _word(at + ARRAY_STRIDES)
    return (
        all(_word(dims + 8 * k) == n for k, n in enumerate(array.shape))
        and all(_word(strides + 8 * k) == n for k, n in enumerate(array.strides))
        and _word(descr + DESCR_WORD) & DESCR_WORD_MASK == descr_word(array.dtype.name)
        and bool(array.flags.c_contiguous and array.flags.aligned)
        == (array.flags.num & C_CONTIGUOUS_ALIGNED == C_CONTIGUOUS_ALIGNED)
    )


def _scalar_as_assumed(value: float | np.generic) -> bool:
    array = np.asarray(value)
    return ctypes.string_at(id(value) + SCALAR_VALUE, array.itemsize) == array.tobytes()


def _type_as_assumed(cls: type) -> bool:
    at = id(cls)
    sizes_agree = _word(at + TYPE_BASICSIZE) == cls.__basicsize__
    return sizes_agree and _word(at + TYPE_FLAGS) == cls.__flags__


def _vectorcall_as_assumed() -> bool:
    """Say whether function types have the flag and a sensible offset where they are looked for."""
    for cls in (type(_word), type(len)):
        at = id(cls)
        offset = _word(at + TYPE_VECTORCALL_OFFSET)
        if not _word(at + TYPE_FLAGS) & FLAG_VECTORCALL or not 16 <= offset < cls.__basicsize__:
            return False
    return True


def _counts_as_assumed() -> bool:
    """Whether an object begins with the number of references to it."""
    witness = np.empty(1)
    before = _int(id(witness))
    held = [witness, witness]
    return _int(id(witness)) == before + len(held)


@functools.cache
def probe() -> str:
    """Return why struct layouts are not as assumed, or an empty string if they are."""
    if sys.implementation.name != "cpython":
        return f"{sys.implementation.name} has no CPython object layout"
    if ctypes.sizeof(ctypes.c_void_p) != 8 or sys.byteorder != "little":
        return "not a 64-bit little-endian process"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "free-threaded builds have another object header"
    if _word(id(layout_witness := object()) + OBJECT_TYPE) != id(object):
        return f"unknown object header of {layout_witness!r}"
    arrays = (
        np.arange(6.0).reshape(2, 3),
        np.zeros((2, 0, 3), dtype="float32"),
        np.array(3, dtype="int64"),
        np.zeros((3, 5), dtype="int8").T,
        np.ones(9, dtype="complex128")[::2],
        np.zeros(4, dtype="bool"),
    )
    if not _counts_as_assumed():
        return "unknown place of reference counts"
    if not all(map(_array_as_assumed, arrays)):
        return f"unknown layout of numpy.ndarray in NumPy {np.__version__}"
    if not all(map(_scalar_as_assumed, _SCALARS)):
        return f"unknown layout of NumPy's scalars in NumPy {np.__version__}"
    if not all(map(_type_as_assumed, (object, type, np.ndarray, ctypes.Structure))):
        return f"unknown layout of type objects in Python {sys.version.split()[0]}"
    if not _vectorcall_as_assumed():
        return f"unknown vectorcall convention in Python {sys.version.split()[0]}"
    return ""


def is_available() -> bool:
    """Say whether native entries may read arrays here (`probe` gives the reason if not)."""
    return not probe()


def __getattr__(name: str) -> bool:
    if name == "available":
        return is_available()
    raise AttributeError(name)
