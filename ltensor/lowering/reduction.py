"""Reductions: loops over the kept dimensions around loops over the reduced ones.

Where the innermost dimension is reduced, lanes hold partial results of one output; where it is
kept, lanes are neighbouring outputs and the reduction steps through memory row by row.

A reduction of trailing dimensions may share the nest of values that are stored, or of other
reductions, so that what it sums is computed once and never stored (`Plan` decides).
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ltensor.ir.graph import Apply
from ltensor.lowering.nest import collapse
from ltensor.lowering.program import Complex, Value
from ltensor.lowering.rewrites.partial_results import in_chunks, is_long

if TYPE_CHECKING:
    from ltensor.lowering.block import Block
    from ltensor.lowering.fusion import Group


def emit_reduction(block: Block, node: Apply) -> None:
    """Lower a node of kind ``reduction``."""
    b = block.b
    op = node.op
    source, output = node.inputs[0], node.outputs[0]
    block.prepare(source)
    block.check_node(node)
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

    def accumulate(carried: Any, rest: list[tuple[int, Value]], begin: Value | None = None) -> Any:
        axis, extent = rest[0]
        last = len(rest) == 1
        if isinstance(carried, Complex):
            return _complex_loop(axis, extent, carried, rest)
        in_lanes = last and not lanes_on_kept
        loop_args: dict[str, Any] = {"carries": [carried]}
        if in_lanes:
            loop_args |= {"kind": "vector", "combine": [op.combine_name]}
        with b.loop(extent, **loop_args) as loop:
            index[axis] = loop.index if begin is None else b.add(begin, loop.index)
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
        extents = [extent for _, extent in inner]
        if not inner:
            total = op.combine(b, initial, contribution())
        elif outer or isinstance(initial, Complex) or not b.threads or not is_long(extents):
            total = accumulate(initial, inner)
        else:

            def part(begin: Value, steps: Value) -> Value:
                return accumulate(initial, [(inner[0][0], steps), *inner[1:]], begin)

            total = in_chunks(b, op, dtype, extents, part, str(op))
        result = b.cast(op.finish(b, total), output.type.dtype)
        if target is not None:
            b.store(target, [index[k] for k in kept], result)
    b.flush_guards()
    if target is not None:
        block.bound[output] = target
    else:
        block.bound[output] = result


def emit_shared_nest(block: Block, group: Group) -> None:
    """Lower a nest that stores values and reduces others over its trailing dimensions."""
    b = block.b
    nodes = group.reductions
    block.prepare_group(group)
    for node in nodes:
        block.prepare(node.inputs[0])
        block.check_node(node)
    first: Any = nodes[0]
    source = first.inputs[0]
    dims = block.dims(source)
    reduced = first.op.reduced_axes(len(dims))
    kept = [k for k in range(len(dims)) if k not in reduced]
    for node in nodes:
        for axis in reduced if node.op.needs_elements else ():
            block.check(b.gt(dims[axis], 0), "empty_reduction", node, (), (node.op.ir_name,))
    stored = {v: block.destination(v, block.dims(v)) for v in group.variables}
    rows = [dims[k] for k in kept]
    targets = [block.destination(node.outputs[0], rows) if kept else None for node in nodes]
    classes = [k in reduced for k in range(len(dims))]
    computed = [*group.variables, *(node.inputs[0] for node in nodes)]
    space = collapse(block, computed, dims, list(stored.values()), classes=classes)
    dtypes = [node.op.accumulator(node.inputs[0].type.dtype) for node in nodes]
    memo: dict[Any, Any] = {}
    index: list[Value] = [b.const(0)] * len(dims)

    def element() -> list[Value]:
        """Store the values at ``index``; what each reduction takes of it."""
        where = tuple(index)
        for variable, target in stored.items():
            assert variable.owner is not None
            key = (variable, *map(id, where))
            memo[key] = block.element_of(variable.owner, where, memo)
            b.store(target, where, memo[key])
        return [
            node.op.contribution(b, b.cast(block.element(node.inputs[0], where, memo), dtype))
            for node, dtype in zip(nodes, dtypes, strict=True)
        ]

    def accumulate(carried: list[Value], loops: list[tuple[int, Value]]) -> list[Value]:
        axis, extent = loops[0]
        last = len(loops) == 1
        names = [node.op.combine_name for node in nodes] if last else None
        kind = "vector" if last else "serial"
        with b.loop(extent, carries=carried, kind=kind, combine=names) as loop:
            index[axis] = loop.index
            loop.next(*(element() if last else accumulate(list(loop.carry), loops[1:])))
        return list(loop.results)

    with ExitStack() as stack:
        label = str(first.op)
        for axis, extent in space.loops:
            if axis not in reduced:
                loop = stack.enter_context(b.loop(extent, parallel=True, label=label))
                index[axis], label = loop.index, ""
        totals = [node.op.initial(b, dtype) for node, dtype in zip(nodes, dtypes, strict=True)]
        inner = [(axis, extent) for axis, extent in space.loops if axis in reduced]
        if inner:
            totals = accumulate(totals, inner)
        else:
            totals = [
                node.op.combine(b, total, part)
                for node, total, part in zip(nodes, totals, element(), strict=True)
            ]
        results = []
        for node, target, total in zip(nodes, targets, totals, strict=True):
            result = b.cast(node.op.finish(b, total), node.outputs[0].type.dtype)
            results.append(result)
            if target is not None:
                b.store(target, [index[k] for k in kept], result)
    b.flush_guards()
    block.computing = frozenset()
    block.bound.update(stored)
    for node, target, result in zip(nodes, targets, results, strict=True):
        block.bound[node.outputs[0]] = result if target is None else target
