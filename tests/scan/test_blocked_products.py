"""Products in loops that are taken for many steps at once, against the loop without passes."""

from __future__ import annotations

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T


def compiled(inputs, outputs):
    plain = theano.function(inputs, outputs, mode=theano.Mode(optimizer=None))
    return theano.function(inputs, outputs), plain


def compare(inputs, outputs, *values):
    f, plain = compiled(inputs, outputs)
    for found, expected in zip(f(*values), plain(*values), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    return str(f._linked.lowered.program)


@pytest.mark.parametrize(
    ("batch", "steps"), [(1, 300), (1, 63), (3, 100), (32, 20), (200, 3), (2, 0), (2, 1)]
)
@pytest.mark.parametrize("order", ["forward", "backward"])
def test_gradients_of_a_recurrent_net(batch: int, steps: int, order: str) -> None:
    x, w, u = T.tensor3("x"), T.matrix("w"), T.matrix("u")
    h, _ = theano.scan(
        lambda x_t, h, w, u: T.tanh(T.dot(x_t, w) + T.dot(h, u)),
        sequences=x,
        outputs_info=T.zeros((batch, 7)),
        non_sequences=[w, u],
        go_backwards=order == "backward",
    )
    draw = np.random.RandomState(0).randn
    values = draw(steps, batch, 5), draw(5, 7) * 0.3, draw(7, 7) * 0.3
    compare([x, w, u], [h, *T.grad(T.sqr(h).sum(), [x, w, u])], *values)


@pytest.mark.parametrize("steps", [0, 1, 127, 128, 129, 260])
def test_vectors_and_tied_weights(steps: int) -> None:
    x, w = T.matrix("x"), T.matrix("w")
    h, _ = theano.scan(
        lambda x_t, h, w: T.tanh(T.dot(x_t, w) + T.dot(T.dot(h, w), w)),
        sequences=x,
        outputs_info=T.zeros((6,)),
        non_sequences=w,
    )
    draw = np.random.RandomState(1).randn
    cost = h.sum() + T.sqr(h).sum()
    text = compare([x, w], [h, T.grad(cost, w)], draw(steps, 6), draw(6, 6))
    assert "lt_matmul" in text


def test_a_longer_sequence_and_strided_ones() -> None:
    x, w, n = T.tensor3("x"), T.matrix("w"), T.iscalar("n")
    draw = np.random.RandomState(2).randn
    for view in (x, x.dimshuffle(1, 0, 2), x[::2], x[::-1], x[:, ::-1, ::2]):
        width = w[: view.shape[2]]
        h, _ = theano.scan(
            lambda x_t, h, w: 0.5 * h + T.dot(x_t, w),
            sequences=view,
            outputs_info=T.zeros((view.shape[1], w.shape[1])),
            non_sequences=width,
            n_steps=n,
        )
        compare([x, w, n], [h, T.grad(h.sum(), w)], draw(9, 9, 4), draw(4, 3), 4)


def test_sizes_that_do_not_fit() -> None:
    x, w, n = T.tensor3("x"), T.matrix("w"), T.iscalar("n")
    h, _ = theano.scan(
        lambda x_t, h, w: h + T.dot(x_t, w),
        sequences=x,
        outputs_info=T.zeros((2, 3)),
        non_sequences=w,
        n_steps=n,
    )
    f = theano.function([x, w, n], h)
    with pytest.raises(ValueError, match=r"4.*5|5.*4"):
        f(np.ones((6, 2, 4)), np.ones((5, 3)), 6)
    assert f(np.ones((6, 2, 4)), np.ones((5, 3)), 0).shape == (0, 2, 3)
    np.testing.assert_allclose(f(np.ones((6, 2, 4)), np.ones((4, 3)), 3)[-1], np.full((2, 3), 12.0))
