"""Permutations and choices of the legacy stream.

`choice` with probabilities inverts the cumulative distribution; without replacement it draws
in rounds, as NumPy does: what a round finds first is kept in the order of the draws, then its
probability is set to zero and the next round fills the rest.
"""

from __future__ import annotations

from ltensor.lowering.rng.builder import Function, Module, Value
from ltensor.lowering.rng.continuous import BAD_ARGUMENT
from ltensor.lowering.rng.discrete import kahan_sum

OUT_OF_MEMORY = 3
TOLERANCE = 2.0**-26  # sqrt(eps) of float64: how far from 1 probabilities may sum


def emit(m: Module) -> None:
    """Write the kernels that pick and order."""
    _shuffle(m)
    _permutation(m)
    _choice_replace(m)
    _choice_noreplace(m)
    _check_p(m)
    _cumulate(m)
    _search(m)
    _choice_p_within(m)
    _round(m)
    _choice_noreplace_p_within(m)
    for name in ("lt_rng_choice_p", "lt_rng_choice_noreplace_p"):
        _with_tolerance(m, name)


def _shuffle(m: Module) -> None:
    """Write 0..n-1 and shuffle it from the end (Fisher and Yates)."""
    params = {"state": "ptr", "out": "ptr", "n": "i64"}
    with m.function("shuffled", "void", params, local="noinline") as f:
        state, out, n = f.args(*params)
        with f.count(n) as i:
            f.store(i, out, i)
        with f.count(n - 1) as done:
            i = n - 1 - done
            j = f.call("bounded", state, i)
            a, b = f.load("i64", out, i), f.load("i64", out, j)
            f.store(b, out, i)
            f.store(a, out, j)
        f.ret()


def _permutation(m: Module) -> None:
    params = {"state": "ptr", "out": "ptr", "rows": "i64", "n": "i64"}
    with m.function("lt_rng_permutation", "i32", params) as f:
        state, out, rows, n = f.args(*params)
        f.ret_if((rows < 0) | (n < 0), BAD_ARGUMENT)
        with f.count(rows) as i:
            f.call("shuffled", state, f.at("i64", out, i * n), n)


def _choice_replace(m: Module) -> None:
    params = {"state": "ptr", "out": "ptr", "n": "i64", "a": "i64"}
    with m.function("lt_rng_choice_replace", "i32", params) as f:
        state, out, n, a = f.args(*params)
        f.ret_if((n < 0) | ((a <= 0) & n.ne(0)), BAD_ARGUMENT)
        with f.count(n) as i:
            f.store(f.call("bounded", state, a - 1), out, i)


def _allocate(f: Function, bytes_each: int, n: Value) -> Value:
    """Scratch for n elements and one to spare, so that no size is zero."""
    got = f.call("malloc", n * bytes_each + 8)
    f.ret_if(got.convert("ptrtoint", "i64").eq(0), OUT_OF_MEMORY)
    return got


def _choice_noreplace(m: Module) -> None:
    params = {"state": "ptr", "out": "ptr", "n": "i64", "a": "i64"}
    with m.function("lt_rng_choice_noreplace", "i32", params) as f:
        state, out, n, a = f.args(*params)
        f.ret_if((n < 0) | (n > a) | (a > 1 << 59), BAD_ARGUMENT)
        scratch = _allocate(f, 8, a)
        f.call("shuffled", state, scratch, a)
        with f.count(n) as i:
            f.store(f.load("i64", scratch, i), out, i)
        f.call("free", scratch)


def _check_p(m: Module) -> None:
    """Whether p are a probabilities (none negative or NaN, near enough to a sum of 1)."""
    params = {"p": "ptr", "a": "i64", "atol": "double"}
    with m.function("are_probabilities", "i1", params, local="") as f:
        p, a, atol = f.args(*params)
        f.ret_if((a <= 0) | (a > 1 << 59), 0)
        with f.count(a) as i:
            f.ret_if(~(f.load("double", p, i) >= 0.0), 0)
        off = f.call("llvm.fabs.f64", kahan_sum(f, p, a) - 1.0)
        f.ret(off <= atol)


def _cumulate(m: Module) -> None:
    """Running sum of p, divided by its last value; entries marked in `seen` count as 0."""
    params = {"p": "ptr", "seen": "ptr", "cdf": "ptr", "a": "i64"}
    with m.function("cumulate", "void", params, local="") as f:
        p, seen, cdf, a = f.args(*params)
        total = f.var("double", 0.0)
        with f.count(a) as i:
            mass = f.load("i8", seen, i).eq(0).pick(f.load("double", p, i), 0.0)
            # NumPy's running sum begins with p[0] itself; 0 + p[0] is the same value.
            total.value = total.value + mass
            f.store(total.value, cdf, i)
        whole = total.value
        with f.count(a) as i:
            f.store(f.load("double", cdf, i) / whole, cdf, i)
        f.ret()


