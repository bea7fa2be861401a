"""Regularized incomplete gamma functions and the tail of the chi-squared distribution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.graph import Variable
from ltensor.ir.types import NullType
from ltensor.ops import special_reference as reference
from ltensor.ops.arithmetic import mul, neg, sub
from ltensor.ops.elementwise import elementwise, real_float_like
from ltensor.ops.samples import interval
from ltensor.ops.special import gammaln
from ltensor.ops.transcendental import exp, log

_REAL = tuple(d for d in dt.ALL if not dt.is_complex(d))
#: no operand that float64 can tell from its neighbours needs more terms
_TERMS = 100_000


def _series(e: Any, active: Any, a: Any, x: Any) -> Any:
    """sum of x**n / (a (a + 1) ... (a + n)): the lower function without its factor."""
    first = e.div(e.const(1, "float64"), a)
    with e.loop(e.select(active, e.const(_TERMS), 0), carries=[first, first, a]) as loop:
        term, total, n = loop.carry
        n = e.add(n, 1)
        term = e.div(e.mul(term, x), n)
        grown = e.add(total, term)
        loop.next(term, grown, n)
        loop.stop = e.lt(term, e.mul(grown, e.const(1e-17, "float64")))
    return loop.results[1]


def _fraction(e: Any, active: Any, a: Any, x: Any) -> Any:
    """The continued fraction of the upper function, by Lentz's method."""

    def number(value: float) -> Any:
        return e.const(value, "float64")

    tiny = number(1e-300)

    def safe(v: Any) -> Any:
        return e.select(e.lt(e.abs(v), tiny), tiny, v)

    b = e.sub(e.add(x, number(1)), a)
    d = e.div(number(1), safe(b))
    start = [b, number(1e300), d, d]
    with e.loop(e.select(active, e.const(_TERMS), 0), carries=start) as loop:
        b, c, d, h = loop.carry
        i = e.add(e.cast(loop.index, "float64"), number(1))
        factor = e.mul(i, e.sub(a, i))
        b = e.add(b, number(2))
        d = e.div(number(1), safe(e.add(e.mul(factor, d), b)))
        c = safe(e.add(b, e.div(factor, c)))
        change = e.mul(d, c)
        loop.next(b, c, d, e.mul(h, change))
        loop.stop = e.lt(e.abs(e.sub(change, number(1))), number(2e-16))
    return loop.results[3]


def _emit(e: Any, a: Any, x: Any, upper: bool) -> Any:
    """Both functions in float64; NaN for negative operands and for (0, 0)."""

    def number(value: float) -> Any:
        return e.const(value, "float64")

    dtype = a.dtype
    a, x = e.cast(a, "float64"), e.cast(x, "float64")
    positive = e.and_(e.gt(a, number(0)), e.gt(x, number(0)))
    usual = e.and_(positive, e.and_(e.lt(x, number(np.inf)), e.lt(a, number(np.inf))))
    a_in, x_in = e.select(usual, a, number(1)), e.select(usual, x, number(1))
    left = e.lt(x_in, e.add(a_in, number(1)))
    exponent = e.sub(e.sub(e.mul(a_in, e.log(x_in)), x_in), e.math("gammaln", a_in))
    front = e.exp(exponent)
    low = e.mul(front, _series(e, left, a_in, x_in))
    high = e.mul(front, _fraction(e, e.not_(left), a_in, x_in))
    one, zero = number(1), number(0)
    if upper:
        value = e.select(left, e.sub(one, low), high)
        begin, end = one, zero
    else:
        value = e.select(left, low, e.sub(one, high))
        begin, end = zero, one
    # the remaining cases: x = 0 or a infinite, then a = 0 or x infinite, then nonsense
    at_end = e.or_(e.eq(a, zero), e.eq(x, number(np.inf)))
    edge = e.select(at_end, end, begin)
    both = e.or_(
        e.and_(e.eq(a, zero), e.eq(x, zero)),
        e.and_(e.eq(a, number(np.inf)), e.eq(x, number(np.inf))),
    )
    valid = e.and_(e.and_(e.ge(a, zero), e.ge(x, zero)), e.not_(both))
    return e.cast(e.select(usual, value, e.select(valid, edge, number(np.nan))), dtype)


def _no_order_gradient(name: str) -> Variable:
    text = f"the gradient of {name} with respect to its order is not defined"
    return NullType(text).make_variable()


def _density(a: Variable, x: Variable) -> Variable:
    """The derivative of the lower function along x."""
    return exp(sub(sub(mul(sub(a, 1), log(x)), x), gammaln(a)))


def _incomplete(name: str, doc: str, upper: bool) -> Any:
    sign: Callable[[Variable], Variable] = neg if upper else (lambda v: v)
    return elementwise(
        name,
        doc=doc,
        types=real_float_like,
        ref=reference.pointwise(lambda a, x: reference.incomplete_gamma(a, x)[int(upper)]),
        emit=lambda e, a, x: _emit(e, a, x, upper),
        vjp=lambda x, y, g: [_no_order_gradient(name), sign(mul(g, _density(*x)))],
        arity=2,
        cost=400,
        domain=[interval(0.2, 9), interval(0.1, 14)],
        ulp=256,
        dtypes=_REAL,
        gradient_dtypes=(),
    )


gammainc = _incomplete("gammainc", "Regularized lower incomplete gamma function of (a, x).", False)
gammaincc = _incomplete("gammaincc", "Regularized upper incomplete gamma function of (a, x).", True)


def gammau(k: Any, x: Any) -> Variable:
    """The upper incomplete gamma function, not regularized."""
    return mul(gammaincc(k, x), exp(gammaln(k)))


def gammal(k: Any, x: Any) -> Variable:
    """The lower incomplete gamma function, not regularized."""
    return mul(gammainc(k, x), exp(gammaln(k)))


def chi2sf(x: Any, k: Any) -> Variable:
    """The probability that a chi-squared variable of ``k`` degrees of freedom exceeds ``x``."""
    return gammaincc(mul(0.5, k), mul(0.5, x))
