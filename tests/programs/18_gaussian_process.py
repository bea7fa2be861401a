"""Gaussian process regression: cholesky, solve, det, marginal likelihood maximised by its
gradient."""

import numpy as np
import theano
import theano.tensor as T
import theano.tensor.nlinalg as nlinalg
import theano.tensor.slinalg as slinalg


def rbf(x1, x2, log_len, log_amp):
    d2 = ((x1[:, None, :] - x2[None, :, :]) ** 2).sum(axis=2)
    return T.exp(2 * log_amp) * T.exp(-0.5 * d2 / T.exp(2 * log_len))


def main():
    rng = np.random.RandomState(6)
    X, y, Xs = T.dmatrix("X"), T.dvector("y"), T.dmatrix("Xs")
    log_len = theano.shared(0.5, name="log_len")
    log_amp = theano.shared(0.0, name="log_amp")
    log_noise = theano.shared(-1.0, name="log_noise")
    hyper = [log_len, log_amp, log_noise]
    n = X.shape[0]
    K = rbf(X, X, log_len, log_amp) + T.exp(2 * log_noise) * T.eye(n)
    L = slinalg.cholesky(K)
    alpha = slinalg.solve_upper_triangular(L.T, slinalg.solve_lower_triangular(L, y))
    logdet = 2 * T.sum(T.log(T.diag(L)))
    nll = 0.5 * T.dot(y, alpha) + 0.5 * logdet + 0.5 * n * np.log(2 * np.pi)
    # The same by the inverse and the determinant.
    nll2 = 0.5 * (
        y.dot(nlinalg.matrix_inverse(K)).dot(y) + T.log(nlinalg.det(K)) + n * np.log(2 * np.pi)
    )
    g1, g2 = T.grad(nll, hyper), T.grad(nll2, hyper)
    both = theano.function([X, y], [nll, nll2, *g1, *g2])

    Xv = np.sort(rng.uniform(-3, 3, (18, 1)), axis=0)
    yv = np.sin(2 * Xv[:, 0]) + 0.1 * rng.randn(18)
    got = [float(v) for v in both(Xv, yv)]
    np.testing.assert_allclose(got[0], got[1], rtol=1e-8)
    np.testing.assert_allclose(got[2:5], got[5:8], rtol=1e-6)
    for k, h in enumerate(hyper):
        base = h.get_value()
        ends = []
        for sign in (1, -1):
            h.set_value(base + sign * 1e-5)
            ends.append(float(both(Xv, yv)[0]))
        h.set_value(base)
        np.testing.assert_allclose(got[2 + k], (ends[0] - ends[1]) / 2e-5, rtol=1e-4, atol=1e-6)

    step = theano.function([X, y], nll, updates=[(h, h - 0.01 * g) for h, g in zip(hyper, g1)])
    values = [float(step(Xv, yv)) for _ in range(150)]
    assert values[-1] < values[0] - 3
    assert values[-1] == min(values)

    Ks = rbf(Xs, X, log_len, log_amp)
    mean = Ks.dot(alpha)
    V = slinalg.solve(L, Ks.T)
    var = T.exp(2 * log_amp) - T.sqr(V).sum(axis=0)
    predict = theano.function([X, y, Xs], [mean, var])
    grid = np.linspace(-2.5, 2.5, 21)[:, None]
    m, v = predict(Xv, yv, grid)
    assert np.abs(m - np.sin(2 * grid[:, 0])).max() < 0.4
    assert (v > 0).all() and v.max() < 1
    # Draw functions from the posterior: chol of the joint covariance.
    cov = rbf(Xs, Xs, log_len, log_amp) - V.T.dot(V) + 1e-8 * T.eye(Xs.shape[0])
    outputs = [cov, slinalg.cholesky(cov), nlinalg.trace(cov)]
    with np.testing.assert_raises(theano.compile.UnusedInputError):
        theano.function([X, y, Xs], outputs)  # the covariance does not look at y
    sample = theano.function([X, y, Xs], outputs, on_unused_input="ignore")
    C, Lv, tr = sample(Xv, yv, grid)
    np.testing.assert_allclose(Lv.dot(Lv.T), C, atol=1e-8)
    np.testing.assert_allclose(tr, np.trace(C))


if __name__ == "__main__":
    main()
