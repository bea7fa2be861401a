"""Who shares memory with whom: arguments, values of shared variables, results."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest

import ltensor.tensor as T
from ltensor import In, Out, function, shared


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
