"""W01: what a call costs where the work is next to nothing."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.row import Data, Row, Work, makers
from benchmarks.torch_work import without_gradients


def inputs(which: str, rng: np.random.Generator) -> Data:
    if which == "scalar":
        return {"which": which, "x": [np.float64(0.5)]}
    return {"which": which, "x": [rng.standard_normal(10) for _ in range(8 if which == "8" else 1)]}


def numpy_(d: Data) -> Work:
    x = d["x"]
    if len(x) == 1:
        return lambda: x[0] + 1
    a, b, c, e, f, g, h, i = x
    return lambda: a + b + c + e + f + g + h + i


def graph(d: Data, theano, T) -> Work:
    """ltensor and PyTensor."""
    values = d["x"]
    make = T.dscalar if d["which"] == "scalar" else T.dvector
    x = [make(f"x{k}") for k in range(len(values))]
    f = theano.function(x, x[0] + 1 if len(x) == 1 else sum(x[1:], x[0]))
    if len(x) == 1:
        (value,) = values
        return lambda: f(value)
    a, b, c, e, g, h, i, j = values
    return lambda: f(a, b, c, e, g, h, i, j)


def lt(d: Data) -> Work:
    import ltensor
    import ltensor.tensor as T

    return graph(d, ltensor, T)


def pytensor(d: Data) -> Work:
    import pytensor as pt
    import pytensor.tensor as T

    return graph(d, pt, T)


def jax(d: Data) -> Work:
    import jax
    import jax.numpy as jnp

    x = [jnp.asarray(v) for v in d["x"]]
    if len(x) == 1:
        f = jax.jit(lambda v: v + 1)
        return lambda: f(x[0]).block_until_ready()
    g = jax.jit(lambda *v: sum(v[1:], v[0]))
    a, b, c, e, h, i, j, k = x
    return lambda: g(a, b, c, e, h, i, j, k).block_until_ready()


def torch(d: Data) -> Work:
    import torch as t

    x = [t.tensor(v) for v in d["x"]]
    if len(x) == 1:
        return without_gradients(lambda v: v + 1, x[0])
    return without_gradients(lambda a, b, c, e, f, g, h, i: a + b + c + e + f + g + h + i, *x)


def numba(d: Data) -> Work:
    import numba as nb

    x = d["x"]
    if len(x) == 1:
        f = nb.njit(lambda v: v + 1)
        return lambda: f(x[0])
    g = nb.njit(lambda a, b, c, e, f, g, h, i: a + b + c + e + f + g + h + i)
    a, b, c, e, h, i, j, k = x
    return lambda: g(a, b, c, e, h, i, j, k)


def c(d: Data) -> Work:
    from benchmarks import kernels

    x = [np.atleast_1d(v) for v in d["x"]]
    y = np.empty_like(x[0])
    name = "add_one" if len(x) == 1 else "add_eight"
    f = kernels.call("calls", name, *x, y, y.size)
    result = y.reshape(()) if d["which"] == "scalar" else y

    def work():
        f()
        return result

    return work


PEERS = makers(lt, c, numba, jax, pytensor, torch, numpy_)


def nothing(rng: np.random.Generator) -> Data:
    return {}


def with_state(work: Work, state: Work) -> Work:
    """``work`` gives nothing; what it has counted is told once."""
    work.state = state
    return work


def numpy_count(d: Data) -> Work:
    n = np.zeros((), "int64")

    def work():
        np.add(n, 1, out=n)
        return []

    return with_state(work, n.copy)


def graph_count(d: Data, theano) -> Work:
    n = theano.shared(np.int64(0))
    f = theano.function([], [], updates=[(n, n + 1)])

    def work():
        return f()

    return with_state(work, n.get_value)


def lt_count(d: Data) -> Work:
    import ltensor

    return graph_count(d, ltensor)


def pytensor_count(d: Data) -> Work:
    import pytensor

    return graph_count(d, pytensor)


def jax_count(d: Data) -> Work:
    import jax
    import jax.numpy as jnp

    f = jax.jit(lambda n: n + 1, donate_argnums=0)
    held = [jnp.zeros((), "int64")]

    def work():
        held[0] = f(held[0])
        held[0].block_until_ready()
        return []

    return with_state(work, lambda: np.asarray(held[0]))


def torch_count(d: Data) -> Work:
    import torch as t

    n = t.zeros((), dtype=t.int64)
    add = without_gradients(lambda n: n.add_(1), n)

    def work():
        add()
        return []

    return with_state(work, n.clone)


def c_count(d: Data) -> Work:
    from benchmarks import kernels

    n = np.zeros(1, "int64")
    f = kernels.call("calls", "count", n)

    def work():
        f()
        return []

    return with_state(work, lambda: n[0])


COUNTERS = {
    "lt": lt_count,
    "c": c_count,
    "jax": jax_count,
    "pytensor": pytensor_count,
    "pytensor_c": pytensor_count,
    "torch": torch_count,
    "inductor": torch_count,
    "numpy": numpy_count,
}

ROWS = [
    Row("W01", "call, scalar x + 1", partial(inputs, "scalar"), PEERS, graph=0.12, c=0.8),
    Row("W01", "call, 10-vector x + 1", partial(inputs, "vector"), PEERS, graph=0.12, c=0.8),
    Row("W01", "call, 8 arguments", partial(inputs, "8"), PEERS, graph=0.15, c=1.5),
    Row("W01", "call, shared counter", nothing, COUNTERS, graph=0.25, c=1.0),
]
