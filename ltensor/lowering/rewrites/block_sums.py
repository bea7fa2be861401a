"""Long sums in the precision of their elements: by blocks, which are added with what rounding lost.

A lane that adds thousands of equal numbers rounds the same way every time. Sums of blocks, added as
in Kahan's "Further remarks on reducing truncation errors" (1965), are at least as accurate as sums
by halves. Sums in a wider type than the elements' have bits to spare.
"""

from __future__ import annotations

from typing import Any

from ltensor.ir import dtypes as dt
from ltensor.lowering.program import Carry, If, Loop, Program, Scope, Value, new_loop
from ltensor.lowering.rewrites.loop_edits import deepen, shift

#: elements of a block
BLOCK = 1024


def block_sums(program: Program) -> None:
    """Rewrite the long sums of a program that are not steps of a sequential loop."""
    _visit(program.root)


def _visit(scope: Scope) -> None:
    for entry in list(scope.body):
        if isinstance(entry, If):
            _visit(entry.then)
            _visit(entry.orelse)
        elif isinstance(entry, Loop):
            if _is_sum(entry):
                _rewrite(scope, entry)
            elif entry.parallel and entry.kind == "serial" and not entry.carries:
                _visit(entry.body)


def _is_sum(loop: Loop) -> bool:
    if loop.kind != "vector" or not loop.carries or loop.parallel or loop.stop is not None:
        return False
    if loop.plain or (loop.extent.op == "const" and loop.extent.attr <= BLOCK):
        return False
    return all(
        c.combine == "add" and dt.is_float(c.phi.dtype) and not _has_spare_bits(c)
        for c in loop.carries
    )


def _has_spare_bits(carry: Carry) -> bool:
    part = carry.next
    if part is None or part.op != "cast":
        return False
    source = part.args[0].dtype
    return source == "bool" or dt.item_size(source) < dt.item_size(part.dtype)


def _rewrite(scope: Scope, loop: Loop) -> None:
    owner = loop.index.owner
    head: list[Value] = []

    def make(place: Scope | None, op: str, dtype: str, *args: Value, attr: Any = None) -> Value:
        value = Value(op, dtype, args, attr, place or scope, owner)
        (head if place is None else place.body).append(value)
        return value

    size = owner.const(BLOCK)
    more = make(None, "add", "int64", loop.extent, owner.const(BLOCK - 1))
    count = make(None, "div", "int64", more, size)
    blocks = new_loop(scope, count, "serial", owner, label=loop.label)
    body, index = blocks.body, blocks.index
    begin = make(body, "mul", "int64", index, size)
    rest = make(body, "sub", "int64", loop.extent, begin)
    extent = make(body, "min", "int64", rest, size)
    body.body.append(loop)
    for carry in loop.carries:
        dtype = carry.phi.dtype
        zero = owner.const(0, dtype)
        total, lost = (Value("phi", dtype, (), None, body, owner) for _ in range(2))
        part = Value("result", dtype, (), loop, body, owner)
        value = make(body, "sub", dtype, part, lost)
        following = make(body, "add", dtype, total, value)
        error = make(body, "sub", dtype, make(body, "sub", dtype, following, total), value)
        # infinities lose nothing
        known = make(body, "cmp", "bool", error, error, attr="eq")
        kept = make(body, "select", dtype, known, error, zero)
        unused = Value("result", dtype, (), blocks, scope, owner)
        blocks.carries += [
            Carry(carry.init, total, carry.result, None, following),
            Carry(zero, lost, unused, None, kept),
        ]
        carry.init, carry.result = zero, part
    shift(loop, begin, extent)
    loop.body.parent = body
    position = scope.body.index(loop)
    scope.body[position : position + 1] = [*head, blocks]
    deepen(scope)
