"""Matrix factorisation and probabilistic PMF: biases, integer triples, ALS by solve, mask form."""

import numpy as np
import theano
import theano.tensor as T
from theano.tensor.slinalg import solve

floatX = theano.config.floatX


def main():
    rng = np.random.RandomState(21)
    n_users, n_items, k = 15, 12, 3
    truth = rng.randn(n_users, k).dot(rng.randn(k, n_items))
    mask_value = rng.rand(n_users, n_items) < 0.6
    users, items = [a.astype("int32") for a in mask_value.nonzero()]
    ratings = truth[users, items].astype(floatX)

    P = theano.shared(0.1 * rng.randn(n_users, k).astype(floatX), name="P", borrow=True)
    Q = theano.shared(0.1 * rng.randn(n_items, k).astype(floatX), name="Q", borrow=True)
    bu = theano.shared(np.zeros(n_users, dtype=floatX), name="bu")
    bi = theano.shared(np.zeros(n_items, dtype=floatX), name="bi")
    u, i = T.ivectors("u", "i")
    r = T.vector("r")
    lam = theano.shared(np.asarray(1e-3, dtype=floatX))
    predicted = (P[u] * Q[i]).sum(axis=1) + bu[u] + bi[i]
    err = T.sqr(predicted - r)
    reg = sum(T.sum(T.sqr(p)) for p in (P, Q, bu, bi))
    cost = err.sum() + lam * reg
    params = [P, Q, bu, bi]
    train = theano.function(
        [u, i, r], T.sqrt(err.mean()), updates=[(p, p - 0.02 * T.grad(cost, p)) for p in params]
    )
    errors = [float(train(users, items, ratings)) for _ in range(400)]
    assert errors[-1] < 0.1 * errors[0], (errors[0], errors[-1])

    # The same cost over a dense matrix with a mask.
    R, M = T.matrix("R"), T.matrix("M")
    full = T.dot(P, Q.T) + bu[:, None] + bi[None, :]
    dense_cost = (T.switch(T.eq(M, 1), T.sqr(full - R), 0)).sum() + lam * reg
    compare = theano.function(
        [u, i, r, R, M], [cost, dense_cost] + T.grad(cost, params) + T.grad(dense_cost, params)
    )
    values = compare(users, items, ratings, truth.astype(floatX), mask_value.astype(floatX))
    np.testing.assert_allclose(values[0], values[1], rtol=1e-4)
    for a, b in zip(values[2:6], values[6:]):
        np.testing.assert_allclose(a, b, atol=1e-4)

    # Alternating least squares: one user's factors at a time by scan over users.
    eye = T.eye(k, dtype=floatX)

    def one(r_row, m_row, factors):
        F = factors * m_row[:, None]
        return T.cast(solve(T.dot(F.T, F) + 0.01 * eye, T.dot(F.T, r_row * m_row)), floatX)

    newP, _ = theano.map(one, sequences=[R, M], non_sequences=[Q])
    newQ, _ = theano.map(one, sequences=[R.T, M.T], non_sequences=[P])
    loss = (M * T.sqr(R - P.dot(Q.T))).sum()
    stepP = theano.function([R, M], loss, updates=[(P, newP)])
    stepQ = theano.function([R, M], loss, updates=[(Q, newQ)])
    Rv, Mv = (truth * mask_value).astype(floatX), mask_value.astype(floatX)
    history = []
    for _ in range(10):
        history += [float(stepP(Rv, Mv)), float(stepQ(Rv, Mv))]
    assert history[-1] < 0.05 * history[0]
    assert all(b <= a + 1e-2 for a, b in zip(history, history[1:])), history


if __name__ == "__main__":
    main()
