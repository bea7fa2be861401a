"""``tensor.fourier``: transforms of complex arrays along one axis."""

from __future__ import annotations

import numpy as np
import pytest

import ltensor
import ltensor.tensor as T
from ltensor.tensor.fourier import Fourier, fft


@pytest.mark.parametrize("axis", [0, 1, None])
@pytest.mark.parametrize("n", [None, 3, 5, 8])
@pytest.mark.parametrize("dtype", ["complex128", "complex64", "float64"])
def test_like_numpy(axis: int | None, n: int | None, dtype: str) -> None:
    rng = np.random.default_rng(0)
    value = rng.normal(size=(5, 4)).astype(dtype)
    if dtype.startswith("complex"):
        value = value + (1j * rng.normal(size=(5, 4))).astype(dtype)
    a = T.TensorType(dtype, (False, False))()
    out = fft(a, n, axis)
    assert out.dtype == "complex128"
    found, shape, more = ltensor.function([a], [out, out.shape, 2 * out])(value)
    wanted = np.fft.fft(value.astype("complex128"), n, -1 if axis is None else axis)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert tuple(shape) == wanted.shape
    np.testing.assert_array_equal(more, 2 * found)


def test_length_known_when_called() -> None:
    a, n = T.zvector(), T.lscalar()
    value = np.arange(4) + 1j
    function = ltensor.function([a, n], [fft(a, n, 0), fft(a, n, 0).shape[0]])
    for length in (2, 4, 7):
        found, size = function(value, length)
        np.testing.assert_allclose(found, np.fft.fft(value, length))
        assert size == length


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("n", [3, 5, 8])
def test_gradient_of_real_arrays(axis: int, n: int) -> None:
    weights = np.random.default_rng(1).normal(size=(8, 8))

    def part(x: T.TensorVariable) -> T.TensorVariable:
        out = T.real(fft(x, n, axis))
        return (out * weights[: 5 if axis else n, : n if axis else 4]).sum()

    value = np.random.default_rng(2).normal(size=(5, 4))
    ltensor.gradient.verify_grad(part, [value], rng=np.random.RandomState(0))


def test_what_is_refused() -> None:
    a = T.zmatrix()
    for arguments in ((T.zscalar(), 3, 0), (a, 0, 0), (a, 2.0, 0), (a, 3, 2), (a, 3, T.lscalar())):
        with pytest.raises(TypeError, match="Fourier"):
            fft(*arguments)
    assert Fourier() == fft
