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
