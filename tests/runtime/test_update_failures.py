"""Updates happen together or not at all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from runtime.update_cases import LARGE, Raises

import ltensor.tensor as T
from ltensor import function, shared


class Failing:
    """Shared variables of all kinds, whose updates must happen together or not at all."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.scalar = shared(1.0)
        self.place = shared(np.ones(n))
        self.rows = shared(np.ones((n, 2)))
        self.turn = shared(np.arange(float(n)))
        self.size = shared(np.ones(2))
        self.all = [self.scalar, self.place, self.rows, self.turn, self.size]

    def updates(self, v: Any) -> list[Any]:
        return [
            (self.scalar, self.scalar + 1),
            (self.place, self.place + v),
            (self.rows, T.inc_subtensor(self.rows[T.arange(3)], 1.0)),
            (self.turn, (v - self.turn)[::-1]),
            (self.size, T.concatenate([self.size, self.size])),
        ]

    def state(self) -> list[np.ndarray]:
        return [s.get_value() for s in self.all]

    def refuses(self, call: Callable[[], Any], *kinds: type[BaseException]) -> None:
        before, lent = self.state(), [s.get_value(borrow=True) for s in self.all]
        with pytest.raises(kinds):
            call()
        for old, borrowed, new in zip(before, lent, self.state(), strict=True):
            np.testing.assert_array_equal(old, new)
            np.testing.assert_array_equal(old, borrowed)


@pytest.mark.parametrize("n", [5, LARGE])
def test_checks_that_fail_late(n: int) -> None:
    v, x, y, k = T.dvector("v"), T.dmatrix("x"), T.dvector("y"), T.lscalar("k")
    given = Failing(n)
    # wrong sizes in an output, an index that is out of range, a division by zero, an assertion
    outputs = [
        T.dot(x, y),
        y[k],
        (T.cast(y, "int64") // k).sum(),
        T.Assert()(y.sum(), T.ge(k, 0)),
    ]
    f = function([v, x, y, k], outputs, updates=given.updates(v))
    good = (np.ones(n), np.ones((2, 3)), np.ones(3), 1)
    f(*good)
    for bad, kind in (
        ((np.ones(n + 1), *good[1:]), ValueError),
        ((np.ones(n), np.ones((2, 4)), np.ones(3), 1), ValueError),
        ((*good[:3], 3), IndexError),
        ((*good[:3], 0), ZeroDivisionError),
        ((*good[:3], -1), AssertionError),
    ):
        given.refuses(lambda bad=bad: f(*bad), kind)
    f(*good)
    assert given.size.get_value().size == 8
    assert given.scalar.get_value() == 3


def test_python_that_raises() -> None:
    op, v = Raises(), T.dvector("v")
    given = Failing(LARGE)
    f = function([v], op(v * 2).sum(), updates=given.updates(op(v)))
    f(np.ones(LARGE))

    def fail(kind: type[BaseException]) -> Callable[[], None]:
        def action() -> None:
            raise kind("no")

        return action

    for kind in (ValueError, KeyboardInterrupt, MemoryError):
        op.__dict__["action"] = fail(kind)
        given.refuses(lambda: f(np.ones(LARGE)), kind)


def test_python_that_replaces_values_meanwhile() -> None:
    for n in (5, LARGE):
        op, v = Raises(), T.dvector("v")
        s = shared(np.ones(n))
        f = function([v], [], updates=[(s, s + op(v))])
        for value in (np.zeros(n), np.zeros(3), np.zeros(2 * n)):
            s.set_value(np.ones(n))
            op.__dict__["action"] = lambda s=s, value=value: s.set_value(value)
            f(np.ones(n))
            assert s.get_value().tolist() == [2.0] * n


_TIGHT = """
import resource, sys
import numpy as np, ltensor as theano, ltensor.tensor as T
n = 4_000_000
a, b, c = (theano.shared(np.zeros(n)) for _ in range(3))
v, k = T.dvector("v"), T.lscalar("k")
f = theano.function([v, k], [], updates=[
    (a, a + v), (b, (v - b)[::-1]), (c, T.concatenate([c, T.zeros(k)]))])
f(np.ones(n), 0)
with open("/proc/self/statm") as text:
    used = int(text.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (100 << 20), resource.RLIM_INFINITY))
before = [s.get_value(borrow=True).copy()[:9].tolist() for s in (a, b, c)]
try:
    f(np.ones(n), 60_000_000)
    sys.exit("there was memory")
except MemoryError:
    pass
assert before == [s.get_value(borrow=True)[:9].tolist() for s in (a, b, c)]
assert a.get_value(borrow=True).max() == 1.0 == a.get_value(borrow=True).min()
assert c.get_value(borrow=True).size == n
f(np.ones(1 << 22)[:n], 0)
assert a.get_value(borrow=True).min() == 2.0
"""


def test_a_call_without_memory_changes_nothing() -> None:
    ran = subprocess.run([sys.executable, "-c", _TIGHT], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
