"""The loops in C: compiled by gcc when first used, called through ctypes."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
STRICT = ["-O3", "-march=native", "-fopenmp"]
FAST = [*STRICT, "-ffast-math"]

#: Which of the two sets of flags this process uses; the worker sets it.
fast_math = False


def cache_folder() -> Path:
    """Where compiled kernels and the peers' environments are kept."""
    default = Path.home() / ".cache" / "ltensor-benchmarks"
    return Path(os.environ.get("LTENSOR_BENCHMARKS_DIR", default))


@functools.cache
def load(name: str) -> ctypes.CDLL:
    """Compile ``kernels/NAME.c`` unless that was done before, and load it."""
    source = HERE / f"{name}.c"
    flags = FAST if fast_math else STRICT
    text = source.read_bytes() + (HERE / "blas.h").read_bytes() + " ".join(flags).encode()
    folder = cache_folder() / "kernels"
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / f"{name}-{hashlib.sha1(text).hexdigest()[:16]}.so"
    if not library.exists():
        part = library.with_suffix(f".{os.getpid()}")
        link = ["-lmvec", "-lm"] if fast_math else ["-lm"]
        command = ["gcc", *flags, "-shared", "-fPIC", "-o", str(part), str(source), *link]
        subprocess.run(command, check=True)
        part.rename(library)
    return ctypes.CDLL(str(library))


def call(name: str, function: str, *arguments: Any, result: Any = None) -> Any:
    """Give a function without arguments that calls ``function`` of ``NAME.c``.

    Arrays are passed as pointers, ints as long, floats as double.
    """
    f = getattr(load(name), function)
    f.restype = result
    kept: list[Any] = []
    for a in arguments:
        if isinstance(a, np.ndarray):
            assert a.flags.c_contiguous
            kept.append(ctypes.c_void_p(a.ctypes.data))
        elif isinstance(a, float):
            kept.append(ctypes.c_double(a))
        elif isinstance(a, int | np.integer):
            kept.append(ctypes.c_long(int(a)))
        else:
            kept.append(a)
    work = functools.partial(f, *kept)
    work.arrays = arguments  # type: ignore[attr-defined]  # keeps them alive
    return work


def then(f: Any, *results: Any) -> Any:
    """A function without arguments that calls ``f`` and gives the arrays that it fills."""

    def work() -> Any:
        f()
        return results

    return work


@functools.cache
def sgemm() -> ctypes.c_void_p:
    """Address of single precision GEMM in the OpenBLAS that NumPy brings."""
    return ctypes.cast(_blas().scipy_cblas_sgemm64_, ctypes.c_void_p)


@functools.cache
def _blas() -> ctypes.CDLL:
    folder = Path(np.__file__).resolve().parent.parent / "numpy.libs"
    for path in sorted(folder.glob("libscipy_openblas64_*.so*")):
        return ctypes.CDLL(str(path))
    raise OSError("NumPy's OpenBLAS was not found")
