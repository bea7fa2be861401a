"""The body of a loop for all steps at once: every value with an axis of steps in front.

`Batch` lifts values of the body by the rules that ops declare (`ltensor.ops.batching`). What does
not depend on the step stays one value. `Batch.total` sums a value over all steps, which for
products, scatters and stretched values needs no value per step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.ir.types import TensorType
from ltensor.ir.walks import toposort
from ltensor.ops.alloc import alloc
from ltensor.ops.arithmetic import mul
from ltensor.ops.batching import Lift, NotBatched
from ltensor.ops.cast import cast
from ltensor.ops.elementwise import ElementwiseOp
from ltensor.ops.opdef import DeclaredOp
from ltensor.ops.shape import ShapeI, set_flags
from ltensor.ops.shape_map import ShapeMap
from ltensor.passes.match import number
from ltensor.passes.rewrite import is_pure
from ltensor.passes.sizes import Sizes

#: an outer variable, and whether it has an axis of steps
Lifted = tuple[Variable, bool]


class Refused(NotBatched):
    """Why a loop stays: the node of the body that is the cause, and the reason."""

    def __init__(self, node: Apply | None, reason: str) -> None:
        super().__init__(reason)
        self.node = node


class Batch:
    """The values of a body for all steps.

    Parameters
    ----------
    size : Variable
        The number of steps.
    sizes : Sizes
    rows : dict
        Body input -> array of its values.
    fixed : dict
        Body input -> its one value.
    numbers : collection of Variable
        Values of ``rows`` that hold the numbers of the steps.
    shapes : ShapeMap
        Of the body.
    runs : bool
        Whether at least one step is known to be run.
    """

    def __init__(
        self,
        size: Variable,
        sizes: Sizes,
        rows: dict[Variable, Variable],
        fixed: dict[Variable, Variable],
        numbers: Sequence[Variable],
        shapes: ShapeMap,
        runs: bool,
    ) -> None:
        self.size = size
        self.sizes = sizes
        self.numbers = set(numbers)
        self.shapes = shapes
        self.runs = runs
        self.known: dict[Variable, Lifted] = {v: (row, True) for v, row in rows.items()}
        self.known.update((v, (value, False)) for v, value in fixed.items())
        #: the nodes that were lifted, with what stands for their first results
        self.lifted: list[tuple[Apply, Lifted]] = []

    # ------------------------------------------------------------- values

    def value(self, variable: Variable) -> Lifted:
        """What stands for a value of the body.

        Raises
        ------
        Refused
            If it cannot be computed for all steps at once.
        """
        for node in toposort([variable], blockers=self.known):
            if any(v not in self.known for v in node.outputs):
                self._node(node)
        return self._get(variable, None)

    def full(self, variable: Variable) -> Variable:
        """The values of all steps."""
        value, batched = self.value(variable)
        if batched:
            return value
        wide = alloc(value, self.size, *self.dims(variable))
        kind: Any = variable.type
        return set_flags(wide, (False, *kind.broadcastable))

    def dims(self, variable: Variable) -> list[Variable]:
        """The sizes of a value of one step, as scalars outside the loop."""
        found = []
        # the divisions in sizes do not fail
        runs, self.runs = self.runs, True
        try:
            found = [self.value(dim) for dim in self.shapes.shape(variable) or ()]
        finally:
            self.runs = runs
        if any(batched for _, batched in found):
            raise NotBatched("its size changes from step to step")
        return [size for size, _ in found]

    def _get(self, variable: Variable, node: Apply | None) -> Lifted:
        found = self.known.get(variable)
        if found is not None:
            return found
        if isinstance(variable, Constant):
            return variable, False
        raise Refused(node, "it reads a state of the loop")

    def _node(self, node: Apply) -> None:
        op: Any = node.op
        if isinstance(op, ShapeI):
            value, batched = self._get(node.inputs[0], node)
            self.known[node.outputs[0]] = (self.sizes.of(value)[op.axis + batched], False)
            return
        found = [self._get(v, node) for v in node.inputs]
        if not is_pure(node) or getattr(op, "kind", "python") == "python":
            raise Refused(node, "it may have effects, or is called back")
        if not all(isinstance(v.type, TensorType) for v in (*node.inputs, *node.outputs)):
            raise Refused(node, "it works on other values than arrays")
        changing = [b for _, b in found]
        values = [v for v, _ in found]
        lift = Lift(node, self.size, values, changing, self.dims, self._counts)
        # what may fail must not run if no step does
        waits = not self.runs and isinstance(op, ElementwiseOp) and op.may_fail(node, number)
        results: Sequence[Variable]
        if not any(changing) and not waits:
            results = node.clone_with_new_inputs(values).outputs
            changes = False
        else:
            if not isinstance(op, DeclaredOp):
                raise Refused(node, "it has no batched form")
            try:
                if not any(changing):
                    lift.operands[0], lift.batched[0] = lift.full(0), True
                results = op.batch(lift)
            except Refused:
                raise
            except NotBatched as reason:
                raise Refused(node, str(reason)) from reason
            changes = True
            results = [
                set_flags(v, (False, *out.type.broadcastable))
                for v, out in zip(results, node.outputs, strict=True)
            ]
        hand_on_source(results, node, values)
        for out, value in zip(node.outputs, results, strict=True):
            self.known[out] = (value, changes)
        self.lifted.append((node, (results[0], changes)))

    def _counts(self, value: Variable, size: Variable) -> bool:
        while value.owner is not None and getattr(value.owner.op, "ir_name", "") == "cast_int64":
            value = value.owner.inputs[0]
        return value in self.numbers and self.sizes.same(size, self.size)

    # ------------------------------------------------------------- sums over all steps

    def total(self, variable: Variable, dtype: str) -> Variable:
        """The sum of a value over all steps, of the size of one of them."""
        special = self._special_total(variable, dtype)
        if special is not None:
            return special
        value, batched = self.value(variable)
        return self.sum(value, batched, dtype)

    def sum(self, value: Variable, batched: bool, dtype: str) -> Variable:
        """The sum of a lifted value over all steps."""
        from ltensor.ops.reduce import Sum

        value = cast(value, dtype)
        if not batched:
            return mul(value, cast(self.size, dtype))
        return Sum((0,), dtype, None if dtype.startswith(("f", "c")) else dtype)(value)

    def _special_total(self, variable: Variable, dtype: str) -> Variable | None:
        node = variable.owner
        if node is None or variable in self.known or variable.type.dtype != dtype:
            return None
        rule = _TOTALS.get(getattr(node.op, "ir_name", ""))
        return None if rule is None else rule(self, node, dtype)


def hand_on_source(results: Sequence[Variable], node: Apply, known: Sequence[Variable]) -> None:
    """Give the nodes that compute ``results`` of ``known`` values the user's line of ``node``."""
    seen = set(known)
    stack = list(results)
    while stack:
        v = stack.pop()
        if v in seen or v.owner is None:
            continue
        seen.add(v)
        if isinstance(v.owner.op, ShapeI) or v.owner.source is node.source:
            continue
        v.owner.source = node.source
        stack.extend(v.owner.inputs)


