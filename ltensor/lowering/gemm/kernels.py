"""The text of the module of matrix products of one dtype.

Lowering layer. Assembles tiles, packing, dot products and loop nests; `dispatch` adds BLAS.
"""

from __future__ import annotations

from ltensor.lowering.gemm.dot import dot_declaration, dot_text, has_dot
from ltensor.lowering.gemm.driver import Driver, tiles_text
from ltensor.lowering.gemm.element import Element, Host, declarations
from ltensor.lowering.gemm.kept import KeptDriver, has_kept
from ltensor.lowering.gemm.pack import pack_text, raw_vector
from ltensor.lowering.gemm.plan import Plan

#: The text is compiled as it stands: LLVM's passes make it slower to compile and no faster to run.
RUNTIME_PASSES = False


def dot_module_text(dtype: str, host: Host) -> str:
    """Return LLVM IR that defines ``lt_dot_<dtype>``, empty if the type has no such form.

    For a `module_text` without it: LLVM's loop strength reduction pays here only.
    """
    el = Element.make(dtype, host)
    if not has_dot(el):
        return ""
    head = f"void @lt_dot_{el.name}("
    body = dot_text(el).replace(f"define internal {head}", f"define {head}")
    body += "attributes #0 = { nounwind }\n"
    return body + _used_declarations(el, body)


def module_text(dtype: str, host: Host, plan: Plan | None = None, *, has_all: bool = True) -> str:
    """Return LLVM IR that defines ``lt_gemm_<dtype>``.

    ``void @lt_gemm_f32(i64 M, i64 N, i64 K, ptr A, i64 ars, i64 acs, ptr B, i64 brs, i64 bcs,
    ptr C, i64 crs, float alpha, float beta)`` sets C = alpha * A @ B + beta * C. Strides count
    elements; C has adjacent columns and does not overlap A or B. C is not read if beta is zero.
    Complex types take ``alpha, alpha_im, beta, beta_im``. External symbols: malloc, free.

    For real floating types it also defines ``lt_keep_<dtype>`` and ``lt_kept_<dtype>``, see `kept`.

    Parameters
    ----------
    dtype : str
        ``float32`` or ``f32``, and so on.
    host : Host
        Gives `vector_bytes` and `has_fma`.
    plan : Plan, optional
        Other tile and block sizes, for measurements.
    has_all : bool
        Define ``lt_dot_<dtype>`` as well; it is an external symbol otherwise.

    Examples
    --------
    >>> from ltensor.lowering.gemm.element import SimpleHost
    >>> "define void @lt_gemm_f64(" in module_text("float64", SimpleHost(32, True))
    True
    """
    el = Element.make(dtype, host)
    plan = plan or Plan.make(el)
    parts = [
        tiles_text(el, plan),
        pack_text(el),
        _dot(el, has_all),
        Driver(el, plan).text(),
        KeptDriver(el, plan).text() if has_kept(el) else "",
        "declare ptr @malloc(i64)\ndeclare void @free(ptr)\n",
        "attributes #0 = { nounwind }\n",
    ]
    body = "".join(parts)
    return body + _used_declarations(el, body)


def _dot(el: Element, has_all: bool) -> str:
    if not has_dot(el):
        return ""
    return dot_text(el) if has_all else dot_declaration(el)


def _used_declarations(el: Element, body: str) -> str:
    """Declare the intrinsics that the text calls."""
    types = [el.vec, el.ir, f"<{el.lanes} x i{8 * el.part_bytes}>"]
    if el.size <= 8:
        types.append(raw_vector(el))
    if el.is_complex:
        types.append(f"<2 x {el.ir}>")
    if has_dot(el):
        types += [f"<{lanes} x {el.ir}>" for lanes in (2, 4, 8) if lanes < el.lanes]
    lines = {line: None for ty in types for line in declarations(ty)}
    return "".join(line + "\n" for line in lines if line.split("@")[1].split("(")[0] + "(" in body)
