"""Convolution variants: transposed, strided, dilated, full and padded; images2neibs; bilinear
upsampling."""

import numpy as np
import theano
import theano.tensor as T
from theano.tensor.nnet import abstract_conv
from theano.tensor.nnet.neighbours import images2neibs, neibs2images
from theano.tensor.signal import pool

floatX = theano.config.floatX


def deconv(X, w, subsample=(2, 2), border_mode=(1, 1)):
    """Transposed convolution as DCGAN programs write it."""
    op = abstract_conv.AbstractConv2d_gradInputs(
        imshp=(None, None, None, None),
        kshp=(None, None, None, None),
        subsample=subsample,
        border_mode=border_mode,
    )
    height = (X.shape[2] - 1) * subsample[0] + w.shape[2] - 2 * border_mode[0]
    width = (X.shape[3] - 1) * subsample[1] + w.shape[3] - 2 * border_mode[1]
    return op(w, X, (height, width))


def correlate(x, w, stride=1, pad=0, dilate=1):
    x = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)])
    kh, kw = [(k - 1) * dilate + 1 for k in w.shape[2:]]
    hs = range(0, x.shape[2] - kh + 1, stride)
    ws = range(0, x.shape[3] - kw + 1, stride)
    out = np.zeros((x.shape[0], w.shape[0], len(hs), len(ws)))
    for i, h in enumerate(hs):
        for j, c in enumerate(ws):
            patch = x[:, :, h : h + kh : dilate, c : c + kw : dilate]
            out[:, :, i, j] = np.tensordot(patch, w, [(1, 2, 3), (1, 2, 3)])
    return out


