"""``theano.scalar``: types of single values, the elementwise functions, and user-defined ones.

There is no second kind of operation for scalars here: ``scalar.add`` is ``tensor.add``. A function
of one's own derives from `UnaryScalarOp` or `BinaryScalarOp`, defines ``impl`` (and ``grad``), and
becomes an operation on tensors by `Elemwise`; its ``impl`` is then called from Python, so it is
slow, and C code that it may have is ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ltensor.errors import UnsupportedError
from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor
from ltensor.ir.dtypes import upcast
from ltensor.ir.graph import Constant, Variable
from ltensor.ir.types import TensorType, tensor_type
from ltensor.ops.cast import cast_dtype
from ltensor.ops.elementwise import ElementwiseOp, fit_gradient

__all__ = [
    "BinaryScalarOp",
    "Elemwise",
    "Scalar",
    "ScalarConstant",
    "ScalarOp",
    "ScalarVariable",
    "UnaryScalarOp",
    "all_types",
    "as_scalar",
    "get_scalar_type",
    "same_out",
    "same_out_nocomplex",
    "upcast",
    "upcast_out",
    "upgrade_to_float",
    "upgrade_to_float_no_complex",
]


# ------------------------------------------------------------------------- types


def Scalar(dtype: Any) -> TensorType:
    """The type of a single value: that of a 0-d tensor."""
    return tensor_type(dt.normalize(dtype), ())


get_scalar_type = Scalar


class _OfNoDimensions(type):
    """The class of classes whose instances are all variables of some class without dimensions."""

    def __instancecheck__(cls, instance: Any) -> Any:
        kind = getattr(instance, "type", None)
        return isinstance(kind, TensorType) and kind.ndim == 0 and isinstance(instance, cls.of)

    of: type[Variable]


class ScalarVariable(metaclass=_OfNoDimensions):
    """For ``isinstance``: a variable without dimensions."""

    of = Variable


class ScalarConstant(metaclass=_OfNoDimensions):
    """For ``isinstance``: a constant without dimensions."""

    of = Constant


bool = Scalar("bool")
int8, int16, int32, int64 = (Scalar(name) for name in dt.INTEGERS)
uint8, uint16, uint32, uint64 = (Scalar(name) for name in dt.UNSIGNED)
float16, float32, float64 = (Scalar(name) for name in dt.FLOATS)
complex64, complex128 = (Scalar(name) for name in dt.COMPLEX)

int_types = (int8, int16, int32, int64)
uint_types = (uint8, uint16, uint32, uint64)
float_types = (float16, float32, float64)
complex_types = (complex64, complex128)
integer_types = int_types + uint_types
discrete_types = (bool, *integer_types)
continuous_types = float_types + complex_types
all_types = discrete_types + continuous_types


def as_scalar(x: Any, name: str | None = None) -> Any:
    """``x`` as a 0-d variable.

    Raises
    ------
    TypeError
        If it has dimensions.
    """
    variable = as_tensor(x, name)
    if variable.type.ndim != 0:
        raise TypeError(f"Cannot convert {x} to a scalar: it has {variable.type.ndim} dimensions")
    return variable


# ------------------------------------------------------------------------- types of results


def same_out(*types: TensorType) -> list[TensorType]:
    """The type of the operand."""
    return [types[0]]


def same_out_nocomplex(type: TensorType) -> list[TensorType]:
    """The type of the operand, which must not be complex."""
    if dt.is_complex(type.dtype):
        raise TypeError("complex argument not supported")
    return [type]


def upcast_out(*types: TensorType) -> list[TensorType]:
    """The type that holds all operands."""
    return [Scalar(upcast(*(type.dtype for type in types)))]


def upgrade_to_float(*types: TensorType) -> list[TensorType]:
    """A float type: float32 for integers of up to 16 bits, float64 for others."""
    return [Scalar(upcast(*(dt.upgrade_to_float(type.dtype) for type in types)))]


def upgrade_to_float_no_complex(*types: TensorType) -> list[TensorType]:
    """As `upgrade_to_float`, refusing complex operands."""
    for type in types:
        if dt.is_complex(type.dtype):
            raise TypeError("complex argument not supported")
    return upgrade_to_float(*types)


# ------------------------------------------------------------------------- own functions


class ScalarOp:
    """A scalar function of one's own: subclasses define ``impl``, and ``grad`` if they like.

    Parameters
    ----------
    output_types_preference : callable, optional
        From the operands' types to a list with the result's type (`upgrade_to_float`, ...).
    name : str, optional
    """

    nin = -1
    name: str | None = None

    def __init__(
        self,
        output_types_preference: Callable[..., Sequence[TensorType]] | None = None,
        name: str | None = None,
    ) -> None:
        self.name = name
        if output_types_preference is not None:
            self.__dict__["output_types_preference"] = output_types_preference

    def output_types_preference(self, *types: TensorType) -> Sequence[TensorType]:
        """The result's type, in a list."""
        return upcast_out(*types)

    def impl(self, *values: Any) -> Any:
        """The function itself, on numbers."""
        raise UnsupportedError(
            f"{type(self).__name__}, a scalar function without impl (C code is not used)",
            "define impl(self, x), which computes it on numbers",
        )

    def grad(self, inputs: Sequence[Variable], gout: Sequence[Variable]) -> Sequence[Any]:
        """Gradients with respect to the operands (symbolic)."""
        raise NotImplementedError(f"{type(self).__name__} does not define grad")

    def __str__(self) -> str:
        return self.name or type(self).__name__

    def __eq__(self, other: object) -> Any:
        return type(self) is type(other) and self.__dict__ == getattr(other, "__dict__", None)

    def __hash__(self) -> int:
        return hash((type(self), self.name))

    def __call__(self, *inputs: Any) -> Any:
        """Apply the function to tensors."""
        return _ScalarFunction(self, None)(*inputs)


