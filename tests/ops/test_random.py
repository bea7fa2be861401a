"""Random ops: native draws against NumPy's, bit for bit; sizes, dtypes, refusals, gradients."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ltensor.errors import NullTypeGradError, UnsupportedError
from ltensor.function import function
from ltensor.gradient import grad
from ltensor.io import In
from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor
from ltensor.ir.graph import evaluate
from ltensor.ir.types import TensorType, random_state_type, tensor_type
from ltensor.ops.permute import permute_row_elements
from ltensor.random import (
    MRG_RandomStreams,
    PhiloxStreams,
    RandomFunction,
    RandomStreams,
    RandomStreamsBase,
    raw,
)
from ltensor.random.mrg import substreams
from ltensor.shared import shared

Recipe = Callable[..., list[Any]]


def variable(array: Any, flags: bool = True) -> Any:
    """An input for ``array``; sizes of 1 are broadcastable if ``flags``."""
    array = np.asarray(array)
    shape = tuple(1 if flags and size == 1 else None for size in array.shape)
    return tensor_type(str(array.dtype), shape).make_variable()


def check(recipe: Recipe, *arrays: Any, flags: bool = True, times: int = 2, seed: int = 5) -> Any:
    """The native draws of ``recipe(state, *variables)`` against the op's NumPy reference."""
    arrays = tuple(np.asarray(a) for a in arrays)
    inputs = [variable(a, flags) for a in arrays]
    state: Any = shared(np.random.RandomState(seed))
    new, sample = recipe(state, *inputs)
    state.default_update = new
    compiled = function(inputs, sample, on_unused_input="ignore")
    sizes = function(inputs, sample.owner.inputs[1:], on_unused_input="ignore")
    stream = np.random.RandomState(seed)
    for _ in range(times):
        got = compiled(*arrays)
        stream, wanted = evaluate(sample.owner, [stream, *sizes(*arrays)])
        np.testing.assert_array_equal(got, wanted, strict=True)
        assert got.dtype == sample.type.dtype
    assert random_state_type.values_eq(state.get_value(), stream)
    return got


# ------------------------------------------------------------------------- distributions

REAL_PARAMETERS = {
    "uniform": (-1.5, 2.0),
    "normal": (0.25, 3.0),
    "binomial": (9, 0.3),
    "random_integers": (-3, 12),
    "poisson": (14.5,),
}


@pytest.mark.parametrize("dtype", [d for d in dt.ALL if not dt.is_complex(d)])
@pytest.mark.parametrize("method", sorted(REAL_PARAMETERS))
def test_every_result_dtype(method: str, dtype: str) -> None:
    """Other dtypes than the kernel's own go through a small buffer, in several chunks."""
    parameters = (1, 5) if method == "random_integers" else REAL_PARAMETERS[method]
    if method in ("uniform", "normal") and dtype.startswith("uint"):
        parameters = (3.0, 1e-3)
        if method == "uniform":
            parameters = (3.0, 9.0)
    draw = getattr(raw, method)
    check(lambda s: draw(s, (3, 1500), *parameters, dtype=dtype), times=1)


