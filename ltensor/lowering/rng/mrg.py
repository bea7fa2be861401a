"""MRG31k3p, the generator of Theano's MRG_RandomStreams (L'Ecuyer and Touzin, 2000).

A stream is six int32: three words of a recurrence modulo M1 and three of one modulo M2. A draw
takes element i from row ``i % nstreams`` of a matrix of streams, so eight rows step together
in the lanes of one vector; both moduli lie just under 2**31 and are reduced by folding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ltensor.lowering.rng.builder import Function, Module, Value, lanes_of, vector
from ltensor.lowering.rng.continuous import BAD_ARGUMENT

M1 = 2147483647  # 2**31 - 1
M2 = 2147462579  # 2**31 - 21069
GAP = 2**31 - M2
LOW_31 = 2**31 - 1
WORDS = 6
LANES = 8

NORM_F64 = 4.656612873077392578125e-10
NORM_F32 = 4.6566126e-10
NORM_F16_UNITS = 511  # float16(3.0458e-05) in units of the smallest half, 2**-24

Matrix = tuple[tuple[int, int, int], ...]

# Powers of the two recurrences' matrices: 2**72 steps part neighbouring rows of one draw,
# 2**134 steps part the matrices that two draws begin with.
ROW_JUMP: tuple[Matrix, Matrix] = (
    (
        (1516919229, 758510237, 499121365),
        (1884998244, 1516919229, 335398200),
        (601897748, 1884998244, 358115744),
    ),
    (
        (1228857673, 1496414766, 954677935),
        (1133297478, 1407477216, 1496414766),
        (2002613992, 1639496704, 1407477216),
    ),
)
DRAW_JUMP: tuple[Matrix, Matrix] = (
    (
        (1702500920, 1849582496, 1656874625),
        (828554832, 1702500920, 1512419905),
        (1143731069, 828554832, 102237247),
    ),
    (
        (796789021, 1464208080, 607337906),
        (1241679051, 1431130166, 1464208080),
        (1401213391, 1178684362, 1431130166),
    ),
)


def emit(m: Module) -> None:
    """Write the MRG kernels."""
    for name, make in (("f64", _as_f64), ("f32", _as_f32), ("f16", _as_f16)):
        _uniform(m, f"lt_rng_mrg_uniform_{name}", make)
    _jumped(m, "mrg_row_jump", ROW_JUMP)
    _jumped(m, "mrg_draw_jump", DRAW_JUMP)
    _substreams(m)


def _reduce(value: Value, modulus: int) -> Value:
    """One subtraction, for a value below twice the modulus."""
    return (value >= modulus).pick(value - modulus, value)


def _step(x12: Value, x13: Value, x21: Value, x23: Value) -> tuple[Value, Value, Value]:
    """The two new words and the sample in 1..M1, all as i64."""
    t = (x12 << 22) + (x13 << 7) + x13
    y1 = _reduce((t & LOW_31) + (t >> 31), M1)
    t = (x21 << 15) + (x23 << 15) + x23
    # 2**31 is GAP modulo M2; after two folds the rest is below 2**31 + GAP.
    t = (t & LOW_31) + ((t >> 31) & 0xFFFFFFFF) * GAP
    t = (t & LOW_31) + ((t >> 31) & 0xFFFFFFFF) * GAP
    y2 = _reduce(t, M2)
    wrap = (y1 <= y2).pick(y1.like(M1), y1.like(0))
    return y1, y2, y1 - y2 + wrap


def _as_f64(f: Function, z: Value) -> Value:
    return z.convert("trunc", vector("i32", lanes_of(z.ty))).to_double() * NORM_F64


def _as_f32(f: Function, z: Value) -> Value:
    narrow = z.convert("trunc", vector("i32", lanes_of(z.ty)))
    return narrow.convert("sitofp", vector("float", lanes_of(z.ty))) * NORM_F32


def _as_f16(f: Function, z: Value) -> Value:
    """Round by hand: not every processor converts to half, and a library call may be missing.

    The product is an integer below 2**24 times 2**-24. Below 2**10 it is a subnormal half and
    its own encoding; else thirteen bits of the equal float's significand are rounded away.
    """
    lanes = lanes_of(z.ty)
    units = ((z & 0x7FFF) + 1).convert("trunc", vector("i32", lanes)) * NORM_F16_UNITS
    bits = units.convert("sitofp", vector("float", lanes)).convert("bitcast", units.ty)
    even = (bits >> 13) & 1
    normal = ((bits + even + 0xFFF) >> 13) - ((127 + 24 - 15) << 10)
    return (units < 1024).pick(units, normal).convert("trunc", vector("i16", lanes))


Convert = Callable[[Function, Value], Value]


def _uniform(m: Module, name: str, make: Convert) -> None:
    params = {"rstate": "ptr", "nstreams": "i64", "out": "ptr", "n": "i64"}
    with m.function(name, "i32", params) as f:
        rstate, nstreams, out, n = f.args(*params)
        f.ret_if((n < 0) | ((nstreams <= 0) & (n > 0)), BAD_ARGUMENT)
        start, again, end = f.var("i64", 0), f.label("again"), f.label("end")
        f.place(again)
        first = start.value
        f.goto_if(first >= n, end)
        left = n - first
        rows = (left < nstreams).pick(left, nstreams)
        whole = rows & -LANES
        with f.count(whole, step=LANES) as row:
            z = _step_rows(f, f.at("i32", rstate, row * WORDS))
            f.store(make(f, z), out, first + row)
        with f.count(rows, start=whole) as row:
            z = _step_row(f, f.at("i32", rstate, row * WORDS))
            f.store(make(f, z), out, first + row)
        start.value = first + rows
        f.goto(again)
        f.place(end)


def _step_row(f: Function, row: Value) -> Value:
    x11, x12, x13, x21, x22, x23 = (f.load("i32", row, i) for i in range(WORDS))
    y1, y2, z = _step(*(x.convert("zext", "i64") for x in (x12, x13, x21, x23)))
    words = (y1.convert("trunc", "i32"), x11, x12, y2.convert("trunc", "i32"), x21, x22)
    for i, word in enumerate(words):
        f.store(word, row, i)
    return z


def _step_rows(f: Function, rows: Value) -> Value:
    """Step eight consecutive rows: 48 words, of which the two new ones of a row push the rest."""
    words = LANES * WORDS
    half = words // 2
    old = f.shuffle(
        f.load(f"<{half} x i32>", rows, 0), f.load(f"<{half} x i32>", rows, half), range(words)
    )

    def column(i: int) -> Value:
        lanes = f.shuffle(old, old, range(i, words, WORDS))
        return lanes.convert("zext", f"<{LANES} x i64>")

    y1, y2, z = _step(column(1), column(2), column(3), column(5))
    narrow = f"<{LANES} x i32>"
    new = f.shuffle(y1.convert("trunc", narrow), y2.convert("trunc", narrow), range(2 * LANES))
    wide = f.shuffle(new, new, [i % (2 * LANES) for i in range(words)])
    f.store(f.shuffle(old, wide, [_source(k, words) for k in range(words)]), rows, 0)
    return z


def _source(k: int, words: int) -> int:
    """Lane of (old words, new words) that becomes word k of the eight rows."""
    row, i = divmod(k, WORDS)
    if i % 3:
        return k - 1
    return words + row + (LANES if i else 0)


def _jumped(m: Module, name: str, matrices: tuple[Matrix, Matrix]) -> None:
    """``to = matrices * from`` for one stream; the two may be the same memory."""
    params = {"source": "ptr", "to": "ptr"}
    with m.function(name, "void", params, local="") as f:
        source, to = f.args("source", "to")
        words = [f.load("i32", source, i).convert("zext", "i64") for i in range(WORDS)]
        for k, (matrix, modulus) in enumerate(zip(matrices, (M1, M2), strict=True)):
            for i, row in enumerate(matrix):
                f.store(_dot(f, row, words[3 * k : 3 * k + 3], modulus), to, 3 * k + i)
        f.ret()


def _dot(f: Function, row: Sequence[int], words: Sequence[Value], modulus: int) -> Value:
    # Three products below 2**62 each: the unsigned sum does not wrap.
    total = words[0] * row[0] + words[1] * row[1] + words[2] * row[2]
    return f.bits("urem", total, modulus).convert("trunc", "i32")


def _substreams(m: Module) -> None:
    """Fill the matrix of streams of one draw, and advance the state of the whole object."""
    params = {"rstate": "ptr", "nstreams": "i64", "out": "ptr"}
    with m.function("lt_rng_mrg_substreams", "i32", params) as f:
        rstate, nstreams, out = f.args(*params)
        f.ret_if(nstreams <= 0, BAD_ARGUMENT)
        with f.count(WORDS) as i:
            f.store(f.load("i32", rstate, i), out, i)
        with f.count(nstreams, start=1) as row:
            here = f.at("i32", out, row * WORDS)
            f.call("mrg_row_jump", f.at("i32", here, -WORDS), here)
        f.call("mrg_draw_jump", rstate, rstate)
