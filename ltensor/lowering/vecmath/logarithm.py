"""log and its kin: log2, log10, log1p, and pow, which is exp of y log(x) in doubled precision.

A positive number is split into 2**n and 1 + f with 1 + f within sqrt(2) of 1, by integer
arithmetic on its bits (denormals are scaled up first).
"""

from __future__ import annotations

import math

from ltensor.lowering.vecmath import coefficients as table
from ltensor.lowering.vecmath.builder import (
    F32,
    F64,
    Builder,
    Operand,
    Pair,
    Value,
    fast_two_sum,
    two_product,
    two_sum,
)
from ltensor.lowering.vecmath.exponential import exp2, exp_pair

_SQRT_HALF_BITS = {"f32": 0x3F3504F3, "f64": 0x3FE6A09E667F3BCD}
_DENORMAL_SHIFT = {"f32": 23, "f64": 54}

# n * high is exact; log(2) = high + low, log2(e) = high + low, log10(e), log10(2) likewise.
_LN2 = {
    "f32": (0.693145751953125, 1.428606765330187e-06),
    "f64": (0.6931471803691238, 1.9082149292705877e-10),
}
_LOG2_E = {
    "f32": (1.44287109375, -0.00017605285393074155),
    "f64": (1.4426950407214463, 1.6751713164886512e-10),
}
_LOG10_E = {
    "f32": (0.434326171875, -3.168997136526741e-05),
    "f64": (0.4342944818781689, 2.5082946711645275e-11),
}
_LOG10_2 = {
    "f32": (0.301025390625, 4.605039066518657e-06),
    "f64": (0.30102999566361177, 3.694239077158931e-13),
}


def split_normal(x: Value) -> Pair:
    """As `split`, for a normal number."""
    form = x.format
    bits = x.bits() - _SQRT_HALF_BITS[x.kind]
    # The exponent relative to sqrt(1/2) is at least -bias: biased, it is a small positive number.
    biased = (bits + (form.bias << form.mantissa)) >> form.mantissa
    m = ((bits & ((1 << form.mantissa) - 1)) + _SQRT_HALF_BITS[x.kind]).as_float()
    return m, integer_to_float(biased, form.bias)


def integer_to_float(biased: Value, bias: int) -> Value:
    """Small non-negative integer minus bias, as a float.

    Placed in the mantissa of 2**mantissa: AVX2 converts no 64-bit integers.
    """
    form = F32 if biased.kind == "i32" else F64
    anchor = 2.0**form.mantissa
    anchor_bits = (form.bias + form.mantissa) << form.mantissa
    return (biased | anchor_bits).as_float() - (anchor + bias)


def split(build: Builder, x: Value) -> Pair:
    """(m, n) with x = m 2**n and m in [sqrt(1/2), sqrt(2)), for finite x > 0."""
    form = x.format
    shift = _DENORMAL_SHIFT[x.kind]
    tiny = x < form.smallest_normal
    m, n = split_normal(build.where(tiny, x * 2.0**shift, x))
    return m, build.where(tiny, n - float(shift), n)


def log_edges(build: Builder, x: Value, y: Value, at_zero: float = -math.inf) -> Value:
    """Put the logarithm's values at 0, infinity, NaN and negative numbers into y."""
    y = build.where(x < math.inf, y, x)  # infinity, and NaN since the comparison is ordered
    y = build.where(x < 0.0, math.nan, y)
    return build.where(x.eq(0.0), at_zero, y)


def log_mantissa(build: Builder, f: Value) -> Pair:
    """(h, t) with log(1 + f) = f - (h - t), h = f * f / 2 and t small."""
    half_square = f * f * 0.5
    if f.kind == "f32":
        tail = build.polynomial(f, table.LOG["f32"])
        return half_square, tail * f * (f * f)
    s = f / (f + 2.0)
    z = s * s
    poly = build.polynomial(z, table.ATANH["f64"]) * z
    return half_square, s * (half_square + poly)


def log_scaled(build: Builder, f: Value, n: Value, low: Operand = 0.0) -> Value:
    """n log(2) + log(1 + f) + low."""
    half_square, tail = log_mantissa(build, f)
    ln2_high, ln2_low = _LN2[f.kind]
    tail = build.fma(n, ln2_low, tail)
    if isinstance(low, Value):
        tail = tail + low
    return build.fma(n, ln2_high, f - (half_square - tail))


def log(build: Builder, x: Value) -> Value:
    """Natural logarithm."""
    m, n = split(build, x)
    return log_edges(build, x, log_scaled(build, m - 1.0, n))


