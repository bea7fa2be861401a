"""W04: a step of logistic regression, 400 samples of 784 numbers, with weight decay."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.row import Data, Row, Work, makers

N, D = 400, 784
RATE = 0.1


def inputs(dtype: str, rng: np.random.Generator) -> Data:
    return {
        "dtype": dtype,
        "x": rng.standard_normal((N, D)).astype(dtype),
        "y": rng.integers(0, 2, N).astype(dtype),
        "w": (0.01 * rng.standard_normal(D)).astype(dtype),
    }


def numpy_(d: Data) -> Work:
    x, y, w = d["x"], d["y"], d["w"].copy()
    b, rate = np.zeros((), d["dtype"]), x.dtype.type(RATE)

    def work():
        z = x @ w + b
        e = np.exp(-np.abs(z))
        cost = (np.log1p(e) + np.maximum(z, 0) - y * z).mean() + 0.01 * (w * w).sum()
        p = (np.where(z > 0, 1, e) / (1 + e) - y) / x.dtype.type(N)
        np.subtract(w, rate * (p @ x + x.dtype.type(0.02) * w), out=w)
        np.subtract(b, rate * p.sum(), out=b)
        return [cost]

    work.state = lambda: [w, b]
    return work


def graph(d: Data, theano, T, grad) -> Work:
    """The step of Theano's tutorial (ltensor and PyTensor)."""
    dtype = d["dtype"]
    x, y = T.matrix("x", dtype=dtype), T.vector("y", dtype=dtype)
    w = theano.shared(d["w"].copy(), name="w")
    b = theano.shared(np.zeros((), dtype), name="b")
    number = np.dtype(dtype).type
    p = 1 / (1 + T.exp(-T.dot(x, w) - b))
    xent = -y * T.log(p) - (1 - y) * T.log(1 - p)
    cost = xent.mean() + number(0.01) * (w**2).sum()
    gw, gb = grad(cost, [w, b])
    step = theano.function(
        [x, y], cost, updates=[(w, w - number(RATE) * gw), (b, b - number(RATE) * gb)]
    )
    data = d["x"], d["y"]

    def work():
        return [step(*data)]

    work.state = lambda: [w.get_value(), b.get_value()]
    return work


def lt(d: Data) -> Work:
    import ltensor
    import ltensor.tensor as T

    return graph(d, ltensor, T, T.grad)


def pytensor(d: Data) -> Work:
    import pytensor
    import pytensor.tensor as T

    return graph(d, pytensor, T, pytensor.grad)


def jax(d: Data) -> Work:
    import jax.numpy as jnp
    from jax import jit, nn, value_and_grad

    x, y = jnp.asarray(d["x"]), jnp.asarray(d["y"])
    held = [jnp.asarray(d["w"]), jnp.zeros((), d["dtype"])]

    def loss(w, b, x, y):
        z = x @ w + b
        return (nn.softplus(z) - y * z).mean() + 0.01 * (w**2).sum()

    @partial(jit, donate_argnums=(0, 1))
    def step(w, b, x, y):
        cost, (gw, gb) = value_and_grad(loss, (0, 1))(w, b, x, y)
        return cost, w - RATE * gw, b - RATE * gb

    def work():
        cost, *held[:] = step(*held, x, y)
        held[0].block_until_ready()
        return [cost]

    work.state = lambda: held
    return work


def torch(d: Data) -> Work:
    import torch as t

    from benchmarks.torch_work import prepared

    x, y = t.from_numpy(d["x"]), t.from_numpy(d["y"])
    w = t.from_numpy(d["w"].copy()).requires_grad_()
    b = t.zeros((), dtype=x.dtype, requires_grad=True)

    @prepared
    def loss(w, b, x, y):
        z = x @ w + b
        return (t.nn.functional.softplus(z) - y * z).mean() + 0.01 * (w**2).sum()

    def work():
        cost = loss(w, b, x, y)
        gw, gb = t.autograd.grad(cost, (w, b))
        with t.no_grad():
            w.sub_(gw, alpha=RATE)
            b.sub_(gb, alpha=RATE)
        return [cost.detach()]

    work.state = lambda: [w.detach(), b.detach()]
    return work


def numba(d: Data) -> Work:
    import numba as nb

    x, y, w = d["x"], d["y"], d["w"].copy()
    b, rate = np.zeros(1, d["dtype"]), x.dtype.type(RATE)
    one, two = x.dtype.type(0.01), x.dtype.type(0.02)

    @nb.njit(fastmath=True)
    def step(x, y, w, b):
        z = np.dot(x, w)
        cost = z[0] * 0
        for i in range(z.size):
            v = z[i] + b[0]
            e = np.exp(-abs(v))
            cost += np.log(1 + e) + max(v, v * 0) - y[i] * v
            z[i] = ((e if v <= 0 else e * 0 + 1) / (1 + e) - y[i]) / z.size
        g = np.dot(z, x)
        norm = cost * 0
        for j in range(w.size):
            norm += w[j] * w[j]
            w[j] -= rate * (g[j] + two * w[j])
        b[0] -= rate * z.sum()
        return cost / z.size + one * norm

    def work():
        return [step(x, y, w, b)]

    work.state = lambda: [w, b[0]]
    return work


def c(d: Data) -> Work:
    import ctypes

    from benchmarks import kernels

    w = np.append(d["w"], d["w"].dtype.type(0))
    name = "logistic_f32" if d["dtype"] == "float32" else "logistic_f64"
    g = np.empty(D, d["dtype"])
    f = kernels.call("training", name, d["x"], d["y"], w, g, RATE, N, D, result=ctypes.c_double)

    def work():
        return [np.float64(f())]

    work.state = lambda: [w[:-1], w[-1]]
    return work


def floor(d: Data) -> Work:
    """Reads the matrix twice."""
    from benchmarks import kernels

    x = d["x"]
    f = kernels.call("limits", "read_all", x, x.nbytes // 4)

    def work():
        f()
        f()

    return work


PEERS = makers(lt, c, numba, jax, pytensor, torch, numpy_, floor)

ROWS = [
    Row(
        "W04",
        f"logistic regression step 400 x 784 {dtype}",
        partial(inputs, dtype),
        PEERS,
        graph=0.9,
        c=1.1,
        rtol=1e-4 if dtype == "float32" else 1e-9,
        floor="reading the matrix twice",
    )
    for dtype in ("float32", "float64")
]
