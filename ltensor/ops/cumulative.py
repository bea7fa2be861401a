"""Running sums and products."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor, constant
from ltensor.ir.graph import Apply, Variable
from ltensor.ops import batching
from ltensor.ops.elementwise import zero_gradient
from ltensor.ops.join import static_axis
from ltensor.ops.opdef import Declaration, DeclaredOp, Sample, declare, output_like
from ltensor.ops.samples import draw, interval
from ltensor.ops.shape import reshape


class CumOp(DeclaredOp):
    """Running sum (``mode='add'``) or product (``'mul'``) along an axis, in the operand's dtype."""

    __props__ = ("axis", "mode")
    kind = "kernel"
    ir_name = "cumulative"
    batch = batching.shifted_axis("axis")

    def __init__(self, axis: int = 0, mode: str = "add") -> None:
        if mode not in ("add", "mul"):
            raise ValueError(f"CumOp: unknown mode {mode!r}")
        self.axis = int(axis)
        self.mode = mode

    def __str__(self) -> str:
        return f"CumOp{{{self.axis}, {self.mode}}}"

    def make_node(self, x: Any) -> Apply:
        x = as_tensor(x)
        rank = x.type.ndim
        if not -rank <= self.axis < rank:
            raise ValueError(f"axis(={self.axis}) out of bounds")
        if self.axis < 0:
            return type(self)(self.axis + rank, self.mode).make_node(x)
        return Apply(self, [x], [output_like(x)])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        (x,) = inputs
        function = np.add if self.mode == "add" else np.multiply
        with np.errstate(all="ignore"):
            output_storage[0][0] = function.accumulate(x, axis=self.axis, dtype=x.dtype)

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [tuple(shapes[0])]

    def _join(self, b: Any, total: Any, x: Any) -> Any:
        return b.add(total, x) if self.mode == "add" else b.mul(total, x)

    def lower(self, k: Any) -> None:
        b = k.b
        x = k.operand(0)
        target = k.output(0)
        axis = self.axis
        outer, inner = range(axis), range(axis + 1, x.ndim)
        length = x.dims[axis]
        with ExitStack() as stack:
            before = [stack.enter_context(b.loop(x.dims[a], parallel=True)).index for a in outer]
            if not inner and not dt.is_complex(x.dtype):
                # the running value stays in a register
                start = b.const(0 if self.mode == "add" else 1, x.dtype)
                with b.loop(length, carries=[start]) as loop:
                    total = self._join(b, loop.carry[0], b.load(x, [*before, loop.index]))
                    b.store(target, [*before, loop.index], total)
                    loop.next(total)
                return
            # neighbouring running values side by side: row after row, in lanes
            step = stack.enter_context(b.loop(length)).index
            first = b.eq(step, 0)
            with b.if_(first):
                self._row(b, x, target, before, step, inner, start=True)
            with b.else_():
                self._row(b, x, target, before, step, inner, start=False)

    def _row(
        self, b: Any, x: Any, target: Any, before: Any, step: Any, inner: Any, start: bool
    ) -> None:
        with ExitStack() as stack:
            after = []
            for a in inner:
                kind = "vector" if a == x.ndim - 1 else "serial"
                after.append(stack.enter_context(b.loop(x.dims[a], kind=kind)).index)
            value = b.load(x, [*before, step, *after])
            if not start:
                previous = b.load(target, [*before, b.sub(step, 1), *after])
                value = self._join(b, previous, value)
            b.store(target, [*before, step, *after], value)

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        (x,), (g,) = inputs, output_grads
        if dt.is_discrete(x.type.dtype):
            return [zero_gradient(x)]
        if self.mode == "add":
            return [self._from_behind(g)]
        from ltensor.ops.arithmetic import mul, switch, true_div
        from ltensor.ops.bits import and_
        from ltensor.ops.cast import cast
        from ltensor.ops.compare import eq

        # d y_j / d x_i = y_j / x_i; at the first zero the other factors are multiplied instead,
        # and behind it all is zero
        zero, one = constant(0, dtype=x.type.dtype), constant(1, dtype=x.type.dtype)
        is_zero = eq(x, zero)
        rank = CumOp(self.axis)(cast(is_zero, "int64"))
        first = and_(is_zero, eq(rank, constant(1, dtype="int64")))
        others = self(switch(first, one, x))
        divisor = switch(is_zero, one, x)
        smooth = true_div(self._from_behind(mul(outputs[0], g)), divisor)
        at_zero = self._from_behind(mul(others, g))
        return [switch(first, at_zero, switch(is_zero, zero_like(g), smooth))]

    def _from_behind(self, g: Variable) -> Variable:
        """The running sum from the last element to the first."""
        from ltensor.ops.indexing import getitem

        back = (*[slice(None)] * self.axis, slice(None, None, -1))
        return getitem(CumOp(self.axis)(getitem(g, back)), back)

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        if eval_points[0] is None:
            return [None]
        if self.mode == "add":
            return [self(eval_points[0])]
        from ltensor.errors import MethodNotDefined

        raise MethodNotDefined("R_op", type(self), type(self).__name__)

    def has_rop(self) -> bool:
        """Only sums have a forward rule."""
        return self.mode == "add"


def zero_like(g: Variable) -> Variable:
    """A zero of the dtype of ``g``."""
    return constant(0, dtype=g.type.dtype)


def _cumulative(x: Any, axis: Any, mode: str) -> Variable:
    x = as_tensor(x)
    if axis is None or x.type.ndim == 0:
        return CumOp(0, mode)(x if x.type.ndim == 1 else reshape(x, [-1], ndim=1))
    axis = static_axis(axis, "cumsum" if mode == "add" else "cumprod")
    if not -x.type.ndim <= axis < x.type.ndim:
        raise ValueError(f"axis(={axis}) out of bounds")
    return CumOp(axis % x.type.ndim, mode)(x)


def cumsum(x: Any, axis: Any = None) -> Variable:
    """The running sum along ``axis`` (of the flattened array by default), in the dtype of ``x``."""
    return _cumulative(x, axis, "add")


def cumprod(x: Any, axis: Any = None) -> Variable:
    """The running product along ``axis`` (flattened by default), in the dtype of ``x``."""
    return _cumulative(x, axis, "mul")


# --------------------------------------------------------------------------------- registry


def _samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    values = interval(0.5, 1.5)
    for name, function in (("sum", cumsum), ("prod", cumprod)):
        for shape, axis in (
            ((7,), 0),
            ((3, 37), 1),
            ((5, 37), 0),
            ((3, 4), None),
            ((2, 3, 5), 1),
            ((2, 3, 5), -1),
            ((0,), 0),
            ((0, 3), 0),
        ):
            yield Sample(
                lambda x, axis=axis, function=function: function(x, axis),
                [values(rng, dtype, shape)],
                f"{name}{shape}{axis}",
            )
        data = draw(rng, dtype, (6,))
        data[[2, 4]] = 0
        yield Sample(lambda x, function=function: function(x), [data], f"{name} zeros")


declare(Declaration("cumulative", "Running sums and products.", CumOp, _samples, 40))
