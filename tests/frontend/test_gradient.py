"""What `grad` and its relatives take, and what their arguments mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ltensor
import ltensor.tensor as T
from ltensor.errors import GradientError


def test_known_gradients_replace_what_the_cost_says() -> None:
    x = T.dvector("x")
    h = x**2
    cost = (h**3).sum() + 5 * x.sum()
    given = {x: np.array([1.0, 2.0])}
    through = ltensor.grad(cost, x, known_grads={h: T.ones_like(h)})
    np.testing.assert_array_equal(through.eval(given), 2 * given[x] + 5)
    whole = ltensor.grad(None, x, known_grads={h: T.ones_like(h), (h**3).sum(): T.constant(7.0)})
    np.testing.assert_array_equal(whole.eval(given), 2 * given[x])
    np.testing.assert_array_equal(
        ltensor.grad(cost, [h, x], known_grads={h: x})[0].eval(given), given[x]
    )


def test_lop_of_values_that_depend_on_each_other_adds_up() -> None:
    x, u = T.dvectors("x", "u")
    h = x**2
    left = ltensor.Lop([h, h.sum(), h], x, [u, T.constant(3.0), 2 * u])
    given = {x: np.array([1.0, 2.0]), u: np.array([0.5, -1.0])}
    np.testing.assert_allclose(left.eval(given), 2 * given[x] * (3 * given[u] + 3))


def test_verify_grad_projects_in_double_precision() -> None:
    """A sum in float32 of thousands of large terms would hide the differences."""
    rng = np.random.RandomState(0)
    x = rng.rand(60, 70).astype("float32")
    ltensor.verify_grad(lambda v: T.exp(v) + 2, [x], rng=rng, n_tests=1)
    wrong = ltensor.gradient.grad_scale
    with pytest.raises(GradientError):
        ltensor.verify_grad(lambda v: wrong(v, 1.1), [x[:2, :2]], rng=rng, n_tests=1)


def test_gradients_have_the_dtype_of_what_they_belong_to() -> None:
    """A float32 part of a float64 cost is differentiated in float32."""
    x, n, s = T.fvector("x"), T.lscalar("n"), T.dscalar("s")
    h = x * 2
    cost = (h + n).sum()
    assert cost.dtype == "float64"
    assert ltensor.grad(cost, x).dtype == "float32"
    assert ltensor.grad((x * s).sum(), x).dtype == "float64"  # nothing lies between
    np.testing.assert_array_equal(ltensor.grad(cost, x).eval({x: [1.0, 2.0], n: 3}), [2, 2])


def test_second_directional_derivative_of_a_linear_function_is_zero() -> None:
    m, v = T.dmatrix("m"), T.dvector("v")
    slope = ltensor.grad(T.dot(m, v).sum(), v)
    given = {m: np.ones((2, 3)), v: np.ones(3)}
    np.testing.assert_array_equal(ltensor.Rop(slope, v, v).eval(given), np.zeros(3))
    with pytest.raises(ltensor.errors.DisconnectedInputError):
        ltensor.Rop(m, v, v)


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_the_first_operand_gets_the_gradient_of_a_tie(name: str) -> None:
    x, y = T.dvectors("x", "y")
    both = ltensor.grad(getattr(T, name)(x, y).sum(), [x, y])
    values = {x: np.array([1.0, 2.0, 0.0]), y: np.array([1.0, 0.0, 2.0])}
    first, second = (g.eval(values) for g in both)
    np.testing.assert_array_equal(first, [1, 1, 0] if name == "maximum" else [1, 0, 1])
    np.testing.assert_array_equal(first + second, [1, 1, 1])


def test_gradient_of_arange() -> None:
    start, stop, step = T.dscalars("start", "stop", "step")
    cost = (T.arange(start, stop, step) ** 2).sum()
    values = {start: 1.0, stop: 2.9, step: 0.5}
    numbers = np.arange(1, 2.9, 0.5)
    to_start, to_step = (g.eval(values) for g in ltensor.grad(cost, [start, step]))
    np.testing.assert_allclose(to_start, (2 * numbers).sum())
    np.testing.assert_allclose(to_step, (2 * numbers * np.arange(4)).sum())
    with pytest.raises(ltensor.errors.DisconnectedInputError):
        ltensor.grad(cost, stop)


def test_error_of_verify_grad_is_found_under_it() -> None:
    assert ltensor.verify_grad.E_grad is GradientError


def test_a_users_gradient_must_not_be_none() -> None:
    """As in Theano: nobody knows whether it means zero, undefined or disconnected."""

    class Scaled(ltensor.Op):
        __props__ = ()

        def make_node(self, x: Any, by: Any) -> Any:
            return ltensor.Apply(self, [x, by], [x.type()])

        def perform(self, node: Any, inputs: Any, outputs: Any) -> None:
            outputs[0][0] = inputs[0] * inputs[1]

        def grad(self, inputs: Any, output_grads: Any) -> Any:
            return [output_grads[0] * inputs[1], None]

    x, by = T.dvector("x"), T.dscalar("by")
    cost = Scaled()(x, by).sum()
    for wrt in (by, x):
        with pytest.raises(TypeError, match=r"Scaled.*grad returned None for a gradient term"):
            T.grad(cost, wrt)


def test_a_users_gradient_of_floats_must_not_be_integers() -> None:
    class Doubled(ltensor.Op):
        __props__ = ()

        def make_node(self, x: Any) -> Any:
            return ltensor.Apply(self, [x], [x.type()])

        def perform(self, node: Any, inputs: Any, outputs: Any) -> None:
            outputs[0][0] = 2 * inputs[0]

        def grad(self, inputs: Any, output_grads: Any) -> Any:
            return [T.zeros_like(inputs[0], dtype="int8")]

    x = T.dvector("x")
    with pytest.raises(TypeError, match=r"illegally returned an integer.*index 0, dtype int8"):
        T.grad(Doubled()(x).sum(), x)
    k = T.lvector("k")
    assert T.grad((Doubled()(k) * x).sum(), k).dtype == "float64"


def test_jacobian_of_a_matrix_is_refused() -> None:
    """With Theano's kind of error, as `hessian` has."""
    x = T.dvector("x")
    with pytest.raises(AssertionError, match="jacobian expects a 1 dimensional variable"):
        ltensor.gradient.jacobian(T.outer(x, x), x)
