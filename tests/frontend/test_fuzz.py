"""Random graphs (`fuzz_graphs`) in child processes: a crash is a failure that names its seed.

``python tests/frontend/fuzz_graphs.py FIRST COUNT`` tries more; ``pytest -m slow`` some thousands.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("fuzz_graphs.py")
ROOT = PROGRAM.parents[2]


def run(first: int, count: int) -> None:
    """Try ``count`` seeds from ``first``."""
    child = subprocess.run(
        [sys.executable, str(PROGRAM), str(first), str(count)],
        capture_output=True, text=True, cwd=ROOT, env=_environment(), check=False,
    )  # fmt: skip
    lines = child.stdout.splitlines()
    failures = [line for line in lines if line.startswith("FAILED")]
    if child.returncode < 0:
        failures.append(f"signal {-child.returncode} in {lines[-1] if lines else 'the import'}")
    report = "\n".join([*failures, child.stderr[-2000:]])
    assert not failures, report
    assert child.returncode == 0, report


def _environment() -> dict[str, str]:
    import os

    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{path}" if path else str(ROOT)}


@pytest.mark.parametrize("part", range(5))
def test_random_graphs(part: int) -> None:
    run(100_000 + 30 * part, 30)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_many_random_graphs(part: int) -> None:
    run(200_000 + 200 * part, 200)
