"""Loops whose step is pointwise, run strip by strip (`ltensor.lowering.loops.interchange`)."""

from __future__ import annotations

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T

SIZES = [0, 1, 3, 31, 32, 33, 70, 1000]


def text(f) -> str:
    return str(f._linked.lowered.program)


def check(f, reference, *arguments) -> None:
    found = f(*arguments)
    found = found if isinstance(found, list) else [found]
    expected = reference(*arguments)
    expected = expected if isinstance(expected, list) else [expected]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5 if a.dtype == np.float32 else 1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
@pytest.mark.parametrize("steps", [0, 1, 2, 9])
def test_last_row_of_a_power(dtype: str, steps: int) -> None:
    a = T.vector("a", dtype=dtype)
    rows, _ = theano.scan(
        lambda p, a: p * a, outputs_info=T.ones_like(a), non_sequences=a, n_steps=steps
    )
    f = theano.function([a], rows[-1])
    if steps > 1:
        assert "by elements" in text(f)
    for n in SIZES:
        value = np.arange(n).astype(dtype) % 3 + 1
        check(f, lambda v: v**steps, value)


def second_order(x, w, steps):
    rows = [x[0], x[1]]
    for _ in range(steps):
        rows.append(np.tanh(w * rows[-1]) - 0.5 * rows[-2])
    return np.stack(rows[2:]) if steps else np.zeros((0, *x.shape[1:]))


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("rank", [1, 2])
def test_two_taps_with_all_rows_and_the_last_ones(steps: int, rank: int) -> None:
    x = T.TensorType("float64", (False,) * (rank + 1))("x")
    w = T.TensorType("float64", (False,) * rank)("w")
    rows, _ = theano.scan(
        lambda a, b, w: T.tanh(w * b) - 0.5 * a,
        outputs_info=dict(initial=x, taps=[-2, -1]),
        non_sequences=w,
        n_steps=steps,
    )
    everything = theano.function([x, w], rows)
    last = theano.function([x, w], rows[-2:])
    for n in SIZES:
        shape = (n,) if rank == 1 else (3, n)
        xv = np.random.RandomState(n).randn(2, *shape)
        wv = np.random.RandomState(n + 1).randn(*shape)
        check(everything, lambda a, b: second_order(a, b, steps), xv, wv)
        check(last, lambda a, b: second_order(a, b, steps)[-2:], xv, wv)


def test_stretched_and_strided_operands() -> None:
    x, row, column = T.dmatrix("x"), T.drow("row"), T.dcol("column")
    u = T.dvector("u")
    rows, _ = theano.scan(
        lambda u_t, h, row, column: h * row + column * u_t,
        sequences=u,
        outputs_info=x.T,
        non_sequences=[row, column],
    )
    f = theano.function([x, row, column, u], rows[-1])
    assert "by elements" in text(f)
    draw = np.random.RandomState(0).randn
    for n, m in [(1, 1), (3, 40), (40, 3), (0, 4)]:
        values = draw(n, m), draw(1, n), draw(m, 1), draw(4)
        h = values[0].T
        for u_t in values[3]:
            h = h * values[1] + values[2] * u_t
        np.testing.assert_allclose(f(*values), h, rtol=1e-10)


def test_rows_of_sequences_and_outs_in_both_forms() -> None:
    u, h0 = T.dmatrix("u"), T.dvector("h0")
    (h, o), _ = theano.scan(
        lambda u_t, h: (0.5 * h + u_t, T.exp(-h)), sequences=u, outputs_info=[h0, None]
    )
    f = theano.function([u, h0], [h, o, h[-1]])
    assert "by elements" in text(f)
    for n in [0, 1, 33, 128, 129, 300]:
        uv, state = np.random.RandomState(n).randn(5, n), np.ones(n)
        hs, os = [], []
        for u_t in uv:
            os.append(np.exp(-state))
            state = 0.5 * state + u_t
            hs.append(state)
        expected = [np.stack(hs), np.stack(os), hs[-1]]
        for found, want in zip(f(uv, np.ones(n)), expected, strict=True):
            np.testing.assert_allclose(found, want)


def test_gradient_and_carried_sums() -> None:
    a = T.dvector("a")
    rows, _ = theano.scan(
        lambda p, a: T.tanh(p * a), outputs_info=T.ones_like(a), non_sequences=a, n_steps=6
    )
    f = theano.function([a], T.grad(rows[-1].sum(), a))
    g = theano.function([a], rows[-1].sum())
    value = np.linspace(0.2, 1.5, 40)
    numeric = [(g(value + e) - g(value - e)) / 2e-6 for e in 1e-6 * np.eye(40)]
    np.testing.assert_allclose(f(value), numeric, rtol=1e-6)


