"""Loops over small arrays of known sizes, in registers (`ltensor.lowering.loops.small`)."""

from __future__ import annotations

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T
from ltensor.lowering.loops import small

RNG = np.random.default_rng(7)


def told(f) -> list[str]:
    """What was said of every loop while ``f`` was compiled."""
    return [r.text for r in f.maker.remarks if r.pass_name == "small_arrays"]


def written_out(inputs, outputs, loops: int = 1, **options):
    """A compiled function of whose loops ``loops`` are written out."""
    f = theano.function(inputs, outputs, **options)
    texts = told(f)
    assert sum(t.startswith("small arrays stay in registers") for t in texts) == loops, texts
    return f


def in_memory(inputs, outputs):
    """A compiled function with the reason why its loop is not written out."""
    f = theano.function(inputs, outputs)
    texts = told(f)
    assert not any(t.startswith("small arrays stay") for t in texts), texts
    return f, texts


# ------------------------------------------------------------------------- Kalman filter


def kalman():
    y, f, h, q, r = T.dvector("y"), T.dmatrix("f"), T.dvector("h"), T.dvector("q"), T.dscalar("r")

    def step(y, m, p, f, h, q, r):
        a = T.dot(f, m)
        s = T.dot(T.dot(f, p), f.T) + T.diag(q)
        c = T.dot(s, h)
        spread = T.dot(h, c) + r
        v = y - T.dot(h, a)
        density = -0.5 * (T.log(2 * np.pi * spread) + v**2 / spread)
        return a + c * (v / spread), s - T.outer(c, c) / spread, density

    (m, p, densities), _ = theano.scan(
        step,
        sequences=y,
        outputs_info=[T.zeros(3), T.eye(3), None],
        non_sequences=[f, h, q, r],
    )
    return [y, f, h, q, r], m, p, densities


def kalman_loop(y, f, h, q, r):
    m, p, total = np.zeros(3), np.eye(3), 0.0
    rows, covariances = [], []
    for t in range(len(y)):
        a, s = f @ m, f @ p @ f.T + np.diag(q)
        c = s @ h
        spread, v = h @ c + r, y[t] - h @ a
        total -= 0.5 * (np.log(2 * np.pi * spread) + v * v / spread)
        m, p = a + c * v / spread, s - np.outer(c, c) / spread
        rows.append(m)
        covariances.append(p)
    return np.array(rows).reshape(-1, 3), np.array(covariances).reshape(-1, 3, 3), total


def kalman_data(n: int) -> list:
    move = np.eye(3) * 0.9 + 0.05 * RNG.standard_normal((3, 3))
    return [RNG.standard_normal(n), move, np.array([1.0, 0.5, -0.3]), np.full(3, 0.1), 0.5]


