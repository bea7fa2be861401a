"""Binomial draws of the legacy stream: inversion for small means, BTPE for large ones.

The set-up of a pair (n, p) costs a logarithm and an exponential, so it is kept in a cache of
the caller until another pair comes; like NumPy's, the cache never changes a draw. BTPE is
Kachitvichyanukul and Schmeiser's rejection from a triangle, two parallelograms and two
exponential tails; the step numbers are those of their paper.

In NumPy 2.4 the logarithm of 1 - p is log1p(-p) everywhere but in `RandomState.binomial`, so there
are two inversions: the multinomial takes the one that the NumPy at hand takes.
"""

from __future__ import annotations

from ltensor.lowering.rng.builder import Function, Module, Value, Var
from ltensor.lowering.rng.continuous import BAD_ARGUMENT, OK, check_each
from ltensor.lowering.rng.mt19937 import doubles
from ltensor.lowering.rng.state import KEY_WORDS, POS_WORD

# Slots of the cache, eight bytes each. The methods share `bound` (an i64) and `q`.
SLOTS = ("valid", "n", "p", "bound", "q", "qn", "fm", "p1", "xm", "xl", "xr", "c", "laml")
CACHE_SLOTS = {name: i for i, name in enumerate((*SLOTS, "lamr", "p2", "p3", "p4"))}
CACHE_TYPE = f"[{len(CACHE_SLOTS)} x i64]"
METHOD_PARAMS = {"state": "ptr", "n": "i64", "p": "double", "cache": "ptr"}

LARGE_MEAN = 30.0  # above it inversion gives way to BTPE
GROUP = 8  # draws of a single trial made together
NEAR = 2.0**-49  # many times the rounding of exp(log(q)), for q between a half and 1


class Cache:
    """Named access to the set-up values of one (n, p)."""

    def __init__(self, f: Function, pointer: Value) -> None:
        self._f, self._pointer = f, pointer

    def get(self, name: str, ty: str = "double") -> Value:
        """Load a slot."""
        return self._f.load(ty, self._f.at("i64", self._pointer, CACHE_SLOTS[name]))

    def put(self, **values: Value) -> None:
        """Store slots."""
        for name, value in values.items():
            self._f.store(value, self._f.at("i64", self._pointer, CACHE_SLOTS[name]))

    def is_for(self, n: Value, p: Value) -> Value:
        """Whether the set-up in the cache belongs to this pair."""
        same = self.get("n", "i64").eq(n) & self.get("p").eq(p)
        return self.get("valid", "i64").ne(0) & same


def new_cache(f: Function) -> Value:
    """Reserve an empty cache on the stack."""
    cache = f.alloca(CACHE_TYPE)
    f.store(f.const("i64", 0), cache, CACHE_SLOTS["valid"])
    return cache


def emit(m: Module) -> None:
    """Write the binomial kernels."""
    _inversion(m, "inversion", uses_log1p=False)
    _inversion(m, "inversion_log1p", uses_log1p=True)
    _btpe_setup(m)
    _btpe_accepts(m)
    _btpe(m)
    _by_mean(m, "binomial", "inversion")
    _by_mean(m, "binomial_log1p", "inversion_log1p")
    _fill_bernoulli(m)
    _fill_bernoulli_each(m)
    _binomial(m)


def _inversion(m: Module, name: str, *, uses_log1p: bool) -> None:
    with m.function(name, "i64", METHOD_PARAMS, local="") as f:
        state, n, p, pointer = f.args(*METHOD_PARAMS)
        cache = Cache(f, pointer)
        with f.when(~cache.is_for(n, p)):
            q, mean = 1.0 - p, n.to_double() * p
            far = mean + 10.0 * f.call("llvm.sqrt.f64", mean * q + 1.0)
            bound = (n.to_double() < far).pick(n.to_double(), far).to_int()
            log_q = f.call("log1p", -p) if uses_log1p else f.call("log", q)
            qn = f.call("exp", n.to_double() * log_q)
            cache.put(valid=f.const("i64", 1), n=n, p=p, q=q, bound=bound, qn=qn)
        q, qn, bound = cache.get("q"), cache.get("qn"), cache.get("bound", "i64")
        count, mass = f.var("i64", 0), f.var("double", qn)
        u = f.var("double", f.call("next_double", state))
        again, end = f.label("again"), f.label("end")
        f.place(again)
        f.goto_if(~(u.value > mass.value), end)
        k = count.value + 1
        with f.when(k > bound):  # rounding has eaten the tail: begin anew
            count.value, mass.value = 0, qn
            u.value = f.call("next_double", state)
            f.goto(again)
        u.value = u.value - mass.value
        count.value = k
        mass.value = ((n - k + 1).to_double() * p * mass.value) / (k.to_double() * q)
        f.goto(again)
        f.place(end)
        f.ret(count.value)


