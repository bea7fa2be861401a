"""Values and gradients of scan over a product of cases, against a plain NumPy loop.

The ordinary run takes a sample in which any three choices meet (any two for gradients); the whole
product (46,080 values; 23,040 gradients of order 1 and 2 each, a seventh of them of order 3) is
behind the marker ``slow``. The summary of a run tells how many cases it checked.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scan.loop_cases import (
    FACTORS,
    READS,
    WIDTH,
    WRT,
    Arguments,
    Case,
    Structure,
    arguments,
    cases_of,
    covering,
    expected,
    gradient_function,
    structures,
    value_function,
    weights_like,
)

VALUE_CASES = [Case(*row) for row in covering(FACTORS, 3)]
_floats = (*FACTORS[:6], ("float32", "float64"), *FACTORS[7:])
GRADIENT_CASES = {
    1: [Case(*row) for row in covering(_floats, 2, seed=1)],
    2: [Case(*row) for row in covering(_floats, 2, seed=2)],
    # a third derivative in float32 costs a second compilation and tells nothing more
    3: [Case(*row)._replace(dtype="float64") for row in covering(_floats, 2, seed=3)[::3]],
}


def check_value(case: Case) -> None:
    args = arguments(case)
    want = expected(case, args)
    f = value_function(case.structure)
    if isinstance(want, type):
        with pytest.raises(want):
            f(*args)
        return
    got = f(*args)
    assert got.dtype == case.dtype
    assert got.shape == want.shape
    if case.dtype.startswith("float"):
        close = 2e-5 if case.dtype == "float32" else 1e-12
        np.testing.assert_allclose(got, want, rtol=close, atol=close)
    else:
        np.testing.assert_array_equal(got, want)


def moved(args: Arguments, position: int, step: Any) -> Arguments:
    """The arguments with one of them shifted."""
    return args._replace(**{Arguments._fields[position]: np.asarray(args[position] + step)})


def directions(case: Case, args: Arguments, order: int) -> list[tuple[int, Any]]:
    """(position of an argument, a direction in it): its elements, or a random mixture of them."""
    result: list[tuple[int, Any]] = []
    draw = np.random.RandomState(order)
    for position in WRT:
        shape = args[position].shape
        if order == 1 and case.steps < 1000:
            for index in np.ndindex(*shape):
                result.append((position, np.zeros(shape)))
                result[-1][1][index] = 1
        else:
            result.append((position, draw.uniform(-1, 1, shape)))
    return result


def by_complex_step(case: Case, args: Arguments, weights: Any, position: int, way: Any) -> Any:
    """A first derivative of the NumPy loop, exact to rounding."""
    value = expected(case, moved(args, position, 1e-30j * way))
    return (np.asarray(value) * weights).sum().imag / 1e-30


def by_difference(
    case: Case, order: int, args: Arguments, weights: Any, position: int, way: Any
) -> Any:
    """A derivative of the compiled gradient of the order before, by a central difference."""
    f = gradient_function(case.structure, order)
    h = 1e-5
    up = f(*moved(args, position, h * way), weights)[0]
    down = f(*moved(args, position, -h * way), weights)[0]
    return (up - down) / (2 * h)


def check_gradient(case: Case, order: int) -> None:
    args = arguments(case)
    want = expected(case, args)
    f = gradient_function(case.structure, order)
    if isinstance(want, type):
        # a row that does not exist has no gradient
        with pytest.raises(want):
            f(*args, np.ones((WIDTH,) * case.rank))
        return
    weights = weights_like(want.shape)
    got = dict(zip(WRT, f(*args, weights)[1:], strict=True))
    for position, have in got.items():
        assert have.shape == args[position].shape
    double = case._replace(dtype="float64")
    args64 = Arguments(*(a.astype("float64") if k in WRT else a for k, a in enumerate(args)))
    close = 2e-4 if case.dtype == "float32" else (1e-10 if order == 1 else 2e-6)
    close *= 10.0 ** (order - 1) if case.dtype == "float32" else 1.0
    for position, way in directions(case, args, order):
        if order == 1:
            wanted = by_complex_step(case, args64, weights, position, way)
        else:
            wanted = by_difference(double, order, args64, weights, position, way)
        have = (got[position] * way).sum()
        scale = max(1.0, float(np.abs(got[position]).max(initial=0)) * np.sqrt(way.size))
        assert abs(have - wanted) <= close * scale, (position, way, have, wanted)


@pytest.mark.parametrize("case", VALUE_CASES, ids=lambda c: c.label)
def test_value(case: Case) -> None:
    check_value(case)


@pytest.mark.parametrize(
    ("order", "case"),
    [(order, case) for order, cases in GRADIENT_CASES.items() for case in cases],
    ids=lambda v: v.label if isinstance(v, Case) else f"order{v}",
)
def test_gradient(order: int, case: Case) -> None:
    check_gradient(case, order)


# ----------------------------------------------------------------------------- the whole product


def blocks() -> dict[str, list[Structure]]:
    """The structures, in blocks of a test each."""
    table: dict[str, list[Structure]] = {}
    for s in structures():
        table.setdefault(f"{s.taps}-{s.read}-{s.mode}-{s.dtype}", []).append(s)
    return table


BLOCKS = blocks()


def run_all(
    block: str, check: Any, record_property: Any, *orders: int, start: int = 0, every: int = 1
) -> None:
    count, failures = 0, []
    for structure in BLOCKS[block][start::every]:
        for case in cases_of(structure):
            count += 1
            try:
                check(case, *orders)
            except Exception as error:
                failures.append(f"{case.label}: {type(error).__name__} {str(error)[:300]}")
    record_property("cases", count)
    assert not failures, f"{len(failures)} of {count}:\n" + "\n".join(failures[:10])


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS)
def test_all_values(block: str, record_property: Any) -> None:
    run_all(block, check_value, record_property)


@pytest.mark.slow
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("block", [b for b in BLOCKS if "float" in b])
def test_all_gradients(block: str, order: int, record_property: Any) -> None:
    every = 7 if order == 3 else 1
    start = list(BLOCKS).index(block) % every
    run_all(block, check_gradient, record_property, order, start=start, every=every)


def test_the_sample_covers_every_choice() -> None:
    assert {c.read for c in VALUE_CASES} == set(READS)
    assert len(VALUE_CASES) > 150
    assert len(BLOCKS) * len(next(iter(BLOCKS.values()))) == len(list(structures()))
