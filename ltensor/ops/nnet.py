"""``theano.tensor.nnet``: activations and normalization; softmax and losses re-exported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ltensor.config import config
from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor, constant
from ltensor.ir.graph import Variable
from ltensor.ops.arithmetic import abs_, add, clip, inv, mul, sub, switch, true_div
from ltensor.ops.cast import cast
from ltensor.ops.compare import eq, gt, lt
from ltensor.ops.crossentropy import (
    CrossentropySoftmaxArgmax1HotWithBias,
    binary_crossentropy,
    categorical_crossentropy,
    crossentropy_categorical_1hot,
    crossentropy_softmax_1hot,
    crossentropy_softmax_1hot_with_bias,
    crossentropy_softmax_argmax_1hot_with_bias,
    crossentropy_softmax_max_and_argmax_1hot,
    crossentropy_softmax_max_and_argmax_1hot_with_bias,
    sigmoid_binary_crossentropy,
)
from ltensor.ops.elementwise import elementwise, real_float_like
from ltensor.ops.moments import mean, var
from ltensor.ops.shape import dimshuffle, set_flags, shape_i
from ltensor.ops.softmax import (
    LogSoftmax,
    Softmax,
    SoftmaxGrad,
    logsoftmax,
    logsoftmax_op,
    logsumexp,
    softmax,
    softmax_grad_op,
    softmax_op,
    softmax_with_bias,
)
from ltensor.ops.transcendental import expm1, sigmoid, softplus, sqrt

__all__ = [
    "CrossentropySoftmaxArgmax1HotWithBias",
    "LogSoftmax",
    "Softmax",
    "SoftmaxGrad",
    "batch_normalization",
    "batch_normalization_test",
    "batch_normalization_train",
    "binary_crossentropy",
    "categorical_crossentropy",
    "confusion_matrix",
    "crossentropy_categorical_1hot",
    "crossentropy_softmax_1hot",
    "crossentropy_softmax_1hot_with_bias",
    "crossentropy_softmax_argmax_1hot_with_bias",
    "crossentropy_softmax_max_and_argmax_1hot",
    "crossentropy_softmax_max_and_argmax_1hot_with_bias",
    "elu",
    "h_softmax",
    "hard_sigmoid",
    "logsoftmax",
    "logsoftmax_op",
    "logsumexp",
    "relu",
    "selu",
    "sigmoid",
    "sigmoid_binary_crossentropy",
    "softmax",
    "softmax_grad_op",
    "softmax_op",
    "softmax_with_bias",
    "softplus",
    "softsign",
    "ultra_fast_sigmoid",
]

_REAL = tuple(d for d in dt.ALL if not dt.is_complex(d))

# ------------------------------------------------------------------------------ activations


def relu(x: Any, alpha: Any = 0) -> Variable:
    """max(x, alpha x) for alpha <= 1; the derivative at 0 is the mean of both sides."""
    x = as_tensor(x)
    if isinstance(alpha, (int, float)) and alpha == 0:
        return mul(0.5, add(x, abs_(x)))
    alpha = as_tensor(alpha)
    rising, folded = mul(0.5, add(1, alpha)), mul(0.5, sub(1, alpha))
    return add(mul(rising, x), mul(folded, abs_(x)))


def elu(x: Any, alpha: Any = 1) -> Variable:
    """x where it is positive, else alpha (exp(x) - 1)."""
    x = as_tensor(x)
    return switch(gt(x, 0), x, mul(alpha, expm1(x)))


#: fixed point of mean 0 and variance 1 (Klambauer et al., 2017)
_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


def selu(x: Any) -> Variable:
    """Scaled `elu` that keeps mean 0 and variance 1."""
    return mul(_SELU_SCALE, elu(x, _SELU_ALPHA))


def softsign(x: Any) -> Variable:
    """x / (1 + abs(x))."""
    x = as_tensor(x)
    return true_div(x, add(1.0, abs_(x)))


def hard_sigmoid(x: Any) -> Variable:
    """0.2 x + 0.5 cut to [0, 1]."""
    x = as_tensor(x)
    dtype = dt.upgrade_to_float(x.type.dtype)
    slope, shift = (np.asarray(v, dtype=dtype) for v in (0.2, 0.5))
    return clip(add(mul(x, slope), shift), 0, 1)


# tanh(h) for h >= 0 as the op `ultra_fast_sigmoid` takes it: 1.5 h / (1 + h) up to the first
# bend, a line up to the second, then a constant.
_BENDS = (1.7, 3.0)
_LINE = (0.935409070603099, 0.0458812946797165)
_TOP = 0.99505475368673


def _fast_sigmoid_ref(x: np.ndarray) -> np.ndarray:
    number = x.dtype.type
    half = np.abs(x) * number(0.5)
    line = number(_LINE[0]) + number(_LINE[1]) * (half - number(_BENDS[0]))
    z = np.where(half < _BENDS[1], line, number(_TOP))
    z = np.where(half < _BENDS[0], number(1.5) * half / (1 + half), z)
    return number(0.5) * (np.copysign(z, x) + 1)


def _fast_sigmoid_emit(e: Any, x: Any) -> Any:
    def number(value: float) -> Any:
        return e.const(value, x.dtype)

    half = e.mul(e.abs(x), number(0.5))
    line = e.add(number(_LINE[0]), e.mul(number(_LINE[1]), e.sub(half, number(_BENDS[0]))))
    curve = e.div(e.mul(number(1.5), half), e.add(half, number(1)))
    z = e.select(e.lt(half, number(_BENDS[1])), line, number(_TOP))
    z = e.select(e.lt(half, number(_BENDS[0])), curve, z)
    return e.mul(number(0.5), e.add(e.copysign(z, x), number(1)))


def _fast_sigmoid_vjp(x: list[Variable], y: Variable, g: Variable) -> list[Any]:
    dtype = y.type.dtype

    def number(value: float) -> np.ndarray:
        return np.asarray(value, dtype=dtype)

    half = mul(abs_(cast(x[0], dtype)), number(0.5))
    below = add(half, number(1))
    slope = true_div(number(1.5), mul(below, below))
    flat = switch(lt(half, number(_BENDS[1])), number(_LINE[1]), number(0))
    return [mul(g, mul(number(0.25), switch(lt(half, number(_BENDS[0])), slope, flat)))]


ultra_fast_sigmoid = elementwise(
    "ultra_fast_sigmoid",
    doc="An approximation of sigmoid by pieces of a hyperbola, a line and a constant.",
    types=real_float_like,
    ref=_fast_sigmoid_ref,
    emit=_fast_sigmoid_emit,
    vjp=_fast_sigmoid_vjp,
    cost=12,
    dtypes=_REAL,
    display="ultra_fast_sigmoid",
)

# ---------------------------------------------------------------------------- normalization


def batch_normalization(
    inputs: Any, gamma: Any, beta: Any, mean: Any, std: Any, mode: str = "low_mem"
) -> Variable:
    """``(inputs - mean) * (gamma / std) + beta``.

    Raises
    ------
    ValueError
        If ``mode`` is neither ``'low_mem'`` nor ``'high_mem'`` (both give the same here).
    """
    if mode not in ("low_mem", "high_mem"):
        raise ValueError(f"mode must be either 'low_mem' or 'high_mem', not {mode!r}")
    return add(mul(sub(inputs, mean), true_div(gamma, std)), beta)


def _normalization_axes(axes: Any, ndim: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes normalized over, and the others."""
    if axes == "per-activation":
        axes = (0,)
    elif axes == "spatial":
        axes = (0, *range(2, ndim))
    elif isinstance(axes, (tuple, list, np.ndarray)):
        axes = tuple(sorted(int(a) for a in axes))
    else:
        raise ValueError(f"invalid axes: {axes}")
    if len(axes) == 0 or min(axes) < 0 or max(axes) >= ndim or len(set(axes)) != len(axes):
        raise ValueError(f"there should be at least one normalization axis, each once: {axes}")
    return axes, tuple(k for k in range(ndim) if k not in axes)


