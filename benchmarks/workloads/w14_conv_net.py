"""W14: a training step of LeNet on 64 images of 28 x 28: two convolutions, pooling, two layers."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.row import Data, Row, Work, makers

BATCH = 64
RATE = 0.05
#: Multiply-adds: forward, and twice as many backward but for the gradient of the images.
CONV1, CONV2 = 20 * 24 * 24 * 25, 50 * 8 * 8 * 20 * 25
DENSE = 800 * 500 + 500 * 10
WORK = BATCH * (2 * CONV1 + 3 * (CONV2 + DENSE))


def inputs(rng: np.random.Generator) -> Data:
    def some(*shape, fan):
        return (rng.standard_normal(shape) / fan**0.5).astype("float32")

    return {
        "x": rng.standard_normal((BATCH, 1, 28, 28)).astype("float32"),
        "label": rng.integers(0, 10, BATCH),
        "w": {
            "k1": some(20, 1, 5, 5, fan=25),
            "b1": some(20, fan=100),
            "k2": some(50, 20, 5, 5, fan=500),
            "b2": some(50, fan=100),
            "w3": some(800, 500, fan=800),
            "b3": some(500, fan=100),
            "w4": some(500, 10, fan=500),
            "b4": some(10, fan=100),
        },
    }


def numpy_(d: Data) -> Work:
    """Convolutions as products of windows."""
    x, label = d["x"], d["label"]
    w = {name: value.copy() for name, value in d["w"].items()}
    rate = np.float32(RATE)

    def windows(x):
        return np.lib.stride_tricks.sliding_window_view(x, (5, 5), axis=(2, 3))

    def layer(x, k, b):
        """Result, and what its gradient needs."""
        z = np.tensordot(windows(x), k, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)
        z = z + b[:, None, None]
        n, c, h, v = z.shape
        tiles = z.reshape(n, c, h // 2, 2, v // 2, 2)
        top = tiles.max((3, 5))
        return np.maximum(top, 0), (tiles == top[:, :, :, None, :, None]) & (tiles > 0)

    def back(x, k, mask, g):
        """Gradients of filters and biases, and the error at the layer's sums."""
        e = mask * g[:, :, :, None, :, None]
        e = e.reshape(*e.shape[:2], 2 * e.shape[2], 2 * e.shape[4])
        return np.tensordot(e, windows(x), ((0, 2, 3), (0, 2, 3))), e.sum((0, 2, 3)), e

    def work():
        h1, m1 = layer(x, w["k1"], w["b1"])
        h2, m2 = layer(h1, w["k2"], w["b2"])
        flat = h2.reshape(BATCH, -1)
        h3 = np.maximum(flat @ w["w3"] + w["b3"], 0)
        z = h3 @ w["w4"] + w["b4"]
        z -= z.max(1, keepdims=True)
        p = np.exp(z)
        s = p.sum(1, keepdims=True)
        places = np.arange(BATCH), label
        loss = (np.log(s[:, 0]) - z[places]).mean()
        e4 = p / s
        e4[places] -= 1
        e4 /= np.float32(BATCH)
        e3 = (e4 @ w["w4"].T) * (h3 > 0)
        g2 = (e3 @ w["w3"].T).reshape(h2.shape)
        gk2, gb2, e2 = back(h1, w["k2"], m2, g2)
        wide = np.pad(e2, ((0, 0), (0, 0), (4, 4), (4, 4)))
        turned = w["k2"][:, :, ::-1, ::-1]
        g1 = np.tensordot(windows(wide), turned, ((1, 4, 5), (0, 2, 3))).transpose(0, 3, 1, 2)
        gk1, gb1, _ = back(x, w["k1"], m1, g1)
        steps = (gk1, gb1, gk2, gb2, flat.T @ e3, e3.sum(0), h3.T @ e4, e4.sum(0))
        for value, step in zip(w.values(), steps, strict=True):
            value -= rate * step
        return [loss]

    work.state = lambda: list(w.values())
    return work


