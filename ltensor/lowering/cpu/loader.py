"""Object code into memory without LLVM (layer 4): a process that compiles nothing never loads it.

Loading LLVM takes some 30 ms and 50 MB, ten times what loading a function from the disk takes.
What LLVM writes for x86-64, position-independent and in its small code model (`machine`), is easy
to place: an object reaches itself by distances of 32 bits, and what is elsewhere through words that
hold its address. One mapping holds an object: code and constants, those words, a jump for each
function that is called elsewhere, all of which become executable and read-only; then what may be
written. It is given back when its owner goes, but not while the process ends: arrays that go then
are freed by code of the run time, in an order that nobody chooses.

An object that asks for anything else, or is for another machine or of another format, is left to
`engines`. The kinds of relocations are those of the "System V ABI, AMD64 Architecture Processor
Supplement".
"""

from __future__ import annotations

import ctypes
import errno
import functools
import mmap
import os
import struct
import sys
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ltensor.errors import LoweringError
from ltensor.lowering.cpu.object_file import SHN_UNDEF, ObjectFile, Relocation

__all__ = ["Layout", "layout", "load"]

_EM_X86_64 = 62
_SHT_PROGBITS, _SHT_NOBITS = 1, 8
#: tables for unwinders and debuggers: nothing unwinds through generated code
_SHT_X86_64_UNWIND = 0x70000001
_SHF_WRITE, _SHF_ALLOC, _SHF_TLS = 1, 2, 0x400
_SHN_RESERVED = 0xFF00
#: constants with addresses in them, which only a loader writes
_CONSTANTS = ".data.rel.ro"
#: an address; a distance; the distance to a function; the distance to a word with an address
_R_64, _R_PC32, _R_PLT32, *_R_GOT = 1, 2, 4, 9, 41, 42
_KNOWN = frozenset({_R_64, _R_PC32, _R_PLT32, *_R_GOT})
#: jmp [rip + distance]
_JUMP = b"\xff\x25"
_SLOT = 8
#: bytes that a distance of 32 bits spans either way
_REACH = 1 << 31


class Layout(NamedTuple):
    """Where things go in a mapping, in bytes from its start.

    Attributes
    ----------
    sections, slots, jumps : dict of int to int
        By number of the section; words that hold addresses and jumps by number of the symbol.
    fixed : int
        Bytes, whole pages, that are not written any more once all addresses stand there.
    size : int
        Bytes of the whole mapping.
    """

    sections: dict[int, int]
    slots: dict[int, int]
    jumps: dict[int, int]
    fixed: int
    size: int


def _aligned(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def layout(found: ObjectFile, relocations: list[Relocation]) -> Layout | None:
    """Lay out an object; None if it is not for us to load.

    Raises
    ------
    LoweringError
        If its parts would be too far from each other: no other loader changes that.
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
        is_written = section.flags & _SHF_WRITE and not section.name.startswith(_CONSTANTS)
        (written if is_written else fixed).append(index)
    if any(symbol.section >= _SHN_RESERVED and symbol.name for symbol in found.symbols):
        return None
    offsets: dict[int, int] = {}

    def put(indices: list[int], start: int) -> int:
        for index in indices:
            section = found.sections[index]
            start = _aligned(start, section.alignment or 1)
            offsets[index] = start
            start += section.size
        return start

    end = _aligned(put(fixed, 0), _SLOT)
    placed = {*fixed, *written}
    slots: dict[int, int] = {}
    calls: dict[int, None] = {}
    for place in relocations:
        if place.target not in placed:
            continue
        home = found.symbols[place.symbol].section
        is_elsewhere = home == SHN_UNDEF
        if place.kind not in _KNOWN or (is_elsewhere and place.kind == _R_PC32):
            return None
        if not is_elsewhere and home not in placed:
            return None
        is_call = place.kind == _R_PLT32 and is_elsewhere
        if is_call:
            calls[place.symbol] = None
        if (is_call or place.kind in _R_GOT) and place.symbol not in slots:
            slots[place.symbol] = end
            end += _SLOT
    jumps = {symbol: end + k * _SLOT for k, symbol in enumerate(calls)}
    end = _aligned(end + len(jumps) * _SLOT, mmap.PAGESIZE)
    size = _aligned(put(written, end), mmap.PAGESIZE)
    if size > _REACH:
        raise LoweringError(f"{size} bytes of code and data: code reaches {_REACH} bytes of them")
    return Layout(offsets, slots, jumps, end, size)


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
        If it is too large, or the system does not let memory be executed.
    """
    relocations = list(found.relocations(data))
    where = layout(found, relocations)
    if where is None:
        return None
    owner = _Code(max(where.size, mmap.PAGESIZE))
    mapping = owner.mapping
    base = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
    values = [
        base + where.sections[symbol.section] + symbol.value
        if symbol.section in where.sections
        else needed.get(symbol.name, 0)
        for symbol in found.symbols
    ]
    _fill(mapping, base, where, data, found, relocations, values)
    if where.fixed and _protect()(base, where.fixed, mmap.PROT_READ | mmap.PROT_EXEC):
        error = ctypes.get_errno()
        reason = os.strerror(error)
        if error == errno.ENOMEM:  # also where a process has too many mappings
            raise MemoryError(f"no memory for machine code: {reason}")
        raise LoweringError(f"the system does not let generated code be executed: {reason}")
    defined = {
        symbol.name: value
        for symbol, value in zip(found.symbols, values, strict=True)
        if symbol.section in where.sections and not symbol.is_local
    }
    return defined, owner


def _fill(
    mapping: mmap.mmap,
    base: int,
    where: Layout,
    data: bytes,
    found: ObjectFile,
    relocations: list[Relocation],
    values: list[int],
) -> None:
    """Write sections, words with addresses and jumps, and whatever waits for an address."""
    for index, offset in where.sections.items():
        section = found.sections[index]
        if section.kind == _SHT_PROGBITS:
            mapping[offset : offset + section.size] = data[
                section.offset : section.offset + section.size
            ]
    for symbol, offset in where.slots.items():
        struct.pack_into("<Q", mapping, offset, values[symbol])
    for symbol, offset in where.jumps.items():
        after = offset + len(_JUMP) + 4
        struct.pack_into("<2si", mapping, offset, _JUMP, where.slots[symbol] - after)
    for place in relocations:
        start = where.sections.get(place.target)
        if start is None:
            continue
        offset = start + place.offset
        if place.kind == _R_64:
            word = values[place.symbol] + place.addend
            struct.pack_into("<Q", mapping, offset, word & (1 << 64) - 1)
            continue
        if place.kind in _R_GOT:
            aim = where.slots[place.symbol]
        elif place.symbol in where.jumps:
            aim = where.jumps[place.symbol]
        else:
            aim = values[place.symbol] - base
        struct.pack_into("<i", mapping, offset, aim + place.addend - offset)


@functools.cache
def _protect() -> ctypes._CFuncPtr:  # type: ignore[name-defined]
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    protect.restype = ctypes.c_int
    return protect
