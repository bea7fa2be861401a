"""Matrices that are packed before a loop for the products of its steps, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T


def packed_bytes(f, *values) -> list[int]:
    """Bytes of the packed matrices of a call."""
    return [b.bytes for b in f.explain(*values).buffers if b.kind == "packed"]


def recurrent(x, u, turned, backwards=False):
    h = np.zeros((x.shape[1], u.shape[0]), x.dtype)
    rows = []
    for row in x[::-1] if backwards else x:
        h = np.tanh(row + h @ (u.T if turned else u))
        rows.append(h)
    return np.array(rows).reshape(len(rows), x.shape[1], u.shape[0])


@pytest.mark.parametrize("batch", [0, 1, 2, 5, 8, 33, 70])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("turned", [False, True])
def test_values_by_batch(batch: int, dtype: str, turned: bool) -> None:
    x, u = T.tensor3("x", dtype=dtype), T.matrix("u", dtype=dtype)
    h, _ = theano.scan(
        lambda x_t, h, u: T.tanh(x_t + T.dot(h, u.T if turned else u)),
        sequences=x,
        outputs_info=T.zeros((x.shape[1], u.shape[0]), dtype=dtype),
        non_sequences=u,
    )
    f = theano.function([x, u], h)
    draw = np.random.RandomState(batch).randn
    tolerance = {"float32": 2e-4, "float64": 1e-10}[dtype]
    for size, steps in ((1, 5), (37, 40), (401, 35), (16, 2), (40, 1), (40, 0), (0, 40)):
        a, b = draw(steps, batch, size).astype(dtype), (draw(size, size) * 0.05).astype(dtype)
        for matrix in (b, np.asfortranarray(b), np.repeat(b, 2, 1)[:, ::2]):
            want = recurrent(a, matrix, turned)
            np.testing.assert_allclose(f(a, matrix), want, rtol=tolerance, atol=tolerance)


def test_a_vector_as_state() -> None:
    x, u = T.matrix("x", dtype="float32"), T.matrix("u", dtype="float32")
    h, _ = theano.scan(
        lambda x_t, h, u: T.tanh(x_t + T.dot(h, u)),
        sequences=x,
        outputs_info=T.zeros((u.shape[0],), dtype="float32"),
        non_sequences=u,
    )
    f = theano.function([x, u], h)
    draw = np.random.RandomState(0).randn
    a, b = draw(60, 450).astype("float32"), (draw(450, 450) * 0.04).astype("float32")
    assert packed_bytes(f, a, b) == [4 * 450 * 464]
    np.testing.assert_allclose(f(a, b), recurrent(a[:, None], b, False)[:, 0], rtol=0, atol=2e-4)


@pytest.mark.parametrize(("batch", "steps"), [(1, 40), (32, 40), (32, 2), (600, 40), (0, 40)])
def test_when_a_turned_matrix_is_packed(batch: int, steps: int) -> None:
    x, u = T.tensor3("x"), T.matrix("u")
    h, _ = theano.scan(
        lambda x_t, h, u: x_t + T.dot(h, u.T),
        sequences=x,
        outputs_info=T.zeros((x.shape[1], u.shape[0])),
        non_sequences=u,
    )
    f = theano.function([x, u], h)
    values = np.zeros((steps, batch, 40)), np.zeros((40, 40))
    pays = steps > 2 and 0 < batch <= 512
    assert packed_bytes(f, *values) == [8 * 40 * 48 if pays else 0]


def test_gradient_reads_the_packed_transpose() -> None:
    x, u = T.tensor3("x"), T.matrix("u")
    h, _ = theano.scan(
        lambda x_t, h, u: T.tanh(x_t + T.dot(h, u)),
        sequences=x,
        outputs_info=T.zeros((x.shape[1], u.shape[0])),
        non_sequences=u,
    )
    loss = T.sqr(h).sum()
    grads = T.grad(loss, [x, u])
    f = theano.function([x, u], grads)
    plain = theano.function([x, u], grads, mode=theano.Mode(optimizer=None))
    draw = np.random.RandomState(1).randn
    for batch in (1, 4, 32):
        values = draw(20, batch, 50), draw(50, 50) * 0.1
        for found, expected in zip(f(*values), plain(*values), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert 8 * 50 * 64 in packed_bytes(f, *values)


def test_products_in_an_inner_loop() -> None:
    x, u = T.tensor3("x"), T.matrix("u")

    def outer(block, u):
        rows, _ = theano.scan(
            lambda row, h, u: row + T.dot(h, u.T),
            sequences=block,
            outputs_info=T.zeros((u.shape[0],)),
            non_sequences=u,
        )
        return rows[-1]

    last, _ = theano.scan(outer, sequences=x, non_sequences=u)
    f = theano.function([x, u], last)
    draw = np.random.RandomState(2).randn
    a, b = draw(5, 40, 36), draw(36, 36) * 0.1
    want = np.zeros((5, 36))
    for row in a.transpose(1, 0, 2):
        want = row + want @ b.T
    np.testing.assert_allclose(f(a, b), want, rtol=1e-10)
