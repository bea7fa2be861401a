"""Integers divided in lanes, by way of floats: every quotient is exact."""

from __future__ import annotations

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T

DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


def check(f, a: np.ndarray, b: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        wanted = [a // b, a % b]
    for got, right in zip(f(a, b), wanted, strict=True):
        assert got.dtype == right.dtype
        np.testing.assert_array_equal(got, right)


@pytest.mark.parametrize("dtype", DTYPES)
def test_quotients(dtype: str) -> None:
    x, y = (T.TensorType(dtype, (False,))(name) for name in "xy")
    f = theano.function([x, y], [x // y, x % y])
    limits, rng = np.iinfo(dtype), np.random.default_rng(0)
    if limits.bits == 8:
        every = np.arange(limits.min, limits.max + 1)
        a, b = (v.ravel().astype(dtype) for v in np.meshgrid(every, every))
        check(f, a[b != 0], b[b != 0])
    ends = np.array([limits.min, limits.min + 1, limits.max, limits.max - 1, 1, 0], dtype)
    a, b = (v.ravel() for v in np.meshgrid(ends, ends))
    check(f, a[b != 0], b[b != 0])
    for n in (1, 7, 8, 9, 63, 64, 65, 20_000):
        a, b = (rng.integers(limits.min, limits.max, n, dtype, endpoint=True) for _ in range(2))
        for shift in range(0, limits.bits, 5):
            divisor = b >> np.array(shift, dtype)
            divisor[divisor == 0] = 3
            check(f, a, divisor)
            # at and around multiples
            with np.errstate(all="ignore"):
                multiple, one = (a // divisor) * divisor, np.array(1, dtype)
                for near in (multiple, multiple + one, multiple - one):
                    check(f, near, divisor)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("divisor", [1, 2, 7, 100])
def test_known_divisors(dtype: str, divisor: int) -> None:
    x = T.TensorType(dtype, (False,))("x")
    f = theano.function([x], [x // divisor, x % divisor])
    limits = np.iinfo(dtype)
    a = np.random.default_rng(1).integers(limits.min, limits.max, 999, dtype, endpoint=True)
    for got, right in zip(f(a), [a // np.int8(divisor), a % np.int8(divisor)], strict=True):
        np.testing.assert_array_equal(got, right)


def test_by_zero() -> None:
    x, y = T.wvector("x"), T.wvector("y")
    with pytest.raises(ZeroDivisionError):
        theano.function([x, y], x // y)(np.ones(40, "int16"), np.arange(40, dtype="int16"))
