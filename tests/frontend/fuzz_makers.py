"""The operations of random graphs: each maker adds one to a `Fuzzer`, if it finds operands."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

import ltensor as theano
import ltensor.tensor as T
from ltensor.ifelse import ifelse

if TYPE_CHECKING:
    from fuzz_graphs import Fuzzer

DTYPES = ("float64", "float64", "float64", "float32", "int64", "int32", "int8", "uint8", "bool")


class Item:
    """A variable with its value; ``exact`` if no rounding is in it (comparisons may flip else)."""

    def __init__(self, variable: Any, value: np.ndarray, exact: bool) -> None:
        self.variable, self.value, self.exact = variable, value, exact

    @property
    def ndim(self) -> int:
        return int(self.variable.ndim)

    @property
    def dtype(self) -> str:
        return str(self.variable.dtype)

    @property
    def is_float(self) -> bool:
        return self.dtype.startswith("float")


class Refused(Exception):
    """There is no operand for this operation."""


Made = Any


def floats(f: Fuzzer) -> Item:
    return f.pick(lambda item: item.is_float)


def smooth(f: Fuzzer) -> Made:
    x = floats(f).variable
    function = f.choose(
        [
            T.tanh, T.nnet.sigmoid, T.sin, T.cos, T.sqr, T.nnet.softplus, T.erf, T.sinh,
            lambda v: T.exp(T.clip(v, -3, 3)), lambda v: T.log1p(abs(v)), lambda v: T.sqrt(abs(v)),
            lambda v: T.log(T.nnet.sigmoid(v)), lambda v: 1 / (1 + abs(v)), lambda v: v**2,
            lambda v: abs(v) ** 1.5, lambda v: T.expm1(T.clip(v, -2, 2)), T.nnet.relu, T.arctan,
        ]
    )  # fmt: skip
    return function(x), False


def exact_unary(f: Fuzzer) -> Made:
    x = f.pick(lambda item: item.dtype != "bool")
    function = f.choose([lambda v: -v, abs, T.sgn, lambda v: T.clip(v, -1, 1), lambda v: v + 1])
    return function(x.variable), x.exact


def rounding(f: Fuzzer) -> Made:
    x = f.pick(lambda item: item.is_float and item.exact)
    return f.choose([T.floor, T.ceil, T.trunc, T.iround])(x.variable), True


def casting(f: Fuzzer) -> Made:
    x = f.pick(lambda item: item.exact)
    return T.cast(x.variable, f.choose(DTYPES)), True


def partner(f: Fuzzer, x: Item, test: Callable[[Item], bool] = lambda item: True) -> Item:
    """Another operand whose shape fits by Theano's rules."""

    def fits(item: Item) -> bool:
        a, b = x.variable, item.variable
        pairs = zip(
            reversed(list(zip(x.value.shape, a.broadcastable, strict=True))),
            reversed(list(zip(item.value.shape, b.broadcastable, strict=True))),
            strict=False,
        )
        return test(item) and all(m == n or p or q for (m, p), (n, q) in pairs)

    return f.pick(fits)


def binary(f: Fuzzer) -> Made:
    x = f.pick()
    y = partner(f, x)
    a, b = x.variable, y.variable
    both_bool = x.dtype == y.dtype == "bool"
    if both_bool:
        return f.choose([lambda: a & b, lambda: a | b, lambda: a ^ b, lambda: T.eq(a, b)])(), True
    exact = x.exact and y.exact
    choices = [
        lambda: a + b,
        lambda: a - b,
        lambda: a * b,
        lambda: T.maximum(a, b),
        lambda: T.minimum(a, b),
    ]
    return f.choose(choices)(), exact and not (x.is_float or y.is_float)


def same_twice(f: Fuzzer) -> Made:
    x = f.pick(lambda item: item.dtype != "bool")
    v = x.variable
    return f.choose(
        [lambda: v + v, lambda: v * v, lambda: v - v, lambda: v * 0, lambda: v / 1]
    )(), False


