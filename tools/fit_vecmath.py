"""Fit the polynomials of `ltensor.lowering.vecmath` and write the modules that hold them.

Run by hand, `python tools/fit_vecmath.py`; needs mpmath.  Each entry interpolates a smooth
function at Chebyshev nodes in 60 digits, then rounds its coefficients to the format; the function
is chosen so that a small absolute error of it is a small relative error of the result.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from pathlib import Path

import mpmath as mp

mp.mp.dps = 60
Function = Callable[[mp.mpf], mp.mpf]


def chebyshev(f: Function, low: float, high: float, degree: int) -> list[mp.mpf]:
    """Monomial coefficients of the interpolant of f at the Chebyshev nodes of [low, high]."""
    n = degree + 1
    middle, half = (mp.mpf(high) + low) / 2, (mp.mpf(high) - low) / 2
    angles = [mp.pi * (mp.mpf(k) + 0.5) / n for k in range(n)]
    values = [f(middle + half * mp.cos(a)) for a in angles]
    series = [
        2 * mp.fsum(v * mp.cos(j * a) for v, a in zip(values, angles, strict=True)) / n
        for j in range(n)
    ]
    series[0] /= 2
    # Chebyshev series -> powers of t by the recurrence, then t = (x - middle) / half.
    previous, current = [mp.mpf(1)], [mp.mpf(0), mp.mpf(1)]
    in_t = [mp.mpf(0)] * n
    in_t[0] += series[0]
    for j in range(1, n):
        for power, c in enumerate(current):
            in_t[power] += series[j] * c
        following = [mp.mpf(0)] + [2 * c for c in current]
        for power, c in enumerate(previous):
            following[power] -= c
        previous, current = current, following
    result = [mp.mpf(0)]
    for c in reversed(in_t):
        shifted = [mp.mpf(0)] * (len(result) + 1)
        for power, r in enumerate(result):
            shifted[power + 1] += r / half
            shifted[power] -= r * middle / half
        shifted[0] += c
        result = shifted
    return result[:n]


def single(x: mp.mpf) -> float:
    """Rounded to float32."""
    return float(struct.unpack("<f", struct.pack("<f", float(x)))[0])


LN2 = mp.log(2)
HALF_LN2 = 0.3466
SQRT2_SQUARE = float(((mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)) ** 2) * 1.0001


def atanh_tail(z: mp.mpf) -> mp.mpf:
    """(2 atanh(s) - 2 s) / s**3 with z = s * s."""
    if z < mp.mpf(10) ** -12:
        return mp.mpf(2) / 3 + 2 * z / 5
    s = mp.sqrt(z)
    return (2 * mp.atanh(s) - 2 * s) / s**3


def exp_tail(r: mp.mpf) -> mp.mpf:
    """(exp(r) - 1 - r) / r**2."""
    return mp.mpf(1) / 2 if abs(r) < mp.mpf(10) ** -18 else (mp.expm1(r) - r) / r**2


def log_tail(f: mp.mpf) -> mp.mpf:
    """(log(1 + f) - f + f**2 / 2) / f**3."""
    return mp.mpf(1) / 3 if abs(f) < mp.mpf(10) ** -14 else (mp.log1p(f) - f + f**2 / 2) / f**3


def tanh_tail(x: mp.mpf) -> mp.mpf:
    """(tanh(x) - x) / x**3."""
    return -mp.mpf(1) / 3 if abs(x) < mp.mpf(10) ** -12 else (mp.tanh(x) - x) / x**3


def in_square(f: Function) -> Function:
    """f as a function of the square of its argument."""
    return lambda z: f(mp.sqrt(z))


def erfcx_of_t(t: mp.mpf) -> mp.mpf:
    """(1 + 2 x) exp(x**2) erfc(x), with t = (x - 3) / (x + 3)."""
    x = 3 * (1 + t) / (1 - t)
    if x > 100:  # asymptotic series
        term, total, k = mp.mpf(1), mp.mpf(0), 0
        while abs(term) > mp.mpf(10) ** -40 and k < 40:
            total += term
            term *= -(2 * k + 1) / (2 * x * x)
            k += 1
        return (1 + 2 * x) * total / (x * mp.sqrt(mp.pi))
    with mp.workdps(60):
        return (1 + 2 * x) * mp.exp(x * x) * mp.erfc(x)


def erfinv_of_w(w: mp.mpf, quotient: bool) -> mp.mpf:
    """erfinv(x), or erfinv(x) / x, for the x > 0 with w = -log(1 - x**2)."""
    if w < mp.mpf(10) ** -15:
        return mp.sqrt(mp.pi) / 2 * (1 + w * (mp.pi / 12))
    x = mp.sqrt(-mp.expm1(-w))
    if w < 1:
        y = mp.erfinv(x)
    else:
        target = -w - mp.log1p(x)  # log(1 - x)
        y = mp.findroot(lambda y: mp.log(mp.erfc(y)) - target, mp.sqrt(w))
    return y / x if quotient else y


def stirling(x: mp.mpf) -> mp.mpf:
    """Leading terms of log(gamma(x))."""
    return (x - 0.5) * mp.log(x) - x + mp.log(2 * mp.pi) / 2


TABLES: dict[str, dict[str, tuple[Function, float, float, int]]] = {
    "EXP": {  # (exp(r) - 1 - r) / r**2
        "f32": (exp_tail, -HALF_LN2, HALF_LN2, 4),
        "f64": (exp_tail, -HALF_LN2, HALF_LN2, 9),
    },
    "EXP2": {  # (2**r - 1) / r
        "f32": (lambda r: mp.expm1(r * LN2) / r, -0.5, 0.5, 5),
        "f64": (lambda r: mp.expm1(r * LN2) / r, -0.5, 0.5, 10),
    },
    "TANH": {  # (tanh(x) - x) / x**3 in z = x**2, |x| up to 5/8
        "f32": (in_square(tanh_tail), 0.0, 0.390625, 4),
    },
    "LOG": {  # (log(1 + f) - f + f**2 / 2) / f**3
        "f32": (log_tail, -0.2929, 0.41425, 8),
    },
    "ATANH": {  # (2 atanh(s) - 2 s) / s**3 in z = s**2, |1 + f| within sqrt(2) of 1
        "f32": (atanh_tail, 0.0, SQRT2_SQUARE, 2),
        "f64": (atanh_tail, 0.0, SQRT2_SQUARE, 6),
    },
    "ATANH_FIFTH": {  # the next term of the same series, for the doubled logarithm of pow
        "f64": (
            lambda z: mp.mpf(2) / 5 if z < 1e-12 else (atanh_tail(z) - mp.mpf(2) / 3) / z,
            0.0,
            SQRT2_SQUARE,
            8,
        ),
    },
    "POW_ATANH": {  # as ATANH, to 2**-42: pow of float32, computed in double precision
        "f64": (atanh_tail, 0.0, 0.0295, 4),
    },
    "POW_EXP2": {  # as EXP2, to 2**-34: likewise
        "f64": (lambda r: mp.expm1(r * LN2) / r if r else LN2, -0.5001, 0.5001, 6),
    },
    "ATANH_THIRD": {  # as ATANH, up to s = 1/3: log1p on [0, 1] at once
        "f32": (atanh_tail, 0.0, 0.1112, 4),
        "f64": (atanh_tail, 0.0, 0.1112, 10),
    },
    "SIN": {  # (sin(r) - r) / r**3 in z = r**2, |r| a little beyond pi / 4
        "f32": (in_square(lambda r: (mp.sin(r) - r) / r**3), 0.0, 0.63, 2),
        "f64": (in_square(lambda r: (mp.sin(r) - r) / r**3), 0.0, 0.63, 5),
    },
    "COS": {  # (cos(r) - 1 + r**2 / 2) / r**4
        "f32": (in_square(lambda r: (mp.cos(r) - 1 + r**2 / 2) / r**4), 0.0, 0.63, 2),
        "f64": (in_square(lambda r: (mp.cos(r) - 1 + r**2 / 2) / r**4), 0.0, 0.63, 5),
    },
    "ASIN": {  # (arcsin(s) - s) / s**3, |s| <= 1/2
        "f32": (in_square(lambda s: (mp.asin(s) - s) / s**3), 0.0, 0.2501, 5),
        "f64": (in_square(lambda s: (mp.asin(s) - s) / s**3), 0.0, 0.2501, 12),
    },
    "ATAN": {  # (arctan(s) - s) / s**3, |s| <= tan(pi / 8)
        "f32": (in_square(lambda s: (mp.atan(s) - s) / s**3), 0.0, 0.1717, 4),
        "f64": (in_square(lambda s: (mp.atan(s) - s) / s**3), 0.0, 0.1717, 10),
    },
    "ERF": {  # erf(x) / x - 1 in z = x**2, |x| <= 1
        "f32": (in_square(lambda x: mp.erf(x) / x - 1), 0.0, 1.0001, 6),
        "f64": (in_square(lambda x: mp.erf(x) / x - 1), 0.0, 1.0001, 11),
    },
    "ERF_TAIL": {  # log(erfc(x)) in x - 1 on [1, 4]
        "f32": (lambda u: mp.log(mp.erfc(u + 1)), -0.0001, 3.0001, 9),
    },
    "ERFCX": {  # (1 + 2 x) exp(x**2) erfc(x) in t = (x - 3) / (x + 3), x >= 0; f32: [0.5, 10.06]
        "f32": (erfcx_of_t, -0.7145, 0.5406, 9),
        "f64": (erfcx_of_t, -1.0, 0.999999999, 25),
    },
    "ERFINV": {  # erfinv(x) / x in w - 3.125, w = -log(1 - x**2) in [0, 6.25]
        "f64": (lambda u: erfinv_of_w(u + 3.125, True), -3.125, 3.1251, 24),
    },
    "ERFINV_NEAR": {  # |erfinv(x)| in sqrt(w) - 3.25, sqrt(w) in [2.5, 4]
        "f64": (lambda u: erfinv_of_w((u + 3.25) ** 2, False), -0.7501, 0.7501, 18),
    },
    "ERFINV_MIDDLE": {  # |erfinv(x)| in sqrt(w) - 5.5, sqrt(w) in [4, 7]
        "f64": (lambda u: erfinv_of_w((u + 5.5) ** 2, False), -1.5001, 1.5001, 19),
    },
    "ERFINV_FAR": {  # |erfinv(x)| / sqrt(w) in 1 / sqrt(w) - 0.09, sqrt(w) in [7, 27.5]
        "f64": (
            lambda v: erfinv_of_w(1 / (v + 0.09) ** 2, False) * (v + 0.09),
            -0.0537,
            0.0532,
            20,
        ),
    },
    "GAMMA": {  # gamma(y + 2) on [1.5, 2.5]
        "f64": (lambda u: mp.gamma(u + 2), -0.5, 0.5, 19),
    },
    "GAMMALN": {  # log(gamma(y + 2)) / y on [1.5, 2.5]
        "f64": (
            lambda u: (
                mp.psi(0, 2) + u * mp.psi(1, 2) / 2
                if abs(u) < mp.mpf(10) ** -20
                else mp.loggamma(u + 2) / u
            ),
            -0.5,
            0.5,
            19,
        ),
    },
    "STIRLING_GAMMA": {  # gamma(x) / (sqrt(2 pi) x**(x - 1/2) exp(-x)) in 1 / x, x >= 8
        "f64": (
            lambda v: mp.exp(mp.loggamma(1 / v) - stirling(1 / v)),
            1e-9,
            0.1251,
            10,
        ),
    },
    "STIRLING_LOG": {  # x * (log gamma(x) - Stirling's formula) in 1 / x**2, x >= 8
        "f64": (in_square(lambda v: (mp.loggamma(1 / v) - stirling(1 / v)) / v), 1e-9, 0.01565, 6),
    },
    "PSI": {  # x**2 * (psi(x) - log(x) + 1 / (2 x)) in 1 / x**2, x >= 8
        "f64": (
            in_square(lambda v: (mp.psi(0, 1 / v) + mp.log(v) + v / 2) / v**2),
            1e-9,
            0.01565,
            6,
        ),
    },
    "TRI_GAMMA": {  # x**3 * (psi'(x) - 1 / x - 1 / (2 x**2)) in 1 / x**2, x >= 8
        "f64": (
            in_square(lambda v: (mp.psi(1, 1 / v) - v - v**2 / 2) / v**3),
            1e-9,
            0.01565,
            7,
        ),
    },
}


def hankel(order: int, odd: bool) -> Function:
    """P (or x Q) of J(x) = sqrt(2 / (pi x)) (P cos(x - s) - Q sin(x - s)), in 1 / x."""

    def f(v: mp.mpf) -> mp.mpf:
        x = 1 / v
        angle = x - mp.pi * (2 * order + 1) / 4
        j, y = mp.besselj(order, x), mp.bessely(order, x)
        scale = mp.sqrt(mp.pi * x / 2)
        if odd:
            return x * scale * (y * mp.cos(angle) - j * mp.sin(angle))
        return scale * (j * mp.cos(angle) + y * mp.sin(angle))

    return f


def without_zeros(order: int) -> Function:
    """J0 or J1 / x over (x**2 - r1**2) (x**2 - r2**2) (x**2 - r3**2), in x**2 - 32."""
    zeros = [mp.besseljzero(order, k) ** 2 for k in (1, 2, 3)]

    def f(u: mp.mpf) -> mp.mpf:
        z = u + 32
        x = mp.sqrt(z)
        return mp.besselj(order, x) / (x if order else 1) / mp.fprod(z - zero for zero in zeros)

    return f


BESSEL: dict[str, dict[str, tuple[Function, float, float, int]]] = {
    "I0": {"f64": (in_square(lambda x: mp.besseli(0, x)), 1e-12, 60.1, 16)},
    "I1": {"f64": (in_square(lambda x: mp.besseli(1, x) / x), 1e-12, 60.1, 15)},
    "I0_FAR": {  # exp(-x) sqrt(x) I0(x) in 1 / x - 1 / 16, x >= 7.75
        "f64": (lambda v: scaled_bessel_i(0, v + 0.0625), -0.062499, 0.0666, 24),
    },
    "I1_FAR": {"f64": (lambda v: scaled_bessel_i(1, v + 0.0625), -0.062499, 0.0666, 24)},
    "J0": {"f64": (without_zeros(0), -32.0, 32.0, 15)},
    "J1": {"f64": (without_zeros(1), -32.0, 32.0, 14)},
    "J0_EVEN": {"f64": (in_square(hankel(0, False)), 1e-7, 0.015626, 13)},
    "J0_ODD": {"f64": (in_square(hankel(0, True)), 1e-7, 0.015626, 13)},
    "J1_EVEN": {"f64": (in_square(hankel(1, False)), 1e-7, 0.015626, 13)},
    "J1_ODD": {"f64": (in_square(hankel(1, True)), 1e-7, 0.015626, 13)},
}


def scaled_bessel_i(order: int, v: mp.mpf) -> mp.mpf:
    """exp(-x) sqrt(x) I(x) at x = 1 / v."""
    x = 1 / v
    return mp.exp(-x) * mp.sqrt(x) * mp.besseli(order, x)


def literal(kind: str, c: mp.mpf) -> str:
    """Shortest decimal text that reads back as the rounded coefficient."""
    return repr(single(c) if kind == "f32" else float(c))


def write(file: str, tables: dict[str, dict[str, tuple[Function, float, float, int]]]) -> None:
    """Fit the tables and write them as a module of vecmath."""
    path = Path(__file__).parents[1] / "ltensor/lowering/vecmath" / file
    lines = [
        '"""Polynomial coefficients, constant term first.',
        "",
        "Written by tools/fit_vecmath.py, which says what each of them approximates; do not edit.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
    ]
    for name, entries in tables.items():
        lines.append(f"{name}: dict[str, tuple[float, ...]] = {{")
        for kind, (f, low, high, degree) in entries.items():
            coefficients = chebyshev(f, low, high, degree)
            grid = [mp.mpf(low) + (mp.mpf(high) - low) * (k + 0.37) / 50 for k in range(50)]
            worst = max(abs(mp.polyval(coefficients[::-1], x) - f(x)) for x in grid)
            print(f"{name:16} {kind} degree {degree:2} error {mp.nstr(worst, 3)}", file=sys.stderr)
            lines.append(f'    "{kind}": (')
            lines += [f"        {literal(kind, c)}," for c in coefficients]
            lines.append("    ),")
        lines.append("}")
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    write("coefficients.py", TABLES)
    write("coefficients_bessel.py", BESSEL)
