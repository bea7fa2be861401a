"""A small straight-line builder of LLVM IR text, and the values it hands out.

The mathematics in this package is written once, as Python expressions over `Value`; the builder
turns each operation into one line of LLVM text for its lane count (one lane is a plain scalar).
Layer 4.  It knows nothing of loops, buffers or kernels, and never names an LLVM intrinsic that
one of the targets cannot lower (see `INTRINSICS`).

Note [Straight line]
LLVM's own passes are never run, so what is emitted is what is executed: a repeated expression is
emitted once (`_memo`), constants are splats, and there is no branch, with one exception: `rarely`.
Inside a function of its own it branches around work that few arguments need; inlined in somebody
else's basic block it does that work always and selects.  Both give the same bits.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# Those that lower on x86 and on NVPTX (without `afn`), in single and in double precision.
INTRINSICS = frozenset({"sqrt", "fabs", "floor", "ceil", "trunc", "rint", "fma", "copysign"})


@dataclass(frozen=True)
class FloatFormat:
    """What the bit tricks must know about a floating-point format."""

    kind: str
    llvm: str
    int_kind: str
    mantissa: int  # explicit mantissa bits
    bias: int

    @property
    def magic(self) -> float:
        """1.5 * 2**mantissa: adding it rounds a small number to an integer in the low bits."""
        return 1.5 * 2.0**self.mantissa

    @property
    def magic_bits(self) -> int:
        """Bit pattern of `magic`."""
        return ((self.bias + self.mantissa) << self.mantissa) | (1 << (self.mantissa - 1))

    @property
    def one_bits(self) -> int:
        """Bit pattern of 1.0."""
        return self.bias << self.mantissa

    @property
    def smallest_normal(self) -> float:
        """The smallest number that is not a denormal."""
        return 2.0 ** (1 - self.bias)

    @property
    def largest_quarter(self) -> float:
        """A quarter of the largest power of two."""
        return 2.0 ** (self.bias - 2)

    @property
    def sign_bit(self) -> int:
        """Mask of the sign bit, as a signed integer."""
        return -(1 << (31 if self.kind == "f32" else 63))


F32 = FloatFormat("f32", "float", "i32", 23, 127)
F64 = FloatFormat("f64", "double", "i64", 52, 1023)
FORMATS = {"f32": F32, "f64": F64}
KINDS = {"float32": "f32", "float64": "f64"}

_LLVM_TYPES = {"f32": "float", "f64": "double", "i32": "i32", "i64": "i64", "i1": "i1"}
_FLOAT_COMPARE = {"lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge", "eq": "oeq", "ne": "une"}
_INT_COMPARE = {"lt": "slt", "le": "sle", "gt": "sgt", "ge": "sge", "eq": "eq", "ne": "ne"}


def float_literal(kind: str, number: float) -> str:
    """LLVM's hexadecimal spelling of a constant, rounded to its format first."""
    if kind == "f32":
        number = round_to_single(number)
    return f"0x{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}"


