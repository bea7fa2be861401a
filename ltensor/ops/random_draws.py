"""The distributions of `ltensor.ops.random`: NumPy's draw and the native call of each.

A `Method` knows how many parameters a distribution has, how NumPy's RandomState draws it
(Theano's recipe, see docs/theano.md) and which run-time kernel draws the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from ltensor.ir.build import constant_value

SHRINK = 1.0 - 5e-5
#: elements drawn at once into a small buffer when the result has another dtype
CHUNK = 2048

Shape = tuple[int, ...]


# ------------------------------------------------------------------------- NumPy's draws


def _integers(state: np.random.RandomState, shape: Shape, low: Any, high: Any) -> Any:
    low, high = np.broadcast_to(low, shape), np.broadcast_to(high, shape)
    out = np.empty(shape, "int64")
    for index in np.ndindex(*shape):
        out[index] = state.randint(low=int(low[index]), high=int(high[index]) + 1)
    return out


def _choice(state: np.random.RandomState, shape: Shape, a: Any, replace: Any, p: Any) -> Any:
    population = int(a) if np.ndim(a) == 0 else a
    return state.choice(population, shape, bool(replace), p if np.size(p) else None)


def _permutation(state: np.random.RandomState, shape: Shape, n: Any) -> Any:
    n = int(n)
    if n < 0:
        raise ValueError(f"permutation of a negative number of elements: {n}")
    out = np.empty((*shape, n), "int64")
    for index in np.ndindex(*shape):
        out[index] = state.permutation(n)
    return out


def _multinomial(state: np.random.RandomState, shape: Shape, n: Any, pvals: Any) -> Any:
    pvals = np.asarray(pvals)
    if pvals.dtype.kind != "f":
        pvals = pvals.astype("float64")
    k = pvals.shape[-1]
    n, pvals = np.broadcast_to(n, shape), np.broadcast_to(pvals, (*shape, k))
    out = np.empty((*shape, k), "int64")
    for index in np.ndindex(*shape):
        row = pvals[index]
        if k and (1.0 < float(np.sum(row)) < 1.0 + 1e-5 or float(row[-1]) < 5e-5):
            row = row * row.dtype.type(SHRINK)
        out[index] = state.multinomial(int(n[index]), row.astype("float64"))
    return out


# ------------------------------------------------------------------------- native parameters


@dataclass
class Parameter:
    """A parameter as the kernels take it: a buffer and a stride of 0 or 1."""

    view: Any
    stride: int

    def at(self, b: Any, first: Any) -> list[Any]:
        """Pointer and stride of the elements from ``first`` on."""
        pointer = b.shifted(self.view, first if self.stride else 0)
        return [pointer, b.const(self.stride)]


def dense_parameter(
    k: Any, position: int, dtype: str, dims: Sequence[Any], plus: int = 0, tail: int = 0
) -> Parameter:
    """Operand ``position`` in ``dtype``, stretched to ``dims`` unless it is one value.

    Parameters
    ----------
    plus : int
        Added to every element.
    tail : int
        How many of the last axes are those of one value (a row of probabilities) rather than of
        the draw; ``dims`` includes them.
    """
    b = k.b
    variable = k.node.inputs[position]
    pattern = variable.type.broadcastable
    if not tail and all(pattern):
        value = k.operand(position)
        if variable.type.ndim:
            value = b.load(value, [0] * variable.type.ndim)
        single = b.temporary(dtype, (b.const(1),))
        value = b.cast(value, dtype)
        b.store(single, (0,), b.add(value, plus) if plus else value)
        return Parameter(single, 0)
    source = k.operand(position)
    one_row = bool(tail) and all(pattern[: len(pattern) - tail])
    wanted = list(dims[len(dims) - tail :]) if one_row else list(dims)
    if one_row:
        lead: list[Any] = [b.const(0)] * (variable.type.ndim - tail)
        axes = range(len(lead), variable.type.ndim)
    else:
        lead, axes = [], range(variable.type.ndim)
    pad = len(wanted) - len(axes)
    stretches: list[Any] = []
    for place, axis in enumerate(axes):
        size, want = source.dims[axis], wanted[pad + place]
        if pattern[axis] and size is not want:
            stretches.append(True)
        elif k.block.same(size, want) or (tail and axis >= variable.type.ndim - tail):
            stretches.append(False)
        else:
            one = b.eq(size, 1)
            k.check(b.or_(one, b.eq(size, want)), "random_shape", (size, want), (axis,))
            stretches.append(one)
    exact = source.dense and source.dtype == dtype and not plus and not pad and not lead
    if exact and not any(s is not False for s in stretches):
        return Parameter(source, 0 if one_row else 1)
    target = b.temporary(dtype, wanted)
    with ExitStack() as stack:
        index = []
        for place, dim in enumerate(wanted):
            kind = "vector" if place == len(wanted) - 1 else "serial"
            index.append(stack.enter_context(b.loop(dim, kind=kind)).index)
        where = list(lead)
        for i, stretched in zip(index[pad:], stretches, strict=True):
            if stretched is True:
                where.append(b.const(0))
            else:
                where.append(i if stretched is False else b.select(stretched, 0, i))
        value = b.cast(b.load(source, where), dtype)
        b.store(target, index, b.add(value, plus) if plus else value)
    return Parameter(target, 0 if one_row else 1)


def one_value(k: Any, position: int, dtype: str) -> Any:
    """The scalar operand ``position`` in ``dtype``."""
    value = k.operand(position)
    rank = k.node.inputs[position].type.ndim
    return k.b.cast(k.b.load(value, [0] * rank) if rank else value, dtype)


# ------------------------------------------------------------------------- native draws

#: draws ``count`` elements from element ``first`` on into a buffer; gives the status
Native = Callable[[Any, Any, Any], Any]


def _elementwise(symbol: str, *parameters: tuple[str, int]) -> Callable[..., Native]:
    """The kernel of a distribution drawn element by element; parameters: dtype, what to add."""

    def prepare(k: Any, first: int, dims: Sequence[Any], state: Any) -> Native:
        b = k.b
        ready = [
            dense_parameter(k, first + number, dtype, dims, plus)
            for number, (dtype, plus) in enumerate(parameters)
        ]

        def draw(out: Any, start: Any, count: Any) -> Any:
            given = [word for p in ready for word in p.at(b, start)]
            return b.call(symbol, [state, out, count, *given], "int32")

        return draw

    return prepare


def _native_permutation(k: Any, first: int, dims: Sequence[Any], state: Any) -> Native:
    b = k.b

    def draw(out: Any, start: Any, count: Any) -> Any:
        rows = b.size(dims[:-1])
        return b.call("lt_rng_permutation", [state, out, rows, dims[-1]], "int32")

    return draw


def _native_multinomial(k: Any, first: int, dims: Sequence[Any], state: Any) -> Native:
    b = k.b
    rows = b.size(dims[:-1])
    trials = dense_parameter(k, first, "int64", dims[:-1])
    narrow = k.node.inputs[first + 1].type.dtype == "float32"
    source = dense_parameter(k, first + 1, "float32" if narrow else "float64", dims, tail=1)
    # a float16 row is left as it is: 1 - 5e-5 is 1 in float16
    if k.node.inputs[first + 1].type.dtype == "float16":
        ready = source
    else:
        given = rows if source.stride else b.const(1)
        ready = Parameter(b.temporary("float64", (given, dims[-1])), source.stride)
        symbol = "lt_rng_multinomial_pvals_" + ("f32" if narrow else "f64")
        status = b.call(
            symbol, [ready.view.pointer, b.shifted(source.view, 0), given, dims[-1]], "int32"
        )
        k.check(b.eq(status, 0), "random", (), ("multinomial", "sizes must not be negative"))

    def draw(out: Any, start: Any, count: Any) -> Any:
        words = [*trials.at(b, start), *ready.at(b, start), dims[-1]]
        return b.call("lt_rng_multinomial", [state, out, rows, *words], "int32")

    return draw


def _native_choice(k: Any, first: int, dims: Sequence[Any], state: Any) -> Native:
    b = k.b
    a, replace, p = k.node.inputs[first : first + 3]
    population = one_value(k, first, "int64") if a.type.ndim == 0 else k.operand(first).dims[0]
    known = constant_value(replace)
    replaces = (
        b.const(bool(known.any()), "bool")
        if known is not None
        else b.ne(one_value(k, first + 1, "int64"), 0)
    )
    weights = dense_parameter(k, first + 2, "float64", k.operand(first + 2).dims, tail=1)
    size = k.operand(first + 2).dims[0]
    unweighted = b.eq(size, 0)
    fits = b.or_(unweighted, b.eq(size, population))
    k.check(fits, "random_weights", (population, size))
    tolerance = np.sqrt(np.finfo("float64").eps)
    if p.type.dtype in ("float16", "float32"):
        tolerance = max(tolerance, float(np.sqrt(np.finfo(p.type.dtype).eps)))
    atol = b.const(float(tolerance), "float64")

    def draw(out: Any, start: Any, count: Any) -> Any:
        status = b.local("int32")
        even, loaded = [state, out, count, population], [state, out, count]
        loaded += [b.shifted(weights.view, 0), size, atol]

        def one(symbol: str, args: list[Any]) -> None:
            b.store(status, (), b.call(symbol, args, "int32"))

        def either(plain: str, weighted: str) -> None:
            _branch(b, unweighted, lambda: one(plain, even), lambda: one(weighted, loaded))

        _branch(
            b,
            replaces,
            lambda: either("lt_rng_choice_replace", "lt_rng_choice_p_within"),
            lambda: either("lt_rng_choice_noreplace", "lt_rng_choice_noreplace_p_within"),
        )
        return b.load(status, ())

    return draw


def _branch(b: Any, condition: Any, yes: Callable[[], None], no: Callable[[], None]) -> None:
    """One of two, decided while compiling if the condition is known."""
    if condition.op == "const":
        (yes if condition.attr else no)()
        return
    with b.if_(condition):
        yes()
    with b.else_():
        no()


# ------------------------------------------------------------------------- the table


@dataclass(frozen=True)
class Method:
    """One distribution.

    Attributes
    ----------
    shown : str
        Theano's name in ``RandomFunction{...}``.
    parameters : int
        How many.
    dtype : str
        What the kernel draws: float64 or int64.
    reference : callable
        ``reference(state, shape, *parameters)``.
    prepare : callable
        ``prepare(k, first, dims, state)`` gives the native draw.
    domain : str
        What the parameters must be.
    added : int
        Axes of one draw.
    whole : bool
        Whether all elements come of one call.
    """

    shown: str
    parameters: int
    dtype: str
    reference: Callable[..., Any]
    prepare: Callable[..., Native]
    domain: str
    added: int = 0
    whole: bool = False


_REAL, _INT = ("float64", 0), ("int64", 0)

METHODS: dict[str, Method] = {
    "uniform": Method(
        "uniform",
        2,
        "float64",
        lambda s, shape, low, high: s.uniform(low, high, shape),
        _elementwise("lt_rng_uniform", _REAL, _REAL),
        "high - low must be finite",
    ),
    "normal": Method(
        "normal",
        2,
        "float64",
        lambda s, shape, avg, std: s.normal(avg, std, shape),
        _elementwise("lt_rng_normal", _REAL, _REAL),
        "std must not be negative",
    ),
    "binomial": Method(
        "binomial",
        2,
        "int64",
        lambda s, shape, n, p: s.binomial(np.asarray(n).astype("int64"), p, shape),
        _elementwise("lt_rng_binomial", _INT, _REAL),
        "n must not be negative and p must lie in [0, 1]",
    ),
    "random_integers": Method(
        "random_integers_helper",
        2,
        "int64",
        _integers,
        _elementwise("lt_rng_randint", _INT, ("int64", 1)),
        "low must not exceed high",
    ),
    "poisson": Method(
        "poisson",
        1,
        "int64",
        lambda s, shape, lam: s.poisson(lam, shape),
        _elementwise("lt_rng_poisson", _REAL),
        "lam must not be negative, nor too large for int64",
    ),
    "choice": Method(
        "choice_helper",
        3,
        "int64",
        _choice,
        _native_choice,
        "a must be positive, p must be probabilities that sum to 1, and without replacement no "
        "more can be drawn than there are",
        whole=True,
    ),
    "permutation": Method(
        "permutation_helper",
        1,
        "int64",
        _permutation,
        _native_permutation,
        "n must not be negative",
        added=1,
        whole=True,
    ),
    "multinomial": Method(
        "multinomial_helper",
        2,
        "int64",
        _multinomial,
        _native_multinomial,
        "n must not be negative and pvals must be probabilities that sum to 1",
        added=1,
        whole=True,
    ),
}


def copy_state(state: np.random.RandomState) -> np.random.RandomState:
    """An independent stream in the same state."""
    fresh = np.random.RandomState(0)
    fresh.set_state(state.get_state())
    return fresh
