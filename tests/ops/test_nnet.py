"""Neural net operations: second derivatives, Theano's recorded results, errors at run time."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

import ltensor  # noqa: F401 - declares all ops
from ltensor.gradient import grad
from ltensor.ops import conv_api, neighbours, nnet, pool_api
from ltensor.ops.arithmetic import add, mul, sqr
from ltensor.ops.reduce import sum as total
from ltensor.ops.shape import dimshuffle, reshape, shape
from ltensor.testing import compile_graph, reference, variable_of

GOLDEN = Path(os.environ.get("LTENSOR_GOLDEN", "/work/shared/theano/golden"))


def _normal(rng: np.random.Generator, *sizes: int) -> np.ndarray:
    return rng.normal(size=sizes)


def _pool(mode: str):
    return lambda x: pool_api.pool_2d(x, (3, 2), True, stride=(2, 1), pad=(1, 1), mode=mode)


CLASSES = np.array([1, 0, 3], "int32")
TWICE = {
    "softmax": (nnet.softmax, [(3, 4)]),
    "logsoftmax": (nnet.logsoftmax, [(3, 4)]),
    "logsumexp": (lambda x: nnet.logsumexp(x, 0), [(3, 4)]),
    "classes": (lambda x: nnet.categorical_crossentropy(nnet.softmax(x), CLASSES), [(3, 4)]),
    "loss": (
        lambda x, b: nnet.crossentropy_softmax_1hot_with_bias(x, b, CLASSES)[0],
        [(3, 4), (4,)],
    ),
    "loss-softmax": (
        lambda x, b: nnet.crossentropy_softmax_1hot_with_bias(x, b, CLASSES)[1],
        [(3, 4), (4,)],
    ),
    "sigmoid-loss": (nnet.sigmoid_binary_crossentropy, [(3, 4), (3, 4)]),
    "conv": (conv_api.conv2d, [(2, 2, 5, 6), (3, 2, 2, 3)]),
    "conv-half": (
        lambda x, w: conv_api.conv2d(x, w, border_mode="half", subsample=(2, 1)),
        [(2, 2, 5, 6), (3, 2, 2, 3)],
    ),
    "conv-groups": (
        lambda x, w: conv_api.conv2d(x, w, num_groups=2),
        [(2, 4, 5, 6), (4, 2, 2, 3)],
    ),
    "conv3d": (conv_api.conv3d, [(1, 2, 3, 4, 3), (2, 2, 2, 2, 2)]),
    "pool-max": (_pool("max"), [(2, 5, 6)]),
    "pool-sum": (_pool("sum"), [(2, 5, 6)]),
    "pool-mean": (_pool("average_exc_pad"), [(2, 5, 6)]),
    "patches": (lambda x: neighbours.images2neibs(x, (2, 2), (1, 1)), [(1, 2, 3, 4)]),
    "batch-norm": (
        lambda x, g, b: nnet.batch_normalization_train(x, g, b, "spatial")[0],
        [(3, 2, 2, 2), (2,), (2,)],
    ),
}


@pytest.mark.parametrize("name", sorted(TWICE))
def test_second_derivative(name: str) -> None:
    build, shapes = TWICE[name]
    rng = np.random.default_rng(3)
    arrays = [_normal(rng, *s) for s in shapes]
    variables = [variable_of(a) for a in arrays]
    y = build(*variables)
    weight = _normal(rng, *reference(variables, [y], arrays)[0].shape)
    first = grad(total(mul(weight, sqr(y))), variables)
    terms = [total(mul(_normal(rng, *a.shape), g)) for a, g in zip(arrays, first, strict=True)]
    cost = terms[0] if len(terms) == 1 else add(*terms)
    value = compile_graph(variables, [cost])
    got = compile_graph(variables, grad(cost, variables))(*arrays)
    step = 1e-5
    for k, gradient in enumerate(got):
        numeric = np.zeros_like(arrays[k])
        for index in np.ndindex(*arrays[k].shape):
            sides = []
            for sign in (1, -1):
                moved = [a.copy() for a in arrays]
                moved[k][index] += sign * step
                sides.append(float(value(*moved)[0]))
            numeric[index] = (sides[0] - sides[1]) / (2 * step)
        np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------- Theano's results


def _golden(name: str):
    path = GOLDEN / f"{name}.json"
    if not path.exists():
        pytest.skip("Theano's recorded results are not here")
    results = json.loads(path.read_text())["results"]
    arrays = path.with_suffix(".npz")
    loaded = np.load(arrays) if arrays.exists() else {}

    def array(key: str) -> np.ndarray:
        entry = results[key]
        if "npz" in entry:
            return np.asarray(loaded[entry["npz"]])
        return np.array(entry["values"]).reshape(entry["shape"])

    return array


def test_convolution_as_theano() -> None:
    expected = _golden("45_conv2d")
    np.random.seed(7)

    def draw(size):
        return np.random.uniform(-0.1, 0.1, size)

    draw((3, 1, 9, 9))
    np.random.rand(1, 1, 20, 20)
    arrays = [draw((16, 3, 5, 5)), draw((32, 16, 5, 5))]
    arrays.insert(0, np.random.rand(2, 32 * 32 * 3))
    flat, w1, w2 = variables = [variable_of(a) for a in arrays]
    x = dimshuffle(reshape(flat, (2, 32, 32, 3)), (0, 3, 1, 2))
    first = conv_api.conv2d(x, w1)
    second = conv_api.conv2d(first, w2)
    from ltensor.ops.moments import mean

    cost = mean(sqr(second))
    gradients = grad(cost, [w1, w2, flat])
    out = compile_graph(variables, [shape(first), second, cost, *gradients])(*arrays)
    np.testing.assert_array_equal(out[0], expected("shape1"))
    np.testing.assert_allclose(out[1][0, :4, :4, :4], expected("out2_part"), rtol=1e-10)
    np.testing.assert_allclose(out[2], expected("cost"), rtol=1e-12)
    np.testing.assert_allclose(out[3], expected("gW"), rtol=1e-9)
    np.testing.assert_allclose(out[4][:3, :3], expected("gW2_part"), rtol=1e-9)
    np.testing.assert_allclose(out[5][:, :40], expected("gx_part"), rtol=1e-8, atol=1e-15)


MODES = {
    "valid": {},
    "corr": {"filter_flip": False},
    "full": {"border_mode": "full"},
    "half": {"border_mode": "half"},
    "pad12": {"border_mode": (1, 2)},
    "sub": {"subsample": (2, 2)},
    "dil": {"filter_dilation": (2, 2)},
}


@pytest.mark.parametrize("mode", sorted(MODES))
def test_border_as_theano(mode: str) -> None:
    expected = _golden("45_conv2d")
    arrays = [np.arange(25.0).reshape(1, 1, 5, 5), np.arange(9.0).reshape(1, 1, 3, 3)]
    variables = [variable_of(a) for a in arrays]
    out = compile_graph(variables, [conv_api.conv2d(*variables, **MODES[mode])])(*arrays)
    np.testing.assert_allclose(out[0], expected(mode))


def test_pooling_as_theano() -> None:
    expected = _golden("46_max_pool")
    np.random.seed(8)
    data = np.random.randn(2, 32, 24, 24)
    x = variable_of(data)
    pooled = pool_api.max_pool_2d(x, (2, 2), ignore_border=True)
    out = compile_graph([x], [pooled, grad(total(sqr(pooled)), x)])(data)
    np.testing.assert_array_equal(out[0][:, :3], expected("part"))
    np.testing.assert_allclose(out[1][:, :3, :6, :6], expected("grad_part"))
    small = np.random.randn(1, 1, 5, 5)
    calls = {
        "border_true": {"ignore_border": True},
        "border_false": {"ignore_border": False},
        "stride_pad": {"ws": (3, 3), "ignore_border": True, "stride": (1, 1), "pad": (1, 1)},
        "avg": {"ignore_border": True, "mode": "average_inc_pad"},
        "sum": {"ignore_border": True, "mode": "sum"},
    }
    x = variable_of(np.ones((2, 2, 2, 2)))
    for key, call in calls.items():
        result = pool_api.pool_2d(x, **{"ws": (2, 2), **call})
        np.testing.assert_allclose(compile_graph([x], [result])(small)[0], expected(key))


# -------------------------------------------------------------------------- values


def test_activations_have_theanos_values() -> None:
    x = np.array([-3.0, -1, 0, 1, 3])
    v = variable_of(x)
    outputs = [nnet.hard_sigmoid(v), nnet.ultra_fast_sigmoid(v), grad(total(nnet.relu(v)), v)]
    hard, fast, slope = compile_graph([v], outputs)(x)
    np.testing.assert_allclose(hard, [0, 0.3, 0.5, 0.7, 1])
    np.testing.assert_allclose(fast, [0.05, 0.25, 0.5, 0.75, 0.95])
    np.testing.assert_allclose(slope, [0, 0, 0.5, 1, 1])


def test_batch_normalization_train_and_test_agree() -> None:
    rng = np.random.default_rng(0)
    x, gamma, beta, mean, var = (_normal(rng, *s) for s in ((4, 3, 2, 2), (3,), (3,), (3,), (3,)))
    var = abs(var)
    arrays = [x, gamma, beta, mean, var]
    v = [variable_of(a) for a in arrays]
    train = nnet.batch_normalization_train(*v[:3], "spatial", 1e-4, 0.1, v[3], v[4])
    out = compile_graph(v, list(train))(*arrays)
    m, s = x.mean((0, 2, 3)), x.var((0, 2, 3))
    np.testing.assert_allclose(out[1], m)
    np.testing.assert_allclose(out[2], 1 / np.sqrt(s + 1e-4))
    np.testing.assert_allclose(out[3], 0.9 * mean + 0.1 * m)
    np.testing.assert_allclose(out[4], 0.9 * var + 0.1 * s * 16 / 15)
    test = compile_graph(v, [nnet.batch_normalization_test(*v, "spatial")])
    np.testing.assert_allclose(test(x, gamma, beta, m, s)[0], out[0])


def test_hierarchical_softmax_sums_to_one() -> None:
    rng = np.random.default_rng(1)
    shapes = ((5, 4), (4, 3), (3,), (3, 4, 2), (3, 2))
    arrays = [_normal(rng, *s) for s in shapes]
    v = [variable_of(a) for a in arrays]
    target = np.array([0, 5, 2, 3, 1])
    sizes = (5, 6, 3, 2)
    everything = nnet.h_softmax(v[0], *sizes, *v[1:])
    chosen = nnet.h_softmax(v[0], *sizes, *v[1:], target)
    table, picked = compile_graph(v, [everything, chosen])(*arrays)
    np.testing.assert_allclose(table.sum(axis=1), 1)
    np.testing.assert_allclose(picked, table[np.arange(5), target])


def test_neibs2images_undoes_images2neibs() -> None:
    x = np.arange(48.0).reshape(1, 2, 4, 6)
    v = variable_of(x)
    back = neighbours.neibs2images(neighbours.images2neibs(v, (2, 3)), (2, 3), (1, 2, 4, 6))
    np.testing.assert_array_equal(compile_graph([v], [back])(x)[0], x)


# -------------------------------------------------------------------------- errors


def _fails(arrays, build, others, kind: str) -> None:
    variables = [variable_of(a) for a in arrays]
    function = compile_graph(variables, [build(*variables)])
    with pytest.raises(Exception, match=kind):
        function(*others)


def test_channels_must_fit() -> None:
    arrays = [np.ones((2, 3, 4, 4)), np.ones((2, 3, 2, 2))]
    _fails(arrays, conv_api.conv2d, [arrays[0], np.ones((2, 2, 2, 2))], "conv_channels")


def test_images_must_not_be_smaller_than_filters() -> None:
    arrays = [np.ones((2, 3, 4, 4)), np.ones((2, 3, 3, 3))]
    _fails(arrays, conv_api.conv2d, [np.ones((2, 3, 2, 4)), arrays[1]], "conv_empty")


@pytest.mark.parametrize("wrong", [[0, 4, 1], [0, -1, 1]])
def test_classes_must_exist(wrong: list[int]) -> None:
    arrays = [np.ones((3, 4)), CLASSES]
    others = [arrays[0], np.array(wrong, "int32")]
    _fails(arrays, nnet.categorical_crossentropy, others, "class_bounds")


def test_as_many_classes_as_rows() -> None:
    arrays = [np.ones((3, 4)), CLASSES]
    _fails(arrays, nnet.categorical_crossentropy, [arrays[0], CLASSES[:2]], "class_count")


def test_patches_must_end_at_the_border() -> None:
    arrays = [np.ones((2, 2, 4, 4))]
    build = lambda x: neighbours.images2neibs(x, (2, 2))  # noqa: E731
    _fails(arrays, build, [np.ones((2, 2, 5, 4))], "neib_sizes")


def test_softmax_refuses_other_ranks() -> None:
    with pytest.raises(ValueError, match="x must be 1-d or 2-d tensor of floats"):
        nnet.softmax(variable_of(np.ones((2, 2, 2))))


def test_padding_needs_ignore_border() -> None:
    with pytest.raises(NotImplementedError, match="padding works only with ignore_border=True"):
        pool_api.pool_2d(variable_of(np.ones((4, 4))), (2, 2), False, pad=(1, 1))


@pytest.mark.parametrize("mode", ["max", "sum", "average_inc_pad"])
def test_nodes_are_rebuilt_from_their_operands(mode: str) -> None:
    from ltensor.ir.walks import toposort

    x = variable_of(np.ones((4, 6)))
    pooled = pool_api.pool_2d(x, (2, 3), True, mode=mode)
    patches = neighbours.images2neibs(dimshuffle(x, ("x", "x", 0, 1)), (2, 2))
    filtered = conv_api.conv2d(*[dimshuffle(x, ("x", "x", 0, 1))] * 2, border_mode="half")
    first = grad(add(total(sqr(pooled)), total(sqr(patches)), total(sqr(filtered))), x)
    for node in toposort([grad(total(sqr(first)), x)]):
        again = node.op.make_node(*node.inputs)
        assert [v.type.ndim for v in again.inputs] == [v.type.ndim for v in node.inputs]
        assert [v.type.dtype for v in again.outputs] == [v.type.dtype for v in node.outputs]
