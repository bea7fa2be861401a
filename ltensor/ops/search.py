"""Looking up in a sorted vector."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Apply, Variable
from ltensor.ops.cast import cast
from ltensor.ops.elementwise import zero_gradient
from ltensor.ops.opdef import Declaration, DeclaredOp, Sample, declare, new_tensor
from ltensor.ops.samples import draw
from ltensor.ops.sort import comes_before


class SearchSorted(DeclaredOp):
    """Where elements are to be put into a sorted vector so that it stays sorted."""

    __props__ = ("side",)
    kind = "kernel"
    ir_name = "searchsorted"

    def __init__(self, side: str = "left") -> None:
        if side not in ("left", "right"):
            raise ValueError(f"'{side}' is an invalid value for keyword 'side'")
        self.side = side

    def make_node(self, x: Any, v: Any) -> Apply:
        x, v = as_tensor(x), as_tensor(v)
        if x.type.ndim != 1:
            raise ValueError("searchsorted takes a sorted vector", x.type)
        common = dt.upcast(x.type.dtype, v.type.dtype)
        return Apply(self, [cast(x, common), cast(v, common)], [new_tensor("int64", v.type.shape)])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        find: Any = np.searchsorted
        result = find(inputs[0], inputs[1], side=self.side)
        output_storage[0][0] = np.asarray(result, dtype="int64")

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [tuple(shapes[1])]

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        return [zero_gradient(v) for v in inputs]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return [None]

    def lower(self, k: Any) -> None:
        b = k.b
        x, v = k.operand(0), k.operand(1)
        length = x.dims[0]
        # at most 64 halvings; none of an empty vector
        rounds = b.select(b.gt(length, 0), b.const(64), b.const(0))

        def place(value: Any) -> Any:
            with b.loop(rounds, carries=[b.const(0), length]) as loop:
                low, high = loop.carry
                middle = b.add(low, b.shift_right(b.sub(high, low), 1))
                element = b.load(x, [b.min(middle, b.sub(length, 1))])
                if self.side == "left":
                    above = comes_before(b, element, value)
                else:
                    above = b.not_(comes_before(b, value, element))
                above = b.and_(above, b.lt(low, high))
                low = b.select(above, b.add(middle, 1), low)
                high = b.select(above, high, middle)
                loop.next(low, high)
                loop.stop = b.ge(low, high)
            return loop.results[0]

        if not hasattr(v, "dims"):
            k.result(place(v))
            return
        target = k.output(0)
        with ExitStack() as stack:
            index = [stack.enter_context(b.loop(n)).index for n in v.dims]
            b.store(target, index, place(b.load(v, index)))


def searchsorted(x: Any, v: Any, side: str = "left", sorter: Any = None) -> Variable:
    """Where the elements of ``v`` are to be put into the sorted vector ``x``.

    ``side`` ``'left'`` gives the first such place, ``'right'`` the last. ``sorter`` holds the
    places that sort ``x``.
    """
    from ltensor.ops.indexing import getitem

    x = as_tensor(x)
    if sorter is not None:
        sorter = as_tensor(sorter)
        if sorter.type.ndim != 1 or not dt.is_integer(sorter.type.dtype):
            raise TypeError("sorter must be an integer vector", sorter.type)
        x = getitem(x, sorter)
    return SearchSorted(side)(x, v)


# --------------------------------------------------------------------------------- registry


def _search_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for side in ("left", "right"):
        for n, shape in ((1, (3,)), (8, (5,)), (33, (2, 7)), (5, ()), (0, (3,))):
            data = np.sort(draw(rng, dtype, (n,)))
            yield Sample(
                lambda x, v, side=side: searchsorted(x, v, side),
                [data, draw(rng, dtype, shape)],
                f"{side}{n}{shape}",
                differentiable=False,
            )


_ORDERED = tuple(d for d in dt.ALL if not dt.is_complex(d))
declare(
    Declaration(
        "searchsorted",
        "Places in a sorted vector.",
        SearchSorted,
        _search_samples,
        4,
        _ORDERED,
        differentiable=False,
    )
)
