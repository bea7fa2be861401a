from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import timeit
from pathlib import Path

from seeds.runner import child_environment

from ltensor.config import change_flags
from ltensor.errors import MissingInputError, ParseError, UnsupportedError, report
from ltensor.source import Source, capture


def here() -> Source:
    source = capture()
    assert source is not None
    return source


def deep(n: int) -> Source:
    return deep(n - 1) if n else here()


def test_frames_are_the_users() -> None:
    source = deep(2)
    names = [frame.function for frame in source.frames]
    assert names[:5] == ["here", "deep", "deep", "deep", "test_frames_are_the_users"]
    assert source.frames[0].text == "source = capture()"
    assert source.location() == f"test_source.py:{source.frames[0].lineno}"
    assert source.format().endswith("in here\n    source = capture()\n")


def test_limit() -> None:
    with change_flags(traceback__limit=2):
        assert len(deep(5).frames) == 2
    with change_flags(traceback__limit=0):
        assert capture() is None
    with change_flags(traceback__limit=-1):
        assert len(deep(20).frames) > 20


def test_it_outlives_the_process() -> None:
    source = here()
    again = pickle.loads(pickle.dumps(source))
    assert again.format() == source.format()
    assert copy.deepcopy(source) is source


def test_own_frames_are_left_out(tmp_path: Path) -> None:
    program = tmp_path / "model.py"
    program.write_text(
        "from ltensor.source import capture\n"
        "def make():\n    return (1,\n            capture())[1]\n"
        "print(make().format(), end='')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "ltensor", "run", str(program)],
        capture_output=True,
        text=True,
        env=child_environment(),
    )
    assert done.stdout == (
        f"  File \"{program}\", line 5, in <module>\n    print(make().format(), end='')\n"
        f'  File "{program}", line 4, in make\n    capture())[1]\n'
    ), done.stderr


def test_it_is_cheap() -> None:
    # 1.2 us on the machine it was written on; the limit only catches what is wrong by far.
    assert min(timeit.repeat(capture, number=2000, repeat=5)) / 2000 < 20e-6


def test_errors_pickle_and_say_where() -> None:
    class Wanted:
        source = here()

    error = MissingInputError("x was not given.", variable=Wanted)
    assert "source = capture()" in str(error)
    assert isinstance(error, ValueError)
    for each in (error, ParseError("no", 3, 4), UnsupportedError("this", "use that")):
        again = pickle.loads(pickle.dumps(each))
        assert (type(again), str(again)) == (type(each), str(each))
    assert str(UnsupportedError("this", "use that")).endswith("this; instead, use that")
    text = report("Bad.", source=Wanted.source, details=["a", "b"], fix="do not")
    assert text.startswith("Bad.\na\nb\n")
    assert text.endswith("Fix: do not")
