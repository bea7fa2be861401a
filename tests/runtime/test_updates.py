"""Updates of shared variables: in place, exchanged or copied; whole or not at all."""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import resource
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T
from ltensor import In, Out, function, shared
from ltensor.ir.graph import Apply
from ltensor.lowering.cpu import block_pool
from ltensor.runtime import support
from ltensor.runtime.chunk_compiler import ChunkCompiler

LARGE = 40_000  # elements of a value that is exchanged rather than copied


def ways(f: Any) -> list[str]:
    return [u.way for u in f.explain().updates]


def address(s: Any) -> int:
    return int(s.get_value(borrow=True).ctypes.data)


class Raises(theano.Op):
    """Hands its operand on until it is told to fail; may do something besides."""

    __props__ = ()
    action: Callable[[], Any] = staticmethod(lambda: None)

    def make_node(self, value: Any) -> Any:
        value = T.as_tensor_variable(value)
        return Apply(self, [value], [value.type()])

    def perform(self, node: Any, inputs: Any, output_storage: Any) -> None:
        self.action()
        output_storage[0][0] = inputs[0].copy()

    def infer_shape(self, node: Any, shapes: Any) -> Any:
        return shapes


# ------------------------------------------------------------------------------ which way


def test_pointwise_updates_are_made_in_place() -> None:
    w, m = shared(np.arange(10.0)), shared(np.ones(10))
    g = T.dvector("g")
    new = 0.9 * m - 0.1 * g
    f = function([g], [w.sum()], updates=[(m, new), (w, w + new)])
    assert ways(f) == ["in place", "in place"]
    assert not [b for b in f.explain().buffers if b.kind == "value"]
    places = address(w), address(m)
    held = w.get_value(borrow=True)
    for _ in range(2):
        before = w.get_value().sum()
        assert f(np.ones(10))[0] == before
    np.testing.assert_allclose(m.get_value(), 0.9 * (0.9 - 0.1) - 0.1)
    assert places == (address(w), address(m))
    assert w.get_value(borrow=True) is held


@pytest.mark.parametrize("n", [0, 1, 7, 100, LARGE, 300_001])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "int8", "bool"])
def test_the_same_bits_as_an_output(n: int, dtype: str) -> None:
    draw = np.random.RandomState(n)
    start = (draw.randn(n) * 50).astype(dtype)
    s, v = shared(start), T.vector("v", dtype=dtype)
    value = (draw.randn(n) * 50).astype(dtype)
    new = s | v if dtype == "bool" else s * v + s
    f = function([v], [], updates=[(s, new)])
    want = function([v], new)(value)
    assert ways(f) == ["in place"]
    f(value)
    np.testing.assert_array_equal(s.get_value(), want)


def test_rows_of_a_table() -> None:
    draw = np.random.RandomState(0)
    table = draw.randn(50, 7)
    w, i, y = shared(table), T.lvector("i"), T.dmatrix("y")
    rows = w[i]
    cost = ((rows - y) ** 2).sum()
    grad = T.grad(cost, rows)
    f = function([i, y], cost, updates=[(w, T.inc_subtensor(rows, -0.1 * grad))])
    assert ways(f) == ["in place"]
    place = address(w)
    at, to = np.array([3, -1, 3, 8]), draw.randn(4, 7)
    want = table.copy()
    np.add.at(want, at, -0.2 * (table[at] - to))
    f(at, to)
    np.testing.assert_allclose(w.get_value(), want, rtol=1e-14)
    assert address(w) == place
    # an index that is out of range, behind some that are not
    before = w.get_value()
    for bad in ([1, 2, 50, 3], [1, 2, -51, 0]):
        with pytest.raises(IndexError):
            f(np.array(bad), to)
        np.testing.assert_array_equal(w.get_value(), before)


