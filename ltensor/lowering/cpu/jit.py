"""Machine code in memory: engines, symbols, modules; the one door to LLVM (layer 4).

Text of LLVM IR goes in, machine code at an address comes out. Everything else in the package sees
only `host`, `identity`, `compile_module`, `compile_library`, `object_code`, `object_name`,
`link_object` and `register_symbol`. llvmlite is imported on first use (`machine`), so that
importing ltensor does not pay for it.

Objects are put into memory by `loader`, or by LLVM's MCJIT (`engines`) where their format or their
machine is not one that it knows.

Note [Undefined symbols]. MCJIT resolves an unknown symbol to null and says nothing, so the object
file's own symbol table is checked before it is linked. Addresses enter by name only, never as
constants in the text: object code may be cached on disk.
"""

from __future__ import annotations

import ctypes
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from ltensor.errors import LoweringError
from ltensor.lowering.cpu import engines, loader, object_cache, object_file
from ltensor.lowering.cpu.code_generation import kept_object, object_code, object_name, prepared
from ltensor.lowering.cpu.machine import Host, emitter, host, identity, lock

__all__ = [
    "CompiledModule",
    "Host",
    "LoweringError",
    "UndefinedSymbol",
    "compile_library",
    "compile_module",
    "host",
    "identity",
    "link_object",
    "object_code",
    "object_name",
    "register_symbol",
]


class UndefinedSymbol(LoweringError):
    """A module needs external symbols that nobody defines.

    Attributes
    ----------
    names : tuple of str
        The symbols, sorted.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(sorted(names))
        super().__init__(f"undefined symbols in generated code: {', '.join(self.names)}")


# --- symbols ------------------------------------------------------------------------------------

_registered: dict[str, int] = {}
_keep: dict[str, object] = {}


def register_symbol(name: str, address: int, keepalive: object = None) -> None:
    """Make *address* known to all modules compiled from now on under *name*.

    Parameters
    ----------
    keepalive
        Something to hold as long as the name is registered (the owner of the code, a ctypes
        callback).
    """
    if not address:
        raise ValueError(f"null address for symbol {name!r}")
    with lock:
        _registered[name] = address
        _keep[name] = keepalive


@functools.cache
def _libraries() -> tuple[ctypes.CDLL, ...]:
    """Return where C symbols are looked for: Python, the process, libm, libgcc's helpers."""
    found: list[ctypes.CDLL] = [ctypes.pythonapi]
    for name in (None, "libm.so.6", "libgcc_s.so.1"):
        try:
            found.append(ctypes.CDLL(name))
        except (OSError, TypeError):  # another platform: what there is has to do
            continue
    return tuple(found)


def _process_symbol(name: str) -> int | None:
    """Return the address of *name* in the running process, or None."""
    for library in _libraries():
        try:
            return ctypes.cast(getattr(library, name), ctypes.c_void_p).value
        except AttributeError:
            continue
    return None


def _resolve(names: Iterable[str], symbols: Mapping[str, int]) -> dict[str, int]:
    addresses: dict[str, int] = {}
    missing: list[str] = []
    for name in names:
        address = symbols.get(name) or _registered.get(name) or _process_symbol(name)
        if address:
            addresses[name] = address
        else:
            missing.append(name)
    if missing:
        raise UndefinedSymbol(missing)
    return addresses


# --- object code to addresses -------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class CompiledModule:
    """Machine code in memory; it lives as long as this object.

    Attributes
    ----------
    source : str or callable
        The LLVM IR it was made from, or what gives it.
    addresses : dict
        Address of every function and variable that the module defines for others.
    """

    source: str | Callable[[], str] = field(repr=False)
    addresses: Mapping[str, int]
    optimized: bool = False
    _keepalive: tuple[object, ...] = field(default=(), repr=False)

    @property
    def text(self) -> str:
        """The LLVM IR it was made from."""
        return self.source if isinstance(self.source, str) else self.source()

    def address(self, name: str) -> int:
        """Return the address of the function or global *name*."""
        try:
            return self.addresses[name]
        except KeyError:
            known = ", ".join(sorted(self.addresses)) or "nothing"
            message = f"the module does not define {name!r}; it defines {known}"
            raise LoweringError(message) from None

    def assembly(self) -> str:
        """Return the host's assembly listing (generated anew: it is for people to read)."""
        with lock:
            listing: str = emitter().emit_assembly(prepared(self.text, self.optimized))
        return listing