def dividing(f: Fuzzer) -> Made:
    x = f.pick(lambda item: item.dtype != "bool")
    y = partner(f, x, lambda item: item.dtype != "bool")
    a, b = x.variable, abs(y.variable) + 1
    if not (x.is_float or y.is_float):
        return f.choose([lambda: a // b, lambda: a % b])(), True
    return a / b, False


def comparing(f: Fuzzer) -> Made:
    x = f.pick(lambda item: item.exact)
    y = partner(f, x, lambda item: item.exact)
    return f.choose([T.lt, T.le, T.gt, T.ge, T.eq, T.neq])(x.variable, y.variable), True


def choosing(f: Fuzzer) -> Made:
    x = f.pick()
    y = partner(f, x)
    c = partner(f, x, lambda item: item.dtype == "bool")
    try:
        return T.switch(c.variable, x.variable, y.variable), x.exact and y.exact
    except ValueError:
        # sizes that are known when the graph is built do not fit
        raise Refused from None


def axes_of(f: Fuzzer, x: Item) -> Any:
    if x.ndim == 0 or f.chance(0.25):
        return None
    if x.ndim > 1 and f.chance(0.3):
        return sorted(int(a) for a in f.rng.permutation(x.ndim)[: f.rng.integers(1, x.ndim + 1)])
    return int(f.rng.integers(-x.ndim, x.ndim))


def reducing(f: Fuzzer) -> Made:
    x = f.pick()
    axis, keep = axes_of(f, x), f.chance(0.3)
    exact = x.exact and not x.is_float
    if x.dtype == "bool":
        return f.choose([T.any, T.all, T.sum])(x.variable, axis=axis, keepdims=keep), True
    how = f.choose(["sum", "mean", "max", "min", "prod", "var"])
    if how in ("max", "min"):
        return getattr(T, how)(x.variable, axis=axis, keepdims=keep), x.exact
    if how == "prod" and x.is_float:
        return T.prod(T.tanh(x.variable), axis=axis, keepdims=keep), False
    if how in ("mean", "var") and x.value.size == 0:
        raise Refused
    return getattr(T, how)(x.variable, axis=axis, keepdims=keep), exact


def searching(f: Fuzzer) -> Made:
    x = f.pick(lambda item: item.exact and item.ndim > 0 and item.dtype != "bool")
    axis = int(f.rng.integers(x.ndim))
    return f.choose([T.argmax, T.argmin])(x.variable, axis=axis), True


def accumulating(f: Fuzzer) -> Made:
    x = f.pick(lambda item: item.ndim > 0 and item.dtype != "bool")
    axis = int(f.rng.integers(x.ndim))
    return T.cumsum(x.variable, axis=axis), x.exact and not x.is_float


def sorting(f: Fuzzer) -> Made:
    x = f.pick(lambda item: item.ndim > 0 and item.exact)
    return T.sort(x.variable, axis=int(f.rng.integers(x.ndim))), True


def shuffling(f: Fuzzer) -> Made:
    x = f.pick()
    order: list[Any] = [int(a) for a in f.rng.permutation(x.ndim)]
    for axis in range(x.ndim):
        if x.variable.broadcastable[axis] and f.chance(0.4):
            order.remove(axis)
    for _ in range(int(f.rng.integers(0, 3))):
        order.insert(int(f.rng.integers(len(order) + 1)), "x")
    if len(order) > 4:
        raise Refused
    return x.variable.dimshuffle(*order), x.exact


def reshaping(f: Fuzzer) -> Made:
    x = f.pick(lambda item: item.ndim > 0)
    v = x.variable
    how = int(f.rng.integers(4))
    if how == 0:
        return v.flatten(), x.exact
    if how == 1 and x.ndim > 1:
        return v.flatten(int(f.rng.integers(1, x.ndim))), x.exact
    if how == 2:
        return v.reshape([v.shape[int(a)] for a in f.rng.permutation(x.ndim)]), x.exact
    if x.value.size == 0:
        raise Refused
    last = int(f.choose([1, x.value.shape[-1]]))
    return v.reshape((-1, last)), x.exact


def joining(f: Fuzzer) -> Made:
    x = f.pick(lambda item: item.ndim > 0)
    axis = int(f.rng.integers(x.ndim))

    def fits(item: Item) -> bool:
        return item.ndim == x.ndim and all(
            m == n
            for k, (m, n) in enumerate(zip(item.value.shape, x.value.shape, strict=True))
            if k != axis
        )

    parts = [x, *(f.pick(fits) for _ in range(int(f.rng.integers(1, 3))))]
    return T.concatenate([p.variable for p in parts], axis=axis), all(p.exact for p in parts)


def stacking(f: Fuzzer) -> Made:
    x = f.pick(lambda item: item.ndim < 3)
    y = f.pick(lambda item: item.value.shape == x.value.shape)
    return T.stack([x.variable, y.variable], axis=int(f.rng.integers(x.ndim + 1))), (
        x.exact and y.exact
    )


def index_entry(f: Fuzzer, size: int) -> Any:
    """An int or a slice, of numbers or of symbolic scalars."""

    def number(low: int, high: int) -> Any:
        value = int(f.rng.integers(low, high))
        if f.chance(0.3):
            scalars = [
                i
                for i in f.pool
                if i.ndim == 0 and i.exact and i.dtype in ("int64", "int32", "int8")
            ]
            if scalars and f.chance(0.5):
                item = f.choose(scalars)
                return item.variable * 0 + value if f.chance(0.5) else item.variable
            return T.constant(np.asarray(value, "int64")) + 0
        return value

    if size and f.chance(0.3):
        return number(-size, size)
    bounds = [None if f.chance(0.4) else number(-size - 2, size + 3) for _ in range(2)]
    return slice(*bounds, f.choose([None, None, 1, 2, -1, -2, 3]))


def indexing(f: Fuzzer) -> Made:
    x = f.pick(lambda item: item.ndim > 0)
    count = int(f.rng.integers(1, x.ndim + 1))
    return x.variable[tuple(index_entry(f, x.value.shape[k]) for k in range(count))], x.exact


def changing(f: Fuzzer) -> Made:
    x = f.pick(lambda item: item.ndim > 0 and item.dtype != "bool")
    count = int(f.rng.integers(1, x.ndim + 1))
    entries = tuple(index_entry(f, x.value.shape[k]) for k in range(count))
    part = x.variable[entries]
    y = f.pick(lambda item: item.dtype == x.dtype and item.ndim <= part.ndim)
    function = f.choose([T.set_subtensor, T.inc_subtensor])
    try:
        return function(part, y.variable), False
    except ValueError:
        # a flagged dimension of the part, an unflagged one of the value
        raise Refused from None


def gathering(f: Fuzzer) -> Made:
    x = f.pick(lambda item: item.ndim > 0)
    axis = int(f.rng.integers(x.ndim))
    size = x.value.shape[axis]
    which = f.pick(lambda item: item.dtype in ("int64", "int32", "int8") and item.ndim in (1, 2))
    if size == 0 and which.value.size:
        raise Refused
    places = which.variable % max(size, 1)
    if f.chance(0.4):
        places = places - size
    how = int(f.rng.integers(3))
    if how == 0:
        return T.take(x.variable, places, axis=axis), x.exact
    index = (*(slice(None),) * axis, places)
    part = x.variable[index]
    if how == 1 or x.dtype == "bool":
        return part, x.exact
    return T.inc_subtensor(part, T.ones_like(part)), False


def masking(f: Fuzzer) -> Made:
    mask = f.pick(lambda item: item.dtype == "bool" and item.ndim > 0)
    x = f.pick(lambda item: item.value.shape == mask.value.shape)
    return x.variable[mask.variable], x.exact


def repeating(f: Fuzzer) -> Made:
    x = f.pick(lambda item: 0 < item.ndim < 3 and item.value.size < 200)
    how = int(f.rng.integers(3))
    if how == 0:
        return T.repeat(
            x.variable, int(f.rng.integers(0, 4)), axis=int(f.rng.integers(x.ndim))
        ), x.exact
    if how == 1:
        return T.tile(x.variable, tuple(int(n) for n in f.rng.integers(1, 3, x.ndim))), x.exact
    return T.roll(x.variable, int(f.rng.integers(-3, 4)), axis=int(f.rng.integers(x.ndim))), x.exact


def allocating(f: Fuzzer) -> Made:
    x = f.pick(lambda item: item.ndim < 3)
    other = f.pick(lambda item: item.ndim > 0)
    return T.alloc(x.variable, other.variable.shape[0], *x.variable.shape), x.exact


def multiplying(f: Fuzzer) -> Made:
    x = f.pick(lambda item: 0 < item.ndim < 4 and item.dtype != "bool")
    inner = x.value.shape[-1]

    def fits(item: Item) -> bool:
        if not 0 < item.ndim < 3 or item.dtype == "bool":
            return False
        return item.value.shape[0 if item.ndim == 1 else -2] == inner

    y = f.pick(fits)
    return T.dot(x.variable, y.variable), False


def outer(f: Fuzzer) -> Made:
    x, y = (f.pick(lambda item: item.ndim == 1 and item.dtype != "bool") for _ in range(2))
    return T.outer(x.variable, y.variable), False


def softmaxing(f: Fuzzer) -> Made:
    x = f.pick(lambda item: item.is_float and item.ndim == 2)
    return f.choose([T.nnet.softmax, T.nnet.logsoftmax])(x.variable), False


def shaping(f: Fuzzer) -> Made:
    x = f.pick(lambda item: item.ndim > 0)
    return f.choose(
        [
            lambda: x.variable.shape,
            lambda: x.variable.shape[0],
            lambda: T.arange(x.variable.shape[0]),
        ]
    )(), True


def branching(f: Fuzzer) -> Made:
    c = f.pick(lambda item: item.ndim == 0 and item.exact)
    x = f.pick()
    y = f.pick(lambda item: item.variable.type == x.variable.type)
    return ifelse(T.neq(c.variable, 0), x.variable, y.variable), x.exact and y.exact


def scanning(f: Fuzzer) -> Made:
    """A loop over rows with a state and another operand."""
    x = f.pick(lambda item: item.ndim > 0 and item.is_float)
    y = f.pick(lambda item: item.is_float and item.ndim <= x.ndim - 1)
    kind = int(f.rng.integers(5))
    twist = f.choose([T.tanh, T.nnet.sigmoid, lambda v: v * 0.5, T.sin])
    dtype = x.dtype
    weight = T.cast(y.variable, dtype)
    start = T.zeros_like(x.variable[0]) if x.value.shape[0] else None
    if start is None or weight.ndim > start.ndim:
        raise Refused

    def body(row: Any, state: Any, w: Any) -> Any:
        return T.cast(
            twist(row + state) + 0 * w.sum() if kind == 0 else twist(row * w.sum() + state), dtype
        )

    backwards = f.chance(0.3)
    if kind in (0, 1):
        result, _ = theano.scan(
            body, sequences=x.variable, outputs_info=start, non_sequences=weight,
            go_backwards=backwards,
        )  # fmt: skip
    elif kind == 2:
        result, _ = theano.scan(
            lambda row, w: T.cast(twist(row).sum() + w.sum(), dtype), sequences=x.variable,
            non_sequences=weight, go_backwards=backwards,
        )  # fmt: skip
    elif kind == 3:
        init = T.stack([start, start + 1])
        result, _ = theano.scan(
            lambda row, a, b: T.cast(twist(a - b) + row, dtype), sequences=x.variable,
            outputs_info=dict(initial=init, taps=[-1, -2]),
        )  # fmt: skip
    else:
        results, _ = theano.scan(
            lambda row, a, b: [T.cast(b + row, dtype), T.cast(twist(a), dtype)],
            sequences=x.variable, outputs_info=[start, start],
        )  # fmt: skip
        result = results[int(f.rng.integers(2))]
    if f.chance(0.4):
        result = result[-1]
    return result, False


def differentiating(f: Fuzzer) -> Made:
    x = floats(f)
    wrt = f.pick(lambda item: item.is_float and item.variable in f.inputs)
    cost = (x.variable * f.choose([1.0, 0.5])).sum()
    return T.grad(cost, wrt.variable, disconnected_inputs="ignore"), False


MAKERS: list[Callable[[Fuzzer], Made]] = [
    smooth, smooth, smooth, exact_unary, rounding, casting, binary, binary, binary, same_twice,
    dividing, comparing, choosing, choosing, reducing, reducing, reducing, searching, accumulating,
    sorting, shuffling, shuffling, reshaping, joining, stacking, indexing, indexing, changing,
    gathering, masking, repeating, allocating, multiplying, outer, softmaxing, shaping, branching,
    scanning, scanning, differentiating,
]  # fmt: skip
