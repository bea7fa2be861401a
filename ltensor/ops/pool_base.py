"""What pooling and its gradients share: parameters, their checks, the loops."""

from __future__ import annotations

from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor, constant, constant_value
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import disconnected_type
from ltensor.ops import pool_loops
from ltensor.ops.opdef import DeclaredOp
from ltensor.ops.pool_loops import Frame

MODES = ("max", "sum", "average_inc_pad", "average_exc_pad")


def as_scalars(value: Any, count: int, what: str) -> list[Variable]:
    """``count`` int64 scalars of an int, a sequence or an int vector."""
    from ltensor.ops.cast import cast
    from ltensor.ops.shape import split_sizes

    if isinstance(value, (int, np.integer)):
        value = [value] * count
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, Variable):
        parts = split_sizes(value, count) if value.type.ndim == 1 else [value] * count
    else:
        parts = [constant(v, dtype="int64") if isinstance(v, int) else as_tensor(v) for v in value]
    if len(parts) != count:
        raise ValueError(f"{what} must have {count} elements, not {len(parts)}")
    for part in parts:
        if part.type.ndim != 0 or not dt.is_integer(part.type.dtype):
            raise TypeError(f"{what} parameters must be ints.")
    return [cast(part, "int64") for part in parts]


class PoolOp(DeclaredOp):
    """What pooling and its gradients share.

    Parameters
    ----------
    ignore_border : bool
        Whether windows that reach over the border are left out.
    mode : str
        One of `MODES`.
    ndim : int
        How many of the last dimensions are pooled.
    """

    __props__ = ("ignore_border", "mode", "ndim")
    kind = "kernel"
    #: how many operands stand before the parameters
    leading = 1

    def __init__(self, ignore_border: bool, mode: str = "max", ndim: int = 2) -> None:
        if mode not in MODES:
            raise ValueError(
                f"Pool mode parameter only support 'max', 'sum', 'average_inc_pad' and "
                f"'average_exc_pad'. Got {mode}"
            )
        self.ignore_border = bool(ignore_border)
        self.mode = mode
        self.ndim = int(ndim)

    def __str__(self) -> str:
        inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__props__)
        return f"{type(self).__name__}{{{inside}}}"

    def image(self, x: Any, rank: int | None = None) -> Variable:
        """An operand of enough dimensions and a real dtype."""
        x = as_tensor(x)
        if x.type.ndim < self.ndim or rank not in (None, x.type.ndim):
            raise TypeError(f"{type(self).__name__}: {x} must have at least {self.ndim} dimensions")
        if dt.is_complex(x.type.dtype):
            raise TypeError(f"{type(self).__name__}: no pooling of complex numbers")
        return x

    def parameters(self, ws: Any, stride: Any, pad: Any) -> list[Variable]:
        """Windows, strides and paddings as scalars, with the checks of constants."""
        window = as_scalars(ws, self.ndim, "Window shape")
        steps = window if stride is None else as_scalars(stride, self.ndim, "Stride")
        zeros = as_scalars((0,) * self.ndim if pad is None else pad, self.ndim, "Padding")
        for size, step, zero in zip(window, steps, zeros, strict=True):
            w, s, p = (
                None if c is None else int(c) for c in map(constant_value, (size, step, zero))
            )
            if (w is not None and w < 1) or (s is not None and s < 1):
                raise ValueError(f"pooling window and stride must be positive, not {w}, {s}")
            if p is not None and p != 0:
                if not self.ignore_border:
                    raise NotImplementedError("padding works only with ignore_border=True")
                if w is not None and (p >= w or p < 0):
                    raise NotImplementedError("padding must be smaller than strides")
        return [*window, *steps, *zeros]

    def split(self, parameters: list[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        """The parameters as windows, strides and paddings."""
        n = self.ndim
        return parameters[:n], parameters[n : 2 * n], parameters[2 * n :]

    def out_sizes(self, sizes: list[Any], parameters: list[Any]) -> list[Any]:
        """The pooled sizes as scalar variables."""
        return [
            pool_loops.symbolic_size(*values, self.ignore_border)
            for values in zip(sizes, *self.split(parameters), strict=True)
        ]

    def numbers(self, inputs: list[Any], first: int) -> tuple[list[int], list[int], list[int]]:
        """The parameters as ints."""
        return self.split([int(v) for v in inputs[first:]])

    def windows(self, sizes: Any, out: Any, inputs: list[Any], first: int) -> Any:
        """`pool_loops.windows` of this operation."""
        return pool_loops.windows(sizes, out, *self.numbers(inputs, first))

    def frame(self, k: Any, image: Any, out: Any, first: int) -> Frame:
        """The loops, after checking the parameters."""
        b = k.b
        count = len(k.node.inputs)
        window, stride, pad = self.split([k.operand(p) for p in range(first, count)])
        for w, s, p in zip(window, stride, pad, strict=True):
            good = b.and_(b.and_(b.gt(w, 0), b.gt(s, 0)), b.and_(b.ge(p, 0), b.lt(p, w)))
            k.check(good, "pool_parameters", (w, s, p))
            if not self.ignore_border:
                k.check(b.eq(p, 0), "pool_padding", (p,))
        return Frame(k, image, out, window, stride, pad)

    def cut(self, count: int) -> list[Variable]:
        """Disconnected gradients for the parameters."""
        return [disconnected_type.make_variable() for _ in range(count)]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        return [[position < self.leading] for position in range(len(node.inputs))]


def wide_number(dtype: str, value: int) -> Any:
    """A divisor that keeps the dtype of float quotients."""
    return float(value) if dtype == "int64" else np.dtype(dtype).type(value)


def check_same(k: Any, a: Any, c: Any) -> None:
    """Two operands of one shape."""
    for axis, (one, other) in enumerate(zip(a.dims, c.dims, strict=True)):
        k.check(k.b.eq(one, other), "shape_mismatch", (one, other), (k.node.op.ir_name, axis))
