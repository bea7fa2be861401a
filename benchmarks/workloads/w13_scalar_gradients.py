"""Gradients of scalar recurrences, 1e5 steps: the aim is 8 ns per step, value and gradient."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.row import Data, Row, Work

N = 100_000


def inputs(which: str, rng: np.random.Generator) -> Data:
    d: Data = {"which": which, "x": rng.standard_normal(N)}
    d["p"] = {
        "average": (0.9,),
        "logistic": (3.5, 0.4),
        "fibonacci": (0.6, 0.399),
    }[which]
    return d


def graph(d: Data, scan, T):
    """Inputs, value and parameters (ltensor and PyTensor)."""
    if d["which"] == "average":
        x, a = T.dvector("x"), T.dscalar("a")
        rows = scan(lambda v, s, a: a * s + (1 - a) * v, x, T.constant(np.float64(0)), a)
        return [x, a], [d["x"], *d["p"]], (rows**2).sum(), [a]
    a, b, n = T.dscalar("a"), T.dscalar("b"), T.lscalar("n")
    if d["which"] == "logistic":
        rows = scan(lambda s, r: r * s * (1 - s), None, b, a, n_steps=n)
    else:
        first = dict(initial=T.constant(np.ones(2)), taps=[-1, -2])
        rows = scan(lambda p, q, a, b: a * p + b * q, None, [first], [a, b], n_steps=n)
    return [a, b, n], [*d["p"], N], rows[-1], [a, b]


def lt(d: Data) -> Work:
    import ltensor as theano
    import ltensor.tensor as T

    given, values, loss, wrt = graph(d, lambda *a, **k: theano.scan(*a, **k)[0], T)
    f = theano.function(given, [loss, *T.grad(loss, wrt)])
    return lambda: f(*values)


def pytensor(d: Data) -> Work:
    import pytensor as pt
    import pytensor.tensor as T

    given, values, loss, wrt = graph(d, partial(pt.scan, return_updates=False), T)
    f = pt.function(given, [loss, *pt.grad(loss, wrt)])
    return lambda: f(*values)


def c(d: Data) -> Work:
    import ctypes

    from benchmarks import kernels

    s, g = np.empty(N + 2), np.zeros(len(d["p"]))
    data = (d["x"],) if d["which"] == "average" else ()
    name = f"{d['which']}_gradient"
    f = kernels.call("likelihood", name, *data, *d["p"], s, g, N, result=ctypes.c_double)
    return lambda: [f(), *g]


def loops(compiled):
    @compiled
    def average(x, a):
        s, h, loss = np.empty(x.size + 1), 0.0, 0.0
        s[0] = 0.0
        for t in range(x.size):
            h = a * h + (1 - a) * x[t]
            s[t + 1] = h
            loss += h * h
        e, g = 0.0, 0.0
        for t in range(x.size - 1, -1, -1):
            e += 2 * s[t + 1]
            g += e * (s[t] - x[t])
            e *= a
        return loss, g

    @compiled
    def logistic(r, x):
        s = np.empty(N)
        for t in range(N):
            s[t] = x
            x = r * x * (1 - x)
        e, g = 1.0, 0.0
        for t in range(N - 1, -1, -1):
            g += e * s[t] * (1 - s[t])
            e *= r * (1 - 2 * s[t])
        return x, g, e

    @compiled
    def fibonacci(a, b):
        s = np.ones(N + 2)
        for t in range(N):
            s[t + 2] = a * s[t + 1] + b * s[t]
        e, f, ga, gb = 1.0, 0.0, 0.0, 0.0
        for t in range(N - 1, -1, -1):
            ga += e * s[t + 1]
            gb += e * s[t]
            e, f = f + a * e, b * e
        return s[N + 1], ga, gb

    return {"average": average, "logistic": logistic, "fibonacci": fibonacci}


def numpy_(d: Data) -> Work:
    values = (d["x"], *d["p"]) if d["which"] == "average" else d["p"]
    f = loops(lambda f: f)[d["which"]]
    return lambda: list(f(*values))


def numba(d: Data) -> Work:
    import numba as nb

    values = (d["x"], *d["p"]) if d["which"] == "average" else d["p"]
    f = loops(nb.njit(fastmath=True))[d["which"]]
    return lambda: list(f(*values))


def jax(d: Data) -> Work:
    import jax.numpy as jnp
    from jax import jit, lax, value_and_grad

    def average(a, x):
        def step(s, v):
            s = a * s + (1 - a) * v
            return s, s

        return (lax.scan(step, 0.0, x)[1] ** 2).sum()

    def logistic(p, _):
        return lax.scan(lambda s, _: (p[0] * s * (1 - s), None), p[1], None, length=N)[0]

    def fibonacci(p, _):
        def step(s, _):
            return (p[0] * s[0] + p[1] * s[1], s[0]), None

        return lax.scan(step, (1.0, 1.0), None, length=N)[0][0]

    which = d["which"]
    f = jit(
        value_and_grad({"average": average, "logistic": logistic, "fibonacci": fibonacci}[which])
    )
    p = d["p"] if len(d["p"]) > 1 else d["p"][0]
    x = jnp.asarray(d["x"])

    def work():
        value, gradient = f(p, x)
        value.block_until_ready()
        return [value, *gradient] if isinstance(gradient, tuple) else [value, gradient]

    return work


PEERS = {"lt": lt, "c": c, "numba": numba, "jax": jax, "pytensor": pytensor, "numpy": numpy_}

ROWS = [
    Row(
        "W07g",
        f"gradient of {name}, 1e5",
        partial(inputs, which),
        PEERS,
        steps=N,
        limit=8e-9,
        rtol=1e-7,
    )
    for which, name in (
        ("average", "a moving average"),
        ("logistic", "the logistic map"),
        ("fibonacci", "two taps"),
    )
]
