"""Rows that fit into a register are one step; longer ones have loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T
from ltensor.lowering.cpu import chunks, jit, thread_pool
from ltensor.lowering.program import Loop, Value, walk
from ltensor.lowering.rewrites.held_rows import HELD


def softmax(a: np.ndarray) -> np.ndarray:
    e = np.exp(a - a.max(axis=1, keepdims=True, initial=-np.inf))
    return e / e.sum(axis=1, keepdims=True)


def log_sum_exp(m: Any, x: Any) -> Any:
    top = m.max(x, axis=1, keepdims=True)
    return m.log(m.sum(m.exp(x - top), axis=1, keepdims=True)) + top


PROGRAMS = {
    "softmax": (lambda x: T.nnet.softmax(x), softmax),
    "logsoftmax": (lambda x: T.nnet.logsoftmax(x), lambda a: np.log(softmax(a))),
    "logsumexp": (lambda x: log_sum_exp(T, x), lambda a: log_sum_exp(np, a)),
    "normalized": (
        lambda x: (x - x.mean(axis=1, keepdims=True)) / (x.std(axis=1, keepdims=True) + 1),
        lambda a: (a - a.mean(axis=1, keepdims=True)) / (a.std(axis=1, keepdims=True) + 1),
    ),
    "spread": (
        lambda x: x.max(axis=1) - x.min(axis=1) + (x > 0).all(axis=1),
        lambda a: a.max(axis=1) - a.min(axis=1) + (a > 0).all(axis=1),
    ),
    "gradient": (
        lambda x: T.grad((T.nnet.softmax(x) ** 2).sum(), x),
        lambda a: 2 * softmax(a) * (softmax(a) - (softmax(a) ** 2).sum(axis=1, keepdims=True)),
    ),
}


def held(f: Any) -> list[Loop]:
    entries = walk(f._linked.lowered.program.root)
    return [e for e in entries if isinstance(e, Loop) and e.held]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_results(name: str, dtype: str, threads: int, every_loop_is_shared: None) -> None:
    program, numpy = PROGRAMS[name]
    x = T.matrix("x", dtype=dtype)
    with theano.config.change_flags(num_threads=threads):
        f = theano.function([x], program(x))
    assert held(f)
    rng = np.random.default_rng(0)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for rows in (0, 1, 7, 70):
        for columns in (1, 2, 3, 4, 5, 8, 9, HELD, HELD + 1, 40):
            a = rng.standard_normal((rows, 2 * columns)).astype(dtype)
            for given in (a[:, :columns].copy(), a[:, ::2], a[:, :columns].T.copy().T):
                want = numpy(given.astype("float64"))
                np.testing.assert_allclose(f(given), want, rtol=tolerance, atol=tolerance)


def test_a_row_is_read_and_written_once() -> None:
    x = T.dmatrix("x")
    f = theano.function([x], T.nnet.softmax(x))
    for row in held(f):
        values = [e for e in row.body.body if isinstance(e, Value)]
        assert [e.op for e in values if e.op in ("load", "store")] == ["load", "store"]
        assert [e.attr for e in values if e.op == "across"] == ["largest", "add"]
    assert [row.held for row in held(f)] == [HELD // 2, HELD]
    y = T.fmatrix("y")
    assert [row.held for row in held(theano.function([y], T.nnet.softmax(y)))] == [HELD]


def test_rows_of_nothing() -> None:
    x = T.dmatrix("x")
    f = theano.function([x], [T.nnet.softmax(x), x.sum(axis=1), T.exp(x).sum(axis=1) + 1])
    for result, want in zip(f(np.ones((3, 0))), ((3, 0), np.zeros(3), np.ones(3)), strict=True):
        np.testing.assert_array_equal(result, np.ones(want) if isinstance(want, tuple) else want)


def test_long_rows_and_rows_within_loops_have_no_other_form() -> None:
    x = T.dmatrix("x")
    wide = T.specify_shape(x, (x.shape[0], HELD + 1))
    assert not held(theano.function([x], T.nnet.softmax(wide)))
    steps, _ = theano.scan(lambda h: T.nnet.softmax(T.dot(h, x)), outputs_info=x, n_steps=3)
    assert not held(theano.function([x], steps))


def test_nan_and_infinities_stay_where_they_are() -> None:
    x = T.dmatrix("x")
    f = theano.function([x], [x.max(axis=1), x.sum(axis=1), x.prod(axis=1), x.min(axis=1)])
    a = np.random.default_rng(1).standard_normal((40, 10))
    a[::3, 4], a[1::3, 9], a[2::5, 0] = np.nan, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        wanted = [a.max(axis=1), a.sum(axis=1), a.prod(axis=1), a.min(axis=1)]
    for result, want in zip(f(a), wanted, strict=True):
        np.testing.assert_allclose(result, want, rtol=1e-12)


def test_a_label_out_of_range_is_still_found() -> None:
    z, y = T.dmatrix("z"), T.lvector("y")
    f = theano.function([z, y], T.nnet.categorical_crossentropy(T.nnet.softmax(z), y))
    a = np.random.default_rng(2).standard_normal((6, 10))
    labels = np.array([0, 9, 3, 4, 5, 6])
    want = -np.log(softmax(a))[np.arange(6), labels]
    np.testing.assert_allclose(f(a, labels), want, rtol=1e-12)
    with pytest.raises((IndexError, ValueError)):
        f(a, np.array([0, 9, 3, 10, 5, 6]))


def test_threads_share_blocks_of_rows_with_labels() -> None:
    """All forms of the nest have the same guard."""
    z, y, v = T.dmatrix("z"), T.lvector("y"), T.dvector("v")
    picked = (T.nnet.softmax(z) * v[y].dimshuffle(0, "x")).sum(axis=1, keepdims=True)
    with theano.config.change_flags(num_threads=2):
        f = theano.function([z, y, v], picked * z)
    program = f._linked.lowered.program
    guards = [e for e in walk(program.shared_loops[0].loop.body) if getattr(e, "op", "") == "guard"]
    assert len(guards) == 3
    text = chunks.render_chunk(program, 0, jit.host().vector_bytes, jit.host().has_fma)
    assert jit.object_code(text)
    thread_pool.words()  # the limit of the environment again
