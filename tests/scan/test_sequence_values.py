"""Scalars that a step makes of the sequences alone (`ltensor.lowering.loops.sequence_values`)."""

from __future__ import annotations

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T


def text(f) -> str:
    return str(f._linked.lowered.program)


@pytest.mark.parametrize("steps", [0, 1, 255, 256, 257, 1000])
def test_dear_values_are_computed_ahead(steps: int) -> None:
    x, a = T.dvector("x"), T.dscalar("a")
    h, _ = theano.scan(
        lambda x_t, h, a: 0.5 * h + T.log(x_t) / (a + x_t),
        sequences=x,
        outputs_info=np.float64(1),
        non_sequences=a,
    )
    f = theano.function([x, a], [h, *T.grad(h.sum(), [x, a])])
    assert "values by step" in text(f)
    value = np.random.RandomState(0).rand(steps) + 0.5
    state, expected = 1.0, []
    for x_t in value:
        state = 0.5 * state + np.log(x_t) / (2.0 + x_t)
        expected.append(state)
    found, gx, ga = f(value, 2.0)
    np.testing.assert_allclose(found, np.array(expected).reshape(steps), rtol=1e-12)
    if steps == 255:
        e = 1e-6
        high, low = f(value, 2.0 + e)[0].sum(), f(value, 2.0 - e)[0].sum()
        np.testing.assert_allclose(ga, (high - low) / (2 * e), rtol=1e-6)
        shifted = value.copy()
        shifted[3] += e
        np.testing.assert_allclose(gx[3], (f(shifted, 2.0)[0].sum() - found.sum()) / e, rtol=1e-4)


def test_backwards_and_with_a_shorter_loop() -> None:
    x, n = T.dvector("x"), T.iscalar("n")
    h, _ = theano.scan(
        lambda x_t, h: h * 0.9 + T.exp(-x_t),
        sequences=x,
        outputs_info=np.float64(0),
        n_steps=n,
        go_backwards=True,
    )
    f = theano.function([x, n], h)
    value = np.linspace(0, 3, 700)
    state, expected = 0.0, []
    for x_t in value[::-1][:300]:
        state = state * 0.9 + np.exp(-x_t)
        expected.append(state)
    np.testing.assert_allclose(f(value, 300), expected, rtol=1e-12)


@pytest.mark.parametrize("kind", ["cheap", "state", "until", "division"])
def test_others_stay_in_the_step(kind: str) -> None:
    x, k = T.dvector("x"), T.ivector("k")

    def step(x_t, k_t, h):
        if kind == "cheap":
            return h + x_t
        if kind == "state":
            return T.exp(x_t * h)
        if kind == "until":
            new = 0.5 * h + T.exp(x_t)
            return new, theano.scan_module.until(new > 100)
        return h + T.exp(x_t + 1 // k_t)

    h, _ = theano.scan(step, sequences=[x, k], outputs_info=np.float64(0.1))
    f = theano.function([x, k], h, on_unused_input="ignore")
    assert "values by step" not in text(f)
    value, ints = np.full(5, 0.1), np.arange(1, 6, dtype="int32")
    assert np.isfinite(f(value, ints)).all()
    if kind == "division":
        with pytest.raises(ZeroDivisionError):
            f(value, ints - 1)