@pytest.mark.parametrize("n", [0, 1, 2, 50])
def test_a_kalman_filter_keeps_all_rows(n: int) -> None:
    inputs, m, p, densities = kalman()
    f = written_out(inputs, [m, p, densities.sum()])
    data = kalman_data(n)
    for got, expected in zip(f(*data), kalman_loop(*data), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("constants", [False, True])
def test_the_gradient_of_a_kalman_filter(constants: bool) -> None:
    inputs, _, _, densities = kalman()
    data = kalman_data(20)
    value = densities.sum()
    wanted = [value, *T.grad(value, [inputs[3], inputs[4]])]
    givens = {inputs[1]: T.constant(data[1]), inputs[2]: T.constant(data[2])} if constants else {}
    given = [v for v in inputs if v not in givens]
    f = written_out(given, wanted, loops=2, givens=givens)
    found = f(*(x for v, x in zip(inputs, data, strict=True) if v in given))
    np.testing.assert_allclose(found[0], kalman_loop(*data)[2], rtol=1e-10)

    def shifted(position: int, amount) -> float:
        moved = list(data)
        moved[position] = moved[position] + amount
        return kalman_loop(*moved)[2]

    eps = 1e-6
    for k in range(3):
        unit = eps * np.eye(3)[k]
        slope = (shifted(3, unit) - shifted(3, -unit)) / (2 * eps)
        np.testing.assert_allclose(found[1][k], slope, rtol=1e-5, atol=1e-6)
    slope = (shifted(4, eps) - shifted(4, -eps)) / (2 * eps)
    np.testing.assert_allclose(found[2], slope, rtol=1e-5)


def test_gradients_of_matrices() -> None:
    inputs, _, _, densities = kalman()
    value = densities.sum()
    f = written_out(inputs, [value, *T.grad(value, [inputs[1], inputs[2]])], loops=2)
    data = kalman_data(15)
    found = f(*data)
    eps = 1e-6
    for i in range(3):
        for j in range(3):
            unit = np.zeros((3, 3))
            unit[i, j] = eps
            up = kalman_loop(data[0], data[1] + unit, *data[2:])[2]
            down = kalman_loop(data[0], data[1] - unit, *data[2:])[2]
            np.testing.assert_allclose(found[1][i, j], (up - down) / (2 * eps), rtol=1e-4)


# ------------------------------------------------------------------------- states and slots


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_small_net(dtype: str) -> None:
    x, w, u = T.matrix("x", dtype=dtype), T.matrix("w", dtype=dtype), T.matrix("u", dtype=dtype)
    h, _ = theano.scan(
        lambda x, h, w, u: T.tanh(T.dot(h, w) + T.dot(x, u)),
        sequences=x,
        outputs_info=T.zeros(3, dtype=dtype),
        non_sequences=[w, u],
    )
    # the sequence's rows are as long as the caller says
    in_memory([x, w, u], h)
    h, _ = theano.scan(
        lambda x, h, w: T.tanh(T.dot(h, w) + x),
        sequences=x,
        outputs_info=T.zeros(3, dtype=dtype),
        non_sequences=w,
    )
    value = (h**2).sum()
    f = written_out([x, w], [h, T.grad(value, w)], loops=2)
    data = RNG.standard_normal((9, 3)).astype(dtype), RNG.standard_normal((3, 3)).astype(dtype)
    state, rows = np.zeros(3, dtype), []
    for row in data[0]:
        state = np.tanh(state @ data[1] + row)
        rows.append(state)
    got, slope = f(*data)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, rows, rtol=2e-5 if dtype == "float32" else 1e-12)
    with theano.config.change_flags(optimizer="None"):
        plain = theano.function([x, w], T.grad(value, w))
    np.testing.assert_allclose(slope, plain(*data), rtol=2e-4 if dtype == "float32" else 1e-10)
    # without a step no size is wrong
    got, slope = f(np.zeros((0, 5), dtype), data[1])
    assert got.shape == (0, 3)
    np.testing.assert_array_equal(slope, np.zeros((3, 3)))


def test_rotations() -> None:
    angles = T.dvector("angles")

    def step(angle, p):
        c, s = T.cos(angle), T.sin(angle)
        turn = T.stack([T.stack([c, -s]), T.stack([s, c])])
        return T.dot(turn, p)

    p, _ = theano.scan(step, sequences=angles, outputs_info=T.eye(2))
    value = (p[-1] * np.array([[1.0, 2.0], [3.0, 4.0]])).sum()
    f = written_out([angles], [p[-1], p])
    g = theano.function([angles], T.grad(value, angles))
    data = RNG.standard_normal(7)
    total = data.sum()
    expected = np.array([[np.cos(total), -np.sin(total)], [np.sin(total), np.cos(total)]])
    last, rows = f(data)
    np.testing.assert_allclose(last, expected, atol=1e-12)
    np.testing.assert_allclose(rows[-1], expected, atol=1e-12)
    slope = -np.sin(total) * 5 + np.cos(total) * (3 - 2)
    np.testing.assert_allclose(g(data), np.full(7, slope), rtol=1e-9)


@pytest.mark.parametrize("steps", [0, 1, 2, 6])
@pytest.mark.parametrize("dtype", ["int64", "int32", "float64"])
def test_two_taps(steps: int, dtype: str) -> None:
    start = np.array([[1, 0, 2], [0, 1, 1]], dtype)
    mix = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype)
    m = T.matrix("m", dtype=dtype)
    rows, _ = theano.scan(
        lambda a, b, m: T.dot(m, a) - b,
        outputs_info=dict(initial=T.constant(start), taps=[-2, -1]),
        non_sequences=m,
        n_steps=steps,
    )
    # a single step is no loop
    f = written_out([m], rows, loops=int(steps != 1))
    history = list(start)
    for _ in range(steps):
        history.append(mix @ history[-2] - history[-1])
    got = f(mix)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, np.array(history[2:], dtype).reshape(-1, 3))
    if steps > 1:
        last = written_out([m], rows[-2:])
        np.testing.assert_array_equal(last(mix), history[-2:])


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_the_last_row_and_carried_scalars(steps: int) -> None:
    m, n = T.dmatrix("m"), T.lscalar("n")
    (p, s), _ = theano.scan(
        lambda p, s, m: (T.dot(m, p), s + p.sum() + T.max(p)),
        outputs_info=[T.constant(np.array([1.0, 2.0])), T.constant(np.ones(()))],
        non_sequences=m,
        n_steps=n,
    )
    f = written_out([m, n], [p, s])
    last = written_out([m, n], [p[-1], s[-1]])
    turn = np.array([[0.5, -1.0], [1.0, 0.25]])
    vector, total, rows, sums = np.array([1.0, 2.0]), 1.0, [], []
    for _ in range(steps):
        vector, total = turn @ vector, total + vector.sum() + vector.max()
        rows.append(vector)
        sums.append(total)
    np.testing.assert_allclose(f(turn, steps)[0], np.array(rows).reshape(-1, 2))
    np.testing.assert_allclose(f(turn, steps)[1], sums)
    if steps:
        got = last(turn, steps)
        np.testing.assert_allclose(got[0], rows[-1])
        np.testing.assert_allclose(got[1], sums[-1])


