"""Ops that return their operand and do something besides: `Print`, `Assert`, `Raise`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import disconnected_type
from ltensor.ops import batching
from ltensor.ops.opdef import Declaration, DeclaredOp, IndexedOp, Sample, declare, output_like
from ltensor.ops.samples import draw

__all__ = ["Assert", "Print", "Raise", "assert_op"]


def _print_attributes(op: Print, value: Any) -> None:
    """Print what ``op`` asks for; methods are called."""
    for attr in op.attrs:
        shown = getattr(value, attr)
        print(op.message, attr, "=", shown() if callable(shown) else shown)


class Print(DeclaredOp):
    """Prints its operand each time it is computed, and returns it.

    Parameters
    ----------
    message : str
        Stands before the value.
    attrs : sequence of str
        What to print of the array: its attributes, or methods without arguments.
    global_fn : callable
        ``global_fn(op, value)``: called instead of printing.

    Examples
    --------
    >>> y = Print("y", ["__str__", "shape"])(x * 2)             # doctest: +SKIP
    """

    __props__ = ("message", "attrs", "global_fn")
    kind = "python"
    ir_name = "print"
    view_map: ClassVar[dict[int, list[int]]] = {0: [0]}

    def __init__(
        self,
        message: str = "",
        attrs: Sequence[str] = ("__str__",),
        global_fn: Callable[..., Any] = _print_attributes,
    ) -> None:
        self.message = message
        self.attrs = tuple(attrs)
        self.global_fn = global_fn

    def make_node(self, x: Any) -> Apply:
        x = as_tensor(x) if not isinstance(x, Variable) else x
        return Apply(self, [x], [x.type.make_variable()])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        output_storage[0][0] = inputs[0]
        self.global_fn(self, inputs[0])

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [shapes[0]]

    def grad(self, inputs: list[Variable], output_grads: list[Variable]) -> list[Any]:
        return list(output_grads)

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return list(eval_points)

    def attributes(self) -> dict[str, Any]:
        return {"message": self.message, "attrs": self.attrs}


class Assert(IndexedOp):
    """``Assert(msg)(x, *conditions)``: is ``x``, and raises where a condition is false.

    The check is part of the native code; ``x`` costs nothing more.

    Parameters
    ----------
    msg : str
        Text of the AssertionError.
    """

    __props__ = ("msg",)
    affine = True
    ir_name = "assert"
    batch = batching.assert_rule
    view_map: ClassVar[dict[int, list[int]]] = {0: [0]}

    def __init__(self, msg: str = "Theano Assert failed!") -> None:
        self.msg = msg

    def make_node(self, value: Any, *conds: Any) -> Apply:
        value = as_tensor(value)
        # A condition known when building (a Python bool) is taken, unlike elsewhere.
        conditions = [as_tensor(np.asarray(c) if isinstance(c, bool) else c) for c in conds]
        for condition in conditions:
            if condition.type.ndim != 0:
                raise AssertionError(
                    f"Assert takes scalar conditions, got {condition} of type {condition.type}: "
                    "use tensor.all"
                )
        return Apply(self, [value, *conditions], [output_like(value)])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        value, *conditions = inputs
        output_storage[0][0] = value
        if not all(np.all(condition) for condition in conditions):
            raise AssertionError(self.msg)

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [shapes[0]]

    def check(self, b: Any, node: Apply, operands: Any) -> None:
        """The run-time check of the conditions."""
        for operand in operands[1:]:
            b.check(b.ne(operand.value, 0), "assert", node, (), (self.msg,))

    def source_index(self, e: Any, node: Apply, operands: Any, index: Any) -> list[Any]:
        return list(index)

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        return [[True], *[[False] for _ in node.inputs[1:]]]

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        from ltensor.ops.elementwise import zero_gradient

        value = inputs[0]
        discrete = dt.is_discrete(value.type.dtype)
        gradient = zero_gradient(value) if discrete else output_grads[0]
        return [gradient, *[disconnected_type.make_variable() for _ in inputs[1:]]]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return [eval_points[0]]


assert_op = Assert()


class Raise(DeclaredOp):
    """Raises an exception when its value is computed.

    Parameters
    ----------
    msg : str
    exc : class of exceptions
    """

    __props__ = ("msg", "exc")
    kind = "python"
    ir_name = "raise"

    def __init__(self, msg: str = "", exc: type[Exception] = NotImplementedError) -> None:
        self.msg = msg
        self.exc = exc

    def __str__(self) -> str:
        return f"Raise{{{self.exc.__name__}({self.msg})}}"

    def make_node(self, x: Any) -> Apply:
        x = as_tensor(x) if not isinstance(x, Variable) else x
        return Apply(self, [x], [x.type.make_variable()])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        raise self.exc(self.msg)

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [shapes[0]]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        return [[False]]

    def grad(self, inputs: list[Variable], output_grads: list[Variable]) -> list[Any]:
        return [disconnected_type.make_variable()]

    def attributes(self) -> dict[str, Any]:
        return {"msg": self.msg, "exc": self.exc.__name__}


# --------------------------------------------------------------------------------- registry


def _quiet(op: Print, value: Any) -> None:
    """Stands for printing in the samples."""


def _print_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for shape in ((), (3,), (2, 3), (0, 2)):
        yield Sample(Print("x", global_fn=_quiet), [draw(rng, dtype, shape)], str(shape))


def _assert_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    from ltensor.ops.compare import ge, lt
    from ltensor.ops.shape import shape_i

    for shape in ((), (3,), (2, 3), (0, 2)):

        def build(x: Variable) -> Variable:
            size = shape_i(x, 0) if x.type.ndim else 1
            return Assert("sizes")(x, ge(size, 0), lt(size, 4))

        yield Sample(build, [draw(rng, dtype, shape)], str(shape))


declare(Declaration("print", "Print a value while running.", Print, _print_samples, 0))
declare(Declaration("assert", "Check conditions while running.", Assert, _assert_samples, 0))
declare(Declaration("raise", "Raise an exception when computed.", Raise))
