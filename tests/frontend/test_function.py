"""`function`, its inputs, outputs and updates: Theano 1.0.5's rules (SEMANTICS sections 1.4, 2)."""

from __future__ import annotations

import copy
import io
import os
import pickle
from typing import Any

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T
from ltensor import In, Out, Param, function, shared
from ltensor.config import change_flags
from ltensor.errors import MissingInputError, UnsupportedError, UnusedInputError

# ------------------------------------------------------------------------------- outputs


def test_kinds_of_output() -> None:
    x = T.dscalar("x")
    value = function([x], x + 1)(1.0)
    assert isinstance(value, np.ndarray)
    assert value.shape == ()
    assert value == 2
    assert function([x], [x + 1])(1.0) == [2.0]
    assert isinstance(function([x], (x + 1,))(1.0), list)
    named = function([x], {"b": x + 1, "a": x})(1.0)
    assert named == {"a": 1.0, "b": 2.0}
    for nothing in (None, [], ()):
        assert function([x], nothing, on_unused_input="ignore")(1.0) == []
    assert function([x], Out(x + 1, borrow=True))(1.0) == 2
    assert function([x], [x, x + 1, x + 2])(1.0, output_subset=[0, 2]) == [1.0, 3.0]
    with pytest.raises(AssertionError, match="outputs dict keys must be strings"):
        function([x], {1: x})


def test_outputs_are_fresh_memory() -> None:
    v = T.dvector("v")
    state = shared(np.ones(3))
    constant = T.constant(np.ones(3))
    f = function([v], [v, v, state, constant, v + 0])
    given = np.ones(3)
    first = f(given)
    for array in first:
        assert not np.shares_memory(array, given)
        array[:] = 9.0
    assert not np.shares_memory(first[0], first[1])
    assert all((array == 1).all() for array in f(given))
    assert (state.get_value() == 1).all()


def test_name_is_file_and_line_of_the_call() -> None:
    x = T.dscalar("x")
    name = function([x], x + 1).name
    file, line = name.split(":")
    assert file == os.path.basename(__file__)
    assert int(line) > 1
    assert function([x], x + 1, name="mine").name == "mine"


def test_outputs_must_be_variables() -> None:
    x = T.dscalar("x")
    message = "Outputs must be theano Variable or Out instances. Received 3 of type <class 'int'>"
    with pytest.raises(TypeError, match=message):
        function([x], 3)
    with pytest.raises(TypeError, match="Outputs must be theano Variable"):
        function([x], [x, [x]])


# ------------------------------------------------------------------------------- updates


def test_updates_see_old_values_and_outputs_come_first() -> None:
    a, b = shared(1.0, "a"), shared(2.0, "b")
    swap = function([], [a, b], updates=[(a, b), (b, a)])
    assert swap() == [1.0, 2.0]
    assert (a.get_value(), b.get_value()) == (2.0, 1.0)
    u, v = shared(np.arange(3.0)), shared(np.zeros(2))
    arrays = function([], u.sum(), updates={u: v, v: u})
    arrays()
    assert u.get_value().tolist() == [0, 0]
    assert v.get_value().tolist() == [0, 1, 2]


def test_updates_from_views_of_other_shared_variables() -> None:
    x = T.dvector("x")
    flat, square = shared(np.arange(6.0)), shared(np.zeros((2, 3)))
    f = function([x], [], updates=[(flat, x * 2), (square, flat.reshape((2, 3)))])
    f(np.ones(3))
    assert flat.get_value().tolist() == [2, 2, 2]
    assert square.get_value().tolist() == [[0, 1, 2], [3, 4, 5]]
    part = function([], [], updates=[(flat, flat * 0), (square, T.stack([flat[1:], flat[:-1]]))])
    part()
    assert square.get_value().tolist() == [[2, 2], [2, 2]]
    turned = function([], [], updates=[(square, square.T + 1), (flat, square.flatten())])
    turned()
    assert flat.get_value().tolist() == [2, 2, 2, 2]


