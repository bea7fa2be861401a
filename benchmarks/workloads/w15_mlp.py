"""W15: a training step of a net 784-512-512-10 with relu on a batch of 128."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np

from benchmarks.row import Data, Row, Work, makers

BATCH = 128
SIZES = (784, 512, 512, 10)
RATE = 0.05
PAIRS = list(pairwise(SIZES))
WORK = BATCH * (3 * sum(a * b for a, b in PAIRS) - SIZES[0] * SIZES[1])


def inputs(rng: np.random.Generator) -> Data:
    w = []
    for a, b in PAIRS:
        w.append((rng.standard_normal((a, b)) / a**0.5).astype("float32"))
        w.append((0.1 * rng.standard_normal(b)).astype("float32"))
    return {
        "x": rng.standard_normal((BATCH, SIZES[0])).astype("float32"),
        "label": rng.integers(0, SIZES[-1], BATCH),
        "w": w,
    }


def numpy_(d: Data) -> Work:
    x, label = d["x"], d["label"]
    w = [value.copy() for value in d["w"]]
    rate = np.float32(RATE)

    def work():
        h1 = np.maximum(x @ w[0] + w[1], 0)
        h2 = np.maximum(h1 @ w[2] + w[3], 0)
        z = h2 @ w[4] + w[5]
        z -= z.max(1, keepdims=True)
        p = np.exp(z)
        s = p.sum(1, keepdims=True)
        places = np.arange(BATCH), label
        loss = (np.log(s[:, 0]) - z[places]).mean()
        e3 = p / s
        e3[places] -= 1
        e3 /= np.float32(BATCH)
        e2 = (e3 @ w[4].T) * (h2 > 0)
        e1 = (e2 @ w[2].T) * (h1 > 0)
        steps = (x.T @ e1, e1.sum(0), h1.T @ e2, e2.sum(0), h2.T @ e3, e3.sum(0))
        for value, step in zip(w, steps, strict=True):
            value -= rate * step
        return [loss]

    work.state = lambda: w
    return work


def graph(d: Data, theano, T, grad, relu, softmax) -> Work:
    """ltensor and PyTensor."""
    x, label = T.fmatrix("x"), T.lvector("label")
    w = [theano.shared(value.copy()) for value in d["w"]]
    h = relu(T.dot(x, w[0]) + w[1])
    h = relu(T.dot(h, w[2]) + w[3])
    p = softmax(T.dot(h, w[4]) + w[5])
    loss = -T.log(p)[T.arange(label.shape[0]), label].mean()
    updates = [(v, v - np.float32(RATE) * g) for v, g in zip(w, grad(loss, w), strict=True)]
    step = theano.function([x, label], loss, updates=updates)
    data = d["x"], d["label"]

    def work():
        return [step(*data)]

    work.state = lambda: [v.get_value() for v in w]
    return work


def lt(d: Data) -> Work:
    import ltensor
    import ltensor.tensor as T

    return graph(d, ltensor, T, T.grad, T.nnet.relu, T.nnet.softmax)


def pytensor(d: Data) -> Work:
    import pytensor
    import pytensor.tensor as T
    from pytensor.tensor.special import softmax

    def relu(x):
        return T.maximum(x, np.float32(0))

    pytensor.config.floatX = "float32"
    work = graph(d, pytensor, T, pytensor.grad, relu, partial(softmax, axis=1))
    pytensor.config.floatX = "float64"
    return work


def jax(d: Data) -> Work:
    import jax.numpy as jnp
    from jax import jit, nn, value_and_grad

    x, label = jnp.asarray(d["x"]), jnp.asarray(d["label"])
    held = [[jnp.asarray(value) for value in d["w"]]]

    def loss(w, x, label):
        h = nn.relu(x @ w[0] + w[1])
        h = nn.relu(h @ w[2] + w[3])
        return -nn.log_softmax(h @ w[4] + w[5])[jnp.arange(len(x)), label].mean()

    @partial(jit, donate_argnums=0)
    def step(w, x, label):
        value, g = value_and_grad(loss)(w, x, label)
        return value, [a - RATE * b for a, b in zip(w, g, strict=True)]

    def work():
        value, held[0] = step(held[0], x, label)
        held[0][0].block_until_ready()
        return [value]

    work.state = lambda: held[0]
    return work


def torch(d: Data) -> Work:
    import torch as t
    from torch.nn import functional as F

    from benchmarks.torch_work import prepared

    x, label = t.from_numpy(d["x"]), t.from_numpy(d["label"])
    w = [t.from_numpy(value.copy()).requires_grad_() for value in d["w"]]

    @prepared
    def loss(w, x, label):
        h = F.relu(x @ w[0] + w[1])
        h = F.relu(h @ w[2] + w[3])
        return F.cross_entropy(h @ w[4] + w[5], label)

    def work():
        value = loss(w, x, label)
        gradients = t.autograd.grad(value, w)
        with t.no_grad():
            for v, g in zip(w, gradients, strict=True):
                v.sub_(g, alpha=RATE)
        return [value.detach()]

    work.state = lambda: [v.detach() for v in w]
    return work


def c(d: Data) -> Work:
    import ctypes

    from benchmarks import kernels

    w = [value.copy() for value in d["w"]]
    hidden, classes = SIZES[1], SIZES[-1]
    scratch = [np.empty((BATCH, hidden), "float32") for _ in range(4)]
    scratch.append(np.empty((BATCH, classes), "float32"))
    scratch.append(np.empty((SIZES[0], hidden), "float32"))
    f = kernels.call(
        "training",
        "mlp",
        kernels.sgemm(),
        d["x"],
        d["label"],
        *w,
        *scratch,
        RATE,
        BATCH,
        SIZES[0],
        hidden,
        classes,
        result=ctypes.c_double,
    )

    def work():
        return [np.float64(f())]

    work.state = lambda: w
    return work


def floor(d: Data) -> Work:
    import ctypes

    from benchmarks import kernels

    return kernels.call("limits", "peak_f32", WORK, result=ctypes.c_double)


PEERS = makers(lt, c, jax, pytensor, torch, numpy_, floor)

ROWS = [
    Row(
        "W15",
        "MLP 784-512-512-10 training step, batch 128",
        inputs,
        PEERS,
        graph=0.95,
        c=1.0,
        rtol=2e-3,
        speedup=1.7,
        floor="as many multiply-adds in registers",
    )
]
