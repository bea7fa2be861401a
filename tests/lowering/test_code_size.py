"""How much code is written: equal nests once, no tails that cannot be needed, shared entries."""

from __future__ import annotations

import gc
import re

import numpy as np
import pytest

import ltensor
import ltensor.tensor as T
from ltensor.lowering.cpu.jit import host


def text_of(f) -> str:
    return f._linked.text


def definitions(f) -> list[str]:
    lines = [line for line in text_of(f).splitlines() if line.startswith("define ")]
    return [line.split("@")[1].split("(")[0] for line in lines]


def layers(count: int):
    x, w = T.fmatrix("x"), T.fmatrix("w")
    h = x
    for number in range(count):
        h = T.tanh(T.dot(h, w) + np.float32(1 + number))
    return ltensor.function([x, w], h), count


@pytest.mark.parametrize("count", [2, 3, 30])
def test_nests_that_differ_in_buffers_and_constants_are_written_once(count: int) -> None:
    f, _ = layers(count)
    assert [name for name in definitions(f) if name.startswith("nest")] == ["nest0"]
    assert text_of(f).count("call void @nest0(") == count
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((5, 19), "f4"), rng.standard_normal((19, 19), "f4") / 8
    h = x
    for number in range(count):
        h = np.tanh(h @ w + np.float32(1 + number))
    np.testing.assert_allclose(f(x, w), h, rtol=1e-5, atol=1e-6)


def test_text_grows_by_little_for_each_further_nest() -> None:
    lengths = [len(text_of(layers(count)[0]).splitlines()) for count in (10, 20, 40)]
    per_layer = (lengths[1] - lengths[0]) / 10
    assert (lengths[2] - lengths[1]) / 20 == pytest.approx(per_layer, abs=1)
    assert per_layer < 40


def test_the_same_graph_gives_the_same_text() -> None:
    """Whatever the addresses of objects are: by the text its object is found on the disk."""
    x = T.dvector("x")
    numbers = [T.dscalar(f"a{k}") for k in range(9)]
    total = x
    for number in numbers:
        total = T.tanh(total * number)
    kept, texts = [], set()
    for size in range(1, 9):
        kept.append([object() for _ in range(97 * size)])
        texts.add(text_of(ltensor.function([x, *numbers], total)))
    assert len(texts) == 1


def test_an_only_nest_stays_where_it_is() -> None:
    assert not [name for name in definitions(layers(1)[0]) if name.startswith("nest")]


def test_nests_with_other_offsets_or_operations_are_not_taken_for_equal() -> None:
    x = T.dvector("x")
    a = T.tanh(T.dot(T.outer(x[1:4], x), x))
    b = T.exp(T.dot(T.outer(a, x[2:5]), x[3:6]))
    f = ltensor.function([x], [a, b])
    v = np.linspace(0.1, 0.9, 7)
    first = np.tanh(np.outer(v[1:4], v) @ v)
    np.testing.assert_allclose(f(v)[0], first)
    np.testing.assert_allclose(f(v)[1], np.exp(np.outer(first, v[2:5]) @ v[3:6]))


def test_nests_in_a_loop_over_steps_stay_there() -> None:
    w, x = T.fmatrix("w"), T.fvector("x")

    def step(h):
        return T.tanh(T.dot(T.tanh(T.dot(h, w)), w))

    h, _ = ltensor.scan(step, outputs_info=[x], n_steps=3)
    f = ltensor.function([x, w], h[-1])
    nests = text_of(f).split("define i32 @core(")[0].split("define internal void @nest")[1:]
    assert not any("fmul" in nest for nest in nests)


def test_equal_reductions_over_inner_axes() -> None:
    """Nests with a loop that carries a value inside, and constants in all lanes."""
    x, y = T.dmatrix("x"), T.dmatrix("y")
    outputs = [T.sqrt(m.sum(axis=1) * 2.5 + 1.5) for m in (x, y)]
    f = ltensor.function([x, y], outputs)
    a, b = np.arange(21.0).reshape(3, 7), np.arange(40.0).reshape(2, 20)
    for got, m in zip(f(a, b), (a, b), strict=True):
        np.testing.assert_allclose(got, np.sqrt(m.sum(1) * 2.5 + 1.5))


