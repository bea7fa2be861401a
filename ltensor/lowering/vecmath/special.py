"""The error function and its relatives, in double precision; erf and erfc also in single."""

from __future__ import annotations

import math

from ltensor.lowering.vecmath import coefficients as table
from ltensor.lowering.vecmath.builder import Builder, Value, two_product
from ltensor.lowering.vecmath.exponential import exp, exp_of_minus_square, exp_pair
from ltensor.lowering.vecmath.logarithm import log_scaled, split


def _erf_near_zero(build: Builder, x: Value) -> Value:
    """erf(x) for |x| <= 1."""
    return build.fma(build.polynomial(x * x, table.ERF[x.kind]), x, x)


def _erfcx_right(build: Builder, x: Value) -> Value:
    """exp(x**2) erfc(x) for x >= 0: a polynomial in (x - 3) / (x + 3), over 1 + 2 x.

    In single precision from 0.5 up to where erfc is 0.
    """
    bounded = build.min(x, 1e18 if x.kind == "f64" else 10.06)
    t = (bounded - 3.0) / (bounded + 3.0)
    return build.polynomial(t, table.ERFCX[x.kind]) * 0.5 / (x + 0.5)


def erf(build: Builder, x: Value) -> Value:
    """Error function."""
    size = build.abs(x)
    if x.kind == "f32":
        bounded = build.min(size, 4.0)
        far = exp(build, build.polynomial(bounded - 1.0, table.ERF_TAIL["f32"]))
    else:
        bounded = build.min(size, 6.0)
        far = exp_of_minus_square(build, bounded, _erfcx_right(build, bounded))
    far = build.copysign(1.0 - far, x)
    return build.where(size < 1.0, _erf_near_zero(build, x), far)


def erfc(build: Builder, x: Value) -> Value:
    """1 - erf(x), without cancellation on the right."""
    size = build.abs(x)
    tail = exp_of_minus_square(build, size, _erfcx_right(build, size))
    tail = build.where(x < 0.0, 2.0 - tail, tail)
    return build.where(size < 0.5, 1.0 - _erf_near_zero(build, x), tail)


def erfcx(build: Builder, x: Value) -> Value:
    """exp(x**2) erfc(x), which is 1 / (x sqrt(pi)) far right."""
    size = build.abs(x)
    right = _erfcx_right(build, size)
    bounded = build.min(size, 27.0)
    square, error = two_product(bounded, bounded)
    left = exp_pair(build, square, error, 1) - right
    left = build.where(size > 26.7, math.inf, left)
    return build.where(x < 0.0, left, right)


def _erfinv_center(build: Builder, x: Value, w: Value, far: bool) -> Value:
    """erfinv(x) from x and w = -log(1 - x**2); `far` if x may be closer to 1 than an ulp."""
    center = build.polynomial(build.min(w, 6.25) - 3.125, table.ERFINV["f64"]) * x

    def tail() -> list[Value]:
        root = build.sqrt(w)
        near = build.polynomial(root - 3.25, table.ERFINV_NEAR["f64"])
        middle = build.polynomial(root - 5.5, table.ERFINV_MIDDLE["f64"])
        y = build.where(root > 4.0, middle, near)
        if far:
            inverse = 1.0 / root - 0.09
            y = build.where(
                root > 7.0, build.polynomial(inverse, table.ERFINV_FAR["f64"]) * root, y
            )
        return [build.copysign(y, x)]

    return build.rarely(w > 6.25, [center], tail)[0]


def _minus_log(build: Builder, x: Value) -> Value:
    m, n = split(build, x)
    return -log_scaled(build, m - 1.0, n)


def erfinv(build: Builder, x: Value) -> Value:
    """The y with erf(y) = x; NaN outside [-1, 1]."""
    size = build.abs(x)
    inside = build.where(size < 1.0, x, 0.5)
    w = _minus_log(build, (1.0 - inside) * (inside + 1.0))
    y = _erfinv_center(build, inside, w, False)
    y = build.where(size < 1.0, y, math.nan)
    return build.where(size.eq(1.0), build.copysign(math.inf, x), y)


def erfcinv(build: Builder, x: Value) -> Value:
    """The y with erfc(y) = x; NaN outside [0, 2]."""
    inside = (x > 0.0) & (x < 2.0)
    safe = build.where(inside, x, 0.5)
    # 1 - s**2 = x (2 - x) for s = 1 - x
    from_one = 1.0 - safe
    w = _minus_log(build, safe * (2.0 - safe))
    y = _erfinv_center(build, from_one, w, True)
    y = build.where(inside, y, math.nan)
    y = build.where(x.eq(0.0), math.inf, y)
    return build.where(x.eq(2.0), -math.inf, y)
