"""W08: the net with several taps from Theano's tutorial, 1000 steps, hidden 10 and 256."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.row import Data, Row, Work

N = 1000
NAMES = ("w", "w1", "w2", "wf", "wo")


def inputs(h: int, rng: np.random.Generator) -> Data:
    def some(*shape):
        return rng.standard_normal(shape).astype("float32")

    d: Data = {name: (some(h, h) * 0.4 / h**0.5) for name in NAMES}
    d.update(h=h, u=some(N + 4, h), x0=some(3, h), y0=some(h))
    return d


def numpy_(d: Data) -> Work:
    w, w1, w2, wf, wo = (d[name] for name in NAMES)
    u, h = d["u"], d["h"]

    def work():
        x, y = np.empty((N + 3, h), "float32"), np.empty((N + 1, h), "float32")
        x[:3], y[0] = d["x0"], d["y0"]
        for t in range(N):
            x[t + 3] = np.tanh(x[t + 2] @ w + u[t + 4] @ w1 + u[t] @ w2 + y[t] @ wf)
            y[t + 1] = x[t] @ wo
        return [x[3:], y[1:]]

    return work


def graph(d: Data, scan, shared, T):
    """Inputs and rows (ltensor and PyTensor)."""
    u, x0, y0 = T.fmatrix("u"), T.fmatrix("x0"), T.fvector("y0")

    def step(u4, u, x3, x1, y1, w, w1, w2, wf, wo):
        x = T.tanh(T.dot(x1, w) + T.dot(u, w1) + T.dot(u4, w2) + T.dot(y1, wf))
        return [x, T.dot(x3, wo)]

    return [u, x0, y0], scan(
        step,
        sequences=dict(input=u, taps=[-4, 0]),
        outputs_info=[dict(initial=x0, taps=[-3, -1]), y0],
        non_sequences=[shared(d[name]) for name in NAMES],
        strict=True,
    )


def lt(d: Data) -> Work:
    import ltensor as theano
    import ltensor.tensor as T

    given, rows = graph(d, lambda *a, **k: theano.scan(*a, **k)[0], theano.shared, T)
    f = theano.function(given, rows)
    return lambda: f(d["u"], d["x0"], d["y0"])


def pytensor(d: Data) -> Work:
    import pytensor as pt
    import pytensor.tensor as T

    given, rows = graph(d, partial(pt.scan, return_updates=False), pt.shared, T)
    f = pt.function(given, rows)
    return lambda: f(d["u"], d["x0"], d["y0"])


def c(d: Data) -> Work:
    from benchmarks import kernels

    h = d["h"]
    x, y = np.empty((N + 3, h), "float32"), np.empty((N + 1, h), "float32")
    x[:3], y[0] = d["x0"], d["y0"]
    f = kernels.call("networks", f"seed{h}", d["u"], x, y, *(d[name] for name in NAMES), N, h)

    def work():
        f()
        return [x[3:], y[1:]]

    return work


def floor(d: Data) -> Work:
    from benchmarks import kernels

    matrices = np.concatenate([d["w"], d["wf"], d["wo"]])
    return kernels.call("networks", "stream3", matrices, np.empty(64, "float32"), N, matrices.size)


def numba(d: Data) -> Work:
    import numba as nb

    @nb.njit(fastmath=True)
    def add(z, x, w):
        for i in range(x.size):
            for j in range(z.size):
                z[j] += x[i] * w[i, j]

    @nb.njit(fastmath=True)
    def net(u, x0, y0, w, w1, w2, wf, wo):
        h = y0.size
        x, y = np.empty((N + 3, h), np.float32), np.zeros((N + 1, h), np.float32)
        x[:3] = x0
        y[0] = y0
        z = np.empty(h, np.float32)
        for t in range(N):
            z[:] = 0
            add(z, x[t + 2], w)
            add(z, u[t + 4], w1)
            add(z, u[t], w2)
            add(z, y[t], wf)
            for j in range(h):
                x[t + 3, j] = np.tanh(z[j])
            add(y[t + 1], x[t], wo)
        return x[3:], y[1:]

    return lambda: list(net(d["u"], d["x0"], d["y0"], *(d[name] for name in NAMES)))


def jax(d: Data) -> Work:
    import jax.numpy as jnp
    from jax import jit, lax

    weights = [jnp.asarray(d[name]) for name in NAMES]
    u, x0, y0 = jnp.asarray(d["u"]), jnp.asarray(d["x0"]), jnp.asarray(d["y0"])

    @jit
    def net(u, x0, y0, w, w1, w2, wf, wo):
        def step(state, u):
            a, b, c, y = state
            x = jnp.tanh(c @ w + u[1] @ w1 + u[0] @ w2 + y @ wf)
            y = a @ wo
            return (b, c, x, y), (x, y)

        return lax.scan(step, (x0[0], x0[1], x0[2], y0), (u[:-4], u[4:]))[1]

    def work():
        x, y = net(u, x0, y0, *weights)
        return [x, y.block_until_ready()]

    return work


PEERS = {"lt": lt, "c": c, "numba": numba, "jax": jax, "pytensor": pytensor, "numpy": numpy_}

ROWS = [
    Row(
        "W08",
        "seed net with taps, hidden 10, 1000 steps",
        partial(inputs, 10),
        PEERS,
        steps=N,
        graph=0.2,
        c=1.1,
        rtol=1e-4,
    ),
    Row(
        "W08",
        "seed net with taps, hidden 256, 1000 steps",
        partial(inputs, 256),
        {**PEERS, "floor": floor},
        steps=N,
        graph=0.85,
        c=0.7,
        rtol=1e-4,
        floor="three matrices read per step",
    ),
]
