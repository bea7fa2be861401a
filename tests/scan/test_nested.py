"""Loops in loops, in branches and around them; shared variables and random draws inside."""

from __future__ import annotations

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
    value,
)

import ltensor as theano
import ltensor.tensor as T
from ltensor.ifelse import ifelse
from ltensor.random import MRG_RandomStreams, RandomStreams
from ltensor.scan_module import until

x, y = T.dvectors("x", "y")
s, w = T.dscalars("s", "w")
m = T.dmatrix("m")
n, k = T.iscalars("n", "k")

X = np.array([0.3, -0.7, 1.1, 0.4])
M = np.linspace(-1, 1, 12).reshape(3, 4)


# ----------------------------------------------------------------------------- nesting


@pytest.mark.parametrize("read", ["all", "last"])
def test_two_levels(read: str) -> None:
    def outer(row: Any, h: Any) -> Any:
        inner, _ = theano.scan(lambda a, g: T.tanh(g * w + a), sequences=row, outputs_info=h)
        return inner[-1] if read == "last" else inner.sum()

    rows, _ = theano.scan(outer, sequences=m, outputs_info=s)
    h, wanted = 0.2, []
    for row in M:
        inner = []
        for a in row:
            h = np.tanh(h * 0.6 + a)
            inner.append(h)
        h = inner[-1] if read == "last" else sum(inner)
        wanted.append(h)
    check_values([m, s, w], rows, (M, 0.2, 0.6), wanted)
    check_gradients([m, s, w], (rows**2).sum(), [m, s, w], (M, 0.2, 0.6), order=2, tolerance=1e-5)


def test_two_levels_of_vectors_with_a_product() -> None:
    def outer(row: Any, h: Any) -> Any:
        inner, _ = theano.scan(lambda a, g: T.tanh(T.dot(m, g) * a), sequences=row, outputs_info=h)
        return inner[-1]

    rows, _ = theano.scan(outer, sequences=T.stack([x, 2 * x]), outputs_info=y)
    square = np.linspace(-0.8, 0.9, 9).reshape(3, 3)
    start = np.array([0.1, -0.2, 0.3])
    h, wanted = start, []
    for row in (X, 2 * X):
        for a in row:
            h = np.tanh(square @ h * a)
        wanted.append(h)
    check_values([m, x, y], rows, (square, X, start), wanted)
    check_gradients([m, x, y], (rows**2).sum(), [m, x, y], (square, X, start),
                    tolerance=1e-5)  # fmt: skip


def test_three_levels() -> None:
    t = T.dtensor3("t")

    def level(rows: Any, start: Any) -> Any:
        if rows.ndim == 1:
            return theano.scan(lambda a, h: T.sin(h * w + a), sequences=rows, outputs_info=start)[
                0
            ][-1]
        return theano.scan(lambda row, h: level(row, h), sequences=rows, outputs_info=start)[0][-1]

    result = level(t, s)
    numbers = np.linspace(-2, 2, 12).reshape(2, 2, 3)
    h = 0.4
    for a in numbers.ravel():
        h = np.sin(h * 0.7 + a)
    check_values([t, s, w], result, (numbers, 0.4, 0.7), h)
    check_gradients([t, s, w], result, [t, s, w], (numbers, 0.4, 0.7), order=2, tolerance=1e-5)


def test_inner_length_depends_on_the_outer_step() -> None:
    rows, _ = theano.scan(
        lambda i: theano.scan(lambda h: h * w, outputs_info=s, n_steps=i)[0][-1],
        sequences=T.arange(1, n),
    )
    check_values([s, w, n], rows, (1.5, 0.5, 5), [1.5 * 0.5**i for i in range(1, 5)])
    check_gradients([s, w, n], rows.sum(), [s, w], (1.5, 0.5, 5))


def test_inner_slices_of_growing_length() -> None:
    rows, _ = theano.scan(
        lambda i: theano.scan(lambda a, h: h + a**2, sequences=x[:i], outputs_info=s)[0].sum(),
        sequences=T.arange(1, x.shape[0] + 1),
    )
    wanted = [sum(0.1 + np.cumsum(X[:i] ** 2)) for i in range(1, 5)]
    check_values([x, s], rows, (X, 0.1), wanted)
    check_gradients([x, s], rows.sum(), [x, s], (X, 0.1))


