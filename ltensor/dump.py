"""The work of ``ltensor dump``, ``ltensor opt`` and ``ltensor info``.  Layer 6."""

from __future__ import annotations

import ctypes.util
import difflib
import os
import platform
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from typing import Any

from ltensor import hooks
from ltensor.errors import ParseError
from ltensor.ir.text import print_function
from ltensor.lowering.cpu import object_cache
from ltensor.version import __version__

__all__ = ["dump_program", "info", "optimize_file"]

#: how a comment begins in the text of a stage
_COMMENT = {"asm": "#", "ptx": "//"}


def dump_program(
    path: str,
    argv: Sequence[str] = (),
    stage: str = "opt",
    after: str | None = None,
    diff: bool = False,
    function: str | None = None,
) -> None:
    """Run a program and print the functions it compiled.

    What the program itself prints goes to the standard error, so that the output is the dump
    alone. If it fails, its traceback follows what was compiled until then.

    Parameters
    ----------
    path : str
        The program.
    argv : sequence of str
        Its arguments.
    stage : str
        ``graph``, ``opt``, ``memory``, ``kernels``, ``llvm``, ``asm`` or ``ptx``.
    after : str, optional
        Stage ``opt`` as it is after this pass.
    diff : bool
        Print what each pass changed (or the one of ``after``).
    function : str, optional
        Only the function of this name: ``name=`` of ``theano.function``, or the variable of the
        program that holds it.

    Raises
    ------
    SystemExit
        If the program fails or compiles no such function.
    """
    from ltensor import cli

    failed = False
    with hooks.recording(snapshots=True) as records, redirect_stdout(sys.stderr):
        try:
            cli.run_program(path, argv)
        except SystemExit as stop:
            failed = stop.code not in (None, 0)
        except Exception as error:
            traceback.print_exception(error)
            failed = True
    shown = [(names, r) for names, r in _named(records) if function is None or function in names]
    for number, (names, record) in enumerate(shown):
        if number:
            print()
        print(_COMMENT.get(stage, ";"), ", ".join(names))
        print(record_text(record, stage, after, diff), end="")
    if function is not None and not shown:
        known = sorted({name for names, _ in _named(records) for name in names})
        raise SystemExit(
            f"ltensor dump: no function {function!r} was compiled; there are "
            f"{', '.join(known) or 'none'}"
        )
    if failed:
        raise SystemExit(1)


def _named(records: list[hooks.CompileRecord]) -> list[tuple[list[str], hooks.CompileRecord]]:
    """The records with all names they go by: the program's variables first."""
    held: dict[int, list[str]] = {}
    for name, value in list(vars(sys.modules["__main__"]).items()):
        graph = getattr(getattr(value, "maker", None), "unoptimized", None)
        if graph is not None:
            held.setdefault(id(graph), []).append(name)
    result = []
    for record in records:
        names = held.get(id(record.graph), [])
        result.append(([*names, *([record.name] if record.name not in names else [])], record))
    return result


def record_text(
    record: hooks.CompileRecord, stage: str, after: str | None = None, diff: bool = False
) -> str:
    """The text of one compiled function at a stage, ending in a newline."""
    if stage == "graph":
        return print_function(record.graph)
    if stage == "opt":
        if diff:
            return "".join(_differences(record, after))
        return _after(record, after)
    return _lines(_STAGES[stage](record))