def _btpe_setup(m: Module) -> None:
    params = {"n": "i64", "p": "double", "cache": "ptr"}
    with m.function("btpe_setup", "void", params, local="noinline") as f:
        n, p, pointer = f.args(*params)
        trials = n.to_double()
        p_other = 1.0 - p
        r = (p < p_other).pick(p, p_other)
        q = 1.0 - r
        fm = trials * r + r
        mode = f.call("llvm.floor.f64", fm).to_int()
        center = mode.to_double()
        spread = 2.195 * f.call("llvm.sqrt.f64", trials * r * q)
        p1 = f.call("llvm.floor.f64", spread - 4.6 * q) + 0.5
        xm = center + 0.5
        xl, xr = xm - p1, xm + p1
        c = 0.134 + 20.5 / (15.3 + center)
        a = (fm - xl) / (fm - xl * r)
        laml = a * (1.0 + a / 2.0)
        b = (xr - fm) / (xr * q)
        lamr = b * (1.0 + b / 2.0)
        p2 = p1 * (1.0 + 2.0 * c)
        p3 = p2 + c / laml
        cache = Cache(f, pointer)
        cache.put(valid=f.const("i64", 1), n=n, p=p, bound=mode, q=q, fm=fm, p1=p1, xm=xm)
        cache.put(xl=xl, xr=xr, c=c, laml=laml, lamr=lamr, p2=p2, p3=p3, p4=p3 + c / lamr, qn=r)
        f.ret()


def _stirling(x: Value) -> Value:
    """Tail of Stirling's series as the legacy stream sums it."""
    x2 = x * x
    inner = 99.0 - 140.0 / x2
    inner = 132.0 - inner / x2
    inner = 462.0 - inner / x2
    return (13680.0 - inner / x2) / x / 166320.0


def _btpe_accepts(m: Module) -> None:
    """Step 5: is candidate y accepted at height v? By a product near the mode, else by logs."""
    params = {"n": "i64", "cache": "ptr", "y": "i64", "v": "double"}
    with m.function("btpe_accepts", "i1", params, local="") as f:
        n, pointer, y, v = f.args(*params)
        cache = Cache(f, pointer)
        r, q, mode = cache.get("qn"), cache.get("q"), cache.get("bound", "i64")
        nrq = n.to_double() * r * q
        distance = (y < mode).pick(mode - y, y - mode)
        is_far = (distance > 20) & (distance.to_double() < nrq / 2.0 - 1.0)
        with f.when(~is_far):
            f.ret(~(v > _ratio(f, n, y, mode, r / q).value))
        # Step 5.2: squeeze with the normal bound, then compare with Stirling's formula.
        k = distance.to_double()
        rho = (k / nrq) * ((k * (k / 3.0 + 0.625) + 0.16666666666666666) / nrq + 0.5)
        t = (-distance * distance).to_double() / (2.0 * nrq)
        height = f.call("log", v)
        f.ret_if(height < t - rho, 1)
        f.ret_if(height > t + rho, 0)
        x1, f1 = (y + 1).to_double(), (mode + 1).to_double()
        # In doubles from the start, as since NumPy 2.4: it shows in the draws once n passes 2**53.
        z = n.to_double() + 1.0 - mode.to_double()
        w = n.to_double() - y.to_double() + 1.0
        total = cache.get("xm") * f.call("log", f1 / x1)
        total = total + ((n - mode).to_double() + 0.5) * f.call("log", z / w)
        total = total + (y - mode).to_double() * f.call("log", w * r / (x1 * q))
        for x in (f1, z, x1, w):
            total = total + _stirling(x)
        f.ret(~(height > total))


