"""A memory with soft reads and writes (content addressing, circular shift) inside scan; copy
task."""

import numpy as np
import theano
import theano.tensor as T

floatX = theano.config.floatX


def cosine_similarity(k, M, eps=1e-6):
    norm = T.sqrt(T.sum(k**2)) * T.sqrt(T.sum(M**2, axis=1))
    return T.dot(M, k) / (norm + eps)


def circular_convolve(w, s, n):
    """Shift ``w`` by a distribution ``s`` over (-1, 0, 1) with a constant table of places."""
    table = np.array([[(i + j) % n for j in (-1, 0, 1)] for i in range(n)], dtype="int32")
    return T.sum(w[table] * s[::-1][None, :], axis=1)


class Memory:
    def __init__(self, rng, n_in, n_out, hidden=20, slots=6, width=5):
        self.n, self.m, self.hidden = slots, width, hidden
        self.params = []

        def param(*shape, **kwargs):
            value = (kwargs.get("scale", 0.3) * rng.randn(*shape)).astype(floatX)
            self.params.append(theano.shared(value))
            return self.params[-1]

        self.Wx, self.Wr, self.Wh = param(n_in, hidden), param(width, hidden), param(hidden, hidden)
        self.bh = param(hidden)
        head = width + 1 + 1 + 3 + 1  # key, beta, gate, shift, gamma
        self.heads = [(param(hidden, head), param(head)) for _ in range(2)]
        self.We, self.Wa = param(hidden, width), param(hidden, width)
        self.Wo, self.bo = param(hidden + width, n_out), param(n_out)
        self.M0 = param(slots, width, scale=0.01)

    def address(self, h, w_old, M, head):
        W, b = head
        z = T.dot(h, W) + b
        m = self.m
        beta, gamma = T.nnet.softplus(z[m]) + 1, T.nnet.softplus(z[m + 5]) + 1
        gate = T.nnet.sigmoid(z[m + 1])
        shift = T.nnet.softmax(z[m + 2 : m + 5])[0]
        wc = T.nnet.softmax(beta * cosine_similarity(T.tanh(z[:m]), M)).flatten()
        w = circular_convolve(gate * wc + (1 - gate) * w_old, shift, self.n)
        w = T.maximum(w, 1e-8) ** gamma
        return w / w.sum()

    def step(self, x, M, wr, ww, h):
        read = T.dot(wr, M)
        h = T.tanh(T.dot(x, self.Wx) + T.dot(read, self.Wr) + T.dot(h, self.Wh) + self.bh)
        ww = self.address(h, ww, M, self.heads[0])
        erase, add = T.nnet.sigmoid(T.dot(h, self.We)), T.tanh(T.dot(h, self.Wa))
        M = M * (1 - T.outer(ww, erase)) + ww.dimshuffle(0, "x") * add.dimshuffle("x", 0)
        wr = self.address(h, wr, M, self.heads[1])
        y = T.nnet.sigmoid(T.dot(T.concatenate([h, T.dot(wr, M)]), self.Wo) + self.bo)
        return M, wr, ww, h, y

    def run(self, xs):
        start = np.zeros(self.n, dtype=floatX)
        start[0] = 1
        outs, _ = theano.scan(
            self.step,
            sequences=[xs],
            outputs_info=[
                self.M0,
                T.constant(start),
                T.constant(start),
                T.zeros((self.hidden,)),
                None,
            ],
        )
        return outs


def main():
    rng = np.random.RandomState(4)
    net = Memory(rng, 4, 3)
    xs, ys = T.matrix("xs"), T.matrix("ys")
    Ms, wr, ww, _, out = net.run(xs)
    cost = T.nnet.binary_crossentropy(T.clip(out, 1e-6, 1 - 1e-6), ys)[ys.shape[0] // 2 :].mean()
    grads = T.grad(cost, net.params)
    norm = T.sqrt(sum(map(lambda g: T.sqr(g).sum(), grads)))
    scale = T.minimum(1.0, 5.0 / (norm + 1e-8))
    accs = [theano.shared(np.zeros_like(p.get_value())) for p in net.params]
    updates = [(a, 0.95 * a + 0.05 * (g * scale) ** 2) for a, g in zip(accs, grads)]
    updates += [
        (p, p - 0.01 * g * scale / T.sqrt(n + 1e-5))
        for p, g, (_, n) in zip(net.params, grads, updates)
    ]
    train = theano.function([xs, ys], [cost, norm], updates=updates)
    look = theano.function([xs], [Ms, wr, ww, out])
    check = theano.function([xs, ys], [cost, *grads])

    def episode():
        bits = rng.binomial(1, 0.5, (3, 3)).astype(floatX)
        x = np.zeros((6, 4), dtype=floatX)
        x[:3, :3], x[3:, 3] = bits, 1
        y = np.zeros((6, 3), dtype=floatX)
        y[3:] = bits
        return x, y

    x, y = episode()
    Mv, wrv, wwv, _ = look(x)
    assert Mv.shape == (6, 6, 5) and wrv.shape == (6, 6)
    for w in (wrv, wwv):
        np.testing.assert_allclose(w.sum(axis=1), 1.0, rtol=1e-4)
        assert (w >= 0).all()
    if floatX == "float64":
        for k in (0, 2, 4, 8, len(net.params) - 1):
            p = net.params[k]
            g = check(x, y)[1 + k]
            base, spot = p.get_value(), tuple(0 for _ in g.shape)
            ends = []
            for sign in (1, -1):
                moved = base.copy()
                moved[spot] += sign * 1e-5
                p.set_value(moved)
                ends.append(float(check(x, y)[0]))
            p.set_value(base)
            np.testing.assert_allclose(g[spot], (ends[0] - ends[1]) / 2e-5, rtol=1e-4, atol=1e-8)
    costs = [float(train(*episode())[0]) for _ in range(400)]
    assert np.mean(costs[-40:]) < np.mean(costs[:20]) - 0.1, (np.mean(costs[:20]), costs[-1])


if __name__ == "__main__":
    main()
