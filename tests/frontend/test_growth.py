"""The work of compiling grows as the graph does: counted in calls of Python functions.

Seconds depend on the machine and on what else it does; the number of calls does not. The counts
leave LLVM out, whose input is counted in lines.
"""

from __future__ import annotations

import cProfile
import pickle
import pstats
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T
from ltensor.ir.function import Function
from ltensor.runtime.build import Build

Graph = tuple[list[Any], list[Any]]


def chain(n: int) -> Graph:
    x, w = T.dvectors("xw")
    h = x
    for _ in range(n):
        h = T.tanh(h * w + 1.0)
    return [x, w], [h.sum()]


def gradient_of_chain(n: int) -> Graph:
    inputs, (cost,) = chain(n // 2)
    return inputs, T.grad(cost, inputs)


def scalars(n: int) -> Graph:
    x, y = T.dscalars("xy")
    h = x
    for k in range(n):
        h = T.switch(h > k, h - y, h * y)
    return [x, y], [h]


def products(n: int) -> Graph:
    x, w = T.dmatrices("xw")
    h = x
    for _ in range(n):
        h = T.nnet.relu(T.dot(h, w))
    return [x, w], [h]


def fan_out(n: int) -> Graph:
    x = T.dvector("x")
    return [x], [(x * float(k)).sum() for k in range(n)]


def fan_in(n: int) -> Graph:
    inputs = [T.dvector() for _ in range(n)]
    total = inputs[0]
    for other in inputs[1:]:
        total = total + other
    return inputs, [total]


def elements(n: int) -> Graph:
    x = T.dvector("x")
    total = x[0]
    for k in range(1, n):
        total = total + x[k] * k
    return [x], [total]


def unrolled_solver(n: int) -> Graph:
    """Numbers that are made of the elements of vectors, and the gradients of these."""
    rates, start = T.dvectors("rates", "start")
    x, y = start[0], start[1]
    for _ in range(n // 10):
        x, y = (
            x + 0.01 * (rates[0] * x - rates[1] * x * y),
            y + 0.01 * (rates[2] * x * y - rates[3] * y),
        )
    return [rates, start], T.grad(x + y, [rates, start])


def deep_step(n: int) -> Graph:
    def step(row: Any, h: Any) -> Any:
        for _ in range(n):
            h = T.tanh(h * row + 1.0)
        return h

    x = T.dvector("x")
    rows, _ = theano.scan(step, sequences=x, outputs_info=[np.float64(0)])
    return [x], [T.grad(rows.sum(), x)]


def loops_in_a_row(n: int) -> Graph:
    x, w = T.dmatrices("xw")
    h = x
    for _ in range(n // 20):
        h, _ = theano.scan(lambda r, s, w: T.dot(r, w) + s, h, [x[0]], [w])
    return [x, w], [h]


def measured(graph: Callable[[int], Graph], n: int) -> tuple[int, int]:
    """Calls of Python functions to get from ``graph(n)`` to LLVM's text, and lines of that."""
    inputs, outputs = graph(n)
    build = Build(Function(inputs, outputs), "fast_run", len(inputs), len(outputs), [], "list")
    profile = cProfile.Profile()
    profile.enable()
    try:
        _, text = build.lowered
    finally:
        profile.disable()
    stats: Any = pstats.Stats(profile)
    return stats.total_calls, text.count("\n")


@pytest.mark.parametrize(
    "graph",
    [
        chain, gradient_of_chain, scalars, products, fan_out, fan_in, elements,
        unrolled_solver, deep_step, loops_in_a_row,
    ],
)  # fmt: skip
def test_growth(graph: Callable[[int], Graph]) -> None:
    measured(graph, 40)  # imports and tables that are made once
    calls, lines = measured(graph, 100)
    more_calls, more_lines = measured(graph, 800)
    # Eight times the graph. Forms change with size, so that it is not quite eight times the work:
    # a long chain keeps values in memory between its nests, a short one has a single nest.
    assert more_calls < 12 * calls
    assert more_lines < 16 * lines


def test_ten_thousand_operations() -> None:
    """No recursion: gradient, passes, lowering, pickling."""
    x = T.dvector("x")
    h = x
    for _ in range(2500):
        h = T.sin(h) * x
    f = theano.function([x], T.grad(h.sum(), x))
    assert len(f.maker.unoptimized.nodes) > 10_000
    values = np.linspace(0.1, 1.0, 3)
    again = pickle.loads(pickle.dumps(f))
    np.testing.assert_array_equal(again(values), f(values))
