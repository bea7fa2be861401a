"""The pass ``scan_outer_products``: ``g += x^T y`` in a loop becomes `add_product`.

The gradient of a loop adds, in every step, the product of a few rows to a large matrix, which is
read and written each time: with one row per step that costs as much as all the rest. As the
update of a carry `add_product` is deferred by the lowering: the rows of many steps are gathered,
and one product takes them all.
"""

from __future__ import annotations

from typing import Any

from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import TensorType
from ltensor.ops.add_product import add_product
from ltensor.ops.arithmetic import add, mul
from ltensor.ops.linalg import Dot
from ltensor.ops.shape import DimShuffle, dimshuffle
from ltensor.passes.loops import change_scans, with_results
from ltensor.passes.manager import register
from ltensor.passes.remarks import Slot, remark

#: the dtypes that are summed in any order
DTYPES = ("float32", "float64")


def scan_outer_products(function: Function) -> Function:
    """Mark the products that loops accumulate."""
    return change_scans(function, lambda node, _: _marked(node))


def _marked(node: Apply) -> dict[Variable, Variable] | None:
    op: Any = node.op
    if not op.n_carries:
        return None
    outputs = list(op.body.outputs)
    changed = False
    for k, (argument, new) in enumerate(zip(op.inner_carries(), op.inner_news(), strict=True)):
        pairs = _products(op, argument, new)
        if not pairs:
            continue
        total = argument
        for x, y in pairs:
            total = add_product(total, x, y)
        if total.type != new.type:
            continue
        outputs[op.n_taps + k] = total
        changed = True
        remark(
            "scan_outer_products",
            node,
            "{}: the products of many steps are added at once",
            Slot(node, op.n_taps + k),
        )
    if not changed:
        return None
    return with_results(node, outputs)


def _products(op: Any, argument: Variable, new: Variable) -> list[tuple[Variable, Variable]]:
    """``(x, y)`` of every term of ``new``, if it is ``argument`` and products of values by step."""
    kind: Any = argument.type
    clients = op.body.clients
    if not isinstance(kind, TensorType) or kind != new.type or kind.ndim != 2:
        return []
    if kind.dtype not in DTYPES:
        return []
    if new.owner is None or new.owner.op is not add or len(clients.get(argument, ())) != 1:
        return []
    terms = [v for v in new.owner.inputs if v is not argument]
    if len(terms) != len(new.owner.inputs) - 1 or len(clients.get(new, ())) != 1:
        return []
    pairs = []
    for term in terms:
        pair = _pair(term)
        if pair is None or term.type.dtype != kind.dtype or len(clients.get(term, ())) != 1:
            return []
        if not all(op.sized_outside(v) and v.type.dtype == kind.dtype for v in pair):
            return []
        pairs.append(pair)
    return pairs


def _pair(term: Variable) -> tuple[Variable, Variable] | None:
    """``term`` as ``x^T y``."""
    node = term.owner
    if node is None:
        return None
    if isinstance(node.op, Dot) and all(v.type.ndim == 2 for v in node.inputs):
        x, y = node.inputs
        return _transposed(x), y
    if node.op is mul and len(node.inputs) == 2:
        # a column times a row
        x, y = node.inputs
        if x.type.broadcastable == (True, False):
            x, y = y, x
        if x.type.broadcastable == (False, True) and y.type.broadcastable == (True, False):
            return _transposed(x), y
    return None


def _transposed(x: Variable) -> Variable:
    node = x.owner
    if node is not None and isinstance(node.op, DimShuffle):
        source, order = node.inputs[0], node.op.new_order
        if order == (1, 0):
            return source
        if order == (0, "x"):
            return dimshuffle(source, ("x", 0))
    return dimshuffle(x, (1, 0))


register(scan_outer_products)
