"""Every seed program gives the real Theano 1.0.5's answers: values, dtypes, texts, errors."""

from __future__ import annotations

import pytest
from seeds import runner


def test_nothing_is_missing() -> None:
    assert len(runner.NAMES) == 62
    assert [name for name in runner.NAMES if not (runner.GOLDEN / f"{name}.json").exists()] == []


@pytest.mark.parametrize("name", runner.NAMES)
def test_program(name: str) -> None:
    found = runner.differences(name)
    assert not found, "\n".join(found)
