"""A Kalman filter for a line with a drifting slope: its log likelihood, and the gradient of it.

The state is (level, slope), the observation the level plus noise.  Checked against the density of
one large Gaussian vector, which is what the filter computes step by step.
"""

import numpy as np
import theano
import theano.tensor as T

MOVE = np.array([[1.0, 1.0], [0.0, 1.0]])
PRIOR = 4.0 * np.eye(2)


def log_likelihood(y, log_drift, log_noise):
    """Log density of the observations; parameters are logarithms of variances."""
    drift, noise = T.diag(T.exp(log_drift)), T.exp(log_noise)

    def step(y, mean, cov, drift, noise, move):
        mean = T.dot(move, mean)
        cov = T.dot(T.dot(move, cov), move.T) + drift
        # The observation is a number: no matrix has to be inverted.
        spread = cov[0, 0] + noise
        surprise = y - mean[0]
        gain = cov[:, 0] / spread
        density = -0.5 * (T.log(2 * np.pi * spread) + surprise**2 / spread)
        return mean + gain * surprise, cov - T.outer(gain, cov[0, :]), density

    (means, _, densities), _ = theano.scan(
        step,
        sequences=y,
        outputs_info=[T.constant(np.zeros(2)), T.constant(PRIOR), None],
        non_sequences=[drift, noise, T.constant(MOVE)],
    )
    return densities.sum(), means


def joint_log_density(y, log_drift, log_noise):
    """Build the covariance of all observations at once and evaluate one Gaussian."""
    n = len(y)
    drift, noise = np.diag(np.exp(log_drift)), np.exp(log_noise)
    cov = np.zeros((n, n))
    powers = [np.linalg.matrix_power(MOVE, k) for k in range(n + 1)]
    state = PRIOR
    for t in range(n):
        state = MOVE.dot(state).dot(MOVE.T) + drift
        for u in range(t, n):
            cov[t, u] = cov[u, t] = powers[u - t].dot(state)[0, 0]
    cov += noise * np.eye(n)
    _, log_det = np.linalg.slogdet(cov)
    return -0.5 * (n * np.log(2 * np.pi) + log_det + y.dot(np.linalg.solve(cov, y)))


def main():
    """Check value and gradient, then fit the variances."""
    rng = np.random.RandomState(2)
    slope = np.cumsum(0.05 * rng.randn(80))
    data = np.cumsum(slope) + 0.5 * rng.randn(80)

    y, log_drift, log_noise = T.dvector("y"), T.dvector("log_drift"), T.dscalar("log_noise")
    likelihood, means = log_likelihood(y, log_drift, log_noise)
    gradients = T.grad(likelihood, [log_drift, log_noise])
    evaluate = theano.function([y, log_drift, log_noise], [likelihood, *gradients])
    smooth = theano.function([y, log_drift, log_noise], means[:, 0])

    drift, noise = np.array([-2.0, -3.0]), 0.3
    value, by_drift, by_noise = evaluate(data, drift, noise)
    np.testing.assert_allclose(value, joint_log_density(data, drift, noise), rtol=1e-9)
    eps = 1e-5
    for i in range(2):
        step = eps * np.eye(2)[i]
        high = joint_log_density(data, drift + step, noise)
        low = joint_log_density(data, drift - step, noise)
        np.testing.assert_allclose(by_drift[i], (high - low) / (2 * eps), rtol=1e-4, atol=1e-6)
    high, low = (joint_log_density(data, drift, noise + s) for s in (eps, -eps))
    np.testing.assert_allclose(by_noise, (high - low) / (2 * eps), rtol=1e-4, atol=1e-6)

    for _ in range(300):
        now, by_drift, by_noise = evaluate(data, drift, noise)
        drift, noise = drift + 0.02 * by_drift, noise + 0.02 * float(by_noise)
    print(f"log likelihood {float(value):.3f} at first, {float(now):.3f} fitted")
    print(f"standard deviation of the noise: {np.exp(noise / 2):.3f} found, 0.500 true")
    level = smooth(data, drift, noise)
    error = np.sqrt(np.mean((level - np.cumsum(slope)) ** 2))
    print(f"error of the filtered level: {error:.3f}")
    assert now > value
    assert abs(np.exp(noise / 2) - 0.5) < 0.2
    assert error < 0.5


if __name__ == "__main__":
    main()
