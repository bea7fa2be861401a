"""Random graphs for property tests: ops of the registry on inputs of a few types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ltensor.ir.build import constant
from ltensor.ir.function import Function
from ltensor.ir.graph import Constant, Variable, evaluate
from ltensor.ir.types import TensorType
from ltensor.ops import alloc, arithmetic, cast, compare, moments, reduce, shape, transcendental

_CONSTANTS: tuple[Any, ...] = (0, 1, -1, 2, 3, 0.5, 1.0, np.float64(2.5), np.float32(0.25))

_UNARY: tuple[Callable[[Any], Any], ...] = (
    arithmetic.neg,
    arithmetic.sqr,
    arithmetic.inv,
    arithmetic.abs_,
    transcendental.exp,
    transcendental.sigmoid,
    transcendental.tanh,
    lambda v: transcendental.log(arithmetic.add(1, arithmetic.sqr(v))),
    lambda v: transcendental.log(arithmetic.add(1, transcendental.exp(v))),
    lambda v: arithmetic.true_div(1.0, arithmetic.add(1.0, transcendental.exp(arithmetic.neg(v)))),
    lambda v: arithmetic.sub(transcendental.exp(v), 1),
    lambda v: transcendental.sqrt(arithmetic.abs_(v)),
    lambda v: cast.cast(v, "float64"),
    lambda v: alloc.second(v, np.float64(1.5)),
    lambda v: arithmetic.pow(v, 2),
    lambda v: arithmetic.pow(arithmetic.abs_(v), 0.5),
    lambda v: arithmetic.pow(v, 3),
    lambda v: transcendental.log(transcendental.sigmoid(v)),
    lambda v: arithmetic.sub(1, transcendental.sigmoid(v)),
    lambda v: reduce.sum(v),
    lambda v: reduce.max(v),
    lambda v: moments.mean(v),
    lambda v: transcendental.log(reduce.sum(transcendental.exp(v))),
)
_BINARY: tuple[Callable[[Any, Any], Any], ...] = (
    arithmetic.add,
    arithmetic.sub,
    arithmetic.mul,
    arithmetic.true_div,
    arithmetic.maximum,
    alloc.second,
    lambda a, b: arithmetic.switch(compare.gt(a, b), a, b),
    lambda a, b: arithmetic.mul(a, b, a),
    lambda a, b: arithmetic.sub(arithmetic.add(a, b), a),
    lambda a, b: arithmetic.true_div(arithmetic.mul(a, b), a),
    lambda a, b: transcendental.log(arithmetic.add(transcendental.exp(a), transcendental.exp(b))),
)
_MATRIX: tuple[Callable[[Any], Any], ...] = (
    lambda v: shape.dimshuffle(v, (1, 0)),
    lambda v: reduce.sum(v, axis=0),
    lambda v: reduce.sum(v, axis=1),
    lambda v: reduce.sum(v, axis=1, keepdims=True),
    lambda v: shape.reshape(v, (-1,)),
    lambda v: cast.cast(shape.shape_i(v, 0), "float64"),
)


def _apply(draw: Any, values: list[Variable]) -> Variable:
    pick = st.integers(0, len(values) - 1)
    first = values[draw(pick)]
    kind = draw(st.sampled_from(("unary", "unary", "binary", "binary", "constant", "matrix")))
    if kind == "matrix" and first.type.ndim == 2:
        return draw(st.sampled_from(_MATRIX))(first)
    if kind == "binary":
        return draw(st.sampled_from(_BINARY))(first, values[draw(pick)])
    if kind == "constant":
        number = constant(draw(st.sampled_from(_CONSTANTS)))
        operands = [first, number] if draw(st.booleans()) else [number, first]
        return draw(st.sampled_from(_BINARY[:5]))(*operands)
    return draw(st.sampled_from(_UNARY))(first)


@st.composite
def graphs(draw: Any, most: int = 9, gradient: bool = True) -> Function:
    """A Function of a few float inputs, some of whose values are outputs."""
    inputs = [
        TensorType("float64", (False, False)).make_variable("m"),
        TensorType("float64", (False, False)).make_variable("m"),
        TensorType("float64", (False,)).make_variable("v"),
        TensorType("float64", ()).make_variable("s"),
        TensorType("float32", (False,)).make_variable("u"),
    ]
    values = list(inputs)
    for _ in range(draw(st.integers(1, most))):
        values.append(_apply(draw, values))
    last = values[-1]
    outputs = [last, *values[5 : 5 + draw(st.integers(0, 2))]]
    if gradient and draw(st.booleans()) and last.type.dtype in ("float32", "float64"):
        from ltensor.gradient import grad

        cost = reduce.sum(last) if last.type.ndim else last
        outputs += grad(cost, inputs[:4], disconnected_inputs="ignore")
    return Function(inputs, outputs)


_DECISIONS = (compare.eq, compare.gt, arithmetic.maximum)


def _close(a: Any, b: Any) -> bool:
    """Whether rounding may decide a comparison."""
    with np.errstate(invalid="ignore"):
        distance = np.abs(np.asarray(a, dtype="float64") - b)
    return bool(((distance > 0) & (distance < 1e-5)).any())


def run(function: Function, arrays: list[Any]) -> tuple[list[Any], bool]:
    """The outputs by the references, and whether no value on the way is extreme.

    Rewriting treats floats as real numbers: where a difference of equal terms leaves only their
    rounding errors, two forms may differ by any factor.
    """
    known: dict[Variable, Any] = dict(zip(function.inputs, arrays, strict=True))
    tame = True

    def value(v: Variable) -> Any:
        return v.data if isinstance(v, Constant) else known[v]

    for node in function.nodes:
        operands = [value(v) for v in node.inputs]
        if node.op in _DECISIONS and _close(*operands):
            tame = False
        results = evaluate(node, operands)
        known.update(zip(node.outputs, results, strict=True))
        for result in results:
            size = np.abs(result[result != 0]) if result.dtype.kind == "f" else np.ones(1)
            if not np.isfinite(size).all() or (size > 1e4).any() or (size < 1e-4).any():
                tame = False
    return [value(v) for v in function.outputs], tame
