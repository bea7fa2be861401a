"""Text of LLVM IR to object code, from the disk cache if it is there (layer 4)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ltensor.errors import LoweringError
from ltensor.lowering.cpu import intrinsics, memory_guard, object_cache
from ltensor.lowering.cpu.machine import emitter, host, identity, llvm, lock

__all__ = ["kept_object", "object_code", "object_name", "prepared"]


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
    binding, target = llvm(), host()
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

    binding = llvm()
    options = binding.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = False
    options.slp_vectorization = False
    builder = binding.create_pass_builder(emitter(), options)
    manager = builder.getModulePassManager()
    manager.run(module, builder)
    # llvmlite resolves `_dispose` to an empty method by MRO and leaks 85 KB for each compile.
    NewPassManager._dispose(manager)
    manager.detach()


def prepared(text: str, optimize: bool) -> Any:
    """Return a llvmlite module of ``text``, ready for code generation."""
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
    return kept_object(object_name(text, optimize), lambda: text, optimize)


def object_name(text: str, optimize: bool = False) -> str:
    """Return the name under which the disk cache keeps the object code of *text*."""
    return object_cache.key(text, str(optimize), *identity())


def kept_object(
    name: str, text: Callable[[], str], optimize: bool, quick: bool | None = None
) -> bytes:
    """Return the object code kept under ``name``, else that of ``text``; see `compile_library`."""
    data = object_cache.load(name)
    if data is None:
        source = text()
        memory_guard.for_text(len(source))
        is_large = source.count("\n") > LARGE_MODULE
        if quick is None:
            quick = is_large or not _RECURRENCE.search(source)
        with lock:
            module = prepared(source, optimize)
            _reduce_strength(not quick)
            _look_around(not is_large)
            data = bytes(emitter().emit_object(module))
        object_cache.store(name, data)
    return data


#: lines of a module from which on quick code generation matters more than the last percent
LARGE_MODULE = 1000
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
        llvm().set_option("ltensor", f"-disable-lsr={int(not wanted)}")
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
            llvm().set_option("ltensor", option.format(int(value)))
        _looking = wanted
