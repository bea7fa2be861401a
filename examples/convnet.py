"""A small convolutional network on drawn digits: ``conv2d``, ``pool_2d``, ``softmax``."""

import numpy as np
import theano
import theano.tensor as T
from theano.tensor.signal.pool import pool_2d

SIZE, BATCH, TRAINING, TESTING = 14, 50, 1500, 300
# Which of the seven strokes of a pocket calculator make each digit: top, two upper sides, middle,
# two lower sides, bottom.
STROKES = ["1110111", "0010010", "1011101", "1011011", "0111010",
           "1101011", "1101111", "1010010", "1111111", "1111011"]  # fmt: skip


def draw(digit):
    """Give a digit as a 9 by 6 picture."""
    picture = np.zeros((9, 6))
    top, left_up, right_up, middle, left_low, right_low, bottom = (c == "1" for c in STROKES[digit])
    picture[0, :] += top
    picture[4, :] += middle
    picture[8, :] += bottom
    picture[:5, 0] += left_up
    picture[:5, 5] += right_up
    picture[4:, 0] += left_low
    picture[4:, 5] += right_low
    return np.minimum(picture, 1)


def make_data(n, rng):
    """Give noisy digits at random places, and what they are."""
    labels = rng.randint(10, size=n)
    pictures = 0.2 * rng.randn(n, 1, SIZE, SIZE)
    for picture, digit in zip(pictures, labels, strict=True):
        row, column = 1 + rng.randint(4), 2 + rng.randint(5)
        picture[0, row : row + 9, column : column + 6] += draw(digit)
    return pictures, labels.astype("int32")


def layer(x, filters, bias):
    """Convolve, rectify, take the largest of each two by two."""
    x = T.nnet.conv2d(x, filters) + bias.dimshuffle("x", 0, "x", "x")
    return pool_2d(T.nnet.relu(x), (2, 2), ignore_border=True)


def main():
    """Check the gradient, train, test."""
    rng = np.random.RandomState(4)

    def weights(name, *shape):
        scale = np.sqrt(2.0 / np.prod(shape[1:] if len(shape) == 4 else shape[:1]))
        return theano.shared(scale * rng.randn(*shape), name=name)

    params = [
        weights("filters1", 8, 1, 3, 3),
        theano.shared(np.zeros(8), name="bias1"),
        weights("filters2", 16, 8, 3, 3),
        theano.shared(np.zeros(16), name="bias2"),
        weights("out", 64, 10),
        theano.shared(np.zeros(10), name="bias3"),
    ]
    x, labels = T.dtensor4("x"), T.ivector("labels")
    hidden = layer(layer(x, params[0], params[1]), params[2], params[3])  # 14 -> 6 -> 2
    p = T.nnet.softmax(T.dot(hidden.flatten(2), params[4]) + params[5])
    cost = T.mean(T.nnet.categorical_crossentropy(p, labels))
    gradients = T.grad(cost, params)

    pictures, digits = make_data(TRAINING, rng)
    evaluate = theano.function([x, labels], [cost, *gradients])

    # Central differences at the largest element of each gradient.
    few = pictures[:4], digits[:4]
    for param, gradient in zip(params, evaluate(*few)[1:], strict=True):
        place = np.unravel_index(abs(gradient).argmax(), gradient.shape)
        costs = []
        for step in (1e-6, -1e-6):
            value = param.get_value()
            value[place] += step
            param.set_value(value)
            costs.append(evaluate(*few)[0])
            value[place] -= step
            param.set_value(value)
        numeric = (costs[0] - costs[1]) / 2e-6
        np.testing.assert_allclose(gradient[place], numeric, rtol=1e-3, atol=1e-6)

    data, answers = theano.shared(pictures, name="data"), theano.shared(digits, name="answers")
    index = T.lscalar("index")
    batch = slice(index * BATCH, (index + 1) * BATCH)
    updates = []
    for param, gradient in zip(params, gradients, strict=True):
        speed = theano.shared(np.zeros_like(param.get_value()))
        new_speed = 0.9 * speed - 0.05 * gradient
        updates += [(speed, new_speed), (param, param + new_speed)]
    train = theano.function(
        [index], cost, updates=updates, givens={x: data[batch], labels: answers[batch]}
    )
    wrong = theano.function([x, labels], T.mean(T.neq(T.argmax(p, axis=1), labels)))

    for epoch in range(8):
        costs = [float(train(i)) for i in range(TRAINING // BATCH)]
        print(f"epoch {epoch + 1}: cost {np.mean(costs):.4f}")
    error = float(wrong(*make_data(TESTING, rng)))
    print(f"{100 * error:.1f} % of {TESTING} new digits wrong")
    assert error < 0.1, "the network did not learn"


if __name__ == "__main__":
    main()
