"""sin, cos, tan for every argument: right up to the largest float32 and float64.

Usual arguments lose their multiple of pi/2 by Cody and Waite's subtraction of pi/2 in parts;
beyond a bound `rarely` switches to a product with the bits of 2/pi that matter (Payne and Hanek's
idea, here in floating point: see Note [Huge arguments]).  The remainder is a doubled number, as
close to a multiple of pi/2 as float64 arguments get.
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
from ltensor.lowering.vecmath.exponential import round_multiple

_TWO_OVER_PI = 2.0 / math.pi

# pi/2 in three parts.  Two of 33 bits make n * part exact for n up to 2**20, with or without fma.
# For f32 the first part has 24 bits and relies on fma, the second has 9.
_HALF_PI_33 = (1.5707963267341256, 6.077100506303966e-11, 2.0222662487959506e-21)
_HALF_PI_24 = (1.5707963705062866, -4.377216100692749e-08, 6.07710062827671e-11)
_HALF_PI_PAIR = (1.5707963267948966, 6.123233995736766e-17)

# Largest |x| of the usual path: n = x * 2 / pi stays below 2**20 (f64), 2**15 (f32).
USUAL_LIMIT = {"f32": 51471.0, "f64": 1647099.0}

# Note [Huge arguments]
# 2/pi as integers of 48 bits, chunk i weighing 2**(-48 (i + 1)).  x = m 2**E with m < 2**53: the
# chunks before window = (E - 54) // 48 contribute multiples of 4 to x * 2/pi, that is whole turns,
# and five chunks from there on suffice, since no float64 comes closer than 2**-62 to a multiple of
# pi/2.  x is scaled down by 2**(48 window) and each product is exact (`two_product`), so what is
# left is to take each modulo 4 and to add.
_CHUNK_BITS = 48
_TWO_OVER_PI_CHUNKS = (
    0xA2F9836E4E44, 0x1529FC2757D1, 0xF534DDC0DB62, 0x95993C439041, 0xFE5163ABDEBB, 0xC561B7246E3A,
    0x424DD2E00649, 0x2EEA09D1921C, 0xFE1DEB1CB129, 0xA73EE88235F5, 0x2EBB4484E99C, 0x7026B45F7E41,
    0x3991D6398353, 0x39F49C845F8B, 0xBDF9283B1FF8, 0x97FFDE05980F, 0xEF2F118B5A0A, 0x6D1F6D367ECF,
    0x27CB09B74F46, 0x3F669E5FEA2D, 0x7527BAC7EBE5, 0xF17B3D0739F7, 0x8A5292EA6BFB, 0x5FB11F8D5D08,
    0x56033046FC7B, 0x6BABF0CFBC20,
)  # fmt: skip
_CHUNKS_USED = 5


def _window_chunks(build: Builder, window: Value, largest: int) -> list[Value]:
    """The five chunks from `window` on, as f64, chosen bit by bit of the window's number."""
    count = 1
    while count <= largest:
        count *= 2
    numbers = list(_TWO_OVER_PI_CHUNKS[: largest + _CHUNKS_USED])
    row = [build.constant("f64", float(number)) for number in numbers]
    step = count // 2
    while step:
        mask = (window & step).ne(0)
        needed = min(len(row), _CHUNKS_USED + step - 1)
        row = [
            build.where(mask, row[i + step], row[i]) if i + step < len(row) else row[i]
            for i in range(needed)
        ]
        step //= 2
    return row[:_CHUNKS_USED]


def _modulo_four(build: Builder, x: Value) -> Value:
    return x - build.intrinsic("rint", x * 0.25) * 4.0


def _reduce_huge(build: Builder, x: Value, largest_window: int) -> tuple[Value, Value, Value]:
    """(r, its low part, quadrant) of an f64 beyond the usual limit; see Note [Huge arguments]."""
    size_bits = build.abs(x).bits()
    exponent = (size_bits >> 52) - 1023
    above = exponent - 54
    above = build.where(above < 0, 0, above)
    window = (above * 683) >> 15  # above // 48, exactly for numbers this small
    scaled = (x.bits() - ((window * _CHUNK_BITS) << 52)).as_float()
    chunks = _window_chunks(build, window, largest_window)
    terms: list[Value] = []
    for position, chunk in enumerate(chunks):
        weight = 2.0 ** (-_CHUNK_BITS * (position + 1))
        high, low = two_product(scaled * weight, chunk)
        if position < 2:
            high, low = _modulo_four(build, high), _modulo_four(build, low)
        terms += [high, low]
    total, rest = terms[0], build.constant("f64", 0.0)
    for term in terms[1:]:
        total, lost = two_sum(total, term)
        rest = rest + lost
    total, rest = fast_two_sum(total, rest)
    shifted = total + total.format.magic
    fraction, lost = fast_two_sum(total - (shifted - total.format.magic), rest)
    r, r_low = two_product(fraction, _HALF_PI_PAIR[0])
    r_low = build.fma(fraction, _HALF_PI_PAIR[1], build.fma(lost, _HALF_PI_PAIR[0], r_low))
    invalid = x - x  # NaN for infinities
    return r + invalid, r_low, shifted.bits()


def _subtract_multiple(
    build: Builder, x: Value, parts: tuple[float, float, float]
) -> tuple[Value, Value, Value]:
    """(r, its low part, n + magic) with x = n pi/2 + r, pi/2 given in parts."""
    n, shifted = round_multiple(build, x, _TWO_OVER_PI)
    first = build.fma(n, -parts[0], x)
    r, lost = two_sum(first, n * -parts[1])
    r, low = fast_two_sum(r, build.fma(n, -parts[2], lost))
    return r, low, shifted


