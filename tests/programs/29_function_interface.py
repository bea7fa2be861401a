"""theano.function as programs use it: In/Param, defaults, update inputs, dict outputs, givens,
copy, swap."""

import pickle

import numpy as np
import theano
import theano.tensor as T
from theano import In

floatX = theano.config.floatX


def raises(kind, action, *words):
    try:
        action()
    except kind as e:
        for word in words:
            assert word in str(e), (word, str(e))
    else:
        raise AssertionError("no %s" % kind)


def main():
    x, y, w = T.dscalars("x", "y", "w")
    f = theano.function([x, In(y, value=1), In(w, value=2, name="w_by_name")], (x + y) * w)
    assert f(33) == 68 and f(33, 2) == 70 and f(33, 0, 1) == 33
    assert f(33, w_by_name=1) == 34 and f(33, w_by_name=1, y=0) == 33
    raises(TypeError, lambda: f(), "x")
    raises(TypeError, lambda: f(1, 2, 3, 4))
    raises(TypeError, lambda: f(1, z=3), "z")
    raises(TypeError, lambda: f([1, 2]), "dimensions")

    # Accumulators: shared and an input with an update.
    state, inc = theano.shared(0), T.iscalar("inc")
    accumulator = theano.function([inc], state, updates=[(state, state + inc)])
    assert accumulator(1) == 0 and accumulator(300) == 1 and state.get_value() == 301
    decrementor = theano.function([inc], state, updates=[(state, state - inc)])
    assert decrementor(2) == 301 and state.get_value() == 299
    new_state = theano.shared(0)
    other = accumulator.copy(swap={state: new_state})
    assert other(100) == 0 and new_state.get_value() == 100 and state.get_value() == 299
    null = accumulator.copy(delete_updates=True)
    assert null(9000) == 299 and state.get_value() == 299
    foo = T.scalar(dtype=state.dtype)
    skip = theano.function([inc, foo], state * 2 + inc, givens=[(state, foo)])
    assert skip(1, 3) == 7 and state.get_value() == 299
    total, step = T.dscalar("total"), T.dscalar("step")
    grow = theano.function(
        [step, In(total, value=10.0, update=total + step, mutable=True)], total, mode=None
    )
    assert grow(1.0) == 10 and grow(2.0) == 11 and grow(0.0) == 13
    assert grow[total] == 13

    # Outputs: one, list, tuple, dict, none.
    m = T.matrix("m")
    as_dict = theano.function([m], {"sum": m.sum(), "big": T.max(m, axis=0)})
    mv = np.arange(6, dtype=floatX).reshape(2, 3)
    got = as_dict(mv)
    assert got["sum"] == 15 and list(got["big"]) == [3, 4, 5]
    assert isinstance(theano.function([m], (m, m + 1))(mv), list)
    assert theano.function([], [])() == []
    only = theano.function([m], [m.sum()])(mv)
    assert isinstance(only, list) and isinstance(only[0], np.ndarray) and only[0].shape == ()
    assert as_dict(mv, output_subset=["sum"]) == {"sum": 15}

    # Swap two shared variables; several updates see old values.
    a, b = theano.shared(np.float64(1), "a"), theano.shared(np.float64(2), "b")
    theano.function([], updates={a: b, b: a})()
    assert a.get_value() == 2 and b.get_value() == 1
    raises(TypeError, lambda: theano.function([], updates=[(a, T.constant(3))]), "same type")
    raises(ValueError, lambda: theano.function([], updates=[(a, a + 1), (a, a + 2)]), "already")

    # Values of shared variables: copies and borrows.
    arr = np.zeros(3, dtype=floatX)
    s_copy, s_borrow = theano.shared(arr), theano.shared(arr, borrow=True)
    arr += 1
    assert s_copy.get_value().sum() == 0 and s_borrow.get_value().sum() == 3
    inside = s_copy.get_value(borrow=True)
    s_copy.set_value(np.ones(5, dtype=floatX), borrow=True)
    assert s_copy.get_value().shape == (5,) and inside.shape == (3,)
    raises(TypeError, lambda: s_copy.set_value(np.ones((2, 2), dtype=floatX)), "dimensions")
    c = s_copy.clone()
    c.set_value(np.zeros(5, dtype=floatX))
    assert s_copy.get_value().sum() in (0, 5)

    # Dtypes of inputs.
    fv = T.fvector("fv")
    g = theano.function([fv], fv * 2)
    raises(TypeError, lambda: g(np.array([0.1])), "float64")
    g2 = theano.function([fv], fv * 2, allow_input_downcast=True)
    assert g2([0.1, 0.2]).dtype == "float32"
    raises(theano.compile.UnusedInputError, lambda: theano.function([x, y], x), "y")
    theano.function([x, y], x, on_unused_input="ignore")
    raises(theano.gof.fg.MissingInputError, lambda: theano.function([x], x + y), "y")

    # strict, nested givens by name, and inputs that are reshaped data.
    big = theano.shared(np.arange(12, dtype=floatX).reshape(6, 2))
    i = T.lscalar("i")
    part = theano.function([i], m.sum(axis=0), givens={m: big[i * 2 : (i + 1) * 2]})
    assert list(part(1)) == [10, 12] and list(part(2)) == [18, 20]

    # rebuild: function pickles, with its shared state.
    h = theano.function([m], T.dot(m, big.T), name="pickled")
    again = pickle.loads(pickle.dumps(h))
    np.testing.assert_allclose(
        again(np.ones((1, 2), dtype=floatX)), h(np.ones((1, 2), dtype=floatX))
    )
    assert f.maker.inputs[1].variable is y and len(f.maker.outputs) == 1
    assert h.name == "pickled"
    # Functions of Python lists and scalars through the casts of shared().
    assert theano.shared([1, 2]).type == theano.gof.generic
    assert theano.shared(np.int8(3)).dtype == "int8" and theano.shared(3).dtype == "int64"


if __name__ == "__main__":
    main()
