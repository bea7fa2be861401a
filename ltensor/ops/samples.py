"""Arrays on which operations are tested: the conformance table draws them from here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ltensor.ir import dtypes
from ltensor.ops.opdef import Sample


def draw(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """A normal sample, or small integers, of any dtype."""
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype in dtypes.UNSIGNED:
        return rng.integers(0, 12, shape).astype(dtype)
    if dtype in dtypes.INTEGERS:
        return rng.integers(-9, 10, shape).astype(dtype)
    if dtypes.is_complex(dtype):
        return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)
    return (rng.normal(size=shape) * 2).astype(dtype)


def interval(low: float, high: float) -> Callable[..., np.ndarray]:
    """A domain: uniform in (low, high); integers inside it for discrete dtypes."""

    def domain(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        if dtypes.is_discrete(dtype):
            first, last = int(np.ceil(low)), int(np.floor(high))
            if dtype == "bool":
                first, last = max(first, 0), min(last, 1)
            if dtype in dtypes.UNSIGNED:
                first = max(first, 0)
            return rng.integers(first, max(last, first) + 1, shape).astype(dtype)
        if dtypes.is_complex(dtype):
            return (rng.uniform(low, high, shape) + 1j * rng.normal(size=shape)).astype(dtype)
        return rng.uniform(low, high, shape).astype(dtype)

    return domain


#: shapes for operands: equal, empty, one element, with a stretched dimension (flagged)
SHAPES: tuple[tuple[tuple[int, ...], ...], ...] = (
    ((5,), (5,), (5,), (5,)),
    ((), (), (), ()),
    ((3, 37), (3, 37), (3, 37), (3, 37)),
    ((2, 9), (1, 9), (2, 1), (1, 1)),
    ((0, 4), (0, 4), (0, 4), (0, 4)),
)


def elementwise_samples(op: Any, domain: Any) -> Callable[..., Any]:
    """The samples of a pointwise op: every shape pattern of `SHAPES`."""

    def samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
        arity = op.arity or 2
        for pattern in SHAPES:
            arrays = []
            for k in range(arity):
                domains = domain if isinstance(domain, (list, tuple)) else [domain] * arity
                chosen = domains[k] or draw
                arrays.append(chosen(rng, dtype, pattern[k]))
            label = "x".join(map(str, pattern[0])) or "scalar"
            yield Sample(op, arrays, label)

    return samples
