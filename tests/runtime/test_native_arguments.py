"""Keywords, defaults, numbers and odd layouts are taken natively, by the rules of the slow path."""

from __future__ import annotations

import gc
import pickle
import sys
from typing import Any

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T
from ltensor import In, function, shared
from ltensor.config import change_flags
from ltensor.runtime import layout

pytestmark = pytest.mark.skipif(not layout.available, reason=layout.probe() or "available")


class Native:
    """Counts the slow calls of a function."""

    def __init__(self, f: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.f, self.slow = f, 0
        original = type(f)._call_slow

        def call_slow(this: Any, *args: Any, **kwargs: Any) -> Any:
            self.slow += this is f
            return original(this, *args, **kwargs)

        monkeypatch.setattr(type(f), "_call_slow", call_slow)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        before = self.slow
        result = self.f(*args, **kwargs)
        assert self.slow == before, "slow"
        return result


def test_keywords_and_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    x, s, m = T.dvector("x"), T.dscalar("s"), T.fmatrix("m")
    default = np.full((2, 3), 5, np.float32)
    f = function([x, In(s, value=2), In(m, value=default)], [x * s, m.sum(), m.shape])
    g = Native(f, monkeypatch)
    a, other = np.arange(3.0), np.ones((1, 4), np.float32)
    for result, factor, total, shape in (
        (g(a), 2, 30, (2, 3)),
        (g(a, 3.0), 3, 30, (2, 3)),
        (g(a, s=3), 3, 30, (2, 3)),
        (g(x=a), 2, 30, (2, 3)),
        (g(m=other, x=a), 2, 4, (1, 4)),
        (g(a, m=other, s=4.0), 4, 4, (1, 4)),
        (g(a, 4.0, other), 4, 4, (1, 4)),
        (g(*[a], **{"s": np.float32(0.5)}), 0.5, 30, (2, 3)),
    ):
        np.testing.assert_array_equal(result[0], a * factor)
        assert result[1] == total
        assert tuple(result[2]) == shape
    f["s"] = 7.0
    np.testing.assert_array_equal(g(a)[0], a * 7)
    f[m] = np.ones((5, 1), np.float32)
    assert tuple(g(a)[2]) == (5, 1)
    again = Native(pickle.loads(pickle.dumps(f)), monkeypatch)
    np.testing.assert_array_equal(again(a)[0], a * 7)


def test_names_made_at_run_time() -> None:
    x = T.dscalar("a name")
    f = function([x], x + 1)
    assert f(**{"".join(["a", " ", "name"]): 1.0}) == 2.0


def test_wrong_keywords() -> None:
    x, y, twin = T.dscalar("x"), T.dscalar("y"), T.dscalar("x")
    f = function([x, In(y, value=1.0)], x * y)
    for args, kwargs, message in (
        ((), {}, "Missing required input: x"),
        ((), {"y": 2.0}, "Missing required input: x"),
        ((1.0,), {"x": 2.0}, "Multiple values for input: x"),
        ((1.0,), {"z": 2.0}, "Unknown input or state: z"),
        ((1.0, 2.0, 3.0), {}, "Too many parameter"),
    ):
        with pytest.raises(TypeError, match=message):
            f(*args, **kwargs)
    g = function([x, twin, y], x - twin * y)
    assert g(1.0, 2.0, y=3.0) == -5.0
    with pytest.raises(TypeError, match="Ambiguous name: x"):
        g(1.0, x=2.0, y=3.0)


def test_errors_of_calls_with_defaults() -> None:
    """The message is about the sizes of the default, and nothing is lost but the call."""
    x, y = T.dvector("x"), T.dvector("y")
    f = function([x, In(y, value=np.ones(3))], x + y)
    gc.collect()
    counts = sys.getrefcount(None)
    for _ in range(500):
        with pytest.raises(ValueError, match="mis-match"):
            f(np.ones(4))
        with pytest.raises(ValueError, match="mis-match"):
            f(x=np.ones(8)[::2])
    # (a thousand if each call kept one)
    gc.collect()
    assert sys.getrefcount(None) - counts < 500
    assert f(np.ones(3)).tolist() == [2, 2, 2]


def test_dicts(monkeypatch: pytest.MonkeyPatch) -> None:
    x = T.dvector("x")
    f = function([x], {"twice": x * 2, "sum": x.sum()})
    g = Native(f, monkeypatch)
    result = g(np.ones(3))
    assert list(result) == ["twice", "sum"] or list(result) == ["sum", "twice"]
    assert result["sum"] == 3.0
    np.testing.assert_array_equal(result["twice"], [2, 2, 2])
    assert f(np.ones(3), output_subset=["sum"]) == {"sum": 3.0}
    count = sys.getrefcount(result["twice"])
    assert count == 2


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "int8", "bool"])
@pytest.mark.parametrize("downcast", [None, False, True])
@pytest.mark.parametrize("floatx", ["float32", "float64"])
def test_numbers_as_the_slow_path(dtype: str, downcast: bool | None, floatx: str) -> None:
    """The native conversion takes no number that the slow one refuses, and gives the same."""
    x = T.TensorType(dtype, ())("x")
    f = function([x], x, allow_input_downcast=downcast)
    numbers = [
        *(0, 1, -1, 127, 300, 2**24 + 1, 2**53 + 1, 2**63, True, False, 10**30),
        *(0.0, -0.0, 0.1, 2.5, 1e300, -1e300, 1e-46, 1 + 2.0**-24, np.inf, -np.inf, np.nan),
    ]
    kinds: tuple[Any, ...] = (np.float64, np.float32, np.int64, np.int32, np.bool_, np.uint8)
    with np.errstate(all="ignore"):
        for kind in kinds:
            for number in numbers[:9] + numbers[11:]:
                try:
                    numbers.append(kind(number))  # type: ignore[arg-type]
                except (OverflowError, ValueError):
                    continue
    for number in numbers:
        with change_flags(floatX=floatx), np.errstate(all="ignore"):
            try:
                expected = f._filter(0, f._specs[0], number)
            except (TypeError, OverflowError) as error:
                with pytest.raises(type(error)):
                    f(number)
                continue
            found = f(number)
        assert found.dtype == expected.dtype
        assert found.tobytes() == expected.tobytes() or np.isnan(number), number


