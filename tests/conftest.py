"""What a run of the tests tells at its end."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

# the tests are about what compiles, so nothing is taken over compiled from an earlier run
os.environ.setdefault("LTENSOR_PLANS", "0")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How many cases of the product of scan cases were checked."""
    counts: Counter[str] = Counter()
    for report in terminalreporter.stats.get("passed", ()):
        path, _, test = report.nodeid.partition("::")
        if not path.endswith("test_matrix.py") or "[" not in test:
            continue
        name, _, values = test.partition("[")
        cases = dict(report.user_properties).get("cases", 1)
        if "gradient" in name:
            order = next(k for k in "123" if f"order{k}" in values or values.endswith(f"-{k}]"))
            counts[f"gradients of order {order}"] += cases
        else:
            counts["values"] += cases
    if counts:
        text = ", ".join(f"{counts[key]} {key}" for key in sorted(counts, key=lambda k: k[::-1]))
        terminalreporter.write_line(f"scan matrix: {sum(counts.values())} cases ({text})")