class _Parameters:
    """Brings gamma, beta and statistics to the rank of the inputs, and back."""

    def __init__(self, inputs: Variable, given: Sequence[Variable], axes: Any) -> None:
        self.ndim = inputs.type.ndim
        self.axes, self.kept = _normalization_axes(axes, self.ndim)
        ranks = {v.type.ndim for v in given}
        self.full = ranks == {self.ndim}
        if not self.full and ranks != {len(self.kept)}:
            raise ValueError(
                f"the parameters must have {self.ndim} or {len(self.kept)} dimensions, "
                f"not {sorted(ranks)}"
            )

    def spread(self, v: Variable) -> Variable:
        """Broadcastable along the normalized axes."""
        if self.full:
            pattern = [flag or k in self.axes for k, flag in enumerate(v.type.broadcastable)]
            return set_flags(v, pattern)
        order: list[Any] = ["x"] * self.ndim
        for position, axis in enumerate(self.kept):
            order[axis] = position
        return dimshuffle(v, order)

    def back(self, v: Variable) -> Variable:
        """In the rank in which the parameters came."""
        return v if self.full else dimshuffle(v, self.kept)


def _epsilon(value: Any) -> Variable:
    if np.array(value, dtype=str(config.floatX)) < 1e-5:
        raise ValueError(f"epsilon must be at least 1e-5 (got {value})")
    return as_tensor(value)