def test_until_inside_a_loop() -> None:
    def inner(limit: Any) -> Any:
        rows, _ = theano.scan(
            lambda a, h: (h + a**2, until(h + a**2 > limit)), sequences=x, outputs_info=s
        )
        return rows[-1]

    rows, _ = theano.scan(inner, sequences=y)
    limits = np.array([0.2, 0.5, 9.0])
    sums = 0.1 + np.cumsum(X**2)
    wanted = [next((v for v in sums if v > limit), sums[-1]) for limit in limits]
    check_values([x, y, s], rows, (X, limits, 0.1), wanted)
    check_gradients([x, y, s], (rows**2).sum(), [x, s], (X, limits, 0.1))


# ----------------------------------------------------------------------------- branches


@pytest.mark.parametrize("taken", [0, 1])
def test_scan_in_a_branch(taken: int) -> None:
    loop = theano.scan(lambda a, h: T.tanh(h * w + a), sequences=x, outputs_info=s)[0]
    result = ifelse(T.gt(n, 0), (loop**2).sum(), x.sum() * w)
    h, total = 0.2, 0.0
    for a in X:
        h = np.tanh(h * 0.5 + a)
        total += h**2
    wanted = total if taken else X.sum() * 0.5
    check_values([n, x, s, w], result, (taken, X, 0.2, 0.5), wanted)
    check_gradients([n, x, s, w], result, [x, s, w], (taken, X, 0.2, 0.5))


def test_branch_in_a_scan() -> None:
    rows, _ = theano.scan(
        lambda a, h: ifelse(T.gt(a, 0), T.tanh(h * w + a), h * a), sequences=x, outputs_info=s
    )
    h, wanted = 0.2, []
    for a in X:
        h = np.tanh(h * 0.5 + a) if a > 0 else h * a
        wanted.append(h)
    check_values([x, s, w], rows, (X, 0.2, 0.5), wanted)
    check_gradients([x, s, w], (rows**2).sum(), [x, s, w], (X, 0.2, 0.5))


def test_branch_of_vectors_in_a_scan() -> None:
    rows, _ = theano.scan(
        lambda row, h: ifelse(T.gt(row[0], -0.5), T.tanh(h + row), h * 2),
        sequences=m, outputs_info=x,
    )  # fmt: skip
    h, wanted = X, []
    for row in M:
        h = np.tanh(h + row) if row[0] > -0.5 else h * 2
        wanted.append(h)
    check_values([m, x], rows, (M, X), wanted)
    check_gradients([m, x], (rows**2).sum(), [m, x], (M, X))


def test_loop_in_a_branch_in_a_loop() -> None:
    def outer(row: Any, h: Any) -> Any:
        inner = theano.scan(lambda a, g: T.tanh(g + a), sequences=row, outputs_info=h)[0][-1]
        return ifelse(T.gt(row.sum(), -1), inner, h * w)

    rows, _ = theano.scan(outer, sequences=m, outputs_info=s)
    h, wanted = 0.3, []
    for row in M:
        if row.sum() > -1:
            for a in row:
                h = np.tanh(h + a)
        else:
            h = h * 0.5
        wanted.append(h)
    check_values([m, s, w], rows, (M, 0.3, 0.5), wanted)
    check_gradients([m, s, w], (rows**2).sum(), [m, s, w], (M, 0.3, 0.5))


# ----------------------------------------------------------------------------- shared


@pytest.mark.parametrize("mode", MODES, ids=["none", "fast_run"])
def test_shared_update_inside(mode: Any) -> None:
    counter = theano.shared(np.float64(1))
    rows, updates = theano.scan(
        lambda a: (a * counter, {counter: counter + 1}), sequences=x, outputs_info=None
    )
    assert list(updates) == [counter]
    f = theano.function([x], rows, updates=updates, mode=mode)
    np.testing.assert_allclose(f(X), X * [1, 2, 3, 4])
    assert counter.get_value() == 5
    np.testing.assert_allclose(f(X), X * [5, 6, 7, 8])
    without = theano.function([x], rows, mode=mode)
    np.testing.assert_allclose(without(X), X * [9, 10, 11, 12])
    assert counter.get_value() == 9


def test_shared_array_update_inside() -> None:
    table = theano.shared(np.zeros(4))
    rows, updates = theano.scan(
        lambda i: (table.sum(), {table: T.set_subtensor(table[i], i + 1.0)}),
        sequences=T.arange(n),
    )
    f = theano.function([n], rows, updates=updates)
    np.testing.assert_allclose(f(3), [0, 1, 3])
    np.testing.assert_allclose(table.get_value(), [1, 2, 3, 0])


def test_shared_update_without_outputs() -> None:
    counter = theano.shared(np.int64(0))
    result, updates = theano.scan(lambda: {counter: counter + 2}, n_steps=n)
    assert result is None
    f = theano.function([n], [], updates=updates)
    f(3)
    assert counter.get_value() == 6
    f(0)
    assert counter.get_value() == 6


