"""Results of loops that carry many floats leave through memory: see `Renderer._set_down`."""

from __future__ import annotations

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T


def shift_register(taps: int, dtype: str = "float64"):
    x, start = T.vector("x", dtype=dtype), T.vector("start", dtype=dtype)
    rows, _ = theano.scan(
        lambda x, *past: T.cast(x + sum(0.1 * p for p in past), dtype),
        sequences=x,
        outputs_info=dict(initial=start, taps=[-k for k in range(1, taps + 1)]),
    )
    return [x, start], rows


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("taps", "through_memory"), [(8, 0), (9, 9), (12, 12)])
def test_many_states(taps: int, through_memory: int, dtype: str) -> None:
    given, rows = shift_register(taps, dtype)
    f = theano.function(given, [rows, rows[-1]])
    text = f._linked.text
    assert text.count("load volatile") == text.count("store volatile") == through_memory
    draw = np.random.RandomState(taps).randn
    for steps in (0, 1, 30):
        x, past = draw(steps).astype(dtype), list(draw(taps).astype(dtype))
        if steps == 0:
            assert f(x, np.array(past))[0].shape == (0,)
            continue
        found = f(x, np.array(past))
        for value in x:
            past.append(value + sum(0.1 * p for p in past[: -taps - 1 : -1]))
        np.testing.assert_allclose(
            found[0], past[taps:], rtol=2e-5 if dtype == "float32" else 1e-12
        )
        np.testing.assert_allclose(found[1], past[-1], rtol=2e-5 if dtype == "float32" else 1e-12)


def test_gradient_of_many_taps() -> None:
    x, start, p = T.vector("x"), T.vector("start"), T.vector("p")
    rows, _ = theano.scan(
        lambda x, *rest: x + sum(rest[10][k] * rest[k] for k in range(10)),
        sequences=x,
        outputs_info=dict(initial=start, taps=[-k for k in range(1, 11)]),
        non_sequences=p,
    )
    grads = T.grad(T.sqr(rows).sum(), [x, start, p])
    f = theano.function([x, start, p], grads)
    plain = theano.function([x, start, p], grads, mode=theano.Mode(optimizer=None))
    draw = np.random.RandomState(1).randn
    values = draw(40), draw(10), 0.1 * draw(10)
    for found, want in zip(f(*values), plain(*values), strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-9)
