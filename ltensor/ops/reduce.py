"""Reductions: sum, prod, max, min, any, all.

Sums and products accumulate in a wider type than they return, as Theano's do: float32 in float64,
integers in 64 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor, constant
from ltensor.ir.graph import Apply, Variable
from ltensor.ops.arithmetic import mul, true_div
from ltensor.ops.cast import cast
from ltensor.ops.elementwise import zero_gradient
from ltensor.ops.opdef import Declaration, DeclaredOp, Sample, declare
from ltensor.ops.reduce_base import Axes, ReduceOp, keep_dims, normalize_axes
from ltensor.ops.samples import draw


class _Widening(ReduceOp):
    """Sum and product: results of integers widen, floats accumulate in the next wider type."""

    def filled_in(self, x: Variable) -> ReduceOp:
        source = x.type.dtype
        dtype = self.dtype or dt.reduced(source)
        acc = self.acc_dtype
        if acc is None:
            acc = (
                dt.upcast(dt.accumulator(dtype), dtype)
                if dt.is_float(dtype) or dt.is_complex(dtype)
                else dt.reduced(source)
                if self.dtype is None
                else dt.upcast(dtype, "int64")
            )
        return type(self)(self.axis, dtype, acc)


class Sum(_Widening):
    """Sum over axes."""

    ir_name = "sum"
    display = "Sum"

    def initial(self, e: Any, dtype: str) -> Any:
        return e.const(0, dtype)

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        with np.errstate(all="ignore"):
            result = np.sum(inputs[0], axis=self.axis, dtype=self.acc_dtype)
            output_storage[0][0] = np.asarray(result).astype(node.outputs[0].type.dtype)

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        from ltensor.ops.alloc import second

        (x,), (g,) = inputs, output_grads
        if dt.is_discrete(outputs[0].type.dtype):
            return [zero_gradient(x)]
        return [second(x, self.spread(x, g))]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return [None if eval_points[0] is None else self(eval_points[0])]


class Prod(_Widening):
    """Product over axes."""

    ir_name = "prod"
    display = "Prod"
    combine_name = "mul"

    def initial(self, e: Any, dtype: str) -> Any:
        return e.const(1, dtype)

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        with np.errstate(all="ignore"):
            result = np.prod(inputs[0], axis=self.axis, dtype=self.acc_dtype)
            output_storage[0][0] = np.asarray(result).astype(node.outputs[0].type.dtype)

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        from ltensor.ops.arithmetic import switch
        from ltensor.ops.compare import eq

        (x,), (g,) = inputs, output_grads
        if dt.is_discrete(outputs[0].type.dtype):
            return [zero_gradient(x)]
        # one zero: only its own derivative is not zero; more zeros: all are zero
        zero = eq(x, 0)
        count = self.spread(x, Sum(self.axis)(cast(zero, "int64")))
        others = Prod(self.axis)(switch(zero, constant(1, dtype=x.type.dtype), x))
        rest = self.spread(x, others)
        g = self.spread(x, g)
        nothing = zero_gradient(g)
        no_zero = mul(g, true_div(rest, switch(zero, constant(1, dtype=x.type.dtype), x)))
        one_zero = switch(zero, mul(g, rest), nothing)
        return [switch(eq(count, 0), no_zero, switch(eq(count, 1), one_zero, nothing))]

    R_op = DeclaredOp.R_op


class _Extremum(ReduceOp):
    needs_elements = True
    reference: Callable[..., Any]

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        function = np.max if self.combine_name == "max" else np.min
        output_storage[0][0] = np.asarray(function(inputs[0], axis=self.axis))

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        from ltensor.ops.compare import eq

        (x,), (g,) = inputs, output_grads
        if dt.is_discrete(x.type.dtype):
            return [zero_gradient(x)]
        # Every element equal to the extremum gets the whole gradient. It is taken anew (and merged
        # with the result where that is at hand): a loop's gradient computes the elements again,
        # and may round them otherwise.
        where = eq(self.spread(x, self(x)), x)
        return [mul(cast(where, g.type.dtype), self.spread(x, g))]

    R_op = DeclaredOp.R_op


class Max(_Extremum):
    """Largest element; nan if one is nan."""

    ir_name = "max"
    display = "Max"
    combine_name = "max"

    def initial(self, e: Any, dtype: str) -> Any:
        if dt.is_complex(dtype):
            return e.const(complex(-np.inf, -np.inf), dtype)
        if dt.is_float(dtype):
            return e.const(-np.inf, dtype)
        return e.const(False if dtype == "bool" else np.iinfo(dtype).min, dtype)


class Min(_Extremum):
    """Smallest element; nan if one is nan."""

    ir_name = "min"
    display = "Min"
    combine_name = "min"

    def check_dtype(self, source: str) -> None:
        if dt.is_complex(source):
            raise NotImplementedError("min of complex numbers is not defined")

    def initial(self, e: Any, dtype: str) -> Any:
        if dt.is_float(dtype):
            return e.const(np.inf, dtype)
        return e.const(True if dtype == "bool" else np.iinfo(dtype).max, dtype)


class _Logical(ReduceOp):
    def result_dtype(self, source: str) -> str:
        return "bool"

    def accumulator(self, source: str) -> str:
        return "bool"

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        return [zero_gradient(inputs[0])]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return [None]


class Any_(_Logical):
    """Whether any element is true."""

    ir_name = "any"
    display = "Any"
    combine_name = "or"

    def initial(self, e: Any, dtype: str) -> Any:
        return e.const(False, "bool")

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        output_storage[0][0] = np.asarray(np.any(inputs[0], axis=self.axis))


class All_(_Logical):
    """Whether all elements are true."""

    ir_name = "all"
    display = "All"
    combine_name = "and"

    def initial(self, e: Any, dtype: str) -> Any:
        return e.const(True, "bool")

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        output_storage[0][0] = np.asarray(np.all(inputs[0], axis=self.axis))


# --------------------------------------------------------------------------------- functions


def _apply(op: type[ReduceOp], x: Any, axis: Axes, keepdims: bool, **more: Any) -> Variable:
    x = as_tensor(x)
    axes = normalize_axes(axis, x)
    result = op(axes, **more)(x)
    return keep_dims(x, result, axes) if keepdims else result


def _accumulator(x: Any, acc_dtype: Any) -> str | None:
    """The dtype to accumulate in that the user asks for.

    Raises
    ------
    TypeError
        If the elements do not fit it.
    """
    if acc_dtype is None:
        return None
    x = as_tensor(x)
    own, wanted = x.type.dtype, dt.normalize(acc_dtype)
    widens = dt.is_discrete(own) and not dt.is_discrete(wanted)
    if widens or dt.upcast(own, wanted) == wanted:
        return wanted
    raise TypeError(
        f"cannot accumulate elements of {x} (dtype {own}) in {wanted}: precision would be lost. "
        "Cast the operand first if you do not mind."
    )


def sum(
    input: Any,
    axis: Axes = None,
    dtype: Any = None,
    keepdims: bool = False,
    acc_dtype: Any = None,
) -> Variable:
    """Sum over ``axis`` (all axes by default)."""
    return _apply(
        Sum,
        input,
        axis,
        keepdims,
        dtype=None if dtype is None else dt.normalize(dtype),
        acc_dtype=_accumulator(input, acc_dtype),
    )


def prod(
    input: Any,
    axis: Axes = None,
    dtype: Any = None,
    keepdims: bool = False,
    acc_dtype: Any = None,
    no_zeros_in_input: bool = False,
) -> Variable:
    """Product over ``axis``."""
    return _apply(
        Prod,
        input,
        axis,
        keepdims,
        dtype=None if dtype is None else dt.normalize(dtype),
        acc_dtype=_accumulator(input, acc_dtype),
    )


def max(x: Any, axis: Axes = None, keepdims: bool = False) -> Variable:
    """Largest element over ``axis``."""
    return _apply(Max, x, axis, keepdims)


def min(x: Any, axis: Axes = None, keepdims: bool = False) -> Variable:
    """Smallest element over ``axis``."""
    return _apply(Min, x, axis, keepdims)


def any(x: Any, axis: Axes = None, keepdims: bool = False) -> Variable:
    """Whether any element is true."""
    return _apply(Any_, x, axis, keepdims)


def all(x: Any, axis: Axes = None, keepdims: bool = False) -> Variable:
    """Whether all elements are true."""
    return _apply(All_, x, axis, keepdims)


# --------------------------------------------------------------------------------- registry

CASES: tuple[tuple[tuple[int, ...], Axes], ...] = (
    ((7,), None),
    ((3, 5), None),
    ((3, 5), 0),
    ((3, 41), 1),
    ((4, 3, 5), (0, 2)),
    ((4, 3, 5), 1),
    ((0, 3), 0),
    ((), None),
    ((1, 4), ()),
)


def reduction_samples(function: Callable[..., Any], empty: bool = True) -> Callable[..., Any]:
    """Samples of a reduction over the shapes and axes of `CASES`."""

    def samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
        for shape, axis in CASES:
            if 0 in shape and not empty:
                continue
            yield Sample(
                lambda x, axis=axis: function(x, axis=axis),
                [draw(rng, dtype, shape)],
                f"{'x'.join(map(str, shape))}-{axis}",
                differentiable=0 not in shape,
            )

    return samples


declare(Declaration("sum", "Sum over axes.", Sum, reduction_samples(sum), 8))
declare(Declaration("prod", "Product over axes.", Prod, reduction_samples(prod), 16))
declare(Declaration("max", "Largest element.", Max, reduction_samples(max, False), 0))
_REAL = tuple(d for d in dt.ALL if not dt.is_complex(d))
declare(Declaration("min", "Smallest element.", Min, reduction_samples(min, False), 0, _REAL))
declare(
    Declaration(
        "any", "Whether any is true.", Any_, reduction_samples(any), 0, differentiable=False
    )
)
declare(
    Declaration(
        "all", "Whether all are true.", All_, reduction_samples(all), 0, differentiable=False
    )
)
