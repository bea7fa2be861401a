"""Where in the user's program a node of the graph was made.

Layer 0.  Every node remembers it, so `capture` must be cheap: it keeps code objects and instruction
offsets, and everything that reads like a traceback (line numbers, text of lines) is worked out by
`Source` when somebody asks.
"""

from __future__ import annotations

import linecache
import os
import runpy
import sys
from types import CodeType
from typing import Any, NamedTuple

from ltensor.config import config

__all__ = ["Frame", "Source", "capture"]


class Frame(NamedTuple):
    """One place in the user's program."""

    filename: str
    lineno: int
    function: str

    @property
    def text(self) -> str:
        """The line of source, without its indentation; empty when it cannot be read."""
        return linecache.getline(self.filename, self.lineno).strip()

    def format(self) -> str:
        """Give the place in the form of a Python traceback, ending in a newline."""
        line = f'  File "{self.filename}", line {self.lineno}, in {self.function}\n'
        return line + (f"    {self.text}\n" if self.text else "")


class Source:
    """The user's frames at the time a node was made, innermost first.

    Examples
    --------
    >>> here = capture()
    >>> print(here.format(), end="")                        # doctest: +SKIP
      File "model.py", line 12, in <module>
        z = x + y
    >>> here.location()                                     # doctest: +SKIP
    'model.py:12'
    """

    __slots__ = ("_frames", "_raw")

    def __init__(self, raw: tuple[Any, ...] = (), frames: tuple[Frame, ...] | None = None) -> None:
        # Flat (code, offset, code, offset, ...): one object instead of one per frame.
        self._raw = raw
        self._frames = frames

    @property
    def frames(self) -> tuple[Frame, ...]:
        """The frames, innermost first."""
        if self._frames is None:
            pairs = zip(self._raw[::2], self._raw[1::2], strict=True)
            self._frames = tuple(_frame(code, offset) for code, offset in pairs)
            self._raw = ()
        return self._frames

    @property
    def innermost(self) -> Any:
        """Equal for sources in the same place, cheaper than ``frames``."""
        return (id(self._raw[0]), self._raw[1]) if self._raw else self.frames[:1]

    def format(self) -> str:
        """Give the frames in the form of a Python traceback, innermost last."""
        return "".join(frame.format() for frame in reversed(self.frames))

    def location(self) -> str:
        """Give the innermost place as ``file.py:12``."""
        frame = self.frames[0]
        return f"{os.path.basename(frame.filename)}:{frame.lineno}"

    def __repr__(self) -> str:
        return f"<Source {self.location()}>"

    # Code objects cannot be pickled; and nobody needs a copy of what never changes.
    def __reduce__(self) -> tuple[Any, ...]:
        return Source, ((), self.frames)

    def __copy__(self) -> Source:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Source:
        return self


def _frame(code: CodeType, offset: int) -> Frame:
    lineno = code.co_firstlineno
    for start, end, line in code.co_lines():
        if start <= offset < end and line is not None:
            lineno = line
            break
    return Frame(code.co_filename, lineno, code.co_name)


_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_RUNPY = runpy.__file__


class _OwnFiles(dict[str, bool]):
    """Says by file name whether a frame is ours (or Python's start-up) and to be left out.

    Keyed by name and not by code object: the hash of a text is kept in it, that of a code object
    is computed from its parts each time.
    """

    def __missing__(self, filename: str) -> bool:
        own = filename.startswith((_PACKAGE, "<frozen ")) or filename == _RUNPY
        if not own and not os.path.isabs(filename):
            own = os.path.abspath(filename).startswith(_PACKAGE)
        self[filename] = own
        return own


_own = _OwnFiles()


def is_own(filename: str) -> bool:
    """Whether a file of Python code is ltensor's (or Python's start-up) and not the user's."""
    return _own[filename]


def capture() -> Source | None:
    """Remember where the user's program is now; None when no frame is the user's.

    At most ``config.traceback.limit`` frames are kept (-1: all of them).
    """
    # Some 0.1 us a frame: the loop is written for speed.
    left = config.__dict__["traceback"].__dict__["limit"]
    own = _own
    raw: list[Any] = []
    frame = sys._getframe(1)
    while frame is not None and left:
        code = frame.f_code
        if not own[code.co_filename]:
            raw += (code, frame.f_lasti)
            left -= 1
        frame = frame.f_back  # type: ignore[assignment]
    return Source(tuple(raw)) if raw else None
