"""Native entries end to end: what they take, what they leave to the slow path, what they own."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import sys
import threading
import weakref
from typing import Any

import numpy as np
import pytest
from runtime.entry_cores import (
    FAILING_CORE,
    SCALAR,
    SCALAR_CORE,
    VECTOR,
    Compiled,
    add_one,
    add_one_core,
    compiled,
    scalar_core,
)

from ltensor.runtime import layout
from ltensor.runtime.callable import NativeCallable, make_builtin
from ltensor.runtime.entry import (
    RECORD_WORDS,
    FrameLayout,
    InputSpec,
    OutputSpec,
    entry_text,
)

pytestmark = pytest.mark.skipif(not layout.available, reason=layout.probe() or "available")

X = np.arange(4.0)
F64 = OutputSpec("float64", 1)


def is_slow(result: Any) -> bool:
    return isinstance(result, tuple) and result[0] == "slow"


# --- what comes back ----------------------------------------------------------------------------


def test_vector() -> None:
    f = add_one()
    result = f(X)
    assert type(result) is np.ndarray
    assert result.dtype == np.float64
    assert result.flags.owndata
    assert result.flags.writeable
    np.testing.assert_array_equal(result, X + 1)
    assert f(np.zeros(0)).shape == (0,)


def test_no_dimensions() -> None:
    f = compiled(SCALAR_CORE, SCALAR, [OutputSpec("float64", 0)], "value")
    for argument in (np.array(2.5), 2.5, np.float64(2.5)):
        result = f(argument)
        assert type(result) is np.ndarray
        assert result.shape == ()
        assert result == 3.5
    for argument in (2, True, np.float32(2), np.int64(2), np.int32(2)):
        assert f(argument) == argument + 1.0
    for argument in (2**53 + 1, np.int64(2**53 + 1), "2.5", None, np.array([2.5]), np.bool_(1)):
        assert is_slow(f(argument))


def test_python_integers() -> None:
    core = scalar_core("i64", "add i64 %v, 1", np.dtype("int64").num)
    f = compiled(core, [InputSpec("int64", 0)], [OutputSpec("int64", 0)], "value")
    for argument in (41, np.int64(41), np.array(41), np.int32(41)):
        assert f(argument) == 42
        assert f(argument).dtype == np.int64
    assert f(-(2**63)) == -(2**63) + 1
    assert f(True) == 2
    for argument in (2**63, 10**30, -(2**63) - 1, 41.0, np.float64(41), np.uint64(41)):
        assert is_slow(f(argument))


@pytest.mark.parametrize(
    ("dtype", "llvm", "add"),
    [
        ("float32", "float", "fadd float %v, 1.0"),
        ("int8", "i8", "add i8 %v, 1"),
        ("uint16", "i16", "add i16 %v, 1"),
        ("int32", "i32", "add i32 %v, 1"),
        ("uint64", "i64", "add i64 %v, 1"),
        ("bool", "i8", "xor i8 %v, 1"),
    ],
)
def test_scalars_of_other_dtypes(dtype: str, llvm: str, add: str) -> None:
    core = scalar_core(llvm, add, np.dtype(dtype).num)
    f = compiled(core, [InputSpec(dtype, 0)], [OutputSpec(dtype, 0)], "value")
    value = np.dtype(dtype).type(1)
    expected = False if dtype == "bool" else 2
    assert f(value) == expected
    assert f(np.array(value)) == expected
    assert f(value).dtype == dtype
    assert f(True) == expected
    if dtype == "bool":
        assert f(False) == 1
        assert is_slow(f(1))
    else:
        assert f(1) == 2
        assert f(1).dtype == dtype
    assert dtype in ("uint64", "float32") or is_slow(f(2**32))
    assert is_slow(f(2**24 + 1)) or dtype in ("int32", "uint64")
    assert is_slow(f(-1)) or not dtype.startswith("uint")
    if dtype != "float32":
        assert is_slow(f(1.0))
    else:
        for exact in (1.5, np.float64(1.5), -0.0, np.inf, 2.0**-149):
            assert f(exact) == exact + 1
        assert np.isnan(f(np.nan))
        for inexact in (0.1, np.float64(0.1), 1e300, 2.0**-150, 1 + 2.0**-24):
            assert is_slow(f(inexact))


def test_scalars_can_be_refused() -> None:
    inputs = [InputSpec("float64", 0, accept_scalar=False)]
    f = compiled(SCALAR_CORE, inputs, [OutputSpec("float64", 0)], "value")
    assert f(np.array(1.0)) == 2.0
    assert is_slow(f(1.0))


def test_two_outputs_made_in_any_order() -> None:
    f = compiled(add_one_core(5, 3), VECTOR, [F64, F64], "list")
    result = f(X)
    assert type(result) is list
    np.testing.assert_array_equal(result, [X + 2, X + 1])


def test_no_outputs() -> None:
    f = compiled(add_one_core(), VECTOR, [], "none")
    assert f(X) == []
    assert f(X) is not f(X)


def test_unwanted_outputs_are_released() -> None:
    f = compiled(add_one_core(3), VECTOR, [F64], "none")
    assert f(X) == []


def test_no_inputs() -> None:
    core = (
        "define internal i32 @core(ptr %frame) {\n"
        "  %o = call ptr @lt_alloc_output(ptr %frame, i64 1, i32 12, i32 0, ptr null)\n"
        "  store double 7.0, ptr %o\n  ret i32 0\n}"
    )
    f = compiled(core, [], [OutputSpec("float64", 0)], "value")
    assert f() == 7.0
    assert is_slow(f(1))


def test_value_needs_one_output() -> None:
    with pytest.raises(ValueError, match="one output"):
        entry_text("f", VECTOR, [F64, F64], "value")


def test_sizes_reach_the_core() -> None:
    inputs = [InputSpec("int32", 0), InputSpec("float32", 3, (False, True, False))]
    frame = FrameLayout.of(inputs, [F64])
    core = f"""define internal i32 @core(ptr %frame) {{
  %two = alloca [1 x i64]
  store i64 3, ptr %two
  %o = call ptr @lt_alloc_output(ptr %frame, i64 {frame.output_object(0)}, i32 7, i32 1, ptr %two)
  %from = getelementptr i64, ptr %frame, i64 {frame.input_dim(1, 0)}
  %dims = load <3 x i64>, ptr %from, align 8
  store <3 x i64> %dims, ptr %o, align 8
  ret i32 0
}}"""
    f = compiled(core, inputs, [OutputSpec("int64", 1)], "value")
    one = np.array(1, "int32")
    np.testing.assert_array_equal(f(one, np.zeros((4, 1, 6), "float32")), [4, 1, 6])
    np.testing.assert_array_equal(f(np.int32(1), np.zeros((0, 1, 6), "float32")), [0, 1, 6])
    assert is_slow(f(one, np.zeros((4, 2, 6), "float32")))
    assert is_slow(f(one, np.zeros((4, 0, 6), "float32")))


# --- what goes to the slow path -----------------------------------------------------------------


class Sub(np.ndarray):
    pass


@pytest.mark.parametrize(
    "argument",
    [
        X.astype("complex128"),
        X.astype("longdouble"),
        X.astype(object),
        X.astype("M8[s]"),
        X.reshape(2, 2),
        np.array(1.0),
        X.view(Sub),
        np.ma.masked_array(X),
        [1.0, 2.0],
        None,
    ],
    ids=[
        *("complex", "longdouble", "object", "date", "rank2", "rank0"),
        *("subclass", "masked", "list", "none"),
    ],
)
def test_surprises_take_the_slow_path(argument: Any) -> None:
    _, args, kwargs = add_one()(argument)
    assert args[0] is argument
    assert kwargs == {}


@pytest.mark.parametrize(
    "argument",
    [
        X[::2],
        X[::-1],
        np.frombuffer(b"\1" * 33, np.uint8)[1:].view("float64"),
        np.broadcast_to(2.0, 5),
        np.zeros(3, [("a", "i1"), ("b", "f8")])["b"],
        X.astype("float32"),
        X.astype("float32")[::-1],
        X.astype(">f8"),
        X.astype(">f4")[::2],
        X.astype("int16"),
        X.astype("longlong"),
        X.astype("uint64"),
        X.astype(bool),
        X.astype("float16"),
    ],
    ids=[
        *("strided", "reversed", "unaligned", "no_stride", "field", "float32", "both", "swapped"),
        *("swapped32", "int16", "longlong", "uint64", "bool", "float16"),
    ],
)
def test_others_are_copied(argument: np.ndarray) -> None:
    f = add_one()
    count = sys.getrefcount(argument)
    for _ in range(10):
        np.testing.assert_array_equal(f(argument), argument + 1)
    assert sys.getrefcount(argument) == count


def test_arguments_reach_the_slow_path() -> None:
    f = add_one()
    assert f() == ("slow", (), {})
    assert f(1, 2) == ("slow", (1, 2), {})
    assert f(x=3) == ("slow", (), {"x": 3})
    assert f(1, 2, x=3, y=4) == ("slow", (1, 2), {"x": 3, "y": 4})
    assert f(*range(100_000))[1] == tuple(range(100_000))
    assert f(*[X], **{"k": 1})[2] == {"k": 1}
    assert f.__call__(1) == ("slow", (1,), {})


def test_slow_path_may_raise() -> None:
    class Raising(Compiled):
        def _call_slow(self, *args: Any, **kwargs: Any) -> Any:
            raise KeyError("slow")

    with pytest.raises(KeyError, match="slow"):
        add_one(Raising)(1)


def test_unpickled_and_readonly_arrays_are_native() -> None:
    f = add_one()
    unpickled = pickle.loads(pickle.dumps(X))
    frozen = X.copy()
    frozen.flags.writeable = False
    for argument in (unpickled, frozen, X[1:3], X.reshape(2, 2)[0]):
        np.testing.assert_array_equal(f(argument), argument + 1)


# --- errors -------------------------------------------------------------------------------------


def test_error_record_and_arguments_reach_the_handler() -> None:
    f = compiled(FAILING_CORE, VECTOR, [F64], "value")
    with pytest.raises(ValueError, match="77") as caught:
        f(X)
    record, args = caught.value.args
    assert record == (77, -5) + (0,) * (RECORD_WORDS - 2)
    assert args[0] is X


def test_return_code_stands_in_for_an_empty_record() -> None:
    core = "define internal i32 @core(ptr %frame) {\n  ret i32 -3\n}"
    with pytest.raises(ValueError, match="-3") as caught:
        compiled(core, VECTOR, [F64], "list")(X)
    assert caught.value.args[0][0] == -3


def test_a_handler_may_give_the_result() -> None:
    class Forgiving(Compiled):
        def _raise_error(self, record: tuple[int, ...], args: tuple[Any, ...]) -> Any:
            return record[0], args

    number, args = compiled(FAILING_CORE, VECTOR, [F64], "value", Forgiving)(X)
    assert number != 0
    assert args[0] is X


@pytest.mark.parametrize("returns", ["value", "list"])
def test_core_that_forgets_its_output(returns: Any) -> None:
    core = "define internal i32 @core(ptr %frame) {\n  ret i32 0\n}"
    with pytest.raises(SystemError, match="without its outputs"):
        compiled(core, VECTOR, [F64], returns)(X)


def test_failed_allocation_propagates() -> None:
    core = """define internal i32 @core(ptr %frame) {
  %size = alloca i64
  store i64 1000000000000000, ptr %size
  %o = call ptr @lt_alloc_output(ptr %frame, i64 3, i32 12, i32 1, ptr %size)
  %bad = icmp eq ptr %o, null
  %code = zext i1 %bad to i32
  ret i32 %code
}"""
    with pytest.raises(MemoryError):
        compiled(core, VECTOR, [F64], "value")(X)


# --- the callable object ------------------------------------------------------------------------


def test_without_entry_calls_are_slow() -> None:
    f = Compiled()
    assert f(X)[0] == "slow"
    with pytest.raises(NotImplementedError):
        NativeCallable()(1)


def test_entry_can_be_removed() -> None:
    f = add_one()
    f._remove_entry()
    assert is_slow(f(X))


def test_attributes_and_weak_references() -> None:
    f = add_one()
    f.anything = 3  # type: ignore[attr-defined]
    assert vars(f) == {"name": "f", "anything": 3}
    alive = weakref.ref(f)
    del f
    assert alive() is None


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda f: pickle.loads(pickle.dumps(f))])
def test_copies_have_no_entry(how: Any) -> None:
    clone = how(add_one())
    assert type(clone) is Compiled
    assert clone.name == "f"
    assert is_slow(clone(X))


def test_bare_callable_pickles() -> None:
    assert type(pickle.loads(pickle.dumps(NativeCallable()))) is NativeCallable


def test_subclasses() -> None:
    class Deeper(Compiled):
        pass

    class Slotted(Compiled):
        __slots__ = ("extra",)

    class Own(Compiled):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return "own"

    for cls in (Deeper, Slotted):
        np.testing.assert_array_equal(add_one(cls)(X), X + 1)
    assert add_one(Own)(X) == "own"
    slotted = add_one(Slotted)
    slotted.extra = 5  # type: ignore[attr-defined]
    np.testing.assert_array_equal(slotted(X), X + 1)
    assert slotted.extra == 5  # type: ignore[attr-defined]


def test_cycles_are_collected() -> None:
    f = add_one()
    f.me = f  # type: ignore[attr-defined]
    alive = weakref.ref(f)
    del f
    gc.collect()
    assert alive() is None


def test_code_lives_as_long_as_a_call_may_run_it() -> None:
    """A second entry does not free the first one's code, which another thread may be running."""
    f, g = add_one(), add_one()
    module = weakref.ref(g._keepalive[0])
    f._install_entry(g._entry_address, g._keepalive[0])  # type: ignore[attr-defined]
    del g
    gc.collect()
    np.testing.assert_array_equal(f(X), X + 1)
    f._install_entry(f._entry_address)  # type: ignore[attr-defined]
    assert module() is not None
    del f
    gc.collect()
    assert module() is None


