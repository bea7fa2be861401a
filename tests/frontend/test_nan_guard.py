"""NanGuardMode: the first NaN, infinity or huge number is an error that names its op."""

from __future__ import annotations

import numpy as np
import pytest

import ltensor
import ltensor.tensor as T
from ltensor.nanguard import NanGuardMode


def test_names_the_op_that_made_it():
    x = T.dvector("x")
    f = ltensor.function([x], T.log(x).sum(), mode=NanGuardMode())
    assert f(np.ones(3)) == 0
    with pytest.raises(AssertionError, match=r"NaN detected(.|\n)*log"):
        f(np.array([1.0, -1.0]))
    with pytest.raises(AssertionError, match="Inf detected"):
        f(np.array([0.0, 1.0]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e11])
@pytest.mark.parametrize("shape", [(), (3,), (2, 50)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_inputs(value, shape, dtype):
    x = T.TensorType(dtype, (False,) * len(shape))("x")
    f = ltensor.function([x], x + 1, mode=NanGuardMode())
    values = np.ones(shape, dtype)
    assert np.allclose(f(values), 2)
    values[(-1,) * len(shape)] = value
    with pytest.raises(AssertionError, match=r"detected\n.*input of this graph"):
        f(values)


def test_choice_of_checks():
    x = T.dvector("x")
    values = {"nan_is_error": np.nan, "inf_is_error": np.inf, "big_is_error": 1e12}
    for name, value in values.items():
        off = {other: other == name for other in values}
        f = ltensor.function([x], x * 1.5, mode=NanGuardMode(**off))
        with pytest.raises(AssertionError):
            f(np.full(2, value))
        for other, harmless in values.items():
            if other != name and not (name == "big_is_error" and other == "inf_is_error"):
                assert f(np.full(2, harmless)).shape == (2,)


def test_inside_loops():
    x = T.dscalar("x")
    rows, _ = ltensor.scan(lambda h: T.sqrt(h - 1), outputs_info=[x], n_steps=5)
    f = ltensor.function([x], rows[-1], mode=NanGuardMode())
    assert ltensor.function([x], rows, mode=NanGuardMode())(1e6).shape == (5,)
    with pytest.raises(AssertionError, match=r"NaN detected(.|\n)*sqrt"):
        f(2.0)


def test_integers_and_complex():
    n, z = T.lvector("n"), T.zvector("z")
    f = ltensor.function([n, z], [n * 2, z * 2], mode=NanGuardMode())
    f(np.array([10**12]), np.array([1j]))
    with pytest.raises(AssertionError):
        f(np.array([1]), np.array([complex(0, np.nan)]))


# ----------------------------------------------------------------------------- where


def refused(f, *args) -> str:
    with pytest.raises(AssertionError) as caught:
        f(*args)
    return str(caught.value)


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4)])
def test_first_bad_index(shape):
    x = T.TensorType("float64", (False,) * len(shape))("x")
    f = ltensor.function([x], T.log(x), mode="nan_guard")
    values = np.ones(shape)
    values.flat[4:] = -1
    where = np.unravel_index(4, shape)
    text = refused(f, values)
    assert f"First bad element: index {tuple(int(i) for i in where)}\n" in text
    assert "log" in text


def test_step_op_line_and_index_in_a_loop():
    x, h = T.dmatrix("x"), T.dvector("h")

    def step(row, state):
        return T.sqrt(state - row)  # the culprit

    rows, _ = ltensor.scan(step, x, outputs_info=h, name="descent")
    f = ltensor.function([x, h], rows, mode="nan_guard")
    values = np.zeros((6, 3))
    assert np.allclose(f(values, np.ones(3)), 1)
    values[4, 1:] = 2.0
    text = refused(f, values, np.ones(3))
    assert text.startswith("NaN detected\n")
    assert "First bad element: index (1,), in step 4 of for{cpu,descent}\n" in text
    assert "sqrt" in text
    assert "return T.sqrt(state - row)  # the culprit" in text


def test_scalar_state_and_infinity():
    s = T.dscalar("s")
    rows, _ = ltensor.scan(lambda v: 1 / (v - 1), outputs_info=[s], n_steps=9)
    f = ltensor.function([s], rows[-1], mode="nan_guard")
    # 2, 1, infinity
    text = refused(f, 2.0)
    assert text.startswith("Inf detected\n")
    assert "First bad element: index (), in step 1 of for{cpu,scan_fn}\n" in text


def test_nested_loops():
    x = T.dmatrix("x")

    def inner(row):
        values, _ = ltensor.scan(lambda v: T.log(v), row, name="inner")
        return values

    rows, _ = ltensor.scan(inner, x, name="outer")
    # passes may make other things of loops without a recurrence
    f = ltensor.function([x], rows, mode=NanGuardMode(optimizer="None"))
    values = np.ones((4, 5))
    values[2, 3] = -1
    text = refused(f, values)
    assert "in step 2 of for{cpu,outer}, in step 3 of for{cpu,inner}\n" in text


def test_shared_variables_stay_as_they_were():
    total = ltensor.shared(0.0, "total")
    x = T.dvector("x")

    def step(value):
        return T.log(value), {total: total + 1}

    rows, updates = ltensor.scan(step, x)
    f = ltensor.function([x], rows, updates=updates, mode="nan_guard")
    refused(f, np.array([1.0, 1.0, -1.0]))
    assert total.get_value() == 0
    f(np.ones(3))
    assert total.get_value() == 3