def test_an_argument_may_be_the_borrowed_value_of_an_updated_variable() -> None:
    x = T.dvector("x")
    a, b = shared(np.ones(2)), shared(np.zeros(2))
    f = function([x], [], updates=[(a, a * 0 + 3), (b, x)])
    f(a.get_value(borrow=True))
    assert a.get_value().tolist() == [3, 3]
    assert b.get_value().tolist() == [1, 1]
    identity = function([x], [], updates=[(a, x)])
    identity(a.get_value(borrow=True))
    assert a.get_value().tolist() == [3, 3]


def test_update_values() -> None:
    s, t = shared(1.0, "s"), shared(np.float32(1), "t")
    function([], [], updates={s: 3.5})()
    assert s.get_value() == 3.5
    with pytest.raises(TypeError) as caught:
        function([], [], updates={t: s + 1})
    assert caught.value.args[:2] == (
        "An update must have the same type as the original shared variable (shared_var=t, "
        "shared_var.type=TensorType(float32, scalar), update_val=Elemwise{add,no_inplace}.0, "
        "update_val.type=TensorType(float64, scalar)).",
        "If the difference is related to the broadcast pattern, you can call the "
        "tensor.unbroadcast(var, axis_to_unbroadcast[, ...]) function to remove broadcastable "
        "dimensions.",
    )
    assert "updates={t: s + 1}" in caught.value.args[2]  # where it was made
    m = shared(np.ones((2, 2)))
    function([], [], updates={m: T.constant(np.zeros((1, 2)))})()
    assert m.get_value().shape == (1, 2)
    x = T.dscalar("x")
    for updates, error in [
        ({s: T.constant(3)}, TypeError),
        ({s: "a"}, TypeError),
        ({s: T.dvector()}, TypeError),
        ([(x, x)], TypeError),
        ([(s,)], ValueError),
        (5, ValueError),
        ([(s, s), (s, s + 1)], ValueError),
    ]:
        with pytest.raises(error):
            function([], [], updates=updates)


def test_default_updates() -> None:
    s = shared(0)
    s.default_update = s + 1
    f = function([], s)
    assert [int(f()) for _ in range(3)] == [0, 1, 2]
    assert function([], s, no_default_updates=True)() == 3
    assert function([], s, no_default_updates=[s])() == 3
    assert function([], s, updates=[(s, s + 10)])() == 3
    assert s.get_value() == 13
    with pytest.raises(TypeError, match="no_default_update"):
        function([], s, no_default_updates=3)


# ------------------------------------------------------------------------------- givens


def test_givens() -> None:
    x, y = T.dscalars("x", "y")
    s = shared(np.ones(3))
    assert function([], s * 2, givens={s: np.arange(3.0)})().tolist() == [0, 2, 4]
    assert function([x], y + 1, givens=[(y, x * 2)])(3.0) == 7
    f = T.fmatrix()
    assert function([], f + 1, givens={f: T.ones((2, 2))})().dtype == np.float32
    scalar = shared(1.0)
    with pytest.raises(TypeError, match="Cannot convert Type TensorType\\(float32, scalar\\)"):
        function([], scalar + 1, givens={scalar: T.constant(np.float32(10))})
    with pytest.raises(RuntimeError, match="trying to replace variable 'x'"):
        function([x], x + 1, givens={x: y})
    with pytest.raises(TypeError):
        function([x], y + 1, givens={3: x})


def test_replacements_of_other_sizes() -> None:
    """What is known of the sizes of a replaced variable does not hold for the new one."""
    fixed, m = T.zeros((3, 4)), T.dmatrix("m")
    total = (T.exp(fixed) * 2).sum(axis=0) + 1
    other = theano.clone(total, replace={fixed: m})
    value, shape = function([m], [other, other.shape])(np.zeros((5, 2)))
    assert value.tolist() == [11, 11]
    assert shape.tolist() == [2]
    assert function([m], total, givens={fixed: m})(np.zeros((5, 2))).tolist() == [11, 11]


# ------------------------------------------------------------------------------- In, keywords


