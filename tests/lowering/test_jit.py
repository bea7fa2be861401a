"""The JIT: errors before machine code, symbols by name, engines that go with their modules."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from ltensor.errors import LoweringError
from ltensor.lowering.cpu import intrinsics, jit, loader, machine, object_file

UNARY = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
UNARY_DOUBLE = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)


def adder(value: int, name: str = "f") -> str:
    return f"define i64 @{name}(i64 %x) {{\n  %y = add i64 %x, {value}\n  ret i64 %y\n}}\n"


def test_compiles_and_runs() -> None:
    module = jit.compile_module(adder(2))
    assert UNARY(module.address("f"))(40) == 42
    assert module.text == adder(2)
    assert "f:" in module.assembly()


def test_optimize_runs_and_lists() -> None:
    module = jit.compile_module(adder(2), optimize=True)
    assert UNARY(module.address("f"))(40) == 42
    assert "f:" in module.assembly()


def test_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(LoweringError, match=r"'g'.*defines f"):
        jit.compile_module(adder(2)).address("g")


def test_host_is_consistent() -> None:
    host = jit.host()
    assert host.vector_bytes == (64 if host.has_avx512 else host.vector_bytes)
    assert host.vector_bytes in (16, 32, 64)
    assert host is jit.host()


@pytest.mark.skipif(not jit.host().has_avx512, reason="needs a host with AVX-512")
@pytest.mark.parametrize(
    ("restriction", "expected"),
    [
        ("-avx512f", "True False 32"),
        ("avx512f", "True False 32"),
        ("-fma", "False False 32"),
        ("-avx2,-fma", "False False 16"),
        ("-avx", "False False 16"),
    ],
)
def test_features_can_be_taken_away(restriction: str, expected: str) -> None:
    program = (
        "from ltensor.lowering.cpu import jit\n"
        "h = jit.host()\n"
        "print(h.has_fma, h.has_avx512, h.vector_bytes)\n"
        "v = '<8 x double>'\n"
        "asm = jit.compile_module(\n"
        "    f'define void @f(ptr %p) {{ %x = load {v}, ptr %p %y = fadd {v} %x, %x '\n"
        "    f'store {v} %y, ptr %p ret void }}').assembly()\n"
        "widest = 'zmm' if 'zmm' in asm else 'ymm' if 'ymm' in asm else 'xmm'\n"
        "print(widest)\n"
    )
    environment = dict(os.environ, LTENSOR_CPU_FEATURES=restriction)
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    summary, widest = done.stdout.split("\n")[:2]
    assert summary == expected
    assert widest == ("xmm" if restriction == "-avx" else "ymm")


# --- errors -------------------------------------------------------------------------------------


def test_syntax_error_names_the_line() -> None:
    with pytest.raises(LoweringError, match=r"line 2: %y = add i64 %z, 1"):
        jit.compile_module(adder(1).replace("%x, 1", "%z, 1"))


def test_verifier_error_names_the_line() -> None:
    text = """define i64 @f(i1 %c) {
  br i1 %c, label %a, label %b
a:
  %q = add i64 1, 2
  br label %b
b:
  %y = add i64 %q, %q
  ret i64 %y
}"""
    with pytest.raises(LoweringError, match=r"dominate(.|\n)*line 7"):
        jit.compile_module(text)


def test_undefined_symbols_are_all_named() -> None:
    text = """declare i64 @lt_nobody(i64)
@lt_nothing = external global i64
define i64 @f(i64 %x) {
  %y = call i64 @lt_nobody(i64 %x)
  %z = load i64, ptr @lt_nothing
  %w = add i64 %y, %z
  ret i64 %w
}"""
    with pytest.raises(jit.UndefinedSymbol, match="lt_nobody, lt_nothing") as caught:
        jit.compile_module(text)
    assert caught.value.names == ("lt_nobody", "lt_nothing")
    value = ctypes.c_int64(5)
    callback = UNARY(lambda x: x * 10)
    address = ctypes.cast(callback, ctypes.c_void_p).value
    assert address is not None
    module = jit.compile_module(text, {"lt_nobody": address, "lt_nothing": ctypes.addressof(value)})
    assert UNARY(module.address("f"))(3) == 35


def test_library_call_made_by_code_generation_is_resolved() -> None:
    module = jit.compile_module(
        "define double @f(double %x) {\n  %y = frem double %x, 3.0\n  ret double %y\n}"
    )
    assert UNARY_DOUBLE(module.address("f"))(7.5) == 1.5
    assert object_file.read_symbols(jit.object_code(module.text)).undefined == {"fmod"}


@pytest.mark.parametrize("name", ["llvm.exp.f64", "llvm.nvvm.barrier0", "llvm.nosuch"])
def test_foreign_intrinsic_is_refused(name: str) -> None:
    text = (
        f"declare double @{name}(double)\n"
        f"define double @f(double %x) {{\n  %y = call double @{name}(double %x)\n"
        "  ret double %y\n}"
    )
    with pytest.raises(LoweringError, match=rf"{name}"):
        jit.object_code(text)


def test_intrinsic_names_without_suffixes() -> None:
    allowed = [
        "llvm.masked.load.v16f32.p0",
        "llvm.vector.reduce.fadd.v8f64",
        "llvm.fma.v16f32",
        "llvm.fptosi.sat.i64.f64",
        "llvm.memcpy.p0.p0.i64",
        "llvm.masked.gather.v8f64.v8p0",
        "llvm.is.fpclass.f32",
        "llvm.assume",
        "llvm.stepvector.v8i64",
        "llvm.umul.with.overflow.i64",
        "llvm.fma.bf16",
        "printf",
    ]
    assert intrinsics.unsupported(allowed) == []
    assert intrinsics.unsupported(["llvm.experimental.vector.histogram.add.v8p0.i32"])


# --- symbols and engines ------------------------------------------------------------------------

CALLS_HOOK = """declare i64 @lt_test_hook(i64)
define i64 @f(i64 %x) {
  %y = call i64 @lt_test_hook(i64 %x)
  ret i64 %y
}"""


def test_registered_symbol_and_its_owner_stay() -> None:
    callback = UNARY(lambda x: x + 100)
    address = ctypes.cast(callback, ctypes.c_void_p).value
    assert address is not None
    jit.register_symbol("lt_test_hook", address, callback)
    del callback
    gc.collect()
    module = jit.compile_module(CALLS_HOOK)
    assert UNARY(module.address("f"))(1) == 101


@pytest.fixture(params=["loader", "engines"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once as objects are loaded here, once by MCJIT."""
    if request.param == "engines":
        monkeypatch.setattr(loader, "load", lambda *given: None)


