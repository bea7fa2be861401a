"""What LLVM says of this processor, kept on the disk (layer 4).

To ask LLVM it has to be loaded, which takes longer than all else that a process does that finds
its functions on the disk. The record is named by what the system says of the processor, by LLVM's
library and by ltensor's sources, which say what is asked: another machine with the same folder,
another LLVM or another ltensor has one of its own.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from ltensor.lowering.cpu import object_cache

__all__ = ["load", "name", "store"]

_PROCESSORS = "/proc/cpuinfo"
#: what tells processors apart; the rest changes from core to core or with the clock
_FIELDS = ("vendor_id", "cpu family", "model", "stepping", "flags")


def _processor() -> list[str] | None:
    """Return the lines of the first processor that LLVM goes by; None if the system is silent."""
    try:
        with open(_PROCESSORS) as file:
            found = []
            for line in file:
                if not line.strip():
                    break
                if line.partition(":")[0].rstrip() in _FIELDS:
                    found.append(line)
    except OSError:
        return None
    return found if len(found) == len(_FIELDS) else None


def _library() -> list[str] | None:
    """Return name, size and time of LLVM's library; None if it is not where it should be."""
    import llvmlite

    found = []
    try:
        with os.scandir(os.path.join(os.path.dirname(llvmlite.__file__), "binding")) as entries:
            for entry in entries:
                if "llvmlite" in entry.name and not entry.name.endswith(".py"):
                    status = entry.stat()
                    found.append(f"{entry.path} {status.st_size} {status.st_mtime_ns}")
    except OSError:
        return None
    return [llvmlite.__version__, *sorted(found)] if found else None


def name(restriction: str) -> str | None:
    """Name the record of this processor without some features; None if it cannot be kept."""
    processor = _processor()
    library = processor and _library()
    sources = object_cache.sources()
    if not processor or not library or sources is None:
        return None
    return object_cache.key("host", sources, sys.platform, restriction, *processor, *library)


def load(name: str | None) -> list[Any] | None:
    """Return what was kept."""
    data = object_cache.load(name, "host") if name else None
    try:
        found = json.loads(data or b"")
    except ValueError:
        return None
    return found if isinstance(found, list) else None


def store(name: str | None, record: list[Any]) -> None:
    """Keep a record, if it can be kept."""
    if name:
        object_cache.store(name, json.dumps(record).encode(), "host")
