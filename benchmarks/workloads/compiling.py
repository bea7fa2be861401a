"""W17: compiling, from the first line of the program to its first result, in a fresh process.

Imports are done before. `cached` is a second process that finds what the first left on the disk.
Besides: what importing takes beyond NumPy, and how many bytes an installation has.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.row import Data, Row, Work
from benchmarks.workloads import w04_logistic as logistic
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

LOGISTIC = {
    "lt": logistic.lt,
    "jax": logistic.jax,
    "pytensor": logistic.pytensor,
    "torch": logistic.torch,
    "inductor": logistic.torch,
}

MODULES = {"lt": "ltensor.tensor", "pytensor": "pytensor.tensor", "jax": "jax.numpy"}
TIMED = """
import sys, time
import numpy
start = time.process_time()
import {}
print(time.process_time() - start)
"""


def import_time(peer: str, d: Data) -> Work:
    """Processor seconds of an import after NumPy's, the least of five processes."""

    def work() -> float:
        command = [sys.executable, "-c", TIMED.format(MODULES.get(peer, peer))]
        folder = Path(__file__).resolve().parent.parent.parent
        runs = [
            subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)
            for _ in range(5)
        ]
        return min(float(run.stdout) for run in runs)

    return work


def folder_size(folder: Path) -> int:
    """Bytes of the files that belong to an installation: compiled Python does not."""
    return sum(
        f.stat().st_size
        for f in folder.rglob("*")
        if f.is_file() and not f.is_symlink() and "__pycache__" not in f.parts
    )


def installed_size(peer: str, d: Data) -> Work:
    """The packages of a peer's environment; ltensor with what it requires."""

    def work() -> int:
        import numpy

        site = Path(numpy.__file__).resolve().parent.parent
        if peer != "lt":
            tools = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
            return sum(
                folder_size(f) for f in site.iterdir() if f.name.partition("-")[0] not in tools
            )
        import ltensor

        parts = [f for f in site.iterdir() if f.name.startswith(("numpy", "llvmlite"))]
        return sum(map(folder_size, [*parts, Path(ltensor.__file__).resolve().parent]))

    return work


OTHERS = ("lt", "numba", "jax", "pytensor", "torch")


ROWS = [
    Row("W17 compile", "x + 1, first in the process", numbers, TINY, kind="compile", graph=0.1),
    Row(
        "W17 compile",
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
        "W17 compile",
        "LSTM, value and gradient, first in the process",
        net,
        NET,
        kind="compile",
        graph=0.1,
        rtol=1e-3,
        atol=1e-7,
    ),
    Row(
        "W17 compile",
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
    Row(
        "W17 compile",
        "logistic regression, first in the process",
        partial(logistic.inputs, "float64"),
        LOGISTIC,
        kind="compile",
        graph=0.1,
    ),
    Row(
        "W17 compile",
        f"logistic regression{LATER}",
        partial(logistic.inputs, "float64"),
        {p: m for p, m in LOGISTIC.items() if p in PEERS},
        kind="compile",
        graph=0.1,
        before=BEFORE,
    ),
    Row(
        "W17",
        "import, beyond NumPy",
        numbers,
        {peer: partial(import_time, peer) for peer in OTHERS},
        kind="seconds",
        limit=0.15,
    ),
    Row(
        "W17",
        "installed size",
        numbers,
        {peer: partial(installed_size, peer) for peer in OTHERS},
        kind="size",
        limit=246e6,
    ),
]
