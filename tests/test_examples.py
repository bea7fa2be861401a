"""Every example runs through ``ltensor run``; each checks its own results."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from seeds.runner import child_environment

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))
# Only the training of char_rnn takes long enough to be cut short here.
ARGUMENTS = {"char_rnn": ["--steps", "25", "--hidden", "32", "--seq", "16", "--sample", "40"]}


def run_example(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run an example as a user would."""
    return subprocess.run(
        [sys.executable, "-m", "ltensor", "run", str(EXAMPLES / f"{name}.py"), *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=child_environment(),
        timeout=120,
    )


@pytest.mark.parametrize("name", NAMES)
def test_example(name: str) -> None:
    done = run_example(name, *ARGUMENTS.get(name, []))
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.strip(), "an example prints something"
    assert done.stderr == ""


def test_char_rnn_reports() -> None:
    done = run_example("char_rnn", *ARGUMENTS["char_rnn"])
    assert done.returncode == 0, done.stderr[-4000:]
    for words in ("compiled in", "steps per second", "loss", "at last"):
        assert words in done.stdout
    assert "\r" not in done.stdout, "no line is redrawn where nobody watches"


def test_char_rnn_refuses_nonsense() -> None:
    done = run_example("char_rnn", "--steps", "0")
    assert done.returncode == 2
    assert "numbers from 1 on" in done.stderr
