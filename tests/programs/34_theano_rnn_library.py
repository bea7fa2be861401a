"""A recurrent library in the manner of 2013: flat theta vector, output types, biRNN, sequences
of many lengths."""

import logging
import pickle

import numpy as np
import theano
import theano.tensor as T

logger = logging.getLogger(__name__)
mode = theano.Mode(linker="cvm")


class RNN(object):
    """One flat parameter vector ``theta``; the matrices are its pieces."""

    def __init__(self, input, n_in, n_hidden, n_out, activation=T.tanh, output_type="real", seed=0):
        self.input, self.activation, self.output_type = input, activation, output_type
        shapes = [("W", n_hidden, n_hidden), ("W_in", n_in, n_hidden), ("W_out", n_hidden, n_out),
                  ("h0", n_hidden), ("bh", n_hidden), ("by", n_out)]  # fmt: skip
        total = sum(int(np.prod(s[1:])) for s in shapes)
        init = np.random.RandomState(seed).uniform(-0.3, 0.3, total).astype(theano.config.floatX)
        self.theta = theano.shared(value=init, name="theta")
        at = 0
        for name, *shape in shapes:
            size = int(np.prod(shape))
            piece = self.theta[at : at + size].reshape(tuple(shape))
            piece.name = name
            setattr(self, name, piece)
            at += size

        def step(x_t, h_tm1):
            h_t = self.activation(T.dot(x_t, self.W_in) + T.dot(h_tm1, self.W) + self.bh)
            y_t = T.dot(h_t, self.W_out) + self.by
            return h_t, y_t

        [self.h, self.y_pred], _ = theano.scan(
            step, sequences=self.input, outputs_info=[self.h0, None]
        )
        self.L1 = abs(self.W.sum()) + abs(self.W_in.sum())
        self.L2_sqr = (self.W**2).sum() + (self.W_in**2).sum()
        if output_type == "real":
            self.loss = lambda y: T.mean((self.y_pred - y) ** 2)
        elif output_type == "binary":
            self.p_y_given_x = T.nnet.sigmoid(self.y_pred)
            self.y_out = T.round(self.p_y_given_x)
            self.loss = lambda y: T.mean(T.nnet.binary_crossentropy(self.p_y_given_x, y))
        elif output_type == "softmax":
            self.p_y_given_x = T.nnet.softmax(self.y_pred)
            self.y_out = T.argmax(self.p_y_given_x, axis=-1)
            self.loss = lambda y: -T.mean(T.log(self.p_y_given_x)[T.arange(y.shape[0]), y])
        else:
            raise NotImplementedError

    def __getstate__(self):
        return {"theta": self.theta.get_value(), "output_type": self.output_type}


def fit(rnn, x, y, seqs, targets, n_epochs, rate=0.05, momentum=0.9):
    lr, mom = T.scalar("lr"), T.scalar("mom")
    cost = rnn.loss(y) + 1e-4 * rnn.L2_sqr
    gtheta = T.grad(cost, rnn.theta)
    update = theano.shared(np.zeros_like(rnn.theta.get_value()))
    theta_update = mom * update - lr * gtheta
    train = theano.function(
        [x, y, lr, mom],
        cost,
        updates=[(update, theta_update), (rnn.theta, rnn.theta + theta_update)],
        mode=mode,
    )
    history = []
    for _ in range(n_epochs):
        history.append(np.mean([train(s, t, rate, momentum) for s, t in zip(seqs, targets)]))
    return history


def main():
    rng = np.random.RandomState(0)
    floatX = theano.config.floatX
    seqs = [rng.randn(rng.randint(5, 12), 3).astype(floatX) for _ in range(25)]
    x = T.matrix("x")

    # Real: y[t] = x[t-1][0].
    real = RNN(x, 3, 8, 2)
    targets = [np.vstack([np.zeros((1, 2)), s[:-1, :2]]).astype(floatX) for s in seqs]
    y = T.matrix("y")
    history = fit(real, x, y, seqs, targets, 60)
    assert history[-1] < 0.4 * history[0], (history[0], history[-1])

    # Binary: was the previous sum positive?
    binary = RNN(x, 3, 8, 1, output_type="binary")
    targets = [
        np.concatenate([[[0]], s[:-1].sum(1, keepdims=True) > 0]).astype(floatX) for s in seqs
    ]
    history = fit(binary, x, y, seqs, targets, 60, rate=0.02)
    assert history[-1] < 0.5 * history[0], (history[0], history[-1])
    predict = theano.function([x], binary.y_out)
    right = np.mean([np.mean(predict(s) == t) for s, t in zip(seqs, targets)])
    assert right > 0.85, right

    # Softmax: which of the inputs was the largest at the step before.
    soft = RNN(x, 3, 12, 3, output_type="softmax")
    labels = T.vector("labels", dtype="int32")
    targets = [np.concatenate([[0], s[:-1].argmax(1)]).astype("int32") for s in seqs]
    history = fit(soft, x, labels, seqs, targets, 60, rate=0.02)
    assert history[-1] < 0.5 * history[0], (history[0], history[-1])

    # One flat gradient: differences along random directions.
    cost = soft.loss(labels)
    f = theano.function([x, labels], [cost, T.grad(cost, soft.theta)])
    theta = soft.theta.get_value()
    _, g = f(seqs[0], targets[0])
    eps = 1e-5 if floatX == "float64" else 1e-2
    for _ in range(3):
        d = rng.randn(theta.size)
        ends = []
        for sign in (1, -1):
            soft.theta.set_value((theta + sign * eps * d).astype(floatX))
            ends.append(float(f(seqs[0], targets[0])[0]))
        np.testing.assert_allclose(g.dot(d), (ends[0] - ends[1]) / (2 * eps), rtol=2e-2, atol=1e-3)
    soft.theta.set_value(theta)
    state = pickle.loads(pickle.dumps(soft.__getstate__()))
    fresh = RNN(x, 3, 12, 3, output_type="softmax", seed=5)
    fresh.theta.set_value(state["theta"])
    a = theano.function([x], fresh.p_y_given_x)(seqs[3])
    b = theano.function([x], soft.p_y_given_x)(seqs[3])
    np.testing.assert_allclose(a, b)

    # Both directions.
    back = RNN(x[::-1], 3, 8, 2, seed=1)
    both = T.concatenate([real.h, back.h[::-1]], axis=1)
    h = theano.function([x], both)(seqs[0])
    assert h.shape == (len(seqs[0]), 16)
    h2 = theano.function([x], back.h)(seqs[0])
    np.testing.assert_allclose(h[::-1, 8:], h2)


if __name__ == "__main__":
    main()
