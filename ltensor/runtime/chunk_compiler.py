"""Compiles the chunks of loops that threads share, when a call first wants them.

Native code calls back with the number of the loop; its code goes into the word of the function's
table that the native code looks at. A loop whose code cannot be made stays with one thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ltensor.lowering.cpu import jit, libraries
from ltensor.lowering.cpu.interrupts import no_interrupt

if TYPE_CHECKING:
    from ltensor.lowering.program import Program

__all__ = ["ChunkCompiler"]

#: what stands in a word for code that could not be made
_NONE = 1

_prototype = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)


class ChunkCompiler:
    """The native entry of one function's compiler of chunks.

    Parameters
    ----------
    code : bytes
        The function's object code, which names that of the chunks on the disk.
    table : ndarray
        The function's table of addresses.
    entries : sequence of (str, object)
        What its words are.
    calls : iterable of str
        Functions of the run time that it calls.
    program : callable
        Gives the kernel program that the function's code was made of.

    Attributes
    ----------
    address : int
        A function of the loop's number; its result is 0.
    """

    def __init__(
        self,
        code: bytes,
        table: np.ndarray,
        entries: Sequence[tuple[str, Any]],
        calls: Iterable[str],
        program: Callable[[], Program],
    ) -> None:
        self._of = code
        self._calls = list(calls)
        #: number of the loop -> word of the table, whether it calls products
        self._loops = {
            thing[0]: (word, thing[1])
            for word, (kind, thing) in enumerate(entries)
            if kind == "chunk"
        }
        self._table = table
        self._program = program
        self._modules: list[jit.CompiledModule] = []
        self._function = _prototype(self._compile)
        self.address = int(ctypes.cast(self._function, ctypes.c_void_p).value or 0)

    def _compile(self, number: int) -> int:
        word, _ = self._loops[number]
        with no_interrupt():
            try:
                self._table[word] = self._code(number)
            except MemoryError:
                pass  # another call may have more
            except Exception as error:  # nobody above could take it
                self._table[word] = _NONE
                # warnings may be errors
                with contextlib.suppress(Warning):
                    warnings.warn(
                        f"a loop stays with one thread, its code for several was refused: {error}",
                        RuntimeWarning,
                        stacklevel=2,
                    )
        return 0

    def _code(self, number: int) -> int:
        name = hashlib.blake2b(self._of, digest_size=20).hexdigest()
        _, multiplies = self._loops[number]
        calls = libraries.addresses(self._calls, complete=multiplies)
        label = f"chunk {number} of {name}"
        module = jit.compile_library(label, lambda: self._text(number), calls)
        self._modules.append(module)
        return module.address("chunk")

    def _text(self, number: int) -> str:
        from ltensor.lowering.cpu.chunks import render_chunk

        host = jit.host()
        return render_chunk(self._program(), number, host.vector_bytes, host.has_fma)
