"""Operands read across their rows are turned block by block: kernel programs, then all shapes."""

from __future__ import annotations

import ctypes
import itertools

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T
from ltensor.lowering import turning
from ltensor.lowering.cpu import jit
from ltensor.lowering.program import Value, walk

EDGES = (0, 1, 7, 8, 9, 15, 17, 31, 33, 63, 64, 65, 300)


def ops(f) -> list[str]:
    """Loads, stores and calls of a function's program."""
    program = f._linked.lowered.program
    names = [e.attr if e.op == "call" else e.op for e in walk(program.root) if type(e) is Value]
    return [n for n in names if n in ("load", "store") or n.startswith("lt_turn")]


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
def test_blocks(bits: int, vector_bytes: int) -> None:
    if vector_bytes > jit.host().vector_bytes:
        pytest.skip("no such registers here")
    module = jit.compile_module(turning.module_text(bits, vector_bytes), optimize=True)
    word, pointer = ctypes.c_int64, ctypes.c_void_p
    kinds = (pointer, word, word, pointer, word, word, word, word)
    turn = ctypes.CFUNCTYPE(None, *kinds)(module.address(f"lt_turn_u{bits}"))
    rng = np.random.default_rng(bits)
    for rows, columns in itertools.product(EDGES, EDGES):
        x = rng.integers(0, 255, (columns + 1, rows + 3)).astype(f"uint{bits}")
        y = np.zeros((rows + 2, columns + 5), x.dtype)
        turn(x.ctypes.data, rows + 3, rows + 3, y.ctypes.data, 2, columns + 5, rows, columns)
        wanted = np.zeros_like(y)
        if rows:
            wanted.ravel()[2 : 2 + rows * (columns + 5)].reshape(rows, -1)[:, :columns] = x[
                1:, :rows
            ].T
        np.testing.assert_array_equal(y, wanted)


def test_a_copy_is_turned_in_its_place() -> None:
    x, t = T.fmatrix("x"), T.dtensor4("t")
    assert ops(theano.function([x], x.T.copy())) == ["lt_turn_u32"]
    # the third dimension of the operand is the first of the result: loops change places
    assert ops(theano.function([t], t.dimshuffle(3, 2, 1, 0).copy())) == ["lt_turn_u64"]


def test_an_operand_is_turned_by_blocks() -> None:
    x, y = T.fmatrix("x"), T.fmatrix("y")
    f = theano.function([x, y], T.exp(x) + y.T * 2)
    assert ops(f) == ["lt_turn_u32", "load", "load", "store"]


def test_what_is_left_alone() -> None:
    x, y, s = T.fmatrix("x"), T.fmatrix("y"), T.TensorType("float32", (4, 5))("s")
    untouched = [
        x + y,  # in order
        x[:, ::2] + 1,  # a small stride: whole vectors and shuffles
        s.T + 1,  # known to be small
        (x * y.T).sum(),  # a sum
        y.T[:, T.arange(3)] + 1,  # places that are looked up
    ]
    for expression in untouched:
        f = theano.function([x, y, s], expression, on_unused_input="ignore")
        assert not any(name.startswith("lt_turn") for name in ops(f)), expression


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "bool", "int16", "complex64"])
def test_matrices(dtype: str) -> None:
    rng = np.random.default_rng(0)
    m, k = (T.TensorType(dtype, (False, False))(name) for name in "mk")
    f = theano.function([m, k], [m.T.copy(), T.eq(m, k.T), T.switch(T.eq(m.T, k), m.T, k)])
    for rows, columns in itertools.product(EDGES, EDGES):
        a = (rng.standard_normal((rows, columns)) * 3).astype(dtype)
        b = (rng.standard_normal((columns, rows)) * 3).astype(dtype)
        wanted = [a.T, a == b.T, np.where(b == a.T, a.T, b)]
        for got, right in zip(f(a, b), wanted, strict=True):
            np.testing.assert_array_equal(got, right)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_three_dimensions(order: tuple[int, ...], dtype: str) -> None:
    c = T.TensorType(dtype, (False,) * 3)("c")
    parts = [c, c[:, ::-1], c[::2, 1:], c[:, :, ::2]]
    f = theano.function([c], [p.dimshuffle(order) + 1 for p in parts])
    rng = np.random.default_rng(1)
    for shape in [(0, 3, 4), (1, 1, 1), (3, 4, 5), (17, 33, 9), (40, 41, 42), (2, 270, 300)]:
        a = rng.integers(0, 99, shape).astype(dtype)
        for got, part in zip(f(a), [a, a[:, ::-1], a[::2, 1:], a[:, :, ::2]], strict=True):
            np.testing.assert_array_equal(got, part.transpose(order) + 1)


def test_rows_that_others_write_are_not_turned_before() -> None:
    x = T.dmatrix("x")
    s = theano.shared(np.arange(400.0).reshape(20, 20))
    f = theano.function([x], s.sum(), updates=[(s, s + s.T + x)])
    before = s.get_value()
    f(np.ones((20, 20)))
    np.testing.assert_array_equal(s.get_value(), before + before.T + 1)
