"""Conversion between dtypes. One op per target dtype, made by `cast`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Variable
from ltensor.ops.elementwise import ElementwiseOp, elementwise, zero_gradient


def _vjp(x: list[Variable], y: Variable, g: Variable) -> list[Any]:
    if dt.is_discrete(x[0].type.dtype):
        return [zero_gradient(x[0])]
    return [cast(g, x[0].type.dtype)]


def _make(dtype: str) -> ElementwiseOp:
    return elementwise(
        f"cast_{dtype}",
        doc=f"Conversion to {dtype}: floats are cut towards zero and wrap in integers.",
        types=lambda source: ((source,), dtype),
        ref=lambda x: x.astype(dtype),
        emit=lambda e, a: e.cast(a, dtype),
        vjp=_vjp,
        display=f"Elemwise{{Cast{{{dtype}}}}}",
        natural="all" if dtype == "int64" else "",
        ulp=1,
        dtypes=tuple(d for d in dt.ALL if not dt.is_complex(d)) if not dt.is_complex(dtype) else (),
    )


_CASTS = {dtype: _make(dtype) for dtype in dt.ALL}


def cast(x: Any, dtype: Any) -> Variable:
    """``x`` converted to ``dtype``; ``x`` itself if it has that dtype.

    Raises
    ------
    TypeError
        From complex to real, which is ambiguous.
    """
    dtype = dt.normalize(dtype)
    variable = as_tensor(x)
    source = variable.type.dtype
    if source == dtype:
        return variable
    if dt.is_complex(source) and not dt.is_complex(dtype):
        raise TypeError(
            "Casting from complex to real is ambiguous: consider real(), imag(), angle() or abs()"
        )
    return _CASTS[dtype](variable)


def cast_dtype(op: Any) -> str | None:
    """The target dtype if ``op`` is a cast, else None."""
    if isinstance(op, ElementwiseOp) and op.name.startswith("cast_"):
        return op.name[5:]
    return None


def identity_check(x: np.ndarray, dtype: str) -> bool:
    """Whether ``x`` survives a conversion to ``dtype`` and back."""
    with np.errstate(all="ignore"):
        return bool(
            np.array_equal(x.astype(dtype).astype(x.dtype), x, equal_nan=x.dtype.kind in "fc")
        )
