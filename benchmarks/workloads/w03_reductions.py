"""W03: reductions of float32 arrays, whole and by rows; sorts; a transposed copy."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.row import Data, Row, Work, makers
from benchmarks.torch_work import without_gradients

WHOLE = ("sum of squares", "variance", "argmax")
WRITTEN = ("softmax", "layer norm", "crossentropy", "sort", "transposed copy")


def inputs(which: str, shape: tuple[int, ...], rng: np.random.Generator) -> Data:
    d = {"which": which, "x": rng.standard_normal(shape).astype("float32")}
    if which == "crossentropy":
        d["label"] = rng.integers(0, shape[1], shape[0])
    return d


def numpy_(d: Data) -> Work:
    x = d["x"]

    def powers():
        top = x.max(1, keepdims=True)
        e = np.exp(x - top)
        return top, e, e.sum(1, keepdims=True)

    def logsumexp():
        top, _, s = powers()
        return (np.log(s) + top)[:, 0]

    def softmax():
        _, e, s = powers()
        return e / s

    def crossentropy():
        top, e, s = powers()
        places = np.arange(len(x)), d["label"]
        loss = (np.log(s[:, 0]) + top[:, 0] - x[places]).mean()
        g = e / s
        g[places] -= 1
        return [loss, g / np.float32(len(x))]

    def norm():
        c = x - x.mean(1, keepdims=True)
        return c / np.sqrt((c * c).mean(1, keepdims=True) + np.float32(1e-5))

    return {
        "sum of squares": lambda: (x * x).sum(),
        "variance": x.var,
        "argmax": x.argmax,
        "argmax of rows": lambda: x.argmax(1),
        "variance of columns": lambda: x.var(0),
        "sort": lambda: np.sort(x),
        "transposed copy": lambda: x.T.copy(),
        "logsumexp": logsumexp,
        "softmax": softmax,
        "layer norm": norm,
        "crossentropy": crossentropy,
    }[d["which"]]


def graph(d: Data, theano, T, softmax, xent) -> Work:
    """ltensor and PyTensor."""
    which = d["which"]
    x = T.fvector("x") if which in WHOLE else T.fmatrix("x")
    if which == "crossentropy":
        label = T.lvector("label")
        loss = xent(x, label)
        f = theano.function([x, label], [loss, theano.grad(loss, x)])
        return partial(f, d["x"], d["label"])
    y = {
        "sum of squares": lambda: T.sqr(x).sum(),
        "variance": x.var,
        "argmax": x.argmax,
        "argmax of rows": lambda: x.argmax(1),
        "variance of columns": lambda: x.var(0),
        "sort": lambda: T.sort(x),
        "transposed copy": lambda: x.T.copy(),
        "logsumexp": lambda: T.log(T.exp(x).sum(1)),
        "softmax": lambda: softmax(x),
        "layer norm": lambda: (
            (x - x.mean(1, keepdims=True)) / T.sqrt(x.var(1, keepdims=True) + np.float32(1e-5))
        ),
    }[which]()
    return partial(theano.function([x], y), d["x"])


def lt(d: Data) -> Work:
    import ltensor
    import ltensor.tensor as T

    def xent(x, label):
        return T.nnet.categorical_crossentropy(T.nnet.softmax(x), label).mean()

    return graph(d, ltensor, T, T.nnet.softmax, xent)


def pytensor(d: Data) -> Work:
    import pytensor
    import pytensor.tensor as T
    from pytensor.tensor.special import log_softmax, softmax

    def xent(x, label):
        return -log_softmax(x, axis=1)[T.arange(x.shape[0]), label].mean()

    return graph(d, pytensor, T, partial(softmax, axis=1), xent)


def jax(d: Data) -> Work:
    import jax
    import jax.numpy as jnp

    x = jnp.asarray(d["x"])
    if d["which"] == "crossentropy":
        label = jnp.asarray(d["label"])
        places = jnp.arange(len(x))

        def loss(x):
            return -jax.nn.log_softmax(x)[places, label].mean()

        g = jax.jit(jax.value_and_grad(loss))

        def work():
            value, gradient = g(x)
            gradient.block_until_ready()
            return [value, gradient]

        return work

    def norm(x):
        c = x - x.mean(1, keepdims=True)
        return c / jnp.sqrt((c * c).mean(1, keepdims=True) + 1e-5)

    f = jax.jit(
        {
            "sum of squares": lambda x: (x * x).sum(),
            "variance": lambda x: x.var(),
            "argmax": lambda x: x.argmax(),
            "argmax of rows": lambda x: x.argmax(1),
            "variance of columns": lambda x: x.var(0),
            "sort": lambda x: jnp.sort(x),
            "transposed copy": lambda x: x.T.copy(),
            "logsumexp": lambda x: jax.nn.logsumexp(x, axis=1),
            "softmax": lambda x: jax.nn.softmax(x, axis=1),
            "layer norm": norm,
        }[d["which"]]
    )
    return lambda: f(x).block_until_ready()


def torch(d: Data) -> Work:
    import torch as t

    from benchmarks.torch_work import prepared

    x = t.from_numpy(d["x"])
    if d["which"] == "crossentropy":
        label = t.from_numpy(d["label"])
        x.requires_grad_()
        loss = prepared(lambda x: t.nn.functional.cross_entropy(x, label))

        def work():
            value = loss(x)
            return [value.detach(), t.autograd.grad(value, x)[0]]

        return work
    f = {
        "sum of squares": lambda x: (x * x).sum(),
        "variance": lambda x: x.var(correction=0),
        "argmax": lambda x: x.argmax(),
        "argmax of rows": lambda x: x.argmax(1),
        "variance of columns": lambda x: x.var(0, correction=0),
        "sort": lambda x: x.sort().values,
        "transposed copy": lambda x: x.T.contiguous(),
        "logsumexp": lambda x: x.logsumexp(1),
        "softmax": lambda x: x.softmax(1),
        "layer norm": lambda x: t.nn.functional.layer_norm(x, x.shape[1:]),
    }[d["which"]]
    return without_gradients(f, x)


def c(d: Data) -> Work:
    import ctypes

    from benchmarks import kernels

    which, x = d["which"], d["x"]
    real = ctypes.c_float
    if which in WHOLE:
        name, result = {
            "sum of squares": ("sum_squares", real),
            "variance": ("variance", real),
            "argmax": ("arg_max", ctypes.c_long),
        }[which]
        return kernels.call("elementwise", name, x, x.size, result=result)
    if which == "crossentropy":
        g = np.empty_like(x)
        f = kernels.call("elementwise", which, x, d["label"], g, *x.shape, result=real)
        return lambda: [np.float32(f()), g]
    if which == "logsumexp":
        y = np.empty(len(x), "float32")
    else:
        y = np.empty_like(x)
    name = {"logsumexp": "logsumexp_rows", "softmax": "softmax_rows", "layer norm": "norm_rows"}
    return kernels.then(kernels.call("elementwise", name[which], x, y, *x.shape), y)


def numba(d: Data) -> Work:
    import numba as nb

    @nb.njit(fastmath=True)
    def sum_squares(x):
        s = np.float32(0)
        for i in range(x.size):
            s += x[i] * x[i]
        return s

    @nb.njit(fastmath=True)
    def variance(x):
        s, d = np.float32(0), np.float32(0)
        for i in range(x.size):
            s += x[i]
        s /= np.float32(x.size)
        for i in range(x.size):
            d += (x[i] - s) * (x[i] - s)
        return d / np.float32(x.size)

    @nb.njit(fastmath=True)
    def argmax(x):
        best, place = x[0], 0
        for i in range(x.size):
            if x[i] > best:
                best, place = x[i], i
        return place

    @nb.njit(fastmath=True)
    def logsumexp(x):
        y = np.empty(x.shape[0], np.float32)
        for i in range(x.shape[0]):
            top, s = x[i, 0], np.float32(0)
            for j in range(x.shape[1]):
                top = max(top, x[i, j])
            for j in range(x.shape[1]):
                s += np.exp(x[i, j] - top)
            y[i] = np.log(s) + top
        return y

    @nb.njit(fastmath=True)
    def softmax(x):
        y = np.empty_like(x)
        for i in range(x.shape[0]):
            top, s = x[i, 0], np.float32(0)
            for j in range(x.shape[1]):
                top = max(top, x[i, j])
            for j in range(x.shape[1]):
                y[i, j] = np.exp(x[i, j] - top)
                s += y[i, j]
            s = np.float32(1) / s
            for j in range(x.shape[1]):
                y[i, j] *= s
        return y

    f = {
        "sum of squares": sum_squares,
        "variance": variance,
        "argmax": argmax,
        "logsumexp": logsumexp,
        "softmax": softmax,
    }[d["which"]]
    return partial(f, d["x"])


def floor(d: Data) -> Work:
    from benchmarks import kernels

    x = d["x"]
    if d["which"] in WRITTEN:
        name = "copy_past_cache" if x.nbytes > 2**23 else "copy"
        return kernels.call("limits", name, x, np.empty_like(x), x.size)
    return kernels.call("limits", "read_all", x, x.size)


PEERS = makers(lt, c, numba, jax, pytensor, torch, numpy_, floor)


def without(*names: str) -> dict[str, object]:
    return {peer: maker for peer, maker in PEERS.items() if peer not in names}


ROWS_ = (1000, 1000)
MANY = (10_000, 1000)
CASES = [
    ("sum of squares", (10_000_000,), 0.95, 1.1, PEERS),
    ("variance", (10_000_000,), 0.95, 1.1, PEERS),
    ("argmax", (10_000_000,), 0.95, 1.1, PEERS),
    ("logsumexp", ROWS_, 0.6, 1.1, PEERS),
    ("logsumexp", MANY, 0.6, 1.1, PEERS),
    ("softmax", ROWS_, 0.6, 1.1, PEERS),
    ("softmax", MANY, 0.6, 1.1, PEERS),
    ("layer norm", ROWS_, 0.95, 1.1, without("numba")),
    ("layer norm", MANY, 0.95, 1.1, without("numba")),
    ("crossentropy", ROWS_, 0.95, 1.1, without("numba")),
    ("argmax of rows", MANY, 0.95, None, without("numba", "c")),
    ("variance of columns", MANY, 0.95, None, without("numba", "c")),
    ("sort", ROWS_, 0.95, None, without("numba", "c")),
    ("transposed copy", ROWS_, 0.95, None, without("numba", "c")),
]

ROWS = [
    Row(
        "W03",
        f"{which} {'of rows ' if which in ('logsumexp', 'softmax', 'layer norm', 'sort') else ''}"
        f"{' x '.join(map(str, shape)) if len(shape) > 1 else '1e7'}",
        partial(inputs, which, shape),
        peers,
        steps=int(np.prod(shape)),
        graph=graph_target,
        c=c_target,
        speedup=1.7 if np.prod(shape) > 5e6 else None,
        rtol=1e-4,
        floor="reading" + (" and writing" if which in WRITTEN else ""),
    )
    for which, shape, graph_target, c_target, peers in CASES
]