def batch_normalization_train(
    inputs: Any,
    gamma: Any,
    beta: Any,
    axes: Any = "per-activation",
    epsilon: Any = 1e-4,
    running_average_factor: Any = 0.1,
    running_mean: Any = None,
    running_var: Any = None,
) -> tuple[Variable, ...]:
    """Normalize by the statistics of the batch.

    Returns
    -------
    tuple
        Result, mean, 1 / standard deviation; then the new running mean and variance of those that
        were given.
    """
    inputs, gamma, beta = (as_tensor(v) for v in (inputs, gamma, beta))
    running = [None if v is None else as_tensor(v) for v in (running_mean, running_var)]
    given = [gamma, beta, *(v for v in running if v is not None)]
    frame = _Parameters(inputs, given, axes)
    offset = _epsilon(epsilon)
    average = mean(inputs, axis=frame.axes, keepdims=True)
    spread = var(inputs, axis=frame.axes, keepdims=True)
    inverse = inv(sqrt(add(spread, cast(offset, spread.type.dtype))))
    normal = mul(sub(inputs, average), mul(frame.spread(gamma), inverse))
    results = [add(normal, frame.spread(beta)), frame.back(average), frame.back(inverse)]
    factor = as_tensor(running_average_factor)
    if running[0] is not None:
        results.append(_running(running[0], frame.back(average), factor))
    if running[1] is not None:
        count: Any = constant(1, dtype="int64")
        for axis in frame.axes:
            count = mul(count, shape_i(inputs, axis))
        m = cast(count, str(config.floatX))
        # the unbiased estimate
        unbiased = mul(true_div(m, sub(m, constant(1, dtype="int8"))), spread)
        results.append(_running(running[1], frame.back(unbiased), factor))
    return tuple(results)


def _running(old: Variable, new: Variable, factor: Variable) -> Variable:
    """The exponential average in the type of ``old``, so that a shared variable takes it."""
    joined = add(mul(old, sub(1.0, factor)), mul(new, factor))
    if joined.type.dtype != old.type.dtype:
        joined = cast(joined, old.type.dtype)
    return set_flags(joined, old.type.broadcastable)


