"""Gradients by hand: consider_constant, disconnected_grad, known_grads, grad_clip/scale,
reversal, subgraph."""

from collections import OrderedDict

import numpy as np
import theano
import theano.gradient as G
import theano.tensor as T

floatX = theano.config.floatX


class ReverseGradient(theano.gof.Op):
    view_map = {0: [0]}
    __props__ = ("hp_lambda",)

    def __init__(self, hp_lambda):
        super(ReverseGradient, self).__init__()
        self.hp_lambda = hp_lambda

    def make_node(self, x):
        assert hasattr(self, "_props")
        return theano.gof.graph.Apply(self, [x], [x.type()])

    def perform(self, node, inputs, output_storage):
        (xin,) = inputs
        (xout,) = output_storage
        xout[0] = xin

    def grad(self, input, output_gradients):
        return [-self.hp_lambda * output_gradients[0]]

    def infer_shape(self, node, i0_shapes):
        return i0_shapes


class StraightThrough(theano.compile.ViewOp):
    def grad(self, inputs, output_gradients):
        return [output_gradients[0] * T.lt(abs(inputs[0]), 1)]


def main():
    x, v = T.scalar("x"), T.vector("v")
    run = lambda out, *vals: theano.function([x, v], out, on_unused_input="ignore")(*vals)  # noqa: E731
    one, vec = np.asarray(3.0, dtype=floatX), np.array([1.0, -2.0, 0.5], dtype=floatX)

    # constants
    assert run(T.grad(x * G.consider_constant(x), x), one, vec) == 3
    assert run(T.grad(x * G.disconnected_grad(x), x), one, vec) == 3
    assert run(T.grad(x * G.zero_grad(x), x), one, vec) == 3
    half = x**2
    assert run(T.grad(half * x, x, consider_constant=[half]), one, vec) == 9
    try:
        T.grad(G.disconnected_grad(x) * 2, x)
    except theano.gradient.DisconnectedInputError:
        pass
    else:
        raise AssertionError("no DisconnectedInputError")
    assert run(T.grad(v.sum(), x, disconnected_inputs="ignore"), one, vec) == 0
    assert T.grad(v.sum(), x, disconnected_inputs="ignore", return_disconnected="None") is None
    assert run(G.grad_scale(x, 2) * 1, one, vec) == 3
    assert run(T.grad(G.grad_scale(x, 4) ** 2, x), one, vec) == 24
    np.testing.assert_allclose(
        run(T.grad((G.grad_clip(v, -1, 1) ** 2).sum(), v), one, vec), [1, -1, 1]
    )

    # own gradients
    rev = ReverseGradient(0.5)
    assert run([rev(x), T.grad(rev(x) ** 2, x)], one, vec) == [3, -3]
    binary = StraightThrough()(v)
    hard = G.disconnected_grad(T.sgn(v) - v) + v
    np.testing.assert_allclose(run(hard, one, vec), np.sign(vec))
    np.testing.assert_allclose(run(T.grad((hard * [1.0, 2, 3]).sum(), v), one, vec), [1, 2, 3])
    np.testing.assert_allclose(run(T.grad(binary.sum(), v), one, vec), [0, 0, 1])

    # known_grads: back through a part only.
    h = T.tanh(v)
    cost = (h**2).sum() * x
    dh = T.grad(cost, h)
    np.testing.assert_allclose(
        run(T.grad(None, v, known_grads=OrderedDict([(h, dh)])), one, vec),
        run(T.grad(cost, v), one, vec),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        run(T.grad(None, v, known_grads={h: T.ones_like(h)}), one, vec),
        1 - np.tanh(vec) ** 2,
        rtol=1e-5,
    )
    # subgraph_grad: layer by layer.
    w1, w2 = (
        theano.shared(np.asarray(2.0, dtype=floatX)),
        theano.shared(np.asarray(0.5, dtype=floatX)),
    )
    a1 = T.tanh(w1 * v)
    a2 = T.sum((w2 * a1 - 1) ** 2)
    params, next_grads = [], None
    for wrt, end, c in (([w2], [a1], a2), ([w1], [v], None)):
        gparams, next_grad = theano.subgraph_grad(wrt=wrt, end=end, start=next_grads, cost=c)
        next_grads = OrderedDict(zip(end, next_grad))
        params += gparams
    got = run(params + T.grad(a2, [w2, w1]), one, vec)
    np.testing.assert_allclose(got[:2], got[2:], rtol=1e-5)

    # Lists, tuples, single; second order; through max, sort, clip, abs, switch, prod.
    assert isinstance(T.grad(x**2, (x,)), tuple) and isinstance(T.grad(x**2, [x]), list)
    assert run(T.grad(T.grad(T.grad(x**4, x), x), x), one, vec) == 72
    np.testing.assert_allclose(run(T.grad(v.max() * 3, v), one, vec), [3, 0, 0])
    np.testing.assert_allclose(run(T.grad(T.sort(v)[0], v), one, vec), [0, 1, 0])
    np.testing.assert_allclose(run(T.grad(abs(v).sum() + T.prod(v), v), one, vec), [0, -0.5, -1])
    np.testing.assert_allclose(
        run(T.grad(T.switch(v > 0, v**2, -v).sum(), v), one, vec), [2, -1, 1]
    )
    np.testing.assert_allclose(
        run(T.grad(v.norm(2), v), one, vec), vec / np.linalg.norm(vec), rtol=1e-5
    )
    np.testing.assert_allclose(
        run(T.grad(T.nnet.relu(v).sum() + T.maximum(v, 0.75).sum(), v), one, vec), [2, 0, 1]
    )
    # Integers and argmax give zeros of floatX.
    i = T.iscalar("i")
    g = T.grad((i * 2.0) ** 2, i)
    assert g.dtype == "float64" and theano.function([i], g)(3) == 24
    assert run(T.grad(v[v.argmax()] * 2, v), one, vec).tolist() == [2, 0, 0]
    # numeric check by the library, of a function of two matrices
    rng = np.random.RandomState(1)
    tolerance = dict(abs_tol=5e-2, rel_tol=5e-2) if floatX == "float32" else {}
    G.verify_grad(
        lambda a, b: T.nnet.softmax(T.dot(a, b)) ** 2,
        [rng.rand(2, 3).astype(floatX), rng.rand(3, 2).astype(floatX)],
        rng=rng,
        **tolerance,
    )
    J = G.jacobian(T.stack([v[0] * v[1], v[1] ** 2]), v)
    np.testing.assert_allclose(run(J, one, vec), [[-2, 1, 0], [0, -4, 0]])


if __name__ == "__main__":
    main()
