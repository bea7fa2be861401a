"""exp and its kin: exp2, exp10, expm1, and the functions that are one exponential away.

Each argument is split into n and r with exp(x) = 2**n exp(r), |r| <= log(2) / 2.  n comes out of
adding 1.5 * 2**mantissa: it then sits in the low bits of the sum, so no float is ever converted to
an integer (which is undefined for NaN).  2**n is applied in two halves, so that overflow,
denormals and their single rounding are those of the last multiplication.
"""

from __future__ import annotations

from collections.abc import Sequence

from ltensor.lowering.vecmath import coefficients as table
from ltensor.lowering.vecmath.builder import Builder, Operand, Pair, Value, two_product

# The high parts have few enough bits that n * high is exact even without fma.
_LOG2_E = 1.4426950408889634
_LN2 = {
    "f32": (0.693145751953125, 1.428606765330187e-06),
    "f64": (0.6931471803691238, 1.9082149292705877e-10),
}
_LOG2_10 = 3.321928094887362
_LOG10_2 = {
    "f32": (0.301025390625, 4.605039066518657e-06),
    "f64": (0.30102999566361177, 3.694239077158931e-13),
}
_LN10 = 2.302585092994046
_LN10_LOW = {"f32": -3.1975435e-08, "f64": -2.1707562233822494e-16}

# Beyond these the result is 0 or infinity; n stays small enough for two halves.
_RANGE = {"f32": (-104.0, 89.0), "f64": (-746.0, 710.0)}
_RANGE_HALF = {"f32": (-18.0, 89.5), "f64": (-40.0, 710.6)}  # 2**(n - 2) is finite
_RANGE2 = {"f32": (-151.0, 129.0), "f64": (-1076.0, 1025.0)}
_RANGE10 = {"f32": (-46.0, 39.0), "f64": (-324.0, 309.0)}


def clamp(build: Builder, x: Value, bounds: tuple[float, float]) -> Value:
    """x within the bounds; NaN stays."""
    low, high = bounds
    return build.max(build.min(x, high), low)


def round_multiple(build: Builder, x: Value, scale: float) -> tuple[Value, Value]:
    """The integer nearest to x * scale, as a float and with 1.5 * 2**mantissa added to it."""
    shifted = build.fma(x, scale, x.format.magic)
    return shifted - x.format.magic, shifted


def power_halves(shifted: Value, offset: int = 0) -> tuple[Value, Value]:
    """Two powers of two whose product is 2**(n + offset), given n + magic."""
    form = shifted.format
    twice_biased = shifted.bits() - (form.magic_bits - 2 * form.bias - offset)
    first = twice_biased >> 1
    second = twice_biased - first
    return (first << form.mantissa).as_float(), (second << form.mantissa).as_float()


def times_power(build: Builder, x: Value, shifted: Value, offset: int = 0) -> Value:
    """x * 2**(n + offset), rounded once, for an x of ordinary size, given n + magic."""
    if build.can_scale(x.kind):
        n = shifted - x.format.magic
        return build.scalef(x, n + float(offset) if offset else n)
    first, second = power_halves(shifted, offset)
    return x * first * second


def power(shifted: Value, offset: int = 0) -> Value:
    """2**(n + offset) given n + magic, for a normal result."""
    form = shifted.format
    biased = shifted.bits() - (form.magic_bits - form.bias - offset)
    return (biased << form.mantissa).as_float()


def reduce_exp(build: Builder, x: Value) -> tuple[Value, Value]:
    """(r, n + magic) with x = n log(2) + r."""
    high, low = _LN2[x.kind]
    n, shifted = round_multiple(build, x, _LOG2_E)
    r = build.fma(n, -high, x)
    return build.fma(n, -low, r), shifted


def small_expm1(build: Builder, r: Value) -> Value:
    """exp(r) - 1 for |r| <= log(2) / 2."""
    tail = build.polynomial(r, table.EXP[r.kind])
    return build.fma(tail, r * r, r)


def exp(build: Builder, x: Value) -> Value:
    """Exponential."""
    return scaled_exp(build, x, 0)


def scaled_exp(build: Builder, x: Value, offset: int) -> Value:
    """exp(x) * 2**offset for a small offset, without overflowing before the result does."""
    low, high = _RANGE[x.kind]
    r, shifted = reduce_exp(build, clamp(build, x, (low, high - offset)))
    return times_power(build, small_expm1(build, r) + 1.0, shifted, offset)


def exp_pair(
    build: Builder, high: Value, low: Value, offset: int = 0, times: Operand = 1.0
) -> Value:
    """times * exp(high + low) where |low| is at most an ulp or so of high."""
    r, shifted = reduce_exp(build, clamp(build, high, _RANGE[high.kind]))
    p = small_expm1(build, r + low)
    p = p + 1.0 if isinstance(times, float) else build.fma(p, times, times)
    return times_power(build, p, shifted, offset)


def exp_of_minus_square(build: Builder, x: Value, times: Value) -> Value:
    """times * exp(-x * x), the rounding error of the square taken along."""
    x = build.min(x, 28.0)  # zero from there on; keeps the square finite
    square, error = two_product(x, x)
    return exp_pair(build, -square, -error, times=times)


