"""W07: scalar recurrences of a million steps, the last value or all of them kept."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.row import Data, Row, Work

N = 1_000_000
A, B = 0.6, 0.3999
DX = 2.0 / N
RATE = 3.5  # a cycle of four values: rounding does not grow
DECAY = 0.9


def inputs(which: str, keep: str, rng: np.random.Generator) -> Data:
    grid = np.linspace(-1, 1, N + 2)[1:-1].copy()
    x = {"pi": grid, "average": rng.standard_normal(N)}.get(which)
    return {"which": which, "keep": keep, "x": x}


def python_loop(which: str, keep: str, x):
    """The loop as plain Python; numba compiles it too."""
    y = np.empty(N)
    s, p, q, z = 0.0, 1.0, 1.0, 0.4
    for t in range(N):
        if which == "pi":
            s = s + 2.0 * np.sqrt(1 - x[t] * x[t]) * DX
            y[t] = s
        elif which == "fibonacci":
            p, q = A * p + B * q, p
            y[t] = p
        elif which == "logistic":
            z = RATE * z * (1 - z)
            y[t] = z
        else:
            s = DECAY * s + (1 - DECAY) * x[t]
            y[t] = s
    return y if keep == "all" else y[-1]


def numpy_(d: Data) -> Work:
    return partial(python_loop, d["which"], d["keep"], d["x"])


def graph(d: Data, scan, T):
    """Inputs, their values and the rows, as Theano's users write it (ltensor and PyTensor)."""
    n, a, b = T.lscalar("n"), T.dscalar("a"), T.dscalar("b")
    zero = T.constant(np.float64(0))
    if d["which"] == "pi":
        x = T.dvector("x")
        rows = scan(lambda v, s, dx: s + 2.0 * T.sqrt(1 - v**2) * dx, x, zero, a)
        return [x, a], [d["x"], DX], rows
    if d["which"] == "fibonacci":
        rows = scan(
            lambda p, q, a, b: a * p + b * q,
            None,
            [dict(initial=T.constant(np.ones(2)), taps=[-1, -2])],
            [a, b],
            n_steps=n,
        )
        return [a, b, n], [A, B, N], rows
    if d["which"] == "logistic":
        rows = scan(lambda s, r: r * s * (1 - s), None, b, a, n_steps=n)
        return [a, b, n], [RATE, 0.4, N], rows
    x = T.dvector("x")
    rows = scan(lambda v, s, a: a * s + (1 - a) * v, x, zero, a)
    return [x, a], [d["x"], DECAY], rows


def lt(d: Data) -> Work:
    import ltensor as theano
    import ltensor.tensor as T

    given, values, rows = graph(d, lambda *a, **k: theano.scan(*a, **k)[0], T)
    f = theano.function(given, rows if d["keep"] == "all" else rows[-1])
    return lambda: f(*values)


def pytensor(d: Data) -> Work:
    import pytensor as pt
    import pytensor.tensor as T

    given, values, rows = graph(d, partial(pt.scan, return_updates=False), T)
    f = pt.function(given, rows if d["keep"] == "all" else rows[-1])
    return lambda: f(*values)


def c(d: Data) -> Work:
    import ctypes

    from benchmarks import kernels

    scalars = {
        "pi": (d["x"], DX),
        "fibonacci": (A, B),
        "logistic": (0.4, RATE),
        "average": (d["x"], DECAY),
    }[d["which"]]
    name = f"{d['which']}_{d['keep']}"
    if d["keep"] == "last":
        return kernels.call("recurrences", name, *scalars, N, result=ctypes.c_double)
    y = np.empty(N)
    has_x = d["x"] is not None
    arguments = (scalars[0], y, *scalars[1:]) if has_x else (y, *scalars)
    f = kernels.call("recurrences", name, *arguments, N)

    def work():
        f()
        return y

    return work


def floor(d: Data) -> Work:
    import ctypes

    from benchmarks import kernels

    if d["which"] == "logistic":  # r*x and 1-x at once, then their product
        return kernels.call("recurrences", "chain", 1.0, 0.0, N, 2, result=ctypes.c_double)
    if d["which"] == "pi":
        return kernels.call("recurrences", "chain", 1.0, 0.0, N, 1, result=ctypes.c_double)
    return kernels.call("recurrences", "chain_fma", 0.9, 0.1, N, result=ctypes.c_double)


