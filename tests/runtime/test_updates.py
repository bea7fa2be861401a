"""Updates of shared variables: in place, exchanged or copied."""

from __future__ import annotations

import ctypes
import gc
import resource
import weakref
from typing import Any

import numpy as np
import pytest
from runtime.update_cases import LARGE, address, ways

import ltensor.tensor as T
from ltensor import Out, function, shared
from ltensor.lowering.cpu import block_pool
from ltensor.runtime import support

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
