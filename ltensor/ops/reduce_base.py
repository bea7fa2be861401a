"""What reductions have in common: the operation over axes, and how axes are given."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ltensor.ir.build import as_tensor, constant_value
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import NoneType, tensor_type
from ltensor.ops import batching
from ltensor.ops.opdef import DeclaredOp
from ltensor.ops.shape import dimshuffle

Axes = Any


def normalize_axes(axis: Axes, x: Variable) -> tuple[int, ...] | None:
    """``axis`` as sorted non-negative ints without repetition; None for all axes.

    Raises
    ------
    ValueError
        If ``x`` has no such axis.
    """
    if axis is None:
        return None
    if isinstance(axis, Variable):
        if isinstance(axis.type, NoneType):
            return None
        known = constant_value(axis)
        if known is None:
            raise TypeError(f"reduction axis must be a constant, not {axis}")
        axis = known.tolist()
    if isinstance(axis, np.ndarray):
        axis = axis.tolist()
    if isinstance(axis, (int, np.integer)):
        axis = [int(axis)]
    rank = x.type.ndim
    result = set()
    for item in axis:
        try:
            a = operator.index(item)  # 0-d arrays of integers have one too
        except TypeError:
            raise TypeError(f"axis must be an int, not {item!r}") from None
        if not -rank <= a < rank:
            raise ValueError(f"Not enough dimensions on {x} to reduce on axis {a}")
        result.add(a % rank)
    return tuple(sorted(result))


def keep_dims(x: Variable, result: Variable, axes: Sequence[int] | None) -> Variable:
    """``result`` with the reduced axes put back as broadcastable ones."""
    reduced = range(x.type.ndim) if axes is None else axes
    order: list[Any] = []
    position = 0
    for k in range(x.type.ndim):
        if k in reduced:
            order.append("x")
        else:
            order.append(position)
            position += 1
    return dimshuffle(result, order)


class ReduceOp(DeclaredOp):
    """A reduction over ``axis`` (None: all).

    Subclasses declare ``combine_name`` (the associative operation of the lowering), ``initial``,
    and optionally ``contribution`` and ``finish``.
    """

    __props__ = ("axis", "dtype", "acc_dtype")
    kind = "reduction"
    batch = batching.reduction
    combine_name = "add"
    needs_elements = False
    display = "Sum"

    def __init__(
        self,
        axis: int | Sequence[int] | None = None,
        dtype: str | None = None,
        acc_dtype: str | None = None,
    ) -> None:
        if isinstance(axis, (int, np.integer)):
            axis = (int(axis),)
        self.axis = None if axis is None else tuple(axis)
        self.dtype = dtype
        self.acc_dtype = acc_dtype

    def __str__(self) -> str:
        parts = []
        if self.axis is not None:
            axes = ", ".join(map(str, self.axis))
            parts.append(f"axis=[{axes}]")
        if self.acc_dtype is not None:
            parts.append(f"acc_dtype={self.acc_dtype}")
        return f"{self.display}{{{', '.join(parts)}}}" if parts else self.display

    def reduced_axes(self, rank: int) -> tuple[int, ...]:
        """The axes that vanish."""
        return tuple(range(rank)) if self.axis is None else self.axis

    def result_dtype(self, source: str) -> str:
        """The dtype of the result."""
        return self.dtype or source

    def accumulator(self, source: str) -> str:
        """The dtype of the running value."""
        return self.acc_dtype or self.result_dtype(source)

    def check_dtype(self, source: str) -> None:
        """Refuse operands without such a reduction."""

    def make_node(self, x: Any) -> Apply:
        x = as_tensor(x)
        self.check_dtype(x.type.dtype)
        axis = normalize_axes(self.axis, x)
        if axis != self.axis:
            return type(self)(axis, self.dtype, self.acc_dtype).make_node(x)
        reduced = self.reduced_axes(x.type.ndim)
        sizes = tuple(s for k, s in enumerate(x.type.shape) if k not in reduced)
        op = self.filled_in(x)
        return Apply(op, [x], [tensor_type(op.result_dtype(x.type.dtype), sizes).make_variable()])

    def filled_in(self, x: Variable) -> ReduceOp:
        """This op with the dtypes it uses for ``x``."""
        return self

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        reduced = self.reduced_axes(node.inputs[0].type.ndim)
        return [tuple(s for k, s in enumerate(shapes[0]) if k not in reduced)]

    def contribution(self, e: Any, x: Any) -> Any:
        """What one element adds."""
        return x

    def combine(self, e: Any, total: Any, x: Any) -> Any:
        """Join two partial results."""
        return {"add": e.add, "mul": e.mul, "max": e.max, "min": e.min, "and": e.and_, "or": e.or_}[
            self.combine_name
        ](total, x)

    def initial(self, e: Any, dtype: str) -> Any:
        """The value for no elements."""
        raise NotImplementedError

    def finish(self, e: Any, total: Any) -> Any:
        """The result of the final running value."""
        return total

    def spread(self, x: Variable, value: Variable) -> Variable:
        """``value`` (of the result's shape) with the reduced axes put back as broadcastable."""
        return keep_dims(x, value, self.axis)

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return [None if eval_points[0] is None else type(self)(self.axis)(eval_points[0])]