@pytest.mark.parametrize("set_", [False, True])
def test_parts_by_slices_numbers_and_masks(set_: bool) -> None:
    change = T.set_subtensor if set_ else T.inc_subtensor
    start = np.arange(24.0).reshape(6, 4)
    k, v = T.lscalar("k"), T.dvector("v")

    def numpy_change(a: np.ndarray, where: Any, y: Any) -> np.ndarray:
        a = a.copy()
        a[where] = y if set_ else a[where] + y
        return a

    for symbolic, where in (
        (lambda s: s[k], 2),
        (lambda s: s[1:3], slice(1, 3)),
        (lambda s: s[::-2], slice(None, None, -2)),
    ):
        s = shared(start)
        f = function([k, v], [], updates=[(s, change(symbolic(s), v))], on_unused_input="ignore")
        assert ways(f) == ["in place"]
        f(2, np.ones(4) * 5)
        np.testing.assert_array_equal(s.get_value(), numpy_change(start, where, np.ones(4) * 5))
        with pytest.raises(ValueError, match=r"align|shape|size|match"):
            f(2, np.ones(3))
        np.testing.assert_array_equal(s.get_value(), numpy_change(start, where, np.ones(4) * 5))
    s = shared(start)
    twice = change(change(s[k], v)[1:3], v * 2)
    f = function([k, v], [], updates=[(s, twice)])
    assert ways(f) == ["in place"]
    f(2, np.ones(4))
    want = numpy_change(numpy_change(start, 2, 1.0), slice(1, 3), 2.0)
    np.testing.assert_array_equal(s.get_value(), want)
    with pytest.raises(IndexError):
        f(6, np.ones(4))
    np.testing.assert_array_equal(s.get_value(), want)


def test_elements_of_a_table_are_written_in_order() -> None:
    s, i, y = shared(np.zeros(5)), T.lvector("i"), T.dvector("y")
    f = function([i, y], [], updates=[(s, T.set_subtensor(s[i], y))])
    assert ways(f) == ["in place"]
    f([1, 1, 3], [5.0, 6.0, 7.0])
    assert s.get_value().tolist() == [0, 6, 0, 7, 0]
    # what is put there is made of what was there
    s.set_value(np.arange(5.0))
    g = function([i], [], updates=[(s, T.set_subtensor(s[i], s[i[::-1]]))])
    g([0, 1, 2, 3, 4])
    assert s.get_value().tolist() == [4, 3, 2, 1, 0]
    h = function([i], [], updates=[(s, T.inc_subtensor(s[i], s[i] * 2))])
    h([2, 2])
    assert s.get_value().tolist() == [4, 3, 10, 1, 0]


@pytest.mark.parametrize("n", [5, LARGE])
def test_old_values_that_are_read_elsewhere(n: int) -> None:
    start = np.arange(float(n))
    for change, want in (
        (lambda s: s[::-1], start[::-1]),
        (lambda s: T.concatenate([s[1:], s[:1]]), np.roll(start, -1)),
        (lambda s: s + s[::-1], start + start[::-1]),
        (lambda s: s - s.mean(), start - start.mean()),
        (lambda s: s * s[0] + s[3], start * start[0] + start[3]),
        (lambda s: T.cumsum(s), np.cumsum(start)),
        (lambda s: T.sort(-s), np.sort(-start)),
    ):
        s = shared(start)
        f = function([], [s, s[2], s.sum()], updates=[(s, change(s))])
        old = f()
        np.testing.assert_array_equal(old[0], start)
        assert old[1] == start[2]
        np.testing.assert_allclose(s.get_value(), want)
        assert not np.shares_memory(old[0], s.get_value(borrow=True))


