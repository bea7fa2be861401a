"""Loops that become graphs: batching rules against stacked steps, whole loops against loops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scan.checks import UNOPTIMIZED, check_gradients, compiled, scans, value

import ltensor as theano
import ltensor.tensor as T
from ltensor.ir.build import constant
from ltensor.ir.function import Function
from ltensor.ops.batching import NotBatched
from ltensor.ops.control import Assert
from ltensor.ops.opdef import REGISTRY, Sample
from ltensor.ops.shape_map import ShapeMap
from ltensor.passes.batch_body import Batch
from ltensor.passes.pipeline import run
from ltensor.passes.remarks import recording
from ltensor.passes.shapes import use_shapes
from ltensor.passes.sizes import Sizes
from ltensor.testing import compile_graph, reference, variable_of

STEPS = 3

#: ops with a batched form
NAMES = """
add mul sub true_div int_div mod pow exp tanh switch eq second clip and xor cast_float32 sigmoid
sum prod max min any all arg_extremum dot batched_dot dimshuffle reshape rebroadcast alloc
make_vector join split assert softmax logsoftmax softmax_grad logsumexp pick place cumulative sort
argsort extract_diag alloc_diag view deep_copy specify_shape subtensor inc_subtensor
advanced_subtensor advanced_inc_subtensor disconnected_grad grad_clip dim
"""
RULES = NAMES.split()


def cases(name: str) -> Iterator[tuple[Sample, list[list[Any]], str]]:
    """Samples of an op, each with its arrays for several steps."""
    declaration = REGISTRY[name]
    assert declaration.samples is not None
    dtypes = [d for d in ("float64", "int64") if not declaration.dtypes or d in declaration.dtypes]
    for dtype in dtypes[:1] or declaration.dtypes[:1]:
        draws = [
            list(declaration.samples(np.random.default_rng(seed), dtype)) for seed in range(STEPS)
        ]
        for number, sample in enumerate(draws[0]):
            steps = [[np.asarray(a) for a in draw[number].arrays] for draw in draws]
            yield sample, steps, f"{dtype} {sample.label}"


def lifted(sample: Sample, steps: list[list[Any]], changing: set[int]) -> Any:
    """The batched form: (inputs, outputs, arguments), and the steps one by one."""
    inner = [variable_of(a) for a in steps[0]]
    built = sample.build(*inner)
    outputs = list(built) if isinstance(built, (list, tuple)) else [built]
    body = use_shapes(Function(inner, outputs))
    outer, arguments, rows, fixed = [], [], {}, {}
    for k, (variable, array) in enumerate(zip(body.inputs, steps[0], strict=True)):
        if k in changing:
            stacked = np.stack([step[k] for step in steps])
            shape = (None, *(1 if b else None for b in variable.type.broadcastable))
            row = T.TensorType(str(array.dtype), shape=shape).make_variable()
            rows[variable] = row
            outer.append(row)
            arguments.append(stacked)
        else:
            fixed[variable] = variable_of(array)
            outer.append(fixed[variable])
            arguments.append(array)
    size = constant(STEPS, dtype="int64")
    batch = Batch(size, Sizes(), rows, fixed, [], ShapeMap.of(body), True)
    results = [batch.full(v) for v in body.outputs]
    expected = []
    for step in range(STEPS):
        values = [steps[step if k in changing else 0][k] for k in range(len(inner))]
        expected.append(reference(body.inputs, body.outputs, values))
    return (outer, results, arguments), [np.stack(v) for v in zip(*expected, strict=True)]


def subsets(count: int) -> list[set[int]]:
    """Which operands change: all, each, all but one."""
    found = [set(range(count))]
    for k in range(count):
        found += [{k}, set(range(count)) - {k}]
    return [s for k, s in enumerate(found) if s and s not in found[:k]]


@pytest.mark.parametrize("name", RULES)
def test_batched_is_stacked(name: str) -> None:
    fired = 0
    for sample, steps, label in cases(name):
        for changing in subsets(len(steps[0])):
            try:
                graph, expected = lifted(sample, steps, changing)
            except NotBatched:
                continue
            except (ValueError, IndexError, AssertionError):
                if len(changing) == len(steps[0]):
                    raise
                # the operands of one step do not fit those of another
                continue
            fired += 1
            got = reference(*graph)
            for have, want in zip(got, expected, strict=True):
                assert have.shape == want.shape, (label, changing)
                assert have.dtype == want.dtype, (label, changing)
                np.testing.assert_allclose(have, want, 1e-10, 1e-12, err_msg=f"{label} {changing}")
    assert fired


@pytest.mark.parametrize("name", RULES)
def test_batched_is_stacked_natively(name: str) -> None:
    """The widest of the graphs of an op, compiled."""
    graphs = []
    for sample, steps, _ in cases(name):
        for changing in (set(range(len(steps[0]))), {0}):
            try:
                graphs.append(lifted(sample, steps, changing))
            except NotBatched:
                continue
            break
    assert graphs
    inputs = [v for (outer, _, _), _ in graphs for v in outer]
    outputs = [v for (_, results, _), _ in graphs for v in results]
    arguments = [a for (_, _, values), _ in graphs for a in values]
    got = compile_graph(inputs, outputs)(*arguments)
    expected = [v for _, stacked in graphs for v in stacked]
    for have, want in zip(got, expected, strict=True):
        assert have.shape == want.shape
        np.testing.assert_allclose(have, want, 1e-10, 1e-12)


# ----------------------------------------------------------------------------- whole loops

x, y = T.dvectors("x", "y")
m, w = T.dmatrices("m", "w")
s = T.dscalar("s")
n = T.iscalar("n")
i = T.lvector("i")
cube = T.dtensor3("cube")
RNG = np.random.default_rng(5)
X, Y = RNG.uniform(0.2, 1.2, 6), RNG.uniform(0.2, 1.2, 6)
M, W = RNG.uniform(-1, 1, (6, 4)), RNG.uniform(-1, 1, (4, 3))
CUBE = RNG.uniform(-1, 1, (6, 2, 4))
AT = np.array([2, 0, 2, 3, 1, -1])


def graph_only(inputs: Any, outputs: Any) -> Any:
    """A compiled function without a loop."""
    f = compiled(inputs, outputs)
    assert not scans(f)
    return f


def rows_of(step: Any, *sequences: Any, **options: Any) -> Any:
    return theano.scan(step, sequences=list(sequences), **options)[0]


LOOPS: dict[str, tuple[Any, list[Any], list[Any]]] = {
    "pointwise": (rows_of(lambda a, b: T.exp(a) * b, x, y), [x, y], [X, Y]),
    "norms": (rows_of(lambda r: T.sqrt((r**2).sum()), m), [m], [M]),
    "columns": (rows_of(lambda r: r.max(), m.T), [m], [M]),
    "argmax": (rows_of(lambda r: r.argmax(), m), [m], [M]),
    "layer": (rows_of(lambda r: T.tanh(T.dot(r, w)), m), [m, w], [M, W]),
    "matrices": (rows_of(lambda r: T.dot(r, w), cube), [cube, w], [CUBE, W]),
    "left": (rows_of(lambda r: T.dot(m, r.T), cube), [m, cube], [M, CUBE]),
    "pairs": (rows_of(lambda a, b: T.dot(a, b.T), cube, cube), [cube], [CUBE]),
    "softmax": (rows_of(lambda r: T.nnet.softmax(T.dot(r, w))[0], m), [m, w], [M, W]),
    "gather": (rows_of(lambda k: m[k] * 2, i), [m, i], [M, AT]),
    "gather columns": (rows_of(lambda k: m[:, k], i[:4]), [m, i], [M, AT]),
    "gather in rows": (rows_of(lambda r, k: r[k], m, i), [m, i], [M, AT]),
    "gather a place": (rows_of(lambda k, j: w[k, j], i[:3], i[:3] - 1), [w, i], [W, AT]),
    "scatter": (rows_of(lambda r, k: T.set_subtensor(r[k], 5.0), m, i), [m, i], [M, AT]),
    "columns added": (rows_of(lambda r: T.inc_subtensor(w[:, 0], r), m), [m, w], [M, W]),
    "stacked": (rows_of(lambda a, b: T.stack([a, b, a * b]), x, y), [x, y], [X, Y]),
    "joined": (rows_of(lambda r: T.concatenate([r, r[::-1], x]), m), [m, x], [M, X]),
    "reshaped": (rows_of(lambda r: r.reshape((-1, 2)).sum(axis=0), m), [m], [M]),
    "invariant": (rows_of(lambda a: T.exp(y).sum() + 0 * a, x), [x, y], [X, Y]),
    "constant": (rows_of(lambda a: T.constant(3.0), x), [x], [X]),
    "backwards": (rows_of(lambda a, b: a - b, x, y, go_backwards=True), [x, y], [X, Y]),
    "shifted": (
        theano.scan(lambda p, q: p * q, sequences=dict(input=x, taps=[-2, 1]))[0],
        [x],
        [X],
    ),
    "cumulative": (rows_of(lambda r: T.cumsum(r), m), [m], [M]),
    "sorted": (rows_of(lambda r: T.sort(r), m), [m], [M]),
    "nested": (
        rows_of(lambda r: theano.scan(lambda a: a * r.sum(), sequences=r)[0], m),
        [m],
        [M],
    ),
    "few steps": (rows_of(lambda a: a + 1, x, n_steps=3), [x], [X]),
}


@pytest.mark.parametrize("name", LOOPS)
def test_loop(name: str) -> None:
    rows, inputs, arguments = LOOPS[name]
    graph_only(inputs, rows)
    value(inputs, rows, *arguments)


@pytest.mark.parametrize("name", ["pointwise", "norms", "layer", "matrices", "pairs", "softmax",
                                  "gather in rows", "scatter", "stacked", "joined", "cumulative",
                                  "sorted", "constant", "backwards"])  # fmt: skip
def test_no_step(name: str) -> None:
    rows, inputs, arguments = LOOPS[name]
    value(inputs, rows, *[a if v is w else a[:0] for v, a in zip(inputs, arguments, strict=True)])


@pytest.mark.parametrize(
    "name", ["pointwise", "norms", "layer", "matrices", "left", "pairs", "softmax", "gather",
             "gather in rows", "scatter", "columns added", "stacked", "joined", "reshaped",
             "shifted", "nested", "backwards"],
)  # fmt: skip
def test_gradient(name: str) -> None:
    rows, inputs, arguments = LOOPS[name]
    weights = T.constant(RNG.uniform(0.5, 1.5, 3))[0]
    cost = (T.sin(rows) * weights).sum()
    wanted = [v for v in inputs if v.type.dtype == "float64"]
    gradients = T.grad(cost, wanted)
    graph_only(inputs, gradients)
    check_gradients(inputs, cost, wanted, arguments)


def last(step: Any, init: Any, *sequences: Any) -> Any:
    return theano.scan(step, sequences=list(sequences), outputs_info=init)[0][-1]


ZERO = np.float64(0)
ACCUMULATIONS: dict[str, tuple[Any, list[Any], list[Any]]] = {
    "sum": (last(lambda a, c: c + a, ZERO, x), [x], [X]),
    "sum of rows": (last(lambda r, c: c + r, T.zeros(4), m), [m], [M]),
    "difference": (last(lambda a, b, c: c - a * b, s, x, y), [x, y, s], [X, Y, 2.0]),
    "several terms": (last(lambda a, b, c: a + c + T.exp(b), s, x, y), [x, y, s], [X, Y, 2.0]),
    "product": (last(lambda a, c: c * a, np.int64(3), i), [i], [AT]),
    "largest": (last(lambda a, c: T.maximum(c, a), s, x), [x, s], [X, 0.9]),
    "smallest": (last(lambda r, c: T.minimum(r, c), y[:4], m), [m, y], [M, Y]),
    "outer": (last(lambda r, a, c: c + T.outer(r, x) * a, T.zeros((4, 6)), m, y), [m, x, y],
              [M, X, Y]),
    "product of matrices": (last(lambda q, c: c + T.dot(q.T, q), T.zeros((4, 4)), cube), [cube],
                            [CUBE]),
    "fixed matrix": (last(lambda q, c: c + T.dot(q, w), T.zeros((2, 3)), cube), [cube, w],
                     [CUBE, W]),
    "vector times matrices": (last(lambda r, q, c: c + T.dot(q, r), T.zeros(2), m, cube),
                              [m, cube], [M, CUBE]),
    "inner": (last(lambda r, c: c + T.dot(r, r), ZERO, m), [m], [M]),
    "counts": (last(lambda k, c: c + T.eq(k, 2), np.int64(0), i), [i], [AT]),
    "table": (last(lambda k, a, c: T.inc_subtensor(c[k], a), T.zeros(4), i, x), [i, x], [AT, X]),
    "table of rows": (last(lambda k, r, c: T.inc_subtensor(c[k], r), T.zeros((4, 4)), i, m),
                      [i, m], [AT, M]),
    "last writer": (last(lambda k, a, c: T.set_subtensor(c[k], a), T.zeros(4), i, x), [i, x],
                    [AT, X]),
    "part": (last(lambda a, c: T.inc_subtensor(c[1:3], a), T.zeros(4), x), [x], [X]),
    "one column": (last(lambda r, c: T.inc_subtensor(c[:, 1], r), T.zeros((4, 3)), m), [m], [M]),
    "as reduce": (theano.reduce(lambda a, c: a + c, x, ZERO)[0], [x], [X]),
    "as foldr": (theano.foldr(lambda a, c: T.maximum(a, c), x, ZERO)[0], [x], [X]),
}  # fmt: skip


@pytest.mark.parametrize("name", ACCUMULATIONS)
def test_accumulation(name: str) -> None:
    result, inputs, arguments = ACCUMULATIONS[name]
    graph_only(inputs, result)
    value(inputs, result, *arguments)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "uint64", "float32"])
def test_dtypes_of_sums(dtype: str) -> None:
    """The dtype of the state wraps as in the loop."""
    v = T.TensorType(dtype, (False,))("v")
    results = [last(lambda a, c: c + a, T.constant(np.asarray(3, dtype)), v)]
    if dtype != "float32":
        results += [last(lambda a, c: c * a, T.constant(np.asarray(3, dtype)), v)]
    numbers = np.array([100, 27, 120, 7, 3, 5]).astype(dtype)
    f = graph_only([v], results)
    for array in (numbers, numbers[:1]):
        value([v], results, array)
    assert f(numbers)[0].dtype == dtype


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_of_floats_go_step_by_step(dtype: str) -> None:
    """Parts of a product may overflow or vanish though no step does."""
    v = T.TensorType(dtype, (False,))("v")
    big = 1e30 if dtype == "float32" else 1e200
    for numbers in ([1 / big, big, big], [0, big, big], [1 / big, 1, big, big, 1 / big] * 40):
        array = np.array(numbers, dtype)
        for fold in (theano.foldl, theano.foldr):
            result, _ = fold(lambda a, c: c * a, v[1:], v[0])
            got = theano.function([v], result)(array)
            expected = array[0]
            for factor in array[1:] if fold is theano.foldl else array[:0:-1]:
                expected = expected * factor
            np.testing.assert_allclose(got, expected, 1e-4)


def test_nan_in_extrema() -> None:
    result, inputs, _ = ACCUMULATIONS["largest"]
    f = graph_only(inputs, result)
    assert np.isnan(f(np.array([1.0, np.nan, 2.0]), 0.5))
    assert np.isnan(f(np.array([1.0]), np.nan))
    assert f(np.array([-np.inf]), -np.inf) == -np.inf


def test_shared_variables_are_accumulated() -> None:
    total, hits = theano.shared(1.5), theano.shared(np.int64(2))
    rows, updates = theano.scan(lambda a: (a * 2, {total: total + a, hits: hits + 1}), sequences=x)
    f = theano.function([x], rows, updates=updates)
    assert not scans(f)
    np.testing.assert_allclose(f(X), 2 * X)
    np.testing.assert_allclose(total.get_value(), 1.5 + X.sum())
    assert hits.get_value() == 2 + len(X)


# ----------------------------------------------------------------------------- Jacobians


def test_jacobian_by_scan_has_no_loop_and_no_product() -> None:
    out = T.tanh(T.dot(w.T, y[:4]))
    rows, _ = theano.scan(lambda k, o, v: T.grad(o[k], v), sequences=T.arange(out.shape[0]),
                          non_sequences=[out, y])  # fmt: skip
    f = graph_only([w, y], rows)
    slope = 1 - np.tanh(W.T @ Y[:4]) ** 2
    np.testing.assert_allclose(f(W, Y)[:, :4], slope[:, None] * W.T)
    names = [node.op.ir_name for node in f._linked.lowered.function.nodes]
    assert names.count("dot") == 1


@pytest.mark.parametrize("layers", [1, 2])
def test_jacobian_and_hessian(layers: int) -> None:
    square = T.dmatrix("square")
    out = T.tanh(T.dot(square, y))
    for _ in range(layers - 1):
        out = T.tanh(T.dot(square, out))
    matrix = RNG.uniform(-1, 1, (6, 6))
    jacobian = theano.gradient.jacobian(out, y)
    hessian = theano.gradient.hessian((out**2).sum(), y)
    graph_only([square, y], [jacobian, hessian])
    value([square, y], [jacobian, hessian], matrix, Y)


# ----------------------------------------------------------------------------- errors, limits


def error_of(f: Any, *arguments: Any) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the kind is what is compared
        f(*arguments)
    return caught.value


@pytest.mark.parametrize(
    ("rows", "inputs", "arguments"),
    [
        (rows_of(lambda a: a + 1, x, n_steps=n), [x, n], [X, -2]),
        (rows_of(lambda k: y[k], i), [y, i], [Y[:2], AT]),
        (rows_of(lambda r, k: r[k], m, i), [m, i], [M[:, :2], AT]),
        (rows_of(lambda r: r + y, m), [m, y], [M, Y]),
        (rows_of(lambda r: T.dot(r, w), m), [m, w], [M, W[:2]]),
        (rows_of(lambda k: 7 // k, i), [i], [AT]),
        (rows_of(lambda a: Assert("small")(a, a < 0.5), x), [x], [X]),
        (last(lambda k, c: T.inc_subtensor(c[k], 1.0), T.zeros(3), i), [i], [AT]),
    ],
)
def test_errors_are_those_of_the_loop(rows: Any, inputs: Any, arguments: Any) -> None:
    plain = error_of(compiled(inputs, rows, UNOPTIMIZED), *arguments)
    graph = error_of(graph_only(inputs, rows), *arguments)
    assert type(plain) is type(graph)


def test_checks_of_divisions_wait_for_a_step() -> None:
    rows = rows_of(lambda k: k + 7 // n, i)
    f = graph_only([i, n], rows)
    assert f(AT[:0], 0).shape == (0,)
    with pytest.raises(ZeroDivisionError):
        f(AT, 0)


def test_wide_hidden_values_stay_in_the_loop() -> None:
    rows = rows_of(lambda r: T.tanh(T.dot(r, w)).sum(), m)
    assert scans(compiled([m, w], rows))
    with recording() as remarks:
        run(Function([m, w], [rows]))
    value([m, w], rows, M, W)
    assert any("larger" in str(r) for r in remarks if r.pass_name == "scan_vectorize")


def test_printing_and_random_draws_stay_in_the_loop(capfd: Any) -> None:
    f = compiled([x], rows_of(lambda a: theano.printing.Print("a")(a) + 1, x))
    assert scans(f)
    f(X)
    assert capfd.readouterr().out.count("a __str__") == len(X)