@pytest.mark.usefixtures("both_ways")
def test_same_names_in_many_modules() -> None:
    text = """@g = global i64 {0}
define i64 @h(i64 %x) noinline {{
  %y = add i64 %x, {0}
  ret i64 %y
}}
define i64 @f(i64 %x) {{
  %y = call i64 @h(i64 %x)
  %v = load i64, ptr @g
  %z = mul i64 %v, %y
  ret i64 %z
}}"""
    modules = [jit.compile_module(text.format(k)) for k in range(80)]
    for k, module in enumerate(modules):
        assert UNARY(module.address("f"))(5) == (5 + k) * k
        assert ctypes.c_int64.from_address(module.address("g")).value == k


@pytest.mark.usefixtures("both_ways")
def test_needed_name_is_not_taken_from_a_neighbour() -> None:
    """A module defines what the next one imports: the import means the address given."""
    neighbour = jit.compile_module(adder(1, "lt_test_clash"))
    other = jit.compile_module(adder(1000, "lt_test_other"))
    text = CALLS_HOOK.replace("lt_test_hook", "lt_test_clash")
    module = jit.compile_module(text, {"lt_test_clash": other.address("lt_test_other")})
    assert UNARY(module.address("f"))(1) == 1001
    assert UNARY(neighbour.address("lt_test_clash"))(1) == 2


def test_object_code_is_deterministic_and_loads_again() -> None:
    data = jit.object_code(adder(3))
    assert data == jit.object_code(adder(3))
    module = jit.link_object(data)
    assert UNARY(module.address("f"))(1) == 4


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="reads /proc")
@pytest.mark.usefixtures("both_ways")
def test_dropped_modules_give_their_memory_back() -> None:
    def executable() -> int:
        """Bytes of code that belong to no file."""
        total = 0
        with open("/proc/self/maps") as maps:
            for line in maps:
                where, rights, _, device, *_ = line.split()
                if "x" in rights and device == "00:00":
                    low, high = (int(part, 16) for part in where.split("-"))
                    total += high - low
        return total

    data = jit.object_code(adder(4))
    keep = [jit.link_object(data) for _ in range(200)]
    high = executable()
    del keep
    gc.collect()
    assert executable() <= high - 150 * 4096


# --- threads and processes ----------------------------------------------------------------------


def test_threads_compile_at_once() -> None:
    results: dict[int, int] = {}

    def work(k: int) -> None:
        for step in range(5):
            module = jit.compile_module(adder(k * 10 + step))
            results[k * 10 + step] = UNARY(module.address("f"))(0)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {k * 10 + step: k * 10 + step for k in range(6) for step in range(5)}


def fork_while(busy: Callable[[], object], good: Callable[[], bool], times: int) -> None:
    """Fork again and again while another thread is ``busy``; children must find ``good``."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            busy()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(times):
            child = os.fork()
            if child == 0:
                signal.alarm(60)
                os._exit(0 if good() else 1)
            _, status = os.waitpid(child, 0)
            assert status == 0
    finally:
        stop.set()
        thread.join()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_fork_while_another_thread_compiles() -> None:
    before = jit.compile_module(adder(7))

    def good() -> bool:
        old = UNARY(before.address("f"))(1) == 8
        module = jit.compile_module(adder(9))
        return old and UNARY(module.address("f"))(1) == 10

    fork_while(lambda: jit.compile_module(adder(8)), good, 5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_fork_while_another_thread_drops_code() -> None:
    """That is done without ltensor's lock, but under llvmlite's."""
    text = "\n".join(f"define i64 @f{k}(i64 %x) {{ ret i64 %x }}" for k in range(200))

    def good() -> bool:
        module = jit.compile_module(adder(9))
        return UNARY(module.address("f"))(1) == 10

    fork_while(lambda: machine.llvm().parse_assembly(text), good, 10)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_forks_by_several_threads_let_go_of_their_own_locks() -> None:
    """In a process of its own: what went wrong left locks taken for ever."""
    code = """
import os, sys, threading
from ltensor.lowering.cpu import machine
machine.llvm()
sys.setswitchinterval(1e-6)
errors = []
sys.unraisablehook = lambda found: errors.append(found.exc_value)
def forks():
    for _ in range(100):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
threads = [threading.Thread(target=forks, daemon=True) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(30)
alive = any(thread.is_alive() for thread in threads)
os._exit(int(alive or bool(errors) or not machine.lock.acquire(timeout=5)))
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=300).returncode == 0


def test_spawned_process_makes_the_same_object() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(jit.object_code, (adder(5),)) == jit.object_code(adder(5))
