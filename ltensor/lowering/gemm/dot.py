"""Products of rows with rows: C[i, j] = sum_k A[i, k] * B'[j, k], vectors along K.

Lowering layer, private to the gemm package. This is the form for a transposed B and few rows, where
packing B would cost more than the product. Real floating types only; columns of C are adjacent.
"""

from __future__ import annotations

from ltensor.lowering.gemm.element import Element, lanes_below, masked_load, masked_store, splat
from ltensor.lowering.gemm.form import begin_form
from ltensor.lowering.gemm.seek import find_at
from ltensor.lowering.gemm.tables import DOT_TILES, PARTS
from ltensor.lowering.gemm.writer import Writer

_PARAMS = "i64 %K, ptr %A, i64 %ars, ptr %B, i64 %bcs, ptr %C, i64 %crs, i64 %ccs"


def dot_text(el: Element, *, parted: bool = False) -> str:
    """Return ``lt_dot`` (all sizes) and its tiles, which are parts of their own if `parted`."""
    tiles = [] if parted else [dot_tile(el, rows, columns) for rows, columns in DOT_TILES]
    return "".join(tiles) + _driver(el, parted)


def _driver(el: Element, parted: bool) -> str:
    """Go through rows and columns by the largest tiles that fit.

    Which one does is looked up: a loop for each of them would take ten times longer to compile.
    """
    name = el.name
    steps = ", ".join(f"i64 {columns}" for _, columns in DOT_TILES)
    tables = f"@lt_dot_steps_{name} = internal constant [{len(DOT_TILES)} x i64] [{steps}]\n"
    first = f"dot {DOT_TILES[0][0]} {DOT_TILES[0][1]}"
    tiles, offset = f"@lt_parts_{name}", 8 * PARTS.index(first)
    if not parted:
        tiles, offset = f"@lt_dot_tiles_{name}", 0
        addresses = ", ".join(f"ptr @lt_dot_{name}_{r}x{c}" for r, c in DOT_TILES)
        tables += f"{tiles} = internal constant [{len(DOT_TILES)} x ptr] [{addresses}]\n"
    w = begin_form(el, "dot")
    table = w.at(tiles, offset)
    with w.count_by("0", "%M") as (i, advance):
        a, c = w.at("%A", w.mul(i, "%ars")), w.at("%C", w.mul(i, "%crs"))
        left = w.sub("%M", i)
        rows, start = "1", str(_first_tile(1))
        for count in sorted({r for r, _ in DOT_TILES} - {1}):
            fits = w.test("sge", left, count)
            rows, start = w.pick(fits, count, rows), w.pick(fits, _first_tile(count), start)
        before = w.block
        head, look, take, on, done = (
            w.fresh(h) for h in ("columns", "look", "take", "next", "done")
        )
        w.do(f"br label %{head}")
        w.label(head)
        j_place, tile_place = w.reserve(), w.reserve()
        j, tile = "%" + w.fresh("j"), "%" + w.fresh("tile")
        w.do(f"br i1 {w.test('slt', j, '%N')}, label %{look}, label %{done}")
        w.label(look)
        step = w.let(f"load i64, ptr {w.at(f'@lt_dot_steps_{name}', w.mul(tile, 8))}")
        smaller, further = w.add(tile, 1), w.add(j, step)
        fits = w.test("sle", further, "%N")
        w.do(f"br i1 {fits}, label %{take}, label %{on}")
        w.label(take)
        places = a, w.at("%B", w.mul(j, "%bcs")), w.at(c, w.mul(j, el.size))
        _call_tile(w, el, parted, w.at(table, w.mul(tile, 8)), (rows, step), places)
        called = w.block
        w.do(f"br label %{on}")
        w.label(on)
        next_j = w.let(f"phi i64 [ {j}, %{look} ], [ {further}, %{called} ]")
        next_tile = w.let(f"phi i64 [ {smaller}, %{look} ], [ {tile}, %{called} ]")
        w.do(f"br label %{head}")
        w.fill(j_place, f"{j} = phi i64 [ 0, %{before} ], [ {next_j}, %{on} ]")
        w.fill(tile_place, f"{tile} = phi i64 [ {start}, %{before} ], [ {next_tile}, %{on} ]")
        w.label(done)
        advance(rows)
    w.do("ret void")
    return tables + w.text()


def _first_tile(rows: int) -> int:
    """Return the number of the widest tile of so many rows."""
    return next(number for number, (r, _) in enumerate(DOT_TILES) if r == rows)


