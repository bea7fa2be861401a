"""Spellings of ten years ago: star imports, module aliases, six, methods by their old names."""

from __future__ import absolute_import, division, print_function

import copy
import sys

import numpy
import theano
import theano.tensor as TT
from theano import function, gof, grad, scan, shared
from theano.compat import OrderedDict
from theano.compat.python2x import OrderedDict as OD2
from theano.compat.six.moves import range as xrange
from theano.compat.six.moves import zip as izip
from theano.gof import Apply, Op
from theano.ifelse import ifelse  # noqa: F401
from theano.sandbox import rng_mrg
from theano.sandbox.rng_mrg import MRG_RandomStreams as RandomStreams
from theano.scan_module import until
from theano.tensor import *  # noqa: F403
from theano.tensor import (
    TensorType,
    as_tensor_variable,
    dmatrix,
    dot,
    dscalar,
    dvector,
    exp,
    lscalar,
    sqr,
)
from theano.tensor.basic import TensorVariable, _allclose
from theano.tensor.nnet import sigmoid, softmax
from theano.tensor.shared_randomstreams import RandomStreams as CpuStreams
from theano.tensor.signal import conv as sigconv
from theano.tensor.signal import downsample as ds
from theano.tensor.sort import argsort, sort
from theano.tests import unittest_tools as utt

floatX = theano.config.floatX


def share(array, dtype=theano.config.floatX, name=None, borrow=True):
    return theano.shared(value=numpy.asarray(array, dtype=dtype), name=name, borrow=borrow)


def main():
    sys.setrecursionlimit(5000)
    x, y = dmatrix("x"), dscalar("y")
    assert isinstance(x, TensorVariable) and isinstance(x, theano.Variable)
    z = sqr(x).sum() * y + exp(y)
    gx, gy = grad(z, [x, y])
    f = function(inputs=[x, y], outputs=[z, gx, gy])
    xv = numpy.arange(6.0).reshape(2, 3)
    a, b, c = f(xv, 2.0)
    numpy.testing.assert_allclose([a, c], [110 + numpy.exp(2), 55 + numpy.exp(2)])
    numpy.testing.assert_allclose(b, 4 * xv)
    utt.assert_allclose(b, 4 * xv)
    assert _allclose(b, 4 * xv)

    # Types made by hand.
    bcol = TensorType("float64", (False, True))("bcol")
    assert bcol.type == TT.dcol and str(bcol.type) == "TensorType(float64, col)"
    t5 = TensorType(dtype="float32", broadcastable=[False] * 5, name="t5")()
    assert t5.ndim == 5 and t5.name is None
    u = theano.tensor.basic.as_tensor_variable([1, 2, 3])
    assert isinstance(u, theano.tensor.TensorConstant) and u.data.tolist() == [1, 2, 3]
    assert isinstance(u, gof.Constant) and u.value.sum() == 6
    assert theano.tensor.get_scalar_constant_value(TT.constant(5)) == 5
    try:
        theano.tensor.get_scalar_constant_value(y)
    except theano.tensor.NotScalarConstantError:
        pass
    else:
        raise AssertionError("y is not constant")

    # Methods and operators in every spelling.
    v = dvector("v")
    outs = [
        v.sum(), v.mean(), v.max(), v.min(), v.std(), v.var(), v.prod(), v.argmin(), v.norm(1),
        abs(v), -v, v**2, 2**v, v % 2, v // 2, v / 2, 1 / v, v.dot(v), v.clip(0, 1), v.sort(),
        v.argsort(), v.round(), v.astype("int32"), v.copy(), v.fill(2.0), v.cumsum(), v.conj(),
        TT.square(v), TT.inv(v), TT.sgn(v), TT.neq(v, 1), TT.le(v, 1), v.repeat(2), v.nonzero()[0],
        v.any(), v.all(), v.ptp(), v.dimshuffle("x", 0), v.flatten(), v.zeros_like(), v.ones_like(),
        v.size, v.shape[0], v.T, TT.max_and_argmax(v)[1],
        TT.bitwise_and(v.astype("int8"), 1), TT.iround(v), TT.trunc(v), TT.log1p(abs(v)), TT.erf(v),
        TT.gammaln(abs(v) + 1), TT.arctan2(v, 1), TT.deg2rad(v), v,
    ]  # fmt: skip
    got = theano.function([v], outs)(numpy.array([1.5, -2.0, 0.25]))
    assert len(got) == len(outs)
    for g in got:  # (all() is Theano's here, after the star import)
        assert numpy.isfinite(numpy.asarray(g, float)).all()
    assert got[5 + 4].tolist() == [1.5, 2.0, 0.25] and got[0] == -0.25

    # scan with positional arguments, a lambda with defaults, and steps given as a shared scalar.
    n = shared(numpy.int64(4))
    out, upd = scan(lambda p, s=y: p * s, None, as_tensor_variable(numpy.float64(1)), None, n)
    assert function([y], out)(3.0).tolist() == [3, 9, 27, 81]
    seq, _ = scan(lambda i, acc: (acc + i, until(acc > 5)), TT.arange(100), numpy.int64(0))
    assert function([], seq)().tolist() == [0, 1, 3, 6, 10]

    # Old ways with random numbers.
    for streams in (RandomStreams(3), CpuStreams(3), rng_mrg.MRG_RandomStreams(use_cuda=False)):
        r = streams.uniform((3, 2), low=-1.0, high=1.0)
        k = streams.binomial((50,), 1, 0.5)
        first = function([], [r, k])()
        assert (abs(first[0]) <= 1).all() and set(first[1]) <= {0, 1}
    cpu = CpuStreams(seed=9)
    draws = [
        cpu.permutation(n=5),
        cpu.random_integers((4,), low=2, high=6),
        cpu.choice(size=(3,), a=4),
    ]
    perm, ints, choice = function([], draws)()
    assert sorted(numpy.ravel(perm)) == [0, 1, 2, 3, 4]
    assert ints.min() >= 2 and ints.max() <= 6 and choice.max() < 4
    cpu.seed(9)
    assert (function([], cpu.uniform((2,)))() != 0).all()

    # Pooling and convolution of signals, sorting by function, deep copies.
    img = TT.tensor4("img")
    iv = numpy.arange(16.0).reshape(1, 1, 4, 4).astype(floatX)
    assert function([img], ds.max_pool_2d(img, (2, 2), ignore_border=True))(
        iv
    ).ravel().tolist() == [5, 7, 13, 15]
    one = sigconv.conv2d(x, TT.ones((2, 2)), border_mode="valid")
    assert function([x], one)(numpy.ones((3, 3))).tolist() == [[4, 4], [4, 4]]
    assert function([v], [sort(v), argsort(v)])([3.0, 1.0, 2.0])[1].tolist() == [1, 2, 0]
    w = share(numpy.eye(2), name="w")
    twin = copy.deepcopy(w)
    w.set_value(numpy.zeros((2, 2), dtype=floatX))
    assert twin.get_value().sum() == 2
    assert OrderedDict is not None and OD2([(1, 2)]) == OrderedDict([(1, 2)])
    assert list(izip(xrange(2), "ab")) == [(0, "a"), (1, "b")]
    assert issubclass(Op, object) and Apply is theano.Apply
    i = lscalar("i")
    g = function([i], softmax(sigmoid(dot(w, w))[i : i + 1]))
    numpy.testing.assert_allclose(g(0), [[0.5, 0.5]])


if __name__ == "__main__":
    main()