def test_bool_and_integer_states() -> None:
    x = T.ivector("x")
    (n, odd), _ = theano.scan(
        lambda n, odd, x: (T.switch(odd, 3 * n + 1, n // 2), T.eq(n % 2, 0)),
        outputs_info=[x, T.zeros_like(x, dtype="bool")],
        non_sequences=x,
        n_steps=5,
    )
    f = theano.function([x], [n[-1], odd[-1]])
    n_, odd_ = np.arange(50, dtype="int32"), np.zeros(50, bool)
    for _ in range(5):
        n_, odd_ = np.where(odd_, 3 * n_ + 1, n_ // 2), n_ % 2 == 0
    found = f(np.arange(50, dtype="int32"))
    np.testing.assert_array_equal(found[0], n_)
    np.testing.assert_array_equal(found[1], odd_)


def test_a_mismatch_names_the_step_s_operation_and_nothing_runs() -> None:
    a, b, n = T.dvector("a"), T.dvector("b"), T.iscalar("n")
    counter = theano.shared(0.0)
    rows, _ = theano.scan(lambda p, b: p * b, outputs_info=a, non_sequences=b, n_steps=n)
    f = theano.function([a, b, n], rows[-1], updates={counter: counter + 1})
    with pytest.raises(ValueError, match="mismatch"):
        f(np.ones(3), np.ones(4), 2)
    assert counter.get_value() == 0
    # without a step nothing is multiplied
    np.testing.assert_array_equal(f(np.ones(3), np.ones(4), 0), np.ones(3))


@pytest.mark.parametrize(
    "step",
    [
        lambda h: h.cumsum(),
        lambda h: h[::-1],
        lambda h: h - h.mean(),
        lambda h: T.dot(h, T.eye(5)),
    ],
)
def test_steps_that_are_not_pointwise_stay(step) -> None:
    x = T.dvector("x")
    rows, _ = theano.scan(step, outputs_info=x, n_steps=3)
    f = theano.function([x], rows[-1])
    assert "by elements" not in text(f)
    h = np.arange(5.0)
    g = theano.function([x], step(x))
    for _ in range(3):
        h = g(h)
    np.testing.assert_allclose(f(np.arange(5.0)), h)


def rows_of(start, step, n):
    """The rows of a plain loop over several states."""
    states, found = list(start), []
    for _ in range(n):
        states = step(*states)
        found.append(states)
    return [np.stack(rows) for rows in zip(*found, strict=True)]


TURNED = {
    "two states change places": lambda a, b, c: [b, a],
    "a state stays": lambda a, b, c: [a, b + a],
    "an array that is just read": lambda a, b, c: [c.T, a],
    "reversed": lambda a, b, c: [c[::-1], b],
}


@pytest.mark.parametrize("name", TURNED)
@pytest.mark.parametrize("last", [False, True])
def test_strided_rows_that_no_operation_reads(name: str, last: bool) -> None:
    """Initial rows and results that are only handed on lie as they do: transposed, for one."""
    step = TURNED[name]
    x, y, c = T.dmatrices("xyc")
    rows, _ = theano.scan(
        lambda a, b: step(a, b, c * 2), outputs_info=[x.T, T.tanh(y)[::-1]], n_steps=3
    )
    results = [r[-1] for r in rows] if last else rows
    f = theano.function([x, y, c], results, on_unused_input="ignore")
    # the last row of a state that stays is its first: another loop is left
    assert "by elements" in text(f) or (last and name == "a state stays")
    values = [np.random.RandomState(k).randn(4, 4) for k in range(3)]
    a, b, d = values
    expected = rows_of([a.T, np.tanh(b)[::-1]], lambda p, q: step(p, q, d * 2), 3)
    for found, want in zip(f(*values), expected, strict=True):
        np.testing.assert_allclose(found, want[-1] if last else want, rtol=1e-12)


def test_strided_rows_of_a_sequence_as_the_new_rows() -> None:
    s, x = T.dtensor3("s"), T.dmatrix("x")
    rows, _ = theano.scan(lambda r, a: r, sequences=s.dimshuffle(0, 2, 1), outputs_info=x)
    f = theano.function([s, x], rows)
    value = np.random.RandomState(0).randn(3, 4, 5)
    np.testing.assert_array_equal(f(value, np.zeros((5, 4))), value.transpose(0, 2, 1))


@pytest.mark.parametrize("last", [False, True])
def test_states_of_sizes_that_differ(last: bool) -> None:
    x, y = T.dvectors("xy")
    rows, _ = theano.scan(lambda a, b: [a * 2, b + 1], outputs_info=[x, y], n_steps=3)
    f = theano.function([x, y], [r[-1] for r in rows] if last else rows)
    assert "by elements" in text(f)
    for m, n in [(3, 3), (3, 50), (50, 3), (0, 4), (4, 0)]:
        a, b = np.arange(m) + 1.0, np.arange(n) + 0.5
        expected = rows_of([a, b], lambda p, q: [p * 2, q + 1], 3)
        for found, want in zip(f(a, b), expected, strict=True):
            np.testing.assert_array_equal(found, want[-1] if last else want)


@pytest.mark.parametrize("step", [lambda a, b, c: [b, a], lambda a, b, c: [c, b]])
@pytest.mark.parametrize("steps", [0, 2])
def test_new_rows_of_another_size_are_refused(step, steps: int) -> None:
    x, y, c = T.dvectors("xyc")
    rows, _ = theano.scan(lambda a, b: step(a, b, c), outputs_info=[x, y], n_steps=steps)
    f = theano.function([x, y, c], rows, on_unused_input="ignore")
    arguments = np.ones(4), np.ones(40), np.ones(3)
    if steps:
        with pytest.raises(ValueError, match="shapes must be the same in every step"):
            f(*arguments)
    else:
        assert [r.shape for r in f(*arguments)] == [(0, 4), (0, 40)]
