"""Philox4x32-10 draws: every element follows from a key, a counter and its index alone.

The state is an int64 vector of key and counter; a draw moves the counter on by its blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Apply, Variable
from ltensor.ops.opdef import Declaration, Sample, declare
from ltensor.ops.uniform_draw import UniformDraw, as_sizes, checked_dims

#: elements made of one block of four words
PER_BLOCK = {"float32": 4, "float64": 2}
ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


class PhiloxUniform(UniformDraw):
    """Uniform draws in [0, 1): from (state, sizes...) the new state and the sample."""

    ir_name = "philox_uniform"

    def __init__(self, dtype: str, ndim: int) -> None:
        if dtype not in PER_BLOCK:
            raise TypeError(f"Philox draws float32 and float64, not {dtype}")
        super().__init__(dtype, ndim)

    def make_node(self, state: Any, *sizes: Any) -> Apply:
        state = as_tensor(state)
        if state.type.dtype != "int64" or state.type.ndim != 1:
            raise TypeError(f"the state of a Philox draw is an int64 vector, not {state.type}")
        return self.draw(state, sizes)

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        key, counter = (int(v) for v in inputs[0])
        shape = tuple(int(s) for s in inputs[1:])
        count = int(np.prod(shape))
        per_block = PER_BLOCK[self.dtype]
        blocks = -(-count // per_block)
        words = _cipher(key, np.uint64(counter % 2**64) + np.arange(blocks, dtype="uint64"))
        if self.dtype == "float32":
            drawn = (words >> np.uint64(8)).astype("float32") * np.float32(2.0**-24)
        else:
            high = (words[:, 0::2] >> np.uint64(5)).astype("float64")
            low = (words[:, 1::2] >> np.uint64(6)).astype("float64")
            drawn = (high * 2.0**26 + low) * 2.0**-53
        output_storage[0][0] = np.array([key, counter + blocks], "int64")
        output_storage[1][0] = drawn.reshape(-1)[:count].reshape(shape)

    def lower(self, k: Any) -> None:
        b = k.b
        old = k.operand(0)
        k.check(b.eq(old.dims[0], 2), "random_state", (old.dims[0], b.const(1)))
        dims = checked_dims(k)
        count = b.size(dims)
        key, counter = b.load(old, (0,)), b.load(old, (1,))
        target = k.output(1, dims) if dims else b.temporary(self.dtype, (b.const(1),))
        drawn = target if target.dense else b.temporary(self.dtype, dims)
        symbol = f"lt_rng_philox_uniform_f{self.dtype[-2:]}"
        status = b.call(symbol, [key, counter, b.shifted(drawn, 0), count], "int32")
        k.check(b.eq(status, 0), "random_state", (old.dims[0], b.const(1)))
        if not dims:
            k.result(b.load(target, (0,)), 1)
        elif drawn is not target:
            k.block.copy(target, drawn)
        per_block = PER_BLOCK[self.dtype]
        blocks = b.int_divide(b.add(count, per_block - 1), per_block)
        new = k.output(0, (b.const(2),))
        b.store(new, (0,), key)
        b.store(new, (1,), b.add(counter, blocks))


def _cipher(key: int, counters: np.ndarray) -> np.ndarray:
    """The four words of every block, as uint64."""
    c = [counters & _LOW, counters >> _HALF, np.zeros_like(counters), np.zeros_like(counters)]
    keys = [key & 0xFFFFFFFF, (key >> 32) & 0xFFFFFFFF]
    for _ in range(ROUNDS):
        p0 = c[0] * np.uint64(MULTIPLIERS[0])
        p1 = c[2] * np.uint64(MULTIPLIERS[1])
        c = [
            (p1 >> _HALF) ^ c[1] ^ np.uint64(keys[0]),
            p1 & _LOW,
            (p0 >> _HALF) ^ c[3] ^ np.uint64(keys[1]),
            p0 & _LOW,
        ]
        keys = [(k + step) & 0xFFFFFFFF for k, step in zip(keys, KEY_STEPS, strict=True)]
    return np.stack(c, axis=1)


def philox_uniform(state: Any, sizes: Sequence[Any], dtype: str) -> list[Variable]:
    """The state after a draw, and the draw."""
    given = as_sizes(sizes)
    return PhiloxUniform(dtype, len(given))(state, *given)


def _samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for sizes in ((7,), (3, 5), (400,), (2, 0), ()):
        state = rng.integers(-(2**62), 2**62, 2)
        yield Sample(
            lambda s, sizes=sizes: philox_uniform(s, sizes, dtype),
            [state],
            str(sizes),
            differentiable=False,
        )


declare(
    Declaration(
        "philox_uniform",
        "Uniform draws of a counter-based stream.",
        PhiloxUniform,
        _samples,
        0,
        ("float32", "float64"),
        False,
    )
)
