"""Products of sequences' rows and invariant matrices, taken for a block of steps at once.

At the first step of a block one product of all its rows fills a buffer, of which each step reads
its part. A block has about `ROWS` rows: few enough that the buffer stays in the cache, many
enough that the matrix is read seldom. With that many rows in a step a block is one step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ltensor.ir.graph import Apply, Variable
from ltensor.lowering.program import Value, View
from ltensor.ops.linalg import emit_product
from ltensor.ops.sequence_product import SequenceProduct

if TYPE_CHECKING:
    from ltensor.lowering.loops.kept_products import Kept, KeptProducts
    from ltensor.lowering.loops.scan import ScanLowering

#: rows of a block
ROWS = 64


class SequenceProducts:
    """The `sequence_product` nodes of one scan whose sequences are read forward without gaps."""

    def __init__(self, lowering: ScanLowering) -> None:
        self.lowering = lowering
        self.nodes: list[tuple[Apply, View, View]] = []
        op = lowering.op
        views: dict[Variable, Any] = dict(zip(op.inner_seqs(), lowering.seq_views, strict=True))
        refs: dict[Variable, Any] = dict(zip(op.inner_refs(), lowering.ref_values, strict=True))
        for node in op.body.nodes:
            if not isinstance(node.op, SequenceProduct) or op.has_stop:
                continue
            x, w = node.inputs
            view, matrix = views.get(x), refs.get(w)
            if isinstance(view, View) and view.dense and isinstance(matrix, View):
                self.nodes.append((node, view, matrix))

    def prepare(self, keeper: KeptProducts) -> None:
        """Check the sizes, reserve the buffers and pack the matrices, before the loop."""
        b, lowering = self.lowering.b, self.lowering
        idle = b.le(lowering.steps, 0)
        most: Any = b.const(1)
        for node, view, matrix in self.nodes:
            have, want = view.dims[-1], matrix.dims[0]
            shown = (*view.dims[1:], *matrix.dims)
            b.check(b.or_(b.eq(have, want), idle), "dot", node, (have, want, *shown), shapes_at=2)
            if view.ndim == 3:
                most = b.max(most, view.dims[1])
        many = b.max(b.int_divide(b.const(ROWS), most), b.const(1))
        self.steps = b.max(b.min(many, lowering.steps), b.const(1))
        self.buffers = []
        self.kept: list[Kept] = []
        blocks = b.int_divide(lowering.steps, self.steps)
        for node, view, matrix in self.nodes:
            rows = b.mul(self.steps, b.size(view.dims[1:-1]))
            self.kept.append(keeper.keep(matrix, node.inputs[1], rows, blocks))
            dims = (self.steps, *view.dims[1:-1], matrix.dims[1])
            reason = ("block", node.outputs[0])
            self.buffers.append(b.temporary(view.dtype, dims, reason))

    def bind(self, step: Value, position: Value) -> dict[Variable, View]:
        """At the beginning of a step: fill the buffers if a block begins; this step's parts."""
        b = self.lowering.b
        with b.if_(b.eq(position, 0)):
            count = b.min(self.steps, b.sub(self.lowering.steps, step))
            for (_, view, matrix), kept, buffer in zip(
                self.nodes, self.kept, self.buffers, strict=True
            ):
                self._fill(view, matrix, kept, buffer, step, count)
        return {
            node.outputs[0]: b.row(buffer, position)
            for (node, _, _), buffer in zip(self.nodes, self.buffers, strict=True)
        }

    def _fill(
        self, view: View, matrix: View, kept: Kept, buffer: View, step: Value, count: Value
    ) -> None:
        b = self.lowering.b
        depth, columns = matrix.dims
        rows = b.mul(count, b.size(view.dims[1:-1]))
        x = View(view.dtype, b.shifted(b.row(view, step), 0), (rows, depth))
        target = View(buffer.dtype, buffer.pointer, (rows, columns))
        emit_product(b, target, x, matrix, kept=kept)

    def following(self, position: Value) -> Value:
        """The place of the next step in its block."""
        b = self.lowering.b
        after = b.add(position, 1)
        return b.select(b.eq(after, self.steps), 0, after)
