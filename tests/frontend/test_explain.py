"""`f.explain()`: what is kept in memory and why, what became of loops, in the user's lines."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from seeds.runner import child_environment

import ltensor as theano
import ltensor.tensor as T
from ltensor.passes.remarks import recording, remark


def here() -> str:
    """The caller's line as explain writes it."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return f"test_explain.py:{frame.f_back.f_lineno}"


# ----------------------------------------------------------------------------- buffers


def test_an_output_and_its_formula() -> None:
    x, y = T.dmatrix("x"), T.drow("y")
    line = here(); z = T.exp(x) * y  # fmt: skip # noqa: E702
    f = theano.function([x, y], z, name="f")
    (buffer,) = f.explain().buffers
    assert buffer.formula == "8 * x.shape[0] * x.shape[1]"
    assert buffer.bytes is None
    assert buffer.kind == "output"
    assert buffer.lifetime == "returned"
    assert buffer.reason.startswith("output 0 of the function")
    assert buffer.line == line
    assert f.explain(np.ones((5, 7)), np.ones((1, 7))).buffers[0].bytes == 280
    assert f.explain(sizes={x: (2, 3)}).bytes == 48
    text = str(f.explain(sizes={"x": (1000, 1000)}))
    assert text.startswith("f: 1 buffers, 8,000,000 bytes\n")
    assert line in text
    assert "give sizes" in str(f.explain())


def test_output_bytes_are_those_of_the_arrays() -> None:
    x, n = T.ftensor3("x"), T.iscalar("n")
    w = theano.shared(np.ones((4, 6), "float32"), "w")
    f = theano.function([x, n], [T.dot(x, w), x[:n].sum(axis=0), x.T, T.zeros((n + 1, 2 * n))])
    args = np.ones((3, 5, 4), "float32"), np.int32(2)
    outputs = {int(b.reason.split()[1]): b for b in f.explain(*args).buffers if b.kind == "output"}
    for number, value in enumerate(f(*args)):
        assert outputs[number].bytes == value.nbytes, outputs[number]
        assert outputs[number].dtype == str(value.dtype)


def test_temporaries_say_which_value_they_hold() -> None:
    x = T.dmatrix("x")
    line = here(); y = T.dot(x, x)  # fmt: skip # noqa: E702
    f = theano.function([x], T.tanh(T.dot(T.exp(y), x)))
    values = [b for b in f.explain().buffers if b.kind == "value"]
    assert any(b.line == line and b.reason.startswith("result of dot") for b in values)
    assert all(b.lifetime == "call" for b in values)


def test_sizes_of_shared_variables_are_known() -> None:
    w = theano.shared(np.ones((3, 50)), "w")
    f = theano.function([], w * 2)
    (buffer,) = f.explain().buffers
    assert (buffer.formula, buffer.bytes) == ("8 * w.shape[0] * w.shape[1]", 1200)
    w.set_value(np.ones((1, 4)))
    assert f.explain().buffers[0].bytes == 32


def test_inputs_without_names() -> None:
    a, b = T.dvector(), T.dvector()
    f = theano.function([a, b], [a + 1, b + 1])
    assert {r.formula for r in f.explain().buffers} == {
        "8 * input0.shape[0]", "8 * input1.shape[0]",
    }  # fmt: skip
    assert f.explain(sizes={a: 3, "input1": (4,)}).bytes == 56


def test_wrong_sizes() -> None:
    x = T.dmatrix("x")
    f = theano.function([x], x + 1)
    with pytest.raises(ValueError, match="no argument 'z'; there are x"):
        f.explain(sizes={"z": (1, 2)})
    with pytest.raises(ValueError, match="x has 2 dimensions"):
        f.explain(sizes={"x": 3})
    with pytest.raises(TypeError):
        f.explain(np.ones(3))


def test_plain_data() -> None:
    x = T.dvector("x")
    rows, _ = theano.scan(lambda r, s: r + s, x, outputs_info=np.float64(0))
    told = theano.function([x], rows).explain(np.ones(4))
    data = json.loads(json.dumps(told.as_dict()))
    assert data["bytes"] == told.bytes
    assert data["loops"][0]["n_steps"] == 4
    assert data["buffers"][0]["formula"] == told.buffers[0].formula


# ----------------------------------------------------------------------------- loops


