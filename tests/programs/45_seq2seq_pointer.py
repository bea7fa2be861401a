"""Sequence to sequence with masks, a pointer over the input, greedy decoding in one scan."""

import numpy as np
import theano
import theano.tensor as tt

floatX = theano.config.floatX


def ortho(rng, n, m):
    u, _, v = np.linalg.svd(rng.randn(n, m), full_matrices=False)
    return (u if u.shape == (n, m) else v).astype(floatX)


def main():
    rng = np.random.RandomState(1)
    dim = 16
    params = {}
    for name, n, m in [("We", 1, dim), ("Ue", dim, dim), ("Wd", 1, dim), ("Ud", dim, dim),
                       ("Wp", dim, dim), ("Wq", dim, dim)]:  # fmt: skip
        params[name] = theano.shared(ortho(rng, n, m), name=name)
    params["vp"] = theano.shared(rng.uniform(-0.5, 0.5, dim).astype(floatX), name="vp")
    params["be"] = theano.shared(np.zeros(dim, dtype=floatX), name="be")

    x = tt.tensor3("x")  # time, batch, 1
    mask = tt.matrix("mask")
    y = tt.imatrix("y")  # places in the input

    def encode(x_t, m_t, h):
        new = tt.tanh(tt.dot(x_t, params["We"]) + tt.dot(h, params["Ue"]) + params["be"])
        m = m_t.dimshuffle(0, "x")
        return m * new + (1.0 - m) * h

    start = tt.alloc(np.asarray(0, dtype=floatX), x.shape[1], dim)
    enc, _ = theano.scan(encode, sequences=[x, mask], outputs_info=[start], name="encoder")
    keys = tt.dot(enc, params["Wp"])

    def pointer(h, keys, mask):
        e = tt.dot(tt.tanh(keys + tt.dot(h, params["Wq"]).dimshuffle("x", 0, 1)), params["vp"])
        e = tt.switch(mask, e, -1e9)
        return tt.nnet.softmax(e.T).T  # time, batch

    def decode(y_prev, h, keys, mask, x):
        batch = tt.arange(x.shape[1])
        value = tt.switch(tt.ge(y_prev, 0)[:, None], x[y_prev, batch], 0.0)
        h = tt.tanh(tt.dot(value, params["Wd"]) + tt.dot(h, params["Ud"]))
        return h, pointer(h, keys, mask)

    shifted = tt.concatenate([-tt.ones_like(y[:1]), y[:-1]], axis=0)
    [_, probs], _ = theano.scan(
        decode, sequences=[shifted], outputs_info=[enc[-1], None], non_sequences=[keys, mask, x]
    )
    steps, batch = y.shape[0], y.shape[1]
    chosen = probs[tt.arange(steps)[:, None], y, tt.arange(batch)[None, :]]
    cost = -(tt.log(chosen + 1e-9)).sum(axis=0).mean()
    plist = list(params.values())
    grads = tt.grad(cost, plist)
    norm = tt.sqrt(sum([(g**2).sum() for g in grads]))
    grads = [tt.switch(norm > 2.0, g * 2.0 / norm, g) for g in grads]
    updates = []
    for p, g in zip(plist, grads):
        r = theano.shared(np.zeros_like(p.get_value()))
        r_new = 0.9 * r + 0.1 * g**2
        updates += [(r, r_new), (p, p - 0.005 * g / tt.sqrt(r_new + 1e-6))]
    train = theano.function([x, mask, y], [cost, norm], updates=updates)
    f_probs = theano.function([x, mask, y], probs)

    # Greedy decoding inside one scan: the output is the next input.
    def greedy(y_prev, h, keys, mask, x):
        h, p = decode(y_prev, h, keys, mask, x)
        return tt.cast(tt.argmax(p, axis=0), "int32"), h

    n = tt.iscalar("n")
    first = tt.cast(-tt.ones((x.shape[1],)), "int32")
    [picked, _], _ = theano.scan(
        greedy, outputs_info=[first, enc[-1]], non_sequences=[keys, mask, x], n_steps=n
    )
    decode_fn = theano.function([x, mask, n], picked)

    def batch_of(k=48, length=4):
        """Point to the largest, then to the smallest number."""
        lengths = rng.randint(2, length + 1, k)
        xv = rng.uniform(-1, 1, (length, k, 1))
        mv = (np.arange(length)[:, None] < lengths).astype(floatX)
        high = np.where(mv > 0, xv[:, :, 0], -9).argmax(axis=0)
        low = np.where(mv > 0, xv[:, :, 0], 9).argmin(axis=0)
        return xv.astype(floatX), mv, np.array([high, low], dtype="int32")

    xv, mv, yv = batch_of()
    p = f_probs(xv, mv, yv)
    assert p.shape == (2, 4, 48)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    assert p[:, mv == 0].max() < 1e-6
    # The encoder stops at the end of each sequence: numbers behind the mask do not matter.
    changed = np.where(mv[:, :, None] > 0, xv, 7).astype(floatX)
    np.testing.assert_allclose(f_probs(changed, mv, yv), p, rtol=1e-4, atol=1e-6)
    costs = [float(train(*batch_of())[0]) for _ in range(500)]
    assert np.mean(costs[-20:]) < 0.6 * np.mean(costs[:20]), (costs[0], costs[-1])
    xv, mv, yv = batch_of(200)
    out = decode_fn(xv, mv, 2)
    assert out.dtype == np.int32 and out.shape == (2, 200)
    right = (out == yv).mean()
    assert right > 0.75, right


if __name__ == "__main__":
    main()
