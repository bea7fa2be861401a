"""Complex numbers: real, imag, conj, angle, and complex numbers of two floats.

The gradient of a real cost with respect to z = a + ib is dC/da + i dC/db, as Theano's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ltensor.config import config
from ltensor.ir import dtypes as dt
from ltensor.ir.graph import Variable
from ltensor.ops.arithmetic import add, mul, neg, sqr, true_div
from ltensor.ops.cast import cast
from ltensor.ops.elementwise import ElementwiseOp, elementwise, zero_gradient
from ltensor.ops.samples import interval
from ltensor.ops.transcendental import cos, sin


def _parts(x: Any) -> bool:
    """Whether an element is a complex pair."""
    return hasattr(x, "re")


def _real_types(*inputs: str) -> tuple[tuple[str, ...], str]:
    return inputs, dt.real_part(inputs[0])


def _zero(x: Variable) -> Variable:
    return zero_gradient(x)


def _real_vjp(x: list[Variable], y: Variable, g: Variable) -> list[Any]:
    if not dt.is_complex(x[0].type.dtype):
        return [g]
    return [complex_(g, _zero(g))]


real = elementwise(
    "real",
    doc="Real part; reals as they are.",
    types=_real_types,
    ref=np.real,
    emit=lambda e, x: x.re if _parts(x) else x,
    vjp=_real_vjp,
    display="Elemwise{real,no_inplace}",
)


def _imag_vjp(x: list[Variable], y: Variable, g: Variable) -> list[Any]:
    if not dt.is_complex(x[0].type.dtype):
        return [_zero(x[0])]
    return [complex_(_zero(g), g)]


imag = elementwise(
    "imag",
    doc="Imaginary part; 0 of reals.",
    types=_real_types,
    ref=np.imag,
    emit=lambda e, x: x.im if _parts(x) else e.const(0, x.dtype),
    vjp=_imag_vjp,
    display="Elemwise{imag,no_inplace}",
)


def _conj_types(*inputs: str) -> tuple[tuple[str, ...], str]:
    # NumPy has no conjugate of bools: Theano computes it in int8
    taken = "int8" if inputs[0] == "bool" else inputs[0]
    return (taken,), taken


conj: ElementwiseOp = elementwise(
    "conj",
    doc="Complex conjugate; reals as they are.",
    types=_conj_types,
    ref=np.conj,
    emit=lambda e, x: e.make_complex(x.re, e.neg(x.im)) if _parts(x) else x,
    vjp=lambda x, y, g: [conj(g) if dt.is_complex(g.type.dtype) else g],
    display="Elemwise{conj,no_inplace}",
)


def _angle_types(*inputs: str) -> tuple[tuple[str, ...], str]:
    return ("complex128" if dt.is_complex(inputs[0]) else "float64",), "float64"


def _angle_emit(e: Any, x: Any) -> Any:
    if _parts(x):
        return e.math("arctan2", x.im, x.re)
    return e.math("arctan2", e.const(0, x.dtype), x)


def _angle_vjp(x: list[Variable], y: Variable, g: Variable) -> list[Any]:
    (z,) = x
    if not dt.is_complex(z.type.dtype):
        return [_zero(z)]
    re, im = real(z), imag(z)
    size = add(sqr(re), sqr(im))
    return [complex_(neg(true_div(mul(g, im), size)), true_div(mul(g, re), size))]


angle = elementwise(
    "angle",
    doc="Angle of a complex number, in float64.",
    types=_angle_types,
    ref=np.angle,
    emit=_angle_emit,
    vjp=_angle_vjp,
    cost=60,
    display="Elemwise{angle,no_inplace}",
)


def _pair_types(*inputs: str) -> tuple[tuple[str, ...], str]:
    for dtype in inputs:
        if dt.is_complex(dtype):
            raise TypeError(f"complex numbers are made of real ones, not {dtype}")
    wide = dt.upcast(*inputs) in ("float64", "int64", "uint64", "int32", "uint32")
    part = "float64" if wide else "float32"
    return (part, part), "complex128" if wide else "complex64"


complex_ = elementwise(
    "complex",
    doc="Complex number of its real and imaginary part.",
    types=_pair_types,
    ref=lambda a, b: a + 1j * b if a.dtype == np.float64 else (a + 1j * b).astype("complex64"),
    emit=lambda e, a, b: e.make_complex(a, b),
    vjp=lambda x, y, g: [_back(real(g), x[0]), _back(imag(g), x[1])],
    arity=2,
    display="Elemwise{complex,no_inplace}",
    dtypes=tuple(d for d in dt.ALL if not dt.is_complex(d)),
)


def _back(g: Variable, x: Variable) -> Variable:
    """A real gradient in the dtype of ``x`` (floatX of a discrete one)."""
    dtype = str(config.floatX) if dt.is_discrete(x.type.dtype) else x.type.dtype
    return cast(g, dtype)


def _polar_emit(e: Any, r: Any, theta: Any) -> Any:
    return e.make_complex(e.mul(r, e.math("cos", theta)), e.mul(r, e.math("sin", theta)))


def _polar_ref(r: np.ndarray, theta: np.ndarray) -> np.ndarray:
    result = r * np.cos(theta) + 1j * (r * np.sin(theta))
    return result.astype("complex64") if r.dtype == np.float32 else result


def _polar_vjp(x: list[Variable], y: Variable, g: Variable) -> list[Any]:
    r, theta = x
    a, b = real(g), imag(g)
    along = add(mul(a, cos(theta)), mul(b, sin(theta)))
    across = add(neg(mul(a, mul(r, sin(theta)))), mul(b, mul(r, cos(theta))))
    return [_back(along, r), _back(across, theta)]


complex_from_polar = elementwise(
    "complex_from_polar",
    doc="Complex number of modulus and angle.",
    types=_pair_types,
    ref=_polar_ref,
    emit=_polar_emit,
    vjp=_polar_vjp,
    arity=2,
    cost=60,
    display="Elemwise{complex_from_polar,no_inplace}",
    domain=[interval(0, 4), None],
    dtypes=tuple(d for d in dt.ALL if not dt.is_complex(d)),
)
