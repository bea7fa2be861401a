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


@pytest.mark.parametrize("n", [3, 300])
@pytest.mark.parametrize("allow_gc", [True, False])
def test_results_that_are_new_values_of_shared_variables(n: int, allow_gc: bool) -> None:
    a = np.random.default_rng(0).random((n, n))
    s, flat = theano.shared(a), theano.shared(np.zeros(n * n))
    new = T.exp(-s)
    # of the new value in place; the new value of another
    read, other = (new + new[::-1]).flatten(), new.flatten()
    with theano.config.change_flags(allow_gc=allow_gc):
        functions = [
            theano.function([], [other], updates=[(flat, other)]),
            theano.function([], [other, other], updates=[(flat, other), (s, new)]),
            theano.function([], [read], updates=[(s, new)]),
            theano.function([], [read, other], updates=[(s, new), (flat, read)]),
        ]
    kept = []
    for turn in range(12):
        a = np.exp(-s.get_value())
        right = {read: (a + a[::-1]).ravel(), other: a.ravel()}
        f = functions[turn % 4]
        updates = dict([[(flat, other)], [(flat, other)], [], [(flat, read)]][turn % 4])
        wanted = [[other], [other, other], [read], [read, other]][turn % 4]
        results = f()
        for result, variable in zip(results, wanted, strict=True):
            np.testing.assert_allclose(result, right[variable])
        for variable, value in updates.items():
            np.testing.assert_allclose(variable.get_value(), right[value])
        if turn % 4:
            np.testing.assert_allclose(s.get_value(), a)
        kept += [(r, r.copy()) for r in results]
        for result, copy in kept:
            np.testing.assert_array_equal(result, copy)
