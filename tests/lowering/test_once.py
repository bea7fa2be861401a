"""What is made once: two threads get the same, and code of the run time is never forgotten."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from ltensor.lowering.cpu.once import Once


def test_threads_get_the_same() -> None:
    made: list[object] = []

    @Once
    def thing(key: int) -> object:
        time.sleep(0.02)
        made.append(object())
        return made[-1]

    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(thing(1))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert set(found) == {made[0]}
    assert thing(2) is not made[0]
    assert thing.__name__ == "thing"


def test_made_while_it_is_made() -> None:
    """A signal's handler compiles in the middle of a compile: both results are in use."""

    class Thing:
        pass

    depth: list[Thing] = []

    @Once
    def thing() -> Thing:
        if not depth:
            depth.append(Thing())
            depth.append(thing())
        return Thing()

    outer = thing()
    assert depth[1] is outer
    assert len(thing._kept) == 2


def test_failure_is_not_kept() -> None:
    answers = iter([MemoryError(), 3])

    @Once
    def thing() -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(MemoryError):
        thing()
    assert thing() == 3


def test_threads_call_for_the_run_time_at_once() -> None:
    """Each made a pool of its own, and all but one were unmapped while functions called them."""
    program = """
import sys, threading
sys.setswitchinterval(1e-5)
import numpy as np
import ltensor
import ltensor.tensor as T
x = T.dvector()
m = T.fmatrix()
gate = threading.Barrier(6)
def work(k):
    gate.wait()
    f = ltensor.function([x], [T.exp(x) * k, x.sum()])
    g = ltensor.function([m], [T.sort(m, axis=1), T.dot(m, m) + np.float32(k)])
    for _ in range(20):
        assert np.allclose(f(np.ones(100000))[0], np.e * k)
        assert (g(np.ones((9, 9), "f"))[1] == 9 + k).all()
threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("right")
"""
    for cache in "0", "1":
        environment = dict(os.environ, LTENSOR_CACHE=cache, LTENSOR_NUM_THREADS="2")
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.stdout == "right\n", (done.returncode, done.stderr)
