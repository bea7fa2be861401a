"""Equal loop bodies become one object, and passes go through it once."""

from __future__ import annotations

from typing import Any

import numpy as np

import ltensor as theano
import ltensor.tensor as T
from ltensor.ir.function import Function
from ltensor.passes.manager import Pass, Step, find, map_regions, run_pipeline


def bodies(function: Function) -> list[Function]:
    return [region for node in function.nodes for region in node.op.regions]


def layers(*step_of: Any) -> Function:
    x = T.matrix("x")
    weights = [T.matrix(f"w{k}") for k in range(len(step_of))]
    h = x
    for step, w in zip(step_of, weights, strict=True):
        h, _ = theano.scan(step, sequences=h, outputs_info=T.zeros_like(x[0]), non_sequences=w)
    return Function([x, *weights], [h])


def step(row: Any, h: Any, w: Any) -> Any:
    return T.tanh(row + T.dot(h, w))


def other(row: Any, h: Any, w: Any) -> Any:
    return T.tanh(row - T.dot(h, w))


def test_equal_bodies_are_one() -> None:
    before = layers(step, step, other)
    after = run_pipeline(before, "share_regions", verify=True).function
    first, second, third = bodies(after)
    assert first is second
    assert third is not first
    assert find("share_regions")(after) is after


def test_known_sizes_and_other_bodies_keep_regions_apart() -> None:
    wide, narrow = T.TensorType("float64", (None, 3))(), T.matrix()
    results = [theano.map(lambda row: T.exp(row) * row.shape[0], v)[0] for v in (wide, narrow)]
    before = Function([wide, narrow], results)
    assert len({id(body) for body in bodies(run_pipeline(before, "share_regions").function)}) == 2
    alone = layers(step, other)
    assert find("share_regions")(alone) is alone


def test_a_pass_is_run_once_on_a_shared_body() -> None:
    seen: list[Function] = []

    def note(function: Function) -> Function:
        seen.append(function)
        return function

    steps = [Step(find("share_regions")), Step(Pass("note", note, ""))]
    run_pipeline(layers(step, step, step), steps)
    assert len(seen) == 2


def test_gradients_of_layers_with_one_body() -> None:
    function = layers(step, step)
    x, *weights = function.inputs
    cost = T.sqr(function.outputs[0]).sum()
    gradients = theano.function([x, *weights], [cost, *T.grad(cost, weights)])
    rng = np.random.RandomState(0)
    values = [rng.randn(4, 3), rng.randn(3, 3), rng.randn(3, 3)]
    _, *slopes = gradients(*values)
    for k, slope in enumerate(slopes, 1):
        for place in ((0, 1), (2, 2)):
            ends = []
            for sign in (1, -1):
                moved = [v.copy() for v in values]
                moved[k][place] += sign * 1e-6
                ends.append(gradients(*moved)[0])
            np.testing.assert_allclose((ends[0] - ends[1]) / 2e-6, slope[place], rtol=1e-5)


def test_nothing_to_map() -> None:
    x = T.vector()
    function = Function([x], [T.exp(x)])
    assert map_regions(function, lambda region: region) is function
    assert find("share_regions")(function) is function