def test_in_with_value_update_and_name() -> None:
    x, y = T.dscalars("x", "y")
    assert function([In(x, value=3.0), In(y, value=4.0, name="z")], x + y)(z=5.0) == 8
    f = function([In(x, value=3.0, update=x + 1), y], x * y)
    assert [float(f(y=2.0)) for _ in range(2)] == [6, 8]
    assert f["x"] == 5
    assert f[x] == 5
    f["x"] = 10.0
    assert f(y=1.0) == 10
    assert f(100.0, 1.0) == 100
    assert f(y=1.0) == 101
    assert function([x, Param(y, default=5.0)], x + y)(1.0) == 6
    twin = f.copy()
    assert twin["x"] == f["x"] == 102
    twin(y=1.0)
    assert (twin["x"], f["x"]) == (103, 102)


def test_strict_inputs_are_not_converted() -> None:
    v = T.dvector("v")
    f = function([In(v, strict=True)], v + 1)
    assert f(np.ones(1)) == 2
    for bad in (np.ones(1, np.float32), [1.0], 1.0):
        with pytest.raises(TypeError):
            f(bad)


def test_keyword_arguments() -> None:
    x, y = T.dscalars("x", "y")
    f = function([x, y], x - y)
    assert f(y=1.0, x=5.0) == 4
    assert f(1.0, y=2.0) == -1
    for call, message in [
        (lambda: f(1.0), "Missing required input: y"),
        (lambda: f(1.0, 2.0, 3.0), "Too many parameter passed to theano function"),
        (
            lambda: f(1.0, z=3.0),
            "Unknown input or state: z. The function has 2 named inputs (x, y).",
        ),
        (lambda: f(1.0, x=3.0), "Multiple values for input: x"),
    ]:
        with pytest.raises(TypeError) as caught:
            call()
        assert str(caught.value) == message
    u = T.dscalar()
    with pytest.raises(TypeError, match="Missing required input"):
        function([u], u + 1)()
    twins = T.dscalar("n"), T.dscalar("n")
    with pytest.raises(TypeError, match="Ambiguous name: n"):
        function(list(twins), twins[0] + twins[1])(n=1.0)


# ------------------------------------------------------------------------------- bad requests


def test_unused_inputs() -> None:
    x, v = T.dscalar("x"), T.dvector("v")
    with pytest.raises(UnusedInputError) as caught:
        function([x, v], x)
    assert str(caught.value) == (
        "theano.function was asked to create a function computing outputs given certain inputs, "
        "but the provided input variable at index 1 is not part of the computational graph needed "
        "to compute the outputs: v.\nTo make this error into a warning, you can pass the parameter "
        "on_unused_input='warn' to theano.function. To disable it completely, use "
        "on_unused_input='ignore'."
    )
    with pytest.warns(UserWarning, match="at index 1 is not part"):
        assert function([x, v], x, on_unused_input="warn")(1.0, [1.0]) == 1
    assert function([x, v], x, on_unused_input="ignore")(1.0, [1.0]) == 1
    with change_flags(on_unused_input="ignore"):
        function([x, v], x)
    with pytest.raises(ValueError, match="on_unused_input"):
        function([x, v], x, on_unused_input="nonsense")


def test_duplicated_and_missing_inputs() -> None:
    x = T.dscalar("x")
    with pytest.raises(UnusedInputError) as caught:
        function([x, x], x)
    assert str(caught.value).startswith(
        "Variable x is used twice in inputs to theano.function, at indices 0 and 1."
    )
    with pytest.raises(MissingInputError) as missing:
        function([], x + 1)
    assert str(missing.value).startswith(
        "Input 0 of the graph (indices start from 0), used to compute "
        "Elemwise{add,no_inplace}(x, TensorConstant{1}), was not provided and not given a value. "
        "Use the Theano flag exception_verbosity='high', for more information on this error."
    )
    assert os.path.basename(__file__) in str(missing.value)
    with pytest.raises(MissingInputError):
        function([], x)


