"""Expressions that Theano is known to compute stably: finite and right at extreme arguments."""

from __future__ import annotations

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T

X = np.array([[1000.0, 0.0, -1000.0], [1.0, 2.0, 3.0]])
Y = np.array([2, 1])
SOFTMAX = np.exp(X - X.max(1, keepdims=True))
SOFTMAX /= SOFTMAX.sum(1, keepdims=True)
ONEHOT = np.eye(3)[Y]


@pytest.mark.parametrize("form", ["log_then_index", "index_then_log", "crossentropy", "written"])
def test_crossentropy_of_softmax(form: str) -> None:
    x, y = T.matrix("x"), T.lvector("y")
    s = T.nnet.softmax(x)
    if form == "log_then_index":
        cost = -T.log(s)[T.arange(y.shape[0]), y].mean()
    elif form == "index_then_log":
        cost = -T.log(s[T.arange(y.shape[0]), y]).mean()
    elif form == "crossentropy":
        cost = T.nnet.categorical_crossentropy(s, y).mean()
    else:
        cost = (T.log(T.exp(x).sum(axis=1)) - x[T.arange(y.shape[0]), y]).mean()
    f = theano.function([x, y], [cost, T.grad(cost, x)])
    value, gradient = f(X, Y)
    np.testing.assert_allclose(value, 1000.703802978222, rtol=1e-9)
    np.testing.assert_allclose(gradient, (SOFTMAX - ONEHOT) / 2, atol=1e-12)


def test_crossentropy_with_a_distribution() -> None:
    x, t = T.matrix("x"), T.matrix("t")
    cost = T.nnet.categorical_crossentropy(T.nnet.softmax(x), t).sum()
    value, gradient = theano.function([x, t], [cost, T.grad(cost, x)])(X, ONEHOT)
    assert np.isfinite(value)
    np.testing.assert_allclose(gradient, SOFTMAX - ONEHOT, atol=1e-12)


@pytest.mark.parametrize("form", ["sigmoid", "written", "reversed"])
def test_logistic_regression(form: str) -> None:
    z, y = T.vector("z"), T.vector("y")
    if form == "sigmoid":
        p = T.nnet.sigmoid(z)
    elif form == "written":
        p = 1 / (1 + T.exp(-z))
    else:
        p = 1.0 / (T.exp(-1.0 * z) + 1.0)
    cost = (-y * T.log(p) - (1 - y) * T.log(1 - p)).sum()
    f = theano.function([z, y], [cost, T.grad(cost, z)])
    numbers = np.array([1000.0, -1000.0, 1000.0, -1000.0, 0.5, 40.0])
    classes = np.array([1.0, 0.0, 0.0, 1.0, 1.0, 0.0])
    value, gradient = f(numbers, classes)
    np.testing.assert_allclose(value, 2000 + np.log1p(np.exp(-0.5)) + 40, rtol=1e-12)
    sigmoid = np.array([1, 0, 1, 0, 1 / (1 + np.exp(-0.5)), 1 / (1 + np.exp(-40.0))])
    np.testing.assert_allclose(gradient, sigmoid - classes, atol=1e-12)


