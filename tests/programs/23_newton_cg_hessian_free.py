"""Second order: hessian, jacobian, Rop/Lop Gauss-Newton products, conjugate gradient in scan
with until."""

import numpy as np
import theano
import theano.tensor as T


def conjugate_gradient(product, b, n_steps, tol=1e-10):
    def step(x, r, p, rs):
        Ap = product(p)
        alpha = rs / T.dot(p, Ap)
        x = x + alpha * p
        r = r - alpha * Ap
        new = T.dot(r, r)
        return (x, r, r + new / rs * p, new), theano.scan_module.until(new < tol)

    (xs, _, _, rss), _ = theano.scan(
        step, outputs_info=[T.zeros_like(b), b, b, T.dot(b, b)], n_steps=n_steps
    )
    return xs[-1], rss


def main():
    rng = np.random.RandomState(0)
    # Newton's method on the Rosenbrock function.
    x = T.dvector("x")
    rosen = T.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
    g = T.grad(rosen, x)
    H = theano.hessian(rosen, x)
    newton = theano.function([x], [rosen, g, H, x - T.slinalg.solve(H, g)])
    point = np.array([-0.5, 0.3, 0.2])
    eps = 1e-6
    _, gv, Hv, _ = newton(point)
    for k in range(3):
        d = np.eye(3)[k] * eps
        np.testing.assert_allclose(
            Hv[k], (newton(point + d)[1] - newton(point - d)[1]) / (2 * eps), rtol=1e-5, atol=1e-4
        )
    for _ in range(30):
        value, _, _, point = newton(point)
    assert value < 1e-15, value
    np.testing.assert_allclose(point, 1, atol=1e-6)

    # Jacobian of a small net; forward and reverse products agree with it.
    W = theano.shared(rng.randn(3, 4), "W")
    out = T.tanh(T.dot(x, W)) ** 2
    v, u = T.dvector("v"), T.dvector("u")
    J = theano.gradient.jacobian(out, x)
    Jv, uJ = T.Rop(out, x, v), T.Lop(out, x, u)
    f = theano.function([x, v, u], [J, Jv, uJ])
    xv, vv, uv = rng.randn(3), rng.randn(3), rng.randn(4)
    jac, jv, uj = f(xv, vv, uv)
    assert jac.shape == (4, 3)
    np.testing.assert_allclose(jv, jac.dot(vv), rtol=1e-10)
    np.testing.assert_allclose(uj, uv.dot(jac), rtol=1e-10)

    # Hessian-free training: Gauss-Newton product J' L J v of a softmax classifier.
    X, y = T.dmatrix("X"), T.lvector("y")
    p = theano.shared(0.1 * rng.randn(3 * 8 + 8 * 3), name="p")
    W1, W2 = p[:24].reshape((3, 8)), p[24:].reshape((8, 3))
    logits = T.dot(T.tanh(T.dot(X, W1)), W2)
    loss = T.nnet.categorical_crossentropy(T.nnet.softmax(logits), y).mean()
    damping = T.dscalar("damping")

    def gauss_newton(vec):
        jv = T.Rop(logits, p, vec)
        probs = T.nnet.softmax(logits)
        Ljv = probs * jv - probs * (probs * jv).sum(axis=1, keepdims=True)
        return T.Lop(logits, p, Ljv / X.shape[0]) + damping * vec

    grad = T.grad(loss, p)
    direction, residuals = conjugate_gradient(gauss_newton, -grad, 40)
    step = theano.function([X, y, damping], [loss, residuals], updates=[(p, p + direction)])
    dense = theano.function(
        [X, y, damping, v], [gauss_newton(v), T.Rop(grad, p, v)], on_unused_input="ignore"
    )
    Xv = np.hstack([rng.uniform(-1, 1, (80, 2)), np.ones((80, 1))])
    yv = (Xv[:, 0] > 0).astype(int) + (Xv[:, 1] > 0.3)
    G = np.array([dense(Xv, yv, 0.0, e)[0] for e in np.eye(48)])
    np.testing.assert_allclose(G, G.T, atol=1e-12)
    assert np.linalg.eigvalsh(G).min() > -1e-12
    Hp = np.array([dense(Xv, yv, 0.0, e)[1] for e in np.eye(48)])
    np.testing.assert_allclose(Hp, Hp.T, atol=1e-10)
    losses = []
    for _ in range(15):
        value, res = step(Xv, yv, 0.01)
        losses.append(float(value))
        assert len(res) <= 40 and res[-1] < res[0]
    assert losses[-1] < 0.15 * losses[0], losses
    # CG solves the system it was given.
    A, b = T.dmatrix("A"), T.dvector("b")
    sol, rss = conjugate_gradient(lambda q: T.dot(A, q), b, 50)
    cg = theano.function([A, b], [sol, rss])
    Av = rng.randn(6, 6)
    Av = Av.dot(Av.T) + np.eye(6)
    bv = rng.randn(6)
    got, history = cg(Av, bv)
    np.testing.assert_allclose(got, np.linalg.solve(Av, bv), atol=1e-4)
    assert len(history) < 12


if __name__ == "__main__":
    main()
