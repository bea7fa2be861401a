"""What the README shows works as it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from seeds.runner import child_environment

README = (Path(__file__).resolve().parent.parent / "README.md").read_text()


def test_the_two_commands_stand_on_lines_of_their_own() -> None:
    lines = README.splitlines()
    assert "pip install . && ltensor run examples/char_rnn.py" in lines
    assert "pip install '.[test]' && pytest -n auto" in lines


def test_tour() -> None:
    """Run all Python blocks in order, printing the calls whose results the README tells."""
    program = "import numpy as np\n" + "\n".join(re.findall(r"```python\n(.*?)```", README, re.S))
    wanted = []
    for line in program.splitlines():
        call = re.match(r"(\w+\(.*\))  +# (.*)", line)
        if call:
            program = program.replace(line, f"print(repr({call[1]}))")
            wanted.append(call[2].split(", and")[0])
    assert len(wanted) == 3
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=child_environment()
    )
    assert done.returncode == 0, done.stderr
    spaces = re.compile(r"\s+")
    found = [spaces.sub("", line) for line in done.stdout.splitlines()]
    assert found == [spaces.sub("", line) for line in wanted]