class UnaryScalarOp(ScalarOp):
    """A function of one number."""

    nin = 1


class BinaryScalarOp(ScalarOp):
    """A function of two numbers."""

    nin = 2


class _ScalarFunction(ElementwiseOp):
    """A `ScalarOp` applied to tensors, by calls of its ``impl``."""

    kind = "python"

    def __init__(self, function: ScalarOp, name: str | None) -> None:
        self.function = function
        super().__init__(
            name or str(function),
            doc=function.__doc__ or "",
            types=self._types,
            ref=self._apply,
            emit=self._refuse,
            arity=None if function.nin < 0 else function.nin,
            display=name or f"Elemwise{{{function},no_inplace}}",
        )

    def __eq__(self, other: object) -> Any:
        return isinstance(other, _ScalarFunction) and self.function == other.function

    def __hash__(self) -> int:
        return hash((_ScalarFunction, self.function))

    def __reduce__(self) -> Any:
        return Elemwise, (self.function, None, self.name)

    @property
    def scalar_op(self) -> Any:
        """The scalar function."""
        return self.function

    def _types(self, *inputs: str) -> tuple[tuple[str, ...], str]:
        (out,) = self.function.output_types_preference(*(Scalar(name) for name in inputs))
        return inputs, out.dtype

    def _apply(self, *arrays: np.ndarray) -> np.ndarray:
        _, out = self._types(*(str(array.dtype) for array in arrays))
        return np.vectorize(self.function.impl, otypes=[out])(*arrays)

    def _refuse(self, e: Any, *values: Any) -> Any:
        raise NotImplementedError(f"{self} is only known as Python code")

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        """Gradients by the function's own ``grad``."""
        gradients = self.function.grad(inputs, output_grads)
        return [
            gradient
            if not isinstance(gradient.type, TensorType)
            else fit_gradient(gradient, operand)
            for gradient, operand in zip(gradients, inputs, strict=True)
        ]


def _elementwise(scalar_op: Any, name: str | None) -> ElementwiseOp:
    """The operation on tensors that a scalar function makes."""
    if isinstance(scalar_op, ElementwiseOp):
        return scalar_op
    if not isinstance(scalar_op, ScalarOp):
        raise TypeError(f"Elemwise takes a scalar function, not {scalar_op!r}")
    return _ScalarFunction(scalar_op, name)


class _ElemwiseMeta(type):
    def __instancecheck__(cls, instance: Any) -> Any:
        kind = ElementwiseOp if cls is Elemwise else cls
        return issubclass(type(instance), kind)

    def __subclasscheck__(cls, subclass: type) -> Any:
        return cls in subclass.__mro__ or (cls is Elemwise and ElementwiseOp in subclass.__mro__)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        made = super().__call__(*args, **kwargs)
        return made.plain if cls is Elemwise else made


class Elemwise(ElementwiseOp, metaclass=_ElemwiseMeta):
    """All elementwise operations are instances; ``Elemwise(function)`` makes one.

    Instances of subclasses compute the same; what they redefine (``grad``, ``connection_pattern``,
    ``perform``) counts.

    Parameters
    ----------
    scalar_op : ScalarOp or elementwise operation
    name : str, optional
        What to show.
    """

    def __init__(
        self,
        scalar_op: Any,
        inplace_pattern: Any = None,
        name: str | None = None,
        nfunc_spec: Any = None,
        openmp: Any = None,
    ) -> None:
        plain = _elementwise(scalar_op, name)
        if type(self) is not Elemwise and type(plain) not in (ElementwiseOp, _ScalarFunction):
            raise UnsupportedError(
                f"{type(self).__name__} of {plain}", "derive from theano.Op and define perform"
            )
        self.__dict__.update(plain.__dict__)
        self.plain = plain
        own = type(self).perform is not ElementwiseOp.perform
        self.__dict__["kind"] = "python" if own else plain.kind

    @property
    def scalar_op(self) -> Any:
        """The scalar function."""
        return self.plain.scalar_op

    def __eq__(self, other: object) -> Any:
        return type(self) is type(other) and self.plain == getattr(other, "plain", None)

    def __hash__(self) -> int:
        return hash((type(self), self.plain))

    def __reduce__(self) -> Any:
        return _elemwise_again, (type(self), self.plain)

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        """Gradients of the plain operation."""
        return self.plain.L_op(inputs, outputs, output_grads)


