"""gamma, log|gamma|, digamma and trigamma, in double precision.

Right of 8 by Stirling's series, between by the recurrence to [1.5, 2.5] (gamma) or to [8, 16)
(its logarithmic derivatives), left of 0 by reflection.
"""

from __future__ import annotations

import math

from ltensor.lowering.vecmath import coefficients as table
from ltensor.lowering.vecmath.builder import (
    Builder,
    Pair,
    Value,
    fast_two_sum,
    two_product,
    two_sum,
)
from ltensor.lowering.vecmath.exponential import exp_pair
from ltensor.lowering.vecmath.logarithm import log, log_pair
from ltensor.lowering.vecmath.trig import flip_sign, sine_cosine_kernel

_PI = (3.141592653589793, 1.2246467991473532e-16)
_HALF_LOG_TWO_PI = (0.9189385332046728, -3.878294158067242e-17)
_ASYMPTOTIC_FROM = 8.0


def sine_cosine_pi(build: Builder, x: Value) -> Pair:
    """sin and cos of pi x, exact at multiples of 1/2."""
    doubled = x + x
    n = build.intrinsic("rint", doubled)
    fraction = x - n * 0.5
    r, low = two_product(fraction, _PI[0])
    sine, cosine = sine_cosine_kernel(build, r, build.fma(fraction, _PI[1], low))
    # n modulo 4, small enough to sit in the low bits beside 1.5 * 2**52
    turns = n - build.intrinsic("floor", n * 0.25) * 4.0
    quadrant = (turns + x.format.magic).bits()
    odd = (quadrant & 1).ne(0)
    y_sine = flip_sign(build, build.where(odd, cosine, sine), quadrant, 1)
    y_cosine = flip_sign(build, build.where(odd, sine, cosine), quadrant + 1, 1)
    return y_sine, y_cosine


def _to_middle(build: Builder, x: Value) -> tuple[Value, Value, Value]:
    """(y - 2, p, q) with gamma(x) = gamma(y) p / q and y in [1.5, 2.5), for 0 < x < 8.5."""
    one = build.constant("f64", 1.0)
    y, up = x, one
    for _ in range(6):
        high = y >= 2.5
        below = y - 1.0
        up = build.where(high, up * below, up)
        y = build.where(high, below, y)
    down = one
    # y + 1 - 2 is formed at once: exact for small and for middling y.
    offset = y - 2.0
    low = y < 1.5
    down = build.where(low, y, down)
    offset = build.where(low, y - 1.0, offset)
    lowest = y < 0.5
    down = build.where(lowest, y * (y + 1.0), down)
    offset = build.where(lowest, y, offset)
    return offset, up, down


def _positive_gamma(build: Builder, x: Value) -> Value:
    """gamma(x) for x >= 0."""
    offset, up, down = _to_middle(build, build.min(x, 8.0))
    middle = build.polynomial(offset, table.GAMMA["f64"]) * up / down
    # exp((x - 1/2) log(x) - x + log(2 pi) / 2), all of the exponent doubled
    big = build.max(build.min(x, 200.0), 8.0)
    log_high, log_low = log_pair(build, big)
    weight = big - 0.5
    product, error = two_product(log_high, weight)
    error = build.fma(log_low, weight, error) + _HALF_LOG_TWO_PI[1]
    total, lost = fast_two_sum(product, -big)
    total, lost_again = two_sum(total, _HALF_LOG_TWO_PI[0])
    total, rest = fast_two_sum(total, (lost + lost_again) + error)
    series = build.polynomial(1.0 / big, table.STIRLING_GAMMA["f64"])
    far = exp_pair(build, total, rest) * series
    return build.where(x < _ASYMPTOTIC_FROM, middle, far)


def gamma(build: Builder, x: Value) -> Value:
    """Gamma function; NaN at negative integers, signed infinities at signed zeros.

    Left of -171.6 the result is 0: gamma(|x|) of the reflection has overflowed.  The exact values
    there are denormal or zero, except within a rounding of the poles.
    """
    size = build.abs(x)
    positive = _positive_gamma(build, size)

    def reflected() -> list[Value]:
        sine, _ = sine_cosine_pi(build, size)
        return [-_PI[0] / (size * sine * positive)]

    (y,) = build.rarely(x < 0.0, [positive], reflected)
    negative_integer = (x < 0.0) & build.intrinsic("floor", x).eq(x)
    y = build.where(negative_integer, math.nan, y)
    y = build.where(size < 2.0**-60, 1.0 / x, y)
    return build.where(x.is_nan() | x.eq(math.inf), x, y)