def _search(m: Module) -> None:
    """First index whose cdf exceeds u (the last index at most, whatever the cdf holds).

    Written without a branch on the data: the halves are equally likely, so that every branch
    would be guessed wrong half of the time.
    """
    params = {"cdf": "ptr", "a": "i64", "u": "double"}
    with m.function("search", "i64", params, local="") as f:
        cdf, a, u = f.args(*params)
        first, length = f.var("i64", 0), f.var("i64", a)
        again, end = f.label("again"), f.label("end")
        f.place(again)
        left = length.value
        f.goto_if(left <= 1, end)
        half = left >> 1
        base = first.value
        is_beyond = f.load("double", cdf, base + half - 1) <= u
        first.value = base + (half & is_beyond.convert("sext", "i64"))
        length.value = left - half
        f.goto(again)
        f.place(end)
        f.ret(first.value)


P_PARAMS = {"state": "ptr", "out": "ptr", "n": "i64", "p": "ptr", "a": "i64"}


def _clear(f: Function, marks: Value, n: Value) -> None:
    with f.count(n) as i:
        f.store(f.const("i8", 0), marks, i)


def _scratch_p(f: Function, a: Value) -> tuple[Value, Value]:
    """A cdf of a values and a mark for each of them, in one allocation that begins with the cdf."""
    cdf = _allocate(f, 9, a)
    seen = f.at("double", cdf, a)
    _clear(f, seen, a)
    return cdf, seen


def _choice_p_within(m: Module) -> None:
    params = {**P_PARAMS, "atol": "double"}
    with m.function("lt_rng_choice_p_within", "i32", params) as f:
        state, out, n, p, a, atol = f.args(*params)
        f.ret_if((n < 0) | ~f.call("are_probabilities", p, a, atol), BAD_ARGUMENT)
        cdf, seen = _scratch_p(f, a)
        f.call("cumulate", p, seen, cdf, a)
        with f.count(n) as i:
            f.store(f.call("search", cdf, a, f.call("next_double", state)), out, i)
        f.call("free", cdf)


def _round(m: Module) -> None:
    """Draw n values and keep those not seen before, in order; how many were kept."""
    params = {"state": "ptr", "out": "ptr", "n": "i64", "cdf": "ptr", "seen": "ptr", "a": "i64"}
    with m.function("choose_round", "i64", params, local="") as f:
        state, out, n, cdf, seen, a = f.args(*params)
        kept = f.var("i64", 0)
        with f.count(n):
            found = f.call("search", cdf, a, f.call("next_double", state))
            with f.when(f.load("i8", seen, found).eq(0)):
                f.store(f.const("i8", 1), seen, found)
                f.store(found, out, kept.value)
                kept.value = kept.value + 1
        f.ret(kept.value)


def _choice_noreplace_p_within(m: Module) -> None:
    params = {**P_PARAMS, "atol": "double"}
    with m.function("lt_rng_choice_noreplace_p_within", "i32", params) as f:
        state, out, n, p, a, atol = f.args(*params)
        f.ret_if((n < 0) | ~f.call("are_probabilities", p, a, atol), BAD_ARGUMENT)
        positive = f.var("i64", 0)
        with f.count(a) as i:
            is_positive = f.load("double", p, i) > 0.0
            positive.value = positive.value + is_positive.convert("zext", "i64")
        f.ret_if(n > positive.value, BAD_ARGUMENT)
        cdf, seen = _scratch_p(f, a)
        done = f.var("i64", 0)
        again, end = f.label("again"), f.label("end")
        f.place(again)
        start = done.value
        f.goto_if(start >= n, end)
        f.call("cumulate", p, seen, cdf, a)
        rest = f.at("i64", out, start)
        kept = f.call("choose_round", state, rest, n - start, cdf, seen, a)
        done.value = start + kept
        f.goto(again)
        f.place(end)
        f.call("free", cdf)


def _with_tolerance(m: Module, name: str) -> None:
    """The form for float64 probabilities of a kernel that takes the tolerance."""
    with m.function(name, "i32", P_PARAMS) as f:
        f.ret(f.call(f"{name}_within", *f.args(*P_PARAMS), TOLERANCE))
