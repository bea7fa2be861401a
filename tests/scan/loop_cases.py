"""The product of scan cases: how each is written symbolically, and as a plain NumPy loop.

A *structure* is what is compiled (taps, what is read of the result, dtype, ...); the number of
steps and the place where ``until`` ends the loop are arguments of the compiled function.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

import ltensor as theano
import ltensor.tensor as T

Array = np.ndarray[Any, Any]

STEPS = (0, 1, 2, 7, 1000)
STOPS = ("none", "first", "middle", "never")
#: name -> (taps of the state, taps of the sequence)
TAPS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "-1": ((-1,), (0,)),
    "-2": ((-2,), (0,)),
    "-3&-1": ((-3, -1), (0,)),
    "-5,-2,-1": ((-5, -2, -1), (0,)),
    "seq+1,0,-4": ((), (1, 0, -4)),
    "seq+1,0,-4&-1": ((-1,), (1, 0, -4)),
}
READS = ("all", "last", "[1:][-1]", "[::2]", "[-3:]", "unused")
WAYS = ("forwards", "backwards")
MODES = ("none", "fast_run")
DTYPES = ("float32", "float64", "int64", "bool")
RANKS = (0, 1)
BOUNDS = ("n_steps", "sequence")

WIDTH = 3
COEFFICIENTS = (0.7, -0.4, 0.3)


class Structure(NamedTuple):
    """What is compiled."""

    until: bool
    taps: str
    read: str
    way: str
    mode: str
    dtype: str
    rank: int
    bound: str


class Case(NamedTuple):
    """A structure and the numbers it is run with."""

    steps: int
    stop: str
    taps: str
    read: str
    way: str
    mode: str
    dtype: str
    rank: int
    bound: str

    @property
    def structure(self) -> Structure:
        return Structure(self.stop != "none", *self[2:])

    @property
    def label(self) -> str:
        """An id of a test."""
        return "-".join(str(v) for v in self)


FACTORS: tuple[tuple[Any, ...], ...] = (
    STEPS, STOPS, tuple(TAPS), READS, WAYS, MODES, DTYPES, RANKS, BOUNDS,
)  # fmt: skip


def covering(factors: Sequence[Sequence[Any]], strength: int, seed: int = 0) -> list[Any]:
    """Rows such that every combination of values of any ``strength`` factors is in one of them.

    Greedy: each row starts from a combination that is missing and takes, factor by factor, the
    value that covers most of the missing ones.
    """
    draw = random.Random(seed)
    count = len(factors)
    groups = list(itertools.combinations(range(count), strength))
    missing = {
        (group, values)
        for group in groups
        for values in itertools.product(*(range(len(factors[k])) for k in group))
    }
    order = sorted(missing)
    draw.shuffle(order)
    rows = []
    for start in order:
        if start not in missing:
            continue
        row = dict(zip(*start, strict=True))
        free = [k for k in range(count) if k not in row]
        draw.shuffle(free)
        for k in free:
            best, gain = 0, -1
            choices = list(range(len(factors[k])))
            draw.shuffle(choices)
            for choice in choices:
                row[k] = choice
                new = sum(
                    (group, tuple(row[g] for g in group)) in missing
                    for group in groups
                    if k in group and all(g in row for g in group)
                )
                if new > gain:
                    best, gain = choice, new
            row[k] = best
        for group in groups:
            missing.discard((group, tuple(row[g] for g in group)))
        rows.append(tuple(factors[k][row[k]] for k in range(count)))
    return rows


def structures() -> Iterator[Structure]:
    """All of them."""
    for values in itertools.product((False, True), TAPS, READS, WAYS, MODES, DTYPES, RANKS, BOUNDS):
        yield Structure(*values)


def cases_of(structure: Structure) -> Iterator[Case]:
    """Every number of steps and place to stop of a structure."""
    for steps in STEPS:
        for stop in STOPS[1:] if structure.until else STOPS[:1]:
            yield Case(steps, stop, *structure[1:])


# ----------------------------------------------------------------------------- the arguments


class Arguments(NamedTuple):
    """What a compiled case is called with."""

    x: Array
    flags: Array
    initial: Array
    w: Array
    steps: int


def stop_step(case: Case) -> int:
    """The step (from 0) whose condition is true; beyond the end for none."""
    return {"first": 0, "middle": case.steps // 2}.get(case.stop, 10**6)


def arguments(case: Case) -> Arguments:
    """Numbers for a case, always the same ones."""
    state_taps, seq_taps = TAPS[case.taps]
    draw = np.random.RandomState(hash((case.steps, case.rank, len(case.taps))) % 2**31)
    spare = 2 if case.bound == "n_steps" else 0
    margin = max(0, *seq_taps) - min(0, *seq_taps)
    row = (WIDTH,) * case.rank
    depth = -min(state_taps) if state_taps else 1

    def numbers(shape: tuple[int, ...]) -> Array:
        values = draw.uniform(-1, 1, shape)
        if case.dtype == "bool":
            return values > 0
        if case.dtype == "int64":
            return np.floor(values * 20).astype("int64")
        return values.astype(case.dtype)

    x = numbers((case.steps + margin + spare, *row))
    flags = np.zeros(case.steps + spare, dtype="int8")
    at = stop_step(case)
    if at < case.steps:
        flags[-1 - at if case.way == "backwards" else at] = 1
    initial = numbers((depth, *row))
    if state_taps in ((), (-1,)):
        initial = initial[0]
    return Arguments(x, flags, initial, numbers(()), case.steps)


# ----------------------------------------------------------------------------- the NumPy loop


def combine(dtype: str, taps: Sequence[Any], rows: Sequence[Any], w: Any, tanh: Any) -> Any:
    """The step: works on symbols and on numbers."""
    if dtype == "bool":
        total = rows[0] & w if len(rows) == 1 else rows[0] ^ (rows[1] & rows[-1])
        for tap in taps:
            total = total ^ tap
        return total ^ w
    if dtype == "int64":
        total = rows[0] * 3 + w
        for k, row in enumerate(rows[1:]):
            total = total - row * (k + 2)
        for k, tap in enumerate(taps):
            total = total + tap * (2 - 3 * k)
        return total
    total = rows[0] * w
    for k, row in enumerate(rows[1:]):
        total = total + rows[0] * row * np.asarray(0.5 - k, dtype=dtype)
    for k, tap in enumerate(taps):
        total = total + tap * np.asarray(COEFFICIENTS[k], dtype=dtype)
    return tanh(total)


def observe(dtype: str, value: Any, row: Any) -> Any:
    """The second output, a map."""
    if dtype == "bool":
        return value ^ row
    return value * row if dtype == "int64" else value * row + value


def read(how: str, rows: Array) -> Array:
    """What a case reads of a result of at least one row."""
    return {
        "all": lambda: rows,
        "last": lambda: rows[-1],
        "[1:][-1]": lambda: rows[1:][-1],
        "[::2]": lambda: rows[::2],
        "[-3:]": lambda: rows[-3:],
        "unused": lambda: rows,
    }[how]()


def plain_loop(case: Case, args: Arguments) -> tuple[Array, Array]:
    """All rows of both results, by the plainest loop (complex numbers pass)."""
    with np.errstate(over="ignore"):
        return _plain_loop(case, args)


def _plain_loop(case: Case, args: Arguments) -> tuple[Array, Array]:
    state_taps, seq_taps = TAPS[case.taps]
    low, high = min(0, *seq_taps), max(0, *seq_taps)
    row = args.x.shape[1:]
    dtype = np.result_type(args.x, args.initial, args.w)
    history = list(args.initial if args.initial.ndim > len(row) else args.initial[None])
    first = len(history)
    seen = []
    length = len(args.x) - (high - low)
    for step in range(args.steps):
        at = length - 1 - step if case.way == "backwards" else step
        rows = [args.x[at - low + tap] for tap in seq_taps]
        taps = [history[tap] for tap in state_taps]
        value = combine(case.dtype, taps, rows, args.w, np.tanh)
        history.append(value)
        seen.append(observe(case.dtype, value, rows[0]))
        if step == stop_step(case):
            break
    empty = np.empty((0, *row), dtype=dtype)
    values = history[first:]
    return (
        np.stack(values) if values else empty,
        np.stack(seen) if seen else empty,
    )


def expected(case: Case, args: Arguments) -> Array | type[Exception]:
    """The value of a case, or the exception."""
    values, seen = plain_loop(case, args)
    if case.read == "unused":
        return seen
    if case.read == "last" and not len(values):
        if case.mode == "none" or not TAPS[case.taps][0]:
            return IndexError
        # Theano's optimized programs gave the last row of the initial state
        return args.initial if TAPS[case.taps][0] == (-1,) else args.initial[-1]
    if case.read == "[1:][-1]" and len(values) < 2:
        return IndexError
    return read(case.read, values)


# ----------------------------------------------------------------------------- the symbols


class Symbols(NamedTuple):
    """A case as a graph."""

    inputs: list[Any]
    result: Any


def build(structure: Structure) -> Symbols:
    """The graph of a structure."""
    state_taps, seq_taps = TAPS[structure.taps]
    kind = structure.dtype

    def tensor(name: str, ndim: int) -> Any:
        return T.TensorType(kind, (False,) * ndim)(name)

    x = tensor("x", 1 + structure.rank)
    single = state_taps in ((), (-1,))
    initial = tensor("initial", structure.rank + (0 if single else 1))
    w = tensor("w", 0)
    flags, steps = T.bvector("flags"), T.lscalar("steps")

    def step(*values: Any) -> Any:
        rows = values[: len(seq_taps)]
        rest = list(values[len(seq_taps) :])
        flag = rest.pop(0) if structure.until else None
        taps = [rest.pop(0) for _ in state_taps]
        value = combine(kind, taps, rows, w, T.tanh)
        outputs = [value, observe(kind, value, rows[0])]
        if flag is None:
            return outputs
        return outputs, theano.scan_module.until(T.gt(flag, 0))

    sequences: list[Any] = [dict(input=x, taps=list(seq_taps))]
    if structure.until:
        sequences.append(flags)
    info: Any = None
    if state_taps:
        info = initial if single else dict(initial=initial, taps=list(state_taps))
    (values, seen), updates = theano.scan(
        step,
        sequences=sequences,
        outputs_info=[info, None],
        n_steps=steps if structure.bound == "n_steps" else None,
        go_backwards=structure.way == "backwards",
    )
    assert not updates
    result = seen if structure.read == "unused" else read(structure.read, values)
    return Symbols([x, flags, initial, w, steps], result)


def mode_of(name: str) -> Any:
    """A compilation mode."""
    return theano.Mode(linker=None, optimizer=None) if name == "none" else "FAST_RUN"


def compile_(structure: Structure, inputs: list[Any], outputs: Any) -> Callable[..., Any]:
    return theano.function(inputs, outputs, mode=mode_of(structure.mode), on_unused_input="ignore")


@lru_cache(maxsize=256)
def value_function(structure: Structure) -> Callable[..., Any]:
    """The value of a structure, compiled."""
    symbols = build(structure)
    return compile_(structure, symbols.inputs, symbols.result)


#: what is differentiated: positions of x, initial and w among the inputs
WRT = (0, 2, 3)


def projection(value: Any, order: int) -> Any:
    """A linear form of a gradient, so that it can be differentiated again.

    Linear: gradients of a thousand steps are large, and a function that bends would leave nothing
    for differences to see.
    """
    flat = value.flatten() if value.ndim else value.dimshuffle("x")
    return (flat * T.cos(T.arange(flat.size) + order)).sum()


def weights_like(shape: tuple[int, ...]) -> Array:
    """Fixed weights of the cost's elements."""
    return np.cos(np.arange(int(np.prod(shape)), dtype="float64")).reshape(shape) + 0.5


@lru_cache(maxsize=256)
def gradient_function(structure: Structure, order: int) -> Callable[..., Any]:
    """Gradients of ``sum(weights * result)`` of an order, and the scalar they are gradients of."""
    symbols = build(structure)
    weights = symbols.result.type.clone(dtype="float64")("weights")
    cost = (symbols.result * weights).sum()
    wrt = [symbols.inputs[k] for k in WRT]
    for level in range(1, order):
        gradients = theano.grad(cost, wrt, disconnected_inputs="ignore")
        cost = sum(projection(g, level) for g in gradients)
    gradients = theano.grad(cost, wrt, disconnected_inputs="ignore")
    return compile_(structure, [*symbols.inputs, weights], [cost, *gradients])
