"""Ctrl-C while native code waits for Python: it comes when the call is over."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_interrupt() -> Iterator[None]:
    """Let an interrupt from the keyboard wait until the end of a ``with`` block, and a bit longer.

    For functions that native code calls: an exception cannot pass through it.
    """
    came: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    # signals come to the main thread only; None is a handler that Python does not know
    if before is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            # later: here the exception would be lost
            threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT)).start()
