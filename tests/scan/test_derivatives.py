"""Derivatives of loops: what they are taken of and by, their kinds and orders."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scan.checks import MODES, check_gradients, check_values, compiled, differences, scans, value

import ltensor as theano
import ltensor.tensor as T
from ltensor.scan_module import until

x, y = T.dvectors("x", "y")
s, w = T.dscalars("s", "w")
m = T.dmatrix("m")
n = T.iscalar("n")

X = np.array([0.3, -0.7, 1.1, 0.4])


def running(steps: Any = None, **options: Any) -> Any:
    return theano.scan(
        lambda a, h: T.tanh(w * h + a), sequences=x, outputs_info=s, n_steps=steps, **options
    )[0]


ARGUMENTS = (X, np.float64(0.2), np.float64(0.5))


# ----------------------------------------------------------------------------- by what


@pytest.mark.parametrize("which", [0, 1, 2], ids=["sequence", "initial", "non_sequence"])
@pytest.mark.parametrize("read", ["all", "last"])
def test_by_one_of_them_only(which: int, read: str) -> None:
    rows = running()
    cost = (rows**2).sum() if read == "all" else rows[-1] ** 2
    check_gradients([x, s, w], cost, [[x, s, w][which]], ARGUMENTS, order=3, tolerance=1e-5)


def test_by_an_explicit_non_sequence() -> None:
    rows, _ = theano.scan(
        lambda a, h, k, v: T.tanh(h * k + v.sum() * a),
        sequences=[x], outputs_info=[s], non_sequences=[w, y],
    )  # fmt: skip
    check_gradients([x, s, w, y], rows[-1], [w, y], (*ARGUMENTS, np.array([0.1, 0.2])), order=2)


def test_by_something_that_does_not_matter() -> None:
    rows = running()
    with pytest.raises(theano.gradient.DisconnectedInputError):
        theano.grad(rows.sum(), y)
    gradient = theano.grad(rows.sum(), y, disconnected_inputs="ignore")
    np.testing.assert_array_equal(compiled([x, s, w, y], gradient)(*ARGUMENTS, X), np.zeros(4))


def test_by_what_the_loop_only_passes_on() -> None:
    (rows, kept), _ = theano.scan(lambda a, h, k: [h + a, k], sequences=x, outputs_info=[s, w])
    check_gradients([x, s, w], (kept**2).sum(), [w], ARGUMENTS, order=2)
    with pytest.raises(theano.gradient.DisconnectedInputError):
        theano.grad(rows.sum(), w)


def test_shared_parameters() -> None:
    weights = theano.shared(np.linspace(-0.5, 0.5, 9).reshape(3, 3), name="weights")
    bias = theano.shared(np.array([0.1, -0.2, 0.3]), name="bias")
    rows, _ = theano.scan(
        lambda row, h: T.tanh(T.dot(h, weights) + row + bias),
        sequences=m,
        outputs_info=T.zeros((3,)),
    )
    cost = (rows**2).sum()
    f = theano.function([m], cost)
    gradients = theano.function([m], theano.grad(cost, [weights, bias]))
    numbers = np.linspace(-1, 1, 12).reshape(4, 3)
    for variable, got in zip((weights, bias), gradients(numbers), strict=True):
        start = variable.get_value()

        def moved(value: Any, variable: Any = variable) -> float:
            variable.set_value(value)
            return float(f(numbers))

        wanted = differences(moved, [start], 0)
        variable.set_value(start)
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-8)


def test_of_a_cost_inside_the_loop() -> None:
    """Steps of gradient descent: the loop's body holds a gradient."""

    def step(point: Any) -> Any:
        return point - 0.1 * theano.grad((T.sin(point) ** 2 * x).sum(), point)

    rows, _ = theano.scan(step, outputs_info=y, n_steps=5)
    h = start = np.array([0.5, -0.2, 0.9, 0.1])
    for _ in range(5):
        h = h - 0.1 * X * 2 * np.sin(h) * np.cos(h)
    check_values([x, y], rows[-1], (X, start), h)
    check_gradients([x, y], (rows[-1] ** 2).sum(), [x, y], (X, start), order=2)


