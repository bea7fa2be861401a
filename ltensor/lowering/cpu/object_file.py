"""Reads relocatable ELF objects (layer 4): sections, symbols, relocations.

MCJIT resolves an unknown symbol to null without a word, so what an object needs is read from the
object itself before it is linked. The text of the module is not enough: code generation adds calls
of its own (``fmod`` for ``frem``, ``memset``, ``fmaf`` on a host without FMA), and an object that
comes from the disk cache has no text that was parsed.

The numbers are those of the "System V Application Binary Interface", chapter 4 (Object Files).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

_SHT_SYMTAB = 2
_SHT_RELA = 4
_STB_LOCAL = 0
SHN_UNDEF = 0
_SHN_XINDEX = 0xFFFF
# Names that the assembler may leave undefined and the linker itself supplies.
_LINKER_SUPPLIED = frozenset({"", "_GLOBAL_OFFSET_TABLE_"})


class ObjectSymbols(NamedTuple):
    """Names that an object file defines for others, and names that it needs."""

    defined: frozenset[str]
    undefined: frozenset[str]


class Section(NamedTuple):
    """A section's header."""

    name: str
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int


class Symbol(NamedTuple):
    """A name of the object: ``section`` is `SHN_UNDEF` if it is defined elsewhere."""

    name: str
    is_local: bool
    section: int
    value: int


class Relocation(NamedTuple):
    """A place to be filled: ``offset`` bytes from the start of section ``target``."""

    target: int
    offset: int
    kind: int
    symbol: int
    addend: int


class ObjectFile(NamedTuple):
    """What a loader wants to know of an object."""

    machine: int
    sections: list[Section]
    symbols: list[Symbol]

    def names(self) -> ObjectSymbols:
        """What it defines for others and what it needs."""
        named = [symbol for symbol in self.symbols if not symbol.is_local]
        defined = frozenset(s.name for s in named if s.section != SHN_UNDEF)
        needed = frozenset(s.name for s in named if s.section == SHN_UNDEF)
        return ObjectSymbols(defined, needed - _LINKER_SUPPLIED)

    def relocations(self, data: bytes) -> Iterator[Relocation]:
        """All places that wait for an address."""
        for section in self.sections:
            if section.kind != _SHT_RELA:
                continue
            table = memoryview(data)[section.offset : section.offset + section.size]
            for offset, info, addend in struct.iter_unpack("<QQq", table):
                yield Relocation(section.info, offset, info & 0xFFFFFFFF, info >> 32, addend)


def is_elf64(data: bytes) -> bool:
    """Say whether *data* is a little-endian 64-bit ELF file, the only format read here."""
    return data[:6] == b"\x7fELF\x02\x01"


def read(data: bytes) -> ObjectFile:
    """Return the sections and symbols of an ELF64 relocatable object.

    Raises
    ------
    struct.error, ValueError
        If the file ends too early.
    """
    (machine,) = struct.unpack_from("<H", data, 0x12)
    (start,) = struct.unpack_from("<Q", data, 0x28)
    size, count, names = struct.unpack_from("<HHH", data, 0x3A)
    if count == 0:
        # More than 65 279 sections: the true numbers stand in the first section header.
        (count,) = struct.unpack_from("<Q", data, start + 0x20)
    if names == _SHN_XINDEX:
        (names,) = struct.unpack_from("<I", data, start + 0x28)
    headers = [
        struct.unpack_from("<IIQQQQIIQQ", data, start + index * size) for index in range(count)
    ]
    strings = headers[names][4]
    sections = [Section(_text(data, strings + name), *rest) for name, *rest in headers]
    symbols: list[Symbol] = []
    for section in sections:
        if section.kind == _SHT_SYMTAB:
            symbols += _symbols(data, section, sections[section.link].offset)
    return ObjectFile(machine, sections, symbols)


def _text(data: bytes, begin: int) -> str:
    return data[begin : data.index(b"\0", begin)].decode()


def _symbols(data: bytes, section: Section, strings: int) -> Iterator[Symbol]:
    table = data[section.offset : section.offset + section.size]
    for name_offset, info, _, home, value, _ in struct.iter_unpack("<IBBHQQ", table):
        is_local = info >> 4 == _STB_LOCAL
        name = ""
        if not is_local:
            name = _text(data, strings + name_offset)
        yield Symbol(name, is_local, home, value)


def read_symbols(data: bytes) -> ObjectSymbols:
    """Return the global symbols of an ELF64 relocatable object."""
    return read(data).names()
