"""``ifelse``: a choice between values of which only the chosen one is computed.

The front end builds `IfElse`, an ordinary node with the values of both branches as operands. The
pass ``sink_branches`` turns it into `Branches`, which holds for each side a Function with what only
that side needs. Both are lowered; what stays outside is computed in any case.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ltensor.errors import AsTensorError
from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.ir.types import DisconnectedType, TensorType
from ltensor.ops.elementwise import zero_gradient
from ltensor.ops.opdef import Declaration, DeclaredOp, Sample, declare
from ltensor.ops.samples import draw


class IfElse(DeclaredOp):
    """The first values if the condition is not zero, else the others.

    Parameters
    ----------
    n_outs : int
        The number of values on each side.
    name : str, optional
        Only shown.
    """

    __props__ = ("n_outs",)
    kind = "region"
    region_kind = "ifelse"
    ir_name = "ifelse"

    def __init__(self, n_outs: int = 1, name: str | None = None) -> None:
        self.n_outs = n_outs
        self.name = name

    def __str__(self) -> str:
        return "if{" + (self.name or "") + "}"

    def make_node(self, condition: Any, *values: Any) -> Apply:
        condition = as_tensor(condition)
        if condition.type.ndim != 0:
            raise TypeError(f"the condition of ifelse must be a scalar, not {condition.type}")
        if len(values) != 2 * self.n_outs:
            raise ValueError(
                f"Wrong number of arguments to make_node: expected {2 * self.n_outs}, got "
                f"{len(values)}"
            )
        operands = [v if isinstance(v, Variable) else as_tensor(v) for v in values]
        outputs = [_common(a, b).make_variable() for a, b in self._pairs(operands)]
        return Apply(self, [condition, *operands], outputs)

    def _pairs(self, values: Sequence[Any]) -> list[tuple[Any, Any]]:
        return list(zip(values[: self.n_outs], values[self.n_outs :], strict=True))

    def branches(self, node: Apply) -> tuple[list[Variable], list[Variable]]:
        """The values of the two sides."""
        return node.inputs[1 : 1 + self.n_outs], node.inputs[1 + self.n_outs :]

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        condition, *values = inputs
        for cell, (then, other) in zip(output_storage, self._pairs(values), strict=True):
            cell[0] = then if condition else other

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        result: list[Any] = []
        for then, other in self._pairs(shapes[1:]):
            if then is not None and other is not None and all(map(_same_size, then, other)):
                result.append(tuple(then))
            else:
                result.append(None)
        return result

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        # The condition does count, with gradient zero: a small change of it changes nothing.
        rows = [[True] * self.n_outs]
        rows += [[k == j for j in range(self.n_outs)] for k in range(self.n_outs)] * 2
        return rows

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        condition, *values = inputs
        results: list[Any] = [zero_gradient(condition)]
        then, other = values[: self.n_outs], values[self.n_outs :]
        sides: tuple[list[Any], list[Any]] = ([], [])
        for a, b, g in zip(then, other, output_grads, strict=True):
            if isinstance(g.type, DisconnectedType):
                sides[0].append(g)
                sides[1].append(g)
            elif dt.is_discrete(a.type.dtype):
                sides[0].append(zero_gradient(a))
                sides[1].append(zero_gradient(b))
            else:
                sides[0].append(IfElse(1, self.name)(condition, g, _zeros(a, g)))
                sides[1].append(IfElse(1, self.name)(condition, _zeros(b, g), g))
        return results + sides[0] + sides[1]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        condition, *values = inputs
        results: list[Any] = []
        for (a, b), (da, db) in zip(self._pairs(values), self._pairs(eval_points[1:]), strict=True):
            if da is None and db is None:
                results.append(None)
                continue
            da = _zeros(a, db) if da is None else da
            db = _zeros(b, da) if db is None else db
            results.append(IfElse(1, self.name)(condition, da, db))
        return results


def _same_size(a: Variable, b: Variable) -> bool:
    if a is b:
        return True
    if isinstance(a, Constant) and isinstance(b, Constant):
        return bool(a.data == b.data)
    x, y = a.owner, b.owner
    # the same size asked twice: dim{axis}(v)
    return (
        x is not None and y is not None and x.op == y.op and x.inputs == y.inputs
        and len(x.outputs) == 1
    )  # fmt: skip


def _zeros(like: Variable, gradient: Variable) -> Variable:
    """Zeros in the size of ``like`` and the type of ``gradient``."""
    from ltensor.ops.alloc import zeros_like
    from ltensor.ops.shape import set_flags

    zeros = zeros_like(like, dtype=gradient.type.dtype)
    return set_flags(zeros, gradient.type.broadcastable)


def _common(then: Variable, other: Variable) -> Any:
    """The type of either value: what a pass learned of one side's sizes is forgotten."""
    a, b = then.type, other.type
    tensors = isinstance(a, TensorType) and isinstance(b, TensorType)
    if tensors and a.dtype == b.dtype and a.ndim == b.ndim:
        # equal types may still differ in sizes that are known
        pairs = zip(a.shape, b.shape, strict=True)
        return TensorType(a.dtype, shape=tuple(m if m == n else None for m, n in pairs))
    if a == b:
        return a
    raise TypeError(_different(then, other))