def round_to_single(number: float) -> float:
    """Round to the nearest float32 (beyond its range: to infinity)."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", number))[0])
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")


class Value:
    """An SSA value or a splat constant; its kind is one of f32, f64, i32, i64, i1."""

    __slots__ = ("builder", "kind", "text")

    def __init__(self, builder: Builder, kind: str, text: str) -> None:
        self.builder = builder
        self.kind = kind
        self.text = text

    @property
    def format(self) -> FloatFormat:
        """The floating-point format of this value."""
        return FORMATS[self.kind]

    @property
    def is_float(self) -> bool:
        """Whether the kind is f32 or f64."""
        return self.kind in FORMATS

    def _binary(self, name: str, other: Operand) -> Value:
        opcode = "f" + name if self.is_float else name
        return self.builder.binary(opcode, self, other)

    def __add__(self, other: Operand) -> Value:
        return self._binary("add", other)

    def __sub__(self, other: Operand) -> Value:
        return self._binary("sub", other)

    def __mul__(self, other: Operand) -> Value:
        return self._binary("mul", other)

    def __truediv__(self, other: Operand) -> Value:
        return self._binary("div", other)

    def __radd__(self, other: float) -> Value:
        return self + other

    def __rmul__(self, other: float) -> Value:
        return self * other

    def __rsub__(self, other: float) -> Value:
        return self.builder.constant(self.kind, other) - self

    def __rtruediv__(self, other: float) -> Value:
        return self.builder.constant(self.kind, other) / self

    def __neg__(self) -> Value:
        type_ = self.builder.type(self.kind)
        return self.builder.emit(self.kind, f"fneg {type_} {self.text}")

    def __and__(self, other: Operand) -> Value:
        return self.builder.binary("and", self, other)

    def __or__(self, other: Operand) -> Value:
        return self.builder.binary("or", self, other)

    def __xor__(self, other: Operand) -> Value:
        return self.builder.binary("xor", self, other)

    def __invert__(self) -> Value:
        return self ^ (1 if self.kind == "i1" else -1)

    def __lshift__(self, other: Operand) -> Value:
        return self.builder.binary("shl", self, other)

    def __rshift__(self, other: Operand) -> Value:
        """Shift right, filling with zeros: AVX2 has no 64-bit arithmetic shift."""
        return self.builder.binary("lshr", self, other)

    def __lt__(self, other: Operand) -> Value:
        return self.builder.compare("lt", self, other)

    def __le__(self, other: Operand) -> Value:
        return self.builder.compare("le", self, other)

    def __gt__(self, other: Operand) -> Value:
        return self.builder.compare("gt", self, other)

    def __ge__(self, other: Operand) -> Value:
        return self.builder.compare("ge", self, other)

    def eq(self, other: Operand) -> Value:
        """Ordered equality."""
        return self.builder.compare("eq", self, other)

    def ne(self, other: Operand) -> Value:
        """Unequal or unordered."""
        return self.builder.compare("ne", self, other)

    def is_nan(self) -> Value:
        """Mask of the NaN lanes."""
        return self.builder.compare("ne", self, self)

    def bits(self) -> Value:
        """The bit pattern as an integer."""
        return self.builder.convert("bitcast", self, self.format.int_kind)

    def as_float(self) -> Value:
        """The float whose bit pattern this integer is."""
        return self.builder.convert("bitcast", self, "f32" if self.kind == "i32" else "f64")

    def to(self, kind: str) -> Value:
        """Convert between f32 and f64."""
        if kind == self.kind:
            return self
        return self.builder.convert("fpext" if kind == "f64" else "fptrunc", self, kind)


Operand = Value | float | int
Pair = tuple[Value, Value]


class Builder:
    """Collects the lines of one piece of code.

    Parameters
    ----------
    lanes
        Vector length of every value; 1 means plain scalars.
    fresh
        Gives a new register name, with its ``%``, each time.
    fma
        Whether the machine multiplies and adds in one rounding.  Without it ``llvm.fma`` would be
        a library call 75 times as slow, so a multiplication and an addition are emitted.
    avx512
        Whether the machine has AVX-512, whose `scalef` is taken where it gives the same bits.
    labels
        Gives new label names where branches are allowed, else None (Note [Straight line]).
    """

    def __init__(
        self,
        lanes: int,
        fresh: Callable[[], str],
        *,
        fma: bool = True,
        avx512: bool = False,
        labels: Callable[[], str] | None = None,
        entry: str = "entry",
    ) -> None:
        self.lanes = lanes
        self.has_fma = fma
        self.has_avx512 = avx512
        self.lines: list[str] = []
        self.declares: set[str] = set()
        self._fresh = fresh
        self._labels = labels
        self._block = entry
        self._memo: dict[str, Value] = {}

    # -- text ---------------------------------------------------------------------------------

    def type(self, kind: str) -> str:
        """LLVM type of values of this kind."""
        scalar = _LLVM_TYPES[kind]
        return scalar if self.lanes == 1 else f"<{self.lanes} x {scalar}>"

    def suffix(self, kind: str) -> str:
        """How intrinsics and our own symbols spell the type."""
        return kind if self.lanes == 1 else f"v{self.lanes}{kind}"

    def emit(self, kind: str, expression: str) -> Value:
        """Append ``%new = expression`` unless the same expression has been emitted before."""
        value = self._memo.get(expression)
        if value is None:
            value = Value(self, kind, self._fresh())
            self.lines.append(f"  {value.text} = {expression}")
            self._memo[expression] = value
        return value

    def constant(self, kind: str, number: float) -> Value:
        """A splat constant."""
        if kind in FORMATS:
            literal = float_literal(kind, number)
        elif kind == "i1":
            literal = "true" if number else "false"
        else:
            literal = str(int(number))
        if self.lanes > 1:
            literal = f"splat ({_LLVM_TYPES[kind]} {literal})"
        return Value(self, kind, literal)

    def value(self, kind: str, operand: Operand) -> Value:
        """The operand itself, or a constant of this kind."""
        return operand if isinstance(operand, Value) else self.constant(kind, operand)

    # -- instructions -------------------------------------------------------------------------

    def binary(self, opcode: str, left: Value, right: Operand) -> Value:
        """One arithmetic or bitwise instruction; `right` may be a number."""
        other = self.value(left.kind, right)
        return self.emit(left.kind, f"{opcode} {self.type(left.kind)} {left.text}, {other.text}")

    def compare(self, relation: str, left: Value, right: Operand) -> Value:
        """A mask; comparisons of floats are ordered, except `ne`."""
        other = self.value(left.kind, right)
        if left.is_float:
            opcode = f"fcmp {_FLOAT_COMPARE[relation]}"
        else:
            opcode = f"icmp {_INT_COMPARE[relation]}"
        return self.emit("i1", f"{opcode} {self.type(left.kind)} {left.text}, {other.text}")

    def convert(self, opcode: str, value: Value, kind: str) -> Value:
        """A conversion instruction."""
        source, target = self.type(value.kind), self.type(kind)
        return self.emit(kind, f"{opcode} {source} {value.text} to {target}")

    def where(self, mask: Value, yes: Operand, no: Operand) -> Value:
        """`yes` in the lanes of the mask, else `no`; one of them must be a Value."""
        kind = yes.kind if isinstance(yes, Value) else no.kind  # type: ignore[union-attr]
        first, second = self.value(kind, yes), self.value(kind, no)
        type_ = self.type(kind)
        return self.emit(
            kind,
            f"select {self.type('i1')} {mask.text}, {type_} {first.text}, {type_} {second.text}",
        )

    def intrinsic(self, name: str, *operands: Operand) -> Value:
        """Call one of `INTRINSICS`; all operands and the result have one kind."""
        if name not in INTRINSICS:
            raise ValueError(f"llvm.{name} does not lower on every target")
        kind = next(operand.kind for operand in operands if isinstance(operand, Value))
        type_ = self.type(kind)
        symbol = f"@llvm.{name}.{self.suffix(kind)}"
        arguments = ", ".join(f"{type_} {self.value(kind, operand).text}" for operand in operands)
        self.declares.add(f"declare {type_} {symbol}({', '.join([type_] * len(operands))})")
        return self.emit(kind, f"call {type_} {symbol}({arguments})")

    def sqrt(self, x: Value) -> Value:
        """Correctly rounded square root."""
        return self.intrinsic("sqrt", x)

    def abs(self, x: Value) -> Value:
        """Absolute value."""
        return self.intrinsic("fabs", x)

    def copysign(self, magnitude: Operand, sign: Value) -> Value:
        """`magnitude` with the sign of `sign`."""
        return self.intrinsic("copysign", magnitude, sign)

    def fma(self, a: Operand, b: Operand, c: Operand) -> Value:
        """a * b + c; rounded once only where the machine can."""
        if self.has_fma:
            return self.intrinsic("fma", a, b, c)
        if not isinstance(a, Value):
            a, b = b, a
        assert isinstance(a, Value)
        return a * b + c

    def can_scale(self, kind: str) -> bool:
        """Whether `scalef` may be used: there is AVX-512, and a whole register."""
        return self.has_avx512 and self.lanes * int(kind[1:]) >= 128

    def scalef(self, x: Value, n: Value) -> Value:
        """x * 2**n for an n that is a whole number, rounded once; only where `can_scale`."""
        bits = int(x.kind[1:])
        lanes = min(self.lanes, 512 // bits)
        parts = []
        for start in range(0, self.lanes, lanes):
            order = range(start, start + lanes)
            parts.append(self._scalef_register(self._part(x, order), self._part(n, order), x.kind))
        while len(parts) > 1:
            lanes *= 2
            parts = [
                self._shuffled(a, b, lanes // 2, range(lanes), x.kind)
                for a, b in zip(parts[0::2], parts[1::2], strict=True)
            ]
        return Value(self, x.kind, parts[0])

    def _part(self, x: Value, order: range) -> str:
        if len(order) == self.lanes:
            return x.text
        return self._shuffled(x.text, "poison", self.lanes, order, x.kind)

    def _shuffled(self, a: str, b: str, lanes: int, order: range, kind: str) -> str:
        type_ = f"<{lanes} x {_LLVM_TYPES[kind]}>"
        mask = ", ".join(f"i32 {k}" for k in order)
        text = f"shufflevector {type_} {a}, {type_} {b}, <{len(order)} x i32> <{mask}>"
        return self.emit(kind, text).text

    def _scalef_register(self, x: str, n: str, kind: str) -> str:
        bits = int(kind[1:])
        width = min(self.lanes * bits, 512)
        lanes = width // bits
        type_ = f"<{lanes} x {_LLVM_TYPES[kind]}>"
        mask = f"i{max(lanes, 8)}"
        name = f"@llvm.x86.avx512.mask.scalef.p{'d' if bits == 64 else 's'}.{width}"
        # the widest form takes a rounding mode: 4 is that of the machine
        mode, given = (", i32", ", i32 4") if width == 512 else ("", "")
        self.declares.add(f"declare {type_} {name}({type_}, {type_}, {type_}, {mask}{mode})")
        operands = f"{type_} {x}, {type_} {n}, {type_} zeroinitializer, {mask} -1{given}"
        return self.emit(kind, f"call {type_} {name}({operands})").text

    def min(self, a: Value, b: Operand) -> Value:
        """The smaller; a NaN in `a` stays when `b` is a number."""
        return self.where(a > b, b, a)

    def max(self, a: Value, b: Operand) -> Value:
        """The larger; a NaN in `a` stays when `b` is a number."""
        return self.where(a < b, b, a)

    def polynomial(self, x: Value, coefficients: Sequence[float]) -> Value:
        """Evaluate c[0] + c[1] x + ...

        From six coefficients on terms are added in pairs, and these in pairs, until three are left:
        about half the latency of one chain, which is what a recurrence through this function waits
        for, at the price of one or two multiplications, which fill gaps.

        Source: G. Estrin, "Organization of computer systems: the fixed plus variable structure
        computer", 1960.
        """
        terms = [self.constant(x.kind, coefficient) for coefficient in coefficients]
        power = x
        while len(terms) > (3 if power is not x else 5):
            pairs = zip(terms[0::2], terms[1::2], strict=False)
            halved = [self.fma(odd, power, even) for even, odd in pairs]
            terms = halved + terms[2 * len(halved) :]
            power = power * power
        return self.horner(power, terms)

    def horner(self, x: Value, coefficients: Sequence[Operand]) -> Value:
        """Evaluate c[0] + c[1] x + ... in one chain."""
        total = self.value(x.kind, coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            total = self.fma(total, x, coefficient)
        return total

    # -- rare work ----------------------------------------------------------------------------

    def rarely(
        self, mask: Value, usual: Sequence[Value], slow: Callable[[], Sequence[Value]]
    ) -> list[Value]:
        """`slow()` in the lanes of the mask, else `usual`; see Note [Straight line]."""
        if self._labels is None:
            return [self.where(mask, s, u) for s, u in zip(slow(), usual, strict=True)]
        condition = self._any(mask)
        work, join, origin = self._labels(), self._labels(), self._block
        self.lines.append(f"  br i1 {condition}, label %{work}, label %{join}")
        before = dict(self._memo)
        self._enter(work)
        special = [self.where(mask, s, u) for s, u in zip(slow(), usual, strict=True)]
        self.lines.append(f"  br label %{join}")
        after_work = self._block
        self._memo = before  # what was computed there is not available at the join
        self._enter(join)
        return [
            self.emit(
                u.kind,
                f"phi {self.type(u.kind)} [ {u.text}, %{origin} ], [ {s.text}, %{after_work} ]",
            )
            for s, u in zip(special, usual, strict=True)
        ]

    def _enter(self, label: str) -> None:
        self.lines.append(f"{label}:")
        self._block = label

    def _any(self, mask: Value) -> str:
        """The register of one i1: is any lane of the mask set?"""
        if self.lanes == 1:
            return mask.text
        packed, found = self._fresh(), self._fresh()
        self.lines.append(f"  {packed} = bitcast {self.type('i1')} {mask.text} to i{self.lanes}")
        self.lines.append(f"  {found} = icmp ne i{self.lanes} {packed}, 0")
        return found


# -- error-free transformations ---------------------------------------------------------------


def two_sum(a: Value, b: Operand) -> Pair:
    """a + b exactly, as a rounded sum and its error."""
    total = a + b
    b_part = total - a
    a_part = total - b_part
    return total, (a - a_part) + (a.builder.value(a.kind, b) - b_part)


def fast_two_sum(a: Value, b: Value) -> Pair:
    """As `two_sum`, for |a| >= |b|."""
    total = a + b
    return total, b - (total - a)


def two_product(a: Value, b: Operand) -> Pair:
    """a * b exactly, as a rounded product and its error."""
    build = a.builder
    product = a * b
    if build.has_fma:
        return product, build.fma(a, b, -product)
    a_high, a_low = _halves(a)
    b_high, b_low = _halves(build.value(a.kind, b))
    error = a_high * b_high - product
    error = (error + a_high * b_low) + a_low * b_high
    return product, error + a_low * b_low


def _halves(a: Value) -> Pair:
    """a as the sum of two numbers of half the bits (by masking, which cannot overflow)."""
    keep = -(1 << ((a.format.mantissa + 1) // 2 + (a.kind == "f64")))
    high = (a.bits() & keep).as_float()
    return high, a - high
