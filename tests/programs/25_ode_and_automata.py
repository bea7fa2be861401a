"""ODE integrators in scan (Euler, RK4, adjoint gradient of parameters), Game of Life, sieve,
fractals."""

import numpy as np
import theano
import theano.tensor as T

floatX = theano.config.floatX


def rk4(f, y, dt):
    k1 = f(y)
    k2 = f(y + dt / 2 * k1)
    k3 = f(y + dt / 2 * k2)
    k4 = f(y + dt * k3)
    return y + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def odes():
    omega, y0 = T.dscalar("omega"), T.dvector("y0")
    n = T.iscalar("n")

    def field(y):
        return T.stack([y[1], -(omega**2) * y[0]])

    dt = 0.05
    path, _ = theano.scan(lambda y: rk4(field, y, dt), outputs_info=[y0], n_steps=n)
    euler = theano.scan(lambda y: y + dt * field(y), outputs_info=y0, n_steps=n)[0]
    loss = T.sqr(path[-1][0] - 0.25)
    f = theano.function([omega, y0, n], [path, euler, loss, T.grad(loss, omega), T.grad(loss, y0)])
    p, e, l, g, gy = f(1.3, [1.0, 0.0], 100)
    t = dt * np.arange(1, 101)
    np.testing.assert_allclose(p[:, 0], np.cos(1.3 * t), atol=1e-5)
    assert np.abs(e[:, 0] - np.cos(1.3 * t)).max() > 0.05  # and Euler is worse
    np.testing.assert_allclose(l, (p[-1, 0] - 0.25) ** 2)
    h = 1e-6
    numeric = (f(1.3 + h, [1.0, 0.0], 100)[2] - f(1.3 - h, [1.0, 0.0], 100)[2]) / (2 * h)
    np.testing.assert_allclose(g, numeric, rtol=1e-5)
    numeric = (f(1.3, [1.0 + h, 0], 100)[2] - f(1.3, [1.0 - h, 0], 100)[2]) / (2 * h)
    np.testing.assert_allclose(gy[0], numeric, rtol=1e-5)


def lorenz():
    s = T.dvector("s")

    def field(q):
        x, y, z = q[0], q[1], q[2]
        return T.stacklists([10.0 * (y - x), x * (28.0 - z) - y, x * y - 8.0 / 3 * z])

    path, _ = theano.scan(fn=lambda q: rk4(field, q, 0.01), outputs_info=s, n_steps=200)
    got = theano.function([s], path)([1.0, 1.0, 1.0])
    q = np.ones(3)

    def plain(v):
        x, y, z = v
        return np.array([10.0 * (y - x), x * (28.0 - z) - y, x * y - 8.0 / 3 * z])

    for row in got:
        q = rk4(plain, q, 0.01)
        # With floatX=float32 the constant 8/3 is a float32.
        np.testing.assert_allclose(row, q, rtol=1e-6 if floatX == "float64" else 1e-3)


def life():
    board = T.bmatrix("board")

    def step(b):
        padded = T.zeros((b.shape[0] + 2, b.shape[1] + 2), dtype="int8")
        padded = T.set_subtensor(padded[1:-1, 1:-1], b)
        around = sum(
            padded[1 + i : padded.shape[0] - 1 + i, 1 + j : padded.shape[1] - 1 + j]
            for i in (-1, 0, 1)
            for j in (-1, 0, 1)
            if i or j
        )
        alive = T.or_(T.eq(around, 3), T.and_(T.eq(around, 2), T.eq(b, 1)))
        return T.cast(alive, "int8"), theano.scan_module.until(T.eq(alive.sum(), 0))

    boards, _ = theano.scan(step, outputs_info=[board], n_steps=40)
    play = theano.function([board], boards)
    glider = np.zeros((8, 8), dtype="int8")
    glider[[0, 1, 2, 2, 2], [1, 2, 0, 1, 2]] = 1
    got = play(glider)
    assert got.shape == (40, 8, 8)
    np.testing.assert_array_equal(got[3], np.roll(glider, (1, 1), axis=(0, 1)))
    np.testing.assert_array_equal(got[7], np.roll(glider, (2, 2), axis=(0, 1)))
    lonely = np.zeros((4, 4), dtype="int8")
    lonely[1, 1] = 1
    assert len(play(lonely)) == 1


def rule110():
    cells = T.ivector("cells")
    table = T.constant(np.array([0, 1, 1, 1, 0, 1, 1, 0], dtype="int32"))
    rows, _ = theano.scan(
        lambda c, t: t[4 * T.roll(c, 1) + 2 * c + T.roll(c, -1)],
        outputs_info=cells,
        non_sequences=table,
        n_steps=20,
    )
    start = np.zeros(31, dtype="int32")
    start[-1] = 1
    got = theano.function([cells], rows)(start)
    c = start
    for row in got:
        c = np.array([0, 1, 1, 1, 0, 1, 1, 0])[4 * np.roll(c, 1) + 2 * c + np.roll(c, -1)]
        assert (row == c).all()


def mandelbrot():
    re, im = T.dmatrices("re", "im")
    n = T.iscalar("n")

    def step(zr, zi, count, cr, ci):
        inside = zr**2 + zi**2 <= 4
        r, i = zr**2 - zi**2 + cr, 2 * zr * zi + ci
        return T.switch(inside, r, zr), T.switch(inside, i, zi), count + T.cast(inside, "int32")

    (_, _, counts), _ = theano.scan(
        step,
        outputs_info=[re * 0, im * 0, T.zeros_like(re, dtype="int32")],
        non_sequences=[re, im],
        n_steps=n,
    )
    f = theano.function([re, im, n], counts[-1])
    r, i = np.meshgrid(np.linspace(-2, 1, 24), np.linspace(-1, 1, 16))
    got = f(r, i, 40)
    z, c, want = np.zeros_like(r) * 1j, r + 1j * i, np.zeros(r.shape, dtype=int)
    for _ in range(40):
        inside = z.real**2 + z.imag**2 <= 4
        want += inside
        z = np.where(inside, z * z + c, z)
    assert (got == want).mean() > 0.99 and got.max() == 40


def main():
    odes()
    lorenz()
    life()
    rule110()
    mandelbrot()


if __name__ == "__main__":
    main()
