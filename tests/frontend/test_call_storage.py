"""What programs ask compiled functions for, and calls in Theano's own steps."""

from __future__ import annotations

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T


def test_outputs_of_a_function() -> None:
    """SymPy's printer of Theano code asks for the types of ``f.outputs``."""
    x = T.dvector("x")
    f = theano.function([x], [x.sum(), theano.Out(x * 2, borrow=True)])
    assert [out.variable.broadcastable for out in f.outputs] == [(), (False,)]
    assert [out.borrow for out in f.maker.outputs] == [False, True]
    assert (f.unpack_single, f.return_none, f.output_keys) == (False, False, None)
    assert theano.function([x], x * 2).unpack_single
    assert theano.function([x], {"b": x, "a": -x}).output_keys == ["a", "b"]


def test_call_by_storage() -> None:
    """``f.fn()`` takes its arguments from `input_storage`, as PyDy calls functions."""
    x, y = T.dvector("x"), T.dscalar("y")
    total = theano.shared(0.0)
    f = theano.function(
        [x, theano.In(y, value=2.0)], [x * y, total + 0], updates=[(total, total + x.sum())]
    )
    assert [place.type for place in f.input_storage] == [x.type, y.type, total.type]
    with pytest.raises(TypeError, match="Missing required input: x"):
        f.fn()
    f.input_storage[0].storage[0] = np.arange(3.0)
    f.fn()
    f.input_storage[1].storage[0] = 5
    f.fn()
    assert [place.data.tolist() for place in f.output_storage] == [[0, 5, 10], 3]
    assert total.get_value() == 6
    with pytest.raises(TypeError, match="Wrong number of dimensions"):
        f.input_storage[0].data = 1.0
    single = theano.function([y], {"b": y, "a": -y})
    single.input_storage[0].value = 3
    single.fn()
    assert [place.value.item() for place in single.output_storage] == [-3, 3]


def test_repeated_calls() -> None:
    """``f.fn(n_calls=5)`` steps through a shared sequence, as pyautodiff's descent does."""
    step, sums = theano.shared(0), theano.shared(np.zeros(5))
    updates = [(step, step + 1), (sums, T.inc_subtensor(sums[step], step**2))]
    for outputs in ([], None, step):
        step.set_value(0)
        sums.set_value(np.zeros(5))
        f = theano.function([], outputs, updates=updates)
        f.fn(n_calls=5)
        assert step.get_value() == 5
        np.testing.assert_array_equal(sums.get_value(), np.arange(5) ** 2)
    assert f.output_storage[0].data == 4
