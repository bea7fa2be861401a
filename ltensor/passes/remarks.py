"""What passes say about what they did, and what they could not do and why.

A pass calls `remark` with the node it looked at. While a function is optimized somebody records
(`recording`); otherwise nothing happens. The text is put together when it is read, so that a remark
costs less than a microsecond::

    remark("scan_history", node, "keeps {} of the rows of output {}: no other is read", 1, 0)

The node is remembered by its source line and the name of its op, which passes hand on to what
replaces it: `f.explain()` puts the remarks of all passes about one loop together.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from ltensor.ir.graph import Apply, Variable
from ltensor.source import Source

__all__ = ["Listing", "Remark", "Slot", "Who", "op_name", "recording", "remark", "unique"]

#: how many things a remark lists
MOST_LISTED = 8

#: a loop as its remarks know it: the line that made it, and its name
Key = tuple[Any, str]


class Remark(NamedTuple):
    """One remark.

    Attributes
    ----------
    pass_name : str
    key : tuple
        `key_of` the node.
    source : Source or None
        The user's line that made the node.
    template, values
        What `text` is made of.
    """

    pass_name: str
    key: Key
    source: Source | None
    template: str
    values: tuple[Any, ...]

    @property
    def text(self) -> str:
        """What the pass has to say."""
        return self.template.format(*self.values) if self.values else self.template

    def __str__(self) -> str:
        where = "" if self.source is None else f" ({self.source.location()})"
        return f"{self.pass_name}: {self.text}{where}"


class _Current(threading.local):
    """Who records in this thread."""

    remarks: list[Remark] | None = None


_current = _Current()


def key_of(node: Apply) -> Key:
    """What stays the same of a node while passes replace it: its line and the name of its op."""
    return node.source, getattr(node.op, "name", "")


def remark(pass_name: str, node: Apply, template: str, *values: Any) -> None:
    """Say something about ``node`` to whoever records.

    Parameters
    ----------
    pass_name : str
        The name of the pass.
    node : Apply
        What it is about: usually a scan. Its ``source`` must be set.
    template : str
        The text; with ``values`` a template of `str.format` that takes them (braces are then
        doubled). Values are kept until the text is read: numbers, texts, `Who`, `Slot`, `Listing`.
    """
    remarks = _current.remarks
    if remarks is not None:
        remarks.append(Remark(pass_name, key_of(node), node.source, template, values))


class Who:
    """A value or an operation of the user's program as remarks call it, as text when it is read.

    ``dot (rnn.py:12)``, ``h, tanh (rnn.py:13)``: the name if it has one, the op, the line.
    """

    __slots__ = ("_name", "_op", "_source")

    def __init__(self, thing: Variable | Apply) -> None:
        node = thing if isinstance(thing, Apply) else thing.owner
        self._name = None if isinstance(thing, Apply) else thing.name
        self._op = None if node is None else node.op
        self._source = thing.source or (None if node is None else node.source)

    def __str__(self) -> str:
        op = "" if self._op is None else op_name(self._op)
        words = ", ".join(filter(None, (self._name, op))) or "a value without a name"
        return words + ("" if self._source is None else f" ({self._source.location()})")


class Slot:
    """A result of a scan as remarks call it: the state or output of the step that it is."""

    __slots__ = ("_node", "_position")

    def __init__(self, node: Apply, position: int) -> None:
        self._node = node
        self._position = position

    def __str__(self) -> str:
        op: Any = self._node.op
        position = self._position
        if position >= len(op.body.outputs) or (op.has_stop and position == len(op.outputs) - 1):
            return "the number of steps"
        first_out = op.n_taps + op.n_carries
        kind = "state" if position < first_out else "output"
        variable = op.body.outputs[position]
        name = self._node.outputs[position].name
        if name is None and position < op.n_taps:
            # the step's argument is called after the initial state: h[t-1]
            name = (op.inner_taps()[position][0].name or "").partition("[t")[0] or None
        elif name is None and position < first_out:
            name = op.inner_carries()[position - op.n_taps].name
        who = str(Who(variable))
        return f"{kind} {who if name is None or name == variable.name else f'{name}, {who}'}"


class Listing:
    """Things in a row: the first few, and how many more there are."""

    __slots__ = ("_things",)

    def __init__(self, things: Sequence[Any]) -> None:
        self._things = things

    def __str__(self) -> str:
        counts: dict[str, int] = {}
        for thing in self._things:
            text = str(thing)
            counts[text] = counts.get(text, 0) + 1
        shown = [text if n == 1 else f"{text} {n} times" for text, n in counts.items()]
        more = len(shown) - MOST_LISTED
        return "; ".join(shown[:MOST_LISTED]) + (f"; and {more} more" if more > 0 else "")


def op_name(op: Any) -> str:
    """A short name of an op."""
    return getattr(op, "name", "") or getattr(op, "ir_name", "") or str(op)


@contextmanager
def recording() -> Iterator[list[Remark]]:
    """A list that takes the remarks made inside the ``with`` block, in this thread.

    Examples
    --------
    >>> with recording() as remarks:
    ...     pass
    >>> remarks
    []
    """
    before = _current.remarks
    remarks: list[Remark] = []
    _current.remarks = remarks
    try:
        yield remarks
    finally:
        _current.remarks = before


def unique(remarks: Iterable[Remark]) -> list[Remark]:
    """The remarks without repetitions: passes see most nodes several times."""
    seen: set[Any] = set()
    result = []
    for one in remarks:
        key = (one.pass_name, one.key, one.text)
        if key not in seen:
            seen.add(key)
            result.append(one)
    return result
