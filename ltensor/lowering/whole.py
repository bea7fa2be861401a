"""A whole Function as one native core: inputs from the frame, shared variables from their cells.

The core computes all outputs first, and writes shared variables at the very end: a call that fails
leaves them as they were (`ltensor.lowering.commit`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ltensor.errors import UnsupportedError
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.ir.types import RandomStateType, TensorType
from ltensor.lowering.block import Block, Destination
from ltensor.lowering.builder import Builder
from ltensor.lowering.commit import Commit
from ltensor.lowering.program import Buffer, Program, Value, View
from ltensor.lowering.rewrites import parallel
from ltensor.lowering.rewrites.block_sums import block_sums
from ltensor.lowering.rewrites.columns import sweep_columns
from ltensor.lowering.rewrites.held_rows import hold_short_rows
from ltensor.lowering.rewrites.liveness import share_blocks
from ltensor.lowering.rewrites.narrow_rows import split_narrow_rows
from ltensor.lowering.rewrites.prefetch import prefetch_rows
from ltensor.lowering.rewrites.row_blocks import join_row_loops
from ltensor.lowering.rewrites.small_reductions import lanes_of_results
from ltensor.lowering.rewrites.turned import turn_operands

#: words of a random state buffer
STATE_WORDS = 640


@dataclass
class Signature:
    """How the inputs and outputs of a Function meet the outside.

    Attributes
    ----------
    n_arguments : int
        The first inputs are arguments of the call, the others shared variables.
    n_results : int
        The first outputs are returned, the others are new values of shared variables.
    updated : list of int
        For every further output the number of the shared variable that takes it.
    keeps_memory : bool
        Whether the function keeps the memory of its buffers between calls.
    lent : sequence of int
        Results that may be values of shared variables themselves, not copies.
    """

    n_arguments: int
    n_results: int
    updated: list[int] = field(default_factory=list)
    keeps_memory: bool = False
    lent: Sequence[int] = ()


@dataclass
class Lowered:
    """A program with what its table of addresses must hold."""

    program: Program
    table: list[tuple[str, Any]]
    function: Function
    signature: Signature


class WholeFunction:
    """Lowers one Function; the context that blocks share."""

    def __init__(
        self,
        function: Function,
        signature: Signature,
        frame: Any,
        name: str = "core",
        threads: int = 0,
    ) -> None:
        self.b = Builder(name, threads)
        self.function = function
        self.signature = signature
        self.frame = frame
        self.table: list[tuple[str, Any]] = []
        #: arrays that are not the call's: arguments, values of shared variables
        self.outside: list[View] = []
        first = signature.n_arguments
        #: shared variables that get new values
        self.updated_inputs = {function.inputs[first + k] for k in signature.updated}
        self._constants: dict[Any, View] = {}
        self._entries: dict[Any, int] = {}

    # ------------------------------------------------------------- the context of blocks

    def entry(self, kind: str, thing: Any, key: Any = None) -> int:
        """The table entry for ``thing``."""
        key = (kind, id(thing) if key is None else key)
        found = self._entries.get(key)
        if found is None:
            found = self._entries[key] = len(self.table)
            self.table.append((kind, thing))
        return found

    def constant(self, variable: Variable) -> View:
        """A View of a constant's data."""
        assert isinstance(variable, Constant)
        key = variable.signature()
        found = self._constants.get(key)
        if found is None:
            data = np.ascontiguousarray(variable.data)
            pointer = self.b.table(self.entry("data", data, key))
            dims = tuple(self.b.const(n) for n in variable.data.shape)
            found = self._constants[key] = View(variable.type.dtype, pointer, dims)
        return found

    def lower_region(self, block: Block, node: Apply, kind: str) -> None:
        """Ops with regions, and user ops."""
        if kind == "region":
            from ltensor.lowering.regions import lower_region

            lower_region(self, block, node)
        elif kind == "python":
            from ltensor.lowering.callback import lower_callback

            lower_callback(self, block, node)
        else:
            raise UnsupportedError(f"{node.op} of kind {kind!r} cannot be compiled")

    # ------------------------------------------------------------- the whole

    def lower(self) -> Lowered:
        """Build the program."""
        b, sign = self.b, self.signature
        bound: dict[Variable, Any] = {}
        cells: list[Value] = []
        for number, variable in enumerate(self.function.inputs):
            if number < sign.n_arguments:
                self._bind_argument(bound, number, variable)
            else:
                cell = b.table(self.entry("cell", number - sign.n_arguments, number))
                cells.append(cell)
                self._bind_cell(bound, cell, variable)
        lendable = {
            v: cell
            for v, cell in zip(self.function.inputs[sign.n_arguments :], cells, strict=True)
            if v not in self.updated_inputs and isinstance(v.type, TensorType)
        }
        results = self.function.outputs[: sign.n_results]
        news = self.function.outputs[sign.n_results :]
        destinations: dict[Variable, Destination] = {}
        again: list[tuple[int, Variable]] = []
        for number, variable in enumerate(results):
            if variable in destinations or variable in bound:
                again.append((number, variable))
            else:
                destinations[variable] = self._output(number, variable)
        block = Block(self, self.function, bound, destinations)
        block.run()
        block.finish()
        for number, variable in again:
            if number in sign.lent and variable in lendable:
                b.effect(
                    "lend_output", "void", (lendable[variable],), self.frame.output_object(number)
                )
            else:
                block.write(variable, self._output(number, variable))
        commit = Commit(self, block, news, cells)
        if b.threads:
            # a CPU's: for the sake of its caches, and of the accuracy of long sums
            sweep_columns(b)
            join_row_loops(b.program)
            turn_operands(b)
            lanes_of_results(b)
            split_narrow_rows(b)
            hold_short_rows(b)
            block_sums(b.program)
        commit.write()
        if b.threads:
            prefetch_rows(b.program)
            share_blocks(b.program)
            if sign.keeps_memory and b.program.slots:
                b.program.arena = self.entry("arena", b.program.slots, "arena")
        for number, shared in enumerate(parallel.choose(b.program)):
            shared.word = self.entry("chunk", (number, shared.multiplies), number)
            shared.compiler_word = self.entry("compiler", None, "compiler")
            b.program.shared_loops.append(shared)
        return Lowered(b.program, self.table, self.function, sign)

    def _bind_argument(self, bound: dict[Variable, Any], number: int, variable: Variable) -> None:
        b = self.b
        kind = variable.type
        if not isinstance(kind, TensorType):
            raise UnsupportedError(f"an argument of type {kind} cannot be compiled: {variable}")
        pointer = b.frame(self.frame.input_data(number), "ptr")
        dims = tuple(
            b.const(size) if size == 1 else b.frame(self.frame.input_dim(number, axis))
            for axis, size in enumerate(kind.shape)
        )
        b.note_existing(dims)
        view = View(kind.dtype, pointer, dims)
        bound[variable] = b.load(view, ()) if kind.ndim == 0 else view
        self.outside.append(view)

    def _bind_cell(self, bound: dict[Variable, Any], cell: Value, variable: Variable) -> None:
        b = self.b
        kind = variable.type
        pointer = b.raw_load(cell, 0, "ptr")
        if isinstance(kind, RandomStateType):
            bound[variable] = View("uint32", pointer, (b.const(STATE_WORDS),))
            return
        if not isinstance(kind, TensorType):
            bound[variable] = pointer
            return
        dims = tuple(
            b.const(1) if size == 1 else b.raw_load(cell, 2 + axis)
            for axis, size in enumerate(kind.shape)
        )
        b.note_existing(dims)
        view = View(kind.dtype, pointer, dims)
        bound[variable] = b.load(view, ()) if kind.ndim == 0 else view
        self.outside.append(view)

    def _output(self, number: int, variable: Variable) -> Destination:
        kind = variable.type
        if not isinstance(kind, TensorType):
            raise UnsupportedError(f"an output of type {kind} cannot be compiled: {variable}")

        def provide(dims: Sequence[Value]) -> View:
            room = self.b.fits_memory(kind.dtype, dims)
            self.b.check(room, "too_large", variable.owner, dims, (kind.ndim,))
            type_number = int(np.dtype(kind.dtype).num)
            slot = self.frame.output_object(number)
            pointer = self.b.effect("alloc_output", "ptr", tuple(dims), (slot, type_number))
            reason = ("output", variable, number)
            self.b.program.buffers.append(Buffer(pointer, kind.dtype, tuple(dims), reason))
            return View(kind.dtype, pointer, tuple(dims))

        def adopt(view: View, block: int) -> View:
            """The output from a dense buffer that nobody else needs, ``block`` of the call."""
            b, dims = self.b, view.dims
            room = b.fits_memory(kind.dtype, dims)
            b.check(room, "too_large", variable.owner, dims, (kind.ndim,))
            size = b.byte_size(kind.dtype, dims)
            attr = (self.frame.output_object(number), int(np.dtype(kind.dtype).num), block)
            pointer = b.effect("adopt_output", "ptr", (*dims, size), attr)
            b.program.buffers.append(
                Buffer(pointer, kind.dtype, dims, ("output", variable, number))
            )
            return View(kind.dtype, pointer, dims)

        # new memory, in which nothing lies that is still to be read
        return Destination(provide, is_apart=True, adopt=adopt)


def lower(
    function: Function,
    signature: Signature,
    frame: Any,
    name: str = "core",
    threads: int = 0,
) -> Lowered:
    """Lower a Function to a kernel program whose large loops ``threads`` may share.

    With one thread or more the program is a CPU's: loops are arranged for the sake of its caches.
    """
    return WholeFunction(function, signature, frame, name, threads).lower()
