"""Which loops of a program threads may share, and when that is expected to pay.

A loop marked ``parallel`` may run its steps in any order. What it writes must then depend on the
step; scratch memory, which does not, is given to every thread for itself if nothing outside the
loop uses it, else the loop stays with one thread. Only outermost loops are shared out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ltensor.ir import dtypes as dt
from ltensor.lowering.program import (
    If,
    Loop,
    Program,
    Scope,
    Value,
    operands,
    root_of,
    walk,
)
from ltensor.lowering.rewrites.liveness import slots_by_number

if TYPE_CHECKING:
    from ltensor.lowering.builder import Builder

#: a loop is shared out from this cost on (picoseconds) if the workers are awake
WORTH_SHARING = 800_000

# Costs of one element in picoseconds: for each byte of it in vector loops, and in scalar ones.
_MOVE, _PLAIN, _DIVISION, _MATH, _POWER = (8, 300), (3, 200), (15, 2000), (30, 5000), (120, 20000)
#: a product's multiplications and additions, each
_PRODUCT = 12
#: one element of a row that is sorted
_SORT = 2000
#: trip count that is taken for a loop whose own is not known outside
_UNKNOWN_STEPS = 8

#: what ties a loop to the thread of the call: its frame, its checks, Python
_TIED = frozenset(
    (
        "adopt_output",
        "alloc_output",
        "call_pointer",
        "check",
        "check_flag",
        "frame",
        "grow",
        "remembered",
        "slot",
    )
)
#: functions of the run time that threads may call -> numbers of the arguments that they write to,
#: each with that of an offset, if there is one
_CALLABLE: dict[str, tuple[tuple[int, int | None], ...]] = {
    "lt_matmul": ((9, None),),
    "lt_matmul_kept": ((9, None),),
    "lt_matmul_batched": ((12, None),),
    "lt_runs_copy": ((9, None),),
    "lt_runs_add": ((9, None),),
    "lt_sort": ((2, None), (5, None)),
    "lt_argsort": ((2, None), (5, None)),
    "lt_turn": ((3, 4),),
}
#: the arguments whose product is the work
_SIZES = {
    "lt_matmul": (0, 1, 2),
    "lt_matmul_kept": (0, 1, 2),
    "lt_matmul_batched": (0, 1, 2, 3),
    "lt_runs_copy": (0, 3, 6),
    "lt_runs_add": (0, 3, 6),
    "lt_sort": (4,),
    "lt_argsort": (4,),
    "lt_turn": (6, 7),
}


@dataclass(eq=False)
class SharedLoop:
    """A loop that threads may share.

    Attributes
    ----------
    loop : Loop
    live_ins : list of Value
        What its body needs from outside.
    private : list of Value
        Buffers (``ensure``, ``local``) that every thread has for itself.
    word, compiler_word : int
        The words of the table of addresses that hold the code of its chunks, null until it is
        wanted, and the function that has it compiled.
    """

    loop: Loop
    live_ins: list[Value] = field(default_factory=list)
    private: list[Value] = field(default_factory=list)
    word: int = -1
    compiler_word: int = -1

    @property
    def multiplies(self) -> bool:
        """Whether its body calls products of matrices."""
        return any(isinstance(e, Value) and e.op == "call" for e in walk(self.loop.body))


def choose(program: Program) -> list[SharedLoop]:
    """The loops that threads may share; the others lose their ``cost``."""
    found: list[SharedLoop] = []
    uses = _Uses(program)
    for loop in _outermost(program.root):
        shared = _shared(loop, uses)
        if shared is None:
            loop.cost = None
        else:
            found.append(shared)
    return found


def _outermost(scope: Scope) -> Iterator[Loop]:
    for entry in scope.body:
        if isinstance(entry, Loop):
            if entry.cost is not None:
                yield entry
            else:
                yield from _outermost(entry.body)
        elif isinstance(entry, If):
            yield from _outermost(entry.then)
            yield from _outermost(entry.orelse)


def _made(entry: Any) -> Iterator[Value]:
    """What an entry defines."""
    if isinstance(entry, Loop):
        yield entry.index
        if entry.steps is not None:
            yield entry.steps
        for carry in entry.carries:
            yield carry.phi
            yield carry.result
    elif isinstance(entry, Value):
        yield entry


class _Uses:
    """How often each buffer is mentioned in the whole program."""

    def __init__(self, program: Program) -> None:
        self.count: dict[Value, int] = {}
        by_number = slots_by_number(program)
        for entry in walk(program.root):
            for value in operands(entry):
                self.count[value] = self.count.get(value, 0) + 1
            if isinstance(entry, Value) and entry.op == "ensure" and entry.attr in by_number:
                self.count[entry] = self.count.get(entry, 0) + 1


def _shared(loop: Loop, uses: _Uses) -> SharedLoop | None:
    entries = list(walk(loop.body))
    inside: set[Value] = {loop.index}
    varying: set[Value] = {loop.index}
    for entry in entries:
        inside.update(_made(entry))
        if isinstance(entry, Value) and not _is_free(entry):
            return None
    while _spread(entries, varying):
        pass
    count: dict[Value, int] = {}
    live: dict[Value, None] = {}
    for entry in entries:
        for value in operands(entry):
            count[value] = count.get(value, 0) + 1
            if value not in inside and value.op != "const":
                live[value] = None
    private: list[Value] = []
    for entry in entries:
        if not isinstance(entry, Value):
            continue
        for pointer, offset in _written(entry):
            if pointer in varying or offset in varying:
                continue
            base = root_of(pointer)
            if base in inside:
                continue
            if base.op not in ("ensure", "local"):
                return None
            # addresses made of it outside are not followed: every mention must be in the loop
            if base is not pointer or count.get(base) != uses.count.get(base):
                return None
            if base not in private:
                private.append(base)
    for base in private:
        live.pop(base, None)
        for value in base.args:
            if value.op != "const":
                live[value] = None
    # chunks of a large result are written as the whole would be
    sizes = [loop.extent] if loop.kind == "vector" else _result_sizes(entries)
    live.update(dict.fromkeys(size for size in sizes if size.op != "const"))
    return SharedLoop(loop, list(live), private)


def _result_sizes(entries: list[Any]) -> list[Value]:
    """The sizes of the function's results that a nest writes."""
    stores = [e for e in entries if isinstance(e, Value) and e.op == "store"]
    places = dict.fromkeys(root_of(e.args[0]) for e in stores)
    return [size for place in places if place.op == "alloc_output" for size in place.args]


