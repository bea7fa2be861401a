"""W16: a hidden Markov model in log space, 50 states, 2000 symbols; its gradient."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.row import Data, Row, Work

STATES, SYMBOLS, N = 50, 20, 2000


def inputs(which: str, rng: np.random.Generator) -> Data:
    def logs(*shape):
        x = rng.standard_normal(shape)
        return x - np.log(np.exp(x).sum(-1, keepdims=True))

    return {
        "which": which,
        "observed": rng.integers(0, SYMBOLS, N),
        "start": logs(STATES),
        "move": logs(STATES, STATES),
        "emit": np.ascontiguousarray(logs(STATES, SYMBOLS).T),
    }


def values(d: Data) -> list[np.ndarray]:
    return [d["observed"], d["start"], d["move"], d["emit"]]


def numpy_(d: Data) -> Work:
    o, start, move, emit = values(d)

    def lse(x):
        top = x.max(0)
        return np.log(np.exp(x - top).sum(0)) + top

    def work():
        alpha = np.empty((N, STATES))
        sums = np.empty((N, STATES))
        alpha[0] = start + emit[o[0]]
        for t in range(1, N):
            sums[t] = lse(alpha[t - 1][:, None] + move)
            alpha[t] = sums[t] + emit[o[t]]
        value = lse(alpha[-1])
        if d["which"] == "value":
            return value
        e, g_move, g_emit = np.exp(alpha[-1] - value), np.zeros_like(move), np.zeros_like(emit)
        for t in range(N - 1, 0, -1):
            g_emit[o[t]] += e
            p = np.exp(alpha[t - 1][:, None] + move - sums[t]) * e
            g_move += p
            e = p.sum(1)
        g_emit[o[0]] += e
        return [value, e, g_move, g_emit]

    return work


def graph(d: Data, scan, grad, T):
    """Inputs and results (ltensor and PyTensor)."""
    observed = T.lvector("observed")
    start, move, emit = T.dvector("start"), T.dmatrix("move"), T.dmatrix("emit")

    def lse(x):
        top = T.max(x, axis=0)
        return T.log(T.sum(T.exp(x - top), axis=0)) + top

    alphas = scan(
        lambda symbol, alpha, move, emit: lse(alpha.dimshuffle(0, "x") + move) + emit[symbol],
        sequences=observed[1:],
        outputs_info=start + emit[observed[0]],
        non_sequences=[move, emit],
    )
    value = lse(alphas[-1])
    given = [observed, start, move, emit]
    return given, value if d["which"] == "value" else [value, *grad(value, given[1:])]


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


def c(d: Data) -> Work:
    import ctypes

    from benchmarks import kernels

    alpha, sums = np.empty((N, STATES)), np.empty((N, STATES))
    if d["which"] == "value":
        return kernels.call("filters", "hmm", *values(d), alpha, sums, N, result=ctypes.c_double)
    g = [np.empty(STATES), np.empty((STATES, STATES)), np.empty((SYMBOLS, STATES))]
    f = kernels.call(
        "filters", "hmm_gradient", *values(d), alpha, sums, *g, N, SYMBOLS, result=ctypes.c_double
    )
    return lambda: [f(), *g]


def floor(d: Data) -> Work:
    from benchmarks import kernels

    passes = 1 if d["which"] == "value" else 2
    scratch = np.zeros(STATES)
    return kernels.call("filters", "exponentials", d["move"], scratch, passes * N)


def numba(d: Data) -> Work:
    import numba as nb

    @nb.njit(fastmath=True)
    def forward(o, start, move, emit, alpha, sums):
        m = start.size
        for j in range(m):
            alpha[0, j] = start[j] + emit[o[0], j]
        top, total = np.empty(m), np.empty(m)
        for t in range(1, o.size):
            top[:] = -np.inf
            total[:] = 0
            for i in range(m):
                for j in range(m):
                    top[j] = max(top[j], alpha[t - 1, i] + move[i, j])
            for i in range(m):
                for j in range(m):
                    total[j] += np.exp(alpha[t - 1, i] + move[i, j] - top[j])
            for j in range(m):
                sums[t, j] = np.log(total[j]) + top[j]
                alpha[t, j] = sums[t, j] + emit[o[t], j]
        high = alpha[-1].max()
        return np.log(np.exp(alpha[-1] - high).sum()) + high

    @nb.njit(fastmath=True)
    def gradient(o, start, move, emit, alpha, sums):
        value, m = forward(o, start, move, emit, alpha, sums), start.size
        e, g_move, g_emit = np.exp(alpha[-1] - value), np.zeros_like(move), np.zeros_like(emit)
        before = np.empty(m)
        for t in range(o.size - 1, 0, -1):
            g_emit[o[t]] += e
            for i in range(m):
                s = 0.0
                for j in range(m):
                    p = np.exp(alpha[t - 1, i] + move[i, j] - sums[t, j]) * e[j]
                    g_move[i, j] += p
                    s += p
                before[i] = s
            e[:] = before
        g_emit[o[0]] += e
        return value, e, g_move, g_emit

    alpha, sums = np.empty((N, STATES)), np.empty((N, STATES))
    if d["which"] == "value":
        return lambda: forward(*values(d), alpha, sums)
    return lambda: list(gradient(*values(d), alpha, sums))


def jax(d: Data) -> Work:
    import jax.numpy as jnp
    from jax import jit, lax, value_and_grad
    from jax.scipy.special import logsumexp

    o, start, move, emit = map(jnp.asarray, values(d))

    def value(parameters, o):
        start, move, emit = parameters

        def step(alpha, symbol):
            return logsumexp(alpha[:, None] + move, axis=0) + emit[symbol], None

        return logsumexp(lax.scan(step, start + emit[o[0]], o[1:])[0])

    f = jit(value if d["which"] == "value" else value_and_grad(value))

    def work():
        found = f((start, move, emit), o)
        if d["which"] == "value":
            return found.block_until_ready()
        found[0].block_until_ready()
        return [found[0], *found[1]]

    return work


PEERS = {"lt": lt, "c": c, "numba": numba, "jax": jax, "pytensor": pytensor, "numpy": numpy_}
PEERS["floor"] = floor

ROWS = [
    Row(
        "W16",
        "HMM forward, 50 states, T=2000",
        partial(inputs, "value"),
        PEERS,
        steps=N,
        graph=0.5,
        c=1.1,
        rtol=1e-9,
        floor="the exponentials alone",
    ),
    Row(
        "W16",
        "HMM value and gradient, 50 states, T=2000",
        partial(inputs, "gradient"),
        PEERS,
        steps=N,
        graph=0.3,
        c=1.1,
        rtol=1e-8,
        floor="the exponentials alone",
    ),
]
