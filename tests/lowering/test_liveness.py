"""Buffers that share memory: those that are not needed at the same time, and no others."""

from __future__ import annotations

from typing import Any

import numpy as np

import ltensor as theano
import ltensor.tensor as T
from ltensor.lowering.builder import Builder
from ltensor.lowering.program import View
from ltensor.lowering.rewrites.liveness import share_blocks


def blocks(f: Any) -> list[int]:
    return [b.block for b in f.explain().buffers if b.block is not None]


def test_a_chain_of_layers_needs_few_blocks() -> None:
    x = T.dmatrix("x")
    weights = [T.dmatrix(f"w{k}") for k in range(6)]
    h = x
    for w in weights:
        h = T.tanh(T.dot(h, w))
    f = theano.function([x, *weights], h)
    assert len(blocks(f)) >= 10
    assert len(set(blocks(f))) == 2
    rng = np.random.RandomState(0)
    values = [rng.randn(30, 40), *(rng.randn(40, 40) / 6 for _ in weights)]
    want = values[0]
    for w in values[1:]:
        want = np.tanh(want @ w)
    np.testing.assert_allclose(f(*values), want, rtol=1e-10, atol=1e-12)


def test_layers_of_growing_width() -> None:
    x = T.dmatrix("x")
    h, values = x, [np.random.RandomState(0).randn(3, 2)]
    want = values[0]
    weights = []
    for k in range(5):
        w = T.dmatrix(f"w{k}")
        weights.append(w)
        h = T.tanh(T.dot(h, w))
        values.append(np.random.RandomState(k).randn(2 * 7**k, 2 * 7 ** (k + 1)) / 9**k)
        want = np.tanh(want @ values[-1])
    f = theano.function([x, *weights], h)
    for _ in range(3):
        np.testing.assert_allclose(f(*values), want, rtol=1e-9, atol=1e-12)


def test_the_explanation_counts_shared_memory_once() -> None:
    x, w = T.dmatrix("x"), T.dmatrix("w")
    f = theano.function([x, w], T.dot(T.tanh(T.dot(T.tanh(T.dot(x, w)), w)), w).sum())
    told = f.explain(sizes={"x": (10, 10), "w": (10, 10)})
    total = sum(b.bytes or 0 for b in told.buffers)
    assert told.bytes is not None
    assert told.bytes < total
    assert "[in memory of another]" in str(told)


def program() -> tuple[Builder, Any]:
    b = Builder("p", threads=1)
    return b, b.frame(2)


def touch(b: Builder, view: View) -> None:
    with b.loop(view.dims[0], kind="vector") as loop:
        b.store(view, (loop.index,), b.load(view, (loop.index,)))


def test_what_is_read_later_keeps_its_memory() -> None:
    b, n = program()
    first = b.temporary("float64", (n,))
    touch(b, first)
    second = b.temporary("float64", (n,))
    touch(b, second)
    touch(b, first)
    third = b.temporary("float64", (n,))
    touch(b, third)
    share_blocks(b.program)
    assert first.pointer.attr != second.pointer.attr
    assert third.pointer.attr in (first.pointer.attr, second.pointer.attr)


def test_an_address_that_a_loop_carries_is_followed() -> None:
    b, n = program()
    first = b.temporary("float64", (n,))
    touch(b, first)
    with b.loop(n, carries=[first.pointer]) as loop:
        loop.next(loop.carry[0])
    second = b.temporary("float64", (n,))
    touch(b, second)
    touch(b, View("float64", loop.results[0], (n,)))
    share_blocks(b.program)
    assert first.pointer.attr != second.pointer.attr


def test_an_address_in_memory_keeps_its_buffer() -> None:
    b, n = program()
    first = b.temporary("float64", (n,))
    touch(b, first)
    record = b.temporary("int64", (b.const(1),))
    b.raw_store(record.pointer, 0, first.pointer)
    second = b.temporary("float64", (n,))
    touch(b, second)
    share_blocks(b.program)
    assert first.pointer.attr != second.pointer.attr


def test_a_block_that_is_spoken_of_by_its_number_is_not_shared() -> None:
    b, n = program()
    first = b.temporary("float64", (n,))
    touch(b, first)
    b.grow(first.pointer.attr, n, n)
    second = b.temporary("float64", (n,))
    touch(b, second)
    share_blocks(b.program)
    assert first.pointer.attr != second.pointer.attr
