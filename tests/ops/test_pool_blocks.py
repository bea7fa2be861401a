"""Pooling at sizes around the lanes of a vector: one compiled function, many sizes."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from ltensor.ops.pool import AveragePoolGrad, DownsampleFactorMaxGradGrad, MaxPoolGrad, Pool
from ltensor.tensor import TensorType
from ltensor.testing import compile_graph, reference, variable_of

#: window, stride, padding, ignore_border
WINDOWS = (
    ((2, 2), (2, 2), (0, 0), True),
    ((2, 2), (2, 2), (0, 0), False),
    ((3, 3), (2, 2), (0, 0), True),
    ((3, 3), (2, 2), (1, 1), True),
    ((3, 3), (2, 2), (0, 0), False),
    ((2, 3), (1, 1), (1, 2), True),
    ((3, 2), (3, 4), (0, 0), True),
    ((2, 5), (3, 3), (1, 4), True),
    ((4, 8), (4, 8), (0, 0), False),
    ((3, 9), (2, 7), (2, 1), True),
    ((1, 30), (1, 11), (0, 3), True),
)
SIZES = ((3, 3), (4, 15), (5, 16), (2, 17), (6, 31), (3, 32), (7, 33), (4, 34), (9, 65), (33, 8))


def _check(op, parameters, cases) -> None:
    variables = [TensorType(str(a.dtype), (False,) * a.ndim)() for a in cases[0]]
    outputs = [op(*variables, *parameters)]
    compiled = compile_graph(variables, outputs)
    for values in cases:
        got = compiled(*values)
        np.testing.assert_allclose(
            got[0], reference(variables, outputs, values)[0], rtol=2e-5, atol=1e-5
        )


@pytest.mark.parametrize("case", range(len(WINDOWS)))
@pytest.mark.parametrize("mode", ["max", "sum", "average_inc_pad", "average_exc_pad"])
def test_pooling_and_its_gradients(case: int, mode: str) -> None:
    window, stride, pad, ignore = WINDOWS[case]
    parameters = (window, stride, pad)
    rng = np.random.default_rng(case)
    dtype = "float32" if case % 2 else "float64"

    def image(size):
        # few values, so that windows have ties
        return rng.integers(-4, 5, (2, 3, *size)).astype(dtype)

    def pooled(x):
        return reference([v := variable_of(x)], [Pool(ignore, mode)(v, *parameters)], [x])[0]

    images = [image(size) for size in SIZES]
    pairs = [(x, pooled(x)) for x in images]
    triples = [(x, top, rng.normal(size=top.shape).astype(dtype)) for x, top in pairs]
    _check(Pool(ignore, mode), parameters, [(x,) for x in images])
    if mode == "max":
        _check(MaxPoolGrad(ignore), parameters, triples)
        again = [(x, top, rng.normal(size=x.shape).astype(dtype)) for x, top in pairs]
        _check(DownsampleFactorMaxGradGrad(ignore), parameters, again)
    else:
        given = [(x, share) for x, _, share in triples]
        _check(AveragePoolGrad(ignore, mode), parameters, given)


@pytest.mark.parametrize(
    ("window", "stride"), list(product([(2,), (3,)], [(1,), (2,), (3,), (5,)]))
)
def test_infinities_and_nan_stay_in_their_windows(window, stride) -> None:
    x = np.arange(70.0)
    x[[3, 20, 41]] = np.inf, -np.inf, np.nan
    v = variable_of(x)
    op, parameters = Pool(True, "max", 1), (window, stride, (0,))
    with np.errstate(invalid="ignore"):
        want = reference([v], [op(v, *parameters)], [x])[0]
    np.testing.assert_array_equal(compile_graph([v], [op(v, *parameters)])(x)[0], want)
    g = np.ones(want.shape)
    grad = MaxPoolGrad(True, "max", 1)
    variables = [variable_of(a) for a in (x, want, g)]
    graph = [grad(*variables, *parameters)]
    got = compile_graph(variables, graph)(x, want, g)[0]
    np.testing.assert_array_equal(got, reference(variables, graph, [x, want, g])[0])
