"""Separable and causal convolutions, by what they are made of."""

from __future__ import annotations

import numpy as np
import pytest

import ltensor
import ltensor.tensor as T

RNG = np.random.default_rng(3)


def test_separable() -> None:
    x, deep = RNG.normal(size=(2, 3, 6, 5)), RNG.normal(size=(6, 1, 3, 2))
    mix = RNG.normal(size=(4, 6, 1, 1))
    got = T.nnet.separable_conv2d(
        T.constant(x), T.constant(deep), T.constant(mix), 3, subsample=(2, 1)
    ).eval()
    # two results of each channel, then all mixed
    parts = [
        T.nnet.conv2d(T.constant(x[:, [c]]), T.constant(deep[2 * c : 2 * c + 2]), subsample=(2, 1))
        for c in range(3)
    ]
    between = T.concatenate(parts, axis=1).eval()
    np.testing.assert_allclose(got, np.einsum("ncij,mc->nmij", between, mix[:, :, 0, 0]), 1e-12)
    cube = T.nnet.separable_conv3d(
        T.constant(x[:, :, None]), T.constant(deep[:, :, None]), T.constant(mix[:, :, None]), 3,
        subsample=(1, 2, 1),
    ).eval()  # fmt: skip
    np.testing.assert_allclose(cube[:, :, 0], got, 1e-12)


@pytest.mark.parametrize("dilation", [1, 2])
def test_causal(dilation: int) -> None:
    x, w = RNG.normal(size=(2, 3, 9)), RNG.normal(size=(4, 3, 3))
    f = ltensor.function([], T.nnet.causal_conv1d(x, w, w.shape, filter_dilation=dilation))
    expected = np.zeros((2, 4, 9))
    for t in range(9):
        for k in range(3):
            if t - k * dilation >= 0:
                expected[:, :, t] += x[:, :, t - k * dilation] @ w[:, :, k].T
    np.testing.assert_allclose(f(), expected, 1e-12)
    with pytest.raises(ValueError, match="three dimensions"):
        T.nnet.causal_conv1d(x[0], w, w.shape)
    with pytest.raises(NotImplementedError, match="taps"):
        T.nnet.causal_conv1d(x, w, (None, None, T.lscalar()))


def test_gradients_take_partly_known_shapes() -> None:
    g, w = RNG.normal(size=(2, 4, 5, 6)), RNG.normal(size=(4, 3, 3, 2))
    sizes = T.lvector()
    forms = [
        T.nnet.abstract_conv.conv2d_grad_wrt_inputs(g, w, shape)
        for shape in ((2, 3, 7, 7), (None, None, 7, 7), sizes)
    ]
    forms.append(T.nnet.abstract_conv.AbstractConv2d_gradInputs()(w, g, sizes[-2:]))
    values = ltensor.function([sizes], forms)([2, 3, 7, 7])
    assert values[0].shape == (2, 3, 7, 7)
    for value in values[1:]:
        np.testing.assert_allclose(value, values[0], 1e-11)
