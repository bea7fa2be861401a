"""States that a step only changes at the place where it reads them: one buffer, no copies."""

from __future__ import annotations

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T


def buffers(f, kinds=("carry", "ring")) -> list[str]:
    return [b.formula for b in f.explain().buffers if b.kind in kinds]


def copies_in_loops(f) -> int:
    """Copies of whole arrays in the loops over steps of the kernel program."""
    inside, found = False, 0
    for line in str(f._linked.lowered.program).splitlines():
        if line.startswith("  ") and line[2] not in " }":
            inside = "; for{" in line
        found += inside and line.split()[0] == "memcpy"
    return found


def last(step, state, *sequences, others=(), **options):
    rows, _ = theano.scan(
        step, sequences=list(sequences), outputs_info=state, non_sequences=list(others), **options
    )
    return rows[-1]


DRAW = np.random.RandomState(3)
SYMBOLS, ROWS = DRAW.randint(0, 4, 30), DRAW.randn(30, 5)


def test_a_row_is_incremented() -> None:
    i, x, s = T.lvector("i"), T.matrix("x"), T.matrix("s")
    step = lambda i, x, s: T.inc_subtensor((s * 0.5)[i], x)  # noqa: E731
    f = theano.function([i, x, s], last(step, s, i, x))
    assert buffers(f) == ["8 * s.shape[0] * s.shape[1]"]
    assert copies_in_loops(f) == 0
    start = DRAW.randn(4, 5)
    given, want = start.copy(), start.copy()
    for k, row in zip(SYMBOLS, ROWS, strict=True):
        want *= 0.5
        want[k] += row
    np.testing.assert_allclose(f(SYMBOLS, ROWS, given), want, rtol=1e-13)
    np.testing.assert_array_equal(given, start)  # the argument is left alone
    np.testing.assert_array_equal(f(SYMBOLS[:0], ROWS[:0], given), start)
    assert str(f.explain()).count("updated in place") == 2  # the buffer and the state


def test_rows_by_an_index_vector_and_a_slice() -> None:
    i, x, s = T.lmatrix("i"), T.matrix("x"), T.vector("s")

    def step(i, x, s):
        s = T.set_subtensor(s[i], x[:2])  # at two places
        return T.inc_subtensor(s[1:3], x[3:]) * 0.5

    f = theano.function([i, x, s], last(step, s, i, x))
    assert buffers(f) == ["8 * s.shape[0]"]
    assert copies_in_loops(f) == 0
    places, want = DRAW.randint(0, 7, (30, 2)), DRAW.randn(7)
    start = want.copy()
    for k, row in zip(places, ROWS, strict=True):
        want[k] = row[:2]
        want[1:3] += row[3:]
        want *= 0.5
    np.testing.assert_allclose(f(places, ROWS, start), want, rtol=1e-13)


def test_a_gradient_of_a_table_is_accumulated_in_place() -> None:
    i, table, w = T.lvector("i"), T.matrix("table"), T.matrix("w")
    h, _ = theano.scan(
        lambda i, h, table, w: T.tanh(table[i] + T.dot(w, h)),
        sequences=i,
        outputs_info=T.zeros((w.shape[0],)),
        non_sequences=[table, w],
    )
    cost = T.sqr(h).sum()
    f = theano.function([i, table, w], T.grad(cost, table))
    assert "8 * table.shape[0] * table.shape[1]" in buffers(f, ("carry",))
    assert copies_in_loops(f) == 0
    plain = theano.function([i, table, w], T.grad(cost, table), mode=theano.Mode(optimizer=None))
    values = SYMBOLS, DRAW.randn(4, 6), 0.3 * DRAW.randn(6, 6)
    np.testing.assert_allclose(f(*values), plain(*values), rtol=1e-10)


def swapped(x, a, b):
    return b, a + x


def read_twice(x, a, b):
    return a + x, b + a[::-1]


def read_by_an_output(x, a, b):
    return a + x.sum(), b * 2 + a


@pytest.mark.parametrize("step", [swapped, read_twice, read_by_an_output])
def test_a_state_that_others_read_has_two_buffers(step) -> None:
    x, a, b = T.matrix("x"), T.vector("a"), T.vector("b")
    # products keep the loop from being interchanged
    w = T.matrix("w")

    def body(x, a, b, w):
        first, second = step(x, a, b)
        return first, second + T.dot(x, w)

    rows, _ = theano.scan(body, sequences=x, outputs_info=[a, b], non_sequences=w)
    f = theano.function([x, a, b, w], [rows[0][-1], rows[1][-1]])
    values = ROWS, DRAW.randn(5), DRAW.randn(5), DRAW.randn(5, 5)
    one, two = values[1], values[2]
    for row in ROWS:
        one, two = step(row, one, two)
        two = two + row @ values[3]
    for found, want in zip(f(*values), (one, two), strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-9)


def test_the_old_value_is_needed_after_the_change() -> None:
    x, s, w = T.matrix("x"), T.matrix("s"), T.matrix("w")

    # the product reads all of the old value
    f = theano.function(
        [x, s, w],
        last(lambda x, s, w: s + T.dot(s, w) + x, s, T.shape_padaxis(x, 1), others=[w]),
    )
    assert sum("2 *" in b for b in buffers(f)) == 1
    values = ROWS[:7], DRAW.randn(3, 5), 0.1 * DRAW.randn(5, 5)
    want = values[1]
    for row in values[0]:
        want = want + want @ values[2] + row
    np.testing.assert_allclose(f(*values), want, rtol=1e-10)


def test_every_row_is_kept() -> None:
    i, x, s = T.lvector("i"), T.matrix("x"), T.matrix("s")
    rows, _ = theano.scan(
        lambda i, x, s: T.inc_subtensor(s[i], x), sequences=[i, x], outputs_info=s
    )
    f = theano.function([i, x, s], rows)
    want, state = [], np.zeros((4, 5))
    for k, row in zip(SYMBOLS, ROWS, strict=True):
        state = state.copy()
        state[k] += row
        want.append(state)
    np.testing.assert_allclose(f(SYMBOLS, ROWS, np.zeros((4, 5))), want, rtol=1e-13)


def test_shared_counts_and_an_early_end() -> None:
    counts = theano.shared(np.zeros(4), "counts")
    i = T.lvector("i")

    def step(i):
        return {counts: T.inc_subtensor(counts[i], 1.0)}, theano.scan_module.until(T.eq(i, 2))

    _, updates = theano.scan(step, sequences=i)
    f = theano.function([i], [], updates=updates)
    assert copies_in_loops(f) == 0
    f(np.array([0, 1, 1, 2, 3, 3]))
    np.testing.assert_array_equal(counts.get_value(), [1, 2, 1, 0])
    with pytest.raises(IndexError):
        f(np.array([0, 1, 9]))
    np.testing.assert_array_equal(counts.get_value(), [1, 2, 1, 0])


def test_another_row_size_is_told_before_anything_is_written() -> None:
    x, s, w = T.matrix("x"), T.matrix("s"), T.matrix("w")
    f = theano.function(
        [x, s, w],
        theano.scan(lambda x, s, w: s + T.dot(s * 0 + x, w), x, s, non_sequences=w)[0][-1],
    )
    with pytest.raises(ValueError, match="4"):
        f(ROWS, np.zeros((2, 5)), np.zeros((5, 4)))
