"""Random graphs: the compiled function against the ops' NumPy definitions.

A program as well: ``python tests/frontend/fuzz_graphs.py FIRST COUNT`` runs the seeds from FIRST
and prints each before it is tried, so that a crash names its seed. ``--show SEED`` prints a graph.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import ltensor as theano
import ltensor.tensor as T
from ltensor.ifelse import ifelse
from ltensor.testing import reference

SIZES = (0, 1, 1, 2, 3, 4, 5, 8, 9, 17, 33)
DTYPES = ("float64", "float64", "float64", "float32", "int64", "int32", "int8", "uint8", "bool")
#: values beyond this are not used further: differences would only be those of rounding
LARGEST = 1e4


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


class Fuzzer:
    """Grows one random graph.

    Attributes
    ----------
    inputs, values : list
        The input variables and what they are called with, in awkward layouts.
    pool : list of Item
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.inputs: list[Any] = []
        self.values: list[np.ndarray] = []
        self.pool: list[Item] = []
        self.trail: list[str] = []
        self.sizes = [int(s) for s in self.rng.choice(SIZES, 3)]
        for number in range(int(self.rng.integers(2, 5))):
            self.add_input(number)

    # ------------------------------------------------------------- choices

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def choose(self, things: Any) -> Any:
        return things[int(self.rng.integers(len(things)))]

    def pick(self, test: Callable[[Item], bool] = lambda item: True) -> Item:
        """A variable of the pool, late ones more often."""
        found = [item for item in self.pool if test(item)]
        if not found:
            raise Refused
        return found[min(len(found) - 1, int(len(found) * self.rng.random() ** 0.6))]

    # ------------------------------------------------------------- inputs

    def add_input(self, number: int) -> None:
        """An input of random dtype, rank, sizes and memory layout."""
        dtype = self.choose(DTYPES)
        rank = self.choose((0, 1, 1, 2, 2, 2, 3))
        shape = tuple(int(self.choose([*self.sizes, 1])) for _ in range(rank))
        flags = [size == 1 and self.chance(0.7) for size in shape]
        variable = T.TensorType(dtype, flags)(f"x{number}")
        self.inputs.append(variable)
        value = self.awkward(self.draw(dtype, shape))
        self.values.append(value)
        self.pool.append(Item(variable, value, True))

    def draw(self, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        rng = self.rng
        if dtype == "bool":
            return np.asarray(rng.random(shape) < 0.5)
        if dtype.startswith("float"):
            # quarters: sums and products of a few are exact
            return np.asarray(rng.integers(-8, 9, shape) / 4.0).astype(dtype)
        low = 0 if dtype.startswith("u") else -5
        return np.asarray(rng.integers(low, 6, shape)).astype(dtype)

    def awkward(self, array: np.ndarray) -> np.ndarray:
        """The same values in another layout."""
        how = int(self.rng.integers(6))
        if array.ndim == 0 or how == 0:
            return array
        if how == 1:
            return np.asfortranarray(array)
        if how == 2:
            return np.ascontiguousarray(array[::-1])[::-1]
        if how == 3:
            wide = np.repeat(array, 2, axis=-1)
            return wide[..., ::2]
        if how == 4:
            raw = np.empty(array.nbytes + 1, np.uint8)[1:]
            odd = raw.view(array.dtype).reshape(array.shape)
            odd[...] = array
            return odd
        return array

    # ------------------------------------------------------------- growing

    def step(self) -> None:
        """Add one random operation, if it applies."""
        make = self.choose(MAKERS)
        try:
            made = make(self)
        except Refused:
            return
        for variable, exact in made if isinstance(made, list) else [made]:
            self.admit(variable, exact, make.__name__)

    def admit(self, variable: Any, exact: bool, name: str) -> None:
        """Enter a variable if its value is one that says something."""
        if variable.ndim > 4:
            return
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                (value,) = reference(self.inputs, [variable], self.values)
        except (ValueError, IndexError, ZeroDivisionError, AssertionError):
            # shapes that do not fit: the compiled function must refuse them too
            self.refused.append(variable)
            return
        value = np.asarray(value)
        if value.size > 20000:
            return
        if value.size and value.dtype.kind in "iuf":
            with np.errstate(all="ignore"):
                if not (np.abs(value.astype(float)) <= LARGEST).all():
                    return
        self.trail.append(name)
        self.pool.append(Item(variable, value, exact))

    refused: list[Any] = []

    def grow(self) -> None:
        """A whole graph."""
        self.refused = []
        for _ in range(int(self.rng.integers(3, 16))):
            self.step()

    def outputs(self) -> list[Item]:
        """Some of the last variables."""
        made = self.pool[len(self.inputs) :]
        if not made:
            return self.pool[:1]
        chosen = [made[-1]]
        for _ in range(int(self.rng.integers(0, 3))):
            chosen.append(self.choose(made))
        return chosen


class Refused(Exception):
    """There is no operand for this operation."""


# ------------------------------------------------------------------------------- operations

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
    return T.switch(c.variable, x.variable, y.variable), x.exact and y.exact


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


# ------------------------------------------------------------------------------- comparing


def compare(got: np.ndarray, item: Item, place: str) -> None:
    """Dtype, shape and values, with room for roundings that add up."""
    want = item.value
    assert got.dtype == want.dtype, f"{place}: dtype {got.dtype}, expected {want.dtype}"
    assert got.shape == want.shape, f"{place}: shape {got.shape}, expected {want.shape}"
    if want.dtype.kind != "f":
        assert (got == want).all(), f"{place}: {got} != {want}"
        return
    tolerance = 2e-3 if narrow(item) else 1e-7
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance, err_msg=place)