@pytest.mark.parametrize("n", [3, LARGE])
def test_values_that_go_round(n: int) -> None:
    a, b, c = (shared(np.full(n, float(k))) for k in range(3))
    f = function([], [], updates=[(a, b), (b, c), (c, a)])
    for turn in range(1, 5):
        f()
        assert [s.get_value()[-1] for s in (a, b, c)] == [(k + turn) % 3 for k in range(3)]
    g = function([], [a + b], updates=[(a, a + b), (b, a - b)])
    x, y = a.get_value()[0], b.get_value()[0]
    assert g()[0][0] == x + y
    assert (a.get_value()[0], b.get_value()[0]) == (x + y, x - y)
    h = function([], [], updates=[(a, b), (b, b + a)])
    x, y = a.get_value()[0], b.get_value()[0]
    h()
    assert (a.get_value()[0], b.get_value()[0]) == (y, x + y)
    # one new value for two
    k = function([], [], updates=[(a, c * 2 + a), (b, c * 2 + a)])
    k()
    assert not np.shares_memory(a.get_value(borrow=True), b.get_value(borrow=True))
    np.testing.assert_array_equal(a.get_value(), b.get_value())


def test_new_values_that_are_read_and_returned() -> None:
    w, x = shared(np.arange(6.0)), T.dvector("x")
    new = w - x
    f = function([x], [new, new.sum(), T.dot(new, new)], updates=[(w, new)])
    got = f(np.ones(6))
    want = np.arange(6.0) - 1
    np.testing.assert_array_equal(got[0], want)
    assert (float(got[1]), float(got[2])) == (want.sum(), want @ want)
    np.testing.assert_array_equal(w.get_value(), want)
    assert not np.shares_memory(got[0], w.get_value(borrow=True))


# ------------------------------------------------------------------------------ exchanged


def sorting() -> tuple[Any, Any]:
    """An update that cannot be made in place."""
    s, v = shared(np.zeros(LARGE)), T.dvector("v")
    return s, function([v], [], updates=[(s, (v - s)[::-1])])


def test_large_values_are_exchanged() -> None:
    s, f = sorting()
    assert ways(f) == ["exchange"]
    value = np.random.RandomState(0).rand(LARGE)
    f(value)
    places = set()
    for _ in range(4):
        before = s.get_value()
        f(value)
        np.testing.assert_array_equal(s.get_value(), (value - before)[::-1])
        places.add(address(s))
    assert len(places) > 1, "nothing was copied"


def test_who_knows_the_array_sees_it_change() -> None:
    s, f = sorting()
    value = np.random.RandomState(0).rand(LARGE)
    for borrow in (
        lambda: s.get_value(borrow=True),
        lambda: s.get_value(borrow=True)[3:],
        lambda: memoryview(s.get_value(borrow=True)),
    ):
        known = borrow()
        f(value)
        kept = np.asarray(known)
        np.testing.assert_array_equal(kept, s.get_value()[-len(kept) :])
        assert np.shares_memory(kept, s.get_value(borrow=True))
        del known, kept
    mine = np.zeros(LARGE)
    s.set_value(mine, borrow=True)
    f(value)
    np.testing.assert_array_equal(mine, value[::-1])
    # memory that a part of a larger array lends
    large = np.zeros(2 * LARGE)
    s.set_value(large[LARGE:], borrow=True)
    f(value)
    np.testing.assert_array_equal(large[LARGE:], value[::-1])


def test_the_end_of_an_array_that_is_exchanged() -> None:
    s, f = sorting()
    seen: list[Any] = []
    old = s.get_value(borrow=True)
    reference = weakref.ref(old, lambda _: seen.append(s.get_value()[0]))
    del old
    f(np.ones(LARGE) * 3)
    assert reference() is None
    assert seen == [3.0], "who hears of the end finds the new value"


def test_new_sizes() -> None:
    s, n = shared(np.zeros(3)), T.lscalar("n")
    t = shared(np.zeros(2))
    f = function([n], [], updates=[(s, T.arange(n) * 1.0), (t, t + 1)])
    for size in (5, LARGE, 0, 2 * LARGE, 2 * LARGE, 1):
        f(size)
        np.testing.assert_array_equal(s.get_value(), np.arange(float(size)))
    assert t.get_value().tolist() == [6, 6]
    v = T.dvector("v")
    g = function([v], [], updates=[(s, v)])
    for size in (1, 4, LARGE, 7):
        g(np.full(size, 2.0))
        assert s.get_value().tolist() == [2.0] * size