def _declared_symbols(text: str) -> object_file.ObjectSymbols:
    """Return the symbols of a module by its text, for hosts whose objects are not ELF."""
    name = r'@("[^"]+"|[\w.$-]+)'
    declared = re.findall(rf"^declare\b[^\n]*?{name}\s*\(", text, re.M)
    declared += re.findall(rf"^{name}\s*=\s*external\b", text, re.M)
    defined = re.findall(rf"^define\s+(?!internal|private)[^\n]*?{name}\s*\(", text, re.M)
    return object_file.ObjectSymbols(
        frozenset(d.strip('"') for d in defined),
        frozenset(d.strip('"') for d in declared if not d.startswith("llvm.")),
    )


def link_object(
    data: bytes,
    symbols: Mapping[str, int] | None = None,
    *,
    text: str | Callable[[], str] = "",
    optimized: bool = False,
) -> CompiledModule:
    """Load object code made by `object_code` and resolve its external symbols by name.

    Parameters
    ----------
    data
        What `object_code` returned, in this process or another on the same kind of host.
    symbols
        Addresses of external symbols; they go before registered ones and those of the process.
    text
        The module's IR or what gives it, for listings.

    Raises
    ------
    UndefinedSymbol
        If a symbol has no address.  Nothing was loaded then.
    """
    if object_file.is_elf64(data):
        found = object_file.read(data)
        names = found.names()
    else:
        found = None
        names = _declared_symbols(text if isinstance(text, str) else text())
    resolved = _resolve(names.undefined, symbols or {})
    loaded = loader.load(data, found, resolved) if found else None
    addresses, owner = loaded or engines.load(data, names.defined, resolved)
    keep = tuple(_keep[name] for name in resolved if name in _keep)
    return CompiledModule(text, addresses, optimized, (owner, keep))


def compile_module(
    text: str, symbols: Mapping[str, int] | None = None, *, optimize: bool = False
) -> CompiledModule:
    """Compile a module of LLVM IR text for the host and load it.

    Parameters
    ----------
    text
        The module.  Triple and data layout are set here.
    symbols
        Addresses of external symbols by name.
    optimize
        Run LLVM's O2 first; our own code needs it seldom.

    Raises
    ------
    LoweringError
        If LLVM refuses the text, with its message and the line; `UndefinedSymbol` if a symbol has
        no address.

    Examples
    --------
    >>> import ctypes
    >>> module = compile_module("define i64 @twice(i64 %x) { %y = add i64 %x, %x  ret i64 %y }")
    >>> ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(module.address("twice"))(21)
    42
    """
    return link_object(object_code(text, optimize), symbols, text=text, optimized=optimize)


def compile_library(
    label: str,
    text: Callable[[], str],
    symbols: Mapping[str, int] | None = None,
    *,
    optimize: bool = False,
    quick: bool | None = None,
) -> CompiledModule:
    """As `compile_module` for a part of the run time, whose text need not be made if it is kept.

    Parameters
    ----------
    label
        With ltensor's own sources it determines the text.
    text
        Gives the module.
    quick
        Whether it is compiled without what takes long and seldom gains anything; None: if it is
        long, or has no sums.
    """
    sources = object_cache.sources()
    if sources is None:
        made = text()
        name = object_cache.key(made, str(optimize), str(quick), *identity())
        return link_object(
            kept_object(name, lambda: made, optimize, quick), symbols, text=made, optimized=optimize
        )
    name = object_cache.key("library", label, sources, str(optimize), *identity())
    return link_object(
        kept_object(name, text, optimize, quick), symbols, text=text, optimized=optimize
    )