def test_inputs_must_be_variables() -> None:
    x, s = T.dscalar("x"), shared(1.0, "s")
    with pytest.raises(
        Exception, match="should be contained in a list, even when there is a single"
    ):
        function(x, x)
    for bad in (3, "x", None, [x]):
        with pytest.raises(TypeError, match="Unknown parameter type"):
            function([bad], x)
    with pytest.raises(TypeError, match="Cannot use a shared variable \\(s\\) as explicit input"):
        function([s], s)
    with pytest.raises(TypeError, match="Constants not allowed"):
        function([T.constant(1.0)], x)


def test_inputs_as_tuples() -> None:
    """The oldest way to give values, names and updates."""
    x, y, total = T.dscalar("x"), T.dscalar("y"), T.dscalar("total")
    f = function([x, ("second", y, 2.0), ((total, total + x + y), 10.0)], x + y)
    assert f(1.0) == 3
    assert f["total"] == 13
    assert f(1.0, second=4.0) == 5
    assert f[total] == 18
    f["total"] = 0.5
    f(1.0, 1.0)
    assert f["total"] == 2.5
    g = function([("first", x), (y, 3.0)], x - y)
    assert g(first=1.0) == -2
    for bad in ((x, y), (x, 1.0, 2.0), ("x", 1.0), ((x, y, x), 1.0), ((x, 1.0), 2.0), (), ("x",)):
        with pytest.raises(TypeError, match="Unknown parameter type"):
            function([bad, y], x)


def test_an_input_may_be_computed_from_others() -> None:
    x, y = T.dscalars("x", "y")
    z = x * y
    assert function([z], z + 1)(2.0) == 3
    assert function([z, x], z + x)(2.0, 3.0) == 5


# ------------------------------------------------------------------------------- modes, copies


@pytest.mark.parametrize(
    "mode", ["FAST_RUN", "FAST_COMPILE", "DebugMode", "DEBUG_MODE", "NanGuardMode", None]
)
def test_modes(mode: Any) -> None:
    x = T.dscalar("x")
    assert function([x], x + 1, mode=mode)(1.0) == 2


def test_mode_objects_and_unknown_modes() -> None:
    x = T.dscalar("x")
    assert function([x], x + 1, mode=theano.Mode(optimizer=None, linker="py"))(1.0) == 2
    with pytest.raises(Exception, match="No predefined mode exist for string: bogus"):
        function([x], x + 1, mode="bogus")


def test_profile() -> None:
    x = T.dscalar("x")
    f = function([x], x + 1, profile=True)
    assert f(1.0) == 2
    text = io.StringIO()
    f.profile.summary(file=text)
    assert "Time in" in text.getvalue()


def test_copy_swaps_shared_variables_and_drops_updates() -> None:
    x, s, t = T.dscalar("x"), shared(3.0, "s"), shared(100.0, "t")
    f = function([x], s + x, updates=[(s, s + x)])
    f.copy()(1.0)
    assert s.get_value() == 4
    other = f.copy(swap={s: t})
    assert other(1.0) == 101
    assert t.get_value() == 101
    assert s.get_value() == 4
    still = f.copy(delete_updates=True)
    assert still(1.0) == still(1.0) == 5
    with pytest.raises(ValueError, match="SharedVariable not found"):
        f.copy(swap={t: s})
    with pytest.raises(ValueError, match="Type mismatch"):
        f.copy(swap={s: shared(np.ones(2))})


def test_pickled_and_deep_copied_functions_have_state_of_their_own() -> None:
    x, s = T.dscalar("x"), shared(3.0, "s")
    f = function([x], s + x, updates=[(s, s + x)])
    for twin in (pickle.loads(pickle.dumps(f)), copy.deepcopy(f)):
        before = float(s.get_value())
        assert [float(twin(1.0)) for _ in range(2)] == [before + 1, before + 2]
        assert s.get_value() == before
    y = T.dscalar("y")
    g = function([In(x, value=3.0, update=x + 1), y], x * y)
    g(y=1.0)
    twin = pickle.loads(pickle.dumps(g))
    assert twin["x"] == 4
    assert twin(y=2.0) == 8
    assert g["x"] == 4


