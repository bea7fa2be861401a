"""Indexing as programs do it: slices by expressions, lists, masks, nonzero, take, choose, sort,
topk, scatter."""

import numpy as np
import theano
import theano.tensor as T

floatX = theano.config.floatX


def main():
    rng = np.random.RandomState(3)
    v, m, t = T.vector("v"), T.matrix("m"), T.tensor3("t")
    i, j, idx, idx2 = T.iscalar("i"), T.lscalar("j"), T.ivector("idx"), T.lmatrix("idx2")
    V, M = rng.randn(7).astype(floatX), rng.randn(5, 4).astype(floatX)
    A = rng.randn(3, 4, 5).astype(floatX)
    I, J, X, X2 = 1, 3, np.array([2, 0, 2], dtype="int32"), np.array([[0, 1], [3, 3]])
    args, values = [v, m, t, i, j, idx, idx2], [V, M, A, I, J, X, X2]

    def check(output, expected):
        f = theano.function(args, output, on_unused_input="ignore")
        got = f(*values)
        np.testing.assert_allclose(got, expected, rtol=1e-5)
        assert got.shape == np.shape(expected)

    check(v[i:j], V[1:3])
    check(v[-j:], V[-3:])
    check(v[: v.shape[0] // 2], V[:3])
    check(v[j:i:-1], V[3:1:-1])
    check(v[::-1][:2], V[::-1][:2])
    check(v[10:], V[10:])
    check(m[i, ::2], M[1, ::2])
    check(m[-1], M[-1])
    check(m[:, i], M[:, 1])
    check(m[i:, :-1], M[1:, :-1])
    check(t[i, :, j], A[1, :, 3])
    check(t[..., 0], A[..., 0])
    check(t[:, :, ::-1].dimshuffle(2, 0, 1), A[:, :, ::-1].transpose(2, 0, 1))
    check(v[idx], V[X])
    check(m[idx], M[X])
    check(m[:, idx], M[:, X])
    check(m[idx, idx], M[X, X])
    check(m[idx2], M[X2])
    check(v[idx2], V[X2])
    check(t[idx, :, idx], A[X, :, X])
    check(t[:, idx, idx], A[:, X, X])
    check(t[i, idx], A[1, X])
    check(t[idx, 1:3], A[X, 1:3])
    check(m[[0, 2, 4]], M[[0, 2, 4]])
    check(m[T.arange(4), T.arange(4)[::-1]], M[np.arange(4), np.arange(4)[::-1]])
    check(m[T.arange(3)[:, None], idx[None, :]], M[np.arange(3)[:, None], X[None, :]])
    check(v[(v > 0).nonzero()], V[V > 0])
    check(m[T.gt(m, 0).nonzero()], M[M > 0])
    check(m[m > 0], M[M > 0])
    check(m[v[:5] > 0], M[V[:5] > 0])
    check((m > 0).nonzero()[0], (M > 0).nonzero()[0])
    check(T.nonzero_values(v * (v > 0)), V[V > 0])
    check(T.flatnonzero(v > 0), np.flatnonzero(V > 0))
    check(T.take(m, idx, axis=1), M.take(X, axis=1))
    check(m.take([0, 5, -1]), M.take([0, 5, -1]))
    check(v.take(idx2), V.take(X2))
    check(T.sort(m, axis=0), np.sort(M, axis=0))
    check(m[T.arange(5), T.argsort(m, axis=1)[:, -1]], M.max(axis=1))
    check(T.argsort(-v), np.argsort(-V))
    check(T.sort(T.topk(v, 3)), np.sort(V)[-3:])
    check(T.choose(idx, [v[:3], 2 * v[:3], 3 * v[:3]]), np.choose(X, [V[:3], 2 * V[:3], 3 * V[:3]]))
    check(T.extra_ops.diff(v), np.diff(V))
    check(T.extra_ops.bincount(idx), np.bincount(X))
    check(T.extra_ops.Unique()(idx), [0, 2])
    check(T.diagonal(m), np.diagonal(M))
    check(t.diagonal(0, 1, 2), A.diagonal(0, 1, 2))
    check(m.trace() if hasattr(m, "trace") else T.nlinalg.trace(m[:4]), np.trace(M))

    # Writing: set and increase, with slices, arrays, masks, repeated places.
    def put(a, key, b, add=False):
        a = a.copy()
        if add:
            np.add.at(a, key, b)
        else:
            a[key] = b
        return a

    check(T.set_subtensor(v[i:j], 0), put(V, slice(1, 3), 0))
    check(T.inc_subtensor(v[::2], v[::2]), put(V, slice(None, None, 2), V[::2], True))
    check(T.inc_subtensor(v[idx], 1), put(V, X, 1, True))
    check(T.set_subtensor(m[:, 1], v[:5]), put(M, (slice(None), 1), V[:5]))
    check(T.set_subtensor(m[i], 0.5), put(M, 1, 0.5))
    check(T.inc_subtensor(m[idx], m[:3]), put(M, X, M[:3], True))
    check(T.inc_subtensor(m[idx, idx], v[:3]), put(M, (X, X), V[:3], True))
    check(T.set_subtensor(m[m < 0], 0), np.maximum(M, 0))
    check(T.set_subtensor(m[(m < 0).nonzero()], 0), np.maximum(M, 0))
    check(T.set_subtensor(t[:, idx[:2], 1], 9), put(A, (slice(None), X[:2], 1), 9))
    check(T.inc_subtensor(t[idx, :, 0], 1), put(A, (X, slice(None), 0), 1, True))
    check(T.set_subtensor(t[1:, ::2, -1], m[:2, :2]), put(A, np.s_[1:, ::2, -1], M[:2, :2]))
    z = T.zeros_like(m)
    z = T.set_subtensor(z[T.arange(5), T.argmax(m, axis=1)], 1)
    check(z, np.eye(4)[M.argmax(1)])
    check(T.set_subtensor(v[0], v[1] + v[2], inplace=False)[:1], [V[1] + V[2]])

    # Gradients of reading scatter back, of writing cut out.
    out = (m[idx] ** 2).sum() + (m[:, ::-2] * 3).sum() + m[i, j] ** 3
    want = put(np.zeros_like(M), X, 2 * M[X], True)
    want[:, ::-2] += 3
    want[1, 3] += 3 * M[1, 3] ** 2
    check(T.grad(out, m), want)
    y = T.set_subtensor(m[idx], 2 * m[:3])
    check(T.grad((y * m).sum(), v, disconnected_inputs="ignore"), np.zeros(7))
    gm = T.grad((T.inc_subtensor(v[idx], v[:3] * 2) ** 2).sum(), v)
    u = put(V, X, 2 * V[:3], True)
    gw = 2 * u
    gw[:3] += 2 * (2 * u[X])
    check(gm, gw)

    # Iterating over what has a known length; unpacking shapes.
    rows, cols = m.shape
    check(rows * cols, 20)
    a, b, c = T.as_tensor_variable([v[0], v[1], v[2]])
    check(a + b + c, V[:3].sum())
    for bad in (lambda: list(m), lambda: m[0, 0, 0], lambda: m["a"], lambda: v[0.5]):
        try:
            bad()
        except (TypeError, ValueError, IndexError):
            pass
        else:
            raise AssertionError("wrong indexing passed")
    f = theano.function([v, i], v[i])
    for k in (7, -8):
        try:
            f(V, k)
        except IndexError as e:
            assert "out of bounds" in str(e), e
        else:
            raise AssertionError("index out of bounds passed")


if __name__ == "__main__":
    main()
