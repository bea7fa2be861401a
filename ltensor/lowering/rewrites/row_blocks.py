"""Loops over the same rows run block by block of rows: what one leaves in the cache the next reads.

A layer's mean, variance and result are three loops over the rows of one matrix; each would stream
all of it from memory. Joined, every loop runs over a block of rows that fits the cache, then the
next loop does, then the next block follows. What a loop does with a row does not change.

Loops may be joined if neither touches, in memory that one of them writes, anything but the rows of
its own step. Addresses must show that: ``row * size + rest`` with ``rest`` less than ``size``, made
of indices of loops inside.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ltensor.ir import dtypes as dt
from ltensor.lowering.program import (
    EFFECTS,
    If,
    Loop,
    Program,
    Scope,
    Value,
    new_loop,
    operands,
    root_of,
    walk,
)
from ltensor.lowering.rewrites.loop_edits import deepen, shift

#: at most so many loops are joined
LONGEST_GROUP = 12
#: elements of a block: a few such blocks of different arrays fit the first or second cache
BLOCK = 8192
#: as long as rows are only read, and the last loop writes others: a few rows of both are in the
#: first cache, and memory is read and written in turns without a pause
BLOCK_OF_RESULT = 1024

#: what may be done before a loop that stands before it
_MOVABLE = frozenset(("alloc_output", "check", "ensure"))
#: what a loop that is joined may have in it besides arithmetic
_ALLOWED = frozenset(("guard", "load", "store"))

Factors = Counter[Any]


@dataclass(eq=False)
class Access:
    """A load or store: ``size`` are the factors of a row's size, None if it is not of one row."""

    root: Value
    writes: bool
    dtype: str
    size: Factors | None

    def way(self) -> tuple[Any, ...]:
        """What has to be the same for all accesses to memory that is written."""
        sizes = None if self.size is None else frozenset(self.size.items())
        return sizes, dt.item_size(self.dtype)


@dataclass(eq=False)
class RowLoop:
    """A loop that may be joined; of ``unit`` elements per row if it runs over all of them."""

    loop: Loop
    unit: Factors
    accesses: list[Access] = field(default_factory=list)
    #: how each root is accessed; which are written, which have rows of several elements
    ways: dict[Value, set[Any]] = field(default_factory=dict)
    written: set[Value] = field(default_factory=set)
    long: set[Value] = field(default_factory=set)

    def note(self, access: Access) -> None:
        """Take in an access."""
        self.accesses.append(access)
        self.ways.setdefault(access.root, set()).add(access.way())
        if access.writes:
            self.written.add(access.root)
        if access.size:
            self.long.add(access.root)


@dataclass(eq=False)
class _Facts:
    """What a statement uses, reads, writes and else does; found once."""

    uses: frozenset[Value]
    loads: set[Value]
    stores: set[Value]
    other: bool


#: loops that are looked at behind one that they cannot be joined with: a long program has many
REACH = 16


def join_row_loops(program: Program) -> None:
    """Join the loops of a program that run over the same rows of the same memory."""
    _visit(program.root, {})


def _visit(scope: Scope, equal: dict[Value, Value]) -> None:
    joiner = _Joiner(scope, equal)
    joiner.join()
    for entry, known in joiner.inside:
        if isinstance(entry, If):
            _visit(entry.then, dict(known))
            _visit(entry.orelse, known)
        elif not entry.parallel and entry.kind == "serial":
            _visit(entry.body, known)


def _eligible(loop: Any) -> bool:
    if not isinstance(loop, Loop) or not loop.parallel or loop.carries or loop.stop is not None:
        return False
    if loop.extent.op == "const" and loop.extent.attr <= 1:
        return False
    for entry in walk(loop.body):
        if isinstance(entry, If):
            return False
        if isinstance(entry, Loop):
            if entry.stop is not None:
                return False
        elif entry.op in EFFECTS and entry.op not in _ALLOWED:
            return False
    return True