def _different(then: Variable, other: Variable) -> str:
    return (
        f"The two branches should have identical types, but they are {then.type} and "
        f"{other.type} respectively. This error could be raised if for example you provided a one "
        "element list on the `then` branch but a tensor on the `else` branch."
    )


class Branches(DeclaredOp):
    """`IfElse` with what each side computes inside.

    The operands are the condition and what either side reads; each side is a Function of all
    operands but the condition.
    """

    __props__ = ()
    kind = "region"
    region_kind = "ifelse"
    ir_name = "if"

    def __init__(
        self, then: Function, other: Function, sizes: Sequence[tuple[Any, ...] | None] = ()
    ) -> None:
        self.then = then
        self.other = other
        #: per output and axis: the size, a position among the operands, or None if not known before
        self.sizes = tuple(sizes) or (None,) * len(then.outputs)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __str__(self) -> str:
        return "if{}"

    @property
    def regions(self) -> tuple[Function, ...]:
        """The two sides."""
        return (self.then, self.other)

    def with_regions(self, regions: Sequence[Function]) -> Branches:
        """The same choice between other Functions."""
        return Branches(regions[0], regions[1], self.sizes)

    def make_node(self, condition: Any, *operands: Variable) -> Apply:
        pairs = zip(self.then.outputs, self.other.outputs, strict=True)
        outputs = [_common(a, b).make_variable() for a, b in pairs]
        return Apply(self, [as_tensor(condition), *operands], outputs)

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        condition, *values = inputs
        chosen = self.then if condition else self.other
        for cell, value in zip(output_storage, chosen.interpret(values), strict=True):
            cell[0] = value

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [
            None if dims is None else tuple(node.inputs[p] for p in dims) for dims in self.sizes
        ]


def ifelse(condition: Any, then_branch: Any, else_branch: Any, name: str | None = None) -> Any:
    """``then_branch`` if ``condition`` is not zero, else ``else_branch``; lazily.

    Parameters
    ----------
    condition : scalar variable or number
    then_branch, else_branch : variable, number, list or tuple of them
        As many on both sides, pairwise of the same type.

    Returns
    -------
    Variable, list or tuple
        In the form of ``then_branch``. Only what the chosen side needs is computed.

    Raises
    ------
    TypeError
        If the types of two values differ.
    ValueError
        If there are more values on one side.

    Examples
    --------
    >>> import ltensor.tensor as T
    >>> x = T.dscalar("x")
    >>> y = ifelse(T.lt(x, 0), -x, x)
    """
    form = type(then_branch) if isinstance(then_branch, (list, tuple)) else None
    then = list(then_branch) if form else [then_branch]
    other = list(else_branch) if isinstance(else_branch, (list, tuple)) else [else_branch]
    if len(then) != len(other):
        raise ValueError(
            "The number of values on the `then` branch should have the same number of variables "
            f"as the `else` branch : (variables on `then` {len(then)}, variables on `else` "
            f"{len(other)})"
        )
    pairs = [_fit(_variable(a), _variable(b)) for a, b in zip(then, other, strict=True)]
    op = IfElse(len(pairs), name)
    results = op(condition, *(a for a, _ in pairs), *(b for _, b in pairs), return_list=True)
    if form is None:
        return results[0]
    return list(results) if issubclass(form, list) else tuple(results)


def _variable(value: Any) -> Variable:
    return value if isinstance(value, Variable) else as_tensor(value)


def _fit(then: Variable, other: Variable) -> tuple[Variable, Variable]:
    """The two values in one type, if that loses nothing."""
    if then.type == other.type:
        return then, other
    known = isinstance(then.type, TensorType) and isinstance(other.type, TensorType)
    if known and then.type.dtype == other.type.dtype and then.type.ndim == other.type.ndim:
        from ltensor.ops.shape import set_flags

        # flags that only one side has are forgotten
        flags = [
            a and b for a, b in zip(then.type.broadcastable, other.type.broadcastable, strict=True)
        ]
        return set_flags(then, flags), set_flags(other, flags)
    for value, wanted in ((then, other.type), (other, then.type)):
        if isinstance(value, Constant) and isinstance(wanted, TensorType):
            try:
                fitted = wanted.filter_variable(value.data)
            except (TypeError, ValueError, AsTensorError):
                continue
            return (fitted, other) if value is then else (then, fitted)
    raise TypeError(_different(then, other))


# --------------------------------------------------------------------------------- registry


def _samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for shape in ((3, 4), (), (0,), (2, 1)):
        for flag in (0, 1):
            arrays = [draw(rng, dtype, shape), draw(rng, dtype, shape)]
            yield Sample(
                lambda x, y, flag=flag: ifelse(as_tensor(np.asarray(flag)), x, y),
                arrays, f"{shape} {flag}",
            )  # fmt: skip
    yield Sample(
        lambda c, x, y: ifelse(c, [x, y], [y, x]),
        [np.asarray(1, dtype="int8"), draw(rng, dtype, (3,)), draw(rng, dtype, (5,))],
        "two values of different sizes", which=(1, 2),
    )  # fmt: skip


declare(Declaration("ifelse", "A lazy choice between values.", IfElse, _samples, 0))
