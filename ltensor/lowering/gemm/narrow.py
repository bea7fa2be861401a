"""Products with few columns: C[i, j] for all rows i of A and at most some 16 columns j.

Lowering layer, private to the gemm package. A tile of rows by vectors would leave most lanes of its
only vector empty. If the rows of A are in one piece, they are multiplied as dot products with the
columns of B, which are laid out as rows first. If the columns of A are, the transpose of C is
computed block by block, with its vectors along the rows of A, and turned in registers.
"""

from __future__ import annotations

from ltensor.lowering.gemm.dot import dot_tile
from ltensor.lowering.gemm.element import Element, lanes_below, masked_store
from ltensor.lowering.gemm.form import begin_form
from ltensor.lowering.gemm.pack import transpose
from ltensor.lowering.gemm.writer import Writer

#: The narrow form is for so many columns at most, and so many rows at least.
MOST_COLUMNS, LEAST_ROWS = 16, 32
#: A product is split into whole vectors and few columns if it has so many terms.
LEAST_DEPTH = 64
#: Rows and columns of its tiles of dot products.
TILE_ROWS, TILE_COLUMNS = 4, 4
#: Depth of the columns of B that are laid out as rows.
BLOCK_K = 512
#: Rows of C that are turned at a time: whole tiles of three vectors.
BLOCK_M = 384