def test_small_arguments() -> None:
    x = T.vector("x")
    f = theano.function([x], [T.log(1 + x), T.exp(x) - 1, T.log(1 - x)])
    tiny = np.array([1e-20, -1e-18])
    for got, expected in zip(f(tiny), (tiny, tiny, -tiny), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_softplus() -> None:
    x = T.vector("x")
    y = T.log(1 + T.exp(x))
    f = theano.function([x], [y, T.grad(y.sum(), x)])
    value, gradient = f(np.array([1000.0, -1000.0, 0.0]))
    np.testing.assert_allclose(value, [1000, 0, np.log(2)], atol=1e-12)
    np.testing.assert_allclose(gradient, [1, 0, 0.5], atol=1e-12)


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_logsumexp(axis: int | None) -> None:
    x = T.matrix("x")
    y = T.log(T.exp(x).sum(axis=axis)).sum()
    value, gradient = theano.function([x], [y, T.grad(y, x)])(X)
    top = X.max(axis, keepdims=True)
    powers = np.exp(X - top)
    total = powers.sum(axis, keepdims=True)
    np.testing.assert_allclose(value, (np.log(total) + top).sum(), rtol=1e-12)
    np.testing.assert_allclose(gradient, powers / total, atol=1e-12)


def test_sum_of_two_exponentials() -> None:
    a, b = T.vectors("a", "b")
    y = T.log(T.exp(a) + T.exp(b)).sum()
    f = theano.function([a, b], [T.log(T.exp(a) + T.exp(b)), *T.grad(y, [a, b])])
    infinite = -np.inf
    value, da, db = f(
        np.array([1000.0, 0.0, infinite, infinite]), np.array([999.0, 1000.0, 0.0, infinite])
    )
    np.testing.assert_allclose(value, [1000.3132616875182, 1000, 0, infinite])
    np.testing.assert_allclose(da[:3], [0.7310585786300049, 0, 0], atol=1e-12)
    np.testing.assert_allclose(db[:3], [0.2689414213699951, 1, 1], atol=1e-12)


def test_softmax_written_out() -> None:
    x = T.matrix("x")
    e = T.exp(x)
    y = e / e.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(theano.function([x], y)(X), SOFTMAX, atol=1e-12)


def test_tails_of_the_normal_distribution() -> None:
    """Logarithms of what is far below the smallest number, and the ratio of Mills."""
    z = T.vector("z")
    r = z / np.sqrt(2)
    points = np.array([-60.0, -9.0, -1.0, 0.0, 3.0, 8.0, 45.0])
    # log of the distribution function and its derivative, computed with 40 digits
    values = [-1805.0135606806, -43.628149113332, -1.8410216450093, -0.69314718055995,
              -0.0013508099647482, -6.2209605742718e-16, 0.0]  # fmt: skip
    slopes = [60.016657420241, 9.1085231050029, 1.525135276161, 0.79788456080287,
              0.0044378390421257, 5.0522710835369e-15, 0.0]  # fmt: skip
    for cdf in (
        0.5 * (1 + T.erf(r)), (1.0 + T.erf(r)) / 2, 0.5 * T.erfc(-r), (1 - T.erf(-r)) * 0.5,
    ):  # fmt: skip
        cost = T.log(cdf)
        f = theano.function([z], [cost, T.grad(cost.sum(), z)])
        value, slope = f(points)
        np.testing.assert_allclose(value, values, rtol=1e-11, atol=1e-300)
        np.testing.assert_allclose(slope, slopes, rtol=1e-11, atol=1e-300)
    tail = theano.function([z], [1 - T.erf(z), T.erf(z) - 1, 1 - T.erfc(z)])(np.array([1e-20, 9.0]))
    np.testing.assert_allclose(tail[0], [1, 4.1370317465138e-37], rtol=1e-12)
    np.testing.assert_allclose(tail[1], [-1, -4.1370317465138e-37], rtol=1e-12)
    np.testing.assert_allclose(tail[2], [1.1283791670955e-20, 1], rtol=1e-12)


def test_gradient_of_the_branch_not_taken() -> None:
    """Zero where a branch has no part in the result, whatever its derivative would be there."""
    x = T.vector("x")
    root, other = x**0.42, (-x) ** 0.42
    chosen = [
        T.switch(x > 0, T.log(x), 0),
        T.switch(x > 0, T.sqrt(x), 3 * x),
        T.switch(x > 0, root, other),
        T.switch(x > 0, root / (root + 27), -other / (other + 27)),
        T.switch((x > 0).dimshuffle(0, "x"), 1 / T.log(x).dimshuffle(0, "x"), [[2.0, 5.0]]),
        T.switch(T.isnan(x), 0, (x - 1) ** 2),
    ]
    slopes = theano.function([x], [T.grad(y.sum(), x) for y in chosen])(
        np.array([4.0, -4.0, np.nan])
    )
    for slope in slopes[:5]:
        assert np.isfinite(slope[:2]).all()
    np.testing.assert_allclose(slopes[0], [0.25, 0, 0])
    np.testing.assert_allclose(slopes[1], [0.25, 3, 3])
    np.testing.assert_allclose(slopes[2][0], -slopes[2][1])
    np.testing.assert_allclose(slopes[3][0], slopes[3][1])
    assert slopes[4][1] == slopes[4][2] == 0
    np.testing.assert_allclose(slopes[5], [6, -10, 0])