@pytest.mark.parametrize("mode", MODES, ids=["none", "fast_run"])
def test_shared_update_in_a_nested_loop(mode: Any) -> None:
    counter = theano.shared(np.float64(0), name="counter")

    def outer(row: Any) -> Any:
        inner, updates = theano.scan(lambda a: (a + counter, {counter: counter + 1}), sequences=row)
        return inner, updates

    rows, updates = theano.scan(outer, sequences=m)
    f = theano.function([m], rows, updates=updates, mode=mode)
    np.testing.assert_allclose(f(M), M + np.arange(12).reshape(3, 4))
    assert counter.get_value() == 12
    np.testing.assert_allclose(f(M), M + np.arange(12, 24).reshape(3, 4))


@pytest.mark.parametrize("mode", MODES, ids=["none", "fast_run"])
@pytest.mark.parametrize("ndim", [0, 1])
def test_swapped_shared_variables(ndim: int, mode: Any) -> None:
    start = np.zeros((3,) * ndim), np.ones((3,) * ndim)
    a, b = theano.shared(start[0]), theano.shared(start[1])
    rows, updates = theano.scan(lambda: (a + 2 * b, {a: b, b: a}), n_steps=n)
    f = theano.function([n], rows, updates=updates, mode=mode)
    assert [r.mean() for r in f(3)] == [2, 1, 2]
    np.testing.assert_array_equal(a.get_value(), start[1])
    np.testing.assert_array_equal(b.get_value(), start[0])
    f(2)
    np.testing.assert_array_equal(a.get_value(), start[1])


def test_updates_inside_and_outside_add_up() -> None:
    inside, outside = theano.shared(np.float64(0)), theano.shared(np.float64(0))
    rows, updates = theano.scan(lambda a: (a, {inside: inside + a}), sequences=x)
    f = theano.function([x], rows.sum(), updates=updates + {outside: outside + rows.sum()})
    f(X)
    assert inside.get_value() == pytest.approx(X.sum())
    assert outside.get_value() == pytest.approx(X.sum())


def test_gradient_through_an_updated_shared_variable() -> None:
    start = np.float64(0.3)
    memory = theano.shared(start)
    rows, updates = theano.scan(
        lambda a: (memory * a, {memory: T.tanh(memory * w + a)}), sequences=x
    )

    def plain(xs: Any, w: float) -> float:
        h, total = start, 0.0
        for a in xs:
            total += (h * a) ** 2
            h = np.tanh(h * w + a)
        return total

    gradients = theano.grad((rows**2).sum(), [x, w, memory])
    for mode in MODES:
        got = theano.function([x, w], gradients, mode=mode)(X, 0.6)
        for position in (0, 1):
            np.testing.assert_allclose(
                got[position], differences(plain, [X, np.float64(0.6)], position), rtol=1e-6
            )
    del updates


# ----------------------------------------------------------------------------- random draws


@pytest.mark.parametrize("streams", [RandomStreams, MRG_RandomStreams])
@pytest.mark.parametrize("mode", MODES, ids=["none", "fast_run"])
def test_draws_differ_from_step_to_step(streams: Any, mode: Any) -> None:
    rng = streams(seed=7)
    rows, updates = theano.scan(lambda: rng.uniform(size=(5,)), n_steps=4)
    f = theano.function([], rows, updates=updates, mode=mode)
    first, second = f(), f()
    assert len(np.unique(np.concatenate([first, second]))) == 40
    assert len(updates) == 1


def test_draws_inside_are_those_outside() -> None:
    inside, outside = RandomStreams(seed=3), RandomStreams(seed=3)
    rows, updates = theano.scan(lambda: inside.normal(size=(3,)), n_steps=4)
    got = theano.function([], rows, updates=updates)()
    one = theano.function([], outside.normal(size=(3,)))
    np.testing.assert_array_equal(got, [one() for _ in range(4)])


def test_draws_in_a_nested_loop_are_in_order() -> None:
    inside, outside = RandomStreams(seed=3), RandomStreams(seed=3)

    def outer() -> Any:
        rows, updates = theano.scan(lambda: inside.uniform(size=(2,)), n_steps=3)
        return rows, updates

    rows, updates = theano.scan(outer, n_steps=2)
    f = theano.function([], rows, updates=updates)
    one = theano.function([], outside.uniform(size=(2,)))
    for _ in range(2):
        np.testing.assert_array_equal(f().reshape(6, 2), [one() for _ in range(6)])


