"""Scan in depth: nested loops, several taps, negative and positive, until, truncated,
checkpoints of state."""

import numpy as np
import theano
import theano.tensor as T

floatX = theano.config.floatX


def two_level(seq, W):
    """A sentence model over a character model: inner scan over characters of each word."""

    def word(chars, h_word, W):
        inner, _ = theano.scan(
            lambda c, h, W_: T.tanh(c + T.dot(h, W_)),
            sequences=chars,
            outputs_info=h_word,
            non_sequences=W,
        )
        return inner[-1] * 0.5 + h_word * 0.5

    out, _ = theano.scan(word, sequences=seq, outputs_info=T.zeros_like(seq[0, 0]), non_sequences=W)
    return out


def main():
    rng = np.random.RandomState(2)
    seq, W = T.tensor3("seq"), T.matrix("W")
    out = two_level(seq, W)
    cost = (out[-1] ** 2).sum()
    f = theano.function([seq, W], [out, cost] + T.grad(cost, [seq, W]))
    sv = rng.randn(4, 3, 2).astype(floatX)
    Wv = (0.5 * rng.randn(2, 2)).astype(floatX)

    def reference(sv, Wv):
        h, hs = np.zeros(2), []
        for chars in sv:
            inner = h
            for c in chars:
                inner = np.tanh(c + inner.dot(Wv))
            h = 0.5 * inner + 0.5 * h
            hs.append(h)
        return np.array(hs)

    o, c, gs, gW = f(sv, Wv)
    np.testing.assert_allclose(o, reference(sv, Wv), rtol=1e-4, atol=1e-6)
    for arr, g, which in ((sv, gs, 0), (Wv, gW, 1)):
        spot = (0,) * arr.ndim
        ends = []
        for sign in (1, -1):
            args = [sv.astype("float64"), Wv.astype("float64")]
            args[which][spot] += sign * 1e-6
            ends.append((reference(*args)[-1] ** 2).sum())
        np.testing.assert_allclose(g[spot], (ends[0] - ends[1]) / 2e-6, rtol=1e-3, atol=1e-5)

    # Taps of input and output: y[t] = .5 y[t-1] - .2 y[t-3] + u[t-2] + 2 u[t+1].
    u, y0 = T.vector("u"), T.vector("y0")

    def step(u_m2, u_p1, y_m3, y_m1, k):
        return 0.5 * y_m1 - 0.2 * y_m3 + k * u_m2 + 2 * u_p1

    ys, _ = theano.scan(
        step,
        sequences=[dict(input=u, taps=[-2, 1])],
        outputs_info=[dict(initial=y0, taps=[-3, -1])],
        non_sequences=[T.constant(np.asarray(1.0, dtype=floatX))],
    )
    g = theano.function([u, y0], [ys] + T.grad(ys.sum(), [u, y0]))
    uv, y0v = rng.randn(9).astype(floatX), rng.randn(3).astype(floatX)

    def series(uv, y0v):
        y = list(y0v)
        for t in range(2, len(uv) - 1):
            y.append(0.5 * y[-1] - 0.2 * y[-3] + uv[t - 2] + 2 * uv[t + 1])
        return np.array(y[3:])

    values, gu, gy = g(uv, y0v)
    np.testing.assert_allclose(values, series(uv, y0v), rtol=1e-4)
    for k in range(9):
        d = np.eye(9)[k]
        np.testing.assert_allclose(
            gu[k], series(uv + d, y0v).sum() - series(uv, y0v).sum(), rtol=1e-3, atol=1e-4
        )
    for k in range(3):
        d = np.eye(3)[k]
        np.testing.assert_allclose(
            gy[k], series(uv, y0v + d).sum() - series(uv, y0v).sum(), rtol=1e-3, atol=1e-4
        )

    # reduce, foldl, foldr, map.
    v = T.vector("v")
    total, _ = theano.reduce(lambda a, acc: a + 10 * acc, v, T.zeros_like(v[0]))
    left, _ = theano.foldl(lambda a, acc: a + 10 * acc, v, T.zeros_like(v[0]))
    right, _ = theano.foldr(lambda a, acc: a + 10 * acc, v, T.zeros_like(v[0]))
    squares, _ = theano.map(lambda a: a**2, v)
    got = theano.function([v], [total, left, right, squares])([1, 2, 3])
    assert [float(q) for q in got[:3]] == [123.0, 123.0, 321.0]
    assert list(got[3]) == [1, 4, 9]

    # Collatz lengths: until, in a map over numbers.
    n = T.lvector("n")

    def length(start):
        def go(m, count):
            nxt = T.switch(T.eq(m % 2, 0), m // 2, 3 * m + 1)
            return (nxt, count + 1), theano.scan_module.until(T.eq(nxt, 1))

        (_, counts), _ = theano.scan(go, outputs_info=[start, T.constant(np.int64(0))], n_steps=200)
        return counts[-1]

    lengths, _ = theano.map(length, n)
    assert list(theano.function([n], lengths)([6, 7, 27])) == [8, 16, 111]

    # A shared counter updated by the loop, and a matrix power as in the manual.
    count = theano.shared(0)
    A, k = T.vector("A"), T.iscalar("k")
    power, up = theano.scan(
        lambda p, A_: (p * A_, {count: count + 1}),
        outputs_info=T.ones_like(A),
        non_sequences=A,
        n_steps=k,
    )
    pw = theano.function([A, k], power[-1], updates=up)
    np.testing.assert_allclose(pw(np.arange(5, dtype=floatX), 2), np.arange(5) ** 2)
    assert count.get_value() == 2
    # Polynomial by sequences of unequal kinds; the shortest decides.
    coefficients, free = T.vector("coefficients"), T.scalar("free")
    terms, _ = theano.scan(
        lambda c, e, b: c * (b**e),
        outputs_info=None,
        sequences=[coefficients, theano.tensor.arange(10000)],
        non_sequences=free,
    )
    poly = theano.function([coefficients, free], terms.sum())
    assert poly(np.asarray([1, 0, 2], dtype=floatX), 3) == 19.0


if __name__ == "__main__":
    main()