# ------------------------------------------------------------------------------ overlaps


def test_arguments_that_are_the_value_itself() -> None:
    for n in (10, LARGE):
        s, v = shared(np.arange(float(n))), T.dvector("v")
        f = function([v], [], updates=[(s, s + v)])
        f(s.get_value(borrow=True))
        np.testing.assert_array_equal(s.get_value(), 2 * np.arange(float(n)))
        g = function([v], [], updates=[(s, T.set_subtensor(s[1:], v))])
        before = s.get_value()
        g(s.get_value(borrow=True)[:-1])
        np.testing.assert_array_equal(s.get_value(), [before[0], *before[:-1]])
        # shifted by one element
        whole = np.arange(n + 1.0)
        s.set_value(whole[:-1], borrow=True)
        f(whole[1:])
        np.testing.assert_array_equal(whole[:-1], 2 * np.arange(n) + 1)
        h = function([v], [], updates=[(s, v)])
        before = whole.copy()
        h(whole[1:])
        np.testing.assert_array_equal(whole[:-1], before[1:])


def test_values_that_share_memory() -> None:
    v = T.dvector("v")
    for n in (8, LARGE):
        memory = np.arange(n + 2.0)
        a, b = (shared(memory[k : n + k], borrow=True) for k in (0, 2))
        f = function([v], [], updates=[(a, b + a + v)])
        want = memory[2:] + memory[:-2]
        f(np.zeros(n))
        np.testing.assert_array_equal(a.get_value(), want)
        many = [shared(np.full(n, float(k))) for k in range(6)]
        many[3].set_value(many[2].get_value(borrow=True), borrow=True)
        g = function([v], [], updates=[(s, s + v) for s in many])
        assert set(ways(g)) == {"in place"}
        g(np.ones(n))
        # both copies are made of the old value
        assert [s.get_value()[-1] for s in many] == [1, 2, 3, 3, 5, 6]


# ------------------------------------------------------------------------------ failures


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


def test_new_values_that_are_known_to_be_empty() -> None:
    x, i = T.dvector("x"), T.lvector("i")
    none = T.stack([x.sum()])[1:]
    for new in (none + none, T.set_subtensor(none[::-1], none), T.inc_subtensor(none[i], 1.0)):
        s = shared(np.zeros(0))
        f = function([x, i], [], updates=[(s, new)], on_unused_input="ignore")
        g = function([x, i], [], updates=[(s, T.exp(s[:0] + new))], on_unused_input="ignore")
        for value in (np.zeros(0), np.ones(3)):
            for h in (f, g):
                s.set_value(value)
                h(np.ones(3), np.zeros(0, int))
                assert s.get_value().shape == (0,)


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


# ------------------------------------------------------------------------------ memory


def resident() -> int:
    with open("/proc/self/statm") as text:
        return int(text.read().split()[1]) * resource.getpagesize()


def test_an_update_in_place_needs_no_memory() -> None:
    n = 8 << 20
    s, v = shared(np.ones(n)), T.dvector("v")
    i, y = T.lvector("i"), T.dvector("y")
    value = np.ones(n)
    f = function([v], [], updates=[(s, s * 0.5 + v)])
    g = function([i, y], [], updates=[(s, T.inc_subtensor(s[i], y))])
    f(value)
    g([3], [1.0])
    gc.collect()
    block_pool.release()
    before = resident()
    f(value)
    g([3, 4], [1.0, 2.0])
    assert resident() - before < 4 << 20
    assert block_pool.kept_bytes() < 4 << 20