@pytest.mark.parametrize("first", ["variable", "function"])
def test_a_deep_copied_model_updates_its_own_parameters(first: str) -> None:
    """The copy of an object that has a function and the variables that it updates."""
    x, s = T.dscalar("x"), shared(3.0, "s")
    f = function([x], s + x, updates=[(s, s + x)])
    model = (
        {"variable": s, "function": f} if first == "variable" else {"function": f, "variable": s}
    )
    model["again"] = function([], s * 2)
    twin = copy.deepcopy(model)
    assert twin["function"](1.0) == 4
    assert twin["variable"].get_value() == 4
    assert twin["again"]() == 8
    assert s.get_value() == 3
    twin["variable"].set_value(10.0)
    assert twin["function"](1.0) == 11
    assert twin["function"].get_shared() == [twin["variable"]]


@pytest.mark.parametrize("first", ["owner", "reader"])
def test_deep_copies_of_functions_go_on_sharing_a_container(first: str) -> None:
    a, x = T.dscalars("a", "x")
    h = function([In(a, value=0.0)], a)
    f = function([x, In(a, value=h.container[a], implicit=True)], x + a)
    order = {"a": a, "h": h, "f": f} if first == "owner" else {"a": a, "f": f, "h": h}
    a2, h2, f2 = map(copy.deepcopy(order).get, "ahf")
    h[a] = 1
    h2[a2] = 2
    assert (f[a], f2[a2]) == (1, 2)
    assert (f(1.0), f2(1.0)) == (2, 3)


# ------------------------------------------------------------------------------- shared variables


@pytest.mark.parametrize(
    ("value", "dtype", "ndim"),
    [
        (0, "int64", 0),
        (1.5, "float64", 0),
        (True, "bool", 0),
        (3j, "complex128", 0),
        (np.int8(1), "int8", 0),
        (np.float32(1), "float32", 0),
        (np.ones((2, 1), np.float32), "float32", 2),
    ],
)
@pytest.mark.parametrize("floatx", ["float32", "float64"])
def test_type_of_a_shared_variable(value: Any, dtype: str, ndim: int, floatx: str) -> None:
    with change_flags(floatX=floatx):
        s = shared(value)
    assert s.type == T.TensorType(dtype, [False] * ndim)
    assert isinstance(s.get_value(), np.ndarray)
    assert s.get_value().dtype == dtype
    function([], [], updates=[(s, s)])()


@pytest.mark.parametrize("value", [[1, 2], (1, 2), "text", None])
def test_other_objects_are_generic(value: Any) -> None:
    s = shared(value)
    assert not isinstance(s.type, T.TensorType)
    assert s.get_value() == value


def test_values_are_copied_unless_borrowed() -> None:
    array = np.ones(2)
    s = shared(array)
    array[0] = 5
    assert s.get_value()[0] == 1
    assert s.get_value() is not s.get_value()
    borrowed = shared(array, borrow=True)
    assert borrowed.get_value(borrow=True) is array
    borrowed.set_value(np.zeros(3), borrow=True)
    assert borrowed.get_value().shape == (3,)


def test_set_value_keeps_rank_and_dtype() -> None:
    s = shared(np.ones(2))
    s.set_value(np.ones(7))
    with pytest.raises(TypeError) as caught:
        s.set_value(np.ones((2, 2)))
    assert caught.value.args == (
        "Wrong number of dimensions: expected 1, got 2 with shape (2, 2).",
        'Container name "None"',
    )
    t = shared(np.float32(1))
    with pytest.raises(TypeError):
        t.set_value(0.1)
    assert t.get_value() == 1
    loose = shared(np.float32(1), allow_downcast=True)
    loose.set_value(0.1)
    assert loose.get_value() == np.float32(0.1)


def test_text_of_shared_variables() -> None:
    assert str(shared(1.0, name="s")) == "s"
    assert str(shared(1.0)) == "<TensorType(float64, scalar)>"
    assert shared(np.ones((2, 1)), broadcastable=(False, True)).type.broadcastable == (False, True)


