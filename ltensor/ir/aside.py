"""Building parts of a graph whose variables have no test values on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ltensor.config import change_flags, config
from ltensor.ir import graph
from ltensor.ir.graph import Variable
from ltensor.ir.walks import toposort


def built_aside(build: Callable[[], list[Any]], borders: Iterable[Variable]) -> list[Any]:
    """Give ``build()``, whose new nodes get their test values only once all are there.

    The derivative of a region (the body of a loop, an inner graph) is made of the region's own
    variables, which have no values. Those that are left in the result have.

    Parameters
    ----------
    borders : iterable of Variable
        What the result is made from: nodes behind them are not looked at.
    """
    if config.compute_test_value == "off" or graph.test_value_hook is None:
        return build()
    with change_flags(compute_test_value="off"):
        results = build()
    found = [r for r in results if isinstance(r, Variable)]
    for node in toposort(found, blockers=list(borders)):
        if not any(output.has_tag("test_value") for output in node.outputs):
            graph.test_value_hook(node)
    return results
