"""Canonical form: neutral elements dropped, constants together, views composed, fills sunk.

The rules stand in `ltensor.passes.canonical`, by subject. They never change the dtype or the
broadcast pattern of a value (the driver checks that).
"""

from __future__ import annotations

from ltensor.ir.function import Function
from ltensor.passes.canonical import (
    algebra,
    choices,
    fills,
    layout,
    powers,
    products,
    reductions,
    slices,
)
from ltensor.passes.manager import register
from ltensor.passes.rewrite import Rules, rewrite

RULES = Rules("canonicalize")
for _part in (powers, fills, layout, slices, reductions, products, choices, algebra):
    RULES.include(_part.RULES)


@register
def canonicalize(function: Function) -> Function:
    """Bring arithmetic, powers, casts, views, fills and reductions into canonical form.

    ``x * 1`` is ``x``, ``x ** 2`` a square, constants of nested sums and products are folded
    into one, equal terms cancel, views are composed, stretched values used unstretched.
    """
    return rewrite(function, RULES)
