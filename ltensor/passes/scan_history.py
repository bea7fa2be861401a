"""The pass ``scan_history``: a state of which only the last rows are read keeps only these.

``result[-1]`` of a million steps then needs the memory of one. With no step at all the last row is
that of the initial state, as in Theano's optimized code.
"""

from __future__ import annotations

from typing import Any

from ltensor.ir.build import constant
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Variable, substitute
from ltensor.ops.arithmetic import maximum, minimum, neg
from ltensor.ops.cast import cast
from ltensor.ops.scan import Scan
from ltensor.ops.shape import ShapeI
from ltensor.ops.subtensor import Subtensor
from ltensor.passes.manager import register
from ltensor.passes.remarks import Slot, Who, remark


def scan_history(function: Function) -> Function:
    """Limit the history of every scan's results to what is read."""
    replacements: dict[Variable, Variable] = {}
    for node in function.nodes:
        if isinstance(node.op, Scan):
            replacements.update(_limit(node, function))
    if not replacements:
        return function
    return Function(function.inputs, substitute(function.outputs, replacements), function.name)


_READ = "keeps all rows of {}: {} reads others than the last"

#: ops that hand on the rows of a trace
_VIEWS = ("subtensor", "join", "rebroadcast")

#: a reader of a result; None: the function itself, which returns it
Reader = Apply | None


def _rows_read(readers: list[tuple[Reader, int]]) -> tuple[int | None, Reader]:
    """How many of the last rows the readers read; None if one, given too, reads others."""
    most = 0
    for reader, position in readers:
        if reader is None:
            return None, None
        if isinstance(reader.op, ShapeI) and reader.op.axis > 0:
            continue
        if not isinstance(reader.op, Subtensor) or position != 0 or not reader.op.idx_list:
            return None, reader
        entry = reader.op.idx_list[0]
        if entry == -1 and not isinstance(entry, tuple):
            most = max(most, 1)
        elif (
            isinstance(entry, tuple)
            and isinstance(entry[0], int)
            and entry[0] < 0
            and entry[1] is None
            and entry[2] in (None, 1)
        ):
            most = max(most, -entry[0])
        else:
            return None, reader
    return most, None


def _limit(node: Apply, function: Function) -> dict[Variable, Variable]:
    op: Any = node.op
    keep = list(op.keep)
    first_out = op.n_taps + op.n_carries
    changed: dict[int, int] = {}
    for number in range(op.n_taps + op.n_outs):
        if keep[number] is not None:
            continue
        position = number if number < op.n_taps else first_out + number - op.n_taps
        readers = function.clients.get(node.outputs[position], [])
        rows, other = _rows_read(readers)
        if rows is None:
            _all_kept(node, position, other, function)
            continue
        if rows == 0:
            if number < op.n_taps:
                # the loop needs it, nobody else does: an adjoint of a gradient, mostly
                keep[number] = changed[position] = 1
                slot = Slot(node, position)
                remark("scan_history", node, "keeps 1 of n rows of {}: no row is read", slot)
            continue
        limit = op.depth(number) if number < op.n_taps else 1
        if number >= op.n_taps and any(
            reader is not None
            and isinstance(reader.op, Subtensor)
            and isinstance(reader.op.idx_list[0], tuple)
            for reader, _ in readers
        ):
            # with no step an out has no last row, while a slice of none is empty
            remark(
                "scan_history",
                node,
                "keeps all rows of {}: a slice of its last rows is read, which may be empty",
                Slot(node, position),
            )
            continue
        if rows <= limit:
            keep[number] = rows
            changed[position] = rows
            _last_kept(node, position, rows, readers)
        else:
            remark(
                "scan_history",
                node,
                "keeps all rows of {}: the last {} are read, its taps keep {}",
                Slot(node, position),
                rows,
                limit,
            )
    if not changed:
        return {}
    fresh = op.replace(keep=keep).make_node(*node.inputs)
    fresh.source = node.source
    table: dict[Variable, Variable] = {}
    steps = fresh.outputs[-1] if op.has_stop else cast(node.inputs[0], "int64")
    for position, (old, new) in enumerate(zip(node.outputs, fresh.outputs, strict=True)):
        new.name = old.name
        if position not in changed:
            table[old] = new
            continue
        for reader, _ in function.clients.get(old, ()):
            assert reader is not None
            table[reader.outputs[0]] = _read_again(reader, new, changed[position], steps)
    return table


def _all_kept(node: Apply, position: int, reader: Reader, function: Function) -> None:
    slot = Slot(node, position)
    # a trace is read through views: backwards, without its first row
    while isinstance(reader, Apply) and getattr(reader.op, "ir_name", "") in _VIEWS:
        behind = function.clients.get(reader.outputs[0], [])
        if not behind or behind[0][0] is None:
            break
        reader = behind[0][0]
    if reader is None:
        remark("scan_history", node, "keeps all rows of {}: the whole trace is an output", slot)
    elif isinstance(reader.op, Scan):
        gradient = f"grad_of_{getattr(node.op, 'name', '')}" == reader.op.name
        text = "keeps all rows of {} for the gradient: {} reads them" if gradient else _READ
        remark("scan_history", node, text, slot, Who(reader))
    else:
        remark("scan_history", node, _READ, slot, Who(reader))


def _last_kept(node: Apply, position: int, rows: int, readers: list[tuple[Reader, int]]) -> None:
    first = next(r for r, _ in readers if r is not None and isinstance(r.op, Subtensor))
    read = "[-1]" if rows == 1 else f"[-{rows}:]"
    remark(
        "scan_history",
        node,
        "keeps {} of n rows of {} because only " + read + " is read by {}",
        rows,
        Slot(node, position),
        Who(first),
    )


def _read_again(reader: Apply, kept: Variable, rows: int, steps: Variable) -> Variable:
    """The same rows, read from the kept ones."""
    if isinstance(reader.op, ShapeI):
        return reader.op(kept)
    first, *rest = reader.op.idx_list
    scalars = reader.inputs[1:]
    if not isinstance(first, tuple):
        result = Subtensor((rows - 1, *rest))(kept, *scalars)
    elif rows == 1 and first[0] == -1 and _is_positive(steps):
        result = Subtensor(((None, None, None), *rest))(kept, *scalars)
    else:
        # min(count, steps) rows exist
        count = minimum(
            constant(-first[0], dtype="int64"), maximum(steps, constant(0, dtype="int64"))
        )
        part = kept[cast(constant(rows, dtype="int64") + neg(count), "int64") :]
        result = Subtensor(((None, None, None), *rest))(part, *scalars) if rest else part
    if result.type != reader.outputs[0].type:
        from ltensor.ops.shape import set_flags

        result = set_flags(result, reader.outputs[0].type.broadcastable)
    result.name = reader.outputs[0].name
    return result


def _is_positive(steps: Variable) -> bool:
    from ltensor.ir.build import constant_value

    known = constant_value(steps)
    return known is not None and int(known) > 0


register(scan_history)
