"""Matrices with rows and columns exchanged, block by block in registers.

Lowering layer. ``lt_turn_u<bits>`` writes the columns of a matrix as rows: every line of either
matrix is touched once, where a loop fetches it again for each of its elements. A block of as many
rows as a vector has lanes is turned by interleaving vectors: each of the interleavings rotates the
bits of row and lane by one place. Blocks at the edges overlap those before them.
"""

from __future__ import annotations

from ltensor.lowering.rng.builder import Function, Module, Value, vector

#: offsets and strides in elements; ``target`` has ``rows`` rows of ``columns`` elements
PARAMS = {
    "source": "ptr",
    "source_offset": "i64",
    "source_stride": "i64",
    "target": "ptr",
    "target_offset": "i64",
    "target_stride": "i64",
    "rows": "i64",
    "columns": "i64",
}
#: columns of the target between which all rows are gone through
_STRIP = 512


def module_text(bits: int, vector_bytes: int) -> str:
    """LLVM IR of ``lt_turn_u<bits>`` for elements of 8, 16, 32 or 64 bits.

    ``target[r, c] = source[c, r]``; the two do not overlap.

    Examples
    --------
    >>> "define void @lt_turn_u32(" in module_text(32, 32)
    True
    """
    module = Module()
    # registers for all rows of a block, and no interleaving across more than it takes
    wide = min(vector_bytes, 2 * bits) if bits < 32 else vector_bytes
    lanes = max(2, wide * 8 // bits)
    with module.function(f"lt_turn_u{bits}", "void", PARAMS) as f:
        _write(f, f"i{bits}", lanes)
    return module.text()


def _write(f: Function, element: str, lanes: int) -> None:
    rows, columns, far, wide = f.args("rows", "columns", "source_stride", "target_stride")
    source, source_offset = f.args("source", "source_offset")
    target, target_offset = f.args("target", "target_offset")
    source, target = f.at(element, source, source_offset), f.at(element, target, target_offset)
    with f.when((rows < lanes) | (columns < lanes)):
        with f.count(rows) as r, f.count(columns) as c:
            f.store(f.load(element, source, c * far + r), target, r * wide + c)
        f.ret()
    with f.count(columns, step=_STRIP) as strip:
        end = _least(strip + _STRIP, columns)
        with f.count(rows, step=lanes) as r_, f.count(end, start=strip, step=lanes) as c_:
            r, c = _least(r_, rows - lanes), _least(c_, columns - lanes)
            _block(f, element, lanes, f.at(element, source, c * far + r), far,
                   f.at(element, target, r * wide + c), wide)  # fmt: skip


def _least(a: Value, b: Value) -> Value:
    return (a < b).pick(a, b)


def _block(
    f: Function, element: str, lanes: int, source: Value, far: Value, target: Value, wide: Value
) -> None:
    """Turn a block of as many rows as lanes."""
    ty, half = vector(element, lanes), lanes // 2
    block = [f.load(ty, source, far * k) for k in range(lanes)]
    low, high = (
        [start + k // 2 + (lanes if k % 2 else 0) for k in range(lanes)] for start in (0, half)
    )
    steps = 1
    while steps < lanes:
        pairs = list(zip(block[:half], block[half:], strict=True))
        block = [f.shuffle(a, b, order) for a, b in pairs for order in (low, high)]
        steps *= 2
    for k, value in enumerate(block):
        f.store(value, target, wide * k)
