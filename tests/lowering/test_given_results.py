"""Buffers of the call that become results under other sizes: no copy where nobody else has them."""

from __future__ import annotations

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T


def count(f, op: str) -> int:
    body = f._linked.lowered.program.root.body
    return sum(getattr(entry, "op", "") == op for entry in body)


@pytest.mark.parametrize("n", [0, 4, 4000])
def test_a_reshaped_result_is_not_copied(n: int) -> None:
    x = T.fmatrix("x")
    functions = [
        theano.function([x], T.exp(x).reshape((x.shape[0] * 3, 4))),
        theano.function([x], T.repeat(x, 3, 0)),
        theano.function([x], T.tile(x, (2, 3))),
    ]
    a = np.random.default_rng(0).random((n, 12)).astype("float32")
    for turn in range(3):
        b = a * (turn + 1)
        wanted = [np.exp(b).reshape(-1, 4), np.repeat(b, 3, 0), np.tile(b, (2, 3))]
        for f, right in zip(functions, wanted, strict=True):
            assert (count(f, "adopt_output"), count(f, "memcpy")) == (1, 0)
            np.testing.assert_allclose(f(b), right, rtol=1e-5)


def test_results_do_not_share_memory() -> None:
    x = T.fmatrix("x")
    y = T.exp(x)
    s = theano.shared(np.zeros((1, 1), "float32"))
    reshaped, flat = y.reshape((x.shape[0] * 3, 4)), y.flatten()
    a = np.random.default_rng(0).random((4000, 12)).astype("float32")
    right = np.exp(a)
    for outputs in ([reshaped, reshaped], [reshaped, flat], [reshaped, y], [reshaped[1:], flat]):
        f = theano.function([x], outputs, updates=[(s, reshaped + 1)])
        for _ in range(3):
            first, second = f(a)
            assert not np.shares_memory(first, second)
            kept = second.copy()
            first[...] = 0
            np.testing.assert_array_equal(second, kept)
            np.testing.assert_allclose(s.get_value(), right.reshape(-1, 4) + 1, rtol=1e-5)
