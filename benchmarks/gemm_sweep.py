"""Where are products slower than NumPy's? Many shapes, all transpositions, both precisions.

``python -m benchmarks.gemm_sweep [--dtype float32] [--match 64] [--all] [--limit 0.95]`` compares
``T.dot`` and its kin with the same call of NumPy, both with what a call costs, and with ``--inner``
the product that generated code calls with CBLAS, both in a loop of compiled code. It lists what is
below the limit: NumPy's time over ltensor's, least of interleaved rounds of processor time.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

SQUARE = (10, 16, 17, 31, 32, 33, 48, 63, 64, 65, 100, 127, 128, 255, 256, 500, 512)
LARGE = (1000, 1024, 2048)
#: M, K, N
OTHERS = [
    *((m, 128, 512) for m in (1, 2, 3, 4, 7, 8, 13, 16, 32, 64)),
    *((m, 512, 512) for m in (1, 2, 4, 8, 16, 32, 64)),
    (1, 512, 2048), (16, 512, 2048), (64, 512, 2048), (64, 2048, 512), (128, 784, 512),
    *((200, 300, n) for n in (1, 2, 3, 4, 5, 8, 10, 16, 17)),
    *((n, 300, 200) for n in (3, 5, 10, 17)),
    (4000, 20, 10), (4000, 10, 20), (10000, 8, 8), (5000, 64, 3), (3, 64, 5000), (8, 8, 10000),
    (2000, 1, 300), (2000, 2, 300), (500, 3, 500), (500, 7, 500),
    (8, 20000, 8), (16, 20000, 16), (64, 10000, 64), (10, 5000, 100), (100, 5000, 10),
    (1000, 33, 65), (33, 1000, 65), (65, 33, 1000), (1000, 1000, 10), (10, 1000, 1000),
    (300, 300, 1), (1, 300, 300), (1000, 1000, 1), (1, 1000, 1000), (5000, 40, 1), (40, 5000, 1),
    (1, 5000, 40), (1, 40, 5000),
]  # fmt: skip


def operands(dtype: str, m: int, k: int, n: int, how: str) -> tuple[np.ndarray, np.ndarray]:
    """Return A and B, transposed views where ``how`` has a "t"."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((k, m) if how[0] == "t" else (m, k)).astype(dtype)
    b = rng.standard_normal((n, k) if how[1] == "t" else (k, n)).astype(dtype)
    return a.T if how[0] == "t" else a, b.T if how[1] == "t" else b


def least(calls: list[Callable[[int], float]], seconds: float, rounds: int) -> list[float]:
    """Return each one's least seconds per call, measured in turns."""
    best = [min(call(1) for _ in range(3)) for call in calls]
    counts = [max(1, int(seconds / max(t, 1e-8))) for t in best]
    for _ in range(rounds):
        for i, call in enumerate(calls):
            best[i] = min(best[i], call(counts[i]) / counts[i])
    return best


def timed(function: Callable[..., Any], *args: Any) -> Callable[[int], float]:
    """Return what takes the processor time of so many calls."""

    def run(count: int) -> float:
        start = time.process_time()
        for _ in range(count):
            function(*args)
        return time.process_time() - start

    return run


def call_cases(dtype: str, sizes: list[tuple[int, int, int]]) -> Iterator[tuple[str, Any, Any]]:
    """Yield a name, NumPy's call and ltensor's."""
    import ltensor
    import ltensor.tensor as T

    def compiled(program: Callable[..., Any], *arrays: np.ndarray) -> Callable[..., Any]:
        symbols = [T.TensorType(dtype, (False,) * x.ndim)() for x in arrays]
        return ltensor.function(symbols, program(*symbols))

    two = [np.zeros((2, 2), dtype)] * 2
    programs = {
        "nn": compiled(T.dot, *two),
        "nt": compiled(lambda x, y: T.dot(x, y.T), *two),
        "tn": compiled(lambda x, y: T.dot(x.T, y), *two),
        "tt": compiled(lambda x, y: T.dot(x.T, y.T), *two),
    }
    for m, k, n in sizes:
        for how, program in programs.items():
            a, b = operands(dtype, m, k, n, how)
            plain = (a.T if how[0] == "t" else a, b.T if how[1] == "t" else b)
            yield (
                f"{how} {m}x{k} @ {k}x{n}",
                timed(np.dot, a, b),
                timed(program, *plain),
            )
    rng = np.random.default_rng(1)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(dtype)

    kin: list[tuple[str, Callable[..., Any], Callable[..., Any], list[tuple[Any, ...]]]] = [
        ("matrix vector", np.dot, T.dot,
         [(draw(m, k), draw(k)) for m, k in ((10, 10), (100, 100), (300, 300), (1000, 1000),
          (5000, 40), (40, 5000), (127, 63), (2000, 2000))]),
        ("vector matrix", np.dot, T.dot,
         [(draw(k), draw(k, n)) for n, k in ((10, 10), (100, 100), (300, 300), (1000, 1000),
          (5000, 40), (40, 5000), (127, 63), (2000, 2000))]),
        ("turned vector", lambda a, b: np.dot(a.T, b), lambda a, b: T.dot(a.T, b),
         [(draw(k, m), draw(k)) for m, k in ((10, 10), (300, 300), (1000, 1000), (5000, 40),
          (40, 5000))]),
        ("vector turned", lambda a, b: np.dot(a, b.T), lambda a, b: T.dot(a, b.T),
         [(draw(k), draw(n, k)) for n, k in ((10, 10), (300, 300), (1000, 1000), (5000, 40),
          (40, 5000))]),
        ("vectors", np.dot, T.dot,
         [(draw(n), draw(n)) for n in (1, 10, 17, 100, 1000, 10000, 100000, 1000000)]),
        ("outer", np.outer, T.outer,
         [(draw(m), draw(n)) for m, n in ((10, 10), (100, 100), (300, 500), (1000, 1000))]),
        ("batched", np.matmul, T.batched_dot,
         [(draw(b, m, k), draw(b, k, n)) for b, m, k, n in ((1000, 4, 4, 4), (1000, 10, 10, 10),
          (100, 32, 32, 32), (500, 16, 5, 3), (20, 100, 100, 100), (1000, 1, 50, 50),
          (1000, 50, 50, 1), (64, 33, 17, 9))]),
        ("tensordot 1", lambda a, b: np.tensordot(a, b, 1), lambda a, b: T.tensordot(a, b, 1),
         [(draw(10, 20, 30), draw(30, 40)), (draw(5, 5, 5), draw(5, 5)),
          (draw(50, 20, 100), draw(100, 10, 10))]),
        ("tensordot [1,2] [1,0]", lambda a, b: np.tensordot(a, b, [[1, 2], [1, 0]]),
         lambda a, b: T.tensordot(a, b, [[1, 2], [1, 0]]),
         [(draw(10, 20, 30), draw(30, 20, 40)), (draw(64, 10, 12), draw(12, 10, 100))]),
    ]  # fmt: skip
    for name, numpy_call, program, cases in kin:
        functions: dict[tuple[int, ...], Callable[..., Any]] = {}
        for arrays in cases:
            ranks = tuple(x.ndim for x in arrays)
            if ranks not in functions:
                functions[ranks] = compiled(program, *arrays)
            function = functions[ranks]
            shapes = " @ ".join("x".join(map(str, x.shape)) for x in arrays)
            yield f"{name} {shapes}", timed(numpy_call, *arrays), timed(function, *arrays)


