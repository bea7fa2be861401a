"""Extrema that exist for no elements: what running maxima and minima begin with."""

from __future__ import annotations

from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.graph import Apply, Variable
from ltensor.ops.opdef import Declaration, declare
from ltensor.ops.reduce import Max, Min, reduction_samples


def _least(dtype: str) -> Any:
    if dt.is_float(dtype):
        return -np.inf
    return False if dtype == "bool" else np.iinfo(dtype).min


def _most(dtype: str) -> Any:
    if dt.is_float(dtype):
        return np.inf
    return True if dtype == "bool" else np.iinfo(dtype).max


class LargestOr(Max):
    """Largest element, the least number of the dtype if there is none; nan if one is nan."""

    ir_name = "largest_or"
    display = "LargestOr"
    needs_elements = False

    def check_dtype(self, source: str) -> None:
        if dt.is_complex(source):
            raise NotImplementedError("complex numbers have no order")

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        x = inputs[0]
        initial = _least(str(x.dtype))
        output_storage[0][0] = np.asarray(np.max(x, axis=self.axis, initial=initial))


class SmallestOr(Min):
    """Smallest element, the largest number of the dtype if there is none; nan if one is nan."""

    ir_name = "smallest_or"
    display = "SmallestOr"
    needs_elements = False

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        x = inputs[0]
        initial = _most(str(x.dtype))
        output_storage[0][0] = np.asarray(np.min(x, axis=self.axis, initial=initial))


def _largest(x: Variable, axis: Any) -> Variable:
    return LargestOr(None if axis is None else (axis,) if isinstance(axis, int) else axis)(x)


def _smallest(x: Variable, axis: Any) -> Variable:
    return SmallestOr(None if axis is None else (axis,) if isinstance(axis, int) else axis)(x)


_REAL = tuple(d for d in dt.ALL if not dt.is_complex(d))
for _op, _function in ((LargestOr, _largest), (SmallestOr, _smallest)):
    declare(
        Declaration(
            _op.ir_name,
            str(_op.__doc__).split("\n")[0],
            _op,
            reduction_samples(_function),
            0,
            _REAL,
        )
    )