class _Joiner:
    """Joins the loops of one scope.

    Parameters
    ----------
    scope : Scope
    equal : dict
        Sizes that checks have found equal to others.

    Attributes
    ----------
    inside : list of tuple
        Loops and branches, and what checks before them have found: what those behind them say is
        not known in there, and their sizes are not computed yet.
    """

    def __init__(self, scope: Scope, equal: dict[Value, Value]) -> None:
        self.scope = scope
        self.equal = equal
        self.inside: list[tuple[Loop | If, dict[Value, Value]]] = []
        self._known: dict[tuple[Loop, Value], RowLoop] = {}
        self._facts: dict[Any, _Facts] = {}
        self._eligible: dict[Any, bool] = {}
        self._extents: dict[Value, Factors] = {}

    def join(self) -> None:
        """Go through the scope."""
        position = 0
        while position < len(self.scope.body):
            entry = self.scope.body[position]
            if isinstance(entry, Value) and entry.op == "check":
                self._note(entry.args[0])
            elif self.eligible(entry):
                position = self._grow(position)
                entry = self.scope.body[position]
            if isinstance(entry, (Loop, If)):
                self.inside.append((entry, dict(self.equal)))
            position += 1

    def _note(self, condition: Value) -> None:
        """What a check says of sizes."""
        if condition.op == "cmp" and condition.attr == "eq" and condition.args[0].dtype == "int64":
            first, other = map(self._same, condition.args)
            if first is not other and "const" not in (first.op, other.op):
                self.equal[first] = other
                self._extents.clear()

    def _same(self, value: Value) -> Value:
        known = value
        while known in self.equal:
            known = self.equal[known]
        while value is not known:  # the next search takes one step
            following = self.equal[value]
            self.equal[value] = known
            value = following
        return known

    def eligible(self, entry: Any) -> bool:
        """Whether a statement is a loop that may be joined with others."""
        if not isinstance(entry, Loop):
            return False
        found = self._eligible.get(entry)
        if found is None:
            found = self._eligible[entry] = _eligible(entry)
        return found

    def extent(self, loop: Loop) -> Factors:
        """The loop's extent as a product."""
        found = self._extents.get(loop.extent)
        if found is None:
            found = self._extents[loop.extent] = self.factors(loop.extent)
        return found

    def facts(self, entry: Any) -> _Facts:
        """What a loop or value has to do with others."""
        found = self._facts.get(entry)
        if found is None:
            found = self._facts[entry] = _facts(entry)
        return found

    def factors(self, value: Value) -> Factors:
        """The value as a product."""
        if value.op == "mul":
            return self.factors(value.args[0]) + self.factors(value.args[1])
        if value.op == "const":
            return Counter() if value.attr == 1 else Counter([value.attr])
        return Counter([self._same(value)])

    def terms(self, value: Value) -> list[Factors]:
        """The value as a sum of products."""
        if value.op == "add":
            return self.terms(value.args[0]) + self.terms(value.args[1])
        return [] if value.op == "const" and value.attr == 0 else [self.factors(value)]

    def _grow(self, position: int) -> int:
        """Join what can be with the loop at ``position``; where the joined loop stands."""
        body = self.scope.body
        group = [body[position]]
        waiting: list[Loop] = []  # joined only if a loop over rows follows
        last, rows, refused = position, None, 0
        for following in range(position + 1, len(body)):
            if refused > REACH or len(group) + len(waiting) > LONGEST_GROUP + REACH:
                break
            candidate = body[following]
            if isinstance(candidate, If):
                break
            if not self.eligible(candidate):
                continue
            tried = [*group, *waiting, candidate]
            found = self._common_rows(tried)
            if found is not None and self._may_join(position, following, tried, found):
                waiting.append(candidate)
                if candidate.kind == "serial":
                    group, waiting, last, rows = tried, [], following, found
                    if len(group) >= LONGEST_GROUP:
                        break
            else:
                refused += 1
        return position if rows is None else self._rebuild(position, last, group, rows)

    def _common_rows(self, loops: list[Loop]) -> Value | None:
        """The extent that all have as a factor."""
        least = min(loops, key=lambda loop: sum(self.extent(loop).values()))
        wanted = self.extent(least)
        for loop in reversed(loops):  # the last is new
            have = self.extent(loop)
            if have is not wanted and (wanted - have or (loop.kind == "serial" and have != wanted)):
                return None
        return least.extent

    def _may_join(self, start: int, stop: int, loops: list[Loop], rows: Value) -> bool:
        body = self.scope.body
        described = [self._described(loop, rows) for loop in loops]
        if not _worth_it(described) or not _own_rows_only(described):
            return False
        # what stands between goes before the loops, or stays behind if they do not need it
        members = set(loops)
        places = {e: place for place, e in enumerate(body[start : stop + 1])}
        stay = self._staying([e for e in places if e not in members], loops)
        if stay is None:
            return False
        touched = {root for d in described for root in d.ways}
        for entry in stay:
            facts = self.facts(entry)
            if facts.other or not touched.isdisjoint(facts.stores):
                return False
            # it may read what earlier loops write, not what those do that now go before it
            for d in described:
                if places[d.loop] > places[entry] and not d.written.isdisjoint(facts.loads):
                    return False
        return True

    def _staying(self, between: list[Any], loops: list[Loop]) -> list[Any] | None:
        """What of ``between`` cannot go before the loops; None if a loop needs some of it."""
        fixed: set[Any] = set()
        for loop in loops:
            fixed.update(c.result for c in loop.carries)
            fixed.add(loop.steps)
        stay: list[Any] = []
        for entry in between:
            if isinstance(entry, Value) and _movable(entry) and fixed.isdisjoint(entry.args):
                continue
            stay.append(entry)
            if isinstance(entry, Loop):
                fixed.update(c.result for c in entry.carries)
                fixed.add(entry.steps)
            else:
                fixed.add(entry)
        if all(
            loop.extent not in fixed and fixed.isdisjoint(self.facts(loop).uses) for loop in loops
        ):
            return stay
        return None

    def _described(self, loop: Loop, rows: Value) -> RowLoop:
        found = self._known.get((loop, rows))
        if found is not None:
            return found
        described = RowLoop(loop, self.factors(loop.extent) - self.factors(rows))
        inside = [e for e in walk(loop.body) if isinstance(e, Loop)]
        extents = {e.index: self.factors(e.extent) for e in inside}
        for entry in walk(loop.body):
            if isinstance(entry, Value) and entry.op in ("load", "store"):
                writes = entry.op == "store"
                size = self._row_size(described, entry, extents)
                dtype = entry.attr if writes else entry.dtype
                described.note(Access(root_of(entry.args[0]), writes, dtype, size))
        self._known[loop, rows] = described
        return described

    def _row_size(
        self, row: RowLoop, access: Value, extents: dict[Value, Factors]
    ) -> Factors | None:
        """The factors ``s`` such that all addresses are ``index * s + rest``, 0 <= rest < s."""
        if access.args[0].op == "ptradd":
            return None
        index = row.loop.index
        rest: list[Factors] = []
        size: Factors | None = None
        for term in self.terms(access.args[1]):
            if index not in term:
                rest.append(term)
            elif size is None and term[index] == 1:
                size = term - Counter([index])
            else:
                return None
        if size is None:
            return None
        if row.unit:
            return Counter(row.unit) if not size and not rest else None
        unit: Factors = Counter()
        while rest:
            for term in rest:
                inner = [k for k in term if k in extents]
                if len(inner) == 1 and term[inner[0]] == 1 and term - Counter(inner) == unit:
                    unit = unit + extents[inner[0]]
                    rest.remove(term)
                    break
            else:
                return None
        return size if unit == size or not unit else None

    def _rebuild(self, start: int, last: int, group: list[Loop], rows: Value) -> int:
        """Put the loops of the group into one over blocks of rows; where it stands."""
        scope = self.scope
        described = [self._described(loop, rows) for loop in group]
        owner = rows.owner
        members = set(group)
        between = [e for e in scope.body[start + 1 : last + 1] if e not in members]
        stay = self._staying(between, group) or []
        behind = set(stay)
        before = [e for e in between if e not in behind]

        def make(place: Scope, op: str, *args: Value, attr: Any = None) -> Value:
            value = Value(op, "int64", args, attr, place, owner)
            place.body.append(value)
            return value

        head = Scope(None)
        height = _block_height(make, head, described, owner)
        less = make(head, "sub", make(head, "add", rows, height), owner.const(1))
        blocks = make(head, "div", less, height)
        outer = new_loop(scope, blocks, "serial", owner, parallel=True, label=group[0].label)
        body = outer.body
        costs = [loop.cost for loop in group if loop.cost is not None]
        if costs:
            total = costs[0]
            for cost in costs[1:]:
                total = make(head, "add", total, cost)
            outer.cost = total
        begin = make(body, "mul", outer.index, height)
        size = make(body, "min", make(body, "sub", rows, begin), height)
        for row in described:
            here, extent = begin, size
            if row.unit:
                for factor, power in row.unit.items():
                    value = factor if isinstance(factor, Value) else owner.const(factor)
                    for _ in range(power):
                        here, extent = (
                            make(body, "mul", here, value),
                            make(body, "mul", extent, value),
                        )
            shift(row.loop, here, extent)
            row.loop.body.parent = body
            row.loop.cost = None
            body.body.append(row.loop)
        deepen(body)
        for value in head.body:
            value.scope = scope
        scope.body[start : last + 1] = [*before, *head.body, outer, *stay]
        return start + len(before) + len(head.body)


