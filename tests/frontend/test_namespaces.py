"""``nnet``, ``signal``, ``extra_ops``, ``nlinalg``, ``slinalg`` and ``xlogx``."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

import ltensor
import ltensor.tensor as T

x, m = T.dvector("x"), T.dmatrix("m")
i = T.ivector("i")


def run(output: Any, **values: Any) -> Any:
    inputs = {"x": x, "m": m, "i": i}
    names = [name for name in inputs if name in values]
    return ltensor.function([inputs[name] for name in names], output)(*values.values())


@pytest.mark.parametrize(
    "path",
    [
        "nnet.sigmoid nnet.softmax nnet.relu nnet.conv2d nnet.conv.conv2d nnet.elu",
        "nnet.abstract_conv.AbstractConv2d_gradInputs nnet.neighbours.images2neibs nnet.Softmax",
        "nnet.bn.batch_normalization",
        "nnet.sigm.hard_sigmoid nnet.nnet.categorical_crossentropy nnet.conv3d nnet.h_softmax",
        "signal.pool.pool_2d signal.pool.pool_3d signal.downsample.max_pool_2d signal.conv.conv2d",
        "extra_ops.cumsum extra_ops.repeat extra_ops.Unique extra_ops.searchsorted",
        "nlinalg.trace nlinalg.det nlinalg.matrix_inverse nlinalg.diag nlinalg.extract_diag",
        "slinalg.solve slinalg.cholesky slinalg.kron xlogx.xlogy0 printing.Print",
        "shared_randomstreams.RandomStreams raw_random.uniform scal.upcast",
        "sharedvar.TensorSharedVariable basic.as_tensor_variable elemwise.Elemwise",
        "subtensor.AdvancedSubtensor1 grad jacobian Rop pprint shared ifelse config.floatX",
    ],
)
def test_names_below_the_namespace(path: str) -> None:
    for dotted in path.split():
        found: Any = T
        for name in dotted.split("."):
            found = getattr(found, name)


def test_modules_can_be_imported() -> None:
    for name in ("nnet", "nnet.conv", "signal.pool", "signal.downsample", "extra_ops", "xlogx"):
        importlib.import_module(f"ltensor.tensor.{name}")


def test_star_import() -> None:
    names: dict[str, Any] = {}
    exec("from ltensor.tensor import *", names)
    assert names["dmatrix"] is T.dmatrix
    assert names["grad"] is T.grad
    assert "importlib" not in names


@pytest.mark.parametrize(
    "dotted", ["nnet.nothing", "nlinalg.nothing", "extra_ops.nothing", "signal.nothing"]
)
def test_what_is_missing(dotted: str) -> None:
    module, name = dotted.split(".")
    with pytest.raises(AttributeError, match=name):
        getattr(getattr(T, module), name)


# ------------------------------------------------------------------------- values


def test_differences_and_counts() -> None:
    a = np.array([[1.0, 4.0, 9.0], [2.0, 3.0, 5.0]])
    for axis in (0, 1, -1):
        np.testing.assert_array_equal(
            run(T.extra_ops.diff(m, axis=axis), m=a), np.diff(a, axis=axis)
        )
    assert run(T.extra_ops.diff(x, n=2), x=[1.0, 4.0, 9.0]).tolist() == [2]
    with pytest.raises(ValueError, match="no axis"):
        T.extra_ops.diff(x, axis=1)
    numbers = np.array([1, 3, 1], "int32")
    counts = run(T.extra_ops.bincount(i), i=numbers)
    assert (counts.tolist(), counts.dtype) == ([0, 2, 0, 1], np.int32)
    assert run(T.extra_ops.bincount(i, minlength=6), i=numbers).size == 6
    weighted = T.extra_ops.bincount(i, weights=x)
    assert run(weighted, x=[0.5, 2.0, 1.0], i=numbers).tolist() == [0, 1.5, 0, 2]
    for checked, error in ((False, IndexError), (True, AssertionError)):
        with pytest.raises(error):
            run(T.extra_ops.bincount(i, assert_nonneg=checked), i=np.array([-1], "int32"))
    for wrong in (x, T.imatrix()):
        with pytest.raises(TypeError):
            T.extra_ops.bincount(wrong)


def test_one_hot() -> None:
    rows = run(T.extra_ops.to_one_hot(i, 3), i=np.array([2, 0], "int32"))
    assert rows.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert rows.dtype == "float64"
    assert T.extra_ops.to_one_hot(i, 3, dtype="int8").dtype == "int8"
    with pytest.raises(IndexError):
        run(T.extra_ops.to_one_hot(i, 3), i=np.array([3], "int32"))
    with pytest.raises(TypeError):
        T.extra_ops.to_one_hot(x, 3)


def test_broadcasting() -> None:
    stretched = run(T.extra_ops.broadcast_to(x, (2, 3)), x=[1.0, 2.0, 3.0])
    assert stretched.tolist() == [[1, 2, 3]] * 2
    rows, columns = T.extra_ops.broadcast_shape(m, T.row())
    assert run([rows, columns], m=np.ones((4, 5))) == [4, 5]
    sizes = T.extra_ops.broadcast_shape((4, 1), (1, 1, 1), arrays_are_shapes=True)
    assert [int(size.data) for size in sizes] == [1, 4, 1]
    with pytest.raises(ValueError, match="do not broadcast"):
        T.extra_ops.broadcast_shape((3,), (4,), arrays_are_shapes=True)


def test_windows_and_layout() -> None:
    for n in (1, 2, 5, 6):
        np.testing.assert_allclose(run(T.extra_ops.bartlett(n)), np.bartlett(n))
    with pytest.raises(TypeError):
        T.extra_ops.bartlett(2.5)
    assert T.extra_ops.cpu_contiguous(x) is x
    assert T.extra_ops.CpuContiguous()(x) is x


def test_matrices() -> None:
    a = np.array([[2.0, 1.0], [1.0, 3.0]])
    cases = {
        "trace": (T.nlinalg.trace(m), np.trace(a)),
        "matrix_dot": (T.nlinalg.matrix_dot(m, m, m), a @ a @ a),
        "matrix_power": (T.nlinalg.matrix_power(m, 5), np.linalg.matrix_power(a, 5)),
        "matrix_power 0": (T.nlinalg.matrix_power(m, 0), np.eye(2)),
        "det": (T.nlinalg.det(m), np.linalg.det(a)),
        "matrix_inverse": (T.nlinalg.matrix_inverse(m), np.linalg.inv(a)),
        "kron": (T.slinalg.kron(m, m), np.kron(a, a)),
        "cholesky": (T.slinalg.cholesky(m), np.linalg.cholesky(a)),
        "solve": (T.slinalg.solve(m, m), np.eye(2)),
    }
    for name, (output, expected) in cases.items():
        np.testing.assert_allclose(run(output, m=a), expected, atol=1e-12, err_msg=name)
    with pytest.raises(TypeError):
        T.nlinalg.trace(x)
    with pytest.raises(TypeError):
        T.slinalg.kron(x, x)


def test_xlogx() -> None:
    values = np.array([0.0, 1.0, 2.0])
    expected = [0, 0, 2 * np.log(2)]
    np.testing.assert_allclose(run(T.xlogx.xlogx(x), x=values), expected)
    np.testing.assert_allclose(run(T.xlogx.xlogy0(x, x), x=values), expected)
    np.testing.assert_allclose(
        run(T.grad(T.xlogx.xlogx(x).sum(), x), x=values[1:]), [1, np.log(2) + 1]
    )


def test_convolution_over_time() -> None:
    rng = np.random.default_rng(1)
    signals, filters = rng.normal(size=(2, 4, 3, 5, 5)), rng.normal(size=(6, 2, 3, 3, 3))
    s, f = T.dtensor5("s"), T.dtensor5("f")
    for mode, shape in (
        ("valid", (2, 3, 6, 3, 3)),
        ("full", (2, 5, 6, 7, 7)),
        (("full", "valid", "valid"), (2, 5, 6, 3, 3)),
    ):
        output = T.nnet.conv3d2d.conv3d(s, f, filters_shape=filters.shape, border_mode=mode)
        got = ltensor.function([s, f], output)(signals, filters)
        assert got.shape == shape
    first = ltensor.function([s, f], T.nnet.conv3d2d.conv3d(s, f))(signals, filters)[0, 0, 0, 0, 0]
    flipped = filters[0, ::-1, :, ::-1, ::-1]
    np.testing.assert_allclose(first, (signals[0, :2, :, :3, :3] * flipped).sum())
    with pytest.raises(NotImplementedError, match="give filters_shape"):
        T.nnet.conv3d2d.conv3d(s, f, border_mode=("full", "valid", "valid"))


def test_rows_by_numbers() -> None:
    a, numbers = np.arange(6.0).reshape(3, 2), np.array([2, 0, 2], "int32")
    assert run(T.advanced_subtensor1(m, i), m=a, i=numbers).tolist() == a[numbers].tolist()
    added = run(T.advanced_inc_subtensor1(m, 1, i), m=a, i=numbers)
    assert added.tolist() == [[1, 2], [2, 3], [6, 7]]
    replaced = run(T.advanced_set_subtensor1(m, 9, i), m=a, i=numbers)
    assert replaced.tolist() == [[9, 9], [2, 3], [9, 9]]
