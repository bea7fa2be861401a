"""Log densities: Gaussian mixture by EM, special functions, a variational fit."""

import math

import numpy as np
import theano
import theano.tensor as T
from theano.sandbox.rng_mrg import MRG_RandomStreams

floatX = theano.config.floatX
loose = 1e-6 if floatX == "float64" else 2e-3


def log_normal(x, mu, log_var):
    return -0.5 * (np.float32(np.log(2 * np.pi)) + log_var + T.sqr(x - mu) / T.exp(log_var))


def log_sum_exp(a, axis):
    m = T.max(a, axis=axis, keepdims=True)
    return (m + T.log(T.sum(T.exp(a - m), axis=axis, keepdims=True))).flatten()


def mixture(rng):
    x = T.matrix("x")
    mu, log_var = T.matrix("mu"), T.matrix("log_var")
    logits = T.vector("logits")
    logp = log_normal(x[:, None, :], mu[None, :, :], log_var[None, :, :]).sum(axis=2)
    joint = logp + T.log(T.nnet.softmax(logits))
    loglik = log_sum_exp(joint, axis=1)
    resp = T.exp(joint - loglik.dimshuffle(0, "x"))
    nk = resp.sum(axis=0)
    new_mu = T.dot(resp.T, x) / nk[:, None]
    new_var = T.dot(resp.T, x**2) / nk[:, None] - new_mu**2
    em = theano.function(
        [x, mu, log_var, logits],
        [loglik.sum(), new_mu, T.log(T.maximum(new_var, 1e-4)), T.log(nk / nk.sum()), resp],
        allow_input_downcast=True,
    )
    xv = np.concatenate([rng.randn(60, 2) * 0.5 + m for m in ([0, 0], [3, 0], [0, 3])])
    state = [xv[[0, 70, 130]], np.zeros((3, 2)), np.zeros(3)]
    history = []
    for _ in range(25):
        ll, *state, r = em(xv, *state)
        history.append(float(ll))
    assert all(b >= a - 1e-2 for a, b in zip(history, history[1:])), history
    np.testing.assert_allclose(r.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(sorted(np.exp(state[2])), [1 / 3] * 3, atol=0.05)
    np.testing.assert_allclose(np.exp(state[1]), 0.25, atol=0.15)
    # d loglik / d mu = sum of responsibilities times the standardised residual
    g = theano.function(
        [x, mu, log_var, logits], T.grad(loglik.sum(), mu), allow_input_downcast=True
    )
    zero = g(xv, *state)
    np.testing.assert_allclose(zero, 0, atol=1.0)


gammaln = np.vectorize(math.lgamma)


def psi(v):
    """The derivative of log gamma: recurrence up to 20, then its asymptotic series."""
    v = np.asarray(v, "float64")
    steps = sum(1 / (v + i) for i in range(20))
    z = v + 20
    return np.log(z) - 1 / (2 * z) - 1 / (12 * z**2) + 1 / (120 * z**4) - steps


def erfinv(v, erf):
    """Newton's method on erf."""
    found = np.zeros_like(v, "float64")
    for _ in range(20):
        found += (v - erf(found)) * math.sqrt(math.pi) / 2 * np.exp(found**2)
    return found


def special(rng):
    k, lam, alpha = T.vector("k"), T.vector("lam"), T.vector("alpha")
    poisson = T.sum(k * T.log(lam) - lam - T.gammaln(k + 1))
    norm = T.gammaln(alpha.sum()) - T.gammaln(alpha).sum()
    f = theano.function([k, lam, alpha], [poisson, norm, *T.grad(poisson + norm, [lam, alpha])])
    kv = rng.randint(0, 6, 4).astype(floatX)
    lv, av = (rng.rand(2, 4) + 0.5).astype(floatX)
    p, n, gl, ga = f(kv, lv, av)
    np.testing.assert_allclose(p, (kv * np.log(lv) - lv - gammaln(kv + 1)).sum(), rtol=loose)
    np.testing.assert_allclose(n, gammaln(av.sum()) - gammaln(av).sum(), rtol=loose)
    np.testing.assert_allclose(gl, kv / lv - 1, rtol=loose, atol=loose)
    np.testing.assert_allclose(ga, psi(av.sum()) - psi(av), rtol=loose, atol=loose)
    x = T.vector("x")
    fs = [T.erf, T.erfc, T.psi, T.gamma, T.log1p, T.expm1, T.arcsinh, T.erfinv]
    erf = np.vectorize(math.erf)
    ns = [erf, np.vectorize(math.erfc), psi, np.vectorize(math.gamma)]
    ns += [np.log1p, np.expm1, np.arcsinh, lambda v: erfinv(v, erf)]
    xv = rng.uniform(0.1, 0.9, 5).astype(floatX)
    for fn, want in zip(fs, ns):
        np.testing.assert_allclose(theano.function([x], fn(x))(xv), want(xv), rtol=loose)


def variational(rng):
    """ADVI: fit a diagonal Gaussian to the posterior of a linear regression."""
    srng = MRG_RandomStreams(8)
    X = (rng.randn(60, 2)).astype(floatX)
    t = (X.dot([1.5, -0.7]) + 0.5 * rng.randn(60)).astype(floatX)
    mu, rho = [theano.shared(np.zeros(2, dtype=floatX)) for _ in range(2)]
    eps = srng.normal((8, 2), dtype=floatX)
    w = mu + T.exp(rho) * eps
    residual = T.dot(w, X.T) - t
    logp = -0.5 * (T.sqr(residual).sum(1) / 0.25) - 0.5 * T.sqr(w).sum(1)
    elbo = logp.mean() + rho.sum()
    rate = theano.shared(np.asarray(0.002, dtype=floatX))
    step = theano.function(
        [], elbo, updates=[(p, p + rate * g) for p, g in zip((mu, rho), T.grad(elbo, [mu, rho]))]
    )
    for k in range(1500):
        if k == 1000:
            rate.set_value(np.asarray(0.0005, dtype=floatX))
        step()
    precision = X.T.dot(X) / 0.25 + np.eye(2)
    mean = np.linalg.solve(precision, X.T.dot(t) / 0.25)
    np.testing.assert_allclose(mu.get_value(), mean, atol=0.05)
    np.testing.assert_allclose(np.exp(rho.get_value()), 1 / np.sqrt(np.diag(precision)), rtol=0.15)


def main():
    rng = np.random.RandomState(13)
    mixture(rng)
    special(rng)
    variational(rng)


if __name__ == "__main__":
    main()
