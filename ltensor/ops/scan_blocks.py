"""A loop cut into blocks of steps, so that its gradient needs the states at their borders only.

``in_blocks`` makes of n steps an outer loop over blocks whose body runs an inner loop of at most
``size`` steps. Differentiated like any other loop, the outer one keeps its states, of which there
is one per block; traces of the inner loop have sizes that differ from block to block, so they are
never kept but computed again, block by block, last one first. With blocks of about sqrt(n) steps
the memory is 2 sqrt(n) rows where one loop needs n, for one more forward pass.

Sequences are refs of the outer loop: a block reads its rows by a slice. The gradient of an array
that is read by such slices only (`windows`) comes out block by block as well, and costs nothing
per block for the rows of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ltensor.errors import UnsupportedError
from ltensor.ir.build import constant, constant_value
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import TensorType, tensor_type
from ltensor.ops.alloc import ARange, alloc, arange, zeros_like
from ltensor.ops.arithmetic import add, int_div, minimum, mul, sub
from ltensor.ops.cast import cast
from ltensor.ops.indexing import inc_subtensor, set_subtensor
from ltensor.ops.join import concatenate
from ltensor.ops.scan import Scan
from ltensor.ops.shape import ShapeI, dims_of, dimshuffle, reshape, restore_flags, set_flags
from ltensor.ops.subtensor import Subtensor


def _whole(number: int) -> Variable:
    return constant(number, dtype="int64")


class Blocks(NamedTuple):
    """A loop in blocks.

    Attributes
    ----------
    node : Apply
        The outer loop. Its tap slots are those of the loop, their rows the states after each block.
    lasts : list of Variable
        Per tap slot the rows that the next step would read, oldest first.
    carries : list of Variable
        Final values of carries.
    traces : dict
        From (asked) numbers of slots, taps first and then outs, to their traces.
    block_outs : list of Variable
        Per out its row in the last step of each block, if asked for.
    """

    node: Apply
    lasts: list[Variable]
    carries: list[Variable]
    traces: dict[int, Variable]
    block_outs: list[Variable]


def in_blocks(
    op: Any,
    inputs: Sequence[Variable],
    size: Variable,
    traces: Sequence[int] = (),
    last_outs: bool = False,
) -> Blocks:
    """The loop ``op(*inputs)`` in blocks of ``size`` steps.

    Parameters
    ----------
    op : Scan
        Without stop condition.
    inputs : sequence of Variable
        Operands as of its node.
    size : Variable
        An int64 scalar, at least 1.
    traces : sequence of int
        Of which slots, taps first and then outs, the whole trace is wanted.
    last_outs : bool
        Whether rows of outs at the ends of the blocks are wanted.
    """
    if op.has_stop:
        raise UnsupportedError(
            f"scan {op.name} has a stop condition, so it cannot be cut into blocks of steps. "
            "Leave checkpoint out, or state the number of steps and drop until."
        )
    n, seqs, inits, carries, refs = op.split(inputs)
    n = cast(n, "int64")
    size = cast(size, "int64")
    count = int_div(add(n, sub(size, _whole(1))), size)
    # the body
    k = tensor_type("int64", ()).make_variable("block")
    states = [_state_type(op, slot, init).make_variable() for slot, init in enumerate(inits)]
    moving = [v.type.make_variable(v.name) for v in op.inner_carries()]
    n_inside, size_inside = (tensor_type("int64", ()).make_variable(s) for s in ("n", "size"))
    arrays = [v.type.make_variable(v.name) for v in seqs]
    constants = [v.type.make_variable(v.name) for v in refs]
    start = mul(k, size_inside)
    steps = minimum(size_inside, sub(n_inside, start))
    stop = add(start, steps)
    rows = [Subtensor((("int64", "int64", None),))(v, start, stop) for v in arrays]
    before = [state_rows(op, slot, v) for slot, v in enumerate(states)]
    inner = op.replace(checkpoint=0).make_node(steps, *rows, *before, *moving, *constants)
    first_out = op.n_taps + op.n_carries
    outer_states = [
        _after(op, slot, before[slot], inner.outputs[slot], steps, state)
        for slot, state in enumerate(states)
    ]
    outs = []
    for number in traces:
        position = number if number < op.n_taps else number + op.n_carries
        outs.append(padded(inner.outputs[position], size_inside, steps))
    if last_outs:
        outs += [inner.outputs[first_out + j][-1] for j in range(op.n_outs)]
    body = Function(
        [k, *states, *moving, n_inside, size_inside, *arrays, *constants],
        [*outer_states, *inner.outputs[op.n_taps : first_out], *outs],
        f"blocks_of_{op.name}",
    )
    outer = Scan(
        body,
        n_seqs=1,
        lags=[(1,)] * op.n_taps,
        n_carries=op.n_carries,
        n_outs=len(outs),
        name=f"blocks_of_{op.name}",
    )
    outer.checkpoint = 0
    starts = [_outer_init(op, slot, init) for slot, init in enumerate(inits)]
    node = outer.make_node(count, arange(count), *starts, *carries, n, size, *seqs, *refs)
    results = node.outputs
    whole = {number: joined(results[first_out + j], n) for j, number in enumerate(traces)}
    return Blocks(
        node,
        [state_rows(op, slot, trace[-1]) for slot, trace in enumerate(results[: op.n_taps])],
        list(results[op.n_taps : first_out]),
        whole,
        list(results[first_out + len(traces) :]),
    )


# ------------------------------------------------------------------------------------- states


def _state_type(op: Any, slot: int, init: Variable) -> TensorType:
    """A tap slot's state between blocks: its row, or as many rows as its taps reach back."""
    kind: Any = init.type
    if op.depth(slot) == 1:
        return tensor_type(kind.dtype, kind.shape[1:])
    return tensor_type(kind.dtype, (None, *kind.shape[1:]))