def _ratio(f: Function, n: Value, y: Value, mode: Value, s: Value) -> Var:
    """Step 5.1: f(y) / f(mode), one factor at a time."""
    a = s * (n + 1).to_double()
    ratio = f.var("double", 1.0)
    with f.count(y + 1, start=mode + 1) as i:
        ratio.value = ratio.value * (a / i.to_double() - s)
    with f.count(mode + 1, start=y + 1) as i:
        ratio.value = ratio.value / (a / i.to_double() - s)
    return ratio


def _btpe(m: Module) -> None:
    with m.function("btpe", "i64", METHOD_PARAMS, local="") as f:
        state, n, p, pointer = f.args(*METHOD_PARAMS)
        cache = Cache(f, pointer)
        with f.when(~cache.is_for(n, p)):
            f.call("btpe_setup", n, p, pointer)
        p1, xl, xr, c = (cache.get(name) for name in ("p1", "xl", "xr", "c"))
        y, v = f.var("i64"), f.var("double")
        again, judge, accept = f.label("again"), f.label("judge"), f.label("accept")
        parallel, left, right = f.label("parallel"), f.label("left"), f.label("right")

        f.place(again)
        u = f.call("next_double", state) * cache.get("p4")
        v.value = f.call("next_double", state)
        f.goto_if(u > p1, parallel)
        y.value = f.call("llvm.floor.f64", cache.get("xm") - p1 * v.value + u).to_int()
        f.goto(accept)  # inside the triangle

        f.place(parallel)
        f.goto_if(u > cache.get("p2"), left)
        x = xl + (u - p1) / c
        off = cache.get("bound", "i64").to_double() - x + 0.5
        v.value = v.value * c + 1.0 - f.call("llvm.fabs.f64", off) / p1
        f.goto_if(v.value > 1.0, again)
        y.value = f.call("llvm.floor.f64", x).to_int()
        f.goto(judge)

        # In the tails v == 0 has no logarithm; NumPy draws again.
        f.place(left)
        f.goto_if(u > cache.get("p3"), right)
        laml = cache.get("laml")
        y.value = f.call("llvm.floor.f64", xl + f.call("log", v.value) / laml).to_int()
        f.goto_if((y.value < 0) | v.value.eq(0.0), again)
        v.value = v.value * (u - cache.get("p2")) * laml
        f.goto(judge)

        f.place(right)
        lamr = cache.get("lamr")
        y.value = f.call("llvm.floor.f64", xr - f.call("log", v.value) / lamr).to_int()
        f.goto_if((y.value > n) | v.value.eq(0.0), again)
        v.value = v.value * (u - cache.get("p3")) * lamr

        f.place(judge)
        f.goto_if(~f.call("btpe_accepts", n, pointer, y.value, v.value), again)
        f.place(accept)
        f.ret(y.value)


def _by_mean(m: Module, name: str, inversion: str) -> None:
    """One draw: the rarer outcome is counted, by the method fit for its mean."""
    with m.function(name, "i64", METHOD_PARAMS, local="") as f:
        state, n, p, cache = f.args(*METHOD_PARAMS)
        is_rare = p <= 0.5
        rare = is_rare.pick(p, 1.0 - p)
        got = f.var("i64")
        large, end = f.label("large"), f.label("end")
        f.goto_if(~(rare * n.to_double() <= LARGE_MEAN), large)
        got.value = f.call(inversion, state, n, rare, cache)
        f.goto(end)
        f.place(large)
        got.value = f.call("btpe", state, n, rare, cache)
        f.place(end)
        f.ret(is_rare.pick(got.value, n - got.value))


