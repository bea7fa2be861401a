"""The product of a sequence's row and a matrix that stays: taken for many steps at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ltensor.ops.linalg import Dot
from ltensor.ops.opdef import Declaration, Sample, declare
from ltensor.ops.samples import draw


class SequenceProduct(Dot):
    """`Dot` of a row of a scan's sequence, a vector or a matrix, and a matrix.

    In the body of a scan the lowering computes it for a block of steps in one product
    (`ltensor.lowering.loops.sequence_products`); elsewhere it is a `Dot`.
    """

    ir_name = "sequence_product"

    def __str__(self) -> str:
        return "dot"


sequence_product = SequenceProduct()


def _samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for first, second in (((3, 4), (4, 5)), ((4,), (4, 3)), ((0, 3), (3, 2))):
        operands: list[Any] = [draw(rng, dtype, first), draw(rng, dtype, second)]
        yield Sample(sequence_product, operands, f"{first}{second}", ulp=64)


declare(
    Declaration(
        "sequence_product",
        "Product of a sequence's row and a matrix, for a block of steps at once.",
        SequenceProduct,
        _samples,
        64,
        dtypes=("float32", "float64"),
    )
)
