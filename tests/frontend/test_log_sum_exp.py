"""The gradient of log(sum(exp(x - max(x)))) + max(x) leaves the maximum out."""

from __future__ import annotations

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T
from ltensor.gradient import verify_grad
from ltensor.ops.reduce import Max


def comparisons(results) -> int:
    """Comparisons with a maximum in the graph as built: what its gradient is made of."""
    seen, stack, found = set(), list(results), 0
    while stack:
        v = stack.pop()
        if v in seen or v.owner is None:
            continue
        seen.add(v)
        found += v.owner.op is T.eq
        stack.extend(v.owner.inputs)
    return found


def plain(x, axis):
    top = T.max(x, axis=axis)
    return T.log(T.sum(T.exp(x - top.dimshuffle(*spread(x, axis))), axis=axis)) + top


def spread(x, axis):
    order = iter(range(x.ndim - 1))
    return ["x" if k == axis else next(order) for k in range(x.ndim)]


def with_dimensions(x, axis):
    top = T.max(x, axis=axis, keepdims=True)
    return T.log(T.sum(T.exp(x - top), axis=axis, keepdims=True)) + top


def sum_with_dimensions(x, axis):
    top = T.max(x, axis=axis, keepdims=True)
    inner = T.sum(T.exp(x - top), axis=axis, keepdims=True)
    return (top + T.log(inner)).sum(axis=axis)


@pytest.mark.parametrize("make", [plain, with_dimensions, sum_with_dimensions])
@pytest.mark.parametrize("axis", [0, 1])
def test_no_gradient_through_the_maximum(make, axis: int) -> None:
    x, weights = T.matrix("x"), T.vector("weights")
    value = make(x, axis)
    cost = (value.flatten() * weights).sum()
    gradient = T.grad(cost, x)
    assert comparisons([gradient]) == 0
    f = theano.function([x, weights], [cost, gradient])
    a = np.random.RandomState(0).randn(4, 6)
    w = np.random.RandomState(1).randn(a.shape[1 - axis])
    e = np.exp(a - a.max(axis, keepdims=True))
    found = f(a + 700, w)[1]  # far from 0: exp would overflow
    softmax = e / e.sum(axis, keepdims=True)
    np.testing.assert_allclose(found, softmax * np.expand_dims(w, axis), rtol=1e-11)
    verify_grad(lambda x: make(x, axis), [a], rng=np.random.RandomState(2))


def softmax_is_read_too(x):
    top = T.max(x, axis=1, keepdims=True)
    e = T.exp(x - top)
    total = T.sum(e, axis=1, keepdims=True)
    return (T.log(total) + top).sum() + T.sqr(e / total).sum() + T.sqr(e).sum()


def another_axis(x):
    top = T.max(x, axis=0, keepdims=True)
    return (T.log(T.sum(T.exp(x - top), axis=1, keepdims=True)) + top).sum()


def another_maximum(x):
    top = T.max(2 * x, axis=1, keepdims=True)
    return (T.log(T.sum(T.exp(x - top), axis=1, keepdims=True)) + top).sum()


def twice_the_maximum(x):
    top = T.max(x, axis=1, keepdims=True)
    return (T.log(T.sum(T.exp(x - top), axis=1, keepdims=True)) + 2 * top).sum()


def turned(x):
    top = T.max(x, axis=1)
    inner = T.log(T.sum(T.exp(x - top.dimshuffle(0, "x")), axis=1))
    return T.sqr(inner.dimshuffle(0, "x") + top.dimshuffle("x", 0)).sum()


@pytest.mark.parametrize(
    "make", [softmax_is_read_too, another_axis, another_maximum, twice_the_maximum, turned]
)
def test_where_the_maximum_matters(make) -> None:
    x = T.matrix("x")
    assert comparisons([T.grad(make(x), x)]) > 0
    verify_grad(make, [np.random.RandomState(3).randn(3, 3)], rng=np.random.RandomState(4))


def test_gradient_with_respect_to_the_maximum_and_its_neighbours() -> None:
    x = T.vector("x")
    top = T.max(x)
    assert isinstance(top.owner.op, Max)
    cost = T.log(T.sum(T.exp(x - top))) + top
    f = theano.function([x], T.grad(cost, [x, top]))
    a = np.array([1.0, 2.0, 0.5])
    gradient, of_top = f(a)
    np.testing.assert_allclose(gradient, np.exp(a) / np.exp(a).sum(), rtol=1e-13)
    np.testing.assert_allclose(of_top, 0, atol=1e-15)


def test_constant_exponentials_leave_the_maximum_its_gradient() -> None:
    x = T.vector("x")
    top = T.max(x)
    e = T.exp(x - top)
    gradient = T.grad(T.log(T.sum(e)) + top, x, consider_constant=[e])
    np.testing.assert_array_equal(gradient.eval({x: np.array([1.0, 3.0, 2.0])}), [0, 1, 0])


def test_second_derivative() -> None:
    x = T.vector("x")
    top = T.max(x)
    h = T.hessian(T.log(T.sum(T.exp(x - top))) + top, x)
    a = np.random.RandomState(5).randn(5)
    p = np.exp(a) / np.exp(a).sum()
    np.testing.assert_allclose(h.eval({x: a}), np.diag(p) - np.outer(p, p), atol=1e-14)
