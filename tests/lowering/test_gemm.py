"""Matrix products: own kernels against NumPy for all dtypes and vector widths, and the dispatch."""

from __future__ import annotations

import ctypes
import functools
import itertools

import numpy as np
import pytest

from ltensor.lowering.cpu import jit
from ltensor.lowering.gemm import blas, choice, dispatch, kept, kernels
from ltensor.lowering.gemm.element import SHORT_NAMES, Element, SimpleHost
from ltensor.lowering.gemm.plan import SPLITS, Plan

I64, PTR = ctypes.c_int64, ctypes.c_void_p
GEMM_ARGS = (I64, I64, I64, PTR, I64, I64, PTR, I64, I64, PTR, I64)
BATCHED_ARGS = (I64, I64, I64, I64, PTR, *[I64] * 3, PTR, *[I64] * 3, PTR, I64, I64)
WIDTHS = (64, 32, 16)
MAIN_DTYPES = ("float32", "float64")
ALL_DTYPES = tuple(SHORT_NAMES)

# M, N, K: empty, single, odd tails, one column, one row, both sides of every threshold.
SHAPES = [
    (0, 3, 4), (3, 0, 4), (3, 4, 0), (1, 1, 1), (1, 17, 5), (1, 130, 64), (10, 10, 10),
    (5, 7, 3), (8, 48, 16), (9, 49, 17), (33, 31, 65), (1, 300, 70), (70, 1, 33),
    (17, 100, 40), (64, 96, 130), (3, 33, 64), (7, 260, 31),
]  # fmt: skip
LARGE_SHAPES = [(300, 60, 270), (530, 40, 20), (24, 90, 600), (13, 50, 1030)]


def width_available(width: int) -> bool:
    return width <= jit.host().vector_bytes


@functools.cache
def own_kernel(dtype: str, width: int, has_fma: bool = True):
    host = SimpleHost(width, has_fma and jit.host().has_fma)
    module = jit.compile_module(kernels.module_text(dtype, host))
    return function(module, f"lt_gemm_{SHORT_NAMES[dtype]}", dtype, GEMM_ARGS)


def function(module, name, dtype, args):
    call = ctypes.CFUNCTYPE(None, *args, *scalar_types(dtype))(module.address(name))
    call.module = module
    return call


def scalar_types(dtype: str):
    d = np.dtype(dtype)
    if d.kind == "c":
        return [ctypes.c_float if d.itemsize == 8 else ctypes.c_double] * 4
    return [np.ctypeslib.as_ctypes_type(np.uint8 if d.kind == "b" else d)] * 2


def scalars(dtype: str, alpha, beta):
    if np.dtype(dtype).kind == "c":
        alpha, beta = complex(alpha), complex(beta)
        return alpha.real, alpha.imag, beta.real, beta.imag
    return alpha, beta


def multiply(call, a, b, c, alpha=1, beta=0):
    size = c.itemsize
    call(
        a.shape[0], b.shape[1], a.shape[1],
        a.ctypes.data, a.strides[0] // size, a.strides[1] // size,
        b.ctypes.data, b.strides[0] // size, b.strides[1] // size,
        c.ctypes.data, c.strides[0] // size, *scalars(c.dtype, alpha, beta),
    )  # fmt: skip


def operand(rng, shape, dtype, layout):
    m, n = shape
    if layout == "transposed":
        return values(rng, (n, m), dtype).T
    if layout == "strided":
        return values(rng, (2 * m, 3 * n), dtype)[::2, ::3]
    if layout == "reversed":
        return values(rng, (m, n), dtype)[::-1]
    if layout == "broadcast":
        return np.broadcast_to(values(rng, (1, n), dtype), (m, n))
    return values(rng, shape, dtype)


def values(rng, shape, dtype):
    d = np.dtype(dtype)
    if d.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if d.kind in "iu":
        info = np.iinfo(d)
        return rng.integers(info.min, info.max, shape, dtype=d, endpoint=True)
    x = rng.standard_normal(shape)
    return (x + 1j * rng.standard_normal(shape) if d.kind == "c" else x).astype(d)


