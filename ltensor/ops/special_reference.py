"""NumPy references of the special functions, by other means than the compiled code's.

SciPy is not needed: the standard library's gamma and erf, series, recurrences and Newton steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np


def pointwise(function: Callable[..., float]) -> Callable[..., Any]:
    """A function of floats on every element in float64; the result in the operands' dtype."""
    many = np.vectorize(function, otypes=["float64"])

    def apply(*x: np.ndarray) -> np.ndarray:
        wide = [np.asarray(v, dtype="float64") for v in x]
        if wide[0].size == 0:
            return np.zeros(np.broadcast_shapes(*(v.shape for v in wide)), x[0].dtype)
        with np.errstate(all="ignore"):
            return np.asarray(many(*wide)).astype(x[0].dtype)

    return apply


def gamma(x: float) -> float:
    """Gamma function."""
    if x == 0:
        return math.copysign(math.inf, x)
    try:
        return math.gamma(x)
    except ValueError:
        return math.nan
    except OverflowError:
        return math.inf


def gammaln(x: float) -> float:
    """log(abs(gamma(x)))."""
    try:
        return math.lgamma(x)
    except ValueError:
        return math.inf


#: B(2k) / (2k) of the asymptotic series of digamma, k = 1, 2, ...
_DIGAMMA = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)
#: B(2k), of trigamma
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)
_FAR = 20.0


def psi(x: float) -> float:
    """Digamma: recurrence up to 20, then the asymptotic series; reflection on the left."""
    if x == 0:
        return math.copysign(math.inf, -x)
    if math.isnan(x) or x == -math.inf or (x < 0 and x == math.floor(x)):
        return math.nan
    if x < 0:
        return psi(1 - x) - math.pi / math.tan(math.pi * (x - math.floor(x)))
    if x == math.inf:
        return x
    terms = []
    while x < _FAR:
        terms.append(-1 / x)
        x += 1
    square = x**-2
    series = math.fsum(c * square ** (k + 1) for k, c in enumerate(_DIGAMMA))
    return math.fsum([*terms, math.log(x), -0.5 / x, -series])


def tri_gamma(x: float) -> float:
    """Derivative of digamma."""
    if math.isnan(x):
        return x
    if x <= 0 and x == math.floor(x):
        return math.inf
    if x < 0:
        return (math.pi / math.sin(math.pi * (x - math.floor(x)))) ** 2 - tri_gamma(1 - x)
    terms = []
    while x < _FAR:
        terms.append(x**-2)
        x += 1
    if x == math.inf:
        return 0.0
    series = math.fsum(c * x ** -(2 * k + 3) for k, c in enumerate(_BERNOULLI))
    return math.fsum([*terms, 1 / x, 0.5 * x**-2, series])


def erfcx(x: float) -> float:
    """exp(x**2) erfc(x): by definition up to 2, then by a continued fraction."""
    if x < 2:
        try:
            return math.exp(x * x) * math.erfc(x)
        except OverflowError:
            return math.inf
    tail = x
    for k in range(120, 0, -1):
        tail = x + 0.5 * k / tail
    return 1 / (tail * math.sqrt(math.pi))


def erfinv(x: float) -> float:
    """Inverse of erf: the normal quantile, improved by Newton's method."""
    if math.isnan(x) or abs(x) > 1:
        return math.nan
    if abs(x) == 1:
        return math.copysign(math.inf, x)
    if abs(x) > 0.5:
        return math.copysign(erfcinv(1 - abs(x)), x)
    y = NormalDist().inv_cdf(0.5 * (x + 1)) / math.sqrt(2)
    for _ in range(3):
        y -= (math.erf(y) - x) * 0.5 * math.sqrt(math.pi) * math.exp(y * y)
    return y


def erfcinv(x: float) -> float:
    """Inverse of erfc."""
    if math.isnan(x) or x < 0 or x > 2:
        return math.nan
    if x in (0, 2):
        return math.inf if x == 0 else -math.inf
    if x > 1:
        return -erfcinv(2 - x) if x > 1.5 else -erfinv(x - 1)
    if x > 0.5:
        return erfinv(1 - x)
    y = -NormalDist().inv_cdf(0.5 * x) / math.sqrt(2)
    for _ in range(3):
        # relative step: erfc varies over hundreds of orders of magnitude
        y += (math.erfc(y) - x) / x * 0.5 * math.sqrt(math.pi) * erfcx(y)
    return y


def incomplete_gamma(a: float, x: float) -> tuple[float, float]:
    """The regularized lower and upper incomplete gamma functions."""
    if math.isnan(a) or math.isnan(x) or a < 0 or x < 0 or (a == 0 and x == 0):
        return math.nan, math.nan
    if a == 0 or x == math.inf:
        return 1.0, 0.0
    if x == 0:
        return 0.0, 1.0
    front = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        n = a
        while abs(term) > 1e-18 * abs(total):
            n += 1
            term *= x / n
            total += term
        lower = total * front
        return lower, 1 - lower
    # Lentz's evaluation of the continued fraction of the upper function
    tiny = 1e-300
    b = x + 1 - a
    c, d = 1 / tiny, 1 / b
    h = d
    for i in range(1, 100000):
        an = -i * (i - a)
        b += 2
        d = an * d + b
        d = 1 / (d if abs(d) > tiny else tiny)
        c = b + an / c
        c = c if abs(c) > tiny else tiny
        h *= d * c
        if abs(d * c - 1) < 1e-17:
            break
    upper = front * h
    return 1 - upper, upper
