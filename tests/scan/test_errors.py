"""Bad input to scan: Theano's kinds of exceptions, before anything is overwritten."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scan.checks import MODES, compiled

import ltensor as theano
import ltensor.tensor as T
from ltensor.errors import DisconnectedInputError, MissingInputError
from ltensor.scan_module import until

x, y = T.dvectors("x", "y")
f32 = T.fvector("f32")
s, w = T.dscalars("s", "w")
m = T.dmatrix("m")
n = T.iscalar("n")
X = np.array([0.3, -0.7, 1.1, 0.4])

both_modes = pytest.mark.parametrize("mode", MODES, ids=["none", "fast_run"])


# ----------------------------------------------------------------------------- types of states


def test_dtype_of_a_state_changes() -> None:
    with pytest.raises(ValueError, match=r"argument number 1\) has dtype float32, while") as caught:
        theano.scan(lambda a, h: h + a, sequences=x, outputs_info=T.constant(0.0))
    assert "float64" in str(caught.value)
    assert "upcast or downcast" in str(caught.value)


def test_taps_of_an_output() -> None:
    for taps in ([0], [-1, 1], [-2, 0]):
        with pytest.raises(ValueError, match="tap"):
            theano.scan(lambda *h: h[0], outputs_info=[{"initial": x, "taps": taps}], n_steps=3)


def test_arguments_that_the_step_does_not_use_are_used() -> None:
    unused = T.dmatrix("unused")
    rows, _ = theano.scan(lambda a, b: a * 2, sequences=x, non_sequences=unused)
    f = theano.function([x, unused], rows)
    np.testing.assert_array_equal(f([1.0, 2.0], np.zeros((1, 1))), [2.0, 4.0])
    with pytest.raises(DisconnectedInputError):
        theano.grad(rows.sum(), unused)


def dtype_error(step: Any, **options: Any) -> str:
    """What is said about a state that changes its dtype: Theano's ValueError, and a TypeError."""
    with pytest.raises(TypeError, match="has dtype") as caught:
        theano.scan(step, **options)
    assert isinstance(caught.value, ValueError)
    assert type(caught.value).__name__ == "ValueError"
    return caught.value.__notes__[0]


def test_one_step_may_change_the_dtype() -> None:
    """Nothing is fed back, and Theano does not look either."""
    rows, _ = theano.scan(lambda h: h + T.constant(0.5), outputs_info=np.int8(3), n_steps=1)
    assert rows.dtype == "float32"
    np.testing.assert_array_equal(rows.eval(), [3.5])


def test_dtype_error_tells_state_node_line_and_cure() -> None:
    state = T.fscalar("state")

    def step(a: Any, h: Any) -> Any:
        small = T.tanh(h) + 1
        large = small * a
        return T.exp(large)

    text = dtype_error(step, sequences=x, outputs_info=state, n_steps=3)
    assert "State state (outputs_info[0]) is float32, but the step makes it float64" in text
    assert "Elemwise{mul,no_inplace}" in text
    assert "large = small * a" in text
    assert "exp" not in text
    assert "give the initial state dtype float64, or cast x[t] to float32" in text


def test_dtype_error_of_a_state_without_a_name_by_a_constant() -> None:
    text = dtype_error(
        lambda h, k: [h * np.float64(2.5), k], outputs_info=[np.float32(1), np.int64(0)], n_steps=9
    )
    assert "State outputs_info[0] is float32" in text
    assert "cast the constant 2.5 to float32" in text
    text = dtype_error(
        lambda h, k: [h, T.gt(k, 3)], outputs_info=[np.float32(1), np.int64(0)], n_steps=9
    )
    assert "State outputs_info[1] is int64, but the step makes it bool" in text
    assert "cast the result to int64" in text


def test_dtype_error_of_a_step_that_forgets_the_state() -> None:
    text = dtype_error(lambda a, h: a, sequences=x, outputs_info=np.float32(0))
    assert "The step returns x[t], which is float64" in text


