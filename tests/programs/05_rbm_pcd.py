"""Restricted Boltzmann machine: PCD-k with scan, free energy, pseudo-likelihood, Gibbs samples."""

import numpy
import theano
import theano.tensor as T
from theano.tensor.shared_randomstreams import RandomStreams


class RBM(object):
    def __init__(self, input, n_visible, n_hidden, numpy_rng):
        self.n_visible, self.n_hidden = n_visible, n_hidden
        theano_rng = RandomStreams(numpy_rng.randint(2**30))
        limit = 4 * numpy.sqrt(6.0 / (n_hidden + n_visible))
        self.W = theano.shared(
            numpy.asarray(
                numpy_rng.uniform(-limit, limit, (n_visible, n_hidden)), dtype=theano.config.floatX
            ),
            name="W",
            borrow=True,
        )
        self.hbias = theano.shared(numpy.zeros(n_hidden, dtype=theano.config.floatX), name="hbias")
        self.vbias = theano.shared(numpy.zeros(n_visible, dtype=theano.config.floatX), name="vbias")
        self.input = input
        self.theano_rng = theano_rng
        self.params = [self.W, self.hbias, self.vbias]

    def free_energy(self, v_sample):
        wx_b = T.dot(v_sample, self.W) + self.hbias
        vbias_term = T.dot(v_sample, self.vbias)
        hidden_term = T.sum(T.log(1 + T.exp(wx_b)), axis=1)
        return -hidden_term - vbias_term

    def sample_h_given_v(self, v0_sample):
        pre = T.dot(v0_sample, self.W) + self.hbias
        mean = T.nnet.sigmoid(pre)
        sample = self.theano_rng.binomial(size=mean.shape, n=1, p=mean, dtype=theano.config.floatX)
        return [pre, mean, sample]

    def sample_v_given_h(self, h0_sample):
        pre = T.dot(h0_sample, self.W.T) + self.vbias
        mean = T.nnet.sigmoid(pre)
        sample = self.theano_rng.binomial(size=mean.shape, n=1, p=mean, dtype=theano.config.floatX)
        return [pre, mean, sample]

    def gibbs_hvh(self, h0_sample):
        pre_v, v_mean, v_sample = self.sample_v_given_h(h0_sample)
        pre_h, h_mean, h_sample = self.sample_h_given_v(v_sample)
        return [pre_v, v_mean, v_sample, pre_h, h_mean, h_sample]

    def gibbs_vhv(self, v0_sample):
        pre_h, h_mean, h_sample = self.sample_h_given_v(v0_sample)
        pre_v, v_mean, v_sample = self.sample_v_given_h(h_sample)
        return [pre_h, h_mean, h_sample, pre_v, v_mean, v_sample]

    def get_cost_updates(self, lr=0.1, persistent=None, k=1):
        _, _, ph_sample = self.sample_h_given_v(self.input)
        chain_start = ph_sample if persistent is None else persistent
        (
            [pre_sigmoid_nvs, nv_means, nv_samples, pre_sigmoid_nhs, nh_means, nh_samples],
            updates,
        ) = theano.scan(
            self.gibbs_hvh,
            outputs_info=[None, None, None, None, None, chain_start],
            n_steps=k,
            name="gibbs_hvh",
        )
        chain_end = nv_samples[-1]
        cost = T.mean(self.free_energy(self.input)) - T.mean(self.free_energy(chain_end))
        gparams = T.grad(cost, self.params, consider_constant=[chain_end])
        for gparam, param in zip(gparams, self.params):
            updates[param] = param - gparam * T.cast(lr, dtype=theano.config.floatX)
        if persistent:
            updates[persistent] = nh_samples[-1]
            monitoring_cost = self.get_pseudo_likelihood_cost(updates)
        else:
            z = T.nnet.sigmoid(pre_sigmoid_nvs[-1])
            monitoring_cost = T.mean(
                T.sum(self.input * T.log(z) + (1 - self.input) * T.log(1 - z), axis=1)
            )
        return monitoring_cost, updates

    def get_pseudo_likelihood_cost(self, updates):
        bit_i_idx = theano.shared(value=0, name="bit_i_idx")
        xi = T.round(self.input)
        fe_xi = self.free_energy(xi)
        xi_flip = T.set_subtensor(xi[:, bit_i_idx], 1 - xi[:, bit_i_idx])
        fe_xi_flip = self.free_energy(xi_flip)
        cost = T.mean(self.n_visible * T.log(T.nnet.sigmoid(fe_xi_flip - fe_xi)))
        updates[bit_i_idx] = (bit_i_idx + 1) % self.n_visible
        return cost


def main():
    rng = numpy.random.RandomState(123)
    bars = numpy.kron(numpy.eye(4), numpy.ones((1, 4)))  # four groups of four
    data = bars[rng.randint(0, 4, 200)].astype(theano.config.floatX)
    train_x = theano.shared(data)
    index, x = T.lscalar(), T.matrix("x")

    persistent_chain = theano.shared(numpy.zeros((20, 10), dtype=theano.config.floatX), borrow=True)
    rbm = RBM(x, 16, 10, rng)
    cost, updates = rbm.get_cost_updates(lr=0.1, persistent=persistent_chain, k=5)
    train = theano.function(
        [index], cost, updates=updates, givens={x: train_x[index * 20 : (index + 1) * 20]}
    )
    first = numpy.mean([train(i) for i in range(10)])
    for _ in range(40):
        last = numpy.mean([train(i) for i in range(10)])
    assert last > 0.5 * first and last > first, (first, last)  # both negative
    assert set(numpy.unique(persistent_chain.get_value())) <= {0.0, 1.0}

    # Sampling: keep a chain in a shared variable, 50 Gibbs steps for each call.
    chain = theano.shared(data[:8].copy())
    ([_, _, _, _, vis_mfs, vis_samples], up) = theano.scan(
        rbm.gibbs_vhv, outputs_info=[None, None, None, None, None, chain], n_steps=50
    )
    up.update({chain: vis_samples[-1]})
    sample_fn = theano.function([], [vis_mfs[-1], vis_samples[-1]], updates=up, name="sample_fn")
    mean, sample = sample_fn()
    mean2, sample2 = sample_fn()
    assert sample.shape == (8, 16) and (sample2 == chain.get_value()).all()
    assert (mean2 != mean).any()
    # Data have lower free energy than noise.
    fe = theano.function([x], rbm.free_energy(x))
    noise = rng.binomial(1, 0.5, (200, 16)).astype(theano.config.floatX)
    assert fe(data).mean() < fe(noise).mean() - 2
    # CD-1 without a persistent chain compiles and improves the reconstruction.
    rbm2 = RBM(x, 16, 10, rng)
    cost2, updates2 = rbm2.get_cost_updates(lr=0.1, k=1)
    cd = theano.function([x], cost2, updates=updates2)
    history = [cd(data) for _ in range(60)]
    assert numpy.mean(history[-5:]) > numpy.mean(history[:3])


if __name__ == "__main__":
    main()
