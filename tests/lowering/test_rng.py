"""The random kernels against NumPy's RandomState, and MRG and Philox against their definitions.

"Equal" is equality of every bit, of the draws and of the state that is left behind.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest
from llvmlite.binding.newpassmanagers import NewPassManager

from ltensor.lowering import rng

SEEDS = (0, 1, 42, 1234, 2**32 - 1)
Draw = Callable[[np.random.RandomState], Any]


class Kernels:
    """The module compiled on its own, called through ctypes."""

    def __init__(self, optimized: bool) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        target = llvm.Target.from_triple(llvm.get_process_triple())
        features = llvm.get_host_cpu_features().flatten()
        machine = target.create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=features, opt=2, jit=True
        )
        module = llvm.parse_assembly(rng.module_text())
        module.triple = llvm.get_process_triple()
        module.data_layout = str(machine.target_data)
        module.verify()
        if optimized:
            options = llvm.create_pipeline_tuning_options(speed_level=2)
            options.loop_vectorization = options.slp_vectorization = False
            builder = llvm.create_pass_builder(machine, options)
            passes = builder.getModulePassManager()
            passes.run(module, builder)
            NewPassManager._dispose(passes)
            passes.detach()
        self.engine = llvm.create_mcjit_compiler(module, machine)
        self.engine.finalize_object()

    def __call__(self, name: str, *args: Any) -> int:
        """Call lt_rng_`name`; arrays are passed by address, everything else as i64."""
        address = self.engine.get_function_address(f"lt_rng_{name}")
        assert address, name
        given = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in args]
        kinds = [ctypes.c_double if isinstance(a, float) else ctypes.c_int64 for a in given]
        return int(ctypes.CFUNCTYPE(ctypes.c_int32, *kinds)(address)(*given))

    def draw(self, name: str, state: np.ndarray, shape: Any, *params: Any, **kwargs: Any) -> Any:
        """Call a kernel of (state, out, n, then (pointer, stride) for each parameter)."""
        out = np.full(shape, -7, kwargs.get("dtype", "int64"))
        given: list[Any] = []
        kinds = kwargs.get("kinds", ("float64",) * len(params))
        for value, kind in zip(params, kinds, strict=True):
            array = np.ascontiguousarray(value, kind)
            given += [array, int(array.ndim > 0 and array.size != 1)]
        code = self(name, state, out, out.size, *given)
        return out if code == 0 else code


@pytest.fixture(scope="module")
def kernels() -> Kernels:
    return Kernels(optimized=True)


def same_bits(got: Any, want: Any) -> None:
    assert not isinstance(got, int), f"refused with code {got}"
    want = np.asarray(want)
    assert got.dtype == want.dtype
    assert got.tobytes() == want.tobytes(), (got.ravel()[:8], want.ravel()[:8])


def same_state(state: np.ndarray, stream: np.random.RandomState) -> None:
    # NumPy leaves stale bits of a used gauss only in older releases; compare what counts.
    want = rng.pack(stream)
    assert state[:626].tobytes() == want[:626].tobytes()
    if want[625]:
        assert state[626:628].tobytes() == want[626:628].tobytes()


def check(kernels: Kernels, name: str, numpy_draw: Draw, *params: Any, **kwargs: Any) -> None:
    """Draw twice from streams in several states, and compare draws and states."""
    for seed in kwargs.pop("seeds", SEEDS):
        for words_before in (0, 1, 2, 623):
            stream = np.random.RandomState(seed)
            for _ in range(words_before):
                stream.randint(0, 2**32)
            state = rng.pack(stream)
            for _ in range(2):
                want = np.asarray(numpy_draw(stream))
                kwargs["dtype"] = want.dtype
                same_bits(kernels.draw(name, state, want.shape, *params, **kwargs), want)
                same_state(state, stream)


# -- state -----------------------------------------------------------------------------------


def test_state_survives_the_exchange() -> None:
    stream = np.random.RandomState(5)
    stream.normal(size=3)
    state = rng.pack(stream)
    assert state.dtype == np.uint32
    assert state.shape == (rng.STATE_WORDS,)
    again = rng.unpack(state)
    same_bits(again.normal(size=7), stream.normal(size=7))
    assert rng.pack(stream, out=state) is state
    same_state(state, again)


def test_other_generators_and_buffers_are_refused() -> None:
    with pytest.raises(TypeError, match="MT19937"):
        rng.pack(np.random.RandomState(np.random.PCG64(1)))
    with pytest.raises(TypeError, match="uint32"):
        rng.unpack(np.zeros(640, np.int64))
    broken = rng.pack(np.random.RandomState(1))
    broken[624] = 625
    with pytest.raises(ValueError, match="position"):
        rng.unpack(broken)


@pytest.mark.parametrize("seed", SEEDS)
def test_seed(kernels: Kernels, seed: int) -> None:
    state = np.full(rng.STATE_WORDS, 99, np.uint32)
    assert kernels("seed", state, seed) == 0
    same_state(state, np.random.RandomState(seed))


def test_seed_out_of_range(kernels: Kernels) -> None:
    state = np.full(rng.STATE_WORDS, 99, np.uint32)
    assert kernels("seed", state, -1) == 1
    assert kernels("seed", state, 2**32) == 1
    assert (state == 99).all()


def test_externals_are_what_the_text_declares() -> None:
    declared = [
        line.split("@")[1].split("(")[0]
        for line in rng.module_text().splitlines()
        if line.startswith("declare") and "@llvm." not in line
    ]
    assert tuple(declared) == rng.EXTERNALS


def test_signatures_are_the_exported_functions(kernels: Kernels) -> None:
    for name, (returns, params) in rng.signatures().items():
        assert kernels.engine.get_function_address(name), name
        assert returns == "i32"
        assert set(params) <= {"ptr", "i64", "double"}
    assert len(rng.signatures()) == 22


# -- continuous ------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 7, 8, 311, 312, 313, 1000, 100_000])
def test_uniform_lengths(kernels: Kernels, n: int) -> None:
    check(kernels, "uniform", lambda r: r.uniform(size=n), 0.0, 1.0, seeds=(7, 8))


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (-2.0, 5.0),
        (3.0, 1.0),
        (0.1, 0.1),
        (1e300, -1e300),
        (np.linspace(-3, 4, 50), 10.0),
        (0.25, np.geomspace(1, 1e9, 50)),
        (np.linspace(-3, 4, 50), np.linspace(7, 9, 50)),
    ],
)
def test_uniform_bounds(kernels: Kernels, low: Any, high: Any) -> None:
    check(kernels, "uniform", lambda r: r.uniform(low, high, 50), low, high)


@pytest.mark.parametrize("n", [0, 1, 2, 5, 1001])
def test_normal_lengths(kernels: Kernels, n: int) -> None:
    check(kernels, "normal", lambda r: r.normal(size=n), 0.0, 1.0)


@pytest.mark.parametrize(
    ("avg", "std"),
    [
        (5.0, 0.1),
        (np.nan, 2.0),
        (-1e5, 0.0),
        (np.arange(33.0), 2.5),
        (0.5, np.arange(33.0)),
        (1.0, np.nan),
    ],
)
def test_normal_parameters(kernels: Kernels, avg: Any, std: Any) -> None:
    check(kernels, "normal", lambda r: r.normal(avg, std, 33), avg, std)


def test_long_normal_stream(kernels: Kernels) -> None:
    check(kernels, "normal", lambda r: r.normal(size=100_001), 0.0, 1.0, seeds=(3,))


def test_interleaved_draws(kernels: Kernels) -> None:
    stream = np.random.RandomState(99)
    state = rng.pack(stream)
    for n in (1, 3, 2, 0, 5, 1, 400, 1):
        same_bits(
            kernels.draw("normal", state, n, 0.0, 1.0, dtype="float64"), stream.normal(size=n)
        )
        same_bits(
            kernels.draw("uniform", state, n, 0.0, 1.0, dtype="float64"), stream.uniform(size=n)
        )
        got = kernels.draw("randint", state, n, 0, 10, kinds=("int64",) * 2)
        same_bits(got, stream.randint(0, 10, n))
        same_state(state, stream)


# -- discrete --------------------------------------------------------------------------------

INT_AND_P = ("int64", "float64")


@pytest.mark.parametrize("p", [0.0, 1e-9, 0.02, 0.3, 0.5, 0.5000001, 0.7, 0.999, 1.0])
@pytest.mark.parametrize("trials", [0, 1, 2, 10, 59, 60, 61, 100, 1000, 10**6, 2**40, 2**62])
def test_binomial(kernels: Kernels, trials: int, p: float) -> None:
    check(
        kernels,
        "binomial",
        lambda r: r.binomial(trials, p, 300),
        trials,
        p,
        kinds=INT_AND_P,
        seeds=(2, 11),
    )


@pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "2.4.0", reason="computed n - y + 1 in integers before"
)
@pytest.mark.parametrize(
    ("trials", "p"), [(2**53 + 21, 3e-12), (2**53 + 11, 3e-10), (2**63 - 1, 1e-17)]
)
def test_binomial_beyond_exact_doubles(kernels: Kernels, trials: int, p: float) -> None:
    check(
        kernels,
        "binomial",
        lambda r: r.binomial(trials, p, 5000),
        trials,
        p,
        kinds=INT_AND_P,
        seeds=(0, 1),
    )


def test_binomial_arrays(kernels: Kernels) -> None:
    trials = np.tile([1, 10, 100, 1000, 0, 7], 50)
    p = np.repeat(np.linspace(0, 1, 60), 5)
    for a, b in ((trials, p), (trials, 0.4), (200, p)):
        check(kernels, "binomial", lambda r, a=a, b=b: r.binomial(a, b, 300), a, b, kinds=INT_AND_P)


def test_one_trial_each_with_a_chance_of_its_own(kernels: Kernels) -> None:
    """Chances at which u is near a bound go one by one and give NumPy's draws all the same."""
    drawn = np.random.RandomState(1).random_sample(5000)
    edges = np.tile([0.0, 1.0, 0.5, 1e-17, 1 - 1e-16, 1e-300, 0.25, 0.75, 1e-9, 1 - 1e-9], 30)
    # the very u that decides, and its neighbours
    ties = np.random.RandomState(7).random_sample(900)
    ties = np.concatenate([ties[:300], 1 - ties[300:600], np.nextafter(1 - ties[600:], 0)])
    for p in (drawn, edges, ties):
        n = len(p)
        for stream in (np.random.RandomState(7), np.random.RandomState(8), extreme_stream(3)):
            state = rng.pack(stream)
            for _ in range(2):
                got = kernels.draw("binomial", state, n, 1, p, kinds=INT_AND_P)
                same_bits(got, stream.binomial(1, p, n))
            same_state(state, stream)


