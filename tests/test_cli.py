from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from seeds.runner import child_environment

from ltensor import cli


def ltensor(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    return subprocess.run(
        [sys.executable, "-m", "ltensor", *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=child_environment(),
    )


def test_run_is_like_python(tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("VALUE = 3\n")
    program = tmp_path / "prog.py"
    program.write_text(
        "import sys, pickle, theano\n"
        "from neighbour import VALUE\n"
        "class Thing: pass\n"
        "pickle.loads(pickle.dumps(Thing()))\n"
        "print(sys.argv[1:], __name__, __file__ == sys.argv[0], VALUE)\n"
        "sys.exit(int(sys.argv[2]))\n"
    )
    done = ltensor("run", str(program), "--flag", "7", "-x")
    assert done.stdout == "['--flag', '7', '-x'] __main__ True 3\n", done.stderr
    assert done.returncode == 7


def test_run_shows_the_programs_traceback_only(tmp_path: Path) -> None:
    program = tmp_path / "prog.py"
    program.write_text("def f():\n    return 1 / 0\nf()\n")
    done = ltensor("run", str(program))
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "cli.py" not in done.stderr
    program.write_text("x = (\n")
    done = ltensor("run", str(program))
    assert done.returncode == 1
    assert "SyntaxError" in done.stderr


@pytest.mark.parametrize("command", ["run", "dump"])
def test_missing_file(command: str) -> None:
    done = ltensor(command, "no_such_file.py")
    assert done.returncode == 2
    assert "there is no file no_such_file.py" in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_stage() -> None:
    done = ltensor("dump", "x.py", "--stage", "soup")
    assert done.returncode == 2
    assert "choose from" in done.stderr


def test_program_and_function(tmp_path: Path) -> None:
    odd = tmp_path / "a:b"
    odd.write_text("")
    assert cli._program_and_function("prog.py:train") == ("prog.py", "train")
    assert cli._program_and_function("prog.py") == ("prog.py", None)
    assert cli._program_and_function(str(odd)) == (str(odd), None)


def test_version() -> None:
    assert ltensor("--version").stdout.startswith("ltensor 0.")