def batch_normalization_test(
    inputs: Any,
    gamma: Any,
    beta: Any,
    mean: Any,
    var: Any,
    axes: Any = "per-activation",
    epsilon: Any = 1e-4,
) -> Variable:
    """Normalize by given statistics."""
    inputs, *params = (as_tensor(v) for v in (inputs, gamma, beta, mean, var))
    frame = _Parameters(inputs, params, axes)
    offset = _epsilon(epsilon)
    scale, shift, average, spread = (frame.spread(v) for v in params)
    deviation = sqrt(add(spread, cast(offset, spread.type.dtype)))
    return add(true_div(mul(sub(inputs, average), scale), deviation), shift)


# ------------------------------------------------------------------------------------ others


def confusion_matrix(actual: Any, pred: Any) -> list[Variable]:
    """How often each actual class was predicted as each class, and the sorted classes.

    Raises
    ------
    ValueError
        If an argument is no vector.
    """
    from ltensor.ops.join import concatenate
    from ltensor.ops.linalg import dot
    from ltensor.ops.sort import unique

    actual, pred = as_tensor(actual), as_tensor(pred)
    for name, v in (("actual", actual), ("pred", pred)):
        if v.type.ndim != 1:
            raise ValueError(f"{name} must be 1-d tensor variable")
    order = unique(concatenate([actual, pred]))
    hot = [cast(eq(dimshuffle(v, (0, "x")), order), "int64") for v in (actual, pred)]
    return [dot(dimshuffle(hot[0], (1, 0)), hot[1]), order]


def h_softmax(
    x: Any,
    batch_size: Any,
    n_outputs: Any,
    n_classes: Any,
    n_outputs_per_class: Any,
    W1: Any,
    b1: Any,
    W2: Any,
    b2: Any,
    target: Any = None,
) -> Variable:
    """Two-level softmax: probabilities of the targets, or of all outputs without ``target``.

    Parameters
    ----------
    x : (batch_size, features)
    W1 : (features, n_classes), b1 : (n_classes,)
        The first level.
    W2 : (n_classes, features, n_outputs_per_class), b2 : (n_classes, n_outputs_per_class)
        The second level.
    target : int vector, optional
    """
    from ltensor.ops.indexing import getitem
    from ltensor.ops.linalg import dot
    from ltensor.ops.reduce import sum as reduce_sum
    from ltensor.ops.shape import reshape

    def size(a: Any, b: Any) -> Variable:
        # Python numbers are int8 constants, in which a product would wrap
        return mul(cast(a, "int64"), cast(b, "int64"))

    x, W1, b1, W2, b2 = (as_tensor(v) for v in (x, W1, b1, W2, b2))
    first = softmax(add(dot(x, W1), b1))
    if target is None:
        # (classes, batch, outputs of a class)
        features = shape_i(W2, 1)
        turned = reshape(
            dimshuffle(W2, (1, 0, 2)), [features, size(n_classes, n_outputs_per_class)], ndim=2
        )
        scores = reshape(dot(x, turned), [batch_size, n_classes, n_outputs_per_class], ndim=3)
        scores = add(scores, dimshuffle(b2, ("x", 0, 1)))
        rows = reshape(scores, [size(batch_size, n_classes), n_outputs_per_class], ndim=2)
        second = reshape(softmax(rows), [batch_size, n_classes, n_outputs_per_class], ndim=3)
        joint = reshape(mul(second, dimshuffle(first, (0, 1, "x"))), [batch_size, -1], ndim=2)
        return getitem(joint, (slice(None), slice(None, n_outputs)))
    from ltensor.ops.arithmetic import int_div, mod
    from ltensor.ops.crossentropy import pick_op

    target = reshape(as_tensor(target), [-1], ndim=1)
    group, member = int_div(target, n_outputs_per_class), mod(target, n_outputs_per_class)
    weights, bias = getitem(W2, group), getitem(b2, group)
    scores = add(reduce_sum(mul(dimshuffle(x, (0, 1, "x")), weights), axis=1), bias)
    return mul(pick_op(first, group), pick_op(softmax(scores), member))