@pytest.mark.parametrize(
    "lam",
    [0.0, 1e-12, 0.5, 3.0, 9.999, 10.0, 10.5, 12.0, 50.0, 1234.5, 1e6, 1e12, 1e18, 9.22337e18],
)
def test_poisson(kernels: Kernels, lam: float) -> None:
    check(kernels, "poisson", lambda r: r.poisson(lam, 500), lam)


def test_poisson_arrays(kernels: Kernels) -> None:
    lam = np.tile([0.0, 0.5, 9.0, 10.0, 30.0, 1e5, 0.5], 40)
    check(kernels, "poisson", lambda r: r.poisson(lam), lam)


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (0, 1),
        (2, 10),
        (-5, 5),
        (0, 2**31),
        (0, 2**32 - 1),
        (0, 2**32),
        (0, 2**32 + 1),
        (-(2**40), 2**45 + 17),
        (-(2**63), 2**63 - 1),
    ],
)
def test_randint(kernels: Kernels, low: int, high: int) -> None:
    kinds = ("int64", "int64")
    check(kernels, "randint", lambda r: r.randint(low, high, 200), low, high, kinds=kinds)
    check(
        kernels,
        "randint",
        lambda r: np.array([r.randint(low=low, high=high) for _ in range(200)]),
        low,
        high,
        kinds=kinds,
        seeds=(5,),
    )


