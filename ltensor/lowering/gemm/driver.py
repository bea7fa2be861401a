"""The loop nests around the micro-kernels: direct for small products, blocked for large ones.

Lowering layer, private to the gemm package. All strides here are bytes.
"""

from __future__ import annotations

from collections.abc import Callable

from ltensor.lowering.gemm.element import Element
from ltensor.lowering.gemm.form import SELDOM, STRIDES, begin_form, gemm_params
from ltensor.lowering.gemm.narrow import LEAST_ROWS, narrow_flags, split_flag
from ltensor.lowering.gemm.plan import SPLITS, Plan
from ltensor.lowering.gemm.seek import find_at
from ltensor.lowering.gemm.tables import (
    PARTS,
    SCALAR_COLUMNS,
    SCALAR_PITCH,
    TILE_PITCH,
    has_dot,
    has_narrow,
    has_two_kinds,
    tables_types,
    tile_kinds,
    tile_name,
    tile_symbol,
)
from ltensor.lowering.gemm.tile import TILE_PARAMS, TileEmitter
from ltensor.lowering.gemm.writer import Writer

#: Writes the work on a panel: (writer, first column, columns, width of a packed row, tiles).
PanelBody = Callable[[Writer, str, str, str, str], None]
#: Bytes of packed B that stay on the stack; larger panels come from malloc.
STACK_BYTES = 4096
#: Rows of B that lie so far apart cost a page walk each.
PAGE_BYTES = 4096


def tile_text(el: Element, rows: int, vectors: int, masked: bool) -> str:
    """Return a tile function."""
    text = TileEmitter(el, rows, vectors, masked=masked).emit()
    return text.replace(tile_name(el, rows, vectors), tile_symbol(el, rows, vectors, masked))


def splits_text(el: Element, plan: Plan) -> str:
    """Return the table of how columns are cut into panels."""
    splits = [f"[{SPLITS} x i8] zeroinitializer"]
    for rows in range(1, plan.max_rows + 1):
        row = ", ".join(f"i8 {v}" for v in plan.first_panel(rows))
        splits.append(f"[{SPLITS} x i8] [{row}]")
    return (
        f"@lt_splits_{el.name} = constant [{plan.max_rows + 1} x [{SPLITS} x i8]] "
        f"[{', '.join(splits)}]\n"
    )


def tiles_text(el: Element, plan: Plan) -> str:
    """Return all tile functions and the tables that find them."""
    parts = []
    kinds = []
    for masked in tile_kinds(el):
        rows_text = [f"[{TILE_PITCH} x ptr] [{', '.join(['ptr null'] * TILE_PITCH)}]"]
        for rows in range(1, plan.max_rows + 1):
            names = ["ptr null"] * TILE_PITCH
            for vectors in plan.shapes[rows]:
                parts.append(tile_text(el, rows, vectors, masked))
                names[vectors] = f"ptr {tile_symbol(el, rows, vectors, masked)}"
            rows_text.append(f"[{TILE_PITCH} x ptr] [{', '.join(names)}]")
        kinds.append(f"[{plan.max_rows + 1} x [{TILE_PITCH} x ptr]] [{', '.join(rows_text)}]")
    types = tables_types(el, plan)
    parts.append(f"@lt_tiles_{el.name} = internal constant {types[0]} [{', '.join(kinds)}]\n")
    parts.append(splits_text(el, plan).replace("= constant", "= internal constant"))
    if not el.has_masks:
        names = [f"[{SCALAR_PITCH} x ptr] [{', '.join(['ptr null'] * SCALAR_PITCH)}]"]
        for rows in range(1, plan.max_rows + 1):
            row_names = ["ptr null"]
            for columns in SCALAR_COLUMNS:
                parts.append(TileEmitter(el, rows, columns, masked=False, scalar=True).emit())
                row_names.append(f"ptr {tile_name(el, rows, columns, scalar=True)}")
            names.append(f"[{SCALAR_PITCH} x ptr] [{', '.join(row_names)}]")
        parts.append(
            f"@lt_scalar_tiles_{el.name} = internal constant {types[1]} [{', '.join(names)}]\n"
        )
    return "".join(parts)


