"""Traps that others have fallen into, a test for each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scan.checks import MODES, check_gradients, check_values, compiled, scans, value

import ltensor as theano
import ltensor.tensor as T
from ltensor.scan_module import until

x, y = T.dvector("x"), T.dvector("y")
s, w = T.dscalar("s"), T.dscalar("w")
m = T.dmatrix("m")
n = T.iscalar("n")

X = np.array([0.3, -0.7, 1.1, 0.4])


def running(taps: Any = None, **options: Any) -> Any:
    """``h = tanh(w * h + x)``."""
    return theano.scan(lambda a, h: T.tanh(w * h + a), sequences=x, outputs_info=s, **options)[0]


def running_plain(xs: Any, s: float, w: float) -> Any:
    rows = []
    for a in xs:
        s = np.tanh(w * s + a)
        rows.append(s)
    return np.array(rows)


# ----------------------------------------------------------------------------- steps


@pytest.mark.parametrize("steps", [0, 1, 2, 4, 9])
def test_number_of_steps_is_the_shortest(steps: int) -> None:
    check_values(
        [x, s, w, n], running(n_steps=n), (X, 0.2, 0.5, steps), running_plain(X[:steps], 0.2, 0.5)
    )


def test_zero_steps_give_empty_results_of_the_right_width() -> None:
    rows, _ = theano.scan(lambda h: h * 2, outputs_info=x, n_steps=n)
    got = value([x, n], rows, X, 0)
    assert got.shape == (0, 4)


def test_zero_steps_of_a_map() -> None:
    rows, _ = theano.scan(lambda a: T.outer(a, a), sequences=m)
    assert value([m], rows, np.zeros((0, 3))).shape == (0, 3, 3)


def test_zero_steps_constant() -> None:
    rows, _ = theano.scan(lambda h: h * 2, outputs_info=x, n_steps=0)
    assert value([x], rows, X).shape == (0, 4)


def test_gradient_of_zero_steps_is_zero() -> None:
    cost = running(n_steps=n).sum()
    gradients = theano.grad(cost, [x, s, w])
    got = value([x, s, w, n], gradients, X, 0.2, 0.5, 0)
    for g, like in zip(got, (X, 0.0, 0.0), strict=True):
        np.testing.assert_array_equal(g, np.zeros_like(like))


def test_last_row_of_zero_steps_is_the_initial_state_when_optimized() -> None:
    f = theano.function([x, s, w], running()[-1])
    assert f([], 0.25, 0.5) == 0.25


def test_symbolic_steps_from_a_shape() -> None:
    rows, _ = theano.scan(lambda h: h + 1, outputs_info=s, n_steps=m.shape[1])
    check_values([s, m], rows, (0.0, np.zeros((2, 3))), [1.0, 2.0, 3.0])


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16"])
def test_steps_of_any_integer_dtype(dtype: str) -> None:
    k = T.scalar("k", dtype=dtype)
    rows, _ = theano.scan(lambda h: h + 1, outputs_info=s, n_steps=k)
    check_values([s, k], rows, (0.0, np.array(3, dtype)), [1.0, 2.0, 3.0])


def test_one_step_is_written_out() -> None:
    rows = running(n_steps=1)
    f = compiled([x, s, w], rows)
    assert not scans(f)
    np.testing.assert_allclose(f(X, 0.2, 0.5), [np.tanh(0.5 * 0.2 + 0.3)])
    assert rows.broadcastable == (False,)
    gradient = compiled([x, s, w], theano.grad(rows.sum(), x))(X, 0.2, 0.5)
    assert gradient[0] > 0
    np.testing.assert_array_equal(gradient[1:], 0)


def test_one_step_with_taps_backwards_and_updates() -> None:
    counter = theano.shared(np.int64(0))
    rows, updates = theano.scan(
        lambda a, p, q: ([a + 10 * p + 100 * q], {counter: counter + 1}),
        sequences=x,
        outputs_info=dict(initial=y, taps=[-2, -1]),
        n_steps=1,
        go_backwards=True,
    )
    f = theano.function([x, y], rows, updates=updates)
    np.testing.assert_allclose(f([1.0, 2.0, 3.0], [5.0, 6.0]), [653.0])
    assert counter.get_value() == 1


def test_stop_at_the_first_step() -> None:
    rows, _ = theano.scan(
        lambda a, h: (h + a, until(T.gt(h + a, -100))), sequences=x, outputs_info=s
    )
    check_values([x, s], rows, (X, 1.0), [1.3])
    check_gradients([x, s], (rows**2).sum(), [x, s], (X, 1.0), order=2)


def test_taps_deeper_than_the_number_of_steps() -> None:
    rows, _ = theano.scan(
        lambda a, p, q: T.tanh(p * 2 - q * a),
        sequences=x,
        outputs_info=dict(initial=y, taps=[-7, -3]),
    )
    first = np.linspace(-1, 1, 7)
    for count in (1, 2):
        wanted = [np.tanh(first[k] * 2 - first[4 + k] * X[k]) for k in range(count)]
        check_values([x, y], rows, (X[:count], first), wanted)
        check_values([x, y], rows[-1], (X[:count], first), wanted[-1])
        check_gradients([x, y], (rows**2).sum(), [x, y], (X[:count], first), order=2)


def test_further_rows_of_the_initial_state_are_ignored() -> None:
    rows, _ = theano.scan(lambda p: 2 * p, outputs_info=dict(initial=y, taps=[-2]), n_steps=3)
    check_values([y], rows, ([1.0, 2.0, 3.0, 4.0],), [2.0, 4.0, 4.0])
    check_gradients([y], (rows**2).sum(), [y], (np.arange(1.0, 5.0),))


def test_taps_arrive_in_the_order_written() -> None:
    for taps, wanted in (([-1, -2], 73), ([-2, -1], 37)):
        rows, _ = theano.scan(
            lambda p, q: 10 * p + q, outputs_info=dict(initial=y, taps=taps), n_steps=2
        )
        assert value([y], rows, [3.0, 7.0])[0] == wanted


# ----------------------------------------------------------------------------- carries


@pytest.mark.parametrize("read", ["all", "last"])
def test_two_taps_of_one_buffer_are_read_before_it_is_written(read: str) -> None:
    rows, _ = theano.scan(
        lambda p, q: p + 2 * q, outputs_info=dict(initial=m, taps=[-2, -1]), n_steps=n
    )
    start = np.array([[1.0, 10.0], [3.0, 20.0]])
    history = list(start)
    for _ in range(5):
        history.append(history[-2] + 2 * history[-1])
    wanted = np.array(history[2:])
    result = rows if read == "all" else rows[-1]
    check_values([m, n], result, (start, 5), wanted if read == "all" else wanted[-1])


@pytest.mark.parametrize("ndim", [0, 1, 2])
@pytest.mark.parametrize("read", ["all", "last"])
def test_swapped_carries(ndim: int, read: str) -> None:
    a, b = (T.TensorType("float64", (False,) * ndim)(name) for name in "ab")
    (p, q), _ = theano.scan(lambda p, q: [q, p], outputs_info=[a, b], n_steps=n)
    one, two = np.full((2,) * ndim, 1.0), np.full((2,) * ndim, 2.0)
    for steps in (1, 2, 3, 4):
        odd = np.array([[one, two][(k + 1) % 2] for k in range(steps)])
        even = np.array([[one, two][k % 2] for k in range(steps)])
        outputs, wanted = [p, q], [odd, even]
        if read == "last":
            outputs, wanted = [v[-1] for v in outputs], [v[-1] for v in wanted]
        check_values([a, b, n], outputs, (one, two, steps), wanted)


def test_three_carries_in_a_ring_with_gradient() -> None:
    a, b, c = T.dvectors("a", "b", "c")
    (p, q, r), _ = theano.scan(lambda p, q, r: [q, r, p * q], outputs_info=[a, b, c], n_steps=5)
    numbers = tuple(np.array([k + 1.0, 0.5 - k]) for k in range(3))
    h = list(numbers)
    for _ in range(5):
        h = [h[1], h[2], h[0] * h[1]]
    check_values([a, b, c], [p[-1], q[-1], r[-1]], numbers, h)
    check_gradients([a, b, c], (p * q).sum() + r[-1].sum(), [a, b, c], numbers, tolerance=1e-5)


def test_the_same_array_is_sequence_and_initial_state() -> None:
    rows, _ = theano.scan(
        lambda a, p, q: a * p + q, sequences=x, outputs_info=dict(initial=x, taps=[-2, -1])
    )
    history = list(X[:2])
    for a in X:
        history.append(a * history[-2] + history[-1])
    check_values([x], rows, (X,), history[2:])
    check_gradients([x], (rows**2).sum(), [x], (X,), order=2)


def test_the_same_variable_is_everything() -> None:
    rows, _ = theano.scan(
        lambda a, h, all_: h * a + all_.sum(), sequences=x, outputs_info=x[0], non_sequences=x
    )
    check_gradients([x], (rows * X).sum(), [x], (X,), order=2)


def test_backwards_with_sequence_taps() -> None:
    rows, _ = theano.scan(
        lambda a, b: 10 * a + b, sequences=dict(input=x, taps=[0, 1]), go_backwards=True
    )
    check_values([x], rows, ([1.0, 2.0, 3.0],), [23.0, 12.0])


def test_backwards_takes_each_sequence_from_its_own_end() -> None:
    rows, _ = theano.scan(lambda a, b: 10 * a + b, sequences=[x, y], go_backwards=True)
    check_values([x, y], rows, ([1.0, 2.0, 3.0], [1.0, 2.0]), [32.0, 21.0])
    check_gradients([x, y], (rows**2).sum(), [x, y], (np.arange(1.0, 4), np.arange(1.0, 3)))


def test_tapped_and_untapped_sequences_start_together() -> None:
    rows, _ = theano.scan(lambda a, b: 10 * a + b, sequences=[dict(input=x, taps=[-1]), y])
    check_values([x, y], rows, ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]), [14.0, 25.0])


@pytest.mark.parametrize(
    ("taps", "wanted"),
    [([-2], [1, 2]), ([2], [3, 4]), ([-4, 0], []), (1, [2, 3, 4]), ([1, 0, -1], [321, 432])],
    ids=str,
)
def test_sequence_taps(taps: Any, wanted: list[float]) -> None:
    def step(*rows: Any) -> Any:
        return sum((10 ** (len(rows) - 1 - k)) * r for k, r in enumerate(rows))

    rows, _ = theano.scan(step, sequences=dict(input=x, taps=taps))
    check_values([x], rows, ([1.0, 2.0, 3.0, 4.0],), wanted)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_slice_then_last(count: int) -> None:
    rows = running()[1:][-1]
    xs = np.resize(X, count)
    check_values([x, s, w], rows, (xs, 0.2, 0.5), running_plain(xs, 0.2, 0.5)[-1])
    check_gradients([x, s, w], rows, [x, s, w], (xs, 0.2, 0.5))


def test_slice_then_last_of_one_row_does_not_exist() -> None:
    for mode in MODES:
        with pytest.raises(IndexError):
            compiled([x, s, w], running()[1:][-1], mode)([1.0], 0.2, 0.5)


@pytest.mark.parametrize(
    "read",
    [(-2,), (slice(-2, None),), (slice(None, -1),), (slice(-3, -1),), (slice(None, None, -1),)],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("count", [3, 4])
def test_other_slices(read: Any, count: int) -> None:
    rows = running()[read]
    plain = running_plain(X[:count], 0.2, 0.5)[read]
    check_values([x, s, w], rows, (X[:count], 0.2, 0.5), plain)


def test_output_that_is_not_used_but_carried() -> None:
    (_, seen), _ = theano.scan(lambda a, h: [h + a, h * a], sequences=x, outputs_info=[s, None])
    plain, h = [], 0.5
    for a in X:
        plain.append(h * a)
        h += a
    check_values([x, s], seen, (X, 0.5), plain)
    check_values([x, s], seen[-1], (X, 0.5), plain[-1])
    check_gradients([x, s], (seen**2).sum(), [x, s], (X, 0.5), order=2)


def test_output_that_nobody_needs_is_not_computed() -> None:
    (kept, _), _ = theano.scan(lambda a, h, g: [h + a, T.exp(g)], sequences=x, outputs_info=[s, s])
    (node,) = scans(compiled([x, s], kept))
    assert node.op.n_taps == 1


def test_merged_loops_with_different_stops() -> None:
    one, _ = theano.scan(lambda a, h: (h + a, until(h > 1)), sequences=x, outputs_info=s)
    two, _ = theano.scan(lambda a, h: (h + a, until(h > 3)), sequences=x, outputs_info=s)
    never, _ = theano.scan(lambda a, h: h + a, sequences=x, outputs_info=s)
    got = value([x, s], [one, two, never], np.ones(6), 0.5)
    assert [len(v) for v in got] == [2, 4, 6]


def test_body_returns_its_input() -> None:
    (a, b, c), _ = theano.scan(lambda a, h: [h, a, w], sequences=x, outputs_info=[s, None, None])
    check_values([x, s, w], [a, b, c], (X, 0.5, 2.0), [[0.5] * 4, X, [2.0] * 4])
    check_gradients(
        [x, s, w], (a * X).sum() + (b**2).sum() + (c**3).sum(), [x, s, w], (X, 0.5, 2.0), order=2
    )


def test_body_returns_its_matrix_inputs() -> None:
    (a, b), _ = theano.scan(lambda row, h: [row, h], sequences=m, outputs_info=[x, None])
    numbers = np.arange(12.0).reshape(3, 4)
    check_values([m, x], [a, b], (numbers, X), [numbers, np.stack([X, *numbers[:-1]])])
    check_values([m, x], [a[-1], b[-1]], (numbers, X), [numbers[-1], numbers[-2]])
    check_gradients([m, x], (a * b).sum(), [m, x], (numbers, X))


def test_body_returns_the_same_value_twice() -> None:
    def step(a: Any, p: Any, q: Any) -> Any:
        new = T.tanh(p + 2 * q + a)
        return [new, new, new]

    (p, q, r), _ = theano.scan(step, sequences=m, outputs_info=[x, y, None])
    numbers = np.linspace(-1, 1, 12).reshape(3, 4)
    h, k, wanted = X, -X, []
    for a in numbers:
        h = k = np.tanh(h + 2 * k + a)
        wanted.append(h)
    check_values([m, x, y], [p, q, r], (numbers, X, -X), [wanted] * 3)
    check_gradients([m, x, y], (p * q * r).sum(), [m, x, y], (numbers, X, -X))


def test_body_returns_a_constant() -> None:
    (a, b), _ = theano.scan(
        lambda row, h: [T.constant(np.float64(3)), h + 1], sequences=x, outputs_info=[s, None]
    )
    check_values([x, s], [a, b], (X, 0.0), [[3.0] * 4, [1.0, 4.0, 4.0, 4.0]])
    check_gradients([x, s], a.sum() + (b**2).sum(), [x, s], (X, 0.5))


def test_outputs_that_are_views_of_inputs() -> None:
    t = T.dtensor3("t")
    (a, b, c, d), _ = theano.scan(
        lambda row: [row.T, row[::-1], row[0], row[:, None, 1:]], sequences=t
    )
    numbers = np.arange(24.0).reshape(2, 3, 4)
    check_values(
        [t], [a, b, c, d], (numbers,),
        [numbers.transpose(0, 2, 1), numbers[:, ::-1], numbers[:, 0], numbers[:, :, None, 1:]],
    )  # fmt: skip


def test_view_of_the_state_is_its_next_value() -> None:
    rows, _ = theano.scan(lambda h: h[::-1], outputs_info=x, n_steps=3)
    check_values([x], rows, (X,), [X[::-1], X, X[::-1]])
    check_values([x], rows[-1], (X,), X[::-1])
    turned, _ = theano.scan(lambda h: h.T, outputs_info=m, n_steps=3)
    square = np.arange(9.0).reshape(3, 3)
    check_values([m], turned[-1], (square,), square.T)
    shifted, _ = theano.scan(lambda h: T.concatenate([h[1:], h[:1]]), outputs_info=x, n_steps=2)
    check_values([x], shifted[-1], (X,), np.roll(X, -2))


def test_inputs_are_not_written_to() -> None:
    rows, _ = theano.scan(lambda a, h: T.set_subtensor(h[0], h[1] + a), sequences=x, outputs_info=y)
    f = compiled([x, y], [rows, rows[-1], theano.grad(rows.sum(), y)])
    xs, ys = X.copy(), X.copy()
    f(xs, ys)
    np.testing.assert_array_equal(xs, X)
    np.testing.assert_array_equal(ys, X)


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8"])
def test_integer_carries(dtype: str) -> None:
    start = T.scalar("start", dtype=dtype)
    rows, _ = theano.scan(lambda h: T.cast(h * 3 + 1, dtype), outputs_info=start, n_steps=9)
    h, wanted = np.array(1, dtype), []
    for _ in range(9):
        h = np.array(int(h) * 3 + 1).astype(dtype)
        wanted.append(h)
    got = value([start], rows, np.array(1, dtype))
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, wanted)


def test_integer_carry_next_to_a_float_one() -> None:
    (rows, counts), _ = theano.scan(
        lambda a, h, k: [T.tanh(h * a + k), k + 1],
        sequences=x,
        outputs_info=[s, np.int64(0)],
    )
    h, wanted = 0.4, []
    for k, a in enumerate(X):
        h = np.tanh(h * a + k)
        wanted.append(h)
    check_values([x, s], [rows, counts], (X, 0.4), [wanted, [1, 2, 3, 4]])
    check_gradients([x, s], (rows * counts).sum(), [x, s], (X, 0.4), order=2)


def test_complex_carry() -> None:
    z = T.zscalar("z")
    rows, _ = theano.scan(lambda c: c * c + z, outputs_info=T.zeros_like(z), n_steps=4)
    h, wanted = 0j, []
    for _ in range(4):
        h = h * h + (0.2 + 0.3j)
        wanted.append(h)
    np.testing.assert_allclose(value([z], rows, 0.2 + 0.3j), wanted)


def test_carry_that_loses_its_broadcast_flag() -> None:
    rows, _ = theano.scan(
        lambda h, v: h + v, outputs_info=T.row("r"), non_sequences=T.row("q"), n_steps=2
    )
    assert rows.broadcastable == (False, True, False)
    start = T.zeros((1,))
    rows, _ = theano.scan(lambda a, h: h + a, sequences=m, outputs_info=start)
    assert rows.broadcastable == (False, False)
    got = value([m], rows, np.ones((3, 1)))
    np.testing.assert_array_equal(got, [[1.0], [2.0], [3.0]])
    check_gradients([m], (rows**2).sum(), [m], (np.ones((3, 1)),))


def test_carry_keeps_its_broadcast_flag() -> None:
    rows, _ = theano.scan(lambda h: h * 2, outputs_info=T.unbroadcast(m, 0), n_steps=2)
    assert rows.broadcastable == (False, False, False)
    col = T.dcol("col")
    rows, _ = theano.scan(lambda h: h * 2, outputs_info=col, n_steps=2)
    assert rows.broadcastable == (False, False, True)
    check_gradients([col], (rows**2).sum(), [col], (np.ones((3, 1)),))


# ----------------------------------------------------------------------------- sequences


def test_empty_list_of_sequences() -> None:
    rows, _ = theano.scan(
        lambda h: h + 1, sequences=[], outputs_info=[s], non_sequences=[], n_steps=2
    )
    check_values([s], rows, (0.0,), [1.0, 2.0])


def test_sequences_of_different_lengths() -> None:
    rows, _ = theano.scan(lambda a, b: a * b, sequences=[x, y])
    check_values([x, y], rows, (X, X[:2]), X[:2] ** 2)
    check_gradients([x, y], (rows**2).sum(), [x, y], (X, X[:2]))


def test_nested_loop_over_a_sequence_of_the_outer_one() -> None:
    def outer(a: Any, total: Any) -> Any:
        inner, _ = theano.scan(lambda b: T.tanh(a * b), sequences=x)
        return total + inner.sum() * a

    rows, _ = theano.scan(outer, sequences=x, outputs_info=s)
    wanted = 0.1 + np.cumsum([np.tanh(a * X).sum() * a for a in X])
    check_values([x, s], rows, (X, 0.1), wanted)
    check_gradients([x, s], (rows**2).sum(), [x, s], (X, 0.1), order=2)


def test_zero_size_rows() -> None:
    rows, _ = theano.scan(lambda a, h: h + a, sequences=m, outputs_info=x)
    assert value([m, x], rows, np.zeros((3, 0)), np.zeros(0)).shape == (3, 0)
    assert value([m, x], rows[-1], np.zeros((3, 0)), np.zeros(0)).shape == (0,)
    gradient = theano.grad(rows.sum(), [m, x])
    assert [g.shape for g in value([m, x], gradient, np.zeros((3, 0)), np.zeros(0))] == [
        (3, 0), (0,),
    ]  # fmt: skip


def test_matrix_states_with_a_product() -> None:
    k = T.dmatrix("k")
    rows, _ = theano.scan(
        lambda h, k: T.tanh(T.dot(h, k)), outputs_info=m, non_sequences=k, n_steps=3
    )
    h = start = np.linspace(-1, 1, 6).reshape(2, 3)
    weights = np.linspace(-0.5, 0.9, 9).reshape(3, 3)
    wanted = []
    for _ in range(3):
        h = np.tanh(h @ weights)
        wanted.append(h)
    check_values([m, k], rows, (start, weights), wanted)
    check_values([m, k], rows[-1], (start, weights), wanted[-1])
    check_gradients([m, k], (rows**2).sum(), [m, k], (start, weights), order=2, tolerance=1e-5)


def test_several_outputs_with_different_initial_states() -> None:
    def step(a: Any, h: Any, p: Any, q: Any, v: Any) -> Any:
        return [T.tanh(h + a), a * h, p * q + v.sum(), v * h]

    (h, seen, k, v), _ = theano.scan(
        step, sequences=x,
        outputs_info=[s, None, dict(initial=y, taps=[-3, -1]), dict(initial=m, taps=[-1])],
    )  # fmt: skip
    start = np.array([[0.5, -0.4, 0.2]])
    numbers = (X, 0.3, np.array([0.1, 0.2, 0.3]), start)
    state, ps, vs, table = 0.3, [0.1, 0.2, 0.3], start[0], []
    for a in X:
        row = (np.tanh(state + a), a * state, ps[-3] * ps[-1] + vs.sum(), vs * state)
        table.append(row)
        state, vs = row[0], row[3]
        ps.append(row[2])
    wanted = [np.array([row[k] for row in table]) for k in range(4)]
    # tap -1 written out takes the initial value itself, not an array of initial rows
    wanted[3] = wanted[3][:, None, :]
    check_values([x, s, y, m], [h, seen, k, v], numbers, wanted)
    check_gradients([x, s, y, m], (h * seen).sum() + (k * k).sum() + v.sum(), [x, s, y, m], numbers)