def _positive_gammaln(build: Builder, x: Value) -> Value:
    """log(gamma(x)) for x >= 0."""
    small = x < _ASYMPTOTIC_FROM
    offset, up, down = _to_middle(build, build.min(x, 8.0))
    log_of = log(build, build.where(small, build.where(down.eq(1.0), up, down), x))
    shift = build.where(down.eq(1.0), log_of, -log_of)
    middle = build.fma(build.polynomial(offset, table.GAMMALN["f64"]), offset, shift)
    inverse = 1.0 / build.max(x, 8.0)
    series = build.polynomial(inverse * inverse, table.STIRLING_LOG["f64"]) * inverse
    far = (x - 0.5) * (log_of - 1.0) + (series + (_HALF_LOG_TWO_PI[0] - 0.5))
    return build.where(small, middle, far)


def gammaln(build: Builder, x: Value) -> Value:
    """Logarithm of |gamma(x)|; infinite at zero and the negative integers."""
    size = build.abs(x)
    positive = _positive_gammaln(build, size)

    def reflected() -> list[Value]:
        sine, _ = sine_cosine_pi(build, size)
        return [log(build, _PI[0] / build.abs(size * sine)) - positive]

    (y,) = build.rarely(x < 0.0, [positive], reflected)
    pole = (x <= 0.0) & build.intrinsic("floor", x).eq(x)
    # Near 0 the product size * sine would underflow.
    y = build.where(size < 2.0**-60, -log(build, size), y)
    y = build.where(pole | size.eq(math.inf), math.inf, y)
    return build.where(x.is_nan(), x, y)


def psi(build: Builder, x: Value) -> Value:
    """Digamma, the derivative of log(gamma(x)); absolute accuracy near its zeros."""
    size = build.abs(x)
    small = size < _ASYMPTOTIC_FROM
    near = build.min(size, _ASYMPTOTIC_FROM)
    # 1/x + 1/(x + 1) + ... + 1/(x + 7) as one quotient
    numerator, denominator = build.constant("f64", 1.0), near
    for step in range(1, 8):
        factor = near + float(step)
        numerator = build.fma(numerator, factor, denominator)
        denominator = denominator * factor
    y = build.where(small, size + _ASYMPTOTIC_FROM, size)
    inverse = 1.0 / y
    square = inverse * inverse
    series = build.polynomial(square, table.PSI["f64"]) * square
    asymptotic = log(build, y) - (inverse * 0.5 - series)
    positive = build.where(small, asymptotic - numerator / denominator, asymptotic)

    def reflected() -> list[Value]:
        sine, cosine = sine_cosine_pi(build, size)
        return [positive + 1.0 / size + cosine / sine * _PI[0]]

    (result,) = build.rarely(x < 0.0, [positive], reflected)
    pole = (x < 0.0) & build.intrinsic("floor", x).eq(x)
    result = build.where(pole, math.nan, result)
    result = build.where(size < 2.0**-60, -1.0 / x, result)
    return build.where(x.is_nan() | x.eq(math.inf), x, result)


def tri_gamma(build: Builder, x: Value) -> Value:
    """Trigamma, the derivative of digamma; infinite at zero and the negative integers."""
    size = build.abs(x)
    small = size < _ASYMPTOTIC_FROM
    near = build.min(size, _ASYMPTOTIC_FROM)
    first = near * near
    numerator, denominator = build.constant("f64", 1.0), build.constant("f64", 1.0)
    for step in range(1, 8):
        factor = near + float(step)
        factor = factor * factor
        if step == 1:
            denominator = factor
            continue
        numerator = build.fma(numerator, factor, denominator)
        denominator = denominator * factor
    y = build.where(small, size + _ASYMPTOTIC_FROM, size)
    inverse = 1.0 / y
    square = inverse * inverse
    series = build.polynomial(square, table.TRI_GAMMA["f64"])
    asymptotic = build.fma(square, build.fma(series, inverse, 0.5), inverse)
    shifted = asymptotic + numerator / denominator
    positive = build.where(small, shifted + 1.0 / first, asymptotic)

    def reflected() -> list[Value]:
        sine, _ = sine_cosine_pi(build, size)
        ratio = _PI[0] / sine
        # psi'(-a) = (pi / sin(pi a))**2 - psi'(1 + a)
        beyond = build.where(small, shifted, asymptotic - square)
        return [build.fma(ratio, ratio, -beyond)]

    (result,) = build.rarely(x < 0.0, [positive], reflected)
    pole = (x <= 0.0) & build.intrinsic("floor", x).eq(x)
    result = build.where(pole, math.inf, result)
    return build.where(x.is_nan(), x, result)
