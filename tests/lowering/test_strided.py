"""Elements a constant distance apart are read and written by whole vectors, and no others."""

from __future__ import annotations

import ctypes
import mmap

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as tensor
from ltensor.lowering.cpu.strided import STRIDES, windows

DTYPES = ("float32", "float64", "int8", "int16", "bool", "complex64", "complex128", "float16")
SIZES = (0, 1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 62, 63, 64, 65, 66, 97, 128, 130, 193, 259)


@pytest.mark.parametrize("lanes", [2, 4, 8, 16, 32])
@pytest.mark.parametrize("stride", STRIDES)
def test_windows_cover_each_lane_and_nothing_beyond(stride: int, lanes: int) -> None:
    ends = (0, (lanes - 1) * stride)
    owned = {}
    for window in windows(stride, lanes):
        assert min(ends) <= window.start
        assert window.start + lanes - 1 <= max(ends)
        for place, lane in enumerate(window.lane):
            if lane is not None:
                owned.setdefault(lane, window.start + place)
                assert owned[lane] == window.start + place
    assert owned == {lane: lane * stride for lane in range(lanes)}


def _values(dtype: str, size: int) -> np.ndarray:
    return (np.arange(size) * 7 % 101 - 50).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("step", [-3, -2, -1, 2, 3, 4, 5])
def test_reading(dtype: str, step: int) -> None:
    x = tensor.vector("x", dtype)
    f = theano.function([x], [x[::step], x[1::step] + x[1::step]])
    for size in SIZES:
        data = _values(dtype, size)
        got = f(data)
        np.testing.assert_array_equal(got[0], data[::step])
        np.testing.assert_array_equal(got[1], data[1::step] + data[1::step])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("step", [-2, -1, 2, 3, 4, 5])
def test_writing_leaves_what_lies_between(dtype: str, step: int) -> None:
    x, y = tensor.vector("x", dtype), tensor.vector("y", dtype)
    f = theano.function([x, y], tensor.set_subtensor(x[::step], y))
    for size in SIZES:
        data = _values(dtype, size)
        part = _values(dtype, data[::step].size + 1)[1:]
        want = data.copy()
        want[::step] = part
        np.testing.assert_array_equal(f(data, part), want)


def _guarded(data: np.ndarray, at_end: bool) -> tuple[np.ndarray, mmap.mmap]:
    """A copy of an array that ends (or begins) at a page that may not be touched."""
    page = mmap.PAGESIZE
    pages = -(-data.nbytes // page)
    area = mmap.mmap(-1, (pages + 2) * page)
    address = ctypes.addressof(ctypes.c_char.from_buffer(area))
    libc = ctypes.CDLL(None, use_errno=True)
    for guard in (address, address + (pages + 1) * page):
        assert libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(page), 0) == 0
    start = page + (pages * page - data.nbytes if at_end else 0)
    result = np.frombuffer(area, data.dtype, data.size, start)
    result[:] = data
    return result, area


@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize("step", [-1, 2, 3, 4])
def test_no_memory_beyond_the_array_is_read(step: int, at_end: bool) -> None:
    x = tensor.fvector("x")
    f = theano.function([x], x[::step] * 2)
    keep = []
    for size in SIZES[1:]:
        data, area = _guarded(_values("float32", size), at_end)
        keep.append(area)
        np.testing.assert_array_equal(f(data), data[::step] * 2)
