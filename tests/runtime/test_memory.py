"""Memory: nothing grows with calls or with functions that are dropped; threads, forks, nesting."""

from __future__ import annotations

import copy
import gc
import os
import resource
import threading
import weakref
from typing import Any

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T
from ltensor import function, shared


def resident() -> int:
    """Bytes of memory in use now."""
    with open("/proc/self/statm") as text:
        return int(text.read().split()[1]) * resource.getpagesize()


@pytest.fixture(autouse=True)
def _collected() -> Any:
    gc.collect()
    yield
    gc.collect()


def test_calls_do_not_grow() -> None:
    v = T.dvector("v")
    s = shared(np.zeros(100))
    f = function([v], [v.sum(), T.cumsum(v * 2)[::-1]], updates=[(s, s + v)])
    array, wrong = np.ones(100), np.ones(99)

    def calls(count: int) -> None:
        for _ in range(count):
            f(array)
        for _ in range(count // 20):
            f([1.0] * 100)
            with pytest.raises(ValueError, match="mis-match"):
                f(wrong)

    calls(1000)
    before = resident()
    calls(20000)
    assert resident() - before < 1 << 20


def test_resized_shared_variables_do_not_grow() -> None:
    s = shared(np.zeros(10))
    size = T.lscalar("size")
    f = function([size], [], updates=[(s, T.zeros((size,)))])
    f(1000)
    before = resident()
    for number in range(2000):
        f(100_000 + number % 3)
    assert resident() - before < 4 << 20


def test_dropped_functions_are_freed() -> None:
    def cycle() -> weakref.ref[Any]:
        v = T.dvector("v")
        s = shared(np.zeros(3))
        f = function([v], T.tanh(v).sum() + s.sum(), updates=[(s, s + 1)])
        f(np.ones(4))
        return weakref.ref(f.maker)

    assert cycle()() is None or gc.collect() >= 0
    gc.collect()
    assert cycle() is not None
    for _ in range(20):
        cycle()
    gc.collect()
    before = resident()
    makers = [cycle() for _ in range(60)]
    gc.collect()
    assert all(maker() is None for maker in makers)
    assert (resident() - before) / 60 < 50_000


def test_results_of_failed_calls_are_freed() -> None:
    v, i = T.dvector("v"), T.lscalar("i")
    f = function([v, i], [v * 2, T.cumsum(v), v[i]])
    array = np.ones(1 << 17)
    for _ in range(3):
        with pytest.raises(IndexError):
            f(array, 1 << 18)
    before = resident()
    for _ in range(200):
        with pytest.raises(IndexError):
            f(array, 1 << 18)
    assert resident() - before < 8 << 20


def test_threads_share_a_function() -> None:
    m = T.dmatrix("m")
    rows, _ = theano.scan(lambda r, a: T.tanh(r + a), sequences=m, outputs_info=T.zeros_like(m[0]))
    f = function([m], [T.dot(m, m.T).sum(), rows[-1], T.nnet.softmax(m)])
    arrays = [np.random.default_rng(k).normal(size=(20 + k, 7)) for k in range(8)]
    expected = [f(a) for a in arrays]
    wrong: list[int] = []

    def work(k: int) -> None:
        for _ in range(200):
            got = f(arrays[k])
            if not all(np.array_equal(a, b) for a, b in zip(got, expected[k], strict=True)):
                wrong.append(k)
            try:
                f(arrays[k][0])
                wrong.append(k)
            except TypeError:
                pass

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_functions_are_compiled_in_threads() -> None:
    results: dict[int, float] = {}

    def work(k: int) -> None:
        v = T.dvector(f"v{k}")
        for number in range(5):
            results[10 * k + number] = float(function([v], (v * k + number).sum())(np.ones(3)))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {10 * k + n: 3.0 * (k + n) for k in range(8) for n in range(5)}


def test_a_forked_child_calls_and_compiles() -> None:
    v = T.dvector("v")
    s = shared(1.0)
    f = function([v], T.dot(v, v) + s, updates=[(s, s + 1)])
    f(np.ones(3))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            good = f(np.ones(3)) == 5 and function([v], v * 3)(np.ones(1)) == 3
            status = 0 if good else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert s.get_value() == 2


class _Inner(theano.Op):
    """Calls another compiled function, and does what it is told besides."""

    __props__ = ()

    def __init__(self, action: Any) -> None:
        self.action = action

    def make_node(self, value: Any) -> Any:
        value = T.as_tensor_variable(value)
        return theano.Apply(self, [value], [value.type()])

    def perform(self, node: Any, inputs: Any, output_storage: Any) -> None:
        output_storage[0][0] = self.action(inputs[0])

    def infer_shape(self, node: Any, shapes: Any) -> Any:
        return shapes


def test_functions_inside_functions() -> None:
    v = T.dvector("v")
    inner = function([v], v * 2)
    depth = 0

    def action(array: np.ndarray) -> np.ndarray:
        nonlocal depth
        depth += 1
        return outer(array - 1) if array[0] > 0 else inner(array)

    outer = function([v], _Inner(action)(v) + 1)
    assert outer(np.full(2, 5.0)).tolist() == [6, 6]
    assert depth == 6
    rows = T.dmatrix("rows")
    mapped = function([rows], theano.map(lambda r: _Inner(inner)(r), rows)[0])
    assert mapped(np.ones((4, 2))).tolist() == [[2, 2]] * 4


def test_a_callback_may_replace_a_shared_value_in_use() -> None:
    """The core reads the old value to its end; the new one is what the call's update saw last."""
    v = T.dvector("v")
    s = shared(np.ones(1000))

    def action(array: np.ndarray) -> np.ndarray:
        s.set_value(np.zeros(2_000_000))
        s.set_value(np.zeros(5))
        return array

    for _ in range(20):
        s.set_value(np.ones(1000))
        f = function([v], (_Inner(action)(v) + s).sum(), updates=[(s, s * 2)])
        assert f(np.zeros(1000)) == 1000
        assert s.get_value().shape == (1000,)


def test_copies_share_no_state() -> None:
    s = shared(np.zeros(3))
    f = function([], s, updates=[(s, s + 1)])
    twins = [copy.deepcopy(f) for _ in range(3)]
    del f, s
    gc.collect()
    for twin in twins:
        twin()
        assert twin().tolist() == [1, 1, 1]