def test_builtin_function() -> None:
    f = add_one()
    builtin = make_builtin(f, "f", "Adds one.")
    assert builtin.__doc__ == "Adds one."
    np.testing.assert_array_equal(builtin(X), X + 1)
    assert builtin(x=1) == ("slow", (), {"x": 1})


def test_used_as_a_callback() -> None:
    f = add_one()
    np.testing.assert_array_equal(list(map(f, [X, X])), [X + 1, X + 1])


# --- leaks, threads, fork -----------------------------------------------------------------------


def resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads /proc")
def test_nothing_leaks() -> None:
    one, two = add_one(), compiled(add_one_core(3, 5), VECTOR, [F64, F64], "list")
    none = compiled(add_one_core(3), VECTOR, [F64], "none")
    failing = compiled(FAILING_CORE, VECTOR, [F64], "value")
    integer = compiled(
        scalar_core("i64", "add i64 %v, 1", np.dtype("int64").num),
        [InputSpec("int64", 0)],
        [OutputSpec("int64", 0)],
        "value",
    )
    big = np.arange(1000.0)
    key = "keyword that is no literal"

    def use(count: int) -> None:
        for k in range(count):
            one(big)
            two(big)
            none(big)
            integer(10**15 + k)
            integer(10**30)
            one(big, 1)
            one(**{key: big})
            if k % 10 == 0:
                with pytest.raises(ValueError, match="77"):
                    failing(big)

    use(500)
    counted = (big, X.dtype, one, failing, np.ndarray, Compiled._call_slow, key)
    before, at_start = [sys.getrefcount(o) for o in counted], resident_bytes()
    use(5000)
    assert [sys.getrefcount(o) for o in counted] == before
    # 5000 leaked results would be 40 MB.
    assert resident_bytes() - at_start < 8e6


