"""W13: value and gradient of long likelihoods: AR(1) with tanh, AR(10), GARCH(1,1); 1e5 steps."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.row import Data, Row, Work

N = 100_000
COEFFICIENTS = np.array([0.5, -0.2, 0.1, 0.05, -0.05, 0.02, -0.02, 0.01, -0.01, 0.005])


def inputs(which: str, rng: np.random.Generator) -> Data:
    d: Data = {"which": which, "x": rng.standard_normal(N)}
    d["y"] = rng.standard_normal(N)
    d["p"] = {
        "ar1": np.array([0.7, 0.3]),
        "ar10": COEFFICIENTS,
        "garch": np.array([0.1, 0.1, 0.8]),
    }[which]
    return d


def graph(d: Data, scan, T):
    """Inputs, loss and parameter (ltensor and PyTensor)."""
    x, y, p = T.dvector("x"), T.dvector("y"), T.dvector("p")
    zero = T.constant(np.float64(0))
    if d["which"] == "ar1":
        h = scan(lambda x, h, a, b: T.tanh(a * h + b * x), x, zero, [p[0], p[1]])
        return [x, y, p], ((y - h) ** 2).sum()
    if d["which"] == "ar10":

        def step(x, *rest):
            past, a = rest[:10], rest[10]
            return x + sum(a[k] * past[k] for k in range(10))

        h = scan(
            step,
            x,
            dict(initial=T.constant(np.zeros(10)), taps=[-k for k in range(1, 11)]),
            p,
        )
        return [x, y, p], (h**2).mean()
    v = scan(
        lambda r, v, w, a, b: w + a * r**2 + b * v,
        x[:-1],
        T.constant(np.float64(1)),
        [p[0], p[1], p[2]],
    )
    v = T.concatenate([T.constant(np.ones(1)), v])
    return [x, y, p], (T.log(v) + x**2 / v).mean()


def lt(d: Data) -> Work:
    import ltensor as theano
    import ltensor.tensor as T

    given, loss = graph(d, lambda *a, **k: theano.scan(*a, **k)[0], T)
    f = theano.function(given, [loss, T.grad(loss, given[2])], on_unused_input="ignore")
    return lambda: f(d["x"], d["y"], d["p"])


def pytensor(d: Data) -> Work:
    import pytensor as pt
    import pytensor.tensor as T

    given, loss = graph(d, partial(pt.scan, return_updates=False), T)
    f = pt.function(given, [loss, pt.grad(loss, given[2])], on_unused_input="ignore")
    return lambda: f(d["x"], d["y"], d["p"])


def c(d: Data) -> Work:
    import ctypes

    from benchmarks import kernels

    x, y, p = d["x"], d["y"], d["p"]
    g, h, e = np.zeros(p.size), np.zeros(N + 10), np.zeros(N + 10)
    if d["which"] == "ar1":
        arguments = (x, y, float(p[0]), float(p[1]), h, g, N)
    elif d["which"] == "ar10":
        arguments = (x, p, h, e, g, N)
    else:
        arguments = (x, *map(float, p), h, e, g, N)
    f = kernels.call("likelihood", d["which"], *arguments, result=ctypes.c_double)
    return lambda: [f(), g]


def numpy_(d: Data) -> Work:
    """Plain loops; numba compiles them too."""
    f = loops(lambda f: f)[d["which"]]
    return lambda: list(f(d["x"], d["y"], d["p"]))


def numba(d: Data) -> Work:
    import numba as nb

    f = loops(nb.njit(fastmath=True))[d["which"]]
    return lambda: list(f(d["x"], d["y"], d["p"]))


def loops(compiled):
    @compiled
    def ar1(x, y, p):
        a, b, n = p[0], p[1], x.size
        h, s, loss = np.empty(n), 0.0, 0.0
        for t in range(n):
            s = np.tanh(a * s + b * x[t])
            h[t] = s
            loss += (y[t] - s) ** 2
        e, g = 0.0, np.zeros(2)
        for t in range(n - 1, -1, -1):
            e += 2 * (h[t] - y[t])
            z = e * (1 - h[t] * h[t])
            if t:
                g[0] += z * h[t - 1]
            g[1] += z * x[t]
            e = z * a
        return loss, g

    @compiled
    def ar10(x, y, p):
        n = x.size
        h, e, g, loss = np.zeros(n + 10), np.zeros(n + 10), np.zeros(10), 0.0
        for t in range(n):
            s = x[t]
            for k in range(10):
                s += p[k] * h[t + 9 - k]
            h[t + 10] = s
            loss += s * s
        for t in range(n - 1, -1, -1):
            s = 2 * h[t + 10] / n
            for k in range(10):
                s += p[k] * e[t + k + 1]
            e[t] = s
            for k in range(10):
                g[k] += s * h[t + 9 - k]
        return loss / n, g

    @compiled
    def garch(x, y, p):
        w, a, b, n = p[0], p[1], p[2], x.size
        v, s, loss = np.empty(n), 1.0, 0.0
        for t in range(n):
            v[t] = s
            loss += np.log(s) + x[t] * x[t] / s
            s = w + a * x[t] * x[t] + b * s
        z, g = 0.0, np.zeros(3)
        for t in range(n - 1, 0, -1):
            q = 1 / v[t]
            z = (1 - x[t] * x[t] * q) * q / n + b * z
            g[0] += z
            g[1] += z * x[t - 1] * x[t - 1]
            g[2] += z * v[t - 1]
        return loss / n, g

    return {"ar1": ar1, "ar10": ar10, "garch": garch}


def jax(d: Data) -> Work:
    import jax.numpy as jnp
    from jax import jit, lax, value_and_grad

    def ar1(p, x, y):
        a, b = p

        def step(h, x):
            h = jnp.tanh(a * h + b * x)
            return h, h

        return ((y - lax.scan(step, 0.0, x)[1]) ** 2).sum()

    def ar10(p, x, y):
        def step(past, x):  # the fastest of four ways: ten carries take 80 times as long
            h = x + (p * past).sum()
            return jnp.roll(past, 1).at[0].set(h), h

        return (lax.scan(step, jnp.zeros(10), x)[1] ** 2).mean()

    def garch(p, x, y):
        w, a, b = p

        def step(v, r):
            return w + a * r**2 + b * v, v

        v = lax.scan(step, 1.0, x)[1]
        return (jnp.log(v) + x**2 / v).mean()

    f = jit(value_and_grad({"ar1": ar1, "ar10": ar10, "garch": garch}[d["which"]]))
    p, x, y = map(jnp.asarray, (d["p"], d["x"], d["y"]))

    def work():
        value, gradient = f(p, x, y)
        return [value, gradient.block_until_ready()]

    return work


PEERS = {"lt": lt, "c": c, "numba": numba, "jax": jax, "pytensor": pytensor, "numpy": numpy_}

ROWS = [
    Row(
        "W13",
        "AR(1) with tanh, value and gradient, 1e5",
        partial(inputs, "ar1"),
        PEERS,
        steps=N,
        graph=0.8,
        c=1.0,
        rtol=1e-8,
    ),
    Row(
        "W13",
        "AR(10), value and gradient, 1e5",
        partial(inputs, "ar10"),
        PEERS,
        steps=N,
        graph=0.8,
        c=1.0,
        rtol=1e-8,
    ),
    Row(
        "W13",
        "GARCH(1,1), value and gradient, 1e5",
        partial(inputs, "garch"),
        PEERS,
        steps=N,
        graph=0.3,
        c=1.1,
        rtol=1e-8,
    ),
]
