"""Threads, forks, signals, kills, full disks, little memory, large arrays.

The figures of the issue (10,000 functions, 1e7 calls, arrays beyond 2^31 elements) are behind the
marker ``slow``; the ordinary run has the same tests with smaller numbers.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T
from ltensor import In, function, shared

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")

slow = pytest.mark.slow


def resident() -> int:
    """Bytes of memory in use now."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def run(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        env={**os.environ, **environment},
        text=True,
        capture_output=True,
        timeout=300,
        check=False,
    )


# --- growth -------------------------------------------------------------------------------------


@pytest.mark.parametrize("cycles", [300, pytest.param(10_000, marks=slow)])
def test_compile_and_drop(cycles: int) -> None:
    def cycle() -> None:
        v = T.dvector("v")
        s = shared(np.zeros(3))
        f = function([v, In(T.dscalar("a"), value=1.0)], [v], updates=[(s, s + 1)],
                     on_unused_input="ignore")  # fmt: skip
        f(np.ones(4))

    for _ in range(100):
        cycle()
    before = resident()
    for _ in range(cycles):
        cycle()
    assert resident() - before < (4 << 20) + 300 * cycles


@pytest.mark.parametrize("calls", [200_000, pytest.param(10_000_000, marks=slow)])
def test_calls_leak_nothing(calls: int) -> None:
    x, s = T.dvector("x"), T.dscalar("s")
    total = shared(np.zeros(10))
    f = function([x, In(s, value=2.0)], {"a": x * s, "b": x.sum()}, updates=[(total, total + x)])
    g = function([s], s + 1, allow_input_downcast=True)
    a, b = np.arange(10.0), np.arange(20.0)[::2]
    number = np.float32(0.5)

    def use(count: int) -> None:
        for _ in range(count // 6):
            f(a)
            f(a, s=3.0)
            f(b, 3)
            f(x=a)
            f(a, True)
            g(number)

    use(10_000)
    counted = (a, b, f, g, number)
    bytes_before, before = resident(), [sys.getrefcount(o) for o in counted]
    use(calls)
    assert [sys.getrefcount(o) for o in counted] == before
    assert resident() - bytes_before < 1 << 20


# --- threads ------------------------------------------------------------------------------------


def together(workers: list[Any], seconds: float) -> None:
    """Run functions again and again, each in a thread of its own; raise what they raise."""
    errors: list[BaseException] = []
    end = time.monotonic() + seconds
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def work(worker: Any) -> None:
        try:
            while time.monotonic() < end and not errors:
                for _ in range(20):
                    worker()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    if errors:
        raise errors[0]


@pytest.mark.parametrize("seconds", [1.0, pytest.param(20.0, marks=slow)])
def test_sixteen_threads_and_shared_variables(seconds: float) -> None:
    """Values are whole at any time, and memory that somebody reads is not given back."""
    s, q = shared(np.zeros(3000)), shared(np.zeros(100))
    n, v, x = T.lscalar("n"), T.dvector("v"), T.dmatrix("x")
    count = function([], [], updates=[(s, s + 1)])
    grow = function([n], [q.sum()], updates=[(q, T.zeros((n,)) + n)])
    read = function([v], [s.max() - s.min(), q.max() - q.min() + v.sum()])
    product = function([x], T.dot(x, x.T) + 0 * q.sum())
    rng = np.random.default_rng(3)

    def uniform(array: np.ndarray) -> None:
        assert array.min() == array.max()

    def check_read() -> None:
        assert read(np.zeros(3)) == [0, 0]

    def check_product() -> None:
        assert (product(np.ones((4, 5))) == 5).all()

    together(
        2
        * [
            count,
            lambda: grow(int(rng.integers(1, 50_000))),
            lambda: uniform(s.get_value()),
            lambda: uniform(q.get_value()),
            check_read,
            check_product,
            lambda: s.set_value(np.ones(int(rng.integers(1, 9000)))),
            lambda: q.set_value(np.ones(int(rng.integers(1, 70_000)))),
        ],
        seconds,
    )


def test_no_update_is_lost() -> None:
    s = shared(np.zeros(700))
    x = T.dvector("x")
    f = function([x], x.sum(), updates=[(s, s + x)])
    one = np.ones(700)

    def work() -> None:
        for _ in range(500):
            f(one)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (s.get_value() == 8000).all()


def test_a_function_is_dropped_while_it_runs() -> None:
    n = T.lscalar("n")

    def make() -> Any:
        rows, _ = theano.scan(lambda c: c * 0.5 + 1, outputs_info=[np.float64(0)], n_steps=n)
        return function([n], rows[-1])

    for _ in range(5):
        held = [make()]
        results: list[float] = []
        thread = threading.Thread(
            target=lambda held=held, results=results: results.append(float(held.pop()(3_000_000)))
        )
        thread.start()
        while held:
            time.sleep(0)
        gc.collect()
        make()(3)
        thread.join()
        assert results == [2.0]


# --- functions inside functions, warnings, exit -------------------------------------------------


class Calls(theano.Op):
    """Does what it is told in ``perform``."""

    __props__ = ()

    def __init__(self, action: Any) -> None:
        self.action = action

    def make_node(self, x: Any) -> Any:
        return theano.Apply(self, [x], [x.type()])

    def perform(self, node: Any, inputs: Any, outputs: Any) -> None:
        outputs[0][0] = self.action(inputs[0])


def test_a_function_that_calls_itself_without_end() -> None:
    x = T.dscalar("x")
    f = function([x], Calls(lambda value: f(value))(x) + 1)
    for _ in range(3):
        with pytest.raises(RecursionError):
            f(1.0)
    # at the very depth at which the callback itself cannot begin
    g = function([x], Calls(lambda value: value)(x) + 1)

    def down(depth: int) -> float:
        return float(g(1.0)) if depth == 0 else down(depth - 1)

    limit = sys.getrecursionlimit()
    failed = 0
    for depth in range(limit - 150, limit):
        try:
            assert down(depth) == 2.0
        except RecursionError:
            failed += 1
    assert 0 < failed < 150
    assert g(1.0) == 2.0


def test_warnings_that_are_errors() -> None:
    def warn(value: Any) -> Any:
        warnings.warn("not like this", UserWarning, stacklevel=1)
        return value

    s = shared(0.0)
    x = T.dscalar("x")
    f = function([x], Calls(warn)(x), updates=[(s, s + 1)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="not like this"):
            f(1.0)
        assert s.get_value() == 0
        assert function([x], x / 0)(1.0) == np.inf
    with pytest.warns(UserWarning, match="not like this"):
        f(1.0)
    assert s.get_value() == 1


def test_calls_at_exit() -> None:
    code = """
        import atexit, threading, numpy as np, ltensor as theano, ltensor.tensor as T
        v = T.dvector("v")
        s = theano.shared(np.zeros(3))
        f = theano.function([v], [T.dot(v, v), T.tanh(v).sum()], updates=[(s, s + v)])
        big = theano.function([v], T.exp(v))
        def last():
            print(f(np.ones(3))[0], big(np.zeros(3_000_000)).sum(), s.get_value()[0])
        atexit.register(last)
        big(np.zeros(3_000_000))
        class Late:
            def __del__(self):
                print(f(np.ones(3))[0])
        keep = Late()
    """
    done = run(code, LTENSOR_NUM_THREADS="2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["3.0", "3000000.0", "1.0", "3.0"]
    assert not done.stderr


# --- signals ------------------------------------------------------------------------------------


def interrupted(call: Any, delay: float) -> bool:
    """Whether a Ctrl-C that comes after some seconds is raised during, or right after, a call."""
    # a process in the background of a shell ignores it
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        call()
        time.sleep(2)
    except KeyboardInterrupt:
        return True
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    return False


def test_interrupts_arrive(capfd: pytest.CaptureFixture[str]) -> None:
    """Never in the middle of native code, never lost in a function that it calls."""
    n = T.lscalar("n")
    rows, _ = theano.scan(lambda c: c * 0.5 + 1, outputs_info=[np.float64(0)], n_steps=n)
    pure = function([n], rows[-1])
    late = function([n], Calls(lambda value: value)(rows[-1]))
    s = shared(np.zeros(3))
    resize = function([n], [], updates=[(s, T.zeros((n % 7 + 1,)) + rows[-1])])

    def many() -> None:
        for k in range(1_000_000):
            resize(k % 50 + 5)

    # a Ctrl-C that meets the start of what a first call has compiled may be lost (docs/limits.md)
    pure(5), late(5), resize(5)
    steps = 20_000_000
    for call in (lambda: pure(steps), lambda: late(steps), many):
        for delay in (0.01, 0.03):
            assert interrupted(call, delay), capfd.readouterr().err
        assert pure(90) == late(90) == 2.0
        resize(4)
        assert s.get_value().shape == (5,)
    assert "ignored" not in capfd.readouterr().err


# --- processes ----------------------------------------------------------------------------------

_kept: dict[str, Any] = {}


def _parallel_work(k: int) -> float:
    if "f" not in _kept:
        _kept["f"] = _make_large()
    return float(_kept["f"](np.full(300_000, float(k)))[0])


def _make_large() -> Any:
    v = T.dvector("v")
    return function([v], [T.tanh(v).sum(), T.exp(v)[:3], T.dot(v[:3], v[:3])])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_of_processes(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTENSOR_NUM_THREADS", "2")
    if method != "fork":
        # what a child imports must be found by its name
        monkeypatch.syspath_prepend(str(Path(__file__).parent))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    expected = [_parallel_work(k) for k in range(4)]
    context = multiprocessing.get_context(method)
    work: Any = _parallel_work
    if method != "fork":
        import importlib

        work = importlib.import_module("test_reliability")._parallel_work
    with context.Pool(2) as pool:
        assert pool.map_async(work, range(4)).get(120) == expected
    assert [_parallel_work(k) for k in range(4)] == expected


# --- the cache ----------------------------------------------------------------------------------

_CACHED = """
    import resource, signal, sys, numpy as np
    if sys.argv[1] != "none":
        # a file may not grow beyond this: an error, or death in the middle of a write
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN if sys.argv[1] == "full" else signal.SIG_DFL)
    import ltensor as theano, ltensor.tensor as T
    import ltensor.lowering.cpu.object_cache as cache
    cache.sources = lambda: "these"  # files may be edited while tests run
    x = T.dvector("x")
    h, _ = theano.scan(lambda r, s: T.tanh(r + s), sequences=x, outputs_info=[np.float64(0)])
    f = theano.function([x], [h[-1], T.grad(h[-1], x)])
    print([a.tolist() for a in f(np.arange(4.0))], list(f.maker.build.seconds))
"""


def test_a_kill_in_the_middle_of_a_write(tmp_path: Path) -> None:
    cache = {"LTENSOR_CACHE_DIR": str(tmp_path), "LTENSOR_PLANS": "1"}
    results = set()
    for size in (0, 100, 700, 2000, 5000):
        died = run(_CACHED, "kill", str(size), **cache)
        assert died.returncode == -signal.SIGXFSZ or died.stdout, died.stderr
        if died.stdout:
            results.add(died.stdout.rsplit("[", 1)[0])
        else:
            assert list(tmp_path.glob(".new-*"))
    whole = run(_CACHED, "none", **cache)
    assert whole.returncode == 0, whole.stderr
    assert not whole.stderr
    results.add(whole.stdout.rsplit("[", 1)[0])
    assert len(results) == 1
    again = run(_CACHED, "none", **cache)
    assert again.stdout.endswith("['plan']\n")
    assert again.stdout.rsplit("[", 1)[0] in results


def test_a_full_disk(tmp_path: Path) -> None:
    cache = {"LTENSOR_CACHE_DIR": str(tmp_path), "LTENSOR_PLANS": "1"}
    for size in (0, 100, 3000):
        done = run(_CACHED, "full", str(size), **cache)
        assert done.returncode == 0, done.stderr
        assert not done.stderr
        assert not list(tmp_path.glob(".new-*"))
    for path in tmp_path.iterdir():
        assert path.stat().st_size <= 3000
    assert run(_CACHED, "none", **cache).stdout == done.stdout


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_folder_that_is_read_only(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        done = run(_CACHED, "none", LTENSOR_CACHE_DIR=str(tmp_path), LTENSOR_PLANS="1")
    finally:
        tmp_path.chmod(0o700)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())


# --- little memory ------------------------------------------------------------------------------

_LIMITED = """
    import json, resource, sys
    import numpy as np
    import numpy.random
    import ltensor as theano, ltensor.tensor as T
    y, i = T.dvector("y"), T.lscalar("i")
    s = theano.shared(np.zeros(4))
    rows, _ = theano.scan(lambda r, c: r * c + 1, sequences=y, outputs_info=[np.float64(0)])
    f = theano.function([y], [T.tanh(y) + 1, rows, T.cumsum(y)[::-1]])
    g = theano.function([i], [], updates=[(s, T.zeros((i,)) + 1)])
    f(np.ones(9))
    g(4)
    g(5)
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    limit = size + (int(sys.argv[1]) << 10)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    found = []
    try:
        for k in range(3, 30):
            f(np.ones(1 << k))
    except MemoryError as error:
        found.append("call")
    try:
        for k in range(3, 30):
            g(1 << k)
    except MemoryError as error:
        value = s.get_value(borrow=True)
        assert value.shape == (1 << (k - 1) if k > 3 else 5,) and value.min() == 1, value.shape
        found.append("update")
    try:
        for k in range(2000):
            z = T.dmatrix("z")
            h = theano.function([z], T.dot(T.tanh(z * float(k)), z.T).sum(axis=0) + k)
            h(np.ones((5, 5)))
            found[2:] = [h]
    except MemoryError:
        found[2:] = ["compile"]
    assert f(np.ones(3))[1].tolist() == [1, 2, 3]
    print(json.dumps(found))
"""


@pytest.mark.parametrize("room", [2000, 12_000, 30_000, pytest.param(60_000, marks=slow)])
def test_tight_limits_of_memory(room: int) -> None:
    """MemoryError, no crash; LLVM, which would end the process, is not asked in vain."""
    done = run(_LIMITED, str(room), LTENSOR_NUM_THREADS="1", LTENSOR_CACHE="0")
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == ["call", "update", "compile"]


def test_no_memory_for_llvm() -> None:
    """Whose library llvmlite then says it cannot find."""
    code = """
import resource
import ltensor as theano, ltensor.tensor as T
with open("/proc/self/statm") as text:
    used = int(text.read().split()[0]) * resource.getpagesize()
limits = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (used + (60 << 20), limits[1]))
x = T.dvector()
try:
    theano.function([x], x + 1)
except MemoryError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_AS, limits)
print(theano.function([x], x + 1)([1.0]))
"""
    done = run(code, LTENSOR_NUM_THREADS="1", LTENSOR_CACHE="0")
    assert done.stdout == "not enough memory to compile: 150 MB are wanted\n[2.]\n", done.stderr


@pytest.mark.parametrize("steps", [20, 60])
def test_many_sizes_that_are_sums_of_others(steps: int) -> None:
    """LLVM ended the process: it ran out of registers while it computed sizes again."""
    code = f"""
import numpy as np
import ltensor as theano, ltensor.tensor as T
x, y = T.dvectors("xy")
h, n = x, T.iscalar("n")
sizes = [n]
for _ in range({steps}):
    h = T.concatenate([h, T.tanh(h[-2:] * y[:2])])
    sizes.append(sizes[-1] + T.minimum(sizes[-1], 2))
f = theano.function([x, y, n], [h, T.grad(h.sum(), x), sum(sizes)])
a, b = np.array([0.5, -1.0, 2.0]), np.array([1.5, -0.5])
want = a
for _ in range({steps}):
    want = np.concatenate([want, np.tanh(want[-2:] * b)])
h, g, total = f(a, b, 3)
np.testing.assert_allclose(h, want, rtol=1e-12)
assert g.shape == (3,) and total == sum(3 + 2 * k for k in range({steps} + 1))
print("good")
"""
    done = run(code)
    assert done.stdout.strip() == "good", done.stderr