def test_randint_arrays(kernels: Kernels) -> None:
    low = np.arange(-20, 20)
    high = low + np.geomspace(1, 2**50, 40).astype("int64")
    check(
        kernels,
        "randint",
        lambda r: np.array([r.randint(a, b) for a, b in zip(low, high, strict=True)]),
        low,
        high,
        kinds=("int64", "int64"),
    )


@pytest.mark.parametrize(
    "pvals",
    [
        [0.25, 0.75],
        [1.0, 0.0, 0.0],
        [0.0, 0.0, 1.0],
        [0.1] * 10,
        [0.5, 0.5 + 1e-12, 0.1],
        [0.7, 0.3, 0.9],
        [0.2, 0.1, 0.0, 0.7],
        [1 / 3] * 3,
        [0.4],
        [],
    ],
)
@pytest.mark.parametrize("trials", [0, 1, 6, 1000, 10**9])
def test_multinomial(kernels: Kernels, trials: int, pvals: list[float]) -> None:
    p, rows = np.array(pvals, "float64"), 40
    for seed in SEEDS:
        stream = np.random.RandomState(seed)
        state, out = rng.pack(stream), np.full((rows, p.size), -7)
        code = kernels("multinomial", state, out, rows, np.array(trials), 0, p, 0, p.size)
        assert code == 0
        same_bits(out, np.array([stream.multinomial(trials, p) for _ in range(rows)]))
        same_state(state, stream)