def expected(a, b, c, alpha, beta):
    """Exact for integers (NumPy's wrap too), in the wider type otherwise."""
    kind = a.dtype.kind
    if kind == "b":
        return (a @ b) | (c & bool(beta))
    if kind in "iu":
        one = a.dtype.type
        with np.errstate(over="ignore"):
            return one(alpha) * (a @ b) + one(beta) * c
    wide = np.complex128 if kind == "c" else np.float64
    product = alpha * (a.astype(wide) @ b.astype(wide))
    return product if beta == 0 else product + beta * c


def check(call, rng, shape, dtype, layouts, alpha, beta):
    m, n, k = shape
    a, b = operand(rng, (m, k), dtype, layouts[0]), operand(rng, (k, n), dtype, layouts[1])
    # C is a part of a larger array, whose other columns must stay as they are.
    around = values(rng, (m, n + 5), dtype)
    if beta == 0 and np.dtype(dtype).kind in "fc":
        around[...] = np.nan
    before = around.copy()
    multiply(call, a, b, around[:, :n], alpha, beta)
    want = expected(a, b, before[:, :n], alpha, beta)
    if np.dtype(dtype).kind in "biu":
        np.testing.assert_array_equal(around[:, :n], want)
    else:
        eps = np.finfo(dtype).eps
        bound = 8 * eps * (np.abs(a).astype(float) @ np.abs(b).astype(float) + np.abs(want) + 1)
        assert np.all(np.abs(around[:, :n] - want) <= bound * (abs(alpha) + 1))
    np.testing.assert_array_equal(around[:, n:], before[:, n:])


SCALINGS = [(1, 0), (1, 1), (2, 3)]
LAYOUTS = [
    ("plain", "plain"), ("plain", "transposed"), ("transposed", "plain"),
    ("transposed", "transposed"), ("strided", "strided"), ("plain", "reversed"),
    ("reversed", "strided"), ("plain", "broadcast"), ("broadcast", "plain"),
]  # fmt: skip


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", MAIN_DTYPES)
def test_product_of_every_shape_and_layout(dtype, width):
    if not width_available(width):
        pytest.skip(f"this machine has no {width}-byte vectors")
    call = own_kernel(dtype, width)
    rng = np.random.default_rng(1)
    for shape, layouts, (alpha, beta) in itertools.product(SHAPES, LAYOUTS, SCALINGS):
        check(call, rng, shape, dtype, layouts, alpha, beta)
    for shape, layouts in itertools.product(LARGE_SHAPES, LAYOUTS):
        check(call, rng, shape, dtype, layouts, 2, 3)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", [d for d in ALL_DTYPES if d not in MAIN_DTYPES])
def test_product_of_other_dtypes(dtype, width):
    if not width_available(width):
        pytest.skip(f"this machine has no {width}-byte vectors")
    call = own_kernel(dtype, width)
    rng = np.random.default_rng(2)
    scalings = {"b": [(1, 0), (1, 1)], "c": [(1, 0), (2 - 1j, 0.5 + 3j)]}
    for (alpha, beta), layouts in itertools.product(
        scalings.get(np.dtype(dtype).kind, SCALINGS), LAYOUTS[:5]
    ):
        for shape in [*SHAPES, (40, 33, 300), (260, 9, 6)]:
            check(call, rng, shape, dtype, layouts, alpha, beta)


@pytest.mark.parametrize("width", WIDTHS)
def test_every_tile_shape_with_every_tail(width):
    if not width_available(width):
        pytest.skip(f"this machine has no {width}-byte vectors")
    call = own_kernel("float64", width)
    rng = np.random.default_rng(3)
    for m, n in itertools.product(range(1, 18), range(1, 70)):
        check(call, rng, (m, n, 3), "float64", ("plain", "plain"), 1, 0)
    for m, n, k in itertools.product(range(1, 9), range(1, 18), (8, 9, 16, 23)):
        check(call, rng, (m, n, k), "float64", ("plain", "transposed"), 2, 3)


