"""Powers with constant exponents, casts, switches, extrema of equal operands."""

from __future__ import annotations

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.graph import Apply, Variable
from ltensor.ops.arithmetic import abs_, inv, maximum, minimum, mul, pow, sqr, switch
from ltensor.ops.cast import cast, cast_dtype
from ltensor.ops.elementwise import ElementwiseOp
from ltensor.ops.transcendental import exp, log, sqrt
from ltensor.passes.match import (
    apply_op,
    constant_like,
    dtype_of,
    is_number,
    made_by,
    number,
    stretch,
)
from ltensor.passes.rewrite import Rules

RULES = Rules("powers")

#: integer powers up to this one become products
LARGEST_POWER = 16


@RULES.rule(pow)
def constant_power(node: Apply) -> Variable | None:
    """``x ** 2`` is a square, ``x ** 0.5`` a root, and so on."""
    base, exponent = node.inputs
    out = node.outputs[0]
    dtype = dtype_of(out)
    if is_number(base, 1):
        return stretch(constant_like(1, out), node)
    value = number(exponent)
    if value is None or isinstance(value, (np.complexfloating, np.bool_)):
        return None
    if value == 0:
        return stretch(constant_like(1, out), node)
    x = cast(base, dtype)
    if dt.is_discrete(dtype):
        result = _integer_power(x, int(value)) if 0 < value <= LARGEST_POWER else None
    else:
        result = _float_power(x, float(value))
    return None if result is None else stretch(result, node)


def _integer_power(x: Variable, count: int) -> Variable:
    """``x`` to a positive integer power, by squaring."""
    result: Variable | None = None
    square = x
    while True:
        if count & 1:
            result = square if result is None else apply_op(mul, result, square)
        count >>= 1
        if not count:
            assert result is not None
            return result
        square = apply_op(sqr, square)


def _float_power(x: Variable, value: float) -> Variable | None:
    size = abs(value)
    if size == 0.5:
        result = apply_op(sqrt, x)
    elif size <= LARGEST_POWER and size == int(size):
        result = _integer_power(x, int(size))
    else:
        return None
    return result if value > 0 else apply_op(inv, result)


# ------------------------------------------------------------------------------------- casts

_MANTISSA = {"float16": 11, "float32": 24, "float64": 53, "complex64": 24, "complex128": 53}


def _holds(wide: str, narrow: str) -> bool:
    """Whether ``wide`` holds every value of ``narrow`` exactly."""
    if not np.can_cast(narrow, wide, "safe"):
        return False
    if dt.is_discrete(narrow) and not dt.is_discrete(wide):
        bits = 1 if narrow == "bool" else 8 * dt.item_size(narrow)
        return bits <= _MANTISSA[wide]
    return True


@RULES.rule(ElementwiseOp)
def useless_cast(node: Apply) -> Variable | None:
    """Casts to the same dtype, and of what was widened just before."""
    target = cast_dtype(node.op)
    if target is None:
        return None
    (x,) = node.inputs
    if dtype_of(x) == target:
        return x
    owner = x.owner
    middle = None if owner is None else cast_dtype(owner.op)
    if owner is None or middle is None:
        return None
    source = dtype_of(owner.inputs[0])
    if _holds(middle, source) and not (dt.is_complex(source) and not dt.is_complex(target)):
        return cast(owner.inputs[0], target)
    return None


# ------------------------------------------------------------------------------ choices


@RULES.rule(switch)
def decided_switch(node: Apply) -> Variable | None:
    """A constant condition, or equal branches."""
    condition, first, second_ = node.inputs
    if first is second_:
        return stretch(first, node)
    value = number(condition)
    if value is None:
        return None
    return stretch(first if bool(value) else second_, node)


@RULES.rule(maximum, minimum)
def equal_extrema(node: Apply) -> Variable | None:
    """``maximum(x, x)``."""
    a, b = node.inputs
    return a if a is b else None


@RULES.rule(abs_)
def absolute_of_absolute(node: Apply) -> Variable | None:
    """``abs`` of what is not negative anyway."""
    (x,) = node.inputs
    if made_by(x, abs_) or (made_by(x, sqr) and dt.is_float(dtype_of(x))):
        return x
    return None


@RULES.rule(log)
def log_of_exp(node: Apply) -> Variable | None:
    """``log(exp(x))`` of real ``x``."""
    inner = made_by(node.inputs[0], exp)
    if inner is None or dt.is_complex(dtype_of(node.outputs[0])):
        return None
    return cast(inner.inputs[0], dtype_of(node.outputs[0]))
