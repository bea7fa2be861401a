"""Sizes that a user's ``infer_shape`` tells with any operations (`ltensor.ops.told_sizes`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T

ROWS = {
    "sum": lambda x, counts: counts.sum(),
    "narrow": lambda x, counts: T.cast(counts.sum(), "int32"),
    "elements": lambda x, counts: counts[0] + counts[1],
}
COLUMNS: dict[str, Callable[[Any, Any], Any]] = {
    "shape": lambda x, counts: x.shape[0],
    "size": lambda x, counts: x.size,
    "last": lambda x, counts: x.shape[-1:][0],
    "product": lambda x, counts: T.prod(x.shape * 1),
    "joined": lambda x, counts: T.join(0, [7], x.shape)[1],
    "scaled": lambda x, counts: (x.shape * np.array([2]) // 2)[-1],
    "of a new value": lambda x, counts: x[1:].shape[0] + 1,
    "of a padded value": lambda x, counts: T.shape_padleft(x).shape[1],
    "switch": lambda x, counts: T.switch(x.shape[0] > 2, x.shape[0], 0),
    "put in": lambda x, counts: T.set_subtensor(x.shape[:1], x.shape[0])[0],
    "found": lambda x, counts: T.nonzero(x > -9)[0].shape[0],
    "number": lambda x, counts: 3,
}


class Tiled(theano.Op):
    """Rows of copies of a vector, as many as all counts together."""

    __props__ = ("rows", "columns")

    def __init__(self, rows: str, columns: str) -> None:
        self.rows, self.columns = rows, columns

    def make_node(self, x: Any, counts: Any) -> Any:
        return theano.Apply(self, [x, counts], [T.dmatrix()])

    def perform(self, node: Any, inputs: Any, output_storage: Any) -> None:
        x, counts = inputs
        output_storage[0][0] = np.tile(x, (int(counts.sum()), 1))

    def infer_shape(self, node: Any, shapes: Any) -> Any:
        return [(ROWS[self.rows](*node.inputs), COLUMNS[self.columns](*node.inputs))]

    def L_op(self, inputs: Any, outputs: Any, grads: Any) -> Any:
        return [grads[0].sum(0), theano.gradient.grad_undefined(self, 1, inputs[1])]


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("columns", COLUMNS)
def test_sizes_of_users(rows: str, columns: str) -> None:
    x, counts = T.dvector(), T.lvector()
    made = Tiled(rows, columns)(2 * x, counts)
    function = theano.function(
        [x, counts], [made.shape, made + 1, T.zeros(made.shape[0]), T.grad(made.sum(), x)]
    )
    values = np.array([1.0, 2.0, 4.0])
    shape, more, zeros, slope = function(values, [2, 3])
    assert list(shape) == [5, 3]
    np.testing.assert_array_equal(more, np.tile(2 * values, (5, 1)) + 1)
    assert zeros.shape == (5,)
    np.testing.assert_array_equal(slope, [10, 10, 10])


def test_in_a_loop() -> None:
    x, counts = T.dvector(), T.lvector()
    op = Tiled("sum", "size")
    states, _ = theano.scan(lambda s: op(s, counts).sum(0), outputs_info=[x], n_steps=3)
    function = theano.function([x, counts], [states[-1], T.grad(states[-1].sum(), x)])
    for found in function(np.ones(3), [1, 1]):
        np.testing.assert_array_equal(found, [8, 8, 8])


def test_a_size_without_a_value_is_not_computed() -> None:
    x, counts = T.dvector(), T.lvector()
    made = Tiled("elements", "shape")(x, counts)
    function = theano.function([x, counts], made.shape)
    np.testing.assert_array_equal(function(np.ones(3), [2, 3]), [5, 3])
