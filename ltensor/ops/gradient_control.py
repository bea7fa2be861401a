"""Identities that change the gradient: consider_constant, disconnected, zero, clip, scale.

Source: Theano's documentation of ``theano.gradient``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import NullType, disconnected_type
from ltensor.ops import batching
from ltensor.ops.elementwise import zero_gradient
from ltensor.ops.opdef import Declaration, IndexedOp, Sample, declare
from ltensor.ops.samples import draw


class Identity(IndexedOp):
    """The operand itself; subclasses say what becomes of the gradient."""

    __props__: ClassVar[tuple[str, ...]] = ()
    affine = True
    batch = batching.same_op

    def make_node(self, x: Any) -> Apply:
        x = as_tensor(x)
        return Apply(self, [x], [x.type.make_variable()])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        output_storage[0][0] = inputs[0]

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return shapes

    def source_index(self, e: Any, node: Apply, operands: Any, index: Any) -> list[Any]:
        return list(index)

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return [None]


class DisconnectedGrad(Identity):
    """No gradient flows back: the operand counts as not connected."""

    ir_name = "disconnected_grad"

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        return [[False]]

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        return [disconnected_type.make_variable()]


class ZeroGrad(Identity):
    """The gradient is zero."""

    ir_name = "zero_grad"

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        return [zero_gradient(inputs[0])]


class UndefinedGrad(Identity):
    """The gradient is not defined: asking for it raises."""

    ir_name = "undefined_grad"

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        return [NullType("undefined_grad was applied here").make_variable()]


class GradClip(Identity):
    """The gradient is limited to an interval."""

    __props__ = ("lower", "upper")
    ir_name = "grad_clip"

    def __init__(self, lower: float = -1.0, upper: float = 1.0) -> None:
        self.lower, self.upper = lower, upper

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        from ltensor.ops.arithmetic import clip

        (g,) = output_grads
        return [clip(g, np.asarray(self.lower, g.type.dtype), np.asarray(self.upper, g.type.dtype))]


class GradScale(Identity):
    """The gradient is multiplied by a number."""

    __props__ = ("multiplier",)
    ir_name = "grad_scale"

    def __init__(self, multiplier: float = 1.0) -> None:
        self.multiplier = multiplier

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        from ltensor.ops.arithmetic import mul

        (g,) = output_grads
        return [mul(g, np.asarray(self.multiplier, g.type.dtype))]


def disconnected_grad(x: Any) -> Variable:
    """``x``, disconnected from the gradient."""
    return DisconnectedGrad()(x)


def consider_constant(x: Any) -> Variable:
    """``x``, with a gradient of zero."""
    return ZeroGrad()(x)


zero_grad = consider_constant


def undefined_grad(x: Any) -> Variable:
    """``x``, whose gradient raises NullTypeGradError."""
    return UndefinedGrad()(x)


def grad_clip(x: Any, lower_bound: float, upper_bound: float) -> Variable:
    """``x``; its gradient is limited to [lower_bound, upper_bound]."""
    return GradClip(lower_bound, upper_bound)(x)


def grad_scale(x: Any, multiplier: float) -> Variable:
    """``x``; its gradient is multiplied."""
    return GradScale(multiplier)(x)


def _samples(op: Identity) -> Any:
    def samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
        yield Sample(lambda x: op(x), [draw(rng, dtype, (3, 4))], "3x4", differentiable=False)
        yield Sample(lambda x: op(x), [draw(rng, dtype, ())], "scalar", differentiable=False)

    return samples


for _class in (DisconnectedGrad, ZeroGrad, UndefinedGrad, GradClip, GradScale):
    declare(
        Declaration(
            _class.ir_name,
            str(_class.__doc__).split("\n")[0],
            _class,
            _samples(_class()),
            0,
            ("float32", "float64"),
        )
    )
