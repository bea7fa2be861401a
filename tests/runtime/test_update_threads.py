"""Updates while other threads run, and by several threads."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from typing import Any

import numpy as np
import pytest
from runtime.update_cases import LARGE, Raises

import ltensor as theano
import ltensor.tensor as T
from ltensor import In, function, shared
from ltensor.compiled import MOST_TRIES
from ltensor.runtime.chunk_compiler import ChunkCompiler


def test_operands_of_python_are_of_one_moment() -> None:
    s, t = shared(np.zeros(10 * LARGE)), shared(np.zeros(10 * LARGE))
    add = function([], [], updates=[(s, s + 1)])
    read = function([], Raises()(s) + 0, updates=[(t, Raises()(s))])
    stop, interval = threading.Event(), sys.getswitchinterval()

    def work() -> None:
        while not stop.is_set():
            add()

    worker = threading.Thread(target=work)
    sys.setswitchinterval(1e-6)
    worker.start()
    try:
        for _ in range(100):
            for value in (read(), t.get_value()):
                assert value.min() == value.max()
    finally:
        stop.set()
        worker.join()
        sys.setswitchinterval(interval)


def test_threads_that_update() -> None:
    for n in (50, LARGE):
        s, t, v = shared(np.zeros(n)), shared(np.zeros(n)), T.dvector("v")
        f = function([v], [], updates=[(s, s + v), (t, (t + v)[::-1])])
        wrong: list[Any] = []

        def work(f: Any = f, s: Any = s, t: Any = t, n: int = n, wrong: Any = wrong) -> None:
            for _ in range(100):
                f(np.ones(n))
                for value in (s.get_value(), t.get_value()):
                    if value.min() != value.max():
                        wrong.append(value)

        workers = [threading.Thread(target=work) for _ in range(6)]
        for w in workers:
            w.start()
        for w in workers:
            w.join()
        assert not wrong
        assert s.get_value().tolist() == t.get_value().tolist() == [600.0] * n


def test_a_call_that_was_overtaken_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    n = 500_000
    s, t, v = shared(np.zeros(n)), shared(np.zeros(n)), T.dvector("v")
    add = function([], [], updates=[(t, t + 1)])
    compile_chunk = ChunkCompiler._compile
    compiled = []

    def slow(self: Any, number: int) -> int:
        compiled.append(number)
        if len(compiled) == 2:  # between the sum and what is made of it
            other = threading.Thread(target=add)  # while this thread waits
            other.start()
            other.join()
        return compile_chunk(self, number)

    with theano.config.change_flags(num_threads=2):
        monkeypatch.setattr(ChunkCompiler, "_compile", slow)
        for results in ([T.tanh(v) + s], T.tanh(v) + s, {"a": T.tanh(v) + s}, []):
            for k in (s, t):
                k.set_value(np.zeros(n))
            compiled.clear()
            news = [(s, s + 1), (t, T.exp(v) * (t.sum() / n + 1))]
            f = function([In(v, value=np.zeros(n))], results, updates=news)
            result = f()
            assert len(compiled) >= 2, "no loop was shared"
            assert s.get_value().tolist() == [1.0] * n
            assert t.get_value().tolist() == [2.0] * n
            if isinstance(results, dict):
                assert list(result) == ["a"]
                result = result["a"]
            elif results:
                result = result[0] if isinstance(results, list) else result
            if not isinstance(results, list) or results:
                assert result.tolist() == [0.0] * n


def test_a_call_that_is_always_overtaken_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    n = 500_000
    s, t, v = shared(np.zeros(n)), shared(np.zeros(n)), T.dvector("v")
    with theano.config.change_flags(num_threads=1):
        add = function([], [], updates=[(t, t + 1)])
    tries = []

    def no_memory(self: Any, number: int) -> int:
        tries.append(number)
        other = threading.Thread(target=add)
        other.start()
        other.join()
        raise MemoryError

    with theano.config.change_flags(num_threads=2):
        f = function([v], [], updates=[(s, T.tanh(v) + s), (t, T.exp(v) * (t.sum() / n + 1))])
        with monkeypatch.context() as patch:
            patch.setattr(ChunkCompiler, "_code", no_memory)
            for _ in range(2):
                tries.clear()
                with pytest.raises(RuntimeError, match="another thread changed a shared variable"):
                    f(np.zeros(n))
                assert len(tries) > MOST_TRIES
        np.testing.assert_array_equal(s.get_value(), np.zeros(n))
        f(np.zeros(n))
    np.testing.assert_array_equal(s.get_value(), np.zeros(n))


def test_who_is_told_of_the_end_of_a_value_may_let_others_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    n = 500_000
    t, w, v = shared(np.zeros(n)), shared(np.zeros(n)), T.dvector("v")
    turn = function([], [], updates=[(t, t + 1), (w, w[::-1] + 1)])  # w gets another array
    turn()
    t.set_value(np.zeros(n))
    told, done = threading.Event(), threading.Event()

    def at_end() -> None:
        told.set()
        done.wait(60)

    weakref.finalize(w.get_value(borrow=True), at_end)
    compile_chunk = ChunkCompiler._compile
    compiled, others = [], []

    def slow(self: Any, number: int) -> int:
        compiled.append(number)
        if len(compiled) == 2:  # between the sum and what is made of it
            others.append(threading.Thread(target=turn))
            others[0].start()
            assert told.wait(20)
        return compile_chunk(self, number)

    with theano.config.change_flags(num_threads=2):
        monkeypatch.setattr(ChunkCompiler, "_compile", slow)
        f = function([v], T.tanh(v) + t, updates=[(t, T.exp(v) * (t.sum() / n + 1))])
        f(np.zeros(n))
    done.set()
    assert others, "no loop was shared"
    assert told.is_set()
    others[0].join()
    assert t.get_value().tolist() == [2.0] * n


def test_loops_that_threads_share() -> None:
    n = 500_000
    w, m, v = shared(np.zeros(n)), shared(np.zeros(n)), T.dvector("v")
    new = T.tanh(m * 0.9 + v)
    f = function([v], [], updates=[(m, new), (w, w - new)])
    draw = np.random.RandomState(0).rand(n)
    want_m, want_w = np.zeros(n), np.zeros(n)
    for _ in range(3):
        f(draw)
        want_m = np.tanh(want_m * 0.9 + draw)
        want_w = want_w - want_m
    np.testing.assert_allclose(m.get_value(), want_m, rtol=1e-13)
    np.testing.assert_allclose(w.get_value(), want_w, rtol=1e-12)


def test_a_forked_child_updates() -> None:
    s, v = shared(np.zeros(LARGE)), T.dvector("v")
    f = function([v], [], updates=[(s, (s + v)[::-1])])
    f(np.ones(LARGE))
    child = os.fork()
    if child == 0:
        f(np.ones(LARGE))
        os._exit(0 if s.get_value().max() == 2 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert s.get_value().max() == 1
