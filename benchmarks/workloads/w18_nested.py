"""W18: a loop of 1000 steps around a loop of five, on a state of 8 or 32 numbers."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.row import Data, Row, Work

OUTER, INNER = 1000, 5


def inputs(n: int, rng: np.random.Generator) -> Data:
    return {
        "n": n,
        "x": rng.standard_normal((OUTER, n)),
        "w": 0.5 * rng.standard_normal((n, n)) / n**0.5,
    }


def numpy_(d: Data) -> Work:
    x, w = d["x"], d["w"]

    def work():
        y, h = np.empty_like(x), np.zeros(d["n"])
        for t in range(OUTER):
            for _ in range(INNER):
                h = np.tanh(h @ w + x[t])
            y[t] = h
        return y

    return work


def graph(d: Data, scan, T):
    """Inputs and rows (ltensor and PyTensor)."""
    x, w = T.dmatrix("x"), T.dmatrix("w")

    def outer(x, h, w):
        rows = scan(
            lambda h, x, w: T.tanh(T.dot(h, w) + x),
            outputs_info=h,
            non_sequences=[x, w],
            n_steps=INNER,
        )
        return rows[-1]

    return [x, w], scan(outer, sequences=x, outputs_info=T.zeros_like(x[0]), non_sequences=w)


def lt(d: Data) -> Work:
    import ltensor as theano
    import ltensor.tensor as T

    given, rows = graph(d, lambda *a, **k: theano.scan(*a, **k)[0], T)
    f = theano.function(given, rows)
    return lambda: f(d["x"], d["w"])


def pytensor(d: Data) -> Work:
    import pytensor as pt
    import pytensor.tensor as T

    given, rows = graph(d, partial(pt.scan, return_updates=False), T)
    f = pt.function(given, rows)
    return lambda: f(d["x"], d["w"])


def c(d: Data) -> Work:
    from benchmarks import kernels

    y = np.empty_like(d["x"])
    f = kernels.call("networks", f"nested{d['n']}", d["x"], d["w"], y, OUTER, INNER)

    def work():
        f()
        return y

    return work


def numba(d: Data) -> Work:
    import numba as nb

    @nb.njit(fastmath=True)
    def net(x, w):
        n = w.shape[0]
        y, h, z = np.empty_like(x), np.zeros(n), np.empty(n)
        for t in range(OUTER):
            for _ in range(INNER):
                for j in range(n):
                    z[j] = x[t, j]
                for i in range(n):
                    for j in range(n):
                        z[j] += h[i] * w[i, j]
                for j in range(n):
                    h[j] = np.tanh(z[j])
            y[t] = h
        return y

    return lambda: net(d["x"], d["w"])


def jax(d: Data) -> Work:
    import jax.numpy as jnp
    from jax import jit, lax

    x, w = jnp.asarray(d["x"]), jnp.asarray(d["w"])

    @jit
    def net(x, w):
        def outer(h, x):
            h = lax.fori_loop(0, INNER, lambda _, h: jnp.tanh(h @ w + x), h)
            return h, h

        return lax.scan(outer, jnp.zeros_like(x[0]), x)[1]

    return lambda: net(x, w).block_until_ready()


PEERS = {"lt": lt, "c": c, "numba": numba, "jax": jax, "pytensor": pytensor, "numpy": numpy_}

ROWS = [
    Row(
        "W18",
        f"nested loops, 1000 x 5, n={n}",
        partial(inputs, n),
        PEERS,
        steps=OUTER * INNER,
        graph=0.7,
        c=1.05,
        rtol=1e-9,
    )
    for n in (8, 32)
]