def numba(d: Data) -> Work:
    import numba as nb

    keep, x = d["keep"], d["x"]

    @nb.njit(fastmath=True)
    def pi_last(x):
        s = 0.0
        for t in range(N):
            s += 2.0 * np.sqrt(1 - x[t] * x[t]) * DX
        return s

    @nb.njit(fastmath=True)
    def pi_all(x):
        y, s = np.empty(N), 0.0
        for t in range(N):
            s += 2.0 * np.sqrt(1 - x[t] * x[t]) * DX
            y[t] = s
        return y

    @nb.njit(fastmath=True)
    def fibonacci_last(a, b):
        p, q = 1.0, 1.0
        for _ in range(N):
            p, q = a * p + b * q, p
        return p

    @nb.njit(fastmath=True)
    def fibonacci_all(a, b):
        y, p, q = np.empty(N), 1.0, 1.0
        for t in range(N):
            p, q = a * p + b * q, p
            y[t] = p
        return y

    @nb.njit(fastmath=True)
    def logistic_last(r, z):
        for _ in range(N):
            z = r * z * (1 - z)
        return z

    @nb.njit(fastmath=True)
    def logistic_all(r, z):
        y = np.empty(N)
        for t in range(N):
            z = r * z * (1 - z)
            y[t] = z
        return y

    @nb.njit(fastmath=True)
    def average_last(x, a):
        s = 0.0
        for t in range(N):
            s = a * s + (1 - a) * x[t]
        return s

    @nb.njit(fastmath=True)
    def average_all(x, a):
        y, s = np.empty(N), 0.0
        for t in range(N):
            s = a * s + (1 - a) * x[t]
            y[t] = s
        return y

    f, values = {
        "pi": ({"last": pi_last, "all": pi_all}[keep], (x,)),
        "fibonacci": ({"last": fibonacci_last, "all": fibonacci_all}[keep], (A, B)),
        "logistic": ({"last": logistic_last, "all": logistic_all}[keep], (RATE, 0.4)),
        "average": ({"last": average_last, "all": average_all}[keep], (x, DECAY)),
    }[d["which"]]
    return lambda: f(*values)


def jax(d: Data) -> Work:
    import jax.numpy as jnp
    from jax import jit, lax

    every = d["keep"] == "all"
    x = None if d["x"] is None else jnp.asarray(d["x"])

    def pi(s, v):
        s = s + 2.0 * jnp.sqrt(1 - v**2) * DX
        return s, s if every else None

    def average(s, v):
        s = DECAY * s + (1 - DECAY) * v
        return s, s if every else None

    def fibonacci(s, _):
        v = A * s[0] + B * s[1]
        return (v, s[0]), v if every else None

    def logistic(s, _):
        s = RATE * s * (1 - s)
        return s, s if every else None

    step, first = {
        "pi": (pi, 0.0),
        "average": (average, 0.0),
        "fibonacci": (fibonacci, (1.0, 1.0)),
        "logistic": (logistic, 0.4),
    }[d["which"]]

    @jit
    def f(first, x):
        last, rows = lax.scan(step, first, x, length=N)
        if every:
            return rows
        return last[0] if isinstance(last, tuple) else last

    return lambda: f(first, x).block_until_ready()


PEERS = {
    "lt": lt,
    "c": c,
    "numba": numba,
    "jax": jax,
    "pytensor": pytensor,
    "numpy": numpy_,
    "floor": floor,
}
FLOORS = {
    "pi": "one dependent addition per step",
    "fibonacci": "one dependent multiply-add per step",
    "logistic": "two dependent operations per step",
    "average": "one dependent multiply-add per step",
}

ROWS = [
    Row(
        "W07",
        f"{which} 1e6, {keep}",
        partial(inputs, which, keep),
        PEERS,
        steps=N,
        graph=0.6 if which == "logistic" else 0.3,
        c=1.05,
        rtol=1e-7,
        floor=FLOORS[which],
    )
    for which in ("pi", "fibonacci", "logistic", "average")
    for keep in ("last", "all")
]
