"""The one place that owns llvmlite: target machine, engines, symbol table, object code (layer 4).

Text of LLVM IR goes in, machine code at an address comes out. Everything else in the package sees
only `host`, `identity`, `compile_module`, `compile_library`, `object_code`, `object_name`,
`link_object` and `register_symbol`. llvmlite is imported on first use, so that importing ltensor
does not pay for it.

Note [Engines by generation]. One MCJIT engine serves many modules: an engine of its own per
function costs 0.9 MB, a module in a shared engine 0.01 MB. MCJIT gives memory back only when a
whole engine goes, so engines are used in generations of `_MODULES_PER_ENGINE` modules: a
generation dies with its last live module.

Note [Undefined symbols]. MCJIT resolves an unknown symbol to null and says nothing, so the object
file's own symbol table is checked before it is linked. Addresses enter by name only
(``add_symbol``), never as constants in the text: object code may be cached on disk.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from ltensor.errors import LoweringError
from ltensor.lowering.cpu import intrinsics, memory_guard, object_cache, object_file

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

_MODULES_PER_ENGINE = 32

# Features that LLVM takes away together with one (it knows more; these are what we look at).
_DEPENDENT_FEATURES = {
    "avx": ("avx2", "fma"),
    "avx2": ("avx512f",),
    "fma": ("avx512f",),
    "avx512f": ("avx512bw", "avx512dq", "avx512vl"),
}
_AVX512 = ("avx512f", "avx512bw", "avx512dq", "avx512vl")


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


@dataclass(frozen=True)
class Host:
    """What code is generated for.

    Attributes
    ----------
    vector_bytes : int
        Bytes of the widest vector register worth using (64 with AVX-512, 32 with AVX2, else 16).
    """

    triple: str
    cpu: str
    features: str
    has_fma: bool
    has_avx512: bool
    vector_bytes: int
    data_layout: str


# Reentrant: a finalizer that runs during a compile may drop another engine.
_lock = threading.RLock()


def _before_fork() -> None:
    _lock.acquire()


def _after_fork() -> None:
    _lock.release()


if hasattr(os, "register_at_fork"):
    # A fork waits for a compile that is under way, so the child never inherits a half-changed LLVM.
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )


@functools.cache
def _llvm() -> ModuleType:
    """Import and initialise llvmlite (30 ms, once)."""
    import llvmlite.binding as binding

    memory_guard.for_text(0)
    with _lock:
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        binding.check_jit_execution()
        # A second scheduling, after registers are chosen: a tenth of the time, for processors that
        # do not reorder instructions themselves.
        binding.set_option("ltensor", "-disable-post-ra=1")
    return binding


def _restrict(features: dict[str, bool], restriction: str) -> str:
    """Apply a restriction such as ``-avx512f,-fma`` in place; return it in LLVM's form."""
    terms = [term.strip().lstrip("-") for term in restriction.split(",") if term.strip()]
    pending = list(terms)
    while pending:
        name = pending.pop()
        features[name] = False
        pending.extend(f for f in _DEPENDENT_FEATURES.get(name, ()) if features.get(f))
    # At the end of the list, where LLVM lets it take away all that depends on it.
    return "".join(f",-{term}" for term in terms)


@functools.cache
def host() -> Host:
    """Return what this process generates code for (computed once).

    The environment variable ``LTENSOR_CPU_FEATURES`` takes features away, for tests of what lesser
    machines run: ``-avx512f`` gives an AVX2 machine, ``-avx2,-fma`` one without FMA.
    """
    binding = _llvm()
    triple = binding.get_process_triple()
    found = binding.get_host_cpu_features()
    features = dict(found)
    flat = found.flatten()
    flat += _restrict(features, os.environ.get("LTENSOR_CPU_FEATURES", ""))
    cpu = binding.get_host_cpu_name()
    has_avx512 = all(features.get(name, False) for name in _AVX512)
    machine = _new_target_machine(triple, cpu, flat)
    is_arm = platform.machine().lower() in ("arm64", "aarch64")
    return Host(
        triple=triple,
        cpu=cpu,
        features=flat,
        has_fma=is_arm or features.get("fma", False),
        has_avx512=has_avx512,
        vector_bytes=64 if has_avx512 else 32 if features.get("avx2", False) else 16,
        data_layout=str(machine.target_data),
    )