def _call_tile(
    w: Writer,
    el: Element,
    parted: bool,
    slot: str,
    sizes: tuple[str, str],
    places: tuple[str, str, str],
) -> None:
    """Call the tile whose address is at `slot`, of so many rows and columns."""
    a, b, c = places
    arguments = (
        f"i64 %K, ptr {a}, i64 %ars, ptr {b}, i64 %bcs, ptr {c}, i64 %crs, i64 {el.size}, "
        f"{el.scalar_params()}"
    )
    if not parted:
        w.do(f"call void {w.let(f'load ptr, ptr {slot}')}({arguments})")
        return
    tile = find_at(w, el, slot)
    plain, usual, done = (w.fresh(hint) for hint in ("plain", "usual", "done"))
    w.do(f"br i1 {w.let(f'icmp eq ptr {tile}, null')}, label %{plain}, label %{usual}")
    w.label(plain)
    w.do(
        f"call void @lt_plain_{el.name}(i64 {sizes[0]}, i64 {sizes[1]}, i64 %K, ptr {a}, "
        f"i64 %ars, i64 {el.size}, ptr {b}, i64 {el.size}, i64 %bcs, ptr {c}, i64 %crs, "
        f"{el.scalar_params()})"
    )
    w.do(f"br label %{done}")
    w.label(usual)
    w.do(f"call void {tile}({arguments})")
    w.do(f"br label %{done}")
    w.label(done)


def dot_tile(el: Element, rows: int, cols: int, *, clamped: bool = False) -> str:
    """Return the tile of so many rows of A and of B'.

    A `clamped` one, for hosts with masks, has a last parameter: how many rows of B' there are.
    """
    name = f"@lt_dot_{el.name}_{rows}x{cols}{'n' if clamped else ''}"
    last = ", i64 %n" if clamped else ""
    w = Writer(f"define internal void {name}({_PARAMS}, {el.scalar_params()}{last}) #0")
    ty, lanes, size = el.vec, el.lanes, el.size
    a = [w.at("%A", w.mul("%ars", i)) if i else "%A" for i in range(rows)]
    here: list[str | int] = list(range(cols))
    if clamped:  # rows that are not there repeat the last one
        end = w.sub("%n", 1)
        here = [w.smin(end, j) if j else 0 for j in range(cols)]
    b = [w.at("%B", w.mul("%bcs", j)) if j != 0 else "%B" for j in here]
    whole = w.let(f"and i64 %K, {-lanes}")
    stop = w.mul(whole, size)
    w.do("br label %head")
    w.label("head")
    w.do("%o = phi i64 [ 0, %entry ], [ %o.next, %body ]")
    places = [w.reserve() for _ in range(rows * cols)]
    sums = [f"%s{i}" for i in range(rows * cols)]
    w.do(f"br i1 {w.test('slt', '%o', stop)}, label %body, label %tail")
    w.label("body")

    def load(base: str) -> str:
        return w.let(f"load {ty}, ptr {w.at(base, '%o')}, align {size}")

    def products(get: list[str], put: list[str]) -> list[str]:
        return [
            el.mul_add(w, ty, x, y, sums[i * cols + j])
            for i, x in enumerate(get)
            for j, y in enumerate(put)
        ]

    totals = products([load(p) for p in a], [load(p) for p in b])
    w.do(f"%o.next = add i64 %o, {el.vector_bytes}")
    w.do("br label %head")
    for place, s, t in zip(places, sums, totals, strict=True):
        w.fill(place, f"{s} = phi {ty} [ zeroinitializer, %entry ], [ {t}, %body ]")
    w.label("tail")
    rest = w.sub("%K", whole)
    if el.has_masks:
        mask = lanes_below(w, lanes, rest)

        def load_rest(base: str) -> str:
            return masked_load(w, ty, w.at(base, stop), mask, size)

        w.do(f"br i1 {w.test('eq', rest, 0)}, label %finish, label %partial")
        w.label("partial")
        totals = products([load_rest(p) for p in a], [load_rest(p) for p in b])
        w.do("br label %finish")
        w.label("finish")
        sums = [
            w.let(f"phi {ty} [ {s}, %tail ], [ {t}, %partial ]")
            for s, t in zip(sums, totals, strict=True)
        ]
    joined = [_column_sums(w, el, sums[i * cols : (i + 1) * cols]) for i in range(rows)]
    if el.has_masks and cols > 1:
        _finish_vectors(w, el, joined, clamped)
        w.do("ret void")
        return w.text()
    row_sums = [_scalars(w, *row, cols) for row in joined]
    if not el.has_masks:
        row_sums = _scalar_rest(w, el, a, b, stop, row_sums)
    _finish(w, el, rows, cols, row_sums)
    w.do("ret void")
    return w.text()


