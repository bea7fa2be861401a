"""Runs of adjacent elements between buffers, for every vector width."""

from __future__ import annotations

import ctypes
import functools

import numpy as np
import pytest

from ltensor.lowering.cpu import jit
from ltensor.lowering.gemm import runs
from ltensor.lowering.gemm.element import SHORT_NAMES, SimpleHost

I64, PTR = ctypes.c_int64, ctypes.c_void_p
LENGTHS = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 48, 50, 65, 130)


@functools.cache
def _function(form: str, dtype: str, width: int):
    text = runs.module_text(dtype, SimpleHost(width, False))
    module = jit.compile_module(text)
    address = module.address(f"lt_runs_{form}_{SHORT_NAMES[dtype]}")
    call = ctypes.CFUNCTYPE(None, *[I64] * 7, PTR, I64, PTR, I64)(address)
    call.module = module
    return call


@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int16", "int32", "uint64"])
@pytest.mark.parametrize("form", runs.FORMS)
def test_runs(form: str, dtype: str, width: int) -> None:
    if width > jit.host().vector_bytes:
        pytest.skip("no such vectors here")
    call = _function(form, dtype, width)
    rng = np.random.default_rng(1)
    for n in LENGTHS:
        for outer, rows, gap in ((1, 1, 0), (3, 4, 0), (2, 5, 3), (4, 1, 1), (0, 2, 2), (2, 0, 2)):
            far, near = (rows + 1) * (n + gap) + 2, n + gap
            source = rng.integers(0, 50, 7 + (outer + 1) * far).astype(dtype)
            target = rng.integers(0, 50, 5 + (outer + 1) * (rows * (n + 1) + 1)).astype(dtype)
            want = target.copy()
            for o in range(outer):
                for r in range(rows):
                    here, there = 7 + o * far + r * near, 5 + o * (rows * (n + 1) + 1) + r * n
                    part = source[here : here + n]
                    if form == "add":
                        part = part + want[there : there + n]
                    want[there : there + n] = part
            call(
                outer, far, rows * (n + 1) + 1, rows, near, n, n,
                source.ctypes.data, 7, target.ctypes.data, 5,
            )  # fmt: skip
            np.testing.assert_array_equal(target, want)
