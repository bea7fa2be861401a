"""Which values of a loop differ by lane, which are indices that advance by one, how many lanes."""

from __future__ import annotations

from ltensor.ir import dtypes as dt
from ltensor.lowering.cpu import strided
from ltensor.lowering.program import SERIAL_ONLY, If, Loop, Scope, Value, walk

#: a reduction this short runs several independent accumulators, hiding the latency of its sum
_SHORT_BODY = 14
#: a recurrence this short needs eight registers to keep two units busy through its latency
_TINY_BODY = 8
#: values in more than one register that a function in one register outweighs
_FEW_WIDE = 4


def _is_function(entry: object) -> bool:
    """Whether it is an elementary function, of dozens of operations."""
    return isinstance(entry, Value) and entry.op == "math"


class LaneAnalysis:
    """What the renderer must know of a vector loop.

    Attributes
    ----------
    lanes : int
        1 if the loop cannot run in lanes.
    varying : set of Value
        Values that differ by lane.
    need_vector, need_base : set of Value
        Varying values wanted in all lanes / as a scalar at lane 0 (addresses of whole vectors).
    need_splat : dict of Value
        Uniform values of the body that lanes read, in the order met: the text must be the same in
        every process, or its object is not found on the disk.
    outer_splats : list of Value
        Values from before the loop that lanes read.
    unroll : int
        Number of accumulators of a reduction.
    """

    def __init__(self, loop: Loop, vector_bytes: int) -> None:
        self.loop = loop
        self.varying: set[Value] = {loop.index}
        self.need_vector: set[Value] = set()
        self.need_base: set[Value] = set()
        self.need_splat: dict[Value, None] = {}
        self.outer_splats: list[Value] = []
        self._strides: dict[Value, int | None] = {}
        entries = list(walk(loop.body))
        self.lanes = 1
        if any(isinstance(e, If) for e in entries) or any(
            isinstance(e, Value) and e.op in SERIAL_ONLY for e in entries
        ):
            return
        if any(c.combine is None for c in loop.carries) or loop.stop is not None:
            return
        if any(isinstance(e, Loop) and e.stop is not None for e in entries):
            return
        for carry in loop.carries:
            self.varying.add(carry.phi)
        while self._spread(loop.body):
            pass
        for entry in entries:
            # trip counts and addresses of nested loops must not differ by lane
            if isinstance(entry, Loop) and entry.extent in self.varying:
                return
        sizes = [
            dt.item_size(e.attr if e.op == "store" else e.dtype)
            for e in entries
            if isinstance(e, Value)
            and e.dtype not in ("bool", "ptr")
            and (e.op == "store" or (e in self.varying and not self._is_index(e)))
        ]
        # truth values alone are bytes
        widest = max(sizes, default=1)
        functions = [dt.item_size(e.dtype) for e in entries if _is_function(e)]
        work = sum(isinstance(e, Value) for e in entries)
        self.unroll = 4 if work <= _SHORT_BODY else (2 if work <= 3 * _SHORT_BODY else 1)
        if functions and max(functions) < widest:
            # sums of functions in doubles: functions fill the registers, what is wider takes two
            wide = sum(size > max(functions) for size in sizes)
            if wide <= _FEW_WIDE * len(functions):
                self.unroll = max(1, self.unroll * max(functions) // widest)
                widest = max(functions)
        self.lanes = max(2, vector_bytes // max(widest, 2))
        self.lanes = loop.held or min(self.lanes, 32)
        if any(isinstance(e, Loop) and any(not c.combine for c in e.carries) for e in entries):
            # a recurrence inside: several registers per value hide the latency of its steps
            copies = 2 * self.unroll if work <= _TINY_BODY else self.unroll
            self.lanes = min(self.lanes * copies, 32 if functions else 128)
        self._collect(loop, entries)

    def _spread(self, scope: Scope) -> bool:
        """One pass of marking varying values; True if a carried value was newly marked."""
        varying = self.varying
        changed = False
        for entry in scope.body:
            if isinstance(entry, Loop):
                for c in entry.carries:
                    if c.init in varying and c.phi not in varying:
                        varying.add(c.phi)
                        changed = True
                changed |= self._spread(entry.body)
                for c in entry.carries:
                    if c.phi in varying or c.next in varying:
                        if c.phi not in varying:
                            varying.add(c.phi)
                            changed = True
                        varying.add(c.result)
            elif entry.op == "across":
                continue  # one value for all lanes
            elif entry.dtype != "void" and any(a in varying for a in entry.args):
                varying.add(entry)
        return changed

    def _is_index(self, value: Value) -> bool:
        return (
            value.dtype == "int64"
            and value.op in ("add", "sub", "mul", "index")
            and self.stride(value) is not None
        )

    def stride(self, value: Value) -> int | None:
        """By how much ``value`` grows from lane to lane; None if that is no constant."""
        if value is self.loop.index:
            return 1
        if value not in self.varying:
            return 0
        known = self._strides.get(value, 0)
        if value in self._strides:
            return known
        result: int | None = None
        if value.op in ("add", "sub"):
            a, b = self.stride(value.args[0]), self.stride(value.args[1])
            if a is not None and b is not None:
                result = a + b if value.op == "add" else a - b
        elif value.op == "mul":
            x, y = value.args
            if x in self.varying:
                x, y = y, x
            if x.op == "const":
                step = self.stride(y)
                result = None if step is None else x.attr * step
        self._strides[value] = result
        return result

    def is_single(self, access: Value) -> bool:
        """Whether a store of a row that is one step is of one element, not of one for each lane."""
        values = access.args[1:]
        return bool(self.loop.held) and not any(v in self.varying for v in values)

    def whole(self, offset: Value) -> bool:
        """Whether whole vectors, maybe shuffled, hold the elements at ``offset``."""
        stride = self.stride(offset)
        return stride == 1 or strided.covered(stride, self.lanes)

    def _collect(self, loop: Loop, entries: list[object]) -> None:
        for entry in entries:
            if isinstance(entry, Loop):
                for c in entry.carries:
                    if c.phi in self.varying:
                        assert c.next is not None
                        self._want(c.init)
                        self._want(c.next)
                continue
            assert isinstance(entry, Value)
            if entry.op in ("load", "store"):
                offset = entry.args[1]
                if self.is_single(entry):
                    continue
                if offset in self.varying:
                    if self.whole(offset):
                        self._want_base(offset)
                    else:
                        self._want(offset)
                if entry.op == "store":
                    self._want(entry.args[2])
                    if offset not in self.varying:
                        self._want(offset)
                continue
            if entry.op == "across":
                self._want(entry.args[0])
                continue
            if entry.op == "prefetch":
                self._want_base(entry.args[1])
                continue
            if entry.op == "guard":
                if entry.args[0] in self.varying:
                    for argument in entry.args:
                        if argument in self.varying:
                            self._want(argument)
                continue
            if entry in self.varying and not self._is_index(entry):
                self._want(entry)
        for c in loop.carries:
            assert c.next is not None
            self._want(c.next)
        inside = {id(e) for e in entries}
        for e in entries:
            if isinstance(e, Loop):
                inside.add(id(e.index))
                inside.update(id(c.phi) for c in e.carries)
                inside.update(id(c.result) for c in e.carries)
        for value in list(self.need_splat):
            if id(value) not in inside:
                del self.need_splat[value]
                self.outer_splats.append(value)

    def _want(self, value: Value) -> None:
        """Ask for ``value`` in all lanes."""
        stack = [value]
        while stack:
            v = stack.pop()
            if v.op == "const":
                continue
            if v not in self.varying:
                self.need_splat[v] = None
                continue
            if v in self.need_vector:
                continue
            self.need_vector.add(v)
            if v.op == "load":
                continue
            stack.extend(v.args)

    def _want_base(self, value: Value) -> None:
        """Ask for an index value at lane 0."""
        stack = [value]
        while stack:
            v = stack.pop()
            if v.op == "const" or v not in self.varying or v in self.need_base:
                continue
            self.need_base.add(v)
            stack.extend(v.args)