def test_of_a_gradient_of_a_loop_inside_a_loop() -> None:
    def outer(k: Any) -> Any:
        rows, _ = theano.scan(lambda a, h: T.tanh(k * h + a), sequences=x, outputs_info=s)
        return theano.grad(rows[-1], k)

    derivatives, _ = theano.scan(outer, sequences=y)

    def plain(k: float) -> float:
        h = 0.2
        for a in X:
            h = np.tanh(k * h + a)
        return h

    points = np.array([0.1, 0.5, 0.9])
    wanted = [(plain(k + 1e-6) - plain(k - 1e-6)) / 2e-6 for k in points]
    np.testing.assert_allclose(value([x, s, y], derivatives, X, 0.2, points), wanted, rtol=1e-7)
    check_gradients([x, s, y], derivatives.sum(), [x, s, y], (X, np.float64(0.2), points))


# ----------------------------------------------------------------------------- until


def test_of_a_product_until() -> None:
    rows, _ = theano.scan(lambda a, h: (h * a, until(h * a > 5)), sequences=x, outputs_info=s)
    gradient = theano.grad(rows[-1], x)
    numbers = np.array([1.0, 2, 3, 4])
    check_values([x, s], gradient, (numbers, 1.0), [6.0, 3, 2, 0])
    for mode in MODES:
        f = compiled([x, s], [rows[-1], gradient], mode)
        for limit, wanted in ((1.0, [6.0, 3, 2, 0]), (6.0, [6.0, 0, 0, 0]), (0.1, None)):
            got = f(numbers, limit)[1]
            if wanted is None:
                wanted = 0.1 * 24 / numbers
            np.testing.assert_allclose(got, wanted)


@pytest.mark.parametrize("limit", [0.1, 0.9, 100.0])
def test_until_with_all_rows(limit: float) -> None:
    rows, _ = theano.scan(
        lambda a, h: (h + a**2 * w, until(h + a**2 * w > limit)), sequences=x, outputs_info=s
    )
    check_gradients(
        [x, s, w], (rows * T.arange(1, rows.shape[0] + 1)).sum(), [x, s, w], ARGUMENTS, order=3,
        tolerance=1e-5,
    )  # fmt: skip


def test_until_without_a_bound_on_data() -> None:
    rows, _ = theano.scan(lambda h: (h * w, until(h * w < 0.01)), outputs_info=s, n_steps=1000)
    check_gradients([s, w], (rows**2).sum(), [s, w], (np.float64(1.3), np.float64(0.5)), order=2)


def test_until_with_vectors_and_unfinished_rows() -> None:
    rows, _ = theano.scan(
        lambda row, h: (T.tanh(h + row), until((h + row).sum() > 0.5)), sequences=m, outputs_info=x
    )
    numbers = np.linspace(-1, 1.2, 20).reshape(5, 4)
    check_gradients([m, x], (rows**2).sum() + rows[-1].sum(), [m, x], (numbers, X), order=2)
    done = len(compiled([m, x], rows)(numbers, X))
    assert 1 < done < 5
    gradient = compiled([m, x], theano.grad(rows.sum(), m))(numbers, X)
    assert gradient[:done].all()
    assert not gradient[done:].any()


# ----------------------------------------------------------------------------- truncation


