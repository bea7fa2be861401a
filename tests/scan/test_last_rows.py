"""The last rows of a result: of no step, through slices of slices, and what is kept for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scan.checks import (
    MODES,
    UNOPTIMIZED,
    check_gradients,
    check_values,
    compiled,
    differences,
    scans,
    value,
)

import ltensor as theano
import ltensor.tensor as T
from ltensor.scan_module import until

x, y = T.dvectors("x", "y")
s, w = T.dscalars("s", "w")
m, q = T.dmatrices("m", "q")
n, k = T.iscalars("n", "k")

X = np.array([0.3, -0.7, 1.1, 0.4, -0.2])


def running(initial: Any = s, **options: Any) -> Any:
    return theano.scan(
        lambda a, h: T.tanh(w * h + a), sequences=x, outputs_info=initial, **options
    )[0]


def running_plain(xs: Any, s: Any = 0.2, w: float = 0.5) -> Any:
    rows = []
    for a in xs:
        s = np.tanh(w * s + a)
        rows.append(s)
    return np.array(rows)


def with_taps(taps: Any = (-3, -1)) -> Any:
    return theano.scan(
        lambda a, p, h: T.tanh(w * h + a * p),
        sequences=x,
        outputs_info=dict(initial=m, taps=list(taps)),
    )[0]


# ----------------------------------------------------------------------------- no step


@pytest.mark.parametrize("what", ["value", "gradients", "both"])
def test_of_no_step_it_is_the_initial_state(what: str) -> None:
    """Whichever of them is asked for, whether or not all rows are kept for it."""
    cost = 3 * running()[-1] ** 2
    gradients = theano.grad(cost, [x, s, w])
    outputs = {"value": [cost], "gradients": gradients, "both": [cost, *gradients]}[what]
    wanted = {"value": [0.12], "gradients": [[], 1.2, 0]}
    wanted["both"] = [*wanted["value"], *wanted["gradients"]]
    for got, want in zip(compiled([x, s, w], outputs)([], 0.2, 0.5), wanted[what], strict=True):
        np.testing.assert_allclose(got, want)
        assert got.shape == np.shape(want)
    f = compiled([x, s, w], outputs, UNOPTIMIZED)
    with pytest.raises(IndexError, match="index -1 is out of bounds for size 0"):
        f([], 0.2, 0.5)


def test_of_no_step_with_all_rows() -> None:
    rows = running()
    f = compiled([x, s, w], [rows, rows[-1], rows.sum()])
    all_rows, last, total = f([], 0.2, 0.5)
    assert all_rows.shape == (0,)
    assert last == 0.2
    assert total == 0
    np.testing.assert_allclose(f(X, 0.2, 0.5)[1], running_plain(X)[-1])


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_gradient_of_the_last_row_of_arrays_with_taps(steps: int) -> None:
    rows = with_taps()
    start = np.linspace(-1, 1, 6).reshape(3, 2)
    check_gradients(
        [x, m, w],
        (rows[-1] ** 2).sum() + rows[-1][0],
        [x, m, w],
        (X[:steps], start, np.float64(0.4)),
        order=1 if 0 < steps < 5 else 2,
        modes=["FAST_RUN"] if steps == 0 else MODES,
    )


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_gradient_of_last_row_and_all_rows_together(steps: int) -> None:
    rows = running()
    cost = rows[-1] ** 2 + (rows**3).sum() + T.exp(rows[-1])
    arguments = (X[:steps], np.float64(0.2), np.float64(0.5))
    modes = ["FAST_RUN"] if steps == 0 else MODES
    check_gradients([x, s, w], cost, [x, s, w], arguments, order=2, modes=modes)


def test_gradient_of_one_element_of_the_last_row() -> None:
    rows, _ = theano.scan(lambda h: T.tanh(T.dot(q, h)), outputs_info=y, n_steps=n)
    square = np.linspace(-1, 1, 9).reshape(3, 3)
    cost = rows[-1, 1] + rows[-1][2] ** 2
    for steps in (1, 3):
        check_gradients([q, y, n], cost, [q, y], (square, X[:3], steps))


def test_gradient_of_the_last_row_of_no_step_of_a_map_does_not_exist() -> None:
    rows = theano.scan(lambda a: T.tanh(a * w), sequences=x)[0]
    for outputs in (rows[-1], theano.grad(rows[-1], x)):
        for mode in MODES:
            with pytest.raises(IndexError):
                compiled([x, w], outputs, mode)([], 0.5)


def test_inner_loops_of_no_step() -> None:
    """Powers of a function, from the zeroth on."""
    rows, _ = theano.scan(
        lambda i: theano.scan(lambda h: T.sin(h * w), outputs_info=s, n_steps=i)[0][-1],
        sequences=T.arange(n),
    )
    h, wanted = 0.3, []
    for _ in range(4):
        wanted.append(h)
        h = np.sin(h * 0.7)
    f = compiled([s, w, n], [rows, *theano.grad((rows**2).sum(), [s, w])])
    np.testing.assert_allclose(f(0.3, 0.7, 4)[0], wanted)
    arguments = (np.float64(0.3), np.float64(0.7), 4)
    check_gradients(
        [s, w, n], rows.sum(), [s, w], arguments, order=3, modes=["FAST_RUN"], tolerance=1e-5
    )


def test_truncated_gradient_of_no_step() -> None:
    rows = running(truncate_gradient=2)
    f = compiled([x, s, w], theano.grad(rows[-1], [x, s, w]))
    assert [float(np.sum(g)) for g in f([], 0.2, 0.5)] == [0, 1, 0]
    assert f(X, 0.2, 0.5)[1] == 0


def test_no_trace_of_zeros_for_the_gradient_of_the_last_row() -> None:
    f = compiled([x, s, w], theano.grad(running()[-1], [s, w]))
    backward = next(node for node in scans(f) if node.op.name.startswith("grad"))
    forward = next(node for node in scans(f) if node is not backward)
    # the trace, and the trace shifted by a step
    assert backward.op.n_seqs <= 2
    assert forward.op.n_taps == 1


# ----------------------------------------------------------------------------- slices of slices

Chain = Callable[[Any], Any]

CHAINS: dict[str, Chain] = {
    "[1:][-1]": lambda r: r[1:][-1],
    "[3:][-1]": lambda r: r[3:][-1],
    "[1:][1:][-1]": lambda r: r[1:][1:][-1],
    "[1:][-2:]": lambda r: r[1:][-2:],
    "[:-1][-1]": lambda r: r[:-1][-1],
    "[:-2][-1]": lambda r: r[:-2][-1],
    "[1:-1][-1]": lambda r: r[1:-1][-1],
    "[-2]": lambda r: r[-2],
    "[-3:][0]": lambda r: r[-3:][0],
    "[-3:][-1]": lambda r: r[-3:][-1],
    "[-3:-1]": lambda r: r[-3:-1],
    "[-3:-1][-1]": lambda r: r[-3:-1][-1],
    "[-3:][1:][0]": lambda r: r[-3:][1:][0],
    "[-3:][:-1][-1]": lambda r: r[-3:][:-1][-1],
    "[-2:][::-1]": lambda r: r[-2:][::-1],
    "[1:][-1:]": lambda r: r[1:][-1:],
    "[2:][-2:][-1]": lambda r: r[2:][-2:][-1],
}
#: what keeps all rows, for a state of three taps
ALL_ROWS: dict[str, Chain] = {
    "[::2][-1]": lambda r: r[::2][-1],
    "[::-1][0]": lambda r: r[::-1][0],
    "[1:][0]": lambda r: r[1:][0],
    "[-4:]": lambda r: r[-4:],
    "[:2]": lambda r: r[:2],
}


@pytest.mark.parametrize("chain", [*CHAINS, *ALL_ROWS])
def test_slices_of_slices(chain: str) -> None:
    """Values, missing rows and what is kept, for every number of steps."""
    take = {**CHAINS, **ALL_ROWS}[chain]
    result = take(with_taps())
    functions = [compiled([x, m, w], result, mode) for mode in MODES]
    start = np.linspace(-1, 1, 6).reshape(3, 2)
    for steps in range(6):
        rows = np.zeros((0, 2))
        history = list(start)
        for a in X[:steps]:
            history.append(np.tanh(0.4 * history[-1] + a * history[-3]))
            rows = np.array(history[3:])
        try:
            wanted = take(rows)
        except IndexError:
            for f in functions:
                with pytest.raises(IndexError):
                    f(X[:steps], start, 0.4)
            continue
        for f in functions:
            got = f(X[:steps], start, 0.4)
            assert got.shape == wanted.shape
            np.testing.assert_allclose(got, wanted, rtol=1e-12)
    (node,) = scans(functions[1])
    assert (node.op.keep[0] is None) == (chain in ALL_ROWS)


@pytest.mark.parametrize("start", [-9, -2, -1, 0, 1, 2, 4])
def test_slice_from_a_number_that_is_known_when_it_runs(start: int) -> None:
    result = running()[k:][-1]
    for mode in MODES:
        f = compiled([x, s, w, k], result, mode)
        for steps in range(5):
            rows = running_plain(X[:steps])
            if len(rows[start:]):
                np.testing.assert_allclose(f(X[:steps], 0.2, 0.5, start), rows[start:][-1])
            else:
                with pytest.raises(IndexError):
                    f(X[:steps], 0.2, 0.5, start)
    assert scans(f)[0].op.keep == (1,)


@pytest.mark.parametrize("chain", ["[1:][-1]", "[3:][-1]", "[:-1][-1]"])
def test_slices_of_a_map(chain: str) -> None:
    rows = theano.scan(lambda a: T.tanh(a * w), sequences=x)[0]
    result = CHAINS[chain](rows)
    for steps in range(5):
        wanted = np.tanh(X[:steps] * 0.5)
        for mode in MODES:
            f = compiled([x, w], result, mode)
            if (steps > 3) or (steps > 1 and "3" not in chain):
                np.testing.assert_allclose(f(X[:steps], 0.5), CHAINS[chain](wanted))
            else:
                with pytest.raises(IndexError):
                    f(X[:steps], 0.5)


def test_slices_after_a_stop() -> None:
    rows, _ = theano.scan(lambda a, h: (h + a, until(h + a > w)), sequences=x, outputs_info=s)
    numbers = np.ones(5)
    for limit, count in ((-1.0, 1), (1.5, 2), (2.5, 3), (99.0, 5)):
        plain = np.arange(1.0, count + 1)
        for chain in ("[1:][-1]", "[3:][-1]"):
            for mode in MODES:
                f = compiled([x, s, w], CHAINS[chain](rows), mode)
                if count > (1 if chain == "[1:][-1]" else 3):
                    assert f(numbers, 0.0, limit) == CHAINS[chain](plain)
                else:
                    with pytest.raises(IndexError):
                        f(numbers, 0.0, limit)


def test_several_readers_keep_the_widest() -> None:
    rows = with_taps()
    f = compiled([x, m, w], [rows[-1], rows[1:][-2], rows[-2:].sum(), rows[:-1][-1] * 2])
    (node,) = scans(f)
    assert node.op.keep == (2,)
    start = np.linspace(-1, 1, 6).reshape(3, 2)
    plain = value([x, m, w], rows, X, start, 0.4)
    got = f(X, start, 0.4)
    wanted = [plain[-1], plain[-2], plain[-2:].sum(), plain[-2] * 2]
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b)


def test_loops_one_after_another_keep_one_row_each() -> None:
    first = running()
    second = theano.scan(lambda a, h: T.sin(a + h), sequences=x, outputs_info=first[-1])[0]
    third = theano.scan(lambda a, h: T.cos(a * h), sequences=x, outputs_info=second[1:][-1])[0]
    f = compiled([x, s, w], third[-1])
    assert [node.op.keep for node in scans(f)] == [(1,)] * 3
    h = running_plain(X)[-1]
    for step in (np.sin, np.cos):
        for a in X:
            h = step(a + h) if step is np.sin else step(a * h)
    np.testing.assert_allclose(f(X, 0.2, 0.5), h)


@pytest.mark.parametrize("chain", ["[1:][-1]", "[-2:][0]"])
def test_gradient_of_slices_of_slices(chain: str) -> None:
    take: Chain = {**CHAINS, "[-2:][0]": lambda r: r[-2:][0]}[chain]
    check_gradients(
        [x, s, w], take(running()) ** 2, [x, s, w], (X, np.float64(0.2), np.float64(0.5)), order=2
    )


# ----------------------------------------------------------------------------- repeated taps


def test_a_tap_that_is_written_twice() -> None:
    rows, _ = theano.scan(
        lambda p, h: T.tanh(2 * p + 3 * h * p),
        outputs_info=dict(initial=y, taps=[-1, -1]),
        n_steps=3,
    )
    h, wanted = 0.3, []
    for _ in range(3):
        h = np.tanh(2 * h + 3 * h * h)
        wanted.append(h)
    check_values([y], rows, ([0.3],), wanted)
    check_gradients([y], rows[-1] + (rows**2).sum(), [y], (np.array([0.3]),), order=2)
    f = compiled([y], rows[-1])
    got = compiled([y], theano.grad(rows[-1], y))([0.3])
    np.testing.assert_allclose(got, differences(f, [np.array([0.3])], 0), rtol=1e-6)
