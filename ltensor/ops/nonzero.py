"""The places of the non-zero elements, and with them masks as indices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import disconnected_type
from ltensor.ops.opdef import Declaration, DeclaredOp, Sample, declare, new_tensor
from ltensor.ops.samples import draw
from ltensor.ops.shape import shape_i


class NonZero(DeclaredOp):
    """The indices of the non-zero elements, one int64 vector per axis, in C order.

    Further operands are the sizes that the array must have (a mask of an array).
    """

    __props__ = ()
    kind = "kernel"
    ir_name = "nonzero"

    def make_node(self, x: Any, *sizes: Any) -> Apply:
        x = as_tensor(x)
        variables = [as_tensor(s) for s in sizes]
        if x.type.ndim == 0:
            raise ValueError("Nonzero only supports non-scalar arrays.")
        if variables and len(variables) != x.type.ndim:
            raise ValueError(f"{len(variables)} sizes for a mask of {x.type.ndim} dimensions")
        outputs = [new_tensor("int64", (None,)) for _ in range(x.type.ndim)]
        return Apply(self, [x, *variables], outputs)

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        x, *sizes = inputs
        for axis, size in enumerate(sizes):
            if x.shape[axis] != size:
                raise IndexError(
                    f"boolean index did not match indexed array along dimension {axis}; "
                    f"dimension is {int(size)} but corresponding boolean dimension is "
                    f"{x.shape[axis]}"
                )
        for cell, vector in zip(output_storage, np.nonzero(x), strict=True):
            cell[0] = vector.astype("int64")

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        length = shape_i(node.outputs[0], 0)
        return [None, *[(length,) for _ in node.outputs[1:]]]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        return [[False] * len(node.outputs) for _ in node.inputs]

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        return [disconnected_type.make_variable() for _ in inputs]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return [None for _ in range(max(1, inputs[0].type.ndim))]

    def check(self, b: Any, node: Apply, operands: Any) -> None:
        """The mask must have the sizes of the array."""
        for axis, operand in enumerate(operands[1:]):
            have, want = operands[0].dims[axis], b.cast(operand.value, "int64")
            b.check(b.eq(have, want), "mask_mismatch", node, (want, have), (axis,))

    def lower(self, k: Any) -> None:
        b = k.b
        x = k.operand(0)
        zero = b.const(0)

        def walk(start: Any, carries: bool, body: Any) -> Any:
            """Loops over all elements; ``body`` maps (index, carried) to the new carried."""

            def level(axis: int, index: list[Any], carried: Any) -> Any:
                last = axis == x.ndim - 1
                lanes = {} if carries or not last else {"kind": "vector", "combine": ["add"]}
                begin = zero if lanes else carried
                with b.loop(x.dims[axis], carries=[begin], **lanes) as loop:
                    here = [*index, loop.index]
                    inside = loop.carry[0]
                    loop.next(body(here, inside) if last else level(axis + 1, here, inside))
                return b.add(carried, loop.results[0]) if lanes else loop.results[0]

            return level(0, [], start)

        def hit(index: list[Any]) -> Any:
            element = b.load(x, index)
            return element if x.dtype == "bool" else b.cast(element, "bool")

        count = walk(zero, False, lambda index, _: b.cast(hit(index), "int64"))
        targets = [k.output(axis, [count]) for axis in range(x.ndim)]

        def place(index: list[Any], at: Any) -> Any:
            found = hit(index)
            with b.if_(found):
                for target, i in zip(targets, index, strict=True):
                    b.store(target, [at], i)
            return b.add(at, b.cast(found, "int64"))

        walk(zero, True, place)


# --------------------------------------------------------------------------------- registry


def _nonzero_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    from ltensor.ops.indexing import nonzero

    for shape in ((7,), (40,), (3, 5), (2, 3, 4), (0,), (3, 0)):
        array = draw(rng, dtype, shape) * rng.integers(0, 2, shape).astype(dtype)
        yield Sample(lambda x: nonzero(x), [array.astype(dtype)], str(shape), differentiable=False)


declare(
    Declaration(
        "nonzero",
        "Places of the non-zero elements.",
        NonZero,
        _nonzero_samples,
        0,
        differentiable=False,
    )
)
