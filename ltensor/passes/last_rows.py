"""Which of the last rows of a trace its readers see, through any chain of slices.

``out[1:][-1]``, ``out[k:][-1]`` and ``out[:-1][-1]`` read one row, ``out[-3:][0]`` one of the last
three. A chain is read again from the kept rows such that a row that does not exist is still an
IndexError, and a slice is as long as before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ltensor.ir.build import constant, constant_value
from ltensor.ir.graph import Apply, Variable
from ltensor.ops.arithmetic import maximum, minimum, sub
from ltensor.ops.cast import cast
from ltensor.ops.shape import ShapeI, set_flags
from ltensor.ops.slicing import FULL, is_full
from ltensor.ops.subtensor import Subtensor

#: a variable -> the nodes that read it and the position among their operands
Readers = Callable[[Variable], list[tuple[Apply | None, int]]]


class Chain(NamedTuple):
    """Slices one after the other, of which the last is read from the kept rows.

    Attributes
    ----------
    nodes : tuple of Apply
        From the trace's reader to the one whose result is replaced.
    skip : int
        Rows at the front that the slices leave out before they count from the end.
    start : Variable or None
        A further such number that is an operand: of the slice before a last ``[-1]``.
    rows : int
        How many of the last rows are needed.
    """

    nodes: tuple[Apply, ...]
    skip: int
    start: Variable | None
    rows: int

    @property
    def is_row(self) -> bool:
        """Whether its result is one row (which must exist) rather than a slice."""
        return not isinstance(_first(self.nodes[-1]), tuple)

    @property
    def text(self) -> str:
        """The indices, for people."""
        return "".join(_text(node) for node in self.nodes)


class _State(NamedTuple):
    """What a chain of slices leaves of a trace: rows ``[skip : n - cut]``, at most ``most``."""

    skip: int = 0
    cut: int = 0
    most: int | None = None
    start: Variable | None = None

    def sliced(self, node: Apply) -> _State | None:
        """After one more slice; None if that is more than bounds at the two ends."""
        begin, end, step = _first(node)
        if self.start is not None or step not in (None, 1) or isinstance(end, str):
            return None
        state = self
        if isinstance(begin, str):
            if state != _State(state.skip) or end is not None:
                return None
            return state._replace(start=node.inputs[1])
        if end is not None and end >= 0:
            return None
        if begin is not None and begin < 0:
            most = -begin if state.most is None else min(state.most, -begin)
            state = state._replace(most=most)
        elif begin:
            if state.cut or state.most is not None:
                return None
            state = state._replace(skip=state.skip + begin)
        if end is not None:
            most = None if state.most is None else max(state.most + end, 0)
            state = state._replace(cut=state.cut - end, most=most)
        return state

    @property
    def rows(self) -> int | None:
        """How many of the last rows hold all of it."""
        if self.most is None or self.start is not None:
            return None
        return self.most + self.cut


def _first(node: Apply) -> Any:
    return node.op.pattern[0]


def _text(node: Apply) -> str:
    def part(value: Any) -> str:
        return "" if value is None else ("k" if isinstance(value, str) else str(value))

    parts = []
    for entry in node.op.pattern:
        if isinstance(entry, tuple):
            step = f":{part(entry[2])}" if entry[2] not in (None, 1) else ""
            parts.append(f"{part(entry[0])}:{part(entry[1])}{step}")
        else:
            parts.append(part(entry))
    return f"[{', '.join(parts)}]"


def chains_of(
    variable: Variable, readers: Readers
) -> tuple[list[Chain] | None, Apply | None, list[Apply]]:
    """The chains by which a trace is read.

    Returns
    -------
    chains : list of Chain or None
        None if other rows are read as well.
    other : Apply or None
        What reads these; None for the function, which returns them.
    sizes : list of Apply
        Readers of the sizes of a row.
    """
    return _chains(variable, readers, (), _State())


def _chains(
    variable: Variable, readers: Readers, nodes: tuple[Apply, ...], state: _State
) -> tuple[list[Chain] | None, Apply | None, list[Apply]]:
    found: list[Chain] = []
    sizes: list[Apply] = []
    for reader, position in readers(variable):
        if reader is not None and isinstance(reader.op, ShapeI) and reader.op.axis > 0:
            if nodes:
                return None, reader, []
            sizes.append(reader)
            continue
        if reader is None or not isinstance(reader.op, Subtensor) or position != 0:
            return None, reader, []
        part, other = _chain(reader, readers, (*nodes, reader), state)
        if part is None:
            return None, other, []
        found += part
    return found, None, sizes


def _chain(
    reader: Apply, readers: Readers, nodes: tuple[Apply, ...], state: _State
) -> tuple[list[Chain] | None, Apply | None]:
    """The chains that begin with ``nodes``, the last of which is ``reader``."""
    if not reader.op.pattern:
        return None, reader
    entry = _first(reader)
    if not isinstance(entry, tuple):
        if isinstance(entry, str) or entry >= 0:
            return None, reader
        if state.start is not None and entry != -1:
            return None, reader
        if state.most is not None and -entry > state.most:
            return None, reader
        return [Chain(nodes, state.skip, state.start, state.cut - entry)], None
    after = state.sliced(reader)
    if after is None:
        return None, reader
    whole = after.rows
    deeper, other, _ = _chains(reader.outputs[0], readers, nodes, after)
    if deeper is not None and (whole is None or max(c.rows for c in deeper) < whole):
        return deeper, None
    if whole is None:
        return None, other or reader
    return [Chain(nodes, after.skip, None, whole)], None


def read_again(chain: Chain, kept: Variable, rows: int, steps: Variable) -> Variable:
    """What a chain reads of a trace of ``steps`` rows, from the last ``rows`` of them.

    A single ``[-1]`` reads the last kept row whether or not there was a step.
    """
    replay: list[tuple[tuple[Any, ...], list[Variable]]] = []
    limit, counting = rows, True
    for node in chain.nodes:
        first, *rest = node.op.pattern
        scalars = list(node.inputs[1:])
        if isinstance(first, tuple) and counting:
            # what leaves out rows at the front is done by the choice of the rows
            begin, end, _ = first
            if isinstance(begin, str):
                first, scalars = FULL, scalars[1:]
            elif begin is not None and begin < 0:
                limit, counting, first = min(rows, -begin), False, (None, end, None)
            elif begin:
                first = (None, end, None)
            counting = counting and end is None
        if rest or not is_full(first):
            replay.append(((first, *rest), scalars))
    if len(chain.nodes) == 1 and _first(chain.nodes[0]) == -1:
        (index, scalars) = replay[0]
        result = Subtensor((rows - 1, *index[1:]))(kept, *scalars)
    else:
        result = _existing(chain, kept, rows, limit, steps)
        for index, scalars in replay:
            result = Subtensor(index)(result, *scalars)
    return like(result, chain.nodes[-1].outputs[0])


def _existing(chain: Chain, kept: Variable, rows: int, limit: int, steps: Variable) -> Variable:
    """The last ``limit`` of the rows that there are behind the skipped ones."""
    known = constant_value(steps)
    if chain.start is None and known is not None and int(known) - chain.skip >= limit:
        return kept if limit == rows else kept[rows - limit :]
    left = steps
    if chain.skip:
        left = sub(left, constant(chain.skip, dtype="int64"))
    zero = constant(0, dtype="int64")
    if chain.start is not None:
        left = sub(left, maximum(cast(chain.start, "int64"), zero))
    count = minimum(constant(limit, dtype="int64"), maximum(left, zero))
    return kept[cast(sub(constant(rows, dtype="int64"), count), "int64") :]


def like(result: Variable, old: Variable) -> Variable:
    """``result`` with the type and the name of what it replaces."""
    if result.type != old.type:
        result = set_flags(result, old.type.broadcastable)
    result.name = old.name
    return result
