"""The host and LLVM's view of it: llvmlite is imported and set up here, on first use (layer 4).

What LLVM says of the host is kept on the disk (`host_record`): a process that finds all its code
there needs no LLVM.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import sys
import threading
from dataclasses import astuple, dataclass
from types import ModuleType
from typing import Any

from ltensor.lowering.cpu import host_record, memory_guard

__all__ = ["Host", "emitter", "fresh_machine", "host", "identity", "llvm", "lock"]

# Features that LLVM takes away together with one (it knows more; these are what we look at).
_DEPENDENT_FEATURES = {
    "avx": ("avx2", "fma"),
    "avx2": ("avx512f",),
    "fma": ("avx512f",),
    "avx512f": ("avx512bw", "avx512dq", "avx512vl"),
}
_AVX512 = ("avx512f", "avx512bw", "avx512dq", "avx512vl")


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
lock = threading.RLock()


#: the locks that a fork under way has taken
_taken: list[Any] = []


def _before_fork() -> None:
    # llvmlite's own as well: what is dropped elsewhere goes by it alone
    library = getattr(sys.modules.get("llvmlite.binding.ffi"), "lib", None)
    for one in (lock, getattr(library, "_lock", None)):
        if one is not None:
            one.__enter__()
            _taken.append(one)


def _after_fork() -> None:
    # the list is emptied before any is let go: another thread that waits to fork then fills it anew
    mine = _taken[::-1]
    _taken.clear()
    for one in mine:
        one.__exit__(None, None, None)


if hasattr(os, "register_at_fork"):
    # A fork waits for a compile that is under way, so the child never inherits a half-changed LLVM,
    # nor a lock whose holder it lacks.
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )


@functools.cache
def llvm() -> ModuleType:
    """Import and initialise llvmlite (30 ms, once)."""
    try:
        import llvmlite.binding as binding
    except OSError:
        # what llvmlite says does not tell a lack of memory from that of the library
        memory_guard.require(memory_guard.LIBRARY)
        raise
    memory_guard.for_text(0)
    with lock:
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
    return _known()[0]


@functools.cache
def _known() -> tuple[Host, str]:
    """Return the host and LLVM's version, from the disk if they were found out before."""
    restriction = os.environ.get("LTENSOR_CPU_FEATURES", "")
    name = host_record.name(restriction)
    kept = host_record.load(name)
    if kept is not None:
        with contextlib.suppress(TypeError, ValueError):
            *fields, version = kept
            return Host(*fields), str(version)
    found, version = _found(restriction), str(llvm().llvm_version_info)
    host_record.store(name, [*astuple(found), version])
    return found, version


def _found(restriction: str) -> Host:
    """Ask LLVM what the host is."""
    binding = llvm()
    triple = binding.get_process_triple()
    found = binding.get_host_cpu_features()
    features = dict(found)
    flat = found.flatten()
    flat += _restrict(features, restriction)
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


def _is_placed_here(triple: str) -> bool:
    """Say whether `loader` puts objects for *triple* into memory, not MCJIT."""
    return triple.startswith("x86_64") and "linux" in triple


def _new_target_machine(triple: str, cpu: str, features: str) -> Any:
    # MCJIT wants LLVM's large code model, in which every constant's address is loaded first. In the
    # small one constants are operands of instructions: less code, and gammaln in 0.85 of the time.
    model = {"reloc": "pic", "codemodel": "small"} if _is_placed_here(triple) else {"jit": True}
    # opt=3 costs no more than 1 in code generation; opt=0 aborts on AVX-512 masks.
    target = llvm().Target.from_triple(triple)
    return target.create_target_machine(cpu=cpu, features=features, opt=3, **model)


def fresh_machine() -> Any:
    """Return a target machine of the host's, for whoever takes it for its own."""
    target = host()
    return _new_target_machine(target.triple, target.cpu, target.features)


@functools.cache
def emitter() -> Any:
    """Return the target machine that writes all objects; no engine may own it."""
    return fresh_machine()


@functools.cache
def identity() -> tuple[str, ...]:
    """Return what code generation depends on besides the module: the machine, LLVM's version."""
    import llvmlite

    machine, version = _known()
    model = "small" if _is_placed_here(machine.triple) else "default"
    return machine.cpu, machine.features, machine.triple, model, llvmlite.__version__, version
