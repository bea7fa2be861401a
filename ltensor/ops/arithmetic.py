"""Arithmetic: add, sub, mul, divisions, pow, neg, abs, sign, extrema, clip, switch."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from ltensor.config import config
from ltensor.errors import ComplexError
from ltensor.ir import dtypes as dt
from ltensor.ir.graph import Variable
from ltensor.ops.elementwise import (
    ElementwiseOp,
    elementwise,
    no_bool,
    same,
    unary_real,
    zero_gradient,
)
from ltensor.ops.samples import interval


def _fold(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda *x: reduce(function, x)


def _fold_emit(method: str) -> Callable[..., Any]:
    return lambda e, *x: reduce(getattr(e, method), x)


add = elementwise(
    "add",
    doc="Sum of any number of operands; logical or of bools.",
    types=same,
    ref=_fold(np.add),
    emit=_fold_emit("add"),
    vjp=lambda x, y, g: [g for _ in x],
    arity=None,
    commutative=True,
    natural="all",
)

sub = elementwise(
    "sub",
    doc="Difference.",
    types=no_bool("sub"),
    ref=np.subtract,
    emit=lambda e, a, b: e.sub(a, b),
    vjp=lambda x, y, g: [g, neg(g)],
    arity=2,
)


def _mul_vjp(x: list[Variable], y: Variable, g: Variable) -> list[Any]:
    if dt.is_complex(y.type.dtype):
        from ltensor.ops.complexes import conj

        x = [conj(v) if dt.is_complex(v.type.dtype) else v for v in x]
    results = []
    for k in range(len(x)):
        others = [v for j, v in enumerate(x) if j != k]
        results.append(mul(g, *others) if others else g)
    return results


mul = elementwise(
    "mul",
    doc="Product of any number of operands; logical and of bools.",
    types=same,
    ref=_fold(np.multiply),
    emit=_fold_emit("mul"),
    vjp=_mul_vjp,
    arity=None,
    commutative=True,
    natural="all",
)


def _true_div_types(*inputs: str) -> tuple[tuple[str, ...], str]:
    if all(dt.is_discrete(d) for d in inputs):
        floatx = str(config.floatX)
        return (floatx,) * len(inputs), floatx
    return same(*inputs)


true_div: ElementwiseOp = elementwise(
    "true_div",
    doc="Quotient; of two discrete operands in floatX.",
    types=_true_div_types,
    ref=np.true_divide,
    cost=4,
    emit=lambda e, a, b: e.div(a, b),
    vjp=lambda x, y, g: [true_div(g, x[1]), neg(true_div(mul(g, x[0]), mul(x[1], x[1])))],
    arity=2,
    domain=[None, interval(1, 5)],
)


def _floor_div_ref(a: Any, b: Any) -> Any:
    return np.floor_divide(a, b)


int_div = elementwise(
    "int_div",
    doc="Quotient rounded down, as Python's //. Integer division by zero raises.",
    types=no_bool("int_div"),
    ref=_floor_div_ref,
    emit=lambda e, a, b: e.floor_div(a, b),
    vjp=lambda x, y, g: [zero_gradient(x[0]), zero_gradient(x[1])],
    arity=2,
    display="Elemwise{int_div,no_inplace}",
    fails=lambda divisor: divisor == 0,
    domain=[None, interval(1, 5)],
    dtypes=tuple(d for d in dt.ALL if d != "bool" and not dt.is_complex(d)),
    zero_gradient=True,
)


def _mod_types(*inputs: str) -> tuple[tuple[str, ...], str]:
    if any(dt.is_complex(d) for d in inputs):
        raise ComplexError(
            "Theano does not support the mod operator (%) on complex numbers, since numpy "
            "deprecated it."
        )
    return no_bool("mod")(*inputs)


mod = elementwise(
    "mod",
    doc="Remainder with the sign of the divisor, as Python's %. Integer modulo zero raises.",
    types=_mod_types,
    ref=np.mod,
    emit=lambda e, a, b: e.mod(a, b),
    vjp=lambda x, y, g: [g, neg(mul(g, floor_quotient(x[0], x[1])))],
    arity=2,
    fails=lambda divisor: divisor == 0,
    domain=[None, interval(1, 5)],
    dtypes=tuple(d for d in dt.ALL if d != "bool" and not dt.is_complex(d)),
)


def floor_quotient(a: Variable, b: Variable) -> Variable:
    """``a // b`` in the dtype of the quotient."""
    return int_div(a, b)


def _pow_types(*inputs: str) -> tuple[tuple[str, ...], str]:
    operands, common = same(*inputs)
    if common == "bool":
        return ("int8", "int8"), "int8"
    return operands, common


def _pow_vjp(x: list[Variable], y: Variable, g: Variable) -> list[Any]:
    from ltensor.ir.graph import Constant
    from ltensor.ops.compare import eq
    from ltensor.ops.transcendental import log

    base, exponent = x
    first = mul(mul(g, exponent), pow(base, sub(exponent, 1)))
    if isinstance(exponent, Constant) or dt.is_discrete(exponent.type.dtype):
        return [first, zero_gradient(exponent)]
    # d/db a**b = log(a) a**b, taken as 0 where a is 0 (log(0) * 0 otherwise gives nan)
    second = mul(mul(g, log(switch(eq(base, 0), 1, base))), y)
    return [first, switch(eq(base, 0), zero_gradient(base), second)]


pow = elementwise(
    "pow",
    doc="Power. Integers to negative integer powers raise.",
    types=_pow_types,
    ref=np.power,
    emit=lambda e, a, b: e.pow(a, b),
    vjp=_pow_vjp,
    arity=2,
    cost=40,
    fails=lambda exponent: exponent < 0,
    domain=[interval(0, 4), interval(0, 3)],
)

