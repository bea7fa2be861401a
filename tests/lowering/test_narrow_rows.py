"""Reductions along rows of a few elements: a nest of their own, chosen when it runs."""

from __future__ import annotations

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T
from ltensor.lowering.program import If, Loop
from ltensor.lowering.rewrites.held_rows import HELD

SHAPES = [(n, m) for n in (0, 1, 9, 70) for m in (1, 2, 3, 5, 8, 9, HELD, HELD + 1, 40)]
REDUCTIONS = {
    "sum": (lambda m, x: m.sum(x, axis=1), 1e-6),
    "largest": (lambda m, x: m.max(x, axis=1), 0),
    "smallest": (lambda m, x: m.min(x * x, axis=1), 1e-6),
    "product": (lambda m, x: m.prod(x, axis=1), 1e-5),
    "norm": (lambda m, x: m.sqrt(m.sum((x - 1) ** 2, axis=1)), 1e-6),
    "exponentials": (lambda m, x: m.sum(m.exp(x), axis=1) * 2, 1e-6),
    "any": (lambda m, x: m.any(m.gt(x, 1) if m is T else x > 1, axis=1), 0),
    "argmax": (lambda m, x: m.argmax(x, axis=1), 0),
    "argmin": (lambda m, x: m.argmin(x, axis=1), 0),
}


def branches(f) -> list[If]:
    return [e for e in f._linked.lowered.program.root.body if isinstance(e, If)]


def inner_loops(f) -> list[Loop]:
    outer = [e for e in f._linked.lowered.program.root.body if isinstance(e, Loop)]
    return [e for loop in outer for e in loop.body.body if isinstance(e, Loop)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_rows_of_any_length(name: str, dtype: str) -> None:
    function, tolerance = REDUCTIONS[name]
    x = T.matrix("x", dtype=dtype)
    f = theano.function([x], function(T, x))
    assert len(branches(f)) == 1
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        a = rng.standard_normal(shape).astype(dtype)
        for given in (a, np.asfortranarray(a), rng.standard_normal((shape[0], 80)).astype(dtype)):
            given = given[:, : 2 * shape[1] : 2] if given.shape[1] == 80 else given
            want = function(np, given.astype("float64") if tolerance else given)
            np.testing.assert_allclose(f(given), want, rtol=tolerance or 1e-7, atol=tolerance)


@pytest.mark.parametrize("columns", [2, 7, HELD, 30])
@pytest.mark.parametrize("name", ["largest", "argmax", "argmin", "sum"])
def test_nan_is_found_in_either_nest(name: str, columns: int) -> None:
    function, _ = REDUCTIONS[name]
    x = T.matrix("x", dtype="float64")
    f = theano.function([x], function(T, x))
    a = np.random.default_rng(1).standard_normal((50, columns))
    a[::3, columns // 2] = np.nan
    a[::6, -1] = np.nan
    np.testing.assert_allclose(f(a), function(np, a), rtol=1e-13)


def test_empty_rows() -> None:
    x = T.matrix("x", dtype="float64")
    np.testing.assert_array_equal(theano.function([x], x.sum(axis=1))(np.ones((3, 0))), np.zeros(3))
    for expression in (T.max(x, axis=1), T.argmax(x, axis=1)):
        with pytest.raises(ValueError, match=r"zero-size|empty"):
            theano.function([x], expression)(np.ones((3, 0)))


def test_a_known_length_needs_no_branch() -> None:
    x = T.matrix("x", dtype="float64")
    for columns in (3, HELD + 1):
        value = T.stack([x[:, 0] * k for k in range(columns)], axis=1)
        f = theano.function([x], T.specify_shape(value, (x.shape[0], columns)).max(axis=1))
        assert not branches(f)
    v = T.vector("v", dtype="float64")
    for length, held in ((2, 0), (6, 8), (9, 16)):
        numbers = np.arange(1.0, length + 1)
        f = theano.function([v], (v.dimshuffle(0, "x") * numbers).sum(axis=1))
        assert not branches(f)
        (inner,) = inner_loops(f)
        assert (inner.kind == "serial") == (held == 0)
        assert inner.held == held
        np.testing.assert_allclose(f(np.arange(5.0)), numbers.sum() * np.arange(5.0))


def test_threads_share_both_nests() -> None:
    x = T.matrix("x", dtype="float64")
    for threads in (1, 2):
        with theano.config.change_flags(num_threads=threads):
            f = theano.function([x], [T.argmax(x, axis=1), T.sum(T.exp(x), axis=1)])
        for columns in (3, 50):
            a = np.random.default_rng(3).standard_normal((100_000, columns))
            places, sums = f(a)
            np.testing.assert_array_equal(places, a.argmax(1))
            np.testing.assert_allclose(sums, np.exp(a).sum(1), rtol=1e-13)