def _scalar_rest(
    w: Writer, el: Element, a: list[str], b: list[str], start: str, row_sums: list[list[str]]
) -> list[list[str]]:
    """Add the last K % lanes products one by one."""
    before = w.block
    end = w.mul("%K", el.size)
    w.do("br label %one")
    w.label("one")
    flat = [s for row in row_sums for s in row]
    names = [f"%r{i}" for i in range(len(flat))]
    w.do(f"%q = phi i64 [ {start}, %{before} ], [ %q.next, %step ]")
    places = [w.reserve() for _ in flat]
    w.do(f"br i1 {w.test('slt', '%q', end)}, label %step, label %finish")
    w.label("step")
    left = [w.let(f"load {el.ir}, ptr {w.at(p, '%q')}") for p in a]
    right = [w.let(f"load {el.ir}, ptr {w.at(p, '%q')}") for p in b]
    cols = len(b)
    totals = [
        el.mul_add(w, el.ir, x, y, names[i * cols + j])
        for i, x in enumerate(left)
        for j, y in enumerate(right)
    ]
    w.do(f"%q.next = add i64 %q, {el.size}")
    w.do("br label %one")
    for place, name, old, new in zip(places, names, flat, totals, strict=True):
        w.fill(place, f"{name} = phi {el.ir} [ {old}, %{before} ], [ {new}, %step ]")
    w.label("finish")
    return [names[i * cols : (i + 1) * cols] for i in range(len(a))]


def _column_sums(w: Writer, el: Element, vectors: list[str]) -> tuple[list[str], str, int]:
    """Add the lanes of each vector, by a tree of pairwise additions.

    Returns
    -------
    vectors, type, lanes
        The sums in order, in the lanes of one vector or several of this type.
    """
    lanes, ty = el.lanes, el.vec
    partials = lanes
    while partials > 1:
        if len(vectors) > 1:
            pairs = zip(vectors[::2], vectors[1::2], strict=True)
            vectors = [_halves(w, el, ty, a, b, lanes) for a, b in pairs]
        else:
            lanes //= 2
            vectors = [_halves(w, el, ty, vectors[0], "poison", lanes)]
            ty = f"<{lanes} x {el.ir}>"
        partials //= 2
    return vectors, ty, lanes


def _scalars(w: Writer, vectors: list[str], ty: str, lanes: int, wanted: int) -> list[str]:
    """Return the first `wanted` lanes of vectors in a row."""
    scalars = []
    for j in range(wanted):
        source, lane = divmod(j, lanes)
        scalars.append(w.let(f"extractelement {ty} {vectors[source]}, i64 {lane}"))
    return scalars


def _finish_vectors(
    w: Writer, el: Element, joined: list[tuple[list[str], str, int]], clamped: bool
) -> None:
    """Write alpha * sums + beta * C, whole vectors of adjacent columns at once.

    With `clamped`, the one vector of a row has `%n` columns.
    """
    scaled: list[tuple[str, str, str]] = []
    mask = lanes_below(w, joined[0][2], "%n") if clamped else ""
    for i, (vectors, ty, lanes) in enumerate(joined):
        base = w.at("%C", w.mul("%crs", i)) if i else "%C"
        alpha = splat(w, ty, el.ir, "%alpha")
        for k, vector in enumerate(vectors):
            place = w.at(base, k * lanes * el.size) if k else base
            scaled.append((ty, el.mul(w, ty, alpha, vector), place))

    def put(ty: str, value: str, place: str) -> None:
        if clamped:
            masked_store(w, ty, value, place, mask, el.size)
        else:
            w.do(f"store {ty} {value}, ptr {place}, align {el.size}")

    w.do(f"br i1 {el.beta_is_zero(w)}, label %plain, label %update")
    w.label("update")
    for ty, value, place in scaled:
        if clamped:
            old = masked_load(w, ty, place, mask, el.size)
        else:
            old = w.let(f"load {ty}, ptr {place}, align {el.size}")
        put(ty, el.mul_add(w, ty, splat(w, ty, el.ir, "%beta"), old, value), place)
    w.do("ret void")
    w.label("plain")
    for ty, value, place in scaled:
        put(ty, value, place)


def _halves(w: Writer, el: Element, ty: str, a: str, b: str, count: int) -> str:
    """Return the sums of neighbouring lanes of a and b, `count` of them."""
    halves = []
    for odd in (0, 1):
        order = ", ".join(f"i32 {2 * i + odd}" for i in range(count))
        halves.append(w.let(f"shufflevector {ty} {a}, {ty} {b}, <{count} x i32> <{order}>"))
    return el.add(w, f"<{count} x {el.ir}>", *halves)


def _finish(w: Writer, el: Element, rows: int, cols: int, sums: list[list[str]]) -> None:
    """Write alpha * sums + beta * C element by element."""
    scaled = [[el.mul(w, el.ir, "%alpha", s) for s in row] for row in sums]
    places = []
    for i in range(rows):
        base = w.at("%C", w.mul("%crs", i)) if i else "%C"
        places.append([w.at(base, w.mul("%ccs", j)) if j else base for j in range(cols)])
    w.do(f"br i1 {el.beta_is_zero(w)}, label %plain, label %update")
    w.label("update")
    for i in range(rows):
        for value, place in zip(scaled[i], places[i], strict=True):
            old = w.let(f"load {el.ir}, ptr {place}")
            w.do(f"store {el.ir} {el.mul_add(w, el.ir, '%beta', old, value)}, ptr {place}")
    w.do("ret void")
    w.label("plain")
    for i in range(rows):
        for value, place in zip(scaled[i], places[i], strict=True):
            w.do(f"store {el.ir} {value}, ptr {place}")
