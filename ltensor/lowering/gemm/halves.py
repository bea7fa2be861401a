"""Products of float16 matrices: blocks are widened on their way into the float32 product.

Lowering layer. Sums are float32, a result is rounded once. Blocks that are widened stay in the
second cache, so that memory is read and written in 16 bits only.
"""

from __future__ import annotations

from ltensor.lowering.gemm.element import Host
from ltensor.lowering.gemm.writer import Writer

#: The symbol: C = A @ B. Strides count elements, C has adjacent columns.
SYMBOL = "lt_matmul_f16"
PARAMS = (
    "i64 %M, i64 %N, i64 %K, ptr %A, i64 %ars, i64 %acs, ptr %B, i64 %brs, i64 %bcs, "
    "ptr %C, i64 %crs"
)
#: Rows, columns and depth of a block.
BLOCK_M, BLOCK_N, BLOCK_K = 256, 512, 256


def module_text(host: Host) -> str:
    """Return LLVM IR that defines `SYMBOL` and calls ``lt_matmul_f32``.

    Examples
    --------
    >>> from ltensor.lowering.gemm.element import SimpleHost
    >>> "define void @lt_matmul_f16(" in module_text(SimpleHost(32, True))
    True
    """
    lanes = host.vector_bytes // 4
    body = _move(lanes, "widen") + _move(lanes, "narrow") + _block() + _plain() + _product()
    return body + (
        "declare void @lt_matmul_f32"
        "(i64, i64, i64, ptr, i64, i64, ptr, i64, i64, ptr, i64, float, float)\n"
        "declare ptr @malloc(i64)\ndeclare void @free(ptr)\nattributes #0 = { nounwind }\n"
    )


def _move(lanes: int, how: str) -> str:
    """Lines of adjacent elements from one width to the other; byte strides between lines."""
    source, target, op = ("half", "float", "fpext")
    if how == "narrow":
        source, target, op = ("float", "half", "fptrunc")
    sizes = {"half": 2, "float": 4}
    w = Writer(
        f"define internal void @lt_halves_{how}"
        "(i64 %lines, i64 %n, ptr %src, i64 %sls, ptr %dst, i64 %dls) #0"
    )
    whole = w.let(f"and i64 %n, {-lanes}")
    with w.count(0, "%lines", 1) as line:
        src, dst = w.at("%src", w.mul(line, "%sls")), w.at("%dst", w.mul(line, "%dls"))
        for start, stop, step in (("0", whole, lanes), (whole, "%n", 1)):
            one, other = source, target
            if step > 1:
                one, other = f"<{step} x {source}>", f"<{step} x {target}>"
            with w.count(start, stop, step) as i:
                here, there = w.at(src, w.mul(i, sizes[source])), w.at(dst, w.mul(i, sizes[target]))
                value = w.let(f"load {one}, ptr {here}, align {sizes[source]}")
                value = w.let(f"{op} {one} {value} to {other}")
                w.do(f"store {other} {value}, ptr {there}, align {sizes[target]}")
    w.do("ret void")
    return w.text()


def _block() -> str:
    """Widen a block of an operand, rows or columns whichever are in one piece.

    The widened block has the same order, with lines of `%pitch` elements.
    """
    w = Writer(
        "define internal void @lt_halves_block"
        "(i64 %rows, i64 %columns, ptr %src, i64 %rs, i64 %cs, ptr %dst, i64 %pitch) #0"
    )
    pitch = w.mul("%pitch", 4)
    with w.when_return(w.test("eq", "%cs", 1)):
        w.do(
            f"call void @lt_halves_widen(i64 %rows, i64 %columns, ptr %src, i64 {w.mul('%rs', 2)}, "
            f"ptr %dst, i64 {pitch})"
        )
    with w.when_return(w.test("eq", "%rs", 1)):
        w.do(
            f"call void @lt_halves_widen(i64 %columns, i64 %rows, ptr %src, i64 {w.mul('%cs', 2)}, "
            f"ptr %dst, i64 {pitch})"
        )
    with w.count(0, "%rows", 1) as i, w.count(0, "%columns", 1) as j:
        place = w.at("%src", w.mul(w.add(w.mul(i, "%rs"), w.mul(j, "%cs")), 2))
        value = w.let(f"fpext half {w.let(f'load half, ptr {place}, align 2')} to float")
        w.do(f"store float {value}, ptr {w.at('%dst', w.add(w.mul(i, pitch), w.mul(j, 4)))}")
    w.do("ret void")
    return w.text()


