"""Poisson, multinomial and bounded integer draws of the legacy stream.

Bounded integers come from masked rejection: the smallest all-ones mask over the range, over
one 32-bit word when the range fits, else over two. `randint`, `choice` and `permutation` all
go through `bounded`.
"""

from __future__ import annotations

import math

import numpy as np

from ltensor.lowering.rng.binomial import METHOD_PARAMS, is_probability, new_cache
from ltensor.lowering.rng.builder import Function, Module, Value
from ltensor.lowering.rng.continuous import BAD_ARGUMENT, check_each

# NumPy's bound on the rate: ten deviations below the largest int64.
LARGEST_RATE = float(2**63 - 1) - math.sqrt(2**63 - 1) * 10
LARGE_RATE = 10.0  # from here on Hoermann's transformed rejection
# Slots of what the draws of one rate share.
SETUP_NAMES = ("rate", "floor", "log_rate", "a", "b", "log_alpha", "inside")
SETUP = {name: i for i, name in enumerate(SETUP_NAMES)}
LOG_2PI = 1.8378770664093453
LOG_GAMMA_SERIES = (
    8.333333333333333e-02,
    -2.777777777777778e-03,
    7.936507936507937e-04,
    -5.952380952380952e-04,
    8.417508417508418e-04,
    -1.917526917526918e-03,
    6.410256410256410e-03,
    -2.955065359477124e-02,
    1.796443723688307e-01,
    -1.39243221690590e00,
)


def emit(m: Module) -> None:
    """Write the kernels of the discrete distributions."""
    _log_gamma(m)
    _poisson_small(m)
    _poisson_setup(m)
    _poisson_large(m)
    _poisson(m)
    _bounded(m)
    _randint(m)
    _trial(m)
    _multinomial(m)


def _log_gamma(m: Module) -> None:
    """The legacy stream's own log-gamma; libm's differs in the last bits."""
    with m.function("log_gamma", "double", {"x": "double"}, local="") as f:
        (x,) = f.args("x")
        f.ret_if(x.eq(1.0) | x.eq(2.0), 0.0)
        is_small = x <= 7.0
        steps = is_small.pick((7.0 - x).to_int(), 0)
        at = f.var("double", x + steps.to_double())
        start = at.value
        x2 = 1.0 / (start * start)
        series = f.const("double", LOG_GAMMA_SERIES[-1])
        for term in reversed(LOG_GAMMA_SERIES[:-1]):
            series = series * x2 + term
        total = series / start + 0.5 * LOG_2PI
        result = f.var("double", total + (start - 0.5) * f.call("log", start) - start)
        with f.count(steps):
            at.value = at.value - 1.0
            result.value = result.value - f.call("log", at.value)
        f.ret(result.value)


def _poisson_small(m: Module) -> None:
    """Multiply uniforms until the product falls below exp(-rate), which the caller made."""
    params = {"state": "ptr", "floor": "double"}
    with m.function("poisson_small", "i64", params, local="") as f:
        state, floor = f.args(*params)
        count, product = f.var("i64", 0), f.var("double", 1.0)
        again, end = f.label("again"), f.label("end")
        f.place(again)
        product.value = product.value * f.call("next_double", state)
        f.goto_if(~(product.value > floor), end)
        count.value = count.value + 1
        f.goto(again)
        f.place(end)
        f.ret(count.value)


def _poisson_setup(m: Module) -> None:
    """What the draws of one rate share: exp(-rate) for small rates, PTRS's constants for others."""
    params = {"rate": "double", "setup": "ptr"}
    with m.function("poisson_setup", "void", params, local="noinline") as f:
        rate, setup = f.args(*params)
        f.store(rate, setup, SETUP["rate"])
        with f.when(~(rate >= LARGE_RATE)):
            f.store(f.call("exp", -rate), setup, SETUP["floor"])
            f.ret()
        b = 0.931 + 2.53 * f.call("llvm.sqrt.f64", rate)
        values = {
            "log_rate": f.call("log", rate),
            "a": -0.059 + 0.02483 * b,
            "b": b,
            "log_alpha": f.call("log", 1.1239 + 1.1328 / (b - 3.4)),
            "inside": 0.9277 - 3.6224 / (b - 2.0),
        }
        for name, value in values.items():
            f.store(value, setup, SETUP[name])
        f.ret()


