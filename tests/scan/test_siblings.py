"""Loops joined by ``scan_siblings``: the values are those of the loops apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scan.checks import compiled, scans

import ltensor as theano
import ltensor.tensor as T
from ltensor.scan_module import until

a, b = T.dscalars("a", "b")
x, y = T.dvectors("x", "y")
m = T.dmatrix("m")
n = T.iscalar("n")
X = np.array([0.3, -0.7, 1.1, 0.4])
M = np.random.RandomState(3).uniform(-1, 1, (5, 3))


def agree(inputs: list[Any], outputs: Any, arguments: list[Any], loops: int) -> Any:
    """Values with and without passes; ``loops`` are left."""
    plain = theano.function(inputs, outputs, mode=theano.Mode(optimizer=None))
    joined = compiled(inputs, outputs)
    assert len(scans(joined)) == loops
    for got, want in zip(joined(*arguments), plain(*arguments), strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)
    return joined


def logistic(start: Any, rate: float) -> Any:
    return theano.scan(lambda h: rate * h * (1 - h), outputs_info=start, n_steps=n)[0]


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_independent_recurrences(steps: int) -> None:
    agree([a, b, n], [logistic(a, 3.6), logistic(b, 3.7)], [0.3, 0.4, steps], 1)
    agree([a, b, n], [logistic(a, 3.6)[-1], logistic(b, 3.7)], [0.3, 0.4, steps], 1)


def test_no_step() -> None:
    f = compiled([a, b, n], [logistic(a, 3.6), logistic(b, 3.7)])
    assert [v.shape for v in f(0.3, 0.4, 0)] == [(0,), (0,)]
    with pytest.raises(IndexError, match="negative number of step"):
        f(0.3, 0.4, -1)


def test_gradients_of_independent_recurrences() -> None:
    cost = (logistic(a, 3.6) ** 2).sum() + (logistic(b, 3.7) ** 3).sum()
    agree([a, b, n], T.grad(cost, [a, b]), [0.3, 0.4, 6], 2)


def test_a_loop_over_the_rows_of_another() -> None:
    first, _ = theano.scan(lambda u, h: T.tanh(h + u), x, outputs_info=a)
    second, _ = theano.scan(lambda u, g: u * g + 0.5, first, outputs_info=b)
    f = agree([x, a, b], [second[-1]], [X, 0.2, 0.3], 1)
    # neither keeps its rows
    (node,) = scans(f)
    assert node.op.keep == (1, 1)
    agree([x, a, b], [second, first], [X, 0.2, 0.3], 1)
    agree([x, a, b], T.grad((second**2).sum(), [x, a, b]), [X, 0.2, 0.3], 2)


def test_three_in_a_row_with_deep_taps() -> None:
    start = T.stack([a, b])
    first, _ = theano.scan(
        lambda u, h2, h1: h1 - 0.5 * h2 + u, x, outputs_info=dict(initial=start, taps=[-2, -1])
    )
    second, _ = theano.scan(lambda u, g: (0.9 * g + u, u * 2), first, outputs_info=[a, None])
    third, _ = theano.scan(lambda u, v, f: f * u + v, second, outputs_info=b)
    agree([x, a, b], [third], [X, 0.2, 0.3], 1)
    agree([x, a, b], [third, *second, first[-1]], [X, 0.2, 0.3], 1)


def test_elementwise_rows() -> None:
    zero = T.zeros_like(m[0])
    sums, _ = theano.scan(lambda u, h: 0.9 * h + u, m, outputs_info=zero)
    tops, _ = theano.scan(lambda u, h: T.maximum(u, 0.8 * h), m, outputs_info=zero)
    later, _ = theano.scan(lambda u, h: u - 0.5 * h, sums, outputs_info=zero)
    agree([m], [sums[-1], tops], [M], 1)
    agree([m], [later[-1]], [M], 1)
    agree([m], [later, sums], [M], 1)


def test_what_stays_apart() -> None:
    steps = until(T.gt(a, 2))
    first, _ = theano.scan(lambda u, h: (u + h, steps), x, outputs_info=a)
    second, _ = theano.scan(lambda u, h: u * h, x, outputs_info=b)
    agree([x, a, b], [first, second], [X, 0.2, 0.3], 2)
    # rows in another order, rows that are left out
    first, _ = theano.scan(lambda u, h: u + h, x, outputs_info=a)
    for rows, loops in ((first[::-1], 2), (first[1:], 2), (first[:-1], 2)):
        after, _ = theano.scan(lambda u, h: u * h + 1, rows, outputs_info=b)
        agree([x, a, b], [after], [X, 0.2, 0.3], loops)
    # a value of the other loop besides its rows
    after, _ = theano.scan(lambda u, h: u * h + 1, first, outputs_info=first[-1])
    agree([x, a], [after], [X, 0.2], 2)
    # lengths that may differ
    other, _ = theano.scan(lambda u, h: u * h, y, outputs_info=b)
    agree([x, y, a, b], [first, other], [X, X[:2], 0.2, 0.3], 2)


def test_the_reason_is_told() -> None:
    first, _ = theano.scan(lambda u, h: u + h, x, outputs_info=a)
    second, _ = theano.scan(lambda u, h: u * h, x, outputs_info=b)
    report = str(compiled([x, a, b], [first, second]).explain())
    assert "scan_siblings: joins the loop" in report
    third, _ = theano.scan(lambda h: T.dot(m, h), outputs_info=m[0], n_steps=x.shape[0])
    report = str(compiled([x, a, m], [first, third]).explain())
    assert "scan_siblings: stays apart from the loop" in report
