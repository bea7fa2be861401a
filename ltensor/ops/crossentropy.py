"""Cross entropies: of distributions, of class numbers ("one hot" targets), of binary targets.

``pick`` reads one element of every row and ``place`` puts one there; losses with class numbers are
made of these two, which are each other's gradient. ``crossentropy_softmax_argmax_op`` computes
softmax, its loss and the best class of every row at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor, constant
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import TensorType, disconnected_type
from ltensor.ops import batching
from ltensor.ops.elementwise import elementwise, real_float_like, zero_gradient
from ltensor.ops.linear import LinearInFirst
from ltensor.ops.opdef import (
    Declaration,
    DeclaredOp,
    IndexedOp,
    Sample,
    declare,
    new_tensor,
    output_like,
)
from ltensor.ops.samples import draw
from ltensor.ops.shape import shape_i
from ltensor.ops.softmax import as_rows, column, rows, softmax_grad_op

_REAL = tuple(d for d in dt.ALL if not dt.is_complex(d))


def class_numbers(y: Any) -> Variable:
    """``y`` as an integer vector.

    Raises
    ------
    TypeError
        If it is none.
    """
    y = as_tensor(y)
    if y.type.ndim != 1 or not dt.is_integer(y.type.dtype):
        raise TypeError(
            f"integer vector required for argument: true_one_of_n (got type: {y.type} instead of: "
            "TensorType(int64, vector))"
        )
    return y


def _checked(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Class numbers as indices into the rows of ``x``; errors as at run time."""
    if len(y) != len(x):
        raise ValueError("dimension mismatch in x, y_idx arguments")
    if ((y < 0) | (y >= x.shape[1])).any():
        raise ValueError("y_i value out of bounds")
    return y.astype("int64")


class Pick(LinearInFirst, IndexedOp):
    """The element of every row of a matrix whose column an integer vector gives."""

    __props__ = ()
    ir_name = "pick"
    batch = batching.rows

    def __str__(self) -> str:
        return "Pick"

    def make_node(self, x: Any, y: Any) -> Apply:
        x, y = as_tensor(x), class_numbers(y)
        if x.type.ndim != 2:
            raise TypeError("matrix required for argument: coding_dist")
        return Apply(self, [x, y], [new_tensor(x.type.dtype, y.type.shape)])

    def may_fail(self, node: Apply, known: Any = None) -> bool:
        return True

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [shapes[1]]

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        x, y = inputs
        output_storage[0][0] = x[np.arange(len(x)), _checked(x, y)]

    def check(self, b: Any, node: Apply, operands: Any) -> None:
        """As many class numbers as rows."""
        have, want = operands[1].dims[0], operands[0].dims[0]
        b.check(b.eq(have, want), "class_count", node, (want, have))

    def element(self, e: Any, node: Apply, operands: Any, index: Any) -> Any:
        which = e.cast(operands[1].at(index), "int64")
        valid = e.and_(e.ge(which, 0), e.lt(which, operands[0].dims[1]))
        e.guard(valid, "class_bounds")
        return operands[0].at([index[0], e.select(valid, which, 0)])

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        (x, y), (g,) = inputs, output_grads
        if dt.is_discrete(x.type.dtype):
            return [zero_gradient(x), disconnected_type.make_variable()]
        return [place_op(g, y, shape_i(x, 1)), disconnected_type.make_variable()]


