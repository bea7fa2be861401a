"""Compiling: from the first line of the program to its first result, in a fresh process.

Imports are done before. `cached` is a second process that finds what the first left on the disk.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.row import Data, Row, Work
from benchmarks.workloads import w09_recurrent_nets as nets


def numbers(rng: np.random.Generator) -> Data:
    return {"x": rng.standard_normal(10)}


def tiny(peer: str, expression: Callable, d: Data) -> Work:
    """A function of one vector."""
    if peer == "jax":
        import jax

        g = jax.jit(expression)
        return lambda: g(d["x"]).block_until_ready()
    if peer == "lt":
        import ltensor as theano
        import ltensor.tensor as T
    else:
        import pytensor as theano
        import pytensor.tensor as T

    x = T.dvector("x")
    f = theano.function([x], expression(x))
    return lambda: f(d["x"])


def net(rng: np.random.Generator) -> Data:
    d = nets.inputs("lstm", True, 2, 16, rng)
    d["x"] = d["x"][:5]
    return d


PEERS = ("lt", "jax", "pytensor")
TINY = {peer: partial(tiny, peer, lambda x: x + 1) for peer in PEERS}
NET = {"lt": nets.lt, "jax": nets.jax, "pytensor": nets.pytensor}
LATER = ", after another function"


def other(peer: str, d: Data) -> Work:
    """Another small function, so that what is loaded when first needed is there."""
    return tiny(peer, lambda x: x * 2, {"x": np.ones(10)})


BEFORE = {peer: partial(other, peer) for peer in PEERS}

ROWS = [
    Row("compile", "x + 1, first in the process", numbers, TINY, kind="compile", graph=0.1),
    Row(
        "compile",
        f"x + 1{LATER}",
        numbers,
        TINY,
        kind="compile",
        limit=0.005,
        limit_cached=0.001,
        graph=0.1,
        before=BEFORE,
    ),
    Row(
        "compile",
        "LSTM, value and gradient, first in the process",
        net,
        NET,
        kind="compile",
        graph=0.1,
        rtol=1e-3,
        atol=1e-7,
    ),
    Row(
        "compile",
        f"LSTM, value and gradient{LATER}",
        net,
        NET,
        kind="compile",
        limit=0.150,
        limit_cached=0.015,
        graph=0.1,
        rtol=1e-3,
        atol=1e-7,
        before=BEFORE,
    ),
]
