"""Scalar recurrences of a million steps: scan against the same loop in C (gcc -O3 -march=native).

Run ``python benchmarks/scalar_loops.py [--steps N] [--rounds N]``. Results are checked first, then
timed in interleaved rounds; the table shows medians and the ratio to C.
"""

from __future__ import annotations

import argparse
import ctypes
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import ltensor as theano
import ltensor.tensor as T

C_SOURCE = r"""
#include <math.h>
void ema(const double* x, double* y, double a, long n) {
    double s = 0;
    for (long t = 0; t < n; t++) { s = a * s + (1 - a) * x[t]; y[t] = s; }
}
double ema_last(const double* x, double a, long n) {
    double s = 0;
    for (long t = 0; t < n; t++) s = a * s + (1 - a) * x[t];
    return s;
}
void two_taps(const double* x, double* y, double a, double b, long n) {
    double p = 0, q = 0;
    for (long t = 0; t < n; t++) { double v = a * p + b * q + x[t]; y[t] = v; q = p; p = v; }
}
double logistic(double r, double x, long n) {
    for (long t = 0; t < n; t++) x = r * x * (1 - x);
    return x;
}
double area(const double* x, double dx, long n) {
    double s = 0;
    for (long t = 0; t < n; t++) s += 2. * sqrt(1 - x[t] * x[t]) * dx;
    return s;
}
"""


def compile_c() -> ctypes.CDLL:
    """The C loops as a shared library."""
    folder = Path(tempfile.mkdtemp())
    source, library = folder / "loops.c", folder / "loops.so"
    source.write_text(C_SOURCE)
    subprocess.run(
        ["gcc", "-O3", "-march=native", "-shared", "-fPIC", "-o", library, source, "-lm"],
        check=True,
    )
    return ctypes.CDLL(str(library))


def cases(
    steps: int, lib: ctypes.CDLL
) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Name -> (ltensor, C), both without arguments, both returning the result."""
    rng = np.random.default_rng(0)
    data = rng.normal(size=steps)
    grid = np.linspace(-1, 1, steps + 2)[1:-1].copy()
    out = np.empty(steps)
    double, pointer, integer = ctypes.c_double, ctypes.c_void_p, ctypes.c_long
    for name in ("ema_last", "logistic", "area"):
        getattr(lib, name).restype = double
    x, a, b = T.dvector("x"), T.dscalar("a"), T.dscalar("b")
    n = T.lscalar("n")
    zero = np.float64(0)

    ema, _ = theano.scan(lambda v, s, a: a * s + (1 - a) * v, x, [T.constant(zero)], [a])
    two, _ = theano.scan(
        lambda v, p, q, a, b: a * p + b * q + v,
        x,
        [dict(initial=T.constant(np.zeros(2)), taps=[-1, -2])],
        [a, b],
    )
    chaos, _ = theano.scan(lambda s, r: r * s * (1 - s), None, [b], [a], n_steps=n)
    area, _ = theano.scan(
        lambda v, s, d: s + 2.0 * T.sqrt(1 - v**2) * d, x, [T.constant(zero)], [a]
    )
    f_ema = theano.function([x, a], ema)
    f_last = theano.function([x, a], ema[-1])
    f_two = theano.function([x, a, b], two)
    f_chaos = theano.function([a, b, n], chaos[-1])
    f_area = theano.function([x, a], area[-1])
    where, grid_at, out_at = data.ctypes.data, grid.ctypes.data, out.ctypes.data

    def c_ema() -> object:
        lib.ema(pointer(where), pointer(out_at), double(0.9), integer(steps))
        return out

    def c_two() -> object:
        lib.two_taps(pointer(where), pointer(out_at), double(0.5), double(0.3), integer(steps))
        return out

    return {
        "moving average, all rows": (lambda: f_ema(data, 0.9), c_ema),
        "moving average, last": (
            lambda: f_last(data, 0.9),
            lambda: lib.ema_last(pointer(where), double(0.9), integer(steps)),
        ),
        "two taps, all rows": (lambda: f_two(data, 0.5, 0.3), c_two),
        "logistic map, last": (
            lambda: f_chaos(3.7, 0.4, steps),
            lambda: lib.logistic(double(3.7), double(0.4), integer(steps)),
        ),
        "area of a disc, last": (
            lambda: f_area(grid, 2.0 / steps),
            lambda: lib.area(pointer(grid_at), double(2.0 / steps), integer(steps)),
        ),
    }


def main() -> None:
    """Check, time, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    if shutil.which("gcc") is None:
        raise SystemExit("gcc is needed for the comparison")
    table = cases(options.steps, compile_c())
    for name, (ours, c) in table.items():
        if "logistic" not in name:  # chaotic: rounding differs, the loop is the same
            np.testing.assert_allclose(ours(), c(), rtol=1e-9, err_msg=name)
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in table}
    for _ in range(options.rounds):
        for name, pair in table.items():
            for kept, call in zip(times[name], pair, strict=True):
                start = time.perf_counter()
                call()
                kept.append(time.perf_counter() - start)
    print(
        f"{'':28s} {'ltensor':>9s} {'C':>9s} {'ratio':>6s}   ({options.steps} steps, ns per step)"
    )
    for name, (ours, c) in times.items():
        a, b = statistics.median(ours), statistics.median(c)
        scale = 1e9 / options.steps
        print(f"{name:28s} {a * scale:9.2f} {b * scale:9.2f} {a / b:6.2f}")


if __name__ == "__main__":
    main()
