"""Own matrix product kernels against OpenBLAS, both called by address from compiled code.

``python benchmarks/gemm.py [--dtype float32] [--quick] [--transposed]`` prints GFLOP/s (medians of
interleaved rounds, one thread) and the ratio of speeds, above 1 where the own kernel is faster.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import statistics
import time

import numpy as np

from ltensor.lowering.cpu import jit
from ltensor.lowering.gemm import blas, choice, dispatch, tables
from ltensor.lowering.gemm.element import Element

SHAPES = [
    (1, 128, 512), (1, 128, 128), (1, 512, 2048), (4, 128, 512), (8, 128, 512), (16, 128, 512),
    (32, 128, 512), (64, 128, 512), (10, 10, 10), (20, 20, 20), (32, 64, 256), (64, 512, 512),
    (64, 512, 2048), (100, 100, 100), (256, 256, 256), (512, 512, 512), (1024, 1024, 1024),
    (512, 128, 1), (200, 784, 10),
]  # fmt: skip
"""M, K, N, as in "1x128 @ 128x512"."""


def harness(dtype: str, library: blas.BlasInfo | None) -> jit.CompiledModule:
    """Compile loops that call the own kernel and BLAS many times."""
    text = choice.module_text(dtype, jit.host(), library)
    short = dispatch.short_name(dtype)
    el = Element.make(dtype, jit.host())
    ty, parts = el.ir, el.parts
    one = ", ".join(f"{ty} {v}" for v in ("1.0", "0.0", "0.0", "0.0")[: 2 * parts])
    if parts == 2:  # alpha, alpha_im, beta, beta_im
        text += f"@one = constant [2 x {ty}] [{ty} 1.0, {ty} 0.0]\n"
        text += f"@none = constant [2 x {ty}] zeroinitializer\n"
    alpha, beta = ("ptr @one", "ptr @none") if parts == 2 else (f"{ty} 1.0", f"{ty} 0.0")
    params = (
        "i64 %reps, i64 %M, i64 %N, i64 %K, ptr %A, i64 %ars, i64 %acs, "
        "ptr %B, i64 %brs, i64 %bcs, ptr %C"
    )
    own = (
        f"call void @lt_gemm_{short}(i64 %M, i64 %N, i64 %K, ptr %A, i64 %ars, i64 %acs, ptr %B, "
        f"i64 %brs, i64 %bcs, ptr %C, i64 %N, {one})"
    )
    calls = {"own": own, "dispatch": own.replace("lt_gemm", "lt_matmul")}
    if library is not None:
        letter = {"f32": "s", "f64": "d", "c64": "c", "c128": "z"}[short]
        i = f"i{library.int_bits}"
        calls["blas"] = (
            f"call void @lt_blas_{letter}gemm(i32 101, i32 %at, i32 %bt, {i} %M, {i} %N, {i} %K, "
            f"{alpha}, ptr %A, {i} %lda, ptr %B, {i} %ldb, {beta}, ptr %C, {i} %N)"
        )
    for name, call in calls.items():
        text += f"""
define void @bench_{name}({params}) {{
entry:
  %plain = icmp eq i64 %bcs, 1
  %bt = select i1 %plain, i32 111, i32 112
  %ldb = select i1 %plain, i64 %brs, i64 %bcs
  %a.plain = icmp eq i64 %acs, 1
  %at = select i1 %a.plain, i32 111, i32 112
  %lda = select i1 %a.plain, i64 %ars, i64 %acs
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %j, %loop ]
  {call}
  %j = add i64 %i, 1
  %more = icmp slt i64 %j, %reps
  br i1 %more, label %loop, label %done
done:
  ret void
}}
"""
    return jit.compile_module(
        text, dispatch.symbols(dtype, library), optimize=tables.RUNTIME_PASSES
    )


def measure(
    module: jit.CompiledModule, names: list[str], dtype: str, shape: tuple[int, int, int],
    *, transposed: bool, rounds: int, budget: float,
) -> dict[str, float]:  # fmt: skip
    """Return GFLOP/s by name."""
    m, k, n = shape
    rng = np.random.default_rng(0)
    a = rng.standard_normal((m, k)).astype(dtype)
    b = rng.standard_normal((n, k) if transposed else (k, n)).astype(dtype)
    b = b.T if transposed else b
    c = np.zeros((m, n), dtype)
    size = a.itemsize
    i64, ptr = ctypes.c_int64, ctypes.c_void_p
    prototype = ctypes.CFUNCTYPE(None, i64, i64, i64, i64, ptr, i64, i64, ptr, i64, i64, ptr)

    def run(name: str, reps: int) -> float:
        function = prototype(module.address(f"bench_{name}"))
        start = time.perf_counter()
        function(reps, m, n, k, a.ctypes.data, k, 1, b.ctypes.data, b.strides[0] // size,
                 b.strides[1] // size, c.ctypes.data)  # fmt: skip
        return (time.perf_counter() - start) / reps

    once = {name: min(run(name, 1) for _ in range(3)) for name in names}
    reps = {name: max(1, int(budget / seconds)) for name, seconds in once.items()}
    # Interleaved, so that a disturbance meets all of them.
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            times[name].append(run(name, reps[name]))
    work = (8e-9 if np.dtype(dtype).kind == "c" else 2e-9) * m * n * k
    return {name: work / statistics.median(t) for name, t in times.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--transposed", action="store_true", help="B is a transposed view")
    parser.add_argument("--dispatch", action="store_true", help="add what generated code calls")
    options = parser.parse_args()
    library = blas.find()
    if library is not None:
        library.use_threads(1)
    print(f"BLAS: {blas.reason()}")
    for name in sorted(name for name in os.environ if name.startswith("OPENBLAS_")):
        # It may hold OpenBLAS to kernels narrower than the machine's: compare with it unset.
        print(f"note: {name}={os.environ[name]} is set")
    start = time.perf_counter()
    module = harness(options.dtype, library)
    print(f"compiled in {1e3 * (time.perf_counter() - start):.0f} ms, {options.dtype}")
    names = ["own", *(["blas"] if library else []), *(["dispatch"] if options.dispatch else [])]
    rounds, budget = (5, 2e-3) if options.quick else (15, 5e-3)
    for shape in SHAPES:
        speed = measure(module, names, options.dtype, shape, transposed=options.transposed,
                        rounds=rounds, budget=budget)  # fmt: skip
        m, k, n = shape
        cells = "  ".join(f"{name} {value:6.1f}" for name, value in speed.items())
        ratio = f"  own/blas {speed['own'] / speed['blas']:.2f}" if library else ""
        print(f"{f'{m}x{k} @ {k}x{n}':>24}  {cells}{ratio}")


if __name__ == "__main__":
    main()