def test_truncated_gradient() -> None:
    rows, _ = theano.scan(
        lambda h: h * x[0], outputs_info=T.ones(()), n_steps=4, truncate_gradient=2
    )
    gradient = theano.grad(rows[-1], x)
    got = value([x], gradient, np.array([2.0]))
    np.testing.assert_allclose(got, [16.0])


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 9])
def test_truncated_gradient_of_sequences(steps: int) -> None:
    """As if the state ``steps`` before the end came from nowhere."""
    rows = running(truncate_gradient=steps)
    gradients = theano.grad(rows[-1], [x, s, w])
    got = value([x, s, w], gradients, *ARGUMENTS)
    states = [0.2]
    for a in X:
        states.append(np.tanh(0.5 * states[-1] + a))
    first = max(0, 4 - steps)

    def plain(xs: Any, start: Any, w: Any) -> float:
        h = start if first == 0 else states[first]
        for a in xs[first:]:
            h = np.tanh(w * h + a)
        return h

    for position, have in enumerate(got):
        np.testing.assert_allclose(
            have, differences(plain, list(ARGUMENTS), position), rtol=1e-6, atol=1e-8
        )


# ----------------------------------------------------------------------------- operators


def recurrence(xs: Any) -> Any:
    h, rows = 0.2, []
    for a in xs:
        h = np.tanh(0.5 * h + a)
        rows.append(h)
    return np.array(rows)


def jacobian_of_recurrence() -> Any:
    h = 1e-6
    columns = [(recurrence(X + h * e) - recurrence(X - h * e)) / (2 * h) for e in np.eye(4)]
    return np.stack(columns, axis=1)


def test_jacobian() -> None:
    got = value([x, s, w], theano.gradient.jacobian(running(), x), *ARGUMENTS)
    np.testing.assert_allclose(got, jacobian_of_recurrence(), rtol=1e-7, atol=1e-9)


def test_rop_and_lop() -> None:
    v, table = np.array([1.0, -2, 0.5, 3]), jacobian_of_recurrence()
    rows = running()
    right = value([x, s, w, y], theano.gradient.Rop(rows, x, y), *ARGUMENTS, v)
    np.testing.assert_allclose(right, table @ v, rtol=1e-7)
    left = value([x, s, w, y], theano.gradient.Lop(rows, x, y), *ARGUMENTS, v)
    np.testing.assert_allclose(left, v @ table, rtol=1e-7)


def test_rop_by_several() -> None:
    rows = running()
    direction = theano.gradient.Rop(rows[-1], [x, s, w], [y, T.constant(0.5), T.constant(-1.0)])
    v = np.array([1.0, -2, 0.5, 3])
    gradients = value([x, s, w], theano.grad(rows[-1], [x, s, w]), *ARGUMENTS)
    wanted = gradients[0] @ v + 0.5 * gradients[1] - gradients[2]
    np.testing.assert_allclose(value([x, s, w, y], direction, *ARGUMENTS, v), wanted, rtol=1e-6)


def test_hessian() -> None:
    cost = (running() ** 2).sum()
    got = value([x, s, w], theano.gradient.hessian(cost, x), *ARGUMENTS)
    np.testing.assert_allclose(got, got.T, rtol=1e-9, atol=1e-12)
    f = compiled([x, s, w], theano.grad(cost, x))
    h = 1e-5
    for k, e in enumerate(np.eye(4)):
        column = (f(X + h * e, 0.2, 0.5) - f(X - h * e, 0.2, 0.5)) / (2 * h)
        np.testing.assert_allclose(got[:, k], column, rtol=1e-6, atol=1e-8)


def test_third_derivative() -> None:
    power, _ = theano.scan(lambda h: h * w, outputs_info=T.ones_like(w), n_steps=n)
    cost = power[-1]
    wanted = 2.0**5
    for order in range(1, 4):
        cost = theano.grad(cost, w)
        wanted = wanted * (6 - order) / 2
        np.testing.assert_allclose(value([w, n], cost, 2.0, 5), wanted)


def test_derivatives_of_products_of_matrices() -> None:
    k = T.dmatrix("k")
    rows, _ = theano.scan(lambda row, h: T.tanh(T.dot(h, k) + row), sequences=m, outputs_info=x)
    numbers = np.linspace(-1, 1, 12).reshape(3, 4)
    weights = np.linspace(-0.6, 0.7, 16).reshape(4, 4)
    check_gradients(
        [m, x, k], (rows**2).sum(), [m, x, k], (numbers, X, weights), order=2, tolerance=1e-5
    )


