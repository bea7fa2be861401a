"""Typical mistakes: each must raise the right exception and show the line that made it."""

import numpy as np
import theano
import theano.tensor as T

floatX = theano.config.floatX
HERE = __file__.replace("\\", "/").rsplit("/", 1)[-1]


def fails(kind, action, *words):
    try:
        action()
    except kind as e:
        text = str(e)
        for word in words:
            assert word in text, "%r is not in:\n%s" % (word, text)
        return text
    raise AssertionError("nothing was raised; expected %s" % kind)


def main():
    x, y, v = T.matrix("x"), T.matrix("y"), T.vector("v")
    ones = lambda *s: np.ones(s, dtype=floatX)  # noqa: E731

    # Shapes at run time: the user's line, the shapes, the op.
    product = T.dot(x, y)  # LINE dot
    f = theano.function([x, y], product)
    fails(ValueError, lambda: f(ones(2, 3), ones(2, 3)), "(2, 3)", "LINE dot", HERE)
    total = x + y  # LINE add
    g = theano.function([x, y], total * 2)
    fails(ValueError, lambda: g(ones(2, 3), ones(2, 4)), "mis-match", "3", "4", "LINE add", HERE)

    # ... inside scan.
    W = theano.shared(ones(4, 4), "W")

    def step(row, h):
        return T.tanh(T.dot(row, W) + h)  # LINE scan

    out, _ = theano.scan(step, sequences=x, outputs_info=T.zeros((4,)))
    h = theano.function([x], out)
    assert h(ones(2, 4)).shape == (2, 4)
    fails(ValueError, lambda: h(ones(2, 3)), "LINE scan", HERE)

    # ... in reshape, join, set_subtensor, indexing, advanced indexing, in an update.
    r = theano.function([x], x.reshape((2, 5)))  # LINE reshape
    fails(ValueError, lambda: r(ones(2, 3)), "LINE reshape")
    joined = T.concatenate([x, y], axis=0)  # LINE join
    c = theano.function([x, y], joined)
    fails(ValueError, lambda: c(ones(2, 3), ones(2, 4)), "LINE join")
    put = T.set_subtensor(x[:, 0], v)  # LINE set
    s = theano.function([x, v], put)
    fails(ValueError, lambda: s(ones(2, 3), ones(3)), "LINE set")
    idx = T.ivector("idx")
    picked = x[idx]  # LINE take
    k = theano.function([x, idx], picked)
    fails(IndexError, lambda: k(ones(2, 3), [5]), "5", "LINE take")
    nll = -T.log(x)[T.arange(idx.shape[0]), idx]  # LINE nll
    n = theano.function([x, idx], nll)
    fails(IndexError, lambda: n(ones(2, 3), [0, 7]), "7", "LINE nll")
    p = T.nnet.categorical_crossentropy(T.nnet.softmax(x), idx).mean()  # LINE xent
    q = theano.function([x, idx], p)
    fails((ValueError, IndexError), lambda: q(ones(2, 3), [0, 7]), "LINE xent")
    img, flt = T.tensor4("img"), T.tensor4("flt")
    conv = T.nnet.conv2d(img, flt)  # LINE conv
    cf = theano.function([img, flt], conv)
    fails(ValueError, lambda: cf(ones(1, 3, 5, 5), ones(2, 4, 3, 3)), "LINE conv")

    # When building.
    fails(theano.gof.fg.MissingInputError, lambda: theano.function([x], x + y), "y")
    fails(TypeError, lambda: T.grad(x * 2, x), "cost must be a scalar")
    lone = T.matrix("lone")  # LINE lone
    fails(theano.gradient.DisconnectedInputError, lambda: T.grad(x.sum(), lone), "LINE lone")
    w32 = theano.shared(np.float32([1, 2]), "w32")
    fails(
        TypeError,
        lambda: theano.function([], updates=[(w32, w32 * np.float64(2))]),  # a float64
        "must have the same type",
        "float32",
        "float64",
        "# a float64",
    )
    fails(TypeError, lambda: theano.function([x], x, updates=[(y, x)]))
    fails(ValueError, lambda: x.dimshuffle(0), "drop a non-broadcastable")
    fails(TypeError, lambda: bool(x > 0))
    fails(TypeError, lambda: T.concatenate([x, v]))
    fails(ValueError, lambda: x.reshape(idx), "ndim")
    fails(TypeError, lambda: theano.function([x], x)(ones(3)), "dimensions", HERE)
    fails(TypeError, lambda: theano.function([idx], idx)([0.5]))
    fails(ValueError, lambda: T.sum(x, axis=2))
    fails(ValueError, lambda: theano.scan(lambda: x, outputs_info=None), "number of steps")
    fails(
        ValueError,
        lambda: theano.scan(lambda a, b: T.stack([a, b]), sequences=v, outputs_info=v[0]),
        "dimension",
    )
    fails(
        ValueError,
        lambda: theano.scan(
            lambda a, b: T.cast(a + b, "float64"), sequences=v, outputs_info=np.float32(0)
        ),
        "initial state",
    ) if floatX == "float64" else None
    fails(AttributeError, lambda: T.no_such_function, "no_such_function")
    fails(AttributeError, lambda: x.no_such_method, "no_such_method")
    fails((ValueError, TypeError), lambda: list(x))
    # A Python error inside the step function comes out as it is.
    fails(ZeroDivisionError, lambda: theano.scan(lambda a: a / (1 // 0), sequences=v))
    # The function works after a failure.
    assert f(ones(2, 3), ones(3, 2)).sum() == 12
    assert h(ones(2, 4)).shape == (2, 4)


if __name__ == "__main__":
    main()