def test_threads_call_at_once() -> None:
    f = add_one()
    failing = compiled(FAILING_CORE, VECTOR, [F64], "value")
    wrong: list[object] = []

    def work(seed: int) -> None:
        x = np.full(50, float(seed))
        for _ in range(2000):
            if not (f(x) == seed + 1).all():
                wrong.append(seed)
            try:
                failing(x)
            except ValueError as error:
                if error.args[1][0] is not x:
                    wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_fork_after_use() -> None:
    f = add_one()
    f(X)
    child = os.fork()
    if child == 0:
        old = (f(X) == X + 1).all()
        new = (add_one()(X) == X + 1).all()
        os._exit(0 if old and new else 1)
    assert os.waitpid(child, 0)[1] == 0


# --- layouts ------------------------------------------------------------------------------------


def test_frame_slots_do_not_overlap() -> None:
    inputs = [InputSpec("float64", 2), InputSpec("int8", 0), InputSpec("float32", 3)]
    frame = FrameLayout.of(inputs, [F64, F64])
    slots = [frame.error_record]
    for i, spec in enumerate(inputs):
        slots += [frame.input_data(i), *(frame.input_dim(i, k) for k in range(spec.ndim))]
    for j in range(2):
        slots += [frame.output_object(j), frame.output_data(j)]
    assert slots == list(range(frame.size))
    with pytest.raises(IndexError):
        frame.input_dim(1, 0)


def test_probe_notices_another_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "ARRAY_DATA", layout.ARRAY_DIMS)
    assert "numpy.ndarray" in layout.probe.__wrapped__()
