"""Names of Theano that programs use, and programs that use them in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from seeds.runner import child_environment

NAMES = [
    line
    for line in (Path(__file__).parent / "names.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


def run(program: str, timeout: float | None = None) -> str:
    """Run a program, for so many seconds at most; gives what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=child_environment(),
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
