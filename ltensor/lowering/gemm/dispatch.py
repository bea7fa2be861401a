"""The matrix products that generated code calls, by name and address.

Lowering layer; the one interface of the package. A user of it calls `gemm_symbol(dtype)` or
`batched_symbol(dtype)` in its text and links with `addresses(dtype)`. Whether an own kernel or BLAS
does the work is decided at run time by size (`choice`). Nothing here writes text: a process that
finds the products on the disk does not even import what does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ltensor.lowering.cpu.once import Once
from ltensor.lowering.gemm import blas
from ltensor.lowering.gemm.element import SHORT_NAMES, Element, Host
from ltensor.lowering.gemm.tables import has_kept

if TYPE_CHECKING:
    from ltensor.lowering.gemm.parts import Products


def short_name(dtype: str) -> str:
    """Return the name of a dtype in symbols: ``float32`` -> ``f32``."""
    name = SHORT_NAMES.get(dtype, dtype)
    if name not in SHORT_NAMES.values():
        raise ValueError(f"no matrix product for dtype {dtype!r}")
    return name


def gemm_symbol(dtype: str) -> str:
    """Return the symbol of the product: ``lt_matmul_f32``.

    Its parameters are ``(i64 M, i64 N, i64 K, ptr A, i64 ars, i64 acs, ptr B, i64 brs, i64 bcs,
    ptr C, i64 crs, T alpha, T beta)``, strides in elements; complex types take
    ``T alpha, T alpha_im, T beta, T beta_im`` with T the type of a component.
    """
    return f"lt_matmul_{short_name(dtype)}"


def batched_symbol(dtype: str) -> str:
    """Return the symbol of the batched product: ``lt_matmul_batched_f32``.

    Its parameters are ``(i64 batch, i64 M, i64 N, i64 K, ptr A, i64 abs, i64 ars, i64 acs, ptr B,
    i64 bbs, i64 brs, i64 bcs, ptr C, i64 cbs, i64 crs, T alpha, T beta)``.
    """
    return f"lt_matmul_batched_{short_name(dtype)}"


def keep_symbol(dtype: str) -> str:
    """Return the symbol that packs a B for many products: ``lt_keep_f32``, real floats only.

    Its parameters are ``(i64 M, i64 N, i64 K, ptr B, i64 brs, i64 bcs, ptr packed)``: B is packed
    for products with about M rows into K * N elements, N rounded up to `kept.KEPT_COLUMNS`.
    """
    return f"lt_keep_{short_name(dtype)}"


def kept_symbol(dtype: str) -> str:
    """Return the symbol of the product with a packed B: ``lt_matmul_kept_f32``.

    Its parameters are those of `gemm_symbol` and ``i64 rows``. B is what `keep_symbol` made for
    M = rows, its strides are not looked at; with rows = 0 it is a plain one, as for `gemm_symbol`.
    """
    return f"lt_matmul_kept_{short_name(dtype)}"


def symbols(dtype: str, library: blas.BlasInfo | None) -> dict[str, int]:
    """Return the addresses that `choice.module_text` needs beyond malloc and free."""
    routine = blas.product_routine(short_name(dtype), library)
    if library is None or not routine:
        return {}
    return {f"lt_blas_{routine}": library.addresses[routine]}


@Once
def products(dtype: str, single_threaded: bool = True) -> Products:
    """Return the products of `dtype` on this machine, made once.

    Parameters
    ----------
    dtype : str
        A NumPy name.
    single_threaded : bool
        Keep OpenBLAS to one thread. Its second thread spins while it waits and was sometimes far
        slower than one on a loaded machine; parallel work is the caller's to split. The setting
        holds for the process, so for NumPy as well.
    """
    # Here and not above: the names must be available without llvmlite.
    from ltensor.lowering.cpu import jit
    from ltensor.lowering.gemm.parts import Products

    library = blas.find()
    if library is not None and single_threaded and symbols(dtype, library):
        library.use_threads(1)
    external = symbols(dtype, library)
    # what the text depends on besides the host
    way = f"{library.int_bits} {library.is_wide}" if library is not None and external else "own"
    return Products(Element.make(dtype, jit.host()), library, way, external)


def address(symbol: str, dtype: str) -> int:
    """Return the address of a product, of ``lt_gemm`` or ``lt_keep``; compile it if need be."""
    return products(dtype).address(symbol)


def symbols_of(dtype: str, host: Host) -> list[str]:
    """Return the symbols that programs may call."""
    names = [gemm_symbol(dtype), batched_symbol(dtype), f"lt_gemm_{short_name(dtype)}"]
    if has_kept(Element.make(dtype, host)):
        names += [keep_symbol(dtype), kept_symbol(dtype)]
    return names


def addresses(dtype: str) -> dict[str, int]:
    """Return the addresses of all symbols of `dtype`."""
    from ltensor.lowering.cpu import jit

    return {name: address(name, dtype) for name in symbols_of(dtype, jit.host())}
