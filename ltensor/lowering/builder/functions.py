"""Functions of scalars: rounding, the elementary functions, and casts."""

from __future__ import annotations

from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.lowering.builder.logic import Logic
from ltensor.lowering.builder.values import Scalar
from ltensor.lowering.program import Complex, Value


class Functions(Logic):
    """``floor``, ``exp``, ``cast`` and the like; see `Builder`."""

    def _rounding(self, op: str, a: Value) -> Value:
        return self.pure(op, a.dtype, (a,)) if dt.is_float(a.dtype) else a

    def floor(self, a: Scalar) -> Any:
        return self._rounding("floor", a)

    def ceil(self, a: Scalar) -> Any:
        return self._rounding("ceil", a)

    def trunc(self, a: Scalar) -> Any:
        return self._rounding("trunc", a)

    def rint(self, a: Scalar) -> Any:
        """Nearest, ties to even."""
        return self._rounding("rint", a)

    def round(self, a: Scalar) -> Any:
        """Nearest, ties away from zero."""
        return self._rounding("round", a)

    def copysign(self, a: Scalar, b: Scalar) -> Any:
        return self.pure("copysign", a.dtype, (a, b))

    def sqrt(self, a: Scalar) -> Any:
        if isinstance(a, Complex):
            return self.complex_sqrt(a)
        return self.pure("sqrt", a.dtype, (a,))

    def math(self, name: str, *args: Scalar) -> Any:
        """A function of `ltensor.lowering.vecmath`: exp, tanh, erf, ..."""
        if isinstance(args[0], Complex):
            return self.complex_math(name, *args)
        dtype = args[0].dtype
        if dtype == "float16":
            return self.cast(self.math(name, *(self.cast(a, "float32") for a in args)), dtype)
        if name == "pow" and dtype == "float64" and args[0].scope.depth < args[1].scope.depth:
            # half of the work is the logarithm of the base, which does not change in the loop
            parts = [self.math(f"pow_log_{part}", args[0]) for part in ("high", "low")]
            return self.math("pow_of_log", *args, *parts)
        return self.pure("math", dtype, tuple(args), name)

    def exp(self, a: Scalar) -> Any:
        return self.math("exp", a)

    def log(self, a: Scalar) -> Any:
        return self.math("log", a)

    def cast(self, a: Scalar, dtype: str) -> Any:
        """Conversion: floats are cut towards zero, out of range values wrap like NumPy's."""
        if a.dtype == dtype:
            return a
        if isinstance(a, Complex):
            if dt.is_complex(dtype):
                part = dt.real_part(dtype)
                return Complex(self.cast(a.re, part), self.cast(a.im, part), dtype)
            if dtype == "bool":
                return self.or_(self.ne(a.re, 0), self.ne(a.im, 0))
            return self.cast(a.re, dtype)
        if dt.is_complex(dtype):
            part = dt.real_part(dtype)
            return Complex(self.cast(a, part), self.const(0, part), dtype)
        known = self.number(a)
        if known is not None and (dt.is_float(dtype) or abs(known) < 2**31) and dtype != "float16":
            if dt.is_float(dtype):
                return self.const(float(np.dtype(dtype).type(known)), dtype)
            if dtype == "bool":
                return self.const(known != 0, "bool")
            if known == known and (dt.is_signed(dtype) or known >= 0):
                limits = np.iinfo(dtype)
                if limits.min <= int(known) <= limits.max:
                    return self.const(int(known), dtype)
        if dtype == "bool":
            return self.ne(a, self.const(0, a.dtype))
        if dt.is_float(a.dtype) and not dt.is_float(dtype) and dt.item_size(dtype) < 8:
            # through a wider integer, so that out of range values wrap as NumPy's do; what that
            # does not hold either, NaN too, becomes its smallest number
            wide = "int64" if dtype == "uint32" else "int32"
            return self.cast(self.pure("cast", wide, (a,)), dtype)
        if dtype == "uint64" and dt.is_float(a.dtype):
            # negative numbers wrap, as NumPy's do
            wrapped = self.cast(self.pure("cast", "int64", (a,)), "uint64")
            return self.select(self.lt(a, 0), wrapped, self.pure("cast", "uint64", (a,)))
        return self.pure("cast", dtype, (a,))
