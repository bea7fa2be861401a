"""Arguments: what an input takes (SEMANTICS section 2), and what refusals say."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import numpy as np
import pytest

import ltensor.tensor as T
from ltensor import function, shared
from ltensor.config import change_flags
from ltensor.errors import UnsupportedError

# ------------------------------------------------------------------------------- arguments

GIVEN: list[Any] = [
    3,
    300,
    2.5,
    0.1,
    True,
    np.float64(0.5),
    [1, 2],
    [0.1],
    np.array([1, 2]),
    np.array([1.0, 2.0]),
    np.array([1.0, 2.0], np.float32),
]
#: allow_input_downcast = None, False, True: y taken, T TypeError
TAKEN = {
    "int8": "yyy TTy TTy TTy yyy TTy yyy TTy TTy TTy TTy",
    "int32": "yyy yyy TTy TTy yyy TTy yyy TTy TTy TTy TTy",
    "int64": "yyy yyy TTy TTy yyy TTy yyy TTy yyy TTy TTy",
    "float32": "yyy yyy yyy TTy yyy yyy yyy TTy TTy TTy yyy",
    "float64": "yyy yyy yyy yyy yyy yyy yyy yyy yyy yyy yyy",
    "bool": "TTy TTy TTy TTy yyy TTy TTy TTy TTy TTy TTy",
}


@pytest.mark.parametrize("downcast", [None, False, True])
@pytest.mark.parametrize("dtype", TAKEN)
def test_what_an_input_takes(dtype: str, downcast: bool | None) -> None:
    column = (None, False, True).index(downcast)
    functions = {}
    for rank in (0, 1):
        x = T.TensorType(dtype, [False] * rank)("x")
        functions[rank] = function([x], x, allow_input_downcast=downcast)
    for value, expected in zip(GIVEN, TAKEN[dtype].split(), strict=True):
        f = functions[np.ndim(value)]
        if expected[column] == "y":
            result = f(value)
            assert result.dtype == dtype
            np.testing.assert_array_equal(result, np.asarray(value).astype(dtype))
        else:
            with pytest.raises(TypeError):
                f(value)


@pytest.mark.parametrize("downcast", [None, False, True])
@pytest.mark.parametrize("dtype", ["int8", "int32", "int64"])
def test_a_huge_float_overflows_an_integer(dtype: str, downcast: bool | None) -> None:
    x = T.TensorType(dtype, [])("x")
    f = function([x], x, allow_input_downcast=downcast)
    for value in (1e300, -1e300, 2**70):
        with pytest.raises(OverflowError):
            f(value)


def test_python_floats_for_float32_scalars() -> None:
    with change_flags(floatX="float32"):
        x = T.fscalar("x")
        assert function([x], x)(0.1) == np.float32(0.1)
        for bad in (np.float64(0.1), np.array(0.1)):
            with pytest.raises(TypeError):
                function([x], x)(bad)
        with pytest.raises(TypeError):
            function([x], x, allow_input_downcast=False)(0.1)
        v = T.fvector("v")
        with pytest.raises(TypeError):
            function([v], v)([0.1])


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (None, TypeError),
        ("abc", TypeError),
        (["1", "2"], TypeError),
        (np.array([1, 2], object), TypeError),
        ([[1], [2, 3]], ValueError),
        ({}, TypeError),
        (np.array(["2020-01-01"], "M8[D]"), TypeError),
        (np.ones(2, np.longdouble), TypeError),
        (np.ones(2, np.complex128), TypeError),
        ([1j], TypeError),
        ((n for n in range(3)), TypeError),
        (3.0, TypeError),
        (np.ones((1, 1)), TypeError),
        (b"abc", TypeError),
        (shared(np.ones(2)), TypeError),
        (T.dvector(), TypeError),
        (np.zeros(2, [("a", "f8")]), TypeError),
    ],
)
def test_what_is_no_vector_of_floats(value: Any, error: type[Exception]) -> None:
    v = T.dvector("v")
    f = function([v], v * 2)
    with pytest.raises(error) as caught:
        f(value)
    text = "".join(map(str, caught.value.args))
    assert "Bad input argument to theano function" in text
    assert "at index 0 (0-based)" in text
    assert os.path.basename(__file__) in text
    assert f([1, 2]).tolist() == [2, 4]


def test_texts_of_refusals() -> None:
    v, i, r = T.fvector("v"), T.iscalar("i"), T.row("r")
    with pytest.raises(
        TypeError, match="Wrong number of dimensions: expected 1, got 2 with shape \\(1, 5\\)"
    ):
        function([v], v)(np.ones((1, 5), np.float32))
    with pytest.raises(TypeError) as caught:
        function([v], v)(np.ones(2))
    assert (
        "TensorType(float32, vector) cannot store a value of dtype float64 without risking loss of "
        "precision. If you do not mind this loss, you can: 1) explicitly cast your data "
        "to float32, "
        'or 2) set "allow_input_downcast=True" when calling "function". Value: "array([1., 1.])"'
    ) in str(caught.value)
    with pytest.raises(TypeError) as caught:
        function([i], i)(2.5)
    assert (
        "TensorType(int32, scalar) cannot store accurately value 2.5, it would be "
        "represented as 2. "
        "If you do not mind this precision loss, you can: 1) explicitly convert your data "
        "to a numpy "
        'array of dtype int32, or 2) set "allow_input_downcast=True" when calling "function".'
    ) in caught.value.args[1 - 1] + str(caught.value.args[1])
    with pytest.raises(TypeError) as caught:
        function([r], r)(np.ones((2, 2)))
    assert caught.value.args[1:] == (
        "Non-unit value on shape on a broadcastable dimension.",
        (2, 2),
        (True, False),
    )


class _Subclass(np.ndarray):
    pass


def _layouts() -> dict[str, np.ndarray]:
    base = np.arange(12.0).reshape(3, 4)
    locked = base.copy()
    locked.flags.writeable = False
    odd = np.empty(base.nbytes + 1, np.uint8)[1:].view(np.float64).reshape(3, 4)
    odd[...] = base
    with tempfile.TemporaryFile() as file:
        mapped = np.memmap(file, dtype=np.float64, mode="w+", shape=(3, 4))
    mapped[:] = base
    return {
        "transposed": base.T,
        "negative": base[::-1, ::-1],
        "strided": base[:, ::2],
        "zero_stride": np.broadcast_to(np.arange(4.0), (3, 4)),
        "byte_swapped": base.astype(">f8"),
        "subclass": base.view(_Subclass),
        "misaligned": odd,
        "read_only": locked,
        "memmap": mapped,
        "float32": base.astype(np.float32),
        "empty": base[:0],
        "nested_list": base.tolist(),
    }


@pytest.mark.parametrize("layout", _layouts())
def test_arrays_of_any_layout(layout: str) -> None:
    m = T.dmatrix("m")
    array = _layouts()[layout]
    total, doubled, turned = function([m], [m.sum(), m * 2, m.T])(array)
    plain = np.asarray(array, np.float64)
    assert total == plain.sum()
    assert type(doubled) is np.ndarray
    np.testing.assert_array_equal(doubled, plain * 2)
    np.testing.assert_array_equal(turned, plain.T)


def test_a_sparse_matrix_is_refused_at_once() -> None:
    """Not when its variable is used, as an object without tensor operations."""
    kind = type("csr_matrix", (), {"__module__": "scipy.sparse._csr"})
    with pytest.raises(UnsupportedError, match="sparse matrices; instead, use a dense one"):
        shared(kind())


def test_what_is_not_supported_is_told_in_whole_sentences() -> None:
    sentence = "Complex filters are not compiled. Convolve both parts."
    assert str(UnsupportedError(sentence)) == sentence
    named = str(UnsupportedError("theano.sparse", "use dense arrays"))
    assert named == "ltensor does not support theano.sparse; instead, use dense arrays"