def test_multinomial_of_small_chances(kernels: Kernels) -> None:
    # Here log(1 - p) and log1p(-p) part, and NumPy's choice depends on its version.
    p, trials = np.array([5e-17, 3e-12, 1e-10, 0.7, 0.2]), np.array(10**12)
    stream = np.random.RandomState(8)
    state, out = rng.pack(stream), np.empty((20_000, 5), "int64")
    assert kernels("multinomial", state, out, len(out), trials, 0, p, 0, 5) == 0
    same_bits(out, stream.multinomial(trials, p, len(out)))
    same_state(state, stream)


def test_multinomial_rows(kernels: Kernels) -> None:
    stream = np.random.RandomState(1)
    p = np.random.RandomState(2).dirichlet([1.0] * 5, 30)
    trials = np.arange(30) ** 3
    state, out = rng.pack(stream), np.empty((30, 5), "int64")
    assert kernels("multinomial", state, out, 30, trials, 1, p, 1, 5) == 0
    want = [stream.multinomial(n, row) for n, row in zip(trials, p, strict=True)]
    same_bits(out, np.array(want))
    same_state(state, stream)


# -- extreme words ---------------------------------------------------------------------------


def untempered(word: int) -> int:
    """The key word whose tempered form is `word`."""
    for shift, mask in ((-18, 0xFFFFFFFF), (15, 0xEFC60000), (7, 0x9D2C5680), (-11, 0xFFFFFFFF)):
        fixed = word
        for _ in range(5):
            moved = fixed << shift if shift > 0 else fixed >> -shift
            fixed = word ^ (moved & mask & 0xFFFFFFFF)
        word = fixed
    return word


def extreme_stream(seed: int) -> np.random.RandomState:
    """A stream whose first block gives many doubles of 0 and of 1 - 2**-53."""
    source = np.random.RandomState(seed)
    words = source.randint(0, 2**32, 624, dtype="uint32")
    kinds = np.repeat(source.randint(0, 4, 312), 2)
    words[kinds == 0] = untempered(0)
    words[kinds == 1] = untempered(0xFFFFFFFF)
    stream = np.random.RandomState(seed)
    stream.set_state(("MT19937", words, 0, 0, 0.0))
    return stream


def test_extreme_stream_is_extreme() -> None:
    values = extreme_stream(1).uniform(size=312)
    assert values.min() == 0.0
    assert values.max() == 1 - 2.0**-53


