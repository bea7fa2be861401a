"""Theano's module ``theano.scalar``: scalar types and functions, and functions of one's own.

A scalar is a 0-d tensor here, and a scalar function is the elementwise operation itself: names that
are not defined below are those of ``ltensor.tensor``. A subclass of `UnaryScalarOp` or
`BinaryScalarOp` becomes an operation on tensors by `Elemwise`; its ``impl`` is then called from
Python, so it is slow; C code is not used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ltensor.errors import MethodNotDefined, UnsupportedError
from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Apply, Op, Variable
from ltensor.ir.types import TensorType, tensor_type
from ltensor.ops.cast import cast, cast_dtype
from ltensor.ops.elementwise import ElementwiseOp, broadcast_rank, fit_gradient
from ltensor.ops.identity import view_op

__all__ = [
    "BinaryScalarOp",
    "Cast",
    "Elemwise",
    "Scalar",
    "ScalarOp",
    "UnaryScalarOp",
    "all_types",
    "as_scalar",
    "continuous_types",
    "discrete_types",
    "float_types",
    "get_scalar_type",
    "identity",
    "int_types",
    "same_out",
    "same_out_nocomplex",
    "uint_types",
    "upcast",
    "upcast_out",
    "upgrade_to_float",
    "upgrade_to_float_no_complex",
]

# --------------------------------------------------------------------------------- types


def Scalar(dtype: Any) -> TensorType:
    """The type of scalars of a dtype."""
    return tensor_type(dt.normalize(dtype), ())


get_scalar_type = Scalar

bool = Scalar("bool")
int8, int16, int32, int64 = (Scalar(name) for name in dt.INTEGERS)
uint8, uint16, uint32, uint64 = (Scalar(name) for name in dt.UNSIGNED)
float16, float32, float64 = (Scalar(name) for name in dt.FLOATS)
complex64, complex128 = (Scalar(name) for name in dt.COMPLEX)

int_types = (int8, int16, int32, int64)
uint_types = (uint8, uint16, uint32, uint64)
float_types = (float16, float32, float64)
complex_types = (complex64, complex128)
discrete_types = (bool, *int_types, *uint_types)
continuous_types = (*float_types, *complex_types)
all_types = (*discrete_types, *continuous_types)

upcast = dt.upcast
identity = view_op


def as_scalar(x: Any, name: str | None = None) -> Variable:
    """``x`` as a scalar variable.

    Raises
    ------
    TypeError
        If it has dimensions.
    """
    variable = as_tensor(x, name)
    if variable.type.ndim != 0:
        raise TypeError(f"Cannot convert {x} to Scalar", type(x))
    return variable


def upcast_out(*types: TensorType) -> list[TensorType]:
    """The common type of the operands."""
    return [Scalar(dt.upcast(*(t.dtype for t in types)))]


def same_out(type: TensorType) -> list[TensorType]:
    """The type of the operand."""
    return [type]


def same_out_nocomplex(type: TensorType) -> list[TensorType]:
    """The type of the operand, which must not be complex."""
    if dt.is_complex(type.dtype):
        raise TypeError("complex argument not supported")
    return [type]


def upgrade_to_float(*types: TensorType) -> list[TensorType]:
    """The common type of the operands, discrete ones taken as floats."""
    return [Scalar(dt.upcast(*(dt.upgrade_to_float(t.dtype) for t in types)))]


def upgrade_to_float_no_complex(*types: TensorType) -> list[TensorType]:
    """As `upgrade_to_float`, refusing complex operands."""
    for kind in types:
        if dt.is_complex(kind.dtype):
            raise TypeError("complex argument not supported")
    return upgrade_to_float(*types)


# --------------------------------------------------------------------------------- functions


class ScalarOp:
    """A scalar function: subclasses define ``impl(self, *x)`` and, as they like, ``grad``.

    Parameters
    ----------
    output_types_preference : callable, optional
        From the types of the operands to those of the results; `upcast_out` by default.
    name : str, optional

    Notes
    -----
    ``grad(inputs, output_grads)`` gets tensors and may use any expression of them. Called with
    tensors, the function is applied to every element.
    """

    nin = -1
    nfunc_spec: Any = None

    def __init__(
        self,
        output_types_preference: Callable[..., Sequence[Any]] | None = None,
        name: str | None = None,
    ) -> None:
        if output_types_preference is not None and not callable(output_types_preference):
            raise TypeError(
                "Expected a callable for the 'output_types_preference' argument to "
                f"{type(self)}. (got: {output_types_preference})"
            )
        self.name = name
        if output_types_preference is not None:
            self.output_types_preference = output_types_preference

    def __eq__(self, other: object) -> Any:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), self.name))

    def __str__(self) -> str:
        return self.name or type(self).__name__

    __repr__ = __str__

    def output_types(self, types: Sequence[TensorType]) -> Sequence[Any]:
        """The types of the results for operands of ``types``."""
        return (getattr(self, "output_types_preference", None) or upcast_out)(*types)

    def impl(self, *inputs: Any) -> Any:
        """The value for numbers."""
        raise MethodNotDefined("impl", type(self), type(self).__name__)

    def grad(self, inputs: list[Variable], output_grads: list[Variable]) -> list[Any]:
        """The gradients, as expressions."""
        raise UnsupportedError(f"the gradient of {self} is not defined: give its class a grad")

    def __call__(self, *inputs: Any, **kwargs: Any) -> Any:
        return UserElemwise(self)(*inputs, **kwargs)


class UnaryScalarOp(ScalarOp):
    """A scalar function of one operand."""

    nin = 1


class BinaryScalarOp(ScalarOp):
    """A scalar function of two operands."""

    nin = 2


class UserElemwise(Op):
    """A function of one's own, applied to every element by Python."""

    def __init__(self, scalar_op: ScalarOp, name: str | None = None) -> None:
        self.scalar_op = scalar_op
        self.name = name or str(scalar_op)

    def __eq__(self, other: object) -> Any:
        return isinstance(other, UserElemwise) and self.scalar_op == other.scalar_op

    def __hash__(self) -> int:
        return hash((UserElemwise, self.scalar_op))

    def __str__(self) -> str:
        return f"Elemwise{{{self.name},no_inplace}}"

    def make_node(self, *inputs: Any) -> Apply:
        wanted = self.scalar_op.nin
        operands = [as_tensor(x) for x in inputs]
        if not operands or (wanted >= 0 and len(operands) != wanted):
            raise TypeError(f"{self} takes {wanted} operands, got {len(operands)}")
        rank = max(v.type.ndim for v in operands)
        operands = [v if v.type.ndim == rank else broadcast_rank(v, rank) for v in operands]
        flags = [all(v.type.broadcastable[k] for v in operands) for k in range(rank)]
        types = self.scalar_op.output_types([Scalar(v.type.dtype) for v in operands])
        return Apply(self, operands, [TensorType(t.dtype, flags).make_variable() for t in types])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        arrays = np.broadcast_arrays(*inputs)
        results = [np.empty(arrays[0].shape, v.type.dtype) for v in node.outputs]
        for place in np.ndindex(*arrays[0].shape):
            values = self.scalar_op.impl(*(a[place] for a in arrays))
            for result, value in zip(
                results, (values,) if len(results) == 1 else values, strict=True
            ):
                result[place] = value
        for cell, result in zip(output_storage, results, strict=True):
            cell[0] = result

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        dims = []
        for axis in range(node.outputs[0].type.ndim):
            known = [
                s[axis]
                for v, s in zip(node.inputs, shapes, strict=True)
                if not v.type.broadcastable[axis]
            ]
            dims.append(known[0] if known else shapes[0][axis])
        return [tuple(dims)] * len(node.outputs)

    def grad(self, inputs: list[Variable], output_grads: list[Variable]) -> list[Any]:
        found = self.scalar_op.grad(list(inputs), list(output_grads))
        return [
            fit_gradient(g, x)
            if not isinstance(g, Variable) or isinstance(g.type, TensorType)
            else g
            for g, x in zip(found, inputs, strict=True)
        ]