def _plain() -> str:
    """Element by element, where there is no memory for blocks."""
    w = Writer(f"define internal void @lt_halves_plain({PARAMS}) cold #0")
    total = w.let("alloca float")
    with w.count(0, "%M", 1) as i, w.count(0, "%N", 1) as j:
        w.do(f"store float 0.0, ptr {total}")
        with w.count(0, "%K", 1) as k:
            operands = []
            for base, far, near, a, b in (("A", "ars", "acs", i, k), ("B", "brs", "bcs", k, j)):
                offset = w.mul(w.add(w.mul(a, f"%{far}"), w.mul(b, f"%{near}")), 2)
                half = w.let(f"load half, ptr {w.at(f'%{base}', offset)}, align 2")
                operands.append(w.let(f"fpext half {half} to float"))
            term = w.let(f"fmul float {operands[0]}, {operands[1]}")
            old = w.let(f"load float, ptr {total}")
            w.do(f"store float {w.let(f'fadd float {old}, {term}')}, ptr {total}")
        value = w.let(f"fptrunc float {w.let(f'load float, ptr {total}')} to half")
        place = w.at("%C", w.mul(w.add(w.mul(i, "%crs"), j), 2))
        w.do(f"store half {value}, ptr {place}, align 2")
    w.do("ret void")
    return w.text()


def _product() -> str:
    w = Writer(f"define void @{SYMBOL}({PARAMS}) #0")
    with w.when_return(w.either(w.test("sle", "%M", 0), w.test("sle", "%N", 0))):
        pass
    mb, nb, kb = (
        w.smin(f"%{size}", block)
        for size, block in (("M", BLOCK_M), ("N", BLOCK_N), ("K", BLOCK_K))
    )
    c_bytes, a_bytes, b_bytes = (w.mul(w.mul(p, q), 4) for p, q in ((mb, nb), (mb, kb), (kb, nb)))
    scratch = w.let(f"call ptr @malloc(i64 {w.add(w.add(c_bytes, a_bytes), w.add(b_bytes, 64))})")
    with w.when_return(w.let(f"icmp eq ptr {scratch}, null")):
        w.do(f"call void @lt_halves_plain({PARAMS})")
    c32 = scratch
    a32 = w.at(c32, c_bytes)
    b32 = w.at(a32, a_bytes)
    # lines of the widened blocks: along rows unless only columns are in one piece
    a_turned = w.both(w.test("eq", "%ars", 1), w.test("ne", "%acs", 1))
    b_turned = w.both(w.test("eq", "%brs", 1), w.test("ne", "%bcs", 1))
    a_pitch, b_pitch = w.pick(a_turned, mb, kb), w.pick(b_turned, kb, nb)
    ars, acs = w.pick(a_turned, 1, a_pitch), w.pick(a_turned, a_pitch, 1)
    brs, bcs = w.pick(b_turned, 1, b_pitch), w.pick(b_turned, b_pitch, 1)
    with w.count(0, "%N", nb) as j:
        n = w.smin(nb, w.sub("%N", j))
        with w.count(0, "%M", mb) as i:
            m = w.smin(mb, w.sub("%M", i))
            # with nothing to sum, one empty product makes zeros
            depth = w.pick(w.test("sgt", "%K", 0), "%K", 1)
            step = w.pick(w.test("sgt", kb, 0), kb, 1)
            with w.count(0, depth, step) as p:
                k = w.smin(kb, w.sub("%K", p))
                a = w.at("%A", w.mul(w.add(w.mul(i, "%ars"), w.mul(p, "%acs")), 2))
                b = w.at("%B", w.mul(w.add(w.mul(p, "%brs"), w.mul(j, "%bcs")), 2))
                for rows, columns, source, far, near, place, pitch in (
                    (m, k, a, "%ars", "%acs", a32, a_pitch),
                    (k, n, b, "%brs", "%bcs", b32, b_pitch),
                ):
                    w.do(
                        f"call void @lt_halves_block(i64 {rows}, i64 {columns}, ptr {source}, "
                        f"i64 {far}, i64 {near}, ptr {place}, i64 {pitch})"
                    )
                beta = w.let(f"select i1 {w.test('sgt', p, 0)}, float 1.0, float 0.0")
                w.do(
                    f"call void @lt_matmul_f32(i64 {m}, i64 {n}, i64 {k}, ptr {a32}, i64 {ars}, "
                    f"i64 {acs}, ptr {b32}, i64 {brs}, i64 {bcs}, ptr {c32}, i64 {nb}, "
                    f"float 1.0, float {beta})"
                )
            place = w.at("%C", w.mul(w.add(w.mul(i, "%crs"), j), 2))
            w.do(
                f"call void @lt_halves_narrow(i64 {m}, i64 {n}, ptr {c32}, i64 {w.mul(nb, 4)}, "
                f"ptr {place}, i64 {w.mul('%crs', 2)})"
            )
    w.do(f"call void @free(ptr {scratch})")
    w.do("ret void")
    return w.text()
