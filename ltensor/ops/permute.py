"""Rows put into an order: ``permute_row_elements``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import disconnected_type, tensor_type
from ltensor.ops.elementwise import broadcast_rank, fit_gradient, zero_gradient
from ltensor.ops.linear import LinearInFirst
from ltensor.ops.opdef import Declaration, Sample, declare
from ltensor.ops.samples import draw


class PermuteRowElements(LinearInFirst):
    """``out[..., i] = x[..., y[..., i]]``, or the reverse; leading axes broadcast."""

    __props__ = ("inverse",)
    kind = "kernel"
    ir_name = "permute_rows"

    def __init__(self, inverse: bool = False) -> None:
        self.inverse = bool(inverse)

    def make_node(self, x: Any, y: Any) -> Apply:
        x, y = as_tensor(x), as_tensor(y)
        if not dt.is_integer(y.type.dtype):
            raise TypeError(f"permute_row_elements: the order must be of integers, not {y.type}")
        rank = max(x.type.ndim, y.type.ndim, 1)
        if min(x.type.ndim, y.type.ndim) == 0:
            raise ValueError("permute_row_elements takes arrays with a last axis")
        x, y = (v if v.type.ndim == rank else broadcast_rank(v, rank) for v in (x, y))
        shape: list[int | None] = []
        for axis in range(rank - 1):
            flags = x.type.broadcastable[axis], y.type.broadcastable[axis]
            shape.append(1 if all(flags) else (y if flags[0] else x).type.shape[axis])
        shape.append(x.type.shape[-1])
        return Apply(self, [x, y], [tensor_type(x.type.dtype, tuple(shape)).make_variable()])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        x, y = inputs
        _check_shapes(node, x.shape, y.shape)
        lead = np.broadcast_shapes(x.shape[:-1], y.shape[:-1])
        x = np.broadcast_to(x, (*lead, x.shape[-1]))
        y = np.broadcast_to(y, (*lead, y.shape[-1])).astype("int64")
        if y.size and (y.min() < 0 or y.max() >= x.shape[-1]):
            wrong = y[(y < 0) | (y >= x.shape[-1])].flat[0]
            raise IndexError(f"index {wrong} is out of bounds for size {x.shape[-1]}")
        if self.inverse:
            out = np.zeros(x.shape, x.dtype)
            np.put_along_axis(out, y, x, axis=-1)
        else:
            out = np.take_along_axis(x, y, axis=-1)
        output_storage[0][0] = np.ascontiguousarray(out)

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        x, y = shapes
        flags = node.inputs[0].type.broadcastable
        lead = [y[k] if flags[k] else x[k] for k in range(len(x) - 1)]
        return [(*lead, x[-1])]

    def lower(self, k: Any) -> None:
        b = k.b
        x, y = k.operand(0), k.operand(1)
        flags = [v.type.broadcastable for v in k.node.inputs]
        for axis in range(x.ndim):
            is_last = axis == x.ndim - 1
            if is_last or not (flags[0][axis] or flags[1][axis]):
                same = b.eq(x.dims[axis], y.dims[axis])
                k.check(same, "mismatch", (x.dims[axis], y.dims[axis]), (0, 1, axis))
        target = k.output(0)
        length = target.dims[-1]
        b.current_node = k.node
        with ExitStack() as stack:
            index = [stack.enter_context(b.loop(dim)).index for dim in target.dims[:-1]]
            rows = [
                [b.const(0) if flag else i for flag, i in zip(f[:-1], index, strict=True)]
                for f in flags
            ]
            if self.inverse:
                # what no index names is zero, should the order not be a permutation
                with b.loop(length, kind="vector") as loop:
                    b.store(target, [*index, loop.index], b.const(0, self._dtype(k)))
            with b.loop(length) as loop:
                place = b.cast(b.load(y, [*rows[1], loop.index]), "int64")
                inside = b.and_(b.ge(place, 0), b.lt(place, length))
                b.guard(inside, "index", (place, length))
                place = b.select(inside, place, 0)
                if self.inverse:
                    value = b.load(x, [*rows[0], loop.index])
                    b.store(target, [*index, place], value)
                else:
                    value = b.load(x, [*rows[0], place])
                    b.store(target, [*index, loop.index], value)

    @staticmethod
    def _dtype(k: Any) -> str:
        return str(k.node.outputs[0].type.dtype)

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        x, y = inputs
        if dt.is_discrete(x.type.dtype):
            gradient = zero_gradient(x)
        else:
            back = PermuteRowElements(not self.inverse)(output_grads[0], y)
            gradient = fit_gradient(back, x)
        return [gradient, disconnected_type.make_variable()]


def _check_shapes(node: Apply, x: Sequence[int], y: Sequence[int]) -> None:
    from ltensor.ops.elementwise import mismatch

    flags = [v.type.broadcastable for v in node.inputs]
    for axis in range(len(x)):
        stretched = axis < len(x) - 1 and (flags[0][axis] or flags[1][axis])
        if not stretched and x[axis] != y[axis]:
            raise ValueError(mismatch(node, [x, y], axis))


def permute_row_elements(x: Any, y: Any, inverse: bool = False) -> Variable:
    """The rows of ``x`` in the order ``y``: ``out[..., i] = x[..., y[..., i]]``.

    Parameters
    ----------
    x : tensor
    y : integer tensor
        Permutations of 0..n-1 along the last axis. Leading axes broadcast against those of ``x``.
    inverse : bool
        Undo the permutation instead: ``out[..., y[..., i]] = x[..., i]``.
    """
    return PermuteRowElements(bool(inverse))(x, y)


def _samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    def orders(*shape: int) -> np.ndarray:
        rows = [rng.permutation(shape[-1]) for _ in range(int(np.prod(shape[:-1])))]
        return np.array(rows, "int64").reshape(shape)

    for inverse in (False, True):
        for x, y in (
            ((5,), (5,)),
            ((3, 4), (3, 4)),
            ((3, 4), (1, 4)),
            ((4,), (2, 3, 4)),
            ((2, 0), (2, 0)),
        ):
            yield Sample(
                lambda x, y, inverse=inverse: permute_row_elements(x, y, inverse),
                [draw(rng, dtype, x), orders(*y)],
                f"{x}{y}{'inverse' if inverse else ''}",
                which=(0,),
            )


declare(
    Declaration(
        "permute_rows",
        "Elements of every row in a given order.",
        PermuteRowElements,
        _samples,
        0,
    )
)