def _poisson_large(m: Module) -> None:
    """Hoermann's PTRS (Insurance: Mathematics and Economics 12, 1993)."""
    params = {"state": "ptr", "setup": "ptr"}
    with m.function("poisson_large", "i64", params, local="") as f:
        state, setup = f.args(*params)

        def get(name: str) -> Value:
            return f.load("double", setup, SETUP[name])

        rate, a, b = get("rate"), get("a"), get("b")
        again = f.label("again")
        f.place(again)
        u = f.call("next_double", state) - 0.5
        v = f.call("next_double", state)
        us = 0.5 - f.call("llvm.fabs.f64", u)
        k = f.call("llvm.floor.f64", (2.0 * a / us + b) * u + rate + 0.43).to_int()
        f.ret_if((us >= 0.07) & (v <= get("inside")), k)
        f.goto_if((k < 0) | ((us < 0.013) & (v > us)), again)
        height = f.call("log", v) + get("log_alpha") - f.call("log", a / (us * us) + b)
        log_mass = -rate + k.to_double() * get("log_rate")
        log_mass = log_mass - f.call("log_gamma", (k + 1).to_double())
        f.goto_if(~(height <= log_mass), again)
        f.ret(k)


def _poisson(m: Module) -> None:
    params = {"state": "ptr", "out": "ptr", "n": "i64", "lam": "ptr", "slam": "i64"}
    with m.function("lt_rng_poisson", "i32", params) as f:
        state, out, n, lam, slam = f.args(*params)
        f.ret_if(n < 0, BAD_ARGUMENT)

        def is_rate(i: Value) -> Value:
            rate = f.load("double", lam, i)
            return (rate >= 0.0) & (rate <= LARGEST_RATE)

        check_each(f, n, slam, is_rate)
        setup = f.alloca(f"[{len(SETUP)} x double]")
        f.store(f.const("double", -1.0), setup, SETUP["rate"])
        with f.count(n) as i:
            rate = f.load("double", lam, i * slam)
            large, some, end = f.label("large"), f.label("some"), f.label("end")
            f.goto_if(~rate.eq(0.0), some)
            f.store(f.const("i64", 0), out, i)  # certain, and nothing is drawn
            f.goto(end)
            f.place(some)
            with f.when(~rate.eq(f.load("double", setup, SETUP["rate"]))):
                f.call("poisson_setup", rate, setup)
            f.goto_if(rate >= LARGE_RATE, large)
            floor = f.load("double", setup, SETUP["floor"])
            f.store(f.call("poisson_small", state, floor), out, i)
            f.goto(end)
            f.place(large)
            f.store(f.call("poisson_large", state, setup), out, i)
            f.place(end)


def _bounded(m: Module) -> None:
    """A draw from 0..most (unsigned, included) by masked rejection; none is made for 0."""
    params = {"state": "ptr", "most": "i64"}
    with m.function("bounded", "i64", params, local="alwaysinline") as f:
        state, most = f.args(*params)
        f.ret_if(most.eq(0), 0)
        mask = f.const("i64", -1) >> f.call("llvm.ctlz.i64", most, 0)
        wide = f.label("wide")
        f.goto_if(most.ugt(0xFFFFFFFF), wide)
        narrow = f.label("narrow")
        f.place(narrow)
        got = f.call("next32", state).convert("zext", "i64") & mask
        f.goto_if(got.ugt(most), narrow)
        f.ret(got)
        f.place(wide)
        got = f.call("next64", state) & mask
        f.goto_if(got.ugt(most), wide)
        f.ret(got)


