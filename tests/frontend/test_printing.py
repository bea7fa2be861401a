"""The text of expressions and graphs; `Print` and `Assert`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ltensor.tensor as T
from ltensor.ir.graph import Apply, evaluate
from ltensor.ops.control import Assert, Raise
from ltensor.printing import (
    FunctionPrinter,
    PatternPrinter,
    Print,
    debugprint,
    min_informative_str,
    pp,
    pprint,
    pydotprint,
    var_descriptor,
)
from ltensor.printing.brief import as_string

x, y = T.dscalars("x", "y")
v, m = T.dvector("v"), T.dmatrix("m")
i = T.iscalar("i")


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (x, "x"),
        (x + y, "(x + y)"),
        (x + 1, "(x + TensorConstant{1})"),
        (x - y * 2, "(x - (y * TensorConstant{2}))"),
        (x**2, "(x ** TensorConstant{2})"),
        (x / y, "(x / y)"),
        (x // y, "(x // y)"),
        (x % y, "mod(x, y)"),
        (-x, "(-x)"),
        (abs(x), "|x|"),
        (T.tanh(x**2 + 1), "tanh(((x ** TensorConstant{2}) + TensorConstant{1}))"),
        (v + 1, "(v + TensorConstant{1})"),
        (m + v, "(m + v)"),
        (m.T, "m.T"),
        (v.dimshuffle(0, "x"), "DimShuffle{0, x}(v)"),
        (v.sum(), "Sum{acc_dtype=float64}(v)"),
        (m.sum(axis=0), "Sum{axis=[0], acc_dtype=float64}(m)"),
        (T.dot(m, v) ** 2, "((m \\dot v) ** TensorConstant{2})"),
        (T.fill(v, 1.0), "fill(v, TensorConstant{1.0})"),
        (T.cast(v, "int8"), "int8(v)"),
        (T.switch(v > 0, v, 0), "switch(gt(v, TensorConstant{0}), v, TensorConstant{0})"),
        (v.shape, "v.shape"),
        (v[0], "v[0]"),
        (m[i, 1:], "m[i, 1:]"),
        (m[:, ::-1], "m[:, ::-1]"),
        (m.reshape((2, 3)), "Reshape{2}(m, TensorConstant{[2 3]})"),
        (m.reshape((i, 3)), "Reshape{2}(m, [i, TensorConstant{3}])"),
        (T.dscalar("alpha") + 1, "(\\alpha + TensorConstant{1})"),
    ],
)
def test_pp(output: Any, text: str) -> None:
    assert pp(output) == text


def test_pp_of_a_long_chain() -> None:
    z = x
    for _ in range(3000):
        z = -z
    assert pp(z) == "(-" * 3000 + "x" + ")" * 3000


def test_own_printers() -> None:
    printer = pprint.clone()
    printer.assign(T.exp, FunctionPrinter("e"))
    assert printer.process(T.exp(x) + 1) == "(e(x) + TensorConstant{1})"
    printer.assign(type(T.exp), PatternPrinter("<%(0)s>"))
    assert printer(T.log(x)) == "<x>"
    printer.assign(lambda pstate, r: r is y, FunctionPrinter("never"))
    with pytest.raises(TypeError):
        printer(y)
    assert pp(T.exp(x)) == "exp(x)"
    assert pp([x, y]) == "[x, y]"
    named = x + y
    named.name = "z"
    assert pp([x, y], named) == "z = (x + y)"


# ------------------------------------------------------------------------- debugprint

TREE = """\
Elemwise{tanh,no_inplace} [id A] ''   
 |Elemwise{add,no_inplace} [id B] ''   
   |Elemwise{pow,no_inplace} [id C] ''   
   | |x [id D]
   | |TensorConstant{2} [id E]
   |TensorConstant{1} [id F]