def _reduce_single(build: Builder, x: Value) -> tuple[Value, Value, Value]:
    """(r, its low part, quadrant) of an f32."""
    if build.has_fma:
        r, low, shifted = _subtract_multiple(build, x, _HALF_PI_24)
    else:
        wide = x.to("f64")
        n, _ = round_multiple(build, wide, _TWO_OVER_PI)
        wide_r = wide - n * _HALF_PI_33[0] - n * (_HALF_PI_33[1] + _HALF_PI_33[2])
        r, low = _narrow_pair(wide_r)
        shifted = n.to("f32") + x.format.magic

    def slow() -> list[Value]:
        high, _, quadrant = _reduce_huge(build, x.to("f64"), 1)
        return [*_narrow_pair(high), build.convert("trunc", quadrant, "i32")]

    big = build.abs(x) > USUAL_LIMIT["f32"]
    r, low, quadrant = build.rarely(big, [r, low, shifted.bits()], slow)
    return r, low, quadrant


def _narrow_pair(wide: Value) -> Pair:
    """An f64 as the sum of two f32."""
    high = wide.to("f32")
    return high, (wide - high.to("f64")).to("f32")


def _reduce_double(build: Builder, x: Value) -> tuple[Value, Value, Value]:
    """(r, its low part, quadrant) of an f64."""
    r, low, shifted = _subtract_multiple(build, x, _HALF_PI_33)
    largest = len(_TWO_OVER_PI_CHUNKS) - _CHUNKS_USED
    big = build.abs(x) > USUAL_LIMIT["f64"]
    r, low, quadrant = build.rarely(
        big, [r, low, shifted.bits()], lambda: _reduce_huge(build, x, largest)
    )
    return r, low, quadrant


def _kernel_parts(build: Builder, r: Value, low: Value) -> tuple[Pair, Pair]:
    """sin and cos of r + low, |r| a little beyond pi / 4 at most, each as a sum of two."""
    z = r * r
    sine_tail = build.polynomial(z, table.SIN[r.kind]) * z
    cosine_tail = build.polynomial(z, table.COS[r.kind]) * z * z
    half = z * 0.5
    whole = 1.0 - half
    rest = (1.0 - whole) - half
    sine_rest = build.fma(low, whole, sine_tail * r)
    return (r, sine_rest), (whole, rest + build.fma(-r, low, cosine_tail))


def sine_cosine_kernel(build: Builder, r: Value, low: Value) -> Pair:
    """sin and cos of r + low, |r| a little beyond pi / 4 at most."""
    sine, cosine = _kernel_parts(build, r, low)
    return sine[0] + sine[1], cosine[0] + cosine[1]


def _reduce(build: Builder, x: Value) -> tuple[Value, Value, Value]:
    """(r, its low part, quadrant)."""
    return (_reduce_single if x.kind == "f32" else _reduce_double)(build, x)


def _sine_cosine(build: Builder, x: Value) -> tuple[Value, Value, Value]:
    """sin and cos of the remainder, and the quadrant."""
    r, low, quadrant = _reduce(build, x)
    return (*sine_cosine_kernel(build, r, low), quadrant)


def flip_sign(build: Builder, x: Value, quadrant: Value, bit: int) -> Value:
    """x, negated where the bit of the quadrant is set."""
    width = 32 if x.kind == "f32" else 64
    return (x.bits() ^ ((quadrant << (width - 1 - bit)) & x.format.sign_bit)).as_float()


def sine_cosine(build: Builder, x: Value) -> Pair:
    """Both at once."""
    sine, cosine, quadrant = _sine_cosine(build, x)
    odd = (quadrant & 1).ne(0)
    first = flip_sign(build, build.where(odd, cosine, sine), quadrant, 1)
    return first, flip_sign(build, build.where(odd, sine, cosine), quadrant + 1, 1)


def sin(build: Builder, x: Value) -> Value:
    """Sine."""
    sine, cosine, quadrant = _sine_cosine(build, x)
    y = build.where((quadrant & 1).ne(0), cosine, sine)
    return build.where(x.eq(0.0), x, flip_sign(build, y, quadrant, 1))


def cos(build: Builder, x: Value) -> Value:
    """Cosine."""
    sine, cosine, quadrant = _sine_cosine(build, x)
    y = build.where((quadrant & 1).ne(0), sine, cosine)
    return flip_sign(build, y, quadrant + 1, 1)


def tan(build: Builder, x: Value) -> Value:
    """Tangent: the quotient, corrected once for the roundings of sine and cosine."""
    r, low, quadrant = _reduce(build, x)
    sine_parts, cosine_parts = _kernel_parts(build, r, low)
    sine, sine_lost = fast_two_sum(*sine_parts)
    cosine, cosine_lost = fast_two_sum(*cosine_parts)
    odd = (quadrant & 1).ne(0)
    above, above_lost = build.where(odd, cosine, sine), build.where(odd, cosine_lost, sine_lost)
    below, below_lost = build.where(odd, sine, cosine), build.where(odd, sine_lost, cosine_lost)
    quotient = above / below
    quotient = quotient + (above_lost - quotient * below_lost) / below
    return build.where(x.eq(0.0), x, flip_sign(build, quotient, quadrant, 0))
