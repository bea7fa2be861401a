"""Copies of operands into contiguous scratch: panels of B (also transposed) and blocks of A.

Lowering layer, private to the gemm package. Elements move as integers, so that one text serves
real, integer and complex types of the same size.
"""

from __future__ import annotations

from ltensor.lowering.gemm.element import Element, lanes_below, masked_load, masked_store
from ltensor.lowering.gemm.seek import find_part
from ltensor.lowering.gemm.tables import has_turn
from ltensor.lowering.gemm.writer import Writer


def raw_vector(el: Element) -> str:
    """Return the integer vector type that moves elements, for sizes up to 8 bytes."""
    return f"<{el.per_vector} x i{8 * el.size}>"


def pack_text(el: Element, *, parted: bool = False) -> str:
    """Return ``lt_copy_rows`` and ``lt_pack_b`` of the element type.

    Unless `parted`, they need `turn_text` beside them.
    """
    return _copy_rows(el) + _pack_b(el, parted)


def _copy_rows(el: Element) -> str:
    """Rows of `%n` adjacent elements: dst[r, :n] = src[r, :n], strides in bytes."""
    w = Writer(
        f"define internal void @lt_copy_rows_{el.name}"
        "(i64 %rows, i64 %n, ptr %src, i64 %srs, ptr %dst, i64 %drs) #0"
    )
    # Component vectors: 16-byte elements have no integer vector of their own.
    ty, per = f"<{el.lanes} x i{8 * el.part_bytes}>", el.lanes
    total = w.mul("%n", el.parts)
    whole = w.let(f"and i64 {total}, {-per}")
    rest = w.sub(total, whole)
    mask = lanes_below(w, per, rest) if el.has_masks else ""
    with w.count(0, "%rows", 1) as r:
        src = w.at("%src", w.mul(r, "%srs"))
        dst = w.at("%dst", w.mul(r, "%drs"))
        with w.count(0, whole, per) as j:
            offset = w.mul(j, el.part_bytes)
            v = w.let(f"load {ty}, ptr {w.at(src, offset)}, align {el.part_bytes}")
            w.do(f"store {ty} {v}, ptr {w.at(dst, offset)}, align {el.part_bytes}")
        if el.has_masks:
            with w.when(w.test("sgt", rest, 0)):
                offset = w.mul(whole, el.part_bytes)
                v = masked_load(w, ty, w.at(src, offset), mask, el.part_bytes)
                masked_store(w, ty, v, w.at(dst, offset), mask, el.part_bytes)
        else:
            _copy_scalars(w, el, whole, total, src, dst)
    w.do("ret void")
    return w.text()


def _copy_scalars(w: Writer, el: Element, start: str, stop: str, src: str, dst: str) -> None:
    ty = f"i{8 * el.part_bytes}"
    with w.count(start, stop, 1) as j:
        offset = w.mul(j, el.part_bytes)
        v = w.let(f"load {ty}, ptr {w.at(src, offset)}, align {el.part_bytes}")
        w.do(f"store {ty} {v}, ptr {w.at(dst, offset)}, align {el.part_bytes}")


def _pack_b(el: Element, parted: bool) -> str:
    """A panel of B with any strides: dst[k, :n] with `%drs` bytes a row.

    Full vectors may be stored to dst, so rows hold a whole number of vectors where n >= one vector.
    """
    w = Writer(
        f"define internal void @lt_pack_b_{el.name}"
        "(i64 %K, i64 %n, ptr %src, i64 %srs, i64 %scs, ptr %dst, i64 %drs) #0"
    )
    with w.when_return(w.test("eq", "%scs", el.size)):
        w.do(
            f"call void @lt_copy_rows_{el.name}"
            "(i64 %K, i64 %n, ptr %src, i64 %srs, ptr %dst, i64 %drs)"
        )
    if has_turn(el):
        flag = w.test("eq", "%srs", el.size)
        if not el.has_masks:
            flag = w.both(flag, w.test("sge", "%n", el.per_vector))
        with w.when(flag):
            turn = find_part(w, el, "turn") if parted else f"@lt_turn_{el.name}"
            with w.when_return(w.let(f"icmp ne ptr {turn}, null")):
                w.do(f"call void {turn}(i64 %K, i64 %n, ptr %src, i64 %scs, ptr %dst, i64 %drs)")
    _scatter(w, el, "0")
    w.do("ret void")
    return w.text()


