"""The matrix product that generated code calls: own kernel or BLAS, chosen at run time by size.

Lowering layer; the one interface of the package. A user of it declares `declaration(dtype)`, calls
`gemm_symbol(dtype)` or `batched_symbol(dtype)` in its text, and links with `addresses(dtype)`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ltensor.lowering.gemm import blas, kernels
from ltensor.lowering.gemm.element import SHORT_NAMES, Element, Host
from ltensor.lowering.gemm.form import SELDOM, gemm_params
from ltensor.lowering.gemm.kept import KEPT_COLUMNS as KEPT_COLUMNS
from ltensor.lowering.gemm.kept import has_kept
from ltensor.lowering.gemm.seek import find_part
from ltensor.lowering.gemm.writer import Writer

if TYPE_CHECKING:
    from ltensor.lowering.gemm.parts import Products

_BLAS_LETTER = {"f32": "s", "f64": "d", "c64": "c", "c128": "z"}
_ROW_MAJOR, _PLAIN, _TRANSPOSED = 101, 111, 112


@dataclass(frozen=True)
class CostModel:
    """When BLAS is expected to be faster than the own kernel.

    Speed of the own kernel over OpenBLAS 0.3.31, one thread of a Zen 5 (``benchmarks/gemm.py``):
    both with AVX-512 ("wide", OpenBLAS's own choice), and both with AVX2 (its Haswell core).

    ====================  =========  =========  =========
    M x K @ K x N         f32, wide  f64, wide  f32, AVX2
    ====================  =========  =========  =========
    1x128 @ 128x512       1.35       1.76       4.8
    4x128 @ 128x512       0.99       0.98       3.1
    8x128 @ 128x512       1.29       1.57       2.1
    32x128 @ 128x512      1.59       1.52       1.18
    64x512 @ 512x512      1.34       1.19       1.09
    64x512 @ 512x2048     1.52       1.15       1.00
    10x10 @ 10x10         1.05       1.51       2.9
    100x100 @ 100x100     1.01       0.99       1.05
    200x300 @ 300x4       0.93       1.05       -
    256x504 @ 504x49      1.30       1.64       -
    256^3                 1.10       1.32       1.03
    512^3                 1.01       1.18       0.99
    768^3                 0.95-1.0   1.1        -
    850^3                 0.88-0.95  1.1        -
    1024^3                0.9-1.0    1.03       0.96
    2048^3                0.88       0.92       0.96
    ====================  =========  =========  =========

    B transposed, f32, wide: 0.8-1.0 for M = 1, 6.4 for M = 4, 2.0 for 32x128x512, 1.0 for 1024^3.

    Attributes
    ----------
    blas_rows : int
        BLAS never gets fewer rows of A: recurrent steps stay with the own kernel.
    blas_work : int
        BLAS never gets a product with M * N * K below this.
    """

    blas_rows: int
    blas_work: int

    @classmethod
    def of(cls, el: Element, library: blas.BlasInfo) -> CostModel:
        """Return the thresholds of an element type on a host."""
        if el.vector_bytes == 64:
            # A library without AVX-512 kernels has half the speed at any size.
            never = not library.is_wide
            large = 9 << 26 if el.name == "f32" else 1 << 31
            return cls(blas_rows=256, blas_work=1 << 62 if never else large)
        if el.vector_bytes == 32:
            work = 1 << 18 if el.is_complex else 1 << 29
            return cls(blas_rows=32 if el.is_complex else 256, blas_work=work)
        # 128-bit code is no match for a library that looks for wider units itself.
        return cls(blas_rows=16, blas_work=1 << 17)


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
    for products with about M rows into K * N elements, N rounded up to `KEPT_COLUMNS`.
    """
    return f"lt_keep_{short_name(dtype)}"


def kept_symbol(dtype: str) -> str:
    """Return the symbol of the product with a packed B: ``lt_matmul_kept_f32``.

    Its parameters are those of `gemm_symbol` and ``i64 rows``. B is what `keep_symbol` made for
    M = rows, its strides are not looked at; with rows = 0 it is a plain one, as for `gemm_symbol`.
    """
    return f"lt_matmul_kept_{short_name(dtype)}"


def scalar_type(dtype: str) -> tuple[str, int]:
    """Return the LLVM type of alpha and beta, and by how many arguments each is passed."""
    el = Element.make(dtype, _NoHost())
    return el.ir, el.parts


def declaration(dtype: str) -> str:
    """Return the ``declare`` lines of both symbols."""
    el = Element.make(dtype, _NoHost())
    types = [", ".join(_types(p)) for p in (gemm_params(el), batched_params(el))]
    return (
        f"declare void @{gemm_symbol(dtype)}({types[0]})\n"
        f"declare void @{batched_symbol(dtype)}({types[1]})\n"
    )


def text(dtype: str, host: Host, library: blas.BlasInfo | None = None) -> str:
    """Return one module that defines both symbols and the own kernel ``lt_gemm_<dtype>``.

    With a BLAS `library` the module has one external symbol more, see `symbols`. The run time has
    the same in parts, see `products`.
    """
    el = Element.make(dtype, host)
    kept = _kept(el) if has_kept(el) else ""
    return kernels.module_text(dtype, host) + _choice(el, library) + _batched(el) + kept


def _choice(el: Element, library: blas.BlasInfo | None) -> str:
    """Return the product by own kernels or BLAS."""
    letter = _BLAS_LETTER.get(el.name)
    routine = f"{letter}gemm" if letter else ""
    if library is None or routine not in library.addresses:
        matmul, external = _own_only(el), ""
    else:
        matmul = _matmul(el, routine, library)
        external = f"declare void @lt_blas_{routine}({_cblas_types(el, library.int_bits)})\n"
    return matmul + external


def symbols(dtype: str, library: blas.BlasInfo | None) -> dict[str, int]:
    """Return the addresses that a module of `text` needs beyond malloc and free."""
    letter = _BLAS_LETTER.get(short_name(dtype))
    routine = f"{letter}gemm" if letter else ""
    if library is None or routine not in library.addresses:
        return {}
    return {f"lt_blas_{routine}": library.addresses[routine]}


@functools.cache
def products(dtype: str, *, single_threaded: bool = True) -> Products:
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
    # Here and not above: the text of the kernels must be available without llvmlite.
    from ltensor.lowering.cpu import jit
    from ltensor.lowering.gemm.parts import Products

    library = blas.find()
    if library is not None and single_threaded and symbols(dtype, library):
        library.use_threads(1)
    external = symbols(dtype, library)
    # what the text depends on besides the host
    way = f"{library.int_bits} {library.is_wide}" if library is not None and external else "own"
    el = Element.make(dtype, jit.host())
    made = Products(
        el,
        lambda: _choice(el, library),
        lambda: _kept(el, parted=True),
        lambda: _batched(el),
        way,
        external,
    )
    _made.append(made)
    return made


#: Keeps code alive, whose users hold bare addresses.
_made: list[Products] = []


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


class _NoHost:
    """A host for questions that do not depend on one."""

    vector_bytes = 16
    has_fma = False


def _types(params: str) -> list[str]:
    return [p.split()[0] for p in params.split(", ")]


def batched_params(el: Element) -> str:
    """Return the parameters of the batched product."""
    return (
        "i64 %batch, i64 %M, i64 %N, i64 %K, ptr %A, i64 %abs, i64 %ars, i64 %acs, "
        "ptr %B, i64 %bbs, i64 %brs, i64 %bcs, ptr %C, i64 %cbs, i64 %crs, " + el.scalar_params()
    )


def _own_only(el: Element) -> str:
    w = Writer(f"define void @lt_matmul_{el.name}({gemm_params(el)}) #0")
    w.do(f"tail call void @lt_gemm_{el.name}({gemm_params(el)})")
    w.do("ret void")
    return w.text()


def _matmul(el: Element, routine: str, library: blas.BlasInfo) -> str:
    """The choice. BLAS needs one stride of each operand to be 1 and the other no overlap."""
    model, int_bits = CostModel.of(el, library), library.int_bits
    first = Writer(f"define void @lt_matmul_{el.name}({gemm_params(el)}) #0")
    # The common small case is decided by one comparison.
    with first.when_return(first.test("slt", "%M", model.blas_rows)):
        first.do(f"tail call void @lt_gemm_{el.name}({gemm_params(el)})")
    first.do(f"tail call void @lt_matmul_large_{el.name}({gemm_params(el)})")
    first.do("ret void")
    w = Writer(f"define internal void @lt_matmul_large_{el.name}({gemm_params(el)}) {SELDOM}")
    work = w.mul(w.mul("%M", "%N"), "%K")
    a_plain = w.both(w.test("eq", "%acs", 1), w.test("sge", "%ars", "%K"))
    a_turned = w.both(w.test("eq", "%ars", 1), w.test("sge", "%acs", "%M"))
    b_plain = w.both(w.test("eq", "%bcs", 1), w.test("sge", "%brs", "%N"))
    b_turned = w.both(w.test("eq", "%brs", 1), w.test("sge", "%bcs", "%K"))
    fits = [
        w.test("sge", work, model.blas_work),
        w.either(a_plain, a_turned),
        w.either(b_plain, b_turned),
        w.test("sge", "%crs", "%N"),
        # With alpha = 0 BLAS does not look at A and B, so a NaN there would be lost.
        _alpha_counts(w, el),
    ]
    sizes = ["%M", "%N", "%K"]
    leading = [
        w.pick(a_plain, "%ars", "%acs"),
        w.pick(b_plain, "%brs", "%bcs"),
        "%crs",
    ]
    if int_bits == 32:
        fits += [w.test("slt", v, 2**31) for v in (*sizes, *leading)]
        sizes = [w.let(f"trunc i64 {v} to i32") for v in sizes]
        leading = [w.let(f"trunc i64 {v} to i32") for v in leading]
    a_how, b_how = (
        w.let(f"select i1 {plain}, i32 {_PLAIN}, i32 {_TRANSPOSED}") for plain in (a_plain, b_plain)
    )
    alpha, beta = _blas_scalars(w, el)
    i = f"i{int_bits}"
    blas_at, own_at = w.fresh("blas"), w.fresh("own")
    w.do(f"br i1 {w.both(*fits)}, label %{blas_at}, label %{own_at}")
    w.label(blas_at)
    w.do(
        f"call void @lt_blas_{routine}(i32 {_ROW_MAJOR}, i32 {a_how}, i32 {b_how}, "
        f"{', '.join(f'{i} {v}' for v in sizes)}, {alpha}, ptr %A, {i} {leading[0]}, "
        f"ptr %B, {i} {leading[1]}, {beta}, ptr %C, {i} {leading[2]})"
    )
    w.do("ret void")
    w.label(own_at)
    w.do(f"tail call void @lt_gemm_{el.name}({gemm_params(el)})")
    w.do("ret void")
    return first.text() + w.text()


def _alpha_counts(w: Writer, el: Element) -> str:
    flags = [w.let(f"fcmp une {el.ir} {name}, 0.0") for name in el.scalars[: len(el.scalars) // 2]]
    return w.either(*flags)


def _blas_scalars(w: Writer, el: Element) -> tuple[str, str]:
    """Return alpha and beta as CBLAS wants them: real by value, complex by address."""
    if not el.is_complex:
        return f"{el.ir} %alpha", f"{el.ir} %beta"
    arguments = []
    for name in ("%alpha", "%beta"):
        place = w.let(f"alloca [2 x {el.ir}], align 16")
        w.do(f"store {el.ir} {name}, ptr {place}")
        w.do(f"store {el.ir} {name}.im, ptr {w.at(place, el.part_bytes)}")
        arguments.append(f"ptr {place}")
    return arguments[0], arguments[1]


def _cblas_types(el: Element, int_bits: int) -> str:
    i, scalar = f"i{int_bits}", "ptr" if el.is_complex else el.ir
    return f"i32, i32, i32, {i}, {i}, {i}, {scalar}, ptr, {i}, ptr, {i}, {scalar}, ptr, {i}"


def _batched(el: Element) -> str:
    """A loop over the batch; one product if all share B and the rows follow each other."""
    w = Writer(f"define void @lt_matmul_batched_{el.name}({batched_params(el)}) #0")
    joined = w.both(
        w.test("eq", "%bbs", 0),
        w.test("eq", "%abs", w.mul("%M", "%ars")),
        w.test("eq", "%cbs", w.mul("%M", "%crs")),
    )
    operands = (
        "i64 %N, i64 %K, ptr {a}, i64 %ars, i64 %acs, ptr {b}, i64 %brs, i64 %bcs, "
        f"ptr {{c}}, i64 %crs, {el.scalar_params()}"
    )
    with w.when_return(joined):
        rows = w.mul("%M", "%batch")
        whole = operands.format(a="%A", b="%B", c="%C")
        w.do(f"call void @lt_matmul_{el.name}(i64 {rows}, {whole})")
    with w.count("0", "%batch", 1) as i:
        a, b, c = (
            w.at(f"%{base}", w.mul(w.mul(i, f"%{stride}"), el.size))
            for base, stride in (("A", "abs"), ("B", "bbs"), ("C", "cbs"))
        )
        w.do(f"call void @lt_matmul_{el.name}(i64 %M, {operands.format(a=a, b=b, c=c)})")
    w.do("ret void")
    return w.text()


def _kept(el: Element, parted: bool = False) -> str:
    """The product with a packed B if there is one."""
    w = Writer(f"define void @lt_matmul_kept_{el.name}({gemm_params(el)}, i64 %rows) #0")
    with w.when_return(w.test("eq", "%rows", 0)):
        # The same parameters in the same places: a jump.
        w.do(f"tail call void @lt_matmul_{el.name}({gemm_params(el)})")
    kept = find_part(w, el, "kept") if parted else f"@lt_kept_{el.name}"
    w.do(
        f"call void {kept}(i64 %rows, i64 %M, i64 %N, i64 %K, ptr %A, i64 %ars, "
        f"i64 %acs, ptr %B, ptr %C, i64 %crs, {el.scalar_params()})"
    )
    w.do("ret void")
    return w.text()
