"""From a lowered program to code in memory: renders, compiles, fills the table of addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ltensor.errors import UnsupportedError
from ltensor.ir.function import Function
from ltensor.ir.graph import Variable
from ltensor.ir.types import TensorType
from ltensor.lowering.cpu import block_pool, jit, libraries, thread_pool
from ltensor.runtime import entry, support
from ltensor.runtime.cell import Cell, changes_address
from ltensor.runtime.chunk_compiler import ChunkCompiler

if TYPE_CHECKING:
    from ltensor.lowering.whole import Lowered, Signature

# The lowering is imported when something is lowered: what comes from the disk does without it.


#: kinds of table entries that lead to Python
PYTHON = ("callback", "compiler")


class Linked:
    """Native code of one Function and all that it needs alive.

    Attributes
    ----------
    address : int
    module : CompiledModule
    table : ndarray
        The addresses that the code reads.
    entries : list of (str, object)
        What the words of the table are, as in `Lowered`.
    arena : Arena or None
        Memory that the function keeps between calls.
    """

    def __init__(
        self,
        module: jit.CompiledModule,
        table: np.ndarray,
        entries: list[tuple[str, Any]],
        keepalive: list[Any],
        source: Callable[[], tuple[Lowered, str]],
        asks_for_parts: bool,
        arena: block_pool.Arena | None = None,
    ) -> None:
        self.address = module.address("entry")
        self.module = module
        self.table = table
        self.entries = entries
        self.keepalive = keepalive
        self._source = source
        self._asks_for_parts = asks_for_parts
        self.arena = arena

    @property
    def lowered(self) -> Lowered:
        """The kernel program (made anew if the code came from the disk)."""
        return self._source()[0]

    @property
    def text(self) -> str:
        """The LLVM IR of the module."""
        return self._source()[1]

    @property
    def may_call_python(self) -> bool:
        """Whether the code calls Python: user ops, what is compiled when first wanted."""
        return self._asks_for_parts or any(kind in PYTHON for kind, _ in self.entries)


def _tensor_type(variable: Variable, role: str) -> TensorType:
    if isinstance(variable.type, TensorType):
        return variable.type
    raise UnsupportedError(
        f"{variable} of type {variable.type} as {role} of a compiled function",
        "use tensors; a random state belongs in a shared variable with its new state in updates, "
        "or in In(state, value=numpy.random.RandomState(..), update=new_state)",
    )


def specs(function: Function, signature: Signature) -> tuple[list[Any], list[Any]]:
    """What the entry must know of arguments and results."""
    inputs = []
    for variable in function.inputs[: signature.n_arguments]:
        kind = _tensor_type(variable, "an argument")
        inputs.append(entry.InputSpec(kind.dtype, kind.ndim, kind.broadcastable))
    outputs = []
    for variable in function.outputs[: signature.n_results]:
        kind = _tensor_type(variable, "a result")
        outputs.append(entry.OutputSpec(kind.dtype, kind.ndim))
    return inputs, outputs


def lower_text(
    function: Function, signature: Signature, returns: entry.Returns
) -> tuple[Lowered, str]:
    """The kernel program and the text of the module."""
    from ltensor.lowering.cpu.llvm import render
    from ltensor.lowering.whole import lower

    inputs, outputs = specs(function, signature)
    frame = entry.FrameLayout.of(inputs, outputs)
    lowered = lower(function, signature, frame, threads=thread_pool.count())
    host = jit.host()
    core = render(lowered.program, host.vector_bytes, host.has_fma)
    text = entry.entry_text("entry", inputs, outputs, returns, core="core")
    return lowered, entry.module_text(core, text)


def link(
    function: Function, signature: Signature, shared: Sequence[Cell], returns: entry.Returns
) -> Linked:
    """Compile ``function``.

    Parameters
    ----------
    shared : sequence of Cell
        The cells of the shared variables, in the order of the Function's inputs.
    returns : {'value', 'list', 'none'}
    """
    made = lower_text(function, signature, returns)
    lowered, text = made
    code = jit.object_code(text)
    return load(code, lowered.table, lowered.program.calls, shared, lambda: made)


def load(
    code: bytes,
    entries: list[tuple[str, Any]],
    calls: Iterable[str],
    shared: Sequence[Cell],
    source: Callable[[], tuple[Lowered, str]],
) -> Linked:
    """Put object code into memory.

    Parameters
    ----------
    code : bytes
    entries : list of (str, object)
        What the table of addresses holds.
    calls : iterable of str
        Functions of the run time that it calls.
    shared : sequence of Cell
    source : callable
        Gives program and text of the code.
    """
    entry.ensure_support()
    keepalive: list[Any] = list(shared)
    arena: block_pool.Arena | None = None
    table = np.zeros(max(1, len(entries)), dtype=np.int64)
    for number, (kind, thing) in enumerate(entries):
        if kind == "data":
            keepalive.append(thing)
            table[number] = thing.ctypes.data
        elif kind == "cell":
            table[number] = shared[thing].address
        elif kind == "support":
            table[number] = support.address(thing)
        elif kind == "holds":
            # a function that calls Python holds the arrays of shared variables itself
            python = any(k in PYTHON for k, _ in entries) or libraries.has_parts(calls)
            table[number] = int(python)
        elif kind == "changes":
            table[number] = changes_address()
        elif kind == "arena":
            arena = block_pool.Arena(thing)
            table[number] = arena.address
        elif kind == "callback":
            keepalive.append(thing)
            table[number] = id(thing)
        elif kind == "call":
            table[number] = support.address("lt_call_python")
        elif kind == "compiler":
            compiler = ChunkCompiler(code, table, entries, calls, lambda: source()[0].program)
            keepalive.append(compiler)
            table[number] = compiler.address
        elif kind != "chunk":  # null until the code is wanted
            raise AssertionError(kind)
    symbols = {"lt_table": int(table.ctypes.data)}
    symbols.update(libraries.addresses(calls))
    if any(kind == "chunk" for kind, _ in entries):
        symbols.update(thread_pool.words())
    module = jit.link_object(code, symbols, text=lambda: source()[1])
    return Linked(module, table, entries, keepalive, source, libraries.has_parts(calls), arena)
