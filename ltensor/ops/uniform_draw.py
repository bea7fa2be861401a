"""What operations share that draw uniform numbers from a state: sizes, checks, no derivative."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor, constant, constant_value
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import disconnected_type, tensor_type
from ltensor.ops.opdef import DeclaredOp

#: no draw has more elements
MOST_ELEMENTS = 2.0**46


class UniformDraw(DeclaredOp):
    """From (state, sizes...) the new state and the sample, of ``dtype`` and ``ndim`` dimensions."""

    __props__ = ("dtype", "ndim")
    kind = "kernel"
    #: what an error calls it
    called = "a draw"

    def __init__(self, dtype: str, ndim: int) -> None:
        self.dtype = dtype
        self.ndim = int(ndim)

    def draw(self, state: Variable, sizes: Sequence[Any]) -> Apply:
        """The node of a draw from ``state``, which has been checked."""
        variables = [as_tensor(s) for s in sizes]
        if len(variables) != self.ndim:
            raise ValueError(f"a draw of {self.ndim} dimensions got {len(variables)} sizes")
        shape: list[int | None] = []
        for v in variables:
            if v.type.ndim or not dt.is_integer(v.type.dtype):
                raise TypeError(f"the size of {self.called} must be integers", v)
            known = constant_value(v)
            shape.append(None if known is None or int(known) < 0 else int(known))
        sample = tensor_type(self.dtype, tuple(shape)).make_variable()
        return Apply(self, [state, *variables], [state.type.make_variable(), sample])

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        from ltensor.ops.cast import cast

        return [shapes[0], tuple(cast(s, "int64") for s in node.inputs[1:])]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        return [[True, False], *[[False, False] for _ in node.inputs[1:]]]

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: Any) -> list[Any]:
        return [disconnected_type.make_variable() for _ in inputs]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return [None, None]


def checked_dims(k: Any) -> list[Any]:
    """The sizes of the sample in the lowering, none negative, their product not too large."""
    b = k.b
    dims = list(k.block.dims(k.node.outputs[1]))
    total: Any = b.const(1.0, "float64")
    for size in dims:
        k.check(b.ge(size, 0), "negative_size", (size,))
        total = b.mul(total, b.cast(size, "float64"))
    if total.op != "const" or total.attr > MOST_ELEMENTS:
        k.check(b.le(total, MOST_ELEMENTS), "random_size")
    return dims


def as_sizes(sizes: Sequence[Any]) -> list[Any]:
    """Sizes with Python's ints as constants."""
    return [constant(int(s), dtype="int64") if isinstance(s, int) else s for s in sizes]
