"""Loops that programs are made of, against the same loops in NumPy, and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scan.checks import MODES, check_optimized_gradients, check_values, differences, uniform, value

import ltensor as theano
import ltensor.tensor as T
from ltensor.random import MRG_RandomStreams, RandomStreams


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


# ----------------------------------------------------------------------------- networks


def test_echo_state_network_of_the_tutorial() -> None:
    u, x0, win, win2, wback, w, wout = T.dmatrices("u", "x0", "win", "win2", "wback", "w", "wout")
    y0 = T.dvector("y0")

    def step(u4: Any, u0: Any, x3: Any, x1: Any, y1: Any, *weights: Any) -> Any:
        w, win, win2, wback, wout = weights
        x = T.tanh(T.dot(x1, w) + T.dot(u0, win) + T.dot(u4, win2) + T.dot(y1, wback))
        return [x, T.dot(x3, wout)]

    weights = [w, win, win2, wback, wout]
    (xs, ys), _ = theano.scan(
        step,
        sequences=dict(input=u, taps=[-4, -0]),
        outputs_info=[dict(initial=x0, taps=[-3, -1]), y0],
        non_sequences=weights,
        strict=True,
    )
    shapes = [(8, 2), (3, 4), (3,), (4, 4), (2, 4), (2, 4), (3, 4), (4, 3)]
    numbers = [uniform(*shape, seed=k) for k, shape in enumerate(shapes)]
    us, history, out, a, b, c, d, e = numbers
    rows, outs = list(history), []
    for t in range(4):
        rows.append(np.tanh(rows[-1] @ a + us[t + 4] @ b + us[t] @ c + out @ d))
        out = rows[-4] @ e
        outs.append(out)
    inputs = [u, x0, y0, *weights]
    check_values(inputs, [xs, ys], numbers, [rows[3:], outs])
    cost = (xs**2).sum() + ys[-1].sum()
    check_optimized_gradients(inputs, cost, inputs, numbers, tolerance=1e-5)


def test_lstm_with_masks_both_ways() -> None:
    x = T.dtensor3("x")
    mask, w, u = T.dmatrices("mask", "w", "u")
    size = 3

    def step(m: Any, z: Any, h: Any, c: Any, u: Any) -> Any:
        z = z + T.dot(h, u)
        i, f, o = (T.nnet.sigmoid(z[:, k * size : (k + 1) * size]) for k in range(3))
        new = f * c + i * T.tanh(z[:, 3 * size :])
        new = m[:, None] * new + (1.0 - m)[:, None] * c
        h = T.switch(m.dimshuffle(0, "x"), o * T.tanh(new), h)
        return h, new

    def layer(back: bool) -> Any:
        zeros = T.alloc(np.float64(0), x.shape[1], size)
        (h, _), _ = theano.scan(
            step, sequences=[mask, T.dot(x, w)], outputs_info=[zeros, zeros], non_sequences=[u],
            go_backwards=back,
        )  # fmt: skip
        return h[::-1] if back else h

    out = T.concatenate([layer(False), layer(True)], axis=2)
    pooled = (out * mask[:, :, None]).sum(0) / mask.sum(0)[:, None]
    masks = np.array([[1, 1], [1, 1], [1, 0], [1, 0.0]])
    numbers = [uniform(4, 2, 2), masks, uniform(2, 12), uniform(3, 12)]
    xs, _, a, b = numbers
    sides = []
    for order in (range(4), range(3, -1, -1)):
        h = c = np.zeros((2, 3))
        rows = {}
        for t in order:
            z = xs[t] @ a + h @ b
            i, f, o = (sigmoid(z[:, k * 3 : k * 3 + 3]) for k in range(3))
            m = masks[t][:, None]
            c = m * (f * c + i * np.tanh(z[:, 9:])) + (1 - m) * c
            h = np.where(m, o * np.tanh(c), h)
            rows[t] = h
        sides.append(np.stack([rows[t] for t in range(4)]))
    wanted = (np.concatenate(sides, axis=2) * masks[:, :, None]).sum(0) / masks.sum(0)[:, None]
    check_values([x, mask, w, u], pooled, numbers, wanted)
    check_optimized_gradients(
        [x, mask, w, u], (pooled**2).sum(), [x, w, u], numbers, tolerance=1e-5
    )


def test_attention_decoder() -> None:
    context, y = T.dtensor3s("context", "y")
    s0, wa, ua, w, v = T.dmatrices("s0", "wa", "ua", "w", "v")
    va = T.dvector("va")
    projected = T.dot(context, ua)

    def step(row: Any, s: Any, _c: Any, _a: Any, projected: Any, context: Any) -> Any:
        e = T.tanh(projected + T.dot(s, wa)[None, :, :]).dot(va)
        alpha = T.exp(e - e.max(0, keepdims=True))
        alpha = alpha / alpha.sum(0, keepdims=True)
        c = (context * alpha[:, :, None]).sum(0)
        return T.tanh(T.dot(s, w) + T.dot(c, v) + row), c, alpha.T

    batch = context.shape[1]
    (s, c, alpha), _ = theano.scan(
        step,
        sequences=[y],
        outputs_info=[
            s0, T.zeros((batch, context.shape[2])), T.zeros((batch, context.shape[0])),
        ],
        non_sequences=[projected, context],
    )  # fmt: skip
    shapes = [(4, 2, 3), (3, 2, 2), (2, 2), (2, 5), (3, 5), (2, 2), (3, 2), (5,)]
    numbers = [uniform(*shape, seed=k) for k, shape in enumerate(shapes)]
    cs, ys, state, *weights, last = numbers
    rows = []
    for row in ys:
        e = np.tanh(cs @ weights[1] + (state @ weights[0])[None]) @ last
        a = np.exp(e - e.max(0)) / np.exp(e - e.max(0)).sum(0)
        seen = (cs * a[:, :, None]).sum(0)
        state = np.tanh(state @ weights[2] + seen @ weights[3] + row)
        rows.append((state, seen, a.T))
    inputs = [context, y, s0, wa, ua, w, v, va]
    wanted = [np.array(part) for part in zip(*rows, strict=True)]
    check_values(inputs, [s, c, alpha], numbers, wanted)
    cost = (s**2).sum() + (alpha**2).sum() + c[-1].sum()
    check_optimized_gradients(inputs, cost, inputs, numbers, tolerance=1e-5)


def test_words_from_characters() -> None:
    characters = T.TensorType("int32", (False,) * 3)("characters")
    table, w, v = T.dmatrices("table", "w", "v")

    def word(rows: Any) -> Any:
        start = T.zeros((rows.shape[1], 3))
        h, _ = theano.scan(
            lambda c, h: T.tanh(table[c] + T.dot(h, w)), sequences=rows, outputs_info=start
        )
        return h[-1]

    states, _ = theano.scan(
        lambda rows, state: T.tanh(word(rows) + T.dot(state, v)),
        sequences=characters,
        outputs_info=T.zeros((characters.shape[2], 3)),
    )
    ids = np.random.RandomState(0).randint(0, 5, (2, 3, 2)).astype("int32")
    numbers = [ids, uniform(5, 3), uniform(3, 3), uniform(3, 3, seed=9)]
    state, wanted = np.zeros((2, 3)), []
    for rows in ids:
        h = np.zeros((2, 3))
        for c in rows:
            h = np.tanh(numbers[1][c] + h @ numbers[2])
        state = np.tanh(h + state @ numbers[3])
        wanted.append(state)
    inputs = [characters, table, w, v]
    check_values(inputs, states, numbers, wanted)
    check_optimized_gradients(inputs, (states**2).sum(), inputs[1:], numbers, tolerance=1e-5)


def test_tree_in_a_memory_of_rows() -> None:
    leaves, w = T.dmatrices("leaves", "w")
    left, right = T.ivectors("left", "right")
    first, inner = leaves.shape[0], left.shape[0]

    def step(a: Any, b: Any, k: Any, memory: Any) -> Any:
        h = T.tanh(T.dot(T.concatenate([memory[a], memory[b]]), w))
        return T.set_subtensor(memory[first + k], h)

    memories, _ = theano.scan(
        step,
        sequences=[left, right, T.arange(inner)],
        outputs_info=T.concatenate([leaves, T.zeros((inner, leaves.shape[1]))]),
    )
    root = memories[-1][-1]
    pairs = np.array([[0, 2, 4], [1, 3, 5]], "int32")
    numbers = [uniform(4, 3), *pairs, uniform(6, 3)]
    memory = np.vstack([numbers[0], np.zeros((3, 3))])
    for k, (a, b) in enumerate(pairs.T):
        memory[4 + k] = np.tanh(np.concatenate([memory[a], memory[b]]) @ numbers[3])
    check_values([leaves, left, right, w], root, numbers, memory[-1])
    check_optimized_gradients([leaves, left, right, w], (root**2).sum(), [leaves, w], numbers,
                    tolerance=1e-4)  # fmt: skip


def test_ctc_in_the_log_domain() -> None:
    scores, labels = T.dmatrix("scores"), T.ivector("labels")

    def log_add(a: Any, b: Any) -> Any:
        high = T.maximum(a, b)
        return high + T.log1p(T.exp(T.minimum(a, b) - high))

    fresh = T.neq(labels[2:], labels[:-2]) * T.neq(labels[2:], 0)
    skip = T.concatenate([T.zeros((2,)), T.cast(fresh, "float64")])

    def step(row: Any, before: Any) -> Any:
        one = T.concatenate([[-1e5], before[:-1]])
        two = T.switch(skip > 0, T.concatenate([[-1e5, -1e5], before[:-2]]), -1e5)
        return log_add(log_add(before, one), two) + row[labels]

    start = T.switch(T.arange(labels.shape[0]) < 1, np.float64(0), -1e5)
    alphas, _ = theano.scan(step, sequences=scores, outputs_info=start)
    cost = -log_add(alphas[-1, -1], alphas[-1, -2])
    ids = np.array([0, 1, 0, 2, 0], "int32")
    rows = np.log(np.exp(uniform(6, 3)) / np.exp(uniform(6, 3)).sum(1, keepdims=True))
    a = np.array([0, -1e5, -1e5, -1e5, -1e5])
    allowed = np.array([0, 0, 0, 1, 0])
    for row in rows:
        two = np.where(allowed, np.concatenate([[-1e5, -1e5], a[:-2]]), -1e5)
        a = np.logaddexp(np.logaddexp(a, np.concatenate([[-1e5], a[:-1]])), two) + row[ids]
    check_values([scores, labels], cost, (rows, ids), -np.logaddexp(a[-1], a[-2]))
    check_optimized_gradients([scores, labels], cost, [scores], (rows, ids), tolerance=1e-4)


def test_viterbi_path_walked_back() -> None:
    transitions, scores = T.dmatrices("transitions", "scores")

    def forward(row: Any, best: Any) -> Any:
        total = best[:, None] + transitions
        return T.max(total, 0) + row, T.argmax(total, 0)

    (best, back), _ = theano.scan(forward, sequences=scores[1:], outputs_info=[scores[0], None])
    last = T.argmax(best[-1])
    path, _ = theano.scan(
        lambda row, k: row[k], sequences=back, outputs_info=last, go_backwards=True
    )
    whole = T.concatenate([path[::-1], last.dimshuffle("x")])
    numbers = (uniform(3, 3), uniform(6, 3))
    d, pointers = numbers[1][0], []
    for row in numbers[1][1:]:
        total = d[:, None] + numbers[0]
        pointers.append(total.argmax(0))
        d = total.max(0) + row
    wanted = [d.argmax()]
    for row in reversed(pointers):
        wanted.insert(0, row[wanted[0]])
    check_values([transitions, scores], whole, numbers, wanted)
    check_optimized_gradients([transitions, scores], best[-1].max(), [transitions, scores], numbers)


# ----------------------------------------------------------------------------- numerics


def test_runge_kutta_and_its_sensitivities() -> None:
    start, p, dt = T.dvector("start"), T.dvector("p"), T.dscalar("dt")

    def lorenz(y: Any, p: Any, stack: Any) -> Any:
        return stack([p[0] * (y[1] - y[0]), y[0] * (p[1] - y[2]) - y[1], y[0] * y[1] - p[2] * y[2]])

    def step(y: Any, p: Any, dt: Any, stack: Any) -> Any:
        k1 = lorenz(y, p, stack)
        k2 = lorenz(y + dt / 2 * k1, p, stack)
        k3 = lorenz(y + dt / 2 * k2, p, stack)
        k4 = lorenz(y + dt * k3, p, stack)
        return y + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    ys, _ = theano.scan(lambda y: step(y, p, dt, T.stack), outputs_info=start, n_steps=12)
    numbers = (np.ones(3), np.array([10.0, 28.0, 8 / 3]), np.float64(0.01))

    def plain(p: Any) -> Any:
        rows = [numbers[0]]
        for _ in range(12):
            rows.append(step(rows[-1], p, numbers[2], np.array))
        return np.array(rows[1:])

    check_values([start, p, dt], ys, numbers, plain(numbers[1]))
    table = value([start, p, dt], theano.gradient.jacobian(ys[-1], p), *numbers)
    for k in range(3):
        e = 1e-6 * np.eye(3)[k]
        column = (plain(numbers[1] + e)[-1] - plain(numbers[1] - e)[-1]) / 2e-6
        np.testing.assert_allclose(table[:, k], column, rtol=1e-6, atol=1e-9)


def test_garch_and_arma_likelihoods() -> None:
    r, theta, phi, psi = T.dvector("r"), T.dvector("theta"), T.dvector("phi"), T.dscalar("psi")

    def garch(e: Any, before: Any, v: Any) -> Any:
        new = theta[0] + theta[1] * before**2 + theta[2] * v
        return [new, -0.5 * (T.log(new) + e**2 / new)]

    (_, terms), _ = theano.scan(
        garch, sequences=dict(input=r, taps=[0, -1]), outputs_info=[T.var(r), None]
    )
    rs, a = uniform(8), np.array([0.1, 0.2, 0.6])
    v, wanted = rs.var(), []
    for k in range(1, 8):
        v = a[0] + a[1] * rs[k - 1] ** 2 + a[2] * v
        wanted.append(-0.5 * (np.log(v) + rs[k] ** 2 / v))
    check_values([r, theta], terms, (rs, a), wanted)
    check_optimized_gradients(
        [r, theta], -terms.sum(), [r, theta], (rs, a), order=2, tolerance=1e-5
    )
    hessian = value([r, theta], theano.gradient.hessian(-terms.sum(), theta), rs, a)
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-8)

    def arma(y: Any, y1: Any, y2: Any, e1: Any) -> Any:
        forecast = phi[0] * y1 + phi[1] * y2 + psi * e1
        return [forecast, y - forecast]

    (forecasts, errors), _ = theano.scan(
        arma, sequences=dict(input=r, taps=[0, -1, -2]), outputs_info=[None, T.zeros_like(r[0])]
    )
    e, rows = 0.0, []
    for t in range(2, 8):
        f = 0.5 * rs[t - 1] - 0.2 * rs[t - 2] + 0.3 * e
        e = rs[t] - f
        rows.append((f, e))
    numbers = (rs, np.array([0.5, -0.2]), np.float64(0.3))
    check_values([r, phi, psi], [forecasts, errors], numbers, np.array(rows).T)
    check_optimized_gradients(
        [r, phi, psi], (errors**2).sum(), [r, phi, psi], numbers, tolerance=1e-5
    )


def test_two_loops_of_lbfgs() -> None:
    s, y, g = T.dmatrix("s"), T.dmatrix("y"), T.dvector("g")
    rho = 1.0 / (s * y).sum(1)

    def first(s: Any, y: Any, r: Any, q: Any) -> Any:
        alpha = r * T.dot(s, q)
        return [q - alpha * y, alpha]

    (qs, alphas), _ = theano.scan(
        first, sequences=[s, y, rho], outputs_info=[g, None], go_backwards=True
    )
    scale = T.dot(s[-1], y[-1]) / T.dot(y[-1], y[-1])
    zs, _ = theano.scan(
        lambda s, y, r, alpha, z: z + s * (alpha - r * T.dot(y, z)),
        sequences=[s, y, rho, alphas[::-1]],
        outputs_info=scale * qs[-1],
    )
    numbers = (uniform(3, 4), uniform(3, 4, seed=1) + 2, uniform(4))
    a, b, q = numbers
    alpha = {}
    for k in (2, 1, 0):
        alpha[k] = a[k] @ q / (a[k] @ b[k])
        q = q - alpha[k] * b[k]
    z = (a[-1] @ b[-1]) / (b[-1] @ b[-1]) * q
    for k in range(3):
        z = z + a[k] * (alpha[k] - b[k] @ z / (a[k] @ b[k]))
    check_values([s, y, g], zs[-1], numbers, z)
    check_optimized_gradients([s, y, g], (zs[-1] ** 2).sum(), [s, y, g], numbers, tolerance=1e-4)


def test_gradient_of_an_optimizer() -> None:
    rate, momentum = T.dscalars("rate", "momentum")
    start, target, a = T.dvector("start"), T.dvector("target"), T.dmatrix("a")

    def loss(w: Any) -> Any:
        return T.log(1 + T.exp(-T.dot(a, w) * target)).sum() + 0.1 * (w**2).sum()

    def step(w: Any, v: Any) -> Any:
        v = momentum * v - rate * theano.grad(loss(w), w)
        return w + v, v

    (ws, _), _ = theano.scan(step, outputs_info=[start, T.zeros_like(start)], n_steps=5)
    numbers = (np.float64(0.1), np.float64(0.5), uniform(3), np.sign(uniform(5)), uniform(5, 3))
    inputs = [rate, momentum, start, target, a]
    check_optimized_gradients(
        inputs, loss(ws[-1]), [rate, momentum, start, a], numbers, order=2, tolerance=1e-4
    )


# ----------------------------------------------------------------------------- sampling


def test_hybrid_monte_carlo() -> None:
    rng = RandomStreams(3)
    positions = theano.shared(uniform(4, 2), name="positions")

    def energy(q: Any) -> Any:
        return 0.5 * (q**2).sum(1) + 0.1 * (q**4).sum(1)

    def leap(q: Any, p: Any, e: Any) -> Any:
        p = p - 0.5 * e * theano.grad(energy(q).sum(), q)
        q = q + e * p
        return q, p - 0.5 * e * theano.grad(energy(q).sum(), q)

    def move(q: Any) -> Any:
        p = rng.normal(size=(4, 2))
        (qs, ps), updates = theano.scan(
            leap, outputs_info=[q, p], non_sequences=[np.float64(0.1)], n_steps=5
        )
        assert not updates
        change = energy(q) + 0.5 * (p**2).sum(1) - energy(qs[-1]) - 0.5 * (ps[-1] ** 2).sum(1)
        accepted = rng.uniform(size=(4,)) < T.exp(change)
        return T.switch(accepted.dimshuffle(0, "x"), qs[-1], q), change

    (chain, changes), updates = theano.scan(move, outputs_info=[positions, None], n_steps=6)
    assert len(updates) == 2
    updates[positions] = chain[-1]
    for mode in MODES:
        f = theano.function([], [chain, changes], updates=updates, mode=mode)
        rows, change = f()
        # leaps keep the energy
        assert np.abs(change).max() < 0.2
        np.testing.assert_array_equal(positions.get_value(), rows[-1])
        assert np.abs(rows[1:] - rows[:-1]).max() > 0.1


def test_noise_in_two_levels_is_the_noise_of_the_gradient() -> None:
    m, start = T.dmatrix("m"), T.dvector("start")
    for streams in (RandomStreams, MRG_RandomStreams):
        rng = streams(5)

        def inner(a: Any, h: Any, rng: Any = rng) -> Any:
            noise = rng.normal(size=(3,))
            return T.tanh(h + a * noise), noise

        def outer(row: Any, h: Any, inner: Any = inner) -> Any:
            (hs, noise), updates = theano.scan(inner, sequences=row, outputs_info=[h, None])
            return [hs[-1], noise], updates

        (hs, noise), updates = theano.scan(outer, sequences=m, outputs_info=[start, None])
        gradients = theano.grad((hs**2).sum(), [m, start])
        f = theano.function([m, start], [noise, *gradients], updates=updates)
        numbers = [uniform(2, 3), uniform(3)]
        for _ in range(2):
            drawn, *got = f(*numbers)
            assert len(np.unique(drawn)) == 18

            def plain(m: Any, h: Any, drawn: Any = drawn) -> float:
                total = 0.0
                for row, noises in zip(m, drawn, strict=True):
                    for a, e in zip(row, noises, strict=True):
                        h = np.tanh(h + a * e)
                    total += float((h**2).sum())
                return total

            for k, have in enumerate(got):
                np.testing.assert_allclose(
                    have, differences(plain, numbers, k), rtol=1e-5, atol=1e-8
                )


def test_rnn_with_a_machine_in_each_step() -> None:
    """A recurrent net gives the biases of restricted Boltzmann machines; Gibbs chains inside."""
    rng = RandomStreams(1)
    w, to_visible, back, recurrent = (
        theano.shared(0.3 * uniform(*shape)) for shape in [(4, 3), (2, 4), (4, 2), (2, 2)]
    )
    v = T.dmatrix("v")
    start = T.zeros((2,))

    def sample(v: Any, bias: Any, steps: int) -> Any:
        def gibbs(v: Any) -> Any:
            p = T.nnet.sigmoid(T.dot(v, w))
            h = rng.binomial(size=p.shape, n=1, p=p, dtype="float64")
            q = T.nnet.sigmoid(T.dot(h, w.T) + bias)
            return rng.binomial(size=q.shape, n=1, p=q, dtype="float64")

        chain, updates = theano.scan(gibbs, outputs_info=[v], n_steps=steps)
        return chain[-1], updates

    def recur(row: Any, u: Any, *_: Any) -> Any:
        return [T.tanh(T.dot(row, back) + T.dot(u, recurrent)), T.dot(u, to_visible)]

    (_, biases), _ = theano.scan(
        recur, sequences=v, outputs_info=[start, None], non_sequences=[w, back, recurrent]
    )
    drawn, updates = sample(v, biases, 3)

    def energy(v: Any) -> Any:
        return -(v * biases).sum() - T.log(1 + T.exp(T.dot(v, w))).sum()

    cost = energy(v) - energy(drawn)
    parameters = [w, to_visible, back, recurrent]
    with pytest.raises(theano.gradient.NullTypeGradError, match="random"):
        theano.grad(cost, parameters)
    gradients = theano.grad(cost, parameters, consider_constant=[drawn])
    for p, g in zip(parameters, gradients, strict=True):
        updates[p] = p - 0.1 * g
    train = theano.function([v], cost, updates=updates)
    rows = (uniform(6, 4) > 0) * 1.0
    before = [p.get_value() for p in parameters]
    assert np.isfinite([train(rows) for _ in range(3)]).all()
    for p, old in zip(parameters, before, strict=True):
        assert np.abs(p.get_value() - old).max() > 1e-6

    def generate(u: Any) -> Any:
        row, updates = sample(T.zeros((4,)), T.dot(u, to_visible), 5)
        return [row, recur(row, u)[0]], updates

    (music, _), updates = theano.scan(generate, outputs_info=[None, start], n_steps=8)
    f = theano.function([], music, updates=updates)
    one, two = f(), f()
    assert one.shape == (8, 4)
    assert set(np.unique(one)) <= {0.0, 1.0}
    assert (one != two).any()
