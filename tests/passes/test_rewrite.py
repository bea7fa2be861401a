"""The driver of rewriting: sources, names, types, budgets, and growth."""

from __future__ import annotations

import cProfile
import pstats
from typing import Any

import pytest

import ltensor  # noqa: F401 - declares all ops
from ltensor.errors import LoweringError
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import TensorType
from ltensor.ops.arithmetic import add, inv, mul, neg, pow, sqr
from ltensor.ops.cast import cast
from ltensor.ops.textual import parse
from ltensor.ops.transcendental import exp, tanh
from ltensor.passes.manager import find, run_pipeline
from ltensor.passes.pipeline import optimize, run, stages
from ltensor.passes.remarks import recording
from ltensor.passes.rewrite import Rules, rewrite


def vector(name: str = "x", dtype: str = "float64") -> Variable:
    return TensorType(dtype, (False,)).make_variable(name)


def test_nothing_to_do_gives_the_same_object() -> None:
    x = vector()
    function = Function([x], [exp(x)])
    assert rewrite(function) is function
    for name in ("canonicalize", "cse", "fold_constants", "stabilize", "fills", "shapes"):
        assert find(name)(function) is function


def test_the_argument_is_not_changed() -> None:
    function = parse(
        "func @f(%x: f64[?]) { %a = pow %x, 2:i8[1]  %b = add %a, 0.0:f64[1]  return %b }"
    )
    before = str(function)
    after = run_pipeline(function, "canonicalize").function
    assert after is not function
    assert str(function) == before


def test_new_nodes_carry_the_line_of_what_they_replace() -> None:
    x = vector()
    squared = pow(x, 2)
    line = squared.owner.source.frames[0].lineno
    function = Function([x], [exp(squared)])
    (made,) = [n for n in optimize(function).nodes if n.op == sqr]
    assert made.source.frames[0].filename == __file__
    assert made.source.frames[0].lineno == line


def test_every_node_of_an_optimized_gradient_has_a_source() -> None:
    from ltensor.gradient import grad
    from ltensor.ops.reduce import sum as total

    x = vector()
    y = total(sqr(tanh(x)))
    function = Function([x], [y, grad(y, x)])
    for node in optimize(function).nodes:
        assert node.source is not None, node


def test_names_are_handed_on() -> None:
    x = vector()
    y = pow(x, 2)
    y.name = "y"
    (out,) = optimize(Function([x], [y])).outputs
    assert out.name == "y"
    # but the name of an input is its own
    z = mul(x, 1.0)
    z.name = "z"
    (out,) = optimize(Function([x], [z])).outputs
    assert out is x
    assert x.name == "x"


def test_a_replacement_is_given_the_old_type() -> None:
    rules = Rules("test")

    @rules.rule(exp)
    def narrower(node: Apply) -> Variable:
        return cast(node.inputs[0], "float32")

    x = vector()
    (out,) = rewrite(Function([x], [exp(x)]), rules).outputs
    assert out.type.dtype == "float64"


def test_a_rule_that_changes_the_rank_is_refused() -> None:
    rules = Rules("test")

    @rules.rule(exp)
    def wrong(node: Apply) -> Variable:
        return TensorType("float64", ()).make_constant(1.0)

    x = vector()
    with pytest.raises(LoweringError, match=r"the rule wrong of test"):
        rewrite(Function([x], [exp(x)]), rules)


def test_rules_that_undo_each_other_end() -> None:
    rules = Rules("test")
    rules.rule(exp)(lambda node: neg(neg(exp(neg(node.inputs[0])))))
    rules.rule(neg)(lambda node: mul(node.inputs[0], -1))
    rules.rule(mul)(lambda node: neg(node.inputs[0]))
    x = vector()
    with recording() as remarks:
        after = rewrite(Function([x], [exp(x)]), rules)
    assert len(after.nodes) < 5000
    assert [r.pass_name for r in remarks] == ["test"]
    assert "stopped rewriting what comes of one node after 200 rules" in remarks[0].text