def test_last_row_only() -> None:
    h0, w, n = T.dvector("h0"), T.dmatrix("w"), T.iscalar("n")
    line = here(); rows, _ = theano.scan(lambda h: T.tanh(T.dot(h, w)), outputs_info=h0, n_steps=n, name="rnn")  # fmt: skip # noqa: E501, E702
    f = theano.function([h0, w, n], rows[-1])
    sizes = {"h0": (100,), "w": (100, 100)}
    few, many = (f.explain(sizes=sizes | {"n": n}) for n in (10, 10**7))
    assert few.bytes == many.bytes
    assert few.bytes is not None
    assert few.bytes < 5000
    (loop,) = many.loops
    assert (loop.name, loop.line, loop.steps, loop.n_steps) == ("rnn", line, "n", 10**7)
    assert any("last row kept" in s and "state h0, tanh" in s and "tap -1" in s for s in loop.slots)
    assert any(
        r.pass_name == "scan_history"
        and "keeps 1 of n rows" in r.text
        and "because only [-1] is read by" in r.text
        for r in loop.remarks
    )
    rings = [b for b in many.buffers if b.kind == "ring"]
    assert [b.formula for b in rings] == ["8 * 2 * h0.shape[0]"]


def test_ring_of_two_taps() -> None:
    y0, w = T.dmatrix("y0"), T.dmatrix("w")
    rows, _ = theano.scan(
        lambda a, b: T.dot(a, w) - b, outputs_info={"initial": y0, "taps": [-1, -2]}, n_steps=50
    )
    f = theano.function([y0, w], rows[-2:])
    told = f.explain(np.ones((2, 8)), np.ones((8, 8)))
    (ring,) = [b for b in told.buffers if b.kind == "ring"]
    assert ring.formula == "8 * 3 * y0.shape[1]"
    assert ring.bytes == 192
    assert ring.shape == ["3", "y0.shape[1]"]
    assert "ring of 3 rows of state" in ring.reason
    assert "taps -1, -2" in ring.reason
    (loop,) = told.loops
    assert loop.n_steps == 50
    assert any("last 2 rows kept" in s and "taps -1, -2" in s for s in loop.slots)


def test_all_rows_and_why() -> None:
    x = T.dmatrix("x")
    rows, _ = theano.scan(lambda r, s: T.dot(s, s) * r, x, outputs_info=T.ones_like(x[0]))
    f = theano.function([x], rows)
    (loop,) = f.explain().loops
    assert any("keeps all rows" in r.text and "the whole trace is an output" in r.text
               for r in loop.remarks)  # fmt: skip
    g = theano.function([x], rows[::2])
    (loop,) = g.explain().loops
    assert any("keeps all rows" in r.text and "subtensor" in r.text for r in loop.remarks)
    (trace,) = [b for b in g.explain().buffers if b.kind == "trace"]
    assert trace.formula == "8 * x.shape[0] * x.shape[1]"


def test_invariants_dead_slots_and_lines() -> None:
    x, w = T.dmatrix("x"), T.dmatrix("w")
    lines = []

    def step(row, s):
        lines.append(here()); change = T.dot(w, w)  # fmt: skip # noqa: E702
        return T.dot(s + row, change), T.exp(row)

    (s, _), _ = theano.scan(step, x, outputs_info=[T.zeros_like(x[0]), None])
    (loop,) = theano.function([x, w], s[-1]).explain().loops
    texts = {r.pass_name: r.text for r in loop.remarks}
    assert "before the loop" in texts["scan_hoist"]
    assert f"dot ({lines[0]})" in texts["scan_hoist"]
    assert "drops what nobody reads: output exp" in texts["scan_prune"]


def _lstm(units: int = 10) -> tuple:
    x = T.ftensor3("x")
    wx = theano.shared(np.ones((3, 4 * units), "float32") / 10, "wx")
    wh = theano.shared(np.ones((units, 4 * units), "float32") / 10, "wh")

    def step(row, h, c):
        z = T.dot(row, wx) + T.dot(h, wh)
        i, f, o = (T.nnet.sigmoid(z[:, k * units : (k + 1) * units]) for k in range(3))
        c = f * c + i * T.tanh(z[:, 3 * units :])
        return o * T.tanh(c), c

    zero = T.zeros((x.shape[1], units), "float32")
    (h, _), _ = theano.scan(step, x, outputs_info=[zero, zero], name="lstm")
    cost = h[-1].sum()
    return theano.function([x], [cost, *T.grad(cost, [wx, wh])]), units