@pytest.mark.parametrize("layout", ["T", "neg", "swapped", "readonly", "zero_stride"])
def test_shared_variables_take_arrays_of_any_layout(layout: str) -> None:
    base = np.arange(12.0).reshape(3, 4)
    array = {
        "T": base.T,
        "neg": base[::-1, ::-2],
        "swapped": base.astype(">f8"),
        "readonly": base.copy(),
        "zero_stride": np.broadcast_to(np.arange(4.0), (3, 4)),
    }[layout]
    if layout == "readonly":
        array.flags.writeable = False
    for borrow in (False, True):
        s = shared(array, borrow=borrow)
        f = function([], s * 2, updates=[(s, s + 1)])
        kept = np.array(array, dtype=float)
        np.testing.assert_array_equal(f(), kept * 2)
        np.testing.assert_array_equal(f(), kept * 2 + 2)
        s.set_value(array, borrow=borrow)
        np.testing.assert_array_equal(f().shape, array.shape)


# ------------------------------------------------------------------------------- rarities


def test_default_updates_of_what_givens_read() -> None:
    counter = shared(1.0, "counter")
    counter.default_update = counter + 3
    f = function([], counter + 10, givens={counter: counter + 10})
    assert f() == 21
    assert counter.get_value() == 14  # the update reads what stands in the variable's place
    assert f() == 34
    x = T.dscalar("x")
    g = function([x], counter + 10, givens={counter: x})
    assert g(1.0) == 11
    assert counter.get_value() == 27


def test_default_updates_of_what_givens_replace() -> None:
    counter = shared(1.0)
    counter.default_update = counter + 1
    drawn = counter * 2
    f = function([], drawn + 1, givens={drawn: T.constant(5.0, dtype="float64")})
    assert f() == 6
    assert counter.get_value() == 1


def test_givens_of_another_rank() -> None:
    m = T.imatrix("m")
    x, y = T.ivectors("x", "y")
    with pytest.raises(TypeError, match="Cannot convert"):
        function([m, y], x * y, givens=[(x, m)])
    f = function([m, y], x * y, givens=[(x, m)], rebuild_strict=False)
    np.testing.assert_array_equal(
        f(np.ones((2, 3), "int32"), np.arange(3, dtype="int32")), [[0, 1, 2]] * 2
    )


def test_names_of_inputs_are_strings() -> None:
    with pytest.raises(TypeError, match="must be a string"):
        In(T.dscalar(), name=["x"])  # type: ignore[arg-type]


def test_what_has_no_value_cannot_be_compiled() -> None:
    x = T.dvector("x")
    nothing = theano.gradient.grad_undefined(T.add, 0, x)
    with pytest.raises(TypeError, match="cannot be computed"):
        function([x], nothing, on_unused_input="ignore")


def test_only_tensors_are_arguments_and_results() -> None:
    state = shared(np.random.RandomState(1))
    with pytest.raises(theano.errors.UnsupportedError, match="shared variable"):
        function([], state)
    argument = state.type()
    with pytest.raises(theano.errors.UnsupportedError, match="as an argument"):
        function([argument], T.constant(1), on_unused_input="ignore")


def test_monitor_mode_is_refused_when_it_is_used() -> None:
    """Programs make one at import and leave it."""
    from ltensor.compile_modes import MonitorMode

    mode = MonitorMode(post_func=print)
    x = T.dscalar()
    with pytest.raises(UnsupportedError, match="MonitorMode"):
        function([x], x + 1, mode=mode)


def test_value_of_a_container_is_the_stored_one() -> None:
    """As in Theano: programs write into ``container.value`` in place."""
    state = theano.shared(np.arange(3.0))
    step = theano.function([], state * 1, updates=[(state, state + 1)])
    state.container.value[...] = 5
    assert step().tolist() == [5, 5, 5]
    assert state.container.data.tolist() == [6, 6, 6]
    step[state][1] = 0
    assert step().tolist() == [6, 0, 6]
    state.container.value = [1, 2, 3]
    assert state.get_value().tolist() == [1, 2, 3]
    state.container.storage[0] = np.array([7.0, 8.0])
    state.container.storage[0][1] = 9
    assert step().tolist() == [7, 9]
    assert [v.tolist() for v in state.container.storage] == [[8, 10]]
    with pytest.raises(IndexError):
        state.container.storage[1] = 0