def lt(d: Data) -> Work:
    import ltensor as theano
    import ltensor.tensor as T
    from ltensor.tensor.nnet import conv2d
    from ltensor.tensor.signal import pool

    x, label = T.ftensor4("x"), T.lvector("label")
    w = {name: theano.shared(value.copy(), name=name) for name, value in d["w"].items()}

    def layer(x, k, b):
        # Theano's convolution turns the filters; those of the others do not
        z = conv2d(x, k, filter_flip=False)
        z = pool.pool_2d(z, (2, 2), ignore_border=True)
        return T.nnet.relu(z + b.dimshuffle("x", 0, "x", "x"))

    h = layer(layer(x, w["k1"], w["b1"]), w["k2"], w["b2"]).flatten(2)
    h = T.nnet.relu(T.dot(h, w["w3"]) + w["b3"])
    p = T.nnet.softmax(T.dot(h, w["w4"]) + w["b4"])
    loss = -T.log(p)[T.arange(label.shape[0]), label].mean()
    updates = [
        (v, v - np.float32(RATE) * g)
        for v, g in zip(w.values(), T.grad(loss, list(w.values())), strict=True)
    ]
    step = theano.function([x, label], loss, updates=updates)
    data = d["x"], d["label"]

    def work():
        return [step(*data)]

    work.state = lambda: [v.get_value() for v in w.values()]
    return work


def jax(d: Data) -> Work:
    import jax.numpy as jnp
    from jax import jit, lax, nn, value_and_grad

    x, label = jnp.asarray(d["x"]), jnp.asarray(d["label"])
    held = [{name: jnp.asarray(value) for name, value in d["w"].items()}]

    def layer(x, k, b):
        z = lax.conv_general_dilated(x, k, (1, 1), "VALID") + b[:, None, None]
        z = lax.reduce_window(z, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
        return nn.relu(z)

    def loss(w, x, label):
        h = layer(layer(x, w["k1"], w["b1"]), w["k2"], w["b2"]).reshape(len(x), -1)
        z = nn.relu(h @ w["w3"] + w["b3"]) @ w["w4"] + w["b4"]
        return -nn.log_softmax(z)[jnp.arange(len(x)), label].mean()

    @partial(jit, donate_argnums=0)
    def step(w, x, label):
        value, g = value_and_grad(loss)(w, x, label)
        return value, {name: w[name] - RATE * g[name] for name in w}

    def work():
        value, held[0] = step(held[0], x, label)
        held[0]["k1"].block_until_ready()
        return [value]

    work.state = lambda: [held[0][name] for name in d["w"]]
    return work


def torch(d: Data) -> Work:
    import torch as t
    from torch.nn import functional as F

    from benchmarks.torch_work import prepared

    x, label = t.from_numpy(d["x"]), t.from_numpy(d["label"])
    w = {name: t.from_numpy(value.copy()).requires_grad_() for name, value in d["w"].items()}

    @prepared
    def loss(w, x, label):
        h = F.relu(F.max_pool2d(F.conv2d(x, w["k1"], w["b1"]), 2))
        h = F.relu(F.max_pool2d(F.conv2d(h, w["k2"], w["b2"]), 2)).flatten(1)
        z = F.relu(h @ w["w3"] + w["b3"]) @ w["w4"] + w["b4"]
        return F.cross_entropy(z, label)

    def work():
        value = loss(w, x, label)
        gradients = t.autograd.grad(value, list(w.values()))
        with t.no_grad():
            for v, g in zip(w.values(), gradients, strict=True):
                v.sub_(g, alpha=RATE)
        return [value.detach()]

    work.state = lambda: [v.detach() for v in w.values()]
    return work


def floor(d: Data) -> Work:
    import ctypes

    from benchmarks import kernels

    return kernels.call("limits", "peak_f32", WORK, result=ctypes.c_double)


PEERS = makers(lt, jax, torch, numpy_, floor)

ROWS = [
    Row(
        "W14",
        "LeNet training step, batch 64",
        inputs,
        PEERS,
        graph=1.0,
        rtol=2e-3,
        speedup=1.7,
        floor="as many multiply-adds in registers",
        notes={
            "c": "convolutions by hand would be a library",
            "pytensor": "has no gradient of such a convolution and pooling",
        },
    )
]
