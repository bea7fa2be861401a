"""Operators and methods of tensor variables, at the level of graphs."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import numpy as np
import pytest

import ltensor
import ltensor.tensor as T
import ltensor.test_value
from ltensor.config import change_flags
from ltensor.errors import ComplexError
from ltensor.testing import reference

assert ltensor.test_value


def value(output: Any, given: dict[Any, Any] | None = None) -> Any:
    """The value of a graph by the ops' NumPy definitions."""
    given = given or {}
    arrays = [np.asarray(v, dtype=k.dtype) for k, v in given.items()]
    return reference(list(given), [output], arrays)[0]


# ------------------------------------------------------------------------- operators


def test_operators_and_reflected_forms() -> None:
    x = T.dvector("x")
    v = np.array([1.5, 2.0, 7.0])
    cases = {
        "x + 2": x + 2,
        "2 + x": 2 + x,
        "x - 2": x - 2,
        "2 - x": 2 - x,
        "x * 2": x * 2,
        "2 * x": 2 * x,
        "x / 2": x / 2,
        "2 / x": 2 / x,
        "x // 2": x // 2,
        "9 // x": 9 // x,
        "x % 2": x % 2,
        "9 % x": 9 % x,
        "x ** 2": x**2,
        "2 ** x": 2**x,
        "-x": -x,
        "abs(-x)": abs(-x),
        "divmod(x, 2)[0]": divmod(x, 2)[0],
        "divmod(9, x)[1]": divmod(9, x)[1],
        "x < 2": x < 2,
        "x <= 2": x <= 2,
        "x > 2": x > 2,
        "x >= 2": x >= 2,
        "2 < x": 2 < x,  # noqa: SIM300
    }
    for text, output in cases.items():
        expected = eval(text, {"x": v, "divmod": divmod, "abs": abs})
        np.testing.assert_allclose(value(output, {x: v}), expected, err_msg=text)


def test_bit_operators() -> None:
    x = T.ivector("x")
    v = np.array([1, 6, -3], "int32")
    for text in ("x & 3", "3 & x", "x | 4", "4 | x", "x ^ 5", "5 ^ x", "~x"):
        output = eval(text, {"x": x})
        np.testing.assert_array_equal(value(output, {x: v}), eval(text, {"x": v}), text)
    mask = (x > 0) & (x < 5)
    assert mask.dtype == "bool"
    with pytest.raises(TypeError, match="input to a BitOp must have type"):
        T.dvector() & 1


def test_text() -> None:
    x = T.dscalar("x")
    assert str(x + 1) == "Elemwise{add,no_inplace}.0"
    assert repr(x) == "x"
    assert [v.name for v in (x + T.dscalar("y")).owner.inputs] == ["x", "y"]
    assert type(x).__name__ == "TensorVariable"


def test_numpy_arrays_defer() -> None:
    x = T.dvector("x")
    a = np.array([1.0, 2.0])
    for output in (a + x, a * x, a - x, a / x, np.float64(3) * x, np.float32(3) - x, a > x):
        assert isinstance(output, T.TensorVariable)
        assert output.ndim == 1
    np.testing.assert_array_equal(value(a - x, {x: [5.0, 5.0]}), [-4, -3])
    np.testing.assert_array_equal(value(a > x, {x: [1.5, 1.5]}), [False, True])


@pytest.mark.parametrize("op", ["+=", "-=", "*=", "/=", "//=", "**=", "%="])
def test_arrays_changed_in_place_become_variables(op: str) -> None:
    """As in Theano: the name stands for the expression, and the array is as it was."""
    x = T.vector("x")
    array = np.arange(1.0, 4.0)
    names = {"a": array, "x": x}
    exec(f"a {op} x", names)
    numbers = {"a": array.copy(), "x": np.array([2.0, 3.0, 0.5])}
    exec(f"a {op} x", numbers)
    np.testing.assert_allclose(value(names["a"], {x: numbers["x"]}), numbers["a"])
    assert array.tolist() == [1, 2, 3]


