"""Arrays of any layout: as arguments, as values of shared variables, borrowed; shared memory."""

from __future__ import annotations

import tempfile
import warnings
from typing import Any

import numpy as np
import pytest

import ltensor.tensor as T
from ltensor import In, Out, function, shared


class Sub(np.ndarray):
    """A subclass that means nothing by it."""


def layouts() -> dict[str, np.ndarray]:
    base = np.arange(12.0).reshape(3, 4)
    odd = np.empty(base.nbytes + 1, np.uint8)[1:].view(np.float64).reshape(3, 4)
    odd[...] = base
    locked = base.copy()
    locked.flags.writeable = False
    with tempfile.TemporaryFile() as file:
        mapped = np.memmap(file, dtype=np.float64, mode="w+", shape=(3, 4))
    mapped[:] = base
    record = np.zeros((3, 4), [("a", "i1"), ("b", "f8")])
    record["b"] = base
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        matrix = np.matrix(base)
    return {
        "plain": base,
        "transposed": base.T,
        "fortran": np.asfortranarray(base),
        "negative": base[::-1, ::-1],
        "strided": base[:, ::2],
        "zero_stride": np.broadcast_to(np.arange(4.0), (3, 4)),
        "one_number": np.broadcast_to(np.float64(3), (2, 5)),
        "byte_swapped": base.astype(">f8"),
        "byte_swapped_reversed": base.astype(">f8")[::-1],
        "misaligned": odd,
        "misaligned_transposed": odd.T,
        "read_only": locked,
        "field": record["b"],
        "real_part": base.astype(complex).real,
        "subclass": base.view(Sub),
        "matrix": matrix,
        "unmasked": np.ma.masked_array(base),
        "memmap": mapped,
        "float32": base.astype(np.float32),
        "float32_swapped": base.astype(">f4")[:, ::-1],
        "int16": base.astype(np.int16)[::2],
        "no_rows": base[:0, ::2],
        "no_columns": base[::-1, :0],
        "nothing_of_odd_strides": base[::-2, 5:],
        "one_element": base[::7, ::-5],
    }


@pytest.fixture(params=layouts())
def array(request: pytest.FixtureRequest) -> np.ndarray:
    found: np.ndarray = layouts()[request.param]
    return found


def plain(array: np.ndarray) -> np.ndarray:
    return np.array(array, dtype=np.float64, subok=False)


def test_arguments(array: np.ndarray) -> None:
    m = T.dmatrix("m")
    before = plain(array)
    f = function([m], [m, m * 2, m.sum(), m.T, m[0:1]])
    results = f(array)
    expected = [before, before * 2, before.sum(), before.T, before[0:1]]
    for result, value in zip(results, expected, strict=True):
        assert type(result) is np.ndarray
        assert result.dtype == np.float64
        np.testing.assert_array_equal(result, value)
        assert result.shape == np.shape(value)
        assert not np.shares_memory(result, array)
    for result in results:
        result[...] = -1
    np.testing.assert_array_equal(plain(array), before)


@pytest.mark.parametrize("borrow", [False, True])
def test_shared_values(array: np.ndarray, borrow: bool) -> None:
    before = plain(array)
    s = shared(np.zeros((2, 2)))
    s.set_value(array, borrow=borrow)
    read, bump = function([], [s * 2, s.T]), function([], [], updates=[(s, s + 1)])
    np.testing.assert_array_equal(read()[0], before * 2)
    np.testing.assert_array_equal(read()[1], before.T)
    bump()
    np.testing.assert_array_equal(s.get_value(), before + 1)
    if not (borrow and np.shares_memory(s.get_value(borrow=True), array)):
        np.testing.assert_array_equal(plain(array), before)
    made = shared(array, borrow=borrow)
    if array.dtype == np.float64:
        np.testing.assert_array_equal(function([], made * 2)(), plain(array) * 2)


def test_updates_by_arguments(array: np.ndarray) -> None:
    m = T.dmatrix("m")
    s = shared(np.zeros((1, 1)))
    before = plain(array)
    f = function([m], s + 0, updates=[(s, m)])
    f(array)
    value = s.get_value(borrow=True)
    np.testing.assert_array_equal(value, before)
    assert not np.shares_memory(value, array)
    f(np.zeros_like(before) + 5)
    np.testing.assert_array_equal(plain(array), before)


def test_who_borrows_what() -> None:
    v = T.dvector("v")
    values = np.arange(5.0)
    s = shared(values, borrow=True)
    assert s.get_value(borrow=True) is values
    f = function([], [s, s[1:3], s.reshape((5, 1))], updates=[(s, s * 2)])
    for result in f():
        assert not np.shares_memory(result, values)
    assert values.tolist() == [0, 2, 4, 6, 8], "borrowed arrays are updated in place"
    g = function([In(v, borrow=True)], Out(v[::-1], borrow=True))
    given = np.arange(3.0)
    result = g(given)
    result[...] = 7
    assert given.tolist() == [0, 1, 2], "arguments are not written, whatever they lend"
    # a borrowed array may get another shape from its owner: the variable keeps its own
    values.shape = (5, 1)
    assert f()[0].shape == (5,)


def test_what_is_not_an_array_of_numbers() -> None:
    m = T.dmatrix("m")
    f = function([m], m.sum())
    s = shared(np.zeros((2, 2)))
    bad: list[Any] = [
        np.ones((2, 2), object),
        np.ones((2, 2), np.longdouble),
        np.ma.masked_array(np.ones((2, 2)), mask=[[0, 1], [0, 0]]),
        np.array([["a", "b"]]),
        np.zeros((2, 2), [("a", "f8")]),
    ]
    for array in bad:
        for use in (f, s.set_value, lambda a: s.set_value(a, borrow=True)):
            with pytest.raises(TypeError):
                use(array)
    np.testing.assert_array_equal(s.get_value(), np.zeros((2, 2)))