def test_what_an_lstm_keeps_for_its_gradient() -> None:
    f, units = _lstm()
    batch, steps = 7, 20
    told = f.explain(sizes={"x": (steps, batch, 3)})
    forward, backward = told.loops
    assert (forward.name, backward.name) == ("lstm", "grad_of_lstm")
    assert forward.n_steps == backward.n_steps == steps
    # at most 6 floats per unit, step and sample
    assert forward.kept_bytes_per_step is not None
    assert 4 * batch * units < forward.kept_bytes_per_step <= 6 * 4 * batch * units
    assert all(k.reader == "grad_of_lstm" and "test_explain.py:" in k.value for k in forward.kept)
    assert all(k.formula.startswith("4 * x.shape[1] * ") for k in forward.kept)
    traces = [b for b in told.buffers if "kept for the gradient" in b.reason]
    # a state's trace stands behind its initial row in one array
    total = sum(b.bytes or 0 for b in traces)
    assert steps <= total / forward.kept_bytes_per_step < steps + 1
    assert all(b.formula.startswith("4 * ") and "x.shape[0]" in b.formula for b in traces)
    assert any(text.startswith("tanh (test_explain.py:") for text in backward.computed_again)
    assert any(r.pass_name == "scan_merge" for r in forward.remarks)
    # adjoints need their last value only
    assert not [b for b in told.buffers if "all rows of state adjoint" in b.reason]
    report = str(told)
    assert f"kept for the gradient, {forward.kept_bytes_per_step:,} bytes per step:" in report
    assert "computed again instead of kept: " in report


def test_without_a_gradient_nothing_is_kept_for_one() -> None:
    x = T.dmatrix("x")
    rows, _ = theano.scan(lambda r, s: T.tanh(T.dot(s, s) * r), x, outputs_info=T.ones_like(x[0]))
    (loop,) = theano.function([x], rows).explain().loops
    assert loop.kept == []
    assert loop.computed_again == []


def test_nested_loops() -> None:
    x, w = T.dtensor3("x"), T.dmatrix("w")

    def outer(rows, s):
        inner, _ = theano.scan(
            lambda r, t: T.tanh(T.dot(t, w) + r), rows, outputs_info=s, name="inner"
        )
        return inner[-1]

    rows, _ = theano.scan(outer, x, outputs_info=T.zeros_like(x[0, 0]), name="outer")
    told = theano.function([x, w], rows[-1]).explain(np.ones((4, 5, 6)), np.eye(6))
    assert [(loop.name, loop.depth, loop.n_steps) for loop in told.loops] == [
        ("outer", 0, 4),
        ("inner", 1, 5),
    ]
    assert any("in each step of inner" in b.reason for b in told.buffers)
    assert any("keeps 1 of n rows" in r.text for r in told.loops[1].remarks)
    assert "\n  loop inner (" in str(told)


def test_until_is_a_number_known_when_it_runs() -> None:
    x = T.dvector("x")
    rows, _ = theano.scan(
        lambda r, s: (s + r, theano.scan_module.until(s > 3)), x, outputs_info=np.float64(0)
    )
    told = theano.function([x], rows).explain(np.ones(10))
    (output,) = [b for b in told.buffers if b.kind == "output"]
    assert output.bytes is None
    assert "steps of for{cpu,scan_fn}" in output.formula
    # the trace itself is returned
    assert not [b for b in told.buffers if b.kind == "trace"]


def test_explaining_again_and_after_pickling() -> None:
    import pickle

    f, _ = _lstm(2)
    assert str(f.explain()) == str(f.explain())
    again = pickle.loads(pickle.dumps(f))
    assert [b.formula for b in again.explain().buffers] == [b.formula for b in f.explain().buffers]


# ----------------------------------------------------------------------------- n_steps


def _sums(n) -> tuple:
    x, y = T.dvector("x"), T.dvector("y")
    rows, _ = theano.scan(
        lambda a, b, s: s + a * b, [x, y], outputs_info=np.float64(0), n_steps=n, name="sums"
    )
    return x, y, rows