EXTREME: list[tuple[str, Draw, tuple[Any, ...], tuple[str, ...]]] = [
    ("uniform", lambda r: r.uniform(-1, 1, 200), (-1.0, 1.0), ("float64",) * 2),
    ("normal", lambda r: r.normal(size=200), (0.0, 1.0), ("float64",) * 2),
    ("binomial", lambda r: r.binomial(9, 0.4, 200), (9, 0.4), INT_AND_P),
    ("binomial", lambda r: r.binomial(200, 0.3, 200), (200, 0.3), INT_AND_P),
    ("binomial", lambda r: r.binomial(10**6, 0.7, 200), (10**6, 0.7), INT_AND_P),
    ("poisson", lambda r: r.poisson(3.0, 200), (3.0,), ("float64",)),
    ("poisson", lambda r: r.poisson(20.0, 200), (20.0,), ("float64",)),
    ("randint", lambda r: r.randint(0, 11, 200), (0, 11), ("int64",) * 2),
]


@pytest.mark.parametrize(("name", "numpy_draw", "params", "kinds"), EXTREME)
def test_extreme_words(
    kernels: Kernels, name: str, numpy_draw: Draw, params: Any, kinds: Any
) -> None:
    for seed in range(5):
        stream = extreme_stream(seed)
        state = rng.pack(stream)
        want = numpy_draw(stream)
        same_bits(
            kernels.draw(name, state, want.shape, *params, kinds=kinds, dtype=want.dtype), want
        )
        same_state(state, stream)


def test_single_trials_at_extreme_words(kernels: Kernels) -> None:
    for p in np.random.RandomState(0).uniform(size=200):
        stream = extreme_stream(3)
        state = rng.pack(stream)
        same_bits(
            kernels.draw("binomial", state, 301, 1, p, kinds=INT_AND_P),
            stream.binomial(1, p, 301),
        )
        same_state(state, stream)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("k", [0, 1, 2, 7, 8, 13, 128, 129, 300, 1000])
def test_multinomial_pvals(kernels: Kernels, dtype: str, k: int) -> None:
    """Probabilities are shrunk where NumPy's own sum of them lies just above 1."""
    draws = np.random.RandomState(k).uniform(0.1, 1, (40, k)).astype(dtype)
    rows = draws / draws.sum(axis=1, keepdims=True) if k else draws
    rows[20:] *= np.array(1 + 1e-6, dtype)
    rows[:3, -1:] = 1e-5
    wanted = []
    for row in rows:
        shrinks = k and (1.0 < float(np.sum(row)) < 1.0 + 1e-5 or float(row[-1]) < 5e-5)
        wanted.append((row * np.array(1.0 - 5e-5, dtype) if shrinks else row).astype("float64"))
    out = np.full((40, k), -7.0)
    suffix = "f64" if dtype == "float64" else "f32"
    assert kernels(f"multinomial_pvals_{suffix}", out, rows, 40, k) == 0
    same_bits(out, np.array(wanted).reshape(40, k))


# -- permutations and choices ----------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 2, 5, 100, 10_000])
def test_permutation(kernels: Kernels, n: int) -> None:
    for seed in SEEDS:
        stream = np.random.RandomState(seed)
        state, out = rng.pack(stream), np.empty((3, n), "int64")
        assert kernels("permutation", state, out, 3, n) == 0
        same_bits(out, np.array([stream.permutation(n) for _ in range(3)]).reshape(3, n))
        same_state(state, stream)


def choices(kernels: Kernels, name: str, n: int, a: int, replace: bool, p: Any = None) -> None:
    for seed in SEEDS:
        stream = np.random.RandomState(seed)
        state = rng.pack(stream)
        for _ in range(3):
            out = np.full(n, -7)
            given = (a,) if p is None else (p, a)
            assert kernels(name, state, out, n, *given) == 0
            same_bits(out, stream.choice(a, n, replace, p))
            same_state(state, stream)


@pytest.mark.parametrize(("n", "a"), [(0, 0), (0, 3), (5, 1), (1, 9), (1000, 10), (50, 2**40)])
def test_choice_replace(kernels: Kernels, n: int, a: int) -> None:
    choices(kernels, "choice_replace", n, a, True)


@pytest.mark.parametrize(("n", "a"), [(0, 1), (1, 1), (2, 2), (3, 10), (500, 1000)])
def test_choice_noreplace(kernels: Kernels, n: int, a: int) -> None:
    choices(kernels, "choice_noreplace", n, a, False)


