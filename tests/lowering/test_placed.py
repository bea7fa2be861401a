"""Gradients of slices: the parts are computed side by side in one buffer, the rest is zero."""

from __future__ import annotations

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T
from ltensor.lowering.program import Loop, Value, walk


def text(f) -> str:
    return str(f._linked.lowered.program)


def zeros_written(f) -> int:
    """Loops that store zeros."""
    return sum(
        any(isinstance(v, Value) and v.op == "store" and v.args[2].attr == 0.0 for v in e.body.body)
        for e in walk(f._linked.lowered.program.root)
        if isinstance(e, Loop)
    )


def gates(x):
    a, b = T.nnet.sigmoid(x[:, :4]), T.tanh(x[:, 4:])
    return (a * b).sum()


def test_the_nest_that_computes_them_writes_them_where_they_belong() -> None:
    x = T.dmatrix("x")
    f = theano.function([x], T.grad(gates(x), x))
    assert text(f).count("lanes") == 1
    assert zeros_written(f) == 0
    assert "ensure" not in text(f)
    a = np.random.RandomState(0).randn(3, 8)
    s, t = 1 / (1 + np.exp(-a[:, :4])), np.tanh(a[:, 4:])
    np.testing.assert_allclose(f(a), np.hstack([s * (1 - s) * t, s * (1 - t * t)]), rtol=1e-14)
    for columns in (3, 5, 9):
        with pytest.raises(ValueError, match=r"[Mm]is-?match"):
            f(np.ones((2, columns)))
    assert f(np.ones((0, 8))).shape == (0, 8)


def test_what_no_part_covers_is_zero() -> None:
    x, y = T.dmatrix("x"), T.dmatrix("y")
    z = T.zeros_like(x)
    z = T.set_subtensor(z[:, 5:7], T.exp(y))
    z = T.inc_subtensor(z[:, 1:3], T.tanh(y) + 1)
    f = theano.function([x, y], z)
    assert zeros_written(f) == 3  # three gaps
    for columns in (10, 8, 7):
        a, b = np.ones((4, columns)), np.random.RandomState(1).randn(4, 2)
        want = np.zeros((4, columns))
        want[:, 5:7], want[:, 1:3] = np.exp(b), np.tanh(b) + 1
        np.testing.assert_allclose(f(a, b), want, rtol=1e-14)
    with pytest.raises(ValueError, match=r"shape|size"):
        f(np.ones((4, 6)), np.ones((4, 2)))


@pytest.mark.parametrize("shape", [(1, 2), (4, 1), (1, 1)])
def test_a_part_that_is_stretched(shape) -> None:
    x, y = T.dmatrix("x"), T.dmatrix("y")
    z = T.set_subtensor(T.zeros_like(x)[:, 5:7], T.exp(y))
    f = theano.function([x, y], T.set_subtensor(z[:, :5], 2))
    b = np.random.RandomState(2).randn(*shape)
    want = np.full((4, 7), 2.0)
    want[:, 5:7] = np.exp(b)
    np.testing.assert_allclose(f(np.ones((4, 7)), b), want, rtol=1e-14)


def test_slices_that_overlap_are_added() -> None:
    x = T.dvector("x")
    f = theano.function([x], T.grad(((x[1:] - x[:-1]) ** 2).sum(), x))
    a = np.random.RandomState(3).randn(6)
    want = np.zeros(6)
    d = 2 * np.diff(a)
    want[1:] += d
    want[:-1] -= d
    np.testing.assert_allclose(f(a), want, rtol=1e-14)


def test_parts_that_are_read_besides() -> None:
    """The whole is changed afterwards, not the parts that others read."""
    x = T.dmatrix("x")
    a, b = T.exp(x[:, :2]), T.tanh(x[:, 2:])
    z = T.set_subtensor(T.zeros_like(x)[:, :2], a)
    z = T.set_subtensor(z[:, 2:], b)
    changed = T.inc_subtensor(z[:, 1:3], 10.0)
    f = theano.function([x], [changed, T.dot(a, b.T), a + 1])
    v = np.random.RandomState(4).randn(3, 4)
    p, q = np.exp(v[:, :2]), np.tanh(v[:, 2:])
    want = np.hstack([p, q])
    want[:, 1:3] += 10
    for got, value in zip(f(v), (want, p @ q.T, p + 1), strict=True):
        np.testing.assert_allclose(got, value, rtol=1e-13)


