"""Uniform and normal draws, as RandomState makes them.

Every parameter is an array with a stride of 0 (one value for all draws) or 1. Parameters are
checked before the first draw, so that a refused call leaves the stream as it was.
"""

from __future__ import annotations

from collections.abc import Callable

from ltensor.lowering.rng.builder import Function, Module, Value
from ltensor.lowering.rng.state import GAUSS_WORD, HAS_GAUSS_WORD

OK, BAD_ARGUMENT, RANGE_OVERFLOW = 0, 1, 2


def emit(m: Module) -> None:
    """Write the kernels of the continuous distributions."""
    _uniform(m)
    _gauss(m)
    _normal(m)


def check_each(
    f: Function,
    n: Value,
    stride: Value,
    is_good: Callable[[Value], Value],
    code: int = BAD_ARGUMENT,
) -> None:
    """Return `code` when a parameter fails; a single value is looked at even if n is 0."""
    length = stride.eq(0).pick(1, n)
    with f.count(length) as i:
        f.ret_if(~is_good(i), code)


def _uniform(m: Module) -> None:
    params = {
        "state": "ptr",
        "out": "ptr",
        "n": "i64",
        "low": "ptr",
        "slow": "i64",
        "high": "ptr",
        "shigh": "i64",
    }
    with m.function("lt_rng_uniform", "i32", params) as f:
        state, out, n, low, slow, high, shigh = f.args(*params)
        f.ret_if(n < 0, BAD_ARGUMENT)

        def width(i: Value) -> Value:
            return f.load("double", high, i * shigh) - f.load("double", low, i * slow)

        def is_finite(i: Value) -> Value:
            return f.call("llvm.fabs.f64", width(i)) < float("inf")

        check_each(f, n, slow | shigh, is_finite, RANGE_OVERFLOW)
        with f.when((slow | shigh).eq(0)):
            zero = f.const("i64", 0)
            f.call("fill_doubles", state, out, n, f.load("double", low), width(zero))
            f.ret(OK)
        f.call("fill_doubles", state, out, n, 0.0, 1.0)
        with f.count(n) as i:
            unit = f.load("double", out, i)
            f.store(f.load("double", low, i * slow) + width(i) * unit, out, i)


def _gauss(m: Module) -> None:
    """One standard normal value by the polar method; the second of a pair waits in the state."""
    with m.function("gauss", "double", {"state": "ptr"}, local="") as f:
        (state,) = f.args("state")
        slot = f.at("i32", state, GAUSS_WORD)
        with f.when(f.load("i32", state, HAS_GAUSS_WORD).ne(0)):
            kept = f.load("double", slot)
            f.store(f.const("i32", 0), state, HAS_GAUSS_WORD)
            f.store(f.const("double", 0.0), slot)
            f.ret(kept)
        again = f.label("again")
        f.place(again)
        x1 = 2.0 * f.call("next_double", state) - 1.0
        x2 = 2.0 * f.call("next_double", state) - 1.0
        r2 = x1 * x1 + x2 * x2
        f.goto_if((r2 >= 1.0) | r2.eq(0.0), again)
        scale = f.call("llvm.sqrt.f64", -2.0 * f.call("log", r2) / r2)
        f.store(scale * x1, slot)
        f.store(f.const("i32", 1), state, HAS_GAUSS_WORD)
        f.ret(scale * x2)


def _normal(m: Module) -> None:
    params = {
        "state": "ptr",
        "out": "ptr",
        "n": "i64",
        "avg": "ptr",
        "savg": "i64",
        "std": "ptr",
        "sstd": "i64",
    }
    with m.function("lt_rng_normal", "i32", params) as f:
        state, out, n, avg, savg, std, sstd = f.args(*params)
        f.ret_if(n < 0, BAD_ARGUMENT)

        def is_good(i: Value) -> Value:
            # NumPy refuses whatever has its sign set, -0.0 too, but lets every NaN pass.
            value = f.load("double", std, i)
            is_number = value.eq(value)
            return (value.convert("bitcast", "i64") >= 0) | ~is_number

        check_each(f, n, sstd, is_good)
        with f.count(n) as i:
            center, scale = f.load("double", avg, i * savg), f.load("double", std, i * sstd)
            f.store(center + scale * f.call("gauss", state), out, i)
