"""Loops and products that threads share: which they are, their results, what can go wrong."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T
from ltensor.lowering.cpu import chunks, thread_pool
from ltensor.lowering.rewrites import parallel
from ltensor.runtime import chunk_compiler

pytestmark = pytest.mark.skipif(not thread_pool.has_threads(), reason="no threads on this system")

Compile = Callable[..., Any]


@pytest.fixture
def threads(
    monkeypatch: pytest.MonkeyPatch, every_loop_is_shared: None
) -> Iterator[Callable[..., Any]]:
    """Compiles for three threads that share every loop that may be shared."""
    monkeypatch.setattr(chunks, "GRAIN", 1)

    def compile_(inputs: Any, outputs: Any, **options: Any) -> Any:
        with theano.config.change_flags(num_threads=3):
            return theano.function(inputs, outputs, **options)

    worth = ctypes.c_int64.from_address(thread_pool.address("lt_pool_worth_waking"))
    worth.value = -1
    yield compile_
    worth.value = thread_pool.WORTH_WAKING


def serial(inputs: Any, outputs: Any) -> Any:
    """Compiles for one thread."""
    with theano.config.change_flags(num_threads=1):
        return theano.function(inputs, outputs)


def shared_loops(f: Any) -> list[parallel.SharedLoop]:
    found: list[parallel.SharedLoop] = f._linked.lowered.program.shared_loops
    return found


def jobs() -> int:
    """How many jobs the pool has had."""
    # `thread_pool.address` would set the number of threads anew
    return ctypes.c_int64.from_address(thread_pool._module().address("lt_pool_heard")).value


x, y = T.dmatrix("x"), T.dmatrix("y")
v = T.dvector("v")
i = T.lvector("i")

SHARED = {
    "elementwise": ([x, y], lambda: T.tanh(x) * y),
    "several results": ([x, y], lambda: [x + y, x * y, T.exp(x)]),
    "rows of sums": ([x], lambda: (x**2).sum(axis=1)),
    "columns of sums": ([x], lambda: x.sum(axis=0)),
    "softmax": ([x], lambda: T.nnet.softmax(x)),
    "transposed": ([x], lambda: x.T + 1),
    "gathered rows": ([x, i], lambda: x[i] * 2),
    "argmax": ([x], lambda: T.argmax(x, axis=1)),
    "comparison": ([x, y], lambda: T.switch(T.lt(x, y), x, 3.0)),
    "power loop": ([v], lambda: theano.scan(lambda p: p * v, outputs_info=v, n_steps=5)[0][-1]),
}


def arguments(inputs: Any) -> list[np.ndarray]:
    rng = np.random.RandomState(3)
    made = []
    for variable in inputs:
        if variable.dtype == "int64":
            made.append(rng.randint(0, 37, 50))
        else:
            made.append(rng.uniform(-1, 1, (40, 4500) if variable.ndim == 2 else (501,)))
    return made


@pytest.mark.parametrize("name", SHARED)
def test_the_same_bits_as_one_thread(name: str, threads: Compile) -> None:
    inputs, build = SHARED[name]
    outputs = build()
    args = arguments(inputs)
    f, g = threads(inputs, outputs), serial(inputs, outputs)
    assert shared_loops(f), name
    assert not shared_loops(g)
    before = jobs()
    for _ in range(20):
        got, want = f(*args), g(*args)
        for a, b in zip(np.atleast_1d(got), np.atleast_1d(want), strict=True):
            np.testing.assert_array_equal(a, b)
    assert jobs() > before


def test_a_loop_stays_where_it_is_for_small_arrays() -> None:
    with theano.config.change_flags(num_threads=3):
        f = theano.function([v], T.exp(v))
    assert len(shared_loops(f)) == 1
    before = jobs()
    f(np.ones(100))
    assert jobs() == before
    f(np.ones(1_000_000))
    assert jobs() == before + 1


def test_what_is_known_to_be_small_is_not_asked_for() -> None:
    with theano.config.change_flags(num_threads=3):
        f = theano.function([], T.exp(T.arange(10.0)) + theano.shared(np.ones(10)))
        g = theano.function([], T.exp(T.alloc(np.float64(1), 10)))
    assert not shared_loops(g)
    assert f().shape == (10,)


def test_the_first_bad_index_is_told(threads: Compile) -> None:
    f = threads([x, i], x[i] * 2)
    with pytest.raises(IndexError, match="37"):
        f(np.ones((37, 4)), np.r_[np.zeros(50, int), 37])


def test_several_wrong_elements_give_one_error(threads: Compile) -> None:
    n = T.lvector("n")
    f = threads([n], 10 // n)
    with pytest.raises(ZeroDivisionError):
        f(np.zeros(1000, int))
    np.testing.assert_array_equal(f(np.full(1000, 3)), 3)


def test_products_by_columns_and_rows() -> None:
    rng = np.random.RandomState(0)
    a, b = T.fmatrices("a", "b")
    with theano.config.change_flags(num_threads=3):
        f = theano.function([a, b], T.dot(a, b))
    sizes = (32, 128, 512), (1, 1500, 1100), (3000, 120, 7), (700, 130, 90), (130, 131, 132)
    for m, k, n in sizes:
        p, q = rng.randn(m, k).astype("float32"), rng.randn(k, n).astype("float32")
        before = jobs()
        want = p.astype("float64") @ q
        np.testing.assert_allclose(f(p, q), want, atol=1e-5 * np.abs(want).max())
        assert jobs() == before + 1, (m, k, n)
    before = jobs()
    f(np.ones((10, 10), "float32"), np.ones((10, 10), "float32"))
    assert jobs() == before


def test_a_batch_of_products() -> None:
    rng = np.random.RandomState(0)
    a, b = T.tensor3("a"), T.tensor3("b")
    with theano.config.change_flags(num_threads=3):
        f = theano.function([a, b], T.batched_dot(a, b))
    p, q = rng.randn(50, 60, 70), rng.randn(50, 70, 80)
    before = jobs()
    np.testing.assert_allclose(f(p, q), p @ q, rtol=1e-10, atol=1e-10)
    assert jobs() > before


def test_a_recurrent_net_and_its_gradient(threads: Compile) -> None:
    w = T.dmatrix("w")
    rows, _ = theano.scan(lambda r, h, w: T.tanh(r + T.dot(h, w)), x, T.zeros((45,)), w)
    outputs = [rows[-1], *T.grad((rows**2).sum(), [x, w])]
    rng = np.random.RandomState(1)
    args = rng.randn(37, 45), rng.randn(45, 45) / 9
    for got, want in zip(
        threads([x, w], outputs)(*args), serial([x, w], outputs)(*args), strict=True
    ):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def test_callers_in_many_threads() -> None:
    with theano.config.change_flags(num_threads=3):
        f = theano.function([v], T.exp(v) * 2)
    data = [np.random.RandomState(k).uniform(size=300_000) for k in range(16)]
    wrong: list[int] = []

    def work(k: int) -> None:
        want = np.exp(data[k]) * 2
        for _ in range(10):
            if not np.allclose(f(data[k]), want, rtol=1e-14):
                wrong.append(k)

    workers = [threading.Thread(target=work, args=(k,)) for k in range(16)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_code_that_cannot_be_made_leaves_the_loop_to_one_thread(
    threads: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> int:
        raise RuntimeError("not today")

    f = threads([v], T.exp(v))
    monkeypatch.setattr(chunk_compiler.ChunkCompiler, "_code", refuse)
    with pytest.warns(RuntimeWarning, match="one thread.*not today"):
        np.testing.assert_allclose(f(np.ones(100)), np.e)
    np.testing.assert_allclose(f(np.ones(100)), np.e)


def test_a_turned_result_is_nobodys_scratch_memory(threads: Compile) -> None:
    """A buffer that becomes the result is mentioned by its number only."""
    x = T.tensor4("x")
    turned = x.dimshuffle(0, 2, 3, 1)
    f = threads([x], [turned.reshape((x.shape[0], -1)), x.sum(1) + turned[:, :, :, 0]])
    values = np.random.default_rng(0).random((5, 17, 32, 33))
    for scale in range(1, 5):
        a = scale * values
        flat, total = f(a)
        np.testing.assert_array_equal(flat, a.transpose(0, 2, 3, 1).reshape(5, -1))
        np.testing.assert_allclose(total, a.sum(1) + a[:, 0])


def test_scratch_memory_is_private_to_a_thread(threads: Compile) -> None:
    """A buffer of a row that is used for every row belongs to who works on the row."""
    from ltensor.lowering.builder import Builder
    from ltensor.lowering.program import View

    b = Builder("p", threads=3)
    n = b.frame(2)
    target = View("float64", b.frame(3, "ptr"), (n, n))
    scratch = b.temporary("float64", (n,))
    other = b.temporary("float64", (n,))
    with b.loop(n, parallel=True) as rows:
        with b.loop(n, kind="vector") as lane:
            b.store(scratch, (lane.index,), b.cast(rows.index, "float64"))
        with b.loop(n, kind="vector") as lane:
            b.store(target, (rows.index, lane.index), b.load(scratch, (lane.index,)))
    with b.loop(n, parallel=True) as rows, b.loop(n, kind="vector") as lane:
        b.store(other, (lane.index,), b.cast(rows.index, "float64"))
    b.store(target, (b.const(0), b.const(0)), b.load(other, (b.const(0),)))
    found = parallel.choose(b.program)
    assert [s.private for s in found] == [[scratch.pointer]]


def run(program: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_fork_after_use() -> None:
    out = run(
        """
        import os
        import numpy as np
        import ltensor as theano, ltensor.tensor as T

        v = T.dvector()
        f = theano.function([v], T.exp(v))
        big = np.ones(2_000_000)
        f(big)
        print(len(os.listdir("/proc/self/task")), flush=True)
        child = os.fork()
        if child == 0:
            f(big), f(big)
            print(len(os.listdir("/proc/self/task")), flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        f(big)
        print("status", status)
        """,
        LTENSOR_NUM_THREADS="3",
    )
    lines = out.split("\n")
    assert lines[2] == "status 0"
    # NumPy's own library may have threads
    assert int(lines[0]) >= 3
    assert int(lines[1]) == 3


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"LTENSOR_NUM_THREADS": "5"}, 5),
        ({"LTENSOR_NUM_THREADS": "", "OMP_NUM_THREADS": "4"}, 4),
        ({"LTENSOR_NUM_THREADS": "1", "OMP_NUM_THREADS": "4"}, 1),
        ({"LTENSOR_NUM_THREADS": "5", "LTENSOR_FLAGS": "num_threads=2"}, 2),
    ],
)
def test_the_number_of_threads(environment: dict[str, str], expected: int) -> None:
    program = "from ltensor.lowering.cpu import thread_pool; print(thread_pool.count())"
    assert int(run(program, **environment)) == expected


def test_an_interrupt_while_code_is_made_spoils_no_result() -> None:
    """What native code asks of Python has no result then: it does without."""
    out = run(
        """
        import numpy as np
        import ltensor as theano, ltensor.tensor as T
        from ltensor.lowering.cpu import thread_pool
        from ltensor.lowering.gemm.parts import Products
        from ltensor.runtime.chunk_compiler import ChunkCompiler

        def interrupted(*_):
            raise KeyboardInterrupt

        v, a, b = T.dvector(), T.dmatrix(), T.dmatrix()
        x, p, q = np.ones(300_000), np.random.rand(40, 50), np.random.rand(50, 301)
        f, g = theano.function([v], T.exp(v)), theano.function([a, b], T.dot(a, b))

        def check():
            for _ in range(2):
                np.testing.assert_allclose(f(x), np.exp(x))
                np.testing.assert_allclose(g(p, q), p @ q)

        parts = (thread_pool, "_start"), (Products, "_fill"), (ChunkCompiler, "_code")
        kept = [getattr(*part) for part in parts]
        for part in parts:
            setattr(*part, interrupted)
        check()
        for part, function in zip(parts, kept):
            setattr(*part, function)
            check()
        """,
        LTENSOR_NUM_THREADS="3",
    )
    assert out == ""


LONG = {
    "sum": lambda v: v.sum(),
    "sum of squares": lambda v: (v**2).sum(),
    "maximum": lambda v: v.max(),
    "variance": lambda v: v.var(),
    "product": lambda v: T.prod(1 + v * 1e-6),
    "all": lambda v: T.all(v >= 0),
    "complex": lambda v: (v * T.cast(1j, "complex128")).sum(),
    "integers": lambda v: T.cast(v * 100, "int64").sum(),
}


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("size", [1, 65536, 65537, 300_001, 1_300_000])
def test_reductions_of_everything_have_the_same_bits(
    name: str, size: int, threads: Compile
) -> None:
    f, g = threads([v], LONG[name](v)), serial([v], LONG[name](v))
    data = np.random.RandomState(size).uniform(size=size)
    want = g(data)
    for _ in range(3):
        assert f(data).tobytes() == want.tobytes()


def test_a_matrix_with_gaps_is_summed_in_chunks_of_rows(threads: Compile) -> None:
    f = threads([x], x[:, ::2].sum())
    data = np.random.RandomState(0).uniform(size=(3000, 77))
    np.testing.assert_allclose(f(data), data[:, ::2].sum(), rtol=1e-14)
    assert f(data[:0]) == 0
    assert f(data[:, :0]) == 0


def test_long_sums_are_as_accurate_as_numpys() -> None:
    data = np.random.RandomState(0).uniform(size=3_000_000).astype("float32")
    exact = data.astype("float64").sum()
    w = T.fvector()
    error = abs(float(theano.function([w], w.sum())(data)) - exact)
    assert error <= max(2 * abs(float(data.sum()) - exact), 0.5 * np.spacing(np.float32(exact)))
    big = np.float32([1e30, np.inf, 1.0] * 50_000)
    assert theano.function([w], w.sum())(big) == np.inf
    assert np.isnan(theano.function([w], w.sum())(np.append(big, np.float32(-np.inf))))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, thread_pool.MOST_THREADS),
        ({"cpu.max": "max 100000"}, thread_pool.MOST_THREADS),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "50000 100000"}, 1),
        (
            {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
            thread_pool.MOST_THREADS,
        ),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu.max": "nonsense"}, thread_pool.MOST_THREADS),
    ],
)
def test_the_time_that_a_container_grants(
    files: dict[str, str], expected: int, tmp_path: Path
) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n")
    assert thread_pool._quota(str(tmp_path)) == expected


@pytest.mark.parametrize("shape", [(3000, 1000), (40001, 10), (400, 2047), (300, 2049), (9, 5)])
def test_reductions_down_columns_have_the_same_bits(
    shape: tuple[int, int], threads: Compile
) -> None:
    m = T.matrix("m", dtype="float32")
    x = np.random.default_rng(1).standard_normal(shape).astype("float32")
    x[1, 2], x[2, 3] = np.nan, np.inf
    outputs = [m.sum(0), m.prod(0), m.max(0), m.min(0), T.exp(m).mean(0), m.argmax(0)]
    outputs += [T.any(m > 3, axis=0), m.var(0)]
    for a, b in zip(threads([m], outputs)(x), serial([m], outputs)(x), strict=True):
        assert a.tobytes() == b.tobytes()


def test_a_tall_matrix_is_cut_into_chunks_of_rows(threads: Compile) -> None:
    m = T.dmatrix("m")
    f = threads([m], [m.sum(0), m.max(0)])
    assert len(shared_loops(f)) == 2
    x = np.random.default_rng(2).standard_normal((5001, 300))
    before = jobs()
    np.testing.assert_allclose(f(x)[0], x.sum(0), rtol=1e-10, atol=1e-10)
    assert jobs() > before
    np.testing.assert_array_equal(f(x)[1], x.max(0))


def test_the_place_of_the_extremum_of_a_vector(threads: Compile) -> None:
    v = T.fvector("v")
    f = threads([v], [v.argmax(), v.argmin()])
    rng = np.random.default_rng(3)
    for size in (1, 65535, 65537, 200003):
        x = rng.integers(0, 50, size).astype("float32")
        assert f(x) == [x.argmax(), x.argmin()]
        x[rng.integers(0, size, 3)] = np.nan
        assert f(x) == [x.argmax(), x.argmin()]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_matrix_times_a_vector_is_shared_with_the_same_bits(dtype: str) -> None:
    x, v = T.matrix("x", dtype=dtype), T.vector("v", dtype=dtype)
    rng = np.random.default_rng(0)
    for shape in ((900, 700), (3, 5), (3000, 4), (0, 4), (40, 0)):
        a, b = rng.standard_normal(shape).astype(dtype), rng.standard_normal(shape[1]).astype(dtype)
        results = []
        for threads in (1, 2):
            with theano.config.change_flags(num_threads=threads):
                f = theano.function([x, v], T.dot(x, v))
            assert bool(f._linked.lowered.program.shared_loops) == (threads > 1)
            results.append(f(a, b))
        np.testing.assert_array_equal(*results)
        scale = np.abs(a.astype("f8")) @ np.abs(b.astype("f8"))
        error = np.abs(results[0] - a.astype("f8") @ b.astype("f8"))
        assert (error <= 64 * np.finfo(dtype).eps * scale).all()
