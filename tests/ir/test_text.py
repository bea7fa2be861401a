"""The textual form: ``parse(print(f))`` is ``f`` and prints the same."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from passes.graphs import graphs

import ltensor as theano
import ltensor.tensor as T
from ltensor.errors import ParseError
from ltensor.ir import dtypes as dt
from ltensor.ir.equal import equal, structural_hash
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Op
from ltensor.ir.text import MOST_NUMBERS, print_function, sanitized
from ltensor.ir.types import TensorType, random_state_type, tensor_type
from ltensor.ir.verify import verify
from ltensor.ops.opdef import REGISTRY
from ltensor.ops.textual import parse, parse_all
from ltensor.testing import variable_of


def round_trip(function: Function) -> Function:
    """Print, parse, and compare."""
    verify(function)
    text = print_function(function)
    again = parse(text)
    verify(again)
    assert equal(again, function), text
    assert structural_hash(again) == structural_hash(function)
    assert print_function(again) == text
    return again


# ------------------------------------------------------------------------- whole graphs


def _functions(name: str) -> Iterator[Function]:
    declaration = REGISTRY[name]
    assert declaration.samples is not None
    for dtype in ("float64", "float32", "int32", "bool", "complex64"):
        if declaration.dtypes and dtype not in declaration.dtypes:
            continue
        rng = np.random.default_rng(zlib.crc32(f"{name}/{dtype}".encode()))
        try:
            samples = list(declaration.samples(rng, dtype))
        except TypeError:
            continue
        for sample in samples[:4]:
            inputs = [
                random_state_type.make_variable()
                if isinstance(a, np.random.RandomState)
                else variable_of(np.asarray(a))
                for a in sample.arrays
            ]
            try:
                built = sample.build(*inputs)
            except (TypeError, NotImplementedError):
                continue
            outputs = list(built) if isinstance(built, (list, tuple)) else [built]
            yield Function(inputs, outputs)


@pytest.mark.parametrize("name", sorted(n for n, d in REGISTRY.items() if d.samples is not None))
def test_every_op(name: str) -> None:
    if name == "print":
        pytest.skip("its samples do not print, which the text does not tell")
    for function in _functions(name):
        round_trip(function)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(graphs(most=12))
def test_random_graphs(function: Function) -> None:
    round_trip(function)


def test_scan() -> None:
    x, w = T.matrix("x"), T.matrix("w")
    h, _ = theano.scan(
        lambda v, a, b, w: [T.tanh(T.dot(v, w) + a), a * b],
        sequences=[x],
        outputs_info=[T.zeros((3,)), {"initial": T.zeros((2, 3)), "taps": [-1]}],
        non_sequences=[w],
    )
    cost = h[0].sum() + h[1].sum()
    f = theano.function([x, w], [cost, T.grad(cost, w)])
    round_trip(f.maker.unoptimized)
    round_trip(f.maker.fgraph)


def test_optimized_functions_print_and_parse() -> None:
    x, y = T.matrix("x"), T.lvector("y")
    cost = T.nnet.categorical_crossentropy(T.nnet.softmax(x), y).mean()
    f = theano.function([x, y], [cost, T.grad(cost, x)])
    round_trip(f.maker.fgraph)


# ------------------------------------------------------------------------- constants, names


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(dt.ALL).flatmap(
        lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5))
    )
)
def test_constants_keep_their_bits(array: np.ndarray) -> None:
    kind = tensor_type(str(array.dtype), array.shape)
    constant = kind.make_constant(array)
    (out,) = round_trip(Function([], [constant])).outputs
    assert out.data.dtype == array.dtype
    assert out.data.shape == array.shape
    assert out.data.tobytes() == array.tobytes()


@pytest.mark.parametrize(
    "value",
    [
        np.float64("nan"), np.float64(-np.nan), np.float64(-0.0), np.float64("inf"),
        np.float32(1e-45), np.float32(3.4028235e38), np.float16(0.1), np.float64(5e-324),
        np.complex64(complex(-0.0, np.inf)), np.int64(-(2**63)), np.uint64(2**64 - 1),
        np.bool_(True), np.float64(0.1), np.float32(0.1),
    ],
)  # fmt: skip
def test_numbers_keep_their_bits(value: np.generic) -> None:
    constant = tensor_type(str(value.dtype), ()).make_constant(np.asarray(value))
    (out,) = round_trip(Function([], [constant])).outputs
    assert out.data.tobytes() == value.tobytes()


def test_forms_of_constants() -> None:
    x = T.vector("x")
    named = T.constant(3.5, name="half past three")
    small = T.constant(np.arange(3.0))
    large = T.constant(np.arange(MOST_NUMBERS + 1.0))
    text = print_function(Function([x], [x + 2, x * named, x + small, x - large]))
    assert "2:i8" in text
    assert "%half_past_three = constant 3.5 : f32[]" in text
    assert "constant [0.0, 1.0, 2.0] : f64[3]" in text
    assert f'constant bytes[{MOST_NUMBERS + 1}] "' in text
    round_trip(Function([x], [x + 2, x * named, x + small, x - large]))


def test_names_are_sanitized_and_unique() -> None:
    names = ["x", "x", "x_1", "a b", "3", "", None, "é", "%", "x"]
    inputs = [TensorType("float64", ()).make_variable(n) for n in names]
    function = Function(inputs, [inputs[0]])
    again = round_trip(function)
    shown = [v.name for v in again.inputs]
    assert shown == ["x", "x_1", "x_1_1", "a_b", "_3", None, None, "_", "__1", "x_2"]
    assert sanitized("W[0].T") == "W_0__T"


def test_other_types() -> None:
    function = parse("func @f(%r: rng, %x: f64[?]) -> (rng, f64[?]) { return %r, %x }")
    assert function.inputs[0].type == random_state_type
    round_trip(function)


def test_names_of_functions() -> None:
    function = Function([], [], "prog.py:12")
    assert print_function(function).startswith('func @"prog.py:12"() -> () {')
    assert round_trip(function).name == "prog.py:12"


def test_several_functions() -> None:
    text = "func @f() { return }\n; a comment\nfunc @g(%x: i8) { return %x }"
    assert [f.name for f in parse_all(text)] == ["f", "g"]
    with pytest.raises(ParseError, match="expected one function, found 2"):
        parse(text)


def test_locations() -> None:
    x = T.vector("x")
    function = Function([x], [T.exp(x)])
    assert "; test_text.py:" in print_function(function, locations=True)
    assert equal(parse(print_function(function, locations=True)), function)
    assert "test_text" not in print_function(function)


def test_parsed_nodes_know_their_line() -> None:
    function = parse("func @f(%x: f64) {\n  %y = exp %x\n  return %y\n}", "a.lt")
    assert function.nodes[0].source.location() == "a.lt:2"


def test_known_sizes_are_kept() -> None:
    text = "func @f(%x: f64[3,?]) -> f64[3,?] {\n  %y = exp %x : f64[?,?]\n  return %y\n}\n"
    function = parse(text)
    assert function.outputs[0].type.shape == (None, None)
    assert function.inputs[0].type.shape == (3, None)


class Doubled(Op):
    __props__ = ()

    def make_node(self, x):
        return Apply(self, [x], [x.type()])


def test_ops_of_the_user_do_not_parse_back() -> None:
    x = T.vector("x")
    text = print_function(Function([x], [Doubled()(x)]))
    assert '= python "Doubled" %x : f64[?]' in text
    with pytest.raises(ParseError, match=r"line 2.*cannot be read back"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found 0"),
        ("func f() {}", "expected name, found 'f'"),
        ("func @f(%x: q8) { return %x }", "line 1, column 13: no such type: q8"),
        ("func @f(%x: f64, %x: f64) { return %x }", "%x is defined twice"),
        ("func @f() { return %x }", "%x is not defined"),
        ("func @f(%x: f64) { %y = expo %x return %y }", "expo: .*did you mean exp"),
        ("func @f(%x: f64) {\n %y = exp %x, %x\n return %y }", "line 2, column 7: exp: exp takes"),
        ("func @f(%x: f64) { %y = exp %x : f32 return %y }", r"gives f64\[\], the text says f32"),
        ("func @f(%x: f64) { %y = exp %x : f64, f64 return %y }", "has 1 results, not 2"),
        ("func @f(%x: f64) { %y, %z = exp %x return %y }", "has 1 results, not 2"),
        ("func @f(%x: f64) -> f32 { return %x }", "not what its head says"),
        ("func @f(%x: f64) { return %x", "expected ,, found the end"),
        ("func @f(%x: f64[?]) { %y = sum %x {axis=[4]} return %y }", "sum: Not enough dimensions"),
        ("func @f(%x: f64[?]) { %y = sum %x {axes=[0]} return %y }", "unexpected keyword"),
        ("func @f() { %c = constant [1, 2] : f64[3] return %c }", r"shape \(2,\) is no f64\[3\]"),
        ("func @f() { %c = constant [1, [2]] : f64[?] return %c }", "not a value of type"),
        ("func @f() { return 300:i8 }", "300 does not fit"),
        ("func @f() { return 1.5:i8 }", "does not fit|is no"),
        ('func @f() { %c = constant bytes[2] "AAAA" : f64[2] return %c }', "not an array"),
        ("func @f() { $ }", r"line 1, column 13: cannot read '\$'"),
    ],
)
def test_errors(text: str, message: str) -> None:
    with pytest.raises(ParseError, match=message):
        parse(text)