@pytest.mark.parametrize("streams", [RandomStreams, MRG_RandomStreams])
@pytest.mark.parametrize("mode", [UNOPTIMIZED, "FAST_RUN"], ids=["none", "fast_run"])
def test_gradient_sees_the_draws_of_the_loop(streams: Any, mode: Any) -> None:
    rng = streams(seed=11)

    def step(row: Any, h: Any) -> Any:
        mask = T.cast(rng.binomial(size=(4,), n=1, p=0.5), "float64")
        return T.tanh(h * w * mask + row), mask

    (rows, masks), updates = theano.scan(step, sequences=m, outputs_info=[x, None])
    gradients = theano.grad((rows**2).sum(), [m, x, w])
    f = theano.function([m, x, w], [masks, rows, *gradients], updates=updates, mode=mode)

    def plain(masks: Any, m: Any, h: Any, w: float) -> float:
        total = 0.0
        for mask, row in zip(masks, m, strict=True):
            h = np.tanh(h * w * mask + row)
            total += (h**2).sum()
        return total

    seen = []
    for _ in range(3):
        masks_got, _, *got = f(M, X, 0.9)
        seen.append(masks_got.tobytes())
        assert 0 < masks_got.mean() < 1
        for position in range(3):
            wanted = differences(
                lambda *v, masks=masks_got: plain(masks, *v), [M, X, np.float64(0.9)], position
            )
            np.testing.assert_allclose(got[position], wanted, rtol=1e-5, atol=1e-8)
    assert len(set(seen)) == 3


def test_gradient_alone_draws_once() -> None:
    rng = RandomStreams(seed=5)
    rows, updates = theano.scan(
        lambda a, h: h + a * rng.uniform(size=()), sequences=x, outputs_info=s
    )
    gradient = theano.function([x, s], theano.grad(rows[-1], x), updates=updates)
    again = RandomStreams(seed=5)
    one = theano.function([], again.uniform(size=()))
    for _ in range(2):
        np.testing.assert_allclose(gradient(X, 0.0), [one() for _ in range(4)])


def test_draw_outside_is_the_same_in_every_step() -> None:
    rng = RandomStreams(seed=5)
    drawn = rng.uniform(size=(4,))
    rows, updates = theano.scan(lambda row, d: row * d, sequences=m, non_sequences=drawn)
    f = theano.function([m], rows, updates=updates)
    ratio = f(M) / M
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[0], ratio.shape))


def test_gibbs_chain_advances_its_streams() -> None:
    rng = RandomStreams(seed=9)
    weights = theano.shared(np.linspace(-2, 2, 12).reshape(3, 4))

    def step(v: Any) -> Any:
        h = rng.binomial(size=(5, 4), n=1, p=T.nnet.sigmoid(T.dot(v, weights)), dtype="float64")
        return rng.binomial(
            size=(5, 3), n=1, p=T.nnet.sigmoid(T.dot(h, weights.T)), dtype="float64"
        )

    chain, updates = theano.scan(step, outputs_info=m, n_steps=6)
    assert len(updates) == 2
    f = theano.function([m], chain[-1], updates=updates)
    results = [f(np.ones((5, 3))) for _ in range(4)]
    assert len({r.tobytes() for r in results}) > 1
    assert set(np.unique(results)) <= {0.0, 1.0}


def test_value_of_both_modes_with_unused_updates() -> None:
    rows, _ = theano.scan(lambda a, c: a + c, sequences=x, outputs_info=s)
    assert value([x, s], rows, X, 0.0).shape == (4,)
    assert compiled([x, s, y], rows)(X, 0.0, X).shape == (4,)


def test_rows_whose_shape_only_the_first_step_tells() -> None:
    rows, _ = theano.scan(lambda row: ifelse(T.gt(row[0], -0.5), row * 2, row), sequences=m)
    wanted = [row * 2 if row[0] > -0.5 else row for row in M]
    check_values([m], rows, (M,), wanted)
    check_values([m], rows[-1], (M,), wanted[-1])
    check_gradients([m], (rows**2).sum(), [m], (M,))
    for mode in MODES:
        assert compiled([m], rows, mode)(np.zeros((0, 4))).shape[0] == 0


def test_rows_picked_by_a_mask() -> None:
    rows, _ = theano.scan(lambda row: row[T.gt(row, 0).nonzero()], sequences=m)
    table = np.array([[1.0, -1, 2], [-3, 4, 5]])
    check_values([m], rows, (table,), [[1, 2], [4, 5]])
    for mode in MODES:
        with pytest.raises(ValueError, match=r"in step 1 .* shape \(1,\), before \(2,\)"):
            compiled([m], rows, mode)(np.array([[1.0, -1, 2], [-3, -4, 5]]))
