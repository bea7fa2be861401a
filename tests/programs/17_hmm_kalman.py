"""HMM scaling recursions and a Kalman filter with scan; likelihoods differentiated."""

import numpy as np
import theano
import theano.tensor as T
from theano.tensor.nlinalg import det, matrix_inverse

floatX = theano.config.floatX


def hmm_forward(pi, A, B, ys):
    def step(y, alpha):
        a = T.dot(alpha, A) * B[:, y]
        c = a.sum()
        return a / c, T.log(c)

    a0 = pi * B[:, ys[0]]
    (alphas, logs), _ = theano.scan(step, sequences=ys[1:], outputs_info=[a0 / a0.sum(), None])
    return alphas, T.log(a0.sum()) + logs.sum()


def hmm_backward(A, B, ys):
    def step(y, beta):
        b = T.dot(A, B[:, y] * beta)
        return b / b.sum()

    betas, _ = theano.scan(
        step, sequences=[ys[1:]], outputs_info=T.ones_like(A[0]), go_backwards=True
    )
    return T.concatenate([betas[::-1], T.ones_like(A[0]).dimshuffle("x", 0)], axis=0)


def kalman(F, H, Q, R, m0, P0, zs):
    I = T.eye(2, dtype=floatX)

    def step(z, m, P):
        m, P = T.dot(F, m), T.dot(F, P).dot(F.T) + Q
        S = T.dot(H, P).dot(H.T) + R
        K = T.dot(P, H.T).dot(matrix_inverse(S))
        err = z - T.dot(H, m)
        ll = -0.5 * (T.log(det(2 * np.pi * S)) + T.dot(err, matrix_inverse(S)).dot(err))
        return m + T.dot(K, err), T.dot(I - T.dot(K, H), P), T.cast(ll, floatX)

    return theano.scan(step, sequences=zs, outputs_info=[m0, P0, None])[0]


def main():
    rng = np.random.RandomState(0)
    pi, A, B = T.vector("pi"), T.matrix("A"), T.matrix("B")
    ys = T.lvector("ys")
    alphas, loglik = hmm_forward(pi, A, B, ys)
    gammas = alphas * hmm_backward(A, B, ys)[1:]
    gammas = gammas / gammas.sum(axis=1, keepdims=True)
    f = theano.function([pi, A, B, ys], [loglik, gammas, T.grad(loglik, A)])
    piv = np.array([0.6, 0.4], dtype=floatX)
    Av = np.array([[0.7, 0.3], [0.2, 0.8]], dtype=floatX)
    Bv = np.array([[0.5, 0.4, 0.1], [0.1, 0.3, 0.6]], dtype=floatX)
    y = rng.randint(0, 3, 6)
    total, marginal = 0.0, np.zeros((6, 2))
    for code in range(2**6):
        path = [(code >> k) & 1 for k in range(6)]
        p = piv[path[0]] * Bv[path[0], y[0]]
        for t in range(1, 6):
            p *= Av[path[t - 1], path[t]] * Bv[path[t], y[t]]
        total += p
        marginal[np.arange(6), path] += p
    ll, post, gA = f(piv, Av, Bv, y)
    np.testing.assert_allclose(ll, np.log(total), rtol=1e-5)
    np.testing.assert_allclose(post, marginal[1:] / total, rtol=1e-4)
    eps = 1e-4
    up, down = Av.copy(), Av.copy()
    up[0, 1] += eps
    down[0, 1] -= eps
    numeric = (f(piv, up, Bv, y)[0] - f(piv, down, Bv, y)[0]) / (2 * eps)
    np.testing.assert_allclose(gA[0, 1], numeric, rtol=1e-2)

    # Kalman: position and speed seen through noise.
    Fv = np.array([[1, 0.1], [0, 1]], dtype=floatX)
    Hv = np.array([[1, 0]], dtype=floatX)
    truth, state = [], np.array([0.0, 1.0])
    for _ in range(60):
        state = Fv.dot(state)
        truth.append(state[0])
    zv = (np.array(truth)[:, None] + 0.3 * rng.randn(60, 1)).astype(floatX)
    zs, log_r = T.matrix("zs"), T.scalar("log_r")
    Q = (1e-4 * np.eye(2)).astype(floatX)
    R = T.exp(log_r) * T.eye(1)
    m0, P0 = np.zeros(2, dtype=floatX), np.eye(2, dtype=floatX)
    ms, Ps, lls = kalman(
        theano.shared(Fv),
        theano.shared(Hv),
        theano.shared(Q),
        R,
        T.constant(m0),
        T.constant(P0),
        zs,
    )
    run = theano.function([zs, log_r], [ms, Ps, lls.sum(), T.grad(lls.sum(), log_r)])
    mv, Pv, llv, g = run(zv, np.asarray(np.log(0.09), dtype=floatX))
    m, P, want = m0.astype("float64"), P0.astype("float64"), 0.0
    for k, z in enumerate(zv):
        m, P = Fv.dot(m), Fv.dot(P).dot(Fv.T) + Q
        S = Hv.dot(P).dot(Hv.T) + 0.09
        err = z - Hv.dot(m)
        want += -0.5 * (np.log(2 * np.pi * S[0, 0]) + err[0] ** 2 / S[0, 0])
        K = P.dot(Hv.T) / S
        m, P = m + K.dot(err), P - K.dot(Hv).dot(P)
        np.testing.assert_allclose(mv[k], m, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(Pv[k], P, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(llv, want, rtol=1e-4)
    d = 1e-2
    values = [run(zv, np.asarray(np.log(0.09) + s, dtype=floatX))[2] for s in (d, -d)]
    np.testing.assert_allclose(g, (values[0] - values[1]) / (2 * d), rtol=2e-2, atol=1e-2)
    assert abs(mv[-1, 1] - 1) < 0.3


if __name__ == "__main__":
    main()
