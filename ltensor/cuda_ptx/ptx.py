"""LLVM text to PTX.

LLVM has no error return for what it cannot lower: it ends the process. So the text is verified and
its intrinsics are checked first, and `compile_guarded` runs the code generator in a child process
for tests of new lowerings.
"""

from __future__ import annotations

import functools
import os
import re
import threading
from typing import Any

from ltensor.cuda_ptx import intrinsics
from ltensor.errors import LoweringError

DEFAULT_ARCH = "sm_80"
_TRIPLE = "nvptx64-nvidia-cuda"
_ARCH = re.compile(r"sm_(\d+)[af]?$")
#: what LLVM 22 knows and is of use; an unknown name would only print a warning and go on
_OLDEST, _NEWEST = 70, 121

_lock = threading.RLock()


@functools.cache
def _binding() -> Any:
    import llvmlite.binding as binding

    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    return binding


@functools.cache
def _machine(arch: str) -> Any:
    match = _ARCH.match(arch)
    if match is None or not _OLDEST <= int(match[1]) <= _NEWEST:
        raise LoweringError(
            f"unknown GPU architecture {arch!r}; use sm_70 to sm_121, for example sm_80"
        )
    target = _binding().Target.from_triple(_TRIPLE)
    return target.create_target_machine(cpu=arch, opt=3)


def compile_text(text: str, arch: str = DEFAULT_ARCH) -> str:
    """PTX of a module of LLVM text.

    The ``.version`` is the lowest that the architecture needs, so that old drivers take it.

    Raises
    ------
    LoweringError
        If LLVM refuses the text, or it holds an intrinsic that would end the process.
    """
    foreign = intrinsics.unsupported(text)
    if foreign:
        raise LoweringError(f"intrinsics not known to the PTX back end: {', '.join(foreign)}")
    with _lock:
        machine = _machine(arch)
        try:
            module = _binding().parse_assembly(text)
            module.triple = _TRIPLE
            module.data_layout = str(machine.target_data)
            module.verify()
        except RuntimeError as error:
            raise LoweringError(str(error)) from None
        ptx: str = machine.emit_assembly(module)
    return ptx


def compile_guarded(text: str, arch: str = DEFAULT_ARCH) -> str:
    """`compile_text` in a forked child: an abort of LLVM becomes an exception.

    Raises
    ------
    LoweringError
        Also if the child dies.
    """
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(read_end)
            with os.fdopen(write_end, "w") as sink:
                try:
                    sink.write("+" + compile_text(text, arch))
                except LoweringError as error:
                    sink.write("-" + str(error))
            status = 0
        finally:
            os._exit(status)
    os.close(write_end)
    with os.fdopen(read_end) as source:
        answer = source.read()
    _, status = os.waitpid(child, 0)
    if answer.startswith("+") and status == 0:
        return answer[1:]
    if answer.startswith("-"):
        raise LoweringError(answer[1:])
    raise LoweringError(f"LLVM ended the process that compiled PTX (status {status})")
