"""Complex scalars as pairs of floats: arithmetic of the builder for complex64 and complex128."""

from __future__ import annotations

from typing import Any

from ltensor.errors import UnsupportedError
from ltensor.lowering.program import Complex


class ComplexArithmetic:
    """Mixed into the builder; every method composes real operations."""

    add: Any
    sub: Any
    mul: Any
    div: Any
    neg: Any
    abs: Any
    sqrt: Any
    math: Any
    select: Any
    eq: Any
    ne: Any
    lt: Any
    gt: Any
    and_: Any
    or_: Any
    const: Any
    copysign: Any
    isnan: Any

    def complex_add(self, a: Complex, b: Complex) -> Complex:
        """a + b."""
        return Complex(self.add(a.re, b.re), self.add(a.im, b.im), a.dtype)

    def complex_sub(self, a: Complex, b: Complex) -> Complex:
        """a - b."""
        return Complex(self.sub(a.re, b.re), self.sub(a.im, b.im), a.dtype)

    def complex_mul(self, a: Complex, b: Complex) -> Complex:
        """a * b."""
        real = self.sub(self.mul(a.re, b.re), self.mul(a.im, b.im))
        imag = self.add(self.mul(a.re, b.im), self.mul(a.im, b.re))
        return Complex(real, imag, a.dtype)

    def complex_div(self, a: Complex, b: Complex) -> Complex:
        """a / b by Smith's method, which does not overflow half way."""
        wide = self.or_(
            self.gt(self.abs(b.re), self.abs(b.im)), self.eq(self.abs(b.re), self.abs(b.im))
        )
        large = self.select(wide, b.re, b.im)
        small = self.select(wide, b.im, b.re)
        ratio = self.div(small, large)
        scale = self.add(large, self.mul(small, ratio))
        first = self.select(wide, a.re, a.im)
        second = self.select(wide, a.im, a.re)
        real = self.div(self.add(first, self.mul(second, ratio)), scale)
        one = self.sub(second, self.mul(first, ratio))
        other = self.sub(self.mul(second, ratio), first)
        # for |im| > |re|: (a + ib)/(c + id) = ((a c/d + b) + i(b c/d - a)) / (c c/d + d)
        imag_wide = self.div(one, scale)
        swapped = self.sub(self.mul(a.im, ratio), a.re)
        imag = self.select(wide, imag_wide, self.div(swapped, scale))
        del other
        return Complex(real, imag, a.dtype)

    def complex_abs(self, a: Complex) -> Any:
        """Modulus."""
        return self.math("hypot", a.re, a.im)

    def complex_compare(self, op: str, a: Complex, b: Complex) -> Any:
        """Equality by parts; order is lexicographic, as NumPy's."""
        if op == "eq":
            return self.and_(self.eq(a.re, b.re), self.eq(a.im, b.im))
        if op == "ne":
            return self.or_(self.ne(a.re, b.re), self.ne(a.im, b.im))
        strict = self.lt if op in ("lt", "le") else self.gt
        tie = self.eq(a.re, b.re)
        inner = strict(a.im, b.im)
        if op in ("le", "ge"):
            inner = self.or_(inner, self.eq(a.im, b.im))
        return self.or_(strict(a.re, b.re), self.and_(tie, inner))

    def complex_max(self, a: Complex, b: Complex) -> Complex:
        """The lexicographically larger; the first operand if it has a NaN."""
        larger = self.or_(self.complex_compare("ge", a, b), self.isnan(a))
        return self.select(larger, a, b)

    def complex_exp(self, a: Complex) -> Complex:
        """e to the power a."""
        size = self.math("exp", a.re)
        return Complex(
            self.mul(size, self.math("cos", a.im)), self.mul(size, self.math("sin", a.im)), a.dtype
        )

    def complex_log(self, a: Complex) -> Complex:
        """Principal logarithm."""
        return Complex(
            self.math("log", self.complex_abs(a)), self.math("arctan2", a.im, a.re), a.dtype
        )

    def complex_sqrt(self, a: Complex) -> Complex:
        """Principal root."""
        size = self.complex_abs(a)
        half = self.const(0.5, a.re.dtype)
        t = self.sqrt(self.mul(half, self.add(size, self.abs(a.re))))
        zero = self.eq(t, 0.0)
        other = self.select(
            zero,
            self.const(0.0, a.re.dtype),
            self.div(self.abs(a.im), self.mul(self.select(zero, 1.0, t), 2.0)),
        )
        right = self.or_(self.gt(a.re, 0.0), self.eq(a.re, 0.0))
        real = self.select(right, t, other)
        imag = self.copysign(self.select(right, other, t), a.im)
        return Complex(real, imag, a.dtype)

    def complex_pow(self, a: Complex, b: Complex) -> Complex:
        """exp(b log a), with 0 ** 0 = 1 and 0 ** b = 0."""
        power = self.complex_exp(self.complex_mul(b, self.complex_log(a)))
        zero_base = self.and_(self.eq(a.re, 0.0), self.eq(a.im, 0.0))
        zero_power = self.and_(self.eq(b.re, 0.0), self.eq(b.im, 0.0))
        one = self.const(1, a.dtype)
        nothing = self.const(0, a.dtype)
        return self.select(zero_power, one, self.select(zero_base, nothing, power))

    def complex_math(self, name: str, *args: Complex) -> Complex:
        """The functions that have a complex version.

        Raises
        ------
        UnsupportedError
            For the others.
        """
        a = args[0]
        if name == "exp":
            return self.complex_exp(a)
        if name == "log":
            return self.complex_log(a)
        sin, cos = (lambda v: self.math("sin", v)), (lambda v: self.math("cos", v))
        sinh, cosh = (lambda v: self.math("sinh", v)), (lambda v: self.math("cosh", v))

        def of(real: tuple[Any, Any], imag: tuple[Any, Any]) -> Complex:
            """Each part the product of a function of ``a.re`` and one of ``a.im``."""
            return Complex(
                self.mul(real[0](a.re), real[1](a.im)),
                self.mul(imag[0](a.re), imag[1](a.im)),
                a.dtype,
            )

        pairs = {
            "sin": ((sin, cosh), (cos, sinh)),
            "cos": ((cos, cosh), (lambda v: self.neg(sin(v)), sinh)),
            "sinh": ((sinh, cos), (cosh, sin)),
            "cosh": ((cosh, cos), (sinh, sin)),
        }
        if name in pairs:
            return of(*pairs[name])
        ratios = {"tan": ("sin", "cos"), "tanh": ("sinh", "cosh")}
        if name in ratios:
            top, bottom = ratios[name]
            return self.complex_div(of(*pairs[top]), of(*pairs[bottom]))
        raise UnsupportedError(
            f"{name} of complex numbers is not compiled. Write it with real(x) and imag(x)."
        )