def _outer_init(op: Any, slot: int, init: Variable) -> Variable:
    depth = op.depth(slot)
    if depth == 1:
        return init
    ndim = init.type.ndim
    rows = set_flags(init[:depth], (False, *init.type.broadcastable[1:]))
    return set_flags(
        dimshuffle(rows, "x", *range(ndim)), (False,) * 2 + rows.type.broadcastable[1:]
    )


def state_rows(op: Any, slot: int, state: Variable) -> Variable:
    """The state between blocks as rows."""
    if op.depth(slot) > 1:
        return state
    row = dimshuffle(state, "x", *range(state.type.ndim))
    return set_flags(row, (False, *state.type.broadcastable))


def _after(
    op: Any, slot: int, before: Variable, trace: Variable, steps: Variable, like: Variable
) -> Variable:
    """The state after a block, which has at least one step."""
    depth = op.depth(slot)
    if depth == 1:
        return set_flags(trace[-1], like.type.broadcastable)
    # a block of few steps leaves some of the rows before it
    old = before[minimum(steps, _whole(depth)) :]
    return set_flags(concatenate([old, trace[-depth:]], axis=0), like.type.broadcastable)


# ------------------------------------------------------------------------------------- rows


def padded(rows: Variable, size: Variable, steps: Variable, at_end: bool = False) -> Variable:
    """``rows``, of which there are ``steps``, among ``size`` rows: the first, or the last."""
    zero = constant(0, dtype=rows.type.dtype)
    space = alloc(zero, size, *dims_of(rows)[1:])
    place = space[sub(size, steps) :] if at_end else space[:steps]
    return set_subtensor(place, set_flags(rows, place.type.broadcastable))


def joined(blocks: Variable, n: Variable, at_end: bool = False) -> Variable:
    """The first ``n`` rows of padded blocks one after the other, or the last ``n``."""
    count, size, *dims = dims_of(blocks)
    total = mul(count, size)
    flat = reshape(blocks, [total, *dims], blocks.type.ndim - 1)
    flat = set_flags(flat, (False, *blocks.type.broadcastable[2:]))
    return flat[sub(total, n) :] if at_end else flat[:n]


class Window(NamedTuple):
    """How an array is read by blocks, in terms of the body's inputs."""

    nodes: list[Apply]
    size: Variable
    n: Variable
    steps: Variable
    descending: bool

    def of_gradient(self, rows: Variable) -> Variable:
        """What a step of the backward loop, which visits blocks the other way, puts out."""
        if self.descending:
            return padded(rows, self.size, self.steps)
        return padded(rows[::-1], self.size, self.steps, at_end=True)

    def gradient(self, blocks: Variable, array: Variable, n: Variable) -> Variable:
        """The gradient of the whole ``array``."""
        if self.descending:
            rows = joined(blocks, n)
        else:
            rows = joined(blocks, n, at_end=True)[::-1]
        whole = zeros_like(array, dtype=rows.type.dtype)
        place = whole[:n]
        rows = set_flags(rows, place.type.broadcastable)
        return restore_flags(inc_subtensor(place, rows), array)


def windows(op: Any, sequences: Sequence[Variable]) -> dict[Variable, Window]:
    """Refs of a loop over blocks of which every block reads its own rows only."""
    readers: dict[Variable, list[Apply]] = {v: [] for v in op.inner_refs()}
    for node in op.body.nodes:
        for v in node.inputs:
            if v in readers and not (isinstance(node.op, ShapeI)):
                readers[v].append(node)
    for v in op.body.outputs:
        readers.pop(v, None)
    orders = {
        v: order
        for v, outer in zip(op.inner_seqs(), sequences, strict=True)
        if (order := _counting(outer)) is not None
    }
    found = {}
    for v, nodes in readers.items():
        parts = [_parts(node) for node in nodes]
        if not parts or parts[0] is None or any(part != parts[0] for part in parts):
            continue
        k, size, n, steps = parts[0]
        if k in orders and size in readers and n in readers:
            found[v] = Window(list(dict.fromkeys(nodes)), size, n, steps, orders[k])
    return found


def _counting(sequence: Variable) -> bool | None:
    """Whether a sequence counts blocks down (True) or up (False); None for others."""
    descending = False
    while (node := sequence.owner) is not None:
        if isinstance(node.op, ARange):
            first, _, step = (constant_value(v) for v in node.inputs)
            return descending if first == 0 and step == 1 else None
        if not isinstance(node.op, Subtensor) or len(node.op.pattern) != 1:
            return None
        entry = node.op.pattern[0]
        if entry == (None, None, -1):
            descending = not descending
        elif not isinstance(entry, tuple) or entry[0] is not None or entry[2] not in (None, 1):
            return None
        sequence = node.inputs[0]
    return None


def _parts(node: Apply) -> tuple[Variable, Variable, Variable, Variable] | None:
    """Of a slice made by `in_blocks`: number of the block, its size, steps in all and in it."""
    if not isinstance(node.op, Subtensor) or node.op.pattern != (("int64", "int64", None),):
        return None
    _, start, stop = node.inputs
    if start.owner is None or start.owner.op is not mul:
        return None
    if stop.owner is None or stop.owner.op is not add or stop.owner.inputs[0] is not start:
        return None
    k, size = start.owner.inputs
    steps = stop.owner.inputs[1]
    if steps.owner is None or steps.owner.op is not minimum or steps.owner.inputs[0] is not size:
        return None
    left = steps.owner.inputs[1]
    if left.owner is None or left.owner.op is not sub or left.owner.inputs[1] is not start:
        return None
    return k, size, left.owner.inputs[0], steps
