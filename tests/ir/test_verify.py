"""The verifier and structural equality."""

from __future__ import annotations

import pytest

import ltensor.tensor as T
from ltensor.errors import VerifyError
from ltensor.ir.equal import equal, structural_hash
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply
from ltensor.ir.types import TensorType
from ltensor.ir.verify import verify
from ltensor.ops.textual import parse
from ltensor.ops.transcendental import exp

SCAN = """
func @f(%n: i64, %x: f64) {{
  %a = scan %n, %x {{n_seqs=0, lags=[], n_carries=1, n_outs=0, has_stop=false, keep=[],
                    truncate=-1, name="s"}}
    (%p: f64) {{
      %c = {op} %p
      yield %c
    }}
  return %a
}}
"""


def test_free_variable() -> None:
    x, y = T.vectors("x", "y")
    with pytest.raises(VerifyError, match=r"@f: operand 1 of .*test_verify.py:\d+ is y"):
        verify(Function([x], [x + y]))
    with pytest.raises(VerifyError, match="the output y is not computed"):
        verify(Function([x], [y]))


def test_inputs() -> None:
    x = T.vector("x")
    with pytest.raises(VerifyError, match="the input x occurs twice"):
        verify(Function([x, x], [x]))
    with pytest.raises(VerifyError, match="is a constant"):
        verify(Function([T.constant(1)], []))


def test_wrong_type() -> None:
    x = T.vector("x")
    node = Apply(exp, [x], [TensorType("float32", (False,)).make_variable()])
    with pytest.raises(VerifyError, match=r"output 0 of .*exp.* is TensorType\(float32, vector\)"):
        verify(Function([x], node.outputs))


def test_wrong_size() -> None:
    x = TensorType("float64", shape=(3,)).make_variable("x")
    node = Apply(exp, [x], [TensorType("float64", shape=(4,)).make_variable()])
    with pytest.raises(VerifyError, match="its op gives"):
        verify(Function([x], node.outputs))


def test_wrong_owner() -> None:
    x = T.vector("x")
    y = exp(x)
    z = exp(y)
    y.owner.outputs[0] = T.vector()
    with pytest.raises(VerifyError, match=r"cycle|says it is"):
        verify(Function([x], [z]))


def test_cycle() -> None:
    x = T.vector("x")
    y = exp(x)
    z = exp(y)
    y.owner.inputs[0] = z
    with pytest.raises(VerifyError, match="comes before"):
        verify(Function([x], [z]))


def test_node_that_cannot_be_built() -> None:
    x = T.vector("x")
    y = exp(x)
    y.owner.inputs.append(x)
    with pytest.raises(VerifyError, match="cannot be built again: exp takes"):
        verify(Function([x], [y]))


def test_regions_are_verified() -> None:
    function = parse(SCAN.format(op="exp"))
    verify(function)
    function.nodes[0].op.body.nodes[0].inputs[0] = T.scalar("stranger")
    with pytest.raises(VerifyError, match=r"region 0 of .* is stranger"):
        verify(function)


def test_equal_whatever_the_names() -> None:
    f = parse("func @f(%x: f64[?], %y: f64[?]) { %a = add %x, %y  %b = exp %a  return %b }")
    g = parse("func @g(%u: f64[?], %v: f64[?]) { %1 = add %u, %v  %2 = exp %1  return %2 }")
    assert equal(f, g)
    assert structural_hash(f) == structural_hash(g)


@pytest.mark.parametrize(
    "other",
    [
        "func @f(%x: f64[?], %y: f64[?]) { %a = add %y, %x  return %a }",
        "func @f(%x: f64[?], %y: f64[?]) { %a = sub %x, %y  return %a }",
        "func @f(%x: f32[?], %y: f64[?]) { %a = add %x, %y  return %a }",
        "func @f(%x: f64[?], %y: f64[?]) { %a = add %x, %y  return %a, %a }",
        "func @f(%x: f64[?], %y: f64[?], %z: f64) { %a = add %x, %y  return %a }",
        "func @f(%x: f64[?], %y: f64[?]) { return %x }",
    ],
)
def test_different(other: str) -> None:
    f = parse("func @f(%x: f64[?], %y: f64[?]) { %a = add %x, %y  return %a }")
    assert not equal(f, parse(other))


def test_regions_are_compared() -> None:
    assert equal(parse(SCAN.format(op="exp")), parse(SCAN.format(op="exp")))
    assert not equal(parse(SCAN.format(op="exp")), parse(SCAN.format(op="neg")))


def test_attributes_and_constants_are_compared() -> None:
    text = (
        "func @f(%x: f64[?,?]) {{ %a = sum %x {{axis=[{}]}}  %b = mul %a, {}:f64[1]  return %b }}"
    )
    assert equal(parse(text.format(0, 2.0)), parse(text.format(0, 2.0)))
    assert not equal(parse(text.format(0, 2.0)), parse(text.format(1, 2.0)))
    assert not equal(parse(text.format(0, 2.0)), parse(text.format(0, 3.0)))
    # zero and minus zero are different bits
    assert not equal(parse(text.format(0, 0.0)), parse(text.format(0, -0.0)))
