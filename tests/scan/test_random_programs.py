"""Random loops: both modes against the plain Python loop of `Scan.perform`, and their gradients."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scan.checks import MODES, compiled, differences

import ltensor as theano
import ltensor.tensor as T
from ltensor.scan_module import until
from ltensor.testing import reference

SIZE = 4

VECTOR_STEPS: list[Callable[..., Any]] = [
    lambda a, b: T.tanh(a + b),
    lambda a, b: a * b,
    lambda a, b: a - 0.5 * b,
    lambda a, b: a[::-1],
    lambda a, b: T.concatenate([a[1:], b[:1]]),
    lambda a, b: T.set_subtensor(a[0], b[1]),
    lambda a, b: T.inc_subtensor(a[1:], b[:-1]),
    lambda a, b: a * b.sum(),
    lambda a, b: a.reshape((2, 2)).T.reshape((SIZE,)),
    lambda a, b: T.dot(T.outer(a, b), a),
    lambda a, b: T.switch(a > b, a, b * 0.9),
    lambda a, b: T.nnet.softmax(T.stack([a, b]))[0],
    lambda a, b: T.cumsum(a) - b,
    lambda a, b: a + T.max(b),
    lambda a, b: T.zeros_like(a) + 0.3,
    lambda a, b: theano.scan(lambda p, h: T.tanh(p + h), sequences=a, outputs_info=b[0])[0],
    lambda a, b: theano.scan(lambda h: h[::-1] * 0.9 + b, outputs_info=a, n_steps=2)[0][-1],
]


class Program:
    """A random loop over vectors.

    Attributes
    ----------
    inputs : list of Variable
    outputs : list of Variable
    arguments : list of ndarray
    """

    def __init__(self, seed: int) -> None:
        draw = self.draw = random.Random(seed)
        numbers = np.random.RandomState(seed)
        steps = draw.choice([1, 2, 3, 5])
        x, w = T.dmatrix("x"), T.dvector("w")
        n_states = draw.randint(0, 3)
        self.inputs, self.arguments = [x, w], [numbers.uniform(-1, 1, (steps, SIZE))]
        self.arguments.append(numbers.uniform(-1, 1, SIZE))
        info: list[Any] = []
        counts = []
        for k in range(n_states):
            taps = draw.choice([[-1], [-1], [-2], [-2, -1], [-3, -1]])
            single = taps == [-1]
            start = T.dvector(f"s{k}") if single else T.dmatrix(f"s{k}")
            self.inputs.append(start)
            shape = (SIZE,) if single else (-min(taps), SIZE)
            self.arguments.append(numbers.uniform(-1, 1, shape))
            info.append(start if single else dict(initial=start, taps=taps))
            counts.append(len(taps))
        n_maps = draw.randint(0 if n_states else 1, 2)
        info += [None] * n_maps
        has_stop = draw.random() < 0.3
        limit = draw.uniform(0, 3)

        def step(row: Any, *taps: Any) -> Any:
            values = [row, w, *taps]
            for _ in range(draw.randint(1, 6)):
                a, b = draw.choice(values), draw.choice(values)
                values.append(draw.choice(VECTOR_STEPS)(a, b))
            results = [draw.choice(values) for _ in info]
            if has_stop:
                return results, until(values[-1].sum() > limit)
            return results

        results, _ = theano.scan(
            step, sequences=x, outputs_info=info, go_backwards=draw.random() < 0.3, return_list=True
        )
        readers: list[Callable[[Any], Any]] = [
            lambda v: v, lambda v: v[-1], lambda v: v[-2:], lambda v: v[::2],
            lambda v: v.sum(axis=0), lambda v: v[-1][::-1],
        ]  # fmt: skip
        self.outputs = [draw.choice(readers)(v) for v in results if draw.random() < 0.8]
        self.outputs = self.outputs or [results[0]]

    def check_values(self) -> None:
        wanted = reference(self.inputs, self.outputs, self.arguments)
        for mode in MODES:
            got = compiled(self.inputs, self.outputs, mode)(*self.arguments)
            for a, b in zip(got, wanted, strict=True):
                assert a.shape == b.shape
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)

    def check_gradients(self) -> None:
        cost = sum((v * (k + 1.5)).sum() for k, v in enumerate(self.outputs))
        gradients = theano.grad(cost, self.inputs, disconnected_inputs="ignore")
        f = compiled(self.inputs, cost)
        wanted = [differences(f, self.arguments, k) for k in range(len(self.inputs))]
        for mode in MODES:
            got = compiled(self.inputs, gradients, mode)(*self.arguments)
            for a, b in zip(got, wanted, strict=True):
                scale = max(1.0, float(np.abs(b).max(initial=0)))
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6 * scale)


@pytest.mark.parametrize("seed", range(10))
def test_random_loop(seed: int) -> None:
    program = Program(seed)
    program.check_values()
    program.check_gradients()


@pytest.mark.slow
@pytest.mark.parametrize("block", range(40))
def test_many_random_loops(block: int) -> None:
    for seed in range(1000 + 25 * block, 1025 + 25 * block):
        program = Program(seed)
        try:
            program.check_values()
            program.check_gradients()
        except Exception as error:
            raise AssertionError(f"Program({seed})") from error
