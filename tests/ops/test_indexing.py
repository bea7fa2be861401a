"""Indexing and rearranging: Theano's rules when graphs are built, bounds when they run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ltensor  # noqa: F401 - declares all ops
from ltensor.gradient import grad
from ltensor.ir.build import constant
from ltensor.ir.types import TensorType
from ltensor.ops import indexing, join, rearrange, sort
from ltensor.ops.extrema import argmax
from ltensor.ops.indexing import getitem, inc_subtensor, set_subtensor, take
from ltensor.ops.reduce import sum as total
from ltensor.ops.shape import dimshuffle, reshape, shape, vector_length
from ltensor.testing import compile_graph, reference, variable_of


def tensor(rank: int, dtype: str = "float64") -> Any:
    return TensorType(dtype, (False,) * rank).make_variable("x")


def flags(x: Any, index: Any) -> tuple[bool, ...]:
    return getitem(x, index).type.broadcastable


def run(build: Any, *arrays: Any) -> Any:
    """The compiled value of ``build(*variables)``, compared with the NumPy definitions."""
    arrays = tuple(np.array(a) for a in arrays)
    inputs = [variable_of(a) for a in arrays]
    output = build(*inputs)
    value = compile_graph(inputs, [output])(*arrays)[0]
    np.testing.assert_array_equal(value, reference(inputs, [output], arrays)[0])
    return value


# ------------------------------------------------------------------------- building


@pytest.mark.parametrize(
    ("rank", "index", "text"),
    [
        (1, np.s_[0], "Subtensor{int64}"),
        (1, np.s_[:1], "Subtensor{:int64:}"),
        (1, np.s_[1:3:2], "Subtensor{int64:int64:int64}"),
        (2, np.s_[:, 0], "Subtensor{::, int64}"),
        (2, np.s_[1, ::-1], "Subtensor{int64, ::int64}"),
        (2, np.s_[[0, 2]], "AdvancedSubtensor1"),
        (2, np.s_[:, [0, 2]], "AdvancedSubtensor"),
    ],
)
def test_text(rank: int, index: Any, text: str) -> None:
    assert str(getitem(tensor(rank), index).owner.op) == text


def test_text_of_writing() -> None:
    x = tensor(1)
    assert str(set_subtensor(getitem(x, slice(None, 1)), 1.0).owner.op) == (
        "IncSubtensor{Set;:int64:}"
    )
    assert str(inc_subtensor(getitem(x, 0), 1.0).owner.op) == "IncSubtensor{Inc;int64}"
    i = tensor(0, "int32")
    assert str(getitem(x, slice(i, None)).owner.op) == "Subtensor{int32::}"


def test_constants_are_part_of_the_op() -> None:
    x = tensor(2)
    for index in (constant(1), np.int64(1), np.array(1), 1):
        node = getitem(x, index).owner
        assert node.op.pattern == (1,)
        assert len(node.inputs) == 1


def test_theanos_form_of_an_index() -> None:
    """Slices, and types of scalars for operands; an op is made of it again."""
    m, i = tensor(2), tensor(0, "int32")
    kind = TensorType("int32", ())
    for index, form in (
        (np.s_[1:2], (slice(1, 2, None),)),
        (np.s_[i], (kind,)),
        (np.s_[i::2, -1], (slice(kind, None, 2), -1)),
    ):
        node = getitem(m, index).owner
        assert node.op.idx_list == form
        assert type(node.op)(node.op.idx_list) == node.op
        written = set_subtensor(node.outputs[0], 1.0).owner.op
        assert written.idx_list == form


def test_broadcast_flags() -> None:
    m = tensor(2)
    row = TensorType("float64", (True, False)).make_variable()
    assert flags(m, np.s_[0:1]) == (False, False)
    assert flags(m, [0]) == (True, False)
    assert flags(m, np.s_[None, :, :]) == (True, False, False)
    assert flags(row, np.s_[:, 1:]) == (True, False)
    assert flags(row, np.s_[::-1]) == (True, False)
    assert flags(row, np.s_[1:]) == (False, False)
    assert flags(row, np.s_[:1:-1]) == (False, False)
    assert flags(row, np.s_[...]) == (True, False)


def test_advanced_dimensions_follow_numpy() -> None:
    t, i = tensor(3), tensor(2, "int8")
    assert getitem(t, np.s_[:, i]).type.ndim == 4
    assert flags(t, (i, slice(None), i)) == (False, False, False)
    value = run(lambda x: getitem(x, ([0, 1], slice(None), [1, 0])), np.ones((2, 3, 4)))
    assert value.shape == (2, 3)


def test_new_axes_need_every_axis() -> None:
    m, v = tensor(2), tensor(1)
    assert flags(v, np.s_[:, None]) == (False, True)
    assert flags(v, np.s_[None, :]) == (True, False)
    for x, index in ((m, None), (v, None), (m, np.s_[:, None])):
        with pytest.raises(ValueError, match="You cannot drop a non-broadcastable dimension"):
            getitem(x, index)


@pytest.mark.parametrize("index", [np.s_[0, 0], np.s_[..., 0, 0], np.s_[:, :], np.s_[[0], [0]]])
def test_too_many_indices(index: Any) -> None:
    with pytest.raises(IndexError, match="too many indices for array"):
        getitem(tensor(1), index)


@pytest.mark.parametrize(
    "index", [1.0, np.float64(1), np.array([1.0]), slice(1.0), slice("a"), [0.5], "a", True]
)
def test_indices_must_be_integers(index: Any) -> None:
    with pytest.raises(TypeError):
        getitem(tensor(2), index)


def test_float_variables_are_no_indices() -> None:
    for index in (tensor(0), tensor(1), slice(tensor(0), None)):
        with pytest.raises(TypeError):
            getitem(tensor(2), index)


def test_python_bools_are_no_masks() -> None:
    with pytest.raises(TypeError, match="does not support Python bools"):
        getitem(tensor(1), [True, False])
    with pytest.raises(IndexError, match="single Ellipsis"):
        getitem(tensor(3), (Ellipsis, Ellipsis))


def test_only_parts_can_be_set() -> None:
    for x in (tensor(1), total(tensor(1))):
        for function in (set_subtensor, inc_subtensor):
            with pytest.raises(TypeError, match="x must be the result of a subtensor operation"):
                function(x, 3)


def test_value_takes_the_dtype_of_the_array() -> None:
    x = tensor(1, "int32")
    assert inc_subtensor(getitem(x, 0), 1.5).type.dtype == "int32"
    with pytest.raises(TypeError, match="Trying to increment a 0-dimensional subtensor"):
        inc_subtensor(getitem(x, 0), [1, 2])


def test_vector_lengths() -> None:
    sizes = shape(tensor(5))
    assert vector_length(getitem(sizes, slice(1, None))) == 4
    assert vector_length(getitem(sizes, slice(None, None, -2))) == 3
    assert vector_length(getitem(tensor(1), slice(1, None))) is None
    assert reshape(tensor(1), getitem(sizes, slice(2, None))).type.ndim == 3


def test_join_rules() -> None:
    m, v = tensor(2), tensor(1)
    with pytest.raises(TypeError, match="only join tensors with the same number of dimensions"):
        join.concatenate([m, v])
    with pytest.raises(TypeError, match="For joining scalar values"):
        join.join(0, tensor(0), tensor(0))
    with pytest.raises(TypeError, match="must be either a tuple or a list"):
        join.concatenate(m)
    assert join.concatenate([m]) is m
    assert join.concatenate([v, tensor(1, "int8")]).type.dtype == "float64"
    assert str(join.stack([tensor(0), tensor(0)]).owner.op) == "MakeVector{dtype='float64'}"
    with pytest.warns(DeprecationWarning, match="interface is deprecated"):
        assert join.stack(v, v).type.ndim == 2
    with pytest.warns(DeprecationWarning, match="interface is deprecated"):
        # one array is one operand: it gets a dimension in front
        assert join.stack(m).type.broadcastable == (True, False, False)
    assert join.stack(np.zeros((2, 3)), axis=1).type.shape == (3, 2)
    for axis in (1, -1, 5):  # scalars are a vector, whatever the axis
        assert join.stack([tensor(0), tensor(0)], axis=axis).type.ndim == 1
    row = TensorType("float64", (True, False)).make_variable()
    assert join.join(0, row, row).type.broadcastable == (False, False)
    assert join.join(1, row, row).type.broadcastable == (True, False)


def test_split_counts() -> None:
    with pytest.raises(ValueError, match="Length of splits is not equal to n_splits"):
        join.split(tensor(1), [1, 2], 3)


# ------------------------------------------------------------------------- running

BASIC = [
    np.s_[1],
    np.s_[-1],
    np.s_[2:],
    np.s_[:-2],
    np.s_[::-1],
    np.s_[10:],
    np.s_[-10:3],
    np.s_[3:1],
    np.s_[4:0:-2],
    np.s_[1:-1, ::2],
    np.s_[..., -1],
    np.s_[:, 1:2],
    np.s_[0, 0],
    np.s_[()],
]


@pytest.mark.parametrize("index", BASIC, ids=str)
@pytest.mark.parametrize("sizes", [(5, 6), (1, 1), (3, 17)])
def test_basic_parts(index: Any, sizes: tuple[int, int]) -> None:
    x = np.arange(np.prod(sizes), dtype="float64").reshape(sizes)
    try:
        expected = x[index]
    except IndexError:
        return
    np.testing.assert_array_equal(run(lambda v: getitem(v, index), x), expected)
    np.testing.assert_array_equal(run(lambda v: shape(getitem(v, index)), x), expected.shape)


@pytest.mark.parametrize("step", [-3, -1, 1, 2])
def test_symbolic_slices(step: int) -> None:
    x = np.arange(6.0)
    i, j, k = (tensor(0, "int64") for _ in range(3))
    v = tensor(1)
    part = getitem(v, slice(i, j, k))
    constant_step = getitem(v, slice(i, j, step))
    outputs = [part, shape(part), constant_step, shape(constant_step)]
    compiled = compile_graph([v, i, j, k], outputs)
    for start in range(-8, 9):
        for stop in range(-8, 9):
            expected = x[start:stop:step]
            arguments = [x, *(np.asarray(n) for n in (start, stop, step))]
            got = compiled(*arguments)
            np.testing.assert_array_equal(got[0], expected)
            assert got[1] == len(expected)
            np.testing.assert_array_equal(got[2], expected)
            assert got[3] == len(expected)


def test_index_tensors_stretch_by_their_flags() -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    rows, columns = np.array([[0], [1]]), np.array([0, 2, 1])
    value = run(lambda v, r, c: getitem(v, (r, c)), x, rows, columns)
    np.testing.assert_array_equal(value, x[rows, columns])
    flipped = run(lambda v, r, c: getitem(v, (slice(None), c, r)), x, rows, columns)
    np.testing.assert_array_equal(flipped, x[:, columns, rows])
    spread = run(lambda v, r, c: getitem(v, (r, slice(1, None), c)), x, rows, columns)
    np.testing.assert_array_equal(spread, x[rows, 1:, columns])


def test_masks() -> None:
    x = np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(run(getitem, x, x > 4), x[x > 4])
    keep = np.array([True, False, True])
    np.testing.assert_array_equal(run(getitem, x, keep), x[keep])
    columns = np.array([True, False, True, True])
    value = run(lambda a, m: getitem(a, (slice(1, None), m)), x, columns)
    np.testing.assert_array_equal(value, x[1:, columns])


def test_writing_through_views() -> None:
    x = np.arange(12.0).reshape(3, 4)
    expected = x.copy()
    expected[1:] = 7
    np.testing.assert_array_equal(
        run(lambda v: set_subtensor(dimshuffle(getitem(v, np.s_[1:]), 1, 0), 7.0), x), expected
    )
    flat = run(lambda v: inc_subtensor(reshape(getitem(v, np.s_[1:]), [-1]), np.arange(8.0)), x)
    expected = x.copy()
    expected[1:] += np.arange(8.0).reshape(2, 4)
    np.testing.assert_array_equal(flat, expected)
    expected = x.copy()
    expected[1:, [0, 2]] = -1
    np.testing.assert_array_equal(
        run(lambda v: set_subtensor(getitem(v, np.s_[1:, [0, 2]]), -1.0), x), expected
    )
    column = run(lambda v: inc_subtensor(getitem(v, np.s_[:, None, 1]), 1.0), x)
    expected = x.copy()
    expected[:, 1] += 1
    np.testing.assert_array_equal(column, expected)


def test_repeated_places() -> None:
    x, places = np.zeros(3), np.array([0, 2, 0, 0])
    y = np.arange(1.0, 5.0)
    added = run(lambda v, p, w: inc_subtensor(getitem(v, p), w), x, places, y)
    np.testing.assert_array_equal(added, [8, 0, 2])
    last = run(lambda v, p, w: set_subtensor(getitem(v, p), w), x, places, y)
    np.testing.assert_array_equal(last, [4, 0, 2])


def test_gradient_of_repeated_set() -> None:
    x, y, p = tensor(1), tensor(1), tensor(1, "int64")
    weights = np.array([2.0, 3.0, 5.0])
    cost = total(set_subtensor(getitem(x, p), y) * constant(weights))
    compiled = compile_graph([x, y, p], grad(cost, [x, y]))
    by_x, by_y = compiled(np.zeros(3), np.ones(4), np.array([0, 2, 0, 0]))
    np.testing.assert_array_equal(by_x, [0, 3, 0])
    np.testing.assert_array_equal(by_y, [0, 5, 0, 2])


def test_gradient_adds_up_over_repeated_rows() -> None:
    x, p = tensor(2), tensor(1, "int32")
    compiled = compile_graph([x, p], [grad(total(getitem(x, p)), x)])
    (value,) = compiled(np.zeros((3, 2)), np.array([1, 1, -1], "int32"))
    np.testing.assert_array_equal(value, [[0, 0], [2, 2], [1, 1]])


@pytest.mark.parametrize("mode", ["raise", "wrap", "clip"])
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_take(mode: str, axis: int | None) -> None:
    x = np.arange(12.0).reshape(3, 4)
    where = np.array([[0, 2], [1, 1]]) if mode == "raise" else np.array([[0, 9], [-5, 1]])
    value = run(lambda v, p: take(v, p, axis=axis, mode=mode), x, where)
    np.testing.assert_array_equal(value, np.take(x, where, axis=axis, mode=mode))


def test_choose() -> None:
    a = np.array([[0, 1], [2, 0]])
    options = [np.array([1, 2]), np.array([[3], [4]]), np.array(5)]
    value = run(lambda i, x, y, z: indexing.choose(i, [x, y, z]), a, *options)
    np.testing.assert_array_equal(value, np.choose(a, options))


def test_flat_index_functions() -> None:
    flat = np.array([0, 5, 11, 7])
    for order in "CF":
        rows, columns = np.unravel_index(flat, (3, 4), order=order)
        for k, expected in enumerate((rows, columns)):
            value = run(
                lambda i, k=k, order=order: rearrange.unravel_index(i, (3, 4), order)[k], flat
            )
            np.testing.assert_array_equal(value, expected)
        value = run(
            lambda r, c, order=order: rearrange.ravel_multi_index((r, c), (3, 4), order=order),
            rows,
            columns,
        )
        np.testing.assert_array_equal(value, flat)


def test_grids() -> None:
    rows, columns = rearrange.mgrid[0:3, 1:5:2]
    dense = compile_graph([], [rows, columns])()
    np.testing.assert_array_equal(dense, np.mgrid[0:3, 1:5:2])
    for got, expected in zip(
        compile_graph([], rearrange.ogrid[0:3, 1:5:2])(), np.ogrid[0:3, 1:5:2], strict=True
    ):
        np.testing.assert_array_equal(got, expected)


# ------------------------------------------------------------------------- run-time checks


def fails(kind: str, build: Any, *arrays: Any) -> tuple[int, ...]:
    """Run and expect the check ``kind``; the recorded numbers."""
    arrays = tuple(np.array(a) for a in arrays)
    inputs = [variable_of(a) for a in arrays]
    built = build(*inputs)
    function = compile_graph(inputs, list(built) if isinstance(built, (list, tuple)) else [built])
    with pytest.raises(ValueError, match=f"^{kind}: ") as caught:
        function(*arrays)
    text = str(caught.value)
    return tuple(int(n) for n in text[text.rindex("(") + 1 : text.rindex(")")].split(",") if n)


@pytest.mark.parametrize("index", [5, 2, -3])
def test_int_out_of_bounds(index: int) -> None:
    x = np.zeros(2)
    assert fails("index", lambda v: getitem(v, index), x)[:2] == (index, 2)
    assert fails("index", getitem, x, np.asarray(index))[:2] == (index, 2)
    assert fails("index", lambda v: set_subtensor(getitem(v, index), 1.0), x)[:2] == (index, 2)
    assert fails("index", lambda v, i: getitem(v, (slice(None), i)), np.zeros((3, 2)), index)[
        :2
    ] == (index, 2)


@pytest.mark.parametrize("index", [5, -3])
@pytest.mark.parametrize("count", [1, 7, 40])
def test_tensor_out_of_bounds(index: int, count: int) -> None:
    places = np.zeros(count, "int64")
    places[count // 2] = index
    x = np.zeros((2, 3))
    assert fails("index", getitem, x[:, 0].copy(), places)[:2] == (index, 2)
    assert fails("index", getitem, x, places)[:2] == (index, 2)
    assert fails("index", lambda v, p: inc_subtensor(getitem(v, p), 1.0), x, places)[:2] == (
        index,
        2,
    )


def test_any_index_into_nothing() -> None:
    fails("index", getitem, np.zeros((0, 3)), np.array([0, 0]))
    fails("index", lambda v, p: inc_subtensor(getitem(v, p), 1.0), np.zeros(0), np.array([0, 0]))
    assert run(getitem, np.zeros((0, 3)), np.zeros(0, "int64")).shape == (0, 3)


def test_sizes_that_do_not_fit() -> None:
    x = np.zeros((3, 4))
    assert fails("mask_mismatch", getitem, x, np.ones(2, bool))[:2] == (3, 2)
    fails(
        "subtensor_mismatch",
        lambda v, y: set_subtensor(getitem(v, np.s_[1:]), y),
        x,
        np.zeros((3, 4)),
    )
    fails("subtensor_mismatch", lambda v, y: inc_subtensor(getitem(v, [0, 1]), y), x, np.zeros(3))
    fails("index_mismatch", lambda v, a, b: getitem(v, (a, b)), x, np.array([0, 1]), np.arange(3))
    fails("join_mismatch", lambda a, b: join.join(0, a, b), x, np.zeros((2, 5)))
    fails("split_mismatch", lambda v: join.split(v, [1, 1], 2), np.zeros(5))
    fails("repeat_mismatch", rearrange.repeat, np.zeros(3), np.array([1, 2]))
    fails("negative_repeats", rearrange.repeat, np.zeros(2), np.array([1, -1]))
    fails("zero_step", lambda v, k: getitem(v, slice(None, None, k)), np.zeros(3), 0)
    fails("empty_reduction", lambda v: argmax(v, 0), np.zeros((0, 3)))


def test_a_part_of_one_row_takes_a_value_of_one_row() -> None:
    row, y = TensorType("float64", (True, False)).make_variable(), tensor(2)
    written = compile_graph([row, y], [set_subtensor(getitem(row, np.s_[:, 1:]), y)])
    value = written(np.zeros((1, 4)), np.ones((1, 3)))[0]
    np.testing.assert_array_equal(value, [[0, 1, 1, 1]])
    with pytest.raises(ValueError, match="rebroadcast"):
        written(np.zeros((1, 4)), np.ones((2, 3)))


def test_values_that_stretch_only_when_run() -> None:
    x, y = tensor(2), tensor(2)
    written = compile_graph([x, y], [set_subtensor(getitem(x, np.s_[1:]), y)])
    for sizes in ((2, 4), (1, 4), (2, 1), (1, 1)):
        values = np.random.default_rng(0).normal(size=sizes)
        expected = np.zeros((3, 4))
        expected[1:] = values
        np.testing.assert_array_equal(written(np.zeros((3, 4)), values)[0], expected)


def test_long_sort() -> None:
    data = np.random.default_rng(3).integers(0, 999, 5000).astype("int32")
    np.testing.assert_array_equal(run(sort.sort, data), np.sort(data))
    np.testing.assert_array_equal(run(sort.argsort, data), np.argsort(data, kind="stable"))