neg: ElementwiseOp = elementwise(
    "neg",
    doc="Negative.",
    types=no_bool("neg"),
    ref=np.negative,
    emit=lambda e, a: e.neg(a),
    vjp=lambda x, y, g: [neg(g)],
)


def _abs_types(*inputs: str) -> tuple[tuple[str, ...], str]:
    return inputs, dt.real_part(inputs[0])


def _abs_vjp(x: list[Variable], y: Variable, g: Variable) -> list[Any]:
    return (
        [true_div(mul(g, x[0]), switch_nonzero(abs_(x[0])))]
        if dt.is_complex(x[0].type.dtype)
        else [mul(g, sgn(x[0]))]
    )


def switch_nonzero(x: Variable) -> Variable:
    """``x`` with ones in the place of zeros."""
    from ltensor.ops.compare import eq

    return switch(eq(x, 0), 1, x)


abs_ = elementwise(
    "abs",
    doc="Absolute value; modulus of complex numbers.",
    types=_abs_types,
    ref=np.abs,
    emit=lambda e, a: e.abs(a),
    vjp=_abs_vjp,
    display="Elemwise{abs_,no_inplace}",
)

sgn = elementwise(
    "sgn",
    doc="Sign: -1, 0 or 1.",
    types=lambda *d: no_bool("sgn")(*unary_real(*d)[0]),
    ref=np.sign,
    emit=lambda e, a: e.sign(a),
    vjp=lambda x, y, g: [zero_gradient(x[0])],
    zero_gradient=True,
)

sqr = elementwise(
    "sqr",
    doc="Square.",
    types=same,
    ref=lambda x: x * x,
    emit=lambda e, a: e.mul(a, a),
    vjp=lambda x, y, g: [mul(mul(g, x[0]), 2)],
)

inv = elementwise(
    "inv",
    doc="Reciprocal.",
    types=lambda *d: _inv_types(*d),
    ref=lambda x: 1 / x,
    emit=lambda e, a: e.div(e.const(1, a.dtype), a),
    vjp=lambda x, y, g: [neg(mul(g, mul(y, y)))],
    domain=interval(0.5, 4),
)


def _inv_types(*inputs: str) -> tuple[tuple[str, ...], str]:
    common = dt.upgrade_to_float(inputs[0])
    return (common,), common


def _extremum_vjp(op_name: str) -> Callable[..., Any]:
    def vjp(x: list[Variable], y: Variable, g: Variable) -> list[Any]:
        from ltensor.ops.bits import invert
        from ltensor.ops.cast import cast
        from ltensor.ops.compare import ge, le

        # The first gets the gradient in a tie. The operands are compared with each other, not with
        # the result: a loop's gradient computes them again, and may round them otherwise.
        wins = (ge if op_name == "maximum" else le)(*x)
        return [mul(cast(mask, g.type.dtype), g) for mask in (wins, invert(wins))]

    return vjp


maximum = elementwise(
    "maximum",
    doc="The larger operand; nan if one is nan.",
    types=same,
    ref=_fold(np.maximum),
    emit=_fold_emit("max"),
    vjp=_extremum_vjp("maximum"),
    arity=2,
    commutative=True,
    natural="any",
)

minimum = elementwise(
    "minimum",
    doc="The smaller operand; nan if one is nan.",
    types=same,
    ref=_fold(np.minimum),
    emit=_fold_emit("min"),
    vjp=_extremum_vjp("minimum"),
    arity=2,
    commutative=True,
    natural="all",
)


def _clip_types(*inputs: str) -> tuple[tuple[str, ...], str]:
    if any(dt.is_complex(dtype) for dtype in inputs):
        raise TypeError(f"clip: complex numbers have no order to clip them by: {inputs}")
    return same(*inputs)


def _clip_vjp(x: list[Variable], y: Variable, g: Variable) -> list[Any]:
    from ltensor.ops.bits import and_
    from ltensor.ops.compare import ge, gt, le, lt

    value, low, high = x
    inside = switch(and_(ge(value, low), le(value, high)), g, zero_gradient(g))
    below = switch(lt(value, low), g, zero_gradient(g))
    above = switch(gt(value, high), g, zero_gradient(g))
    return [inside, below, above]


clip = elementwise(
    "clip",
    doc="Value limited to [low, high]; low wins where low > high.",
    types=_clip_types,
    ref=lambda x, low, high: np.where(x < low, low, np.where(x > high, high, x)),
    emit=lambda e, x, low, high: e.select(e.lt(x, low), low, e.select(e.gt(x, high), high, x)),
    vjp=_clip_vjp,
    arity=3,
    domain=[None, interval(-1, 0), interval(1, 2)],
    dtypes=tuple(d for d in dt.ALL if not dt.is_complex(d)),
)


def _switch_types(*inputs: str) -> tuple[tuple[str, ...], str]:
    common = dt.upcast(*inputs[1:])
    return ("bool", common, common), common


def _switch_vjp(x: list[Variable], y: Variable, g: Variable) -> list[Any]:
    zero = zero_gradient(g)
    return [zero_gradient(x[0]), switch(x[0], g, zero), switch(x[0], zero, g)]


switch = elementwise(
    "switch",
    doc="Second operand where the first is true, else the third. Both are computed.",
    types=_switch_types,
    ref=np.where,
    emit=lambda e, c, a, b: e.select(c, a, b),
    vjp=_switch_vjp,
    arity=3,
)


def is_op(variable: Variable, op: ElementwiseOp) -> bool:
    """Whether ``variable`` was computed by ``op``."""
    return variable.owner is not None and variable.owner.op == op
