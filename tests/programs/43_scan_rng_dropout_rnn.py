"""Random numbers inside loops: each step draws anew, seeds repeat; zoneout, walks, darts."""

import numpy as np
import theano
import theano.tensor as T
from theano.sandbox.rng_mrg import MRG_RandomStreams
from theano.tensor.shared_randomstreams import RandomStreams

floatX = theano.config.floatX


def noise(kind, seed):
    srng = kind(seed)
    v = T.vector("v")
    out, updates = theano.scan(
        lambda x: x + srng.normal(v.shape, dtype=floatX) if kind is MRG_RandomStreams
        else x + srng.normal(v.shape, avg=0.0, std=1.0, dtype=floatX),
        sequences=v,
    )  # fmt: skip
    return theano.function([v], out, updates=updates), updates


def main():
    v = np.zeros(6, dtype=floatX)
    for kind in (MRG_RandomStreams, RandomStreams):
        f, updates = noise(kind, 42)
        assert len(updates) == 1
        a, b = f(v), f(v)
        assert a.shape == (6, 6) and len(np.unique(a)) == 36  # new numbers at every step
        assert not (a == b).any()  # and at every call
        g, _ = noise(kind, 42)
        np.testing.assert_array_equal(g(v), a)  # the same seed gives the same numbers
        other, _ = noise(kind, 43)
        assert (other(v) != a).all()

    # Without the updates the state stays: the same numbers at every call.
    srng = MRG_RandomStreams(5)
    x = T.matrix("x")
    out, updates = theano.scan(lambda r: r * srng.binomial(r.shape, p=0.5, dtype=floatX), x)
    still = theano.function([x], out, no_default_updates=True)
    ones = np.ones((8, 10), dtype=floatX)
    assert (still(ones) == still(ones)).all()
    moving = theano.function([x], out, updates=updates)
    assert (moving(ones) != moving(ones)).any()

    # A net with recurrent dropout and zoneout; gradients see the same masks as the forward pass.
    rng = np.random.RandomState(0)
    W, U = [theano.shared((0.5 * rng.randn(3, 3)).astype(floatX)) for _ in range(2)]
    train_mode = theano.shared(np.asarray(1.0, dtype=floatX))

    def step(row, h):
        new = T.tanh(T.dot(row, W) + T.dot(h, U))
        keep = srng.binomial(h.shape, p=0.8, dtype=floatX)
        mask = T.switch(train_mode, keep, np.float32(0.8))
        return mask * new + (1 - mask) * h

    h, updates = theano.scan(step, sequences=x, outputs_info=T.zeros((3,)))
    cost = T.sum(h[-1] ** 2)
    gW = T.grad(cost, W)
    f = theano.function([x], [cost, gW, h], updates=updates, name="zoneout")
    xv = rng.randn(5, 3).astype(floatX)
    states = [u for u in updates]
    saved = [s.get_value() for s in states]

    def again(move=None):
        """The same noise: put the generators' states back first."""
        for s, value in zip(states, saved):
            s.set_value(value)
        base = W.get_value()
        if move is not None:
            W.set_value(base + move)
        result = f(xv)
        W.set_value(base)
        return result

    c, g, hv = again()
    c2, _, _ = again()
    assert c == c2
    eps = 1e-5 if floatX == "float64" else 1e-2
    for spot in [(0, 0), (1, 2), (2, 1)]:
        d = np.zeros((3, 3), dtype=floatX)
        d[spot] = eps
        numeric = (again(d)[0] - again(-d)[0]) / (2 * eps)
        np.testing.assert_allclose(g[spot], numeric, rtol=1e-2, atol=1e-3)
    frozen = np.mean([(again() and f(xv)[2][1:] == f(xv)[2][:-1]).mean() for _ in range(30)])
    assert 0 <= frozen < 0.2
    train_mode.set_value(0)
    a, b = f(xv)[0], f(xv)[0]
    assert a == b  # no noise any more

    # Monte Carlo: pi by darts, a random walk's spread.
    def dart(count):
        p = srng.uniform((200, 2), low=-1, high=1, dtype=floatX)
        return count + T.sum(T.lt((p**2).sum(axis=1), 1), dtype="int64")

    counts, up = theano.scan(dart, outputs_info=T.constant(np.int64(0)), n_steps=200)
    estimate = theano.function([], 4.0 * counts[-1] / 40000.0, updates=up)
    assert abs(estimate() - np.pi) < 0.05
    walk, up = theano.scan(
        lambda p: p + 2 * srng.binomial(p.shape, p=0.5, dtype=floatX) - 1,
        outputs_info=T.zeros((500,)),
        n_steps=100,
    )
    ends = theano.function([], walk[-1], updates=up)()
    assert abs(ends.mean()) < 2 and abs(ends.std() - 10) < 1.5
    assert (ends % 2 == 0).all()


if __name__ == "__main__":
    main()