def _log_base(
    build: Builder, x: Value, scale: tuple[float, float], unit: tuple[float, float]
) -> Value:
    """log(x) * scale, as n * unit + log(m) * scale with log(m) cut in two."""
    m, n = split(build, x)
    f = m - 1.0
    half_square, tail = log_mantissa(build, f)
    keep = -(1 << (12 if x.kind == "f32" else 32))
    high = ((f - half_square).bits() & keep).as_float()
    low = ((f - high) - half_square) + tail
    scale_high, scale_low = scale
    unit_high, unit_low = unit
    small = build.fma(low + high, scale_low, low * scale_high)
    if unit_low:
        small = build.fma(n, unit_low, small)
    main, error = two_sum(n * unit_high, high * scale_high)
    return log_edges(build, x, main + (error + small))


def log2(build: Builder, x: Value) -> Value:
    """Logarithm to base 2; exact for powers of two."""
    return _log_base(build, x, _LOG2_E[x.kind], (1.0, 0.0))


def log10(build: Builder, x: Value) -> Value:
    """Logarithm to base 10."""
    return _log_base(build, x, _LOG10_E[x.kind], _LOG10_2[x.kind])


def log1p_pair(build: Builder, x: Value, x_low: Operand = 0.0) -> Value:
    """log(1 + x + x_low) for finite x > -1."""
    u, lost = two_sum(x, 1.0)
    if isinstance(x_low, Value):
        lost = lost + x_low
    m, n = split(build, u)
    # m is u times a power of two; take the rounding error of 1 + x along at the same scale.
    lost = lost * (m / u)
    f = m - 1.0
    exact = f + lost
    return log_scaled(build, exact, n, (f - exact) + lost)


def log1p(build: Builder, x: Value) -> Value:
    """log(1 + x), accurate near 0."""
    y = log1p_pair(build, x)
    y = build.where(x < math.inf, y, x)
    y = build.where(x < -1.0, math.nan, y)
    y = build.where(x.eq(-1.0), -math.inf, y)
    return build.where(build.abs(x) < x.format.smallest_normal, x, y)


# -- pow --------------------------------------------------------------------------------------

_THIRD = (2.0 / 3.0, 3.700743415417188e-17)
_LN2_PAIR = (0.6931471805598903, 5.497923018708371e-14)


def log_pair(build: Builder, x: Value, x_low: Operand = 0.0) -> Pair:
    """log(x + x_low) of a positive f64 to about 2**-66, relative to it unless x is nearly 1."""
    m, n = split(build, x)
    f_low = x_low * (m / x) if isinstance(x_low, Value) else None
    return fast_two_sum(*_log_of_parts(build, m, n, f_low))


def _log_of_parts(build: Builder, m: Value, n: Value, f_low: Value | None = None) -> Pair:
    """n log(2) + log(m + f_low) for m within sqrt(2) of 1; the low part is a few ulps at most."""
    f = m - 1.0
    # s = f / (2 + f), doubled; 2 + f is rounded, but what is lost is exact
    denominator = m + 1.0
    denominator_low = m - (denominator - 1.0)
    if f_low is not None:
        denominator_low = denominator_low + f_low
    inverse = build.constant(m.kind, 1.0) / denominator
    s = f * inverse
    if build.has_fma:
        remainder = build.fma(s, -denominator, f)
    else:
        product, error = two_product(s, denominator)
        remainder = (f - product) - error
    remainder = build.fma(s, -denominator_low, remainder)
    if f_low is not None:
        remainder = remainder + f_low
    s_low = remainder * inverse
    twice, twice_low = s + s, s_low + s_low
    z, z_low = two_product(s, s)
    z_low = build.fma(twice, s_low, z_low)
    # log(1 + f) = 2 s + s z (2/3 + z tail)
    tail = build.polynomial(z, table.ATANH_FIFTH["f64"]) * z
    factor = tail + _THIRD[0]
    factor_low = (tail - (factor - _THIRD[0])) + _THIRD[1]
    cubic, cubic_low = two_product(z, factor)
    cubic_low = build.fma(z_low, factor, build.fma(z, factor_low, cubic_low))
    third, third_low = two_product(s, cubic)
    third_low = build.fma(s_low, cubic, build.fma(s, cubic_low, third_low))
    main, low = fast_two_sum(twice, third)
    low = low + (twice_low + third_low)
    # n log(2) is 0 or larger than what it is added to
    high, carry = fast_two_sum(n * _LN2_PAIR[0], main)
    return high, carry + build.fma(n, _LN2_PAIR[1], low)


def positive_power(build: Builder, x: Value, y: Value, log_x: Pair | None = None) -> Value:
    """x**y for finite x > 0 and finite y; ``log_x`` is the doubled logarithm if it is known."""
    if x.kind == "f32":
        return _power_through_double(build, x, y)
    high, low = log_pair(build, x) if log_x is None else log_x
    # Beyond this the result is 0, 1 or infinity anyway, and the product must stay finite.
    y = build.max(build.min(y, 1e300), -1e300)
    product, error = two_product(high, y)
    error = build.fma(low, y, error)
    total, rest = fast_two_sum(product, error)
    inside = build.abs(total) < 800.0
    return exp_pair(build, total, build.where(inside, rest, 0.0))


