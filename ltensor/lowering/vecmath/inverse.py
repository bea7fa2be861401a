"""The inverse trigonometric functions, and the hyperbolic ones with their inverses."""

from __future__ import annotations

import math

from ltensor.lowering.vecmath import coefficients as table
from ltensor.lowering.vecmath.builder import Builder, Value, fast_two_sum, two_product, two_sum
from ltensor.lowering.vecmath.exponential import quarter_expm1, scaled_exp
from ltensor.lowering.vecmath.logarithm import log1p_pair, log_scaled, split

_HALF_PI = {
    "f32": (1.5707963705062866, -4.371138828673793e-08),
    "f64": (1.5707963267948966, 6.123233995736766e-17),
}
_TAN_PI_8 = 0.41421356237309503


def _arcsine_parts(build: Builder, x: Value) -> tuple[Value, Value, Value]:
    """(large, s, t): arcsin(s) = s + t, with s = |x| or, where large, sqrt((1 - |x|) / 2)."""
    size = build.abs(x)
    large = size > 0.5
    z = build.where(large, (1.0 - size) * 0.5, size * size)
    root = build.sqrt(z)
    s = build.where(large, root, size)
    return large, s, build.polynomial(z, table.ASIN[x.kind]) * z * s


def arcsin(build: Builder, x: Value) -> Value:
    """Inverse sine; NaN outside [-1, 1]."""
    large, s, tail = _arcsine_parts(build, x)
    high, low = _HALF_PI[x.kind]
    turned = high - ((s + s) - (low - (tail + tail)))
    y = build.where(large, turned, s + tail)
    return build.copysign(y, x)


def arccos(build: Builder, x: Value) -> Value:
    """Inverse cosine; NaN outside [-1, 1]."""
    large, s, tail = _arcsine_parts(build, x)
    high, low = _HALF_PI[x.kind]
    negative = x < 0.0
    twice = (s + tail) + (s + tail)
    from_end = build.where(negative, (high + high) - (twice - (low + low)), twice)
    near_zero = build.where(negative, s, -s)
    tail = build.where(negative, tail, -tail)
    total, lost = fast_two_sum(build.constant(x.kind, high), near_zero)
    return build.where(large, from_end, total + (lost + (tail + low)))


def _arctangent_of_quotient(build: Builder, small: Value, big: Value) -> tuple[Value, Value]:
    """arctan(small / big), 0 <= small <= big, as a pair: one division, by tan(pi / 8)."""
    upper = small > big * _TAN_PI_8
    numerator = build.where(upper, small - big, small)
    denominator, denominator_lost = fast_two_sum(big, small)
    denominator = build.where(upper, denominator, big)
    q = numerator / denominator
    z = q * q
    tail = build.polynomial(z, table.ATAN[q.kind]) * z * q
    # The rounding of small + big matters, the difference is exact there unless it is large.
    tail = build.where(upper, tail - q * (denominator_lost / denominator), tail)
    high, low = (part * 0.5 for part in _HALF_PI[q.kind])
    base = build.where(upper, build.constant(q.kind, high), 0.0)
    total, lost = fast_two_sum(base, q)
    total = build.where(upper, total, q)
    lost = build.where(upper, lost + low, 0.0)
    return total, tail + lost


def arctan(build: Builder, x: Value) -> Value:
    """Inverse tangent."""
    size = build.abs(x)
    high, low = _HALF_PI[x.kind]
    middle, outer = size > _TAN_PI_8, size > 1.0 / _TAN_PI_8
    numerator = build.where(middle, size - 1.0, size)
    denominator = build.where(middle, size + 1.0, 1.0)
    numerator = build.where(outer, -1.0, numerator)
    denominator = build.where(outer, size, denominator)
    q = numerator / denominator
    z = q * q
    tail = build.polynomial(z, table.ATAN[x.kind]) * z * q
    base = build.where(outer, high, build.where(middle, high * 0.5, build.constant(x.kind, 0.0)))
    base_low = build.where(outer, low, build.where(middle, low * 0.5, build.constant(x.kind, 0.0)))
    y = base + (q + (tail + base_low))
    return build.copysign(y, x)


def arctan2(build: Builder, y: Value, x: Value) -> Value:
    """Angle of the point (x, y), by the rules of C99."""
    y_size, x_size = build.abs(y), build.abs(x)
    steep = y_size > x_size
    small = build.where(steep, x_size, y_size)
    big = build.where(steep, y_size, x_size)
    infinite = small.eq(math.inf)
    small, big = build.where(infinite, 1.0, small), build.where(infinite, 1.0, big)
    # Keep the sum finite, and quotients of denormals exact.
    huge = big > x.format.largest_quarter
    tiny = big < x.format.smallest_normal * 2.0**24
    factor = build.where(huge, 0.25, build.where(tiny, 2.0**64, build.constant(x.kind, 1.0)))
    small, big = small * factor, big * factor
    big = build.where(big.eq(0.0), 1.0, big)
    angle, rest = _arctangent_of_quotient(build, small, big)
    high, low = _HALF_PI[x.kind]
    turned, lost = two_sum(-angle, high)
    angle = build.where(steep, turned, angle)
    rest = build.where(steep, lost + (low - rest), rest)
    behind = (x.bits() & x.format.sign_bit).ne(0)
    turned, lost = two_sum(-angle, high + high)
    angle = build.where(behind, turned, angle)
    rest = build.where(behind, lost + ((low + low) - rest), rest)
    result = build.copysign(angle + rest, y)
    return build.where(x.is_nan() | y.is_nan(), x + y, result)


