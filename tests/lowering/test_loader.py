"""Objects in memory without LLVM, and by its engines where the loader does not know them."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from ltensor.errors import LoweringError
from ltensor.lowering.cpu import engines, jit, loader, object_file

UNARY = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
ADDER = "define i64 @f(i64 %x) {\n  %y = add i64 %x, 3\n  ret i64 %y\n}\n"

IS_LOADED = sys.platform == "linux" and os.uname().machine == "x86_64"
needs_loader = pytest.mark.skipif(not IS_LOADED, reason="objects of other machines: MCJIT's")

DATA_AND_CALLS = """declare i64 @lt_test_twice(i64)
@counter = global i64 5
@empty = global [4 x i64] zeroinitializer
@words = constant [2 x ptr] [ptr @f, ptr @counter]
define i64 @f(i64 %x) {
  %y = call i64 @lt_test_twice(i64 %x)
  %c = load i64, ptr @counter
  %d = add i64 %c, 1
  store i64 %d, ptr @counter
  store i64 %d, ptr getelementptr (i64, ptr @empty, i64 2)
  %z = add i64 %y, %c
  ret i64 %z
}"""


def parsed(text: str = DATA_AND_CALLS) -> tuple[bytes, object_file.ObjectFile]:
    data = jit.object_code(text)
    return data, object_file.read(data)


def use(addresses: dict[str, int]) -> None:
    f = UNARY(addresses["f"])
    assert [f(10), f(10), f(10)] == [25, 26, 27]
    assert ctypes.c_int64.from_address(addresses["counter"]).value == 8
    assert list((ctypes.c_int64 * 4).from_address(addresses["empty"])) == [0, 0, 8, 0]
    assert list((ctypes.c_int64 * 2).from_address(addresses["words"])) == [
        addresses["f"],
        addresses["counter"],
    ]


TWICE = UNARY(lambda x: 2 * x)
NEEDED = {"lt_test_twice": ctypes.cast(TWICE, ctypes.c_void_p).value or 0}


@needs_loader
def test_loader_places_code_and_data() -> None:
    data, found = parsed()
    loaded = loader.load(data, found, NEEDED)
    again = loader.load(data, found, NEEDED)
    assert loaded is not None
    assert again is not None
    assert loaded[0].keys() == found.names().defined
    use(loaded[0])
    use(again[0])


def test_engines_place_the_same() -> None:
    data, found = parsed()
    addresses, owner = engines.load(data, found.names().defined, NEEDED)
    use(addresses)
    del owner


MANY_KINDS = """declare i64 @lt_test_twice(i64)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
@lt_test_word = external global i64
@lt_test_hook = external global ptr
@table = internal constant [3 x ptr] [ptr @lt_test_twice, ptr @inner, ptr @lt_test_word]
@room = internal global [1000 x i64] zeroinitializer
define internal i64 @inner(i64 %x) noinline {
  %y = mul i64 %x, 3
  ret i64 %y
}
define i64 @f(i64 %x) {
entry:
  call void @llvm.memset.p0.i64(ptr @room, i8 1, i64 8000, i1 false)
  switch i64 %x, label %other [
    i64 0, label %zero
    i64 1, label %one
    i64 2, label %two
    i64 3, label %three
    i64 4, label %four
    i64 5, label %five
  ]
zero:
  %a = load i64, ptr @lt_test_word
  ret i64 %a
one:
  %b = call i64 @lt_test_twice(i64 21)
  ret i64 %b
two:
  %c = load ptr, ptr getelementptr ([3 x ptr], ptr @table, i64 0, i64 1)
  %d = call i64 %c(i64 5)
  ret i64 %d
three:
  %e = load i64, ptr getelementptr (i64, ptr @room, i64 999)
  ret i64 %e
four:
  %g = load ptr, ptr @table
  %h = call i64 %g(i64 50)
  ret i64 %h
five:
  %i = load ptr, ptr @lt_test_hook
  %j = call i64 %i(i64 7)
  ret i64 %j
other:
  %k = sitofp i64 %x to double
  %l = frem double %k, 7.5
  %m = fmul double %l, 2.0
  %n = fptosi double %m to i64
  %o = call i64 @inner(i64 %n)
  ret i64 %o
}"""


def test_all_that_llvm_writes_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jump tables, calls and data elsewhere, addresses in constants, library calls."""
    if IS_LOADED:
        monkeypatch.setattr(engines, "load", None)
    word = ctypes.c_int64(-4)
    hook = ctypes.c_void_p(NEEDED["lt_test_twice"])
    needed = NEEDED | {
        "lt_test_word": ctypes.addressof(word),
        "lt_test_hook": ctypes.addressof(hook),
    }
    module = jit.compile_module(MANY_KINDS, needed)
    f = UNARY(module.address("f"))
    assert [f(k) for k in range(6)] == [-4, 42, 15, 0x0101010101010101, 100, 14]
    assert f(16) == 6


