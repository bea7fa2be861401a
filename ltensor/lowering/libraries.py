"""The run time's own kernels (products, random numbers): compiled when first called, then kept."""

from __future__ import annotations

from collections.abc import Iterable

from ltensor.lowering import block_pool, jit

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
_DTYPES = {suffix: dtype for dtype, suffix in SUFFIXES.items()}


def addresses(symbols: Iterable[str]) -> dict[str, int]:
    """Addresses of run-time functions, compiling the libraries that define them."""
    found = {}
    for symbol in symbols:
        if symbol.startswith("lt_block_"):
            found[symbol] = block_pool.address(symbol)
        elif symbol.startswith("lt_rng_"):
            found[symbol] = _random().address(symbol)
        elif symbol.startswith(("lt_matmul", "lt_gemm", "lt_keep")):
            from ltensor.lowering.gemm import dispatch

            found[symbol] = dispatch.addresses(_DTYPES[symbol.rsplit("_", 1)[1]])[symbol]
    return found


def _random() -> jit.CompiledModule:
    found = _compiled.get("random")
    if found is None:
        found = _compiled["random"] = jit.compile_library("random", _random_text, optimize=True)
    return found


def _random_text() -> str:
    from ltensor.lowering import rng

    return rng.module_text()
