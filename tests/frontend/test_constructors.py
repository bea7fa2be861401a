"""Constructors of variables and constants, and the names of the tensor namespace."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ltensor.tensor as T
from ltensor.config import change_flags
from ltensor.errors import AsTensorError, NotScalarConstantError
from ltensor.ir import dtypes

LETTERS = {
    "b": "int8",
    "w": "int16",
    "i": "int32",
    "l": "int64",
    "f": "float32",
    "d": "float64",
    "c": "complex64",
    "z": "complex128",
}
KINDS = {
    "scalar": (),
    "vector": (False,),
    "matrix": (False, False),
    "row": (True, False),
    "col": (False, True),
    "tensor3": (False,) * 3,
    "tensor4": (False,) * 4,
    "tensor5": (False,) * 5,
}


@pytest.mark.parametrize("kind", KINDS)
def test_letter_forms_are_types(kind: str) -> None:
    for letter, dtype in LETTERS.items():
        constructor = getattr(T, letter + kind)
        assert isinstance(constructor, T.TensorType)
        variable = constructor("v")
        assert variable.type is constructor
        assert (variable.name, variable.dtype) == ("v", dtype)
        assert variable.broadcastable == KINDS[kind]
        assert type(variable) is T.TensorVariable


@pytest.mark.parametrize("kind", KINDS)
def test_plain_forms_take_name_and_dtype(kind: str) -> None:
    make = getattr(T, kind)
    assert make().dtype == "float64"
    assert make().name is None
    assert make("x", "int16").dtype == "int16"
    assert make(dtype="float32", name="y").name == "y"
    with change_flags(floatX="float32"):
        assert make("x").dtype == "float32"
        assert make("x", dtype="floatX").dtype == "float32"


def test_plural_forms() -> None:
    assert [str(v) for v in T.dscalars("a", "b", "c")] == ["a", "b", "c"]
    assert [str(v) for v in T.vectors("xyz")] == ["x", "y", "z"]
    assert str(T.vectors("x")) == "x"
    three = T.fmatrices(3)
    assert [str(v.type) for v in three] == ["TensorType(float32, matrix)"] * 3
    assert [v.dtype for v in T.tensor3s("a", "b", dtype="int8")] == ["int8", "int8"]
    assert [v.ndim for v in T.itensor4s("a", "b")] == [4, 4]
    assert len(T.cols("a", "b")) == len(T.lrows("a", "b")) == 2


def test_text_of_types() -> None:
    assert str(T.dscalar) == "TensorType(float64, scalar)"
    assert str(T.tensor3().type) == "TensorType(float64, 3D)"
    assert str(T.TensorType("int32", (False, True, False))("g").type) == (
        "TensorType(int32, (False, True, False))"
    )
    assert str(T.vector()) == "<TensorType(float64, vector)>"
    assert T.tensor("float32", (True, False), name="r").type == T.frow


def test_unknown_dtype() -> None:
    with pytest.raises(TypeError, match="Unsupported dtype"):
        T.matrix("x", dtype="float31")


# ------------------------------------------------------------------------- constants


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (127, "int8"),
        (128, "int16"),
        (32768, "int32"),
        (2**31, "int64"),
        (2**63, "uint64"),
        (1.0, "float32"),
        (0.1, "float64"),
        (1j, "complex128"),
        (np.float64(1), "float64"),
        (np.int8(1), "int8"),
        ([1, 2], "int64"),
        ([1.0, 2.0], "float64"),
        (np.ones(2, "float32"), "float32"),
    ],
)
def test_dtype_of_values(value: object, dtype: str) -> None:
    assert T.as_tensor_variable(value).dtype == dtype
    assert T.constant(value).dtype == dtype


def test_dtype_of_values_with_float32() -> None:
    with change_flags(floatX="float32"):
        assert T.constant(0.1).dtype == "float32"
        assert T.constant(1e300).dtype == "float32"
        assert T.constant(np.float64(1)).dtype == "float64"
        assert T.constant([1.0]).dtype == "float64"


def test_bools() -> None:
    with pytest.raises(AsTensorError, match="Cannot cast True or False as a tensor variable"):
        T.as_tensor_variable(True)
    assert T.constant(True).dtype == "int8"
    assert T.as_tensor_variable(np.array(True)).dtype == "bool"


def test_constant_options() -> None:
    c = T.constant(2, name="two", ndim=2, dtype="float32")
    assert (c.name, c.dtype, c.broadcastable) == ("two", "float32", (True, True))
    assert T.constant([[1.0, 2.0]]).broadcastable == (True, False)
    assert T.as_tensor_variable([0.1]).broadcastable == (True,)
    assert T.as_tensor_variable(np.ones(3), name="c").name == "c"
    with pytest.raises(TypeError):
        T.constant("text")
    with pytest.raises(ValueError, match="could not be cast to constant with 1 dimensions"):
        T.constant(np.ones((2, 2)), ndim=1)


def test_rank_of_a_variable() -> None:
    x = T.vector("x")
    assert T.as_tensor_variable(x) is x
    assert T.as_tensor_variable(x, ndim=2).broadcastable == (True, False)
    assert T.as_tensor_variable(T.row(), ndim=1).ndim == 1
    with pytest.raises(ValueError, match="could not be cast"):
        T.as_tensor_variable(T.matrix(), ndim=1)


def test_lists_of_variables_are_stacked() -> None:
    x = T.dscalar("x")
    assert T.as_tensor_variable([x, x + 1]).ndim == 1
    assert T.as_tensor_variable([x, 1]).dtype == "float64"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "TensorConstant{1.0}"),
        (2, "TensorConstant{2}"),
        ([1, 2, 3], "TensorConstant{[1 2 3]}"),
        ([1, 1, 1], "TensorConstant{(3,) of 1}"),
        ([[0.5, 0.5]], "TensorConstant{(1, 2) of 0.5}"),
        (list(range(20)), "TensorConstant{[ 0  1  2 .. 17 18 19]}"),
        (np.zeros(0), "TensorConstant{[]}"),
    ],
)
def test_text_of_constants(value: object, text: str) -> None:
    assert str(T.constant(value)) == text
    assert str(T.constant(value, name="named")) == text


def test_constant_is_not_written() -> None:
    array = np.ones(2)
    c = T.constant(array)
    array[0] = 5
    assert c.data[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        c.data[0] = 2
    assert c.equals(T.constant(np.ones(2)))
    assert not c.equals(T.constant(np.zeros(2)))
    assert c.copy(name="d").name == "d"


# ------------------------------------------------------------------------- known values


def test_scalar_constant_values() -> None:
    known = T.get_scalar_constant_value
    x = T.dmatrix("x")
    assert known(3) == 3
    assert known(T.constant(2) * 3 + 1) == 7
    assert known(T.zeros_like(x)) == 0
    assert known(T.alloc(5, 2, 3)) == 5
    assert known(T.constant([4, 4])) == 4
    assert known(T.constant(2).dimshuffle("x", "x")) == 2
    assert known(T.cast(T.constant(2.7), "int32")) == 2
    assert known(T.row().shape[0]) == 1
    assert known(T.as_tensor_variable([T.iscalar(), 7])[1]) == 7
    for unknown in (x, x + 1, T.constant([1, 2]), x.shape[0], None, T.constant([])):
        with pytest.raises(NotScalarConstantError):
            known(unknown)


def test_vector_length() -> None:
    x = T.tensor3("x")
    assert T.get_vector_length(x.shape) == 3
    assert T.get_vector_length(T.constant([1, 2])) == 2
    assert T.get_vector_length(T.as_tensor_variable([T.iscalar(), 7])) == 2
    with pytest.raises(ValueError, match=r"length not known: v \[id A\]"):
        T.get_vector_length(T.vector("v"))
    with pytest.raises(TypeError, match="must be symbolic vector"):
        T.get_vector_length(x)


# ------------------------------------------------------------------------- the namespace


def test_every_name_resolves() -> None:
    missing = []
    for name in dir(T):
        try:
            getattr(T, name)
        except (AttributeError, ImportError) as error:
            missing.append(f"{name}: {error}")
    assert not missing


def test_missing_name() -> None:
    with pytest.raises(AttributeError, match="no_such_thing"):
        T.no_such_thing  # noqa: B018


def test_lists_of_dtypes() -> None:
    assert set(T.all_dtypes) == set(dtypes.ALL)
    assert "bool" in T.discrete_dtypes
    assert "bool" not in T.integer_dtypes
    assert T.float_dtypes == ["float16", "float32", "float64"]


def test_import_is_light() -> None:
    """Building graphs needs neither LLVM nor the neural net operations."""
    program = (
        "import sys, json, ltensor.tensor as T\n"
        "x = T.dmatrix('x'); y = (x + 1).sum()\n"
        "print(json.dumps([m for m in sys.modules if m.startswith(('llvmlite', 'ltensor.cuda'))]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(T.__file__).parents[2],
    )
    assert json.loads(done.stdout) == []
