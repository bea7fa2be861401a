"""Bessel functions J0, J1, I0, I1, in double precision.

Left of 8 by a polynomial (for J with its zeros taken out as factors, so that values near them
stay exact), right of 8 by Hankel's asymptotic form.  Near the zeros beyond 8 the error of J is
small against its amplitude sqrt(2 / (pi x)), not against its value.
"""

from __future__ import annotations

import math

from ltensor.lowering.vecmath import coefficients_bessel as table
from ltensor.lowering.vecmath.builder import Builder, Pair, Value
from ltensor.lowering.vecmath.exponential import scaled_exp
from ltensor.lowering.vecmath.trig import sine_cosine

# Zeros as doubled numbers; the third lies beyond 8, but keeps the quotient level.
_J0_ZEROS = (
    (2.404825557695773, -1.176691651530894e-16),
    (5.520078110286311, 8.088597146146722e-17),
    (8.653727912911013, -2.92812607320779e-16),
)
_J1_ZEROS = (
    (3.8317059702075125, -1.5269184090088067e-16),
    (7.015586669815619, -9.414165653410389e-17),
    (10.173468135062722, 4.482162274768888e-16),
)
_HANKEL_FROM = 8.0
_FAR_FROM = 7.75


def _near(build: Builder, x: Value, zeros: tuple[tuple[float, float], ...], poly: Value) -> Value:
    for high, low in zeros:
        poly = poly * (((x - high) - low) * (x + high))
    return poly


def _far(build: Builder, x: Value) -> tuple[Pair, Value, Value]:
    """((cos + sin, sin - cos), 1 / x**2, 1 / sqrt(pi x))."""
    sine, cosine = sine_cosine(build, x)
    inverse = 1.0 / x
    return (cosine + sine, sine - cosine), inverse * inverse, 1.0 / build.sqrt(x * math.pi)


def j0(build: Builder, x: Value) -> Value:
    """Bessel function of the first kind, order 0."""
    size = build.abs(x)
    left = build.min(size, _HANKEL_FROM)
    near = _near(build, left, _J0_ZEROS, build.polynomial(left * left - 32.0, table.J0["f64"]))
    near = build.where(left < 2.0**-13, build.fma(left * left, -0.25, 1.0), near)
    right = build.max(size, _HANKEL_FROM)
    (plus, minus), square, scale = _far(build, right)
    odd = build.polynomial(square, table.J0_ODD["f64"]) / right
    far = (build.polynomial(square, table.J0_EVEN["f64"]) * plus - odd * minus) * scale
    y = build.where(size < _HANKEL_FROM, near, far)
    return build.where(size.eq(math.inf), 0.0, y)


def j1(build: Builder, x: Value) -> Value:
    """Bessel function of the first kind, order 1."""
    size = build.abs(x)
    left = build.min(size, _HANKEL_FROM)
    near = (
        _near(build, left, _J1_ZEROS, build.polynomial(left * left - 32.0, table.J1["f64"])) * left
    )
    right = build.max(size, _HANKEL_FROM)
    (plus, minus), square, scale = _far(build, right)
    odd = build.polynomial(square, table.J1_ODD["f64"]) / right
    far = (build.polynomial(square, table.J1_EVEN["f64"]) * minus + odd * plus) * scale
    y = build.where(size < _HANKEL_FROM, near, far)
    y = build.where(size.eq(math.inf), 0.0, y)
    return (y.bits() ^ (x.bits() & x.format.sign_bit)).as_float()


def _modified_far(build: Builder, x: Value, coefficients: tuple[float, ...]) -> Value:
    """exp(x) / sqrt(x) times a polynomial in 1 / x, x >= 7.75."""
    x = build.max(build.min(x, 720.0), _FAR_FROM)
    poly = build.polynomial(1.0 / x - 0.0625, coefficients)
    # exp(x) overflows before the quotient does
    return scaled_exp(build, x, -8) * (poly / build.sqrt(x)) * 256.0


def i0(build: Builder, x: Value) -> Value:
    """Modified Bessel function of the first kind, order 0."""
    size = build.abs(x)
    left = build.min(size, _FAR_FROM)
    near = build.polynomial(left * left, table.I0["f64"])
    return build.where(size > _FAR_FROM, _modified_far(build, size, table.I0_FAR["f64"]), near)


def i1(build: Builder, x: Value) -> Value:
    """Modified Bessel function of the first kind, order 1."""
    size = build.abs(x)
    left = build.min(size, _FAR_FROM)
    near = build.polynomial(left * left, table.I1["f64"]) * left
    far = _modified_far(build, size, table.I1_FAR["f64"])
    return build.copysign(build.where(size > _FAR_FROM, far, near), x)