PROBABILITIES = [
    np.array([1.0]),
    np.array([0.2, 0.3, 0.5]),
    np.array([0.0, 0.5, 0.0, 0.5, 0.0]),
    np.array([0.999, 1e-3 - 1e-9, 1e-9]),
    np.array([0.5, 0.5 + 1e-9]),
    np.full(1000, 1e-3),
    np.geomspace(1, 1e-200, 60) / np.geomspace(1, 1e-200, 60).sum(),
]


@pytest.mark.parametrize("p", PROBABILITIES, ids=lambda p: str(p.size))
def test_choice_p(kernels: Kernels, p: np.ndarray) -> None:
    for n in (0, 1, 100):
        choices(kernels, "choice_p", n, p.size, True, p)


@pytest.mark.parametrize("p", PROBABILITIES, ids=lambda p: str(p.size))
def test_choice_noreplace_p(kernels: Kernels, p: np.ndarray) -> None:
    positive = np.count_nonzero(p)
    for n in {0, 1, positive // 2, positive}:
        choices(kernels, "choice_noreplace_p", n, p.size, False, p)


def test_choice_tolerance_of_float32(kernels: Kernels) -> None:
    p = np.full(10, 0.10001, "float32")
    wide = p.astype("float64")
    stream = np.random.RandomState(4)
    state, out = rng.pack(stream), np.empty(20, "int64")
    assert kernels("choice_p", state, out, 20, wide, 10) == 1
    tolerance = float(np.sqrt(np.finfo("float32").eps))
    assert kernels("choice_p_within", state, out, 20, wide, 10, tolerance) == 0
    same_bits(out, stream.choice(10, 20, True, p))
    assert kernels("choice_noreplace_p_within", state, out[:9], 9, wide, 10, tolerance) == 0
    same_bits(out[:9], stream.choice(10, 9, False, p))
    same_state(state, stream)


# -- refusals --------------------------------------------------------------------------------

NAN, INF = float("nan"), float("inf")
REFUSED: list[tuple[int, str, tuple[Any, ...], tuple[str, ...]]] = [
    (2, "uniform", (0.0, INF), ("float64",) * 2),
    (2, "uniform", (NAN, 1.0), ("float64",) * 2),
    (2, "uniform", (-1e308, 1e308), ("float64",) * 2),
    (2, "uniform", (np.array([0.0, 1.0, -INF]), 1.0), ("float64",) * 2),
    (1, "normal", (0.0, -1.0), ("float64",) * 2),
    (1, "normal", (0.0, -0.0), ("float64",) * 2),
    (1, "normal", (0.0, np.array([1.0, 1.0, -1.0])), ("float64",) * 2),
    (1, "binomial", (-1, 0.5), INT_AND_P),
    (1, "binomial", (np.array([3, 4, -5]), 0.5), INT_AND_P),
    (1, "binomial", (3, NAN), INT_AND_P),
    (1, "binomial", (3, -0.1), INT_AND_P),
    (1, "binomial", (3, 1.0000001), INT_AND_P),
    (1, "poisson", (-1.0,), ("float64",)),
    (1, "poisson", (NAN,), ("float64",)),
    (1, "poisson", (9.3e18,), ("float64",)),
    (1, "randint", (3, 3), ("int64",) * 2),
    (1, "randint", (3, -(2**63)), ("int64",) * 2),
    (1, "randint", (0, np.array([4, 1, 0])), ("int64",) * 2),
]


@pytest.mark.parametrize(("code", "name", "params", "kinds"), REFUSED)
def test_bad_parameters(
    kernels: Kernels, code: int, name: str, params: tuple[Any, ...], kinds: tuple[str, ...]
) -> None:
    state = rng.pack(np.random.RandomState(1))
    before = state.copy()
    assert kernels.draw(name, state, 3, *params, kinds=kinds) == code
    assert (state == before).all()


def test_a_negative_count_is_refused(kernels: Kernels) -> None:
    state, one = rng.pack(np.random.RandomState(1)), np.ones(1)
    for name in ("uniform", "normal", "binomial", "randint"):
        assert kernels(name, state, one, -1, one, 0, one, 0) == 1
    assert kernels("poisson", state, one, -1, one, 0) == 1
    assert kernels("choice_p", state, one, -1, one, 1) == 1
    assert kernels("philox_uniform_f64", 1, 2, one, -1) == 1


def test_bad_choices(kernels: Kernels) -> None:
    state, out = rng.pack(np.random.RandomState(1)), np.empty(9, "int64")
    before = state.copy()
    assert kernels("choice_replace", state, out, 1, 0) == 1
    assert kernels("choice_replace", state, out, 1, -4) == 1
    assert kernels("choice_noreplace", state, out, 5, 4) == 1
    assert kernels("choice_noreplace", state, out, 5, 2**60) == 1
    assert kernels("permutation", state, out, 1, -1) == 1
    for p in ([0.5, 0.6], [0.5, NAN], [-0.5, 1.5], [0.5, 0.4]):
        assert kernels("choice_p", state, out, 2, np.array(p), 2) == 1
        assert kernels("choice_noreplace_p", state, out, 1, np.array(p), 2) == 1
    assert kernels("choice_p", state, out, 2, np.ones(1), 0) == 1
    assert kernels("choice_noreplace_p", state, out, 3, np.array([0.5, 0.5, 0.0]), 3) == 1
    assert (state == before).all()


@pytest.mark.parametrize("p", [[0.7, 0.7, 0.1], [1.7, 0.0], [0.1, NAN], [-0.1, 0.5]])
def test_bad_pvals(kernels: Kernels, p: list[float]) -> None:
    state, out = rng.pack(np.random.RandomState(1)), np.empty(9, "int64")
    three, pvals = np.array(3), np.array(p)
    assert kernels("multinomial", state, out, 1, three, 0, pvals, 0, pvals.size) == 1
    assert kernels("multinomial", state, out, 1, np.array([-3]), 0, pvals, 0, 0) == 1


# -- MRG -------------------------------------------------------------------------------------

M1, M2 = 2147483647, 2147462579


def mrg_samples(rows: list[list[int]], n: int) -> np.ndarray:
    """The recurrence of RANDOM.md in Python integers; advances `rows`."""
    samples = []
    for i in range(n):
        row = rows[i % len(rows)]
        x11, x12, x13, x21, x22, x23 = row
        y1 = (4194304 * x12 + 129 * x13) % M1
        y2 = (32768 * x21 + 32769 * x23) % M2
        row[:] = [y1, x11, x12, y2, x21, x22]
        samples.append(y1 - y2 + M1 if y1 <= y2 else y1 - y2)
    return np.array(samples, "int32")


MRG_RESULTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "float64": lambda z: z * 4.656612873077392578125e-10,
    "float32": lambda z: z.astype("float32") * np.float32(4.6566126e-10),
    "float16": lambda z: (
        ((z & 0x7FFF) + 1).astype("float64") * float(np.float16(3.0458e-05))
    ).astype("float16"),
}


