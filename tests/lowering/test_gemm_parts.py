"""Products in parts: a call compiles what it needs, and a part that is missing does no harm."""

from __future__ import annotations

import ctypes
import threading

import numpy as np
import pytest

import ltensor
import ltensor.tensor as T
from ltensor.lowering.cpu import jit, libraries
from ltensor.lowering.gemm import dispatch, kernels, parts
from ltensor.lowering.gemm.element import SHORT_NAMES, Element, SimpleHost
from ltensor.lowering.gemm.plan import Plan
from ltensor.lowering.gemm.tables import PARTS

DTYPES = {"float32": "f32", "float64": "f64", "complex64": "c64", "int16": "i16", "bool": "bool"}
I64, PTR = ctypes.c_int64, ctypes.c_void_p
GEMM_ARGS = (I64, I64, I64, PTR, I64, I64, PTR, I64, I64, PTR, I64)


@pytest.fixture
def fresh():
    """Products whose parts nobody has wanted yet."""
    dispatch.products.made.clear()
    return dispatch.products


def values(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    x = rng.integers(-4, 5, shape)
    return (x + 1j * rng.integers(-4, 5, shape) if dtype.startswith("c") else x).astype(dtype)


def product(call, a: np.ndarray, b: np.ndarray, alpha: int = 1, beta: int = 0) -> np.ndarray:
    """alpha * a @ b + beta: exact, the values are small integers."""
    c = np.ones((a.shape[0], b.shape[1]), a.dtype)
    steps = [[s // x.itemsize for s in x.strides] for x in (a, b, c)]
    scalars = [alpha, beta]
    if a.dtype.kind == "c":
        scalars = [alpha, 0, beta, 0]
    call(a.shape[0], b.shape[1], a.shape[1], a.ctypes.data, *steps[0],
         b.ctypes.data, *steps[1], c.ctypes.data, steps[2][0], *scalars)  # fmt: skip
    return c


def caller(prototype, address: int, dtype: str):
    kind = np.dtype(dtype)
    if kind.kind == "c":
        scalars = [ctypes.c_float] * 4
    else:
        scalars = [np.ctypeslib.as_ctypes_type(np.uint8 if dtype == "bool" else kind)] * 2
    return prototype(None, *GEMM_ARGS, *scalars)(address)


def test_a_small_program_compiles_a_tile_or_two(fresh) -> None:
    x, w = T.fmatrix(), T.fmatrix()
    f = ltensor.function([x, w], T.dot(x, w))
    products = fresh("float32")
    assert not products.loaded
    a, b = np.ones((2, 16), "f4"), np.ones((16, 64), "f4")
    np.testing.assert_array_equal(f(a, b), a @ b)
    assert len(products.loaded) == 1
    assert next(iter(products.loaded)).startswith(("tile 2", "scalar 2"))
    f(a, b)
    assert len(products.loaded) == 1
    f(np.ones((3, 16), "f4"), b)
    assert len(products.loaded) == 2


def test_forms_are_compiled_when_they_are_wanted(fresh) -> None:
    call = caller(ctypes.PYFUNCTYPE, dispatch.address("lt_matmul_f64", "float64"), "float64")
    products = fresh("float64")
    rng = np.random.default_rng(0)
    a, b = values(rng, (2, 64), "float64"), values(rng, (40, 64), "float64")
    np.testing.assert_array_equal(product(call, a, b.T), a @ b.T)
    assert "dot" in products.loaded
    assert "blocked" not in products.loaded
    a = values(rng, (40, 64), "float64")
    np.testing.assert_array_equal(product(call, a, b.T, 2, 3), 2 * (a @ b.T) + 3)
    assert {"blocked", "pack", "turn"} <= set(products.loaded)
    assert "kept" not in products.loaded


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_thread_without_pythons_lock_does_without(dtype: str, fresh) -> None:
    address = dispatch.address(f"lt_matmul_{DTYPES[dtype]}", dtype)
    call = caller(ctypes.CFUNCTYPE, address, dtype)
    rng = np.random.default_rng(1)
    for m, n, k in [(1, 1, 1), (2, 17, 9), (3, 5, 70), (40, 33, 65), (7, 1, 4), (3, 3, 0)]:
        a, b = values(rng, (m, k), dtype), values(rng, (n, k), dtype)
        for right in (b.T, np.ascontiguousarray(b.T)):
            for alpha, beta in [(1, 0), (1, 1)] if dtype == "bool" else [(1, 0), (2, 3)]:
                want = a @ right
                want = want | bool(beta) if dtype == "bool" else alpha * want + beta
                np.testing.assert_array_equal(product(call, a, right, alpha, beta), want)
    assert not fresh(dtype).loaded


def test_all_parts_at_once_for_threads(fresh) -> None:
    address = libraries.addresses(["lt_matmul_f32"], complete=True)["lt_matmul_f32"]
    made = dict(fresh("float32").loaded)
    plan = Plan.make(Element.make("float32", jit.host()))
    assert sum(name.startswith("tile ") for name in made) >= sum(map(len, plan.shapes.values()))
    call = caller(ctypes.CFUNCTYPE, address, "float32")
    a = np.ones((9, 33), "f4")
    got: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: got.append(product(call, a, a.T)))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(got[0], a @ a.T)
    assert fresh("float32").loaded == made


def test_without_memory_for_a_part(fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    call = caller(ctypes.PYFUNCTYPE, dispatch.address("lt_matmul_f32", "float32"), "float32")

    def refuse(*args: object, **kwargs: object) -> None:
        raise MemoryError

    a = np.ones((3, 20), "f4")
    with monkeypatch.context() as patch:
        patch.setattr(parts.jit, "compile_library", refuse)
        np.testing.assert_array_equal(product(call, a, a.T), a @ a.T)
    assert not fresh("float32").loaded
    np.testing.assert_array_equal(product(call, a, a.T), a @ a.T)
    assert fresh("float32").loaded


@pytest.mark.parametrize("width", [64, 32, 16])
def test_the_parts_are_those_of_one_module(width: int) -> None:
    """Every function of the whole module is in the base or in a part."""
    for dtype in SHORT_NAMES:
        el = Element.make(dtype, SimpleHost(width, True))
        plan = Plan.make(el)
        whole = set(functions(kernels.module_text(dtype, SimpleHost(width, True))))
        names = ["pack", "blocked"]
        names += (
            ["keep", "kept", *(p for p in PARTS if p.startswith("dot"))]
            if el.kind == "float"
            else []
        )
        names += ["turn"] if el.size in (4, 8) else []
        names += ["narrow", "flipped"] if el.kind == "float" and el.has_masks else []
        for rows, shapes in plan.shapes.items():
            kinds = range(2 if el.has_masks and width == 32 else 1)
            names += [f"tile {rows} {v} {kind}" for v in shapes for kind in kinds]
            names += [] if el.has_masks else [f"scalar {rows} {c}" for c in (1, 2, 3)]
        found = functions(kernels.base_text(el, plan))
        for name in names:
            found += functions(kernels.part_text(el, plan, name))
        assert len(found) == len(set(found))
        assert whole <= set(found)


def functions(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.startswith("define ")]
    return [line.split("@")[1].split("(")[0] for line in lines]
