"""Runs of adjacent elements moved between buffers: what puts images into products of matrices.

Lowering layer. ``lt_runs_copy_<dtype>`` and ``lt_runs_add_<dtype>`` take ``outer`` groups of
``rows`` runs of ``n`` elements. The mask of a run's last vector is made once for all of them,
which is what counts: rows of images are often shorter than a vector.
"""

from __future__ import annotations

from collections.abc import Callable

from ltensor.lowering.gemm.element import (
    Element,
    Host,
    declarations,
    lanes_below,
    masked_load,
    masked_store,
)
from ltensor.lowering.gemm.writer import Writer

#: Parameters of the functions; strides and offsets in elements.
PARAMS = (
    "i64 %outer, i64 %sos, i64 %dos, i64 %rows, i64 %srs, i64 %drs, i64 %n, "
    "ptr %src, i64 %soff, ptr %dst, i64 %doff"
)
FORMS = ("copy", "add")


def module_text(dtype: str, host: Host) -> str:
    """Return LLVM IR that defines both functions for a real dtype.

    ``void @lt_runs_copy_f32(i64 outer, i64 sos, i64 dos, i64 rows, i64 srs, i64 drs, i64 n,
    ptr src, i64 soff, ptr dst, i64 doff)`` sets ``dst[doff + o dos + r drs + i]`` to
    ``src[soff + o sos + r srs + i]`` for o < outer, r < rows, i < n; ``add`` adds it.

    Examples
    --------
    >>> from ltensor.lowering.gemm.element import SimpleHost
    >>> "define void @lt_runs_add_f64(" in module_text("float64", SimpleHost(32, True))
    True
    """
    el = Element.make(dtype, host)
    body = "".join(_function(el, form) for form in FORMS) + "attributes #0 = { nounwind }\n"
    lines = dict.fromkeys(declarations(el.vec))
    used = [line for line in lines if line.split("@")[1].split("(")[0] + "(" in body]
    return body + "".join(line + "\n" for line in used)


def _function(el: Element, form: str) -> str:
    w = Writer(f"define void @lt_runs_{form}_{el.name}({PARAMS}) #0")
    with w.when_return(w.either(*(w.test("sle", f"%{s}", 0) for s in ("outer", "rows", "n")))):
        pass
    # runs that follow each other in both places are one
    joined = w.both(w.test("eq", "%srs", "%n"), w.test("eq", "%drs", "%n"))
    n = w.pick(joined, w.mul("%n", "%rows"), "%n")
    rows = w.pick(joined, 1, "%rows")
    names = ("%sos", "%dos", "%srs", "%drs", "%soff", "%doff")
    sos, dos, srs, drs, soff, doff = (w.mul(name, el.size) for name in names)
    source, target = w.at("%src", soff), w.at("%dst", doff)
    per = el.per_vector
    # one vector at least is left for the end
    head = (
        w.let(f"and i64 {w.sub(n, 1)}, {-per}") if el.has_masks else w.let(f"and i64 {n}, {-per}")
    )
    mask = lanes_below(w, per, w.sub(n, head)) if el.has_masks else ""

    # Sums wait for a store to memory that they read, and the machine takes a masked store for a
    # whole vector: runs closer than that must not follow each other.
    inner, outer = [rows, srs, drs], ["%outer", sos, dos]
    if form == "add" and el.has_masks:
        reach = w.mul(w.add(head, per), el.size)
        crowded = w.both(w.test("slt", drs, reach), w.test("sgt", rows, 1))
        inner, outer = (
            [w.pick(crowded, b, a) for a, b in zip(*pair, strict=True)]
            for pair in ((inner, outer), (outer, inner))
        )

    def each_run(body: Callable[[str, str], None]) -> None:
        (many, far, low), (few, near, close) = outer, inner
        with w.count(0, many, 1) as o:
            src, dst = w.at(source, w.mul(o, far)), w.at(target, w.mul(o, low))
            with w.count(0, few, 1) as r:
                body(w.at(src, w.mul(r, near)), w.at(dst, w.mul(r, close)))

    def vector(src: str, dst: str, offset: str | int) -> None:
        src, dst = (w.at(p, offset) if offset != 0 else p for p in (src, dst))
        value = w.let(f"load {el.vec}, ptr {src}, align {el.part_bytes}")
        if form == "add":
            old = w.let(f"load {el.vec}, ptr {dst}, align {el.part_bytes}")
            value = el.add(w, el.vec, old, value)
        w.do(f"store {el.vec} {value}, ptr {dst}, align {el.part_bytes}")

    def end(src: str, dst: str, offset: str | int) -> None:
        src, dst = (w.at(p, offset) if offset != 0 else p for p in (src, dst))
        value = masked_load(w, el.vec, src, mask, el.part_bytes)
        if form == "add":
            value = el.add(w, el.vec, masked_load(w, el.vec, dst, mask, el.part_bytes), value)
        masked_store(w, el.vec, value, dst, mask, el.part_bytes)

    def scalars(src: str, dst: str) -> None:
        with w.count(head, n, 1) as i:
            offset = w.mul(i, el.size)
            here, there = w.at(src, offset), w.at(dst, offset)
            value = w.let(f"load {el.ir}, ptr {here}, align {el.part_bytes}")
            if form == "add":
                old = w.let(f"load {el.ir}, ptr {there}, align {el.part_bytes}")
                value = el.add(w, el.ir, old, value)
            w.do(f"store {el.ir} {value}, ptr {there}, align {el.part_bytes}")

    if el.has_masks:
        # straight code for the shortest runs
        for count in (0, 1):
            with w.when_return(w.test("eq", head, count * per)):

                def short(src: str, dst: str, count: int = count) -> None:
                    for number in range(count):
                        vector(src, dst, number * el.vector_bytes)
                    end(src, dst, count * el.vector_bytes)

                each_run(short)

    def long(src: str, dst: str) -> None:
        with w.count(0, head, per) as i:
            vector(src, dst, w.mul(i, el.size))
        if el.has_masks:
            end(src, dst, w.mul(head, el.size))
        else:
            scalars(src, dst)

    each_run(long)
    w.do("ret void")
    return w.text()
