"""Zeros in which parts are put: each is computed right where it belongs, the rest is set to zero.

The gradient of slices along one axis, as those of a step's gates, is a chain of `IncSubtensor` from
zeros. If the slices do not overlap, nothing need be added to zeros: the parts are written side by
side into one buffer, by the nest that computes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ltensor.ir.build import constant_value
from ltensor.ir.graph import Apply, Variable
from ltensor.lowering.fusion import kind_of
from ltensor.lowering.joined import known_now
from ltensor.lowering.program import Value, View
from ltensor.ops.subtensor import region_shape

if TYPE_CHECKING:
    from ltensor.lowering.block.places import Places

#: the part of an axis from a number to another, or to its end
Bounds = tuple[int, int | None]


@dataclass(eq=False)
class PlacedParts:
    """A chain of operations that put parts into zeros, one disjoint slice of an axis each.

    Attributes
    ----------
    nodes : tuple of Apply
        From the zeros to the whole.
    bounds : list of tuple of int and int or None
        What every one of them writes of the axis ``axis``.
    target : View or None
        The buffer, once it is made.
    written : set of Apply
        Those whose part has been computed in its place.
    """

    nodes: tuple[Apply, ...]
    axis: int
    bounds: list[Bounds]
    target: View | None = None
    written: set[Apply] = field(default_factory=set)

    def gaps(self) -> list[Bounds]:
        """What no part covers."""
        found: list[Bounds] = []
        reached: int | None = 0
        for start, stop in sorted(self.bounds, key=lambda bounds: bounds[0]):
            if reached is None or (stop is not None and stop <= start):  # empty
                continue
            if start > reached:
                found.append((reached, start))
            reached = stop
        if reached is not None:
            found.append((reached, None))
        return found


def placed_parts(block: Places, node: Apply) -> PlacedParts | None:
    """The chain that ``node`` belongs to, None if it is in none."""
    if node not in block.placed:
        walked, chain = _chain(block, node)
        for member in walked:
            block.placed[member] = chain if chain and member in chain.nodes else None
    return block.placed[node]


def placed_window(
    block: Places, variable: Variable, dims: Sequence[Value], by_element: bool
) -> View | None:
    """Where ``variable`` belongs in zeros into which it is put; None if it need not be there.

    Only a part that is known to have the size of its place is computed there: another is stretched.
    One with gaps between its rows only if it is written element by element.
    """
    for reader in block.plan.readers.get(variable, ()):
        if getattr(reader.op, "ir_name", "") != "inc_subtensor" or len(reader.inputs) != 2:
            continue
        if reader.inputs[0] is variable or variable.type.ndim != reader.outputs[0].type.ndim:
            continue
        assert variable.type.dtype == reader.outputs[0].type.dtype  # `make_node` casts parts
        chain = placed_parts(block, reader)
        if chain is None or (chain.axis > 0 and not by_element):
            continue
        shape = block.shapes.shape(reader.outputs[0])
        if shape is None or not all(known_now(block, size) for size in shape):
            continue
        if not all(map(block.same, dims, map(block.b.known_size, _sizes(block, reader)))):
            continue
        target = make_target(block, chain)
        chain.written.add(reader)
        return slice_of(block, target, chain, reader)
    return None


def make_target(block: Places, chain: PlacedParts) -> View:
    """The buffer of the whole, made when it is first asked for."""
    if chain.target is None:
        zeros = chain.nodes[0].inputs[0].owner
        assert zeros is not None
        for size in zeros.inputs[1:]:
            block.prepare(size)
        block.check_node(zeros)
        output = chain.nodes[-1].outputs[0]
        dims = block.dims(output)
        provider = block.destinations.pop(output, None)
        if provider is not None:
            chain.target = provider.place(dims)
        else:
            chain.target = block.b.temporary(output.type.dtype, dims, ("value", output))
            if all(_is_read_once(block, node) for node in chain.nodes):
                block.own_inputs([output])
    return chain.target


def slice_of(block: Places, whole: View, chain: PlacedParts, node: Apply) -> View:
    """The window of ``whole`` that ``node`` writes, its sizes computed as those of a slice."""
    bounds = chain.bounds[chain.nodes.index(node)]
    part = window(block, whole, chain.axis, bounds)
    return View(part.dtype, part.pointer, _sizes(block, node), part.strides)


def _sizes(block: Places, node: Apply) -> tuple[Value, ...]:
    shape = block.shapes.shape(node.inputs[0])
    assert shape is not None
    return tuple(block.scalar(size) for size in region_shape(node.op.pattern, (), shape))


def window(block: Places, whole: View, axis: int, bounds: Bounds) -> View:
    """The part of a dense ``whole`` within bounds along an axis, clipped as slices are."""
    b = block.b
    size = whole.dims[axis]
    start, stop = (
        size if bound is None else b.known_size(b.min(bound, size)) if bound else b.const(0)
        for bound in bounds
    )
    dims = (*whole.dims[:axis], b.sub(stop, start), *whole.dims[axis + 1 :])
    units = tuple(b.size(whole.dims[k + 1 :]) for k in range(whole.ndim))
    pointer = b.shifted(whole, b.mul(start, units[axis]))
    # along the first axis the part is dense
    return View(whole.dtype, pointer, dims, None if axis == 0 else units)


def _is_read_once(block: Places, node: Apply) -> bool:
    """Whether nobody but ``node`` reads its part."""
    part = node.inputs[1]
    readers = [r for r in block.plan.readers.get(part, ()) if kind_of(r) != "shape"]
    return len(readers) == 1 and part not in block.function.outputs


def _chain(block: Places, node: Apply) -> tuple[list[Apply], PlacedParts | None]:
    """The longest chain from zeros whose slices do not overlap, on the way through ``node``.

    Also gives all operations on that way, of which none belongs to another chain.
    """
    found = _bounds(node)
    walked = [node]
    if found is None:
        return walked, None
    while True:
        before = walked[0].inputs[0].owner
        if before is None or walked[0].inputs[0] in block.bound:
            return walked, None
        if getattr(before.op, "ir_name", "") == "alloc":
            value = constant_value(before.inputs[0])
            if value is None or value.size != 1 or value.any():
                return walked, None
            break
        if _bounds(before) is None or not _leads_to(block, before, walked[0]):
            return walked, None
        walked.insert(0, before)
    while True:
        after = _only_reader(block, walked[-1].outputs[0])
        if after is None or _bounds(after) is None or after.inputs[0] is not walked[-1].outputs[0]:
            break
        walked.append(after)
    # from the zeros on as long as the axis stays the same and the slices are disjoint
    first = _bounds(walked[0])
    assert first is not None
    axis, bounds = first[0], [first[1]]
    for member in walked[1:]:
        other = _bounds(member)
        assert other is not None
        if other[0] != axis or any(_overlap(other[1], seen) for seen in bounds):
            break
        bounds.append(other[1])
    nodes = walked[: len(bounds)]
    while nodes and not _is_apart(block, nodes[-1].outputs[0]):
        nodes.pop()
        bounds.pop()
    return walked, PlacedParts(tuple(nodes), axis, bounds) if nodes else None


def _bounds(node: Apply) -> tuple[int, Bounds] | None:
    """The axis and the part of it that ``node`` writes, if it is an upward slice of numbers."""
    if getattr(node.op, "ir_name", "") != "inc_subtensor" or len(node.inputs) != 2:
        return None
    if node.outputs[0].type.ndim == 0:
        return None
    found: tuple[int, Bounds] | None = None
    for axis, entry in enumerate(node.op.pattern):
        if not isinstance(entry, tuple):
            return None
        start, stop, step = entry
        if step not in (None, 1) or any(n is not None and n < 0 for n in (start, stop)):
            return None
        start = start or 0
        if start == 0 and stop is None:
            continue
        if found is not None or (stop is not None and stop < start):
            return None
        found = (axis, (start, stop))
    return found


def _overlap(one: Bounds, other: Bounds) -> bool:
    (first, end), (second, last) = one, other
    return (end is None or second < end) and (last is None or first < last)


def _only_reader(block: Places, variable: Variable) -> Apply | None:
    readers = [r for r in block.plan.readers.get(variable, ()) if kind_of(r) != "shape"]
    if len(readers) != 1 or variable in block.function.outputs:
        return None
    return readers[0] if sum(v is variable for v in readers[0].inputs) == 1 else None


def _leads_to(block: Places, before: Apply, after: Apply) -> bool:
    return _only_reader(block, before.outputs[0]) is after


def _is_apart(block: Places, output: Variable) -> bool:
    """Whether the buffer of ``output`` may be written before all that it is computed of is read."""
    provider = block.destinations.get(output)
    return provider is None or provider.is_apart