# ----------------------------------------------------------------------------- dtypes


def test_float32_state_with_float64_gradient() -> None:
    start, xs = T.fscalar("start"), T.fvector("xs")
    rows, _ = theano.scan(lambda a, h: T.tanh(h + a), sequences=xs, outputs_info=start)
    cost = (rows * T.constant(np.float64(2.0))).sum()
    gradients = theano.grad(cost, [xs, start])
    got = value([xs, start], gradients, X.astype("float32"), np.float32(0.2))
    h, table = 0.2, []
    for a in X:
        h = np.tanh(h + a)
        table.append(h)
    adjoint, wanted = 0.0, []
    for h in reversed(table):
        adjoint = (adjoint + 2.0) * (1 - h * h)
        wanted.append(adjoint)
    np.testing.assert_allclose(got[0], wanted[::-1], rtol=1e-5)
    np.testing.assert_allclose(got[1], wanted[-1], rtol=1e-5)


def test_float32_loop_with_float64_parameter() -> None:
    xs = T.fvector("xs")
    rows, _ = theano.scan(lambda a, h: T.tanh(h * w + a), sequences=xs, outputs_info=s)
    gradients = theano.grad((rows**2).sum(), [xs, s, w])
    got = value([xs, s, w], gradients, X.astype("float32"), 0.2, 0.5)
    double = value([x, s, w], theano.grad((running() ** 2).sum(), [x, s, w]), *ARGUMENTS)
    for a, b in zip(got, double, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_integer_sequence_has_a_zero_gradient() -> None:
    ints = T.lvector("ints")
    rows, _ = theano.scan(lambda a, h: h * a, sequences=ints, outputs_info=s)
    gradient = theano.grad(rows.sum(), ints, disconnected_inputs="ignore")
    got = value([ints, s], gradient, np.array([1, 2, 3]), 0.5)
    assert got.dtype == "float64"


def test_gathered_rows() -> None:
    """An embedding looked up by an integer sequence."""
    ids = T.lvector("ids")
    rows, _ = theano.scan(lambda i, h: T.tanh(m[i] + h), sequences=ids, outputs_info=x)
    numbers = np.linspace(-1, 1, 12).reshape(3, 4)
    check_gradients([ids, m, x], (rows**2).sum(), [m, x], (np.array([2, 0, 2, 2]), numbers, X))


# ----------------------------------------------------------------------------- views of scan


def test_map_reduce_foldl_foldr() -> None:
    numbers = np.array([1.0, 2, 3])
    squares, updates = theano.map(lambda a: a**2, x)
    assert not updates
    total, _ = theano.reduce(lambda a, h: h + a, x, s)
    left, _ = theano.foldl(lambda a, h: h * 10 + a, x, np.float64(0))
    right, _ = theano.foldr(lambda a, h: h * 10 + a, x, np.float64(0))
    check_values([x, s], [squares, total, left, right], (numbers, 0.5), [numbers**2, 6.5, 123, 321])
    check_gradients(
        [x, s], total + left * right + squares.sum(), [x, s], (numbers, np.float64(0.5))
    )


def test_map_backwards_and_reduce_of_several() -> None:
    turned, _ = theano.map(lambda a: a, x, go_backwards=True)
    (a, b), _ = theano.reduce(lambda v, p, q: [p + v, q * v], x, [np.float64(0), np.float64(1)])
    check_values([x], [turned, a, b], (X,), [X[::-1], X.sum(), X.prod()])


def test_loss_of_a_loop_is_one_forward_and_one_backward_loop() -> None:
    rows = running()
    f = compiled([x, s, w], [rows, *theano.grad((rows**2).sum(), [x, s, w])])
    assert len(scans(f)) == 2
