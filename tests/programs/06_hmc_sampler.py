"""Hybrid Monte Carlo: leapfrog in scan, shared positions, adaptive step size; a Gaussian target."""

import numpy
import theano
import theano.tensor as T
from theano import function, shared
from theano.sandbox.rng_mrg import MRG_RandomStreams as TheanoRandomStreams


def kinetic_energy(vel):
    return 0.5 * (vel**2).sum(axis=1)


def hamiltonian(pos, vel, energy_fn):
    return energy_fn(pos) + kinetic_energy(vel)


def metropolis_hastings_accept(energy_prev, energy_next, s_rng):
    ediff = energy_prev - energy_next
    return (T.exp(ediff) - s_rng.uniform(size=energy_prev.shape)) >= 0


def simulate_dynamics(initial_pos, initial_vel, stepsize, n_steps, energy_fn):
    def leapfrog(pos, vel, step):
        dE_dpos = T.grad(energy_fn(pos).sum(), pos)
        new_vel = vel - step * dE_dpos
        new_pos = pos + step * new_vel
        return [new_pos, new_vel], {}

    initial_energy = energy_fn(initial_pos)
    dE_dpos = T.grad(initial_energy.sum(), initial_pos)
    vel_half_step = initial_vel - 0.5 * stepsize * dE_dpos
    pos_full_step = initial_pos + stepsize * vel_half_step
    (all_pos, all_vel), scan_updates = theano.scan(
        leapfrog,
        outputs_info=[dict(initial=pos_full_step), dict(initial=vel_half_step)],
        non_sequences=[stepsize],
        n_steps=n_steps - 1,
    )
    final_pos = all_pos[-1]
    final_vel = all_vel[-1]
    assert not scan_updates
    energy = energy_fn(final_pos)
    final_vel = final_vel - 0.5 * stepsize * T.grad(energy.sum(), final_pos)
    return final_pos, final_vel


def hmc_move(s_rng, positions, energy_fn, stepsize, n_steps):
    initial_vel = s_rng.normal(size=positions.shape)
    final_pos, final_vel = simulate_dynamics(
        initial_pos=positions,
        initial_vel=initial_vel,
        stepsize=stepsize,
        n_steps=n_steps,
        energy_fn=energy_fn,
    )
    accept = metropolis_hastings_accept(
        energy_prev=hamiltonian(positions, initial_vel, energy_fn),
        energy_next=hamiltonian(final_pos, final_vel, energy_fn),
        s_rng=s_rng,
    )
    return accept, final_pos


def hmc_updates(positions, stepsize, avg_acceptance_rate, final_pos, accept):
    accept_matrix = accept.dimshuffle(0, *(("x",) * (final_pos.ndim - 1)))
    new_positions = T.switch(accept_matrix, final_pos, positions)
    stepsize_inc, stepsize_dec, slowness = 1.02, 0.98, 0.9
    _new_stepsize = T.switch(
        avg_acceptance_rate > 0.9, stepsize * stepsize_inc, stepsize * stepsize_dec
    )
    new_stepsize = T.clip(_new_stepsize, 0.001, 0.25)
    mean_dtype = theano.scalar.upcast(accept.dtype, avg_acceptance_rate.dtype)
    new_acceptance_rate = T.add(
        slowness * avg_acceptance_rate, (1.0 - slowness) * accept.mean(dtype=mean_dtype)
    )
    return [
        (positions, new_positions),
        (stepsize, new_stepsize),
        (avg_acceptance_rate, new_acceptance_rate),
    ]


def sharedX(X, name):
    return shared(numpy.asarray(X, dtype=theano.config.floatX), name=name)


def main():
    rng = numpy.random.RandomState(123)
    dim, batch = 3, 20
    mu = numpy.array(rng.rand(dim) * 10, dtype=theano.config.floatX)
    cov = numpy.array(rng.rand(dim, dim), dtype=theano.config.floatX)
    cov = (cov + cov.T) / 2.0
    cov[numpy.arange(dim), numpy.arange(dim)] = 1.5
    cov_inv = numpy.linalg.inv(cov)

    def gaussian_energy(x):
        return 0.5 * (T.dot((x - mu), cov_inv) * (x - mu)).sum(axis=1)

    positions = sharedX(rng.randn(batch, dim), "position")
    stepsize = sharedX(0.15, "stepsize")
    avg = sharedX(0.9, "avg_acceptance_rate")
    s_rng = TheanoRandomStreams(3 + rng.randint(0, 1000))
    accept, final_pos = hmc_move(s_rng, positions, gaussian_energy, stepsize, 10)
    updates = hmc_updates(positions, stepsize, avg, final_pos, accept)
    simulate = function([], [], updates=updates)

    for _ in range(150):
        assert simulate() == []
    samples = []
    for _ in range(500):
        simulate()
        samples.append(positions.get_value())
    samples = numpy.array(samples).reshape(-1, dim)
    numpy.testing.assert_allclose(samples.mean(axis=0), mu, atol=0.25)
    numpy.testing.assert_allclose(numpy.cov(samples.T), cov, atol=0.3)
    assert 0.7 < avg.get_value() <= 1.0
    assert 0.001 <= stepsize.get_value() <= 0.2501
    assert positions.get_value().dtype == theano.config.floatX


if __name__ == "__main__":
    main()
