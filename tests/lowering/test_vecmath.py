"""Accuracy, edge cases and targets of the generated math functions.

Every function is compared with mpmath at a few hundred points (seeded), and the error is held to
the bound that `vecmath.ULP` states.
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from lowering.vecmath_harness import Array, Compiled, exact_values, ulp_errors

from ltensor.lowering import vecmath
from ltensor.lowering.cpu import jit

DTYPES = ("float32", "float64")
LANES = {"float32": 16, "float64": 8}
INF, NAN = math.inf, math.nan

# -- reference functions ----------------------------------------------------------------------


def precise(bits: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            with mp.workprec(bits):
                return function(*arguments)

        return call

    return decorate


def erfcinv(x: Any) -> Any:
    if x > mp.mpf("0.1"):
        return mp.erfinv(1 - x)
    return mp.findroot(lambda y: mp.log(mp.erfc(y)) - mp.log(x), mp.sqrt(-mp.log(x)))


def erfinv(x: Any) -> Any:
    return mp.sign(x) * erfcinv(1 - abs(x)) if abs(x) > 0.9 else mp.erfinv(x)


def erfcx(x: Any) -> Any:
    if x > 100:
        return (1 - 1 / (2 * x**2) + 3 / (4 * x**4) - 15 / (8 * x**6)) / (x * mp.sqrt(mp.pi))
    return mp.exp(x * x) * mp.erfc(x)


def gammaln(x: Any) -> Any:
    return mp.log(abs(mp.gamma(x))) if abs(x) < 300 else mp.loggamma(x)


REFERENCE: dict[str, Callable[..., Any]] = {
    "exp": mp.exp,
    "exp2": lambda x: mp.mpf(2) ** x,
    "exp10": lambda x: mp.mpf(10) ** x,
    "expm1": mp.expm1,
    "log": mp.log,
    "log2": lambda x: mp.log(x, 2),
    "log10": mp.log10,
    "log1p": mp.log1p,
    "tanh": mp.tanh,
    "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
    "softplus": lambda x: mp.log1p(mp.exp(x)),
    "sin": precise(1300)(mp.sin),
    "cos": precise(1300)(mp.cos),
    "tan": precise(1300)(mp.tan),
    "arcsin": mp.asin,
    "arccos": mp.acos,
    "arctan": mp.atan,
    "arctan2": mp.atan2,
    "sinh": mp.sinh,
    "cosh": mp.cosh,
    "arcsinh": mp.asinh,
    "arccosh": mp.acosh,
    "arctanh": mp.atanh,
    "hypot": mp.hypot,
    "pow": lambda x, y: x**y,
    "erf": mp.erf,
    "erfc": mp.erfc,
    "erfcx": precise(1200)(erfcx),
    "erfinv": erfinv,
    "erfcinv": erfcinv,
    "gamma": mp.gamma,
    "gammaln": gammaln,
    "psi": lambda x: mp.psi(0, x),
    "tri_gamma": lambda x: mp.psi(1, x),
    "i0": lambda x: mp.besseli(0, x),
    "i1": lambda x: mp.besseli(1, x),
    "j0": lambda x: mp.besselj(0, x),
    "j1": lambda x: mp.besselj(1, x),
}

# -- sample points ----------------------------------------------------------------------------

# Uniform pieces (low, high) and pieces spread over magnitudes ("log", low, high[, "both"]), by
# function and dtype; None in the second place: the same as for float32.
Piece = tuple[Any, ...]
TINY = {"float32": 1e-44, "float64": 1e-320}
HUGE = {"float32": 3e38, "float64": 1e308}


def pieces(name: str, dtype: str) -> list[list[Piece]]:
    """Sample pieces of each argument."""
    single = dtype == "float32"
    tiny, huge = TINY[dtype], HUGE[dtype]
    unit: list[Piece] = [(-1, 1), ("log", tiny, 1, "both"), ("one", 1e-7 if single else 1e-16)]
    wide: list[Piece] = [(-4, 4), ("log", tiny, huge, "both")]
    top = {"exp": (88.7, 709.7), "exp2": (127.9, 1023.9), "exp10": (38.5, 308.2)}
    bottom = {"exp": (-103.9, -745), "exp2": (-149, -1074), "exp10": (-45, -323)}
    if name in top:
        low, high = bottom[name][not single], top[name][not single]
        return [[(low, high), (-2, 2), ("log", tiny, 1, "both")]]
    exp_low, exp_high = (-103.0, 89.4) if single else (-744.0, 710.4)
    table: dict[str, list[Piece]] = {
        "expm1": [(-20, exp_high - 0.8), (-1, 1), ("log", tiny, 1, "both")],
        "log": [(0.3, 3), (0.99, 1.01), ("log", tiny, huge)],
        "log2": [(0.3, 3), (0.99, 1.01), ("log", tiny, huge)],
        "log10": [(0.3, 3), (0.99, 1.01), ("log", tiny, huge)],
        "log1p": [(-1, 3), ("log", tiny, 1, "both"), ("log", 1, huge)],
        "tanh": [(-1, 1), (-20, 20), ("log", tiny, 1, "both")],
        "sigmoid": [(exp_low, -exp_low), (-10, 10), ("log", tiny, 1, "both")],
        "softplus": [(exp_low, -exp_low), (-10, 10), ("log", tiny, 1, "both")],
        "sin": [(-10, 10), (-1e5, 1e5), ("log", tiny, huge, "both")],
        "arcsin": unit,
        "arccos": unit,
        "arctan": wide,
        "sinh": [(-exp_high, exp_high), (-2, 2), ("log", tiny, 1, "both")],
        "cosh": [(-exp_high, exp_high), (-2, 2), ("log", tiny, 1, "both")],
        "arcsinh": wide,
        "arccosh": [(1, 4), ("above one", 1e-7 if single else 1e-16), ("log", 1, huge)],
        "arctanh": unit,
        "erf": [(-4, 4), (-1.2, 1.2), ("log", tiny, 1, "both")],
        "erfc": [(-4, 10.05 if single else 26.5), (-1, 1), ("log", tiny, 1, "both")],
        "erfcx": [(-9.3 if single else -26.6, 30), (-1, 1), ("log", tiny, 1e30)],
        "erfinv": unit,
        "erfcinv": [(0, 2), ("log", tiny, 1)],
        "gamma": [(-34, 35) if single else (-160, 171.6), (0, 12), ("log", 1e-37, 1, "both")],
        "gammaln": [(0, 0.95), (1.05, 1.95), (2.05, 200), ("log", 3, 1e30), ("log", 1e-37, 0.3)],
        "psi": [(0, 1.4), (1.52, 30), ("log", 3, 1e30), ("log", 1e-37, 0.4, "both")],
        "tri_gamma": [(0, 3), (-20, 30), ("log", 3, 1e30), ("log", 1e-18, 0.4, "both")],
        "i0": [(-9, 9), (-88 if single else -700, 88 if single else 700), ("log", tiny, 1, "both")],
        "j0": [(-20, 20), (-1000, 1000), ("log", tiny, 1, "both")],
    }
    table["cos"] = table["tan"] = table["sin"]
    table["i1"], table["j1"] = table["i0"], table["j0"]
    if name in ("arctan2", "hypot"):
        return [wide, wide]
    if name == "pow":
        bases = [("log", tiny, huge), (0.9, 1.1), (0, 4)]
        return [bases, [(-3, 3), (-800, 800), (-60, 60)]]
    return [table[name]]


def sample(parts: list[Piece], dtype: str, seed: int) -> Array:
    """About 120 points from each piece."""
    rng = np.random.default_rng(seed)
    chunks = []
    for part in parts:
        if part[0] == "log":
            points = np.exp(rng.uniform(math.log(part[1]), math.log(part[2]), 120))
            if len(part) > 3:
                points *= rng.choice([-1.0, 1.0], 120)
        elif part[0] in ("one", "above one"):
            distance = np.exp(rng.uniform(math.log(part[1]), math.log(0.3), 120))
            points = 1 - distance if part[0] == "one" else 1 + distance
        else:
            points = rng.uniform(part[0], part[1], 120)
        chunks.append(points)
    return np.concatenate(chunks).astype(dtype)


@cache
def cases(name: str, dtype: str) -> tuple[list[Array], list[Any]]:
    """Points and exact values."""
    inputs = [sample(parts, dtype, 7 + k) for k, parts in enumerate(pieces(name, dtype))]
    if name == "arcsin" or name == "arccos" or name == "erfinv" or name == "arctanh":
        inputs = [np.where(np.abs(x) < 1, x, np.array(0.5, dtype)) for x in inputs]
    with mp.workprec(160):
        return inputs, exact_values(REFERENCE[name], *inputs)


NAMES = sorted(vecmath.FUNCTIONS)

# -- accuracy ---------------------------------------------------------------------------------


def assert_within(name: str, dtype: str, got: Array, bound: float) -> None:
    inputs, exact = cases(name, dtype)
    with mp.workprec(160):
        if name in ("j0", "j1"):  # beyond the first zeros the bound is against the amplitude
            amplitude = [mp.sqrt(2 / (mp.pi * max(abs(mp.mpf(float(x))), 8))) for x in inputs[0]]
            far = np.abs(inputs[0]) > 8
            errors = np.where(
                far,
                ulp_errors(got, exact, amplitude),
                ulp_errors(got, exact),
            )
        else:
            errors = ulp_errors(got, exact)
    worst = int(np.argmax(errors))
    where = [x[worst] for x in inputs]
    assert errors[worst] <= bound, (
        f"{name}{where} = {got[worst]!r}, not {mp.nstr(exact[worst], 20)}"
    )


def test_every_function_has_a_bound_and_a_reference() -> None:
    assert set(vecmath.ULP) == {(name, dtype) for name in NAMES for dtype in DTYPES}
    assert set(REFERENCE) >= set(NAMES)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_error_is_within_the_stated_bound(name: str, dtype: str) -> None:
    inputs, _ = cases(name, dtype)
    vector = Compiled(name, dtype, LANES[dtype])(*inputs)
    assert_within(name, dtype, vector, vecmath.ULP[name, dtype])
    scalar = Compiled(name, dtype, 1)(*inputs)
    np.testing.assert_array_equal(scalar, vector)  # lanes do not influence one another
    inlined = Compiled(name, dtype, LANES[dtype], inline=True)(*inputs)
    np.testing.assert_array_equal(inlined, vector)


NEEDS_AVX512 = pytest.mark.skipif(not jit.host().has_avx512, reason="no AVX-512 here")


def both_targets(name: str, dtype: str, lanes: int, *inputs: Array) -> None:
    common = Compiled(name, dtype, LANES[dtype])(*inputs)
    special = Compiled(name, dtype, lanes, target="avx512")(*inputs)
    np.testing.assert_array_equal(special, common)
    number = ~np.isnan(common)
    np.testing.assert_array_equal(np.signbit(special[number]), np.signbit(common[number]))


@NEEDS_AVX512
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_avx512_gives_the_same_bits(name: str, dtype: str) -> None:
    both_targets(name, dtype, LANES[dtype], *cases(name, dtype)[0])
    columns = [np.array(c, dtype) for c in zip(*EDGES[name], strict=True)][:-1]
    both_targets(name, dtype, LANES[dtype], *columns)


@NEEDS_AVX512
@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 16, 32])
@pytest.mark.parametrize("dtype", DTYPES)
def test_avx512_scales_by_powers_of_two(dtype: str, lanes: int) -> None:
    text = vecmath.emit_function("exp", dtype, lanes, target="avx512")[1]
    assert ("scalef" in text) == (lanes * np.dtype(dtype).itemsize >= 16)
    assert "scalef" not in vecmath.emit_function("exp", dtype, lanes)[1]
    # down to denormals and up to infinity
    low, high = (-110, 95) if dtype == "float32" else (-760, 720)
    both_targets("exp", dtype, lanes, np.linspace(low, high, 5000, dtype=dtype))
    both_targets("exp", dtype, lanes, np.array([0.0, -0.0, INF, -INF, NAN, 1e30, -1e30], dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_machine_without_fma(name: str, dtype: str) -> None:
    _, text, _, declares = vecmath.emit_function(name, dtype, LANES[dtype], fma=False)
    assert "llvm.fma" not in text + "".join(declares)
    inputs, _ = cases(name, dtype)
    got = Compiled(name, dtype, LANES[dtype], fma=False)(*inputs)
    assert_within(name, dtype, got, vecmath.ULP[name, dtype] * 1.25 + 0.5)


# -- edges ------------------------------------------------------------------------------------

HALF_PI = math.pi / 2
EDGES: dict[str, list[tuple[float, ...]]] = {  # arguments and result
    "exp": [(0.0, 1), (-0.0, 1), (INF, INF), (-INF, 0), (1e5, INF), (-1e5, 0)],
    "exp2": [(0.0, 1), (INF, INF), (-INF, 0), (5, 32), (-3, 0.125), (1e5, INF), (-1e5, 0)],
    "exp10": [(0.0, 1), (INF, INF), (-INF, 0), (2, 100), (1e5, INF), (-1e5, 0)],
    "expm1": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -1), (1e5, INF), (-1e5, -1)],
    "log": [(0.0, -INF), (-0.0, -INF), (1, 0.0), (INF, INF), (-INF, NAN), (-1, NAN)],
    "log2": [(0.0, -INF), (-0.0, -INF), (1, 0.0), (INF, INF), (-1, NAN), (8, 3), (2**-20, -20)],
    "log10": [(0.0, -INF), (-0.0, -INF), (1, 0.0), (INF, INF), (-1, NAN), (1000, 3), (1e10, 10)],
    "log1p": [(0.0, 0.0), (-0.0, -0.0), (-1, -INF), (INF, INF), (-2, NAN), (-INF, NAN)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (INF, 1), (-INF, -1), (100, 1), (-1e30, -1)],
    "sigmoid": [(0.0, 0.5), (INF, 1), (-INF, 0), (800, 1), (-800, 0)],
    "softplus": [(INF, INF), (-INF, 0), (800, 800), (-800, 0), (1e30, 1e30)],
    "sin": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "cos": [(0.0, 1), (-0.0, 1), (INF, NAN), (-INF, NAN)],
    "tan": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "arcsin": [(0.0, 0.0), (-0.0, -0.0), (1, HALF_PI), (-1, -HALF_PI), (1.5, NAN), (-INF, NAN)],
    "arccos": [(1, 0.0), (0.0, HALF_PI), (-1, math.pi), (1.5, NAN), (-1.5, NAN), (INF, NAN)],
    "arctan": [(0.0, 0.0), (-0.0, -0.0), (INF, HALF_PI), (-INF, -HALF_PI)],
    "arctan2": [
        (y, x, math.atan2(y, x))
        for y in (0.0, -0.0, 1.0, -1.0, INF, -INF, 1e-30, -1e30)
        for x in (0.0, -0.0, 1.0, -1.0, INF, -INF, 1e30, -1e30)
    ],
    "sinh": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (1e5, INF), (-1e5, -INF)],
    "cosh": [(0.0, 1), (-0.0, 1), (INF, INF), (-INF, INF), (-1e5, INF)],
    "arcsinh": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF)],
    "arccosh": [(1, 0.0), (INF, INF), (0.5, NAN), (-INF, NAN), (0.0, NAN)],
    "arctanh": [(0.0, 0.0), (-0.0, -0.0), (1, INF), (-1, -INF), (1.5, NAN), (-INF, NAN)],
    "hypot": [(0.0, -0.0, 0.0), (3, -4, 5), (INF, NAN, INF), (NAN, -INF, INF), (1e30, 0.0, 1e30)],
    "pow": [
        (2, 0.0, 1), (NAN, 0.0, 1), (INF, -0.0, 1), (1, NAN, 1), (1, INF, 1), (-1, INF, 1),
        (-1, -INF, 1), (-2, 3, -8), (-2, 4, 16), (-2, 0.5, NAN), (-2, -1, -0.5), (0.0, 3, 0.0),
        (-0.0, 3, -0.0), (-0.0, 2, 0.0), (-0.0, -3, -INF), (0.0, -2, INF), (-0.0, -0.5, INF),
        (0.5, INF, 0), (0.5, -INF, INF), (2, INF, INF), (2, -INF, 0), (INF, 2, INF), (INF, -2, 0),
        (-INF, 3, -INF), (-INF, 2, INF), (-INF, -3, -0.0), (-INF, 0.5, INF), (NAN, 2, NAN),
        (2, NAN, NAN), (10, 1e6, INF), (10, -1e6, 0), (-10, 1000001, -INF), (3, 2, 9),
        (-1, 16777215, -1), (-1, 16777216, 1), (0.0, INF, 0), (0.0, -INF, INF), (INF, INF, INF),
    ],
    "erf": [(0.0, 0.0), (-0.0, -0.0), (INF, 1), (-INF, -1), (30, 1), (-30, -1)],
    "erfc": [(0.0, 1), (INF, 0), (-INF, 2), (100, 0), (-100, 2)],
    "erfcx": [(INF, 0), (-INF, INF), (-100, INF)],
    "erfinv": [(0.0, 0.0), (-0.0, -0.0), (1, INF), (-1, -INF), (1.5, NAN), (-INF, NAN)],
    "erfcinv": [(1, 0.0), (0.0, INF), (2, -INF), (2.5, NAN), (-1, NAN), (INF, NAN)],
    "gamma": [(0.0, INF), (-0.0, -INF), (-1, NAN), (-INF, NAN), (INF, INF), (5, 24), (200, INF)],
    "gammaln": [(0.0, INF), (1, 0.0), (2, 0.0), (-3, INF), (INF, INF), (-INF, INF)],
    "psi": [(0.0, -INF), (-0.0, INF), (-2, NAN), (INF, INF)],
    "tri_gamma": [(0.0, INF), (-4, INF), (INF, 0.0)],
    "i0": [(0.0, 1), (INF, INF), (-INF, INF)],
    "i1": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF)],
    "j0": [(0.0, 1)],
    "j1": [(0.0, 0.0), (-0.0, -0.0)],
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_edge_cases(name: str, dtype: str) -> None:
    arity = vecmath.FUNCTIONS[name]
    rows = EDGES[name] + ([(NAN, NAN)] if arity == 1 else [(NAN, 0.5, NAN), (0.5, NAN, NAN)])
    columns = [np.array(column, dtype) for column in zip(*rows, strict=True)]
    *inputs, expected = columns
    got = Compiled(name, dtype, LANES[dtype])(*inputs)
    # exact except for what is not a machine number (pi / 2): that to one ulp
    same = (got == expected) | (np.isnan(got) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        close = np.abs(got - expected) <= np.spacing(np.abs(expected))
    inexact = np.isfinite(expected) & (expected != np.trunc(expected)) & (np.abs(expected) > 1e-3)
    wrong = ~(same | (inexact & close))
    assert not wrong.any(), [
        (*row, float(g)) for row, g, w in zip(rows, got, wrong, strict=True) if w
    ]
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(got[number]), np.signbit(expected[number]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_overflow_and_underflow_round_once(dtype: str) -> None:
    exp = Compiled("exp", dtype, LANES[dtype])
    x = sample([(-104, -87)] if dtype == "float32" else [(-745.2, -708)], dtype, 1)
    with mp.workprec(160):
        errors = ulp_errors(exp(x), exact_values(mp.exp, x))
    assert errors.max() <= 1.0  # units of the smallest denormal: no double rounding
    assert (exp(x) > 0).sum() > 100


@pytest.mark.parametrize("dtype", DTYPES)
def test_trigonometric_functions_at_multiples_of_half_pi(dtype: str) -> None:
    """The floats nearest to multiples of pi / 2 need every bit of the reduction."""
    turns = np.concatenate(
        [np.arange(1, 200), 10 ** np.arange(3, 30 if dtype == "float32" else 300)]
    )
    with mp.workprec(1300):
        x = np.array([float(mp.mpf(int(t)) * mp.pi / 2) for t in turns]).astype(dtype)
        worst = 6381956970095103.0 * 2.0**797  # the hardest float64 (Muller)
        x = np.append(
            x, np.array([16367173.0 * 2.0**72, worst if dtype == "float64" else 1.0], dtype)
        )
        for name in ("sin", "cos", "tan"):
            errors = ulp_errors(
                Compiled(name, dtype, LANES[dtype])(x), exact_values(getattr(mp, name), x)
            )
            assert errors.max() <= vecmath.ULP[name, dtype], (name, x[np.argmax(errors)])


# -- interface --------------------------------------------------------------------------------


@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 16, 32])
@pytest.mark.parametrize("dtype", DTYPES)
def test_all_lane_counts(dtype: str, lanes: int) -> None:
    x = np.linspace(-3, 3, 64, dtype=dtype)
    reference = Compiled("tanh", dtype, LANES[dtype])(x)
    np.testing.assert_array_equal(Compiled("tanh", dtype, lanes)(x), reference)


def test_wrong_requests_are_refused() -> None:
    with pytest.raises(KeyError, match="no vector function"):
        vecmath.emit_function("sine", "float32", 1)
    with pytest.raises(TypeError, match="float16"):
        vecmath.emit_function("sin", "float16", 1)
    with pytest.raises(ValueError, match="3 lanes"):
        vecmath.emit_function("sin", "float32", 3)
    with pytest.raises(ValueError, match="metal"):
        vecmath.emit_function("sin", "float32", 1, target="metal")
    with pytest.raises(TypeError, match="2 arguments"):
        vecmath.emit_inline("pow", "float32", 1, ["%x"], lambda: "%t")


@pytest.mark.parametrize("name", NAMES)
def test_inline_text_is_one_basic_block(name: str) -> None:
    numbers = iter(range(100_000))
    arguments = ["%x", "%y"][: vecmath.FUNCTIONS[name]]
    lines, result, _ = vecmath.emit_inline(
        name, "float32", 16, arguments, lambda: f"%t{next(numbers)}"
    )
    assert all(re.match(r"  %t\d+ = (?!phi|br)", line) for line in lines)
    assert any(line.startswith(f"  {result} = ") for line in lines)
    _, function, _, _ = vecmath.emit_function(name, "float32", 16)
    assert (" = phi " in function) == (name in vecmath.WITH_RARE_BRANCH)
    assert len(lines) == len({line.split(" = ", 1)[1] for line in lines})  # nothing twice


# -- GPU text ---------------------------------------------------------------------------------

# In its own process: an intrinsic that NVPTX cannot lower ends the process.
PTX_PROGRAM = """
import sys
import llvmlite.binding as llvm
from ltensor.lowering.cpu import jit
from ltensor.lowering import vecmath
llvm.initialize_all_targets(); llvm.initialize_all_asmprinters()
dtype = sys.argv[1]
scalar = {"float32": "float", "float64": "double"}[dtype]
declares, parts = set(), []
for name, arity in vecmath.FUNCTIONS.items():
    print(name, file=sys.stderr, flush=True)
    symbol, text, _, needed = vecmath.emit_function(name, dtype, 1, target="nvptx")
    declares |= needed
    pointers = ", ".join(f"ptr addrspace(1) %p{k}" for k in range(arity + 1))
    loads = "".join(f"  %a{k} = load {scalar}, ptr addrspace(1) %p{k}\\n" for k in range(arity))
    operands = ", ".join(f"{scalar} %a{k}" for k in range(arity))
    parts.append(text + f'''define ptx_kernel void @kernel_{name}({pointers}) {{
{loads}  %r = call {scalar} @"{symbol}"({operands})
  store {scalar} %r, ptr addrspace(1) %p{arity}
  ret void
}}
''')
text = "\\n".join([*sorted(declares), *parts, "attributes #0 = { nounwind }"])
target = llvm.Target.from_triple("nvptx64-nvidia-cuda")
machine = target.create_target_machine(cpu="sm_90", opt=3)
module = llvm.parse_assembly(text.replace("#lt_math", "#0"))
module.triple = "nvptx64-nvidia-cuda"
module.data_layout = str(machine.target_data)
module.verify()
print(machine.emit_assembly(module))
"""


@pytest.mark.parametrize("dtype", DTYPES)
def test_ptx_of_every_function_assembles(dtype: str, tmp_path: Any) -> None:
    command = [sys.executable, "-c", PTX_PROGRAM, dtype]
    compiled = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert compiled.returncode == 0, compiled.stderr[-2000:]
    ptx = compiled.stdout
    assert ptx.count(".visible .entry kernel_") == len(NAMES)
    # ptxas would fuse a product and a sum that do not ask for their own rounding.
    assert not re.search(r"\b(add|sub|mul)\.f(32|64)", ptx)
    ptxas = shutil.which("ptxas")
    if ptxas is None:
        pytest.skip("PTX was generated; there is no ptxas on PATH to assemble it")
    (tmp_path / "all.ptx").write_text(ptx)
    assembled = subprocess.run(
        [ptxas, "-arch=sm_90", "-O1", "-o", str(tmp_path / "all.cubin"), str(tmp_path / "all.ptx")],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert assembled.returncode == 0, assembled.stderr[-2000:]