def test_a_loop_that_stops() -> None:
    m, limit = T.dmatrix("m"), T.dscalar("limit")
    (p, _), _ = theano.scan(
        lambda p, k, m, limit: ([T.dot(m, p), k + 1], theano.scan_module.until(p.sum() > limit)),
        outputs_info=[T.constant(np.array([1.0, 1.0])), T.constant(np.int64(0))],
        non_sequences=[m, limit],
        n_steps=50,
    )
    f = written_out([m, limit], p)
    double = 2 * np.eye(2)
    assert f(double, 100.0).shape == (7, 2)
    np.testing.assert_array_equal(f(double, 100.0)[:, 0], 2.0 ** np.arange(1, 8))
    assert f(double, 1e300).shape == (50, 2)
    assert f(double, 0.0).shape == (1, 2)
    with pytest.raises(ValueError, match=r"not aligned|mismatch"):
        f(np.eye(3), 100.0)


def test_parts_diagonals_and_reshapes() -> None:
    m = T.dmatrix("m")

    def step(x, m):
        turned = T.dot(m, x.T) + x
        changed = T.set_subtensor(turned[0], x[:, 1])
        changed = T.inc_subtensor(changed[1:, ::2], 0.5)
        flat = T.concatenate([changed.flatten()[3:], T.diag(changed)[::-1]])
        return flat.reshape((3, 3))[:, ::-1] / (1 + abs(x).max(axis=0, keepdims=True))

    x, _ = theano.scan(step, outputs_info=T.eye(3), non_sequences=m, n_steps=4)
    f = written_out([m], [x])
    data = RNG.standard_normal((3, 3))
    state, rows = np.eye(3), []
    for _ in range(4):
        changed = data @ state.T + state
        changed[0] = state[:, 1]
        changed[1:, ::2] += 0.5
        flat = np.concatenate([changed.ravel()[3:], np.diag(changed)[::-1]])
        state = flat.reshape(3, 3)[:, ::-1] / (1 + abs(state).max(axis=0, keepdims=True))
        rows.append(state)
    np.testing.assert_allclose(f(data)[0], rows, rtol=1e-12)


def test_views_as_operands_and_rows_backwards() -> None:
    big, x = T.dmatrix("big"), T.dmatrix("x")
    p, _ = theano.scan(
        lambda x, p, m: T.dot(m, p) + x,
        sequences=x[::-1, ::2],
        outputs_info=T.zeros(2),
        non_sequences=big[1::2, ::-1],
    )
    f = written_out([big, x], p)
    matrix, rows = RNG.standard_normal((4, 2)), RNG.standard_normal((5, 3))
    state, expected = np.zeros(2), []
    for row in rows[::-1, ::2]:
        state = matrix[1::2, ::-1] @ state + row
        expected.append(state)
    np.testing.assert_allclose(f(matrix, rows), expected, rtol=1e-12)
    np.testing.assert_allclose(f(matrix, np.asfortranarray(rows)), expected, rtol=1e-12)


def test_integer_division_by_zero_is_reported() -> None:
    m = T.lmatrix("m")
    p, _ = theano.scan(
        lambda p, m: T.dot(m, p) // p, outputs_info=T.constant([1, 2]), non_sequences=m, n_steps=3
    )
    f = written_out([m], p)
    np.testing.assert_array_equal(f(np.array([[3, 0], [0, 3]])), np.full((3, 2), 3))
    with pytest.raises(ZeroDivisionError):
        f(np.zeros((2, 2), np.int64))


# ------------------------------------------------------------------------- sizes that do not fit


def power(n_steps=3):
    m = T.dmatrix("m")
    p, _ = theano.scan(
        lambda p, m: T.dot(m, p), outputs_info=T.ones(3), non_sequences=m, n_steps=n_steps
    )
    return m, p