def test_what_is_told(capsys: Any) -> None:
    a, b = shared(np.zeros(4), "a"), shared(np.zeros((2, 4)), "b")
    c, d = shared(0.0, "c"), shared(np.zeros(4), "d")
    v = T.dvector("v")
    f = function([v], Out(v + d), updates=[(a, a + v), (b, b[::-1]), (c, c + 1), (d, v + d)])
    told = f.explain()
    assert [(u.name, u.way) for u in told.updates] == [
        ("a", "in place"),
        ("b", "exchange"),
        ("c", "store"),
        ("d", "copy"),
    ]
    text = str(told)
    assert "shared a: updated in place" in text
    assert "shared b: " in text
    assert told.as_dict()["updates"][0]["name"] == "a"


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


def test_outputs_that_are_lent() -> None:
    s, t, v = shared(np.arange(5.0)), shared(np.arange(6.0)), T.dvector("v")
    f = function([v], [Out(s, borrow=True), s, Out(t, borrow=True), v], updates=[(t, t + 1)])
    value = np.ones(3)
    lent, fresh, old, argument = f(value)
    assert lent is s.get_value(borrow=True)
    assert not np.shares_memory(fresh, lent)
    assert old.tolist() == [0, 1, 2, 3, 4, 5], "the old value of what is updated is a copy"
    assert not np.shares_memory(argument, value)
    function([], [], updates=[(s, s * 2)])()
    assert lent.tolist() == [0, 2, 4, 6, 8]
    g = function([], Out(s, borrow=True))
    assert g() is s.get_value(borrow=True)
    count = sys.getrefcount(s.get_value(borrow=True))
    for _ in range(100):
        g()
        with pytest.raises(TypeError):
            f(None)
    assert sys.getrefcount(s.get_value(borrow=True)) < count + 5
    k = T.lscalar("k")
    h = function([k, v], {"a": Out(s, borrow=True), "b": v[k]})
    assert h(0, value)["a"] is s.get_value(borrow=True)
    for _ in range(100):
        with pytest.raises(IndexError):
            h(9, value)
    assert sys.getrefcount(s.get_value(borrow=True)) < count + 5
    scalar = shared(3.0)
    assert function([], Out(scalar, borrow=True))() is scalar.get_value(borrow=True)
    # results computed from shared variables are fresh in any case
    got = function([], Out(s[1:3], borrow=True))()
    got[...] = -1
    assert lent.tolist() == [0, 2, 4, 6, 8]
    assert pickle.loads(pickle.dumps(g))().tolist() == [0, 2, 4, 6, 8]


def test_who_makes_copies() -> None:
    array = np.arange(4.0)
    for made, same in (
        (shared(array), False),
        (shared(array, borrow=False), False),
        (shared(array, borrow=True), True),
    ):
        assert (made.get_value(borrow=True) is array) is same
        assert not np.shares_memory(made.get_value(), array)
        made.set_value(array)
        assert not np.shares_memory(made.get_value(borrow=True), array)
        made.set_value(array, borrow=True)
        assert made.get_value(borrow=True) is array
        assert made.get_value(borrow=True, return_internal_type=True) is array
    v = T.dvector("v")
    for spec in (v, In(v, borrow=True), In(v, mutable=True)):
        result = function([spec], v * 2)(array)
        assert result.flags.owndata
        assert array.tolist() == [0, 1, 2, 3]


def test_many_parts_of_memory_are_compared_in_order() -> None:
    call = ctypes.PYFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    apart = call(support.address("lt_apart"))
    rng = np.random.default_rng(3)
    found = set()
    for trial in range(300):
        count = int(rng.integers(2, 90))
        begin = rng.choice(400, count, replace=False).astype(np.int64) * 8 + 4096
        end = begin + rng.integers(1, 9 if trial % 3 else 14, count)
        written = int(rng.integers(0, 3 if trial % 2 else count + 1))
        spans = np.stack([begin, end], axis=1).copy()
        expected = all(
            end[i] <= begin[j] or end[j] <= begin[i]
            for i in range(written)
            for j in range(count)
            if i != j
        )
        assert apart(spans.ctypes.data, written, count) == expected
        found.add((expected, count > 32))
    assert len(found) == 4
