"""Edge values that once went wrong: huge steps and counts, infinities, class numbers."""

from __future__ import annotations

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T

STEPS = [1, 2, 3, 2**62, 2**63 - 1, -1, -2, -(2**63) + 1, -(2**63)]


@pytest.mark.parametrize("step", STEPS)
def test_steps_of_every_size(step: int) -> None:
    x, n = T.dvector("x"), T.lscalar("n")
    values = np.arange(4.0)
    read = theano.function([x, n], x[::n])
    write = theano.function([x, n], T.set_subtensor(x[::n], 7.0))
    expected = values.copy()
    expected[::step] = 7
    np.testing.assert_array_equal(read(values, step), values[::step])
    np.testing.assert_array_equal(write(values, step), expected)


@pytest.mark.parametrize("counts", [[2**62] * 3, [2**62, 2**62, 1], [2**63 - 1, 1, 0]])
def test_repeat_beyond_memory(counts: list[int]) -> None:
    x, n = T.dvector("x"), T.lvector("n")
    with pytest.raises(MemoryError):
        theano.function([x, n], T.repeat(x, n, axis=0))(np.ones(3), counts)


@pytest.mark.parametrize("label", [3, -1])
def test_gradient_checks_class_numbers(label: int) -> None:
    x, y = T.dmatrix("x"), T.lvector("y")
    weights = theano.shared(np.ones((3, 3)))
    cost = T.nnet.categorical_crossentropy(T.nnet.softmax(T.dot(x, weights)), y).sum()
    step = theano.function([x, y], [], updates=[(weights, weights - T.grad(cost, weights))])
    with pytest.raises(ValueError, match="out of bounds"):
        step(np.ones((2, 3)), [0, label])
    np.testing.assert_array_equal(weights.get_value(), np.ones((3, 3)))


@pytest.mark.parametrize("divisor", [np.inf, -np.inf, 2.0, -2.0, 0.1, -0.3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floor_division_of_floats(divisor: float, dtype: str) -> None:
    x, y = T.vector("x", dtype=dtype), T.scalar("y", dtype=dtype)
    values = np.array([-1, 1, -7.5, 0, -0.0, 5, 1e30, -1e-30], dtype=dtype)
    divisor = np.asarray(divisor, dtype=dtype)
    got = theano.function([x, y], x // y)(values, divisor)
    expected = values // divisor
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(np.signbit(got), np.signbit(expected))


@pytest.mark.parametrize("count", [9, 0, -(2**63)])
def test_topk_refuses_impossible_counts(count: int) -> None:
    x, n = T.dvector("x"), T.lscalar("n")
    with pytest.raises(AssertionError, match="topk"):
        theano.function([x, n], T.topk(x, n))(np.arange(4.0), count)


# ------------------------------------------------------------------------------- reductions


def test_mean_of_many_half_floats() -> None:
    """Neither the sum nor the count of them fits float16."""
    x = T.vector(dtype="float16")
    ones = np.ones(100_000, "float16")
    for value in (x.mean(), T.mean(x, dtype="float16")):
        assert value.dtype == "float16"
        assert value.eval({x: ones}) == 1
    assert x.var().eval({x: ones}) == 0


@pytest.mark.parametrize(
    ("dtype", "accumulator"), [("float64", "float32"), ("int64", "int8"), ("complex64", "float64")]
)
def test_elements_must_fit_the_accumulator(dtype: str, accumulator: str) -> None:
    x = T.vector(dtype=dtype)
    for reduction in (T.sum, T.prod):
        with pytest.raises(TypeError, match="precision would be lost"):
            reduction(x, acc_dtype=accumulator)
        assert reduction(T.vector(dtype="int8"), acc_dtype="float32").ndim == 0


def test_complex_numbers_are_not_clipped() -> None:
    with pytest.raises(TypeError, match="no order"):
        T.clip(T.zvector(), 0, 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arange_of_floats_is_numpys_up_to_rounding(dtype: str) -> None:
    start, stop, step = T.dscalars("start", "stop", "step")
    f = theano.function([start, stop, step], T.arange(start, stop, step, dtype=dtype))
    rng = np.random.RandomState(3)
    for _ in range(20):
        first, width = rng.uniform(-10, 10), rng.uniform(0.01, 2) * rng.choice([-1, 1])
        last = first + width * rng.uniform(0, 50)
        expected = np.arange(first, last, width, dtype=dtype)
        eps = np.finfo(dtype).eps * max(abs(first), abs(last))
        np.testing.assert_allclose(f(first, last, width), expected, rtol=0, atol=2 * eps)
