"""Reductions: sum, prod, max, min, any, all, and what is built of them (mean, var, std, norm).

Sums and products accumulate in a wider type than they return, as Theano's do: float32 in float64,
integers in 64 bits.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor, constant
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import NoneType, tensor_type
from ltensor.ops import batching
from ltensor.ops.arithmetic import mul, sqr, sub, true_div
from ltensor.ops.cast import cast
from ltensor.ops.elementwise import zero_gradient
from ltensor.ops.opdef import Declaration, DeclaredOp, Sample, declare
from ltensor.ops.samples import draw
from ltensor.ops.shape import dimshuffle, shape_i

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
        from ltensor.ir.build import constant_value

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
        reduced = self.reduced_axes(x.type.ndim)
        order: list[Any] = []
        position = 0
        for k in range(x.type.ndim):
            if k in reduced:
                order.append("x")
            else:
                order.append(position)
                position += 1
        return dimshuffle(value, order)

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return [None if eval_points[0] is None else type(self)(self.axis)(eval_points[0])]


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


def mean(
    input: Any,
    axis: Axes = None,
    dtype: Any = None,
    op: bool = False,
    keepdims: bool = False,
    acc_dtype: Any = None,
) -> Variable:
    """Mean over ``axis``; of discrete operands in float64."""
    x = as_tensor(input)
    if dtype is not None:
        sum_dtype = dt.normalize(dtype)
        if dt.is_discrete(sum_dtype):
            sum_dtype = "float64"
    elif dt.is_discrete(x.type.dtype):
        sum_dtype = "float64"
    else:
        sum_dtype = x.type.dtype
    # Sums and counts of many elements overflow float16, their quotient need not.
    half = sum_dtype == "float16"
    if half:
        sum_dtype = "float32"
    total = sum(x, axis=axis, dtype=sum_dtype, keepdims=keepdims, acc_dtype=acc_dtype)
    axes = normalize_axes(axis, x)
    reduced = range(x.type.ndim) if axes is None else axes
    count: Variable | None = None
    for k in reduced:
        size = cast(shape_i(x, k), total.type.dtype)
        count = size if count is None else mul(count, size)
    result = total if count is None else true_div(total, count)
    return cast(result, "float16") if half else result


def var(
    input: Any,
    axis: Axes = None,
    ddof: int = 0,
    keepdims: bool = False,
    corrected: bool = False,
) -> Variable:
    """Variance over ``axis``, divided by n - ddof."""
    x = as_tensor(input)
    axes = normalize_axes(axis, x)
    centered = sub(x, mean(x, axis, keepdims=True))
    spread = mean(sqr(centered), axis, keepdims=keepdims)
    if ddof:
        count: Variable = constant(1, dtype="int64")
        for k in range(x.type.ndim) if axes is None else axes:
            count = mul(count, shape_i(x, k))
        n = cast(count, spread.type.dtype)
        spread = true_div(mul(spread, n), sub(n, cast(ddof, spread.type.dtype)))
    return spread


def std(
    input: Any,
    axis: Axes = None,
    ddof: int = 0,
    keepdims: bool = False,
    corrected: bool = False,
) -> Variable:
    """Standard deviation over ``axis``."""
    from ltensor.ops.transcendental import sqrt

    return sqrt(var(input, axis, ddof, keepdims, corrected))


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