@pytest.mark.parametrize("dtype", list(MRG_RESULTS))
@pytest.mark.parametrize(("nstreams", "n"), [(1, 9), (3, 0), (7, 20), (8, 64), (21, 1000), (50, 9)])
def test_mrg_uniform(kernels: Kernels, nstreams: int, n: int, dtype: str) -> None:
    source = np.random.RandomState(nstreams + n)
    extremes = [[M1 - 1] * 3 + [M2 - 1] * 3, [1] * 6, [0, 0, 1, M2 - 1, 0, M2 - 1]]
    state = source.randint(0, M2, (nstreams, 6)).astype("int32")
    state[: len(extremes)] = np.array(extremes[:nstreams])
    rows = [[int(x) for x in row] for row in state]
    name = "mrg_uniform_f" + dtype[-2:]
    for _ in range(2):
        out = np.empty(n, dtype)
        assert kernels(name, state, nstreams, out, n) == 0
        same_bits(out, MRG_RESULTS[dtype](mrg_samples(rows, n)))
        assert state.tolist() == rows


def test_mrg_substreams(kernels: Kernels) -> None:
    def jumped(words: list[int], jump: Any) -> list[int]:
        a, b = words[:3], words[3:]
        return [sum(x * y for x, y in zip(r, a, strict=True)) % M1 for r in jump[0]] + [
            sum(x * y for x, y in zip(r, b, strict=True)) % M2 for r in jump[1]
        ]

    for seed in ([12345] * 6, [1, 2, 3, 4, 5, 6], [M1 - 1] * 3 + [M2 - 1] * 3):
        state, out = np.array(seed, "int32"), np.empty((200, 6), "int32")
        assert kernels("mrg_substreams", state, 200, out) == 0
        want = [seed]
        for _ in range(199):
            want.append(jumped(want[-1], rng.mrg.ROW_JUMP))
        assert out.tolist() == want
        assert state.tolist() == jumped(seed, rng.mrg.DRAW_JUMP)


