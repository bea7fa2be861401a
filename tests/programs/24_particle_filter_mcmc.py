"""Particle filter with resampling by searchsorted/cumsum; Metropolis chain and Ising sweep
inside scan."""

import numpy as np
import theano
import theano.tensor as T
from theano.tensor.shared_randomstreams import RandomStreams

floatX = theano.config.floatX


def particle_filter(srng, zs, n):
    def step(z, particles):
        moved = 0.9 * particles + srng.normal((n,), avg=0.0, std=0.5, dtype=floatX)
        logw = -0.5 * T.sqr((z - moved) / 0.4)
        w = T.exp(logw - T.max(logw))
        w = w / T.sum(w)
        mean = T.sum(w * moved)
        # Systematic resampling.
        start = srng.uniform((), dtype=floatX)
        places = (T.arange(n) + start) / n
        index = T.extra_ops.searchsorted(T.extra_ops.cumsum(w), T.cast(places, floatX))
        return moved[T.clip(index, 0, n - 1)], mean, 1.0 / T.sum(w**2)

    start = T.zeros((n,), dtype=floatX)
    return theano.scan(step, sequences=[zs], outputs_info=[start, None, None])


def metropolis(srng, log_density, x0, n_steps, width):
    def step(x, accepted):
        proposal = x + width * srng.normal(x.shape, dtype=floatX)
        ratio = log_density(proposal) - log_density(x)
        ok = T.log(srng.uniform(x.shape, dtype=floatX)) < ratio
        return T.switch(ok, proposal, x), accepted + T.cast(ok.sum(), "int64")

    return theano.scan(
        step, outputs_info=[x0, T.constant(np.int64(0))], n_steps=n_steps, name="metropolis"
    )


def ising(srng, spins, beta, sweeps):
    colour = theano.shared((np.indices((8, 8)).sum(axis=0) % 2).astype("int8"))

    def sweep(s):
        for parity in (0, 1):
            field = sum(T.roll(s, d, axis=a) for d in (1, -1) for a in (0, 1))
            p = T.nnet.sigmoid(2 * beta * field)
            new = T.cast(2 * srng.binomial(s.shape, p=p) - 1, "int8")
            s = T.switch(T.eq(colour, parity), new, s)
        return s

    states, updates = theano.scan(lambda s: sweep(s), outputs_info=spins, n_steps=sweeps)
    return states, updates


def main():
    rng = np.random.RandomState(4)
    srng = RandomStreams(seed=77)
    truth, x = [], 0.0
    for _ in range(60):
        x = 0.9 * x + 0.5 * rng.randn()
        truth.append(x)
    truth = np.array(truth)
    zv = (truth + 0.4 * rng.randn(60)).astype(floatX)
    zs = T.vector("zs")
    (_, means, ess), updates = particle_filter(srng, zs, 500)
    assert updates  # the streams' states
    run = theano.function([zs], [means, ess], updates=updates)
    m, e = run(zv)
    assert np.sqrt(np.mean((m - truth) ** 2)) < np.sqrt(np.mean((zv - truth) ** 2))
    assert (e > 1).all() and (e <= 500.5).all()
    # The Kalman filter is exact here; the particles come near it.
    mean, var, exact = 0.0, 0.0, []
    for z in zv:
        mean, var = 0.9 * mean, 0.81 * var + 0.25
        k = var / (var + 0.16)
        mean, var = mean + k * (z - mean), (1 - k) * var
        exact.append(mean)
    assert np.abs(m - exact).max() < 0.15

    x0 = T.vector("x0")
    (chain, accepted), up = metropolis(srng, lambda q: -0.5 * T.sqr((q - 1) / 2), x0, 800, 2.5)
    mc = theano.function([x0], [chain, accepted[-1]], updates=up)
    samples, n_ok = mc(np.zeros(50, dtype=floatX))
    assert samples.shape == (800, 50) and 0.3 < n_ok / 40000.0 < 0.9
    assert abs(samples[100:].mean() - 1) < 0.15
    assert abs(samples[100:].std() - 2) < 0.15
    again, _ = mc(np.zeros(50, dtype=floatX))
    assert (again != samples).any()

    s = T.bmatrix("s")
    beta = T.scalar("beta")
    states, up = ising(srng, s, beta, 30)
    play = theano.function([s, beta], states, updates=up, allow_input_downcast=True)
    start = np.ones((8, 8), dtype="int8")
    cold, hot = play(start, 2.0), play(start, 0.0)
    assert set(np.unique(hot)) == {-1, 1} and cold.dtype == "int8"
    assert cold[10:].mean() > 0.98 and abs(hot[10:].mean()) < 0.1


if __name__ == "__main__":
    main()
