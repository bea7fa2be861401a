"""New values of shared variables: computed where the old ones lie, or put there at the very end.

A call that fails leaves shared variables as they were. So new values are computed in buffers of the
call and written when nothing can fail any more; those that can be computed in place are
(`ltensor.lowering.rewrites.in_place`), likewise at the end. The run decides whether they really
are: not if the value has got other sizes or another place during the call, nor if memory that is
read overlaps with memory that is written, as it may if it was borrowed. The buffer is made then.

A call that waits for code to be compiled lets other threads run. If they write shared variables
meanwhile, the call is made again: `Commit._check_order`.

What else is to be done is said in records (`ltensor.lowering.update_record`), which two functions
of the run time go through.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from ltensor.ir import dtypes as dt
from ltensor.ir.graph import Variable
from ltensor.ir.types import TensorType
from ltensor.lowering import update_record as record
from ltensor.lowering.program import Loop, UpdateNote, Value, View, root_of, walk
from ltensor.lowering.rewrites.in_place import Phase, Update, plan_phase

if TYPE_CHECKING:
    from ltensor.lowering.block import Block
    from ltensor.lowering.whole import WholeFunction

__all__ = ["Commit", "may_change_in_place"]

#: so many pieces of memory are compared by instructions, more by a call
MOST_COMPARED = 3


@dataclass(eq=False)
class _New:
    """A new value: a View, or a scalar of a 0-d variable."""

    shared: Variable
    cell: Value
    value: Any
    plan: Update | None = None
    done: Value | None = None


class Commit:
    """The end of a function that updates shared variables.

    Parameters
    ----------
    whole : WholeFunction
    block : Block
        That has computed the new values.
    news : sequence of Variable
        One for each of the signature's ``updated``.
    cells : sequence of Value
        Of all shared variables.
    """

    def __init__(
        self, whole: WholeFunction, block: Block, news: Sequence[Variable], cells: Sequence[Value]
    ) -> None:
        self.whole = whole
        self.b = whole.b
        self.news: list[_New] = []
        self._bound = block.bound
        #: address of the number of changes of shared variables
        self._changes: Value | None = None
        first = whole.signature.n_arguments
        for which, variable in zip(whole.signature.updated, news, strict=True):
            shared = whole.function.inputs[first + which]
            if variable is shared:
                continue
            kind = variable.type
            if isinstance(kind, TensorType) and kind.ndim == 0:
                value = block.scalar(variable)
            elif isinstance(kind, TensorType):
                value = self._own(block.dense(variable), shared)
            else:
                value = self._own(block.value(variable), shared)
            self.news.append(_New(shared, cells[which], value))

    def _own(self, value: Any, shared: Variable) -> Any:
        """``value`` in memory of this call or a constant's.

        Anything else may be the memory of a shared variable that is written before it is read: its
        own buffer, a reshaped view of it, an argument that borrowed it.
        """
        if not isinstance(value, View) or _is_private(value.pointer):
            return value
        copy = self.b.temporary(value.dtype, value.dims, ("update", shared))
        self.b.memcpy(copy.pointer, self.b.shifted(value, 0), self._bytes(value))
        return copy

    def _bytes(self, value: View) -> Value:
        return self.b.mul(self.b.size(value.dims), dt.item_size(value.dtype))

    # ------------------------------------------------------------------ writing

    def write(self) -> None:
        """Emit the code that puts the new values in their places."""
        arrays = [n for n in self.news if isinstance(n.shared.type, TensorType)]
        arrays = [n for n in arrays if isinstance(n.value, View)]
        phase = self._phase(arrays)
        body = self.b.root.body
        moved = {*phase.entries, *(n.plan.buffer for n in arrays if n.plan is not None)}
        moved |= {n.plan.copied for n in arrays if n.plan is not None}
        if moved:
            body[:] = [e for e in body if e not in moved]
        self._await(phase)
        self._check_order(phase)
        all_done = self._choose_places(arrays, phase)
        self._prepare(arrays, all_done)
        # before the end of a former value can lead to Python, and other threads run
        self._count()
        body.extend(phase.entries)
        self._store_scalars()
        self._commit(arrays, all_done)
        self._note()

    def _phase(self, arrays: list[_New]) -> Phase:
        """What is left of the program for the end."""
        b, candidates = self.b, {}
        if not b.threads:
            return Phase()
        pointers = Counter(n.value.pointer for n in arrays)
        for n in arrays:
            view, old = n.value, self._bound[n.shared]
            pointer = view.pointer
            if pointer.op != "ensure" or pointer.scope is not b.root or view.offset is not None:
                continue
            size = pointer.args[0]
            whole = size is b.byte_size(view.dtype, view.dims)
            # of no bytes there is nothing to write
            if whole and pointers[pointer] == 1 and b.number(size) != 0:
                candidates[n] = Update(old.pointer, pointer, view.dtype)
        known = {v.pointer for v in self.whole.outside}
        phase = plan_phase(b.program, list(candidates.values()), known)
        for n, update in candidates.items():
            n.plan = update if update in phase.updates else None
        return phase

    def _choose_places(self, arrays: list[_New], phase: Phase) -> Value:
        """Let the buffers of updates in place be the old values if the run allows it."""
        b = self.b
        planned = [n for n in arrays if n.plan is not None]
        all_done: Any = b.const(len(planned) == len(arrays), "bool")
        if not planned:
            return all_done
        apart = self._apart(planned, phase)
        for n in planned:
            view, update = n.value, n.plan
            assert update is not None
            begin = b.raw_load(n.cell, 0, "ptr")
            # Python may have been called, and have replaced the value
            done = b.and_(apart, b.eq(begin, update.begin))
            for axis, size in enumerate(view.dims):
                done = b.and_(done, b.eq(b.raw_load(n.cell, 2 + axis), size))
            n.done = done
            all_done = b.and_(all_done, done)
        for n in planned:
            update = n.plan
            assert update is not None
            size = update.buffer.args[0]
            # all that speaks of the buffer speaks of one of the two from here on
            buffer, update.spare = update.buffer, update.buffer.attr
            spare = b.pure("ensure", "ptr", (b.select(n.done, 0, size),), update.spare)
            buffer.op, buffer.attr = "select", None
            buffer.args = (n.done, update.begin, spare)
            b.root.body.append(buffer)
            if update.copied is not None:
                with b.if_(b.not_(n.done)):
                    b.memcpy(buffer, update.begin, size)
        gone = {n.plan.buffer for n in planned if n.plan is not None}
        b.program.buffers[:] = [x for x in b.program.buffers if x.pointer not in gone]
        return all_done

    def _apart(self, planned: list[_New], phase: Phase) -> Any:
        """Whether what the phase writes is apart from all else that it reads or writes."""
        b = self.b
        written = {n.plan.begin for n in planned if n.plan is not None}
        outside = [v for v in self.whole.outside if v.pointer in phase.read | written]
        outside.sort(key=lambda v: v.pointer not in written)
        if len(outside) < 2:
            return b.const(True, "bool")
        spans = []
        for view in outside:
            begin = self._address(view.pointer)
            spans.append((begin, b.add(begin, self._bytes(view))))
        if len(spans) <= MOST_COMPARED:
            result: Any = b.const(True, "bool")
            for k in range(len(written)):
                for other in spans[k + 1 :]:
                    before = b.le(spans[k][1], other[0])
                    behind = b.le(other[1], spans[k][0])
                    result = b.and_(result, b.or_(before, behind))
            return result
        table = b.local_array("int64", 2 * len(spans))
        for k, (begin, end) in enumerate(spans):
            b.raw_store(table.pointer, 2 * k, begin)
            b.raw_store(table.pointer, 2 * k + 1, end)
        args = (table.pointer, b.const(len(written)), b.const(len(spans)))
        return b.call_pointer(self._support("lt_apart"), args, "bool")

    def _address(self, pointer: Value) -> Value:
        """An address as a number."""
        if pointer.op == "frame":
            return self.b.frame(pointer.attr)
        cell, word = pointer.args
        return self.b.raw_load(cell, word.attr)

    def _support(self, name: str) -> Value:
        return self.b.table(self.whole.entry("support", name, name))

    def _prepare(self, arrays: list[_New], all_done: Value) -> None:
        """Make what arrays are wanted; the last thing that may fail."""
        b = self.b
        words = [record.DIMS + len(n.value.dims) for n in arrays]
        if not arrays or b.number(all_done) is True:
            return
        self._records = b.local_array("int64", sum(words)).pointer
        pointers = Counter(n.value.pointer for n in arrays)
        prepare, holds = (
            self._support("lt_cells_prepare"),
            b.table(self.whole.entry("holds", None, "holds"), "int64"),
        )
        zero, one = b.const(0), b.const(1)
        sizes = [self._bytes(n.value) for n in arrays]
        addresses = [b.shifted(n.value, 0) for n in arrays]
        blocks = [self._block(n, pointers) for n in arrays]
        flags = [zero if n.done is None else b.select(n.done, one, zero) for n in arrays]
        with self._unless(all_done):
            place = 0
            for n, size, address, block, flag, count in zip(
                arrays, sizes, addresses, blocks, flags, words, strict=True
            ):
                for word, value in (
                    (record.CELL, n.cell),
                    (record.DATA, address),
                    (record.BLOCK, block),
                    (record.DONE, flag),
                    (record.BYTES, size),
                    *enumerate(n.value.dims, record.DIMS),
                ):
                    b.raw_store(self._records, place + word, value)
                place += count
            args = (self._records, b.const(len(arrays)), holds)
            status = b.call_pointer(prepare, args, "int64")
            b.check(b.eq(status, 0), "memory", None)

    def _unless(self, done: Value) -> AbstractContextManager[None]:
        never = self.b.number(done) is False
        return nullcontext() if never else self.b.if_(self.b.not_(done))

    def _block(self, n: _New, pointers: Counter[Value]) -> Value:
        """The pair of a new value's block and its size, 0 if the block must stay the call's."""
        b, view = self.b, n.value
        number: int | None = None
        if n.plan is not None:
            number = n.plan.spare
        elif view.pointer.op == "ensure" and view.offset is None and pointers[view.pointer] == 1:
            number = view.pointer.attr if view.pointer.scope is b.root else None
        if number is None or not b.threads:
            return b.const(0)
        return b.pure("slot_address", "ptr", (), number)

    def _await(self, phase: Phase) -> None:
        """Have the code of shared loops compiled now: Python runs meanwhile."""
        b = self.b
        for entry in phase.entries:
            if isinstance(entry, Loop) and entry.cost is not None:
                b.program.awaited.append(entry)
                b.effect("ready", "void", (entry.cost,), len(b.program.awaited) - 1)

    def _check_order(self, phase: Phase) -> None:
        """Give up if shared variables have changed since the call began: it was overtaken.

        Only who waits for code lets others run. Functions that call a user's Python are not run
        twice: what that does cannot be undone.
        """
        b = self.b
        if not self.news or not b.threads:
            return
        self._changes = changes = b.table(self.whole.entry("changes", None, "changes"))
        if self._waits(phase) and not any(kind == "callback" for kind, _ in self.whole.table):
            before = b.raw_load(changes, 0)
            body = b.root.body
            first = [e for e in body if e is before or e is changes]
            body[:] = [*first, *(e for e in body if e not in first)]
            b.check(b.eq(b.raw_load(changes, 0), before), "overtaken", None)

    def _waits(self, phase: Phase) -> bool:
        """Whether a part of the code is compiled when it is first wanted."""
        inner = (e.body for e in phase.entries if isinstance(e, Loop))
        entries = chain(walk(self.b.root), phase.entries, *map(walk, inner))
        return any(
            e.cost is not None if isinstance(e, Loop) else isinstance(e, Value) and e.op == "call"
            for e in entries
        )

    def _count(self) -> None:
        """Note that shared variables have changed."""
        if self._changes is not None:
            number = self.b.raw_load(self._changes, 0)
            self.b.raw_store(self._changes, 0, self.b.add(number, 1))

    def _store_scalars(self) -> None:
        b = self.b
        for n in self.news:
            if not isinstance(n.value, View):
                pointer = b.raw_load(n.cell, 0, "ptr")
                b.store(View(n.shared.type.dtype, pointer, ()), (), n.value)
            elif not isinstance(n.shared.type, TensorType):
                pointer = b.raw_load(n.cell, 0, "ptr")
                b.memcpy(pointer, b.shifted(n.value, 0), self._bytes(n.value))

    def _commit(self, arrays: list[_New], all_done: Value) -> None:
        b = self.b
        if not arrays or b.number(all_done) is True:
            return
        commit = self._support("lt_cells_commit")
        with self._unless(all_done):
            b.call_pointer(commit, (self._records, b.const(len(arrays))))

    def _note(self) -> None:
        for n in self.news:
            if n.plan is not None:
                way = "in place"
            elif not isinstance(n.value, View):
                way = "store"
            elif isinstance(n.shared.type, TensorType) and self._may_exchange(n):
                way = "exchange"
            else:
                way = "copy"
            view = n.value if isinstance(n.value, View) else None
            dims = () if view is None else view.dims
            dtype = n.shared.type.dtype if view is None else view.dtype
            self.b.program.updates.append(UpdateNote(n.shared, way, dtype, dims))

    def _may_exchange(self, n: _New) -> bool:
        pointers = Counter(m.value.pointer for m in self.news if isinstance(m.value, View))
        return self._block(n, pointers).op != "const"


def _is_private(pointer: Value) -> bool:
    """Whether a buffer belongs to the call (or is a constant): nobody else writes to it."""
    return root_of(pointer).op in ("ensure", "slot", "alloc_output", "adopt_output", "table")


def may_change_in_place(block: Block, variable: Variable) -> bool:
    """Whether ``variable`` is the old value of an update, or made of one by changing elements."""
    shared = getattr(block.context, "updated_inputs", ())
    while variable not in shared:
        owner = variable.owner
        position = None if owner is None else getattr(owner.op, "base_operand", None)
        if owner is None or position is None:
            return False
        variable = owner.inputs[position]
    return block.function is block.context.function
