"""Traces of `until` loops grow with the steps that are run, whatever ``n_steps`` says."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T
from ltensor.scan import until
from tests.scan.checks import MODES, check_gradients, compiled

FAR = 10**12


def counted(width: int) -> Any:
    """Rows of a loop that stops after ``stop`` steps, and further results."""
    h0, p0, stop, n = T.dvector("h0"), T.dmatrix("p0"), T.lscalar("stop"), T.lscalar("n")

    def step(k: Any, h: Any, p3: Any, p1: Any) -> Any:
        new = 0.5 * h + p3 * 0.25 + p1.sum()
        return (k + 1, new, new - p3, (new * k)[:2]), until(T.ge(k + 1, stop))

    (k, h, p, out), _ = theano.scan(
        step,
        outputs_info=[
            T.constant(np.int64(0)), h0, dict(initial=p0, taps=[-3, -1]), None,
        ],
        n_steps=n,
    )  # fmt: skip
    return [h0, p0, stop, n], [k, h, p, out]


def reference(h: Any, p0: Any, stop: int, n: int) -> list[Any]:
    p, rows = list(p0), []
    for k in range(n):
        h = 0.5 * h + p[-3] * 0.25 + p[-1].sum()
        p.append(h - p[-3])
        rows.append((k + 1, h, p[-1], (h * k)[:2]))
        if k + 1 >= stop:
            break
    return [np.array(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("mode", MODES, ids=["plain", "fast_run"])
@pytest.mark.parametrize("width", [2, 300])
def test_rows_are_those_of_the_steps_that_are_run(width: int, mode: Any) -> None:
    rng = np.random.default_rng(width)
    inputs, outputs = counted(width)
    f = compiled(inputs, outputs, mode)
    # one function: later calls begin with the room of the one before
    for stop, n in (
        (1, FAR), (2, FAR), (3, FAR), (15, FAR), (16, FAR), (17, FAR), (5000, FAR), (64, FAR),
        (300, 100), (5000, 4000), (1, 1), (20000, 20000),
    ):  # fmt: skip
        h0 = rng.uniform(-1e-3, 1e-3, width)
        # columns of a larger array: their rows are not dense
        p0 = rng.uniform(-1e-3, 1e-3, (width, 3)).T / width
        with np.errstate(over="ignore", invalid="ignore"):
            wanted = reference(h0, p0, stop, n)
        for have, want in zip(f(h0, p0, stop, n), wanted, strict=True):
            np.testing.assert_allclose(have, want, rtol=1e-9, atol=1e-30)


def test_no_step_gives_no_rows() -> None:
    inputs, outputs = counted(2)
    k, h, _, out = compiled(inputs, outputs)(np.ones(2), np.ones((3, 2)), 5, 0)
    assert [v.shape for v in (k, h, out)] == [(0,), (0, 2), (0, 2)]


def test_results_of_calls_do_not_share_memory() -> None:
    x, stop = T.dscalar("x"), T.lscalar("stop")

    def step(k: Any, x: Any) -> Any:
        return (k + 1, x + 1), until(T.ge(k + 1, stop))

    (_, rows), _ = theano.scan(step, outputs_info=[T.constant(np.int64(0)), x], n_steps=FAR)
    f = compiled([x, stop], rows)
    results = [f(float(x), stop) for x, stop in enumerate((100_000, 100_000, 3, 90_000, 99_999))]
    for x, (rows, stop) in enumerate(
        zip(results, (100_000, 100_000, 3, 90_000, 99_999), strict=True)
    ):
        np.testing.assert_array_equal(rows, x + 1 + np.arange(stop))
        assert (rows.flags.owndata, rows.flags.writeable) == (True, True)


def test_a_trace_that_is_returned_and_read() -> None:
    x, stop = T.dscalar("x"), T.lscalar("stop")

    def step(k: Any, x: Any) -> Any:
        return (k + 1, x * 1.0001), until(T.ge(k + 1, stop))

    (_, rows), _ = theano.scan(step, outputs_info=[T.constant(np.int64(0)), x], n_steps=FAR)
    f = compiled([x, stop], [rows, rows.sum(), rows[::-1], rows, theano.grad(rows.sum(), x)])
    for count in (3, 30_000, 30_000):
        first, total, backwards, second, gradient = f(2.0, count)
        wanted = 2 * 1.0001 ** np.arange(1, count + 1)
        np.testing.assert_allclose(first, wanted)
        np.testing.assert_allclose(second, wanted)
        np.testing.assert_allclose(backwards, wanted[::-1])
        np.testing.assert_allclose([total, gradient], [wanted.sum(), wanted.sum() / 2])


def test_inside_another_loop() -> None:
    x = T.dvector("x")

    def inner(total: Any, limit: Any) -> Any:
        new = total + 1.0
        return new, until(new > limit)

    def outer(limit: Any) -> Any:
        rows, _ = theano.scan(
            inner, outputs_info=T.zeros((), "float64"), non_sequences=limit, n_steps=FAR
        )
        return rows.sum()

    sums, _ = theano.scan(outer, x)
    limits = np.array([3.0, 5000.0, 2.0, 40_000.0, 0.0])
    wanted = [np.arange(1, limit + 2).sum() for limit in limits]
    for mode in MODES:
        np.testing.assert_allclose(compiled([x], sums, mode)(limits), wanted)


def test_gradients() -> None:
    h0, a = T.dvector("h0"), T.dvector("a")

    def step(h: Any) -> Any:
        new = T.tanh(h * a) + 0.1 * h.sum()
        return new, until((new**2).sum() < 1e-3)

    rows, _ = theano.scan(step, outputs_info=h0, n_steps=FAR)
    point = [np.array([0.6, -0.3]), np.array([0.5, 0.4])]
    assert compiled([h0, a], rows.shape[0])(*point) > 4
    check_gradients([h0, a], (rows**2).sum(), [h0, a], point, order=2)


def test_out_of_memory_leaves_shared_variables_alone() -> None:
    program = """
        import resource
        import numpy as np
        import ltensor as theano
        import ltensor.tensor as T
        from ltensor.scan import until

        v, stop = T.dvector("v"), T.lscalar("stop")
        state = theano.shared(np.int64(0))

        def step(k, v):
            return (k + 1, v + 1), until(T.ge(k + 1, stop))

        (_, rows), _ = theano.scan(step, outputs_info=[T.constant(np.int64(0)), v], n_steps=10**9)
        f = theano.function([v, stop], rows, updates={state: state + stop})
        row = np.zeros(1000)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        f(row, 100)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 << 10
        most = 2 << 30
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        try:
            f(row, 10**9)
        except MemoryError:
            print(int(state.get_value()), f(row, 7).shape, int(state.get_value()))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "100 (7, 1000) 107\n"
