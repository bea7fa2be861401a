"""Loops with unusual parts, against the same loops in NumPy, and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
from scan.checks import (
    check_gradients,
    check_optimized_gradients,
    check_values,
    compiled,
    uniform,
    value,
)

import ltensor as theano
import ltensor.tensor as T
from ltensor.gradient import disconnected_grad, grad_clip, zero_grad
from ltensor.ifelse import ifelse
from ltensor.ops.pool_api import pool_2d as signal_pool
from ltensor.scan_module import until


def test_sequences_that_are_views() -> None:
    m, v = T.dmatrix("m"), T.dvector("v")
    numbers = (uniform(4, 3), uniform(3))
    rows, _ = theano.scan(
        lambda a, b, c, d, h: T.tanh(a * b + c.sum() + d * h),
        sequences=[m.T, m[:3, 0], m[::-1][:3], T.alloc(v[1], 5)],
        outputs_info=m[:, 2],
    )
    ms, vs = numbers
    h, wanted = ms[:, 2], []
    for t in range(3):
        h = np.tanh(ms.T[t] * ms[t, 0] + ms[::-1][t].sum() + vs[1] * h)
        wanted.append(h)
    for read in (rows, rows[-1]):
        check_optimized_gradients([m, v], (read**2).sum(), [m, v], numbers, tolerance=1e-5)
    check_values([m, v], [rows, rows[-1]], numbers, [wanted, h])
    back, _ = theano.scan(
        lambda a, h: T.sin(a + h), sequences=rows, outputs_info=rows[-1], go_backwards=True
    )
    check_optimized_gradients([m, v], (back * rows).sum(), [m, v], numbers, tolerance=1e-5)


def test_states_of_several_ranks_with_flags() -> None:
    t, column, row = T.dtensor3("t"), T.dcol("column"), T.drow("row")
    (a, b, c), _ = theano.scan(
        lambda a, b, c: [
            a * b.dimshuffle(0, 1, "x") + c.dimshuffle("x", 0, 1), T.tanh(b + 1), c * b.sum(),
        ],
        outputs_info=[t, column, row],
        n_steps=3,
    )  # fmt: skip
    numbers = (uniform(2, 1, 3), uniform(2, 1), uniform(1, 3))
    state, wanted = numbers, []
    for _ in range(3):
        p, q, r = state
        state = (p * q[:, :, None] + r[None], np.tanh(q + 1), r * q.sum())
        wanted.append(state)
    parts = [np.array(part) for part in zip(*wanted, strict=True)]
    check_values([t, column, row], [a, b, c], numbers, parts)
    cost = (a**2).sum() + c.sum()
    check_optimized_gradients([t, column, row], cost, [t, column, row], numbers, tolerance=1e-4)


def test_every_form_of_outputs_info() -> None:
    x, s = T.dvector("x"), T.dscalar("s")

    def step(a: Any, h: Any, p: Any, q: Any, v: Any) -> Any:
        return (h + a, a * 2, p + q * a, p * q), {}

    shared = theano.shared(np.float64(0))
    results, updates = theano.scan(
        lambda *v: (*step(*v)[0], {shared: shared + 1})[:4],
        sequences=[dict(input=x)],
        outputs_info=[
            dict(initial=s), dict(), dict(initial=T.stack([s, s * 2]), taps=[-2, -1]),
            dict(initial=None),
        ],
        non_sequences=s,
    )  # fmt: skip
    assert not updates
    xs = uniform(4)
    h, history, wanted = 0.5, [0.5, 1.0], []
    for a in xs:
        h = h + a
        p, q = history[-2:]
        history.append(p + q * a)
        wanted.append((h, a * 2, history[-1], p * q))
    check_values([x, s], results, (xs, np.float64(0.5)), np.array(wanted).T)
    cost = (results[0] * results[1] * results[2] * results[3]).sum()
    check_optimized_gradients([x, s], cost, [x, s], (xs, np.float64(0.5)), order=2, tolerance=1e-4)


def test_gradients_that_the_step_changes() -> None:
    x, s, w = T.dvector("x"), T.dscalar("s"), T.dscalar("w")
    numbers = (uniform(4), np.float64(0.2), np.float64(3.0))
    h = [0.2]
    for a in numbers[0]:
        h.append(np.tanh(3 * h[-1] + a))

    def gradients(change: Any, read: Any) -> Any:
        rows, _ = theano.scan(lambda a, h: change(a, h), sequences=x, outputs_info=s)
        return value([x, s, w], theano.grad(read(rows), [x, s, w]), *numbers)

    got = gradients(lambda a, h: grad_clip(T.tanh(w * h + a), -0.1, 0.1), lambda r: r[-1])
    adjoint, by_x, by_w = 1.0, [], 0.0
    for before, after in zip(h[-2::-1], h[:0:-1], strict=True):
        adjoint = np.clip(adjoint, -0.1, 0.1) * (1 - after**2)
        by_x.insert(0, adjoint)
        by_w += adjoint * before
        adjoint *= 3
    for have, wanted in zip(got, (by_x, adjoint, by_w), strict=True):
        np.testing.assert_allclose(have, wanted)
    at_once = [(1 - after**2) for after in h[1:]]
    got = gradients(lambda a, h: T.tanh(w * zero_grad(h) + a), lambda r: r.sum())
    np.testing.assert_allclose(got[0], at_once)
    assert got[1] == 0
    rows, _ = theano.scan(
        lambda a, h: T.tanh(w * disconnected_grad(h) + a), sequences=x, outputs_info=s
    )
    by_w = value([x, s, w], theano.grad(rows.sum(), w), *numbers)
    np.testing.assert_allclose(by_w, np.dot(at_once, h[:-1]))


def test_stops_branches_and_loops_in_each_other() -> None:
    m, s = T.dmatrix("m"), T.dscalar("s")

    def outer(row: Any, h: Any) -> Any:
        inner, _ = theano.scan(
            lambda a, g: (T.tanh(g + a), until(g + a > 0.6)), sequences=row, outputs_info=h
        )
        new = ifelse(T.gt(inner.shape[0], 2), inner[-1], inner.sum())
        return new, until(T.gt(T.abs_(new), 1.5))

    rows, _ = theano.scan(outer, sequences=m, outputs_info=s)
    numbers = (uniform(6, 4, seed=3), np.float64(0.1))
    h, wanted = 0.1, []
    for row in numbers[0]:
        inner, g = [], h
        for a in row:
            stop = g + a > 0.6
            g = np.tanh(g + a)
            inner.append(g)
            if stop:
                break
        h = inner[-1] if len(inner) > 2 else sum(inner)
        wanted.append(h)
        if abs(h) > 1.5:
            break
    check_values([m, s], rows, numbers, wanted)
    check_optimized_gradients([m, s], (rows**2).sum(), [m, s], numbers, order=2, tolerance=1e-5)


def test_a_graph_with_a_loop_is_cloned_and_wrapped() -> None:
    x, s, z = T.dvector("x"), T.dscalar("s"), T.dvector("z")
    rows, _ = theano.scan(lambda a, h: T.tanh(a + h * s), sequences=x, outputs_info=T.zeros(()))
    replaced = theano.clone(rows, replace={x: z**2, s: z[0]})
    zs = uniform(4)
    h, wanted = 0.0, []
    for a in zs**2:
        h = np.tanh(a + h * zs[0])
        wanted.append(h)
    check_values([z], replaced, (zs,), wanted)
    check_optimized_gradients([z], replaced.sum(), [z], (zs,), order=2)
    op = theano.OpFromGraph([x, s], [rows])
    outer, _ = theano.scan(
        lambda k, h: op(z * k, h)[-1], sequences=T.arange(1, 4), outputs_info=z[1]
    )
    check_optimized_gradients([z], outer.sum(), [z], (zs,), tolerance=1e-5)


def test_sizes_of_outputs_that_only_the_outside_knows() -> None:
    n, x = T.iscalar("n"), T.dvector("x")
    (a, b), _ = theano.scan(
        lambda v: [T.arange(n) * v, T.zeros((n, x.shape[0])) + T.eye(n, x.shape[0]) * v],
        sequences=x,
    )
    xs = uniform(3)
    for size in (0, 1, 4):
        wanted = [np.arange(size) * v for v in xs], [np.eye(size, 3) * v for v in xs]
        check_values([n, x], [a, b], (size, xs), [np.array(part) for part in wanted])
        assert compiled([n, x], b)(size, xs[:0]).shape == (0, size, 0)


def test_a_step_computes_rows_for_a_matrix() -> None:
    """An invariant of a lower rank than the state, next to a row of a sequence."""
    m, start = T.dmatrices("m", "start")
    v = T.dvector("v")
    rows, _ = theano.scan(
        lambda a, h: T.tanh(h + (a * v + T.exp(v))), sequences=m, outputs_info=start
    )
    numbers = (uniform(4, 3), uniform(2, 3), uniform(3))
    h, wanted = numbers[1], []
    for a in numbers[0]:
        h = np.tanh(h + (a * numbers[2] + np.exp(numbers[2])))
        wanted.append(h)
    check_values([m, start, v], [rows, rows[-1]], numbers, [np.array(wanted), h])
    check_optimized_gradients([m, start, v], (rows[-1] ** 2).sum(), [m, start, v], numbers)


def test_extrema_of_what_the_gradient_computes_again() -> None:
    """A tie is found by comparing floats, which another order of operations would round apart."""
    m, start = T.dmatrix("m"), T.dvector("start")
    numbers = (uniform(4, 16), uniform(16))

    def product(a: Any, h: Any) -> Any:
        return T.tanh(a) * ((T.tanh(h) * a) * (T.tanh(h) * a) * 0.3)

    steps: list[Any] = [
        lambda a, h: T.maximum(product(a, h), -0.2),
        lambda a, h: T.minimum(product(a, h), a * h),
        lambda a, h: T.max(product(a, h)) + 0.5 * h,
        lambda a, h: T.min(product(a, h).reshape((4, 4)), axis=1).repeat(4) + 0.5 * h,
        lambda a, h: T.clip(product(a, h), -0.001, 0.001) + 0.5 * h,
        lambda a, h: (
            signal_pool(product(a, h).reshape((4, 4)), (2, 2), ignore_border=True)
            .flatten()
            .repeat(4)
            + h
        ),
    ]
    for step in steps:
        rows, _ = theano.scan(step, sequences=m, outputs_info=start)
        cost = (rows * T.arange(1, 17)).sum()
        check_gradients([m, start], cost, [m, start], numbers, tolerance=1e-6)
