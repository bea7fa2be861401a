"""Fit a GARCH(1,1) model of volatility: a scalar recurrence in ``scan`` and its gradient."""

import numpy as np
import theano
import theano.tensor as T

TRUE = {"omega": 0.1, "alpha": 0.15, "beta": 0.75}


def simulate(n, rng):
    """Draw returns whose variance follows the model."""
    r, variance = np.empty(n), TRUE["omega"] / (1 - TRUE["alpha"] - TRUE["beta"])
    for t in range(n):
        r[t] = np.sqrt(variance) * rng.randn()
        variance = TRUE["omega"] + TRUE["alpha"] * r[t] ** 2 + TRUE["beta"] * variance
    return r


def natural(theta):
    """Give omega, alpha, beta from free parameters: all positive, alpha + beta below 1."""
    total = 1 + T.exp(theta[1]) + T.exp(theta[2])
    return T.exp(theta[0]), T.exp(theta[1]) / total, T.exp(theta[2]) / total


def log_likelihood(theta, r):
    """Mean log likelihood of returns after the first."""
    omega, alpha, beta = natural(theta)

    def step(last, variance, omega, alpha, beta):
        return omega + alpha * last**2 + beta * variance

    variances, _ = theano.scan(
        step,
        sequences=r[:-1],
        outputs_info=T.mean(T.sqr(r)),
        non_sequences=[omega, alpha, beta],
    )
    return -0.5 * T.mean(np.log(2 * np.pi) + T.log(variances) + T.sqr(r[1:]) / variances)


def log_likelihood_in_numpy(theta, r):
    """Do the same in NumPy."""
    total = 1 + np.exp(theta[1]) + np.exp(theta[2])
    omega, alpha, beta = np.exp(theta[0]), np.exp(theta[1]) / total, np.exp(theta[2]) / total
    variance, terms = np.mean(r**2), []
    for t in range(1, len(r)):
        variance = omega + alpha * r[t - 1] ** 2 + beta * variance
        terms.append(np.log(2 * np.pi) + np.log(variance) + r[t] ** 2 / variance)
    return -0.5 * np.mean(terms)


def climb(evaluate, theta, r, rounds=300):
    """Gradient ascent that takes longer steps after success, shorter ones after failure."""
    value, gradient = evaluate(theta, r)
    rate = 0.5
    for _ in range(rounds):
        candidate = theta + rate * gradient
        new_value, new_gradient = evaluate(candidate, r)
        if new_value > value:
            theta, value, gradient, rate = candidate, new_value, new_gradient, rate * 1.3
        else:
            rate *= 0.5
    return theta, value


def main():
    """Check value and gradient, then fit."""
    r = simulate(3000, np.random.RandomState(11))
    theta, returns = T.dvector("theta"), T.dvector("returns")
    likelihood = log_likelihood(theta, returns)
    evaluate = theano.function([theta, returns], [likelihood, T.grad(likelihood, theta)])
    to_natural = theano.function([theta], list(natural(theta)))

    start = np.array([-1.0, -1.0, 0.5])
    value, gradient = evaluate(start, r)
    np.testing.assert_allclose(value, log_likelihood_in_numpy(start, r), rtol=1e-10)
    for i in range(3):
        step = 1e-5 * np.eye(3)[i]
        high, low = (
            log_likelihood_in_numpy(start + step, r),
            log_likelihood_in_numpy(start - step, r),
        )
        np.testing.assert_allclose(gradient[i], (high - low) / 2e-5, rtol=1e-5, atol=1e-9)

    fitted, best = climb(evaluate, start, r)
    rest = 1 - TRUE["alpha"] - TRUE["beta"]
    truth = np.log([TRUE["omega"], TRUE["alpha"] / rest, TRUE["beta"] / rest])
    of_truth = evaluate(truth, r)[0]
    found = [float(value) for value in to_natural(fitted)]
    for what, values in (("fitted", found), ("true", TRUE.values())):
        print(f"{what:6}", *(f"{name} {v:.3f} " for name, v in zip(TRUE, values, strict=True)))
    print(
        f"mean log likelihood {value:.5f} at first, {best:.5f} fitted, {of_truth:.5f} of the truth"
    )
    assert best > of_truth - 1e-4
    assert abs(found[1] - TRUE["alpha"]) < 0.08
    assert abs(found[2] - TRUE["beta"]) < 0.15


if __name__ == "__main__":
    main()