def _is_free(value: Value) -> bool:
    """Whether any thread may do it."""
    if value.op == "call":
        return family(value.attr) in _CALLABLE
    return value.op not in _TIED


def family(symbol: str) -> str:
    """A function of the run time without the dtype in its name."""
    return symbol.rsplit("_", 1)[0]


def _written(value: Value) -> Iterator[tuple[Value, Value | None]]:
    """Where a statement writes: pointers and offsets."""
    if value.op == "store":
        yield value.args[0], value.args[1]
    elif value.op == "memcpy":
        yield value.args[0], None
    elif value.op == "call":
        for pointer, offset in _CALLABLE[family(value.attr)]:
            yield value.args[pointer], None if offset is None else value.args[offset]


def _spread(entries: list[Any], varying: set[Value]) -> bool:
    """One pass of marking what differs from step to step; True if something new was marked."""
    before = len(varying)
    for entry in entries:
        if isinstance(entry, Loop):
            for c in entry.carries:
                if c.init in varying or c.next in varying or c.phi in varying:
                    varying.update((c.phi, c.result))
            if entry.extent in varying and entry.steps is not None:
                varying.add(entry.steps)
        elif isinstance(entry, Value) and any(a in varying for a in entry.args):
            varying.add(entry)
    return len(varying) > before


# ------------------------------------------------------------------------------- cost


def expected_cost(b: Builder, loop: Loop, inner_steps: Value | None = None) -> Value | None:
    """The expected time of a loop (picoseconds); None if it is known not to be worth sharing.

    ``inner_steps`` is taken for the trip count of loops inside whose own is not known outside.
    """
    if any(isinstance(scope.holder, Loop) and scope.holder.parallel for scope in _around(b.scope)):
        return None
    if any(isinstance(e, Value) and not _is_free(e) for e in walk(loop.body)):
        return None
    cost: Value = b.mul(
        loop.extent, _cost(b, loop, _Trips(b, loop, inner_steps), loop.kind == "vector")
    )
    if cost.op == "const" and cost.attr < WORTH_SHARING:
        return None
    return cost


def _around(scope: Scope | None) -> Iterator[Scope]:
    while scope is not None:
        yield scope
        scope = scope.parent


class _Trips:
    """Sizes as they are known outside a loop."""

    def __init__(self, b: Builder, loop: Loop, usual: Value | None) -> None:
        self.body = loop.body
        self.usual = b.const(_UNKNOWN_STEPS) if usual is None else usual

    def __call__(self, size: Value) -> Value:
        return self.usual if self.body.contains(size.scope) else size


def _cost(b: Builder, loop: Loop, trips: _Trips, lanes: bool) -> Any:
    """The cost of one step."""
    fixed = 0
    rest: Any = b.const(0)
    for entry in _entries(loop.body):
        if isinstance(entry, Loop):
            inner = _cost(b, entry, trips, lanes or entry.kind == "vector")
            rest = b.add(rest, b.mul(trips(entry.extent), inner))
            continue
        assert isinstance(entry, Value)
        if entry.op == "call":
            work: Any = b.const(_SORT if "sort" in entry.attr else 2 * _PRODUCT)
            for position in _SIZES[family(entry.attr)]:
                work = b.mul(work, trips(entry.args[position]))
            rest = b.add(rest, work)
        else:
            fixed += _element_cost(entry, lanes)
    return b.add(rest, fixed)


def _element_cost(value: Value, lanes: bool) -> int:
    """The cost of one value that is no call."""
    if value.op in ("load", "store", "memcpy"):
        cost = _MOVE
    elif value.op == "math":
        cost = _POWER if value.attr.startswith("pow") else _MATH
    elif value.op in ("div", "rem", "frem"):
        cost = _DIVISION
    else:
        cost = _PLAIN
    if not lanes:
        return cost[1]
    dtype = value.attr if value.op == "store" else value.dtype
    if dtype == "int64" and value.op in ("add", "sub", "mul", "index"):
        return 0  # an address
    return cost[0] * (8 if dtype in ("ptr", "void") else dt.item_size(dtype))


def _entries(scope: Scope) -> Iterator[Any]:
    """Values and loops of a scope, those of its branches included."""
    for entry in scope.body:
        if isinstance(entry, If):
            yield from _entries(entry.then)
            yield from _entries(entry.orelse)
        else:
            yield entry
