"""``ltensor dump``, ``opt`` and ``info``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from seeds.runner import child_environment

import ltensor as theano
import ltensor.tensor as T
from ltensor import dump, hooks
from ltensor.ops.textual import parse_all

PROGRAM = """
import theano, theano.tensor as T
print("the program speaks")
x = T.dvector("x")
train = theano.function([x], T.grad((x ** 2).sum(), x))
test = theano.function([x], x + 1, name="plus one")
"""


@pytest.fixture
def program(tmp_path: Path) -> str:
    path = tmp_path / "prog.py"
    path.write_text(PROGRAM)
    return str(path)


def ltensor(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ltensor", *arguments],
        capture_output=True, text=True, input=stdin, env=child_environment(),
    )  # fmt: skip


def test_graph_and_opt_parse_back(program: str) -> None:
    for stage in ("graph", "opt"):
        done = ltensor("dump", program, "--stage", stage)
        assert done.returncode == 0, done.stderr
        assert "the program speaks" not in done.stdout
        assert "the program speaks" in done.stderr
        functions = parse_all(done.stdout)
        assert [f.name for f in functions] == ["prog.py:5", "plus one"]
        ops = [n.op.ir_name for n in functions[0].nodes]
        assert ("pow" in ops) == (stage == "graph")


@pytest.mark.parametrize("name", ["test", "plus one"])
def test_one_function_by_either_name(program: str, name: str) -> None:
    done = ltensor("dump", program, "--function", name)
    assert done.stdout.startswith("; test, plus one\nfunc ")
    assert done.stdout.count("func ") == 1
    assert ltensor("dump", f"{program}:test").stdout == done.stdout


def test_unknown_function(program: str) -> None:
    done = ltensor("dump", program, "--function", "nobody")
    assert done.returncode == 1
    assert "there are plus one, prog.py:5, test, train" in done.stderr


def test_failing_program(tmp_path: Path) -> None:
    path = tmp_path / "prog.py"
    path.write_text(PROGRAM + "1 / 0\n")
    done = ltensor("dump", str(path))
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert done.stdout.count("func ") == 2


def test_exit_of_the_program_is_no_failure(tmp_path: Path) -> None:
    path = tmp_path / "prog.py"
    path.write_text(PROGRAM + "import sys; sys.exit(0)\n")
    assert ltensor("dump", str(path)).returncode == 0


def _record() -> hooks.CompileRecord:
    x = T.vector("x")
    with hooks.recording(snapshots=True) as records:
        theano.function([x], T.grad((T.log(1 + T.exp(x)) ** 2).sum(), x))
    (record,) = records
    return record


def test_stages() -> None:
    record = _record()
    assert "for %" in dump.record_text(record, "kernels")
    assert "define" in dump.record_text(record, "llvm")
    assert "core:" in dump.record_text(record, "asm")
    assert ".entry" in dump.record_text(record, "ptx")


def test_after_a_pass() -> None:
    record = _record()
    text = dump.record_text(record, "opt", after="canonicalize")
    assert parse_all(text)
    assert "softplus" not in dict(record.snapshots)["canonicalize"].__str__()
    assert "softplus" in dump.record_text(record, "opt", after="stabilize")
    assert "changed nothing" in dump.record_text(record, "opt", after="fills")
    with pytest.raises(SystemExit, match="there is no pass 'soup'"):
        dump.record_text(record, "opt", after="soup")


def test_differences() -> None:
    record = _record()
    text = dump.record_text(record, "opt", diff=True)
    assert "; pass canonicalize" in text
    assert "; pass stabilize" in text
    assert "+  %0 = softplus %x" in text
    only = dump.record_text(record, "opt", after="stabilize", diff=True)
    assert "; pass canonicalize" not in only
    assert "; fills changed nothing" in dump.record_text(record, "opt", after="fills", diff=True)


def test_snapshots_are_taken_only_if_wanted() -> None:
    x = T.vector("x")
    with hooks.recording() as records:
        theano.function([x], x * 1.0)
    assert records[0].snapshots == []
    assert not hooks.listeners


def test_opt(tmp_path: Path) -> None:
    path = tmp_path / "f.lt"
    path.write_text("func @f(%x: f64[?]) { %a = pow %x, 2:i8[1]  return %a }\n")
    expected = "func @f(%x: f64[?]) -> f64[?] {\n  %a = sqr %x : f64[?]\n  return %a\n}\n"
    done = ltensor("opt", str(path), "--passes", "canonicalize")
    assert done.stdout == expected, done.stderr
    done = ltensor("opt", "-", "--passes", "repeat(canonicalize,cse)", stdin=path.read_text())
    assert done.stdout == expected


@pytest.mark.parametrize(
    ("text", "passes", "message"),
    [
        ("func @f() { $ }", "cse", "<stdin>: line 1, column 13: cannot read '$'"),
        ("func @f() { return }", "soup", "there is no pass 'soup'"),
    ],
)
def test_opt_errors(text: str, passes: str, message: str) -> None:
    done = ltensor("opt", "-", "--passes", passes, stdin=text)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    dump.info()
    rows = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    for name in ("ltensor", "python", "numpy", "llvmlite", "cpu", "blas", "gpu", "ptxas", "cache"):
        assert rows[name]


def test_reasons_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> str:
        raise OSError("no such thing")

    assert dump._try(broken) == "unavailable: OSError: no such thing"
    monkeypatch.setattr(dump.shutil, "which", lambda _: None)
    assert "not found" in dump._ptxas()
