"""Object code into memory without LLVM (layer 4): a process that compiles nothing never loads it.

Loading LLVM takes some 30 ms and 50 MB, ten times what loading a function from the disk takes.
What LLVM writes for x86-64 under its large code model is easy to place: nothing is reached by a
distance, every address is a word of 64 bits that waits for it (relocation ``R_X86_64_64``). One
mapping holds an object: code and constants first, which become executable and read-only, then what
may be written. It is given back when its owner goes, but not while the process ends: arrays that go
then are freed by code of the run time, in an order that nobody chooses.

An object that asks for anything else, or is for another machine or of another format, is left to
`engines`.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import struct
import sys
from collections.abc import Callable, Mapping

from ltensor.errors import LoweringError
from ltensor.lowering.cpu.object_file import ObjectFile

__all__ = ["load", "places"]

_EM_X86_64 = 62
_SHT_PROGBITS, _SHT_NOBITS = 1, 8
#: tables for unwinders and debuggers: nothing unwinds through generated code
_SHT_X86_64_UNWIND = 0x70000001
_SHF_WRITE, _SHF_ALLOC, _SHF_TLS = 1, 2, 0x400
_SHN_RESERVED = 0xFF00
_R_X86_64_64 = 1


def _aligned(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def places(found: ObjectFile) -> tuple[dict[int, int], int, int] | None:
    """Where in a mapping the sections of an object go; None if it is not for us to load.

    Returns
    -------
    offsets : dict of int to int
        Bytes from the start of the mapping, by number of the section.
    fixed : int
        Bytes, whole pages, that are not written any more once all addresses stand there.
    size : int
        Bytes of the whole mapping.
    """
    if found.machine != _EM_X86_64 or not hasattr(mmap, "PROT_EXEC"):
        return None
    fixed: list[int] = []
    written: list[int] = []
    for index, section in enumerate(found.sections):
        if not section.flags & _SHF_ALLOC or section.kind == _SHT_X86_64_UNWIND:
            continue
        if section.kind not in (_SHT_PROGBITS, _SHT_NOBITS) or section.flags & _SHF_TLS:
            return None
        if section.alignment > mmap.PAGESIZE:
            return None
        (written if section.flags & _SHF_WRITE else fixed).append(index)
    if any(symbol.section >= _SHN_RESERVED and symbol.name for symbol in found.symbols):
        return None
    offsets: dict[int, int] = {}

    def put(indices: list[int], start: int) -> int:
        for index in indices:
            section = found.sections[index]
            start = _aligned(start, section.alignment or 1)
            offsets[index] = start
            start += section.size
        return _aligned(start, mmap.PAGESIZE)

    end = put(fixed, 0)
    return offsets, end, put(written, end)


class _Code:
    """Pages of memory, which live as long as this."""

    def __init__(self, size: int) -> None:
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        try:
            self.mapping = mmap.mmap(-1, size, private, mmap.PROT_READ | mmap.PROT_WRITE)
        except OSError as error:
            message = f"no memory for {size} bytes of machine code: {error}"
            raise MemoryError(message) from None

    # Bound here: a module's names are gone when the process ends.
    def __del__(
        self,
        is_ending: Callable[[], bool] = sys.is_finalizing,
        keep: Callable[[object], object] = ctypes.pythonapi.Py_IncRef,
        as_object: Callable[[object], object] = ctypes.py_object,
    ) -> None:
        if is_ending() and hasattr(self, "mapping"):
            keep(as_object(self.mapping))


def load(
    data: bytes, found: ObjectFile, needed: Mapping[str, int]
) -> tuple[dict[str, int], object] | None:
    """Put an object into memory, every address in its place.

    Parameters
    ----------
    data : bytes
        The object.
    found : ObjectFile
        What `object_file.read` says of it.
    needed : dict of str to int
        Addresses of all symbols that it takes from elsewhere.

    Returns
    -------
    (addresses, owner) or None
        The addresses of what it defines for others; the code lives as long as the owner. None if
        `engines` has to load it.

    Raises
    ------
    MemoryError
        If there is no room.
    LoweringError
        If the system does not let memory be executed.
    """
    placed = places(found)
    if placed is None:
        return None
    offsets, fixed, size = placed
    relocations = [place for place in found.relocations(data) if place.target in offsets]
    if any(place.kind != _R_X86_64_64 for place in relocations):
        return None
    owner = _Code(max(size, mmap.PAGESIZE))
    mapping = owner.mapping
    base = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
    for index, offset in offsets.items():
        section = found.sections[index]
        if section.kind == _SHT_PROGBITS:
            mapping[offset : offset + section.size] = data[
                section.offset : section.offset + section.size
            ]
    values = [
        base + offsets[symbol.section] + symbol.value
        if symbol.section in offsets
        else needed.get(symbol.name, 0)
        for symbol in found.symbols
    ]
    for place in relocations:
        word = values[place.symbol] + place.addend
        struct.pack_into("<Q", mapping, offsets[place.target] + place.offset, word & (1 << 64) - 1)
    if fixed and _protect()(base, fixed, mmap.PROT_READ | mmap.PROT_EXEC):
        reason = os.strerror(ctypes.get_errno())
        raise LoweringError(f"the system does not let generated code be executed: {reason}")
    defined = {
        symbol.name: value
        for symbol, value in zip(found.symbols, values, strict=True)
        if symbol.section in offsets and not symbol.is_local
    }
    return defined, owner


@functools.cache
def _protect() -> ctypes._CFuncPtr:  # type: ignore[name-defined]
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    protect.restype = ctypes.c_int
    return protect
