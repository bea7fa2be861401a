"""Arrays of more than 2^31 elements: sizes and indices of 64 bits everywhere (8 GB of memory)."""

from __future__ import annotations

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T
from ltensor import function

pytestmark = pytest.mark.slow

BORDER = 1 << 31
SIZE = BORDER + 12_345


@pytest.fixture(scope="module")
def large() -> np.ndarray:
    array = np.zeros(SIZE, np.int8)
    array[-3:] = [1, 2, 3]
    array[BORDER] = 7
    return array


v, i = T.TensorType("int8", [False])("v"), T.lscalar("i")


def test_elementwise(large: np.ndarray) -> None:
    result = function([v], v + v)(large)
    assert result.shape == (SIZE,)
    assert result[BORDER] == 14
    assert result[-3:].tolist() == [2, 4, 6]
    del result
    equal = function([v], T.eq(v, 2))(large)
    assert equal.dtype == bool
    assert np.flatnonzero(equal[BORDER - 5 :]).tolist() == [SIZE - 2 - BORDER + 5]


def test_reductions(large: np.ndarray) -> None:
    total, most, where = function([v], [v.sum(), v.max(), T.argmax(v)])(large)
    assert (total, most, where) == (13, 7, BORDER)
    matrix = large[:BORDER].reshape(1 << 16, 1 << 15)
    matrix[-1, -1] = 5
    m = T.TensorType("int8", [False, False])("m")
    columns, rows, corner = function([m], [m.sum(axis=0), m.sum(axis=1), m.T[-1, -1]])(matrix)
    matrix[-1, -1] = 0
    assert columns[-1] == rows[-1] == corner == 5
    assert columns.sum() == rows.sum() == 5


def test_indices(large: np.ndarray) -> None:
    f = function([v, i], [v[i], v[-1], v[i:][:3], v[::-1][:2], v[i : i + 5].sum()])
    at, last, part, turned, total = f(large, BORDER)
    assert (at, last, total) == (7, 3, 7)
    assert part.tolist() == [7, 0, 0]
    assert turned.tolist() == [3, 2]
    places = T.lvector("places")
    taken = function([v, places], v[places])(large, [0, BORDER, SIZE - 1, -2])
    assert taken.tolist() == [0, 7, 3, 2]
    with pytest.raises(IndexError):
        f(large, SIZE)
    changed = function([v], T.set_subtensor(v[-2:], 9))(large)
    assert changed[-3:].tolist() == [1, 9, 9]
    assert not changed[:BORDER].any()


def test_joins(large: np.ndarray) -> None:
    joined = function([v], T.concatenate([v, v[-5:]])[-8:])(large)
    assert joined.tolist() == [1, 2, 3, 0, 0, 1, 2, 3]


def test_loops(large: np.ndarray) -> None:
    n = T.lscalar("n")
    steps, _ = theano.scan(lambda c: c + 1, outputs_info=[np.int64(0)], n_steps=n)
    assert function([n], steps[-1])(SIZE) == SIZE
    values, _ = theano.scan(
        lambda x, c: T.switch(T.gt(x, 0), c * 0.5 + x, c), sequences=v, outputs_info=[np.float64(1)]
    )
    expected = 1.0
    for number in (7, 1, 2, 3):
        expected = expected * 0.5 + number
    assert function([v], values[-1])(large) == expected
