"""Compiled functions on disk: found by their graph, never instead of another, never in the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T
from ltensor import hooks
from ltensor.config import change_flags
from ltensor.lowering.cpu import object_cache
from ltensor.runtime import plan_key
from ltensor.runtime.build import Build

# values, whether the lowering was needed, the message of a failing call
PROGRAM = """
import json, sys
import numpy as np
import ltensor as theano, ltensor.tensor as T
import ltensor.lowering.cpu.object_cache as cache
cache.sources = lambda: "{version}"  # these files may be edited while tests run
{before}
x = T.dmatrix("x"); w = theano.shared(np.eye(3), "w"); n = theano.shared(np.float64(0), "n")
h, _ = theano.scan(lambda r, s: T.tanh(r + s * {factor}), sequences=x, outputs_info=[w[0]])
cost = (T.dot(h, w) ** 2).sum() + T.constant([1.0, 2.0, 3.0]).sum()
f = theano.function([x], [cost, T.grad(cost, w)], updates=[(n, n + 1)])
value, gradient = f(np.arange(12.0).reshape(4, 3) / 7)
compiled = "ltensor.lowering.whole" in sys.modules
message = ""
try:
    f(np.ones((2, 5)))
except Exception as error:
    message = type(error).__name__ + ": " + str(error)
after = float(n.get_value())
print(json.dumps([float(value), gradient.tolist(), compiled, message, after]))
"""


def _start(folder: Path, program: Path, **environment: str) -> subprocess.Popen[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("LTENSOR_")}
    kept |= {"LTENSOR_CACHE_DIR": str(folder), **environment}
    return subprocess.Popen(
        [sys.executable, str(program)], env=kept, text=True, stdout=-1, stderr=-1
    )


def _result(process: subprocess.Popen[str]) -> Any:
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return json.loads(out)


class Programs:
    """Runs variants of the program with one cache."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cache = path / "cache"

    def start(
        self,
        before: str = "",
        factor: str = "0.5",
        name: str = "model.py",
        version: str = "1",
        **environment: str,
    ) -> subprocess.Popen[str]:
        program = self.path / name
        program.write_text(PROGRAM.format(before=before, factor=factor, version=version))
        return _start(self.cache, program, **environment)

    def run(self, **options: str) -> Any:
        return _result(self.start(**options))


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path)


def test_second_process_takes_over(programs: Programs) -> None:
    first = programs.run()
    assert first[2]
    assert first[4] == 1.0
    second = programs.run()
    assert not second[2]
    assert second[:2] == first[:2]
    assert second[3:] == first[3:]


def test_messages_name_the_lines_of_this_program(programs: Programs) -> None:
    first = programs.run()
    second = programs.run(before="\n\n\n# elsewhere", name="other.py")
    assert not second[2]
    # three lines further down, in a file of another name
    step = PROGRAM[: PROGRAM.index("h, _ =")].count("\n") + 1
    expected = first[3].replace("model.py", "other.py")
    for line in range(step + 3, step - 1, -1):
        expected = expected.replace(f"line {line},", f"line {line + 3},")
    assert f'model.py", line {step}, in <lambda>' in first[3]
    assert second[3] == expected


def test_what_is_compiled_anew(programs: Programs) -> None:
    first = programs.run()
    assert programs.run(factor="0.25")[2], "another constant"
    assert programs.run(LTENSOR_FLAGS="scan.memory_budget=1000")[2], "another flag"
    assert programs.run(LTENSOR_CPU_FEATURES="-avx512f")[2], "another machine"
    assert programs.run(LTENSOR_NUM_THREADS="61")[2], "another number of threads"
    assert programs.run(version="2")[2], "another version of ltensor"
    for off in ({"LTENSOR_PLANS": "0"}, {"LTENSOR_CACHE": "0"}):
        assert programs.run(**off)[2]
    assert programs.run() == [*first[:2], False, *first[3:]]


def test_damaged_entries_are_made_anew(programs: Programs) -> None:
    first = programs.run()
    for pattern in ("*.plan", "*.o"):
        for path in programs.cache.glob(pattern):
            data = path.read_bytes()
            path.write_bytes(data[:40] + b"\0" + data[41:-1])
        damaged = programs.run()
        assert damaged[2]
        assert damaged[:2] == first[:2]
        assert not programs.run()[2]


def test_objects_that_are_gone(programs: Programs) -> None:
    first = programs.run()
    for path in programs.cache.glob("*.o"):
        path.unlink()
    assert programs.run() == first


def test_folder_that_cannot_be_written(programs: Programs) -> None:
    programs.cache.write_text("a file stands in its place")
    first = programs.run()
    assert first[2]
    assert programs.run() == first


def test_writers_at_once(programs: Programs) -> None:
    started = [programs.start(name=f"model{k}.py") for k in range(4)]
    results = [_result(process) for process in started]
    assert all(r[:2] == results[0][:2] for r in results)
    assert not programs.run()[2]
    assert not list(programs.cache.glob(".new-*"))


# ------------------------------------------------------------------------------ in one process


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LTENSOR_PLANS", "1")
    monkeypatch.setenv("LTENSOR_CACHE_DIR", str(tmp_path))
    # files may be edited while tests run
    monkeypatch.setattr(object_cache, "sources", lambda: "these")
    return tmp_path


def _stages(function: Any) -> set[str]:
    return set(function.maker.build.seconds)


