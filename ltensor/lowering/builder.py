"""The builder of kernel programs, and the emitter protocol that the ops' lowerings are written in.

Scalars are `Value` (complex ones `Complex`); Python numbers are taken as constants of the other
operand's dtype. Loops and branches are context managers::

    with b.loop(n, carries=[zero]) as loop:
        loop.next(b.add(loop.carry[0], x))
    total = loop.results[0]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.lowering.complex_scalar import ComplexArithmetic
from ltensor.lowering.cpu import block_pool
from ltensor.lowering.known_sizes import KnownSizes
from ltensor.lowering.program import (
    Buffer,
    Carry,
    Complex,
    ErrorSite,
    If,
    Loop,
    Program,
    Scope,
    Value,
    View,
    deepest,
)

Scalar = Any  # Value, Complex or a Python number

#: no buffer is larger (bytes), so that offsets never overflow
MOST_BYTES = 1 << 61
#: the size asked for in place of one that is larger
TOO_MANY_BYTES = (1 << 63) - 1

_IDENTITY = {"add": 0, "mul": 1, "and": True, "or": False}


def is_float(dtype: str) -> bool:
    """Whether a kernel-level dtype is floating point."""
    return dtype.startswith("float")


def is_signed(dtype: str) -> bool:
    """Whether a kernel-level dtype is a signed integer."""
    return dtype.startswith("int")


class Builder(ComplexArithmetic):
    """Appends to a `Program`.

    Parameters
    ----------
    name : str
    threads : int
        How many threads of a CPU may share the program's loops; 0 if it is for something else.
    """

    def __init__(self, name: str, threads: int = 0) -> None:
        self.root = Scope(None)
        self.threads = threads
        self.program = Program(name, self.root)
        self.scope = self.root
        self._consts: dict[Any, Value] = {}
        self._known_sizes = KnownSizes()
        #: sizes of arrays that are in memory when the function begins
        self._existing: dict[tuple[int, ...], tuple[Value, ...]] = {}
        #: their sizes one by one: none is negative
        self._lengths: set[Value] = set()
        self._epoch = 0
        self._pending: list[tuple[int, int, int]] = []
        self._open_if: If | None = None

    # ------------------------------------------------------------- making values

    def const(self, value: Any, dtype: str = "int64") -> Any:
        """A constant scalar."""
        if dt.is_complex(dtype):
            part = dt.real_part(dtype)
            number = complex(value)
            return Complex(self.const(number.real, part), self.const(number.imag, part), dtype)
        if dtype == "bool":
            data: Any = bool(value)
        elif is_float(dtype):
            data = float(value)
        else:
            data = int(value)
        key = (dtype, repr(data))
        found = self._consts.get(key)
        if found is None:
            found = self._consts[key] = Value("const", dtype, (), data, self.root, self)
        return found

    @staticmethod
    def make_complex(re: Value, im: Value) -> Complex:
        """A complex scalar of two floats of one dtype."""
        return Complex(re, im, "complex64" if re.dtype == "float32" else "complex128")

    def _pair(self, a: Scalar, b: Scalar) -> tuple[Any, Any]:
        if not isinstance(a, (Value, Complex)):
            a = self.const(a, b.dtype)
        elif not isinstance(b, (Value, Complex)):
            b = self.const(b, a.dtype)
        return a, b

    def pure(self, op: str, dtype: str, args: tuple[Any, ...], attr: Any = None) -> Value:
        """A value without side effects, shared if it exists, placed as far out as it can be."""
        scope = deepest(args, self.root)
        key = (op, dtype, attr, *map(id, args))
        found = scope.table.get(key)
        if found is None:
            found = Value(op, dtype, args, attr, scope, self)
            scope.table[key] = found
            scope.body.append(found)
        return found

    def effect(self, op: str, dtype: str, args: tuple[Any, ...], attr: Any = None) -> Value:
        """A value or statement that stays where it is written."""
        value = Value(op, dtype, args, attr, self.scope, self)
        self.scope.body.append(value)
        return value

    @staticmethod
    def _number(value: Any) -> Any:
        return value.attr if isinstance(value, Value) and value.op == "const" else None

    # ------------------------------------------------------------- arithmetic

    def add(self, a: Scalar, b: Scalar) -> Any:
        a, b = self._pair(a, b)
        if isinstance(a, Complex):
            return self.complex_add(a, b)
        if a.dtype == "bool":
            return self.or_(a, b)
        x, y = self._number(a), self._number(b)
        if not is_float(a.dtype):
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
            x, y = self._number(a), self._number(b)
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
        if not is_float(a.dtype):
            x, y = self._number(a), self._number(b)
            if x == 1:
                return b
            if y == 1:
                return a
            if a.dtype == "int64":
                if x == 0 or y == 0:
                    return self.const(0)
                if x is not None and y is not None:
                    return self.const(x * y)
        elif self._number(a) == 1.0:
            return b
        elif self._number(b) == 1.0:
            return a
        return self.pure("mul", a.dtype, (a, b))

    def div(self, a: Scalar, b: Scalar) -> Any:
        """Quotient of floats (or complex numbers)."""
        a, b = self._pair(a, b)
        if isinstance(a, Complex):
            return self.complex_div(a, b)
        divisor = self._number(b)
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
        if is_float(a.dtype):
            return self._float_floor_div(a, b)
        bits = self._power_of_two(b)
        if bits is not None:
            return self.pure("ashr" if is_signed(a.dtype) else "lshr", a.dtype, (a, bits))
        a, b = self._safe_divisor(a, b)
        quotient = self.int_divide(a, b)
        if not is_signed(a.dtype):
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
        if is_float(a.dtype):
            rest = self.pure("frem", a.dtype, (a, b))
            wrong = self.and_(self.ne(rest, 0), self.ne(self.lt(rest, 0), self.lt(b, 0)))
            adjusted = self.select(wrong, self.add(rest, b), rest)
            return self.select(self.eq(rest, 0), self.copysign(rest, b), adjusted)
        if self._power_of_two(b) is not None:
            return self.and_(a, self.const(self._number(b) - 1, a.dtype))
        a, b = self._safe_divisor(a, b)
        rest = self.remainder(a, b)
        if not is_signed(a.dtype):
            return rest
        wrong = self.and_(self.ne(rest, 0), self.lt(self.xor(rest, b), 0))
        return self.select(wrong, self.add(rest, b), rest)

    def _power_of_two(self, divisor: Value) -> Value | None:
        """The number of bits to shift by in place of a division by a constant."""
        known = self._number(divisor)
        if known is None or known < 1 or known & (known - 1):
            return None
        return self.const(known.bit_length() - 1, divisor.dtype)

    def _safe_divisor(self, a: Value, b: Value) -> tuple[Value, Value]:
        known = self._number(b)
        if known is not None and known not in (0, -1):
            return a, b
        valid = self.ne(b, 0)
        self.guard(valid, "division")
        b = self.select(valid, b, 1)
        if is_signed(a.dtype):
            # INT_MIN / -1 traps on the CPU: NumPy gives INT_MIN
            low = -(1 << (8 * dt.item_size(a.dtype) - 1))
            overflow = self.and_(self.eq(a, self.const(low, a.dtype)), self.eq(b, -1))
            b = self.select(overflow, 1, b)
        return a, b

    def neg(self, a: Scalar) -> Any:
        if isinstance(a, Complex):
            return Complex(self.neg(a.re), self.neg(a.im), a.dtype)
        if is_float(a.dtype):
            return self.pure("neg", a.dtype, (a,))
        return self.sub(self.const(0, a.dtype), a)

    def abs(self, a: Scalar) -> Any:
        if isinstance(a, Complex):
            return self.complex_abs(a)
        if a.dtype == "bool" or dt.is_unsigned(a.dtype):
            return a
        if is_float(a.dtype):
            return self.pure("fabs", a.dtype, (a,))
        return self.select(self.lt(a, 0), self.neg(a), a)

    def sign(self, a: Scalar) -> Any:
        zero, one = self.const(0, a.dtype), self.const(1, a.dtype)
        positive = self.select(self.gt(a, zero), one, zero)
        if dt.is_unsigned(a.dtype):
            return positive
        signed = self.select(self.lt(a, zero), self.const(-1, a.dtype), positive)
        return self.select(self.isnan(a), a, signed) if is_float(a.dtype) else signed

    def max(self, a: Scalar, b: Scalar) -> Any:
        """The larger; NaN if one is."""
        a, b = self._pair(a, b)
        if isinstance(a, Complex):
            return self.complex_max(a, b)
        if a.dtype == "bool":
            return self.or_(a, b)
        if a.dtype == "int64":
            x, y = self._number(a), self._number(b)
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
            x, y = self._number(a), self._number(b)
            if x is not None and y is not None:
                return self.const(min(x, y))
        return a if a is b else self.pure("min", a.dtype, (a, b))

    def pow(self, a: Scalar, b: Scalar) -> Any:
        """Power in the common dtype; small constant exponents become products."""
        a, b = self._pair(a, b)
        exponent = self._number(b)
        if isinstance(a, Complex):
            return self.complex_pow(a, b)
        if exponent is not None and exponent == int(exponent) and 0 <= exponent <= 8:
            return self._power_by_squaring(a, int(exponent))
        if is_float(a.dtype):
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
        if is_signed(b.dtype):
            self.guard(self.ge(b, 0), "negative_power")
        result: Any = self.const(1, a.dtype)
        base: Any = a
        # an exponent beyond the word's bits can only matter for bases 0, 1 and -1, whose powers
        # depend on parity alone: six squarings reach 2**6 - 1, the rest folds in by parity
        bits = 8 * dt.item_size(a.dtype)
        rest: Any = b
        for _ in range(bits):
            odd = self.ne(self.and_(rest, self.const(1, b.dtype)), 0)
            result = self.select(odd, self.mul(result, base), result)
            base = self.mul(base, base)
            rest = self.shift_right(rest, 1)
            if bits == 64 and _ == 31:
                break
        return result

    def shift_right(self, a: Value, bits: int) -> Value:
        """Logical shift right."""
        return self.pure("lshr", a.dtype, (a, self.const(bits, a.dtype)))

    # ------------------------------------------------------------- comparisons, logic

    def _compare(self, op: str, a: Scalar, b: Scalar) -> Any:
        a, b = self._pair(a, b)
        if isinstance(a, Complex):
            return self.complex_compare(op, a, b)
        x, y = self._number(a), self._number(b)
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
        if a is b and not is_float(a.dtype):
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
            x, y = self._number(a), self._number(b)
            if x is not None:
                return b if x else a
            if y is not None:
                return a if y else b
        return self.pure("and", a.dtype, (a, b))

    def or_(self, a: Scalar, b: Scalar) -> Any:
        a, b = self._pair(a, b)
        if a.dtype == "bool":
            x, y = self._number(a), self._number(b)
            if x is not None:
                return a if x else b
            if y is not None:
                return b if y else a
        return self.pure("or", a.dtype, (a, b))

    def xor(self, a: Scalar, b: Scalar) -> Any:
        a, b = self._pair(a, b)
        return self.pure("xor", a.dtype, (a, b))

    def not_(self, a: Scalar) -> Any:
        known = self._number(a)
        if a.dtype == "bool":
            if known is not None:
                return self.const(not known, "bool")
            return self.pure("xor", "bool", (a, self.const(True, "bool")))
        ones = -1 if is_signed(a.dtype) else (1 << (8 * dt.item_size(a.dtype))) - 1
        return self.pure("xor", a.dtype, (a, self.const(ones, a.dtype)))

    def select(self, condition: Scalar, a: Scalar, b: Scalar) -> Any:
        a, b = self._pair(a, b)
        if isinstance(a, Complex):
            return Complex(
                self.select(condition, a.re, b.re), self.select(condition, a.im, b.im), a.dtype
            )
        known = self._number(condition)
        if known is not None:
            return a if known else b
        return a if a is b else self.pure("select", a.dtype, (condition, a, b))

    def isnan(self, a: Scalar) -> Any:
        if isinstance(a, Complex):
            return self.or_(self.isnan(a.re), self.isnan(a.im))
        if not is_float(a.dtype):
            return self.const(False, "bool")
        return self.pure("cmp", "bool", (a, a), "uno")

    def isinf(self, a: Scalar) -> Any:
        if isinstance(a, Complex):
            return self.or_(self.isinf(a.re), self.isinf(a.im))
        if not is_float(a.dtype):
            return self.const(False, "bool")
        return self.eq(self.abs(a), self.const(np.inf, a.dtype))

    # ------------------------------------------------------------- functions

    def _rounding(self, op: str, a: Value) -> Value:
        return self.pure(op, a.dtype, (a,)) if is_float(a.dtype) else a

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
        known = self._number(a)
        if known is not None and (is_float(dtype) or abs(known) < 2**31) and dtype != "float16":
            if is_float(dtype):
                return self.const(float(np.dtype(dtype).type(known)), dtype)
            if dtype == "bool":
                return self.const(known != 0, "bool")
            if known == known and (is_signed(dtype) or known >= 0):
                limits = np.iinfo(dtype)
                if limits.min <= int(known) <= limits.max:
                    return self.const(int(known), dtype)
        if dtype == "bool":
            return self.ne(a, self.const(0, a.dtype))
        if is_float(a.dtype) and not is_float(dtype) and dt.item_size(dtype) < 8:
            # through a wider integer, so that out of range values wrap as NumPy's do; what that
            # does not hold either, NaN too, becomes its smallest number
            wide = "int64" if dtype == "uint32" else "int32"
            return self.cast(self.pure("cast", wide, (a,)), dtype)
        if dtype == "uint64" and is_float(a.dtype):
            # negative numbers wrap, as NumPy's do
            wrapped = self.cast(self.pure("cast", "int64", (a,)), "uint64")
            return self.select(self.lt(a, 0), wrapped, self.pure("cast", "uint64", (a,)))
        return self.pure("cast", dtype, (a,))

    # ------------------------------------------------------------- memory

    def size(self, dims: Sequence[Value]) -> Value:
        """The product of ``dims``."""
        total: Any = self.const(1)
        for dim in dims:
            total = self.mul(total, dim)
        return total

    def note_existing(self, dims: Sequence[Value]) -> None:
        """An array of these sizes is in memory: those of another of them can be counted."""
        self._existing[self._open_sizes(dims)] = tuple(dims)  # held: an id is for life
        self._lengths.update(dims)

    def _open_sizes(self, dims: Sequence[Value]) -> tuple[int, ...]:
        # a size of the array that was left out might be 0, and the others anything
        return tuple(sorted(id(dim) for dim in dims if self._number(dim) != 1))

    def byte_size(self, dtype: str, dims: Sequence[Value]) -> Value:
        """The bytes of a dense buffer; a number that no allocator grants if they overflow.

        Compared in floating point, because the product of integers may wrap to anything.
        """
        if self._open_sizes(dims) in self._existing:
            return self.mul(self.size(dims), dt.item_size(dtype))
        known = dt.item_size(dtype)
        open_dims = []
        for dim in dims:
            number = self._number(dim)
            if number is None:
                open_dims.append(dim)
            else:
                known *= number
        if known >= MOST_BYTES:
            # an unknown size may still be zero, but then nothing is lost either
            return self.const(TOO_MANY_BYTES)
        if not open_dims:
            return self.const(known)
        size = self.mul(self.size(open_dims), known)
        rough: Any = self.cast(open_dims[0], "float64")
        for dim in open_dims[1:]:
            rough = self.mul(rough, self.cast(dim, "float64"))
        fits = self.lt(rough, self.const(MOST_BYTES / max(known, 1), "float64"))
        return self.select(fits, size, self.const(TOO_MANY_BYTES))

    def fits_memory(self, dtype: str, dims: Sequence[Value]) -> Value:
        """Whether the bytes of an array of ``dims`` can be counted at all."""
        if self._open_sizes(dims) in self._existing:
            return self.const(True, "bool")
        return self.le(self.byte_size(dtype, dims), MOST_BYTES)

    def address(self, view: View, index: Sequence[Any]) -> Value:
        """The element offset of ``view[index]`` from its pointer."""
        total: Any = view.offset if view.offset is not None else self.const(0)
        if len(index) != view.ndim:
            raise ValueError(f"{len(index)} indices for a view of {view.ndim} dimensions")
        if view.strides is None:
            terms: list[Any] = []
            for k, position in enumerate(index):
                terms.append(self.mul(position, self.size(view.dims[k + 1 :])))
        else:
            terms = [self.mul(i, s) for i, s in zip(index, view.strides, strict=True)]
        # outermost loops first, so that their part of the sum is hoisted
        for term in sorted(terms, key=lambda t: t.scope.depth):
            total = self.add(total, term)
        return total

    def strides(self, view: View) -> tuple[Value, ...]:
        """The strides of a view, of a dense one too."""
        if view.strides is not None:
            return view.strides
        return tuple(self.size(view.dims[k + 1 :]) for k in range(view.ndim))

    def load(self, view: View, index: Sequence[Any]) -> Any:
        """The element of ``view`` at ``index``."""
        index = [i if isinstance(i, Value) else self.const(i) for i in index]
        offset = self.address(view, index)
        if dt.is_complex(view.dtype):
            part = dt.real_part(view.dtype)
            twice = self.mul(offset, 2)
            return Complex(
                self._load(part, view.pointer, twice),
                self._load(part, view.pointer, self.add(twice, 1)),
                view.dtype,
            )
        return self._load(view.dtype, view.pointer, offset)

    def _load(self, dtype: str, pointer: Value, offset: Value) -> Value:
        key = ("load", dtype, self._epoch, id(pointer), id(offset))
        found = self.scope.table.get(key)
        if found is None:
            found = self.effect("load", dtype, (pointer, offset))
            self.scope.table[key] = found
        return found

    def store(self, view: View, index: Sequence[Any], value: Scalar) -> None:
        """Write an element."""
        index = [i if isinstance(i, Value) else self.const(i) for i in index]
        if not isinstance(value, (Value, Complex)):
            value = self.const(value, view.dtype)
        offset = self.address(view, index)
        self._epoch += 1
        if isinstance(value, Complex):
            part = dt.real_part(view.dtype)
            twice = self.mul(offset, 2)
            self.effect("store", "void", (view.pointer, twice, value.re), part)
            self.effect("store", "void", (view.pointer, self.add(twice, 1), value.im), part)
            return
        self.effect("store", "void", (view.pointer, offset, value), view.dtype)

    def shifted(self, view: View, offset: Any) -> Value:
        """A pointer ``offset`` elements into the buffer of ``view``."""
        offset = offset if isinstance(offset, Value) else self.const(offset)
        base = view.offset
        if base is not None:
            offset = self.add(base, offset)
        if self._number(offset) == 0:
            return view.pointer
        return self.pure("ptradd", "ptr", (view.pointer, offset), view.dtype)

    def row(self, view: View, index: Any) -> View:
        """``view[index]``: the window of one row."""
        index = index if isinstance(index, Value) else self.const(index)
        if view.strides is None:
            step = self.mul(index, self.size(view.dims[1:]))
            return View(view.dtype, self.shifted(view, step), view.dims[1:])
        step = self.mul(index, view.strides[0])
        rest = view.strides[1:]
        return View(view.dtype, self.shifted(view, step), view.dims[1:], rest if rest else None)

    #: the Apply that is being lowered: what a buffer without a reason is for
    lowered_node: Any = None

    def temporary(
        self, dtype: str, dims: Sequence[Value], reason: tuple[Any, ...] | None = None
    ) -> View:
        """A dense buffer of the call, allocated where its size is known.

        ``reason`` says why it exists (`Buffer`, in ``lowering.program``).
        """
        slot = self.program.slots
        self.program.slots += 1
        self.program.calls.update(block_pool.SYMBOLS)
        pointer = self.pure("ensure", "ptr", (self.byte_size(dtype, dims),), slot)
        dims = tuple(dims)
        why = ("scratch", self.lowered_node) if reason is None else reason
        self.program.buffers.append(Buffer(pointer, dtype, dims, why))
        return View(dtype, pointer, dims)

    def grow(self, slot: int, used: Value, size: Value) -> None:
        """Make a buffer of the call at least ``size`` bytes large; its first ``used`` ones stay."""
        self._epoch += 1
        self.effect("grow", "void", (used, size), slot)

    def remembered(self, number: int) -> Value:
        """The address of a word that keeps its value between calls, 0 at first; a hint only."""
        return self.pure("remembered", "ptr", (), number)

    def local(self, dtype: str) -> View:
        """A scalar in the native frame, for values that leave a branch."""
        return View(dtype, self.local_array(dtype, 1).pointer, ())

    def local_array(self, dtype: str, count: int) -> View:
        """A small array in the native frame."""
        number = len(self.program.locals)
        self.program.locals.append((dtype, count))
        pointer = self.pure("local", "ptr", (), number)
        return View(dtype, pointer, (self.const(count),))

    def frame(self, slot: int, dtype: str = "int64") -> Value:
        """A word of the call frame."""
        return self.pure("frame", dtype, (), slot)

    def table(self, entry: int, dtype: str = "ptr") -> Value:
        """A word of the function's table of addresses (constants, shared variables, callbacks)."""
        return self.pure("table", dtype, (), entry)

    def raw_load(self, pointer: Value, word: int, dtype: str = "int64") -> Value:
        """A word behind a pointer."""
        return self.effect("load", dtype, (pointer, self.const(word)))

    def raw_store(self, pointer: Value, word: int, value: Value) -> None:
        """Write a word behind a pointer."""
        self._epoch += 1
        dtype = value.dtype
        self.effect("store", "void", (pointer, self.const(word), value), dtype)

    def memcpy(self, target: Value, source: Value, size: Value) -> None:
        """Copy bytes between buffers that do not overlap."""
        self._epoch += 1
        self.effect("memcpy", "void", (target, source, size))

    def call(self, symbol: str, args: Sequence[Value], dtype: str = "void") -> Value:
        """Call a run-time function. Integers are passed as i64, floats as they are."""
        self._epoch += 1
        self.program.calls.add(symbol)
        return self.effect("call", dtype, tuple(args), symbol)

    def call_pointer(self, pointer: Value, args: Sequence[Value], dtype: str = "void") -> Value:
        """Call a function by its address."""
        self._epoch += 1
        return self.effect("call_pointer", dtype, (pointer, *args))

    # ------------------------------------------------------------- control

    @contextmanager
    def loop(
        self,
        extent: Any,
        *,
        carries: Sequence[Any] = (),
        kind: str = "serial",
        combine: Sequence[str] | None = None,
        parallel: bool = False,
        label: str = "",
        inner_steps: Value | None = None,
    ) -> Iterator[Loop]:
        """A loop over ``range(extent)``; ``carries`` are the initial carried values.

        ``inner_steps`` is the usual trip count of loops inside whose own is not known outside.
        """
        extent = extent if isinstance(extent, Value) else self.const(extent)
        parent = self.scope
        body = Scope(parent)
        index = Value("index", "int64", (), None, body, self)
        loop = Loop(index, extent, body, kind, parallel, label=label)
        body.holder = loop
        for number, init in enumerate(carries):
            phi = Value("phi", init.dtype, (), None, body, self)
            result = Value("result", init.dtype, (), loop, parent, self)
            loop.carries.append(Carry(init, phi, result, combine[number] if combine else None))
        loop.steps = Value("result", "int64", (), loop, parent, self)
        self.scope = body
        self._epoch += 1
        try:
            yield loop
        finally:
            self.scope = parent
        if parallel and self.threads > 1:
            from ltensor.lowering.rewrites.parallel import expected_cost

            # now, and not when all is built: what it is made of must stand before the loop
            loop.cost = expected_cost(self, loop, inner_steps)
        self._epoch += 1
        parent.body.append(loop)

    def reduce(self, extent: Any, combine: str, init: Value, kind: str = "vector") -> Any:
        """A loop with a carried value joined by ``combine``: ``loop.next`` takes contributions."""
        return self.loop(extent, carries=[init], combine=[combine], kind=kind)

    @contextmanager
    def if_(self, condition: Value) -> Iterator[None]:
        """A branch; follow it by ``else_`` for the other side."""
        parent = self.scope
        branch = If(condition, Scope(parent), Scope(parent))
        self.scope = branch.then
        self._epoch += 1
        yield
        self.scope = parent
        self._epoch += 1
        parent.body.append(branch)
        self._open_if = branch

    @contextmanager
    def else_(self) -> Iterator[None]:
        """The other side of the last ``if_``."""
        branch = self._open_if
        if branch is None or self.scope.body[-1] is not branch:
            raise RuntimeError("else_ without if_")
        parent = self.scope
        self.scope = branch.orelse
        self._epoch += 1
        # nothing may be hoisted behind the branch while its other side is written
        parent.body.pop()
        yield
        self.scope = parent
        self._epoch += 1
        parent.body.append(branch)

    def steps_here(self) -> list[tuple[str, Value]]:
        """The scans around the current position, outermost first: label and current step."""
        found: list[tuple[str, Value]] = []
        scope: Scope | None = self.scope
        while scope is not None:
            loop = scope.holder
            if isinstance(loop, Loop) and loop.label.startswith("for{"):
                found.append((loop.label, loop.index))
            scope = scope.parent
        return found[::-1]

    # ------------------------------------------------------------- checks

    def error_site(self, kind: str, node: Any, detail: tuple[Any, ...] = ()) -> int:
        """The number of a new error site."""
        self.program.errors.append(ErrorSite(kind, node, detail))
        return len(self.program.errors) - 1

    def check(
        self,
        condition: Scalar,
        kind: str,
        node: Any,
        values: Sequence[Value] = (),
        detail: tuple[Any, ...] = (),
        shapes_at: int | None = None,
    ) -> Scope | None:
        """Leave the function with an error unless ``condition`` holds. Not inside vector loops.

        A check of what does not change in a loop stands before the loop, where it holds as well if
        no step is run; one that is known to have held is left out. Returns the scope that it
        stands in, None if the condition is known.
        """
        if self._number(condition) is True:
            return None
        scope = self.scope
        while isinstance(scope.holder, Loop) and scope.parent is not None:
            if any(v.scope.depth >= scope.depth for v in (condition, *values)):
                break
            condition = self.or_(condition, self.le(scope.holder.extent, 0))
            scope = scope.parent
        key = ("checked", id(condition))
        outer: Scope | None = scope
        while outer is not None:
            if key in outer.table:
                return scope
            outer = outer.parent
        site = self.error_site(kind, node, detail)
        self.program.errors[site].shapes_at = shapes_at
        statement = Value("check", "void", (condition, *values), site, scope, self)
        scope.table[key] = statement
        scope.body.append(statement)
        return scope

    def check_sizes(self, size: Value, other: Value, kind: str, node: Any, **more: Any) -> None:
        """Check that two sizes are equal; from here on `known_size` gives what that tells."""
        scope = self.check(self.eq(size, other), kind, node, **more)
        if scope is None:
            return
        pending = [(size, other)]
        while pending:
            size, other = pending.pop()
            self._known_sizes.note(size, other, self.scope, scope)
            if size.op == "const":
                size, other = other, size
            if other.op == "const":
                pending += self._told_by(size, other.attr)

    def _told_by(self, size: Value, number: int) -> list[tuple[Value, Value]]:
        """What else is known if ``size`` is ``number``: slices tell the sizes that they are of."""
        if size.op not in ("max", "min", "sub"):
            return []
        of, constant = size.args if size.args[1].op == "const" else size.args[::-1]
        if constant.op != "const":
            return []
        if size.op == "sub":
            sign = 1 if constant is size.args[1] else -1
            return [(of, self.const(constant.attr + sign * number))]
        # one of the two is the result: not the constant if that is another number
        return [] if constant.attr == number else [(of, self.const(number))]

    def known_size(self, size: Value) -> Value:
        """The number that ``size`` is here by the checks that were passed, else ``size``."""
        return self._known_sizes.get(size, self.scope)

    #: the Apply whose element code is being emitted; guards refer to it
    current_node: Any = None

    def guard(self, condition: Scalar, kind: str, values: Sequence[Value] = ()) -> None:
        """Note a failed element inside a nest; reported by `flush_guards` after the nest.

        ``values`` of the first element that failed are recorded, at most `GUARD_WORDS`
        (``lowering.program``) int64 numbers.
        """
        if self._number(condition) is True:
            return
        flag = self.program.flags
        self.program.flags += 1
        site = self.error_site(kind, self.current_node)
        self.effect("guard", "void", (condition, *values), flag)
        self._pending.append((flag, site, len(values)))

    def flush_guards(self) -> None:
        """Report guards that failed in the nest just closed."""
        pending, self._pending = self._pending, []
        for flag, site, words in pending:
            self.effect("check_flag", "void", (), (flag, site, words))