def _fill_bernoulli(m: Module) -> None:
    """Draws of one trial each with the same chance (dropout masks), eight at a time.

    Inversion of one trial takes one double u: 0 below qn, 1 below qn plus the mass of 1, and in
    the gap that rounding leaves at the top (at most a few values of u) it draws again. A group
    with such a u, or one that does not lie whole in the block, goes one draw at a time.
    """
    params = {"state": "ptr", "out": "ptr", "n": "i64", "p": "double", "cache": "ptr"}
    with m.function("fill_bernoulli", "void", params, local="noinline") as f:
        state, out, n, p, cache = f.args(*params)
        is_rare = p <= 0.5
        rare = is_rare.pick(p, 1.0 - p)
        q = 1.0 - rare
        qn = f.call("exp", f.call("log", q))
        above_qn = rare * qn / q
        qns, tops = f.splat(qn, GROUP), f.splat(above_qn, GROUP)
        flips = f.splat(~is_rare, GROUP)
        done = f.var("i64", 0)
        again, single, end = f.label("again"), f.label("single"), f.label("end")
        f.place(again)
        start = done.value
        f.goto_if(start >= n, end)
        pos = f.load("i32", state, POS_WORD)
        f.goto_if((pos > KEY_WORDS - 2 * GROUP) | (n - start < GROUP), single)
        u = doubles(f, state, pos.convert("zext", "i64"), GROUP)
        is_one = u > qns
        f.goto_if(f.call("llvm.vector.reduce.or.v8i1", is_one & (u - qns > tops)), single)
        f.store((is_one ^ flips).convert("zext", f"<{GROUP} x i64>"), out, start)
        f.store(pos + 2 * GROUP, state, POS_WORD)
        done.value = start + GROUP
        f.goto(again)
        f.place(single)
        f.store(f.call("binomial", state, 1, p, cache), out, start)
        done.value = start + 1
        f.goto(again)
        f.place(end)
        f.ret()


def _fill_bernoulli_each(m: Module) -> None:
    """Draws of one trial each, every one with its own chance, eight at a time.

    Inversion compares u with exp(log(q)), which is q up to some rounding: only where u lies so
    close to q that this could matter, or at the top (see `_fill_bernoulli`), the logarithm is
    taken, by going one draw at a time.
    """
    params = {"state": "ptr", "out": "ptr", "n": "i64", "p": "ptr", "cache": "ptr"}
    with m.function("fill_bernoulli_each", "void", params, local="noinline") as f:
        state, out, n, chances, cache = f.args(*params)
        done = f.var("i64", 0)
        again, single, end = f.label("again"), f.label("single"), f.label("end")
        f.place(again)
        start = done.value
        f.goto_if(start >= n, end)
        pos = f.load("i32", state, POS_WORD)
        f.goto_if((pos > KEY_WORDS - 2 * GROUP) | (n - start < GROUP), single)
        u = doubles(f, state, pos.convert("zext", "i64"), GROUP)
        p = f.load(f"<{GROUP} x double>", f.at("double", chances, start))
        is_rare = p <= 0.5
        q = 1.0 - is_rare.pick(p, 1.0 - p)
        near = (u > q - NEAR) & (u < q + NEAR)
        f.goto_if(f.call("llvm.vector.reduce.or.v8i1", near | (u > 1.0 - NEAR)), single)
        f.store(((u > q) ^ ~is_rare).convert("zext", f"<{GROUP} x i64>"), out, start)
        f.store(pos + 2 * GROUP, state, POS_WORD)
        done.value = start + GROUP
        f.goto(again)
        f.place(single)
        chance = f.load("double", chances, start)
        f.store(f.call("binomial", state, 1, chance, cache), out, start)
        done.value = start + 1
        f.goto(again)
        f.place(end)
        f.ret()


def _binomial(m: Module) -> None:
    params = {
        "state": "ptr",
        "out": "ptr",
        "n": "i64",
        "trials": "ptr",
        "strials": "i64",
        "p": "ptr",
        "sp": "i64",
    }
    with m.function("lt_rng_binomial", "i32", params) as f:
        state, out, n, trials, strials, p, sp = f.args(*params)
        f.ret_if(n < 0, BAD_ARGUMENT)
        check_each(f, n, strials, lambda i: f.load("i64", trials, i) >= 0)
        check_each(f, n, sp, lambda i: is_probability(f.load("double", p, i)))
        cache = new_cache(f)
        zero = f.const("i64", 0)
        f.ret_if(n.eq(0), OK)
        with f.when((strials | sp).eq(0) & f.load("i64", trials, zero).eq(1)):
            f.call("fill_bernoulli", state, out, n, f.load("double", p, zero), cache)
            f.ret(OK)
        with f.when(strials.eq(0) & sp.eq(1) & f.load("i64", trials, zero).eq(1)):
            f.call("fill_bernoulli_each", state, out, n, p, cache)
            f.ret(OK)
        with f.count(n) as i:
            count, chance = f.load("i64", trials, i * strials), f.load("double", p, i * sp)
            f.store(f.call("binomial", state, count, chance, cache), out, i)


def is_probability(p: Value) -> Value:
    """Whether p lies in [0, 1]; NaN does not."""
    return (p >= 0.0) & (p <= 1.0)
