"""The pass ``scan_sequence_products``: ``x_t W`` in a loop becomes `sequence_product`.

It does not depend on the recurrence, so it could be taken for all steps before the loop; but the
product of all steps may be many times larger than the cache, and took longer than the products step
by step when that was measured. The lowering therefore takes it for a block of steps at a time.
"""

from __future__ import annotations

from typing import Any

from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.walks import substitute
from ltensor.ops.linalg import Dot
from ltensor.ops.sequence_product import SequenceProduct, sequence_product
from ltensor.passes.loops import change_scans, with_results
from ltensor.passes.manager import register
from ltensor.passes.remarks import Who, remark

DTYPES = ("float32", "float64")


def scan_sequence_products(function: Function) -> Function:
    """Mark the products of sequences' rows and invariants in every scan."""
    return change_scans(function, lambda node, _: _marked(node))


def _marked(node: Apply) -> dict[Variable, Variable] | None:
    op: Any = node.op
    if op.has_stop:
        return None
    rows, refs = set(op.inner_seqs()), set(op.inner_refs())
    table: dict[Variable, Variable] = {}
    for inner in op.body.nodes:
        if not isinstance(inner.op, Dot) or isinstance(inner.op, SequenceProduct):
            continue
        x, w = inner.inputs
        output = inner.outputs[0]
        if x not in rows or w not in refs or w.type.ndim != 2:
            continue
        if output.type.dtype not in DTYPES or {x.type.dtype, w.type.dtype} != {output.type.dtype}:
            continue
        fresh = sequence_product(x, w)
        if fresh.type != output.type:
            continue
        fresh.name = output.name
        assert fresh.owner is not None
        fresh.owner.source = inner.source
        table[output] = fresh
        remark("scan_sequence_products", node, "{} is taken for many steps at once", Who(inner))
    if not table:
        return None
    return with_results(node, substitute(op.body.outputs, table))


register(scan_sequence_products)
