"""Logistic regression by gradient descent: shared parameters, ``T.grad``, updates."""

import numpy as np
import theano
import theano.tensor as T

SAMPLES, FEATURES = 400, 12


def make_data(rng):
    """Give points and their side of a random plane, away from the plane itself."""
    plane = rng.randn(FEATURES)
    points = rng.randn(4 * SAMPLES, FEATURES)
    points = points[abs(points.dot(plane)) > 0.5][:SAMPLES]
    return points, (points.dot(plane) > 0).astype("float64")


def numeric_gradient(f, x, eps=1e-6):
    """Central differences."""
    gradient = np.empty_like(x)
    for i in range(x.size):
        step = np.zeros_like(x)
        step.flat[i] = eps
        gradient.flat[i] = (f(x + step) - f(x - step)) / (2 * eps)
    return gradient


def main():
    """Train and check."""
    rng = np.random.RandomState(3)
    points, labels = make_data(rng)

    x, y = T.dmatrix("x"), T.dvector("y")
    w = theano.shared(np.zeros(FEATURES), name="w")
    b = theano.shared(0.0, name="b")

    p = 1 / (1 + T.exp(-T.dot(x, w) - b))
    cross_entropy = -y * T.log(p) - (1 - y) * T.log(1 - p)
    cost = cross_entropy.mean() + 0.001 * (w**2).sum()
    gw, gb = T.grad(cost, [w, b])

    train = theano.function([x, y], cost, updates=[(w, w - 0.5 * gw), (b, b - 0.5 * gb)])
    errors = theano.function([x, y], T.mean(T.neq(p > 0.5, y)))
    gradient = theano.function([x, y], gw)

    def cost_in_numpy(weights):
        z = points.dot(weights) + b.get_value()
        entropy = np.log1p(np.exp(-z)) + (1 - labels) * z
        return entropy.mean() + 0.001 * (weights**2).sum()

    w.set_value(rng.randn(FEATURES) * 0.1)
    wanted = numeric_gradient(cost_in_numpy, w.get_value())
    np.testing.assert_allclose(gradient(points, labels), wanted, rtol=1e-5, atol=1e-8)
    before = cost_in_numpy(w.get_value())

    costs = [float(train(points, labels)) for _ in range(300)]
    np.testing.assert_allclose(costs[0], before, rtol=1e-10)
    wrong = float(errors(points, labels))
    print(f"cost {costs[0]:.4f} at first, {costs[-1]:.4f} at last; {100 * wrong:.1f} % wrong")
    assert costs[-1] < 0.3 * costs[0]
    assert wrong < 0.02


if __name__ == "__main__":
    main()