def test_equality_is_identity() -> None:
    x, y = T.dvector("x"), T.dvector("y")
    assert x == x
    assert (x == y) is False
    assert x != y
    assert len({x, y, x}) == 2
    assert x in [np.ones(2), x]
    assert (np.ones(2) == x) is False
    assert (np.float64(1) != x) is True


def test_truth() -> None:
    x = T.dscalar("x")
    assert bool(x)
    assert bool(x + 1)
    for comparison in (x > 1, x < 1, x >= 1, x <= 1, 1 < x):  # noqa: SIM300
        with pytest.raises(TypeError, match="Variables do not support boolean operations"):
            bool(comparison)
    with pytest.raises(TypeError, match="Variables do not support boolean operations"):
        0 < x < 2  # noqa: B015
    assert bool(T.gt(x, 1))


def test_what_is_refused() -> None:
    x = T.dvector("x")
    with pytest.raises(TypeError):
        x + "text"
    with pytest.raises(TypeError):
        x + True
    with pytest.raises(TypeError):
        x @ x
    with pytest.raises(TypeError):
        x[0] = 1
    with pytest.raises(ComplexError, match="does not support the mod operator"):
        T.zvector() % 2
    with pytest.raises(TypeError):
        float(x)


class Other:
    """Knows by itself how to combine with variables."""

    def __radd__(self, other: Any) -> str:
        return "mine"


def test_others_may_handle_the_operator() -> None:
    assert T.dvector() + Other() == "mine"


# ------------------------------------------------------------------------- containers


def test_length_and_iteration() -> None:
    v, m = T.dvector("v"), T.dmatrix("m")
    for variable in (v, T.constant([3, 4]), ltensor.shared(np.zeros(2))):
        with pytest.raises(TypeError, match=r"has no len\(\)"):
            len(variable)
        assert not hasattr(variable, "__len__")  # by which programs tell lists from variables
    with pytest.raises(ValueError, match=r"^length not known: v \[id A\]$"):
        iter(v)
    for variable in (T.dscalar(), m):
        with pytest.raises(TypeError, match=r"TensorType does not support iteration\. Maybe you"):
            sum(variable)
    rows, columns = m.shape
    assert rows.ndim == columns.ndim == 0
    assert [int(value(z)) for z in T.constant([3, 4])] == [3, 4]


def test_indexing() -> None:
    m = T.dmatrix("m")
    a = np.arange(12.0).reshape(3, 4)
    for text in ("m[1]", "m[1:, ::2]", "m[-1, 0]", "m[:, None, :]", "m[::-1]", "m[..., 1]"):
        got = value(eval(text, {"m": m}), {m: a})
        np.testing.assert_array_equal(got, eval(text, {"m": a}), text)
    i = T.iscalar("i")
    assert value(m[i, 2], {m: a, i: 1}) == 6


# ------------------------------------------------------------------------- methods


def test_elementwise_methods() -> None:
    x = T.dvector("x")
    v = np.array([0.3, 0.7])
    names = (
        "arccos arcsin arcsinh arctan arctanh ceil cos cosh deg2rad exp exp2 expm1 floor log "
        "log10 log1p log2 rad2deg sin sinh sqrt tan tanh trunc"
    )
    for name in names.split():
        got = value(getattr(x, name)(), {x: v})
        np.testing.assert_allclose(got, getattr(np, name)(v), err_msg=name)
        np.testing.assert_allclose(value(getattr(np, name)(x), {x: v}), got, err_msg=name)
    np.testing.assert_allclose(value((x + 1).arccosh(), {x: v}), np.arccosh(v + 1))
    np.testing.assert_array_equal(value(x.clip(0.5, 1), {x: v}), [0.5, 0.7])
    np.testing.assert_array_equal(value(x.round(), {x: [0.5, 1.5]}), [0, 2])
    np.testing.assert_array_equal(value(x.round("half_away_from_zero"), {x: [0.5, 1.5]}), [1, 2])
    assert x.astype("int8").dtype == "int8"
    assert x.astype("float64") is x
    assert value(x.fill(3), {x: v}).tolist() == [3, 3]
    assert value(x.zeros_like(), {x: v}).tolist() == [0, 0]
    assert x.ones_like(dtype="int8").dtype == "int8"


