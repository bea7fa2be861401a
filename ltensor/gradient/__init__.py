"""Reverse-mode differentiation of graphs: `grad`, and `Lop`, `Rop`, `jacobian`, `hessian` on it."""

from ltensor.errors import DisconnectedInputError, GradientError, NullTypeGradError
from ltensor.gradient.checking import numeric_grad, verify_grad
from ltensor.gradient.operators import Lop, Rop, hessian, jacobian
from ltensor.gradient.reverse import (
    format_as,
    grad,
    grad_not_implemented,
    grad_undefined,
    subgraph_grad,
)
from ltensor.ir.types import DisconnectedType
from ltensor.ops.gradient_control import (
    consider_constant,
    disconnected_grad,
    grad_clip,
    grad_scale,
    undefined_grad,
    zero_grad,
)

__all__ = [
    "DisconnectedInputError",
    "DisconnectedType",
    "GradientError",
    "Lop",
    "NullTypeGradError",
    "Rop",
    "consider_constant",
    "disconnected_grad",
    "format_as",
    "grad",
    "grad_clip",
    "grad_not_implemented",
    "grad_scale",
    "grad_undefined",
    "hessian",
    "jacobian",
    "numeric_grad",
    "subgraph_grad",
    "undefined_grad",
    "verify_grad",
    "zero_grad",
]