def narrow_flags(w: Writer, el: Element) -> tuple[str, str]:
    """Return whether a product is to take the form ``flipped``, and whether ``narrow``."""
    # half empty vectors cost less than the sums over lanes
    as_dots = w.both(
        w.test("eq", "%acs", 1),
        w.test("sle", "%N", el.lanes // 2),
        w.test("sge", "%K", 2 * el.lanes),
    )
    # rows of B that nearly fill a vector need not be turned
    poor = w.either(w.test("ne", "%bcs", 1), w.test("slt", "%N", 3 * el.lanes // 4))
    turned = w.both(w.test("eq", "%ars", 1), w.test("sle", "%N", MOST_COLUMNS), poor)
    some = w.both(w.test("sge", "%M", LEAST_ROWS), w.test("sgt", "%K", 0))
    return w.both(some, turned), w.both(some, as_dots)


def split_flag(w: Writer, el: Element, rest: str) -> str:
    """Return whether the last `rest` columns, less than a vector, are to be multiplied apart.

    A vector for them would cost as much as one that is full. With many columns that is little,
    with few terms the sums over lanes cost more.
    """
    return w.both(
        w.test("sge", "%M", LEAST_ROWS),
        w.test("sge", "%K", LEAST_DEPTH),
        w.test("sgt", "%N", el.lanes),
        w.test("slt", "%N", 16 * el.lanes),
        w.test("ne", rest, 0),
        w.test("sle", rest, TILE_COLUMNS),
        w.either(w.test("eq", "%acs", 1), w.test("eq", "%ars", 1)),
    )


def narrow_text(el: Element) -> str:
    """Return ``lt_narrow``, for rows of A in one piece, and its tiles."""
    tiles = [dot_tile(el, rows, TILE_COLUMNS, clamped=True) for rows in (TILE_ROWS, 1)]
    w = begin_form(el, "narrow")
    _dots(w, el, w.let(f"alloca [{el.lanes // 2 * BLOCK_K * el.size} x i8], align 64"))
    w.do("ret void")
    return "".join(tiles) + w.text()


def flipped_text(el: Element) -> str:
    """Return ``lt_flipped``, for columns of A in one piece."""
    w = begin_form(el, "flipped")
    _turned(w, el, w.let(f"alloca [{MOST_COLUMNS * BLOCK_M * el.size} x i8], align 64"))
    w.do("ret void")
    return w.text()


def _dots(w: Writer, el: Element, scratch: str) -> None:
    """Rows of A times rows of the transpose of B."""
    by_rows = w.test("eq", "%brs", el.size)
    depth = w.pick(by_rows, "%K", BLOCK_K)
    pitch = w.pick(by_rows, "%bcs", BLOCK_K * el.size)
    whole = w.let(f"and i64 %M, {-TILE_ROWS}")
    with w.count(0, "%K", depth) as p:
        k = w.smin(depth, w.sub("%K", p))
        scalars = el.scalar_args(w.test("ne", p, 0), w)
        source = w.at("%B", w.mul(p, "%brs"))
        with w.when(w.let(f"xor i1 {by_rows}, true")), w.count(0, "%N", 1) as j:
            column, row = w.at(source, w.mul(j, "%bcs")), w.at(scratch, w.mul(j, pitch))
            with w.count(0, k, 1) as q:
                value = w.let(f"load {el.ir}, ptr {w.at(column, w.mul(q, '%brs'))}")
                w.do(f"store {el.ir} {value}, ptr {w.at(row, w.mul(q, el.size))}")
        b = w.let(f"select i1 {by_rows}, ptr {source}, ptr {scratch}")
        a_here = w.at("%A", w.mul(p, el.size))
        for rows, start, stop in ((TILE_ROWS, "0", whole), (1, whole, "%M")):
            with w.count(start, stop, rows) as i:
                a, c = w.at(a_here, w.mul(i, "%ars")), w.at("%C", w.mul(i, "%crs"))
                with w.count(0, "%N", TILE_COLUMNS) as j:
                    n = w.smin(w.sub("%N", j), TILE_COLUMNS)
                    w.do(
                        f"call void @lt_dot_{el.name}_{rows}x{TILE_COLUMNS}n(i64 {k}, ptr {a}, "
                        f"i64 %ars, ptr {w.at(b, w.mul(j, pitch))}, i64 {pitch}, "
                        f"ptr {w.at(c, w.mul(j, el.size))}, i64 %crs, i64 {el.size}, {scalars}, "
                        f"i64 {n})"
                    )


def _turned(w: Writer, el: Element, scratch: str) -> None:
    """Blocks of the transpose of C, each turned when it is complete."""
    ars, acs, brs, bcs = (f"%{name}.n" for name in ("ars", "acs", "brs", "bcs"))
    fresh = el.beta_is_zero(w)
    pitch = BLOCK_M * el.size
    with w.count(0, "%M", BLOCK_M) as i:
        m = w.smin(BLOCK_M, w.sub("%M", i))
        target = w.at("%C", w.mul(i, "%crs"))
        w.do(
            f"call void @lt_gemm_{el.name}(i64 %N, i64 {m}, i64 %K, ptr %B, i64 {bcs}, i64 {brs}, "
            f"ptr {w.at('%A', w.mul(i, '%ars'))}, i64 {acs}, i64 {ars}, ptr {scratch}, "
            f"i64 {BLOCK_M}, {el.ir} %alpha, {el.ir} {el.zero})"
        )
        # seldom: few who add to C have few columns
        add = w.let(f"xor i1 {fresh}, true")
        with w.when(add), w.count(0, m, 1) as r, w.count(0, "%N", 1) as j:
            place = w.at(scratch, w.add(w.mul(j, pitch), w.mul(r, el.size)))
            there = w.at(target, w.add(w.mul(r, "%crs"), w.mul(j, el.size)))
            old, value = (w.let(f"load {el.ir}, ptr {p}") for p in (there, place))
            w.do(f"store {el.ir} {el.mul_add(w, el.ir, '%beta', old, value)}, ptr {place}")
        last_row = w.sub(m, 1)
        with w.count(0, "%N", el.lanes) as j:
            left = w.sub("%N", j)
            mask = lanes_below(w, el.lanes, left)
            with w.count(0, m, el.lanes) as r:
                here = w.at(scratch, w.add(w.mul(j, pitch), w.mul(r, el.size)))
                block = []
                for q in range(el.lanes):
                    # columns that are not there repeat the last one and are not stored
                    place = w.at(here, w.mul(w.smin(w.sub(left, 1), q), pitch))
                    block.append(w.let(f"load {el.vec}, ptr {place}, align {el.size}"))
                block = transpose(w, el.vec, el.lanes, block)
                row = w.at(target, w.mul(j, el.size))
                # rows past the end all go to the last one; going down, the true one comes last
                for q in reversed(range(el.lanes)):
                    place = w.at(row, w.mul(w.smin(w.add(r, q), last_row), "%crs"))
                    masked_store(w, el.vec, block[q], place, mask, el.part_bytes)