def turn_text(el: Element) -> str:
    """Return ``lt_turn``: a panel of B whose columns are adjacent elements, `%scs` bytes apart."""
    w = Writer(
        f"define internal void @lt_turn_{el.name}"
        "(i64 %K, i64 %n, ptr %src, i64 %scs, ptr %dst, i64 %drs) #0"
    )
    if el.has_masks:
        _transpose_blocks(w, el, "%K")
    else:
        whole = w.let(f"and i64 %K, {-el.per_vector}")
        _transpose_blocks(w, el, whole)
        _scatter(w, el, whole, str(el.size))
    w.do("ret void")
    return w.text()


def _scatter(w: Writer, el: Element, start: str, pitch: str = "%srs") -> None:
    """Element by element, for rows k >= start."""
    ty, align = f"i{8 * el.size}", el.part_bytes
    with w.count(start, "%K", 1) as k:
        src = w.at("%src", w.mul(k, pitch))
        dst = w.at("%dst", w.mul(k, "%drs"))
        with w.count(0, "%n", 1) as j:
            v = w.let(f"load {ty}, ptr {w.at(src, w.mul(j, '%scs'))}, align {align}")
            w.do(f"store {ty} {v}, ptr {w.at(dst, w.mul(j, el.size))}, align {align}")


def _transpose_blocks(w: Writer, el: Element, stop: str) -> None:
    """Square blocks of one vector by one vector, transposed in registers."""
    ty, per = raw_vector(el), el.per_vector
    last_row, last_k = w.sub("%n", 1), w.sub(stop, 1)
    with w.count(0, "%n", per) as j:
        # Rows past the end repeat the last one: their lanes of dst are never read.
        rows = [w.at("%src", w.mul(w.smin(w.add(j, r), last_row), "%scs")) for r in range(per)]
        dst = w.at("%dst", w.mul(j, el.size))
        with w.count(0, stop, per) as k:
            offset = w.mul(k, el.size)
            block = []
            mask = lanes_below(w, per, w.sub(stop, k)) if el.has_masks else ""
            for row in rows:
                place = w.at(row, offset)
                if el.has_masks:
                    block.append(masked_load(w, ty, place, mask, el.size))
                else:
                    block.append(w.let(f"load {ty}, ptr {place}, align {el.size}"))
            block = transpose(w, ty, per, block)
            # Steps past the end all write to the last row; going down, the true one comes last.
            for r in reversed(range(per)):
                place = w.at(dst, w.mul(w.smin(w.add(k, r), last_k), "%drs"))
                w.do(f"store {ty} {block[r]}, ptr {place}, align {el.size}")


def transpose(w: Writer, ty: str, count: int, rows: list[str]) -> list[str]:
    """Return the transpose of a square block held in vectors, by halving swaps."""
    distance = count // 2
    while distance:
        following = list(rows)
        for i in range(count):
            if i & distance:
                continue
            a, b = rows[i], rows[i + distance]
            low = [j if not j & distance else count + j - distance for j in range(count)]
            high = [j + distance if not j & distance else count + j for j in range(count)]
            following[i] = _shuffle(w, ty, count, a, b, low)
            following[i + distance] = _shuffle(w, ty, count, a, b, high)
        rows = following
        distance //= 2
    return rows


def _shuffle(w: Writer, ty: str, count: int, a: str, b: str, order: list[int]) -> str:
    lanes = ", ".join(f"i32 {i}" for i in order)
    return w.let(f"shufflevector {ty} {a}, {ty} {b}, <{count} x i32> <{lanes}>")
