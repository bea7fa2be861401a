"""The probabilities that Theano's multinomial hands to NumPy, and the sum it tests them by.

A row whose sum lies just above 1, or whose last entry is tiny, is first multiplied by
`SHRINK`, in its own dtype. The sum is NumPy's pairwise one: whether a row of many float32
probabilities sums to just above 1 depends on the order of the additions.
"""

from __future__ import annotations

from ltensor.lowering.rng.builder import Function, Module, Value
from ltensor.lowering.rng.continuous import BAD_ARGUMENT

SHRINK = 1.0 - 5e-5
JUST_ABOVE = 1.0 + 1e-5
TINY = 5e-5
BLOCK = 128  # up to here eight running sums, beyond it halves
LANES = 8


def emit(m: Module) -> None:
    """Write the kernels."""
    for suffix, ty in (("f64", "double"), ("f32", "float")):
        _pairwise(m, f"pairwise_{suffix}", ty)
        _pvals(m, f"lt_rng_multinomial_pvals_{suffix}", f"pairwise_{suffix}", ty)


def _pairwise(m: Module, name: str, ty: str) -> None:
    with m.function(name, ty, {"x": "ptr", "n": "i64"}, local="noinline") as f:
        x, n = f.args("x", "n")
        many = f.label("many")
        f.goto_if(n > BLOCK, many)
        total = f.var(ty, 0.0)
        whole = f.var("i64", 0)
        with f.when(n >= LANES):
            whole.value = n & -LANES
            total.value = _eight_sums(f, ty, x, whole.value)
        with f.count(n, start=whole.value) as i:
            total.value = total.value + f.load(ty, x, i)
        f.ret(total.value)
        f.place(many)
        half = (n >> 1) & -LANES
        first = f.call(name, x, half)
        f.ret(first + f.call(name, f.at(ty, x, half), n - half))


def _eight_sums(f: Function, ty: str, x: Value, n: Value) -> Value:
    """The sum of n values, a multiple of eight: lane by lane, then the lanes in pairs."""
    lanes = f"<{LANES} x {ty}>"
    sums = f.var(lanes, f.load(lanes, x, 0))
    with f.count(n, start=LANES, step=LANES) as i:
        sums.value = sums.value + f.load(lanes, x, i)
    last = sums.value
    parts = [f.emit(ty, f"extractelement {lanes} {last.ref}, i32 {k}") for k in range(LANES)]
    while len(parts) > 1:
        parts = [a + b for a, b in zip(parts[0::2], parts[1::2], strict=True)]
    return parts[0]


def _pvals(m: Module, name: str, pairwise: str, ty: str) -> None:
    """Write every row of k probabilities as float64, shrunk where it has to be."""
    params = {"out": "ptr", "pvals": "ptr", "rows": "i64", "k": "i64"}
    with m.function(name, "i32", params) as f:
        out, pvals, rows, k = f.args(*params)
        f.ret_if((rows < 0) | (k < 0), BAD_ARGUMENT)
        f.ret_if(k.eq(0), 0)
        with f.count(rows) as i:
            row, to = f.at(ty, pvals, i * k), f.at("double", out, i * k)
            total = _wide(f.call(pairwise, row, k))
            last = _wide(f.load(ty, row, k - 1))
            shrinks = ((total > 1.0) & (total < JUST_ABOVE)) | (last < TINY)
            factor = shrinks.pick(f.const(ty, SHRINK), f.const(ty, 1.0))
            with f.count(k) as j:
                f.store(_wide(f.load(ty, row, j) * factor), to, j)


def _wide(value: Value) -> Value:
    return value if value.ty == "double" else value.convert("fpext", "double")
