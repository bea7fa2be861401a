"""Sizes that checks have found equal to numbers: where that may be relied upon, and where not."""

from __future__ import annotations

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T
from ltensor.lowering.builder import Builder
from ltensor.lowering.known_sizes import KnownSizes
from ltensor.lowering.program import Loop, walk


def cell(z, h, c, u):
    z = z + T.dot(h, u)
    gate, other = T.nnet.sigmoid(z[:, :8]), T.nnet.sigmoid(z[:, 8:16])
    c = gate * c + other * T.tanh(z[:, 16:])
    return T.tanh(c), c


def net():
    x, u = T.dtensor3("x"), T.dmatrix("u")
    zeros = T.zeros((x.shape[1], 8))
    (rows, _), _ = theano.scan(cell, x, [zeros, zeros], u)
    return x, u, (rows**2).sum()


def test_a_size_is_known_inside_loops_that_run():
    b = Builder("sizes")
    known, size, eight = KnownSizes(), b.const(1), b.const(8)
    size, steps, others = (b.frame(k, "int64") for k in (1, 2, 3))
    with b.loop(steps):
        known.note(size, eight, b.scope, b.root)
        assert known.get(size, b.scope) is eight
    assert known.get(size, b.scope) is size
    with b.loop(others):
        assert known.get(size, b.scope) is size
        with b.loop(steps):
            assert known.get(size, b.scope) is eight


def test_a_size_that_equals_one_that_is_known():
    b = Builder("sizes")
    known, eight = KnownSizes(), b.const(8)
    one, two, three = (b.frame(k, "int64") for k in (1, 2, 3))
    known.note(one, two, b.root, b.root)
    known.note(two, three, b.root, b.root)
    assert known.get(one, b.root) is one
    known.note(three, eight, b.root, b.root)
    assert known.get(one, b.root) is eight


def test_what_a_check_says_in_a_branch_holds_there_only():
    b = Builder("sizes")
    known, eight, size = KnownSizes(), b.const(8), b.frame(1, "int64")
    with b.if_(b.eq(size, 8)):
        known.note(size, eight, b.scope, b.scope)
        assert known.get(size, b.scope) is eight
    assert known.get(size, b.root) is size


def test_gradients_of_a_step_that_slices():
    x, u, loss = net()
    f = theano.function([x, u], [loss, *T.grad(loss, [x, u])])
    rng = np.random.default_rng(0)
    a, w = rng.standard_normal((3, 2, 24)), rng.standard_normal((8, 24)) / 3
    value, dx, du = f(a, w)
    for array, gradient, place in ((a, dx, (1, 1, 5)), (w, du, (3, 20))):
        old, step = array[place], 1e-6
        array[place] = old + step
        above = f(a, w)[0]
        array[place] = old - step
        below = f(a, w)[0]
        array[place] = old
        np.testing.assert_allclose(gradient[place], (above - below) / (2 * step), rtol=1e-6)
    assert np.isfinite(value)


def test_loops_take_the_numbers(monkeypatch):
    def numbers() -> int:
        x, u, loss = net()
        f = theano.function([x, u], T.grad(loss, u))
        loops = [e for e in walk(f._linked.lowered.program.root) if isinstance(e, Loop)]
        return sum(loop.kind == "vector" and loop.extent.op == "const" for loop in loops)

    found = numbers()
    monkeypatch.setattr(Builder, "known_size", lambda self, size: size)
    assert numbers() < found


@pytest.mark.parametrize("columns", [16, 23, 25])
def test_other_sizes_are_refused(columns):
    x, u, loss = net()
    f = theano.function([x, u], T.grad(loss, u))
    with pytest.raises(ValueError, match=r"[Mm]is-?match"):
        f(np.ones((3, 2, columns)), np.ones((8, columns)))
    # no step asks for any size
    assert f(np.ones((0, 2, columns)), np.ones((8, columns))).shape == (8, columns)


def test_a_loop_without_a_step_tells_nothing():
    x, y, v = T.dvector("x"), T.dvector("y"), T.dvector("v")
    first, _ = theano.scan(lambda r, h, v: T.tanh(h + r * v), x, T.ones((8,)), v)
    second, _ = theano.scan(lambda r, h, v: T.tanh(h * r + v), y, T.zeros_like(v), v)
    f = theano.function([x, y, v], [first.sum(), second[-1]])
    for size in (3, 8):
        values = np.arange(float(size))
        np.testing.assert_allclose(f(np.ones(0), np.ones(1), values)[1], np.tanh(values))
    values = np.arange(8.0)
    np.testing.assert_allclose(f(np.ones(1), np.ones(1), values)[1], np.tanh(values))
    with pytest.raises(ValueError, match=r"[Mm]is-?match"):
        f(np.ones(1), np.ones(1), np.ones(3))
