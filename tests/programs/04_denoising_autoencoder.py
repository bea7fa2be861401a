"""Denoising autoencoder with tied weights, and a contractive penalty written with jacobian-like
sums."""

import numpy
import theano
import theano.tensor as T
from theano.sandbox.rng_mrg import MRG_RandomStreams


class dA(object):
    def __init__(self, numpy_rng, theano_rng=None, input=None, n_visible=784, n_hidden=500):
        self.n_visible, self.n_hidden = n_visible, n_hidden
        if not theano_rng:
            theano_rng = MRG_RandomStreams(numpy_rng.randint(2**30))
        limit = 4 * numpy.sqrt(6.0 / (n_hidden + n_visible))
        initial_W = numpy.asarray(
            numpy_rng.uniform(low=-limit, high=limit, size=(n_visible, n_hidden)),
            dtype=theano.config.floatX,
        )
        self.W = theano.shared(value=initial_W, name="W", borrow=True)
        self.b = theano.shared(numpy.zeros(n_hidden, dtype=theano.config.floatX), name="b")
        self.b_prime = theano.shared(numpy.zeros(n_visible, dtype=theano.config.floatX), name="bp")
        self.W_prime = self.W.T
        self.theano_rng = theano_rng
        self.x = T.dmatrix(name="input") if input is None else input
        self.params = [self.W, self.b, self.b_prime]

    def get_corrupted_input(self, input, corruption_level):
        keep = self.theano_rng.binomial(
            size=input.shape, n=1, p=1 - corruption_level, dtype=theano.config.floatX
        )
        return keep * input

    def get_hidden_values(self, input):
        return T.nnet.sigmoid(T.dot(input, self.W) + self.b)

    def get_reconstructed_input(self, hidden):
        return T.nnet.sigmoid(T.dot(hidden, self.W_prime) + self.b_prime)

    def get_cost_updates(self, corruption_level, learning_rate, contraction=0.0):
        tilde_x = self.get_corrupted_input(self.x, corruption_level)
        y = self.get_hidden_values(tilde_x)
        z = self.get_reconstructed_input(y)
        L = -T.sum(self.x * T.log(z) + (1 - self.x) * T.log(1 - z), axis=1)
        # ||J||^2 of the encoder, by its closed form.
        dy = y * (1 - y)
        J = T.reshape(dy, (-1, 1, self.n_hidden)) * T.reshape(
            self.W, (1, self.n_visible, self.n_hidden)
        )
        cost = T.mean(L) + contraction * T.mean(T.sum(J**2, axis=(1, 2)))
        gparams = T.grad(cost, self.params)
        return cost, [(p, p - learning_rate * g) for p, g in zip(self.params, gparams)]


def main():
    rng = numpy.random.RandomState(123)
    prototypes = rng.binomial(1, 0.4, (6, 20))
    data = prototypes[rng.randint(0, 6, 120)].astype(theano.config.floatX)
    train_set_x = theano.shared(data, borrow=True)
    index = T.lscalar()
    x = T.matrix("x")
    da = dA(numpy_rng=rng, input=x, n_visible=20, n_hidden=12)
    learning_rate = numpy.asarray(0.1, dtype=theano.config.floatX)
    cost, updates = da.get_cost_updates(0.3, learning_rate, contraction=numpy.float32(0.001))
    train_da = theano.function(
        [index], cost, updates=updates, givens={x: train_set_x[index * 20 : (index + 1) * 20]}
    )
    first = numpy.mean([train_da(i) for i in range(6)])
    for _ in range(60):
        last = numpy.mean([train_da(i) for i in range(6)])
    assert last < 0.5 * first, (first, last)

    # Reconstruct from a damaged picture.
    rebuild = theano.function([x], da.get_reconstructed_input(da.get_hidden_values(x)))
    damaged = data[:30] * rng.binomial(1, 0.8, (30, 20)).astype(theano.config.floatX)
    assert ((rebuild(damaged) > 0.5) == data[:30]).mean() > 0.93

    # No corruption: the cost is a plain function, its gradient checked by differences.
    clean, _ = da.get_cost_updates(0.0, learning_rate)
    f = theano.function([x], [clean, T.grad(clean, da.W)])
    W0 = da.W.get_value()
    _, g = f(data[:10])
    eps = 1e-5 if theano.config.floatX == "float64" else 1e-2
    for i, j in [(0, 0), (3, 7), (19, 11)]:
        values = []
        for sign in (1, -1):
            W = W0.copy()
            W[i, j] += sign * eps
            da.W.set_value(W, borrow=True)
            values.append(float(f(data[:10])[0]))
        numpy.testing.assert_allclose(
            g[i, j], (values[0] - values[1]) / (2 * eps), rtol=2e-2, atol=2e-3
        )


if __name__ == "__main__":
    main()
