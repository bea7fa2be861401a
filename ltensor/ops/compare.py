"""Comparisons and predicates: results are bool, gradients zero."""

from __future__ import annotations

from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ops.elementwise import compare, elementwise, predicate

_REAL = tuple(d for d in dt.ALL if not dt.is_complex(d))


def _comparison(name: str, doc: str, ref: Any, method: str, **more: Any) -> Any:
    return elementwise(
        name,
        doc=doc,
        types=compare,
        ref=ref,
        emit=lambda e, a, b: getattr(e, method)(a, b),
        arity=2,
        zero_gradient=True,
        **more,
    )


lt = _comparison("lt", "a < b.", np.less, "lt", dtypes=_REAL)
le = _comparison("le", "a <= b.", np.less_equal, "le", dtypes=_REAL)
gt = _comparison("gt", "a > b.", np.greater, "gt", dtypes=_REAL)
ge = _comparison("ge", "a >= b.", np.greater_equal, "ge", dtypes=_REAL)
eq = _comparison("eq", "a == b, element by element.", np.equal, "eq", commutative=True)
neq = _comparison("neq", "a != b, element by element.", np.not_equal, "ne", commutative=True)

isnan = elementwise(
    "isnan",
    doc="Whether the element is not a number.",
    types=predicate,
    ref=np.isnan,
    emit=lambda e, a: e.isnan(a),
    zero_gradient=True,
)

isinf = elementwise(
    "isinf",
    doc="Whether the element is infinite.",
    types=predicate,
    ref=np.isinf,
    emit=lambda e, a: e.isinf(a),
    zero_gradient=True,
)
