"""Every kind of check that ops and lowerings make has an exception and a message."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ltensor
from ltensor.runtime.failure_kinds import KINDS

PACKAGE = Path(ltensor.__file__).parent
USE = re.compile(
    r"""\.(?:check|guard)\((?:[^()"]|\([^()]*(?:\([^()]*\)[^()]*)*\))*?["']([a-z_]+)["']"""
)


def _uses() -> list[tuple[str, str]]:
    found = []
    for folder in ("ops", "lowering"):
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            found.extend((path.name, kind) for kind in USE.findall(path.read_text()))
    return found


USES = sorted(set(_uses()))


def test_uses_are_found() -> None:
    assert len(USES) > 20


@pytest.mark.parametrize(("where", "kind"), USES, ids=[f"{w}-{k}" for w, k in USES])
def test_kind_is_explained(where: str, kind: str) -> None:
    # what Python raises is raised again; a call that was overtaken is made again; dtypes
    assert kind in KINDS or kind in ("python", "overtaken", "bool", "int64")
