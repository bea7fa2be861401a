"""W06: scans without a recurrence (a polynomial's terms, norms of lines), and a running sum."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.row import Data, Row, Work

N = 100_000
LINES, LENGTH = 10_000, 100
SUM = 1_000_000


def inputs(which: str, rng: np.random.Generator) -> Data:
    if which == "polynomial":
        return {"which": which, "c": rng.standard_normal(N), "x": 0.9999}
    if which == "norms":
        return {"which": which, "x": rng.standard_normal((LINES, LENGTH))}
    return {"which": which, "x": rng.standard_normal(SUM)}


def numpy_(d: Data) -> Work:
    x = d["x"]
    if d["which"] == "polynomial":
        return lambda: d["c"] * x ** np.arange(N, dtype="float64")
    if d["which"] == "norms":
        return lambda: np.sqrt((x**2).sum(1))
    return lambda: x.sum()


def lt(d: Data) -> Work:
    import ltensor as theano
    import ltensor.tensor as T

    if d["which"] == "polynomial":
        c, x = T.dvector("c"), T.dscalar("x")
        terms, _ = theano.scan(
            lambda c, power, x: c * x**power,
            sequences=[c, T.arange(c.shape[0]).astype("float64")],
            outputs_info=None,
            non_sequences=x,
        )
        f = theano.function([c, x], terms)
        return lambda: f(d["c"], d["x"])
    if d["which"] == "norms":
        m = T.dmatrix("m")
        lengths, _ = theano.scan(lambda row: T.sqrt((row**2).sum()), sequences=[m])
        f = theano.function([m], lengths)
    else:
        v = T.dvector("v")
        sums, _ = theano.scan(
            lambda x, s: s + x, sequences=v, outputs_info=T.constant(np.float64(0))
        )
        f = theano.function([v], sums[-1])
    return lambda: f(d["x"])


def c(d: Data) -> Work:
    from benchmarks import kernels

    which = d["which"]
    if which == "sum":
        import ctypes

        return kernels.call("recurrences", "running_sum", d["x"], SUM, result=ctypes.c_double)
    if which == "polynomial":
        y, powers = np.empty(N), np.arange(N, dtype="float64")
        f = kernels.call("recurrences", "polynomial", d["c"], powers, y, d["x"], N)
    else:
        y = np.empty(LINES)
        f = kernels.call("recurrences", "norms", d["x"], y, LINES, LENGTH)

    def work():
        f()
        return y

    return work


def numba(d: Data) -> Work:
    import numba as nb

    @nb.njit(fastmath=True)
    def polynomial(c, x):
        y = np.empty_like(c)
        for i in range(c.size):
            y[i] = c[i] * x ** float(i)
        return y

    @nb.njit(fastmath=True)
    def norms(a):
        y = np.empty(a.shape[0])
        for i in range(a.shape[0]):
            s = 0.0
            for j in range(a.shape[1]):
                s += a[i, j] ** 2
            y[i] = np.sqrt(s)
        return y

    @nb.njit(fastmath=True)
    def total(x):
        s = 0.0
        for i in range(x.size):
            s += x[i]
        return s

    if d["which"] == "polynomial":
        return lambda: polynomial(d["c"], d["x"])
    f = norms if d["which"] == "norms" else total
    return lambda: f(d["x"])


def jax(d: Data) -> Work:
    import jax.numpy as jnp
    from jax import jit, lax, vmap

    x = jnp.asarray(d["x"])
    if d["which"] == "polynomial":
        c = jnp.asarray(d["c"])

        @jit
        def f(c, x):
            return vmap(lambda c, power: c * x**power)(c, jnp.arange(N, dtype="float64"))

        return lambda: f(c, x).block_until_ready()
    if d["which"] == "norms":
        g = jit(vmap(lambda row: jnp.sqrt((row**2).sum())))
    else:
        g = jit(lambda x: lax.scan(lambda s, v: (s + v, None), 0.0, x)[0])
    return lambda: g(x).block_until_ready()


def pytensor(d: Data) -> Work:
    import pytensor as pt
    import pytensor.tensor as T

    if d["which"] == "polynomial":
        c, x = T.dvector("c"), T.dscalar("x")
        terms = pt.scan(
            lambda c, power, x: c * x**power,
            sequences=[c, T.arange(c.shape[0]).astype("float64")],
            outputs_info=None,
            non_sequences=x,
            return_updates=False,
        )
        f = pt.function([c, x], terms)
        return lambda: f(d["c"], d["x"])
    if d["which"] == "norms":
        m = T.dmatrix("m")
        lengths = pt.scan(lambda row: T.sqrt((row**2).sum()), sequences=[m], return_updates=False)
        f = pt.function([m], lengths)
    else:
        v = T.dvector("v")
        sums = pt.scan(
            lambda x, s: s + x,
            sequences=v,
            outputs_info=T.constant(np.float64(0)),
            return_updates=False,
        )
        f = pt.function([v], sums[-1])
    return lambda: f(d["x"])


PEERS = {"lt": lt, "c": c, "numba": numba, "jax": jax, "pytensor": pytensor, "numpy": numpy_}

ROWS = [
    Row(
        "W06",
        "polynomial of 1e5 terms",
        partial(inputs, "polynomial"),
        PEERS,
        steps=N,
        graph=0.4,
        c=1.1,
        rtol=1e-9,
    ),
    Row(
        "W06",
        "norms of 10000 lines of 100",
        partial(inputs, "norms"),
        PEERS,
        steps=LINES,
        graph=0.4,
        c=1.1,
        rtol=1e-12,
    ),
    Row(
        "W06",
        "running sum of 1e6, last",
        partial(inputs, "sum"),
        PEERS,
        steps=SUM,
        graph=0.12,
        c=1.1,
        rtol=1e-9,
    ),
]
