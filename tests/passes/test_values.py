"""Passes keep values: random graphs, optimized and not, by the NumPy references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from passes.graphs import graphs, run

import ltensor  # noqa: F401 - declares all ops
from ltensor.ir.function import Function
from ltensor.ir.text import print_function
from ltensor.passes.manager import run_pipeline
from ltensor.passes.pipeline import LEVELS, optimize
from ltensor.testing import compile_graph

_SETTINGS = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def _arguments() -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    shapes = ((3, 3), (3, 3), (3,), (), (3,))
    dtypes = ("float64",) * 4 + ("float32",)
    return [
        np.asarray(rng.uniform(0.5, 1.5, s)).astype(d) for s, d in zip(shapes, dtypes, strict=True)
    ]


def _compare(function: Function, pipeline: str) -> None:
    try:
        expected, tame = run(function, _arguments())
    except ValueError:  # sizes that do not fit
        assume(False)
    assume(tame)
    after = run_pipeline(function, pipeline, verify=True).function
    got, _ = run(after, _arguments())
    for a, b, before, new in zip(got, expected, function.outputs, after.outputs, strict=True):
        assert new.type == before.type
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        single = "f32" in print_function(function)
        tolerance = 1e-3 if single else 1e-8
        np.testing.assert_allclose(
            a,
            b,
            rtol=tolerance,
            atol=tolerance,
            err_msg=f"{print_function(function)}{print_function(after)}",
        )


@pytest.mark.parametrize("level", ["fast_run", "fast_compile", "none"])
def test_levels_keep_values(level: str) -> None:
    @_SETTINGS
    @given(graphs())
    def check(function: Function) -> None:
        _compare(function, LEVELS[level])

    check()


@pytest.mark.parametrize(
    "name", ["canonicalize", "stabilize", "fold_constants", "cse", "fills", "shapes"]
)
def test_each_pass_keeps_values(name: str) -> None:
    @_SETTINGS
    @given(graphs(most=6))
    def check(function: Function) -> None:
        _compare(function, name)

    check()


@_SETTINGS
@given(graphs(gradient=False))
def test_a_second_run_changes_nothing_more(function: Function) -> None:
    once = run_pipeline(function, "repeat(canonicalize,fold_constants)")
    assert run_pipeline(once.function, "canonicalize").function is once.function
    assert len(once.records) < 20


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(graphs(most=7))
def test_native_code_agrees(function: Function) -> None:
    try:
        expected, tame = run(function, _arguments())
    except ValueError:
        assume(False)
    assume(tame)
    native = compile_graph(function.inputs, function.outputs, optimize)(*_arguments())
    tolerance = 1e-3 if "f32" in print_function(function) else 1e-8
    for a, b in zip(native, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
