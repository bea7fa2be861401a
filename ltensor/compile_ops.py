"""Theano's module ``theano.compile.ops``: ops of Python functions, views, copies, shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Apply, Op, Variable
from ltensor.ir.types import Type
from ltensor.ops.identity import (
    DeepCopyOp,
    SpecifyShape,
    ViewOp,
    deep_copy_op,
    specify_shape,
    view_op,
)
from ltensor.ops.shape import Shape, set_flags, shape, shape_i
from ltensor.ops.shape import ShapeI as Shape_i

__all__ = [
    "DeepCopyOp",
    "FromFunctionOp",
    "Rebroadcast",
    "Shape",
    "Shape_i",
    "SpecifyShape",
    "ViewOp",
    "as_op",
    "deep_copy_op",
    "shape",
    "shape_i",
    "specify_shape",
    "view_op",
]


class FromFunctionOp(Op):
    """An op whose values a Python function computes from arrays; see `as_op`."""

    def __init__(
        self,
        fn: Callable[..., Any],
        itypes: Sequence[Type],
        otypes: Sequence[Type],
        infer_shape: Callable[..., Any] | None = None,
    ) -> None:
        self._function = fn
        self.itypes = list(itypes)
        self.otypes = list(otypes)
        self._shape_function = infer_shape
        if infer_shape is not None:
            self.infer_shape = infer_shape

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._function == other._function

    def __hash__(self) -> int:
        return hash((type(self), self._function))

    def __str__(self) -> str:
        return f"FromFunctionOp{{{getattr(self._function, '__name__', self._function)}}}"

    def __reduce__(self) -> Any:
        return type(self), (self._function, self.itypes, self.otypes, self._shape_function)

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        results = self._function(*inputs)
        if not isinstance(results, (list, tuple)):
            results = (results,)
        if len(results) != len(output_storage):
            raise ValueError(
                f"{self} returned {len(results)} values, but {len(output_storage)} types were "
                "declared"
            )
        for cell, value in zip(output_storage, results, strict=True):
            cell[0] = value


def as_op(
    itypes: Any, otypes: Any, infer_shape: Callable[..., Any] | None = None
) -> Callable[[Callable[..., Any]], FromFunctionOp]:
    """Decorator that makes an op of a Python function on arrays.

    Parameters
    ----------
    itypes, otypes : Type or list of Type
        Of the arguments and of the results.
    infer_shape : callable, optional
        ``infer_shape(node, input_shapes)``: the list of the results' shapes.

    Raises
    ------
    TypeError
        If the types are none, or ``infer_shape`` cannot be called.

    Examples
    --------
    >>> import numpy as np, ltensor.tensor as T
    >>> @as_op(itypes=[T.dvector], otypes=[T.dvector])
    ... def flipped(v):
    ...     return v[::-1]
    """
    inner = list(itypes) if isinstance(itypes, (list, tuple)) else [itypes]
    outer = list(otypes) if isinstance(otypes, (list, tuple)) else [otypes]
    for label, types in (("itypes", inner), ("otypes", outer)):
        if any(not isinstance(t, Type) for t in types):
            raise TypeError(f"{label} has to be a list of Theano types")
    if infer_shape is not None and not callable(infer_shape):
        raise TypeError("infer_shape needs to be a callable")

    def make_op(function: Callable[..., Any]) -> FromFunctionOp:
        return FromFunctionOp(function, inner, outer, infer_shape)

    return make_op


class Rebroadcast:
    """Declares axes broadcastable, or not: ``Rebroadcast((0, True), (1, False))(x)``."""

    def __init__(self, *axes: tuple[int, bool]) -> None:
        self.axis = {int(axis): bool(flag) for axis, flag in axes}

    def __call__(self, x: Any) -> Variable:
        variable = as_tensor(x)
        flags = list(variable.type.broadcastable)
        for axis, flag in self.axis.items():
            if not 0 <= axis < len(flags):
                raise ValueError("Trying to rebroadcast non-existent dimension")
            flags[axis] = flag
        return set_flags(variable, flags)

    def __str__(self) -> str:
        inside = ",".join(f"{axis}:{int(flag)}" for axis, flag in self.axis.items())
        return f"Rebroadcast{{{inside}}}"
