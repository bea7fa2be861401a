"""Products of float16: summed in float32, rounded once, without whole operands in 32 bits."""

import numpy as np
import pytest

import ltensor
import ltensor.tensor as T
from ltensor.lowering.cpu import jit
from ltensor.lowering.gemm import halves
from ltensor.lowering.gemm.element import SimpleHost

#: how the operands lie: plain, transposed, neither rows nor columns in one piece
WAYS = ["nn", "nt", "tn", "tt", "ss"]


def drawn(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype("float16")


def right(got, left, other):
    """Whether a product is that of float64, rounded, but for float32's error before rounding."""
    exact = left.astype("float64") @ other.astype("float64")
    sizes = np.abs(left.astype("float64")) @ np.abs(other.astype("float64"))
    assert got.dtype == np.float16
    spacing = np.spacing(np.abs(exact).astype("float16")).astype("float64")
    assert np.all(np.abs(got - exact) <= 0.5001 * spacing + 1e-5 * sizes)


@pytest.fixture(scope="module")
def programs():
    x, y = (T.TensorType("float16", (False, False))(name) for name in "xy")
    return {
        "nn": ltensor.function([x, y], T.dot(x, y)),
        "nt": ltensor.function([x, y], T.dot(x, y.T)),
        "tn": ltensor.function([x, y], T.dot(x.T, y)),
        "tt": ltensor.function([x, y], T.dot(x.T, y.T)),
        "ss": ltensor.function([x, y], T.dot(x[:, ::2], y[::2, ::2])),
    }


@pytest.mark.parametrize("sizes", [(3, 4, 5), (1, 7, 1), (0, 3, 2), (3, 0, 2), (258, 300, 515)])
@pytest.mark.parametrize("how", WAYS)
def test_product(programs, how, sizes):
    m, k, n = sizes
    if how == "ss":
        a, b = drawn(m, 2 * k), drawn(2 * k, 2 * n)
        right(programs[how](a, b), a[:, ::2], b[::2, ::2])
        return
    a = drawn(k, m) if how[0] == "t" else drawn(m, k)
    b = drawn(n, k) if how[1] == "t" else drawn(k, n)
    right(programs[how](a, b), a.T if how[0] == "t" else a, b.T if how[1] == "t" else b)


def test_sums_beyond_float16_are_no_overflow_on_the_way():
    v = T.TensorType("float16", (False,))("v")
    x = T.TensorType("float16", (False, False))("x")
    values = np.array([200, 200, -200, 200], "float16")
    against = np.array([250, 250, 250, -250], "float16")
    f = ltensor.function([x, v], [T.dot(x, v), T.dot(v, x.T), T.dot(x, x.T), T.dot(v, v)])
    by_row, by_column, square, inner = f(np.stack([values, values]), against)
    assert by_row.tolist() == by_column.tolist() == [0, 0]
    assert np.all(np.isinf(square))
    assert np.isinf(inner)


def test_vectors_and_batches():
    x, v = T.TensorType("float16", (False, False))("x"), T.TensorType("float16", (False,))("v")
    a, b, c = drawn(30, 40), drawn(40), drawn(30)
    right(ltensor.function([x, v], T.dot(x, v))(a, b), a, b)
    right(ltensor.function([x, v], T.dot(v, x))(a, c), c, a)
    right(ltensor.function([x, v], T.dot(x.T, v))(a, c), a.T, c)
    p, q = (T.TensorType("float16", (False,) * 3)(name) for name in "pq")
    f = ltensor.function([p, q], T.batched_dot(p, q.dimshuffle(0, 2, 1)))
    first, second = drawn(5, 3, 20), drawn(5, 7, 20)
    for got, one, other in zip(f(first, second), first, second, strict=True):
        right(got, one, other.T)


def test_no_operand_is_widened_as_a_whole():
    x, y = (T.TensorType("float16", (False, False))(name) for name in "xy")
    program = ltensor.function([x, y], T.dot(x, y))._linked.lowered.program
    assert "lt_matmul_f16" in program.calls
    assert [buffer.dtype for buffer in program.buffers] == ["float16"]


@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
def test_text_compiles_for_narrower_machines(vector_bytes):
    if vector_bytes <= jit.host().vector_bytes:
        jit.object_code(halves.module_text(SimpleHost(vector_bytes, True)))