# -- hyperbolic -------------------------------------------------------------------------------


def sinh(build: Builder, x: Value) -> Value:
    """Hyperbolic sine: h + h / (2 h + 1) with h = expm1(|x|) / 2."""
    main, correction = quarter_expm1(build, build.abs(x))
    main, correction = main + main, correction + correction
    h = main + correction
    second = build.where(h < 2.0**60, h / (h + h + 1.0), 0.5)  # not infinity / infinity
    y = main + (correction + second)
    y = build.where(build.abs(x) < x.format.smallest_normal * 8, x, y)
    return build.copysign(y, x)


def cosh(build: Builder, x: Value) -> Value:
    """Hyperbolic cosine: h + 1 / (4 h) with h = exp(|x|) / 2."""
    h = scaled_exp(build, build.abs(x), -1)
    return h + 0.25 / h


def arcsinh(build: Builder, x: Value) -> Value:
    """Inverse hyperbolic sine: log1p(a + a**2 / (1 + sqrt(1 + a**2))), a = |x|."""
    size = build.abs(x)
    large = size > 2.0**30
    a = build.where(large, 1.0, size)
    square = a * a
    increment = square / (build.sqrt(square + 1.0) + 1.0)
    total, lost = two_sum(a, increment)
    near = log1p_pair(build, total, lost)
    y = build.where(large, _log_twice(build, size), near)
    y = build.where(size < 2.0**-30, size, y)
    y = build.where(size < math.inf, y, size)
    return build.copysign(y, x)


def _log_twice(build: Builder, x: Value) -> Value:
    """log(2 x) of a large x."""
    m, n = split(build, x)
    return log_scaled(build, m - 1.0, n + 1.0)


def arccosh(build: Builder, x: Value) -> Value:
    """Inverse hyperbolic cosine: log1p(t + sqrt(2 t + t**2)), t = x - 1; NaN below 1."""
    large = x > 2.0**30
    t = build.where(large, 1.0, x - 1.0)
    # 2 t + t**2 and its root with their rounding errors: near 1 they are all of the result.
    square, square_lost = two_product(t, t + 2.0)
    root = build.sqrt(square)
    again, again_lost = two_product(root, root)
    correction = ((square - again) - again_lost + square_lost) / (root + root)
    correction = build.where(root > 0.0, correction, 0.0)
    total, lost = two_sum(root, t)
    near = log1p_pair(build, total, lost + correction)
    y = build.where(large, _log_twice(build, x), near)
    y = build.where(x.eq(1.0), 0.0, y)
    y = build.where(x < 1.0, math.nan, y)
    return build.where(x < math.inf, y, x)


def arctanh(build: Builder, x: Value) -> Value:
    """Inverse hyperbolic tangent: log1p(2 a / (1 - a)) / 2, a = |x|."""
    size = build.abs(x)
    a = build.where(size < 1.0, size, 0.5)
    denominator, denominator_lost = fast_two_sum(build.constant(x.kind, 1.0), -a)
    q = (a + a) / denominator
    product, error = two_product(q, denominator)
    correction = ((a + a) - product - error - q * denominator_lost) / denominator
    y = log1p_pair(build, q, correction) * 0.5
    y = build.where(size < 2.0**-30, size, y)
    y = build.where(size < 1.0, y, math.nan)
    y = build.where(size.eq(1.0), math.inf, y)
    return build.copysign(y, x)


def hypot(build: Builder, x: Value, y: Value) -> Value:
    """sqrt(x**2 + y**2) without overflow; infinite as soon as one of them is."""
    a, b = build.abs(x), build.abs(y)
    big = build.where(a > b, a, b)
    small = build.where(a > b, b, a)
    exponent = {"f32": 62.0, "f64": 510.0}[x.kind]
    huge, tiny = big > 2.0**exponent, big < 2.0**-exponent
    one = build.constant(x.kind, 1.0)
    down, up = 2.0 ** (-exponent - 4), 2.0 ** (exponent + 60 if x.kind == "f64" else 88)
    factor = build.where(huge, down, build.where(tiny, up, one))
    undo = build.where(huge, 1.0 / down, build.where(tiny, 1.0 / up, one))
    big, small = big * factor, small * factor
    square, error = two_product(big, big)
    small_square, small_error = two_product(small, small)
    total, lost = fast_two_sum(square, small_square)
    root = build.sqrt(total + (lost + (error + small_error)))
    result = root * undo
    result = build.where(x.is_nan() | y.is_nan(), x + y, result)
    return build.where(a.eq(math.inf) | b.eq(math.inf), math.inf, result)