def inner_cases(dtype: str, sizes: list[tuple[int, int, int]]) -> Iterator[tuple[str, Any, Any]]:
    """Yield a name, CBLAS and ltensor's product, each called by compiled code."""
    from benchmarks.gemm import harness
    from ltensor.lowering.gemm import blas

    library = blas.find()
    if library is None:
        raise SystemExit(f"no BLAS: {blas.reason()}")
    module = harness(dtype, library)
    i64, ptr = ctypes.c_int64, ctypes.c_void_p
    prototype = ctypes.CFUNCTYPE(None, i64, i64, i64, i64, ptr, i64, i64, ptr, i64, i64, ptr)

    def caller(
        name: str, how: str, a: np.ndarray, b: np.ndarray, c: np.ndarray
    ) -> Callable[[int], float]:
        function = prototype(module.address(f"bench_{name}"))
        (m, k), n = a.shape, b.shape[1]
        # not NumPy's strides, which mean nothing along axes of one element
        steps = [*((k, 1) if how[0] == "n" else (1, m)), *((n, 1) if how[1] == "n" else (1, k))]

        def run(count: int) -> float:
            start = time.process_time()
            function(count, m, n, k, a.ctypes.data, *steps[:2], b.ctypes.data, *steps[2:],
                     c.ctypes.data)  # fmt: skip
            return time.process_time() - start

        return run

    for m, k, n in sizes:
        for how in ("nn", "nt", "tn", "tt"):
            # transposing a vector changes nothing
            if (how[0] == "t" and 1 in (m, k)) or (how[1] == "t" and 1 in (k, n)):
                continue
            a, b = operands(dtype, m, k, n, how)
            c = np.zeros((m, n), dtype)
            calls = [caller(name, how, a, b, c) for name in ("blas", "dispatch")]
            yield f"{how} {m}x{k} @ {k}x{n}", *calls


def main() -> None:
    """Print what is below the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", action="append", help="float32 and float64 if not given")
    parser.add_argument("--match", default="", help="only cases whose names contain this")
    parser.add_argument("--inner", action="store_true", help="called by compiled code")
    parser.add_argument("--all", action="store_true", help="print every case")
    parser.add_argument("--large", action="store_true", help="up to 2048 as well")
    parser.add_argument("--limit", type=float, default=0.95)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    for name in sorted(name for name in os.environ if name.startswith("OPENBLAS_")):
        print(f"note: {name}={os.environ[name]} is set")
    import ltensor

    ltensor.config.num_threads = 1
    from ltensor.lowering.gemm import blas

    library = blas.find()
    if library is not None:
        library.use_threads(1)
    print(f"BLAS: {blas.reason()}")
    sizes = [(n, n, n) for n in SQUARE] + OTHERS
    if options.large:
        sizes += [(n, n, n) for n in LARGE]
    cases = inner_cases if options.inner else call_cases
    for dtype in options.dtype or ["float32", "float64"]:
        below = count = 0
        for name, reference, own in cases(dtype, sizes):
            if options.match not in name:
                continue
            numpy_time, time_taken = least([reference, own], 2e-3, options.rounds)
            ratio = numpy_time / time_taken
            if ratio < options.limit:  # what is near the limit is measured with more care
                numpy_time, time_taken = least([reference, own], 5e-3, 2 * options.rounds)
                ratio = numpy_time / time_taken
            count += 1
            below += ratio < options.limit
            if options.all or ratio < options.limit:
                print(
                    f"{dtype} {name:32} {1e6 * numpy_time:10.2f} us {1e6 * time_taken:10.2f} us"
                    f"  {ratio:.2f}",
                    flush=True,
                )
        print(f"{dtype}: {below} of {count} below {options.limit}")


if __name__ == "__main__":
    main()
