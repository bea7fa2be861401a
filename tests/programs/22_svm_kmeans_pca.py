"""Linear SVM (hinge and squared hinge), k-means with argmin and scatter, PCA by eigh and svd."""

import numpy as np
import theano
import theano.tensor as T

floatX = theano.config.floatX


def svm(rng):
    x, y = T.matrix("x"), T.ivector("y")
    w, b = theano.shared(np.zeros((2, 3), dtype=floatX)), theano.shared(np.zeros(3, dtype=floatX))
    scores = T.dot(x, w) + b
    target = 2 * T.extra_ops.to_one_hot(y, 3) - 1
    margin = T.maximum(0, 1 - target * scores)
    cost = T.mean(T.sum(margin**2, axis=1)) + 1e-3 * (w**2).sum()
    # Crammer-Singer, only its gradient is compared.
    right = scores[T.arange(y.shape[0]), y]
    worst = T.max(scores + T.cast(1 - T.extra_ops.to_one_hot(y, 3), floatX), axis=1)
    cs = T.sum(T.nnet.relu(worst - right))
    train = theano.function([x, y], cost, updates=[(p, p - 0.05 * T.grad(cost, p)) for p in (w, b)])
    look = theano.function([x, y], [T.eq(scores.argmax(1), y).mean(), cs, T.grad(cs, w)])
    centres = np.array([[3, 0], [-3, 0], [0, 4.0]])
    yv = rng.randint(0, 3, 120).astype("int32")
    xv = (centres[yv] + rng.randn(120, 2)).astype(floatX)
    costs = [float(train(xv, yv)) for _ in range(100)]
    assert costs[-1] < 0.6 * costs[0]
    accuracy, value, g = look(xv, yv)
    assert accuracy > 0.93
    s = xv.dot(w.get_value()) + b.get_value()
    m = s + 1
    m[np.arange(120), yv] -= 1
    np.testing.assert_allclose(value, (m.max(1) - s[np.arange(120), yv]).sum(), rtol=1e-4)
    expected = np.zeros((2, 3))
    for row, label, best in zip(xv, yv, m.argmax(1)):
        expected[:, best] += row
        expected[:, label] -= row
    np.testing.assert_allclose(g, expected, atol=1e-3)


def kmeans(rng):
    X, C = T.matrix("X"), T.matrix("C")
    d = T.sum((X[:, None, :] - C[None, :, :]) ** 2, axis=2)
    owner = T.argmin(d, axis=1)
    counts = T.extra_ops.bincount(owner, minlength=C.shape[0])
    sums = T.inc_subtensor(T.zeros_like(C)[owner], X)
    new = T.switch(T.eq(counts, 0)[:, None], C, sums / T.maximum(counts, 1)[:, None])
    step = theano.function(
        [X, C], [T.cast(new, floatX), owner, T.min(d, axis=1).sum()], name="kmeans"
    )
    xv = np.concatenate([m + 0.3 * rng.randn(30, 2) for m in ([0, 0], [4, 0], [0, 4])])
    xv = xv.astype(floatX)
    c = xv[[0, 31, 62]]
    inertia = []
    for _ in range(6):
        c, who, total = step(xv, c)
        inertia.append(float(total))
    assert inertia == sorted(inertia, reverse=True)
    for j in range(3):
        np.testing.assert_allclose(c[j], xv[who == j].mean(axis=0), rtol=1e-4, atol=1e-5)
    assert sorted(np.bincount(who)) == [30, 30, 30]


def pca(rng):
    X = T.dmatrix("X")
    centred = X - X.mean(axis=0, keepdims=True)
    cov = T.dot(centred.T, centred) / (X.shape[0] - 1)
    values, vectors = T.nlinalg.eigh(cov)
    top = vectors[:, ::-1][:, :2]
    whitened = T.dot(centred, vectors / T.sqrt(values))
    u, s, v = T.nlinalg.svd(centred, full_matrices=False)
    f = theano.function([X], [values, T.dot(centred, top), whitened, s, T.dot(u * s, v), centred])
    xv = rng.randn(50, 4).dot(rng.randn(4, 4)) + 3
    w, proj, white, sv, rebuilt, cen = f(xv)
    np.testing.assert_allclose(w, np.linalg.eigvalsh(np.cov(xv.T)), rtol=1e-8)
    np.testing.assert_allclose(np.cov(white.T), np.eye(4), atol=1e-8)
    np.testing.assert_allclose(sv**2 / 49, w[::-1], rtol=1e-8)
    np.testing.assert_allclose(rebuilt, cen, atol=1e-10)
    np.testing.assert_allclose(proj.var(axis=0, ddof=1), w[::-1][:2], rtol=1e-8)


def main():
    rng = np.random.RandomState(17)
    svm(rng)
    kmeans(rng)
    pca(rng)


if __name__ == "__main__":
    main()