@pytest.mark.parametrize("empty", [slice(0, 0), slice(2, 2), slice(4, 4), slice(9, None)])
@pytest.mark.parametrize("empty_first", [True, False])
def test_an_empty_slice_clears_nothing(empty, empty_first: bool) -> None:
    y = T.dmatrix("y")
    h = T.dot(y, T.constant(np.ones((3, 6))))
    costs = [T.tanh(h[:, empty]).sum(), T.tanh(h[:, :4]).sum()]
    f = theano.function([y], T.grad(costs[not empty_first] + costs[empty_first], h))
    a = np.full((2, 3), 0.1)
    want = np.zeros((2, 6))
    want[:, :4] = 1 - np.tanh(a @ np.ones((3, 4))) ** 2
    np.testing.assert_allclose(f(a), want, rtol=1e-14)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("dtype", ["float32", "int64", "complex128"])
def test_any_axis_and_dtype(axis, dtype) -> None:
    x = T.TensorType(dtype, [False] * 3)("x")
    first = (slice(None),) * axis + (slice(2),)
    second = (slice(None),) * axis + (slice(2, 3),)
    z = T.set_subtensor(T.zeros_like(x)[second], (x * x)[second])
    f = theano.function([x], T.inc_subtensor(z[first], (x + x)[first]))
    for size in (5, 3, 2, 1):
        a = np.random.RandomState(5).randint(-9, 9, (size,) * 3).astype(dtype)
        want = np.zeros_like(a)
        want[first], want[second] = (a + a)[first], (a * a)[second]
        np.testing.assert_array_equal(f(a), want)


def test_a_state_of_a_loop() -> None:
    """The new state is put together while the old one is read."""
    h0, n = T.dmatrix("h0"), T.iscalar("n")

    def step(h):
        z = T.set_subtensor(T.zeros_like(h)[:, :2], T.tanh(h[:, 1:3]))
        return T.inc_subtensor(z[:, 2:], T.exp(-(h[:, :2] ** 2)))

    rows, _ = theano.scan(step, outputs_info=h0, n_steps=n)
    f = theano.function([h0, n], [rows[-1], T.grad(rows[-1].sum(), h0)])
    h = start = np.random.RandomState(6).randn(3, 4)
    for _ in range(4):
        h = np.hstack([np.tanh(h[:, 1:3]), np.exp(-(h[:, :2] ** 2))])
    last, gradient = f(start, 4)
    np.testing.assert_allclose(last, h, rtol=1e-13)
    bumped = start.copy()
    bumped[1, 2] += 1e-6
    slope = (f(bumped, 4)[0].sum() - last.sum()) / 1e-6
    np.testing.assert_allclose(gradient[1, 2], slope, rtol=1e-4, atol=1e-7)


def test_a_step_of_gates_is_one_nest_forward_and_one_back() -> None:
    """Six values of a step whose widths only the sum with the state tells."""
    x, u = T.ftensor3("x"), T.fmatrix("u")
    zero = T.zeros((x.shape[1], 8), dtype="float32")

    def step(z, h, c, u):
        z = z + T.dot(h, u)
        i, f, o = (T.nnet.sigmoid(z[:, k : k + 8]) for k in (0, 8, 16))
        c = f * c + i * T.tanh(z[:, 24:])
        return o * T.tanh(c), c

    (rows, _), _ = theano.scan(step, x, [zero, zero], u)
    f = theano.function([x, u], T.grad((rows**2).mean(), u))
    loops = [e for e in walk(f._linked.lowered.program.root) if isinstance(e, Loop)]
    steps = [loop for loop in loops if "scan_fn" in loop.label]
    assert len(steps) == 2
    for loop in steps:
        nests = [e for e in walk(loop.body) if isinstance(e, Loop) and e.kind == "vector"]
        with_functions = [
            nest
            for nest in nests
            if any(isinstance(v, Value) and v.op == "math" for v in nest.body.body)
        ]
        assert len(with_functions) == 1
    assert zeros_written(f) <= 3  # initial states and totals only