@pytest.mark.parametrize(
    ("start", "step"),
    [
        (np.float32(0), lambda a, h: h + a),
        (np.int64(0), lambda a, h: h + a),
        (np.float64(0), lambda a, h: T.cast(h + a, "float32")),
        (np.int64(0), lambda a, h: T.gt(h, 3)),
    ],
    ids=["float32", "int64", "downcast", "bool"],
)
def test_dtypes_that_do_not_fit(start: Any, step: Any) -> None:
    with pytest.raises(ValueError, match="dtype"):
        theano.scan(step, sequences=x, outputs_info=start)


def test_rank_of_a_state_changes() -> None:
    with pytest.raises(ValueError, match=r"has 2 dimension\(s\), while .* 0 dimension\(s\)"):
        theano.scan(lambda h: h.sum(), outputs_info=x, n_steps=3)
    with pytest.raises(ValueError, match=r"1 dimension\(s\), while .* 1 dimension\(s\)"):
        theano.scan(lambda a, h: h + y, sequences=x, outputs_info=s)


def test_argument_number_counts_sequences_and_taps() -> None:
    with pytest.raises(ValueError, match=r"argument number 4\) has dtype float32"):
        theano.scan(
            lambda a, b, p, q, h: [p + q, h * a],
            sequences=dict(input=x, taps=[0, 1]),
            outputs_info=[dict(initial=y, taps=[-2, -1]), T.fscalar()],
        )


@both_modes
def test_shape_of_a_state_changes(mode: Any) -> None:
    def step(i: Any, h: Any) -> Any:
        longer = T.concatenate([h, h])
        return longer[: i + 2]

    rows, _ = theano.scan(step, sequences=T.arange(n), outputs_info=x)
    f = compiled([x, n], rows, mode)
    assert f(X[:2], 1).shape == (1, 2)
    with pytest.raises(
        ValueError, match=r"in step 1 .*shape \(3,\), the state has \(2,\)"
    ) as caught:
        f(X[:2], 3)
    assert "state 0 (x)" in str(caught.value)
    assert "return longer[: i + 2]" in str(caught.value)


@both_modes
def test_shape_of_an_initial_state_is_not_stretched(mode: Any) -> None:
    rows, _ = theano.scan(lambda a, h: h + a, sequences=m, outputs_info=T.zeros((1,)))
    f = compiled([m], rows, mode)
    assert f(np.ones((2, 1))).shape == (2, 1)
    with pytest.raises(
        ValueError, match=r"in step 0 .*shape \(3,\), the state has \(1,\)"
    ) as caught:
        f(np.ones((2, 3)))
    assert "Fix: the initial state is not stretched" in str(caught.value)


@both_modes
def test_shape_of_a_state_changes_at_once(mode: Any) -> None:
    rows, _ = theano.scan(lambda h: T.dot(m, h), outputs_info=x, n_steps=n)
    f = compiled([m, x, n], rows, mode)
    with pytest.raises(ValueError, match="shape") as caught:
        f(np.ones((3, 4)), X, 2)
    assert "(3,)" in str(caught.value)
    assert "(4,)" in str(caught.value)
    assert f(np.ones((4, 4)), X, 2).shape == (2, 4)


@both_modes
def test_shapes_inside_a_step_do_not_fit(mode: Any) -> None:
    rows, _ = theano.scan(lambda row, h: T.tanh(h + row), sequences=m, outputs_info=x)
    f = compiled([m, x], rows, mode)
    with pytest.raises(ValueError, match=r"mis-match|shape"):
        f(np.ones((3, 5)), X)


# ----------------------------------------------------------------------------- initial rows


@both_modes
@pytest.mark.parametrize("rows", [0, 1, 2])
def test_too_few_initial_rows(rows: int, mode: Any) -> None:
    result, _ = theano.scan(
        lambda p, q: p + q, outputs_info=dict(initial=x, taps=[-3, -1]), n_steps=n
    )
    f = compiled([x, n], result, mode)
    with pytest.raises(ValueError, match=rf"output 0 \(x\) has {rows} rows but its taps need 3"):
        f(X[:rows], 2)


def test_taps_of_an_initial_state_without_rows() -> None:
    with pytest.raises((IndexError, ValueError)):
        theano.scan(lambda p, q: p + q, outputs_info=dict(initial=s, taps=[-2, -1]), n_steps=2)