def test_reductions() -> None:
    x = T.dmatrix("x")
    a = np.array([[1.0, 5.0, 2.0], [4.0, 0.0, 3.0]])
    for name in ("sum", "prod", "mean", "var", "std", "min", "max", "any", "all"):
        for axis in (None, 0, 1, -1):
            got = value(getattr(x, name)(axis=axis), {x: a})
            np.testing.assert_allclose(got, getattr(a, name)(axis=axis), err_msg=name)
        assert getattr(x, name)(axis=0, keepdims=True).broadcastable == (True, False)
    np.testing.assert_allclose(value(x.norm(2), {x: a}), np.linalg.norm(a))
    np.testing.assert_allclose(value(x.norm(1, axis=0), {x: a}), np.abs(a).sum(0))
    with pytest.raises(NotImplementedError):
        x.norm(0)
    np.testing.assert_allclose(value(x.ptp(axis=1), {x: a}), np.ptp(a, axis=1))
    with pytest.raises(ValueError, match="Not enough dimensions on x to reduce on axis 2"):
        x.sum(axis=2)


def test_shape_methods() -> None:
    x = T.dtensor3("x")
    a = np.arange(24.0).reshape(2, 3, 4)
    cases = {
        "T": (x.T, a.T),
        "transpose": (x.transpose(1, 0, 2), a.transpose(1, 0, 2)),
        "transpose list": (x.transpose([2, 0, 1]), a.transpose(2, 0, 1)),
        "swapaxes": (x.swapaxes(0, 2), a.swapaxes(0, 2)),
        "flatten": (x.flatten(), a.ravel()),
        "flatten 2": (x.flatten(2), a.reshape(2, 12)),
        "ravel": (x.ravel(), a.ravel()),
        "reshape": (x.reshape((4, 6)), a.reshape(4, 6)),
        "reshape -1": (x.reshape([-1, 2]), a.reshape(-1, 2)),
        "dimshuffle": (x.dimshuffle(2, "x", 0, 1), a.transpose(2, 0, 1)[:, None]),
        "shape": (x.shape, np.array([2, 3, 4])),
        "size": (x.size, np.array(24)),
    }
    for name, (output, expected) in cases.items():
        np.testing.assert_array_equal(value(output, {x: a}), expected, name)
    assert x.shape.dtype == x.size.dtype == "int64"
    assert T.dmatrix("m").T.name == "m.T"
    with pytest.raises(ValueError, match=r"ndim 4 out of bound \[1, 4\)"):
        x.flatten(4)
    assert T.dscalar().flatten().broadcastable == (True,)
    assert T.row().squeeze().ndim == 1
    assert T.dcol().dimshuffle(0).ndim == 1
    with pytest.raises(ValueError, match="You cannot drop a non-broadcastable dimension"):
        T.dmatrix().dimshuffle(0)


def test_flags() -> None:
    m = T.dmatrix("m")
    assert T.addbroadcast(m, 0).broadcastable == (True, False)
    assert T.unbroadcast(T.row(), 0).broadcastable == (False, False)
    assert T.patternbroadcast(m, (False, True)).broadcastable == (False, True)
    assert T.unbroadcast(m, 0) is m
    with pytest.raises(ValueError, match="non-existent dimension"):
        T.addbroadcast(m, 2)
    assert T.shape_padleft(m, 2).broadcastable == (True, True, False, False)
    assert T.shape_padright(m).broadcastable == (False, False, True)
    assert T.shape_padaxis(m, -2).broadcastable == (False, True, False)


