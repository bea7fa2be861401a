"""Batching rules: an op applied to many values of its operands at once, along a new first axis.

An op says by its method ``batch`` what computes all its results when some of its operands have
such an axis (see `Lift`); loops without a recurrence become graphs by these rules
(``passes/scan_vectorize.py``). The rules of this file are those that several ops share; ops bind
them as methods.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ltensor.ir.build import constant
from ltensor.ir.graph import Apply, Variable


class NotBatched(Exception):
    """An op has no batched form here; the text says why."""


class Lift:
    """A node whose operands may have an axis of steps in front.

    Attributes
    ----------
    node : Apply
        The node, as it computes one step.
    size : Variable
        The number of steps, an int64 scalar.
    operands : list of Variable
        What stands for the operands: values of all steps if the operand is ``batched``, else the
        one value of every step.
    batched : list of bool
    """

    def __init__(
        self,
        node: Apply,
        size: Variable,
        operands: Sequence[Variable],
        batched: Sequence[bool],
        dims: Callable[[Variable], list[Variable]],
        counts: Callable[[Variable, Variable], bool],
    ) -> None:
        self.node = node
        self.size = size
        self.operands = list(operands)
        self.batched = list(batched)
        self._dims = dims
        self._counts = counts

    def full(self, k: int) -> Variable:
        """Operand ``k`` with the axis of steps, stretched if it does not change."""
        value = self.operands[k]
        if self.batched[k]:
            return value
        from ltensor.ops.alloc import alloc

        return self.flagged(alloc(value, self.size, *self.dims(self.node.inputs[k])), k)

    def stretched(self, k: int, rank: int | None = None) -> Variable:
        """Operand ``k`` with an axis in front, broadcastable if it does not change.

        With ``rank`` it gets further broadcastable axes behind that, up to so many per step.
        """
        from ltensor.ops.shape import dimshuffle

        value, own = self.operands[k], self.node.inputs[k].type.ndim
        pad = ["x"] * (0 if rank is None else rank - own)
        if not self.batched[k]:
            return dimshuffle(value, ("x", *pad, *range(own)))
        return dimshuffle(value, (0, *pad, *range(1, own + 1)))

    def invariant(self, positions: Sequence[int], what: str) -> list[Variable]:
        """Operands that must not change from step to step.

        Raises
        ------
        NotBatched
            If one does.
        """
        if any(self.batched[k] for k in positions):
            raise NotBatched(f"{what} change from step to step")
        return [self.operands[k] for k in positions]

    def dims(self, variable: Variable) -> list[Variable]:
        """The sizes of a value of one step, as scalars outside the loop.

        Raises
        ------
        NotBatched
            If they change from step to step.
        """
        return self._dims(variable)

    def counts(self, value: Variable, size: Variable) -> bool:
        """Whether a batched scalar is the number of the step, and there are ``size`` steps."""
        return self._counts(value, size)

    def steps(self) -> Variable:
        """The numbers of the steps: an int64 vector."""
        from ltensor.ops.alloc import arange

        return arange(constant(0, dtype="int64"), self.size, constant(1, dtype="int64"))

    def flagged(self, value: Variable, k: int) -> Variable:
        """``value`` with the broadcast pattern of operand ``k``, behind the axis of steps."""
        from ltensor.ops.shape import set_flags

        return set_flags(value, (False, *self.node.inputs[k].type.broadcastable))


def no_rule(op: Any, lift: Lift) -> list[Variable]:
    """The rule of ops that have none."""
    raise NotBatched("it has no batched form")


def pointwise(op: Any, lift: Lift) -> list[Variable]:
    """Elements of all steps side by side."""
    return [op.make_node(*(lift.stretched(k) for k in range(len(lift.operands)))).outputs[0]]


def same_op(op: Any, lift: Lift) -> list[Variable]:
    """For ops of one array of any rank that treat all axes alike."""
    return [op.make_node(lift.operands[0]).outputs[0]]


def shifted_axis(*names: str) -> Any:
    """The rule of ops of one array with attributes that are axes: they move up by one."""

    def rule(op: Any, lift: Lift) -> list[Variable]:
        values = {name: getattr(op, name) for name in op.__props__}
        values.update({name: values[name] + 1 for name in names})
        rest = lift.invariant(range(1, len(lift.operands)), "sizes")
        return list(type(op)(**values).make_node(lift.operands[0], *rest).outputs)

    return rule


def reduction(op: Any, lift: Lift) -> list[Variable]:
    """Reductions, and other ops that have ``reduced_axes``: the same axes of every step."""
    rank = lift.node.inputs[0].type.ndim
    values = {name: getattr(op, name) for name in op.__props__}
    values["axis"] = tuple(a + 1 for a in op.reduced_axes(rank))
    return [type(op)(**values).make_node(lift.operands[0]).outputs[0]]


def rows(op: Any, lift: Lift) -> list[Variable]:
    """Ops that treat the rows of matrices one by one: the rows of all steps below each other."""
    from ltensor.ops.linalg import product_of
    from ltensor.ops.shape import dimshuffle, reshape

    inputs, outputs = lift.node.inputs, lift.node.outputs
    arrays = [k for k, v in enumerate(inputs) if v.type.ndim]
    one = {inputs[k].type.broadcastable[0] for k in arrays}
    if len(one) > 1:
        raise NotBatched("its operands have different numbers of rows")
    (single,) = one
    flat: list[Variable] = []
    for k, v in enumerate(inputs):
        if not v.type.ndim:
            flat += lift.invariant([k], "sizes")
            continue
        value = lift.full(k)
        rank = v.type.ndim + 1
        if single:
            flat.append(dimshuffle(value, (0, *range(2, rank))))
            continue
        dims = [lift.size, *lift.dims(v)]
        flat.append(reshape(value, [product_of(dims, (0, 1)), *dims[2:]], ndim=rank - 1))
    results = op.make_node(*flat).outputs
    back = []
    for value, out in zip(results, outputs, strict=True):
        rank = out.type.ndim
        if single:
            back.append(dimshuffle(value, (0, "x", *range(1, rank))))
        else:
            back.append(reshape(value, [lift.size, *lift.dims(out)], ndim=rank + 1))
    return back


def dimshuffle_rule(op: Any, lift: Lift) -> list[Variable]:
    """The axis of steps stays in front."""
    from ltensor.ops.shape import dimshuffle

    order = (a if a == "x" else a + 1 for a in op.new_order)
    return [dimshuffle(lift.operands[0], (0, *order))]


def flags_rule(op: Any, lift: Lift) -> list[Variable]:
    """The axis of steps never stretches."""
    return [type(op)((False, *op.pattern)).make_node(lift.operands[0]).outputs[0]]


def specify_rule(op: Any, lift: Lift) -> list[Variable]:
    """The same sizes behind the number of steps."""
    sizes = lift.invariant(range(1, len(lift.operands)), "sizes")
    return [op.make_node(lift.operands[0], lift.size, *sizes).outputs[0]]


def reshape_rule(op: Any, lift: Lift) -> list[Variable]:
    """Every step gets the new shape."""
    lift.invariant(range(1, len(lift.operands)), "sizes")
    sizes = lift.dims(lift.node.outputs[0])
    return [type(op)(op.ndim + 1).make_node(lift.operands[0], lift.size, *sizes).outputs[0]]


def alloc_rule(op: Any, lift: Lift) -> list[Variable]:
    """One value per step, stretched."""
    sizes = lift.invariant(range(1, len(lift.operands)), "sizes")
    return [op.make_node(lift.stretched(0, len(sizes)), lift.size, *sizes).outputs[0]]


def vector_rule(op: Any, lift: Lift) -> list[Variable]:
    """Vectors of scalars as columns side by side."""
    from ltensor.ops.cast import cast
    from ltensor.ops.join import join
    from ltensor.ops.shape import dimshuffle

    columns = [dimshuffle(cast(lift.full(k), op.dtype), 0, "x") for k in range(len(lift.operands))]
    return [join(1, *columns)]


def join_rule(op: Any, lift: Lift) -> list[Variable]:
    """Along the same axis of every step."""
    values = [lift.full(k) for k in range(len(lift.operands))]
    return [type(op)(op.axis + 1).make_node(*values).outputs[0]]


def split_rule(op: Any, lift: Lift) -> list[Variable]:
    """Along the same axis of every step."""
    sizes = lift.invariant(range(1, len(lift.operands)), "sizes")
    return list(type(op)(op.len_splits, op.axis + 1).make_node(lift.operands[0], *sizes).outputs)


def assert_rule(op: Any, lift: Lift) -> list[Variable]:
    """A condition must hold in every step."""
    from ltensor.ops.cast import cast
    from ltensor.ops.reduce import all as every

    conditions = [
        every(cast(v, "bool")) if changes else v
        for v, changes in zip(lift.operands[1:], lift.batched[1:], strict=True)
    ]
    return [op.make_node(lift.full(0), *conditions).outputs[0]]


# ------------------------------------------------------------------------------- products


def summed_product(x: Variable, y: Variable, axis: int, dtype: str) -> Variable:
    """The sum of products over an axis, in the dtype of the operands as products are."""
    from ltensor.ops.arithmetic import mul
    from ltensor.ops.reduce import Sum

    return Sum((axis,), dtype, None if dtype == "float16" else dtype)(mul(x, y))


def dot_rule(op: Any, lift: Lift) -> list[Variable]:
    """Products of vectors and matrices: one product of matrices wherever there is one."""
    from ltensor.ops.batched import batched_dot
    from ltensor.ops.shape import dimshuffle, reshape

    (x, y), (a, b) = lift.operands, lift.node.inputs
    ranks, dtype = (a.type.ndim, b.type.ndim), lift.node.outputs[0].type.dtype
    if all(lift.batched):
        return [batched_dot(x, y)]
    if lift.batched[0]:
        if ranks[0] == 1:
            return [op(x, y)]
        if ranks[1] == 1:
            return [summed_product(x, dimshuffle(y, "x", "x", 0), 2, dtype)]
        return [_tall(lift, op, x, a, y)]
    if ranks[1] == 1:
        return [op(y, x) if ranks[0] == 1 else op(y, dimshuffle(x, 1, 0))]
    if ranks[0] == 1:
        return [summed_product(dimshuffle(x, "x", 0, "x"), y, 1, dtype)]
    # the transposed product, since steps below each other make a tall matrix
    turned = dimshuffle(y, 0, 2, 1)
    rows_, inner = lift.dims(b)[1], lift.dims(b)[0]
    flat = reshape(turned, [_times(lift.size, rows_), inner], ndim=2)
    product = op(flat, dimshuffle(x, 1, 0))
    back = reshape(product, [lift.size, rows_, lift.dims(a)[0]], ndim=3)
    return [dimshuffle(back, 0, 2, 1)]


def _times(a: Any, b: Any) -> Variable:
    from ltensor.ops.arithmetic import mul

    return mul(a, b)


def _tall(lift: Lift, op: Any, x: Variable, one: Variable, y: Variable) -> Variable:
    """Matrices of all steps below each other, times a matrix."""
    from ltensor.ops.shape import reshape

    rows_, inner = lift.dims(one)
    flat = reshape(x, [_times(lift.size, rows_), inner], ndim=2)
    columns = lift.dims(lift.node.inputs[1])[1]
    return reshape(op(flat, y), [lift.size, rows_, columns], ndim=3)


def batched_dot_rule(op: Any, lift: Lift) -> list[Variable]:
    """The batches of all steps one after the other."""
    from ltensor.ops.linalg import product_of
    from ltensor.ops.shape import reshape

    flat = []
    for k, v in enumerate(lift.node.inputs):
        dims = [lift.size, *lift.dims(v)]
        flat.append(reshape(lift.full(k), [product_of(dims, (0, 1)), *dims[2:]], ndim=3))
    sizes = [lift.size, *lift.dims(lift.node.outputs[0])]
    return [reshape(op(*flat), sizes, ndim=4)]
