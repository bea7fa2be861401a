"""Seconds to import and to compile, each in a process of its own, with and without the disk cache.

Run ``python benchmarks/compile_time.py``. The seed recurrent net is program 08 of the tests
(several taps), with the gradient of all five matrices.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile

PROGRAM = r"""
import sys, time
start = time.perf_counter()
import numpy as np
numpy_done = time.perf_counter()
import ltensor as theano
import ltensor.tensor as T
print("import", 1e3 * (time.perf_counter() - numpy_done))

def clock(name, build):
    inputs, outputs = build()
    begin = time.perf_counter()
    theano.function(inputs, outputs)
    print(name, 1e3 * (time.perf_counter() - begin))

def tiny():
    x = T.dvector("x")
    return [x], x + 1

def chain():
    x = T.dvector("x")
    return [x], T.tanh(x * 2) * T.exp(-x) + T.sqr(x)

rng = np.random.RandomState(0)
weights = [theano.shared(rng.rand(10, 10).astype("float32")) for _ in range(5)]

def recurrent():
    u, x0, y0 = T.fmatrix("u"), T.fmatrix("x0"), T.fvector("y0")
    def step(u4, u, x3, x1, y1, W, W1, W2, Wf, Wo):
        x = T.tanh(T.dot(x1, W) + T.dot(u, W1) + T.dot(u4, W2) + T.dot(y1, Wf))
        return [x, T.dot(x3, Wo)]
    (x, y), _ = theano.scan(step, sequences=dict(input=u, taps=[-4, 0]),
                            outputs_info=[dict(initial=x0, taps=[-3, -1]), y0],
                            non_sequences=weights, strict=True)
    return [u, x0, y0], [T.grad((x**2).sum() + (y**2).sum(), w) for w in weights]

clock("x+1, first in the process", tiny)
clock("elementwise chain", chain)
clock("seed net gradient, first product", recurrent)
def again():
    u, x0, y0 = T.fmatrix("u"), T.fmatrix("x0"), T.fvector("y0")
    def step(u, x1, W, U):
        return T.tanh(T.dot(u, W) + T.dot(x1, U))
    h, _ = theano.scan(step, u, [y0], [weights[0], weights[1]])
    return [u, y0], T.grad((h**2).sum(), [weights[0], weights[1]])
clock("vanilla net gradient", again)
"""


def run(cache: str) -> dict[str, float]:
    """One process; figures in milliseconds."""
    environment = {**os.environ, "LTENSOR_CACHE_DIR": cache}
    # an installed package has its bytecode
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, check=True, capture_output=True, text=True
    )
    figures = {}
    for line in done.stdout.splitlines():
        name, value = line.rsplit(" ", 1)
        figures[name] = float(value)
    return figures


def main() -> None:
    """Five processes without, five with a warm cache; medians."""
    cold, warm = [], []
    with tempfile.TemporaryDirectory() as kept:
        run(kept)
        for _ in range(5):
            with tempfile.TemporaryDirectory() as empty:
                cold.append(run(empty))
            warm.append(run(kept))
    print(f"{'milliseconds':34s} {'cold':>8s} {'cached':>8s}")
    for name in cold[0]:
        a = statistics.median(f[name] for f in cold)
        b = statistics.median(f[name] for f in warm)
        print(f"{name:34s} {a:8.1f} {b:8.1f}")


if __name__ == "__main__":
    main()
