"""Reductions: loops over the kept dimensions around loops over the reduced ones.

Where the innermost dimension is reduced, lanes hold partial results of one output; where it is
kept, lanes are neighbouring outputs and the reduction steps through memory row by row.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ltensor.ir.graph import Apply
from ltensor.lowering.nest import collapse
from ltensor.lowering.program import Complex, Value

if TYPE_CHECKING:
    from ltensor.lowering.block import Block


def emit_reduction(block: Block, node: Apply) -> None:
    """Lower a node of kind ``reduction``."""
    b = block.b
    op = node.op
    source, output = node.inputs[0], node.outputs[0]
    block.prepare(source)
    block._check_node(node)
    dims = block.dims(source)
    reduced = op.reduced_axes(source.type.ndim)
    kept = [k for k in range(len(dims)) if k not in reduced]
    if op.needs_elements:
        for axis in reduced:
            block.check(b.gt(dims[axis], 0), "empty_reduction", node, (), (op.ir_name,))
    # an unstored operand is reached through its own element code; a stored one is loaded
    classes = [k in reduced for k in range(len(dims))]
    space = collapse(block, [source], dims, classes=classes, computed=False)
    target = None
    if kept:
        target = block.destination(output, [dims[k] for k in kept])
    dtype = op.accumulator(source.type.dtype)
    memo: dict[Any, Any] = {}
    loops = space.loops
    outer = [(a, n) for a, n in loops if a not in reduced]
    inner = [(a, n) for a, n in loops if a in reduced]
    lanes_on_kept = bool(loops) and loops[-1][0] not in reduced
    index: list[Value] = [b.const(0)] * len(dims)

    def accumulate(carried: Any, rest: list[tuple[int, Value]]) -> Any:
        axis, extent = rest[0]
        last = len(rest) == 1
        if isinstance(carried, Complex):
            return _complex_loop(axis, extent, carried, rest)
        in_lanes = last and not lanes_on_kept
        loop_args: dict[str, Any] = {"carries": [carried]}
        if in_lanes:
            loop_args |= {"kind": "vector", "combine": [op.combine_name]}
        with b.loop(extent, **loop_args) as loop:
            index[axis] = loop.index
            if not last:
                loop.next(accumulate(loop.carry[0], rest[1:]))
            else:
                element = contribution()
                loop.next(element if in_lanes else op.combine(b, loop.carry[0], element))
        return loop.results[0]

    def _complex_loop(axis: int, extent: Value, carried: Complex, rest: Any) -> Complex:
        with b.loop(extent, carries=[carried.re, carried.im]) as loop:
            index[axis] = loop.index
            current = Complex(loop.carry[0], loop.carry[1], carried.dtype)
            if len(rest) > 1:
                new = accumulate(current, rest[1:])
            else:
                new = op.combine(b, current, contribution())
            loop.next(new.re, new.im)
        return Complex(loop.results[0], loop.results[1], carried.dtype)

    def contribution() -> Any:
        element = block.element(source, tuple(index), memo)
        return op.contribution(b, b.cast(element, dtype))

    with ExitStack() as stack:
        for number, (axis, extent) in enumerate(outer):
            vector = (
                lanes_on_kept
                and number == len(outer) - 1
                and not isinstance(op.initial(b, dtype), Complex)
            )
            loop = stack.enter_context(
                b.loop(
                    extent,
                    kind="vector" if vector else "serial",
                    parallel=True,
                    label=str(op) if number == 0 else "",
                )
            )
            index[axis] = loop.index
        initial = op.initial(b, dtype)
        if inner:
            total = accumulate(initial, inner)
        else:
            total = op.combine(b, initial, contribution())
        result = b.cast(op.finish(b, total), output.type.dtype)
        if target is not None:
            b.store(target, [index[k] for k in kept], result)
    b.flush_guards()
    if target is not None:
        block.bound[output] = target
    else:
        block.bound[output] = result