@pytest.mark.parametrize("taps", [[0], [1], [-1, 0], [-2, 3]], ids=str)
def test_taps_that_are_not_negative(taps: list[int]) -> None:
    with pytest.raises(ValueError, match="All the tap values must be smaller than 0"):
        theano.scan(lambda *v: v[0], outputs_info=dict(initial=x, taps=taps), n_steps=2)


def test_taps_without_an_initial_state() -> None:
    with pytest.raises(ValueError, match="need to provide a initial state"):
        theano.scan(lambda *v: v[0], outputs_info=dict(taps=[-2]), n_steps=2)


def test_taps_of_an_output_as_a_number() -> None:
    with pytest.raises(TypeError):
        theano.scan(lambda p: p, outputs_info=dict(initial=x, taps=-1), n_steps=2)


# ----------------------------------------------------------------------------- steps


@both_modes
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_negative_number_of_steps(dtype: str, mode: Any) -> None:
    k = T.scalar("k", dtype=dtype)
    rows, _ = theano.scan(lambda h: h + 1, outputs_info=s, n_steps=k)
    for result in (rows, rows[-1]):
        f = compiled([s, k], result, mode)
        with pytest.raises(
            IndexError, match="Scan was asked to run for negative number of step -2"
        ):
            f(0.0, np.array(-2, dtype))


def test_constant_negative_number_of_steps() -> None:
    with pytest.raises((ValueError, IndexError), match="-2"):
        theano.scan(lambda a: a, sequences=x, n_steps=-2)


@both_modes
def test_constant_negative_number_as_a_variable(mode: Any) -> None:
    def run() -> None:
        rows, _ = theano.scan(lambda h: h + 1, outputs_info=s, n_steps=T.constant(-3))
        compiled([s], rows, mode)(0.0)

    with pytest.raises(IndexError, match="negative number of step -3"):
        run()


@both_modes
def test_sequence_shorter_than_its_taps(mode: Any) -> None:
    """Five rows are needed for one step; with three there are -1 steps."""
    rows, _ = theano.scan(lambda a, b: a + b, sequences=dict(input=x, taps=[-4, 0]))
    f = compiled([x], rows, mode)
    assert f(X).shape == (0,)
    with pytest.raises(IndexError, match="negative number of step -1"):
        f(X[:3])


def test_no_information_on_steps() -> None:
    with pytest.raises(ValueError, match="No information about the number of steps provided"):
        theano.scan(lambda h: h + 1, outputs_info=s)
    with pytest.raises(ValueError, match="No information about the number of steps provided"):
        theano.scan(lambda h: (h + 1, until(h > 3)), sequences=[], outputs_info=s)


def test_number_of_steps_of_another_kind() -> None:
    with pytest.raises(ValueError, match=r"n_steps must be an int. dtype provided is float64"):
        theano.scan(lambda h: h + 1, outputs_info=s, n_steps=T.dscalar())
    with pytest.raises((ValueError, TypeError)):
        theano.scan(lambda h: h + 1, outputs_info=s, n_steps=2.5)
    with pytest.raises((ValueError, TypeError)):
        theano.scan(lambda h: h + 1, outputs_info=s, n_steps="three")


# ----------------------------------------------------------------------------- sequences


def test_sequences_of_another_kind() -> None:
    with pytest.raises(AttributeError):
        theano.scan(lambda a: a, sequences=[[1.0, 2.0, 3.0]])
    with pytest.raises(IndexError):
        theano.scan(lambda a: a, sequences=s)
    with pytest.raises(ValueError, match="input"):
        theano.scan(lambda a: a, sequences=dict(taps=[0]))


def test_arrays_are_sequences() -> None:
    rows, _ = theano.scan(lambda a: a * 2, sequences=X)
    np.testing.assert_array_equal(compiled([], rows)(), X * 2)


# ----------------------------------------------------------------------------- what fn returns


@pytest.mark.parametrize("returned", [1, 1.5, np.float64(2), None, "text", [1.0], [None]], ids=repr)
def test_returns_no_variables(returned: Any) -> None:
    with pytest.raises(ValueError, match="may only be made of lists, tuples, or dictionaries"):
        theano.scan(lambda a: returned, sequences=x)


