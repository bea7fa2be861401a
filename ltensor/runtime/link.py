"""From a lowered program to code in memory: renders, compiles, fills the table of addresses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ltensor.ir.function import Function
from ltensor.ir.types import TensorType
from ltensor.lowering import jit, libraries
from ltensor.lowering.llvm import render
from ltensor.lowering.whole import Lowered, Signature, lower
from ltensor.runtime import cell as cells
from ltensor.runtime import entry
from ltensor.runtime.cell import Cell


@dataclass
class Linked:
    """Native code of one Function and all that it needs alive."""

    address: int
    lowered: Lowered
    module: Any
    table: np.ndarray
    keepalive: list[Any]
    text: str


def specs(function: Function, signature: Signature) -> tuple[list[Any], list[Any]]:
    """What the entry must know of arguments and results."""
    inputs = []
    for variable in function.inputs[: signature.n_arguments]:
        kind = variable.type
        assert isinstance(kind, TensorType)
        inputs.append(entry.InputSpec(kind.dtype, kind.ndim, kind.broadcastable))
    outputs = []
    for variable in function.outputs[: signature.n_results]:
        kind = variable.type
        assert isinstance(kind, TensorType)
        outputs.append(entry.OutputSpec(kind.dtype, kind.ndim))
    return inputs, outputs


def lower_text(
    function: Function, signature: Signature, returns: entry.Returns
) -> tuple[Lowered, str, list[Any], list[Any]]:
    """The kernel program and the text of the core."""
    inputs, outputs = specs(function, signature)
    frame = entry.FrameLayout.of(inputs, outputs)
    lowered = lower(function, signature, frame)
    host = jit.host()
    text = render(lowered.program, host.vector_bytes, host.has_fma)
    return lowered, text, inputs, outputs


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
    entry.ensure_support()
    lowered, core, inputs, outputs = lower_text(function, signature, returns)
    keepalive: list[Any] = list(shared)
    table = np.zeros(max(1, len(lowered.table)), dtype=np.int64)
    for number, (kind, thing) in enumerate(lowered.table):
        if kind == "data":
            keepalive.append(thing)
            table[number] = thing.ctypes.data
        elif kind == "cell":
            table[number] = shared[thing].address
        elif kind == "resize":
            table[number] = cells.resize_address()
        elif kind == "adopt":
            table[number] = cells.adopt_address()
        elif kind == "callback":
            keepalive.append(thing)
            table[number] = thing.address
        else:
            raise AssertionError(kind)
    symbols = {"lt_table": int(table.ctypes.data)}
    symbols.update(libraries.addresses(lowered.program.calls))
    text = entry.module_text(core, entry.entry_text("entry", inputs, outputs, returns, core="core"))
    module = jit.compile_module(text, symbols)
    return Linked(module.address("entry"), lowered, module, table, keepalive, text)
