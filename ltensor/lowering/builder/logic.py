"""Scalars compared, joined bit by bit, and chosen between."""

from __future__ import annotations

from typing import Any

from ltensor.ir import dtypes as dt
from ltensor.lowering.builder.complex_scalar import ComplexArithmetic
from ltensor.lowering.builder.values import Scalar, Values
from ltensor.lowering.program import Complex, Value


class Logic(Values, ComplexArithmetic):
    """Comparisons, ``and or xor not``, ``select``; see `Builder`."""

    def __init__(self, name: str, threads: int) -> None:
        super().__init__(name, threads)
        #: sizes of arrays that are in memory when the function begins: none is negative
        self._lengths: set[Value] = set()

    def _compare(self, op: str, a: Scalar, b: Scalar) -> Any:
        a, b = self._pair(a, b)
        if isinstance(a, Complex):
            return self.complex_compare(op, a, b)
        x, y = self.number(a), self.number(b)
        if a.dtype == "int64" and x is not None and y is not None:
            table = {
                "eq": x == y,
                "ne": x != y,
                "lt": x < y,
                "le": x <= y,
                "gt": x > y,
                "ge": x >= y,
            }
            return self.const(table[op], "bool")
        if a is b and not dt.is_float(a.dtype):
            return self.const(op in ("eq", "le", "ge"), "bool")
        if y == 0 and op in ("ge", "lt") and a in self._lengths:
            return self.const(op == "ge", "bool")
        return self.pure("cmp", "bool", (a, b), op)

    def eq(self, a: Scalar, b: Scalar) -> Any:
        return self._compare("eq", a, b)

    def ne(self, a: Scalar, b: Scalar) -> Any:
        return self._compare("ne", a, b)

    def lt(self, a: Scalar, b: Scalar) -> Any:
        return self._compare("lt", a, b)

    def le(self, a: Scalar, b: Scalar) -> Any:
        return self._compare("le", a, b)

    def gt(self, a: Scalar, b: Scalar) -> Any:
        return self._compare("gt", a, b)

    def ge(self, a: Scalar, b: Scalar) -> Any:
        return self._compare("ge", a, b)

    def and_(self, a: Scalar, b: Scalar) -> Any:
        a, b = self._pair(a, b)
        if a.dtype == "bool":
            x, y = self.number(a), self.number(b)
            if x is not None:
                return b if x else a
            if y is not None:
                return a if y else b
        return self.pure("and", a.dtype, (a, b))

    def or_(self, a: Scalar, b: Scalar) -> Any:
        a, b = self._pair(a, b)
        if a.dtype == "bool":
            x, y = self.number(a), self.number(b)
            if x is not None:
                return a if x else b
            if y is not None:
                return b if y else a
        return self.pure("or", a.dtype, (a, b))

    def xor(self, a: Scalar, b: Scalar) -> Any:
        a, b = self._pair(a, b)
        return self.pure("xor", a.dtype, (a, b))

    def not_(self, a: Scalar) -> Any:
        known = self.number(a)
        if a.dtype == "bool":
            if known is not None:
                return self.const(not known, "bool")
            return self.pure("xor", "bool", (a, self.const(True, "bool")))
        ones = -1 if dt.is_signed(a.dtype) else (1 << (8 * dt.item_size(a.dtype))) - 1
        return self.pure("xor", a.dtype, (a, self.const(ones, a.dtype)))

    def select(self, condition: Scalar, a: Scalar, b: Scalar) -> Any:
        a, b = self._pair(a, b)
        if isinstance(a, Complex):
            return Complex(
                self.select(condition, a.re, b.re), self.select(condition, a.im, b.im), a.dtype
            )
        known = self.number(condition)
        if known is not None:
            return a if known else b
        return a if a is b else self.pure("select", a.dtype, (condition, a, b))

    def isnan(self, a: Scalar) -> Any:
        if isinstance(a, Complex):
            return self.or_(self.isnan(a.re), self.isnan(a.im))
        if not dt.is_float(a.dtype):
            return self.const(False, "bool")
        return self.pure("cmp", "bool", (a, a), "uno")
