"""W02: elementwise functions of float32 vectors; a sum with a transposed matrix."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.row import Data, Row, Work, makers
from benchmarks.torch_work import without_gradients


def inputs(which: str, n: int, rng: np.random.Generator) -> Data:
    if which == "transposed":
        return {"which": which, "x": [rng.standard_normal((n, n)) for _ in range(2)]}
    x = [rng.standard_normal(n).astype("float32") for _ in range(2 if which == "triad" else 1)]
    if which == "chain":
        x = [np.abs(x[0]) + np.float32(0.1)]
    return {"which": which, "x": x}


def formula(which: str, exp, log, tanh, sigmoid):
    """The function, of whichever library these are."""
    return {
        "sigmoid tanh": lambda x: sigmoid(x) * tanh(x),
        "chain": lambda x: exp(-x) * log(x + 1) + x**1.7,
        "triad": lambda a, b: a + 2 * b,
        "transposed": lambda a, b: a + b.T,
    }[which]


def numpy_(d: Data) -> Work:
    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    return partial(formula(d["which"], np.exp, np.log, np.tanh, sigmoid), *d["x"])


def graph(d: Data, theano, T, sigmoid, constant) -> Work:
    """ltensor and PyTensor."""
    make = T.dmatrix if d["which"] == "transposed" else T.fvector
    x = [make(f"x{k}") for k in range(len(d["x"]))]
    exponent = constant(np.float32(1.7))
    f = formula(d["which"], T.exp, T.log, T.tanh, sigmoid)
    y = T.exp(-x[0]) * T.log(x[0] + 1) + x[0] ** exponent if d["which"] == "chain" else f(*x)
    return partial(theano.function(x, y), *d["x"])


def lt(d: Data) -> Work:
    import ltensor
    import ltensor.tensor as T

    return graph(d, ltensor, T, T.nnet.sigmoid, T.constant)


def pytensor(d: Data) -> Work:
    import pytensor
    import pytensor.tensor as T

    return graph(d, pytensor, T, T.sigmoid, T.constant)


def jax(d: Data) -> Work:
    import jax.numpy as jnp
    from jax import jit, nn

    x = [jnp.asarray(v) for v in d["x"]]
    f = jit(formula(d["which"], jnp.exp, jnp.log, jnp.tanh, nn.sigmoid))
    return lambda: f(*x).block_until_ready()


def torch(d: Data) -> Work:
    import torch as t

    f = formula(d["which"], t.exp, t.log, t.tanh, t.sigmoid)
    return without_gradients(f, *map(t.from_numpy, d["x"]))


def numba(d: Data) -> Work:
    import numba as nb

    @nb.njit(fastmath=True)
    def sigmoid_tanh(x):
        y = np.empty_like(x)
        for i in range(x.size):
            y[i] = np.tanh(x[i]) / (np.float32(1) + np.exp(-x[i]))
        return y

    @nb.njit(fastmath=True)
    def chain(x):
        y = np.empty_like(x)
        for i in range(x.size):
            v = x[i]
            y[i] = np.exp(-v) * np.log(v + np.float32(1)) + v ** np.float32(1.7)
        return y

    @nb.njit(fastmath=True)
    def triad(a, b):
        y = np.empty_like(a)
        for i in range(a.size):
            y[i] = a[i] + np.float32(2) * b[i]
        return y

    @nb.njit(fastmath=True)
    def transposed(a, b):
        y = np.empty_like(a)
        for i in range(a.shape[0]):
            for j in range(a.shape[1]):
                y[i, j] = a[i, j] + b[j, i]
        return y

    f = {
        "sigmoid tanh": sigmoid_tanh,
        "chain": chain,
        "triad": triad,
        "transposed": transposed,
    }[d["which"]]
    return partial(f, *d["x"])


def c(d: Data) -> Work:
    from benchmarks import kernels

    name = {"sigmoid tanh": "sigmoid_tanh", "transposed": "plus_transposed"}.get(
        d["which"], d["which"]
    )
    y = np.empty_like(d["x"][0])
    f = kernels.call("elementwise", name, *d["x"], y, len(y))
    return kernels.then(f, y)


def floor(d: Data, past_cache: bool) -> Work:
    """Reads each operand and writes as many bytes as the result has."""
    from benchmarks import kernels

    x, y = d["x"][0], np.empty_like(d["x"][0])
    size = x.nbytes // 4
    copy = kernels.call("limits", "copy_past_cache" if past_cache else "copy", x, y, size)
    if len(d["x"]) == 1:
        return copy
    read = kernels.call("limits", "read_all", d["x"][1], size)

    def work():
        copy()
        read()

    return work


def row(which: str, n: int, graph: float, c_target: float, label: str) -> Row:
    """A row, beside what moving its bytes takes."""
    large = n != 100_000
    peers = makers(lt, c, numba, jax, pytensor, torch, numpy_)
    peers["floor"] = partial(floor, past_cache=large)
    return Row(
        "W02",
        f"{which} {label}",
        partial(inputs, which, n),
        peers,
        steps=n * n if which == "transposed" else n,
        graph=graph,
        c=c_target,
        speedup=1.7 if large else None,
        rtol=1e-12 if which == "transposed" else 1e-5,
        floor="reading the operands and writing the result" + (", past the cache" if large else ""),
    )


ROWS = [
    row("sigmoid tanh", 100_000, 0.8, 1.1, "1e5"),
    row("sigmoid tanh", 10_000_000, 0.5, 1.1, "1e7"),
    row("chain", 100_000, 0.8, 1.1, "of exp, log and pow 1e5"),
    row("chain", 10_000_000, 0.5, 1.1, "of exp, log and pow 1e7"),
    row("triad", 10_000_000, 0.85, 1.1, "1e7"),
    row("transposed", 2000, 0.85, 1.1, "x + y.T of 2000 x 2000"),
]