def test_mrg_row_jump_is_the_power_of_the_step() -> None:
    step = (((0, 1 << 22, 129), (1, 0, 0), (0, 1, 0)), ((32768, 0, 32769), (1, 0, 0), (0, 1, 0)))
    for jump, exponent in ((rng.mrg.ROW_JUMP, 72), (rng.mrg.DRAW_JUMP, 134)):
        for matrix, base, modulus in zip(jump, step, (M1, M2), strict=True):
            power = np.array(base, object)
            for _ in range(exponent):
                power = power.dot(power) % modulus
            assert power.tolist() == np.array(matrix, object).tolist()


def test_mrg_without_streams_is_refused(kernels: Kernels) -> None:
    state = np.ones((1, 6), "int32")
    assert kernels("mrg_uniform_f64", state, 0, np.empty(3), 3) == 1
    assert kernels("mrg_substreams", state, 0, state) == 1


# -- Philox ----------------------------------------------------------------------------------


def philox(counter: tuple[int, ...], key: tuple[int, ...]) -> list[int]:
    """Philox4x32-10 in Python integers."""
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        low = 0xFFFFFFFF
        c = [(b >> 32) ^ c[1] ^ k[0], b & low, (a >> 32) ^ c[3] ^ k[1], a & low]
        k = [(k[0] + 0x9E3779B9) & low, (k[1] + 0xBB67AE85) & low]
    return c


def test_philox_reference_gives_the_published_vectors() -> None:
    ones = 0xFFFFFFFF
    assert philox((0,) * 4, (0,) * 2) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert philox((ones,) * 4, (ones,) * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    pi = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
    want = [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]
    assert philox(pi, (0xA4093822, 0x299F31D0)) == want


@pytest.mark.parametrize("n", [0, 1, 3, 5, 31, 32, 63, 64, 65, 1000])
@pytest.mark.parametrize(
    ("key", "counter"), [(0, 0), (12345, 7), (-1, 2**32 - 3), (2**40 + 9, -2), (-(2**63), 2**62)]
)
def test_philox(kernels: Kernels, key: int, counter: int, n: int) -> None:
    words: list[int] = []
    for b in range(-(-n // 2)):
        block = (counter + b) % 2**64
        halves = (key % 2**32, (key >> 32) % 2**32)
        words += philox((block % 2**32, block >> 32, 0, 0), halves)
    single, double = np.empty(n, "float32"), np.empty(n)
    assert kernels("philox_uniform_f32", key, counter, single, n) == 0
    assert kernels("philox_uniform_f64", key, counter, double, n) == 0
    w = np.array(words, "uint32")
    same_bits(single, (w[:n] >> 8).astype("float32") * np.float32(2.0**-24))
    same_bits(double, (((w[0::2] >> 5) * 2.0**26 + (w[1::2] >> 6)) * 2.0**-53)[:n])


# -- without LLVM's passes -------------------------------------------------------------------


def test_kernels_need_no_passes() -> None:
    plain = Kernels(optimized=False)
    check(plain, "uniform", lambda r: r.uniform(-1, 2, 700), -1.0, 2.0, seeds=(1,))
    check(plain, "normal", lambda r: r.normal(size=301), 0.0, 1.0, seeds=(1,))
    check(
        plain,
        "binomial",
        lambda r: r.binomial(500, 0.3, 200),
        500,
        0.3,
        kinds=INT_AND_P,
        seeds=(1,),
    )
    check(plain, "poisson", lambda r: r.poisson(15.0, 200), 15.0, seeds=(1,))
