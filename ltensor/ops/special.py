"""Special functions: gamma and its relatives, erf and its relatives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.graph import Variable
from ltensor.ops import special_reference as reference
from ltensor.ops.arithmetic import mul, neg, sqr, sub
from ltensor.ops.elementwise import ElementwiseOp, elementwise, real_float_like
from ltensor.ops.samples import interval
from ltensor.ops.transcendental import exp

_REAL = tuple(d for d in dt.ALL if not dt.is_complex(d))
_ROOT_PI = math.sqrt(math.pi)


def _number(value: float, x: Variable) -> np.ndarray:
    """A constant that does not widen an expression of ``x``."""
    return np.asarray(value, dtype=dt.upgrade_to_float(x.type.dtype))


def _special(
    name: str, doc: str, ref: Any, vjp: Any, low: float, high: float, cost: int = 60
) -> Any:
    return elementwise(
        name,
        doc=doc,
        types=real_float_like,
        ref=reference.pointwise(ref),
        emit=lambda e, x: e.math(name, x),
        vjp=vjp,
        cost=cost,
        domain=interval(low, high),
        ulp=256 if name == "psi" else 12,
        dtypes=_REAL,
    )


gamma = _special(
    "gamma",
    "Gamma function.",
    reference.gamma,
    lambda x, y, g: [mul(mul(g, y), psi(x[0]))],
    0.2,
    5,
)
gammaln = _special(
    "gammaln",
    "Logarithm of the absolute value of gamma.",
    reference.gammaln,
    lambda x, y, g: [mul(g, psi(x[0]))],
    0.2,
    9,
)
psi: ElementwiseOp = _special(
    "psi",
    "Digamma function, the derivative of gammaln.",
    reference.psi,
    lambda x, y, g: [mul(g, tri_gamma(x[0]))],
    0.3,
    9,
)
tri_gamma: ElementwiseOp = _special(
    "tri_gamma",
    "Trigamma function, the derivative of psi.",
    reference.tri_gamma,
    None,
    0.5,
    9,
)
erf = _special(
    "erf",
    "Error function.",
    math.erf,
    lambda x, y, g: [mul(mul(g, _number(2 / _ROOT_PI, x[0])), exp(neg(sqr(x[0]))))],
    -3,
    3,
    40,
)
erfc = _special(
    "erfc",
    "1 - erf(x), accurate on the right.",
    math.erfc,
    lambda x, y, g: [neg(mul(mul(g, _number(2 / _ROOT_PI, x[0])), exp(neg(sqr(x[0])))))],
    -3,
    6,
)
erfcx = _special(
    "erfcx",
    "exp(x**2) erfc(x).",
    reference.erfcx,
    lambda x, y, g: [mul(g, sub(mul(mul(y, x[0]), 2), _number(2 / _ROOT_PI, x[0])))],
    -2,
    9,
)
erfinv = _special(
    "erfinv",
    "Inverse of erf.",
    reference.erfinv,
    lambda x, y, g: [mul(mul(g, _number(_ROOT_PI / 2, x[0])), exp(sqr(y)))],
    -0.95,
    0.95,
)
erfcinv = _special(
    "erfcinv",
    "Inverse of erfc.",
    reference.erfcinv,
    lambda x, y, g: [neg(mul(mul(g, _number(_ROOT_PI / 2, x[0])), exp(sqr(y))))],
    0.1,
    1.9,
)