def _lines(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


def _ptx(record: hooks.CompileRecord) -> str:
    from ltensor.cuda_ptx import render_function

    return str(render_function(record.optimized))


_STAGES: dict[str, Callable[[hooks.CompileRecord], str]] = {
    "memory": lambda record: str(record.function.explain()),
    "kernels": lambda record: str(record.program),
    "llvm": lambda record: record.llvm,
    "asm": lambda record: str(record.module.assembly()),
    "ptx": _ptx,
}


def _pass_name(text: str) -> str:
    from ltensor.passes.manager import find

    try:
        return find(text).name
    except ValueError as error:
        raise SystemExit(f"ltensor dump: {error}") from None


def _after(record: hooks.CompileRecord, after: str | None) -> str:
    if after is None:
        return print_function(record.optimized)
    wanted = _pass_name(after)
    found = [function for name, function in record.snapshots if name == wanted]
    if not found:
        return f"; {wanted} changed nothing\n{print_function(record.optimized)}"
    return print_function(found[-1])


def _differences(record: hooks.CompileRecord, after: str | None) -> Iterator[str]:
    """What every pass changed, as a diff of texts."""
    wanted = None if after is None else _pass_name(after)
    before = print_function(record.graph)
    quiet = True
    for name, function in record.snapshots:
        text = print_function(function)
        if wanted in (None, name):
            quiet = False
            yield f"; pass {name}\n"
            lines = difflib.unified_diff(
                before.splitlines(), text.splitlines(), "before", f"after {name}", lineterm="", n=2
            )
            yield from (line + "\n" for line in lines)
        before = text
    if quiet:
        yield f"; {wanted or 'no pass'} changed {'nothing' if wanted else 'anything'}\n"


def optimize_file(path: str, passes: str) -> None:
    """Run passes on a file of textual IR (``-``: standard input) and print the result.

    Raises
    ------
    SystemExit
        If the text does not parse or a pass is unknown, with the reason.
    """
    from ltensor.ops.textual import parse_all
    from ltensor.passes.manager import run_pipeline

    shown = "<stdin>" if path == "-" else path
    if path == "-":
        text = sys.stdin.read()
    else:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    try:
        functions = parse_all(text, shown)
        results = [run_pipeline(f, passes, verify=True).function for f in functions]
    except ParseError as error:
        raise SystemExit(f"ltensor opt: {shown}: {error}") from None
    except ValueError as error:
        raise SystemExit(f"ltensor opt: {error}") from None
    print("\n".join(print_function(f) for f in results), end="")


# --------------------------------------------------------------------------------- info


def info() -> None:
    """Print versions, CPU, BLAS, GPU and caches, with a reason for what is unavailable."""
    rows = list(_info_rows())
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")


def _info_rows() -> Iterator[tuple[str, str]]:
    yield "ltensor", f"{__version__} in {os.path.dirname(os.path.abspath(__file__))}"
    yield "python", f"{platform.python_version()} {platform.python_implementation()}"
    yield "system", f"{platform.system()} {platform.machine()}"
    yield "numpy", _try(_numpy)
    yield "llvmlite", _try(_llvmlite)
    yield "cpu", _try(_cpu)
    yield "cpu features", _try(_features)
    yield "blas", _try(_blas)
    yield "scipy", _try(_scipy)
    yield "gpu driver", _try(_driver)
    yield "ptxas", _try(_ptxas)
    where = object_cache.folder()
    entries, size = object_cache.size()
    described = f"{where}, {entries} entries, {size / 1e6:.1f} MB"
    yield "cache", "off (LTENSOR_CACHE)" if where is None else described


def _try(row: Callable[[], str]) -> str:
    try:
        return row()
    except Exception as error:
        return f"unavailable: {type(error).__name__}: {error}"


def _numpy() -> str:
    import numpy as np

    return str(np.__version__)


def _llvmlite() -> str:
    import llvmlite
    import llvmlite.binding as binding

    return f"{llvmlite.__version__}, LLVM {'.'.join(map(str, binding.llvm_version_info))}"


def _cpu() -> str:
    from ltensor.lowering.cpu.jit import host

    machine = host()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{machine.cpu}, {cores} cores, vectors of {machine.vector_bytes} bytes"


_FEATURES = ("sse4.2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512vl", "avx512bf16", "neon")


def _features() -> str:
    from ltensor.lowering.cpu.jit import host

    present = {f[1:] for f in host().features.split(",") if f.startswith("+")}
    return " ".join(f for f in _FEATURES if f in present) or "none of those that matter here"


def _blas() -> str:
    from ltensor.lowering.gemm import blas

    found = blas.reason()
    return found if blas.find() is not None else f"none, own kernels do all products: {found}"


def _scipy() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("scipy")
    except PackageNotFoundError:
        return "not installed: ops of slinalg need it"


def _driver() -> str:
    names = ("libcuda.so.1", "nvcuda.dll", ctypes.util.find_library("cuda"))
    reasons = []
    for name in filter(None, names):
        try:
            library: Any = ctypes.CDLL(name)
        except OSError as error:
            reasons.append(str(error))
            continue
        status = int(library.cuInit(0))
        if status:
            return f"unavailable: {name} is there, cuInit gives error {status}"
        count, version = ctypes.c_int(), ctypes.c_int()
        library.cuDeviceGetCount(ctypes.byref(count))
        library.cuDriverGetVersion(ctypes.byref(version))
        major, minor = version.value // 1000, version.value % 1000 // 10
        return f"{name}, CUDA {major}.{minor}, {count.value} devices (not used yet)"
    return f"unavailable: {reasons[0] if reasons else 'no CUDA driver library'}"


def _ptxas() -> str:
    path = shutil.which("ptxas")
    if path is None:
        return "not found on PATH: PTX is printed but not assembled"
    done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20)
    lines = [line for line in done.stdout.splitlines() if "release" in line]
    return f"{path} {lines[-1].strip() if lines else ''}".rstrip()
