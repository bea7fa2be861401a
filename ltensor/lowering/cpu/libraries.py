"""The run time's own kernels (products, random numbers): compiled when first called, then kept."""

from __future__ import annotations

from collections.abc import Iterable

from ltensor.lowering.cpu import block_pool, jit, thread_pool

_compiled: dict[str, jit.CompiledModule] = {}

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
        elif symbol.startswith("lt_runs_"):
            found[symbol] = _runs(_DTYPES[symbol.rsplit("_", 1)[1]]).address(symbol)
        elif symbol.startswith(_PRODUCTS):
            from ltensor.lowering.gemm import dispatch, threaded

            dtype = _DTYPES[symbol.rsplit("_", 1)[1]]
            found[symbol] = dispatch.address(symbol, dtype)
            if complete:
                dispatch.products(dtype).complete()
            if threads > 1 and threaded.is_threaded(symbol):
                found[symbol] = threaded.address(symbol, found[symbol], threads)
    return found


def has_parts(symbols: Iterable[str]) -> bool:
    """Whether these functions call Python for what is compiled when it is first wanted."""
    return any(symbol.startswith(_PRODUCTS) for symbol in symbols)


def _random() -> jit.CompiledModule:
    found = _compiled.get("random")
    if found is None:
        found = _compiled["random"] = jit.compile_library("random", _random_text, optimize=True)
    return found


def _runs(dtype: str) -> jit.CompiledModule:
    name = f"runs of {dtype}"
    found = _compiled.get(name)
    if found is None:
        from ltensor.lowering.gemm import runs

        found = _compiled[name] = jit.compile_library(
            name, lambda: runs.module_text(dtype, jit.host())
        )
    return found


def _random_text() -> str:
    from ltensor.lowering import rng

    return rng.module_text()
