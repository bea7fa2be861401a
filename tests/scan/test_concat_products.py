"""Products of a step that became one: values, gradients, and what fails."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scan.checks import compiled, names, scans

import ltensor as theano
import ltensor.tensor as T

rng = np.random.RandomState(5)
a, b, c = T.dmatrices("a", "b", "c")
WEIGHTS = [rng.uniform(-0.5, 0.5, (4, 4)) for _ in range(3)]


def net(x: Any, start: Any, weights: Any) -> Any:
    def step(row: Any, h: Any, *w: Any) -> Any:
        i, f, g = (T.dot(h, u) + row for u in w)
        return T.nnet.sigmoid(i) * T.tanh(g) + T.nnet.sigmoid(f) * h

    return theano.scan(step, x, outputs_info=start, non_sequences=weights)[0]


def agree(inputs: list[Any], outputs: Any, arguments: list[Any]) -> Any:
    plain = theano.function(inputs, outputs, mode=theano.Mode(optimizer=None))
    joined = compiled(inputs, outputs)
    for got, want in zip(joined(*arguments), plain(*arguments), strict=True):
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)
    return joined


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("steps", [0, 1, 7])
def test_gates_of_a_batch(rows: int, steps: int) -> None:
    x, start = T.dtensor3("x"), T.dmatrix("start")
    h = net(x, start, [a, b, c])
    arguments = [rng.uniform(-1, 1, (steps, rows, 4)), rng.uniform(-1, 1, (rows, 4)), *WEIGHTS]
    f = agree([x, start, a, b, c], [h], arguments)
    (loop,) = scans(f)
    assert names(loop.op.body.nodes).count("dot") == 1
    f = agree([x, start, a, b, c], T.grad((h**2).sum(), [x, start, a, b, c]), arguments)
    backward = [n.op for n in scans(f) if n.op.name.startswith("grad_of")]
    # back through the three matrices at once
    assert names(backward[0].body.nodes).count("dot") == 1


@pytest.mark.parametrize("steps", [0, 1, 7])
def test_gates_of_a_vector(steps: int) -> None:
    x, start = T.dmatrix("x"), T.dvector("start")
    h = net(x, start, [a, b, c])
    arguments = [rng.uniform(-1, 1, (steps, 4)), rng.uniform(-1, 1, 4), *WEIGHTS]
    f = agree([x, start, a, b, c], [h], arguments)
    assert "for a vector that is slower" in str(f.explain())
    f = agree([x, start, a, b, c], T.grad((h**2).sum(), [x, start, a, b, c]), arguments)
    assert "makes one product of 3 that are summed" in str(f.explain())


def test_two_states_in_a_sum() -> None:
    x, g0, h0 = T.dmatrix("x"), T.dvector("g0"), T.dvector("h0")

    def step(row: Any, g: Any, h: Any, u: Any, v: Any) -> Any:
        return T.tanh(row + T.dot(g, u) + T.dot(h, v)), g * h[:3]

    (g, h), _ = theano.scan(step, x, outputs_info=[g0, h0], non_sequences=[a, b])
    arguments = [
        rng.uniform(-1, 1, (6, 3)), rng.uniform(-1, 1, 3), rng.uniform(-1, 1, 3),
        rng.uniform(-1, 1, (3, 3)), rng.uniform(-1, 1, (3, 3)),
    ]  # fmt: skip
    f = agree([x, g0, h0, a, b], [g, h], arguments)
    (loop,) = scans(f)
    assert names(loop.op.body.nodes).count("dot") == 1


def test_each_product_is_checked() -> None:
    """The wrong sizes add up to the right ones."""
    x, g0, h0 = T.dmatrix("x"), T.dvector("g0"), T.dvector("h0")
    (g, h), _ = theano.scan(
        lambda row, g, h, u, v: (T.tanh(row + T.dot(g, u) + T.dot(h, v)), T.tanh(h)),
        x, outputs_info=[g0, h0], non_sequences=[a, b],
    )  # fmt: skip
    f = compiled([x, g0, h0, a, b], [g, h])
    good = [np.ones((5, 3)), np.ones(3), np.ones(2), np.ones((3, 3)), np.ones((2, 3))]
    assert f(*good)[0].shape == (5, 3)
    bad = [*good[:3], np.ones((2, 3)), np.ones((3, 3))]
    with pytest.raises(ValueError, match=r"Shape mismatch: x has 3 cols.* but y has 2 rows"):
        f(*bad)
    # of no step nothing is said
    assert f(np.ones((0, 3)), *bad[1:])[0].shape == (0, 3)