@needs_loader
def test_code_cannot_be_written() -> None:
    loaded = loader.load(*parsed(), NEEDED)
    assert loaded is not None
    address = loaded[0]["f"]
    with open("/proc/self/maps") as maps:
        for line in maps:
            where, rights = line.split()[:2]
            low, high = (int(part, 16) for part in where.split("-"))
            if low <= address < high:
                assert rights == "r-xp"
                return
    raise AssertionError("the code is nowhere")


@needs_loader
def test_what_the_loader_does_not_know_is_left_to_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    data, found = parsed()
    assert loader.load(data, found._replace(machine=183), NEEDED) is None
    thread_local = [s._replace(flags=s.flags | 0x400) for s in found.sections]
    assert loader.load(data, found._replace(sections=thread_local), NEEDED) is None
    # as if every relocation were one of another kind
    monkeypatch.setattr(loader, "_KNOWN", frozenset({999}))
    assert loader.load(data, found, NEEDED) is None
    module = jit.compile_module(DATA_AND_CALLS, NEEDED)
    use(dict(module.addresses))


@needs_loader
def test_object_beyond_the_reach_of_its_code_is_refused() -> None:
    """As LLVM's small code model has it: a distance has 32 bits."""
    text = DATA_AND_CALLS.replace("[4 x i64] zero", "[300000000 x i64] zero")
    with pytest.raises(LoweringError, match=r"24000\d+ bytes"):
        jit.compile_module(text, NEEDED)


@needs_loader
@pytest.mark.parametrize(
    ("number", "expected"), [(errno.ENOMEM, MemoryError), (errno.EACCES, LoweringError)]
)
def test_system_that_refuses_says_why(
    monkeypatch: pytest.MonkeyPatch, number: int, expected: type[Exception]
) -> None:
    def refuse(*given: int) -> int:
        ctypes.set_errno(number)
        return -1

    monkeypatch.setattr(loader, "_protect", lambda: refuse)
    with pytest.raises(expected, match=os.strerror(number)):
        jit.compile_module(ADDER)


@needs_loader
def test_symbol_without_a_place_is_left_to_engines() -> None:
    data, found = parsed()
    # as if what it refers to stood in a section that is not loaded
    symbols = [s._replace(section=len(found.sections)) if s.section else s for s in found.symbols]
    assert loader.load(data, found._replace(symbols=symbols), NEEDED) is None


@needs_loader
def test_process_that_compiles_nothing_does_not_load_llvm(tmp_path: Path) -> None:
    program = """
import sys
import numpy as np
import ltensor
import ltensor.tensor as T
x = T.dvector("x")
s = ltensor.shared(np.zeros(3))
f = ltensor.function([x], T.exp(x) + T.dot(x, x), updates=[(s, s + x)])
assert np.allclose(f(np.ones(3)), np.e + 3) and (s.get_value() == 1).all()
print("llvmlite.binding" in sys.modules)
"""
    environment = dict(os.environ, LTENSOR_CACHE="1", LTENSOR_CACHE_DIR=str(tmp_path))
    environment["LTENSOR_PLANS"] = "1"
    runs = [
        subprocess.run(
            [sys.executable, "-c", program],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        for _ in range(2)
    ]
    assert [run.stdout.strip() for run in runs] == ["True", "False"]


# --- what objects say ---------------------------------------------------------------------------


def test_object_symbols_skip_locals() -> None:
    text = (
        "define internal i64 @inner(i64 %x) noinline {\n  ret i64 %x\n}\n"
        "define i64 @outer(i64 %x) {\n  %y = call i64 @inner(i64 %x)\n  ret i64 %y\n}"
    )
    symbols = object_file.read_symbols(jit.object_code(text))
    assert symbols.defined == {"outer"}
    assert symbols.undefined == frozenset()


def test_truncated_object_is_an_error_not_a_crash() -> None:
    with pytest.raises((ValueError, struct.error)):
        object_file.read_symbols(jit.object_code(ADDER)[:100])


def test_object_whose_count_of_sections_stands_elsewhere() -> None:
    """As in an object of more than 65 279; its names may be in one of the first all the same."""
    data = bytearray(jit.object_code(ADDER))
    expected = object_file.read(bytes(data)).names()
    (start,) = struct.unpack_from("<Q", data, 0x28)
    count, names = struct.unpack_from("<HH", data, 0x3C)
    struct.pack_into("<H", data, 0x3C, 0)
    struct.pack_into("<Q", data, start + 0x20, count)
    assert object_file.read(bytes(data)).names() == expected
    struct.pack_into("<H", data, 0x3E, 0xFFFF)
    struct.pack_into("<I", data, start + 0x28, names)
    found = object_file.read(bytes(data))
    assert found.names() == expected
    assert ".text" in [section.name for section in found.sections]
