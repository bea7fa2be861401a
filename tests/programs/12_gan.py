"""A small generative adversarial net: two optimisers, theano.clone of the discriminator, one
RNG."""

import numpy as np
import theano
import theano.tensor as T
from theano.sandbox.rng_mrg import MRG_RandomStreams

floatX = theano.config.floatX
srng = MRG_RandomStreams(seed=11)


def layer(rng, n_in, n_out, scale=0.3):
    W = theano.shared((scale * rng.randn(n_in, n_out)).astype(floatX), "W")
    b = theano.shared(np.zeros(n_out, dtype=floatX), "b")
    return [W, b]


def lrelu(x, leak=0.2):
    f1, f2 = 0.5 * (1 + leak), 0.5 * (1 - leak)
    return f1 * x + f2 * abs(x)


def generator(z, p):
    h = T.tanh(T.dot(z, p[0]) + p[1])
    return T.dot(h, p[2]) + p[3]


def discriminator(x, p):
    h = lrelu(T.dot(x, p[0]) + p[1])
    return (T.dot(h, p[2]) + p[3]).ravel()


def momentum_updates(cost, params, lr, mom):
    updates = []
    for p, g in zip(params, T.grad(cost, params)):
        v = theano.shared(p.get_value() * 0.0)
        updates.extend([(v, mom * v - lr * g), (p, p + mom * v - lr * g)])
    return updates


def main():
    rng = np.random.RandomState(8)
    gp = layer(rng, 2, 16) + layer(rng, 16, 2)
    dp = layer(rng, 2, 24) + layer(rng, 24, 1)
    real = T.matrix("real")
    z = srng.uniform((real.shape[0], 2), low=-1.0, high=1.0)
    fake = generator(z, gp)
    on_real = discriminator(real, dp)
    # The same discriminator looks at the generated points: a clone of its graph.
    on_fake = theano.clone(on_real, replace={real: fake}, share_inputs=True)
    d_cost = (
        T.nnet.binary_crossentropy(T.nnet.sigmoid(on_real), T.ones(on_real.shape)).mean()
        + T.nnet.softplus(on_fake).mean()
    )
    g_cost = T.nnet.softplus(-on_fake).mean()
    train_d = theano.function([real], d_cost, updates=momentum_updates(d_cost, dp, 0.1, 0.5))
    train_g = theano.function([real], g_cost, updates=momentum_updates(g_cost, gp, 0.05, 0.5))
    n = T.iscalar("n")
    sample = theano.function([n], generator(srng.uniform((n, 2), low=-1, high=1), gp))

    def batch():
        return (np.array([2.0, -1.0]) + 0.5 * rng.randn(64, 2)).astype(floatX)

    before = np.linalg.norm(sample(500).mean(axis=0) - [2, -1])
    costs = []
    for _ in range(400):
        costs.append([float(train_d(batch())), float(train_g(batch()))])
    points = sample(500)
    after = np.linalg.norm(points.mean(axis=0) - [2, -1])
    assert np.isfinite(costs).all()
    assert after < 0.8 and after < before / 2, (before, after)
    assert points.shape == (500, 2)

    # The parameters of one player do not move when the other trains.
    saved = [p.get_value() for p in gp]
    train_d(batch())
    assert all((a == p.get_value()).all() for a, p in zip(saved, gp))

    # clone gives a graph that computes the same as building it directly.
    direct = discriminator(fake, dp)
    zero = theano.function([z], on_fake - direct)(np.zeros((4, 2), dtype=floatX))
    assert (zero == 0).all()


if __name__ == "__main__":
    main()
