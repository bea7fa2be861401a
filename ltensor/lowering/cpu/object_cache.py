"""Object code on disk, by content: a process need not compile what an earlier one has compiled.

A file is named by the hash of the module's text and of all that code generation depends on (a
part of the run time by its label and ltensor's source files, a plan of `ltensor.runtime.plans` by
its graph), and begins with the hash of its own content, so that a damaged one is noticed and made
anew. Writers write to a file of their own and rename it; there is no lock. A folder that cannot be
written, or a full disk, only means that nothing is kept.

``LTENSOR_CACHE=0`` turns it off, ``LTENSOR_CACHE_DIR`` says where it is.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import time
from pathlib import Path

from ltensor.config import IMPORTED

#: bytes that the folder may take; the least recently written half goes when it is exceeded
LIMIT = 256 << 20
#: how many files are written between two looks at the folder's size
CHECK_EVERY = 64
#: seconds after which an unfinished file is taken for that of a writer that was killed
ABANDONED = 3600

#: endings of the files and what they hold
_KINDS = {".o": "object code", ".plan": "plans", ".host": "processors"}

# the first look comes sooner or later: many short processes do not write without end
_written = os.getpid() % CHECK_EVERY


def folder() -> Path | None:
    """Where object code is kept; None if the cache is off."""
    if os.environ.get("LTENSOR_CACHE", "1").lower() in ("0", "off", "false", "no"):
        return None
    given = os.environ.get("LTENSOR_CACHE_DIR")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "ltensor"


#: the folder of the package `ltensor`
PACKAGE = Path(__file__).parents[2]


@functools.cache
def sources() -> str | None:
    """A hash of ltensor's source files by path, size and time.

    None if they are no files, or were changed since this process imported some of them.
    """
    found: list[tuple[str, int, int]] = []
    folders = [str(PACKAGE)]
    try:
        while folders:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.name.endswith(".py"):
                        status = entry.stat()
                        if status.st_mtime > IMPORTED:
                            return None
                        found.append((entry.path, status.st_size, status.st_mtime_ns))
                    elif entry.is_dir() and entry.name != "__pycache__":
                        folders.append(entry.path)
    except OSError:
        return None
    return hashlib.blake2b(repr(sorted(found)).encode(), digest_size=20).hexdigest()


def key(*parts: str) -> str:
    """The name of the entry for a module and the settings it was compiled with."""
    digest = hashlib.blake2b(digest_size=20)
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def load(name: str, kind: str = "o") -> bytes | None:
    """What an entry holds, or None if there is none that is whole.

    Parameters
    ----------
    name : str
        Made by `key`.
    kind : str
        ``'o'`` for object code, ``'plan'`` for compiled functions (`ltensor.runtime.plans`),
        ``'host'`` for what LLVM says of the processor (`host_record`).
    """
    where = folder()
    if where is None:
        return None
    try:
        data = (where / f"{name}.{kind}").read_bytes()
    except OSError:
        return None
    check, code = data[:20], data[20:]
    return code if hashlib.blake2b(code, digest_size=20).digest() == check else None


def store(name: str, code: bytes, kind: str = "o") -> None:
    """Keep object code, or the plan of a compiled function; failing to is no error."""
    global _written
    where = folder()
    if where is None:
        return
    import tempfile  # not every process writes, and it brings a dozen modules

    temporary = None
    try:
        where.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=where, prefix=".new-")
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.blake2b(code, digest_size=20).digest() + code)
        os.replace(temporary, where / f"{name}.{kind}")
        temporary = None
    except OSError:
        pass
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
    _written += 1
    if _written % CHECK_EVERY == 0:
        _drop_unfinished(ABANDONED)
        prune(LIMIT)


def size() -> tuple[int, int]:
    """Number of entries and bytes."""
    entries = _entries()
    return len(entries), sum(bytes_ for _, bytes_, _ in entries)


def inventory() -> list[tuple[str, int, int]]:
    """What is kept: kind, number of entries, bytes."""
    found = dict.fromkeys(_KINDS, (0, 0))
    for _, bytes_, path in _entries():
        count, total = found[path.suffix]
        found[path.suffix] = count + 1, total + bytes_
    return [(_KINDS[suffix], *numbers) for suffix, numbers in found.items()]


def clear() -> int:
    """Delete all entries, and what writers that were killed left; returns how many entries went."""
    removed = prune(-1)
    _drop_unfinished(0)
    return removed


def _drop_unfinished(age: float) -> None:
    """Delete files of writers that were killed, from an age in seconds on."""
    where = folder()
    if where is None or not where.is_dir():
        return
    latest = time.time() - age
    for path in where.glob(".new-*"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime <= latest:
                path.unlink()


def _entries() -> list[tuple[float, int, Path]]:
    where = folder()
    found = []
    if where is not None and where.is_dir():
        for path in where.iterdir():
            if path.suffix not in _KINDS:
                continue
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
    return sorted(found)


def prune(limit: int) -> int:
    """Delete the oldest entries if there are more than ``limit`` bytes; returns how many went."""
    entries = _entries()
    total = sum(bytes_ for _, bytes_, _ in entries)
    removed = 0
    if total <= limit:
        return 0
    for _, bytes_, path in entries:
        if total <= limit // 2 and limit >= 0:
            break
        with contextlib.suppress(OSError):
            path.unlink()
            removed += 1
        total -= bytes_
    return removed
