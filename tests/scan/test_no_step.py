"""What a loop that runs no step must not do, whatever became of it."""

from __future__ import annotations

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T
from ltensor.ops.add_product import add_product

MODES = [None, theano.Mode(optimizer=None)]


def test_an_infinite_term_does_not_count() -> None:
    n, v, c0 = T.lscalar("n"), T.dscalar("v"), T.dscalar("c0")
    c, _ = theano.scan(lambda c, v: c + v, outputs_info=c0, non_sequences=v, n_steps=n)
    f = theano.function([n, v, c0], c[-1])
    assert f(0, np.inf, 1.0) == 1.0
    assert f(2, np.inf, 1.0) == np.inf
    x, w, start = T.dmatrix("x"), T.dmatrix("w"), T.dvector("start")
    c, _ = theano.scan(
        lambda r, c, w: c + T.dot(r, w), sequences=x, outputs_info=start, non_sequences=w
    )
    g = theano.function([x, w, start], c[-1])
    infinite = np.array([[np.inf, 1], [1, 1]])
    np.testing.assert_array_equal(g(np.zeros((0, 2)), infinite, np.ones(2)), [1, 1])


@pytest.mark.parametrize("mode", MODES, ids=["optimized", "plain"])
def test_an_index_out_of_range_does_not_count(mode) -> None:
    x, w, h0 = T.dvector("x"), T.dvector("w"), T.dscalar("h0")
    h, _ = theano.scan(
        lambda r, h, w: T.tanh(h * w[2] + r), sequences=x, outputs_info=h0, non_sequences=w
    )
    f = theano.function([x, w, h0], T.grad(h.sum(), w), mode=mode)
    np.testing.assert_array_equal(f(np.zeros(0), np.ones(2), 1.0), [0, 0])
    with pytest.raises(IndexError):
        f(np.zeros(1), np.ones(2), 1.0)
    assert f(np.zeros(3), np.ones(4), 1.0)[2] != 0


@pytest.mark.parametrize("mode", MODES, ids=["optimized", "plain"])
def test_sizes_of_an_added_product(mode) -> None:
    g, x, y = T.dmatrix("g"), T.dmatrix("x"), T.dmatrix("y")
    f = theano.function([g, x, y], add_product(g, x, y), mode=mode)
    np.testing.assert_allclose(f(np.ones((2, 3)), np.ones((4, 2)), np.ones((4, 3))), 5.0)
    for shapes in [((2, 3), (4, 2), (5, 3)), ((2, 3), (4, 1), (4, 3)), ((2, 3), (4, 2), (4, 4))]:
        with pytest.raises(ValueError, match=r"mis-?match|do not agree|not aligned|Shape"):
            f(*map(np.ones, shapes))