def test_product_without_fused_multiply_add():
    call = own_kernel("float32", 16, has_fma=False)
    rng = np.random.default_rng(4)
    for shape in SHAPES:
        check(call, rng, shape, "float32", ("plain", "transposed"), 2, 3)


def test_large_products_work_without_memory():
    text = kernels.module_text("float32", jit.host())
    text = text.replace("declare ptr @malloc(i64)", "").replace("@malloc(", "@no_memory(")
    text += "define internal ptr @no_memory(i64 %n) { ret ptr null }\n"
    call = function(jit.compile_module(text), "lt_gemm_f32", "float32", GEMM_ARGS)
    rng = np.random.default_rng(10)
    for shape, layouts in itertools.product(LARGE_SHAPES, LAYOUTS):
        check(call, rng, shape, "float32", layouts, 2, 3)


def test_nan_and_infinity_of_the_operands_spread():
    call = own_kernel("float64", jit.host().vector_bytes)
    a, b, c = np.ones((3, 4)), np.ones((4, 21)), np.zeros((3, 21))
    a[1, 2], b[0, 20] = np.nan, np.inf
    multiply(call, a, b, c, alpha=0)
    assert np.isnan(c[1]).all()
    assert np.isnan(c[:, 20]).all()
    assert (c[0, :20] == 0).all()


def test_one_column_into_adjacent_and_distant_rows():
    call = own_kernel("float32", jit.host().vector_bytes)
    rng = np.random.default_rng(5)
    for layout in ("plain", "transposed", "strided"):
        a = operand(rng, (37, 50), "float32", layout)
        b = values(rng, (50, 1), "float32")
        for c in (np.full((37, 1), np.nan, "f"), np.full((37, 4), np.nan, "f")[:, 1:2]):
            multiply(call, a, b, c)
            np.testing.assert_allclose(c, a @ b, rtol=1e-4, atol=1e-5)


def test_no_read_past_the_operands():
    """Operands end where a page ends that may not be read."""
    import mmap

    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mprotect"):
        pytest.skip("no mprotect")
    page = mmap.PAGESIZE
    blocks = []

    def at_edge(array):
        room = -(-array.nbytes // page) * page
        block = mmap.mmap(-1, room + page)
        start = ctypes.addressof(ctypes.c_char.from_buffer(block))
        assert libc.mprotect(ctypes.c_void_p(start + room), ctypes.c_size_t(page), 0) == 0
        blocks.append((block, start + room))
        flat = np.frombuffer(block, array.dtype, array.size, room - array.nbytes)
        copy = flat.reshape(array.shape)
        copy[...] = array
        return copy

    rng = np.random.default_rng(6)
    try:
        for width in filter(width_available, WIDTHS):
            for dtype, (m, n, k) in itertools.product(
                ("float32", "complex64", "int8"), [(3, 5, 7), (9, 35, 21), (40, 19, 70), (1, 9, 9)]
            ):
                a, bt = at_edge(values(rng, (m, k), dtype)), at_edge(values(rng, (n, k), dtype))
                b, c = at_edge(values(rng, (k, n), dtype)), at_edge(values(rng, (m, n), dtype))
                call = own_kernel(dtype, width)
                for right in (b, bt.T):
                    multiply(call, a, right, c)
                    np.testing.assert_allclose(c, a @ right, rtol=1e-3, atol=1e-3)
    finally:
        for _, edge in blocks:
            libc.mprotect(ctypes.c_void_p(edge), ctypes.c_size_t(page), 3)


# --- dispatch -------------------------------------------------------------------------------------


@functools.cache
def matmul(dtype):
    address = dispatch.addresses(dtype)[dispatch.gemm_symbol(dtype)]
    # with Python's lock, as generated code is called: parts are compiled when they are wanted
    return ctypes.PYFUNCTYPE(None, *GEMM_ARGS, *scalar_types(dtype))(address)


@functools.cache
def always_blas(dtype):
    library = blas.find()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            choice.CostModel,
            "of",
            classmethod(lambda cls, el, lib: cls(blas_rows=0, blas_work=0)),
        )
        text = choice.module_text(dtype, jit.host(), library)
    module = jit.compile_module(text, dispatch.symbols(dtype, library))
    return function(module, dispatch.gemm_symbol(dtype), dtype, GEMM_ARGS)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128", "int32"])
