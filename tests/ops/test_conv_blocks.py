"""Convolutions in blocks: sizes on both sides of a block's, and blocks made small for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ltensor as theano
from ltensor.errors import UnsupportedError
from ltensor.ops import conv_columns
from ltensor.ops.conv import FAMILIES
from ltensor.ops.conv_loops import PlainSizes
from ltensor.tensor import TensorType
from ltensor.testing import compile_graph, reference

PLAIN: dict[str, Any] = {}
#: attributes of two-dimensional ones, images and filters
CASES = (
    (PLAIN, (3, 5), (4, 5), (3, 2)),
    ({"border_mode": "full"}, (2, 7), (3, 7), (2, 3)),
    ({"border_mode": "half", "filter_flip": False}, (2, 6), (3, 6), (3, 3)),
    ({"subsample": (2, 2), "border_mode": ((2, 0), (1, 3))}, (2, 5), (3, 5), (3, 4)),
    ({"subsample": (1, 3)}, (2, 5), (3, 5), (2, 4)),
    ({"subsample": (3, 5), "border_mode": "half"}, (2, 4), (2, 4), (2, 2)),
    ({"filter_dilation": (2, 3), "border_mode": 3}, (2, 4), (3, 4), (2, 3)),
    ({"filter_dilation": (1, 2), "subsample": (2, 4)}, (2, 4), (3, 4), (3, 2)),
    ({"num_groups": 2, "border_mode": (0, 1)}, (2, 6), (4, 3), (2, 2)),
    ({"border_mode": (4, 5)}, (1, 2), (2, 2), (2, 2)),
)
SIZES = ((6, 7), (7, 15), (8, 16), (5, 17), (9, 33), (20, 8))
CASES_3D = (
    (PLAIN, (2, 3), (2, 3), (2, 2, 2)),
    ({"border_mode": "half", "subsample": (2, 1, 2)}, (2, 3), (3, 3), (2, 3, 2)),
    ({"filter_dilation": (2, 1, 1), "border_mode": (1, 0, 2)}, (1, 4), (2, 4), (2, 2, 3)),
)
#: as they are; a few to some dozen; one row of the output of one channel each
BLOCKS = ((512, 256, 1 << 16), (20, 40, 1), (1, 1, 1))
SIZES_3D = ((4, 5, 6), (7, 4, 4), (3, 9, 17))


def _check(rank: int, attributes: Any, images: Any, filters: Any, kernel: Any, sizes: Any) -> None:
    """All three operations, each compiled once, at several sizes of the images."""
    family = {name: op(**attributes) for name, op in FAMILIES[rank].items()}
    geometry = family["forward"].geometry
    array = TensorType("float64", (False,) * (2 + rank))
    size = TensorType("int64", ())
    x, y, numbers = array(), array(), [size() for _ in range(rank)]
    forward = [family["forward"](x, y)]
    functions = {"forward": compile_graph([x, y], forward)}
    gradients = {}
    for name in ("grad_weights", "grad_inputs"):
        gradients[name] = [family[name](x, y, numbers)]
        functions[name] = compile_graph([x, y, *numbers], gradients[name])
    rng = np.random.default_rng(2)
    for image in sizes:
        places = [
            geometry.output_size(PlainSizes, axis, image[axis], kernel[axis])
            for axis in range(rank)
        ]
        pixels = rng.normal(size=(*images, *image))
        weights = rng.normal(size=(*filters, *kernel))
        top = rng.normal(size=(images[0], filters[0], *places))
        got = functions["forward"](pixels, weights)[0]
        want = reference([x, y], forward, [pixels, weights])[0]
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-10)
        for name, operands, shape in (
            ("grad_weights", (pixels, top), kernel),
            ("grad_inputs", (weights, top), image),
        ):
            given = [*operands, *(np.asarray(n) for n in shape)]
            got = functions[name](*given)[0]
            want = reference([x, y, *numbers], gradients[name], given)[0]
            np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("depth", "places", "elements"), BLOCKS)
@pytest.mark.parametrize("case", range(len(CASES)))
def test_images(case: int, depth: int, places: int, elements: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(conv_columns, "DEPTH", depth)
    monkeypatch.setattr(conv_columns, "PLACES", places)
    monkeypatch.setattr(conv_columns, "ELEMENTS", elements)
    _check(2, *CASES[case], SIZES)


@pytest.mark.parametrize(("depth", "places", "elements"), BLOCKS)
@pytest.mark.parametrize("case", range(len(CASES_3D)))
def test_volumes(case: int, depth: int, places: int, elements: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(conv_columns, "DEPTH", depth)
    monkeypatch.setattr(conv_columns, "PLACES", places)
    monkeypatch.setattr(conv_columns, "ELEMENTS", elements)
    _check(3, *CASES_3D[case], SIZES_3D)


@pytest.mark.parametrize("channels", [56, 57, 58, 113])
@pytest.mark.parametrize("image", [(15, 16), (17, 16), (6, 130)])
def test_blocks_as_they_are(channels: int, image: Any) -> None:
    # 57 channels of 3x3 filters are more rows than a block has, 15 x 17 places fewer than one
    _check(2, {"border_mode": "half"}, (1, channels), (3, channels), (3, 3), [image])


def test_working_memory_is_a_block_and_a_frame() -> None:
    x, w = (TensorType("float32", (False,) * 4)(name) for name in "xw")
    sizes = {"x": (2, 64, 2000, 2000), "w": (64, 64, 3, 3)}
    for attributes, frames in (({}, 0), ({"border_mode": "half"}, 1)):
        f = theano.function([x, w], FAMILIES[2]["forward"](**attributes)(x, w))
        lines = [
            t for t in str(f.explain(sizes=sizes)).splitlines() if "working memory of conv" in t
        ]
        taken = [int(t.split("working memory")[0].split()[-1].replace(",", "")) for t in lines]
        assert len(taken) == 1 + frames
        # one row of the output for the channels of a block; one padded image of them
        assert taken[0] <= 4 * 512 * 2000
        assert sum(taken[1:]) <= frames * 4 * 57 * 2002 * 2002


def test_complex_numbers_are_refused() -> None:
    z = TensorType("complex64", (False,) * 4)()
    with pytest.raises(UnsupportedError, match=r"real\(x\)"):
        FAMILIES[2]["forward"]()(z, z)