def _new_target_machine(triple: str, cpu: str, features: str) -> Any:
    # opt=3 costs no more than 1 in code generation; opt=0 aborts on AVX-512 masks.
    target = _llvm().Target.from_triple(triple)
    return target.create_target_machine(cpu=cpu, features=features, opt=3, jit=True)


def _fresh_machine() -> Any:
    target = host()
    return _new_target_machine(target.triple, target.cpu, target.features)


@functools.cache
def _emitter() -> Any:
    """Return the target machine that writes all objects; no engine may own it."""
    return _fresh_machine()


# --- text to object code ------------------------------------------------------------------------


def _located(message: str, text: str) -> str:
    """Return LLVM's *message* with the numbers of the lines of *text* that it speaks of."""
    lines = text.splitlines()
    match = re.search(r"<string>:(\d+):", message)
    if match:
        number = int(match[1])
        if 0 < number <= len(lines):
            return f"{message.rstrip()}\nline {number}: {lines[number - 1].strip()}"
        return message
    # The verifier prints the instruction in LLVM's own spelling and without a position.
    quoted = {line.strip() for line in message.splitlines()} - {"", "}"}
    places = [
        f"line {number}: {line.strip()}"
        for number, line in enumerate(lines, 1)
        if line.split(";", 1)[0].strip() in quoted
    ]
    return "\n".join([message.rstrip(), *places[:4]])


def _first_use(name: str, text: str) -> str:
    """Return the first line of *text* that calls *name*, numbered; its declaration if none does."""
    uses = [
        (line.lstrip().startswith("declare"), number, line.strip())
        for number, line in enumerate(text.splitlines(), 1)
        if f"@{name}(" in line
    ]
    return "".join(f"line {number}: {line}" for _, number, line in sorted(uses)[:1])


_INTRINSIC = re.compile(r'@"?(llvm\.[\w.$-]+)')


def _parse(text: str) -> Any:
    """Check, parse and verify *text*; return a llvmlite module."""
    # First of all: the mere declaration of some intrinsics makes LLVM's parser abort.
    foreign = intrinsics.unsupported(set(_INTRINSIC.findall(text)))
    if foreign:
        message = f"intrinsics not known to the CPU back end: {', '.join(foreign)}"
        raise LoweringError(f"{message}\n{_first_use(foreign[0], text)}")
    binding, target = _llvm(), host()
    try:
        module = binding.parse_assembly(text)
        module.triple = target.triple
        module.data_layout = target.data_layout
        module.verify()
    except RuntimeError as error:
        raise LoweringError(_located(str(error), text)) from None
    return module


def _optimize(module: Any) -> None:
    """Run LLVM's O2 without its vectorizers, which cost most of it and find nothing in our code."""
    from llvmlite.binding.newpassmanagers import NewPassManager

    binding = _llvm()
    options = binding.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = False
    options.slp_vectorization = False
    builder = binding.create_pass_builder(_emitter(), options)
    manager = builder.getModulePassManager()
    manager.run(module, builder)
    # llvmlite resolves `_dispose` to an empty method by MRO and leaks 85 KB for each compile.
    NewPassManager._dispose(manager)
    manager.detach()


def _prepare(text: str, optimize: bool) -> Any:
    module = _parse(text)
    if optimize:
        _optimize(module)
    return module


def object_code(text: str, optimize: bool = False) -> bytes:
    """Return relocatable machine code for a module of LLVM IR, from the disk cache if it is there.

    It depends on nothing but *text*, *optimize*, `host` and LLVM's version.

    Raises
    ------
    LoweringError
        If LLVM refuses the text or the text uses an intrinsic outside the CPU's list.
    """
    return _kept(object_name(text, optimize), lambda: text, optimize)


def object_name(text: str, optimize: bool = False) -> str:
    """Return the name under which the disk cache keeps the object code of *text*."""
    return object_cache.key(text, str(optimize), *identity())


def _kept(name: str, text: Callable[[], str], optimize: bool, quick: bool | None = None) -> bytes:
    data = object_cache.load(name)
    if data is None:
        source = text()
        memory_guard.for_text(len(source))
        if quick is None:
            quick = source.count("\n") > LARGE_MODULE or not _RECURRENCE.search(source)
        with _lock:
            module = _prepare(source, optimize)
            _reduce_strength(not quick)
            _look_around(source.count("\n") <= HUGE_MODULE)
            data = bytes(_emitter().emit_object(module))
        object_cache.store(name, data)
    return data


