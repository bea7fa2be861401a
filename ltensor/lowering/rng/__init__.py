"""The run time's random kernels: NumPy's legacy stream, MRG31k3p and Philox as LLVM IR text.

One module of position-independent functions named ``lt_rng_*``, compiled once per machine and
called by generated code with plain pointers and integers. Knows LLVM's text and the frozen
streams; knows nothing of ltensor's graph, of the JIT, or of Python at run time.

Conventions. A distribution parameter is a pointer and a stride in elements, 0 for one value or
1 for an array; outputs are contiguous and overlap no parameter. Every function returns an i32:
`OK`, `BAD_ARGUMENT` (NumPy's ValueError), `RANGE_OVERFLOW` (its OverflowError, of uniform) or
`OUT_OF_MEMORY`. What NumPy refuses is refused before the first draw, and the stream is as it was.
A state must not be used by two threads at once.
"""

from __future__ import annotations

from functools import cache

from ltensor.lowering.rng import (
    binomial,
    choice,
    continuous,
    discrete,
    mrg,
    mt19937,
    philox,
    pvals,
)
from ltensor.lowering.rng.builder import Module
from ltensor.lowering.rng.choice import OUT_OF_MEMORY
from ltensor.lowering.rng.continuous import BAD_ARGUMENT, OK, RANGE_OVERFLOW
from ltensor.lowering.rng.state import STATE_WORDS, pack, unpack

__all__ = [
    "BAD_ARGUMENT",
    "EXTERNALS",
    "EXTERNALS_OF_LLVM",
    "OK",
    "OUT_OF_MEMORY",
    "RANGE_OVERFLOW",
    "RUNTIME_PASSES",
    "STATE_WORDS",
    "module_text",
    "pack",
    "signatures",
    "unpack",
]

# Symbols of the C library the text declares; NumPy draws with the same libm. Code generation may
# add more of its own accord: memcpy and memset after O2, floor on processors before SSE4.1.
EXTERNALS: tuple[str, ...] = ("exp", "free", "log", "log1p", "malloc")
EXTERNALS_OF_LLVM: tuple[str, ...] = ("floor", "memcpy", "memset")

# The text keeps variables on the stack and leaves inlining to LLVM: run O2 on it, without the
# loop and SLP vectorizers (the hot loops are written with vectors). It is correct without.
RUNTIME_PASSES = True

PARTS = (mt19937, continuous, binomial, discrete, pvals, choice, mrg, philox)


@cache
def _module() -> Module:
    module = Module()
    for part in PARTS:
        part.emit(module)
    if module.externals() != EXTERNALS:
        raise AssertionError(f"symbols {module.externals()} are not the declared {EXTERNALS}")
    return module


@cache
def module_text() -> str:
    """Write the whole module.

    Returns
    -------
    str
        LLVM IR without target triple; its outside symbols are `EXTERNALS`.
    """
    return _module().text()


def signatures() -> dict[str, tuple[str, tuple[str, ...]]]:
    """List the functions of the module with their LLVM types.

    Returns
    -------
    dict
        Name to (result, parameters), for callers that declare them.

    Examples
    --------
    >>> signatures()["lt_rng_seed"]
    ('i32', ('ptr', 'i64'))
    """
    return _module().exported()
