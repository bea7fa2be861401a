"""The pass ``scan_concat_products``: several products of a step become one.

A sum ``dot(a, U) + dot(b, V)`` with matrices that do not change is the product of ``a`` and ``b``
side by side with ``U`` on top of ``V``: so the gradient of a recurrent net sums over its gates.
Products ``dot(h, U), dot(h, V)`` are slices of ``h`` times ``U`` and ``V`` side by side. The
matrices are put together once, before the loop; the pieces of the one operand are computed where
they belong, and the slices are read where they lie.

Time per step after over before, LSTM with four matrices, float32, B rows (0: a vector), H units;
each figure is the least of interleaved rounds, but on a machine that did other work as well:

=============================  ====  ====  ====  ====  ====  ====  ====
value and gradient, all joins  H=8   16    32    64    128   256   512
=============================  ====  ====  ====  ====  ====  ====  ====
B=0                            0.86  0.73  0.57  0.81  0.81  0.79  0.87
B=8                            1.00  0.85  0.92  0.97  0.98  0.80  0.89
B=32                           1.17  0.91  0.98  0.98  0.98  0.77  0.99
**forward, shared left**
B=0                            0.82  0.71  0.57  0.87  1.31  1.36  1.15
B=8                            1.24  0.80  0.89  0.89  0.98  1.03  1.00
B=32                           1.27  0.78  0.94  0.91  0.96  0.99  0.93
B=128                          1.76  0.81  0.90  0.98  0.99
**forward, shared right**
B=0                            1.04  1.01  0.99  0.98  0.90  0.97  1.08
B=1                            1.07  2.59  3.20  2.56  1.86  1.44  1.30
B=8                            1.41  1.36  1.29  1.30  1.22  1.10  1.09
B=32                           0.82  0.83  0.89  0.92  0.96  0.98  1.01
=============================  ====  ====  ====  ====  ====  ====  ====

With the two matrices of a GRU the sums give 0.7 to 0.9 for up to 8 rows, shared operands nothing.
Hence sums are always joined, unless the loop is known to be too short to pay for putting the
matrices together; products with the same left operand are if there are three of them and it is a
matrix, or if the matrices are known to be small; products with the same right operand never are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ltensor.ir.build import constant_value
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.walks import substitute
from ltensor.ops.aligned import Aligned
from ltensor.ops.arithmetic import add
from ltensor.ops.join import Join
from ltensor.ops.keep_or_recompute import invariants
from ltensor.ops.linalg import Dot
from ltensor.ops.shape import DimShuffle, dimshuffle, restore_flags, shape_i
from ltensor.ops.subtensor import Subtensor
from ltensor.passes.loops import change_scans
from ltensor.passes.manager import register
from ltensor.passes.remarks import Listing, Who, remark
from ltensor.passes.scan_apart import state_masks

#: a loop that is known to take fewer steps does not pay for putting matrices together
FEWEST_STEPS = 8
#: products of a matrix with so many others are joined
FEWEST_PRODUCTS = 3
#: matrices with at most so many columns are joined for vectors and pairs, too
SMALL = 64
#: and with fewer than these never for a matrix
TINY = 16

TRANSPOSE = DimShuffle((1, 0))
FULL = (None, None, None)


def scan_concat_products(function: Function) -> Function:
    """Make one product of those in a step that share an operand or are summed."""
    return change_scans(function, lambda node, _: _Loop(node).table())


class _Loop:
    def __init__(self, node: Apply) -> None:
        self.node = node
        self.op: Any = node.op
        #: values of the body -> what computes them now
        self.changed: dict[Variable, Variable] = {}

    def table(self) -> dict[Variable, Variable] | None:
        """New variables for the results; None if nothing is joined."""
        op, node = self.op, self.node
        products = [v for v in op.body.nodes if isinstance(v.op, Dot)]
        count = constant_value(node.inputs[0])
        if len(products) < 2 or (count is not None and int(count) < FEWEST_STEPS):
            return None
        self.fixed = invariants(op.body, op.inner_refs())
        self.order = {v: k for k, v in enumerate(op.inner_refs())}
        states = [*op.inner_taps(), *([v] for v in op.inner_carries())]
        masks = state_masks(op, states)
        # what needs no state is computed for many steps at once anyway
        self.products = {
            p: p.inputs
            for p in products
            if masks.get(p.inputs[0], 0) and p.inputs[1] in self.fixed and _rank(p.inputs[1]) == 2
        }
        if len(self.products) < 2:
            return None
        for inner in op.body.nodes:
            if inner.op is add:
                self._join_sum(inner)
        self._join_shared()
        if not self.changed:
            return None
        outputs = substitute(op.body.outputs, dict(self.changed))
        body = Function(op.body.inputs, outputs, op.body.name)
        fresh = op.replace(body=body).make_node(*node.inputs)
        fresh.source = node.source
        for old, new in zip(node.outputs, fresh.outputs, strict=True):
            new.name = old.name
            if new.type != old.type:
                return None
        return dict(zip(node.outputs, fresh.outputs, strict=True))

    def _position(self, matrix: Variable) -> int:
        """Matrices stand in the order of the refs: both loops of a gradient read one array."""
        node = matrix.owner
        base = node.inputs[0] if node is not None and node.op == TRANSPOSE else matrix
        return self.order.get(base, len(self.order))

    # ------------------------------------------------------------- sums

    def _join_sum(self, total: Apply) -> None:
        terms: list[Apply] = []
        for v in total.inputs:
            p = v.owner
            if p is None or p not in self.products or len(self.op.body.clients[v]) != 1:
                continue
            alike = not terms or (
                v.type == terms[0].outputs[0].type
                and [u.type.dtype for u in p.inputs] == [u.type.dtype for u in terms[0].inputs]
            )
            if alike:
                terms.append(p)
        if len(terms) < 2:
            return
        terms.sort(key=lambda p: self._position(p.inputs[1]))
        pieces = [p.inputs[0] for p in terms]
        matrices = [p.inputs[1] for p in terms]
        last = _rank(pieces[0]) - 1
        joined = Join(last)(*pieces)
        sizes = [s for x, y in zip(pieces, matrices, strict=True) for s in _to_check(x, last, y)]
        if sizes:
            joined = Aligned()(joined, *sizes)
        results = [p.outputs[0] for p in terms]
        value = restore_flags(Dot()(joined, _stacked(matrices)), results[0])
        _mark([value], terms[0], [*pieces, *matrices])
        rest = [v for v in total.inputs if v not in results]
        self.changed[total.outputs[0]] = add(value, *rest) if rest else value
        for p in terms:
            del self.products[p]
        remark(
            "scan_concat_products",
            self.node,
            "makes one product of {} that are summed: {}",
            len(terms),
            Listing([Who(p) for p in terms]),
        )

    # ------------------------------------------------------------- a shared operand

    def _join_shared(self) -> None:
        groups: dict[Any, list[Apply]] = {}
        for p, (left, right) in self.products.items():
            groups.setdefault((left, right.type.dtype), []).append(p)
        for (left, _), members in groups.items():
            matrices = sorted({p.inputs[1]: None for p in members}, key=self._position)
            if len(matrices) < 2:
                continue
            reason = _against(left, matrices)
            if reason:
                text = "leaves {} products of {} apart: {}"
                remark("scan_concat_products", self.node, text, len(matrices), Who(left), reason)
                continue
            self._slice(left, matrices, members)

    def _slice(self, left: Variable, matrices: list[Variable], members: list[Apply]) -> None:
        whole = Dot()(left, Join(1)(*matrices))
        before = (FULL,) * (_rank(whole) - 1)
        parts: dict[Variable, Variable] = {}
        stop: Variable | None = None
        for matrix in matrices:
            start, width = stop, shape_i(matrix, 1)
            stop = width if start is None else add(start, width)
            if start is None:
                part = Subtensor((*before, (None, "int64", None)))(whole, stop)
            else:
                part = Subtensor((*before, ("int64", "int64", None)))(whole, start, stop)
            parts[matrix] = part
        for p in members:
            old = p.outputs[0]
            self.changed[old] = restore_flags(parts[p.inputs[1]], old)
        _mark(list(parts.values()), members[0], [left, *matrices])
        remark(
            "scan_concat_products",
            self.node,
            "makes one product of {} with the same left operand: {}",
            len(matrices),
            Listing([Who(p) for p in members]),
        )


def _against(left: Variable, matrices: Sequence[Variable]) -> str:
    """Why products with a common left operand stay apart; empty if they do not."""
    widths = [_known(v, 1) for v in matrices]
    small = all(0 < width <= SMALL for width in widths)
    if _rank(left) == 1:
        return "" if small else "for a vector that is slower unless the matrices are small"
    if any(0 < width < TINY for width in widths):
        return "slices of few columns are read slowly"
    if len(matrices) < FEWEST_PRODUCTS and not small:
        return "for two nothing is gained"
    return ""


def _stacked(matrices: Sequence[Variable]) -> Variable:
    """The matrices one on top of the other; of transposed ones what the forward step reads, too."""
    turned = [v.owner for v in matrices]
    if all(p is not None and p.op == TRANSPOSE for p in turned):
        side_by_side = Join(1)(*(p.inputs[0] for p in turned if p is not None))
        return dimshuffle(side_by_side, 1, 0)
    return Join(0)(*matrices)


def _to_check(x: Variable, axis: int, y: Variable) -> list[Variable]:
    """The sizes that must agree for ``dot(x, y)``, unless they are known."""
    have, want = _known(x, axis), _known(y, 0)
    return [] if have and have == want else [shape_i(x, axis), shape_i(y, 0)]


def _known(variable: Variable, axis: int) -> int:
    """A size that the type knows, else 0."""
    kind: Any = variable.type
    return kind.shape[axis] or 0 if kind.ndim > 1 or axis == 0 else 0


def _rank(variable: Variable) -> int:
    kind: Any = variable.type
    return kind.ndim


def _mark(results: Sequence[Variable], node: Apply, known: Sequence[Variable]) -> None:
    """Give new nodes the user's line of ``node``."""
    seen, stack = set(known), list(results)
    while stack:
        v = stack.pop()
        if v not in seen and v.owner is not None:
            seen.add(v)
            v.owner.source = v.owner.source or node.source
            stack.extend(v.owner.inputs)


register(scan_concat_products)