def exp2(build: Builder, x: Value, coefficients: Sequence[float] | None = None) -> Value:
    """2**x; ``coefficients`` for less accuracy."""
    coefficients = table.EXP2[x.kind] if coefficients is None else coefficients
    x = clamp(build, x, _RANGE2[x.kind])
    n, shifted = round_multiple(build, x, 1.0)
    r = x - n
    p = build.fma(build.polynomial(r, coefficients), r, 1.0)
    return times_power(build, p, shifted)


def exp10(build: Builder, x: Value) -> Value:
    """10**x."""
    x = clamp(build, x, _RANGE10[x.kind])
    high, low = _LOG10_2[x.kind]
    n, shifted = round_multiple(build, x, _LOG2_10)
    r = build.fma(n, -low, build.fma(n, -high, x))
    # log(10) has to be multiplied in with its low part, or exp10 of 0.1 is an ulp off.
    scaled, error = two_product(r, _LN10)
    error = build.fma(r, _LN10_LOW[x.kind], error)
    tail = build.polynomial(scaled, table.EXP[x.kind])
    p = scaled + build.fma(tail, scaled * scaled, error)
    return times_power(build, p + 1.0, shifted)


def _scaled_expm1(build: Builder, x: Value, offset: int, times: float = 1.0) -> Pair:
    """(exp(times x) - 1) * 2**offset as a main part and a correction, where 2**n is finite.

    2**n exp(r) - 1 cancels around |times x| = 0.4 (n = 1), but is then exact, as it is for n = 0:
    the correction holds the rounding errors of r and of p = exp(r) - 1. ``times``, a power of two,
    goes into the constants, so that nothing waits for it.
    """
    high, low = (part / times for part in _LN2[x.kind])
    n, shifted = round_multiple(build, x, times * _LOG2_E)
    nearly = build.fma(n, -high, x)
    r = build.fma(n, -low, nearly)
    lost = build.fma(n, -low, nearly - r)
    series = build.polynomial(r, [c * times**k for k, c in enumerate(table.EXP[x.kind])])
    if times != 1.0:
        r, lost = r * times, lost * times
    tail = build.fma(series, r * r, lost)
    p = r + tail
    p_low = tail - (p - r)
    scale = power(shifted, offset)
    return build.fma(scale, p, scale - 2.0**offset), scale * p_low


def quarter_expm1(build: Builder, x: Value) -> Pair:
    """(exp(x) - 1) / 4 as a main part and a correction, finite where exp(x) just overflows."""
    return _scaled_expm1(build, clamp(build, x, _RANGE_HALF[x.kind]), -2)


def expm1(build: Builder, x: Value) -> Value:
    """exp(x) - 1, accurate near 0."""
    # -0 would come out as +0, and a denormal would lose bits in the halving.
    main, correction = quarter_expm1(build, x)
    y = (main + correction) * 4.0
    return build.where(build.abs(x) < x.format.smallest_normal * 8, x, y)


def tanh(build: Builder, x: Value) -> Value:
    """Hyperbolic tangent, e / (e + 2) with e = expm1(2 |x|)."""
    if x.kind == "f32":
        return _tanh_single(build, x)
    size = build.min(build.abs(x), 20.0)
    e, correction = _scaled_expm1(build, size, 0, times=2.0)
    denominator = e + 2.0
    # Worth 0.5 ulp: the rounding error of the denominator, times the quotient, goes into the
    # numerator.  min(|x|, 1) is near enough to the quotient for that.
    lost = e - (denominator - 2.0)
    e = e + build.fma(-lost, build.min(size, 1.0), correction)
    return build.copysign(e / denominator, x)


def _tanh_single(build: Builder, x: Value) -> Value:
    """x + x**3 p(x**2) up to 5/8; from there on 1 - 2 / (exp(2 |x|) + 1), which does not cancel."""
    size = build.min(build.abs(x), 10.0)
    square = size * size
    near = build.fma(build.polynomial(square, table.TANH["f32"]), square * size, size)
    r, shifted = reduce_exp(build, size + size)
    scale = power(shifted)
    denominator = build.fma(scale, small_expm1(build, r), scale + 1.0)
    far = 1.0 - build.constant("f32", 2.0) / denominator
    return build.copysign(build.where(size < 0.625, near, far), x)


def sigmoid(build: Builder, x: Value) -> Value:
    """1 / (1 + exp(-x)), with full accuracy down to the denormals."""
    e = exp(build, -build.abs(x))
    return build.where(x < 0.0, e, 1.0) / (e + 1.0)


def log1p_unit(build: Builder, e: Value) -> Value:
    """log(1 + e) for e in [0, 1], as 2 atanh(e / (2 + e))."""
    twice_s = (e + e) / (e + 2.0)
    z = twice_s * twice_s * 0.25
    cubed: Operand = twice_s * z * 0.5
    return build.fma(build.polynomial(z, table.ATANH_THIRD[e.kind]), cubed, twice_s)


def softplus(build: Builder, x: Value) -> Value:
    """log(1 + exp(x)), which is x far right and exp(x) far left."""
    e = exp(build, -build.abs(x))
    return build.max(x, 0.0) + log1p_unit(build, e)