class Place(LinearInFirst, IndexedOp):
    """A matrix of zeros with one element per row, in the column an integer vector gives."""

    __props__ = ()
    ir_name = "place"
    batch = batching.rows

    def __str__(self) -> str:
        return "Place"

    def make_node(self, values: Any, y: Any, columns: Any) -> Apply:
        values, y, columns = as_tensor(values), class_numbers(y), as_tensor(columns)
        if values.type.ndim != 1:
            raise TypeError(f"place takes a vector of values, not {values.type}")
        if columns.type.ndim != 0 or not dt.is_integer(columns.type.dtype):
            raise TypeError(f"place takes an integer number of columns, not {columns.type}")
        return Apply(self, [values, y, columns], [new_tensor(values.type.dtype, (None, None))])

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        from ltensor.ops.cast import cast

        return [(shapes[1][0], cast(node.inputs[2], "int64"))]

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        values, y, columns = inputs
        hot = y.astype("int64")[:, None] == np.arange(int(columns))
        output_storage[0][0] = np.where(hot, values[:, None], values.dtype.type(0))

    def check(self, b: Any, node: Apply, operands: Any) -> None:
        """As many class numbers as values."""
        if node.inputs[0].type.broadcastable[0]:
            return
        have, want = operands[1].dims[0], operands[0].dims[0]
        b.check(b.eq(have, want), "class_count", node, (want, have))

    def element(self, e: Any, node: Apply, operands: Any, index: Any) -> Any:
        which = e.cast(operands[1].at([index[0]]), "int64")
        e.guard(
            e.and_(e.ge(which, 0), e.lt(which, e.cast(operands[2].value, "int64"))), "class_bounds"
        )
        hot = e.eq(which, index[1])
        one = node.inputs[0].type.broadcastable[0]
        value = operands[0].at([e.const(0) if one else index[0]])
        return e.select(hot, value, e.const(0, value.dtype))

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        from ltensor.ops.elementwise import fit_gradient

        values, y, _ = inputs
        cut = [disconnected_type.make_variable() for _ in range(2)]
        return [fit_gradient(pick_op(output_grads[0], y), values), *cut]


class CrossentropySoftmaxArgmax1HotWithBias(DeclaredOp):
    """-log softmax(x + b) at the given classes, softmax(x + b), and the best class of every row."""

    __props__ = ()
    kind = "kernel"
    ir_name = "crossentropy_softmax_argmax"
    nin = 3
    nout = 3

    def __str__(self) -> str:
        return "CrossentropySoftmaxArgmax1HotWithBias"

    def make_node(self, x: Any, b: Any, y_idx: Any) -> Apply:
        from ltensor.ops.cast import cast

        x, b, y = as_tensor(x), as_tensor(b), as_tensor(y_idx)
        if x.type.ndim != 2 or not dt.is_float(x.type.dtype):
            raise ValueError("x must be 2-d tensor of floats", x.type)
        if b.type.ndim != 1 or not dt.is_float(b.type.dtype):
            raise ValueError("b must be 1-d tensor of floats", b.type)
        if y.type.ndim != 1 or dt.is_float(y.type.dtype):
            raise ValueError("y_idx must be 1-d tensor of [u]ints", y.type)
        common = dt.upcast(x.type.dtype, b.type.dtype)
        x, b, y = cast(x, common), cast(b, common), class_numbers(y)
        rows_ = x.type.shape[:1]
        outputs = [new_tensor(common, rows_), output_like(x), new_tensor(y.type.dtype, rows_)]
        return Apply(self, [x, b, y], outputs)

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [shapes[0][:1], shapes[0], shapes[0][:1]]

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        x, bias, y = inputs
        wide = dt.work_dtype(str(x.dtype))
        if x.shape[1] != len(bias):
            raise ValueError("dimension mismatch in x, b arguments")
        shifted = x.astype(wide) + bias.astype(wide)
        where = _checked(x, y)
        best = shifted.argmax(axis=1) if x.size else np.zeros(len(x), "int64")
        with np.errstate(all="ignore"):
            if x.size:
                shifted = shifted - shifted.max(axis=1, keepdims=True)
            powers = np.exp(shifted)
            total = powers.sum(axis=1)
            loss = np.log(total) - shifted[np.arange(len(x)), where]
            result = powers / total[:, None]
        output_storage[0][0] = loss.astype(x.dtype)
        output_storage[1][0] = result.astype(x.dtype)
        output_storage[2][0] = best.astype(y.dtype)

    def lower(self, k: Any) -> None:
        b = k.b
        x, bias, y = k.operand(0), k.operand(1), k.operand(2)
        loss, soft, best = k.output(0), k.output(1), k.output(2)
        n, m = x.dims
        k.check(b.eq(bias.dims[0], m), "bias_length", (m, bias.dims[0]))
        k.check(b.eq(y.dims[0], n), "class_count", (n, y.dims[0]))
        b.current_node = k.node
        with rows(k, x) as row:

            def shifted(j: Any) -> Any:
                return b.add(row.load(x, j), b.cast(b.load(bias, [j]), row.dtype))

            top = row.maximum(shifted)
            # the first place of the maximum; of a nan, which equals nothing
            none = b.const(2**62)

            def place(j: Any) -> Any:
                value = shifted(j)
                hit = b.or_(b.eq(value, top), b.isnan(value))
                return b.select(hit, j, none)

            with b.reduce(m, "min", none) as loop:
                loop.next(place(loop.index))
            first = loop.results[0]
            b.store(best, [row.row], b.cast(first, best.dtype))
            total = row.total(lambda j: b.exp(b.sub(shifted(j), top)))
            scale = b.div(b.const(1, row.dtype), total)
            row.each(lambda j: row.store(soft, j, b.mul(b.exp(b.sub(shifted(j), top)), scale)))
            which = b.cast(b.load(y, [row.row]), "int64")
            valid = b.and_(b.ge(which, 0), b.lt(which, m))
            b.guard(valid, "class_bounds")
            picked = shifted(b.select(valid, which, 0))
            value = b.sub(b.log(total), b.sub(picked, top))
            b.store(loss, [row.row], b.cast(value, loss.dtype))

    def L_op(
        self, inputs: list[Variable], outputs: list[Variable], output_grads: list[Variable]
    ) -> list[Any]:
        from ltensor.ops.arithmetic import add, mul, sub
        from ltensor.ops.reduce import sum as reduce_sum

        x, _, y = inputs
        g_loss, g_soft, _ = output_grads
        soft = outputs[1]
        terms = []
        if type(g_loss.type) is TensorType:
            onehot = place_op(g_loss, y, shape_i(x, 1))
            terms.append(sub(mul(soft, column(g_loss)), onehot))
        if type(g_soft.type) is TensorType:
            terms.append(softmax_grad_op(g_soft, soft))
        cut = disconnected_type.make_variable()
        if not terms:
            return [zero_gradient(inputs[0]), zero_gradient(inputs[1]), cut]
        total = terms[0] if len(terms) == 1 else add(*terms)
        return [total, reduce_sum(total, axis=0), cut]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        return [[True, True, False], [True, True, False], [False, False, True]]