def narrow(item: Item) -> bool:
    """Whether single precision took part."""
    from ltensor.ir.graph import ancestors

    return any(getattr(v.type, "dtype", "") == "float32" for v in ancestors([item.variable]))


def run_seed(seed: int) -> Fuzzer:
    """Build, compile and compare one graph.

    Raises
    ------
    AssertionError
        If the compiled function gives anything else than the reference.
    """
    f = Fuzzer(seed)
    f.grow()
    chosen = f.outputs()
    mode = "FAST_COMPILE" if f.chance(0.2) else None
    arrays = [v.copy() for v in f.values]
    compiled = theano.function(
        f.inputs, [c.variable for c in chosen], mode=mode, on_unused_input="ignore"
    )
    for again in range(2):
        got = compiled(*f.values)
        for number, (result, item) in enumerate(zip(got, chosen, strict=True)):
            compare(result, item, f"seed {seed}, output {number}, call {again}")
    for before, after in zip(arrays, f.values, strict=True):
        assert (before == after).all(), f"seed {seed}: an argument was written to"
    if f.refused:
        refuse(f, seed)
    return f


def refuse(f: Fuzzer, seed: int) -> None:
    """What the reference refuses the compiled function refuses, or it has simplified it away."""
    compiled = theano.function(f.inputs, f.refused[:1], on_unused_input="ignore")
    try:
        compiled(*f.values)
    except (ValueError, IndexError, ZeroDivisionError, AssertionError) as error:
        if type(error) is AssertionError and not str(error):
            raise


def main(arguments: list[str]) -> int:
    """Run the seeds and report failures; the exit status says whether there were any."""
    warnings.simplefilter("ignore")
    if arguments[0] == "--show":
        f = Fuzzer(int(arguments[1]))
        f.grow()
        for variable, value in zip(f.inputs, f.values, strict=True):
            print(variable, variable.type, value.shape, value.strides, value)
        chosen = f.outputs()
        print(theano.printing.debugprint([c.variable for c in chosen], file="str"))
        return 0
    first, count = int(arguments[0]), int(arguments[1])
    failed = 0
    for seed in range(first, first + count):
        print("seed", seed, flush=True)
        try:
            run_seed(seed)
        except Exception as error:
            failed += 1
            last = traceback.extract_tb(error.__traceback__)[-1]
            text = str(error).strip().replace("\n", " | ")[:600]
            print(f"FAILED {seed}: {type(error).__name__} ({last.filename}:{last.lineno}) {text}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