def test_functions_of_several_operations() -> None:
    a = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    m = T.dmatrix("m")
    cases = {
        "tril": (T.tril(m, 1), np.tril(a, 1)),
        "triu": (T.triu(m), np.triu(a)),
        "tri": (T.tri(3, 4, -1), np.tri(3, 4, -1)),
        "identity_like": (T.identity_like(m), np.eye(3)),
        "moveaxis": (T.moveaxis(m, 0, 1), a.T),
        "largest": (T.largest(m, 5, 2 * m - 4), np.maximum(np.maximum(a, 5), 2 * a - 4)),
        "iround": (T.iround(m / 2), np.rint(a / 2).astype("int64")),
        "mgrid": (T.mgrid[0:2, 1:4][1], np.mgrid[0:2, 1:4][1]),
        "ogrid": (T.ogrid[0:2, 1:4][0], np.ogrid[0:2, 1:4][0]),
    }
    for name, (output, expected) in cases.items():
        np.testing.assert_array_equal(value(output, {m: a}), expected, name)
        assert output.dtype == str(expected.dtype), name


def test_isclose() -> None:
    x, y = T.dvectors("x", "y")
    a = np.array([1.0, 1.0, np.inf, np.inf, np.nan, np.inf])
    b = np.array([1.0 + 1e-9, 1.1, np.inf, -np.inf, np.nan, 3.0])
    given = {x: a, y: b}
    assert value(T.isclose(x, y), given).tolist() == np.isclose(a, b).tolist()
    both_nan = value(T.isclose(x, y, equal_nan=True), given)
    assert both_nan.tolist() == np.isclose(a, b, equal_nan=True).tolist()
    assert not value(T.allclose(x, y), given)
    # the name with an underscore is for arrays
    assert T.basic._allclose(np.float32([1.0]), np.float32([1.000001])) is True
    assert not T.basic._allclose([1.0], [1.0001])
    assert T.basic._allclose([1.0], [1.0001], rtol=1e-3)


def test_matrix_product_of_ones_own_variables() -> None:
    """Theano has no ``@``, but programs' classes of variables define it, also reflected."""

    class Mine(type(T.dmatrix())):  # type: ignore[misc]
        def __rmatmul__(self, other: Any) -> Any:
            return T.dot(other, self)

    a, x = np.arange(4.0).reshape(2, 2), T.dmatrix()
    mine = Mine(x.type, None, None)
    np.testing.assert_array_equal(value(a @ mine, {mine: a}), a @ a)
    for product in (lambda: a @ x, lambda: x @ a, lambda: np.matmul(x, a)):
        with pytest.raises(TypeError):
            product()


def test_numpy_functions() -> None:
    m = T.dmatrix("m")
    a = np.arange(6.0).reshape(2, 3)
    for output, expected in (
        (np.sum(m, axis=0), a.sum(0)),
        (np.mean(m), a.mean()),
        (np.dot(m, a.T), a @ a.T),
        (np.maximum(m, 2), np.maximum(a, 2)),
        (np.abs(-m), a),
        (np.square(m), a**2),
        (np.transpose(m), a.T),
        (np.reshape(m, (3, 2)), a.reshape(3, 2)),
        (np.zeros_like(m), np.zeros((2, 3))),
        (np.isnan(m), np.isnan(a)),
    ):
        np.testing.assert_allclose(value(output, {m: a}), expected)
    assert np.ndim(m) == 2
    assert np.asarray(m).dtype == object
    with pytest.raises(TypeError):
        np.add.reduce(m)


# ------------------------------------------------------------------------- copies


def test_copies_and_pickles() -> None:
    x = T.dvector("x")
    y = (x * 2).sum()
    again = pickle.loads(pickle.dumps(y))
    assert str(again) == str(y)
    assert again.owner.inputs[0].owner.inputs[0].name == "x"
    twin = copy.deepcopy(y)
    assert twin is not y
    assert twin.type == y.type
    assert copy.copy(x).type == x.type
    assert pickle.loads(pickle.dumps(T.constant([1, 2]))).data.tolist() == [1, 2]
    clone = x.clone()
    assert clone is not x
    assert clone.name == "x"