#: lines of a module from which on quick code generation matters more than the last percent
LARGE_MODULE = 2000
#: lines of a module from which on LLVM leaves out what takes the square of a function's length
HUGE_MODULE = 2000
#: a value that is carried from step to step, other than indices and addresses
_RECURRENCE = re.compile(r"= phi (?!i64|i32|ptr)")


_reducing = True


def _reduce_strength(wanted: bool) -> None:
    """Have LLVM's loop strength reduction in what is compiled from now on, or not; under the lock.

    It takes a third of code generation and gains at most a tenth, in reductions over inner axes:
    addresses are written as base and index already. LLVM has no switch for it but a global one.
    """
    global _reducing
    if wanted != _reducing:
        _llvm().set_option("ltensor", f"-disable-lsr={int(not wanted)}")
        _reducing = wanted


#: scheduling before registers are chosen, sinking, sharing of stack slots
_QUADRATIC = ("-enable-misched={}", "-disable-machine-sink={}", "-disable-ssc={}")
_looking = True


def _look_around(wanted: bool) -> None:
    """Have LLVM's passes that look at all pairs in what is compiled from now on; under the lock.

    They gain little in straight code, and take half of the time of 30,000 lines of it, a twelfth
    of that of 2,000. Steps and gradients of LSTM and GRU nets were as fast without.
    """
    global _looking
    if wanted != _looking:
        for option, value in zip(_QUADRATIC, (wanted, not wanted, not wanted), strict=True):
            _llvm().set_option("ltensor", option.format(int(value)))
        _looking = wanted


@functools.cache
def identity() -> tuple[str, ...]:
    """Return what code generation depends on besides the module: the machine, LLVM's version."""
    import llvmlite

    machine, binding = host(), _llvm()
    versions = llvmlite.__version__, str(binding.llvm_version_info)
    return machine.cpu, machine.features, machine.triple, *versions


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
    with _lock:
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


class _Generation:
    """One engine and the names that its modules define.  See Note [Engines by generation]."""

    def __init__(self) -> None:
        binding = _llvm()
        module = binding.parse_assembly("")
        module.triple = host().triple
        # An engine owns its target machine: the emitter must never be given to one.
        self.engine = binding.create_mcjit_compiler(module, _fresh_machine())
        #: what its modules define, 0 where two of them define a name
        self.names: dict[str, int] = {}
        self.count = 0

    def accepts(self, needed: Mapping[str, int]) -> bool:
        """Say whether a module fits in: room left, and no other definition of what it needs.

        MCJIT would take a neighbour's definition for an external symbol. Two modules that define
        the same name do no harm: each was relocated when it was loaded, and addresses are read at
        once.
        """
        names = self.names
        return self.count < _MODULES_PER_ENGINE and all(
            names.get(name, address) == address for name, address in needed.items()
        )

    def add(self, data: bytes, symbols: object_file.ObjectSymbols) -> dict[str, int]:
        """Load an object and return the addresses of what it defines."""
        self.count += 1
        self.engine.add_object_file(_llvm().object_file.ObjectFileRef.from_data(data))
        self.engine.finalize_object()
        found = {name: self.engine.get_function_address(name) for name in symbols.defined}
        addresses = {
            name: address or self.engine.get_global_value_address(name)
            for name, address in found.items()
        }
        for name, address in addresses.items():
            self.names[name] = 0 if name in self.names else address
        return addresses


_current: _Generation | None = None


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
        with _lock:
            listing: str = _emitter().emit_assembly(_prepare(self.text, self.optimized))
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
    global _current
    memory_guard.for_object(len(data))
    with _lock:
        is_elf = object_file.is_elf64(data)
        if is_elf:
            names = object_file.read_symbols(data)
        else:
            names = _declared_symbols(text if isinstance(text, str) else text())
        resolved = _resolve(names.undefined, symbols or {})
        add_symbol: Callable[[str, int], None] = _llvm().add_symbol
        for name, address in resolved.items():
            add_symbol(name, address)
        generation = _current
        if generation is None or not generation.accepts(resolved):
            generation = _current = _Generation()
        addresses = generation.add(data, names)
        keep = tuple(_keep[name] for name in resolved if name in _keep)
    return CompiledModule(text, addresses, optimized, (generation, keep))


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
            _kept(name, lambda: made, optimize, quick), symbols, text=made, optimized=optimize
        )
    name = object_cache.key("library", label, sources, str(optimize), *identity())
    return link_object(_kept(name, text, optimize, quick), symbols, text=text, optimized=optimize)
