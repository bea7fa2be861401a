"""Rows sorted by vectors: every dtype, all widths of vectors, sizes around their edges."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T
from ltensor.errors import UnsupportedError
from ltensor.lowering import sorting
from ltensor.lowering.cpu import jit
from ltensor.ops import sort_rows
from ltensor.ops.sort_rows import DTYPES, work_words

SIZES = (0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 100, 129, 1000, 32768, 32769, 70001)
SMALL = 200


def compiled(dtype: str, places: bool, vector_bytes: int) -> Callable[..., np.ndarray]:
    """The run time's function; it must not write beyond result and work space."""
    text = sorting.module_text(dtype, places, vector_bytes)
    module = jit.compile_module(text, optimize=True)
    address = module.address(f"lt_{'argsort' if places else 'sort'}_{dtype}")
    word, pointer = ctypes.c_int64, ctypes.c_void_p
    call = ctypes.CFUNCTYPE(None, pointer, word, pointer, word, word, pointer)(address)

    def run(x: np.ndarray, step: int = 1) -> np.ndarray:
        assert module is not None
        n = len(x) // step
        each, more = work_words(dtype, places)
        work = np.full(each * n + more + 8, 77, "int64")
        result = np.full(n * step + 8, 1, "int64" if places else dtype)
        call(x.ctypes.data, step, result.ctypes.data, step, n, work.ctypes.data)
        assert (work[-8:] == 77).all()
        assert (result[n * step :] == 1).all()
        return result[: n * step : step]

    return run


def rows(dtype: str, n: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Different elements, many equal ones, and the ends of the range."""
    few = rng.integers(0, 2 if dtype == "bool" else 5, n).astype(dtype)
    if dtype == "bool":
        return [few]
    ends = few.copy()
    if dtype.startswith("float"):
        many = rng.standard_normal(n).astype(dtype)
        some: list[Any] = [np.nan, -np.nan, np.inf, -np.inf, -0.0, 1e-40]
    else:
        info = np.iinfo(dtype)
        many = rng.integers(info.min, info.max, n, dtype=dtype, endpoint=True)
        some = [info.min, info.max]
    for value in some if n else ():
        ends[rng.integers(0, n, n // 4 + 1)] = np.array(value).astype(dtype)
    return [many, few, ends]


@pytest.mark.parametrize("places", [False, True], ids=["sort", "argsort"])
@pytest.mark.parametrize("dtype", sorted(DTYPES))
@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
def test_rows(dtype: str, places: bool, vector_bytes: int) -> None:
    if vector_bytes > jit.host().vector_bytes:
        pytest.skip("no such registers here")
    if vector_bytes != 64 and dtype not in ("float32", "float64", "uint8", "uint64"):
        pytest.skip("the width does not depend on that")
    run, rng = compiled(dtype, places, vector_bytes), np.random.default_rng(3)
    for n in SIZES:
        for x in rows(dtype, n, rng):
            expected = np.argsort(x, kind="stable") if places else np.sort(x)
            np.testing.assert_array_equal(run(x), expected)
            if n < SMALL:
                apart = np.zeros(3 * n, dtype)
                apart[::3] = x
                np.testing.assert_array_equal(run(apart, 3), expected)


def test_numbers_and_nans_keep_their_bits() -> None:
    x = np.array([np.nan, 3, -0.0, -np.inf, 1e-310, np.inf, 0.0, -5], "float64")
    result = compiled("float64", False, jit.host().vector_bytes)(x)
    np.testing.assert_array_equal(result, np.sort(x))
    assert sorted(map(bytes, result[:-1].view("S8"))) == sorted(map(bytes, x[1:].view("S8")))


@pytest.mark.parametrize("axis", [0, 1, 2, None])
def test_along_axes(axis: int | None) -> None:
    x = T.tensor3("x", dtype="float32")
    value = np.random.default_rng(4).integers(0, 9, (5, 17, 33)).astype("float32")
    f = theano.function([x], [T.sort(x, axis), T.argsort(x, axis), T.sort(x[:, ::-2], axis)])
    ordered, places, backwards = f(value)
    np.testing.assert_array_equal(ordered, np.sort(value, axis))
    np.testing.assert_array_equal(places, np.argsort(value, axis, kind="stable"))
    np.testing.assert_array_equal(backwards, np.sort(value[:, ::-2], axis))
    calls = f._linked.lowered.program.calls
    assert {"lt_sort_float32", "lt_argsort_float32"} <= set(calls)


def test_complex_numbers_are_sorted_by_loops() -> None:
    x = T.zvector("x")
    value = np.array([2 + 1j, 1 - 1j, 2 - 1j, 1 + 0j])
    f = theano.function([x], T.sort(x))
    np.testing.assert_array_equal(f(value), np.sort(value))
    assert not any("sort" in name for name in f._linked.lowered.program.calls)


def test_complex_numbers_with_nans_come_last() -> None:
    x, nan, inf = T.zvector("x"), np.nan, np.inf
    parts = [complex(re, im) for re in (nan, 1, -inf, 0) for im in (2, nan, inf, -1)]
    value = np.random.default_rng(6).permutation(np.array(3 * parts))
    ordered, places, found = theano.function(
        [x], [T.sort(x), T.argsort(x), T.extra_ops.searchsorted(T.sort(x), x)]
    )(value)
    np.testing.assert_array_equal(ordered, np.sort(value, kind="stable"))
    np.testing.assert_array_equal(places, np.argsort(value, kind="stable"))
    np.testing.assert_array_equal(found, np.searchsorted(np.sort(value), value))


def test_rows_are_shared_by_threads() -> None:
    x = T.fmatrix("x")
    value = np.random.default_rng(5).standard_normal((300, 1000)).astype("float32")
    with theano.config.change_flags(num_threads=2):
        f = theano.function([x], [T.sort(x), T.argsort(x)])
    assert len(f._linked.lowered.program.shared_loops) == 2
    np.testing.assert_array_equal(f(value)[0], np.sort(value))
    np.testing.assert_array_equal(f(value)[1], np.argsort(value, kind="stable"))


def test_places_that_do_not_fit_their_half_of_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sort_rows, "PACKED_PLACES", 5)
    x, y = T.fvector("x"), T.dvector("y")
    f = theano.function([x, y], [T.argsort(x), T.argsort(y)])
    assert f(np.ones(5, "float32"), np.ones(6))[0].tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(UnsupportedError, match=r"argsort of 6 elements of float32 .* cast them"):
        f(np.ones(6, "float32"), np.ones(6))
