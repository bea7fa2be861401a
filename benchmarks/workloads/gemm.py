"""Products of matrices by ``T.dot`` against OpenBLAS as NumPy calls it, in a kept buffer."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.row import Data, Row, Work


def inputs(m: int, k: int, n: int, dtype: str, rng: np.random.Generator) -> Data:
    return {
        "a": rng.standard_normal((m, k)).astype(dtype),
        "b": rng.standard_normal((k, n)).astype(dtype),
    }


def numpy_(d: Data) -> Work:
    a, b = d["a"], d["b"]
    y = np.empty((len(a), b.shape[1]), a.dtype)
    return lambda: np.dot(a, b, out=y)


def lt(d: Data) -> Work:
    import ltensor
    import ltensor.tensor as T

    a, b = (T.matrix(name, dtype=str(d[name].dtype)) for name in "ab")
    return partial(ltensor.function([a, b], T.dot(a, b)), d["a"], d["b"])


def jax(d: Data) -> Work:
    import jax.numpy as jnp
    from jax import jit

    a, b = jnp.asarray(d["a"]), jnp.asarray(d["b"])
    f = jit(jnp.dot)
    return lambda: f(a, b).block_until_ready()


def torch(d: Data) -> Work:
    import torch as t

    from benchmarks.torch_work import without_gradients

    return without_gradients(t.matmul, t.from_numpy(d["a"]), t.from_numpy(d["b"]))


def floor(d: Data) -> Work:
    import ctypes

    from benchmarks import kernels

    name = "peak_f32" if d["a"].dtype == "float32" else "peak_f64"
    return kernels.call("limits", name, d["a"].size * d["b"].shape[1], result=ctypes.c_double)


PEERS = {"lt": lt, "jax": jax, "torch": torch, "numpy": numpy_, "floor": floor}
SQUARES = (10, 20, 32, 64, 100, 128, 256, 512, 1024, 2048)
RECURRENT = [(m, 128, 512) for m in (1, 2, 4, 8, 16, 32, 64)] + [
    (1, 512, 2048),
    (16, 512, 2048),
    (64, 512, 512),
    (64, 512, 2048),
]


def row(m: int, k: int, n: int, dtype: str, over_numpy: float) -> Row:
    """A product beside its multiply-adds in registers."""
    return Row(
        "gemm",
        f"{m} x {k} x {n} {dtype}",
        partial(inputs, m, k, n, dtype),
        PEERS,
        numpy=over_numpy,
        rtol=1e-4 if dtype == "float32" else 1e-11,
        floor="as many multiply-adds in registers",
    )


ROWS = [
    *(row(n, n, n, "float32", 1 / 0.95) for n in SQUARES),
    *(row(n, n, n, "float64", 1 / 0.95) for n in (10, 100, 256, 512, 1024)),
    *(row(m, k, n, "float32", 1.0) for m, k, n in RECURRENT),
    *(row(m, 128, 512, "float64", 1.0) for m in (1, 8, 32)),
]
