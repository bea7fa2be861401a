"""Reductions of a few elements, known in number: lanes are results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T
from ltensor.lowering.program import Loop, walk


def kinds(f: Any) -> list[str]:
    """The kinds of loops of a program, outer ones first."""
    return [e.kind for e in walk(f._linked.lowered.program.root) if isinstance(e, Loop)]


def squares(a: Any, size: int) -> Any:
    n, h, w = 3, 10, 7
    return a.reshape((n, h, size, w, size))


REDUCTIONS = {
    "max": lambda a, axes: a.max(axis=axes),
    "mean": lambda a, axes: a.mean(axis=axes),
    "smallest square": lambda a, axes: (a * a).min(axis=axes),
    "all": lambda a, axes: (a > -1).all(axis=axes),
    "spread": lambda a, axes: a.max(axis=axes) - a.min(axis=axes),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
@pytest.mark.parametrize("size", [2, 3, 4, 5])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_squares(name: str, size: int, dtype: str) -> None:
    x = T.tensor3("x", dtype=dtype)
    f = theano.function([x], REDUCTIONS[name](squares(x, size), (2, 4)))
    rng = np.random.default_rng(0)
    a = (10 * rng.standard_normal((3, 10 * size, 7 * size))).astype(dtype)
    if dtype != "int32":
        a[0, 0, 0], a[1, size, 3] = np.nan, -np.inf
    with np.errstate(invalid="ignore"):
        want = REDUCTIONS[name](squares(a, size), (2, 4))
    result = f(a)
    np.testing.assert_allclose(result, want, rtol=1e-5, atol=1e-5)
    if size <= 4:
        assert kinds(f)[:4] == ["serial", "vector", "serial", "serial"]


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("rows", [0, 1, 5, 70])
def test_rows(rows: int, size: int) -> None:
    x = T.dmatrix("x")
    known = T.specify_shape(x, (x.shape[0], size))
    f = theano.function([x], [T.exp(known).sum(axis=1), T.sqrt(T.sqr(known).sum(axis=1))])
    a = np.random.default_rng(1).standard_normal((rows, size))
    exponentials, norms = f(a)
    np.testing.assert_allclose(exponentials, np.exp(a).sum(axis=1), rtol=1e-13)
    np.testing.assert_allclose(norms, np.sqrt((a * a).sum(axis=1)), rtol=1e-13)
    assert kinds(f)[0] == "vector"


def test_other_reductions_stay_along_their_axis() -> None:
    x = T.dmatrix("x")
    unknown = theano.function([x], T.exp(x).sum(axis=1))
    long = theano.function([x], x.reshape((x.shape[0], 40)).sum(axis=1))
    few = theano.function([x], x.reshape((3, 2)).sum(axis=1))
    for f in (long, few):
        assert kinds(f)[0] == "serial"
    a = np.random.default_rng(2).standard_normal((6, 40))
    np.testing.assert_allclose(unknown(a), np.exp(a).sum(axis=1), rtol=1e-13)
    np.testing.assert_allclose(long(a), a.sum(axis=1), rtol=1e-13)
    np.testing.assert_allclose(few(a[:3, :2]), a[:3, :2].sum(axis=1), rtol=1e-13)
