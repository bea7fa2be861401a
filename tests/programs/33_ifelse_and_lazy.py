"""ifelse and switch: lazy branches, several outputs, inside scan and gradients; tree evaluation."""

import numpy as np
import theano
import theano.tensor as T
from theano.compile.ops import as_op
from theano.ifelse import ifelse

floatX = theano.config.floatX
calls = []


@as_op(itypes=[T.dmatrix], otypes=[T.dmatrix])
def expensive(m):
    calls.append(m.shape)
    return m.dot(m)


def main():
    a, b = T.scalars("a", "b")
    x, y = T.matrices("x", "y")
    z_switch = T.switch(T.lt(a, b), T.mean(x), T.mean(y))
    z_lazy = ifelse(T.lt(a, b), T.mean(x), T.mean(y))
    f_switch = theano.function([a, b, x, y], z_switch)
    f_lazy = theano.function([a, b, x, y], z_lazy, mode=theano.Mode(linker="vm"))
    big1, big2 = np.ones((50, 40), dtype=floatX), np.zeros((50, 40), dtype=floatX)
    assert f_switch(0.0, 1.0, big1, big2) == f_lazy(0.0, 1.0, big1, big2) == 1
    assert f_switch(1.0, 0.0, big1, big2) == f_lazy(1.0, 0.0, big1, big2) == 0

    # Only the branch that is taken runs.
    m, n, c = T.dmatrix("m"), T.dmatrix("n"), T.iscalar("c")
    pick = theano.function([c, m, n], ifelse(c, expensive(m), expensive(expensive(n))))
    pick(1, np.eye(2), np.eye(3))
    assert calls == [(2, 2)], calls
    pick(0, np.eye(2), np.eye(3))
    assert calls == [(2, 2), (3, 3), (3, 3)], calls

    # Several outputs; names and gradients.
    p, q = ifelse(T.gt(a, 0), (x.sum(), x * 2), (y.sum(), y * 3), name="both")
    g = T.grad(p + q.sum(), [x, y])
    f = theano.function([a, x, y], [p, q, *g])
    xv, yv = np.ones((2, 2), dtype=floatX), 2 * np.ones((2, 2), dtype=floatX)
    pv, qv, gx, gy = f(1, xv, yv)
    assert pv == 4 and (qv == 2).all() and (gx == 3).all() and (gy == 0).all()
    pv, qv, gx, gy = f(-1, xv, yv)
    assert pv == 8 and (qv == 6).all() and (gx == 0).all() and (gy == 4).all()

    # Learning rate schedule and a training switch held in a shared variable.
    lr = theano.shared(np.asarray(1.0, dtype=floatX))
    epoch = T.scalar("epoch")
    decay = ifelse(T.gt(epoch, 2), lr * np.float32(0.5), lr)
    step = theano.function([epoch], lr, updates=[(lr, T.cast(decay, floatX))])
    assert [float(step(e)) for e in range(6)] == [1, 1, 1, 1, 0.5, 0.25]

    # In a loop: double or halve; gradient goes through the branch taken.
    v = T.vector("v")

    def jump(s, acc):
        return ifelse(T.gt(s, 0), acc * s, acc - s)

    acc, _ = theano.scan(jump, sequences=v, outputs_info=T.ones_like(v[0]))
    loop = theano.function([v], [acc[-1], T.grad(acc[-1], v)])
    value, grad = loop(np.array([2, -1, 3], dtype=floatX))
    assert value == 9
    np.testing.assert_allclose(grad, [3, -3, 3])

    # Expressions as reverse polish code: a stack machine with switch and set_subtensor.
    code, data = T.ivector("code"), T.vector("data")

    def machine(op, number, stack, top):
        push = T.set_subtensor(stack[top], number)
        left, right = stack[T.maximum(top - 2, 0)], stack[T.maximum(top - 1, 0)]
        result = T.switch(
            T.eq(op, 1), left + right, T.switch(T.eq(op, 2), left * right, left - right)
        )
        reduced = T.set_subtensor(stack[T.maximum(top - 2, 0)], result)
        pushed = T.eq(op, 0)
        return T.switch(pushed, push, reduced), T.cast(T.switch(pushed, top + 1, top - 1), "int64")

    (stacks, tops), _ = theano.scan(
        machine, sequences=[code, data], outputs_info=[T.zeros((8,)), T.constant(np.int64(0))]
    )
    answer = stacks[-1][0]
    run = theano.function([code, data], [answer, tops[-1], T.grad(answer, data)])
    # (2 + 3) * 4 - 5
    value, top, grad = run(
        np.array([0, 0, 1, 0, 2, 0, 3], dtype="int32"),
        np.array([2, 3, 0, 4, 0, 5, 0], dtype=floatX),
    )
    assert value == 15 and top == 1
    np.testing.assert_allclose(grad, [4, 4, 0, 5, 0, -1, 0])


if __name__ == "__main__":
    main()
