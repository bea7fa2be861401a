"""Layer library in the style of Lasagne/Keras: conv (new API), batch norm, pooling, dropout,
dense, shape inference."""

import numpy as np
import theano
import theano.tensor as T
from theano.sandbox.rng_mrg import MRG_RandomStreams as RandomStreams
from theano.tensor.nnet import conv2d, relu
from theano.tensor.nnet.bn import batch_normalization
from theano.tensor.signal.pool import pool_2d

floatX = theano.config.floatX
_srng = RandomStreams(99)


class Layer(object):
    params = ()
    extra_updates = ()


class Conv(Layer):
    def __init__(self, rng, n_in, n_out, size=3, pad="half"):
        scale = np.sqrt(2.0 / (n_in * size * size))
        W = rng.normal(0, scale, (n_out, n_in, size, size)).astype(floatX)
        self.W, self.pad = theano.shared(W), pad
        self.params = [self.W]

    def apply(self, x, train):
        return conv2d(x, self.W, border_mode=self.pad, subsample=(1, 1))

    def shape(self, s):
        o, _, kh, kw = self.W.get_value(borrow=True).shape
        if self.pad == "half":
            return (s[0], o, s[2], s[3])
        return (s[0], o, s[2] - kh + 1, s[3] - kw + 1)


class BatchNorm(Layer):
    def __init__(self, n, alpha=0.1):
        self.gamma = theano.shared(np.ones(n, dtype=floatX))
        self.beta = theano.shared(np.zeros(n, dtype=floatX))
        self.mean = theano.shared(np.zeros(n, dtype=floatX))
        self.var = theano.shared(np.ones(n, dtype=floatX))
        self.params, self.alpha = [self.gamma, self.beta], alpha

    def apply(self, x, train):
        p = ["x", 0] + ["x"] * (x.ndim - 2)
        axes = [a for a in range(x.ndim) if a != 1]
        if train:
            mean, var = x.mean(axes), x.var(axes)
            a = np.float32(self.alpha)
            self.extra_updates = [
                (self.mean, T.cast((1 - a) * self.mean + a * mean, floatX)),
                (self.var, T.cast((1 - a) * self.var + a * var, floatX)),
            ]
        else:
            mean, var = self.mean, self.var
        return batch_normalization(
            x,
            self.gamma.dimshuffle(*p),
            self.beta.dimshuffle(*p),
            mean.dimshuffle(*p),
            T.sqrt(var.dimshuffle(*p) + np.float32(1e-4)),
            mode="low_mem",
        )

    def shape(self, s):
        return s


class Activation(Layer):
    def __init__(self, fn):
        self.fn = fn

    def apply(self, x, train):
        return self.fn(x)

    def shape(self, s):
        return s


class Pool(Layer):
    def __init__(self, mode="max"):
        self.mode = mode

    def apply(self, x, train):
        return pool_2d(x, ws=(2, 2), stride=(2, 2), ignore_border=True, mode=self.mode)

    def shape(self, s):
        return (s[0], s[1], s[2] // 2, s[3] // 2)


class Dropout(Layer):
    def __init__(self, p):
        self.p = p

    def apply(self, x, train):
        if not train:
            return x
        keep = 1 - self.p
        return x * _srng.binomial(x.shape, p=keep, dtype=floatX) / np.float32(keep)

    def shape(self, s):
        return s


class Dense(Layer):
    def __init__(self, rng, n_in, n_out):
        self.W = theano.shared((rng.randn(n_in, n_out) / np.sqrt(n_in)).astype(floatX))
        self.b = theano.shared(np.zeros(n_out, dtype=floatX))
        self.params = [self.W, self.b]

    def apply(self, x, train):
        if x.ndim > 2:
            x = x.flatten(2)
        return T.dot(x, self.W) + self.b

    def shape(self, s):
        return (s[0], self.b.get_value().size)


def build(layers, x, train):
    for layer in layers:
        x = layer.apply(x, train)
    return x


def main():
    rng = np.random.RandomState(0)
    leaky = lambda x: T.nnet.relu(x, 0.1)  # noqa: E731
    layers = [
        Conv(rng, 3, 6), BatchNorm(6), Activation(leaky), Pool(),
        Conv(rng, 6, 8, 3, "valid"), BatchNorm(8), Activation(T.nnet.elu), Pool("average_exc_pad"),
        Dropout(0.2), Dense(rng, 8 * 2 * 2, 2), Activation(T.nnet.softmax),
    ]  # fmt: skip
    x, y = T.tensor4("x"), T.ivector("y")
    out = build(layers, x, train=True)
    cost = T.nnet.categorical_crossentropy(out, y).mean()
    params = [p for layer in layers for p in layer.params]
    updates = []
    for p, g in zip(params, T.grad(cost, params)):
        v = theano.shared(np.zeros_like(p.get_value()))
        updates += [(v, 0.9 * v - 0.05 * g), (p, p + 0.9 * v - 0.05 * g)]
    for layer in layers:
        updates += list(layer.extra_updates)
    train = theano.function([x, y], cost, updates=updates)
    test = theano.function([x], build(layers, x, train=False))
    shapes = theano.function([x], [build(layers[: k + 1], x, False).shape for k in range(10)])

    n = 40
    yv = rng.randint(0, 2, n).astype("int32")
    xv = 0.3 * rng.randn(n, 3, 12, 12)
    for image, label in zip(xv, yv):  # textures: stripes against checks
        rows, cols = np.indices((12, 12))
        image += ((rows + cols) % 2 if label else rows % 2) * 0.8
    xv = xv.astype(floatX)
    expected = xv.shape
    for layer, got in zip(layers, shapes(xv)):
        expected = layer.shape(expected)
        assert tuple(got) == tuple(expected), (layer, got, expected)
    costs = [float(train(xv, yv)) for _ in range(40)]
    assert costs[-1] < 0.2 * costs[0] + 0.02, (costs[0], costs[-1])
    p = test(xv)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    assert (p.argmax(axis=1) == yv).mean() > 0.9
    assert (layers[1].var.get_value() != 1).all()

    # relu and its friends at a few points.
    v = T.vector("v")
    f = theano.function([v], [relu(v), leaky(v), T.nnet.elu(v), T.nnet.hard_sigmoid(v)])
    got = f(np.array([-2, 0, 2], dtype=floatX))
    for g, e in zip(got, ([0, 0, 2], [-0.2, 0, 2], [np.expm1(-2), 0, 2], [0.1, 0.5, 0.9])):
        np.testing.assert_allclose(g, e, rtol=1e-5, atol=1e-7)


if __name__ == "__main__":
    main()
