"""The run time's own kernels (products, sorts, random numbers), compiled when first called."""

from __future__ import annotations

from collections.abc import Iterable

from ltensor.lowering.cpu import block_pool, jit, thread_pool
from ltensor.lowering.cpu.once import Once

#: suffixes of the matrix products' symbols
SUFFIXES = {
    "bool": "bool",
    **{f"{kind}{bits}": f"{kind[0]}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
    "float32": "f32",
    "float64": "f64",
    "complex64": "c64",
    "complex128": "c128",
}
#: how the names of products begin
_PRODUCTS = ("lt_matmul", "lt_gemm", "lt_keep")
_SORTS = ("lt_sort_", "lt_argsort_")
_DTYPES = {suffix: dtype for dtype, suffix in SUFFIXES.items()}


def addresses(symbols: Iterable[str], *, complete: bool = False) -> dict[str, int]:
    """Addresses of run-time functions, compiling the libraries that define them.

    Parameters
    ----------
    complete : bool
        Compile all parts of products at once: threads that do not hold Python's lock cannot have
        a part compiled when they want it.
    """
    found = {}
    threads = thread_pool.count()
    for symbol in symbols:
        if symbol.startswith("lt_block_"):
            found[symbol] = block_pool.address(symbol)
        elif symbol.startswith("lt_rng_"):
            found[symbol] = _random().address(symbol)
        elif symbol.startswith(_SORTS):
            found[symbol] = _sort(symbol).address(symbol)
        elif symbol.startswith("lt_turn_"):
            found[symbol] = _turn(symbol).address(symbol)
        elif symbol.startswith("lt_runs_"):
            found[symbol] = _runs(_DTYPES[symbol.rsplit("_", 1)[1]]).address(symbol)
        elif symbol == "lt_matmul_f16":
            if complete:
                addresses(["lt_matmul_f32"], complete=True)
            found[symbol] = _halves(threads).address(symbol)
        elif symbol.startswith(_PRODUCTS):
            from ltensor.lowering.gemm import dispatch

            dtype = _DTYPES[symbol.rsplit("_", 1)[1]]
            found[symbol] = dispatch.address(symbol, dtype)
            if complete:
                dispatch.products(dtype).complete()
            if threads > 1:
                found[symbol] = _shared(symbol, found[symbol], threads)
    return found


def has_parts(symbols: Iterable[str]) -> bool:
    """Whether these functions call Python for what is compiled when it is first wanted."""
    return any(symbol.startswith(_PRODUCTS) for symbol in symbols)


@Once
def _random() -> jit.CompiledModule:
    return jit.compile_library("random", _random_text, optimize=True)


def _shared(symbol: str, serial: int, threads: int) -> int:
    """The product that ``threads`` share, if they can."""
    from ltensor.lowering.gemm import threaded

    if not threaded.is_threaded(symbol):
        return serial
    return threaded.address(symbol, serial, threads)


@Once
def _halves(threads: int) -> jit.CompiledModule:
    """Products of float16, whose parts are shared among ``threads``."""
    from ltensor.lowering.gemm import halves

    return jit.compile_library(
        "products of float16",
        lambda: halves.module_text(jit.host()),
        addresses(["lt_matmul_f32"]),
    )


@Once
def _runs(dtype: str) -> jit.CompiledModule:
    from ltensor.lowering.gemm import runs

    return jit.compile_library(f"runs of {dtype}", lambda: runs.module_text(dtype, jit.host()))


@Once
def _sort(symbol: str) -> jit.CompiledModule:
    from ltensor.lowering import sorting

    _, form, dtype = symbol.split("_")
    wide = jit.host().vector_bytes
    return jit.compile_library(
        symbol, lambda: sorting.module_text(dtype, form == "argsort", wide), optimize=True
    )


@Once
def _turn(symbol: str) -> jit.CompiledModule:
    from ltensor.lowering import turning

    bits, wide = int(symbol.rsplit("u", 1)[1]), jit.host().vector_bytes
    return jit.compile_library(symbol, lambda: turning.module_text(bits, wide), optimize=True)


def _random_text() -> str:
    from ltensor.lowering import rng

    return rng.module_text()
