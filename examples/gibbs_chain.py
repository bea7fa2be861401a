"""Gibbs sampling in a restricted Boltzmann machine: random draws inside ``scan``.

Checked twice: against the same chain drawn with NumPy's own generator, sample by sample, and
against the exact marginals, which a machine this small lets us enumerate.
"""

import itertools

import numpy as np
import theano
import theano.tensor as T
from theano.tensor.shared_randomstreams import RandomStreams

VISIBLE, HIDDEN, CHAINS, SEED = 5, 3, 2000, 42


def compile_chain(weights, visible_bias, hidden_bias):
    """Give a function that runs many chains for ``k`` steps and returns all their states."""
    random = RandomStreams(SEED)
    w = theano.shared(weights, name="w")
    bv = theano.shared(visible_bias, name="bv")
    bh = theano.shared(hidden_bias, name="bh")

    def step(v):
        ph = T.nnet.sigmoid(T.dot(v, w) + bh)
        h = random.binomial(size=ph.shape, n=1, p=ph, dtype="float64")
        pv = T.nnet.sigmoid(T.dot(h, w.T) + bv)
        return random.binomial(size=pv.shape, n=1, p=pv, dtype="float64")

    start = T.dmatrix("start")
    k = T.iscalar("k")
    states, updates = theano.scan(step, outputs_info=start, n_steps=k)
    return theano.function([start, k], states, updates=updates)


def chain_in_numpy(start, k, weights, visible_bias, hidden_bias, generators):
    """Run the same chain with NumPy; one generator for each place that draws."""
    v, states = start, []
    for _ in range(k):
        ph = 1 / (1 + np.exp(-(v.dot(weights) + hidden_bias)))
        h = generators[0].binomial(1, ph).astype("float64")
        pv = 1 / (1 + np.exp(-(h.dot(weights.T) + visible_bias)))
        v = generators[1].binomial(1, pv).astype("float64")
        states.append(v)
    return np.array(states)


def exact_marginals(weights, visible_bias, hidden_bias):
    """Enumerate all states of the visible units."""
    states = np.array(list(itertools.product([0.0, 1.0], repeat=VISIBLE)))
    free = states.dot(visible_bias) + np.log1p(np.exp(states.dot(weights) + hidden_bias)).sum(1)
    p = np.exp(free - free.max())
    return (p / p.sum()).dot(states)


def main():
    """Run the chains and check."""
    rng = np.random.RandomState(0)
    machine = rng.randn(VISIBLE, HIDDEN), rng.randn(VISIBLE) * 0.5, rng.randn(HIDDEN) * 0.5
    run = compile_chain(*machine)

    # Every place that draws has a generator of its own, seeded in the order of creation.
    seeds = np.random.RandomState(SEED)
    generators = [np.random.RandomState(int(seeds.randint(2**30))) for _ in range(2)]

    start = np.zeros((CHAINS, VISIBLE))
    for k in (1, 3, 60):  # the state of the generators lives on between calls
        states = run(start, k)
        np.testing.assert_array_equal(states, chain_in_numpy(start, k, *machine, generators))

    found = states[30:].mean(axis=(0, 1))
    wanted = exact_marginals(*machine)
    print("marginals found", np.round(found, 3))
    print("          exact", np.round(wanted, 3))
    assert abs(found - wanted).max() < 0.02


if __name__ == "__main__":
    main()
