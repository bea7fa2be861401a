"""What tests of the lowering have in common."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ltensor.lowering import whole
from ltensor.lowering.cpu import chunks, thread_pool
from ltensor.lowering.rewrites import parallel


@pytest.fixture
def only_long_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nests along rows have one form, that for long ones, so that it can be counted."""
    monkeypatch.setattr(whole, "hold_short_rows", lambda b: None)


@pytest.fixture
def every_loop_is_shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Functions with several threads share every loop that may be shared, whatever its cost."""
    monkeypatch.setattr(parallel, "WORTH_SHARING", -1)
    monkeypatch.setattr(chunks, "WORTH_SHARING", -1)
    yield
    thread_pool.words()  # the limit of the environment again
