"""Variational autoencoder: reparametrised Gaussian, KL in closed form, Adam; two RNG kinds."""

import numpy as np
import theano
import theano.tensor as T
from theano.sandbox.rng_mrg import MRG_RandomStreams

floatX = theano.config.floatX
epsilon = np.float32(1e-7)


class VAE:
    def __init__(self, rng, x_dim, h_dim, z_dim):
        self.prng = MRG_RandomStreams(rng.randint(1, 2**30))
        self.params = {}

        def init(name, *shape):
            value = rng.normal(0, 0.1, shape).astype(floatX) if len(shape) > 1 else np.zeros(shape)
            self.params[name] = theano.shared(value.astype(floatX), name=name)
            return self.params[name]

        self.We, self.be = init("We", x_dim, h_dim), init("be", h_dim)
        self.Wm, self.bm = init("Wm", h_dim, z_dim), init("bm", z_dim)
        self.Ws, self.bs = init("Ws", h_dim, z_dim), init("bs", z_dim)
        self.Wd, self.bd = init("Wd", z_dim, h_dim), init("bd", h_dim)
        self.Wx, self.bx = init("Wx", h_dim, x_dim), init("bx", x_dim)

    def encode(self, x):
        h = T.tanh(T.dot(x, self.We) + self.be.dimshuffle("x", 0))
        return T.dot(h, self.Wm) + self.bm, T.dot(h, self.Ws) + self.bs

    def sample(self, mu, log_sigma):
        eps = self.prng.normal(mu.shape, avg=0.0, std=1.0, dtype=floatX)
        return mu + T.exp(0.5 * log_sigma) * eps

    def decode(self, z):
        h = T.nnet.relu(T.dot(z, self.Wd) + self.bd)
        return T.nnet.sigmoid(T.dot(h, self.Wx) + self.bx).clip(epsilon, 1 - epsilon)

    def bound(self, x):
        mu, log_sigma = self.encode(x)
        rec = self.decode(self.sample(mu, log_sigma))
        kl = 0.5 * T.sum(1 + log_sigma - mu**2 - T.exp(log_sigma), axis=1)
        logpx = -T.nnet.binary_crossentropy(rec, x).sum(axis=1)
        return T.mean(logpx + kl), -T.mean(kl)


def adam(cost, params, learning_rate=0.01, b1=0.9, b2=0.999):
    updates = {}
    grads = theano.grad(cost, params)
    t = theano.shared(np.asarray(1.0, dtype=floatX))
    for p, g in zip(params, grads):
        m = theano.shared(
            np.zeros(p.get_value().shape, dtype=floatX), broadcastable=p.broadcastable
        )
        v = theano.shared(
            np.zeros(p.get_value().shape, dtype=floatX), broadcastable=p.broadcastable
        )
        new_m, new_v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        updates[m], updates[v] = new_m, new_v
        updates[p] = p - learning_rate * (new_m / (1 - b1**t)) / (
            T.sqrt(new_v / (1 - b2**t)) + 1e-8
        )
    updates[t] = t + 1
    return updates


def main():
    rng = np.random.RandomState(2)
    patterns = rng.binomial(1, 0.5, (5, 16))
    data = patterns[rng.randint(0, 5, 100)].astype(floatX)
    model = VAE(rng, 16, 24, 3)
    x, z = T.matrix("x"), T.matrix("z")
    bound, kl = model.bound(x)
    params = list(model.params.values())
    train = theano.function([x], {"bound": bound, "kl": kl}, updates=adam(-bound, params))
    generate = theano.function([z], model.decode(z))
    first = train(data)
    assert sorted(first) == ["bound", "kl"]
    for _ in range(250):
        last = train(data)
    assert last["bound"] > 0.6 * first["bound"], (first, last)
    assert last["kl"] > 0.3
    # Codes at the mean reproduce the patterns.
    encode = theano.function([x], model.encode(x)[0])
    rebuilt = generate(encode(data)) > 0.5
    assert (rebuilt == data).mean() > 0.9, (rebuilt == data).mean()
    # The draw: mean and deviation.
    mu, ls = T.matrix("mu"), T.matrix("ls")
    draw = theano.function([mu, ls], model.sample(mu, ls))
    sample = draw(np.full((400, 100), 3, dtype=floatX), np.full((400, 100), 2, dtype=floatX))
    assert abs(sample.mean() - 3) < 0.1 and abs(sample.std() - np.e) < 0.1
    assert sample.dtype == floatX


if __name__ == "__main__":
    main()
