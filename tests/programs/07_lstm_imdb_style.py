"""LSTM sentiment classifier: tparams dict, masks, sliced gates, dropout with ifelse-free switch,
adadelta."""

from collections import OrderedDict

import numpy
import theano
import theano.tensor as tensor
from theano import config
from theano.sandbox.rng_mrg import MRG_RandomStreams as RandomStreams


def numpy_floatX(data):
    return numpy.asarray(data, dtype=config.floatX)


def _p(pp, name):
    return "%s_%s" % (pp, name)


def ortho_weight(rng, ndim):
    u, _, _ = numpy.linalg.svd(rng.randn(ndim, ndim))
    return u.astype(config.floatX)


def init_params(options, rng):
    d = options["dim_proj"]
    params = OrderedDict()
    params["Wemb"] = (0.5 * rng.randn(options["n_words"], d)).astype(config.floatX)
    for which in "WU":
        params[_p("lstm", which)] = numpy.concatenate([ortho_weight(rng, d) for _ in range(4)], 1)
    params[_p("lstm", "b")] = numpy.zeros((4 * d,)).astype(config.floatX)
    params["U"] = 0.1 * rng.randn(d, options["ydim"]).astype(config.floatX)
    params["b"] = numpy.zeros((options["ydim"],)).astype(config.floatX)
    return params


def lstm_layer(tparams, state_below, options, prefix="lstm", mask=None):
    nsteps = state_below.shape[0]
    n_samples = state_below.shape[1] if state_below.ndim == 3 else 1
    assert mask is not None

    def _slice(_x, n, dim):
        if _x.ndim == 3:
            return _x[:, :, n * dim : (n + 1) * dim]
        return _x[:, n * dim : (n + 1) * dim]

    def _step(m_, x_, h_, c_):
        preact = tensor.dot(h_, tparams[_p(prefix, "U")])
        preact += x_
        i = tensor.nnet.sigmoid(_slice(preact, 0, options["dim_proj"]))
        f = tensor.nnet.sigmoid(_slice(preact, 1, options["dim_proj"]))
        o = tensor.nnet.sigmoid(_slice(preact, 2, options["dim_proj"]))
        c = tensor.tanh(_slice(preact, 3, options["dim_proj"]))
        c = f * c_ + i * c
        c = m_[:, None] * c + (1.0 - m_)[:, None] * c_
        h = o * tensor.tanh(c)
        h = m_[:, None] * h + (1.0 - m_)[:, None] * h_
        return h, c

    state_below = tensor.dot(state_below, tparams[_p(prefix, "W")]) + tparams[_p(prefix, "b")]
    dim_proj = options["dim_proj"]
    rval, updates = theano.scan(
        _step,
        sequences=[mask, state_below],
        outputs_info=[
            tensor.alloc(numpy_floatX(0.0), n_samples, dim_proj),
            tensor.alloc(numpy_floatX(0.0), n_samples, dim_proj),
        ],
        name=_p(prefix, "_layers"),
        n_steps=nsteps,
    )
    return rval[0]


def dropout_layer(state_before, use_noise, trng):
    return tensor.switch(
        use_noise,
        state_before * trng.binomial(state_before.shape, p=0.5, n=1, dtype=state_before.dtype),
        state_before * 0.5,
    )


def adadelta(tparams, grads, x, mask, y, cost):
    def zeros(suffix):
        return [
            theano.shared(p.get_value() * numpy_floatX(0.0), name="%s_%s" % (k, suffix))
            for k, p in tparams.items()
        ]

    zipped_grads, running_up2, running_grads2 = zeros("grad"), zeros("rup2"), zeros("rgrad2")
    zgup = [(zg, g) for zg, g in zip(zipped_grads, grads)]
    rg2up = [(rg2, 0.95 * rg2 + 0.05 * (g**2)) for rg2, g in zip(running_grads2, grads)]
    f_grad_shared = theano.function(
        [x, mask, y], cost, updates=zgup + rg2up, name="adadelta_f_grad_shared"
    )
    updir = [
        -tensor.sqrt(ru2 + 1e-6) / tensor.sqrt(rg2 + 1e-6) * zg
        for zg, ru2, rg2 in zip(zipped_grads, running_up2, running_grads2)
    ]
    ru2up = [(ru2, 0.95 * ru2 + 0.05 * (ud**2)) for ru2, ud in zip(running_up2, updir)]
    param_up = [(p, p + ud) for p, ud in zip(tparams.values(), updir)]
    f_update = theano.function(
        [tensor.scalar("lr")],
        [],
        updates=ru2up + param_up,
        on_unused_input="ignore",
        name="adadelta_f_update",
    )
    return f_grad_shared, f_update


