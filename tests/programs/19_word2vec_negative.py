"""Skip-gram with negative sampling: embeddings by advanced indexing, sparse updates by
inc_subtensor."""

import numpy as np
import theano
import theano.tensor as T

floatX = theano.config.floatX


def log_sigmoid(x):
    return -T.nnet.softplus(-x)


def main():
    rng = np.random.RandomState(12)
    vocab, dim = 10, 6
    V = theano.shared(((rng.rand(vocab, dim) - 0.5) / dim).astype(floatX), name="V")
    U = theano.shared(np.zeros((vocab, dim), dtype=floatX), name="U")
    centre, context = T.ivector("centre"), T.ivector("context")
    negative = T.imatrix("negative")
    lr = T.scalar("lr")
    v = V[centre]
    u = U[context]
    neg = U[negative]  # batch x k x dim
    pos_score = T.sum(v * u, axis=1)
    neg_score = T.batched_dot(neg, v)
    cost = -(log_sigmoid(pos_score) + log_sigmoid(-neg_score).sum(axis=1))
    total = T.sum(cost)
    # Gradients for the rows only.
    gv, gu, gneg = T.grad(total, [v, u, neg])
    new_U = T.inc_subtensor(u, -lr * gu)
    new_U = T.inc_subtensor(new_U[negative.flatten()], -lr * gneg.reshape((-1, dim)))
    updates = [(V, T.inc_subtensor(v, -lr * gv)), (U, new_U)]
    train = theano.function([centre, context, negative, lr], cost.mean(), updates=updates)
    dense = theano.function([centre, context, negative], T.grad(total, [V, U]))

    # Repeated rows add up: the sparse step equals the dense gradient step.
    c = np.array([1, 1, 2], dtype="int32")
    o = np.array([3, 4, 3], dtype="int32")
    k = np.array([[3, 5], [5, 5], [0, 1]], dtype="int32")
    U.set_value((0.1 * rng.randn(vocab, dim)).astype(floatX))
    V0, U0 = V.get_value(), U.get_value()
    gV, gU = dense(c, o, k)
    train(c, o, k, 0.5)
    np.testing.assert_allclose(V.get_value(), V0 - 0.5 * gV, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(U.get_value(), U0 - 0.5 * gU, rtol=1e-4, atol=1e-6)
    assert not gV[0].any() and gV[1].any()

    # Two topics: words 0-4 and 5-9 appear together.
    def batch(n=32):
        topic = rng.randint(0, 2, n)
        a, b = rng.randint(0, 5, n) + 5 * topic, rng.randint(0, 5, n) + 5 * topic
        return a.astype("int32"), b.astype("int32"), rng.randint(0, 10, (n, 3)).astype("int32")

    costs = [float(train(*batch(), 0.1)) for _ in range(400)]
    assert np.mean(costs[-30:]) < np.mean(costs[:30]) - 0.2
    W = V.get_value()
    W /= np.sqrt((W**2).sum(axis=1, keepdims=True))
    near = W.dot(W.T)
    within = near[:5, :5].mean() + near[5:, 5:].mean()
    assert within > 2 * near[:5, 5:].mean() + 0.5

    # Nearest words on the graph: argsort of similarities, without the word itself.
    q = T.iscalar("q")
    unit = V / V.norm(2, axis=1).dimshuffle(0, "x")
    order = T.argsort(-T.dot(unit, unit[q]))[1:5]
    nearest = theano.function([q], order)
    assert set(nearest(7)) == {5, 6, 8, 9}, nearest(7)
    # Set rows (unknown word), read them back; rows by a mask.
    m = T.matrix("m")
    put = theano.function([q, m], T.set_subtensor(m[q, :], 0.0)[:, 1::2])
    assert (put(1, np.ones((3, 5), dtype=floatX)) == [[1, 1], [0, 0], [1, 1]]).all()
    big = theano.function([m], m[T.gt(m, 0.5).nonzero()])
    assert list(big(np.array([[0, 1], [0.75, 0.25]], dtype=floatX))) == [1, 0.75]


if __name__ == "__main__":
    main()
