"""The record of a new value of a shared array, which compiled code hands to the run time.

An array of 64-bit words; `ltensor.lowering.commit` writes it, `ltensor.runtime.cell` says what is
done with it.
"""

from __future__ import annotations

from typing import Final

#: the address of the cell's words
CELL: Final = 0
#: the address of the new value
DATA: Final = 1
#: the address of the pair of block and size that it lies in, 0 if the block must stay the call's
BLOCK: Final = 2
#: not 0 if the value is in its place already
DONE: Final = 3
#: the run time's: an array that takes, or took, part in an exchange
ARRAY: Final = 4
#: bytes of the new value
BYTES: Final = 5
#: where its sizes begin, one for each dimension
DIMS: Final = 6