@pytest.mark.parametrize("order", ["until-first", "updates-first", "until-then-updates"])
def test_returns_parts_in_another_order(order: str) -> None:
    counter = theano.shared(0.0)

    def step(a: Any) -> Any:
        updates, stop = {counter: counter + 1}, until(a > 3)
        return {
            "until-first": (stop, a),
            "updates-first": (updates, [a]),
            "until-then-updates": ([a], stop, updates),
        }[order]

    with pytest.raises(ValueError, match="return value of the lambda function has been restricted"):
        theano.scan(step, sequences=x)


def test_returns_more_than_outputs_info_tells() -> None:
    with pytest.raises(ValueError, match="Please provide None as outputs_info for any output"):
        theano.scan(lambda a, h: [h + a, h], sequences=x, outputs_info=[s])


def test_condition_that_is_no_scalar_expression() -> None:
    with pytest.raises(Exception, match=r"."):
        theano.scan(lambda a: (a, until(True)), sequences=x)
    with pytest.raises(TypeError):
        theano.scan(lambda a: (a, until(y > 3)), sequences=x)


def test_wrong_number_of_arguments() -> None:
    with pytest.raises(TypeError):
        theano.scan(lambda a, b: a + b, sequences=x)


def test_update_of_another_dtype() -> None:
    whole = theano.shared(np.int64(0))

    def build() -> None:
        rows, updates = theano.scan(lambda a: (a, {whole: whole + a}), sequences=x)
        theano.function([x], rows, updates=updates)

    with pytest.raises(TypeError, match="An update must have the same type"):
        build()


def test_update_of_something_that_is_not_shared() -> None:
    with pytest.raises((TypeError, ValueError)):
        theano.scan(lambda a: (a, {s: s + a}), sequences=x)


# ----------------------------------------------------------------------------- strict


def test_strict_names_the_captured_variable() -> None:
    weight = theano.shared(np.float64(2), name="weight")
    with pytest.raises(MissingInputError, match="ScanOp is missing an input: weight"):
        theano.scan(lambda a: a * weight, sequences=x, strict=True)


def test_strict_inside_a_loop() -> None:
    one, two = (theano.shared(np.float64(2), name=name) for name in ("one", "two"))

    def outer(a: Any) -> Any:
        return theano.scan(
            lambda b, k: a * b * k * two, sequences=x, non_sequences=[one], strict=True
        )[0]

    with pytest.raises(MissingInputError, match="ScanOp is missing an input: two"):
        theano.scan(outer, sequences=x)


def test_strict_counts_updates_of_the_step() -> None:
    counter = theano.shared(np.float64(0), name="counter")
    rows, updates = theano.scan(
        lambda a, c: (a * c, {counter: c + 1}),
        sequences=x, non_sequences=[counter], strict=True,
    )  # fmt: skip
    f = theano.function([x], rows, updates=updates)
    np.testing.assert_allclose(f(X), X * np.arange(4))
    assert counter.get_value() == 4


def test_strict_wants_a_list() -> None:
    with pytest.raises(ValueError, match="length not known"):
        theano.scan(lambda a, v: a * v.sum(), sequences=x, non_sequences=y, strict=True)
    weight = theano.shared(np.float64(2), name="weight")
    with pytest.raises(TypeError, match="TensorType does not support iteration"):
        theano.scan(lambda a, k: a * k, sequences=x, non_sequences=weight, strict=True)


# ----------------------------------------------------------------------------- what stays


