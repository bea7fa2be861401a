"""``theano.tests.unittest_tools``: helpers for the tests of operations.

New code uses `ltensor.testing`; this is what existing test files of Theano projects import.
"""

from __future__ import annotations

import unittest
from collections.abc import Sequence
from typing import Any

import numpy as np

import ltensor
from ltensor import gradient
from ltensor.config import config
from ltensor.errors import WrongValue

__all__ = ["InferShapeTester", "assert_allclose", "fetch_seed", "seed_rng", "verify_grad"]


def fetch_seed(pseed: int | None = None) -> int:
    """Give the seed that tests use: ``config.unittests.rseed``, else the argument."""
    text = str(config.unittests.rseed or pseed)
    return int(np.random.RandomState().randint(2**30)) if text == "random" else int(text)


def seed_rng(pseed: int | None = None) -> int:
    """Seed NumPy's global generator and give the seed."""
    seed = fetch_seed(pseed)
    np.random.seed(seed)
    return seed


def verify_grad(
    op: Any, pt: Sequence[Any], n_tests: int = 2, rng: Any = None, **kwargs: Any
) -> Any:
    """Do `ltensor.gradient.verify_grad`, with a seeded generator by default."""
    rng = np.random.RandomState(fetch_seed()) if rng is None else rng
    return gradient.verify_grad(op, pt, n_tests=n_tests, rng=rng, **kwargs)


def assert_allclose(
    expected: Any, value: Any, rtol: float | None = None, atol: float | None = None
) -> None:
    """Raise `WrongValue` when a value is not near the expected one."""
    expected, value = np.asarray(expected), np.asarray(value)
    narrow = {"float16": 1e-3, "float32": 1e-4, "complex64": 1e-4}
    loosest = max(narrow.get(str(array.dtype), 1e-5) for array in (expected, value))
    rtol = loosest if rtol is None else rtol
    atol = loosest / 100 if atol is None else atol
    if expected.shape != value.shape or not np.allclose(
        expected, value, rtol=rtol, atol=atol, equal_nan=True
    ):
        raise WrongValue(expected, value, rtol, atol)


class InferShapeTester(unittest.TestCase):
    """A test case with a method that compares computed shapes with real ones."""

    def _compile_and_check(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        numeric_inputs: Sequence[Any],
        cls: Any,
        excluding: Any = None,
        warn: bool = True,
        check_topo: bool = True,
    ) -> None:
        values = ltensor.function(list(inputs), list(outputs))(*numeric_inputs)
        shapes = ltensor.function(
            list(inputs), [output.shape for output in outputs], on_unused_input="ignore"
        )(*numeric_inputs)
        for value, shape in zip(values, shapes, strict=True):
            np.testing.assert_array_equal(value.shape, shape)
