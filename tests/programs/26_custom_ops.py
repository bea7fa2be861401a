"""Ops in Python: perform, grad, infer_shape, R_op, inplace view/destroy maps, as_op,
OpFromGraph."""

import numpy as np
import theano
import theano.tensor as T
from theano import gof
from theano.compile.ops import as_op

floatX = theano.config.floatX


class DoubleOp(theano.Op):
    __props__ = ()

    def make_node(self, x):
        x = T.as_tensor_variable(x)
        return theano.Apply(self, [x], [x.type()])

    def perform(self, node, inputs, output_storage):
        output_storage[0][0] = inputs[0] * 2

    def infer_shape(self, node, i0_shapes):
        return i0_shapes

    def grad(self, inputs, output_grads):
        return [output_grads[0] * 2]

    def R_op(self, inputs, eval_points):
        if eval_points[0] is None:
            return eval_points
        return self.grad(inputs, eval_points)


class AXPBOp(gof.Op):
    """a * x + b, the numbers as properties."""

    __props__ = ("a", "b")

    def __init__(self, a, b):
        self.a, self.b = a, b
        super(AXPBOp, self).__init__()

    def make_node(self, x):
        x = theano.tensor.as_tensor_variable(x)
        return gof.Apply(self, [x], [x.type()])

    def perform(self, node, inputs, outputs):
        (x,) = inputs
        (z,) = outputs
        z[0] = np.asarray(self.a * x + self.b, dtype=x.dtype)

    def infer_shape(self, node, shapes):
        return shapes

    def grad(self, inputs, g):
        return [self.a * g[0]]


class SolveAndMonitor(gof.Op):
    """Two outputs of different types, one without a gradient; keeps a history in Python."""

    def __init__(self, history):
        self.history = history

    def __eq__(self, other):
        return type(self) is type(other) and self.history is other.history

    def __hash__(self):
        return hash(type(self)) ^ id(self.history)

    def __str__(self):
        return "SolveAndMonitor"

    def make_node(self, A, b):
        A, b = T.as_tensor_variable(A), T.as_tensor_variable(b)
        assert A.ndim == 2 and b.ndim == 1
        return gof.Apply(self, [A, b], [b.type(), T.lscalar()])

    def perform(self, node, inputs, outputs):
        A, b = inputs
        x = np.linalg.solve(A, b)
        self.history.append(x.copy())
        outputs[0][0] = x.astype(b.dtype)
        outputs[1][0] = np.asarray(len(self.history), dtype="int64")

    def grad(self, inputs, output_gradients):
        A, b = inputs
        x, _ = self(A, b)
        gb = self(A.T, output_gradients[0])[0]
        return [-T.outer(gb, x), gb]

    def infer_shape(self, node, shapes):
        return [shapes[1], ()]


@as_op(itypes=[T.lvector, T.lscalar], otypes=[T.lvector], infer_shape=lambda node, s: [s[0]])
def rotate(values, by):
    return np.roll(values, int(by))


@theano.compile.ops.as_op(itypes=[theano.tensor.dmatrix], otypes=[T.dmatrix, T.dvector])
def sort_rows(m):
    return np.sort(m, axis=1), m.max(axis=1)


def main():
    rng = np.random.RandomState(3)
    x = T.matrix("x")
    double = DoubleOp()
    f = theano.function([x], [double(x), T.grad((double(x) ** 2).sum(), x), double(x).shape])
    xv = rng.rand(3, 2).astype(floatX)
    y, g, shape = f(xv)
    np.testing.assert_allclose(y, 2 * xv)
    np.testing.assert_allclose(g, 8 * xv, rtol=1e-6)
    assert list(shape) == [3, 2]
    v = T.matrix("v")
    rop = theano.function([x, v], T.Rop(double(x) ** 2, x, v))
    np.testing.assert_allclose(rop(xv, np.ones_like(xv)), 8 * xv, rtol=1e-6)
    theano.tests.unittest_tools.verify_grad(DoubleOp(), [rng.rand(4, 3)], rng=rng)
    theano.gradient.verify_grad(AXPBOp(3, 1), [rng.rand(5)], rng=np.random.RandomState(0))

    assert AXPBOp(2, 1) == AXPBOp(2, 1) != AXPBOp(2, 2)
    both = theano.function([x], [AXPBOp(2, 1)(x), AXPBOp(4, 1)(x)])(xv)
    np.testing.assert_allclose(both[1] - both[0], 2 * xv, rtol=1e-5)

    history = []
    A, b = T.dmatrix("A"), T.dvector("b")
    solve = SolveAndMonitor(history)
    sol, count = solve(A, b)
    run = theano.function([A, b], [sol, count])
    Av, bv = rng.randn(3, 3) + 3 * np.eye(3), rng.randn(3)
    s, n = run(Av, bv)
    np.testing.assert_allclose(Av.dot(s), bv)
    assert n == 1 and len(history) == 1 and str(solve) == "SolveAndMonitor"
    theano.gradient.verify_grad(lambda a, q: solve(a, q)[0] ** 2, [Av, bv], rng=rng)

    # In a scan, with a native part around it.
    steps, _ = theano.scan(lambda q: 0.5 * solve(A, q)[0], outputs_info=b, n_steps=3)
    last = theano.function([A, b], [steps[-1], T.grad(steps[-1].sum(), b)])(Av, bv)
    inv = np.linalg.inv(2 * Av)
    np.testing.assert_allclose(last[0], inv.dot(inv).dot(inv).dot(bv))
    np.testing.assert_allclose(last[1], np.ones(3).dot(inv).dot(inv).dot(inv))

    n, k = T.lvector("n"), T.lscalar("k")
    assert list(theano.function([n, k], rotate(n, k))([1, 2, 3], 1)) == [3, 1, 2]
    ordered, top = theano.function([A], sort_rows(A))(Av)
    assert (np.diff(ordered) >= 0).all() and (top == Av.max(1)).all()

    # OpFromGraph: a graph as an op, used twice.
    p, q, r = T.dvectors("p", "q", "r")
    op = theano.OpFromGraph([p, q, r], [p + q * r])
    e = op(p, q, r) + op(r, q, p) ** 2
    fn = theano.function([p, q, r], [e] + T.grad(e.sum(), [p, q, r]))
    pv, qv, rv = rng.randn(3, 4)
    val, gp, gq, gr = fn(pv, qv, rv)
    w = rv + qv * pv
    np.testing.assert_allclose(val, pv + qv * rv + w**2)
    np.testing.assert_allclose(gp, 1 + 2 * w * qv)
    np.testing.assert_allclose(gq, rv + 2 * w * pv)
    np.testing.assert_allclose(gr, qv + 2 * w)

    # A wrong grad is noticed.
    class Wrong(DoubleOp):
        def grad(self, inputs, output_grads):
            return [output_grads[0] * 3]

    try:
        theano.gradient.verify_grad(Wrong(), [rng.rand(3)], rng=rng)
    except theano.gradient.GradientError:
        pass
    else:
        raise AssertionError("verify_grad accepted a wrong gradient")


if __name__ == "__main__":
    main()
