"""LLVM ends the process when it gets no memory: ask the system before, and raise MemoryError.

The address space that LLVM is about to need is reserved and given back at once. Where the system
promises more memory than there is, this always succeeds; under a limit (``ulimit -v``) or a strict
policy it fails as LLVM would.
"""

from __future__ import annotations

import mmap

#: what LLVM's library takes when it is loaded
LIBRARY = 150 << 20
#: what LLVM takes for any module, most of it for the first one
LEAST = 16 << 20
#: bytes for each byte of text (measured: 45 for long modules)
PER_TEXT_BYTE = 80
#: bytes for each byte of object code that is loaded
PER_OBJECT_BYTE = 8


def require(size: int) -> None:
    """Raise MemoryError if ``size`` bytes cannot be had.

    >>> require(1000)
    """
    try:
        mmap.mmap(-1, size).close()
    except (OSError, MemoryError, ValueError, OverflowError):
        raise MemoryError(f"not enough memory to compile: {size >> 20} MB are wanted") from None


def for_text(length: int) -> None:
    """Before a text is compiled."""
    require(LEAST + PER_TEXT_BYTE * length)


def for_object(length: int) -> None:
    """Before object code is loaded."""
    require(LEAST // 4 + PER_OBJECT_BYTE * length)
