"""`map_variables`: replacements that reach into loops and inner graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ltensor
import ltensor.tensor as T
from ltensor import OpFromGraph, function, shared
from ltensor.errors import UnsupportedError
from ltensor.graph_mapping import map_variables
from ltensor.ir.graph import Variable
from ltensor.random import RandomStreams

X = np.array([1.0, 2.0, 3.0])


def instead(variable: Variable) -> Any:
    return getattr(variable.tag, "instead", variable)


def mapped(*graphs: Any) -> list[Variable]:
    return map_variables(instead, graphs)


def test_inner_values_leaves_and_outputs() -> None:
    a, b, c = T.dscalars("a", "b", "c")
    total = a + b
    total.tag.instead = a * b
    y, same, whole = mapped(total + c, a - c, total)
    assert same.owner.inputs == [a, c]
    assert function([a, b, c], [y, whole])(3, 4, 1) == [13, 12]
    a.tag.instead = c
    assert function([b, c], mapped(a - b, total))(4, 1) == [-3, 4]


def test_replacements_are_rewritten_but_not_replaced() -> None:
    x = T.dscalar("x")
    h = T.exp(x)
    h.tag.instead = 2 * h  # of itself: once
    y = h + 1
    y.tag.instead = h - x  # what it depends on is replaced
    z = y * y
    assert function([x], mapped(z)[0])(0.5) == pytest.approx((2 * np.exp(0.5) - 0.5) ** 2)
    g = T.exp(h)
    g.tag.instead = g + 1
    h.tag.instead = g * 2
    with pytest.raises(ValueError, match="cycle"):
        mapped(g)


def test_types_must_fit() -> None:
    x = T.dvector("x")
    x.tag.instead = T.dmatrix()
    with pytest.raises(TypeError):
        mapped(x.sum())


def test_what_a_loop_reads() -> None:
    x, y, z = T.dvector("x"), T.dscalar("y"), T.dscalar("z")
    y.tag.instead = z
    rows, _ = ltensor.scan(lambda v: v * y, x)
    f = function([x, y, z], [rows, *mapped(rows)])
    np.testing.assert_array_equal(f(X, 1, 2), [X, 2 * X])


def test_values_of_a_step_and_operands_that_are_new_in_it() -> None:
    """Shared variables, inputs and expressions from outside, which other nodes read as well."""
    x, outer = T.dvector("x"), T.dscalar("outer")
    one = outer * (shared(np.array(1.0)) + T.constant(1.0, dtype="float64"))

    def step(v: Any, h: Any) -> Any:
        r = h + v
        r.tag.instead = one * (h - v)
        return r

    rows, _ = ltensor.scan(step, x, np.array(0.0))
    before, (after,) = one * rows, mapped(one * rows)
    f = function([x, outer], [before, one * after, T.grad(after.sum(), outer)])
    plain, changed, slope = f(X, 0.5)
    np.testing.assert_array_equal(plain, [1, 3, 6])
    np.testing.assert_array_equal(changed, [-1, -3, -6])
    g = function([x, outer], after.sum())
    assert slope == pytest.approx((g(X, 0.5 + 1e-6) - g(X, 0.5 - 1e-6)) / 2e-6, rel=1e-6)


def test_loops_in_loops() -> None:
    x, scale = T.dmatrix("x"), shared(np.array(3.0), "scale")

    def inner(v: Any) -> Any:
        r = v + 1
        r.tag.instead = v * scale
        return r

    rows, _ = ltensor.scan(lambda row: ltensor.scan(inner, row)[0], x)
    value = np.arange(6.0).reshape(2, 3)
    before, after = function([x], [rows, *mapped(rows)])(value)
    np.testing.assert_array_equal(before, value + 1)
    np.testing.assert_array_equal(after, value * 3)


def test_inner_graphs() -> None:
    a, b, c, d, outer = T.dscalars("a", "b", "c", "d", "outer")
    one = outer * (shared(np.array(1.0)) + 1)
    r = a + b
    r.tag.instead = one * (a - b)
    u = OpFromGraph([a, b], [r])(c, d) * one
    f = function([c, d, outer], [u, *mapped(u)])
    assert f(5, 3, 0.5) == [8, 2]
    assert f(2, 7, 0.5) == [9, -5]


def test_a_deep_graph() -> None:
    x = T.dscalar("x")
    y = x
    for _ in range(3000):
        y = y + 1
    x.tag.instead = x * 2
    assert function([x], mapped(y)[0], mode="FAST_COMPILE")(4) == 3008


def test_new_draws_in_a_loop_are_refused() -> None:
    x = T.dvector("x")
    noise = RandomStreams(1).normal(())

    def step(v: Any) -> Any:
        r = v + 1
        r.tag.instead = v + noise
        return r

    rows, _ = ltensor.scan(step, x)
    with pytest.raises(UnsupportedError, match="default update"):
        mapped(rows)
