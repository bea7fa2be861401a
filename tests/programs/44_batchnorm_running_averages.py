"""Batch normalisation by the library's functions, against composed expressions."""

import numpy as np
import theano
import theano.tensor as T
from theano.tensor.nnet import bn

floatX = theano.config.floatX
tight = dict(rtol=1e-6, atol=1e-8) if floatX == "float64" else dict(rtol=2e-3, atol=2e-3)


def composed(x, gamma, beta, axes, eps=1e-4):
    mean = x.mean(axes, keepdims=True)
    inv = T.inv(T.sqrt(x.var(axes, keepdims=True) + eps))
    return (x - mean) * (gamma * inv) + beta, mean, inv


def main():
    rng = np.random.RandomState(0)
    for mode, axes, shape in (
        ("per-activation", (0,), (1, 3, 4, 5)),
        ("spatial", (0, 2, 3), (1, 3, 1, 1)),
    ):
        x = T.tensor4("x")
        pattern = [s == 1 for s in shape]
        gamma, beta = [T.TensorType(floatX, pattern)(n) for n in ("gamma", "beta")]
        rm, rv = [T.TensorType(floatX, pattern)(n) for n in ("rm", "rv")]
        out, mean, inv, new_rm, new_rv = bn.batch_normalization_train(
            x, gamma, beta, axes=mode, running_mean=rm, running_var=rv, running_average_factor=0.2
        )
        ref, ref_mean, ref_inv = composed(x, gamma, beta, axes)
        dy = T.tensor4("dy")
        grads = T.grad(None, [x, gamma, beta], known_grads={out: dy})
        ref_grads = T.grad(None, [x, gamma, beta], known_grads={ref: dy})
        test = bn.batch_normalization_test(x, gamma, beta, rm, rv, axes=mode)
        f = theano.function(
            [x, gamma, beta, rm, rv, dy],
            [out, mean, inv, *grads, ref, ref_mean, ref_inv, *ref_grads, new_rm, new_rv, test],
        )
        xv = (2 + 3 * rng.randn(6, 3, 4, 5)).astype(floatX)
        gv, bv, mv = [rng.randn(*shape).astype(floatX) for _ in range(3)]
        vv = (1 + rng.rand(*shape)).astype(floatX)
        got = f(xv, gv, bv, mv, vv, rng.randn(6, 3, 4, 5).astype(floatX))
        for a, b in zip(got[:6], got[6:12]):
            np.testing.assert_allclose(a, b, **tight)
        m = xv.size / np.prod(shape)
        np.testing.assert_allclose(got[12], 0.8 * mv + 0.2 * xv.mean(axes, keepdims=True), **tight)
        variance = m / (m - 1) * xv.var(axes, keepdims=True)
        np.testing.assert_allclose(got[13], 0.8 * vv + 0.2 * variance, **tight)
        np.testing.assert_allclose(got[14], (xv - mv) * gv / np.sqrt(vv + 1e-4) + bv, **tight)

    # A layer that keeps averages by default_update: applied without being named.
    x = T.matrix("x")
    mean = theano.shared(np.zeros(3, dtype=floatX), name="mean")
    target = theano.clone(mean, share_inputs=False)
    count = theano.shared(np.asarray(0, dtype="int64"), name="count")
    target.default_update = T.cast(0.9 * target + 0.1 * x.mean(axis=0), floatX)
    y = x - x.mean(axis=0) + 0 * target
    layer = theano.function([x], y, updates=[(count, count + 1)])
    xv = (np.arange(12).reshape(4, 3) + 1).astype(floatX)
    for _ in range(60):
        out = layer(xv)
    np.testing.assert_allclose(out.mean(axis=0), 0, atol=1e-5)
    assert count.get_value() == 60
    np.testing.assert_allclose(target.get_value(), xv.mean(0) * (1 - 0.9**60), rtol=1e-4)
    np.testing.assert_allclose(mean.get_value(), target.get_value())  # one container

    # Layer normalisation, local response normalisation and weight normalisation, by hand.
    g = T.vector("g")
    norm = (x - x.mean(1, keepdims=True)) / T.sqrt(x.var(1, keepdims=True) + 1e-5) * g
    ln = theano.function([x, g], norm)(xv, np.ones(3, dtype=floatX))
    np.testing.assert_allclose(ln.mean(axis=1), 0, atol=1e-5)
    t = T.tensor4("t")
    half, n = 1, 3
    sq = T.sqr(t)
    b, ch, r, c = t.shape
    extra = T.alloc(np.asarray(0.0, dtype=floatX), b, ch + 2 * half, r, c)
    sq = T.set_subtensor(extra[:, half : half + ch, :, :], sq)
    scale = 2.0
    for i in range(n):
        scale += 0.5 * sq[:, i : i + ch, :, :]
    lrn = theano.function([t], t / scale**0.75)
    tv = rng.randn(2, 5, 3, 3).astype(floatX)
    padded = np.pad(tv**2, [(0, 0), (1, 1), (0, 0), (0, 0)])
    want = tv / (2 + 0.5 * sum(padded[:, k : k + 5] for k in range(3))) ** 0.75
    np.testing.assert_allclose(lrn(tv), want, rtol=1e-4)


if __name__ == "__main__":
    main()
