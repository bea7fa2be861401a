"""W05: ``A**k`` by a scan of products, the last value kept."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.row import Data, Row, Work

K = 1000


def inputs(n: int, dtype: str, rng: np.random.Generator) -> Data:
    return {"a": (1 + 1e-3 * rng.standard_normal(n)).astype(dtype)}


def numpy_(d: Data) -> Work:
    a = d["a"]

    def work():
        r = np.ones_like(a)
        for _ in range(K):
            r = r * a
        return r

    return work


def lt(d: Data) -> Work:
    import ltensor as theano
    import ltensor.tensor as T

    a, k = T.vector("a", dtype=d["a"].dtype.name), T.iscalar("k")
    rows, _ = theano.scan(
        lambda prior, a: prior * a, outputs_info=T.ones_like(a), non_sequences=a, n_steps=k
    )
    f = theano.function([a, k], rows[-1])
    return lambda: f(d["a"], K)


def c(d: Data) -> Work:
    from benchmarks import kernels

    a = d["a"]
    y = np.empty_like(a)
    name = "power32" if a.dtype == np.float32 else "power64"
    f = kernels.call("power", name, a, y, a.size, K)

    def work():
        f()
        return y

    return work


def floor(d: Data) -> Work:
    import ctypes

    from benchmarks import kernels

    a = d["a"]
    if a.size <= 16:
        if a.dtype == np.float32:
            kind, name = ctypes.c_float, "chain32"
        else:
            kind, name = ctypes.c_double, "chain64"
        return kernels.call("power", name, kind(a[0]), K, result=kind)
    return c(d)


def numba(d: Data) -> Work:
    import numba as nb

    @nb.njit(fastmath=True)
    def power(a, k):
        y = np.ones_like(a)
        for _ in range(k):
            for i in range(a.size):
                y[i] *= a[i]
        return y

    return lambda: power(d["a"], K)


def jax(d: Data) -> Work:
    import jax.numpy as jnp
    from jax import jit, lax

    a = jnp.asarray(d["a"])

    @jit
    def power(a):
        return lax.fori_loop(0, K, lambda _, r: r * a, jnp.ones_like(a))

    return lambda: power(a).block_until_ready()


def pytensor(d: Data) -> Work:
    import pytensor as pt
    import pytensor.tensor as T

    a, k = T.vector("a", dtype=d["a"].dtype.name), T.iscalar("k")
    rows = pt.scan(
        lambda prior, a: prior * a,
        outputs_info=T.ones_like(a),
        non_sequences=a,
        n_steps=k,
        return_updates=False,
    )
    f = pt.function([a, k], rows[-1])
    return lambda: f(d["a"], np.int32(K))


PEERS = {"lt": lt, "c": c, "numba": numba, "jax": jax, "pytensor": pytensor, "numpy": numpy_}

ROWS = [
    Row(
        "W05",
        f"A**1000, {n:g} elements, {dtype}",
        partial(inputs, n, dtype),
        {**PEERS, "floor": floor} if n <= 16 else PEERS,
        steps=K,
        graph=0.15 if n == 10 else 0.1,
        c=1.2,
        rtol=1e-3 if dtype == "float32" else 1e-10,
        floor="a chain of dependent products",
    )
    for n in (10, 100_000)
    for dtype in ("float32", "float64")
]