# ------------------------------------------------------------------------------- totals


def _total_of_sum(batch: Batch, node: Apply, dtype: str) -> Variable | None:
    terms = node.inputs
    flags = node.outputs[0].type.broadcastable
    if not any(_is_special(v) for v in terms):
        return None
    if any(v.type.dtype != dtype or v.type.broadcastable != flags for v in terms):
        return None
    return _summed([batch.total(v, dtype) for v in terms])


def _is_special(variable: Variable) -> bool:
    return variable.owner is not None and getattr(variable.owner.op, "ir_name", "") in _TOTALS


def _summed(terms: Sequence[Variable]) -> Variable:
    from ltensor.ops.arithmetic import add

    return terms[0] if len(terms) == 1 else add(*terms)


def _total_of_negative(batch: Batch, node: Apply, dtype: str) -> Variable | None:
    from ltensor.ops.arithmetic import neg

    return neg(batch.total(node.inputs[0], dtype)) if _is_special(node.inputs[0]) else None


def _total_of_view(batch: Batch, node: Apply, dtype: str) -> Variable:
    return node.op.make_node(batch.total(node.inputs[0], dtype)).outputs[0]


def _total_of_stretched(batch: Batch, node: Apply, dtype: str) -> Variable | None:
    sizes = [batch.value(v) for v in node.inputs[1:]]
    if any(batched for _, batched in sizes):
        return None
    return alloc(batch.total(node.inputs[0], dtype), *(v for v, _ in sizes))


def _total_of_outer(batch: Batch, node: Apply, dtype: str) -> Variable | None:
    """Sums of outer products: one product of matrices."""
    from ltensor.ops.linalg import dot
    from ltensor.ops.shape import dimshuffle

    out: Any = node.outputs[0].type
    if out.ndim != 2 or any(out.broadcastable):
        return None
    columns = [v for v in node.inputs if v.type.broadcastable == (False, True)]
    rows = [v for v in node.inputs if v.type.broadcastable == (True, False)]
    factors = [v for v in node.inputs if v.type.broadcastable == (True, True)]
    if not columns or not rows or len(columns) + len(rows) + len(factors) < len(node.inputs):
        return None
    parts: list[Lifted] = []
    for axis, group in enumerate((columns + factors, rows)):
        values = [batch.value(v) for v in group]
        flat = []
        for one, (v, changes) in zip(group, values, strict=True):
            own: Any = "x" if one.type.broadcastable[axis] else axis + changes
            flat.append(cast(dimshuffle(v, (0 if changes else "x", own)), dtype))
        parts.append((mul(*flat) if len(flat) > 1 else flat[0], any(b for _, b in values)))
    (left, changes), (right, also) = parts
    if changes and also:
        return dot(dimshuffle(left, 1, 0), right)
    left, right = (batch.sum(v, True, dtype) if b else dimshuffle(v, 1) for v, b in parts)
    product = mul(dimshuffle(left, 0, "x"), dimshuffle(right, "x", 0))
    return product if changes or also else mul(product, cast(batch.size, dtype))


