"""What native calls know of a callable besides its code: names, defaults, keys (layer 4).

An array of 64-bit words whose address the callable holds, null if there is none::

    0                     tuple of keys if results come in a dict, else 0
    1                     number of cells whose arrays must outlive a call, then address of a table
                          of the addresses of their lists
    for each input        its name as an interned string, 0 if keywords cannot mean it; the address
                          of the words of its default's cell, 0 without default; what floats it
                          takes if it is a float32 scalar

Keywords are compared by address: CPython interns those that are written in a program. Others take
the slow path.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from ltensor.runtime.cell import Cell

__all__ = ["ALWAYS", "BY_FLOATX", "EXACT", "Signature"]

#: where a callable keeps the address of its signature, and that of its entry
OFFSET: Final = 24
ENTRY_OFFSET: Final = 32
#: words before those of the inputs, and of an input
HEADER_WORDS: Final = 3
INPUT_WORDS: Final = 3
#: words of the first input
NAME_WORD: Final = HEADER_WORDS
DEFAULT_WORD: Final = HEADER_WORDS + 1
RULE_WORD: Final = HEADER_WORDS + 2
#: floats that a float32 scalar takes: what it holds exactly; Python's if floatX is float32; all
EXACT, BY_FLOATX, ALWAYS = 0, 1, 2


class Signature:
    """The words, and what they point to.

    Parameters
    ----------
    names : sequence of str or None
        Keywords of the inputs; one that two inputs have means neither.
    defaults : sequence of Cell or None
    downcast : sequence of bool or None
        The inputs' ``allow_downcast``.
    keys : sequence of str, optional
        Those of a dict of results.
    held : sequence of Cell
        Cells whose values may be replaced during a call, which goes on using the arrays it began
        with: those of a function that calls Python.

    Attributes
    ----------
    address : int
    """

    def __init__(
        self,
        names: Sequence[str | None],
        defaults: Sequence[Cell | None],
        downcast: Sequence[bool | None],
        keys: Sequence[str] | None = None,
        held: Sequence[Cell] = (),
    ) -> None:
        counts = Counter(names)
        known = [sys.intern(str(n)) if n is not None and counts[n] == 1 else None for n in names]
        self._keys = None if keys is None else tuple(keys)
        self._held = (known, list(defaults), list(held))
        self._lists = np.array([cell.list_address for cell in held], dtype=np.uint64)
        words = [0 if keys is None else id(self._keys), len(held), int(self._lists.ctypes.data)]
        for name, cell, loses in zip(known, defaults, downcast, strict=True):
            words.append(0 if name is None else id(name))
            words.append(0 if cell is None else cell.address)
            words.append({None: BY_FLOATX, False: EXACT}.get(loses, ALWAYS))
        self._words = np.array(words, dtype=np.uint64)
        self.address = int(self._words.ctypes.data)
