"""`Guard`: its operand, refused where an element is NaN, infinite or huge (see ``nan_guard``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Apply, Variable
from ltensor.ops.opdef import Declaration, DeclaredOp, Sample, declare, output_like
from ltensor.ops.samples import draw

#: numbers beyond this are huge
BIG = 1e10


class Guard(DeclaredOp):
    """The operand; an error where it holds what is refused.

    Parameters
    ----------
    nan, inf, big : bool
        What is refused: NaN, infinity, absolute values over 1e10.
    where : str
        Told in the error: what the operand is.
    """

    __props__ = ("nan", "inf", "big", "where")
    kind = "kernel"
    ir_name = "guard"
    dense_operands = True

    def __init__(
        self, nan: bool = True, inf: bool = True, big: bool = True, where: str = ""
    ) -> None:
        self.nan, self.inf, self.big, self.where = nan, inf, big, where

    def __str__(self) -> str:
        refused = [n for n in ("nan", "inf", "big") if getattr(self, n)]
        return f"Guard{{{','.join(refused)}}}"

    def make_node(self, x: Any) -> Apply:
        x = as_tensor(x)
        return Apply(self, [x], [output_like(x)])

    def _refused(self) -> list[str]:
        found = [("NaN", self.nan), ("Inf", self.inf), ("Big value", self.big)]
        return [name for name, wanted in found if wanted]

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        x = inputs[0]
        tests = {
            "NaN": lambda: np.isnan(x).any(),
            "Inf": lambda: np.isinf(x).any(),
            "Big value": lambda: (np.abs(x) > BIG).any(),
        }
        with np.errstate(all="ignore"):
            for name in self._refused():
                if tests[name]():
                    raise AssertionError(f"{name} detected")
        output_storage[0][0] = x

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [shapes[0]]

    def lower(self, k: Any) -> None:
        b = k.b
        x = k.operand(0)
        if k.node.inputs[0].type.ndim == 0:
            for name in self._refused():
                with b.if_(_is(b, name, x)):
                    self._fail(k, name, b.const(0), ())
        else:
            flat = type(x)(x.dtype, x.pointer, (b.size(x.dims),), None, x.offset)
            for name in self._refused():
                with b.reduce(flat.dims[0], "or", b.const(False, "bool")) as loop:
                    loop.next(_is(b, name, b.load(flat, [loop.index])))
                with b.if_(loop.results[0]):
                    with b.loop(flat.dims[0]) as search:
                        search.stop = _is(b, name, b.load(flat, [search.index]))
                    self._fail(k, name, search.steps - 1, x.dims)
        k.result(x)

    def _fail(self, k: Any, name: str, first: Any, dims: Sequence[Any]) -> None:
        """Leave with what was found, the place of its first element and the steps of all loops."""
        b = k.b
        loops = b.steps_here()
        # the error is about the node that computed the value, not about this one
        detail = (name, self.where, len(dims), tuple(label for label, _ in loops))
        values = (first, *dims, *(step for _, step in loops))
        b.check(b.const(False, "bool"), "nan", k.node.inputs[0].owner, values, detail)

    def grad(self, inputs: list[Variable], output_grads: list[Variable]) -> list[Any]:
        return list(output_grads)

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return [eval_points[0]]


def _is(b: Any, name: str, x: Any) -> Any:
    if name == "NaN":
        return b.isnan(x)
    if dt.is_complex(x.dtype):
        return b.or_(_is(b, name, x.re), _is(b, name, x.im))
    if name == "Inf":
        return b.isinf(x)
    if x.dtype == "float16":
        return b.const(False, "bool")
    return b.gt(b.abs(x), b.const(BIG, x.dtype))


def _samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for shape in ((3, 5), (), (0,), (70,)):
        yield Sample(Guard(), [draw(rng, dtype, shape)], str(shape))


declare(
    Declaration(
        "guard",
        "Refuse NaN, infinity and huge numbers.",
        Guard,
        _samples,
        0,
        dtypes=(*dt.FLOATS, *dt.COMPLEX),
    )
)