def _movable(value: Value) -> bool:
    return value.op not in EFFECTS or value.op in _MOVABLE


# ------------------------------------------------------------------------- what loops touch


def _own_rows_only(loops: list[RowLoop]) -> bool:
    slots: dict[Any, Value] = {}
    ways: dict[Value, set[Any]] = {}
    for loop in loops:
        for root, here in loop.ways.items():
            if root.op == "ensure" and slots.setdefault(root.attr, root) is not root:
                return False
            ways.setdefault(root, set()).update(here)
    for root in set().union(*(loop.written for loop in loops)):
        # memory of the call, which nothing else is part of
        if root.op not in ("ensure", "alloc_output"):
            return False
        if len(ways[root]) > 1 or any(size is None for size, _ in ways[root]):
            return False
    return True


def _worth_it(loops: list[RowLoop]) -> bool:
    """Whether the last loop reads rows of several elements that others touch."""
    *others, last = loops
    return last.loop.kind != "serial" or any(not last.long.isdisjoint(o.long) for o in others)


def _facts(entry: Any) -> _Facts:
    inside = list(walk(entry.body)) if isinstance(entry, Loop) else [entry]
    values = [e for e in inside if isinstance(e, Value)]
    return _Facts(
        frozenset(v for e in inside for v in operands(e)),
        {root_of(e.args[0]) for e in values if e.op == "load"},
        {root_of(e.args[0]) for e in values if e.op == "store"},
        any(e.op in EFFECTS and e.op not in (*_ALLOWED, "check", "check_flag") for e in values),
    )


def _block_height(make: Any, head: Scope, loops: list[RowLoop], owner: Any) -> Value:
    """How many rows a block has, by the longest row."""
    sizes: list[Factors] = []
    for row in loops:
        sizes += [a.size for a in row.accesses if a.size and a.size not in sizes]
    longest: Value | None = None
    for size in sizes:
        product: Value = owner.const(1)
        for factor, power in size.items():
            value = factor if isinstance(factor, Value) else owner.const(factor)
            for _ in range(power):
                product = value if product.attr == 1 else make(head, "mul", product, value)
        longest = product if longest is None else make(head, "max", longest, product)
    assert longest is not None
    *others, last = loops
    touched = {a.root for row in others for a in row.accesses if a.size}
    results = {a.root for a in last.accesses if a.writes and a.size}
    kept = any(a.writes and a.size for row in others for a in row.accesses)
    block = BLOCK_OF_RESULT if results and not kept and not results & touched else BLOCK
    whole = make(head, "div", owner.const(block), make(head, "max", longest, owner.const(1)))
    return make(head, "max", whole, owner.const(1))
