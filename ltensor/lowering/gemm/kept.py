"""Products with a B that is packed once and multiplied many times, as in a loop over steps.

Lowering layer, private to the gemm package. Real floating types only.

The packed B is made for a number of rows of A: its panels are as wide as the tiles of that many
rows take, each panel is in one piece, and the panels of one block of K follow each other. So every
product reads it from the first byte to the last, wherever the rows of B were.
"""

from __future__ import annotations

from ltensor.lowering.gemm.driver import Driver
from ltensor.lowering.gemm.element import Element
from ltensor.lowering.gemm.writer import Writer


def has_kept(el: Element) -> bool:
    """True if the element type has this form."""
    return el.kind == "float"


class KeptDriver(Driver):
    """Writes ``lt_keep`` and ``lt_kept`` of a type."""

    def text(self) -> str:
        """Return both functions."""
        return self.keep() + self.kept()

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
