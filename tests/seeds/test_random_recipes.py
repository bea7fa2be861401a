"""Random streams draw bit for bit what Theano 1.0.5 draws."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import pytest
from seeds.recipes import MRG, random_states

import ltensor
from ltensor.random import MRG_RandomStreams, RandomStreams

Draw = Callable[[np.random.RandomState], Any]

# name, the expression drawn from a RandomStreams, the same from NumPy's state
RECIPES: list[tuple[str, Callable[[Any], Any], Draw]] = [
    ("uniform", lambda rs: rs.uniform((2, 3)), lambda s: s.uniform(0.0, 1.0, (2, 3))),
    ("uniform-low-high", lambda rs: rs.uniform((4,), -2, 5), lambda s: s.uniform(-2, 5, (4,))),
    (
        "uniform-float32",
        lambda rs: rs.uniform((4,), dtype="float32"),
        lambda s: s.uniform(0.0, 1.0, (4,)).astype("float32"),
    ),
    (
        "uniform-array-arguments",
        lambda rs: rs.uniform(None, np.array([0.0, 1.0, 2.0]), 10.0),
        lambda s: s.uniform(np.array([0.0, 1.0, 2.0]), 10.0),
    ),
    ("normal", lambda rs: rs.normal((2, 3)), lambda s: s.normal(0.0, 1.0, (2, 3))),
    ("normal-avg-std", lambda rs: rs.normal((3,), 5, 0.1), lambda s: s.normal(5, 0.1, (3,))),
    ("binomial", lambda rs: rs.binomial((2, 5)), lambda s: s.binomial(1, 0.5, (2, 5))),
    ("binomial-n-p", lambda rs: rs.binomial((6,), 10, 0.3), lambda s: s.binomial(10, 0.3, (6,))),
    (
        "binomial-array-p",
        lambda rs: rs.binomial((3,), 1, np.array([0.1, 0.5, 0.9]), dtype="float64"),
        lambda s: s.binomial(1, np.array([0.1, 0.5, 0.9]), (3,)).astype("float64"),
    ),
    (
        "random_integers",
        lambda rs: rs.random_integers((7,), 2, 9),
        lambda s: np.array([s.randint(2, 10) for _ in range(7)], "int64"),
    ),
    ("choice", lambda rs: rs.choice((5,), 10), lambda s: s.choice(10, (5,))),
    (
        "choice-weighted",
        lambda rs: rs.choice((2,), 3, False, [0.2, 0.3, 0.5]),
        lambda s: s.choice(3, (2,), False, [0.2, 0.3, 0.5]),
    ),
    ("poisson", lambda rs: rs.poisson((5,), 3.0), lambda s: s.poisson(3.0, (5,))),
    (
        "permutation",
        lambda rs: rs.permutation((2,), 5),
        lambda s: np.array([s.permutation(5) for _ in range(2)]),
    ),
    ("permutation-one", lambda rs: rs.permutation(n=5), lambda s: s.permutation(5)),
    (
        "multinomial",
        lambda rs: rs.multinomial((2,), 6, [0.25, 0.75]),
        lambda s: np.array([s.multinomial(6, [0.25, 0.75]) for _ in range(2)], "int64"),
    ),
]


def same(mine: np.ndarray, wanted: Any) -> None:
    """Same dtype, same shape, same bits."""
    np.testing.assert_array_equal(mine, wanted, strict=True)


@pytest.mark.parametrize("i", range(len(RECIPES)), ids=[recipe[0] for recipe in RECIPES])
def test_random_streams(i: int) -> None:
    # All draws are made from one object, as each takes the next state of it.
    streams = RandomStreams(1234)
    expressions = [make(streams) for _, make, _ in RECIPES]
    draw = RECIPES[i][2]
    state = next(islice(random_states(1234), i, None))
    function = ltensor.function([], expressions[i])
    for _ in range(3):
        same(function(), draw(state))


def test_seed_starts_again() -> None:
    streams = RandomStreams(7)
    function = ltensor.function([], streams.uniform((2,)))
    same(function(), next(random_states(7)).uniform(0.0, 1.0, (2,)))
    streams.seed(99)
    same(function(), next(random_states(99)).uniform(0.0, 1.0, (2,)))


SEEDS = [12345, 1234, [1, 2, 3, 4, 5, 6]]
seeds = pytest.mark.parametrize("seed", SEEDS, ids=["12345", "1234", "list"])


@seeds
def test_mrg_uniform(seed: Any) -> None:
    streams, wanted = MRG_RandomStreams(seed), MRG(seed)
    for shape in ((5,), (3, 4), (10, 7)):
        for dtype in ("float64", "float32"):
            function = ltensor.function([], streams.uniform(shape, dtype=dtype))
            states = wanted.streams(MRG.stream_count(shape))
            for _ in range(2):
                same(function(), MRG.uniform(states, shape, dtype))


@seeds
def test_mrg_range_and_stream_count(seed: Any) -> None:
    streams, wanted = MRG_RandomStreams(seed), MRG(seed)
    drawn = ltensor.function([], streams.uniform((4,), low=-1.0, high=2.0, nstreams=3))()
    np.testing.assert_allclose(drawn, MRG.uniform(wanted.streams(3), (4,)) * 3 - 1, rtol=1e-14)


@seeds
def test_mrg_binomial(seed: Any) -> None:
    streams, wanted = MRG_RandomStreams(seed), MRG(seed)
    drawn = ltensor.function([], streams.binomial((9,), p=0.3))()
    states = wanted.streams(MRG.stream_count((9,)))
    same(drawn, (MRG.uniform(states, (9,)) < 0.3).astype("int64"))


@seeds
def test_mrg_normal(seed: Any) -> None:
    streams, wanted = MRG_RandomStreams(seed), MRG(seed)
    for shape in ((4,), (5,), (3, 3)):
        drawn = ltensor.function([], streams.normal(shape, avg=1.0, std=2.0))()
        size = int(np.prod(shape))
        # The number of uniforms is a variable to Theano: it takes the full number of streams.
        uniform = MRG.uniform(wanted.streams(), (size + size % 2,))
        assert drawn.dtype == "float64"
        np.testing.assert_allclose(drawn, MRG.normal(uniform, shape) * 2 + 1, rtol=1e-12)


def test_mrg_multinomial() -> None:
    weights = np.array([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4], [1.0, 0.0, 0.0]])
    drawn = ltensor.function([], MRG_RandomStreams(42).multinomial(pvals=weights, n=1))()
    uniform = MRG.uniform(MRG(42).streams(), (3,))
    wanted = np.zeros((3, 3), "int64")
    for row, u in enumerate(uniform):
        wanted[row, min(np.searchsorted(np.cumsum(weights[row]), u, side="right"), 2)] = 1
    same(drawn, wanted)
