"""What the forms of a product have in common: their parameters, and how they are compiled.

Lowering layer, private to the gemm package. All forms take what the public function takes, so that
it reaches them by a jump: thirteen arguments that are passed on cost more to compile than the rest
of the choice.
"""

from __future__ import annotations

from ltensor.lowering.gemm.element import Element
from ltensor.lowering.gemm.writer import Writer

#: Strides of the parameters.
STRIDES = ("ars", "acs", "brs", "bcs", "crs")
#: Attributes of functions that run once for a large product, or seldom: LLVM takes half the time
#: for them. None of them may have vectors of i1, which LLVM's fast selection cannot copy.
SELDOM = "#1"


def gemm_params(el: Element) -> str:
    """Return the parameters of the public functions; strides in elements."""
    return (
        "i64 %M, i64 %N, i64 %K, ptr %A, i64 %ars, i64 %acs, ptr %B, i64 %brs, i64 %bcs, "
        f"ptr %C, i64 %crs, {el.scalar_params()}"
    )


def batched_params(el: Element) -> str:
    """Return the parameters of the batched product."""
    return (
        "i64 %batch, i64 %M, i64 %N, i64 %K, ptr %A, i64 %abs, i64 %ars, i64 %acs, "
        "ptr %B, i64 %bbs, i64 %brs, i64 %bcs, ptr %C, i64 %cbs, i64 %crs, " + el.scalar_params()
    )


def begin_form(el: Element, name: str) -> Writer:
    """Return the writer of the function of a form, whose strides are bytes from here on."""
    params = gemm_params(el)
    for stride in STRIDES:
        params = params.replace(f"%{stride},", f"%{stride}.n,")
    w = Writer(f"define internal void @lt_{name}_{el.name}({params}) #0")
    for stride in STRIDES:
        w.do(f"%{stride} = mul i64 %{stride}.n, {el.size}")
    return w