def test_equal_nests_of_many_dimensions() -> None:
    """Offsets that are sums of so many terms go through memory, that of the nest's function."""
    rank = 20
    kinds = [T.TensorType("float64", [False] * rank), T.TensorType("float64", [True, False] * 10)]
    x, y, u, v = (kind() for kind in kinds * 2)
    f = ltensor.function([x, y, u, v], [x + y, u + v])
    assert text_of(f).count("call void @nest0(") == 2
    shapes = [[2 if k % 3 == 0 else 1 for k in range(rank)]]
    shapes.append([1 if k % 2 == 0 else size for k, size in enumerate(shapes[0])])
    rng = np.random.default_rng(0)
    a, b, c, d = (rng.standard_normal(shape) for shape in shapes * 2)
    first, second = f(a, b, c, d)
    np.testing.assert_array_equal(first, a + b)
    np.testing.assert_array_equal(second, c + d)


@pytest.mark.parametrize(("size", "masked"), [(64, False), (61, True), (3, True), (0, False)])
def test_sizes_that_are_known_need_no_tail(size: int, masked: bool) -> None:
    x = T.dvector("x")
    f = ltensor.function([x], x[0] + T.zeros((size,)) + np.arange(float(size)))
    assert ("llvm.masked.store" in text_of(f)) == masked
    np.testing.assert_array_equal(f(np.array([2.0])), 2.0 + np.arange(float(size)))


def test_the_entry_is_shared() -> None:
    """What a function's entry adds is data, no code."""
    for count in (1, 8):
        xs = [T.dvector() for _ in range(count)]
        text = text_of(ltensor.function(xs, sum(xs[1:], xs[0])))
        assert len(text.split("@entry = constant")[1].strip().splitlines()) == 1
        assert len(re.findall("^define", text, re.M)) == 1


@pytest.mark.parametrize("active", [True, False])
def test_the_collector_is_as_it_was(active: bool) -> None:
    before = gc.isenabled()
    (gc.enable if active else gc.disable)()
    try:
        x = T.dvector()
        ltensor.function([x], x * 3)
        assert gc.isenabled() == active
        with pytest.raises(TypeError):
            ltensor.function([x], [object()])
        assert gc.isenabled() == active
    finally:
        (gc.enable if before else gc.disable)()


def test_sizes_of_an_argument_need_no_check_of_their_product() -> None:
    """What is in memory can be counted; other products of sizes may wrap."""
    x, y = T.dmatrix("x"), T.dvector("y")
    same = ltensor.function([x], [x + 1, x.T * 2])
    assert "\nbad" not in text_of(same)
    shared = ltensor.shared(np.zeros((2, 3)))
    assert "\nbad" not in text_of(ltensor.function([], shared + 1))
    # as many bytes as elements twice, or sizes of two arrays: checked
    for f in (
        ltensor.function([y], T.outer(y, y)),
        ltensor.function([x, y], T.outer(x[:, 0], y)),
    ):
        assert "\nbad" in text_of(f)
    v = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(same(v)[1], v.T * 2)


def test_a_size_left_out_may_hide_any_other() -> None:
    """An array of no elements may have sizes whose product without the zero does not fit."""
    x = T.bmatrix("x")
    f = ltensor.function([x], T.alloc(np.float64(0), x.shape[1], x.shape[1]))
    empty = np.broadcast_to(np.empty((0, 1), "int8"), (0, 2**40))
    with pytest.raises((MemoryError, ValueError)):
        f(empty)


@pytest.mark.parametrize("size", [0, 1, 5, 33, 1000, 70001])
def test_functions_of_singles_fill_registers_though_their_sum_is_double(size: int) -> None:
    x = T.fvector("x")
    f = ltensor.function([x], (T.exp(x) * T.tanh(x)).sum())
    lanes = host().vector_bytes // 4
    assert f"@llvm.fma.v{lanes}f32(" in text_of(f) or not host().has_fma
    assert f"fpext <{lanes} x float>" in text_of(f)
    a = np.random.default_rng(0).standard_normal(size).astype("f4")
    e = np.exp(a.astype("f8")) * np.tanh(a.astype("f8"))
    np.testing.assert_allclose(f(a), e.sum(), rtol=1e-6, atol=1e-6 * max(1, size) ** 0.5)


def test_few_functions_among_doubles_do_not_widen_the_loop() -> None:
    x, y = T.fvector("x"), T.dvector("y")
    value = T.exp(x) * y + y * y - y / (1 + y * y) + (y - 3) * (y + 2)
    f = ltensor.function([x, y], value)
    assert f"<{host().vector_bytes // 8} x float>" in text_of(f)
