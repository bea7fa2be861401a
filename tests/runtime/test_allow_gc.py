"""Memory of temporaries: given back after a call, or kept by the function (``allow_gc=False``)."""

from __future__ import annotations

import gc
import os
import resource
import threading
from typing import Any

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T
from ltensor import config, function
from ltensor.compile_modes import Mode, PerformLinker, VM_Linker
from ltensor.config import change_flags
from ltensor.errors import UnsupportedError
from ltensor.lowering.cpu import block_pool

MB = 1 << 20


def resident() -> int:
    with open("/proc/self/statm") as text:
        return int(text.read().split()[1]) * resource.getpagesize()


@pytest.fixture(autouse=True)
def _empty_pool() -> Any:
    gc.collect()
    block_pool.release()
    yield
    gc.collect()
    block_pool.release()


def sorting(mode: Any = None) -> Any:
    """A function with a large temporary and a small result."""
    x = T.dvector("x")
    return function([x], T.sort(-x)[0], mode=mode)


def adding(mode: Any = None) -> Any:
    """The same, faster."""
    x = T.dvector("x")
    return function([x], T.cumsum(x)[::2].max(), mode=mode)


def kept(f: Any) -> int:
    arena = f._linked.arena
    return 0 if arena is None else arena.kept_bytes


def test_the_flag_decides() -> None:
    value = np.arange(1e5)
    assert config.allow_gc is True
    f = sorting()
    with change_flags(allow_gc=False):
        g = sorting()
        h = sorting(Mode(VM_Linker(allow_gc=True), "fast_run"))
    for made in (f, g, h):
        for _ in range(2):
            assert made(value) == -value[-1]
    assert kept(f) == kept(h) == 0
    assert kept(g) >= value.nbytes


@pytest.mark.parametrize(
    "linker", ["cvm_nogc", "vm_nogc", "c|py_nogc", VM_Linker(allow_gc=False), PerformLinker(False)]
)
def test_linkers_decide(linker: Any) -> None:
    f = sorting(Mode(linker=linker, optimizer="fast_run"))
    f(np.arange(1e5))
    assert kept(f) >= 8e5
    assert "kept between calls" in str(f.explain())
    with pytest.raises(UnsupportedError):
        VM_Linker(callback=print)


def test_kept_memory_belongs_to_the_function() -> None:
    with change_flags(allow_gc=False):
        f = adding()
    # beyond 32 MB the C library always maps blocks anew: others may leave it resident memory
    value = np.random.RandomState(0).rand(5 * MB)
    gc.collect()  # what other tests left must not go in between
    small = resident()
    f(value)
    assert kept(f) >= 32 * MB
    assert block_pool.kept_bytes() < MB, "it is not the pool's"
    assert resident() - small >= 32 * MB
    block_pool.release()
    full = resident()
    for _ in range(3):
        f(value)
        assert abs(resident() - full) < 2 * MB
        f(value[:100])
    blocks = list(f._linked.arena._words)
    f(value)
    assert blocks == list(f._linked.arena._words), "the same blocks"
    f.free()
    assert kept(f) == 0
    assert full - resident() >= 30 * MB
    np.testing.assert_allclose(f(value), np.cumsum(value)[::2].max())
    assert kept(f) >= 32 * MB
    del f
    gc.collect()
    assert full - resident() >= 30 * MB


def test_otherwise_memory_goes_back() -> None:
    f = adding()
    value = np.random.RandomState(0).rand(4 * MB)
    f(value[: 2 * MB])  # large enough for what compiles when a large call wants it
    block_pool.release()
    small = resident()
    f(value)
    assert 32 * MB <= block_pool.kept_bytes() <= block_pool.DEFAULT_LIMIT
    block_pool.release()
    assert resident() - small < 4 * MB
    # beyond the limit nothing is kept at all
    value = np.zeros(block_pool.DEFAULT_LIMIT // 8 + 1000)
    value[:] = 1
    small = resident()
    f(value)
    assert resident() - small < 20 * MB


def test_calls_at_once() -> None:
    with change_flags(allow_gc=False):
        f = sorting()
    values = [np.random.RandomState(k).rand(20_000 + 5000 * k) for k in range(6)]
    wrong: list[int] = []

    def work(k: int) -> None:
        for _ in range(100):
            if f(values[k]) != -values[k].max():
                wrong.append(k)

    workers = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert not wrong


class Calls(theano.Op):
    """Runs an action while the function that holds it runs."""

    __props__ = ()

    def __init__(self, action: Any) -> None:
        self.action = action

    def make_node(self, value: Any) -> Any:
        value = T.as_tensor_variable(value)
        return theano.Apply(self, [value], [value.type()])

    def perform(self, node: Any, inputs: Any, output_storage: Any) -> None:
        self.action(inputs[0])
        output_storage[0][0] = inputs[0].copy()

    def infer_shape(self, node: Any, shapes: Any) -> Any:
        return shapes


def test_calls_inside_calls_and_forks() -> None:
    x = T.dvector("x")
    depth = 0
    seen: list[float] = []

    def action(value: np.ndarray) -> None:
        nonlocal depth
        if depth < 3:
            depth += 1
            f.free()  # in use: without effect
            seen.append(float(f(value + 1)))
        elif depth == 3:
            depth += 1
            child = os.fork()
            if child == 0:
                os._exit(0 if f(np.zeros(50_000)) == 0 else 1)
            seen.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    with change_flags(allow_gc=False):
        f = function([x], T.sort(Calls(action)(T.sort(x)))[-1])
    value = np.arange(50_000.0)
    assert f(value) == value[-1]
    assert seen == [0.0, value[-1] + 3, value[-1] + 2, value[-1] + 1]
    f.free()
    assert kept(f) == 0


def test_a_call_that_fails_keeps_its_memory() -> None:
    x, k = T.dvector("x"), T.lscalar("k")
    with change_flags(allow_gc=False):
        f = function([x, k], T.sort(x)[k])
    value = np.arange(50_000.0)
    with pytest.raises(IndexError):
        f(value, 60_000)
    assert f(value, 4) == 4
    held = kept(f)
    for _ in range(50):
        with pytest.raises(IndexError):
            f(value, 60_000)
    assert kept(f) == held


def test_results_and_exchanged_values_are_nobody_elses() -> None:
    x = T.dvector("x")
    s = theano.shared(np.zeros(50_000))
    with change_flags(allow_gc=False):
        f = function([x], [x * 2, T.cumsum(T.sort(x))], updates=[(s, (x - s)[::-1])])
    value = np.random.RandomState(1).rand(50_000)
    want = np.zeros(50_000)
    results = []
    for _ in range(4):
        results.append(f(value))
        want = (value - want)[::-1]
        np.testing.assert_array_equal(s.get_value(), want)
    for one in results[1:]:
        for a, b in zip(one, results[0], strict=True):
            np.testing.assert_array_equal(a, b)
            assert not np.shares_memory(a, b)