def main():
    rng = np.random.RandomState(1)
    x, w = T.tensor4("x"), T.tensor4("w")
    xv = rng.randn(2, 3, 8, 7).astype(floatX)
    wv = rng.randn(4, 3, 3, 3).astype(floatX)
    conv2d = T.nnet.conv2d
    cases = [
        (dict(border_mode="valid"), dict()),
        (dict(border_mode="full"), dict(pad=2)),
        (dict(border_mode="half"), dict(pad=1)),
        (dict(border_mode=(1, 1), subsample=(2, 2)), dict(pad=1, stride=2)),
        (dict(border_mode=2, filter_dilation=(2, 2)), dict(pad=2, dilate=2)),
    ]
    outputs = [conv2d(x, w, filter_flip=False, **k) for k, _ in cases]
    got = theano.function([x, w], outputs)(xv, wv)
    for g, (_, kwargs) in zip(got, cases):
        np.testing.assert_allclose(g, correlate(xv, wv, **kwargs), rtol=1e-3, atol=1e-4)
    flipped = theano.function(
        [x, w], conv2d(x, w, input_shape=(2, 3, 8, 7), filter_shape=(4, 3, 3, 3))
    )
    np.testing.assert_allclose(
        flipped(xv, wv), correlate(xv, wv[:, :, ::-1, ::-1]), rtol=1e-3, atol=1e-4
    )

    # deconv is the adjoint of the strided convolution.
    z = T.tensor4("z")
    up = theano.function([z, w], deconv(z, w))
    zv = rng.randn(2, 4, 4, 4).astype(floatX)
    big = rng.randn(2, 3, 7, 7).astype(floatX)
    image = up(zv, wv)
    assert image.shape == (2, 3, 7, 7), image.shape
    down = correlate(big, wv[:, :, ::-1, ::-1], stride=2, pad=1)
    np.testing.assert_allclose((image * big).sum(), (down * zv).sum(), rtol=1e-3)
    # The helper functions give the same, and gradients with respect to weights.
    same = abstract_conv.conv2d_grad_wrt_inputs(
        z, w, input_shape=(2, 3, 7, 7), border_mode=(1, 1), subsample=(2, 2)
    )
    loss = (conv2d(x, w, border_mode=(1, 1), subsample=(2, 2)) * z).sum()
    gw = abstract_conv.conv2d_grad_wrt_weights(
        x, z, filter_shape=(4, 3, 3, 3), border_mode=(1, 1), subsample=(2, 2)
    )
    f = theano.function([x, z, w], [same] + T.grad(loss, [x, w]) + [gw])
    s, gx, g1, g2 = f(big, zv, wv)
    np.testing.assert_allclose(s, image, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gx, image, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(g1, g2, rtol=1e-4, atol=1e-4)
    cost = T.sum(T.tanh(deconv(z, w)) ** 2)
    theano.gradient.verify_grad(
        lambda a, b: T.tanh(deconv(a, b)).sum(),
        [rng.randn(1, 2, 2, 2).astype(floatX), rng.randn(2, 1, 3, 3).astype(floatX)],
        rng=rng,
        abs_tol=5e-2 if floatX == "float32" else None,
        rel_tol=5e-2 if floatX == "float32" else None,
    )
    assert all(np.isfinite(g).all() for g in theano.function([z, w], T.grad(cost, [z, w]))(zv, wv))

    # Patches of pictures.
    neibs = images2neibs(x, neib_shape=(2, 2), neib_step=(2, 2), mode="ignore_borders")
    back = neibs2images(images2neibs(z, (2, 2)), (2, 2), z.shape)
    p, b = theano.function([x, z], [neibs, back])(xv, zv)
    want = xv[:, :, :, :6].reshape(2, 3, 4, 2, 3, 2).transpose(0, 1, 2, 4, 3, 5).reshape(-1, 4)
    np.testing.assert_allclose(p, want)
    np.testing.assert_allclose(b, zv)

    # Pooling: modes, strides and padding, and unpooling by the gradient.
    modes = ["max", "sum", "average_inc_pad", "average_exc_pad"]
    outs = [
        pool.pool_2d(x, (3, 3), ignore_border=True, stride=(2, 2), pad=(1, 1), mode=m)
        for m in modes
    ]
    mx, sm, inc, exc = theano.function([x], outs)(xv)
    padded = np.pad(xv, [(0, 0), (0, 0), (1, 1), (1, 1)], constant_values=-np.inf)
    windows = [
        [padded[:, :, i : i + 3, j : j + 3].reshape(2, 3, -1) for j in range(0, 7, 2)]
        for i in range(0, 8, 2)
    ]
    for i in range(mx.shape[2]):
        for j in range(mx.shape[3]):
            part = windows[i][j]
            real = np.where(np.isinf(part), 0, part)
            np.testing.assert_allclose(mx[:, :, i, j], part.max(-1), rtol=1e-5)
            np.testing.assert_allclose(sm[:, :, i, j], real.sum(-1), rtol=1e-3, atol=1e-5)
            np.testing.assert_allclose(inc[:, :, i, j], real.sum(-1) / 9, rtol=1e-3, atol=1e-5)
            np.testing.assert_allclose(
                exc[:, :, i, j], real.sum(-1) / np.isfinite(part).sum(-1), rtol=1e-3, atol=1e-5
            )
    pooled = pool.pool_2d(x, ws=(2, 2), ignore_border=True)
    switches = theano.function([x], T.grad(pooled.sum(), x))(xv)
    assert switches.sum() == 2 * 3 * 4 * 3 and set(np.unique(switches)) == {0, 1}
    # Nearest upsampling by repeat, and bilinear of a constant picture.
    nearest = theano.function([x], x.repeat(2, axis=2).repeat(2, axis=3))(xv)
    np.testing.assert_allclose(nearest, np.kron(xv, np.ones((2, 2))))
    flat = theano.function([x], abstract_conv.bilinear_upsampling(x, 2))(np.ones_like(xv))
    assert flat.shape == (2, 3, 16, 14)
    np.testing.assert_allclose(flat[:, :, 2:-2, 2:-2], 1, rtol=1e-5)


if __name__ == "__main__":
    main()
