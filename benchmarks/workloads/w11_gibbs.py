"""W11: a Gibbs chain of a restricted Boltzmann machine: 1000 steps, 20 chains, 784 by 500 units."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.row import Data, Row, Work

STEPS, CHAINS, VISIBLE, HIDDEN = 1000, 20, 784, 500


def inputs(rng: np.random.Generator) -> Data:
    return {
        "w": (0.05 * rng.standard_normal((VISIBLE, HIDDEN))).astype("float32"),
        "bv": rng.standard_normal(VISIBLE).astype("float32"),
        "bh": (0.5 * rng.standard_normal(HIDDEN)).astype("float32"),
        "v": (rng.random((CHAINS, VISIBLE)) < 0.5).astype("float32"),
    }


def check(found: list[np.ndarray], wanted: list[np.ndarray]) -> None:
    """Different random numbers: states must be 0 or 1 and their averages agree."""
    a, b = found[0], wanted[0]
    if a.shape != b.shape or not np.isin(a, (0, 1)).all():
        raise ValueError("states are not all 0 or 1")
    blocks = np.argsort(b.mean(0)).reshape(8, -1)  # units in order of how often they are on
    low, high = a[:, blocks[:2].ravel()].mean(), a[:, blocks[-2:].ravel()].mean()
    if abs(a.mean() - b.mean()) > 0.05 or low > 0.4 or high < 0.6:
        raise ValueError(
            f"averages differ: {a.mean():.3f}, not {b.mean():.3f}; {low:.2f} {high:.2f}"
        )


def numpy_(d: Data) -> Work:
    w, bv, bh, rng = d["w"], d["bv"], d["bh"], np.random.default_rng(1)

    def layer(x, w, b):
        p = 1 / (1 + np.exp(-(x @ w + b)))
        return (rng.random(p.shape, "float32") < p).astype("float32")

    def work():
        v = d["v"]
        for _ in range(STEPS):
            v = layer(layer(v, w, bh), w.T, bv)
        return v

    return work


def lt(d: Data, streams: str) -> Work:
    import ltensor as theano
    import ltensor.tensor as T

    if streams == "mrg":
        from ltensor.random.mrg import MRG_RandomStreams as Streams
    else:
        from ltensor.random import RandomStreams as Streams
    random = Streams(1)
    w, bv, bh = (theano.shared(d[name]) for name in ("w", "bv", "bh"))

    def layer(x, w, b):
        p = T.nnet.sigmoid(T.dot(x, w) + b)
        return random.binomial(size=p.shape, n=1, p=p, dtype="float32")

    v = T.fmatrix("v")
    rows, updates = theano.scan(
        lambda v: layer(layer(v, w, bh), w.T, bv), outputs_info=v, n_steps=STEPS
    )
    f = theano.function([v], rows[-1], updates=updates)
    return lambda: f(d["v"])


def pytensor(d: Data) -> Work:
    import pytensor as pt
    import pytensor.tensor as T
    from pytensor.tensor.random.utils import RandomStream

    random = RandomStream(1)
    w, bv, bh = (pt.shared(d[name]) for name in ("w", "bv", "bh"))

    def layer(x, w, b):
        p = T.sigmoid(T.dot(x, w) + b)
        return (random.uniform(0, 1, size=p.shape, dtype="float32") < p).astype("float32")

    v = T.fmatrix("v")
    rows, updates = pt.scan(
        lambda v: layer(layer(v, w, bh), w.T, bv), outputs_info=v, n_steps=STEPS
    )
    f = pt.function([v], rows[-1], updates=updates)
    return lambda: f(d["v"])


def c(d: Data) -> Work:
    from benchmarks import kernels

    v, h = d["v"].copy(), np.empty((CHAINS, HIDDEN), "float32")
    f = kernels.call(
        "recurrent",
        "gibbs",
        kernels.sgemm(),
        d["w"],
        d["bv"],
        d["bh"],
        v,
        h,
        STEPS,
        CHAINS,
        VISIBLE,
        HIDDEN,
    )

    def work():
        v[:] = d["v"]
        f()
        return v

    return work


def floor(d: Data) -> Work:
    from benchmarks import kernels

    v, h = d["v"].copy(), np.empty((CHAINS, HIDDEN), "float32")
    return kernels.call(
        "recurrent",
        "gibbs_products",
        kernels.sgemm(),
        0.01 * d["w"],
        v,
        h,
        STEPS,
        CHAINS,
        VISIBLE,
        HIDDEN,
    )


def numba(d: Data) -> Work:
    import numba as nb

    @nb.njit(fastmath=True)
    def layer(x, w, b):
        p = np.dot(x, w)
        for i in range(p.shape[0]):
            for j in range(p.shape[1]):
                on = np.random.random() < 1 / (1 + np.exp(-(p[i, j] + b[j])))
                p[i, j] = np.float32(on)
        return p

    @nb.njit(fastmath=True)
    def chain(v, w, wt, bv, bh):
        for _ in range(STEPS):
            v = layer(layer(v, w, bh), wt, bv)
        return v

    wt = np.ascontiguousarray(d["w"].T)
    return lambda: chain(d["v"], d["w"], wt, d["bv"], d["bh"])


def jax(d: Data) -> Work:
    import jax.numpy as jnp
    from jax import jit, lax, nn
    from jax import random as jr

    w, bv, bh, v = (jnp.asarray(d[name]) for name in ("w", "bv", "bh", "v"))
    key = jr.key(1)

    def layer(key, x, w, b):
        return (jr.uniform(key, (CHAINS, b.size), "float32") < nn.sigmoid(x @ w + b)).astype(
            "float32"
        )

    @jit
    def chain(key, v, w, bv, bh):
        def step(v, key):
            a, b = jr.split(key)
            return layer(b, layer(a, v, w, bh), w.T, bv), None

        return lax.scan(step, v, jr.split(key, STEPS))[0]

    return lambda: chain(key, v, w, bv, bh).block_until_ready()


PEERS = {"c": c, "numba": numba, "jax": jax, "pytensor": pytensor, "numpy": numpy_, "floor": floor}

ROWS = [
    Row(
        "W11",
        f"RBM Gibbs chain, 1000 steps, {name}",
        inputs,
        {"lt": partial(lt, streams=streams), **PEERS},
        steps=STEPS,
        graph=0.95,
        c=1.0,
        floor="the products alone, by OpenBLAS",
        check=check,
    )
    for streams, name in (("mrg", "MRG_RandomStreams"), ("mt", "RandomStreams"))
]
