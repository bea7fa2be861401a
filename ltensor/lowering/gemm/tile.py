"""The micro-kernel: a tile of C of some rows by some vectors, held in registers over all of K.

Lowering layer, private to the gemm package. One emitter serves real, integer, boolean and complex
types; strides are bytes and arbitrary for A, so that a packed, a transposed and a plain operand all
use the same code.
"""

from __future__ import annotations

from collections.abc import Callable

from ltensor.lowering.gemm.element import Element, lanes_below, masked_load, masked_store, splat
from ltensor.lowering.gemm.tables import tile_name
from ltensor.lowering.gemm.writer import Writer

#: Parameters of every tile function; strides in bytes, %n = columns of C that exist in the tile.
TILE_PARAMS = "i64 %K, ptr %A, i64 %ars, i64 %acs, ptr %B, i64 %brs, ptr %C, i64 %crs, i64 %n"


class TileEmitter:
    """Writes one tile function: C[rows, vectors] = alpha * A @ B + beta * C.

    Parameters
    ----------
    el : Element
        Dtype and host.
    rows, vectors : int
        Size of the tile in registers.
    masked : bool
        Whether the last vector holds only the columns below ``%n``.
    scalar : bool
        Columns instead of vectors, for tails on hosts without masks.
    """

    def __init__(
        self, el: Element, rows: int, vectors: int, *, masked: bool, scalar: bool = False
    ) -> None:
        self.el, self.rows, self.vectors = el, rows, vectors
        self.masked, self.scalar = masked, scalar
        if scalar:
            self.ty = f"<2 x {el.ir}>" if el.is_complex else el.ir
            self.step = el.size
        else:
            self.ty = el.vec
            self.step = el.vector_bytes
        self.lanes = self.step // el.part_bytes

    def emit(self) -> str:
        """Return the function text."""
        el, name = self.el, tile_name(self.el, self.rows, self.vectors, self.scalar)
        w = Writer(f"define internal void {name}({TILE_PARAMS}, {el.scalar_params()}) #0")
        self.w = w
        self.mask = self._mask() if self.masked else None
        a_rows = [w.at("%A", w.mul("%ars", i)) if i else "%A" for i in range(self.rows)]
        # A complex tile keeps the products with the real and the imaginary part of A apart.
        count = self.rows * self.vectors * el.parts
        sums = self._loop(a_rows, count)
        c_rows = [w.at("%C", w.mul("%crs", i)) if i else "%C" for i in range(self.rows)]
        results = self._results(sums)
        self._store(results, c_rows)
        w.do("ret void")
        return w.text()

    def _mask(self) -> str:
        w, el = self.w, self.el
        rest = w.sub("%n", (self.vectors - 1) * el.per_vector)
        return lanes_below(w, el.lanes, w.mul(rest, el.parts) if el.is_complex else rest)

    def _load(self, base: str, v: int) -> str:
        pointer = self.w.at(base, v * self.step) if v else base
        if self.mask is not None and v == self.vectors - 1:
            return masked_load(self.w, self.ty, pointer, self.mask, self.el.part_bytes)
        return self.w.let(f"load {self.ty}, ptr {pointer}, align {self.el.part_bytes}")

    def _loop(self, a_rows: list[str], count: int) -> list[str]:
        w, ty, el = self.w, self.ty, self.el
        zero = "zeroinitializer" if ty.startswith("<") else el.zero
        start = [f"%s{i}" for i in range(count)]
        w.do(f"br i1 {w.test('sgt', '%K', 0)}, label %loop, label %done")
        w.label("loop")
        w.do("%k = phi i64 [ %K, %entry ], [ %k.next, %loop ]")
        w.do("%ao = phi i64 [ 0, %entry ], [ %ao.next, %loop ]")
        w.do("%b = phi ptr [ %B, %entry ], [ %b.next, %loop ]")
        places = [w.reserve() for _ in start]
        b = [self._load("%b", v) for v in range(self.vectors)]
        totals: list[str] = []
        for a_row in a_rows:
            pointer = w.at(a_row, "%ao")
            for part in range(el.parts):
                source = w.at(pointer, part * el.part_bytes) if part else pointer
                scalar = w.let(f"load {el.ir}, ptr {source}, align {el.part_bytes}")
                a = splat(w, ty, el.ir, scalar)
                for v in range(self.vectors):
                    totals.append(el.mul_add(w, ty, a, b[v], start[len(totals)]))
        for place, s, t in zip(places, start, totals, strict=True):
            w.fill(place, f"{s} = phi {ty} [ {zero}, %entry ], [ {t}, %loop ]")
        w.do("%ao.next = add i64 %ao, %acs")
        w.do("%b.next = getelementptr i8, ptr %b, i64 %brs")
        w.do("%k.next = add i64 %k, -1")
        w.do("%more = icmp sgt i64 %k.next, 0")
        w.do("br i1 %more, label %loop, label %done")
        w.label("done")
        return [w.let(f"phi {ty} [ {zero}, %entry ], [ {t}, %loop ]", "sum") for t in totals]

    def _results(self, sums: list[str]) -> list[list[str]]:
        """Return alpha * A @ B by row and vector."""
        w, el, ty, nv = self.w, self.el, self.ty, self.vectors
        rows = []
        if not el.is_complex:
            alpha = splat(w, ty, el.ir, "%alpha")
            for i in range(self.rows):
                rows.append([el.mul(w, ty, alpha, s) for s in sums[i * nv : (i + 1) * nv]])
            return rows
        factor = self._complex_scalar("%alpha", "%alpha.im")
        signs = self._signs("1.0")
        for i in range(self.rows):
            re = sums[2 * i * nv : (2 * i + 1) * nv]
            im = sums[(2 * i + 1) * nv : (2 * i + 2) * nv]
            products = [
                el.mul_add(w, ty, signs, self._swap(q), p) for p, q in zip(re, im, strict=True)
            ]
            rows.append([self._complex_mul(factor, p, None) for p in products])
        return rows

    def _signs(self, value: str) -> str:
        """Return the constant (-value, value, ...)."""
        w, half = self.w, self.lanes // 2
        if value == "1.0":
            body = ", ".join([f"{self.el.ir} -1.0, {self.el.ir} 1.0"] * half)
            return f"<{body}>"
        wide = splat(w, self.ty, self.el.ir, value)
        return self.el.mul(w, self.ty, wide, self._signs("1.0"))

    def _complex_scalar(self, re: str, im: str) -> tuple[str, str]:
        return splat(self.w, self.ty, self.el.ir, re), self._signs(im)

    def _swap(self, value: str) -> str:
        order = ", ".join(f"i32 {i ^ 1}" for i in range(self.lanes))
        ty = self.ty
        lanes = f"<{self.lanes} x i32> <{order}>"
        return self.w.let(f"shufflevector {ty} {value}, {ty} poison, {lanes}")

    def _complex_mul(self, scalar: tuple[str, str], x: str, plus: str | None) -> str:
        """Return scalar * x, or scalar * x + plus."""
        w, el, ty = self.w, self.el, self.ty
        turned = self._swap(x)
        if plus is None:
            cross = el.mul(w, ty, scalar[1], turned)
        else:
            cross = el.mul_add(w, ty, scalar[1], turned, plus)
        return el.mul_add(w, ty, scalar[0], x, cross)

    def _store(self, results: list[list[str]], c_rows: list[str]) -> None:
        """Write the results, plus beta * C only where beta is not zero."""
        w, el = self.w, self.el
        # A load with an empty mask would need no branch, but waits for earlier stores to C.
        before = w.block
        w.do(f"br i1 {el.beta_is_zero(w)}, label %store, label %update")
        w.label("update")
        update = self._updater()
        updated = [
            [update(self._load(base, v), value) for v, value in enumerate(row)]
            for row, base in zip(results, c_rows, strict=True)
        ]
        w.do("br label %store")
        w.label("store")
        merged = [
            [
                w.let(f"phi {self.ty} [ {value}, %{before} ], [ {new}, %update ]")
                for value, new in zip(row, new_row, strict=True)
            ]
            for row, new_row in zip(results, updated, strict=True)
        ]
        for row, base in zip(merged, c_rows, strict=True):
            for v, value in enumerate(row):
                self._put(base, v, value)

    def _updater(self) -> Callable[[str, str], str]:
        """Return the writer of beta * old + value."""
        w, el = self.w, self.el
        if el.is_complex:
            pair = self._complex_scalar("%beta", "%beta.im")
            return lambda old, value: self._complex_mul(pair, old, value)
        beta = splat(w, self.ty, el.ir, "%beta")
        return lambda old, value: el.mul_add(w, self.ty, beta, old, value)

    def _put(self, base: str, v: int, value: str) -> None:
        pointer = self.w.at(base, v * self.step) if v else base
        if self.mask is not None and v == self.vectors - 1:
            masked_store(self.w, self.ty, value, pointer, self.mask, self.el.part_bytes)
        else:
            self.w.do(f"store {self.ty} {value}, ptr {pointer}, align {self.el.part_bytes}")
