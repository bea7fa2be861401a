"""Slots that never change, and slots that are equal: values and what is left of the loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scan.checks import compiled, scans

import ltensor as theano
import ltensor.tensor as T
from ltensor.scan_module import until

a, b = T.dscalars("a", "b")
x = T.dvector("x")
m = T.dmatrix("m")
n = T.iscalar("n")
X = np.array([0.3, -0.7, 1.1, 0.4])
M = np.random.RandomState(3).uniform(-1, 1, (5, 3))


def agree(inputs: list[Any], outputs: Any, arguments: list[Any]) -> Any:
    """The loops of the optimized function, whose values are those without passes."""
    plain = theano.function(inputs, outputs, mode=theano.Mode(optimizer=None))
    f = compiled(inputs, outputs)
    for got, want in zip(f(*arguments), plain(*arguments), strict=True):
        assert got.dtype == want.dtype
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)
    return [node.op for node in scans(f)]


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_states_that_do_not_change(steps: int) -> None:
    (h, k), _ = theano.scan(lambda h, k: (h * k, k), outputs_info=[a, b], n_steps=n)
    (op,) = agree([a, b, n], [h, k], [0.3, 0.4, steps])
    assert op.lags == ((1,),)


@pytest.mark.parametrize("stop", [0.5, 100.0])
def test_an_output_that_does_not_change(stop: float) -> None:
    def step(u: Any, h: Any) -> Any:
        return [h + u, T.exp(b)], until(T.gt(h + u, stop))

    (h, k), _ = theano.scan(step, x, outputs_info=[a, None])
    (op,) = agree([x, a, b], [h, k], [X, 0.3, 0.4])
    assert op.n_outs == 0


def test_nothing_but_what_does_not_change() -> None:
    k, _ = theano.scan(lambda: T.exp(b), n_steps=n)
    assert agree([b, n], [k], [0.4, 3]) == []
    f = compiled([b, n], k)
    assert f(0.4, 0).shape == (0,)
    with pytest.raises(IndexError, match="negative number of step"):
        f(0.4, -2)


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_gradients_of_sums_have_no_array_of_ones(steps: int) -> None:
    h, _ = theano.scan(lambda u, h: T.tanh(u * a + h), m, outputs_info=T.zeros_like(m[0]))
    if steps:
        ops = agree([m, a], T.grad(h.sum(), [m, a]), [M[:steps], 0.5])
        (backward,) = [op for op in ops if op.name.startswith("grad_of")]
        assert backward.n_seqs == 2  # the states, and the rows of m


def test_zero_in_every_step() -> None:
    (h, k), _ = theano.scan(
        lambda u, h, k: (h * u + k, T.zeros_like(k)), x, outputs_info=[a, T.zeros_like(b)]
    )
    (op,) = agree([x, a, b], [h, k], [X, 0.3, 0.4])
    assert op.lags == ((1,),)


def test_equal_states() -> None:
    (h, k, g), _ = theano.scan(
        lambda u, h, k, g: (T.tanh(h + u), T.tanh(u + k), T.tanh(g * u)), x, outputs_info=[a, a, a]
    )
    (op,) = agree([x, a], [h, k, g], [X, 0.3])
    assert op.lags == ((1,), (1,))
    # swapped in every step, and still equal
    (h, k), _ = theano.scan(lambda h, k: (T.sin(k), T.sin(h)), outputs_info=[a, a], n_steps=4)
    (op,) = agree([a], [h, k], [0.3])
    assert op.lags == ((1,),)


def test_equal_outputs() -> None:
    (h, k, g), _ = theano.scan(
        lambda u, h: (h + u, h + u, (u + h)), x, outputs_info=[a, None, None]
    )
    (op,) = agree([x, a], [h, k, g], [X, 0.3])
    assert op.n_outs == 0
    f = compiled([x, a], [h, k])
    one, two = f(X, 0.3)
    one[:] = 7
    assert not (two == 7).any()
