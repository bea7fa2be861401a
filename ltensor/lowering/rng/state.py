"""The native state of a Mersenne Twister stream, and its exchange with NumPy.

A stream lives in one C-contiguous uint32 buffer which the kernels advance in place: 624 words
of key, the position of the next word, and the second value of the last normal pair. NumPy's
RandomState holds the same facts plus set-up values of its binomial, which never change a draw
and are therefore left out.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

KEY_WORDS = 624
POS_WORD = 624
HAS_GAUSS_WORD = 625
GAUSS_WORD = 626  # a double: words 626 and 627

# The vector twist reads and writes the sixteen words behind the key as a guard.
STATE_WORDS = 640

StateArray = npt.NDArray[np.uint32]


def pack(random_state: np.random.RandomState, out: StateArray | None = None) -> StateArray:
    """Copy the state of a RandomState into a native buffer.

    Parameters
    ----------
    random_state
        A RandomState over MT19937 (the default one).
    out
        Buffer to fill; a new one by default.

    Returns
    -------
    numpy.ndarray
        The buffer, uint32 of `STATE_WORDS` words.

    Examples
    --------
    >>> import numpy as np
    >>> from ltensor.lowering.rng.state import pack, unpack
    >>> stream = np.random.RandomState(3)
    >>> unpack(pack(stream)).uniform() == stream.uniform()
    True
    """
    facts = random_state.get_state(legacy=False)
    if facts["bit_generator"] != "MT19937":
        raise TypeError(f"a random state must be over MT19937, not {facts['bit_generator']}")
    buffer = np.zeros(STATE_WORDS, np.uint32) if out is None else check(out)
    buffer[:KEY_WORDS] = facts["state"]["key"]
    buffer[POS_WORD] = facts["state"]["pos"]
    buffer[HAS_GAUSS_WORD] = facts["has_gauss"]
    buffer[GAUSS_WORD : GAUSS_WORD + 2].view(np.float64)[0] = facts["gauss"]
    buffer[GAUSS_WORD + 2 :] = 0
    return buffer


def unpack(buffer: StateArray) -> np.random.RandomState:
    """Make a RandomState that continues the stream of a native buffer.

    Parameters
    ----------
    buffer
        A buffer made by `pack` and possibly advanced by the kernels.

    Returns
    -------
    numpy.random.RandomState
        An independent copy of the stream.
    """
    check(buffer)
    gauss = float(buffer[GAUSS_WORD : GAUSS_WORD + 2].view(np.float64)[0])
    made = np.random.RandomState(0)
    pos, has_gauss = int(buffer[POS_WORD]), int(buffer[HAS_GAUSS_WORD])
    made.set_state(("MT19937", buffer[:KEY_WORDS].copy(), pos, has_gauss, gauss))
    return made


def check(buffer: StateArray) -> StateArray:
    """Refuse a buffer that the kernels could not work on safely."""
    if buffer.dtype != np.uint32 or buffer.shape != (STATE_WORDS,):
        raise TypeError(f"a native random state is uint32[{STATE_WORDS}]")
    if not buffer.flags.c_contiguous or buffer.ctypes.data % 8:
        raise TypeError("a native random state is contiguous and aligned to 8 bytes")
    if int(buffer[POS_WORD]) > KEY_WORDS:
        raise ValueError(f"position {int(buffer[POS_WORD])} lies outside of the key")
    return buffer
