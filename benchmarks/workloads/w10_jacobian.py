"""W10: a Jacobian by a scan over ``T.grad(y[i], v)``, 100 by 100."""

from __future__ import annotations

import numpy as np

from benchmarks.row import Data, Row, Work

D = 100


def inputs(rng: np.random.Generator) -> Data:
    return {"v": rng.standard_normal(D), "a": 0.1 * rng.standard_normal((D, D))}


def numpy_(d: Data) -> Work:
    v, a = d["v"], d["a"]
    return lambda: (1 - np.tanh(v @ a) ** 2)[:, None] * a.T


def lt(d: Data) -> Work:
    import ltensor as theano
    import ltensor.tensor as T

    v, a = T.dvector("v"), T.dmatrix("a")
    y = T.tanh(T.dot(v, a))
    rows, updates = theano.scan(
        lambda i, y, v: T.grad(y[i], v), sequences=T.arange(y.shape[0]), non_sequences=[y, v]
    )
    f = theano.function([v, a], rows, updates=updates)
    return lambda: f(d["v"], d["a"])


def pytensor(d: Data) -> Work:
    import pytensor as pt
    import pytensor.tensor as T

    v, a = T.dvector("v"), T.dmatrix("a")
    y = T.tanh(T.dot(v, a))
    rows = pt.scan(
        lambda i, y, v: pt.grad(y[i], v),
        sequences=T.arange(y.shape[0]),
        non_sequences=[y, v],
        return_updates=False,
    )
    f = pt.function([v, a], rows)
    return lambda: f(d["v"], d["a"])


def c(d: Data) -> Work:
    from benchmarks import kernels

    y, jac = np.empty(D), np.empty((D, D))
    f = kernels.call("networks", "jacobian", d["v"], d["a"], y, jac, D)

    def work():
        f()
        return jac

    return work


def jax(d: Data) -> Work:
    import jax.numpy as jnp
    from jax import jacrev, jit

    v, a = jnp.asarray(d["v"]), jnp.asarray(d["a"])
    f = jit(jacrev(lambda v, a: jnp.tanh(v @ a)))
    return lambda: f(v, a).block_until_ready()


ROWS = [
    Row(
        "W10",
        "Jacobian by scan, d=100",
        inputs,
        {"lt": lt, "c": c, "jax": jax, "pytensor": pytensor, "numpy": numpy_},
        steps=D,
        graph=0.3,
        rtol=1e-10,
        notes={"numba": "has no gradients; the loop by hand is the C one"},
    ),
]
