"""Every declared op x dtype x sample: compiled code against the NumPy reference."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

import ltensor  # noqa: F401 - declares all ops
from ltensor.ir import dtypes as dt
from ltensor.ops.opdef import REGISTRY
from ltensor.testing import check_gradient, check_sample


def _generator(*key: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32("/".join(key).encode()))


def _cases() -> list[tuple[str, str, int]]:
    cases = []
    for name, declaration in sorted(REGISTRY.items()):
        if declaration.samples is None:
            continue
        for dtype in declaration.dtypes or dt.ALL:
            try:
                samples = list(declaration.samples(_generator(name, dtype), dtype))
            except TypeError:
                continue
            cases.extend((name, dtype, k) for k in range(len(samples)))
    return cases


CASES = _cases()


def _sample(name: str, dtype: str, number: int):
    return list(REGISTRY[name].samples(_generator(name, dtype), dtype))[number]


@pytest.mark.parametrize(
    ("name", "dtype", "number"), CASES, ids=["-".join(map(str, c)) for c in CASES]
)
def test_cpu_agrees_with_reference(name: str, dtype: str, number: int) -> None:
    sample = _sample(name, dtype, number)
    try:
        sample.build(*[_variable(a) for a in sample.arrays])
    except (TypeError, NotImplementedError):
        pytest.skip(f"{name} refuses {dtype}")
    check_sample(REGISTRY[name], sample)


def _variable(array: np.ndarray):
    from ltensor.testing import variable_of

    return variable_of(np.asarray(array))


GRADIENTS = [
    c for c in CASES if REGISTRY[c[0]].differentiable and c[1] in REGISTRY[c[0]].gradient_dtypes
]


@pytest.mark.parametrize(
    ("name", "dtype", "number"), GRADIENTS, ids=["-".join(map(str, c)) for c in GRADIENTS]
)
def test_gradient_agrees_with_finite_differences(name: str, dtype: str, number: int) -> None:
    sample = _sample(name, dtype, number)
    if not sample.differentiable or any(np.size(a) == 0 for a in sample.arrays):
        pytest.skip("not differentiable here")
    check_gradient(REGISTRY[name], sample, _generator(name, dtype, str(number)))
