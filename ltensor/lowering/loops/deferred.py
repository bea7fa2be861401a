"""Products that a loop accumulates: the rows of many steps are gathered and multiplied at once.

A carry whose update is a chain of `add_product` is not touched in the step. The operands' rows go
into buffers, `ROWS` or so of them; when these are full, and after the loop, one product adds them
to the carry in place. A product of matrices of a few rows is memory traffic; one of a hundred rows
is arithmetic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Variable
from ltensor.lowering.block import Destination
from ltensor.lowering.program import Value, View
from ltensor.ops.add_product import AddProduct
from ltensor.ops.linalg import emit_product, transposed
from ltensor.ops.shape import DimShuffle

if TYPE_CHECKING:
    from ltensor.lowering.block import Block
    from ltensor.lowering.loops.scan import ScanLowering

#: rows that are gathered before a product
ROWS = 128


class DeferredProducts:
    """The carries of one scan that accumulate products.

    Attributes
    ----------
    pairs : dict
        By number of the carry, the operands (x, y) of its products.
    body : Function
        The step without the products; its last outputs are their operands.
    """

    def __init__(self, op: Any) -> None:
        self.op = op
        self.pairs: dict[int, list[tuple[Variable, Variable]]] = {}
        for k, (argument, new) in enumerate(zip(op.inner_carries(), op.inner_news(), strict=True)):
            found = _chain(op, argument, new)
            if found:
                self.pairs[k] = found
        self.operands: list[Variable] = []
        self.buffers: dict[Variable, View] = {}
        self.body: Function = op.body
        if self.pairs:
            self._reduce()

    def _reduce(self) -> None:
        op = self.op
        outputs = list(op.body.outputs)
        for k, pairs in self.pairs.items():
            outputs[op.n_taps + k] = op.inner_carries()[k]
            for pair in pairs:
                for v in pair:
                    if v not in self.operands:
                        self.operands.append(v)
        self.body = Function(op.body.inputs, [*outputs, *self.operands], op.body.name)

    # ------------------------------------------------------------- emission

    def prepare(self, lowering: ScanLowering) -> None:
        """Buffers, before the loop."""
        b, node = lowering.b, lowering.node
        sizes = {}
        for v in self.operands:
            dims = self.op.shape_outside(node, v)
            sizes[v] = tuple(lowering.block.scalar(d) for d in dims)
        self._check(lowering, sizes)
        # a step's operands have equally many rows in all products but for odd graphs
        tallest: Any = b.const(1)
        for dims in sizes.values():
            tallest = b.max(tallest, dims[0])
        many = b.max(b.int_divide(b.const(ROWS), tallest), b.const(1))
        self.steps = b.max(b.min(many, lowering.steps), b.const(1))
        self.sizes = sizes
        for v, dims in sizes.items():
            reason = ("block", v)
            self.buffers[v] = b.temporary(v.type.dtype, (self.steps, *dims), reason)

    def _check(self, lowering: ScanLowering, sizes: dict[Variable, tuple[Value, ...]]) -> None:
        """The operands fit each other and the carry; asked only of loops that run."""
        b, op = lowering.b, self.op
        idle = b.le(lowering.steps, 0)
        for k, pairs in self.pairs.items():
            state = lowering.states[op.n_taps + k]
            for x, y in pairs:
                (rows, m), (others, n) = sizes[x], sizes[y]
                fine = b.and_(b.eq(rows, others), b.eq(m, state.dims[0]))
                fine = b.and_(fine, b.eq(n, state.dims[1]))
                b.check(
                    b.or_(fine, idle),
                    "scan_shape",
                    lowering.node,
                    (b.const(0), m, n, *state.dims),
                    (op.n_taps + k, 2),
                )

    def destinations(self, pending: Value, lowering: ScanLowering) -> dict[Variable, Any]:
        """Where the step writes the operands it computes."""
        bound = set(self.op.body.inputs)
        return {
            v: self._provider(v, pending, lowering)
            for v in self.operands
            if v not in bound and v.owner is not None
        }

    def _provider(self, v: Variable, pending: Value, lowering: ScanLowering) -> Destination:
        row = lowering.b.row(self.buffers[v], pending)
        # nobody reads it before the products
        return Destination(lambda dims: row, is_apart=True)

    def step(
        self,
        lowering: ScanLowering,
        inner: Block,
        pending: Value,
        written: set[Variable],
    ) -> Value:
        """After a step's body: gather its rows, multiply if the buffers are full."""
        b = lowering.b
        for v in self.operands:
            if v not in written:
                lowering.block.copy(b.row(self.buffers[v], pending), _view(inner, v))
        following = b.add(pending, 1)
        full = b.eq(following, self.steps)
        with b.if_(full):
            self.multiply(lowering, self.steps)
        return b.select(full, 0, following)

    def multiply(self, lowering: ScanLowering, count: Value) -> None:
        """Add the products of ``count`` gathered steps to the carries."""
        b = lowering.b
        for k, pairs in self.pairs.items():
            state = lowering.states[self.op.n_taps + k]
            target = View(state.dtype, state.inits[0], state.dims)
            for x, y in pairs:
                views = []
                for v in (x, y):
                    rows, columns = self.sizes[v]
                    views.append(
                        View(v.type.dtype, self.buffers[v].pointer, (b.mul(count, rows), columns))
                    )
                emit_product(b, target, transposed(b, views[0]), views[1], accumulate=True)


def _view(inner: Block, v: Variable) -> View:
    node: Apply | None = v.owner
    if node is not None and isinstance(node.op, DimShuffle) and v not in inner.bound:
        return inner.view(v)
    found = inner.value(v)
    assert isinstance(found, View)
    return found


def _chain(op: Any, argument: Variable, new: Variable) -> list[tuple[Variable, Variable]]:
    """The operands of a chain of `add_product` from ``argument`` to ``new``."""
    pairs: list[tuple[Variable, Variable]] = []
    clients = op.body.clients
    current = new
    while current is not argument:
        node = current.owner
        if node is None or not isinstance(node.op, AddProduct):
            return []
        if len(clients.get(current, ())) != 1:
            return []
        base, x, y = node.inputs
        if not (op.sized_outside(x) and op.sized_outside(y)):
            return []
        pairs.append((x, y))
        current = base
    if len(clients.get(argument, ())) != 1:
        return []
    return pairs
