"""LeNet with the old conv.conv2d and downsample-style pooling, checked against loops in NumPy."""

import numpy
import theano
import theano.tensor as T
from theano.tensor.nnet import conv

try:
    from theano.tensor.signal import downsample

    max_pool_2d = downsample.max_pool_2d
except ImportError:
    from theano.tensor.signal.pool import pool_2d as max_pool_2d


class LeNetConvPoolLayer(object):
    def __init__(self, rng, input, filter_shape, image_shape, poolsize=(2, 2)):
        assert image_shape[1] == filter_shape[1]
        self.input = input
        fan_in = numpy.prod(filter_shape[1:])
        fan_out = filter_shape[0] * numpy.prod(filter_shape[2:]) / numpy.prod(poolsize)
        W_bound = numpy.sqrt(6.0 / (fan_in + fan_out))
        self.W = theano.shared(
            numpy.asarray(
                rng.uniform(low=-W_bound, high=W_bound, size=filter_shape),
                dtype=theano.config.floatX,
            ),
            borrow=True,
        )
        self.b = theano.shared(
            value=numpy.zeros((filter_shape[0],), dtype=theano.config.floatX), borrow=True
        )
        conv_out = conv.conv2d(
            input=input, filters=self.W, filter_shape=filter_shape, image_shape=image_shape
        )
        pooled_out = max_pool_2d(conv_out, ds=poolsize, ignore_border=True)
        self.output = T.tanh(pooled_out + self.b.dimshuffle("x", 0, "x", "x"))
        self.params = [self.W, self.b]


def reference(x, W, b):
    n, _, h, w = x.shape
    o, _, kh, kw = W.shape
    flipped = W[:, :, ::-1, ::-1]
    out = numpy.zeros((n, o, h - kh + 1, w - kw + 1))
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            patch = x[:, :, i : i + kh, j : j + kw]
            out[:, :, i, j] = numpy.tensordot(patch, flipped, axes=[(1, 2, 3), (1, 2, 3)])
    ph, pw = out.shape[2] // 2, out.shape[3] // 2
    out = out[:, :, : ph * 2, : pw * 2].reshape(n, o, ph, 2, pw, 2).max(axis=(3, 5))
    return numpy.tanh(out + b[:, None, None])


def make_digits(rng, n):
    """Pictures of 14x14 with a horizontal, a vertical or a diagonal bar."""
    images = 0.2 * rng.randn(n, 14, 14)
    labels = rng.randint(0, 3, n)
    for image, label in zip(images, labels):
        k = rng.randint(3, 11)
        if label == 0:
            image[k] += 1
        elif label == 1:
            image[:, k] += 1
        else:
            image[numpy.arange(14), numpy.arange(14)] += 1
    return images.reshape(n, 196).astype(theano.config.floatX), labels.astype("int32")


def main():
    rng = numpy.random.RandomState(23455)
    batch_size, nkerns = 20, (4, 6)
    data_x, data_y = make_digits(rng, 100)
    train_set_x = theano.shared(data_x, borrow=True)
    train_set_y = theano.shared(data_y, borrow=True)

    index = T.lscalar("index")
    x, y = T.matrix("x"), T.ivector("y")
    layer0_input = x.reshape((batch_size, 1, 14, 14))
    layer0 = LeNetConvPoolLayer(
        rng, layer0_input, image_shape=(batch_size, 1, 14, 14), filter_shape=(nkerns[0], 1, 5, 5)
    )
    layer1 = LeNetConvPoolLayer(
        rng,
        layer0.output,
        image_shape=(batch_size, nkerns[0], 5, 5),
        filter_shape=(nkerns[1], nkerns[0], 2, 2),
    )
    layer2_input = layer1.output.flatten(2)
    W = theano.shared(
        numpy.asarray(rng.uniform(-0.3, 0.3, (nkerns[1] * 4, 3)), dtype=theano.config.floatX)
    )
    b = theano.shared(numpy.zeros(3, dtype=theano.config.floatX))
    p_y = T.nnet.softmax(T.dot(layer2_input, W) + b)
    cost = -T.mean(T.log(p_y)[T.arange(y.shape[0]), y])
    params = [W, b] + layer1.params + layer0.params
    grads = T.grad(cost, params)
    updates = [(p_i, p_i - 0.3 * g_i) for p_i, g_i in zip(params, grads)]
    givens = {
        x: train_set_x[index * batch_size : (index + 1) * batch_size],
        y: train_set_y[index * batch_size : (index + 1) * batch_size],
    }
    train_model = theano.function([index], cost, updates=updates, givens=givens)
    test_model = theano.function([index], T.mean(T.neq(p_y.argmax(axis=1), y)), givens=givens)
    features = theano.function([x], layer0.output)

    got = features(data_x[:batch_size])
    want = reference(
        data_x[:batch_size].reshape(batch_size, 1, 14, 14),
        layer0.W.get_value(),
        layer0.b.get_value(),
    )
    numpy.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)

    first = numpy.mean([train_model(i) for i in range(5)])
    for _ in range(25):
        last = numpy.mean([train_model(i) for i in range(5)])
    assert last < 0.3 * first, (first, last)
    assert numpy.mean([test_model(i) for i in range(5)]) < 0.1


if __name__ == "__main__":
    main()
