"""Powers of a base that stays the same: its logarithm is taken once, with the same bits."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T

INF = np.inf
BASES = [0.0, -0.0, 1.0, -1.0, INF, -INF, np.nan, 0.9999, 2.0, -2.0, 0.5, 3.7, 1 + 1e-15]
BASES += [1e-310, 5e-324, -1e308]
POINTS = np.concatenate(
    [
        np.random.RandomState(0).randn(100) * 10,
        np.arange(-5.0, 5.0),
        [INF, -INF, np.nan, 0.0, -0.0, 0.5, 1e300, -1e300, 3e5],
    ]
)


def same_bits(a: np.ndarray, b: np.ndarray) -> None:
    np.testing.assert_array_equal(a, b)
    number = ~np.isnan(a)
    np.testing.assert_array_equal(np.signbit(a[number]), np.signbit(b[number]))


def text(f) -> str:
    return str(f._linked.lowered.program)


def test_bits_are_those_of_a_base_for_each_element() -> None:
    x, xs, k = T.dscalar("x"), T.dvector("xs"), T.dvector("k")
    once, each = theano.function([x, k], x**k), theano.function([xs, k], xs**k)
    assert "pow_of_log" in text(once)
    assert "pow_of_log" not in text(each)
    for base in BASES:
        found = once(base, POINTS)
        same_bits(found, each(np.full_like(POINTS, base), POINTS))
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(found, np.power(base, POINTS), rtol=1e-15)


def test_the_logarithm_stands_before_the_loop() -> None:
    x, k = T.dscalar("x"), T.dvector("k")
    y, _ = theano.scan(
        lambda k, y, x: y * 0.5 + x**k, k, T.constant(np.float64(0)), non_sequences=x
    )
    f = theano.function([x, k], y)
    before, loop = text(f).split("for{cpu", 1)
    assert "pow_log_high" in before
    assert "pow_log" not in loop
    want, state = [], 0.0
    for power in POINTS[:50]:
        state = state * 0.5 + 1.3**power
        want.append(state)
    np.testing.assert_allclose(f(1.3, POINTS[:50]), want, rtol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_other_types_take_the_whole_power(dtype: str) -> None:
    x, k = T.scalar("x", dtype=dtype), T.vector("k", dtype=dtype)
    f = theano.function([x, k], x**k)
    assert "pow_of_log" not in text(f)
    points = POINTS[:50].astype(dtype) / 4
    np.testing.assert_allclose(f(np.array(1.7, dtype), points), 1.7**points, rtol=2e-6)


def test_huge_exponents_give_zero_or_infinity() -> None:
    x, k = T.dvector("x"), T.dvector("k")
    f = theano.function([x, k], x**k)
    base = np.array([2.3e-308, 1e-98, 0.3, 1.5, 1e98, 1.7e308])
    for exponent in (2.0**30, 2.0**30 + 1, 2.0**33, 2.0**40, 1e15, 1e300):
        with np.errstate(all="ignore"):
            want = np.power(base, exponent)
            np.testing.assert_array_equal(f(base, np.full_like(base, exponent)), want)
            np.testing.assert_array_equal(f(base, np.full_like(base, -exponent)), 1 / want)


@pytest.mark.parametrize("exponent", [INF, -INF, np.nan])
def test_constant_exponents_that_are_no_numbers(exponent: float) -> None:
    x = T.dvector("x")
    with np.errstate(all="ignore"):
        want = np.power(POINTS, exponent)
    np.testing.assert_array_equal(theano.function([x], x**exponent)(POINTS), want)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint64", "int64"])
def test_integer_powers_wrap_as_products_do(dtype: str) -> None:
    x, k = T.vector("x", dtype=dtype), T.vector("k", dtype=dtype)
    info, rng = np.iinfo(dtype), np.random.default_rng(1)
    base = rng.integers(info.min, info.max, 200, dtype=dtype, endpoint=True)
    base[:40] = np.arange(40) - (20 if info.min else 0)
    power = rng.integers(0, info.max, 200, dtype=dtype, endpoint=True)
    power[20:60] = np.arange(40)
    np.testing.assert_array_equal(theano.function([x, k], x**k)(base, power), base**power)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("exponent", range(2, 9))
def test_products_for_small_whole_exponents(dtype: str, exponent: int) -> None:
    x = T.vector("x", dtype=dtype)
    points = (np.random.RandomState(exponent).rand(2000) + 0.5).astype(dtype)
    found = theano.function([x], x**exponent)(points)
    exact = [Fraction(float(p)) ** exponent for p in points]
    units = np.spacing(np.abs(found))
    for got, want, unit in zip(found, exact, units, strict=True):
        assert abs(Fraction(float(got)) - want) <= (exponent - 1) * Fraction(float(unit))
