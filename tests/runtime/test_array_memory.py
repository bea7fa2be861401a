"""Large results lie in blocks of the pool, and are arrays like any other."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T
from ltensor.lowering.cpu import block_pool
from ltensor.runtime import array_memory

N = 100_000


@pytest.fixture
def f():
    x = T.dvector("x")
    made = theano.function([x], x + 1)
    made(np.zeros(3))
    block_pool.release()
    yield made
    block_pool.release()


def test_this_numpy_is_as_assumed() -> None:
    assert array_memory.as_assumed()


def test_memory_goes_back_to_the_pool_and_is_used_again(f) -> None:
    value = np.arange(N, dtype=float)
    result = f(value)
    assert result.flags.owndata
    assert result.base is None
    assert result.ctypes.data % 64 == 0
    place = result.ctypes.data
    del result
    gc.collect()
    assert block_pool.kept_bytes() >= 8 * N
    again = f(value)
    assert again.ctypes.data == place
    np.testing.assert_array_equal(again, value + 1)


def test_results_that_live_do_not_share_memory(f) -> None:
    results = [f(np.full(N, float(k))) for k in range(5)]
    for k, r in enumerate(results):
        assert (r == k + 1).all()
    view = results[2][10:]
    del results
    assert (view == 3).all()


def test_resize_pickle_copy(f) -> None:
    value = np.arange(N, dtype=float)
    r = f(value)
    r.resize(2 * N, refcheck=False)
    np.testing.assert_array_equal(r[:N], value + 1)
    assert not r[N:].any()
    r.resize(10, refcheck=False)
    np.testing.assert_array_equal(r, value[:10] + 1)
    r.resize(N, refcheck=False)
    np.testing.assert_array_equal(r[:10], value[:10] + 1)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(f(value))), value + 1)
    np.testing.assert_array_equal(f(value).copy(), value + 1)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "float32", "complex128", "float16"])
def test_other_dtypes(dtype: str) -> None:
    x = T.matrix("x", dtype=dtype)
    g = theano.function([x], x.T[:, ::-1])
    value = (np.arange(400_000) % 7).astype(dtype).reshape(500, 800)
    np.testing.assert_array_equal(g(value), value.T[:, ::-1])


def test_arrays_outlive_the_library() -> None:
    code = """
import numpy as np, ltensor as theano, ltensor.tensor as T
x = T.dvector()
keep = theano.function([x], x + 1)(np.zeros(100000))
import builtins
builtins.kept_to_the_end = keep
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
