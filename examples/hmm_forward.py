"""The forward pass of a hidden Markov model in log space, and its gradient through ``scan``."""

import itertools

import numpy as np
import theano
import theano.tensor as T

STATES, SYMBOLS = 3, 4


def log_sum_exp(x, axis):
    """log(sum(exp(x))) without overflow."""
    largest = T.max(x, axis=axis, keepdims=True)
    return T.log(T.sum(T.exp(x - largest), axis=axis)) + largest.sum(axis=axis)


def log_normalize(x):
    """Make each row the logarithm of a distribution."""
    return x - log_sum_exp(x, 1).dimshuffle(0, "x")


def log_likelihood(observed, start, move, emit):
    """Sum over all paths of hidden states."""
    log_start = start - log_sum_exp(start, 0)
    log_move, log_emit = log_normalize(move), log_normalize(emit)

    def step(symbol, alpha, log_move, log_emit):
        arriving = alpha.dimshuffle(0, "x") + log_move
        return log_sum_exp(arriving, 0) + log_emit[:, symbol]

    first = log_start + log_emit[:, observed[0]]
    alphas, _ = theano.scan(
        step, sequences=observed[1:], outputs_info=first, non_sequences=[log_move, log_emit]
    )
    return log_sum_exp(alphas[-1], 0)


def brute_force(observed, start, move, emit):
    """Add up every path, one by one."""
    p0 = np.exp(start) / np.exp(start).sum()
    a = np.exp(move) / np.exp(move).sum(1, keepdims=True)
    b = np.exp(emit) / np.exp(emit).sum(1, keepdims=True)
    total = 0.0
    for path in itertools.product(range(STATES), repeat=len(observed)):
        p = p0[path[0]] * b[path[0], observed[0]]
        for t in range(1, len(observed)):
            p *= a[path[t - 1], path[t]] * b[path[t], observed[t]]
        total += p
    return np.log(total)


def numeric_gradient(f, x, eps=1e-6):
    """Central differences."""
    gradient = np.empty_like(x)
    for i in range(x.size):
        step = np.zeros_like(x)
        step.flat[i] = eps
        gradient.flat[i] = (f(x + step) - f(x - step)) / (2 * eps)
    return gradient


def main():
    """Check a tiny case, then climb the likelihood of a longer one."""
    rng = np.random.RandomState(5)
    values = [rng.randn(STATES), rng.randn(STATES, STATES), rng.randn(STATES, SYMBOLS)]

    observed = T.ivector("observed")
    params = [T.dvector("start"), T.dmatrix("move"), T.dmatrix("emit")]
    likelihood = log_likelihood(observed, *params)
    gradients = T.grad(likelihood, params)
    evaluate = theano.function([observed, *params], [likelihood, *gradients])

    few = np.array([0, 2, 1, 3, 2, 2], dtype="int32")
    found, *found_gradients = evaluate(few, *values)
    np.testing.assert_allclose(found, brute_force(few, *values), rtol=1e-12)
    for i, gradient in enumerate(found_gradients):

        def at(x, i=i):
            return brute_force(few, *values[:i], x, *values[i + 1 :])

        np.testing.assert_allclose(gradient, numeric_gradient(at, values[i]), atol=1e-8)
    print(f"log likelihood of {len(few)} symbols: {found:.6f}, as by brute force")

    # Symbols that come in a fixed order are easy to predict: the likelihood must climb a lot.
    many = np.tile(np.array([0, 1, 2, 3], dtype="int32"), 100)
    before = None
    for _ in range(200):
        now, *gradients = evaluate(many, *values)
        before = now if before is None else before
        values = [
            v + 0.05 * g / (np.sqrt((g**2).mean()) + 1e-6)
            for v, g in zip(values, gradients, strict=True)
        ]
    print(f"log likelihood of {len(many)} symbols: {before:.1f} at first, {now:.1f} at last")
    assert now > before + 50


if __name__ == "__main__":
    main()
