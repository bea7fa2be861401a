"""Matrices that stay while a loop runs, packed once before it for the products of its steps.

A product reads its right operand panel by panel. A matrix that is turned, or whose rows lie far
apart, would be brought into that order by every step; here it is done once per call, where the
sizes promise that it pays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ltensor.ir.graph import Apply, Variable
from ltensor.lowering.program import Value, View
from ltensor.ops.linalg import (
    Dot,
    matrix_strides,
    product_symbol,
    sums_adjacent,
    transposed,
)
from ltensor.ops.sequence_product import SequenceProduct
from ltensor.ops.shape import DimShuffle

if TYPE_CHECKING:
    from ltensor.lowering.loops.scan import ScanLowering

#: dtypes whose products take packed matrices
DTYPES = ("float32", "float64")


class Kept(NamedTuple):
    """A right operand: for how many rows of the left one it is packed (0: it is not), and where."""

    rows: Value
    pointer: Value


class KeptProducts:
    """The products of one scan whose right operand is a matrix from outside."""

    def __init__(self, lowering: ScanLowering) -> None:
        self.lowering = lowering
        self._packed: dict[tuple[Any, ...], Kept] = {}

    def prepare(self) -> dict[Apply, Kept]:
        """Before the loop: pack what the step's products read."""
        lowering = self.lowering
        op = lowering.op
        refs: dict[Variable, Any] = dict(zip(op.inner_refs(), lowering.ref_values, strict=True))
        found: dict[Apply, Kept] = {}
        for node in lowering.deferred.body.nodes:
            if not isinstance(node.op, Dot) or isinstance(node.op, SequenceProduct):
                continue
            x, y = node.inputs
            matrix = self._matrix(refs, y)
            if matrix is None or x.type.dtype != matrix.dtype or x in refs:
                continue
            if x.type.ndim == 1:
                if sums_adjacent(lowering.b, matrix, 0):
                    continue
                rows = lowering.b.const(1)
            elif op.sized_outside(x):
                rows = lowering.block.scalar(op.shape_outside(lowering.node, x)[0])
            else:
                continue
            found[node] = self.keep(matrix, y, rows, lowering.steps)
        return found

    def keep(self, matrix: View, variable: Variable, rows: Value, products: Value) -> Kept:
        """Pack ``matrix`` for so many products of so many rows if that pays."""
        b = self.lowering.b
        key = (matrix.pointer, matrix.dims, matrix.strides, matrix.offset, rows, products)
        if key in self._packed:
            return self._packed[key]
        depth, columns = matrix.dims
        row_step, column_step = matrix_strides(b, matrix)
        wide = b.call(
            product_symbol(matrix.dtype, form="keep_columns"),
            [rows, products, columns, depth, row_step, column_step],
            "int64",
        )
        pays = b.ne(wide, 0)
        dims = (depth, wide)
        buffer = b.temporary(matrix.dtype, dims, ("packed", variable))
        source = b.shifted(matrix, 0)
        with b.if_(pays):
            b.call(
                product_symbol(matrix.dtype, form="keep_packed"),
                [rows, columns, depth, source, row_step, column_step, buffer.pointer],
            )
        pointer = b.select(pays, buffer.pointer, source)
        kept = self._packed[key] = Kept(b.select(pays, rows, 0), pointer)
        return kept

    def _matrix(self, refs: dict[Variable, Any], y: Variable) -> View | None:
        """The matrix that ``y`` is: one of the loop's, or one of them transposed."""
        turned = y.owner is not None and isinstance(y.owner.op, DimShuffle)
        if turned:
            assert y.owner is not None
            if tuple(y.owner.op.new_order) != (1, 0):
                return None
            y = y.owner.inputs[0]
        view = refs.get(y)
        if not isinstance(view, View) or view.ndim != 2 or view.dtype not in DTYPES:
            return None
        return transposed(self.lowering.b, view) if turned else view