"""


def test_debugprint() -> None:
    z = T.tanh(x**2 + 1)
    assert debugprint(z, file="str") == TREE
    stream = io.StringIO()
    assert debugprint(z, file=stream) is stream
    assert stream.getvalue() == TREE


def test_debugprint_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    debugprint(T.tanh(x**2 + 1))
    assert capsys.readouterr().out == TREE


def test_debugprint_options() -> None:
    s = x + y
    s.name = "s"
    z = s * s
    assert debugprint(z, file="str") == (
        "Elemwise{mul,no_inplace} [id A] ''   \n"
        " |Elemwise{add,no_inplace} [id B] 's'   \n"
        " | |x [id C]\n"
        " | |y [id D]\n"
        " |Elemwise{add,no_inplace} [id B] 's'   \n"
    )
    assert debugprint(z, file="str", stop_on_name=True).count("\n") == 3
    assert debugprint(z, file="str", depth=1).count("\n") == 1
    assert debugprint(s, file="str", ids="int", print_type=True) == (
        "Elemwise{add,no_inplace} [id 0] <TensorType(float64, scalar)> 's'   \n"
        " |x [id 1] <TensorType(float64, scalar)>\n"
        " |y [id 2] <TensorType(float64, scalar)>\n"
    )
    assert debugprint(x, file="str", ids="") == "x \n"
    assert debugprint([x, y], file="str") == "x [id A]\ny [id B]\n"
    assert debugprint(s.owner, file="str").startswith("Elemwise{add,no_inplace} [id A]")
    with pytest.raises(ValueError, match="ids must be"):
        debugprint(x, ids="roman")
    with pytest.raises(TypeError):
        debugprint("x", file="str")


def test_ids_beyond_z() -> None:
    z = sum((T.dscalar(f"x{k}") for k in range(30)), x)
    assert "[id BA]" in debugprint(z, file="str")


def test_debugprint_of_a_deep_graph() -> None:
    z = x
    for _ in range(3000):
        z = z + 1
    assert debugprint(z, file="str", ids="int").count("\n") == 6001


# ------------------------------------------------------------------------- other forms


def test_short_descriptions() -> None:
    s = x + y
    assert min_informative_str(s * s) == (
        "A. Elemwise{mul,no_inplace}\n B. Elemwise{add,no_inplace}\n  C. x\n  D. y\n <B>"
    )
    assert var_descriptor(s) == "A=Elemwise{add,no_inplace}(B=x,C=y)"
    assert var_descriptor(np.ones(2)) == "A=<ndarray>"


def test_graphs_as_calls() -> None:
    """What is used twice is written once, with a number."""
    y = T.exp(x)
    assert as_string([x], [y * y]) == [
        "Elemwise{mul,no_inplace}(*1 -> Elemwise{exp,no_inplace}(x), *1)"
    ]
    assert as_string([y], [y + x], leaf_formatter=lambda v: "leaf") == [
        "Elemwise{add,no_inplace}(leaf, leaf)"
    ]
    v = T.vector("v")
    low, high = T.split(v, [1, 2], 2)
    texts = as_string([v], [low, T.exp(high)], str, lambda node, below: f"f[{' '.join(below)}]")
    assert texts[1] == "f[*1::1]"
    assert texts[0].startswith("*1 -> f[v ")


def test_pydotprint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "graph.dot"
    pydotprint(T.tanh(x) + 1, outfile=str(target), var_with_name_simple=True)
    text = target.read_text()
    assert text.startswith("digraph G {")
    assert 'label="x"' in text
    assert "Elemwise{tanh,no_inplace}" in text
    assert str(target) in capsys.readouterr().out


def test_pydotprint_without_graphviz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    pydotprint([x + 1], outfile=str(tmp_path / "graph.png"), print_output_file=False)
    assert (tmp_path / "graph.dot").read_text().count("->") == 3
    with pytest.raises(RuntimeError, match="Graphviz"):
        pydotprint(x, return_image=True)


# ------------------------------------------------------------------------- Print, Assert


def run(variable: Any, *values: Any) -> Any:
    return evaluate(variable.owner, [np.asarray(a) for a in values])[0]


def test_print(capsys: pytest.CaptureFixture[str]) -> None:
    printed = Print("a", ["__str__", "shape"])(v)
    assert printed.type == v.type
    assert run(printed, np.array([1.0, 2.5])).tolist() == [1, 2.5]
    assert capsys.readouterr().out == "a __str__ = [1.  2.5]\na shape = (2,)\n"
    assert Print("a") == Print("a")
    assert Print("a") != Print("b")


def test_print_with_own_function() -> None:
    seen = []
    run(Print("a", global_fn=lambda op, a: seen.append((op.message, a.sum())))(v), [1.0, 2.0])
    assert seen == [("a", 3.0)]


def test_assert() -> None:
    checked = Assert("not positive")(v, (v > 0).all(), v.shape[0] < 3)
    assert checked.type == v.type
    assert run(checked, [1.0, 2.0], True, True).tolist() == [1, 2]
    with pytest.raises(AssertionError, match="not positive"):
        run(checked, [1.0, 2.0], True, False)
    with pytest.raises(AssertionError, match="scalar conditions"):
        Assert()(v, v > 0)
    assert Assert()(v, True).type == v.type


def test_raise() -> None:
    failing: Apply = Raise("sorry", exc=ValueError)(v)
    with pytest.raises(ValueError, match="sorry"):
        run(failing, [1.0])
