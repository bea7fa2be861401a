"""What one uses to see what goes on: Print, debugprint, pp, test values, profile, NanGuard,
f.maker."""

import io
import sys
import tempfile

import numpy as np
import theano
import theano.tensor as T
from theano.compile.nanguardmode import NanGuardMode

floatX = theano.config.floatX


def capture(action):
    old, sys.stdout = sys.stdout, io.StringIO()
    try:
        action()
        return sys.stdout.getvalue()
    finally:
        sys.stdout = old


def main():
    x, y = T.dmatrix("x"), T.dvector("y")
    w = theano.shared(np.ones((3, 2)), name="w")
    z = T.tanh(T.dot(x, w)).sum()

    # printing
    assert theano.pp(z) == "Sum{acc_dtype=float64}(tanh((x \\dot w)))", theano.pp(z)
    assert theano.printing.pp(x + x) == "(x + x)"
    text = theano.printing.debugprint(z, file="str")
    for word in ("Sum{acc_dtype=float64}", "Elemwise{tanh", "dot", "|x [id", "|w [id"):
        assert word in text, (word, text)
    f = theano.function([x], z)
    compiled = capture(lambda: theano.printing.debugprint(f))
    assert "x" in compiled and len(compiled) > 20

    # Print op: message and attributes.
    hello = theano.printing.Print("hello y", attrs=("shape", "min"))
    g = theano.function([y], (hello(y) * 2).sum())
    shown = capture(lambda: g([1.0, 2.0]))
    assert "hello y" in shown and "shape = (2,)" in shown and "min = 1.0" in shown, shown
    plain = theano.printing.Print("value")(y)
    shown = capture(lambda: theano.function([y], T.grad((plain**2).sum(), y))([3.0]))
    assert "value __str__ = [3.]" in shown, shown

    # Test values are computed as the graph is built.
    old = theano.config.compute_test_value
    theano.config.compute_test_value = "raise"
    try:
        a, b = T.dmatrix("a"), T.dmatrix("b")
        a.tag.test_value = np.ones((2, 3))
        b.tag.test_value = np.ones((3, 4))
        c = T.dot(a, b)
        assert c.tag.test_value.shape == (2, 4) and (c.tag.test_value == 3).all()
        seq, _ = theano.scan(lambda row, acc: acc + row, sequences=a, outputs_info=np.zeros(3))
        assert (seq.tag.test_value[-1] == 2).all()
        try:
            T.dot(a, a)
        except ValueError as e:
            assert "(2, 3)" in str(e) or "shapes" in str(e) or "align" in str(e), e
        else:
            raise AssertionError("no error from test values")
        d = T.dvector("d")
        try:
            d + 1
        except ValueError as e:
            assert "missing default value" in str(e) and 'T.dvector("d")' in str(e), e
        else:
            raise AssertionError("missing test value was not noticed")
    finally:
        theano.config.compute_test_value = old

    # NaN guards.
    lg = T.log(y)
    ok = theano.function([y], lg)
    guard = theano.function([y], lg, mode=NanGuardMode(nan_is_error=True, inf_is_error=True))
    assert np.isnan(ok([-1.0])).all() and np.isinf(ok([0.0])).all()
    np.testing.assert_allclose(guard([1.0]), [0.0])
    for bad in ([-1.0], [0.0]):
        try:
            guard(bad)
        except AssertionError as e:
            assert "NaN" in str(e) or "Inf" in str(e) or "nan" in str(e).lower(), e
        else:
            raise AssertionError("NanGuardMode was silent")

    # Profile of one function.
    pf = theano.function([x], T.dot(x, w), profile=True)
    pf(np.ones((4, 3)))
    with tempfile.TemporaryFile("w+") as file:
        pf.profile.summary(file=file)
        file.seek(0)
        assert "Function profiling" in file.read()
    assert pf.profile.fct_callcount == 1 and pf.profile.fct_call_time > 0

    # Looking at the compiled function and at the graph.
    order = f.maker.fgraph.toposort()
    assert len(order) >= 1 and all(hasattr(n, "op") for n in order)
    assert f.maker.fgraph.inputs[0].name == "x"
    ops = [n.op for n in theano.gof.graph.io_toposort([x], [z])]
    assert sum(isinstance(op, T.Elemwise) for op in ops) == 1, ops
    assert w in theano.gof.graph.inputs([z]) and x in theano.gof.graph.inputs([z])
    assert z.owner.inputs[0].owner.op == T.tanh
    assert isinstance(z.owner.op, T.Sum) and z.owner.op.axis is None
    assert [v.name for v in f.get_shared()] == ["w"] if hasattr(f, "get_shared") else True
    # eval without a function.
    assert z.eval({x: np.zeros((1, 3))}) == 0
    assert theano.printing.min_informative_str(x + 1)
    # Names chosen by position.
    assert theano.function([x], x.sum(), name="named").name == "named"


if __name__ == "__main__":
    main()
