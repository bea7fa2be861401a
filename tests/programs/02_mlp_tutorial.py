"""Multilayer perceptron with L1/L2 terms, dropout by a shared random stream and momentum."""

import numpy as np
import theano
import theano.tensor as T
from theano.tensor.shared_randomstreams import RandomStreams


class HiddenLayer(object):
    def __init__(self, rng, input, n_in, n_out, W=None, b=None, activation=T.tanh):
        self.input = input
        if W is None:
            W_values = np.asarray(
                rng.uniform(
                    low=-np.sqrt(6.0 / (n_in + n_out)),
                    high=np.sqrt(6.0 / (n_in + n_out)),
                    size=(n_in, n_out),
                ),
                dtype=theano.config.floatX,
            )
            if activation == theano.tensor.nnet.sigmoid:
                W_values *= 4
            W = theano.shared(value=W_values, name="W", borrow=True)
        if b is None:
            b = theano.shared(np.zeros((n_out,), dtype=theano.config.floatX), name="b", borrow=True)
        self.W, self.b = W, b
        lin_output = T.dot(input, self.W) + self.b
        self.output = lin_output if activation is None else activation(lin_output)
        self.params = [self.W, self.b]


def dropout_from_layer(rng, layer, p):
    srng = RandomStreams(rng.randint(999999))
    mask = srng.binomial(n=1, p=1 - p, size=layer.shape)
    return layer * T.cast(mask, theano.config.floatX)


def relu(x):
    return T.maximum(0.0, x)


def main():
    rng = np.random.RandomState(1234)
    n = 200
    data = rng.uniform(-1, 1, (n, 2)).astype(theano.config.floatX)
    target = (data[:, 0] * data[:, 1] > 0).astype("int32")  # XOR-like

    x, y = T.matrix("x"), T.ivector("y")
    h1 = HiddenLayer(rng, x, 2, 32, activation=relu)
    dropped = dropout_from_layer(rng, h1.output, 0.1)
    h2_drop = HiddenLayer(rng, dropped, 32, 16, activation=T.tanh)
    h2 = HiddenLayer(rng, h1.output * np.float32(0.9), 32, 16, W=h2_drop.W, b=h2_drop.b)
    out_drop = HiddenLayer(rng, h2_drop.output, 16, 2, activation=None)
    out = HiddenLayer(rng, h2.output, 16, 2, W=out_drop.W, b=out_drop.b, activation=None)
    params = h1.params + h2_drop.params + out_drop.params

    p_drop = T.nnet.softmax(out_drop.output)
    L1 = abs(h1.W).sum() + abs(h2.W).sum()
    L2_sqr = (h1.W**2).sum() + (h2.W**2).sum()
    nll = T.nnet.categorical_crossentropy(p_drop, y).mean()
    cost = nll + 0.00001 * L1 + 0.00001 * L2_sqr

    gparams = [T.grad(cost, param) for param in params]
    velocities = [theano.shared(p.get_value() * 0.0) for p in params]
    mom, lr = T.scalar("mom"), T.scalar("lr")
    updates = []
    for p, v, g in zip(params, velocities, gparams):
        new_v = mom * v - (1.0 - mom) * lr * g
        updates.append((v, new_v))
        updates.append((p, p + new_v))
    train = theano.function([x, y, theano.Param(lr, default=0.5), mom], cost, updates=updates)
    errors = T.mean(T.neq(T.argmax(out.output, axis=1), y))
    test = theano.function(inputs=[x, y], outputs=[errors, T.nnet.softmax(out.output)])

    before, _ = test(data, target)
    costs = [float(train(data, target, lr=1.0, mom=0.5 if e < 20 else 0.9)) for e in range(300)]
    after, prob = test(data, target)
    assert costs[-1] < costs[0] * 0.6, (costs[0], costs[-1])
    assert after < 0.12 < before, (before, after)
    np.testing.assert_allclose(prob.sum(axis=1), 1.0, rtol=1e-5)
    assert prob.dtype == theano.config.floatX
    # Default value of lr, and another draw for each call.
    c1, c2 = train(data, target, mom=0), train(data, target, mom=0)
    assert c1 != c2

    # Dropped-out and kept units appear in the right proportion.
    ones = theano.function([x], dropout_from_layer(rng, T.ones_like(x), 0.25))
    kept = ones(np.zeros((100, 100), dtype=theano.config.floatX))
    assert set(np.unique(kept)) == {0.0, 1.0}
    assert abs(kept.mean() - 0.75) < 0.03


if __name__ == "__main__":
    main()
