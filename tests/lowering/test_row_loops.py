"""What is done to loops for the sake of caches: results stay what they were.

Blocks of rows (`row_blocks`), columns row by row (`columns`), sums by blocks (`block_sums`), places
of extrema by blocks, prefetches beyond the end. Sizes lie on both sides of all block sizes.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T
from ltensor.lowering.program import Loop
from ltensor.lowering.rewrites import block_sums, columns
from ltensor.ops.extrema import CHUNK

SHAPES = [(0, 5), (1, 1), (3, 1), (1, 7000), (7, 3000), (9000, 2), (130, 129), (300, 67), (40, 512)]


def close(found, wanted, tolerance=2e-5):
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.fixture(scope="module")
def row_functions():
    m, label = T.fmatrix("m"), T.lvector("label")
    centered = m - m.mean(1, keepdims=True)
    spread = T.sqrt(T.sqr(centered).mean(1, keepdims=True) + np.float32(1e-5))
    norm = theano.function([m], [centered / spread, T.tanh(m).sum(1), T.sqr(centered).sum(1)])
    # what is stored for all of the matrix is read by rows
    powers = theano.function([m], [T.nnet.softmax(T.tanh(m) * 3), T.tanh(m) * 3])
    loss = T.nnet.categorical_crossentropy(T.nnet.softmax(m), label).mean()
    entropy = theano.function([m, label], [loss, T.grad(loss, m)])
    return norm, powers, entropy


@pytest.mark.parametrize("shape", SHAPES)
def test_blocks_of_rows(shape, row_functions):
    norm, powers, entropy = row_functions
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype("float32")
    d = x.astype("float64")
    centered = d - d.mean(1, keepdims=True)
    squares = centered**2
    wanted = centered / np.sqrt(squares.mean(1, keepdims=True) + 1e-5)
    found = norm(x)
    close(found[:1], [wanted], 3e-4)
    close(found[1:], [np.tanh(d).sum(1), squares.sum(1)], 2e-4)
    e = np.exp(np.tanh(d) * 3)
    close(powers(x), [e / e.sum(1, keepdims=True), np.tanh(d) * 3])
    if not shape[0]:
        return
    label = rng.integers(0, shape[1], shape[0])
    e = np.exp(d)
    s = e.sum(1, keepdims=True)
    g = e / s
    places = np.arange(len(x)), label
    value = (np.log(s[:, 0]) - d[places]).mean()
    g[places] -= 1
    close(entropy(x, label), [value, g / len(x)])
    label[-1] = shape[1]
    with pytest.raises(ValueError, match="out of bounds"):
        entropy(x, label)


def test_rows_that_later_rows_depend_on_are_not_joined():
    """The second loop reads the rows of the first in reverse order."""
    m = T.fmatrix("m")
    soft = T.nnet.softmax(m)
    f = theano.function([m], [soft, T.nnet.softmax(soft[::-1])])
    x = np.random.default_rng(0).standard_normal((3000, 5)).astype("float32")

    def reference(x):
        e = np.exp(x)
        return e / e.sum(1, keepdims=True)

    close(f(x), [reference(x), reference(reference(x)[::-1])])


def test_loops_with_one_row_count_are_joined():
    m = T.fmatrix("m")
    f = theano.function([m], m.var(1))
    loops = [e for e in f._linked.lowered.program.root.body if isinstance(e, Loop)]
    # and one over the results, which are few
    assert [any(isinstance(e, Loop) for e in loop.body.body) for loop in loops] == [True, False]


def test_long_programs_are_joined_too():
    """However many loops there are: 110 layers, each of two loops over the same rows."""
    m = y = T.dmatrix("m")
    for _ in range(110):
        y = T.tanh(y / T.sqr(y).sum(1, keepdims=True)) + m
    f = theano.function([m], y)
    loops = [e for e in f._linked.lowered.program.root.body if isinstance(e, Loop)]
    assert len(loops) < 60
    x = np.random.default_rng(0).standard_normal((70, 9))
    wanted = x
    for _ in range(110):
        wanted = np.tanh(wanted / (wanted**2).sum(1, keepdims=True)) + x
    np.testing.assert_allclose(f(x), wanted, rtol=1e-9)


def test_sizes_that_are_told_later_are_not_used_before():
    """A check behind a loop says that its rows are as long as something not yet computed."""
    x, d = T.vector(), theano.shared(2)
    scaled = x / (1 + x[0] ** 2)
    slope = T.jacobian(scaled, x)
    metric = T.dot(slope.T, slope)
    change = T.jacobian(metric.flatten(), x).reshape((d, d, d))
    f = theano.function([x], [metric, change, T.tensordot(metric, change, axes=[1, 0])])
    metric, change, both = f(np.array([0.3, 0.4]))
    np.testing.assert_allclose(both, np.tensordot(metric, change, axes=[1, 0]), rtol=1e-12)
    ends = [f(np.array([0.3, 0.4 + step]))[0] for step in (1e-6, -1e-6)]
    np.testing.assert_allclose((ends[0] - ends[1]) / 2e-6, change[:, :, 1], atol=1e-8)


def test_a_nest_stores_a_few_dozen_values():
    x = T.dvector("x")
    f = theano.function([x], [T.exp(x) * k for k in range(2, 102)])
    loops = [e for e in f._linked.lowered.program.root.body if isinstance(e, Loop)]
    assert [sum(e.op == "store" for e in loop.body.body) for loop in loops] == [64, 37]
    v = np.linspace(-1, 1, 37)
    np.testing.assert_allclose(f(v)[99], np.exp(v) * 101, rtol=1e-12)


def test_a_flat_nest_is_joined_with_rows():
    """What is computed for all elements at once is computed for the rows of a block."""
    m = T.fmatrix("m")
    y = T.tanh(m)
    f = theano.function([m], [y, T.nnet.softmax(y)])
    loops = [e for e in f._linked.lowered.program.root.body if isinstance(e, Loop)]
    assert len(loops) == 1


@pytest.mark.parametrize("rows", [1, 2, 9, 300])
@pytest.mark.parametrize("width", [1, 127, 128, 129, columns.STRIP + 1, 2 * columns.STRIP])
def test_columns(rows, width):
    m = T.fmatrix("m")
    outputs = [m.sum(0), m.var(0), m.max(0), m.argmax(0), m.prod(0), T.exp(m).mean(0)]
    f = theano.function([m], [*outputs, T.any(m > 2, axis=0)])
    x = np.random.default_rng(0).standard_normal((rows, width)).astype("float32")
    d = x.astype("float64")
    wanted = [d.sum(0), d.var(0), d.max(0), d.argmax(0), d.prod(0), np.exp(d).mean(0)]
    close(f(x), [*wanted, (d > 2).any(0)])


def test_columns_whose_number_is_made_of_shared_parts():
    """The number is made of one that is made of one ..., several times over at each step."""
    wide = m = T.matrix("m")
    for _ in range(12):
        size = wide.shape[1]
        wide = T.concatenate([wide, wide * 2], axis=1)[:, 1 : size * 2 - size + 1]
    x = np.arange(12.0).reshape(3, 4)
    sums, means = theano.function([m], [wide.sum(0), wide.mean(0)])(x)
    np.testing.assert_allclose(sums, 8 * x.sum(0))
    np.testing.assert_allclose(means, 8 * x.mean(0))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "size",
    [1, 15, 17, 255, 256, 257, 512, 513, 5123, CHUNK - 1, CHUNK + 1, 2 * CHUNK + 2050],
)
def test_places_of_extrema(dtype, size):
    v, t = T.vector("v", dtype=dtype), T.tensor3("t", dtype=dtype)
    f = theano.function([v], [v.argmax(), v.argmin()])
    rng = np.random.default_rng(size)
    for turn in range(12):
        x = rng.integers(0, 9 if turn % 2 else 10**6, size).astype(dtype)
        if turn % 3 == 0:
            x[rng.integers(0, size, 2)] = np.nan
        if turn == 4:
            x[:] = -np.inf
        if turn == 5:
            x[:] = np.inf
        assert f(x) == [np.argmax(x), np.argmin(x)]
    g = theano.function([t], [t.argmax(), T.argmax(t, axis=(1, 2)), T.argmin(t[:, ::2], (1, 2))])
    x = rng.integers(0, 10**4, (3, 2, size)).astype(dtype)
    flat = x.reshape(3, -1)
    wanted = [x.argmax(), flat.argmax(1), x[:, ::2].reshape(3, -1).argmin(1)]
    for a, b in zip(g(x), wanted, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["uniform", "normal", "constant", "offset"])
def test_sums_are_as_accurate_as_by_halves(kind):
    """Not less accurate than NumPy's, at ten million elements, but for a rounding of the result."""
    n = 10_000_000
    rng = np.random.default_rng(1)
    x = {
        "uniform": lambda: rng.random(n),
        "normal": lambda: rng.standard_normal(n),
        "constant": lambda: np.full(n, 0.1),
        "offset": lambda: rng.standard_normal(n) + 1000,
    }[kind]()
    v, w = T.fvector("v"), T.dvector("w")
    single, double = theano.function([v], v.sum()), theano.function([w], w.sum())
    near = x.astype("float32")
    exact = math.fsum(near.tolist())
    error = abs(float(single(near)) - exact)
    assert error <= abs(float(near.sum()) - exact) + np.spacing(np.float32(abs(exact)))
    exact = math.fsum(x.tolist())
    error = abs(float(double(x)) - exact)
    scale = np.spacing(np.abs(x).sum() if kind == "normal" else abs(exact))
    assert error <= abs(float(x.sum()) - exact) + 4 * scale


@pytest.mark.parametrize("size", [0, 1, block_sums.BLOCK, block_sums.BLOCK + 1, 10_007])
def test_sums_by_blocks(size):
    w = T.dvector("w")
    f = theano.function([w], [w.sum(), T.sqr(w).sum(), (w * w[::-1]).sum()])
    x = np.random.default_rng(0).standard_normal(size)
    close(f(x), [x.sum(), (x * x).sum(), (x * x[::-1]).sum()], 1e-12)
    for special in (np.inf, -np.inf, np.nan) if size else ():
        x[size // 2] = special
        np.testing.assert_array_equal(f(x)[0], np.sum(x))