def test_rules_by_class_name_and_op() -> None:
    rules = Rules("test")
    seen: list[str] = []
    rules.rule("exp")(lambda node: seen.append("name"))
    rules.rule(exp)(lambda node: seen.append("op"))
    rules.rule(type(exp))(lambda node: seen.append("class"))
    rules.rule(tanh)(lambda node: seen.append("another"))
    x = vector()
    rewrite(Function([x], [exp(x)]), rules)
    assert seen == ["name", "op", "class"]


def test_several_outputs_are_replaced_together() -> None:
    function = parse(
        """
        func @f(%n: i64, %x: f64) {
          %a, %b = scan %n, %x, %x {n_seqs=0, lags=[], n_carries=2, n_outs=0, has_stop=false,
                                    keep=[], truncate=-1, name="s"}
            (%p: f64, %q: f64) {
              %c = mul %p, 1.0:f64
              yield %c, %q
            }
          return %a, %b
        }
        """
    )
    after = run_pipeline(function, "canonicalize", verify=True).function
    (scan,) = [n for n in after.nodes if n.op.regions]
    assert not scan.op.regions[0].nodes  # the body is simplified too
    assert scan.source is not None


def test_inputs_that_are_computed_elsewhere_are_left_alone() -> None:
    x = vector()
    y = exp(x)
    function = Function([y], [mul(y, 1.0)])
    (out,) = optimize(function).outputs
    assert out is y


@pytest.mark.parametrize("kind", ["deep", "sum", "product", "wide", "negations"])
def test_work_grows_as_the_graph_does(kind: str) -> None:
    def calls(size: int) -> int:
        x = vector()
        value = x
        for k in range(size):
            if kind == "deep":
                value = neg(tanh(mul(value, 2.0)))
            elif kind == "sum":
                value = add(value, mul(x, float(k)))
            elif kind == "product":
                value = mul(value, inv(add(x, float(k))))
            elif kind == "negations":
                value = neg(value)
        if kind == "wide":
            value = add(*[mul(x, float(k)) for k in range(size)])
        function = Function([x], [value])
        function.nodes  # noqa: B018 - not part of what is measured
        profile = cProfile.Profile()
        profile.runcall(run, function)
        stats: Any = pstats.Stats(profile)
        return stats.total_calls

    calls(50)
    small, large = calls(400), calls(2000)
    assert large < 6 * small, (small, large)


def test_pipelines() -> None:
    x = vector()
    function = Function([x], [pow(x, 2)])
    report = run(function, snapshots=True, verify=True)
    assert report.snapshots[0][0] == "canonicalize"
    assert report.records[0].before == 2
    assert report.seconds > 0
    assert "canonicalize" in report.summary()
    kept: list[tuple[str, Function]] = []
    assert optimize(function, "fast_compile", kept).nodes[-1].op == sqr
    assert kept
    assert optimize(function, None).nodes[-1].op == pow
    with pytest.raises(ValueError, match="no optimization level"):
        stages("fastest")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("canonicalise", "there is no pass 'canonicalise'"),
        ("repeat(cse", "not closed"),
        ("cse)", "without repeat"),
        ("{x=1}", "without a pass"),
        ("cse;cse", "cannot read"),
        ("repeat(repeat(cse))", "nested"),
    ],
)
def test_malformed_pipelines(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run_pipeline(Function([], []), text)


def test_verification_names_the_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    from ltensor.errors import VerifyError
    from ltensor.passes import manager

    def broken(function: Function) -> Function:
        """Forget the inputs."""
        return Function([], function.outputs)

    monkeypatch.setitem(manager._PASSES, "broken", manager.Pass("broken", broken, "Broken."))
    x = vector()
    with pytest.raises(VerifyError, match=r"after pass broken: @f: .*neither an input"):
        run_pipeline(Function([x], [exp(x)]), "broken", verify=True)