def test_dispatched_product(dtype):
    rng = np.random.default_rng(7)
    for shape, layouts in itertools.product(SHAPES, LAYOUTS[:6]):
        check(matmul(dtype), rng, shape, dtype, layouts, 1, 1)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_every_product_that_blas_can_do_goes_there(dtype):
    if blas.find() is None:
        pytest.skip(blas.reason())
    rng = np.random.default_rng(8)
    for shape, layouts, (alpha, beta) in itertools.product(SHAPES, LAYOUTS, SCALINGS):
        check(always_blas(dtype), rng, shape, dtype, layouts, alpha, beta)


KEEP_ARGS = (I64, I64, I64, PTR, I64, I64, PTR)


@functools.cache
def kept_product(dtype, width):
    """The functions that pack B and that multiply by what they packed."""
    text = choice.module_text(dtype, SimpleHost(width, jit.host().has_fma), None)
    module = jit.compile_module(text)
    keep = ctypes.CFUNCTYPE(None, *KEEP_ARGS)(module.address(dispatch.keep_symbol(dtype)))
    call = module.address(dispatch.kept_symbol(dtype))
    return module, keep, ctypes.CFUNCTYPE(None, *GEMM_ARGS, *scalar_types(dtype), I64)(call)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", MAIN_DTYPES)
