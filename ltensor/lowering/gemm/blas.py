"""Finds CBLAS by address in the library that NumPy itself brings or has loaded.

Lowering layer. Nothing is built against and nothing is required: without a usable library `find`
returns None, `reason` says why, and the own kernels do all the work.
"""

from __future__ import annotations

import ctypes
import functools
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

#: How BLAS builds spell a name: text before, text after, bits of their integers.
_SPELLINGS = (
    ("scipy_", "64_", 64),
    ("", "64_", 64),
    ("scipy_", "", 32),
    ("", "$NEWLAPACK$ILP64", 64),
    ("", "", 32),
)
_ROUTINES = tuple(
    f"{letter}{routine}" for routine in ("gemm", "gemv") for letter in ("s", "d", "c", "z")
)
_LETTERS = {"f32": "s", "f64": "d", "c64": "c", "c128": "z"}
_NARROW_CORES = ("haswell", "zen", "sandybridge", "nehalem", "prescott", "excavator", "barcelona")
_LOADED = r"/[^/\s]*(openblas|mkl_rt|blis|cblas|blas)[^/\s]*\.so[^/\s]*$"
_ACCELERATE = Path("/System/Library/Frameworks/Accelerate.framework/Accelerate")


class BlasInfo(NamedTuple):
    """A CBLAS library in this process.

    Attributes
    ----------
    path : str
        The library file.
    addresses : Mapping[str, int]
        Address of each routine found, by short name (``sgemm``); ``sgemm`` and ``dgemm`` are
        always there.
    int_bits : int
        Width of its integers, 64 or 32.
    set_num_threads, get_num_threads : int or None
        Addresses of ``void (int)`` and ``int (void)``, OpenBLAS only.
    core : str
        The family of processors that OpenBLAS took the machine for, empty if unknown.
    """

    path: str
    addresses: Mapping[str, int]
    int_bits: int
    set_num_threads: int | None
    get_num_threads: int | None
    core: str = ""

    @property
    def is_wide(self) -> bool:
        """True unless the library is known to use kernels narrower than AVX-512.

        ``OPENBLAS_CORETYPE`` in the environment can make it so, at half the speed.
        """
        return self.core.lower() not in _NARROW_CORES

    def use_threads(self, count: int) -> None:
        """Limit the library to `count` threads, for the whole process, where it can be told to.

        NumPy shares the library, so its products are limited too.
        """
        if self.set_num_threads:
            ctypes.CFUNCTYPE(None, ctypes.c_int)(self.set_num_threads)(count)

    def threads(self) -> int | None:
        """Return the present number of threads, None if unknown."""
        if not self.get_num_threads:
            return None
        return int(ctypes.CFUNCTYPE(ctypes.c_int)(self.get_num_threads)())


def product_routine(name: str, library: BlasInfo | None) -> str:
    """Return the library's product of a type (``f32``) by its short name, empty if it has none."""
    letter = _LETTERS.get(name)
    routine = f"{letter}gemm" if letter else ""
    return routine if library is not None and routine in library.addresses else ""


def find() -> BlasInfo | None:
    """Return the CBLAS of this process, or None. The search runs once and loads nothing new."""
    return _search()[0]


def reason() -> str:
    """Say which library was found, or why none was."""
    return _search()[1]


@functools.cache
def _search() -> tuple[BlasInfo | None, str]:
    seen = []
    for path in _candidates():
        try:
            library = ctypes.CDLL(str(path))
        except OSError as error:
            seen.append(f"{path.name}: {error}")
            continue
        info = _inspect(library, path)
        if info is not None:
            core = f", core {info.core}" if info.core else ""
            return info, f"{path.name}, {info.int_bits}-bit integers{core}"
        seen.append(f"{path.name}: no cblas_sgemm")
    return None, "; ".join(seen) or "NumPy brings no BLAS library and has loaded none"


def _candidates() -> Iterator[Path]:
    """Yield library files, the ones bundled with NumPy's wheel first."""
    package = Path(np.__file__).parent
    # Wheels: numpy.libs beside the package on Linux and Windows, numpy/.dylibs on macOS.
    for folder in (package.parent / "numpy.libs", package / ".dylibs"):
        if folder.is_dir():
            yield from sorted(p for p in folder.iterdir() if "openblas" in p.name)
    if sys.platform.startswith("linux"):
        yield from _mapped()
    elif sys.platform == "darwin":
        # No file there: the system keeps its libraries in a shared cache, but the name loads.
        yield _ACCELERATE


def _mapped() -> list[Path]:
    """Return BLAS libraries that are mapped into the process: distribution and conda builds."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return []
    return sorted({Path(line.split(None, 5)[5]) for line in lines if re.search(_LOADED, line)})


def _inspect(library: ctypes.CDLL, path: Path) -> BlasInfo | None:
    for before, after, bits in _SPELLINGS:
        if not _address(library, f"{before}cblas_sgemm{after}"):
            continue
        found = {r: _address(library, f"{before}cblas_{r}{after}") for r in _ROUTINES}
        addresses = {name: address for name, address in found.items() if address}
        if "dgemm" not in addresses:
            continue
        setter, getter = (
            _address(library, f"{before}openblas_{verb}_num_threads{after}")
            for verb in ("set", "get")
        )
        return BlasInfo(str(path), addresses, bits, setter, getter, _core(library, before, after))
    return None


def _core(library: ctypes.CDLL, before: str, after: str) -> str:
    address = _address(library, f"{before}openblas_get_corename{after}")
    if not address:
        return ""
    name = ctypes.CFUNCTYPE(ctypes.c_char_p)(address)()
    return name.decode() if name else ""


def _address(library: ctypes.CDLL, name: str) -> int | None:
    try:
        return ctypes.cast(library[name], ctypes.c_void_p).value
    except AttributeError:
        return None