def _twice(make: Any) -> tuple[Any, Any]:
    first, second = make(), make()
    assert "plan" not in _stages(first)
    return first, second


def test_graph_and_explanation_are_made_on_demand(cache: Path) -> None:
    def make() -> Any:
        x = T.dvector("x")
        y, _ = theano.scan(lambda x, s: x + s, sequences=x, outputs_info=[np.float64(0)])
        return theano.function([x], y[-1] + T.log(T.exp(x)).sum())

    first, second = _twice(make)
    assert _stages(second) == {"plan"}
    assert second(np.ones(3)) == first(np.ones(3)) == 6.0
    assert str(second.maker.fgraph) == str(first.maker.fgraph)
    assert str(second.explain()) == str(first.explain())
    assert second._linked.text == first._linked.text
    assert second._linked.module.assembly() == first._linked.module.assembly()


def test_code_of_another_program_is_not_spoken_of(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should the stages give another program than that of the code, it is compiled anew."""

    def make() -> Any:
        x, i = T.dvector("x"), T.lscalar("i")
        total = theano.shared(0.0)
        return theano.function([x, i], x[i], updates=[(total, total + x[i])])

    first, second = _twice(make)
    assert _stages(second) == {"plan"}
    second.maker.build._plan.object_name = "of something else"
    for function in (first, second, second):
        with pytest.raises(IndexError, match="out of"):
            function(np.ones(3), 5)
        assert function(np.ones(3), 1) == 1.0
    assert second.maker.build.is_faithful


def test_constants_and_state(cache: Path) -> None:
    table = np.arange(40.0).reshape(8, 5)[:, ::2]

    def make() -> Any:
        i = T.lvector("i")
        stream = T.shared_randomstreams.RandomStreams(3)
        return theano.function([i], [T.constant(table)[i], stream.uniform((2,))])

    first, second = _twice(make)
    assert _stages(second) == {"plan"}
    for _ in range(2):
        for a, b in zip(first([1, 7]), second([1, 7]), strict=True):
            np.testing.assert_array_equal(a, b)


class Twice(theano.Op):
    """A user's op."""

    __props__ = ()

    def make_node(self, x: Any) -> Any:
        return theano.Apply(self, [x], [x.type()])

    def perform(self, node: Any, inputs: Any, outputs: Any) -> None:
        outputs[0][0] = 2 * inputs[0]


def test_what_has_no_plan(cache: Path) -> None:
    x = T.dvector("x")
    large = T.constant(np.arange(1e6))
    for expression in (Twice()(x), theano.printing.Print("x")(x), x + large):
        for _ in range(2):
            assert "plan" not in _stages(theano.function([x], expression))
    assert not list(cache.glob("*.plan"))
    with hooks.recording() as records:
        theano.function([x], x * 3)
    assert records[0].program is not None
    assert "plan" not in _stages(theano.function([x], x * 5, mode="nan_guard"))


def _key(*outputs: Any, inputs: Any, **flags: Any) -> str | None:
    from ltensor.ir.function import Function

    with change_flags(**flags):
        build = Build(Function(inputs, outputs), None, len(inputs), len(outputs), [], "list")
        return plan_key.function_key(build.graph, build.flags)


def test_names() -> None:
    def key(build: Any, dtype: str = "float64", shape: Any = (False, False), **flags: Any) -> Any:
        x = T.TensorType(dtype, shape)("x" + dtype)
        return _key(build(x), inputs=[x], **flags)

    plain = key(lambda x: x + 1)
    assert plain is not None
    assert plain == key(lambda x: x + 1)
    others = [
        key(lambda x: x + 2),
        key(lambda x: x - 1),
        key(lambda x: x + np.float32(1)),
        key(lambda x: x + 1, "float32"),
        key(lambda x: x + 1, shape=(True, False)),
        key(lambda x: x + 1, shape=(7, None)),
        key(lambda x: x + 1, cast_policy="numpy+floatX"),
        key(lambda x: x.sum(axis=0)),
        key(lambda x: x.sum(axis=1)),
        key(lambda x: x[1:]),
        key(lambda x: x[2:]),
        key(lambda x: x + x),
        key(lambda x: T.constant(0.0) + 1 * x),
        key(lambda x: T.constant(-0.0) + 1 * x),
    ]
    assert len({plain, *others}) == len(others) + 1
    assert key(lambda x: Twice()(x)) is None
    a, b = T.dvectors("ab")
    assert _key(a - b, inputs=[a, b]) != _key(a - b, inputs=[b, a])


def test_folder_stays_small(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_cache, "LIMIT", 20_000)
    monkeypatch.setattr(object_cache, "CHECK_EVERY", 4)
    x = T.dvector("x")
    for number in range(20):
        theano.function([x], x + number)
    assert sum(path.stat().st_size for path in cache.iterdir()) < 40_000


def test_command(programs: Programs) -> None:
    programs.run()

    def command(action: str) -> str:
        environment = os.environ | {"LTENSOR_CACHE_DIR": str(programs.cache)}
        arguments = [sys.executable, "-m", "ltensor", "cache", action]
        return subprocess.run(
            arguments, env=environment, check=True, text=True, capture_output=True
        ).stdout

    assert "plans             1 entries" in command("info")
    assert "entries deleted" in command("clear")
    assert "plans             0 entries" in command("info")
    assert not list(programs.cache.iterdir())
