"""Softmax regression: shared dataset, givens slices, early stopping on a validation set, pickled
model."""

import os
import pickle
import tempfile
import timeit

import numpy
import theano
import theano.tensor as T


def shared_dataset(data_x, data_y, borrow=True):
    shared_x = theano.shared(numpy.asarray(data_x, dtype=theano.config.floatX), borrow=borrow)
    shared_y = theano.shared(numpy.asarray(data_y, dtype=theano.config.floatX), borrow=borrow)
    return shared_x, T.cast(shared_y, "int32")


class SoftmaxRegression(object):
    def __init__(self, input, n_in, n_out):
        self.W = theano.shared(
            value=numpy.zeros((n_in, n_out), dtype=theano.config.floatX), name="W", borrow=True
        )
        self.b = theano.shared(
            value=numpy.zeros((n_out,), dtype=theano.config.floatX), name="b", borrow=True
        )
        self.input = input
        self.p_y_given_x = T.nnet.softmax(T.dot(input, self.W) + self.b)
        self.y_pred = T.argmax(self.p_y_given_x, axis=1)
        self.params = [self.W, self.b]

    def negative_log_likelihood(self, y):
        return -T.mean(T.log(self.p_y_given_x)[T.arange(y.shape[0]), y])

    def errors(self, y):
        if y.ndim != self.y_pred.ndim:
            raise TypeError("y should have the same shape as y_pred", ("y", y.type))
        if y.dtype.startswith("int"):
            return T.mean(T.neq(self.y_pred, y))
        raise NotImplementedError()


def make_data(n, rng):
    centres = numpy.array([[2, 0, 1, 0], [-2, 1, 0, 1], [0, -2, -1, 2]], dtype="float64")
    y = rng.randint(0, 3, n)
    return centres[y] + 0.8 * rng.randn(n, 4), y


def main():
    rng = numpy.random.RandomState(7)
    (train_np_x, train_np_y), valid_np = make_data(300, rng), make_data(90, rng)
    train_x, train_y = shared_dataset(train_np_x, train_np_y)
    valid_x, valid_y = shared_dataset(*valid_np)
    batch_size = 30
    n_train = train_x.get_value(borrow=True).shape[0] // batch_size

    index = T.lscalar()
    x = T.matrix("x")
    y = T.ivector("y")
    classifier = SoftmaxRegression(input=x, n_in=4, n_out=3)
    cost = classifier.negative_log_likelihood(y)
    l2 = (classifier.W**2).sum()
    g_W = T.grad(cost=cost + 0.001 * l2, wrt=classifier.W)
    g_b = T.grad(cost=cost, wrt=classifier.b)
    learning_rate = 0.13
    updates = [
        (classifier.W, classifier.W - learning_rate * g_W),
        (classifier.b, classifier.b - learning_rate * g_b),
    ]
    validate_model = theano.function(
        inputs=[index],
        outputs=classifier.errors(y),
        givens={
            x: valid_x[index * batch_size : (index + 1) * batch_size],
            y: valid_y[index * batch_size : (index + 1) * batch_size],
        },
    )
    train_model = theano.function(
        inputs=[index],
        outputs=cost,
        updates=updates,
        givens={
            x: train_x[index * batch_size : (index + 1) * batch_size],
            y: train_y[index * batch_size : (index + 1) * batch_size],
        },
    )

    first = numpy.mean([train_model(i) for i in range(n_train)])
    start = timeit.default_timer()
    best = numpy.inf
    for _ in range(30):
        last = numpy.mean([train_model(i) for i in range(n_train)])
        best = min(best, numpy.mean([validate_model(i) for i in range(3)]))
    assert timeit.default_timer() >= start
    assert last < 0.4 * first, (first, last)
    assert best < 0.1, best

    # The same cost by NumPy.
    W, b = [p.get_value() for p in classifier.params]
    z = train_np_x[:30].dot(W) + b
    p = numpy.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    expected = -numpy.log(p[numpy.arange(30), train_np_y[:30]]).mean()
    numpy.testing.assert_allclose(train_model(0), expected, rtol=1e-4)

    # Pickle the model's parameters and the whole classifier.
    path = os.path.join(tempfile.mkdtemp(), "best_model.pkl")
    with open(path, "wb") as f:
        pickle.dump(classifier, f, protocol=pickle.HIGHEST_PROTOCOL)
    with open(path, "rb") as f:
        loaded = pickle.load(f)
    predict = theano.function(inputs=[loaded.input], outputs=loaded.y_pred)
    again = theano.function(inputs=[x], outputs=classifier.y_pred)
    sample = numpy.asarray(valid_np[0], dtype=theano.config.floatX)
    assert (predict(sample) == again(sample)).all()
    assert (predict(sample) == valid_np[1]).mean() > 0.9


if __name__ == "__main__":
    main()