def test_packed_once(dtype, width):
    """B plain, turned, reversed and with gaps; more and fewer rows than it was packed for."""
    if not width_available(width):
        pytest.skip("the machine has no such vectors")
    _, keep, call = kept_product(dtype, width)
    rng, size = np.random.default_rng(10), np.dtype(dtype).itemsize
    shapes = [s for s in (*SHAPES, *LARGE_SHAPES, (2, 70, 513), (4, 19, 1025)) if all(s)]
    for m, n, k in shapes:
        a, wide = values(rng, (m, 2 * k), dtype)[:, ::2], values(rng, (2 * k, 3 * n), dtype)
        turned = np.ascontiguousarray(wide[:k, :n].T).T
        for b in (wide[:k, :n].copy(), turned, wide[:k, n : 2 * n], wide[::-2, ::3]):
            columns = -(-n // kept.KEPT_COLUMNS) * kept.KEPT_COLUMNS
            packed = np.full(k * columns + 2, 77, dtype)
            steps = [s // size for s in b.strides]
            for planned, (alpha, beta) in (
                (m, (1, 0)),
                (max(1, m // 2), (2, 0.5)),
                (m + 9, (1, 1)),
            ):
                keep(planned, n, k, b.ctypes.data, *steps, packed[1:].ctypes.data)
                assert packed[0] == 77 == packed[-1]
                c = values(rng, (m, n + 3), dtype)
                want = c.copy()
                want[:, :n] = alpha * (a.astype("f8") @ b.astype("f8")) + beta * c[:, :n]
                for rows, right in ((planned, packed[1:]), (0, b)):
                    got = c.copy()
                    call(m, n, k, a.ctypes.data, *(s // size for s in a.strides), right.ctypes.data,
                         *steps, got.ctypes.data, n + 3, alpha, beta, rows)  # fmt: skip
                    tolerance = k * 40 * np.finfo(dtype).eps
                    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("width", [w for w in WIDTHS if width_available(w)])
@pytest.mark.parametrize("dtype", MAIN_DTYPES)
@pytest.mark.parametrize("layouts", list(itertools.product(("plain", "transposed"), repeat=2)))
def test_few_columns(dtype, width, layouts):
    """Few columns are dot products, or a transposed product that is turned block by block."""
    call = own_kernel(dtype, width)
    rng = np.random.default_rng(7)
    sizes = itertools.product((32, 35, 385), (1, 2, 4, 7, 11, 16, 18, 49, 66), (1, 8, 33, 515))
    for (m, n, k), (alpha, beta) in zip(sizes, itertools.cycle([(1, 0), (2, -1)])):
        a = operand(rng, (m, k), dtype, layouts[0])
        b = operand(rng, (k, n), dtype, layouts[1])
        whole = values(rng, (m, n + 3), dtype)
        before = whole.copy()
        want = expected(a, b, before[:, :n], alpha, beta)
        if beta == 0:
            whole[:, :n] = np.nan
        multiply(call, a, b, whole[:, :n], alpha, beta)
        tolerance = 2e-4 if dtype == "float32" else 1e-12
        np.testing.assert_allclose(whole[:, :n], want, rtol=tolerance, atol=10 * tolerance)
        np.testing.assert_array_equal(whole[:, n:], before[:, n:])


def test_packing_nothing():
    _, keep, _ = kept_product("float32", 16)
    for sizes in ((0, 3, 4), (3, 0, 4), (3, 4, 0)):
        keep(*sizes, None, 4, 1, None)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "complex128", "int16"])
def test_batched_product(dtype, shared):
    address = dispatch.addresses(dtype)[dispatch.batched_symbol(dtype)]
    call = ctypes.PYFUNCTYPE(None, *BATCHED_ARGS, *scalar_types(dtype))(address)
    rng = np.random.default_rng(9)
    for batch, m, n, k in [(0, 2, 3, 4), (1, 2, 3, 4), (5, 4, 20, 6), (3, 1, 7, 30)]:
        a = values(rng, (batch, m, k), dtype)
        b = values(rng, (1 if shared else batch, k, n), dtype)
        c = values(rng, (batch, m, n), dtype)
        want = (a @ b + c).astype(dtype)
        call(
            batch, m, n, k, a.ctypes.data, m * k, k, 1, b.ctypes.data, 0 if shared else k * n, n, 1,
            c.ctypes.data, m * n, n, *scalars(dtype, 1, 1),
        )  # fmt: skip
        np.testing.assert_allclose(c, want, rtol=1e-4, atol=1e-5)


def test_symbols():
    assert dispatch.gemm_symbol("float32") == "lt_matmul_f32"
    assert dispatch.batched_symbol("complex64") == "lt_matmul_batched_c64"
    with pytest.raises(ValueError, match="float16"):
        dispatch.gemm_symbol("float16")


def test_text_without_blas_has_no_external_symbol_but_malloc():
    text = choice.module_text("float64", SimpleHost(32, True), None)
    names = [
        line for line in text.splitlines() if line.startswith("declare") and "llvm." not in line
    ]
    assert names == ["declare ptr @malloc(i64)", "declare void @free(ptr)"]


def test_text_for_a_library_with_32_bit_integers():
    info = blas.BlasInfo("libcblas.so", {"sgemm": 1, "dgemm": 2}, 32, None, None)
    jit.object_code(choice.module_text("float32", jit.host(), info))
    assert info.threads() is None
    info.use_threads(1)


def test_the_search_for_blas_always_says_something():
    info = blas.find()
    assert blas.reason()
    if info is not None:
        assert {"sgemm", "dgemm"} <= set(info.addresses)
        assert info.int_bits in (32, 64)


def test_no_blas_is_reported(monkeypatch):
    monkeypatch.setattr(blas, "_candidates", lambda: iter(()))
    info, why = blas._search.__wrapped__()
    assert info is None
    assert "no BLAS" in why


@pytest.mark.parametrize("width", WIDTHS)
def test_panels_fill_any_width(width):
    plan = Plan.make(Element.make("float32", SimpleHost(width, True)))
    for rows, shapes in plan.shapes.items():
        take = plan.first_panel(rows)
        for left in range(1, SPLITS):
            assert 0 < take[left] <= left
            assert take[left] in shapes
            # A last tile of fewer rows uses the same panel.
            assert all(take[left] in plan.shapes[fewer] for fewer in range(1, rows))