def test_eval() -> None:
    pytest.importorskip("ltensor.function")
    x, y = T.dscalars("x", "y")
    z = x + 2 * y
    assert z.eval({x: 1.0, y: 2.0}) == 5
    assert z.eval({y: 1.0, x: 2.0}) == 4
    assert len(z._fn_cache) == 1
    assert T.constant(3).eval() == 3
    assert "_fn_cache" not in pickle.loads(pickle.dumps(z)).__dict__


# ------------------------------------------------------------------------- test values


def test_test_values() -> None:
    x = T.dmatrix("x")
    x.tag.test_value = np.ones((2, 3))
    with change_flags(compute_test_value="raise"):
        y = (x * 2).sum(axis=1) + np.ones(2)
        assert y.tag.test_value.tolist() == [7, 7]
        with pytest.raises(ValueError, match="mis-match"):
            x + np.ones((3, 3))
        q = T.dvector("q")
        with pytest.raises(ValueError, match="missing default value") as caught:
            q + 1
    assert str(caught.value).startswith(
        "Cannot compute test value: input 0 (q) of Op "
        "Elemwise{add,no_inplace}(q, InplaceDimShuffle{x}.0) missing default value.  \n"
        "Backtrace when that variable is created:\n\n  File "
    )
    assert "q = T.dvector" in str(caught.value)


def test_test_values_of_derivatives_of_regions() -> None:
    x, w = T.dvector("x"), T.dscalar("w")
    x.tag.test_value, w.tag.test_value = np.array([1.0, 2.0, 3.0]), 0.5
    with change_flags(compute_test_value="raise"):
        rows, _ = ltensor.scan(lambda a, s, k: a + s * k, x, w, w)
        gx, gw = ltensor.grad(rows.sum(), [x, w])
        inner = ltensor.OpFromGraph([x, w], [T.tanh(x * w)])(x, w)
        g = ltensor.grad(inner.sum(), x)
        p = ltensor.Rop(inner, w, w)
        # compiling asks for sizes of its own
        part = x[: x.shape[0] - 1].sum() + T.arange(x.shape[0]).sum() + x[x > 1].sum()
        assert ltensor.function([x], part)([1.0, 2.0, 3.0]) == 11.0
    for variable in (gx, gw, g, p):
        known = variable.eval({x: x.tag.test_value, w: 0.5})
        np.testing.assert_allclose(variable.tag.test_value, known)


def test_test_values_that_are_missing() -> None:
    q = T.dvector("q")
    with change_flags(compute_test_value="ignore"):
        assert not (q + 1).has_tag("test_value")
    with change_flags(compute_test_value="warn"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert not (q + 1).has_tag("test_value")
    assert any("missing default value" in str(w.message) for w in caught)
    assert not (q + 1).has_tag("test_value")


def test_get_test_value() -> None:
    from ltensor.test_value import get_debug_values, get_test_value

    x = T.dvector("x")
    with pytest.raises(AttributeError, match="x has no test value"):
        get_test_value(x)
    x.tag.test_value = [1, 2]
    assert get_test_value(x).dtype == "float64"
    assert get_test_value(3) == 3
    assert list(get_debug_values(x)) == []
    with change_flags(compute_test_value="raise"):
        ((found,),) = get_debug_values(x)
        assert found.tolist() == [1, 2]
        with pytest.raises(AttributeError):
            list(get_debug_values(T.dvector()))
    x.tag.test_value = np.ones((2, 2))
    with pytest.raises(TypeError, match="does not have the requested type"):
        get_test_value(x)


def test_repr_shows_test_values() -> None:
    x = T.dscalar("x")
    x.tag.test_value = 42
    assert repr(x) == "x"
    with change_flags(print_test_value=True):
        assert repr(x) == "x\narray(42.)"
        assert str(x) == "x"
        assert repr(T.dscalar("y")) == "y"
        assert repr(ltensor.shared(2.0, "s")) == "s\narray(2.)"
