"""Bit operations: on integers by the common dtype, on bools logical; floats are refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ops.elementwise import elementwise

_DISCRETE = ("bool", *dt.INTEGERS, *dt.UNSIGNED)


def _bit_types(*inputs: str) -> tuple[tuple[str, ...], str]:
    for dtype in inputs:
        if dtype not in dt.DISCRETE:
            raise TypeError(
                "input to a BitOp must have type (u)int8, (u)int16, (u)int32 or (u)int64 or bool "
                f"not {dtype}"
            )
    if "bool" in inputs and any(d != "bool" for d in inputs):
        raise TypeError(f"bit operations take bools with bools only, not {inputs}")
    common = dt.upcast(*inputs)
    return (common,) * len(inputs), common


def _bit(name: str, doc: str, ref: Any, method: str, display: str) -> Any:
    emit: Callable[..., Any] = lambda e, *x: reduce(getattr(e, method), x)  # noqa: E731
    return elementwise(
        name,
        doc=doc,
        types=_bit_types,
        ref=lambda *x: reduce(ref, x),
        emit=emit,
        arity=None,
        commutative=True,
        zero_gradient=True,
        dtypes=_DISCRETE,
        display=display,
    )


and_ = _bit("and", "Bitwise and.", np.bitwise_and, "and_", "Elemwise{and_,no_inplace}")
or_ = _bit("or", "Bitwise or.", np.bitwise_or, "or_", "Elemwise{or_,no_inplace}")
xor = _bit("xor", "Bitwise exclusive or.", np.bitwise_xor, "xor", "Elemwise{xor,no_inplace}")

invert = elementwise(
    "invert",
    doc="Bitwise complement; logical not of bools.",
    types=_bit_types,
    ref=np.invert,
    emit=lambda e, a: e.not_(a),
    zero_gradient=True,
    dtypes=_DISCRETE,
)
