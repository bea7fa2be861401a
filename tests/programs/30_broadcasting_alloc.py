"""alloc, unbroadcast, addbroadcast, patternbroadcast, Rebroadcast, shape_pad*, tile, repeat,
eye, roll."""

import numpy as np
import theano
import theano.tensor as T
from theano.compile import Rebroadcast

floatX = theano.config.floatX


def check(inputs, output, values, expected):
    got = theano.function(inputs, output, on_unused_input="ignore")(*values)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert got.shape == np.shape(expected), (got.shape, np.shape(expected))


def main():
    rng = np.random.RandomState(0)
    m, v, t = T.matrix("m"), T.vector("v"), T.tensor3("t")
    mv, vv = rng.randn(3, 4).astype(floatX), rng.randn(4).astype(floatX)
    tv = rng.randn(2, 3, 4).astype(floatX)

    # Flags.
    r, c = T.row("r"), T.col("c")
    assert r.broadcastable == (True, False) and c.type.broadcastable == (False, True)
    assert (r + m).broadcastable == (False, False)
    assert T.unbroadcast(r, 0).broadcastable == (False, False)
    assert T.addbroadcast(m, 1).broadcastable == (False, True)
    assert T.patternbroadcast(m, (True, False)).broadcastable == (True, False)
    assert Rebroadcast((0, True))(m).broadcastable == (True, False)
    assert m.sum(axis=1, keepdims=True).broadcastable == (False, True)
    assert T.alloc(0.0, 1, v.shape[0]).broadcastable == (True, False)
    assert m.dimshuffle("x", 1, 0).broadcastable == (True, False, False)
    assert T.shape_padleft(v, 2).broadcastable == (True, True, False)
    assert T.shape_padright(v).broadcastable == (False, True)
    assert T.shape_padaxis(m, 1).broadcastable == (False, True, False)
    assert t[:, None, :, :].broadcastable[1]
    assert T.TensorType(floatX, (False, True, False))("q").ndim == 3

    # A matrix with one row is not a row unless told so.
    f = theano.function([m, v], m + v)
    try:
        theano.function([m, t], m + t[0])(mv[:1], tv)
    except ValueError as e:
        assert "mis-match" in str(e) or "dimension" in str(e), e
    else:
        raise AssertionError("a matrix of one row was broadcast")
    check([m, t], T.addbroadcast(m, 0) + t[0], [mv[:1], tv], mv[:1] + tv[0])
    check([m, v], m + v, [mv, vv], mv + vv)
    assert f(mv, vv).shape == (3, 4)
    lie = theano.function([m], T.addbroadcast(m, 0) * 2)
    try:
        lie(mv)
    except ValueError as e:
        assert "Rebroadcast" in str(e), e
    else:
        raise AssertionError("Rebroadcast did not check")

    # Making arrays.
    n = T.iscalar("n")
    check([n], T.eye(n, n + 1, 1), [3], np.eye(3, 4, 1))
    check([n], T.alloc(np.float32(2), n, 2), [3], np.full((3, 2), 2.0))
    check([v, n], T.alloc(v, n, v.shape[0]), [vv, 2], np.tile(vv, (2, 1)))
    check([m], T.ones_like(m) * T.zeros((3, 1)), [mv], np.zeros((3, 4)))
    check([n], T.arange(1, n, 2), [8], np.arange(1, 8, 2))
    check([m], T.identity_like(m[:, :3]), [mv], np.eye(3))
    check([v], T.diag(v), [vv], np.diag(vv))
    check([m], T.diag(m), [mv], np.diag(mv))
    check([v], T.fill(v, 3), [vv], np.full(4, 3.0))
    check([m], T.tril(m) + T.triu(m, 1), [mv], mv)
    check([m], T.fill_diagonal(m[:, :3], 9), [mv], mv[:, :3] * (1 - np.eye(3)) + 9 * np.eye(3))

    # Rearranging.
    check([m], T.tile(m, (2, 3)), [mv], np.tile(mv, (2, 3)))
    check([m], T.tile(m, (2, 1, 1), ndim=3), [mv], np.tile(mv, (2, 1, 1)))
    check([m], T.repeat(m, 2, axis=1), [mv], np.repeat(mv, 2, axis=1))
    check([v, n], v.repeat(n), [vv, 3], vv.repeat(3))
    check([m], T.repeat(m, T.constant([1, 0, 2]), axis=0), [mv], mv.repeat([1, 0, 2], axis=0))
    check([m], T.roll(m, 1, axis=0), [mv], np.roll(mv, 1, axis=0))
    check([t], t.swapaxes(0, 2), [tv], tv.swapaxes(0, 2))
    check([t], t.transpose(2, 0, 1), [tv], tv.transpose(2, 0, 1))
    check([t], t.T, [tv], tv.T)
    check([t], T.flatten(t, 2), [tv], tv.reshape(2, 12))
    check([t], t.reshape((t.shape[0], -1)), [tv], tv.reshape(2, 12))
    check([t], T.reshape(t, [6, 4], ndim=2), [tv], tv.reshape(6, 4))
    check([t], t.ravel(), [tv], tv.ravel())
    check([m], T.addbroadcast(m[:1], 0).squeeze(), [mv], mv[0])
    check([m], m[::-1, ::-2], [mv], mv[::-1, ::-2])
    check([m], T.concatenate([m, m + 1], axis=-1), [mv], np.concatenate([mv, mv + 1], -1))
    check([m], T.stack([m, -m], axis=1), [mv], np.stack([mv, -mv], axis=1))
    check([v], T.stack([v[0], v[1] * 2]), [vv], [vv[0], 2 * vv[1]])
    check([m], T.horizontal_stack(m, m), [mv], np.hstack([mv, mv]))
    check([m], T.vertical_stack(m, m), [mv], np.vstack([mv, mv]))
    a, b = T.split(m, [1, 3], n_splits=2, axis=1)
    check([m], a, [mv], mv[:, :1])
    check([m], b, [mv], mv[:, 1:])
    check([m, v], T.outer(v, m[0]), [mv, vv], np.outer(vv, mv[0]))
    check([t], T.tensordot(t, t, axes=[[1, 2], [1, 2]]), [tv], np.tensordot(tv, tv, [[1, 2]] * 2))
    check([t], T.batched_dot(t, t.dimshuffle(0, 2, 1)), [tv], np.matmul(tv, tv.swapaxes(1, 2)))
    check([t], T.batched_tensordot(t, t, [2, 2]), [tv], np.einsum("bij,bkj->bik", tv, tv))
    check([m], T.as_tensor_variable([m[0, 0], m[1, 1]]), [mv], [mv[0, 0], mv[1, 1]])
    # Gradients of broadcasting sum over the stretched axes.
    rr, cc = rng.randn(1, 4).astype(floatX), rng.randn(3, 1).astype(floatX)
    g = theano.function([r, c], T.grad(T.sum((r * c) ** 2), [r, c]))(rr, cc)
    np.testing.assert_allclose(g[0], 2 * rr * (cc**2).sum(), rtol=1e-5)
    np.testing.assert_allclose(g[1], 2 * cc * (rr**2).sum(), rtol=1e-5)


if __name__ == "__main__":
    main()