def test_python_floats_under_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    x = T.fscalar("x")
    f = function([x], x)
    loose = Native(function([x], x, allow_input_downcast=True), monkeypatch)
    g = Native(f, monkeypatch)
    with change_flags(floatX="float32"):
        assert g(0.1) == np.float32(0.1)
        with pytest.raises(TypeError):
            f(np.float64(0.1))
    with pytest.raises(TypeError):
        f(0.1)
    with change_flags(floatX="float32"), change_flags(floatX="float64"), pytest.raises(TypeError):
        f(0.1)
    assert g(0.5) == 0.5
    assert loose(np.float64(0.1)) == np.float32(0.1)


def test_other_layouts_are_native(monkeypatch: pytest.MonkeyPatch) -> None:
    m, r = T.dmatrix("m"), T.drow("r")
    g = Native(function([m, r], [m * 2 + r, m.T]), monkeypatch)
    base = np.arange(24.0).reshape(4, 6)
    odd = np.empty(base.nbytes + 1, np.uint8)[1:].view(np.float64).reshape(4, 6)
    odd[...] = base
    row = np.arange(12.0)[None, ::2]
    for array in (base[:, ::-1], np.asfortranarray(base), odd, np.broadcast_to(base[:1], (4, 6))):
        count = sys.getrefcount(array)
        doubled, turned = g(array, row)
        np.testing.assert_array_equal(doubled, array * 2 + row)
        np.testing.assert_array_equal(turned, array.T)
        assert sys.getrefcount(array) == count
        assert not np.shares_memory(turned, array)
    with pytest.raises(TypeError, match="Non-unit value"):
        g.f(base[:, ::2], base[::2, :3])
    assert g(base[3:0:-1, 5:], np.ones((1, 1)))[0].shape == (3, 1)
    assert g(base[:0, ::2], row[:, :3])[0].shape == (0, 3)


def test_masked_arrays_are_refused() -> None:
    v = T.dvector("v")
    f = function([v], v.sum())
    masked = np.ma.masked_array(np.arange(4.0), mask=[0, 1, 0, 0])
    s = shared(np.zeros(4))
    for use in (lambda: f(masked), lambda: s.set_value(masked)):
        with pytest.raises(TypeError, match="masked array"):
            use()
    assert f(np.ma.masked_array(np.arange(4.0))) == 6
    assert f(masked.filled(0)) == 5


def test_many_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    xs = [T.dscalar(f"x{k}") for k in range(100)]
    total: Any = xs[0]
    for k, x in enumerate(xs[1:], 1):
        total = total + x * k
    inputs = [In(x, value=float(k)) for k, x in enumerate(xs)]
    g = Native(function(inputs, total), monkeypatch)
    assert g() == sum(k * k for k in range(100))
    assert g(x3=0.0, x99=1) == sum(k * k for k in range(99)) - 9 + 99
    assert g(*range(100)) == g()


def test_functions_that_call_python_are_native(monkeypatch: pytest.MonkeyPatch) -> None:
    v = T.dvector("v")
    s = shared(np.ones(3))
    f = function([v], theano.printing.Print("v", attrs=())(v) + s)
    assert Native(f, monkeypatch)(v=np.ones(3)).tolist() == [2, 2, 2]
