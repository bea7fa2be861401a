"""CTC loss in log space: a scan over time with shifts in the label axis; gradient through -inf
guards."""

import itertools

import numpy as np
import theano
import theano.tensor as T

floatX = theano.config.floatX
BIG = np.float32(-1e20)


def log_add(a, b):
    top = T.maximum(a, b)
    return top + T.log1p(T.exp(T.minimum(a, b) - top))


def interleave_blanks(labels, blank):
    extended = T.alloc(T.cast(blank, "int32"), 2 * labels.shape[0] + 1)
    return T.set_subtensor(extended[1::2], labels)


def ctc_cost(log_probs, labels, blank):
    ext = interleave_blanks(labels, blank)
    n = ext.shape[0]
    # A jump over a blank is allowed between different labels.
    may_jump = T.concatenate([[0, 0], T.neq(ext[2:], ext[:-2]) * T.neq(ext[2:], blank)])
    start = T.switch(T.arange(n) < 2, log_probs[0, ext], BIG)

    def step(lp, alpha):
        pad = T.ones((1,)) * BIG
        one = T.concatenate([pad, alpha[:-1]])
        two = T.concatenate([pad, pad, alpha[:-2]])
        two = T.switch(may_jump, two, BIG)
        return log_add(log_add(alpha, one), two) + lp[ext]

    alphas, _ = theano.scan(step, sequences=log_probs[1:], outputs_info=start)
    return -log_add(alphas[-1, -1], alphas[-1, -2]), alphas


def collapse(path, blank):
    return [k for k, _ in itertools.groupby(path) if k != blank]


def main():
    rng = np.random.RandomState(0)
    x, labels = T.matrix("x"), T.ivector("labels")
    blank = 2
    log_probs = T.log(T.nnet.softmax(x))
    cost, alphas = ctc_cost(log_probs, labels, blank)
    f = theano.function([x, labels], [cost, T.grad(cost, x), alphas])

    for y in ([0, 1], [1, 1], [0]):
        xv = rng.randn(5, 3).astype(floatX)
        p = np.exp(xv) / np.exp(xv).sum(1, keepdims=True)
        total = sum(
            np.prod(p[np.arange(5), list(path)])
            for path in itertools.product(range(3), repeat=5)
            if collapse(path, blank) == y
        )
        value, gradient, table = f(xv, np.array(y, dtype="int32"))
        np.testing.assert_allclose(value, -np.log(total), rtol=1e-5)
        assert table.shape == (4, 2 * len(y) + 1)
        assert np.isfinite(gradient).all()
        np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=1e-5)
        eps = 1e-5 if floatX == "float64" else 1e-2
        for spot in [(0, 0), (2, 2), (4, 1)]:
            ends = []
            for sign in (1, -1):
                moved = xv.copy()
                moved[spot] += sign * eps
                ends.append(float(f(moved, np.array(y, dtype="int32"))[0]))
            numeric = (ends[0] - ends[1]) / (2 * eps)
            np.testing.assert_allclose(gradient[spot], numeric, rtol=1e-2, atol=1e-3)

    # Learn to spell "0 1 1" in 9 frames.
    W = theano.shared((0.1 * rng.randn(9, 3)).astype(floatX))
    target = np.array([0, 1, 1], dtype="int32")
    cost, _ = ctc_cost(T.log(T.nnet.softmax(W)), labels, blank)
    train = theano.function([labels], cost, updates={W: W - 0.5 * T.grad(cost, W)})
    costs = [float(train(target)) for _ in range(200)]
    assert costs[-1] < 0.05 < costs[0], (costs[0], costs[-1])
    assert collapse(list(W.get_value().argmax(axis=1)), blank) == [0, 1, 1]


if __name__ == "__main__":
    main()
