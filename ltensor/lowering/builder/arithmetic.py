"""Arithmetic of scalars, with constants folded and integers that 0 and 1 leave as they are.

Integer divisors and exponents that have no result are told by guards.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.lowering.builder.checks import Checks
from ltensor.lowering.builder.functions import Functions
from ltensor.lowering.builder.values import Scalar
from ltensor.lowering.program import Complex, Value


class Arithmetic(Functions, Checks):
    """Sums, products, quotients, powers, signs, the larger and the smaller; see `Builder`."""

    def add(self, a: Scalar, b: Scalar) -> Any:
        a, b = self._pair(a, b)
        if isinstance(a, Complex):
            return self.complex_add(a, b)
        if a.dtype == "bool":
            return self.or_(a, b)
        x, y = self.number(a), self.number(b)
        if not dt.is_float(a.dtype):
            if x == 0:
                return b
            if y == 0:
                return a
            if x is not None and y is not None and a.dtype == "int64":
                return self.const(x + y, a.dtype)
        return self.pure("add", a.dtype, (a, b))

    def sub(self, a: Scalar, b: Scalar) -> Any:
        a, b = self._pair(a, b)
        if isinstance(a, Complex):
            return self.complex_sub(a, b)
        if a.dtype == "int64":
            x, y = self.number(a), self.number(b)
            if y == 0:
                return a
            if x is not None and y is not None:
                return self.const(x - y)
            if a is b:
                return self.const(0)
            # strides are differences of addresses: what both have in common goes
            if a.op == "add" and b in a.args:
                return a.args[1] if a.args[0] is b else a.args[0]
            if a.op == "add" and b.op == "add":
                for x, y in (a.args, a.args[::-1]):
                    if x in b.args:
                        return self.sub(y, b.args[1] if b.args[0] is x else b.args[0])
        return self.pure("sub", a.dtype, (a, b))

    def mul(self, a: Scalar, b: Scalar) -> Any:
        a, b = self._pair(a, b)
        if isinstance(a, Complex):
            return self.complex_mul(a, b)
        if a.dtype == "bool":
            return self.and_(a, b)
        if not dt.is_float(a.dtype):
            x, y = self.number(a), self.number(b)
            if x == 1:
                return b
            if y == 1:
                return a
            if a.dtype == "int64":
                if x == 0 or y == 0:
                    return self.const(0)
                if x is not None and y is not None:
                    return self.const(x * y)
        elif self.number(a) == 1.0:
            return b
        elif self.number(b) == 1.0:
            return a
        return self.pure("mul", a.dtype, (a, b))

    def div(self, a: Scalar, b: Scalar) -> Any:
        """Quotient of floats (or complex numbers)."""
        a, b = self._pair(a, b)
        if isinstance(a, Complex):
            return self.complex_div(a, b)
        divisor = self.number(b)
        if divisor is not None and divisor != 0 and np.frexp(divisor)[0] == 0.5:
            return self.mul(a, 1.0 / divisor)
        return self.pure("div", a.dtype, (a, b))

    def int_divide(self, a: Scalar, b: Scalar) -> Any:
        """Quotient of integers cut towards zero; the divisor must not be zero."""
        a, b = self._pair(a, b)
        return self.pure("div", a.dtype, (a, b))

    def remainder(self, a: Scalar, b: Scalar) -> Any:
        """Remainder of integers with the sign of the dividend; the divisor must not be zero."""
        a, b = self._pair(a, b)
        return self.pure("rem", a.dtype, (a, b))

    def floor_div(self, a: Scalar, b: Scalar) -> Any:
        """Python's ``//``; an integer division by zero is reported after the nest."""
        a, b = self._pair(a, b)
        if dt.is_float(a.dtype):
            return self._float_floor_div(a, b)
        bits = self._power_of_two(b)
        if bits is not None:
            return self.pure("ashr" if dt.is_signed(a.dtype) else "lshr", a.dtype, (a, bits))
        a, b = self._safe_divisor(a, b)
        quotient = self.int_divide(a, b)
        if not dt.is_signed(a.dtype):
            return quotient
        rest = self.sub(a, self.mul(quotient, b))
        wrong = self.and_(self.ne(rest, 0), self.lt(self.xor(rest, b), 0))
        return self.sub(quotient, self.cast(wrong, a.dtype))

    def _float_floor_div(self, a: Value, b: Value) -> Any:
        """NumPy's way: the remainder is taken away first, so that the division is exact."""
        rest = self.pure("frem", a.dtype, (a, b))
        exact = self.div(self.sub(a, rest), b)
        below = self.and_(self.ne(rest, 0), self.ne(self.lt(rest, 0), self.lt(b, 0)))
        exact = self.select(below, self.sub(exact, 1), exact)
        floor = self.floor(exact)
        floor = self.select(self.gt(self.sub(exact, floor), 0.5), self.add(floor, 1), floor)
        quotient = self.div(a, b)
        zero = self.copysign(self.const(0, a.dtype), quotient)
        result = self.select(self.eq(exact, 0), zero, floor)
        return self.select(self.eq(b, 0), quotient, result)

    def mod(self, a: Scalar, b: Scalar) -> Any:
        """Python's ``%``."""
        a, b = self._pair(a, b)
        if dt.is_float(a.dtype):
            rest = self.pure("frem", a.dtype, (a, b))
            wrong = self.and_(self.ne(rest, 0), self.ne(self.lt(rest, 0), self.lt(b, 0)))
            adjusted = self.select(wrong, self.add(rest, b), rest)
            return self.select(self.eq(rest, 0), self.copysign(rest, b), adjusted)
        if self._power_of_two(b) is not None:
            return self.and_(a, self.const(self.number(b) - 1, a.dtype))
        a, b = self._safe_divisor(a, b)
        rest = self.remainder(a, b)
        if not dt.is_signed(a.dtype):
            return rest
        wrong = self.and_(self.ne(rest, 0), self.lt(self.xor(rest, b), 0))
        return self.select(wrong, self.add(rest, b), rest)

    def _power_of_two(self, divisor: Value) -> Value | None:
        """The number of bits to shift by in place of a division by a constant."""
        known = self.number(divisor)
        if known is None or known < 1 or known & (known - 1):
            return None
        return self.const(known.bit_length() - 1, divisor.dtype)

    def _safe_divisor(self, a: Value, b: Value) -> tuple[Value, Value]:
        known = self.number(b)
        if known is not None and known not in (0, -1):
            return a, b
        valid = self.ne(b, 0)
        self.guard(valid, "division")
        b = self.select(valid, b, 1)
        if dt.is_signed(a.dtype):
            # INT_MIN / -1 traps on the CPU: NumPy gives INT_MIN
            low = -(1 << (8 * dt.item_size(a.dtype) - 1))
            overflow = self.and_(self.eq(a, self.const(low, a.dtype)), self.eq(b, -1))
            b = self.select(overflow, 1, b)
        return a, b

    def neg(self, a: Scalar) -> Any:
        if isinstance(a, Complex):
            return Complex(self.neg(a.re), self.neg(a.im), a.dtype)
        if dt.is_float(a.dtype):
            return self.pure("neg", a.dtype, (a,))
        return self.sub(self.const(0, a.dtype), a)

    def abs(self, a: Scalar) -> Any:
        if isinstance(a, Complex):
            return self.complex_abs(a)
        if a.dtype == "bool" or dt.is_unsigned(a.dtype):
            return a
        if dt.is_float(a.dtype):
            return self.pure("fabs", a.dtype, (a,))
        return self.select(self.lt(a, 0), self.neg(a), a)

    def isinf(self, a: Scalar) -> Any:
        if isinstance(a, Complex):
            return self.or_(self.isinf(a.re), self.isinf(a.im))
        if not dt.is_float(a.dtype):
            return self.const(False, "bool")
        return self.eq(self.abs(a), self.const(np.inf, a.dtype))

    def sign(self, a: Scalar) -> Any:
        zero, one = self.const(0, a.dtype), self.const(1, a.dtype)
        positive = self.select(self.gt(a, zero), one, zero)
        if dt.is_unsigned(a.dtype):
            return positive
        signed = self.select(self.lt(a, zero), self.const(-1, a.dtype), positive)
        return self.select(self.isnan(a), a, signed) if dt.is_float(a.dtype) else signed

    def max(self, a: Scalar, b: Scalar) -> Any:
        """The larger; NaN if one is."""
        a, b = self._pair(a, b)
        if isinstance(a, Complex):
            return self.complex_max(a, b)
        if a.dtype == "bool":
            return self.or_(a, b)
        if a.dtype == "int64":
            x, y = self.number(a), self.number(b)
            if x is not None and y is not None:
                return self.const(max(x, y))
        return a if a is b else self.pure("max", a.dtype, (a, b))

    def min(self, a: Scalar, b: Scalar) -> Any:
        """The smaller; NaN if one is."""
        a, b = self._pair(a, b)
        if isinstance(a, Complex):
            return self.select(self.eq(self.complex_max(a, b), a), b, a)
        if a.dtype == "bool":
            return self.and_(a, b)
        if a.dtype == "int64":
            x, y = self.number(a), self.number(b)
            if x is not None and y is not None:
                return self.const(min(x, y))
        return a if a is b else self.pure("min", a.dtype, (a, b))

    def pow(self, a: Scalar, b: Scalar) -> Any:
        """Power in the common dtype; small constant exponents become products."""
        a, b = self._pair(a, b)
        exponent = self.number(b)
        if isinstance(a, Complex):
            return self.complex_pow(a, b)
        if exponent is not None and 0 <= exponent <= 8 and exponent == int(exponent):
            return self._power_by_squaring(a, int(exponent))
        if dt.is_float(a.dtype):
            if exponent == 0.5:
                root = self.sqrt(self.add(a, self.const(0.0, a.dtype)))
                infinite = self.eq(a, self.const(-np.inf, a.dtype))
                return self.select(infinite, self.const(np.inf, a.dtype), root)
            if exponent == -1.0:
                return self.div(self.const(1.0, a.dtype), a)
            if exponent == -2.0:
                return self.div(self.const(1.0, a.dtype), self.mul(a, a))
            return self.math("pow", a, b)
        return self._int_pow(a, b)

    def _power_by_squaring(self, a: Value, exponent: int) -> Any:
        result: Any = None
        square: Any = a
        while exponent:
            if exponent & 1:
                result = square if result is None else self.mul(result, square)
            exponent >>= 1
            if exponent:
                square = self.mul(square, square)
        return self.const(1, a.dtype) if result is None else result

    def _int_pow(self, a: Value, b: Value) -> Any:
        if dt.is_signed(b.dtype):
            self.guard(self.ge(b, 0), "negative_power")
        result: Any = self.const(1, a.dtype)
        base: Any = a
        # The squares of an odd base end in ever more zeros and a one: after the nth, the base is
        # 1 + u with u a multiple of 2**(n + 2). From half of the bits on u * u is 0, and what is
        # left of the exponent, h, gives 1 + h * u. Even bases have become 0 by then.
        rest: Any = b
        for _ in range(max(3, 4 * dt.item_size(a.dtype) - 2)):
            odd = self.ne(self.and_(rest, self.const(1, b.dtype)), 0)
            result = self.select(odd, self.mul(result, base), result)
            base = self.mul(base, base)
            rest = self.shift_right(rest, 1)
        one = self.const(1, a.dtype)
        last = self.add(one, self.mul(rest, self.sub(base, one)))
        gone = self.and_(self.eq(base, 0), self.ne(rest, 0))
        return self.mul(result, self.select(gone, self.const(0, a.dtype), last))

    def shift_right(self, a: Value, bits: int) -> Value:
        """Logical shift right."""
        return self.pure("lshr", a.dtype, (a, self.const(bits, a.dtype)))