@both_modes
@pytest.mark.parametrize("kind", ["index", "shape", "division", "steps", "rows"])
def test_failed_calls_leave_shared_variables_alone(kind: str, mode: Any) -> None:
    counter = theano.shared(np.float64(1), name="counter")
    array = theano.shared(np.arange(3.0), name="array")
    k = T.lscalar("k")

    def step(i: Any, h: Any) -> Any:
        new = h + array.sum()
        if kind == "index":
            new = new + array[i]
        elif kind == "shape":
            new = new + (array[: i + 1] + T.arange(i + 1 + T.gt(i, 2))).sum()
        elif kind == "division":
            new = new + (10 // (3 - i))
        return new, {counter: counter + 1, array: array + 1}

    steps = k - 10 if kind == "steps" else k
    info = dict(initial=T.zeros((1,)), taps=[-2]) if kind == "rows" else s
    rows, updates = theano.scan(step, sequences=T.arange(10), outputs_info=info, n_steps=steps)
    other = theano.shared(np.float64(7))
    updates = updates + {other: rows.sum()}
    f = compiled([s, k], rows, mode, updates=updates)
    error = {"index": IndexError, "division": ZeroDivisionError, "steps": IndexError}
    with pytest.raises(error.get(kind, ValueError)):
        f(0.0, 6)
    assert counter.get_value() == 1
    np.testing.assert_array_equal(array.get_value(), np.arange(3.0))
    assert other.get_value() == 7
    if kind in ("index", "shape", "division"):
        f(0.0, 2)
        assert counter.get_value() == 3
        np.testing.assert_array_equal(array.get_value(), np.arange(3.0) + 2)


@both_modes
@pytest.mark.parametrize("kind", ["index", "rows", "steps"])
def test_failed_inner_loops_leave_shared_variables_alone(kind: str, mode: Any) -> None:
    counter = theano.shared(np.float64(1), name="counter")

    def inner(i: Any, h: Any, k: Any) -> Any:
        return (x[i + k] if kind == "index" else h) + h, {counter: counter * 2}

    def outer(k: Any) -> Any:
        info: Any = s
        if kind == "rows":
            info = dict(initial=T.zeros((3 - k,)), taps=[-2])
        rows, updates = theano.scan(
            lambda i, h: inner(i, h, k), sequences=T.arange(2), outputs_info=info,
            n_steps=2 - k if kind == "steps" else None,
        )  # fmt: skip
        return rows[-1], updates

    rows, updates = theano.scan(outer, sequences=T.arange(n))
    f = compiled([x, s, n], rows, mode, updates=updates)
    with pytest.raises(ValueError if kind == "rows" else IndexError):
        f(X, 0.0, 4)
    assert counter.get_value() == 1
    f(X, 0.0, 1)
    assert counter.get_value() == 4


@both_modes
def test_index_errors_tell_the_line_of_the_body(mode: Any) -> None:
    rows, _ = theano.scan(lambda i: x[i], sequences=T.arange(n))
    f = compiled([x, n], rows, mode)
    with pytest.raises(IndexError, match="index 4 is out of bounds for size 4") as caught:
        f(X, 5)
    assert "test_errors.py" in str(caught.value)


@both_modes
def test_after_an_error_a_function_works_as_before(mode: Any) -> None:
    rows, _ = theano.scan(lambda i, h: h + x[i], sequences=T.arange(n), outputs_info=s)
    f = compiled([x, n, s], [rows, theano.grad(rows.sum(), x)], mode)
    good = f(X, 4, 0.0)
    for _ in range(3):
        with pytest.raises(IndexError):
            f(X, 5, 0.0)
    for a, b in zip(f(X, 4, 0.0), good, strict=True):
        np.testing.assert_array_equal(a, b)


@both_modes
def test_wrong_arguments(mode: Any) -> None:
    rows, _ = theano.scan(lambda a, h: h + a, sequences=x, outputs_info=s)
    f = compiled([x, s], rows, mode)
    with pytest.raises(TypeError):
        f(np.zeros((2, 2)), 0.0)
    with pytest.raises(TypeError):
        f(X, "text")
    with pytest.raises(TypeError):
        f(X)


@both_modes
def test_nan_passes_through(mode: Any) -> None:
    rows, _ = theano.scan(lambda a, h: (h + a, until(h + a > 1)), sequences=x, outputs_info=s)
    got = compiled([x, s], rows, mode)(np.array([0.5, np.nan, 9.0]), 0.0)
    np.testing.assert_array_equal(got, [0.5, np.nan, np.nan])


def test_a_sum_of_products_that_do_not_fit_says_so() -> None:
    a, b, g = T.tensor3("a"), T.tensor3("b"), T.dmatrix("g")
    total, _ = theano.scan(lambda a, b, g: g + T.dot(a.T, b), [a, b], outputs_info=g)
    f = theano.function([a, b, g], total[-1])
    with pytest.raises(ValueError, match=r"Shape mismatch: x has 15 cols .* y has 10 rows"):
        f(np.ones((5, 3, 4)), np.ones((5, 2, 6)), np.ones((4, 6)))
