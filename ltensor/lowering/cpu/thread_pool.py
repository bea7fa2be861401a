"""The threads of compiled code: a pool (`pool_text`) that runs chunks of a loop (layer 4).

One job at a time: a function over a range of steps, which the calling thread and the workers claim
chunk by chunk. The caller never waits for a worker that has not claimed anything, so a machine
with other work to do costs little. A job within a job, or of a second caller, runs in its caller's
thread alone. Workers are started with the first job, spin for some ten microseconds after the
last one and then sleep; signals are not theirs.

The number of threads is `count()`: the flag ``num_threads``, else ``LTENSOR_NUM_THREADS``, else
``OMP_NUM_THREADS``, else the processors that this process may use (its control group's quota
counts). Where POSIX threads and semaphores are not to be had (anything but Linux has not been
tried) it is 1.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import os
import sys
from pathlib import Path

from ltensor.config import config
from ltensor.lowering.cpu import jit
from ltensor.lowering.cpu.interrupts import no_interrupt
from ltensor.lowering.cpu.once import Once
from ltensor.lowering.cpu.pool_text import FIRST_TEXT, MOST_THREADS, WORTH_WAKING, module_text

__all__ = ["DECLARATIONS", "MOST_THREADS", "WORTH_WAKING", "address", "count", "words"]

#: Declarations for modules that share loops: the word that holds the address of ``lt_parallel``.
DECLARATIONS = "@lt_parallel_word = external global ptr"

#: What the functions of the pool return: done, out of memory, nothing done (run it yourself).
DONE, NO_MEMORY, REFUSED = 0, 1, 2


def has_threads() -> bool:
    """Whether the pool can be had on this system."""
    return sys.platform.startswith("linux")


def count() -> int:
    """How many threads compiled code may use, the caller's included."""
    if not has_threads():
        return 1
    wanted = int(config.num_threads)
    if wanted <= 0:
        for name in ("LTENSOR_NUM_THREADS", "OMP_NUM_THREADS"):
            text = os.environ.get(name, "").split(",")[0].strip()
            if text.isdigit() and int(text) > 0:
                wanted = int(text)
                break
        else:
            wanted = min(len(os.sched_getaffinity(0)), _quota())
    return max(1, min(wanted, MOST_THREADS))


@functools.cache
def _quota(folder: str = "/sys/fs/cgroup") -> int:
    """How many processors' time the process's control group grants, rounded up.

    A container often sees all processors of its host and may use the time of a few.
    """
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            words = " ".join(Path(folder, name).read_text() for name in names).split()
            if int(words[0]) > 0:
                return max(1, -(-int(words[0]) // int(words[1])))
        except (OSError, ValueError, IndexError, ZeroDivisionError):  # no such group, or "max"
            continue
    return MOST_THREADS


@Once
def _module() -> jit.CompiledModule:
    """The pool in memory; it stays there."""
    module = jit.compile_library("pool of threads", module_text)
    prototype = ctypes.CFUNCTYPE(None)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=prototype(module.address("lt_pool_forget")))
    atexit.register(prototype(module.address("lt_pool_stop")))
    return module


def address(symbol: str) -> int:
    """The address of a function of the pool, whose jobs use `count` threads from now on."""
    module = _module()
    ctypes.c_int64.from_address(module.address("lt_pool_limit")).value = count()
    return module.address(symbol)


#: words that hold the addresses of ``lt_parallel`` and ``lt_parallel_for``, by symbol
_words = {name: ctypes.c_void_p() for name in ("lt_parallel_word", "lt_parallel_for_word")}


def _start() -> None:
    """Compile the pool: from now on calls go there at once."""
    for name, word in _words.items():
        word.value = address(name.removesuffix("_word"))


# Python's lock is held when generated code calls this, and kept
@ctypes.PYFUNCTYPE(None)
def _load() -> None:
    # without a pool, loops stay with one thread; nobody above could take an exception
    with no_interrupt(), contextlib.suppress(Exception):
        _start()


@Once
def _first() -> jit.CompiledModule:
    """What the words hold until the pool is there."""
    symbols = {"lt_pool_load": ctypes.cast(_load, ctypes.c_void_p).value or 0, **_addresses()}
    module = jit.compile_library("first call of the pool", lambda: FIRST_TEXT, symbols)
    for name, word in _words.items():
        word.value = module.address(name.replace("_word", "_first"))
    return module


def _addresses() -> dict[str, int]:
    return {name: ctypes.addressof(word) for name, word in _words.items()}


def words() -> dict[str, int]:
    """Addresses of the words through which generated code calls the pool, by symbol.

    The pool is compiled when one is first called.
    """
    if _module.made:
        _start()  # the number of threads may be another
    else:
        _first()
    return _addresses()
