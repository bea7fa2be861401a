"""Memory and time of a gradient through 1e5 steps of a 1000-vector state under a budget of 64 MB.

All states take 800 MB. Run ``python benchmarks/checkpoint_memory.py [full|auto|budget]``; each kind
runs in a process of its own.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np

import ltensor as theano
import ltensor.tensor as T

STEPS = 100_000
WIDTH = 1000
BUDGET = 64 << 20

#: steps by name
BODIES: dict[str, Any] = {
    "tanh": lambda h, a, b: T.tanh(a * h + b),
    "norm": lambda h, a, b: T.tanh(a * h + b) - 0.1 * h.mean(),
}


def peak() -> int:
    """Largest resident size so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def measure(kind: str, body: str) -> None:
    """Compile, run a few steps, then all of them, twice."""
    budget = BUDGET if kind == "budget" else 0
    h0, a, b, n = T.dvector("h0"), T.dvector("a"), T.dvector("b"), T.lscalar("n")
    rows, _ = theano.scan(
        BODIES[body],
        outputs_info=h0,
        non_sequences=[a, b],
        n_steps=n,
        checkpoint="auto" if kind == "auto" else None,
    )
    cost = (rows[-1] ** 2).sum()
    with theano.config.change_flags(scan__memory_budget=budget):
        start = time.perf_counter()
        f = theano.function([h0, a, b, n], [cost, *theano.grad(cost, [h0, a, b])])
        compiling = time.perf_counter() - start
    arguments = [np.full(WIDTH, 0.5), np.full(WIDTH, 1.2), np.linspace(-0.1, 0.1, WIDTH)]
    f(*arguments, 10)
    before = peak()
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        results = f(*arguments, STEPS)
        seconds.append(time.perf_counter() - start)
    check = float(sum(np.abs(r).sum() for r in results))
    print(
        f"{body:5} {kind:7} peak grew by {(peak() - before) / 2**20:7.1f} MB; compiled in "
        f"{compiling:.2f} s, first run {seconds[0]:.3f} s, then {min(seconds[1:]):.3f} s; "
        f"sum {check:.12g}"
    )


def main() -> None:
    """Every kind in a process of its own."""
    if len(sys.argv) > 2:
        measure(*sys.argv[1:3])
        return
    for body in BODIES:
        for kind in sys.argv[1:] or ("full", "auto", "budget"):
            subprocess.run([sys.executable, __file__, kind, body], check=True)


if __name__ == "__main__":
    main()
