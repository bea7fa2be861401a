"""How products reach their parts: looked up in tables, compiled when first wanted, never missed.

Lowering layer, private to the gemm package; the text only, see `parts` for who compiles. A part
that cannot be had (a thread without Python's lock wants it, there is no memory) is done without:
plain loops give the same product slowly.
"""

from __future__ import annotations

from ltensor.lowering.gemm.element import Element
from ltensor.lowering.gemm.form import SELDOM
from ltensor.lowering.gemm.tables import PARTS
from ltensor.lowering.gemm.tile import TILE_PARAMS
from ltensor.lowering.gemm.writer import Writer


def find_part(w: Writer, el: Element, name: str) -> str:
    """Return the address of a part, null if it cannot be had."""
    return find_at(w, el, w.at(f"@lt_parts_{el.name}", 8 * PARTS.index(name)))


def find_at(w: Writer, el: Element, slot: str) -> str:
    """Return the address that belongs at ``slot``, null if it cannot be had."""
    known = w.let(f"load ptr, ptr {slot}")
    before, ask, go = w.block, w.fresh("ask"), w.fresh("go")
    missing = w.let(f"icmp eq ptr {known}, null")
    w.do(f"br i1 {missing}, label %{ask}, label %{go}")
    w.label(ask)
    found = w.let(f"call ptr @lt_find_{el.name}(ptr {slot})")
    w.do(f"br label %{go}")
    w.label(go)
    return w.let(f"phi ptr [ {known}, %{before} ], [ {found}, %{ask} ]")


def seek_text(el: Element) -> str:
    """Return ``lt_find``, ``lt_first``, ``lt_plain`` and ``lt_complete`` of the element type."""
    return _find(el) + _first(el) + _plain(el) + _complete(el)


def _complete(el: Element) -> str:
    """Have all parts compiled, before threads go to work that cannot ask for them."""
    flag = f"@lt_is_complete_{el.name}"
    w = Writer(f"define void @lt_complete_{el.name}() {SELDOM}")
    with w.when(w.let("icmp eq i64 " + w.let(f"load i64, ptr {flag}") + ", 0")):
        w.let(f"call ptr @lt_find_{el.name}(ptr {flag})")
    w.do("ret void")
    return f"{flag} = global i64 0\n" + w.text()


def _find(el: Element) -> str:
    """Ask Python for what belongs in a slot, on a thread that may run Python."""
    w = Writer(f"define ptr @lt_find_{el.name}(ptr %slot) {SELDOM}")
    may = w.let("icmp ne i32 " + w.let("call i32 @PyGILState_Check()") + ", 0")
    ask, no = w.fresh("ask"), w.fresh("no")
    w.do(f"br i1 {may}, label %{ask}, label %{no}")
    w.label(ask)
    # a call of Python that is interrupted has no result: what it finds is left in memory
    place = w.let("alloca ptr")
    w.do(f"store ptr null, ptr {place}")
    w.do(f"call void @lt_load_{el.name}(ptr %slot, ptr {place})")
    found = w.let(f"load ptr, ptr {place}")
    w.do(f"ret ptr {found}")
    w.label(no)
    w.do("ret ptr null")
    declared = f"declare i32 @PyGILState_Check()\ndeclare void @lt_load_{el.name}(ptr, ptr)\n"
    return declared + w.text()


def _first(el: Element) -> str:
    """The first call of a tile of `%rows` rows, whose address belongs at `%slot`."""
    scalars = el.scalar_params()
    w = Writer(
        f"define internal void @lt_first_{el.name}(ptr %slot, i64 %rows, {TILE_PARAMS}, {scalars}) "
        f"{SELDOM}"
    )
    tile = w.let(f"call ptr @lt_find_{el.name}(ptr %slot)")
    with w.when_return(w.let(f"icmp ne ptr {tile}, null")):
        w.do(f"call void {tile}({TILE_PARAMS}, {scalars})")
    w.do(
        f"call void @lt_plain_{el.name}(i64 %rows, i64 %n, i64 %K, ptr %A, i64 %ars, i64 %acs, "
        f"ptr %B, i64 %brs, i64 {el.size}, ptr %C, i64 %crs, {scalars})"
    )
    w.do("ret void")
    return w.text()


def _plain(el: Element) -> str:
    """C = alpha * A @ B + beta * C, one element after the other; strides in bytes."""
    w = Writer(
        f"define void @lt_plain_{el.name}(i64 %M, i64 %N, i64 %K, ptr %A, i64 %ars, "
        f"i64 %acs, ptr %B, i64 %brs, i64 %bcs, ptr %C, i64 %crs, {el.scalar_params()}) {SELDOM}"
    )
    sums = [w.let(f"alloca {el.ir}") for _ in range(el.parts)]
    half = len(el.scalars) // 2
    keep = w.let(f"xor i1 {el.beta_is_zero(w)}, true")

    def load(base: str) -> list[str]:
        places = [w.at(base, part * el.part_bytes) for part in range(el.parts)]
        return [w.let(f"load {el.ir}, ptr {p}, align {el.part_bytes}") for p in places]

    def accumulate(a: list[str], b: list[str]) -> None:
        """Add a * b to the sums."""
        old = [w.let(f"load {el.ir}, ptr {s}") for s in sums]
        terms = [[(a[0], b[0])]]
        if el.is_complex:
            minus = w.let(f"fneg {el.ir} {a[1]}")
            terms = [[(a[0], b[0]), (minus, b[1])], [(a[0], b[1]), (a[1], b[0])]]
        for place, total, products in zip(sums, old, terms, strict=True):
            for x, y in products:
                total = el.mul_add(w, el.ir, x, y, total)
            w.do(f"store {el.ir} {total}, ptr {place}")

    def clear() -> None:
        for place in sums:
            w.do(f"store {el.ir} {el.zero}, ptr {place}")

    with w.count("0", "%M", 1) as i:
        a_row, c_row = w.at("%A", w.mul(i, "%ars")), w.at("%C", w.mul(i, "%crs"))
        with w.count("0", "%N", 1) as j:
            b_column, c_here = w.at("%B", w.mul(j, "%bcs")), w.at(c_row, w.mul(j, el.size))
            clear()
            with w.count("0", "%K", 1) as k:
                a, b = w.at(a_row, w.mul(k, "%acs")), w.at(b_column, w.mul(k, "%brs"))
                accumulate(load(a), load(b))
            product = [w.let(f"load {el.ir}, ptr {s}") for s in sums]
            clear()
            accumulate(el.scalars[:half], product)
            with w.when(keep):
                accumulate(el.scalars[half:], load(c_here))
            for part, place in enumerate(sums):
                total = w.let(f"load {el.ir}, ptr {place}")
                target = w.at(c_here, part * el.part_bytes)
                w.do(f"store {el.ir} {total}, ptr {target}, align {el.part_bytes}")
    w.do("ret void")
    return w.text()