class Driver:
    """Writes ``lt_strip``, ``lt_direct``, ``lt_blocked``, the public ``lt_gemm`` and ``lt_choose``.

    Parameters
    ----------
    parted : bool
        Whether tiles, dot products and the blocked form are parts that are compiled when they are
        first wanted, see `parts`.
    """

    def __init__(self, el: Element, plan: Plan, *, parted: bool = False) -> None:
        self.el, self.plan, self.parted = el, plan, parted

    def text(self) -> str:
        """Return the five functions."""
        return self.strip() + self.direct() + self.blocked() + self.gemm() + self.choose()

    def base_text(self) -> str:
        """Return the functions that are no part."""
        return self.strip() + self.direct() + self.gemm() + self.choose()

    # one panel of columns, all rows ----------------------------------------------------------

    def strip(self) -> str:
        """Rows in tiles of `%rows`, each by the function found at `%row.tiles` + rows * pitch."""
        el = self.el
        w = Writer(
            f"define internal void @lt_strip_{el.name}(i64 %M, i64 %rows, ptr %tiles, i64 %pitch, "
            f"{TILE_PARAMS}, {el.scalar_params()}) #0"
        )
        with w.count("0", "%M", "%rows") as i:
            here = w.smin("%rows", w.sub("%M", i))
            a = w.at("%A", w.mul(i, "%ars"))
            c = w.at("%C", w.mul(i, "%crs"))
            self._tile(
                w,
                w.at("%tiles", w.mul(here, "%pitch")),
                here,
                f"i64 %K, ptr {a}, i64 %ars, i64 %acs, ptr %B, i64 %brs, "
                f"ptr {c}, i64 %crs, i64 %n, {el.scalar_params()}",
            )
        w.do("ret void")
        return w.text()

    def _tile(self, w: Writer, place: str, rows: str, arguments: str) -> None:
        """Call the tile of so many rows whose address is at `place`."""
        tile = w.let(f"load ptr, ptr {place}")
        if not self.parted:
            w.do(f"call void {tile}({arguments})")
            return
        first, usual, done = (w.fresh(name) for name in ("first", "usual", "done"))
        missing = w.let(f"icmp eq ptr {tile}, null")
        w.do(f"br i1 {missing}, label %{first}, label %{usual}")
        w.label(first)
        w.do(f"call void @lt_first_{self.el.name}(ptr {place}, i64 {rows}, {arguments})")
        w.do(f"br label %{done}")
        w.label(usual)
        w.do(f"call void {tile}({arguments})")
        w.do(f"br label %{done}")
        w.label(done)

    def _rows(self, w: Writer, m: str) -> str:
        """Return the rows per tile: as equal as possible."""
        limit = self.plan.max_rows
        return w.let(f"udiv i64 {w.add(m, w.sub(w.ceil_div(m, limit), 1))}, {w.ceil_div(m, limit)}")

    def _panels(self, w: Writer, rows: str | int, body: PanelBody) -> None:
        """Loop over panels of columns as wide as tiles of `rows` rows allow."""
        el, per = self.el, self.el.per_vector
        splits = w.at(f"@lt_splits_{el.name}", w.mul(rows, SPLITS))
        stop = "%N" if el.has_masks else w.let(f"and i64 %N, {-per}")
        with w.count_by("0", stop) as (j, advance):
            left = w.sub("%N", j)
            vectors = w.ceil_div(left, per) if el.has_masks else w.let(f"udiv i64 {left}, {per}")
            place = w.at(splits, w.smin(vectors, SPLITS - 1))
            take = w.let(f"zext i8 {w.let(f'load i8, ptr {place}')} to i64")
            width = w.mul(take, per)
            n = w.smin(left, width)
            tiles = w.at(f"@lt_tiles_{el.name}", w.mul(take, 8))
            if has_two_kinds(el):
                kind = w.pick(
                    w.test("slt", left, width), (self.plan.max_rows + 1) * TILE_PITCH * 8, 0
                )
                tiles = w.at(tiles, kind)
            body(w, j, n, width, f"ptr {tiles}, i64 {TILE_PITCH * 8}")
            advance(width)
        if not el.has_masks:
            with w.count_by(stop, "%N") as (j, advance):
                n = w.smin(w.sub("%N", j), SCALAR_COLUMNS[-1])
                tiles = w.at(f"@lt_scalar_tiles_{el.name}", w.mul(n, 8))
                body(w, j, n, n, f"ptr {tiles}, i64 {SCALAR_PITCH * 8}")
                advance(n)

    def direct(self) -> str:
        """B is read in place, so its columns are adjacent."""
        el = self.el
        w = begin_form(el, "direct")
        rows = self._rows(w, "%M")

        def body(w: Writer, j: str, n: str, width: str, tiles: str) -> None:
            offset = w.mul(j, el.size)
            w.do(
                f"call void @lt_strip_{el.name}(i64 %M, i64 {rows}, {tiles}, i64 %K, ptr %A, "
                f"i64 %ars, i64 %acs, ptr {w.at('%B', offset)}, i64 %brs, "
                f"ptr {w.at('%C', offset)}, i64 %crs, i64 {n}, {el.scalar_params()})"
            )

        self._panels(w, rows, body)
        w.do("ret void")
        return w.text()

    # packed ----------------------------------------------------------------------------------

    def blocked(self) -> str:
        """Panels of B (and blocks of A if it is large) are copied to scratch.

        A panel of B stays in the first cache while the rows of A go past it from the second.
        """
        el, plan = self.el, self.plan
        w = begin_form(el, "blocked")
        contiguous = w.either(w.test("eq", "%acs", el.size), w.test("eq", "%ars", el.size))
        w.do(f"%pack.a = and i1 {contiguous}, {w.test('sge', '%M', plan.pack_a_rows)}")
        stack = w.let(f"alloca [{STACK_BYTES} x i8], align 64")
        k_block = w.ceil_div("%K", w.ceil_div("%K", plan.block_k))
        m_block = w.ceil_div("%M", w.ceil_div("%M", plan.block_m))
        # Rows (or columns) of the packed A are kept 64 bytes off a power of two.
        pad = 64
        b_bytes = w.mul(k_block, plan.panel_vectors * el.vector_bytes)
        a_rows = w.test("eq", "%acs", el.size)
        outer = w.pick(a_rows, m_block, k_block)
        inner = w.pick(a_rows, k_block, m_block)
        a_pitch = w.add(w.let(f"and i64 {w.add(w.mul(inner, el.size), 63)}, -64"), pad)
        a_bytes = w.pick("%pack.a", w.mul(outer, a_pitch), 0)
        total = w.add(b_bytes, a_bytes)
        scratch, heap, k_block, pack_a = self._scratch(w, stack, total, k_block)
        packed_a = w.at(scratch, b_bytes)
        with w.count("0", "%K", k_block) as p:
            k = w.smin(k_block, w.sub("%K", p))
            later = w.test("ne", p, 0)
            scalars = el.scalar_args(later, w)
            b_here = w.at("%B", w.mul(p, "%brs"))
            a_column = w.at("%A", w.mul(p, "%acs"))
            with w.count("0", "%M", m_block) as i:
                m = w.smin(m_block, w.sub("%M", i))
                a_here = w.at(a_column, w.mul(i, "%ars"))
                c_here = w.at("%C", w.mul(i, "%crs"))
                with w.when(pack_a):
                    count, length = w.pick(a_rows, m, k), w.pick(a_rows, k, m)
                    pitch = w.pick(a_rows, "%ars", "%acs")
                    w.do(
                        f"call void @lt_copy_rows_{el.name}(i64 {count}, i64 {length}, "
                        f"ptr {a_here}, i64 {pitch}, ptr {packed_a}, i64 {a_pitch})"
                    )
                a_base = w.let(f"select i1 {pack_a}, ptr {packed_a}, ptr {a_here}")
                ars = w.pick(pack_a, w.pick(a_rows, a_pitch, el.size), "%ars")
                acs = w.pick(pack_a, w.pick(a_rows, el.size, a_pitch), "%acs")
                rows = self._rows(w, m)

                def body(w: Writer, j: str, n: str, width: str, tiles: str) -> None:
                    pitch = w.mul(width, el.size)
                    source = w.at(b_here, w.mul(j, "%bcs"))
                    w.do(
                        f"call void @lt_pack_b_{el.name}(i64 {k}, i64 {n}, ptr {source}, "
                        f"i64 %brs, i64 %bcs, ptr {scratch}, i64 {pitch})"
                    )
                    w.do(
                        f"call void @lt_strip_{el.name}(i64 {m}, i64 {rows}, {tiles}, i64 {k}, "
                        f"ptr {a_base}, i64 {ars}, i64 {acs}, ptr {scratch}, i64 {pitch}, "
                        f"ptr {w.at(c_here, w.mul(j, el.size))}, i64 %crs, i64 {n}, {scalars})"
                    )

                # Scratch is made for panels of full height, which all smaller tiles can take.
                self._panels(w, plan.max_rows, body)
        with w.when(w.let(f"icmp ne ptr {heap}, null")):
            w.do(f"call void @free(ptr {heap})")
        w.do("ret void")
        return w.text()

    def _scratch(
        self, w: Writer, stack: str, total: str, k_block: str
    ) -> tuple[str, str, str, str]:
        """Return aligned scratch, the heap block to free, the block of K and whether A is packed.

        Without memory the stack has to do, with short blocks of K and A in place.
        """
        heap_at, full, poor, ready = (w.fresh(n) for n in ("heap", "full", "poor", "ready"))
        before = w.block
        small = w.test("sle", total, STACK_BYTES)
        w.do(f"br i1 {small}, label %{ready}, label %{heap_at}")
        w.label(heap_at)
        heap = w.let(f"call ptr @malloc(i64 {w.add(total, 64)})", "heap")
        missing = w.let(f"icmp eq ptr {heap}, null")
        w.do(f"br i1 {missing}, label %{poor}, label %{full}")
        w.label(poor)
        w.do(f"br label %{ready}")
        w.label(full)
        address = w.let(f"ptrtoint ptr {heap} to i64")
        aligned = w.at(heap, w.let(f"and i64 {w.sub(0, address)}, 63"))
        w.do(f"br label %{ready}")
        w.label(ready)

        def merge(ty: str, normal: str, rich: str, without: str | int) -> str:
            ways = f"[ {normal}, %{before} ], [ {rich}, %{full} ], [ {without}, %{poor} ]"
            return w.let(f"phi {ty} {ways}")

        short = STACK_BYTES // (self.plan.panel_vectors * self.el.vector_bytes)
        return (
            merge("ptr", stack, aligned, stack),
            merge("ptr", "null", heap, "null"),
            merge("i64", k_block, k_block, short),
            merge("i1", "%pack.a", "%pack.a", "false"),
        )

    # the entry -------------------------------------------------------------------------------

    def gemm(self) -> str:
        """The product: small ones by their form at once, others by `choose`."""
        el, plan = self.el, self.plan
        params = gemm_params(el)
        w = Writer(f"define void @lt_gemm_{el.name}({params}) #0")
        empty = w.either(w.test("sle", "%M", 0), w.test("sle", "%N", 0))
        with w.when_return(empty):
            pass
        if el.has_masks:
            self._one_tile(w)
        # with so few rows no other form comes before
        rows = min(plan.far_rows, LEAST_ROWS - 1) if has_narrow(el) else plan.far_rows
        few = w.both(w.test("sle", "%M", rows), w.test("eq", "%bcs", 1), w.test("ne", "%N", 1))
        # The same parameters in the same places: jumps.
        with w.when_return(few):
            w.do(f"tail call void @lt_direct_{el.name}({params})")
        w.do(f"tail call void @lt_choose_{el.name}({params})")
        w.do("ret void")
        return w.text()

    def choose(self) -> str:
        """The form of a product that is not small; all have its parameters."""
        el, plan = self.el, self.plan
        params = gemm_params(el)
        w = Writer(f"define internal void @lt_choose_{el.name}({params}) {SELDOM}")
        one_column = w.test("eq", "%N", 1)
        # One column with adjacent rows: as a row times the transpose, where A is streamed.
        flat = w.both(one_column, w.test("eq", "%crs", 1), w.test("sgt", "%M", 1))
        with w.when_return(flat):
            w.do(
                f"call void @lt_gemm_{el.name}(i64 1, i64 %M, i64 %K, ptr %B, i64 0, i64 %brs, "
                f"ptr %A, i64 %acs, i64 %ars, ptr %C, i64 %M, {el.scalar_params()})"
            )
        # the first whose flag is set
        forms = [("blocked", "true")]
        if has_dot(el):
            rows = w.both(w.test("eq", "%brs", 1), w.test("eq", "%acs", 1))
            deep = w.test("sge", "%K", el.per_vector)
            forms.insert(0, ("dot", w.both(rows, deep, w.test("sle", "%M", plan.dot_rows))))
        adjacent = w.either(w.test("eq", "%bcs", 1), one_column, w.test("sle", "%K", 0))
        near = w.both(
            w.test("sle", "%M", plan.direct_rows),
            w.test("sle", "%K", plan.direct_depth),
            w.test("slt", "%brs", PAGE_BYTES // el.size),
        )
        tight = w.test("sle", w.mul("%N", "%K"), plan.direct_bytes // el.size)
        direct = w.both(adjacent, w.either(w.test("sle", "%M", plan.far_rows), near, tight))
        if has_narrow(el):
            few_columns = narrow_flags(w, el)
            forms = [*zip(("flipped", "narrow"), few_columns, strict=True), *forms]
            others = w.let(f"xor i1 {w.either(*few_columns)}, true")
            direct = w.both(direct, others)
            self._split(w, others)
        with w.when_return(direct):
            w.do(f"tail call void @lt_direct_{el.name}({params})")
        if self.parted:
            self._part(w, forms)
        else:
            for name, flag in forms:
                with w.when_return(flag):
                    w.do(f"tail call void @lt_{name}_{el.name}({params})")
        w.do("ret void")
        return w.text()

    def _split(self, w: Writer, others: str) -> None:
        """Whole vectors of columns, and the few that are left by the form for few."""
        el = self.el
        rest = w.let(f"and i64 %N, {el.lanes - 1}")
        with w.when_return(w.both(split_flag(w, el, rest), others)):
            whole = w.sub("%N", rest)
            b_rest = w.at("%B", w.mul(w.mul(whole, "%bcs"), el.size))
            c_rest = w.at("%C", w.mul(whole, el.size))
            for columns, b, c in ((whole, "%B", "%C"), (rest, b_rest, c_rest)):
                w.do(
                    f"call void @lt_gemm_{el.name}(i64 %M, i64 {columns}, i64 %K, ptr %A, "
                    f"i64 %ars, i64 %acs, ptr {b}, i64 %brs, i64 %bcs, ptr {c}, i64 %crs, "
                    f"{el.scalar_params()})"
                )

    def _part(self, w: Writer, forms: list[tuple[str, str]]) -> None:
        """Call the first form whose flag is set; plain loops if it cannot be had."""
        el = self.el
        offset = str(8 * PARTS.index(forms[-1][0]))
        for name, flag in reversed(forms[:-1]):
            offset = w.pick(flag, 8 * PARTS.index(name), offset)
        address = find_at(w, el, w.at(f"@lt_parts_{el.name}", offset))
        with w.when_return(w.let(f"icmp ne ptr {address}, null")):
            w.do(f"tail call void {address}({gemm_params(el)})")
        strides = [w.mul(f"%{name}", el.size) for name in STRIDES]
        w.do(
            f"call void @lt_plain_{el.name}(i64 %M, i64 %N, i64 %K, ptr %A, i64 {strides[0]}, "
            f"i64 {strides[1]}, ptr %B, i64 {strides[2]}, i64 {strides[3]}, ptr %C, "
            f"i64 {strides[4]}, {el.scalar_params()})"
        )

    def _one_tile(self, w: Writer) -> None:
        """A product that is a single tile returns at once: in a loop over steps most are."""
        el, plan, per = self.el, self.plan, self.el.per_vector
        few = w.both(
            w.test("sle", "%M", plan.max_rows),
            w.test("sle", "%N", (SPLITS - 1) * per),
            w.test("eq", "%bcs", 1),
            # a column is turned into a row
            w.either(w.test("ne", "%N", 1), w.test("eq", "%M", 1)),
        )
        with w.when(few):
            vectors = w.ceil_div("%N", per)
            place = w.at(f"@lt_splits_{el.name}", w.add(w.mul("%M", SPLITS), vectors))
            take = w.let(f"zext i8 {w.let(f'load i8, ptr {place}')} to i64")
            with w.when_return(w.test("eq", take, vectors)):
                number: str = w.add(w.mul("%M", TILE_PITCH), take)
                if has_two_kinds(el):
                    whole = w.test("eq", w.mul(vectors, per), "%N")
                    number = w.add(number, w.pick(whole, 0, (plan.max_rows + 1) * TILE_PITCH))
                strides = [w.mul(name, el.size) for name in ("%ars", "%acs", "%brs", "%crs")]
                self._tile(
                    w,
                    w.at(f"@lt_tiles_{el.name}", w.mul(number, 8)),
                    "%M",
                    f"i64 %K, ptr %A, i64 {strides[0]}, i64 {strides[1]}, "
                    f"ptr %B, i64 {strides[2]}, ptr %C, i64 {strides[3]}, i64 %N, "
                    f"{el.scalar_params()}",
                )
