"""Gradients that keep some states only: the numbers of the plain loop in less memory."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T
from ltensor.errors import UnsupportedError
from ltensor.passes.pipeline import optimize
from ltensor.random.mrg import MRG_RandomStreams
from ltensor.random.philox import PhiloxStreams
from ltensor.random.streams import RandomStreams
from tests.scan.checks import MODES, check_gradients, compiled

RNG = np.random.default_rng(5)


def draw(*sizes: int) -> Any:
    """Numbers that keep loops tame."""
    return RNG.uniform(-0.5, 0.5, sizes)


def same_as_plain(
    build: Any, inputs: list[Any], arguments: list[Any], wrt: list[Any], *, order: int = 1,
    sizes: Any = (1, 3, "auto"), modes: Any = MODES,
) -> None:  # fmt: skip
    """Values and gradients of ``build(checkpoint)`` are those of ``build(None)``."""

    def everything(checkpoint: Any) -> list[Any]:
        cost = build(checkpoint)
        results = [cost]
        for _ in range(order):
            gradients = theano.grad(cost, wrt, disconnected_inputs="ignore")
            results += gradients
            cost = sum((g**2).sum() * (k + 1) for k, g in enumerate(gradients))
        return results

    wanted = compiled(inputs, everything(None))(*arguments)
    for size in sizes:
        results = everything(size)
        for mode in modes:
            got = compiled(inputs, results, mode)(*arguments)
            for number, (have, want) in enumerate(zip(got, wanted, strict=True)):
                np.testing.assert_allclose(
                    have, want, rtol=1e-8, atol=1e-11, err_msg=f"{size}, {mode}, result {number}"
                )


def rows_of(last_only: bool, result: Any) -> Any:
    return result[-1] if last_only else result


@pytest.mark.parametrize("last_only", [True, False], ids=["last", "all"])
@pytest.mark.parametrize("steps", [0, 1, 2, 7])
def test_several_taps_outs_sequences_and_refs(last_only: bool, steps: int) -> None:
    x, h0, p0, w = T.dmatrix("x"), T.dvector("h0"), T.dmatrix("p0"), T.dmatrix("w")
    if last_only and steps == 0:
        pytest.skip("there is no last row")

    def build(checkpoint: Any) -> Any:
        def step(now: Any, ahead: Any, h: Any, p1: Any, p3: Any, w: Any) -> Any:
            new = T.tanh(T.dot(h, w) + now + 0.3 * p3 * p1)
            return new, T.sin(new * p1) + ahead, new * p3 + now

        (h, p, out), _ = theano.scan(
            step,
            [dict(input=x, taps=[0, 2])],
            [h0, dict(initial=p0, taps=[-1, -3]), None],
            [w],
            checkpoint=checkpoint,
        )
        parts = (rows_of(last_only, v) for v in (h, p, out))
        return sum((v**2).sum() * (k + 1) for k, v in enumerate(parts))

    arguments = [draw(steps + 2, 3), draw(3), draw(4, 3), draw(3, 3)]
    same_as_plain(build, [x, h0, p0, w], arguments, [x, h0, p0, w])


def test_gradients_are_those_of_differences() -> None:
    x, h0, w = T.dmatrix("x"), T.dvector("h0"), T.dmatrix("w")
    h, _ = theano.scan(lambda row, h, w: T.tanh(T.dot(h, w) + row), x, h0, [w], checkpoint=2)
    cost = (h[-1] ** 2).sum() + h[::2].sum()
    check_gradients([x, h0, w], cost, [x, h0, w], [draw(5, 2), draw(2), draw(2, 2)], order=2)


def test_scalar_state_and_its_second_and_third_derivative() -> None:
    a, h0, n = T.dscalar("a"), T.dscalar("h0"), T.lscalar("n")

    def build(checkpoint: Any) -> Any:
        h, _ = theano.scan(
            lambda h: T.sin(a * h) + 0.5, outputs_info=h0, n_steps=n, checkpoint=checkpoint
        )
        return h[-1] ** 2

    arguments = [0.7, 0.3, 11]
    same_as_plain(build, [a, h0, n], arguments, [a, h0], order=2)
    same_as_plain(build, [a, h0, n], arguments, [a, h0], order=3, sizes=(4,), modes=["FAST_RUN"])


def test_sequence_longer_than_the_loop_backwards_and_integer() -> None:
    x, h0, n = T.dmatrix("x"), T.dvector("h0"), T.lscalar("n")

    def build(checkpoint: Any) -> Any:
        (h, _), _ = theano.scan(
            lambda row, h, k: (T.tanh(h * row) + k, k + 1),
            x,
            [h0, T.constant(np.int64(3))],
            n_steps=n,
            go_backwards=True,
            checkpoint=checkpoint,
        )
        return (h[-1] ** 2).sum()

    same_as_plain(build, [x, h0, n], [draw(9, 2), draw(2), 5], [x, h0])


def test_same_array_is_sequence_state_and_ref() -> None:
    x = T.dmatrix("x")

    def build(checkpoint: Any) -> Any:
        h, _ = theano.scan(
            lambda row, h, first: T.tanh(row * h) + first, x, x[0], [x[0]], checkpoint=checkpoint
        )
        return (h[-1] * x[1]).sum()

    same_as_plain(build, [x], [draw(6, 3)], [x], order=2)


def test_sequence_that_is_read_nested() -> None:
    x, h0 = T.dmatrix("x"), T.dscalar("h0")

    def build(checkpoint: Any) -> Any:
        def step(row: Any, h: Any) -> Any:
            inner, _ = theano.scan(
                lambda v, s: T.sin(s * v + h), row, T.zeros_like(h), checkpoint=checkpoint
            )
            return T.tanh(inner[-1] + h)

        h, _ = theano.scan(step, x, h0, checkpoint=checkpoint)
        return h[-1] ** 2

    same_as_plain(build, [x, h0], [draw(5, 4), 0.3], [x, h0], sizes=(2, "auto"))


def test_updates_in_the_loop() -> None:
    h0 = T.dvector("h0")
    state = theano.shared(np.array([0.3, 0.2]), name="state")

    def build(checkpoint: Any) -> Any:
        h, updates = theano.scan(
            lambda h: (T.tanh(h * state), {state: T.cos(state) * h}),
            outputs_info=h0,
            n_steps=7,
            checkpoint=checkpoint,
        )
        final = updates[state]
        gradient = theano.grad((h[-1] * final).sum(), h0)
        return compiled([h0], [h[-1], gradient], updates=updates)

    point = draw(2)
    state.set_value(np.array([0.3, 0.2]))
    wanted = build(None)(point)
    after = state.get_value()
    for size in (2, 3, "auto"):
        state.set_value(np.array([0.3, 0.2]))
        for have, want in zip(build(size)(point), wanted, strict=True):
            np.testing.assert_allclose(have, want, rtol=1e-12)
        np.testing.assert_allclose(state.get_value(), after, rtol=1e-12)


@pytest.mark.parametrize("kind", [MRG_RandomStreams, PhiloxStreams])
def test_draws_are_the_same_when_computed_again(kind: Any) -> None:
    h0 = T.dvector("h0")

    def build(checkpoint: Any) -> Any:
        stream = kind(seed=4)
        h, updates = theano.scan(
            lambda h: T.tanh(h * stream.normal((3,))) + 0.1,
            outputs_info=h0,
            n_steps=8,
            checkpoint=checkpoint,
        )
        gradient = theano.grad(h[-1].sum(), h0)
        f = compiled([h0], [h[-1], gradient], updates=updates)
        point = np.array([0.5, -0.4, 0.3])
        return [*f(point), *f(point)]

    for have, want in zip(build(3), build(None), strict=True):
        np.testing.assert_allclose(have, want, rtol=1e-12)


def test_state_of_numpy_draws_cannot_be_kept_by_block() -> None:
    stream, h0 = RandomStreams(seed=4), T.dvector("h0")
    h, _ = theano.scan(lambda h: h * stream.normal((3,)), outputs_info=h0, n_steps=8, checkpoint=3)
    with pytest.raises(UnsupportedError, match="MRG_RandomStreams"):
        theano.grad(h[-1].sum(), h0)


# ------------------------------------------------------------------------------------- forward


def _scans(function: Any) -> list[str]:
    return [str(node.op) for node in function.nodes if "for{" in str(node.op)]


def _optimized(inputs: Any, outputs: Any) -> Any:
    from ltensor.ir.function import Function

    return optimize(Function(inputs, outputs, "f"))


def test_the_forward_loop_is_not_run_twice() -> None:
    h0, a, n = T.dvector("h0"), T.dvector("a"), T.lscalar("n")
    h, _ = theano.scan(
        lambda h: T.tanh(a * h) + h.mean(), outputs_info=h0, n_steps=n, name="f", checkpoint="auto"
    )
    last = h[-1]
    gradient = theano.grad((last**2).sum(), a)
    loops = _scans(_optimized([h0, a, n], [last, gradient]))
    assert loops == ["for{cpu,blocks_of_f}", "for{cpu,grad_of_blocks_of_f}"]
    gradient = theano.grad((h**2).sum(), a)
    loops = _scans(_optimized([h0, a, n], [h, gradient]))
    assert loops == ["for{cpu,f}", "for{cpu,grad_of_blocks_of_f}"]
    assert _scans(_optimized([h0, a, n], [last])) == ["for{cpu,f}"]


# ------------------------------------------------------------------------------------- budget


def test_budget_decides_at_run_time() -> None:
    h0, a, n = T.dvector("h0"), T.dvector("a"), T.lscalar("n")

    def build() -> Any:
        h, _ = theano.scan(lambda h: T.tanh(a * h), outputs_info=h0, n_steps=n)
        return compiled([h0, a, n], theano.grad((h[-1] ** 2).sum(), [h0, a]))

    with theano.config.change_flags(scan__memory_budget=8 * 3 * 10):
        f = build()
    g = build()
    for steps in (1, 9, 10, 11, 30):
        point = draw(3), draw(3), steps
        for have, want in zip(f(*point), g(*point), strict=True):
            np.testing.assert_allclose(have, want, rtol=1e-10)


# ------------------------------------------------------------------------------- scan_checkpoints


def test_scan_checkpoints_returns_states_at_ends_of_blocks() -> None:
    x, h0 = T.dmatrix("x"), T.dvector("h0")

    def step(row: Any, h: Any) -> Any:
        return T.tanh(row + h), row * h

    (h, out), updates = theano.scan_checkpoints(step, [x], [h0, None], save_every_N=3)
    (every, every_out), _ = theano.scan(step, [x], [h0, None])
    assert not updates
    for steps, chosen in ((1, [0]), (3, [2]), (7, [2, 5, 6]), (9, [2, 5, 8])):
        values = [draw(steps, 2), draw(2)]
        for mode in MODES:
            a, b, c, d = compiled([x, h0], [h, out, every, every_out], mode)(*values)
            np.testing.assert_allclose(a, c[chosen], rtol=1e-12)
            np.testing.assert_allclose(b, d[chosen], rtol=1e-12)
            got = compiled([x, h0], theano.grad((h[-1] ** 2).sum() + out[-1].sum(), [x, h0]), mode)
            wanted = theano.grad((every[-1] ** 2).sum() + every_out[-1].sum(), [x, h0])
            for have, want in zip(got(*values), compiled([x, h0], wanted)(*values), strict=True):
                np.testing.assert_allclose(have, want, rtol=1e-10)


def test_scan_checkpoints_with_steps_taps_and_updates() -> None:
    a, n = T.dvector("a"), T.lscalar("n")
    count = theano.shared(np.int64(0))
    h, updates = theano.scan_checkpoints(
        lambda h2, h1, a: (h1 + a * h2, {count: count + 1}),
        outputs_info=dict(initial=T.stack([a, a]), taps=[-2, -1]),
        non_sequences=a,
        n_steps=n,
        save_every_N=4,
    )
    f = compiled([a, n], h, updates=updates)
    point = np.array([0.5, 0.25])
    rows = [point, point]
    for _ in range(10):
        rows.append(rows[-1] + point * rows[-2])
    np.testing.assert_allclose(f(point, 10), [rows[2 + k] for k in (3, 7, 9)])
    assert count.get_value() == 10


# ------------------------------------------------------------------------------------- errors


def test_until_cannot_be_cut_into_blocks() -> None:
    def step(h: Any) -> Any:
        return h * 2, theano.scan_module.until(h > 9)

    with pytest.raises(UnsupportedError, match="checkpoint"):
        theano.scan(step, outputs_info=T.dscalar("h"), n_steps=9, checkpoint=3)
    with pytest.raises(UnsupportedError, match="stop condition"):
        theano.scan_checkpoints(step, outputs_info=T.dscalar("h"), n_steps=9)


@pytest.mark.parametrize("value", [0, -1, 2.5, "all", True])
def test_checkpoint_is_a_number_or_auto(value: Any) -> None:
    with pytest.raises(ValueError, match="checkpoint"):
        theano.scan(lambda h: h, outputs_info=T.dscalar("h"), n_steps=9, checkpoint=value)


# ------------------------------------------------------------------------------------- memory


def test_memory_grows_with_the_root_of_the_steps() -> None:
    program = """
        import resource
        import numpy as np
        import ltensor as theano
        import ltensor.tensor as T

        h0, a, n = T.dvector("h0"), T.dvector("a"), T.lscalar("n")
        h, _ = theano.scan(
            lambda h: T.tanh(a * h) + h.mean(), outputs_info=h0, n_steps=n, checkpoint="auto"
        )
        f = theano.function([h0, a, n], theano.grad((h[-1] ** 2).sum(), [h0, a]))
        point = np.full(1000, 0.5)
        f(point, point, 10)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        f(point, point, 10000)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    # all states take 80 MB, two times 100 of them 1.6
    assert int(done.stdout) < 16 << 10