#: Larger exponents of doubles are rare. With those up to here what the logarithm's low part (up to
#: 6e-11) adds to a clamped product stays below 0.1: the result is still 0 or infinity.
_USUAL_EXPONENT = 2.0**30


def _usual_power(build: Builder, x: Value, y: Value) -> Value:
    """x**y for a positive normal x and a y that is not huge."""
    m, n = split_normal(x)
    if x.kind == "f64":
        high, low = _log_of_parts(build, m, n)
        product, error = two_product(high, y)
        return exp_pair(build, product, build.fma(low, y, error))
    # the quotient (m - 1) / (m + 1): a rough one, then its remainder in double precision
    rough = build.constant("f32", 1.0) / (m + 1.0)
    wide = m.to("f64")
    f, inverse = wide - 1.0, rough.to("f64")
    quotient = f * inverse
    remainder = build.fma(quotient, -(wide + 1.0), f)
    s = build.fma(remainder, inverse, quotient)
    z = s * s
    log_m = build.fma(build.polynomial(z, table.POW_ATANH["f64"]) * z, s, s + s)
    exponent = build.fma(log_m, 1.4426950408889634, n.to("f64")) * y.to("f64")
    return exp2(build, exponent, table.POW_EXP2["f64"]).to("f32")


def _power_through_double(build: Builder, x: Value, y: Value) -> Value:
    wide_x, wide_y = x.to("f64"), y.to("f64")
    m, n = split(build, wide_x)
    f = m - 1.0
    half_square, tail = log_mantissa(build, f)
    log2_m = (f - (half_square - tail)) * 1.4426950408889634
    return exp2(build, (n + log2_m) * wide_y).to("f32")


def pow_log_high(build: Builder, x: Value) -> Value:
    """The main part of the doubled logarithm that `pow` takes of its base."""
    return log_pair(build, build.abs(x))[0]


def pow_log_low(build: Builder, x: Value) -> Value:
    """What is left of the doubled logarithm that `pow` takes of its base."""
    return log_pair(build, build.abs(x))[1]


def pow_of_log(build: Builder, x: Value, y: Value, high: Value, low: Value) -> Value:
    """`pow`, given the doubled logarithm of the base."""
    return _any_power(build, x, y, (high, low))


def pow(build: Builder, x: Value, y: Value) -> Value:
    """x**y by the rules of C99."""
    most = _USUAL_EXPONENT if x.kind == "f64" else 3e38
    usual = (x >= x.format.smallest_normal) & (x < math.inf) & (build.abs(y) <= most)
    (result,) = build.rarely(
        ~usual, [_usual_power(build, x, y)], lambda: [_any_power(build, x, y, None)]
    )
    return result


def _any_power(build: Builder, x: Value, y: Value, log_x: Pair | None) -> Value:
    """x**y for all arguments."""
    form = x.format
    size = build.abs(x)
    result = positive_power(build, size, y, log_x)
    y_negative, y_positive = y < 0.0, y > 0.0
    infinite_or_zero = build.where(y_negative, 0.0, build.constant(x.kind, math.inf))
    result = build.where(size.eq(math.inf), infinite_or_zero, result)
    zero_or_infinite = build.where(y_negative, math.inf, build.constant(x.kind, 0.0))
    result = build.where(size.eq(0.0), zero_or_infinite, result)
    # y = +-infinity: towards 0 or infinity by the side of 1 on which |x| is.
    grows = (size > 1.0) & y_positive | (size < 1.0) & y_negative
    limit = build.where(grows, math.inf, build.constant(x.kind, 0.0))
    limit = build.where(size.eq(1.0), 1.0, limit)
    result = build.where(build.abs(y).eq(math.inf), limit, result)
    # The sign: negative for a negative base (-0 too) and an odd exponent.
    y_floor = build.intrinsic("floor", y)
    half = y * 0.5
    is_integer = y_floor.eq(y)
    is_odd = is_integer & build.intrinsic("floor", half).ne(half)
    sign = x.bits() & form.sign_bit
    flip = build.where(is_odd, sign, build.constant(form.int_kind, 0))
    result = (result.bits() ^ flip).as_float()
    finite_negative = (x < 0.0) & (x > -math.inf)
    result = build.where(finite_negative & ~is_integer, math.nan, result)
    result = build.where(x.is_nan() | y.is_nan(), x + y, result)
    return build.where(x.eq(1.0) | y.eq(0.0), 1.0, result)
