"""Mersenne Twister kernels: seeding, the twist, single words, bulk doubles.

The twist and the tempering work on sixteen words at a time; everything else in the package
draws through `next32`, `next64` and `next_double` (to be inlined) or fills whole blocks with
`fill_doubles`. Knows the layout of `state`, and no distribution.
"""

from __future__ import annotations

from ltensor.lowering.rng.builder import Function, Module, Value
from ltensor.lowering.rng.state import GAUSS_WORD, HAS_GAUSS_WORD, KEY_WORDS, POS_WORD

LANES = 16
SHIFT_WORD = 397  # distance of the word mixed into each new one
TWO_26 = 67108864.0
TWO_M53 = 2.0**-53


def emit(m: Module) -> None:
    """Write the kernels of the generator."""
    _seed(m)
    _refill(m)
    _next32(m)
    _next64(m)
    _next_double(m)
    _fill_doubles(m)


def _seed(m: Module) -> None:
    with m.function("lt_rng_seed", "i32", {"state": "ptr", "seed": "i64"}) as f:
        state, seed = f.args("state", "seed")
        f.ret_if(seed.ugt(0xFFFFFFFF), 1)
        word = f.var("i32", seed.convert("trunc", "i32"))
        f.store(word.value, state)
        with f.count(KEY_WORDS, start=1) as i:
            old = word.value
            word.value = (old ^ (old >> 30)) * 1812433253 + i.convert("trunc", "i32")
            f.store(word.value, state, i)
        f.store(f.const("i32", KEY_WORDS), state, POS_WORD)
        f.store(f.const("i32", 0), state, HAS_GAUSS_WORD)
        f.store(f.const("i64", 0), f.at("i32", state, GAUSS_WORD))


def _twist16(f: Function, state: Value, k: Value, mixed: Value) -> None:
    """Replace words k..k+15; `mixed` is the first index of the words mixed in."""
    ty = f"<{LANES} x i32>"
    here, above = f.load(ty, state, k), f.load(ty, state, k + 1)
    y = (here & -(1 << 31)) | (above & 0x7FFFFFFF)
    odd = 0 - (above & 1)  # all ones where the low bit is set
    f.store(f.load(ty, state, mixed) ^ (y >> 1) ^ (odd & (0x9908B0DF - (1 << 32))), state, k)


def _refill(m: Module) -> None:
    # Word k takes in word k+397, and the words after 623 are the new words 0..: once those are
    # copied behind the key, every group of sixteen is a plain vector step.
    with m.function("refill", "void", {"state": "ptr"}, local="noinline cold") as f:
        (state,) = f.args("state")
        ty = f"<{LANES} x i32>"
        with f.count(224, step=LANES) as k:
            _twist16(f, state, k, k + SHIFT_WORD)
        others = f.load(ty, state, KEY_WORDS)
        f.store(f.load(ty, state, 0), state, KEY_WORDS)
        first = f.const("i64", 224)
        _twist16(f, state, first, first + SHIFT_WORD)
        with f.count(KEY_WORDS, start=224 + LANES, step=LANES) as k:
            _twist16(f, state, k, k + (SHIFT_WORD - KEY_WORDS))
        f.store(others, state, KEY_WORDS)
        f.store(f.const("i32", 0), state, POS_WORD)
        f.ret()


def _temper(y: Value) -> Value:
    y = y ^ (y >> 11)
    y = y ^ ((y << 7) & (0x9D2C5680 - (1 << 32)))
    y = y ^ ((y << 15) & (0xEFC60000 - (1 << 32)))
    return y ^ (y >> 18)


def _next32(m: Module) -> None:
    with m.function("next32", "i32", {"state": "ptr"}, local="alwaysinline") as f:
        (state,) = f.args("state")
        with f.when(f.load("i32", state, POS_WORD) >= KEY_WORDS):
            f.call("refill", state)
        pos = f.load("i32", state, POS_WORD)
        f.store(pos + 1, state, POS_WORD)
        f.ret(_temper(f.load("i32", state, pos.convert("zext", "i64"))))


def _next64(m: Module) -> None:
    with m.function("next64", "i64", {"state": "ptr"}, local="alwaysinline") as f:
        (state,) = f.args("state")
        high = f.call("next32", state).convert("zext", "i64")
        f.ret((high << 32) | f.call("next32", state).convert("zext", "i64"))


def _unit(high: Value, low: Value) -> Value:
    """Make doubles in [0, 1) of 27 bits of one word and 26 bits of the next."""
    return ((high >> 5).to_double() * TWO_26 + (low >> 6).to_double()) * TWO_M53


def _next_double(m: Module) -> None:
    with m.function("next_double", "double", {"state": "ptr"}, local="alwaysinline") as f:
        (state,) = f.args("state")
        high = f.call("next32", state)
        f.ret(_unit(high, f.call("next32", state)))


def _fill_doubles(m: Module) -> None:
    """``out[i] = low + width * next_double`` for n values; a block of the key at a time."""
    params = {"state": "ptr", "out": "ptr", "n": "i64", "low": "double", "width": "double"}
    with m.function("fill_doubles", "void", params, local="noinline") as f:
        state, out, n, low, width = f.args(*params)
        lows, widths = f.splat(low, 8), f.splat(width, 8)
        done = f.var("i64", 0)
        again, end = f.label("again"), f.label("end")
        f.place(again)
        start = done.value
        f.goto_if(start >= n, end)
        pos = f.load("i32", state, POS_WORD).convert("zext", "i64")
        pairs = (KEY_WORDS - pos) >> 1
        with f.when(pairs.eq(0)):
            # The block is used up, or its last word begins a value that ends in the next one.
            f.store(low + width * f.call("next_double", state), out, start)
            done.value = start + 1
            f.goto(again)
        left = n - start
        take = (left < pairs).pick(left, pairs)
        whole = take & -8
        here = f.at("double", out, start)
        with f.count(whole, step=8) as i:
            f.store(lows + widths * doubles(f, state, pos + (i << 1), 8), here, i)
        with f.count(take, start=whole) as i:
            f.store(low + width * doubles(f, state, pos + (i << 1), 1), here, i)
        f.store((pos + (take << 1)).convert("trunc", "i32"), state, POS_WORD)
        done.value = start + take
        f.goto(again)
        f.place(end)
        f.ret()


def doubles(f: Function, state: Value, word: Value, lanes: int) -> Value:
    """Make the doubles of the words from `word` on, which the caller knows to lie in the block."""
    if lanes == 1:
        high, low = f.load("i32", state, word), f.load("i32", state, word + 1)
        return _unit(_temper(high), _temper(low))
    words = _temper(f.load(f"<{2 * lanes} x i32>", state, word))
    high = f.shuffle(words, words, range(0, 2 * lanes, 2))
    return _unit(high, f.shuffle(words, words, range(1, 2 * lanes, 2)))
