"""Row sums that share the nest of values computed from the same expensive ones."""

from __future__ import annotations

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T

# what is counted is the form for long rows
pytestmark = pytest.mark.usefixtures("only_long_rows")


def text(f) -> str:
    return str(f._linked.lowered.program)


def count(f, word: str) -> int:
    return text(f).count(word)


SIZES = [(5, 50), (3, 7), (4, 0), (0, 4), (1, 1), (2, 100), (70, 16)]


def rows(x, y):
    e = T.exp(x) * T.tanh(y)
    return [e.sum(axis=1), T.max(e * x, axis=1), e - x]


def test_sums_and_a_stored_value_in_one_nest() -> None:
    x, y = T.matrix("x"), T.matrix("y")
    f = theano.function([x, y], rows(x, y))
    assert count(f, "{exp}") == count(f, "{tanh}") == 1
    assert count(f, "lanes") == 1
    assert count(f, "ensure") == 0  # nothing is stored in between
    draw = np.random.RandomState(0).randn
    for shape in SIZES:
        a, b = draw(*shape), draw(*shape)
        if shape[1] == 0:
            with pytest.raises(ValueError, match="zero-size"):
                f(a, b)
            continue
        e = np.exp(a) * np.tanh(b)
        for found, want in zip(f(a, b), (e.sum(1), (e * a).max(1), e - a), strict=True):
            np.testing.assert_allclose(found, want, rtol=1e-13, atol=1e-14)


def test_two_trailing_dimensions_and_strides() -> None:
    x = T.tensor3("x")
    e = T.exp(x)
    f = theano.function([x], [(e * x).sum(axis=(1, 2)), e * 3 - x.dimshuffle(0, 1, 2)])
    assert count(f, "{exp}") == 1
    draw = np.random.RandomState(1).randn
    for shape in ((3, 4, 5), (2, 1, 33), (0, 2, 2), (4, 3, 1)):
        a = draw(*shape)
        for given in (a, np.asfortranarray(a), draw(*shape[:2], 2 * shape[2])[:, :, ::2]):
            sums, values = f(given)
            np.testing.assert_allclose(sums, (np.exp(given) * given).sum((1, 2)), rtol=1e-12)
            np.testing.assert_allclose(values, np.exp(given) * 3 - given, rtol=1e-13)


def test_a_sum_that_the_stored_value_needs_comes_first() -> None:
    x = T.matrix("x")
    e = T.exp(x)
    f = theano.function([x], e / (1 + (e * e).sum(axis=1, keepdims=True)))
    a = np.random.RandomState(2).randn(6, 20)
    want = np.exp(a) / (1 + np.exp(2 * a).sum(1, keepdims=True))
    np.testing.assert_allclose(f(a), want, rtol=1e-13)


def test_in_a_loop_with_a_sum_in_place() -> None:
    x, w = T.matrix("x"), T.matrix("w")
    h, _ = theano.scan(
        lambda row, h, w: T.exp(h.dimshuffle(0, "x") * w + row).sum(axis=0) / 40,
        sequences=x,
        outputs_info=T.zeros((w.shape[0],)),
        non_sequences=w,
    )
    grad = T.grad(h.sum(), w)
    f = theano.function([x, w], grad)
    draw = np.random.RandomState(3).randn
    values = draw(9, 30), 0.1 * draw(30, 30)
    plain = theano.function([x, w], grad, mode=theano.Mode(optimizer=None))
    np.testing.assert_allclose(f(*values), plain(*values), rtol=1e-10)
    backward = text(f)[text(f).index("grad_of") :]
    assert backward.count("{exp}") == 1


@pytest.mark.parametrize("case", ["all", "first axis", "short rows", "wider sum"])
def test_where_a_sum_stays_alone(case: str) -> None:
    x = T.matrix("x", dtype="float32" if case == "wider sum" else "float64")
    if case == "short rows":
        x = T.TensorType("float64", (None, 5))("x")
    e = T.exp(x)
    axis = {"all": None, "first axis": 0}.get(case, 1)
    f = theano.function([x], [(e * x).sum(axis=axis), e - x])
    assert count(f, "lanes") >= 2
    a = np.random.RandomState(4).randn(6, 5).astype(x.dtype)
    found = f(a)
    np.testing.assert_allclose(found[0], (np.exp(a) * a).sum(axis), rtol=1e-5)
    np.testing.assert_allclose(found[1], np.exp(a) - a, rtol=1e-5)


def test_cheap_values_are_computed_twice() -> None:
    x, y = T.matrix("x"), T.matrix("y")
    f = theano.function([x, y], [(x + y).sum(axis=1), (x + y) * 2])
    assert count(f, "lanes") == 2
