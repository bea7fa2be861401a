"""Products with a B that is packed once and multiplied many times, as in a loop over steps.

Lowering layer, private to the gemm package. Real floating types only.

The packed B is made for a number of rows of A: its panels are as wide as the tiles of that many
rows take, each panel is in one piece, and the panels of one block of K follow each other. So every
product reads it from the first byte to the last, wherever the rows of B were.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from ltensor.lowering.gemm.driver import Driver
from ltensor.lowering.gemm.form import SELDOM
from ltensor.lowering.gemm.seek import find_part
from ltensor.lowering.gemm.writer import Writer

#: A packed B has a multiple of so many columns.
KEPT_COLUMNS = 16


class _Numbers:
    """What a `Writer` writes, at once."""

    def mul(self, a: int, b: int) -> int:
        return a * b

    def test(self, predicate: str, a: int, b: int) -> bool:
        return bool(getattr(operator, predicate.removeprefix("s"))(a, b))

    def both(self, *flags: bool) -> bool:
        return all(flags)

    def either(self, *flags: bool) -> bool:
        return any(flags)


def _pays(
    w: Any, size: int, rows: Any, products: Any, columns: Any, depth: Any, brs: Any, bcs: Any
) -> Any:
    """Whether packing a B of elements of ``size`` bytes pays.

    By measurements (Zen 5, AVX-512, a second cache of 1 MB). Products with a turned matrix become
    1.1 (128 rows), 1.2 (32) to 2 times (8 and fewer) faster; packing costs as much as two of them,
    or eight of one row. A plain matrix is packed by every product of more than 32 rows if its own
    lie a page apart or are more than 512 (1.15 times faster), and streams better in one piece to
    few rows (1.3 to 1.6 times). Else it is as fast where it is.
    """
    row = w.mul(brs, size)
    wide = w.either(w.test("sge", columns, 32), w.test("sge", rows, 8))
    turned = w.both(w.test("ne", bcs, 1), wide)
    many = w.test("sgt", rows, 32)
    far = w.both(w.test("sge", row, 4096), w.either(w.test("sle", rows, 8), many))
    deep = w.both(w.test("sgt", depth, 512), many)
    shallow = w.both(w.test("sle", rows, 4), w.test("sle", depth, 512))
    few = w.both(shallow, w.test("sge", row, 1536))
    large = w.test("sge", w.mul(w.mul(depth, columns), size), 1 << 15)
    return w.both(
        w.test("sge", products, 3),
        w.test("sge", w.mul(rows, products), 32),
        w.test("sgt", depth, 0),
        w.test("sgt", columns, 0),
        w.test("sle", rows, 512),
        w.either(turned, w.both(large, w.either(far, deep, few))),
    )


def kept_columns(symbol: str, numbers: Sequence[int]) -> int:
    """Return what ``lt_keep_columns`` of a type returns for these numbers if it lacks nothing."""
    size = {"f32": 4, "f64": 8}[symbol.rsplit("_", 1)[1]]
    pays = _pays(_Numbers(), size, *numbers)
    return -(-numbers[2] // KEPT_COLUMNS) * KEPT_COLUMNS if pays else 0


class KeptDriver(Driver):
    """Writes ``lt_keep`` and ``lt_kept`` of a type."""

    def text(self) -> str:
        """Return both functions."""
        return self.keep() + self.kept()

    def choice(self) -> str:
        """Return what programs call to learn whether packing pays, and to pack.

        Packing and its products are parts of their own: most programs find that it does not pay.
        """
        return self.columns() + self.packed()

    def columns(self) -> str:
        """Columns of a B packed for so many products of `%rows` rows; 0 if packing does not pay."""
        el = self.el
        sizes = ("%rows", "%products", "%N", "%K", "%brs", "%bcs")
        params = ", ".join(f"i64 {size}" for size in sizes)
        w = Writer(f"define i64 @lt_keep_columns_{el.name}({params}) {SELDOM}")
        pays = _pays(w, el.size, *sizes)
        ask, no = w.fresh("ask"), w.fresh("no")
        w.do(f"br i1 {pays}, label %{ask}, label %{no}")
        w.label(ask)
        # done without if they cannot be had
        parts = [find_part(w, el, name) for name in ("keep", "kept")]
        lacking = w.either(*(w.let(f"icmp eq ptr {part}, null") for part in parts))
        columns = w.mul(w.ceil_div("%N", KEPT_COLUMNS), KEPT_COLUMNS)
        w.do(f"ret i64 {w.pick(lacking, '0', columns)}")
        w.label(no)
        w.do("ret i64 0")
        return w.text()

    def packed(self) -> str:
        """Pack B where `columns` has said that it pays."""
        el, params = self.el, "i64 %M, i64 %N, i64 %K, ptr %B, i64 %brs, i64 %bcs, ptr %packed"
        w = Writer(f"define void @lt_keep_packed_{el.name}({params}) {SELDOM}")
        w.do(f"tail call void {find_part(w, el, 'keep')}({params})")
        w.do("ret void")
        return w.text()

    def keep(self) -> str:
        """Pack B for products with `%M` rows; element strides."""
        el = self.el
        w = Writer(
            f"define void @lt_keep_{el.name}"
            "(i64 %M, i64 %N, i64 %K, ptr %B, i64 %brs, i64 %bcs, ptr %packed) #0"
        )
        with w.when_return(self._empty(w)):
            pass
        brs, bcs = w.mul("%brs", el.size), w.mul("%bcs", el.size)
        rows, k_block, pitch = self._sizes(w, "%M")
        with w.count("0", "%K", k_block) as p:
            k = w.smin(k_block, w.sub("%K", p))
            source, target = w.at("%B", w.mul(p, brs)), w.at("%packed", w.mul(p, pitch))

            def body(w: Writer, j: str, n: str, width: str, tiles: str) -> None:
                place = w.at(target, w.mul(w.mul(j, k), el.size))
                w.do(
                    f"call void @lt_pack_b_{el.name}(i64 {k}, i64 {n}, "
                    f"ptr {w.at(source, w.mul(j, bcs))}, i64 {brs}, i64 {bcs}, "
                    f"ptr {place}, i64 {w.mul(width, el.size)})"
                )

            self._panels(w, rows, body)
        w.do("ret void")
        return w.text()

    def kept(self) -> str:
        """C = alpha * A @ B + beta * C with B as packed for `%rows` rows; element strides.

        C has at least one element, K is not zero.
        """
        el, plan = self.el, self.plan
        w = Writer(
            f"define internal void @lt_kept_{el.name}(i64 %rows, i64 %M, i64 %N, i64 %K, ptr %A, "
            f"i64 %ars, i64 %acs, ptr %packed, ptr %C, i64 %crs, {el.scalar_params()}) #0"
        )
        ars, acs, crs = (w.mul(name, el.size) for name in ("%ars", "%acs", "%crs"))
        rows, k_block, pitch = self._sizes(w, "%rows")
        m_block = w.mul(w.let(f"udiv i64 {plan.block_m}, {rows}"), rows)
        with w.count("0", "%K", k_block) as p:
            k = w.smin(k_block, w.sub("%K", p))
            scalars = el.scalar_args(w.test("ne", p, 0), w)
            b_here = w.at("%packed", w.mul(p, pitch))
            a_column = w.at("%A", w.mul(p, acs))
            with w.count("0", "%M", m_block) as i:
                m = w.smin(m_block, w.sub("%M", i))
                a_here, c_here = w.at(a_column, w.mul(i, ars)), w.at("%C", w.mul(i, crs))

                def body(w: Writer, j: str, n: str, width: str, tiles: str) -> None:
                    panel = w.at(b_here, w.mul(w.mul(j, k), el.size))
                    w.do(
                        f"call void @lt_strip_{el.name}(i64 {m}, i64 {rows}, {tiles}, i64 {k}, "
                        f"ptr {a_here}, i64 {ars}, i64 {acs}, "
                        f"ptr {panel}, i64 {w.mul(width, el.size)}, "
                        f"ptr {w.at(c_here, w.mul(j, el.size))}, i64 {crs}, i64 {n}, {scalars})"
                    )

                self._panels(w, rows, body)
        w.do("ret void")
        return w.text()

    def _empty(self, w: Writer) -> str:
        return w.either(*(w.test("sle", size, 0) for size in ("%M", "%N", "%K")))

    def _sizes(self, w: Writer, rows: str) -> tuple[str, str, str]:
        """Return rows of a tile, the block of K, and bytes of a row of all panels."""
        el = self.el
        blocks = w.ceil_div("%K", self.plan.kept_k)
        columns = "%N"
        if el.has_masks:
            columns = w.mul(w.ceil_div("%N", el.per_vector), el.per_vector)
        return self._rows(w, rows), w.ceil_div("%K", blocks), w.mul(columns, el.size)