pick_op = Pick()
place_op = Place()
crossentropy_softmax_argmax_op = CrossentropySoftmaxArgmax1HotWithBias()


def _sigmoid_loss_vjp(x: list[Variable], y: Variable, g: Variable) -> list[Any]:
    from ltensor.ops.arithmetic import mul, neg, sub
    from ltensor.ops.transcendental import sigmoid

    output, target = x
    return [mul(g, sub(sigmoid(output), target)), neg(mul(g, output))]


def _sigmoid_loss_emit(e: Any, x: Any, t: Any) -> Any:
    step = e.select(e.gt(x, 0), e.const(1, x.dtype), e.const(0, x.dtype))
    return e.add(e.math("softplus", e.neg(e.abs(x))), e.mul(x, e.sub(step, t)))


sigmoid_binary_crossentropy = elementwise(
    "sigmoid_binary_crossentropy",
    doc="Cross entropy of a target with the sigmoid of the first operand, stable at both ends.",
    types=real_float_like,
    ref=lambda x, t: np.log1p(np.exp(-np.abs(x))) + x * ((x > 0).astype(x.dtype) - t),
    emit=_sigmoid_loss_emit,
    vjp=_sigmoid_loss_vjp,
    arity=2,
    cost=45,
    dtypes=_REAL,
)


# --------------------------------------------------------------------------------- functions


def binary_crossentropy(output: Any, target: Any) -> Variable:
    """-(t log(o) + (1 - t) log(1 - o)), element by element."""
    from ltensor.ops.arithmetic import add, mul, neg, sub
    from ltensor.ops.transcendental import log

    first = mul(target, log(output))
    second = mul(sub(1.0, target), log(sub(1.0, output)))
    return neg(add(first, second))


def crossentropy_categorical_1hot(coding_dist: Any, true_one_of_n: Any) -> Variable:
    """-log of every row's element at the given class.

    Raises
    ------
    TypeError
        If ``coding_dist`` is no matrix or ``true_one_of_n`` no integer vector.
    """
    from ltensor.ops.arithmetic import neg
    from ltensor.ops.transcendental import log

    return neg(log(pick_op(coding_dist, true_one_of_n)))


