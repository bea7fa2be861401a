"""W16: a Kalman filter of four states and one observation, 5000 steps; its gradient."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.row import Data, Row, Work

N = 5000


def inputs(which: str, rng: np.random.Generator) -> Data:
    move = np.eye(4) * 0.95 + 0.02 * rng.standard_normal((4, 4))
    return {
        "which": which,
        "y": rng.standard_normal(N),
        "f": move,
        "h": np.array([1.0, 0.5, -0.3, 0.2]),
        "q": np.array([0.1, 0.2, 0.05, 0.1]),
        "r": 0.5,
    }


def values(d: Data) -> list:
    return [d[name] for name in ("y", "f", "h", "q", "r")]


def loops(compiled, dot):
    """Forward and gradient with small matrices (NumPy, and numba)."""

    @compiled
    def forward(y, f, h, q, r, kept):
        m, p, ll = np.zeros(4), np.eye(4), 0.0
        drift = np.diag(q)
        for t in range(y.size):
            a = dot(f, m)
            s = dot(dot(f, p), f.T) + drift
            c = dot(s, h)
            spread = dot(h, c) + r
            v = y[t] - dot(h, a)
            ll -= 0.5 * (np.log(2 * np.pi * spread) + v * v / spread)
            m = a + c * (v / spread)
            p = s - np.outer(c, c) / spread
            kept[t, :4] = c
            kept[t, 4] = spread
            kept[t, 5] = v
        return ll

    @compiled
    def gradient(y, f, h, q, r, kept):
        ll = forward(y, f, h, q, r, kept)
        dm, dp, gq, gr = np.zeros(4), np.zeros((4, 4)), np.zeros(4), 0.0
        for t in range(y.size - 1, -1, -1):
            c, w, v = kept[t, :4].copy(), 1 / kept[t, 4], kept[t, 5]
            z = dot(dp + dp.T, c)
            dc = (dm * v - z) * w
            mc = dot(dm, c)
            ds = (0.5 * dot(z, c) - mc * v) * w * w - 0.5 * (w - v * v * w * w)
            dm = dm - (mc - v) * w * h
            dc = dc + ds * h
            dp = dp + np.outer(dc, h)
            gr += ds
            gq += np.diag(dp)
            dm = dot(f.T, dm)
            dp = dot(dot(f.T, dp), f)
        return ll, gq, gr

    return {"value": forward, "gradient": gradient}


def run_loops(d: Data, compiled, dot) -> Work:
    f, kept = loops(compiled, dot)[d["which"]], np.empty((N, 6))

    def work():
        found = f(*values(d), kept)
        return list(found) if isinstance(found, tuple) else found

    return work


def numpy_(d: Data) -> Work:
    return run_loops(d, lambda f: f, np.dot)


def numba(d: Data) -> Work:
    import numba as nb

    return run_loops(d, nb.njit(fastmath=True), np.dot)


def graph(d: Data, scan, grad, T):
    """Inputs and results (ltensor and PyTensor)."""
    y, f, h, q, r = T.dvector("y"), T.dmatrix("f"), T.dvector("h"), T.dvector("q"), T.dscalar("r")

    def step(y, m, p, f, h, q, r):
        a = T.dot(f, m)
        s = T.dot(T.dot(f, p), f.T) + T.diag(q)
        c = T.dot(s, h)
        spread = T.dot(h, c) + r
        v = y - T.dot(h, a)
        density = -0.5 * (T.log(2 * np.pi * spread) + v**2 / spread)
        return a + c * (v / spread), s - T.outer(c, c) / spread, density

    _, _, densities = scan(
        step,
        sequences=y,
        outputs_info=[T.constant(np.zeros(4)), T.constant(np.eye(4)), None],
        non_sequences=[f, h, q, r],
    )
    value = densities.sum()
    return [y, f, h, q, r], value if d["which"] == "value" else [value, *grad(value, [q, r])]


def lt(d: Data) -> Work:
    import ltensor as theano
    import ltensor.tensor as T

    given, results = graph(d, lambda *a, **k: theano.scan(*a, **k)[0], T.grad, T)
    f = theano.function(given, results)
    return lambda: f(*values(d))


def pytensor(d: Data) -> Work:
    import pytensor as pt
    import pytensor.tensor as T

    given, results = graph(d, partial(pt.scan, return_updates=False), pt.grad, T)
    f = pt.function(given, results)
    return lambda: f(*values(d))


def lt_static(d: Data) -> Work:
    """The same with the model's matrices known when compiling."""
    import ltensor as theano
    import ltensor.tensor as T

    given, results = graph(d, lambda *a, **k: theano.scan(*a, **k)[0], T.grad, T)
    constants = {given[1]: T.constant(d["f"]), given[2]: T.constant(d["h"])}
    f = theano.function([given[0], *given[3:]], results, givens=constants)
    return lambda: f(d["y"], d["q"], d["r"])


def c(d: Data) -> Work:
    import ctypes

    from benchmarks import kernels

    kept = np.empty((N, 6))
    if d["which"] == "value":
        none = ctypes.c_void_p(None)
        return kernels.call("filters", "kalman", *values(d), none, N, result=ctypes.c_double)
    gq, gr = np.empty(4), np.empty(())
    f = kernels.call(
        "filters", "kalman_gradient", *values(d), kept, gq, gr, N, result=ctypes.c_double
    )
    return lambda: [f(), gq, gr]


def jax(d: Data) -> Work:
    import jax.numpy as jnp
    from jax import jit, lax, value_and_grad

    y, f, h, q, r = map(jnp.asarray, values(d))

    def value(parameters, y, f, h):
        q, r = parameters

        def step(state, y):
            m, p = state
            a = f @ m
            s = f @ p @ f.T + jnp.diag(q)
            c = s @ h
            spread = h @ c + r
            v = y - h @ a
            density = -0.5 * (jnp.log(2 * jnp.pi * spread) + v**2 / spread)
            return (a + c * (v / spread), s - jnp.outer(c, c) / spread), density

        return lax.scan(step, (jnp.zeros(4), jnp.eye(4)), y)[1].sum()

    g = jit(value if d["which"] == "value" else value_and_grad(value))

    def work():
        found = g((q, r), y, f, h)
        if d["which"] == "value":
            return found.block_until_ready()
        found[0].block_until_ready()
        return [found[0], *found[1]]

    return work


PEERS = {"lt": lt, "c": c, "numba": numba, "jax": jax, "pytensor": pytensor, "numpy": numpy_}

ROWS = [
    Row(
        "W16",
        f"Kalman 4x4, {name}T=5000{note}",
        partial(inputs, which),
        {**PEERS, "lt": ours},
        steps=N,
        graph=0.08,
        c=1.3,
        rtol=1e-7,
    )
    for which, name in (("value", ""), ("gradient", "value and gradient, "))
    for ours, note in ((lt, ""), (lt_static, ", ltensor with constant matrices"))
]
