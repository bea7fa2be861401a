"""``x log x`` and ``x log y``, continued by 0 at ``x = 0`` (entropies)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.graph import Variable
from ltensor.ops.arithmetic import add, mul, true_div
from ltensor.ops.elementwise import elementwise, real_float_like
from ltensor.ops.samples import interval
from ltensor.ops.transcendental import log

_REAL = tuple(d for d in dt.ALL if not dt.is_complex(d))


def _reference(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    zero = x.dtype.type(0)
    return np.where(x == 0, zero, x * np.log(y))


def _emit(e: Any, x: Any, y: Any) -> Any:
    return e.select(e.eq(x, 0), e.const(0, x.dtype), e.mul(x, e.math("log", y)))


def _xlogy0_vjp(x: list[Variable], y: Variable, g: Variable) -> list[Any]:
    return [mul(g, log(x[1])), true_div(mul(g, x[0]), x[1])]


xlogx = elementwise(
    "xlogx",
    doc="x log(x), 0 at 0.",
    types=real_float_like,
    ref=lambda x: _reference(x, x),
    emit=lambda e, x: _emit(e, x, x),
    vjp=lambda x, y, g: [mul(g, add(log(x[0]), 1))],
    cost=20,
    domain=interval(0.1, 8),
    dtypes=_REAL,
)
xlogy0 = elementwise(
    "xlogy0",
    doc="x log(y), 0 where x is 0.",
    types=real_float_like,
    ref=_reference,
    emit=_emit,
    vjp=_xlogy0_vjp,
    arity=2,
    cost=20,
    domain=[interval(0, 4), interval(0.1, 8)],
    dtypes=_REAL,
)
