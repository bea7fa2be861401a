"""W12: loops that end by a condition: growth to a limit, and the short loops of Collatz."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.row import Data, Row, Work

N = 1_000_000
RATE, LIMIT, MOST = 1.0 + 1e-6, float(np.exp(1.0)), 2_000_000
START, MOST_SHORT = 27, 1000


def inputs(which: str, rng: np.random.Generator) -> Data:
    return {"which": which}


def numpy_(d: Data) -> Work:
    def collatz():
        x, t = START, 0
        while t < MOST_SHORT:
            x = 3 * x + 1 if x % 2 else x // 2
            t += 1
            if x == 1:
                break
        return np.int64(t)

    def growth():
        x, kept = 1.0, []
        while len(kept) < MOST:
            x *= RATE
            kept.append(x)
            if x > LIMIT:
                break
        return np.array(kept) if d["which"] == "all" else x

    return collatz if d["which"] == "collatz" else growth


def graph(d: Data, scan, until, T):
    """Inputs, their values and the result (ltensor and PyTensor)."""
    if d["which"] == "collatz":
        x = T.lscalar("x")

        def step(t, x):
            x = T.switch(T.eq(x % 2, 1), 3 * x + 1, x // 2)
            return [t + 1, x], until(T.eq(x, 1))

        counts, _ = scan(step, None, [T.constant(np.int64(0)), x], n_steps=MOST_SHORT)
        return [x], [START], counts[-1]
    x, rate, limit, most = T.dscalar("x"), T.dscalar("rate"), T.dscalar("limit"), T.lscalar("most")

    def grow(x, rate, limit):
        x = x * rate
        return x, until(x > limit)

    rows = scan(grow, None, x, [rate, limit], n_steps=most)
    return (
        [x, rate, limit, most],
        [1.0, RATE, LIMIT, MOST],
        rows if d["which"] == "all" else rows[-1],
    )


def lt(d: Data) -> Work:
    import ltensor as theano
    import ltensor.tensor as T
    from ltensor.scan_module import until

    given, values, result = graph(d, lambda *a, **k: theano.scan(*a, **k)[0], until, T)
    f = theano.function(given, result)
    return lambda: f(*values)


def pytensor(d: Data) -> Work:
    import pytensor as pt
    import pytensor.tensor as T
    from pytensor.scan.utils import until

    given, values, result = graph(d, partial(pt.scan, return_updates=False), until, T)
    f = pt.function(given, result)
    return lambda: f(*values)


def c(d: Data) -> Work:
    import ctypes

    from benchmarks import kernels

    if d["which"] == "collatz":
        return kernels.call("recurrences", "collatz", START, MOST_SHORT, result=ctypes.c_long)
    if d["which"] == "last":
        return kernels.call(
            "recurrences", "growth_last", 1.0, RATE, LIMIT, MOST, result=ctypes.c_double
        )
    y = np.empty(MOST)
    f = kernels.call("recurrences", "growth_all", y, 1.0, RATE, LIMIT, MOST, result=ctypes.c_long)
    return lambda: y[: f()]


def floor(d: Data) -> Work:
    import ctypes

    from benchmarks import kernels

    return kernels.call("recurrences", "chain", 1.0, 0.0, N, 1, result=ctypes.c_double)


def numba(d: Data) -> Work:
    import numba as nb

    @nb.njit
    def collatz(x, most):
        t = 0
        while t < most:
            x = 3 * x + 1 if x % 2 else x // 2
            t += 1
            if x == 1:
                break
        return t

    @nb.njit
    def last(x, rate, limit, most):
        for _ in range(most):
            x *= rate
            if x > limit:
                break
        return x

    @nb.njit
    def every(x, rate, limit, most):
        y, t = np.empty(most), 0
        while t < most:
            x *= rate
            y[t] = x
            t += 1
            if x > limit:
                break
        return y[:t]

    if d["which"] == "collatz":
        return lambda: collatz(START, MOST_SHORT)
    f = last if d["which"] == "last" else every
    return lambda: f(1.0, RATE, LIMIT, MOST)


def jax(d: Data) -> Work:
    import jax.numpy as jnp
    from jax import jit, lax

    if d["which"] == "collatz":

        @jit
        def collatz(x):
            return lax.while_loop(
                lambda s: (s[1] != 1) & (s[0] < MOST_SHORT),
                lambda s: (s[0] + 1, jnp.where(s[1] % 2 == 1, 3 * s[1] + 1, s[1] // 2)),
                (0, x),
            )[0]

        return lambda: collatz(START).block_until_ready()
    if d["which"] == "last":

        @jit
        def last(x, rate, limit, most):
            return lax.while_loop(
                lambda s: (s[0] <= limit) & (s[1] < most),
                lambda s: (s[0] * rate, s[1] + 1),
                (x, 0),
            )[0]

        return lambda: last(1.0, RATE, LIMIT, MOST).block_until_ready()

    @jit
    def every(x, rate, limit):
        def step(s):
            x, t, y = s
            x = x * rate
            return x, t + 1, y.at[t].set(x)

        return lax.while_loop(
            lambda s: (s[0] <= limit) & (s[1] < MOST), step, (x, 0, jnp.empty(MOST))
        )[1:]

    def work():
        t, y = every(1.0, RATE, LIMIT)
        return y[: int(t)].block_until_ready()

    return work


PEERS = {"lt": lt, "c": c, "numba": numba, "jax": jax, "pytensor": pytensor, "numpy": numpy_}
GROWTH = {**PEERS, "floor": floor}

ROWS = [
    Row(
        "W12",
        "growth until a limit, 1e6 steps, last",
        partial(inputs, "last"),
        GROWTH,
        steps=N,
        graph=1.0,
        c=1.05,
        floor="one dependent product per step",
    ),
    Row(
        "W12",
        "growth until a limit, 1e6 steps, all",
        partial(inputs, "all"),
        GROWTH,
        steps=N,
        graph=0.2,
        c=1.05,
        floor="one dependent product per step",
    ),
    Row(
        "W12",
        "collatz of 27, 111 steps",
        partial(inputs, "collatz"),
        PEERS,
        steps=111,
        graph=0.15,
        c=1.05,
    ),
]
