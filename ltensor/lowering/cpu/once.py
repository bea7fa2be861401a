"""What a process makes once, whichever thread asks first (layer 4).

`functools.cache` lets two threads make the same thing and forgets one of the two. Code of which
others hold bare addresses would be gone while it runs, and there would be two pools of memory.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from ltensor.lowering.cpu.machine import lock

__all__ = ["Once"]

_Made = TypeVar("_Made")


class Once(Generic[_Made]):
    """A function whose results are made under the lock of compiles, and stay for ever.

    Parameters
    ----------
    make : callable
        Its results are never None.

    Examples
    --------
    >>> @Once
    ... def half(x: int) -> float:
    ...     return x / 2
    >>> half(3), half.made
    (1.5, {(3,): 1.5})
    """

    def __init__(self, make: Callable[..., _Made]) -> None:
        functools.update_wrapper(self, make)
        self._make = make
        #: results by arguments
        self.made: dict[tuple[Hashable, ...], _Made] = {}
        self._kept: list[_Made] = []

    def __call__(self, *key: Hashable) -> _Made:
        """Return what is there, or make it."""
        found = self.made.get(key)
        if found is not None:
            return found
        with lock:
            found = self.made.get(key)
            if found is None:
                # A signal's handler may ask as well, in the middle of this: then both are in use.
                made = self._make(*key)
                self._kept.append(made)
                found = self.made.setdefault(key, made)
        return found