@pytest.mark.parametrize("shape", [(3, 4), (4, 3), (2, 2), (0, 0), (3, 0)])
def test_other_sizes_raise_what_the_general_loop_raises(shape, monkeypatch) -> None:
    m, p = power()
    f = written_out([m], p)
    np.testing.assert_allclose(f(np.eye(3)), np.ones((3, 3)))
    with monkeypatch.context() as patch:
        patch.setattr(small, "find", lambda lowering: None)
        general = theano.function([m], p)
        assert general._linked is not None
    messages = []
    for g in (f, general):
        with pytest.raises(ValueError, match=str(shape[0])) as caught:
            g(np.ones(shape))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("shape", [(3, 3), (3, 4), (0, 0)])
def test_no_step_raises_nothing(shape) -> None:
    n = T.lscalar("n")
    m, p = power(n)
    f = written_out([m, n], p)
    assert f(np.ones(shape), 0).shape == (0, 3)


def test_broadcast_operands_of_other_sizes_raise() -> None:
    m, q = T.dmatrix("m"), T.dvector("q")
    p, _ = theano.scan(
        lambda p, m, q: T.dot(m, p) + q, outputs_info=T.ones(2), non_sequences=[m, q], n_steps=3
    )
    f = written_out([m, q], p)
    assert f(np.eye(2), np.ones(2)).shape == (3, 2)
    with pytest.raises(ValueError, match="mis-match"):
        f(np.eye(2), np.ones(3))


# ------------------------------------------------------------------------- loops left in memory


def test_unknown_sizes_stay_in_memory() -> None:
    m, x = T.dmatrix("m"), T.dvector("x")
    p, _ = theano.scan(lambda p, m: T.dot(m, p), outputs_info=x, non_sequences=m, n_steps=3)
    f, texts = in_memory([m, x], p)
    assert any("no size is known" in t for t in texts)
    np.testing.assert_allclose(f(2 * np.eye(2), np.ones(2))[:, 0], [2, 4, 8])


def test_large_arrays_stay_in_memory() -> None:
    m = T.dmatrix("m")
    p, _ = theano.scan(lambda p, m: T.dot(m, p), outputs_info=T.ones(7), non_sequences=m, n_steps=3)
    f, texts = in_memory([m], p)
    assert any("elements" in t for t in texts)
    np.testing.assert_allclose(f(2 * np.eye(7))[:, 0], [2, 4, 8])


def test_long_steps_stay_in_memory() -> None:
    m = T.dmatrix("m")

    def step(p, m):
        for _ in range(12):
            p = T.dot(m, T.dot(m, p))
        return p

    p, _ = theano.scan(step, outputs_info=T.eye(6), non_sequences=m, n_steps=2)
    f, texts = in_memory([m], p)
    assert any("instructions" in t for t in texts)
    turn = np.roll(np.eye(6), 1, axis=0)
    np.testing.assert_allclose(f(turn)[1], np.linalg.matrix_power(turn, 48))


def test_scalar_loops_are_not_concerned() -> None:
    x = T.dvector("x")
    s, _ = theano.scan(lambda x, s: s + x, sequences=x, outputs_info=T.constant(np.zeros(())))
    _, texts = in_memory([x], s)
    assert not texts


def test_an_index_that_changes_stays_in_memory() -> None:
    m, k = T.dmatrix("m"), T.lvector("k")
    p, _ = theano.scan(
        lambda k, p, m: T.dot(m, p) + p[k], sequences=k, outputs_info=T.ones(3), non_sequences=m
    )
    f, texts = in_memory([m, k], p)
    assert any("index" in t for t in texts)
    state, expected = np.ones(3), []
    data = RNG.standard_normal((3, 3))
    for place in (0, 2, -1):
        state = data @ state + state[place]
        expected.append(state)
    np.testing.assert_allclose(f(data, [0, 2, -1]), expected)


def test_sizes_made_of_shared_parts_are_evaluated_once():
    """Each size is made of the one before it, several times over: walking all ways never ends."""
    rows = T.matrix("rows")

    def step(row, state):
        for _ in range(12):
            row = T.concatenate([row, row * 2])[1 : row.shape[0] * 2 - row.shape[0] + 1]
        return state + row

    states, _ = theano.scan(step, sequences=rows, outputs_info=T.zeros(4))
    values = np.arange(8.0).reshape(2, 4)
    found = theano.function([rows], states[-1])(values)
    np.testing.assert_array_equal(found, 8 * values.sum(0))