def build_model(tparams, options):
    trng = RandomStreams(123)
    use_noise = theano.shared(numpy_floatX(0.0))
    x = tensor.matrix("x", dtype="int64")
    mask = tensor.matrix("mask", dtype=config.floatX)
    y = tensor.vector("y", dtype="int64")
    n_timesteps, n_samples = x.shape[0], x.shape[1]
    emb = tparams["Wemb"][x.flatten()].reshape([n_timesteps, n_samples, options["dim_proj"]])
    proj = lstm_layer(tparams, emb, options, mask=mask)
    proj = (proj * mask[:, :, None]).sum(axis=0)
    proj = proj / mask.sum(axis=0)[:, None]
    proj = dropout_layer(proj, use_noise, trng)
    pred = tensor.nnet.softmax(tensor.dot(proj, tparams["U"]) + tparams["b"])
    f_pred_prob = theano.function([x, mask], pred, name="f_pred_prob")
    f_pred = theano.function([x, mask], pred.argmax(axis=1), name="f_pred")
    off = 1e-8
    if pred.dtype == "float16":
        off = 1e-6
    cost = -tensor.log(pred[tensor.arange(n_samples), y] + off).mean()
    return use_noise, x, mask, y, f_pred_prob, f_pred, cost


def prepare_data(seqs):
    lengths = [len(s) for s in seqs]
    x = numpy.zeros((max(lengths), len(seqs))).astype("int64")
    x_mask = numpy.zeros((max(lengths), len(seqs))).astype(config.floatX)
    for idx, s in enumerate(seqs):
        x[: lengths[idx], idx] = s
        x_mask[: lengths[idx], idx] = 1.0
    return x, x_mask


def main():
    rng = numpy.random.RandomState(123)
    seqs = [rng.randint(2, 12, rng.randint(3, 9)) for _ in range(60)]
    labels = numpy.array([int(numpy.mean(s) > 6.5) for s in seqs])  # many large words
    options = dict(dim_proj=8, n_words=12, ydim=2)
    tparams = OrderedDict()
    for kk, pp in init_params(options, rng).items():
        tparams[kk] = theano.shared(pp, name=kk)
    (use_noise, x, mask, y, f_pred_prob, f_pred, cost) = build_model(tparams, options)
    decay_c = theano.shared(numpy_floatX(1e-4), name="decay_c")
    cost += (tparams["U"] ** 2).sum() * decay_c
    f_cost = theano.function([x, mask, y], cost, name="f_cost")
    grads = tensor.grad(cost, wrt=list(tparams.values()))
    f_grad = theano.function([x, mask, y], grads, name="f_grad")
    f_grad_shared, f_update = adadelta(tparams, grads, x, mask, y, cost)

    bx, bm = prepare_data(seqs)
    # A gradient entry by finite differences, noise off.
    names = list(tparams)
    g = f_grad(bx, bm, labels)[names.index("lstm_U")]
    eps = 1e-4 if config.floatX == "float64" else 2e-2
    U = tparams["lstm_U"]
    base = U.get_value()
    ends = []
    for sign in (1, -1):
        moved = base.copy()
        moved[2, 9] += sign * eps
        U.set_value(moved)
        ends.append(float(f_cost(bx, bm, labels)))
    U.set_value(base)
    numpy.testing.assert_allclose(g[2, 9], (ends[0] - ends[1]) / (2 * eps), rtol=5e-2, atol=1e-4)

    # Padding does not change a prediction.
    longer = numpy.vstack([bx, 5 * numpy.ones((3, 60), dtype="int64")])
    longer_mask = numpy.vstack([bm, numpy.zeros((3, 60), dtype=config.floatX)])
    numpy.testing.assert_allclose(f_pred_prob(bx, bm), f_pred_prob(longer, longer_mask), rtol=1e-4)

    first = float(f_cost(bx, bm, labels))
    use_noise.set_value(1.0)
    for _ in range(400):
        f_grad_shared(bx, bm, labels)
        assert f_update(0.01) == []
    use_noise.set_value(0.0)
    last = float(f_cost(bx, bm, labels))
    assert last < 0.6 * first, (first, last)
    assert (f_pred(bx, bm) == labels).mean() > 0.85
    params = OrderedDict((kk, vv.get_value()) for kk, vv in tparams.items())
    assert params["Wemb"].shape == (12, 8)


if __name__ == "__main__":
    main()