def test_the_shortest_wins() -> None:
    n = T.iscalar("n")
    x, y, rows = _sums(n)
    f = theano.function([x, y, n], rows)
    (loop,) = f.explain().loops
    assert loop.steps == "min(n, x.shape[0], y.shape[0])"
    assert "n_steps is n: a sequence with fewer rows shortens the loop" in loop.note
    (loop,) = f.explain(np.ones(9), np.ones(5), 7).loops
    assert loop.n_steps == 5
    assert loop.note == "n_steps is 7, the shortest sequence has 5 rows: the shortest wins"
    (loop,) = f.explain(np.ones(9), np.ones(5), 3).loops
    assert loop.n_steps == 3
    assert loop.note == "n_steps is 3, the shortest sequence has 5 rows: not all are read"
    (loop,) = f.explain(np.ones(9), np.ones(5), 5).loops
    assert loop.note == ""
    text = str(f.explain(np.ones(9), np.ones(5), 5))
    assert "min(n, x.shape[0], y.shape[0]) = 5 steps" in text


@pytest.fixture
def warn_short():
    theano.config.scan.warn_short = True
    yield
    theano.config.scan.warn_short = False


def test_a_warning_on_request(warn_short) -> None:
    n = T.iscalar("n")
    x, y, rows = _sums(n)
    gradient = T.grad(rows[-1], x)
    theano.config.scan.warn_short = False
    f = theano.function([x, y, n], [rows, gradient])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        f(np.ones(9), np.ones(5), 5)
    with pytest.warns(
        RuntimeWarning, match="n_steps is 7, but the shortest sequence has 5 rows"
    ) as w:
        sums, found = f(np.ones(9), np.ones(5), 7)
    assert sums.tolist() == [1, 2, 3, 4, 5]
    assert found.tolist() == [1] * 5 + [0] * 4
    assert w[0].filename == __file__
    assert "scan sums:" in str(w[0].message)
    assert "in _sums" in str(w[0].message)


def test_a_constant_n_steps_warns_too(warn_short) -> None:
    x, y, rows = _sums(4)
    f = theano.function([x, y], rows)
    f(np.ones(4), np.ones(4))
    with pytest.warns(RuntimeWarning, match="n_steps is 4, but the shortest sequence has 3 rows"):
        assert f(np.ones(3), np.ones(4)).shape == (3,)


def test_no_warning_unless_asked_for() -> None:
    x, y, rows = _sums(4)
    f = theano.function([x, y], rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert f(np.ones(3), np.ones(4)).shape == (3,)


def test_a_warning_made_an_error_leaves_shared_variables(warn_short) -> None:
    x, total = T.dvector("x"), theano.shared(0.0, "total")
    rows, updates = theano.scan(lambda r: (r, {total: total + r}), x, n_steps=4)
    f = theano.function([x], rows, updates=updates)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning, match="n_steps is 4"):
            f(np.ones(3))
    assert total.get_value() == 0


# ----------------------------------------------------------------------------- remarks, command


def test_remarks_are_recorded_only_while_somebody_listens() -> None:
    x = T.dvector("x")
    rows, _ = theano.scan(lambda r, s: r + s, x, outputs_info=np.float64(0), name="sums")
    node = rows.owner
    remark("some_pass", node, "unheard")
    with recording() as outer:
        remark("some_pass", node, "one {} of {}", 1, "two")
        with recording() as inner:
            remark("some_pass", node, "braces {} stay without values")
    assert [r.text for r in outer] == ["one 1 of two"]
    assert [r.text for r in inner] == ["braces {} stay without values"]
    assert str(outer[0]).startswith("some_pass: one 1 of two (test_explain.py:")
    assert outer[0].key == (node.source, "sums")


def test_stage_memory(tmp_path: Path) -> None:
    program = tmp_path / "prog.py"
    program.write_text(
        "import theano, theano.tensor as T\n"
        "x = T.dmatrix('x')\n"
        "rows, _ = theano.scan(lambda r, s: T.dot(s, s) + r, x, outputs_info=T.zeros_like(x[0]))\n"
        "last = theano.function([x], rows[-1])\n"
        "other = theano.function([x], x + 1)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "ltensor", "dump", str(program), "--stage", "memory",
         "--function", "last"],
        capture_output=True, text=True, env=child_environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("; last, ")
    assert "loop scan_fn (prog.py:3): x.shape[0] steps" in done.stdout
    assert "keeps 1 of n rows of state" in done.stdout
    assert "8 * 2 * x.shape[1]" in done.stdout
    assert "other" not in done.stdout