def _randint(m: Module) -> None:
    params = {
        "state": "ptr",
        "out": "ptr",
        "n": "i64",
        "low": "ptr",
        "slow": "i64",
        "high": "ptr",
        "shigh": "i64",
    }
    with m.function("lt_rng_randint", "i32", params) as f:
        state, out, n, low, slow, high, shigh = f.args(*params)
        f.ret_if(n < 0, BAD_ARGUMENT)
        with f.count(n) as i:
            is_empty = f.load("i64", low, i * slow) >= f.load("i64", high, i * shigh)
            f.ret_if(is_empty, BAD_ARGUMENT)
        with f.count(n) as i:
            first = f.load("i64", low, i * slow)
            most = f.load("i64", high, i * shigh) - 1 - first
            f.store(first + f.call("bounded", state, most), out, i)


def multinomial_uses_log1p() -> bool:
    """Whether this NumPy's `RandomState.multinomial` takes log(1 - p) as log1p(-p).

    Its stream is not frozen there: NumPy 2.4 does, others do not, and it shows for small p. At
    this p the plain logarithm is 0, and the count is 0 for certain instead of about 25.
    """
    counts = np.random.RandomState(0).multinomial(5 * 10**17, [5e-17, 1.0])
    return bool(counts[0] > 0)


def multinomial_draws_the_certain() -> bool:
    """Whether this NumPy's `RandomState.multinomial` draws also for no trials and for p = 0.

    Since NumPy 2.5 its counts come from the frozen binomial, which always draws.
    """
    stream = np.random.RandomState(0)
    before = stream.get_state(legacy=False)["state"]["pos"]
    stream.multinomial(0, [0.5, 0.5])
    return bool(stream.get_state(legacy=False)["state"]["pos"] != before)


def _trial(m: Module) -> None:
    """A binomial draw of the multinomial; most NumPys draw nothing when the outcome is certain."""
    method = "binomial_log1p" if multinomial_uses_log1p() else "binomial"
    skips = not multinomial_draws_the_certain()
    with m.function("trial", "i64", METHOD_PARAMS, local="") as f:
        state, n, p, cache = f.args(*METHOD_PARAMS)
        if skips:
            f.ret_if(n.eq(0) | p.eq(0.0), 0)
        f.ret(f.call(method, state, n, p, cache))


def kahan_sum(f: Function, values: Value, n: Value) -> Value:
    """Compensated sum in NumPy's order; 0 for no values."""
    total, lost = f.var("double", 0.0), f.var("double", 0.0)
    with f.count(n) as i:
        x = f.load("double", values, i)
        y = x - lost.value
        t = total.value + y
        lost.value = (t - total.value) - y
        total.value = t
    return total.value


def _multinomial(m: Module) -> None:
    """Row i gets ``multinomial(trials[i * strials], pvals[i * spvals])``, k categories."""
    params = {
        "state": "ptr",
        "out": "ptr",
        "rows": "i64",
        "trials": "ptr",
        "strials": "i64",
        "pvals": "ptr",
        "spvals": "i64",
        "k": "i64",
    }
    with m.function("lt_rng_multinomial", "i32", params) as f:
        state, out, rows, trials, strials, pvals, spvals, k = f.args(*params)
        f.ret_if((rows < 0) | (k < 0), BAD_ARGUMENT)
        check_each(f, rows, strials, lambda i: f.load("i64", trials, i) >= 0)
        with f.count(spvals.eq(0).pick(1, rows)) as i:
            row = f.at("double", pvals, i * k)
            with f.count(k) as j:
                f.ret_if(~is_probability(f.load("double", row, j)), BAD_ARGUMENT)
            f.ret_if(kahan_sum(f, row, k - 1) > 1.0 + 1e-12, BAD_ARGUMENT)
        f.ret_if(k.eq(0), 0)
        cache = new_cache(f)
        with f.count(rows) as i:
            counts, row = f.at("i64", out, i * k), f.at("double", pvals, i * spvals * k)
            with f.count(k) as j:
                f.store(f.const("i64", 0), counts, j)
            left = f.var("i64", f.load("i64", trials, i * strials))
            rest, end = f.var("double", 1.0), f.label("end")
            with f.count(k - 1) as j:
                p = f.load("double", row, j)
                got = f.call("trial", state, left.value, p / rest.value, cache)
                f.store(got, counts, j)
                left.value = left.value - got
                f.goto_if(left.value <= 0, end)
                rest.value = rest.value - p
            f.store(left.value, counts, k - 1)
            f.place(end)
