"""Runs whole programs, written as Theano's users wrote them, through ``python -m ltensor run``.

Every ``NN_topic.py`` beside this file asserts its own results.  Each runs in a process of its own
with floatX=float64; the ones in `FLOAT32` also with float32 and the ones in `PLAIN` also without
optimisation, which a program does not notice except in speed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
PROGRAMS = {path.stem: path for path in sorted(FOLDER.glob("[0-9][0-9]_*.py"))}

FLOAT32 = (
    "01 02 03 04 05 06 07 08 09 11 12 13 14 16 19 20 21 26 28 30 31 32 34 35 37 38 39 40 44 45 46"
)
PLAIN = "01 05 09 15 17 23 25 26 28 33 37 38 40 43"


def _selected(numbers: str) -> list[str]:
    wanted = set(numbers.split())
    return [name for name in PROGRAMS if name[:2] in wanted]


CASES = [
    *((name, "floatX=float64") for name in PROGRAMS),
    *((name, "floatX=float32") for name in _selected(FLOAT32)),
    *((name, "mode=FAST_COMPILE") for name in _selected(PLAIN)),
    *((name, "optimizer=None") for name in _selected(PLAIN)),
]


@pytest.mark.parametrize(("name", "flags"), CASES, ids=[f"{n}-{f}" for n, f in CASES])
def test_program(name: str, flags: str) -> None:
    environment = dict(os.environ, THEANO_FLAGS=flags, OMP_NUM_THREADS="1")
    environment["PYTHONPATH"] = os.pathsep.join(
        part for part in (str(ROOT), os.environ.get("PYTHONPATH")) if part
    )
    done = subprocess.run(
        [sys.executable, "-m", "ltensor", "run", str(PROGRAMS[name])],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def test_all_found() -> None:
    assert len(PROGRAMS) >= 40
