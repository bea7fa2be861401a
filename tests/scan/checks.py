"""Helpers of the scan tests: both modes, finite differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import ltensor as theano
from ltensor.ops.scan import Scan

UNOPTIMIZED = theano.Mode(linker=None, optimizer=None)
MODES = (UNOPTIMIZED, "FAST_RUN")


def compiled(inputs: Sequence[Any], outputs: Any, mode: Any = None, **options: Any) -> Any:
    """A function that may have unused inputs."""
    return theano.function(list(inputs), outputs, mode=mode, on_unused_input="ignore", **options)


def value(inputs: Sequence[Any], outputs: Any, *arguments: Any, **options: Any) -> Any:
    """The value, the same in both modes."""
    results = [compiled(inputs, outputs, mode, **options)(*arguments) for mode in MODES]
    pairs = zip(*results, strict=True) if isinstance(outputs, (list, tuple)) else [results]
    for plain, optimized in pairs:
        assert plain.dtype == optimized.dtype
        assert plain.shape == optimized.shape
        np.testing.assert_allclose(plain, optimized, rtol=1e-6, atol=1e-9)
    return results[1]


def check_values(inputs: Sequence[Any], outputs: Any, arguments: Any, expected: Any) -> None:
    """The value in both modes against an expected one."""
    got = value(inputs, outputs, *arguments)
    if not isinstance(outputs, (list, tuple)):
        got, expected = [got], [expected]
    for have, want in zip(got, expected, strict=True):
        assert have.shape == np.shape(want)
        np.testing.assert_allclose(have, want, rtol=1e-10, atol=1e-12)


def differences(f: Any, arguments: Sequence[Any], position: int, h: float = 1e-6) -> Any:
    """Central differences of a scalar function along one argument."""
    point = np.array(arguments[position], dtype="float64")
    gradient = np.zeros(point.shape)
    for index in np.ndindex(*point.shape):
        around = []
        for sign in (1, -1):
            shifted = point.copy()
            shifted[index] += sign * h
            moved = [*arguments[:position], shifted, *arguments[position + 1 :]]
            around.append(float(f(*moved)))
        gradient[index] = (around[0] - around[1]) / (2 * h)
    return gradient


def check_gradients(
    inputs: Sequence[Any],
    cost: Any,
    wrt: Sequence[Any],
    arguments: Sequence[Any],
    order: int = 1,
    modes: Sequence[Any] = MODES,
    tolerance: float = 2e-6,
) -> None:
    """Gradients up to an order against differences of what they are gradients of."""
    for level in range(1, order + 1):
        gradients = theano.grad(cost, list(wrt), disconnected_inputs="ignore")
        for mode in modes:
            f = compiled(inputs, cost, mode)
            got = compiled(inputs, gradients, mode)(*arguments)
            for variable, have in zip(wrt, got, strict=True):
                wanted = differences(f, arguments, list(inputs).index(variable))
                scale = max(1.0, float(np.abs(wanted).max(initial=0)))
                np.testing.assert_allclose(
                    have, wanted, rtol=tolerance, atol=tolerance * scale,
                    err_msg=f"{variable}, order {level}, {mode}",
                )  # fmt: skip
        cost = sum((g * (k + 2) + g**2).sum() for k, g in enumerate(gradients))


def check_optimized_gradients(*arguments: Any, **options: Any) -> None:
    """As `check_gradients`, in the one mode that programs run in."""
    check_gradients(*arguments, modes=MODES[1:], **options)


def uniform(*shape: int, seed: int = 0) -> Any:
    """Numbers between -1 and 1, always the same ones."""
    return np.random.RandomState(seed + sum(shape)).uniform(-1, 1, shape)


def scans(function: Any) -> list[Any]:
    """The scan nodes of a compiled function, outermost level."""
    return [n for n in function.maker.fgraph.toposort() if isinstance(n.op, Scan)]


def names(nodes: Any) -> list[str]:
    """Names of the operations of nodes."""
    return [n.op.ir_name for n in nodes]
