"""``tensor.nnet.blocksparse``: products of chosen blocks."""

from __future__ import annotations

import numpy as np
import pytest

import ltensor
import ltensor.tensor as T
from ltensor.tensor.nnet.blocksparse import (
    sparse_block_dot,
    sparse_block_gemv,
    sparse_block_outer,
)

RNG = np.random.default_rng(0)
W = RNG.normal(size=(4, 5, 3, 2))
H = RNG.normal(size=(6, 2, 3))
B = RNG.normal(size=(5, 2))
ROWS = RNG.integers(0, 4, (6, 2))
COLUMNS = RNG.integers(0, 5, (6, 3))
WANTED = np.array(
    [
        [B[c] + sum(H[n, i] @ W[r, c] for i, r in enumerate(ROWS[n])) for c in COLUMNS[n]]
        for n in range(6)
    ]
)


def test_values_and_gradients() -> None:
    w, h, b = T.dtensor4(), T.dtensor3(), T.dmatrix()
    rows, columns = T.lmatrix(), T.imatrix()
    out = sparse_block_dot(w, h, rows, b, columns)
    function = ltensor.function([w, h, rows, b, columns], [out, *T.grad((out**2).sum(), [w, h, b])])
    value, dw, dh, db = function(W, H, ROWS, B, COLUMNS.astype("int32"))
    np.testing.assert_allclose(value, WANTED)
    slope_w, slope_h, slope_b = np.zeros_like(W), np.zeros_like(H), np.zeros_like(B)
    for n in range(6):
        for j, c in enumerate(COLUMNS[n]):
            slope_b[c] += 2 * WANTED[n, j]
            for i, r in enumerate(ROWS[n]):
                slope_w[r, c] += np.outer(H[n, i], 2 * WANTED[n, j])
                slope_h[n, i] += W[r, c] @ (2 * WANTED[n, j])
    for found, wanted in ((dw, slope_w), (dh, slope_h), (db, slope_b)):
        np.testing.assert_allclose(found, wanted)


def test_no_block_is_copied() -> None:
    """The chosen blocks are read where they are."""
    w, h, b, rows, columns = T.ftensor4(), T.ftensor3(), T.fmatrix(), T.lmatrix(), T.lmatrix()
    function = ltensor.function([w, h, rows, b, columns], sparse_block_dot(w, h, rows, b, columns))
    buffers = [line for line in str(function.explain()).splitlines() if "result of" in line]
    assert len(buffers) == 1
    assert "sum" in buffers[0]


def test_one_sample() -> None:
    assert T.nnet.sparse_block_dot is sparse_block_dot
    function = ltensor.function([], sparse_block_dot(W, H[1], ROWS[1], B, COLUMNS[1]))
    np.testing.assert_allclose(function(), WANTED[1:2])


def test_outer() -> None:
    x, y = RNG.normal(size=(6, 2, 3)), RNG.normal(size=(6, 3, 2))
    wanted = W.copy()
    for n in range(6):
        for i, r in enumerate(ROWS[n]):
            for j, c in enumerate(COLUMNS[n]):
                wanted[r, c] += 0.5 * np.outer(x[n, i], y[n, j])
    function = ltensor.function([], sparse_block_outer(W, x, y, ROWS, COLUMNS, 0.5))
    np.testing.assert_allclose(function(), wanted)


def test_what_is_refused() -> None:
    with pytest.raises(TypeError, match="W must have 4 dimensions, not 3"):
        sparse_block_gemv(WANTED, W[0], H, ROWS, COLUMNS)
    with pytest.raises(TypeError, match="inputIdx must be integers"):
        sparse_block_gemv(WANTED, W, H, ROWS * 1.0, COLUMNS)
