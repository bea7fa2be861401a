"""What all of the builder stands on: constants, and values appended to the program.

Equal values without side effects are one, in the outermost scope in which their operands exist.
"""

from __future__ import annotations

from typing import Any

from ltensor.ir import dtypes as dt
from ltensor.lowering.program import Complex, Program, Scope, Value, deepest

Scalar = Any  # Value, Complex or a Python number


class Values:
    """Makes values; see `Builder`."""

    def __init__(self, name: str, threads: int) -> None:
        self.root = Scope(None)
        self.threads = threads
        self.program = Program(name, self.root)
        self.scope = self.root
        self._consts: dict[Any, Value] = {}
        #: loads before and after a change of it may differ
        self._epoch = 0

    def const(self, value: Any, dtype: str = "int64") -> Any:
        """A constant scalar."""
        if dt.is_complex(dtype):
            part = dt.real_part(dtype)
            number = complex(value)
            return Complex(self.const(number.real, part), self.const(number.imag, part), dtype)
        if dtype == "bool":
            data: Any = bool(value)
        elif dt.is_float(dtype):
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
    def number(value: Any) -> Any:
        """What a constant is; None for other values."""
        return value.attr if isinstance(value, Value) and value.op == "const" else None
