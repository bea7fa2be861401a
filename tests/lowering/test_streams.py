"""Stores that pass the cache: which loops have them, and that they write what others would."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import ltensor
import ltensor.tensor as T
from ltensor.lowering.cpu import streams, thread_pool
from ltensor.lowering.cpu.chunks import render_chunk
from ltensor.lowering.cpu.jit import host

pytestmark = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="x86 only"
)

ROWS = host().vector_bytes == streams.LINE


@pytest.fixture(autouse=True)
def limit_of_the_environment() -> Iterator[None]:
    """The pool has the number of threads of the function compiled last."""
    yield
    thread_pool.words()


def compiled(inputs: Any, outputs: Any, threads: int = 1) -> Any:
    with ltensor.config.change_flags(num_threads=threads):
        return ltensor.function(inputs, outputs)


def marks(inputs: Any, outputs: Any) -> int:
    """How many stores of the code for one thread pass the cache."""
    return int(compiled(inputs, outputs)._linked.text.count(f", {streams.MARK}"))


x, y, v = T.dmatrix("x"), T.dmatrix("y"), T.dvector("v")


def test_long_loops_and_rows_of_results_have_them() -> None:
    assert marks([v], v + 1) == 1
    assert marks([v], T.tanh(v)) == 1
    assert marks([v], [v + 1, v * 2]) == 2
    assert marks([x, v], x + v) == ROWS
    assert marks([x, y], x + y.T) == ROWS


def test_what_is_small_changed_in_place_or_a_step_of_a_loop_has_none() -> None:
    assert marks([], T.arange(100.0)) == 0
    s = ltensor.shared(np.ones(3))
    assert ", !nontemporal" not in ltensor.function([], updates=[(s, s + 1)])._linked.text
    steps, _ = ltensor.scan(lambda h: T.tanh(T.dot(x, h)), outputs_info=x, n_steps=5)
    assert marks([x], steps) == 0
    # columns are written in parts of lines
    assert marks([x], T.concatenate([x, x], axis=1)) == 0


def test_threads_leave_them_to_the_chunks() -> None:
    f = compiled([v], v + 1, 2)
    program = f._linked.lowered.program
    assert "nontemporal" not in f._linked.text
    assert "nontemporal" in render_chunk(program, 0, host().vector_bytes, host().has_fma)


def rows(a: Any) -> Any:
    return (a - a.mean(axis=1, keepdims=True)) / a.std(axis=1, keepdims=True)


CASES: dict[str, tuple[list[Any], Callable[..., Any], Callable[..., Any]]] = {
    "vector": ([v], lambda a: 3 * a + 1, lambda a: 3 * a + 1),
    "functions": ([v], lambda a: T.exp(-abs(a)), lambda a: np.exp(-abs(a))),
    "two results": ([v], lambda a: [a + 1, a * 2], lambda a: [a + 1, a * 2]),
    "rows": ([x, y], lambda a, b: a + b[0], lambda a, b: a + b[0]),
    "turned": ([x, y], lambda a, b: a + b.T, lambda a, b: a + b.T),
    "normalized": ([x], rows, rows),
    "crossed": ([x, y], lambda a, b: a.T * b[0] + 1, lambda a, b: a.T * b[0] + 1),
    "part": ([x], lambda a: a[1:, 3:] + 1, lambda a: a[1:, 3:] + 1),
}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("size", [7, 16, 64, 71, 200])
@pytest.mark.parametrize("case", CASES)
def test_results(
    case: str,
    size: int,
    threads: int,
    monkeypatch: pytest.MonkeyPatch,
    every_loop_is_shared: None,
) -> None:
    """As if the cache had 256 bytes: whole lines, odd rows, tails."""
    monkeypatch.setattr(streams, "LARGE", 256)
    inputs, program, numpy = CASES[case]
    rng = np.random.default_rng(size)
    values = [
        rng.standard_normal((size, size)) if a.ndim == 2 else rng.standard_normal(size * size)
        for a in inputs
    ]
    f = compiled(inputs, program(*inputs), threads)
    results, wanted = f(*values), numpy(*values)
    if not isinstance(wanted, list):
        results, wanted = [results], [wanted]
    for result, want in zip(results, wanted, strict=True):
        np.testing.assert_allclose(result, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("extra", [0, 1, 70])
def test_large_results(extra: int, threads: int) -> None:
    """An array of its own, one inside another one, and one of another width."""
    w = T.fvector("w")
    outputs = [w + 1, T.set_subtensor(T.zeros_like(w)[3:], w[3:] * 2), w.astype("float64") - 1]
    f = compiled([w], outputs, threads)
    a = np.arange(streams.LARGE // 4 + extra, dtype="float32")
    one, two, three = f(a)
    np.testing.assert_array_equal(one, a + 1)
    np.testing.assert_array_equal(two[3:], a[3:] * 2)
    assert not two[:3].any()
    np.testing.assert_array_equal(three, a.astype("float64") - 1)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_few_elements_past_a_line(threads: int) -> None:
    """Stores that are not aligned stay in the cache, whatever their size."""
    w = T.fvector("w")
    f = compiled([w], T.concatenate([w[:1], w * 2]), threads)
    a = np.arange(streams.LARGE // 2, dtype="float32")
    np.testing.assert_array_equal(f(a), np.concatenate([a[:1], a * 2]))
