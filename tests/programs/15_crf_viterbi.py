"""Linear-chain CRF: forward algorithm in log space, path score, Viterbi with backpointers, all
by scan."""

import itertools

import numpy as np
import theano
import theano.tensor as T

floatX = theano.config.floatX


def log_sum_exp(x, axis=None):
    xmax = x.max(axis=axis, keepdims=True)
    xmax_ = x.max(axis=axis)
    return xmax_ + T.log(T.exp(x - xmax).sum(axis=axis))


def forward(observations, transitions, viterbi=False, return_best_sequence=False):
    assert not return_best_sequence or viterbi

    def recurrence(obs, previous, transitions):
        previous = previous.dimshuffle(0, "x")
        obs = obs.dimshuffle("x", 0)
        scores = previous + obs + transitions
        if viterbi:
            if return_best_sequence:
                return scores.max(axis=0), scores.argmax(axis=0)
            return scores.max(axis=0)
        return log_sum_exp(scores, axis=0)

    initial = observations[0]
    alpha, _ = theano.scan(
        fn=recurrence,
        outputs_info=(initial, None) if return_best_sequence else initial,
        sequences=[observations[1:]],
        non_sequences=transitions,
    )
    if return_best_sequence:
        sequence, _ = theano.scan(
            fn=lambda beta_i, previous: beta_i[previous],
            outputs_info=T.cast(T.argmax(alpha[0][-1]), "int32"),
            sequences=T.cast(alpha[1][::-1], "int32"),
        )
        return T.concatenate([sequence[::-1], [T.argmax(alpha[0][-1])]])
    return alpha[-1].max(axis=0) if viterbi else log_sum_exp(alpha[-1], axis=0)


def main():
    rng = np.random.RandomState(3)
    n_tags, length = 3, 5
    obs, tags = T.matrix("obs"), T.ivector("tags")
    trans = theano.shared(rng.randn(n_tags, n_tags).astype(floatX), name="transitions")
    real_path = obs[T.arange(tags.shape[0]), tags].sum() + trans[tags[:-1], tags[1:]].sum()
    log_z = forward(obs, trans)
    nll = log_z - real_path
    f = theano.function([obs, tags], [nll, log_z] + T.grad(nll, [trans, obs]))
    best_score = theano.function([obs], forward(obs, trans, viterbi=True))
    best_path = theano.function([obs], forward(obs, trans, viterbi=True, return_best_sequence=True))

    # Against every path.
    o = rng.randn(length, n_tags).astype(floatX)
    A = trans.get_value()
    scores = {}
    for path in itertools.product(range(n_tags), repeat=length):
        p = list(path)
        scores[path] = o[np.arange(length), p].sum() + A[p[:-1], p[1:]].sum()
    s = np.array(list(scores.values()))
    z = s.max() + np.log(np.exp(s - s.max()).sum())
    y = np.array([0, 2, 1, 1, 0], dtype="int32")
    got_nll, got_z, g_trans, g_obs = f(o, y)
    np.testing.assert_allclose(got_z, z, rtol=1e-5)
    np.testing.assert_allclose(got_nll, z - scores[tuple(y)], rtol=1e-5)
    best = max(scores, key=scores.get)
    np.testing.assert_allclose(best_score(o), scores[best], rtol=1e-5)
    assert list(best_path(o)) == list(best)
    # Gradients: expected minus observed counts.
    expected_trans, expected_obs = np.zeros_like(A), np.zeros_like(o)
    for path, score in scores.items():
        weight = np.exp(score - z)
        for t, tag in enumerate(path):
            expected_obs[t, tag] += weight
            if t:
                expected_trans[path[t - 1], tag] += weight
    expected_obs[np.arange(length), y] -= 1
    np.add.at(expected_trans, (y[:-1], y[1:]), -1)
    np.testing.assert_allclose(g_trans, expected_trans, atol=1e-5)
    np.testing.assert_allclose(g_obs, expected_obs, atol=1e-5)

    # Learn: tags follow a cycle, observations are weak.
    W = theano.shared(np.zeros((4, n_tags), dtype=floatX))
    x = T.matrix("x")
    emissions = T.dot(x, W)
    score = emissions[T.arange(tags.shape[0]), tags].sum() + trans[tags[:-1], tags[1:]].sum()
    cost = forward(emissions, trans) - score
    train = theano.function(
        [x, tags], cost, updates=[(p, p - 0.1 * T.grad(cost, p)) for p in (W, trans)]
    )
    tag = theano.function([x], forward(emissions, trans, True, True))
    right = []
    for k in range(80):
        y = ((np.arange(8) + rng.randint(3)) % 3).astype("int32")
        xv = (np.eye(4)[y] + 0.5 * rng.randn(8, 4)).astype(floatX)
        if k >= 60:
            right.append((tag(xv) == y).mean())
        train(xv, y)
    assert np.mean(right) > 0.9, np.mean(right)


if __name__ == "__main__":
    main()
