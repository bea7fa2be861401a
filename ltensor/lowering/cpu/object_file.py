"""Reads the symbol table of a relocatable ELF object (layer 4).

MCJIT resolves an unknown symbol to null without a word, so what an object needs is read from the
object itself before it is linked. The text of the module is not enough: code generation adds calls
of its own (``fmod`` for ``frem``, ``memset``, ``fmaf`` on a host without FMA), and an object that
comes from the disk cache has no text that was parsed.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

_SHT_SYMTAB = 2
_STB_LOCAL = 0
_SHN_UNDEF = 0
# Names that the assembler may leave undefined and the linker itself supplies.
_LINKER_SUPPLIED = frozenset({"", "_GLOBAL_OFFSET_TABLE_"})


class ObjectSymbols(NamedTuple):
    """Names that an object file defines for others, and names that it needs."""

    defined: frozenset[str]
    undefined: frozenset[str]


def is_elf64(data: bytes) -> bool:
    """Say whether *data* is a little-endian 64-bit ELF file, the only format read here."""
    return data[:6] == b"\x7fELF\x02\x01"


def read_symbols(data: bytes) -> ObjectSymbols:
    """Return the global symbols of an ELF64 relocatable object."""
    (section_offset,) = struct.unpack_from("<Q", data, 0x28)
    section_size, section_count = struct.unpack_from("<HH", data, 0x3A)
    if section_count == 0:
        # More than 65 279 sections: the true number stands in the first section header.
        (section_count,) = struct.unpack_from("<Q", data, section_offset + 0x20)

    def header(index: int) -> tuple[int, ...]:
        # name, type, flags, addr, offset, size, link, info, addralign, entsize
        return struct.unpack_from("<IIQQQQIIQQ", data, section_offset + index * section_size)

    defined: set[str] = set()
    undefined: set[str] = set()
    for index in range(section_count):
        _, kind, _, _, offset, size, link, first_global, _, _ = header(index)
        if kind != _SHT_SYMTAB:
            continue
        strings = header(link)[4]
        # Local symbols come first by the ELF rules; `first_global` is the number of them.
        table = data[offset + first_global * 24 : offset + size]
        for name_offset, info, _, shndx, _, _ in struct.iter_unpack("<IBBHQQ", table):
            if info >> 4 == _STB_LOCAL:
                continue
            start = strings + name_offset
            name = data[start : data.index(b"\0", start)].decode()
            (undefined if shndx == _SHN_UNDEF else defined).add(name)
    return ObjectSymbols(frozenset(defined), frozenset(undefined - _LINKER_SUPPLIED))