def _elemwise_again(cls: Any, plain: ElementwiseOp) -> Elemwise:
    op: Elemwise = cls.__new__(cls)
    Elemwise.__init__(op, plain)
    return op


# ------------------------------------------------------------------------- known functions


class _NamedMeta(type):
    """Classes that Theano's scalar functions have: operations belong to them by name."""

    ir_name: str

    def __instancecheck__(cls, instance: Any) -> Any:
        return isinstance(instance, ElementwiseOp) and instance.name == cls.ir_name

    def __call__(cls, output_types_preference: Any = None, name: str | None = None) -> Any:
        """The operation: its types of results are settled."""
        if "ir_name" not in cls.__dict__:
            raise UnsupportedError(
                f"{cls.__name__}, a class derived from that of a known scalar function",
                "derive from UnaryScalarOp or BinaryScalarOp and define impl",
            )
        import ltensor.tensor as T

        places = (T, T.nnet)
        found = (getattr(m, cls.ir_name + end, None) for m in places for end in ("", "_"))
        return next((op for op in found if isinstance(op, cls)), T.tensor_copy)


class _CastMeta(type):
    def __instancecheck__(cls, instance: Any) -> Any:
        return cast_dtype(instance) is not None


class Cast(metaclass=_CastMeta):
    """Conversions to a dtype; ``isinstance`` tells them."""


#: Theano's class name -> name of the operation.
_CLASSES = {
    "AND": "and",
    "Abs": "abs",
    "Add": "add",
    "Angle": "angle",
    "ArcCos": "arccos",
    "ArcCosh": "arccosh",
    "ArcSin": "arcsin",
    "ArcSinh": "arcsinh",
    "ArcTan": "arctan",
    "ArcTan2": "arctan2",
    "ArcTanh": "arctanh",
    "Ceil": "ceil",
    "Clip": "clip",
    "Complex": "complex",
    "Conj": "conj",
    "Cos": "cos",
    "Cosh": "cosh",
    "Deg2Rad": "deg2rad",
    "EQ": "eq",
    "Erf": "erf",
    "Erfc": "erfc",
    "Erfcinv": "erfcinv",
    "Erfcx": "erfcx",
    "Erfinv": "erfinv",
    "Exp": "exp",
    "Exp2": "exp2",
    "Expm1": "expm1",
    "Floor": "floor",
    "GE": "ge",
    "GT": "gt",
    "Gamma": "gamma",
    "GammaLn": "gammaln",
    "Identity": "identity",
    "Imag": "imag",
    "IntDiv": "int_div",
    "Inv": "inv",
    "Invert": "invert",
    "IsInf": "isinf",
    "IsNan": "isnan",
    "LE": "le",
    "LT": "lt",
    "Log": "log",
    "Log10": "log10",
    "Log1p": "log1p",
    "Log2": "log2",
    "Maximum": "maximum",
    "Minimum": "minimum",
    "Mod": "mod",
    "Mul": "mul",
    "NEQ": "neq",
    "Neg": "neg",
    "OR": "or",
    "Pow": "pow",
    "Psi": "psi",
    "Rad2Deg": "rad2deg",
    "Real": "real",
    "RoundHalfAwayFromZero": "round_half_away_from_zero",
    "RoundHalfToEven": "round_half_to_even",
    "ScalarSigmoid": "sigmoid",
    "ScalarSoftplus": "softplus",
    "Second": "second",
    "Sgn": "sgn",
    "Sin": "sin",
    "Sinh": "sinh",
    "Sqr": "sqr",
    "Sqrt": "sqrt",
    "Sub": "sub",
    "Switch": "switch",
    "Tan": "tan",
    "Tanh": "tanh",
    "TriGamma": "tri_gamma",
    "TrueDiv": "true_div",
    "Trunc": "trunc",
    "UltraFastScalarSigmoid": "ultra_fast_sigmoid",
    "XOR": "xor",
}


def __getattr__(name: str) -> object:
    if name in _CLASSES:
        value: object = _NamedMeta(name, (), {"ir_name": _CLASSES[name]})
    elif name == "identity":
        from ltensor.ops.copies import tensor_copy as value
    else:
        import ltensor.tensor as T

        value = getattr(T, name, None)
        if not isinstance(value, ElementwiseOp):
            raise AttributeError(f"ltensor.scalar has no {name!r}")
    globals()[name] = value
    return value
