"""Tools for testing operations: the NumPy reference of a graph, its compiled form, comparisons.

Public, because whoever adds an op wants them; layer 6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ltensor.ir.function import Function
from ltensor.ir.graph import Variable
from ltensor.ir.types import TensorType
from ltensor.lowering.whole import Signature
from ltensor.ops.opdef import Declaration, Sample
from ltensor.passes.shapes import use_shapes
from ltensor.runtime.callable import NativeCallable
from ltensor.runtime.link import link


class Compiled(NativeCallable):
    """A bare compiled function for tests: no conversions, no shared variables."""

    def _call_slow(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"arguments do not fit: {[getattr(a, 'dtype', type(a)) for a in args]}")

    def _raise_error(self, record: tuple[int, ...], args: tuple[Any, ...]) -> Any:
        site = self.__dict__["errors"][record[0]]
        if site.kind == "python":
            raise site.detail[0].take_error()
        raise ValueError(f"{site.kind}: {site.node} {record[1:9]}")


def compile_graph(
    inputs: Sequence[Variable],
    outputs: Sequence[Variable],
    passes: Callable[[Function], Function] | None = use_shapes,
) -> Compiled:
    """Compile a graph as it is (only ``passes`` applied); the result returns a list."""
    function = Function(inputs, outputs)
    if passes is not None:
        function = passes(function)
    linked = link(function, Signature(len(inputs), len(outputs)), [], "list")
    result = Compiled()
    result.__dict__["errors"] = linked.lowered.program.errors
    result.__dict__["linked"] = linked
    result._install_entry(linked.address, linked)
    return result


def reference(
    inputs: Sequence[Variable], outputs: Sequence[Variable], values: Sequence[Any]
) -> list[Any]:
    """The outputs by the ops' NumPy definitions."""
    return Function(inputs, outputs).interpret(values)


def variable_of(array: np.ndarray, name: str | None = None) -> Variable:
    """An input variable for ``array``; dimensions of size 1 are broadcastable."""
    shape = tuple(1 if size == 1 else None for size in array.shape)
    return TensorType(str(array.dtype), shape=shape).make_variable(name)


def assert_close(got: Any, expected: Any, ulp: float, context: str = "") -> None:
    """Compare dtype, shape and values; ``ulp`` counts units in the last place of the largest
    magnitude that could have mattered (absolute below 1).

    Raises
    ------
    AssertionError
    """
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.dtype == expected.dtype, f"{context}: dtype {got.dtype}, expected {expected.dtype}"
    assert got.shape == expected.shape, f"{context}: shape {got.shape}, expected {expected.shape}"
    if got.dtype.kind not in "fc":
        assert (got == expected).all(), f"{context}: {got} != {expected}"
        return
    eps = float(np.finfo(got.dtype).eps)
    wide = np.complex128 if got.dtype.kind == "c" else np.float64
    with np.errstate(all="ignore"):
        difference = np.abs(got.astype(wide) - expected.astype(wide))
        # a product of complex numbers has several roundings, and libm's pow is no better
        slack = 4 if got.dtype.kind == "c" else 1
        bound = slack * ulp * eps * np.maximum(1.0, np.abs(expected.astype(wide)))
        good = (difference <= bound) | (got == expected) | (np.isnan(got) & np.isnan(expected))
    assert good.all(), f"{context}: differs by {np.nanmax(difference)}: {got} != {expected}"


def check_sample(declaration: Declaration, sample: Sample) -> None:
    """The compiled code of a sample against the NumPy reference."""
    arrays = [np.asarray(a) for a in sample.arrays]
    inputs = [variable_of(a, f"x{k}") for k, a in enumerate(arrays)]
    built = sample.build(*inputs)
    outputs = list(built) if isinstance(built, (list, tuple)) else [built]
    expected = reference(inputs, outputs, arrays)
    got = compile_graph(inputs, outputs)(*arrays)
    ulp = declaration.ulp if sample.ulp is None else sample.ulp
    for a, b in zip(got, expected, strict=True):
        assert_close(a, b, ulp, f"{declaration.name} {sample.label}")


def check_gradient(declaration: Declaration, sample: Sample, rng: np.random.Generator) -> None:
    """The gradient of a sample (of a random weighted sum of outputs) against finite differences."""
    from ltensor.gradient import grad

    arrays = [np.asarray(a) for a in sample.arrays]
    inputs = [variable_of(a, f"x{k}") for k, a in enumerate(arrays)]
    built = sample.build(*inputs)
    outputs = [
        v
        for v in (list(built) if isinstance(built, (list, tuple)) else [built])
        if v.type.dtype == "float64"
    ]
    wrt = [k for k, a in enumerate(arrays) if a.dtype.kind == "f"]
    if sample.which:
        wrt = list(sample.which)
    if not outputs or not wrt:
        return
    from ltensor.ops.arithmetic import add, mul
    from ltensor.ops.reduce import sum as total

    shapes = [np.shape(v) for v in reference(inputs, outputs, arrays)]
    weights = [
        rng.normal(size=s).astype(v.type.dtype) for s, v in zip(shapes, outputs, strict=True)
    ]
    terms = [total(mul(w, v)) for w, v in zip(weights, outputs, strict=True)]
    cost = terms[0] if len(terms) == 1 else add(*terms)
    gradients = grad(cost, [inputs[k] for k in wrt], disconnected_inputs="ignore")
    function = compile_graph(inputs, [cost, *gradients])
    computed = function(*arrays)[1:]
    step = 1e-6
    for position, gradient in zip(wrt, computed, strict=True):
        numeric = np.zeros_like(arrays[position])
        for index in np.ndindex(*arrays[position].shape):
            sides = []
            for sign in (1, -1):
                moved = [a.copy() for a in arrays]
                moved[position][index] += sign * step
                values = reference(inputs, outputs, moved)
                sides.append(
                    sum(float((w * v).sum()) for w, v in zip(weights, values, strict=True))
                )
            numeric[index] = (sides[0] - sides[1]) / (2 * step)
        np.testing.assert_allclose(
            gradient,
            numeric,
            rtol=2e-4,
            atol=2e-5,
            err_msg=f"{declaration.name} {sample.label} wrt {position}",
        )
