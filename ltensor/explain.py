"""`f.explain()`: the buffers of a compiled function and why they exist, and what became of loops.

The kernel program says what is allocated and for what (`ltensor.lowering.program.Buffer`), the
optimized graph who reads it, and the passes what they did (`ltensor.passes.remarks`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ltensor.explanation import (
    BufferRecord,
    Explanation,
    KeptRecord,
    LoopRecord,
    RemarkRecord,
    UpdateRecord,
)
from ltensor.ir.dtypes import item_size
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import TensorType
from ltensor.lowering.formula import Formulas, Size, number, product
from ltensor.lowering.program import Buffer, Loop, Scope, UpdateNote
from ltensor.ops.scan import Scan
from ltensor.passes.remarks import Remark, Slot, Who, key_of, op_name, unique

if TYPE_CHECKING:
    from ltensor.compiled import CompiledFunction

__all__ = ["explain"]


def explain(
    function: CompiledFunction, args: Sequence[Any] = (), sizes: dict[Any, Any] | None = None
) -> Explanation:
    """See `CompiledFunction.explain`."""
    return _Explainer(function, args, sizes or {}).explanation()


class _Explainer:
    def __init__(
        self, function: CompiledFunction, args: Sequence[Any], sizes: dict[Any, Any]
    ) -> None:
        self.function = function
        self.lowered = function._linked.lowered
        self.program = self.lowered.program
        self.graph: Function = self.lowered.function
        self.remarks = unique(function.maker.remarks)
        #: scans in the order in which they run, with their depth and the Function they are in
        self.scans: list[tuple[Apply, int, Function]] = []
        #: for values computed in a loop: its scan
        self.home: dict[Variable, Apply] = {}
        self._walk(self.graph, 0, None)
        self.formulas = self._formulas(args, sizes)
        self.buffer_of = self._by_result()
        #: (scan, position) of states that have buffers besides their traces -> how many rows fit
        self.buffered: dict[Any, int] = {}
        for b in self.program.buffers:
            if b.reason[0] in ("ring", "carry"):
                rows = b.dims[0].attr if b.reason[0] == "ring" else 1
                self.buffered[b.reason[1:]] = self.buffered.get(b.reason[1:], 0) + rows

    def _walk(self, function: Function, depth: int, scan: Apply | None) -> None:
        for node in function.nodes:
            if scan is not None:
                self.home.update(dict.fromkeys(node.outputs, scan))
            if isinstance(node.op, Scan):
                self.scans.append((node, depth, function))
                self._walk(node.op.body, depth + 1, node)
            else:
                for region in node.op.regions:
                    self._walk(region, depth, scan)

    # ------------------------------------------------------------- sizes

    def _formulas(self, args: Sequence[Any], sizes: dict[Any, Any]) -> Formulas:
        from ltensor.runtime.entry import FrameLayout
        from ltensor.runtime.link import specs

        sign = self.lowered.signature
        inputs, outputs = specs(self.graph, sign)
        variables = self.graph.inputs
        names = _names(variables, sign.n_arguments)
        known: dict[tuple[str, int | None], int] = {}
        for variable, name in zip(variables, names, strict=True):
            if isinstance(variable.type, TensorType):
                for axis, size in enumerate(variable.type.shape):
                    if size is not None:
                        known[name, axis] = size
        shared = {}
        for number_, (kind, thing) in enumerate(self.lowered.table):
            if kind == "cell":
                shared[number_] = names[sign.n_arguments + thing]
        for position, variable in enumerate(self.function.maker.request.shared):
            name = names[sign.n_arguments + position]
            array = getattr(variable.container.cell, "array", None)
            if isinstance(array, np.ndarray):
                known.update(_facts(name, array))
        if args:
            arrays = self.function._arguments(args, {})
            for name, array in zip(names[: sign.n_arguments], arrays, strict=True):
                known.update(_facts(name, array))
        known.update(self._given(sizes, names[: sign.n_arguments]))
        steps = [value for _, value in self.program.scans]
        ranks = [spec.ndim for spec in inputs]
        frame = FrameLayout.of(inputs, outputs)
        return Formulas(frame, names[: sign.n_arguments], ranks, shared, known, steps)

    def _given(
        self, sizes: dict[Any, Any], names: list[str]
    ) -> Iterator[tuple[tuple[str, int | None], int]]:
        variables = [spec.variable for spec in self.function.maker.specs]
        for key, value in sizes.items():
            if isinstance(key, Variable) and key in variables:
                position = variables.index(key)
            elif key in names:
                position = names.index(key)
            else:
                raise ValueError(
                    f"sizes: the function has no argument {key!r}; there are {', '.join(names)}"
                )
            name, rank = names[position], variables[position].type.ndim
            if rank == 0:
                yield (name, None), int(value)
                continue
            shape = (value,) if isinstance(value, (int, np.integer)) else tuple(value)
            if len(shape) != rank:
                raise ValueError(f"sizes: {name} has {rank} dimensions, {shape} has {len(shape)}")
            for axis, size in enumerate(shape):
                yield (name, axis), int(size)

    def _by_result(self) -> dict[tuple[Apply, int], Buffer]:
        """For results of scans the buffer that holds all rows."""
        found: dict[tuple[Apply, int], Buffer] = {}
        for buffer in self.program.buffers:
            word, subject, *rest = buffer.reason
            if word == "trace" and buffer.dims:
                found[subject, rest[0]] = buffer
            elif word == "output" and subject.owner is not None:
                key = (subject.owner, subject.owner.outputs.index(subject))
                if isinstance(subject.owner.op, Scan):
                    found.setdefault(key, buffer)
        return found

    # ------------------------------------------------------------- the records

    def explanation(self) -> Explanation:
        """Everything."""
        loops, told = [], set()
        for node, depth, function in self.scans:
            told.add(key_of(node))
            loops.append(self._loop(node, depth, function))
        gone: dict[Any, LoopRecord] = {}
        others = []
        for remark in self.remarks:
            if remark.key in told:
                continue
            if not remark.pass_name.startswith("scan"):
                others.append(_told(remark))
                continue
            loop = gone.setdefault(remark.key, LoopRecord(remark.key[1], _told(remark).line))
            loop.remarks.append(_told(remark))
        buffers = [self._buffer(b) for b in self.program.buffers if not _is_nothing(b)]
        updates = list(map(self._update, self.program.updates))
        return Explanation(self.function.name, buffers, [*loops, *gone.values()], others, updates)

    def _update(self, note: UpdateNote) -> UpdateRecord:
        size = self.formulas.bytes(note.dtype, note.dims)
        return UpdateRecord(str(note.shared), note.way, size.text, size.number, _line(note.shared))

    def _buffer(self, buffer: Buffer) -> BufferRecord:
        size = self.formulas.bytes(buffer.dtype, buffer.dims)
        returned = buffer.pointer.op in ("alloc_output", "adopt_output")
        lifetime = "returned" if returned else "call" if self.program.arena is None else "function"
        if not returned:
            scope: Scope | None = buffer.pointer.scope
            while scope is not None and not isinstance(scope.holder, Loop):
                scope = scope.parent
            if scope is not None:
                lifetime = f"loop {scope.holder.label}".rstrip()
        subject = buffer.reason[1]
        return BufferRecord(
            size.text,
            size.number,
            buffer.dtype,
            [self.formulas.size(d).text for d in buffer.dims],
            buffer.reason[0],
            self._reason(buffer),
            lifetime,
            _line(subject),
            buffer.pointer.attr if buffer.pointer.op == "ensure" else None,
        )

    def _reason(self, buffer: Buffer) -> str:
        word, subject, *rest = buffer.reason
        if word == "output":
            return f"output {rest[0]} of the function: {self._result(subject)}"
        if word == "scratch":
            if subject is None:
                return "working memory"
            inside = self._inside(subject.outputs[0])
            return f"working memory of {Who(subject)}{inside}"
        if word == "update":
            return f"new value of shared variable {subject} until the call has succeeded"
        if word in ("value", "copy", "packed", "block"):
            text = {
                "value": "result of {}",
                "copy": "{} in one piece",
                "packed": "{} packed for products",
                "block": "{} for a block of steps",
            }[word]
            return text.format(Who(subject)) + self._inside(subject)
        slot = Slot(subject, rest[0])
        name = _name(subject)
        if word == "trace":
            return f"all rows of {slot} of {name}: {self._why_all(subject, rest[0])}"
        if word == "ring":
            rows = self.formulas.size(buffer.dims[0]).text
            if subject.op.keep[rest[0]] is None:
                many = "row" if rows == "1" else f"{rows} rows"
                return f"the {many} of {slot} of {name} before the first step"
            if self.buffered[subject, rest[0]] == 1:
                return f"the row of {slot} of {name}, updated in place"
            taps = ", ".join(f"-{lag}" for lag in subject.op.lags[rest[0]])
            return f"ring of {rows} rows of {slot} of {name}: taps {taps} and the row written"
        if word == "last":
            rows = self.formulas.size(buffer.dims[0]).text
            return f"last {'row' if rows == '1' else f'{rows} rows'} of {slot} of {name}"
        if word == "carry":
            if self.buffered[subject, rest[0]] == 1:
                return f"{slot} of {name}, updated in place"
            return f"{slot} of {name}: two buffers take turns as this step's value and the next's"
        return f"{word} of {slot} of {name}"

    def _result(self, variable: Variable) -> str:
        owner = variable.owner
        if owner is None or not isinstance(owner.op, Scan):
            return str(Who(variable))
        position = owner.outputs.index(variable)
        kept = _kept_rows(owner.op, position)
        rows = "all rows of " if kept is None else f"last {kept} rows of "
        if owner.op.n_taps <= position < owner.op.n_taps + owner.op.n_carries:
            rows = "final value of "
        text = f"{rows}{Slot(owner, position)} of {_name(owner)}"
        gradients = self._gradients(owner, position)
        return text + (f", read by {', '.join(map(_name, gradients))} too" if gradients else "")

    def _inside(self, variable: Variable) -> str:
        home = self.home.get(variable)
        return "" if home is None else f", in each step of {_name(home)}"

    # ------------------------------------------------------------- loops

    def _loop(self, node: Apply, depth: int, function: Function) -> LoopRecord:
        op: Any = node.op
        record = LoopRecord(_name(node), _line(node), depth)
        lowered = [value for n, value in self.program.scans if n is node]
        if lowered:
            steps = self.formulas.size(lowered[0])
            record.steps, record.n_steps = steps.text, steps.number
            record.note = _short(steps)
        else:
            record.steps = "?"
        for position in range(op.n_taps + op.n_carries + op.n_outs):
            record.slots.append(self._slot(node, position))
            record.kept.extend(self._kept(node, position, function))
        again = [_called(*value) for value in op.computed_again]
        record.computed_again = list(dict.fromkeys(again))
        key = key_of(node)
        record.remarks = [_told(r) for r in self.remarks if r.key == key]
        return record

    def _slot(self, node: Apply, position: int) -> str:
        op: Any = node.op
        slot = str(Slot(node, position))
        kept = _kept_rows(op, position)
        buffered = self.buffered.get((node, position), 0)
        if op.n_taps <= position < op.n_taps + op.n_carries:
            return (
                f"{slot}: {('in registers', 'updated in place', 'two buffers in turn')[buffered]}"
            )
        taps = ""
        if position < op.n_taps:
            lags = op.lags[position]
            taps = f", tap{'s' if len(lags) > 1 else ''} " + ", ".join(f"-{k}" for k in lags)
        if kept is not None:
            where = "in a ring of rows" if buffered > 1 else "updated in place"
            where = where if buffered else "in registers"
            if position >= op.n_taps:
                where = "in one buffer"
            return f"{slot}{taps}: last {'row' if kept == 1 else f'{kept} rows'} kept, {where}"
        return f"{slot}{taps}: all rows kept, {self._why_all(node, position)}"

    def _kept(self, node: Apply, position: int, function: Function) -> list[KeptRecord]:
        gradients = self._gradients(node, position, function)
        if not gradients:
            return []
        buffer = self.buffer_of.get((node, position))
        if buffer is None:
            size = Size("?", None)
        else:
            size = product(
                [number(item_size(buffer.dtype)), *map(self.formulas.size, buffer.dims[1:])]
            )
        value = str(Slot(node, position))
        readers = ", ".join(map(_name, gradients))
        return [KeptRecord(value, size.text, size.number, readers)]

    # ------------------------------------------------------------- readers

    def _function_of(self, node: Apply) -> Function:
        return next((f for n, _, f in self.scans if n is node), self.graph)

    def _readers(self, variable: Variable, function: Function) -> list[Apply | None]:
        """Who reads a value in the end, through views of it; None: it is returned."""
        found: dict[Apply | None, None] = {}
        stack, seen = [variable], {variable}
        while stack:
            for reader, _ in function.clients.get(stack.pop(), ()):
                kind = "" if reader is None else getattr(reader.op, "kind", "")
                if kind == "shape":
                    continue
                if reader is not None and (kind in ("indexed", "alias") or _joins(reader)):
                    fresh = [v for v in reader.outputs if v not in seen]
                    seen.update(fresh)
                    stack.extend(fresh)
                    if function.clients.get(reader.outputs[0]):
                        continue
                found[reader] = None
        return list(found)

    def _gradients(
        self, node: Apply, position: int, function: Function | None = None
    ) -> list[Apply]:
        """The gradient loops that read a result of a scan."""
        function = function or self._function_of(node)
        return [
            reader
            for reader in self._readers(node.outputs[position], function)
            if reader is not None and isinstance(reader.op, Scan) and reader.source is node.source
            if reader.op.name.endswith(f"grad_of_{getattr(node.op, 'name', '')}")
        ]

    def _why_all(self, node: Apply, position: int) -> str:
        """Who needs all rows."""
        reasons = []
        function = self._function_of(node)
        gradients = self._gradients(node, position, function)
        direct = [r for r, _ in function.clients.get(node.outputs[position], ())]
        if None in direct:
            reasons.append("the whole trace is an output")
        if gradients:
            reasons.append(f"kept for the gradient ({', '.join(map(_name, gradients))} reads them)")
        others = [
            r
            for r in self._readers(node.outputs[position], function)
            if r is not None and r not in gradients
        ]
        if others:
            reasons.append(f"read by {', '.join(str(Who(r)) for r in others[:3])}")
        return "; ".join(reasons) or "though nobody reads them"


def _names(variables: Sequence[Variable], n_arguments: int) -> list[str]:
    """Different names for all inputs."""
    names: list[str] = []
    for position, variable in enumerate(variables):
        if position < n_arguments:
            name = variable.name or f"input{position}"
        else:
            name = variable.name or f"shared{position - n_arguments}"
        while name in names:
            name += "'"
        names.append(name)
    return names


def _facts(name: str, array: np.ndarray) -> Iterator[tuple[tuple[str, int | None], int]]:
    if array.ndim == 0 and array.dtype.kind in "iub":
        yield (name, None), int(array)
    for axis, size in enumerate(array.shape):
        yield (name, axis), size


def _is_nothing(buffer: Buffer) -> bool:
    """Whether a buffer only stands for one that the first step allocates."""
    return any(d.op == "const" and d.attr == 0 for d in buffer.dims) and buffer.reason[0] == "trace"


def _kept_rows(op: Any, position: int) -> int | None:
    if position < op.n_taps:
        return op.keep[position]
    if position < op.n_taps + op.n_carries:
        return 1
    return op.keep[position - op.n_carries] if position < len(op.keep) + op.n_carries else None


def _joins(node: Apply) -> bool:
    return getattr(node.op, "ir_name", "") == "join"


def _name(node: Apply) -> str:
    return str(getattr(node.op, "name", "") or node.op)


def _line(thing: Any) -> str:
    source = getattr(thing, "source", None)
    if source is None and getattr(thing, "owner", None) is not None:
        source = thing.owner.source
    return "" if source is None else source.location()


def _called(name: str | None, op: Any, source: Any) -> str:
    words = ", ".join(filter(None, (name, op_name(op))))
    return words + ("" if source is None else f" ({source.location()})")


def _told(remark: Remark) -> RemarkRecord:
    line = "" if remark.source is None else remark.source.location()
    return RemarkRecord(remark.pass_name, remark.text, line)


def _short(steps: Size) -> str:
    """A word on loops whose n_steps is larger than a sequence."""
    asked = [p for p in steps.parts if ".shape[" not in p.text]
    rows = [p for p in steps.parts if ".shape[" in p.text]
    if not rows or not steps.text.startswith("min("):
        return ""
    if not asked:
        return "the shortest sequence gives the number of steps"
    text = f"n_steps is {asked[0].text}: a sequence with fewer rows shortens the loop, as in Theano"
    have, least = asked[0].number, min((r.number for r in rows if r.number is not None), default=-1)
    if have is None or any(r.number is None for r in rows):
        return text
    if have > least:
        return f"n_steps is {have:,}, the shortest sequence has {least:,} rows: the shortest wins"
    if have < least:
        return f"n_steps is {have:,}, the shortest sequence has {least:,} rows: not all are read"
    return ""
