"""REINFORCE on a bandit with context; discounted returns by scan backwards; entropy bonus;
multinomial actions."""

import numpy as np
import theano
import theano.tensor as T
from theano.tensor.shared_randomstreams import RandomStreams

floatX = theano.config.floatX


def discounted_returns(rewards, gamma):
    returns, _ = theano.scan(
        fn=lambda r, acc, g: r + g * acc,
        sequences=[rewards],
        outputs_info=[T.as_tensor_variable(np.asarray(0.0, dtype=floatX))],
        non_sequences=[gamma],
        go_backwards=True,
    )
    return returns[::-1]


def main():
    # Returns against NumPy.
    r, g = T.vector("r"), T.scalar("g")
    returns = theano.function([r, theano.In(g, value=0.5, name="gamma")], discounted_returns(r, g))
    np.testing.assert_allclose(returns([1, 2, 4]), [3.0, 4.0, 4.0])
    np.testing.assert_allclose(returns([1, 2, 4], gamma=1), [7.0, 6.0, 4.0])

    rng = np.random.RandomState(10)
    srng = RandomStreams(seed=234)
    n_ctx, n_act = 4, 3
    best = np.array([2, 0, 1, 2])
    x = T.matrix("x")
    actions, advantage = T.lvector("actions"), T.vector("advantage")
    W = theano.shared(np.zeros((n_ctx, n_act), dtype=floatX), name="W")
    probs = T.nnet.softmax(T.dot(x, W))
    act = theano.function([x], srng.multinomial(n=1, pvals=probs).argmax(axis=1))
    logp = T.log(probs[T.arange(actions.shape[0]), actions])
    entropy = -T.sum(probs * T.log(probs), axis=1).mean()
    N = x.shape[0]
    surr = -(logp * advantage).sum() / T.cast(N, floatX) - 0.01 * entropy
    flat_grad = T.concatenate([gr.flatten() for gr in T.grad(surr, [W])])
    update = theano.function(
        [x, actions, advantage],
        [surr, entropy, flat_grad],
        updates=[(W, W - 0.5 * flat_grad.reshape(W.shape))],
        allow_input_downcast=True,
    )
    baseline, rewards_seen = 0.0, []
    entropies = []
    for _ in range(120):
        ctx = rng.randint(0, n_ctx, 50)
        xv = np.eye(n_ctx, dtype=floatX)[ctx]
        a = act(xv)
        assert a.dtype == "int64" and a.min() >= 0 and a.max() < n_act
        reward = (a == best[ctx]) + 0.1 * rng.randn(50)
        _, ent, fg = update(xv, a, reward - baseline)
        assert fg.shape == (12,)
        baseline = 0.9 * baseline + 0.1 * reward.mean()
        rewards_seen.append(reward.mean())
        entropies.append(float(ent))
    assert np.mean(rewards_seen[:5]) < 0.5 < 0.8 < np.mean(rewards_seen[-10:])
    assert entropies[0] > 1.09 and entropies[-1] < 0.7 * entropies[0]
    # Fisher-vector product of the mean KL (as in TRPO), by grad of grad times a vector.
    fixed = theano.gradient.disconnected_grad(probs)
    kl = T.sum(fixed * T.log(fixed / probs), axis=1).mean()
    tangent = T.vector("tangent")
    gvp = T.sum(T.grad(kl, W).flatten() * tangent)
    fvp = theano.function([x, tangent], T.grad(gvp, W).flatten())
    xv = np.eye(n_ctx, dtype=floatX)
    dense = np.array([fvp(xv, row) for row in np.eye(12, dtype=floatX)])
    np.testing.assert_allclose(dense, dense.T, atol=1e-6)
    assert np.linalg.eigvalsh(dense).min() > -1e-6
    p = theano.function([x], probs)(xv)[0]
    np.testing.assert_allclose(dense[:3, :3], (np.diag(p) - np.outer(p, p)) / 4, atol=1e-6)


if __name__ == "__main__":
    main()