def _total_of_product(batch: Batch, node: Apply, dtype: str) -> Variable | None:
    """Sums of products of matrices: one product with a longer inner axis."""
    from ltensor.ops.linalg import dot
    from ltensor.ops.shape import dimshuffle, reshape

    a, b = node.inputs
    if a.type.dtype != dtype or b.type.dtype != dtype:
        return None
    (x, changes), (y, also) = batch.value(a), batch.value(b)
    if not changes and not also:
        return None
    if not also:
        return dot(batch.total(a, dtype), y)
    if not changes:
        return dot(x, batch.total(b, dtype))
    if a.type.ndim == 1 and b.type.ndim == 1:
        return None
    # each by its own inner size: if they do not fit it is the product that says so
    *rows, inner = batch.dims(a)
    sizes = [mul(batch.size, inner), *rows]
    if a.type.ndim == 1:
        left = reshape(x, sizes, ndim=1)
    else:
        # of the transposed matrices below each other
        left = dimshuffle(reshape(dimshuffle(x, 0, 2, 1), sizes, ndim=2), 1, 0)
    first, *columns = batch.dims(b)
    sizes = [mul(batch.size, first), *columns]
    return dot(left, reshape(y, sizes, ndim=len(sizes)))


def _total_of_scatter(batch: Batch, node: Apply, dtype: str) -> Variable | None:
    """Sums of zeros with something put in: all of it is put into zeros once."""
    from ltensor.ops.last_row import is_zero

    x = node.inputs[0]
    if not is_zero(x):
        return None
    if node.op.set_instead_of_inc and node.op.ir_name != "inc_subtensor":
        # a place that is set twice in one step holds the last value only
        return None
    base, batched = batch.value(x)
    if batched:
        return None
    return scatter(batch, node, base, False)


def scatter(batch: Batch, node: Apply, base: Variable, replace: bool) -> Variable | None:
    """``base`` with what every step adds to a part of it (or puts there, step after step)."""
    if node.op.ir_name == "inc_subtensor":
        return _scatter_basic(batch, node, base, replace)
    return _scatter_places(batch, node, base, replace)


def _scatter_basic(batch: Batch, node: Apply, base: Variable, replace: bool) -> Variable | None:
    from ltensor.ops.advanced import AdvancedIncSubtensor
    from ltensor.ops.batch_index import split_index
    from ltensor.ops.slicing import FULL
    from ltensor.ops.subtensor import IncSubtensor

    x, y, *scalars = node.inputs
    found = [batch.value(v) for v in scalars]
    try:
        first, fixed, axes, positions = split_index(
            node.op.pattern, [v for v, _ in found], [b for _, b in found]
        )
    except NotBatched:
        return None
    if not axes:
        if replace:
            return None
        return IncSubtensor(first)(base, batch.total(y, x.type.dtype), *fixed)
    if any(entry != FULL for entry in first) or axes != list(range(len(axes))):
        return None
    value, changes = batch.value(y)
    rank = x.type.ndim - len(axes)
    lift = Lift(node, batch.size, [value, value], [changes, changes], batch.dims, batch._counts)
    wide = lift.stretched(1, rank)
    return AdvancedIncSubtensor(axes, set_instead_of_inc=replace)(base, wide, *positions)


def _scatter_places(batch: Batch, node: Apply, base: Variable, replace: bool) -> Variable | None:
    op: Any = node.op
    x, y, *indices = node.inputs
    found = [batch.value(v) for v in indices]
    if not any(b for _, b in found):
        if replace:
            return None
        return op.make_node(base, batch.total(y, x.type.dtype), *(v for v, _ in found)).outputs[0]
    if op.axes != tuple(range(len(op.axes))):
        return None
    value, changes = batch.value(y)
    operands = [value, value, *(v for v, _ in found)]
    batched = [changes, changes, *(b for _, b in found)]
    lift = Lift(node, batch.size, operands, batched, batch.dims, batch._counts)
    rank = max(v.type.ndim for v in indices)
    places = [lift.stretched(k, rank) for k in range(2, len(operands))]
    # the index tensors come first in the part, and the steps before them
    wide = lift.stretched(1, rank + x.type.ndim - len(op.axes))
    return type(op)(op.axes, set_instead_of_inc=replace)(base, wide, *places)


_TOTALS: dict[str, Any] = {
    "add": _total_of_sum,
    "neg": _total_of_negative,
    "dimshuffle": _total_of_view,
    "alloc": _total_of_stretched,
    "mul": _total_of_outer,
    "dot": _total_of_product,
    "inc_subtensor": _total_of_scatter,
    "advanced_inc_subtensor": _total_of_scatter,
}