def categorical_crossentropy(coding_dist: Any, true_dist: Any) -> Variable:
    """Cross entropy along the last axis, of a distribution or of class numbers.

    Raises
    ------
    TypeError
        If the ranks do not fit.
    """
    from ltensor.ops.arithmetic import mul, neg
    from ltensor.ops.reduce import sum as reduce_sum
    from ltensor.ops.transcendental import log

    coding, true = as_tensor(coding_dist), as_tensor(true_dist)
    if true.type.ndim == coding.type.ndim:
        return neg(reduce_sum(mul(true, log(coding)), axis=coding.type.ndim - 1))
    if true.type.ndim == coding.type.ndim - 1:
        return crossentropy_categorical_1hot(coding, true)
    raise TypeError("rank mismatch between coding and true distributions")


def crossentropy_softmax_argmax_1hot_with_bias(x: Any, b: Any, y_idx: Any) -> list[Variable]:
    """Loss, softmax and best class of ``x + b``; see `CrossentropySoftmaxArgmax1HotWithBias`."""
    results: list[Variable] = crossentropy_softmax_argmax_op(x, b, y_idx)
    return results


def crossentropy_softmax_1hot_with_bias(
    x: Any, b: Any, y_idx: Any, **kwargs: Any
) -> list[Variable]:
    """Loss and softmax of ``x + b``."""
    return crossentropy_softmax_argmax_1hot_with_bias(x, b, y_idx)[:2]


def _no_bias(x: Variable) -> Variable:
    from ltensor.ops.alloc import alloc

    return alloc(constant(0, dtype=x.type.dtype), shape_i(x, 1))


def crossentropy_softmax_1hot(x: Any, y_idx: Any, **kwargs: Any) -> list[Variable]:
    """Loss and softmax of ``x``."""
    x = as_rows(x)
    return crossentropy_softmax_1hot_with_bias(x, _no_bias(x), y_idx)


def crossentropy_softmax_max_and_argmax_1hot_with_bias(
    x: Any, b: Any, y_idx: Any, **kwargs: Any
) -> list[Variable]:
    """Loss, softmax, its largest element and the best class of ``x + b``."""
    from ltensor.ops.reduce import max as reduce_max

    loss, soft, best = crossentropy_softmax_argmax_1hot_with_bias(x, b, y_idx)
    return [loss, soft, reduce_max(soft, axis=1), best]


def crossentropy_softmax_max_and_argmax_1hot(x: Any, y_idx: Any, **kwargs: Any) -> list[Variable]:
    """As `crossentropy_softmax_max_and_argmax_1hot_with_bias` without a bias."""
    x = as_rows(x)
    return crossentropy_softmax_max_and_argmax_1hot_with_bias(x, _no_bias(x), y_idx)


# --------------------------------------------------------------------------------- registry


def _classes(rng: np.random.Generator, n: int, m: int, dtype: str = "int32") -> np.ndarray:
    return rng.integers(0, m, n).astype(dtype)


def _pick_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for n, m, kind in ((3, 4, "int32"), (37, 5, "int64"), (1, 3, "uint8"), (0, 3, "int8")):
        arrays = [draw(rng, dtype, (n, m)), _classes(rng, n, m, kind)]
        yield Sample(pick_op, arrays, f"{n}x{m}", which=(0,))


def _place_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for n, m in ((3, 4), (2, 37), (1, 3), (0, 3)):
        arrays = [draw(rng, dtype, (n,)), _classes(rng, n, m)]
        yield Sample(lambda v, y, m=m: place_op(v, y, m), arrays, f"{n}x{m}", which=(0,))


def _fused_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for n, m in ((3, 4), (2, 37), (1, 3), (0, 3)):
        arrays = [draw(rng, dtype, (n, m)), draw(rng, dtype, (m,)), _classes(rng, n, m)]
        yield Sample(crossentropy_softmax_argmax_op, arrays, f"{n}x{m}", which=(0, 1))


_NUMBERS = tuple(d for d in dt.ALL if d != "bool")
declare(Declaration("pick", Pick.__doc__ or "", Pick, _pick_samples, 0, _NUMBERS))
declare(Declaration("place", Place.__doc__ or "", Place, _place_samples, 0, _NUMBERS))
declare(
    Declaration(
        "crossentropy_softmax_argmax",
        CrossentropySoftmaxArgmax1HotWithBias.__doc__ or "",
        CrossentropySoftmaxArgmax1HotWithBias,
        _fused_samples,
        8,
        dt.FLOATS,
    )
)