class _ElemwiseMeta(type):
    def __call__(cls, scalar_op: Any, *args: Any, name: str | None = None, **kwargs: Any) -> Any:
        if isinstance(scalar_op, (ElementwiseOp, UserElemwise)):
            return scalar_op
        if not isinstance(scalar_op, ScalarOp):
            raise TypeError(f"Elemwise takes a scalar function, not {scalar_op!r}")
        return UserElemwise(scalar_op, name)

    def __instancecheck__(cls, instance: Any) -> Any:
        return isinstance(instance, (ElementwiseOp, UserElemwise))


class Elemwise(metaclass=_ElemwiseMeta):
    """All elementwise operations are instances; ``Elemwise(function)`` makes one."""


# --------------------------------------------------------------------------------- classes


class _CastMeta(type):
    def __instancecheck__(cls, instance: Any) -> Any:
        return type.__instancecheck__(cls, instance) or cast_dtype(instance) is not None


class Cast(metaclass=_CastMeta):
    """``Cast(float32)(x)``: conversion to a type; all conversions are instances."""

    def __init__(self, o_type: TensorType, name: str | None = None) -> None:
        self.o_type = o_type
        self.name = name or f"Cast{{{o_type.dtype}}}"

    def __call__(self, x: Any) -> Variable:
        return cast(x, self.o_type.dtype)

    def __str__(self) -> str:
        return self.name


class _FunctionMeta(type):
    """Classes of ltensor's own scalar functions, each of which is one operation."""

    operation: Any = None

    def __instancecheck__(cls, instance: Any) -> Any:
        return isinstance(instance, ElementwiseOp) and instance == cls.operation

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls.operation


#: Theano's classes whose operation is not called like them
_CLASSES = {
    "Abs": "abs_",
    "AND": "and_",
    "OR": "or_",
    "XOR": "xor",
    "EQ": "eq",
    "NEQ": "neq",
    "LT": "lt",
    "LE": "le",
    "GT": "gt",
    "GE": "ge",
    "Inv": "inv",
    "IntDiv": "int_div",
    "Invert": "invert",
    "IsInf": "isinf",
    "IsNan": "isnan",
    "TrueDiv": "true_div",
    "RoundHalfToEven": "round_half_to_even",
    "RoundHalfAwayFromZero": "round_half_away_from_zero",
    "ScalarMaximum": "maximum",
    "ScalarMinimum": "minimum",
    "ScalarSigmoid": "sigmoid",
    "ScalarSoftplus": "softplus",
}


def __getattr__(name: str) -> Any:
    import ltensor.tensor as tensor

    if not name.startswith("_"):
        if name in _CLASSES or name[:1].isupper():
            operation = getattr(tensor, _CLASSES.get(name, name.lower()), None)
            if isinstance(operation, ElementwiseOp):
                made = _FunctionMeta(name, (), {"operation": operation, "__doc__": operation.doc})
                return globals().setdefault(name, made)
        elif name not in ("scal", "scalar"):
            found = getattr(tensor, name, None)
            if isinstance(found, (ElementwiseOp, UserElemwise)):
                return found
    raise AttributeError(f"ltensor.scalar has no {name!r}")
