"""Ops that hand their operand on: marked as a view or copy, or checked for its sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor, constant_value
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import disconnected_type, tensor_type
from ltensor.ops import batching
from ltensor.ops.elementwise import zero_gradient
from ltensor.ops.linear import LinearInFirst
from ltensor.ops.opdef import Declaration, IndexedOp, Sample, declare, output_like
from ltensor.ops.samples import draw
from ltensor.ops.shape import split_sizes, vector_length


class _Same(IndexedOp):
    """The operand as it is."""

    affine = True
    batch = batching.same_op

    def make_node(self, x: Any) -> Apply:
        x = as_tensor(x)
        return Apply(self, [x], [output_like(x)])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        output_storage[0][0] = inputs[0]

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [shapes[0]]

    def source_index(self, e: Any, node: Apply, operands: Any, index: Any) -> list[Any]:
        return list(index)

    def element(self, e: Any, node: Apply, operands: Sequence[Any], index: Sequence[Any]) -> Any:
        return operands[0].at(index) if index else operands[0].value

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        x = inputs[0]
        return [zero_gradient(x) if dt.is_discrete(x.type.dtype) else output_grads[0]]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return [eval_points[0]]


class ViewOp(_Same):
    """Its operand: a place for a subclass to redefine the gradient."""

    __props__ = ()
    ir_name = "view"

    def __str__(self) -> str:
        return "ViewOp"


class DeepCopyOp(_Same):
    """A copy of its operand (values are never shared here, so the same as a view)."""

    __props__ = ()
    ir_name = "deep_copy"

    def __str__(self) -> str:
        return "DeepCopyOp"

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        output_storage[0][0] = inputs[0].copy()


class SpecifyShape(LinearInFirst, _Same):
    """The operand, of which the sizes are declared; checked when run.

    Operands are ``x`` and one size per axis.
    """

    __props__ = ()
    ir_name = "specify_shape"
    batch = batching.specify_rule
    #: what is said when the sizes are others, a key of `runtime.failure_kinds.KINDS`
    failure = "specify_shape"

    def __str__(self) -> str:
        return "SpecifyShape"

    def make_node(self, x: Any, *sizes: Any) -> Apply:
        x = as_tensor(x)
        variables = _sizes(x, sizes)
        static: list[int | None] = []
        for size, before in zip(variables, x.type.shape, strict=True):
            known = constant_value(size)
            if known is not None and before not in (None, int(known)):
                raise AssertionError(
                    f"SpecifyShape: {x} has size {before} where {int(known)} is declared"
                )
            static.append(before if known is None else int(known))
        output = tensor_type(x.type.dtype, tuple(static)).make_variable()
        return Apply(self, [x, *variables], [output])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        x, *sizes = inputs
        wanted = tuple(int(s) for s in sizes)
        if x.shape != wanted:
            raise AssertionError("SpecifyShape: got shape", x.shape, "expected", wanted)
        output_storage[0][0] = x

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        from ltensor.ops.cast import cast

        return [tuple(cast(s, "int64") for s in node.inputs[1:])]

    def check(self, b: Any, node: Apply, operands: Any) -> None:
        """The run-time check of the declared sizes."""
        found = operands[0].dims
        wanted = [b.cast(o.value, "int64") for o in operands[1:]]
        for have, want in zip(found, wanted, strict=True):
            b.check(b.eq(have, want), self.failure, node, (*found, *wanted), (len(found),))

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        rest = [disconnected_type.make_variable() for _ in inputs[1:]]
        return [*super().L_op(inputs[:1], outputs, output_grads), *rest]


class SizeVector(SpecifyShape):
    """A vector of sizes, one for each dimension of what is made of it; checked when run."""

    ir_name = "size_vector"
    failure = "size_vector"

    def __str__(self) -> str:
        return "SizeVector"


def _sizes(x: Variable, sizes: Sequence[Any]) -> list[Variable]:
    """The declared sizes as scalars; they may come as one vector or list."""
    rank = x.type.ndim
    if len(sizes) == 1 and (rank != 1 or as_tensor(sizes[0]).type.ndim == 1):
        given = sizes[0]
        length = vector_length(given)
        if length is not None and length != rank:
            raise AssertionError(
                f"SpecifyShape: vector of shape has {length} elements, but the input has {rank} "
                "dimensions"
            )
        if isinstance(given, Variable):
            checked = given if length is not None else SpecifyShape()(given, rank)
            sizes = split_sizes(checked, rank)
        else:
            sizes = list(given)
    variables = [as_tensor(s) for s in sizes]
    if len(variables) != rank:
        raise AssertionError(f"SpecifyShape: {len(variables)} sizes for {rank} dimensions")
    for v in variables:
        if v.type.ndim != 0 or not dt.is_integer(v.type.dtype):
            raise TypeError("shape must be a vector of integers", v)
    return variables


view_op = ViewOp()
deep_copy_op = DeepCopyOp()


def specify_shape(x: Any, shape: Any) -> Variable:
    """``x``, declared to have the sizes ``shape``; an error when it runs with others.

    Parameters
    ----------
    shape : int vector, or list of ints and int scalars
    """
    return SpecifyShape()(x, shape)


# --------------------------------------------------------------------------------- registry


def _samples(rng: np.random.Generator, dtype: str, op: Any) -> Iterator[Sample]:
    for shape in ((3, 4), (), (0,), (5,)):
        yield Sample(op, [draw(rng, dtype, shape)], str(shape))


def _size_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    if dtype == "int64":
        yield Sample(lambda x: SizeVector()(x, 3), [np.array([2, 0, 4])])


def _specify_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for shape in ((3, 4), (1,), (0, 2)):
        yield Sample(
            lambda x, shape=shape: specify_shape(x, shape), [draw(rng, dtype, shape)], str(shape)
        )
    yield Sample(
        lambda x, n: specify_shape(x, [n, 2]),
        [draw(rng, dtype, (3, 2)), np.asarray(3)],
        "by a variable",
        which=(0,),
    )


declare(Declaration("view", "The operand.", ViewOp, lambda r, d: _samples(r, d, view_op), 0))
declare(
    Declaration("deep_copy", "A copy.", DeepCopyOp, lambda r, d: _samples(r, d, deep_copy_op), 0)
)
declare(Declaration("specify_shape", "Declare and check sizes.", SpecifyShape, _specify_samples, 0))
declare(
    Declaration(
        "size_vector", "Check how many sizes there are.", SizeVector, _size_samples, 0, ("int64",)
    )
)