@pytest.mark.parametrize("size", [(), (1,), (0,), (4, 0), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("method", sorted(REAL_PARAMETERS))
def test_sizes(method: str, size: tuple[int, ...]) -> None:
    sample = check(lambda s: getattr(raw, method)(s, size, *REAL_PARAMETERS[method]))
    assert sample.shape == size


@pytest.mark.parametrize("method", sorted(REAL_PARAMETERS))
def test_array_parameters_give_the_size(method: str) -> None:
    parameters = REAL_PARAMETERS[method]
    first = np.full((3, 1), parameters[0])
    rest = [np.full(4, p) for p in parameters[1:]]
    sample = check(lambda s, *p: getattr(raw, method)(s, None, *p), first, *rest)
    assert sample.shape == ((3, 4) if rest else (3, 1))


@pytest.mark.parametrize("method", sorted(REAL_PARAMETERS))
def test_parameters_stretch_to_the_size(method: str) -> None:
    """NumPy stretches by run-time sizes, whatever the types declare."""
    arrays = [np.full((3, 1), p) for p in REAL_PARAMETERS[method]]
    for flags in (True, False):
        check(lambda s, *p: getattr(raw, method)(s, (2, 3, 5), *p), *arrays, flags=flags)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_parameters_of_other_dtypes(dtype: str) -> None:
    low = np.arange(6).reshape(2, 3).astype(dtype)
    check(lambda s, low: raw.uniform(s, None, low, 8.0), low)
    check(lambda s, n: raw.binomial(s, None, n, 0.5), low.astype("int8"))


def test_symbolic_sizes() -> None:
    x = np.zeros((4, 3))
    check(lambda s, x: raw.uniform(s, x.shape), x)
    check(lambda s, x: raw.normal(s, x.shape, ndim=2), x)
    check(lambda s, n: raw.poisson(s, (n, 2), 3.0), np.int32(5))
    check(lambda s, v: raw.uniform(s, v, ndim=2), np.array([2, 3]))
    check(lambda s, p: raw.binomial(s, (2, -1), 1, p), np.array([0.1, 0.5, 0.9]))
    state = shared(np.random.RandomState(1))
    with pytest.raises(ValueError, match="ndim"):
        raw.uniform(state, variable(np.array([2, 3])))
    with pytest.raises(TypeError, match="vector"):
        raw.uniform(state, 3)
    with pytest.raises(ValueError, match="-1"):
        raw.uniform(state, (-1,))
    with pytest.raises(TypeError, match="size"):
        raw.choice(state)
    with pytest.raises(ValueError, match="dimensions"):
        raw.uniform(state, (3,), np.zeros((2, 3)))


def test_broadcast_flags_are_those_of_theano() -> None:
    streams = RandomStreams(1)
    assert streams.uniform((1, 3)).type.broadcastable == (True, False)
    assert streams.binomial((1, 3)).type.broadcastable == (False, False)
    assert streams.permutation((1,), 4).type.broadcastable == (True, False)
    assert streams.uniform(None, np.zeros((1, 4)), 1.0).type.broadcastable == (True, False)


@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("p", [None, [0.1, 0.2, 0.3, 0.4]], ids=["even", "weighted"])
def test_choice(replace: bool, p: Any) -> None:
    check(lambda s: raw.choice(s, (3,), 4, replace, p))
    check(lambda s, a: raw.choice(s, (2, 2), a, replace, p), np.array([1.5, 2.5, -1, 7], "float32"))
    check(lambda s, r: raw.choice(s, (3,), 4, r, p), np.int8(replace))
    weights = np.array([] if p is None else p, "float32")
    check(lambda s, w: raw.choice(s, (3,), 4, replace, w), weights)
    check(lambda s: raw.choice(s, (), 4, replace, p, dtype="float32"))


def test_permutation() -> None:
    check(lambda s: raw.permutation(s, n=6))
    check(lambda s, n: raw.permutation(s, (2, 3), n, dtype="int32"), np.int64(7))
    check(lambda s: raw.permutation(s, (3,), 0))


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_multinomial(dtype: str) -> None:
    rows = np.random.RandomState(0).uniform(0.1, 1, (2, 3, 5))
    rows = (rows / rows.sum(-1, keepdims=True)).astype(dtype)
    if dtype == "float16":
        rows[..., -1] -= np.float16(0.01)
    check(lambda s, p: raw.multinomial(s, None, 7, p), rows)
    check(lambda s, n, p: raw.multinomial(s, (2, 3), n, p), np.array([1, 5, 9]), rows[0])
    check(lambda s, p: raw.multinomial(s, (4,), 3, p, dtype="float32"), rows[0, 0])
    check(lambda s, p: raw.multinomial(s, (), 3, p), rows[0, 0])
    check(lambda s, p: raw.multinomial(s, (4,), 1, p), np.array([1], dtype))


@pytest.mark.parametrize("k", [10, 700])
def test_multinomial_of_a_softmax_in_float32(k: int) -> None:
    """Such rows sum to a little more than 1 as often as not."""
    rows = np.exp(np.random.RandomState(3).normal(size=(50, k))).astype("float32")
    rows /= rows.sum(axis=1, keepdims=True)
    check(lambda s, p: raw.multinomial(s, None, 4, p), rows)


# ------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("recipe", "arrays", "error"),
    [
        (lambda s, x: raw.normal(s, (3,), 0.0, x), [-1.0], ValueError),
        (lambda s, x: raw.binomial(s, (3,), 1, x), [1.5], ValueError),
        (lambda s, x: raw.binomial(s, (3,), 1, x), [np.nan], ValueError),
        (lambda s, x: raw.binomial(s, (3,), x, 0.5), [-2], ValueError),
        (lambda s, x: raw.poisson(s, (3,), x), [-1.0], ValueError),
        (lambda s, x: raw.uniform(s, (3,), x, 1.0), [-np.inf], OverflowError),
        (lambda s, x: raw.random_integers(s, (3,), x, 1), [2], ValueError),
        (lambda s, x: raw.choice(s, (3,), x), [0], ValueError),
        (lambda s, x: raw.choice(s, (3,), x, False), [2], ValueError),
        (lambda s, x: raw.choice(s, (3,), 3, True, x), [np.array([0.5, 0.5])], ValueError),
        (lambda s, x: raw.choice(s, (3,), 2, True, x), [np.array([0.5, 0.6])], ValueError),
        (lambda s, x: raw.permutation(s, (2,), x), [-1], ValueError),
        (lambda s, x: raw.multinomial(s, (2,), 1, x), [np.array([0.9, 0.9, 0.1])], ValueError),
        (lambda s, x: raw.uniform(s, (x,)), [-1], ValueError),
        (lambda s, x: raw.uniform(s, (x, x, x)), [2**31], MemoryError),
        (lambda s, x: raw.uniform(s, (4,), x, 9.0), [np.zeros(3)], ValueError),
        (lambda s, x: raw.uniform(s, None, x, np.zeros(4)), [np.zeros(3)], ValueError),
    ],
)
def test_refused_at_run_time(recipe: Recipe, arrays: list[Any], error: type[Exception]) -> None:
    """A refused draw leaves the state as it was."""
    arrays = [np.asarray(a) for a in arrays]
    inputs = [variable(a) for a in arrays]
    state: Any = shared(np.random.RandomState(5))
    new, sample = recipe(state, *inputs)
    state.default_update = new
    compiled = function(inputs, sample)
    with pytest.raises(error):
        compiled(*arrays)
    assert random_state_type.values_eq(state.get_value(), np.random.RandomState(5))


def test_refused_when_built() -> None:
    state = shared(np.random.RandomState(5))
    with pytest.raises(UnsupportedError, match="gamma"):
        RandomFunction("gamma", TensorType("float64", (False,)))
    with pytest.raises(TypeError, match="random state"):
        raw.uniform(as_tensor(3.0), (2,))
    with pytest.raises(TypeError, match="complex"):
        raw.uniform(state, (2,), 1j, 2.0)
    with pytest.raises(ValueError, match=r"p\.ndim"):
        raw.choice(state, (2,), 3, True, np.ones((3, 1)))


def test_theanos_form_of_the_op() -> None:
    op = RandomFunction(np.random.RandomState.uniform, TensorType("float64", (False, False)))
    assert str(op) == "RandomFunction{uniform}"
    assert str(raw.random_integers(shared(np.random.RandomState(1)), (2,))[1].owner.op) == (
        "RandomFunction{random_integers_helper}"
    )
    check(lambda s: op(s, (2, 3), 0.0, 1.0))
    check(lambda s: op(s, np.array([2, 3]), 0.0, 1.0))
    assert op == RandomFunction("uniform", TensorType("float64", (False, False)))


def test_streams_of_a_program() -> None:
    """A class of its own over the distributions, and a distribution over the rank and sizes."""

    def coins(state: Any, size: Any = None, p: Any = 0.5, ndim: Any = None) -> Any:
        p = shared(np.asarray(p))
        ndim, size, _pattern = raw._infer_ndim_bcast(ndim, size, p)
        op = RandomFunction("binomial", TensorType("int64", (False,) * ndim))
        return op(state, size, 1, p)

    class Mine(RandomStreamsBase):
        def gen(self, op: Any, *args: Any, **kwargs: Any) -> Any:
            state = shared(np.random.RandomState(7))
            state.default_update, sample = op(state, *args, **kwargs)
            return sample

    levels = np.array([0.2, 0.5, 0.9])
    draw = function([], Mine().gen(coins, (4, 3), levels))
    wanted = np.random.RandomState(7)
    for _ in range(2):
        np.testing.assert_array_equal(draw(), wanted.binomial(1, levels, (4, 3)))
    wanted = np.random.RandomState(7)
    np.testing.assert_array_equal(function([], Mine().uniform((2,)))(), wanted.uniform(size=2))
    with pytest.raises(NotImplementedError, match="gen"):
        RandomStreamsBase().normal((2,))
    p = variable(np.ones((1, 3)))
    assert raw._infer_ndim_bcast(None, None, p)[::2] == (2, (True, False))
    assert raw._infer_ndim_bcast(None, [])[0] == 0


def test_gradient_is_not_defined() -> None:
    streams, x = RandomStreams(1), variable(np.float64(2))
    with pytest.raises(NullTypeGradError, match=r"input 3 .*RandomFunction\{uniform\}"):
        grad(streams.uniform((3,), 0.0, x).sum(), x)
    noise = streams.normal((3,))
    assert function([x], grad((x * noise).sum(), x), no_default_updates=True)(1.0).shape == ()


# ------------------------------------------------------------------------- RandomStreams


def test_streams_are_indexed_by_their_states() -> None:
    streams = RandomStreams(234)
    u, n = streams.uniform((2,)), streams.normal((2,))
    assert streams.updates() == [u.update, n.update] == streams.state_updates
    assert u.update[0] is u.rng
    f = function([], u)
    first = f()
    streams[u.rng] = np.random.RandomState(7)
    np.testing.assert_array_equal(f(), np.random.RandomState(7).uniform(size=2))
    assert isinstance(streams[u.rng], np.random.RandomState)
    streams.seed(234)
    np.testing.assert_array_equal(f(), first)
    with pytest.raises(KeyError):
        streams[shared(1.0)]
    with pytest.raises(TypeError, match="RandomState"):
        streams[u.rng] = 3


def test_states_with_a_value_are_inputs_that_are_kept() -> None:
    state, x = random_state_type.make_variable("state"), variable(np.float64(2))
    new, sample = raw.uniform(state, (3,))
    mine = np.random.RandomState(3)
    f = function([x, In(state, value=mine, update=new, mutable=True)], sample * x)
    stays = function([In(state, value=mine)], sample)
    want = np.random.RandomState(3).uniform(size=(3, 3))
    for row in want[:2]:
        np.testing.assert_array_equal(f(2.0), row * 2)
        np.testing.assert_array_equal(stays(), want[0])
    np.testing.assert_array_equal(mine.uniform(size=3), want[0])
    again = pickle.loads(pickle.dumps(f))
    np.testing.assert_array_equal(again(1.0), want[2])
    f[state] = np.random.RandomState(3)
    np.testing.assert_array_equal(f(2.0), want[0] * 2)
    assert isinstance(f["state"], np.random.RandomState)
    with pytest.raises(TypeError, match="Too many"):
        f(2.0, mine)
    with pytest.raises(UnsupportedError, match=r"In\(state, value=numpy.random.RandomState"):
        function([state], sample)


def test_default_updates_can_be_left_out() -> None:
    u = RandomStreams(1).uniform((2,))
    still = function([], u, no_default_updates=True)
    np.testing.assert_array_equal(still(), still())
    zero = function([], u + u - 2 * u)
    np.testing.assert_array_equal(zero(), np.zeros(2))


def test_shuffle_row_elements() -> None:
    x = np.arange(12.0).reshape(3, 4)
    state: Any = shared(np.random.RandomState(5))
    v = variable(x)
    new, shuffled = raw.shuffle_row_elements(state, v)
    stream = np.random.RandomState(5)
    wanted = np.array([row[stream.permutation(4)] for row in x])
    np.testing.assert_array_equal(function([v], shuffled)(x), wanted)
    order = new.owner.outputs[1]
    np.testing.assert_array_equal(
        function([v], permute_row_elements(shuffled, order, inverse=True))(x), x
    )
    assert function([v], RandomStreams(1).shuffle_row_elements(v))(x).shape == (3, 4)
    y = np.array([0, 1, 4, 2])
    w = variable(y)
    with pytest.raises(IndexError):
        function([v, w], permute_row_elements(v, w))(x, y)


# ------------------------------------------------------------------------- MRG, Philox


def test_substreams_are_jumps_of_each_other() -> None:
    rows = substreams([1, 2, 3, 4, 5, 6], 100)
    for k in (1, 2, 63, 64, 65, 99):
        np.testing.assert_array_equal(substreams(rows[k - 1].tolist(), 2)[1], rows[k])


def test_mrg_seeds() -> None:
    for bad in (0, 2147462579, -3, [0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0], [2**31 - 1] * 6):
        with pytest.raises(ValueError, match="seed"):
            MRG_RandomStreams(bad)
    with pytest.raises(TypeError, match="seed"):
        MRG_RandomStreams([1, 2])
    streams = MRG_RandomStreams(99)
    u = streams.uniform((4,))
    f = function([], u)
    first = f()
    assert (f() != first).all()
    streams.seed()
    np.testing.assert_array_equal(f(), first)
    streams.seed(7)
    assert (f() != first).all()


def test_mrg_sizes() -> None:
    streams = MRG_RandomStreams(3)
    x = variable(np.zeros((2, 3)))
    f = function([x], streams.uniform(x.shape, dtype="float32"))
    assert f(np.zeros((5, 7))).shape == (5, 7)
    assert function([], streams.uniform(5))().shape == (5,)
    assert streams.uniform((1, 3)).type.broadcastable == (True, False)
    for bad in ((0, 2), (2.5,), "no"):
        with pytest.raises(ValueError, match="size"):
            streams.uniform(bad)
    with pytest.raises(NotImplementedError, match="n != 1"):
        streams.binomial((2,), n=3)
    with pytest.raises(NotImplementedError, match="ndim = 2"):
        streams.multinomial(pvals=np.ones(3))
    with pytest.raises(NotImplementedError, match="replace"):
        streams.choice(p=np.ones((2, 2)) / 2)


def test_mrg_float16() -> None:
    streams = MRG_RandomStreams(3)
    drawn = function([], streams._draw((1000,), None, "float16", None))()
    assert drawn.dtype == np.float16
    assert drawn.min() > 0
    assert drawn.max() < 1
    assert 0.45 < drawn.astype("f8").mean() < 0.55


def test_mrg_truncated_normal() -> None:
    """The recipe of the order: kept cosines, redrawn ones, kept sines, redrawn ones."""
    streams, again = MRG_RandomStreams(11), MRG_RandomStreams(11)
    drawn = function([], streams.truncated_normal((101,), avg=1.0, std=2.0))()
    u = function([], again._draw((as_tensor(102),), None, "float64", None))()
    radius, angle = np.sqrt(-2 * np.log(u[:51])), 2 * np.pi * u[51:]
    sides = np.cos(angle), np.sin(angle)
    values = [radius * side for side in sides]
    kept = [np.abs(v) <= 2 for v in values]
    counts = [int((~k).sum()) for k in kept]
    assert min(counts) > 0
    low = 1 / np.e**2
    fix = function([], again._draw((as_tensor(sum(counts)),), None, "float64", None))()
    fix = np.sqrt(-2 * np.log(fix * (1 - low) + low))
    parts = [
        values[0][kept[0]],
        fix[: counts[0]] * sides[0][~kept[0]],
        values[1][kept[1]],
        fix[counts[0] :] * sides[1][~kept[1]],
    ]
    wanted = np.concatenate(parts)[:101] * (2.0 / 0.87962566103423978) + 1
    np.testing.assert_allclose(drawn, wanted, rtol=1e-10, atol=1e-12)


def test_mrg_choice_takes_each_category_once() -> None:
    p = np.array([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4]])
    f = function([], MRG_RandomStreams(5).choice(3, p=p, replace=False))
    for _ in range(20):
        np.testing.assert_array_equal(np.sort(f(), axis=1), [[0, 1, 2]] * 2)


def test_philox_streams() -> None:
    streams = PhiloxStreams(7)
    u, z = streams.uniform((1001,)), streams.normal((1001,), avg=3.0, std=2.0)
    f = function([], [u, z, streams.bernoulli((1001,), 0.25)])
    first, second = f(), f()
    assert all((a != b).any() for a, b in zip(first, second, strict=True))
    assert 0 <= first[0].min() < first[0].max() < 1
    assert abs(first[1].mean() - 3) < 0.3
    assert abs(first[1].std() - 2) < 0.2
    assert abs(first[2].mean() - 0.25) < 0.06
    streams.seed()
    for a, b in zip(f(), first, strict=True):
        np.testing.assert_array_equal(a, b)
