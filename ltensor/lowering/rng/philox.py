"""Philox4x32-10, a counter-based stream (Salmon et al., SC 2011), for new code and the GPU.

Block b of the stream is the cipher of the 128-bit counter ``counter + b`` (the sum modulo
2**64, the upper words zero) under the 64-bit key; low words come first. Four float32 of 24
bits or two float64 of 53 bits are made of the four words of a block, so any element is found
from its index alone. NumPy's own `Philox` is the 4x64 cipher, another stream.
"""

from __future__ import annotations

from collections.abc import Callable

from ltensor.lowering.rng.builder import Function, Module, Value, lanes_of, vector
from ltensor.lowering.rng.continuous import BAD_ARGUMENT
from ltensor.lowering.rng.mt19937 import TWO_26, TWO_M53

LANES = 16  # blocks ciphered together
WORDS = 4
ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)

Words = tuple[Value, Value, Value, Value]
Convert = Callable[[Function, Words], list[Value]]


def emit(m: Module) -> None:
    """Write the Philox kernels."""
    _uniform(m, "lt_rng_philox_uniform_f32", "float", _as_f32)
    _uniform(m, "lt_rng_philox_uniform_f64", "double", _as_f64)


def _product(word: Value, multiplier: int) -> tuple[Value, Value]:
    """High and low half of a 64-bit product."""
    wide = word.convert("zext", vector("i64", lanes_of(word.ty))) * multiplier
    return (wide >> 32).convert("trunc", word.ty), wide.convert("trunc", word.ty)


def _cipher(f: Function, key: Value, block: Value) -> Words:
    lanes = lanes_of(block.ty)
    narrow = vector("i32", lanes)
    c0, c1 = block.convert("trunc", narrow), (block >> 32).convert("trunc", narrow)
    c2 = c3 = f.const(narrow, 0)
    k0, k1 = key.convert("trunc", "i32"), (key >> 32).convert("trunc", "i32")
    for _ in range(ROUNDS):
        high0, low0 = _product(c0, MULTIPLIERS[0])
        high1, low1 = _product(c2, MULTIPLIERS[1])
        c0, c1 = high1 ^ c1 ^ f.splat(k0, lanes), low1
        c2, c3 = high0 ^ c3 ^ f.splat(k1, lanes), low0
        k0, k1 = k0 + KEY_STEPS[0], k1 + KEY_STEPS[1]
    return c0, c1, c2, c3


def _as_f32(f: Function, words: Words) -> list[Value]:
    ty = vector("float", lanes_of(words[0].ty))
    return [(word >> 8).convert("sitofp", ty) * 2.0**-24 for word in words]


def _as_f64(f: Function, words: Words) -> list[Value]:
    def unit(high: Value, low: Value) -> Value:
        return ((high >> 5).to_double() * TWO_26 + (low >> 6).to_double()) * TWO_M53

    return [unit(words[0], words[1]), unit(words[2], words[3])]


def _interleave(f: Function, parts: list[Value]) -> Value:
    """Lane after lane of all parts (a power of 2 of them): value p of block b, b rising slowest."""
    if len(parts) == 1:
        return parts[0]
    even, odd = _interleave(f, parts[0::2]), _interleave(f, parts[1::2])
    lanes = lanes_of(even.ty)
    return f.shuffle(even, odd, [i // 2 + (i % 2) * lanes for i in range(2 * lanes)])


def _uniform(m: Module, name: str, ty: str, make: Convert) -> None:
    params = {"key": "i64", "counter": "i64", "out": "ptr", "n": "i64"}
    with m.function(name, "i32", params) as f:
        key, counter, out, n = f.args(*params)
        f.ret_if(n < 0, BAD_ARGUMENT)
        per_block = 4 if ty == "float" else 2
        whole = n & -(LANES * per_block)
        lane_numbers = ", ".join(f"i64 {i}" for i in range(LANES))
        lanes = Value(f, f"<{LANES} x i64>", f"<{lane_numbers}>")
        shift = 2 if per_block == 4 else 1
        with f.count(whole, step=LANES * per_block) as i:
            blocks = f.splat(counter + (i >> shift), LANES) + lanes
            f.store(_interleave(f, make(f, _cipher(f, key, blocks))), out, i)
        spare = f.alloca(f"[4 x {ty}]")
        with f.count(n, start=whole, step=per_block) as i:
            for place, value in enumerate(make(f, _cipher(f, key, counter + (i >> shift)))):
                f.store(value, spare, place)
            left = n - i
            with f.count((left < per_block).pick(left, per_block)) as k:
                f.store(f.load(ty, spare, k), out, i + k)
