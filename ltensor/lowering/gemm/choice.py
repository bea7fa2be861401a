"""The text of what programs call: own kernel or BLAS, batched, with a packed matrix.

Lowering layer, private to the gemm package; `dispatch` says what their parameters are.
"""

from __future__ import annotations

from typing import NamedTuple

from ltensor.lowering.gemm.blas import BlasInfo, product_routine
from ltensor.lowering.gemm.element import Element, Host
from ltensor.lowering.gemm.form import SELDOM, batched_params, gemm_params
from ltensor.lowering.gemm.kernels import module_text as kernels_text
from ltensor.lowering.gemm.seek import find_part
from ltensor.lowering.gemm.tables import has_kept
from ltensor.lowering.gemm.writer import Writer

_ROW_MAJOR, _PLAIN, _TRANSPOSED = 101, 111, 112


class CostModel(NamedTuple):
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
    def of(cls, el: Element, library: BlasInfo) -> CostModel:
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


def module_text(dtype: str, host: Host, library: BlasInfo | None = None) -> str:
    """Return one module that defines all products of a dtype.

    With a BLAS `library` the module has one external symbol more, see `dispatch.symbols`. The run
    time has the same in parts, see `parts`.
    """
    el = Element.make(dtype, host)
    packed = kept(el) if has_kept(el) else ""
    return kernels_text(dtype, host) + choice(el, library) + batched(el) + packed


def choice(el: Element, library: BlasInfo | None) -> str:
    """Return the product by own kernels or BLAS."""
    routine = product_routine(el.name, library)
    if library is None or not routine:
        matmul, external = _own_only(el), ""
    else:
        matmul = _matmul(el, routine, library)
        external = f"declare void @lt_blas_{routine}({_cblas_types(el, library.int_bits)})\n"
    return matmul + external


def _own_only(el: Element) -> str:
    w = Writer(f"define void @lt_matmul_{el.name}({gemm_params(el)}) #0")
    w.do(f"tail call void @lt_gemm_{el.name}({gemm_params(el)})")
    w.do("ret void")
    return w.text()


def _matmul(el: Element, routine: str, library: BlasInfo) -> str:
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


def batched(el: Element) -> str:
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


def kept(el: Element, parted: bool = False) -> str:
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
