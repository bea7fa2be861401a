"""What a call costs: native entries against NumPy's ``x + 1`` for ten float64 numbers.

Run as ``python benchmarks/call_overhead.py`` from the repository. Times are the best of repeats,
in nanoseconds; the target is at most 0.7 of NumPy's.
"""

from __future__ import annotations

import sys
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402
from runtime.entry_cores import (  # noqa: E402
    SCALAR,
    SCALAR_CORE,
    VECTOR,
    Compiled,
    add_one,
    add_one_core,
    compiled,
)

from ltensor.runtime.callable import make_builtin  # noqa: E402
from ltensor.runtime.entry import OutputSpec  # noqa: E402


class Wrapped:
    """What a class with ``__call__`` in Python around a builtin would cost."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


def nanoseconds(statement: str, names: dict[str, Any], number: int = 100_000) -> float:
    """Time one statement, best of seven."""
    return min(timeit.repeat(statement, globals=names, number=number, repeat=7)) / number * 1e9


def main() -> int:
    f = add_one()
    vector = OutputSpec("float64", 1)
    names = {
        "f": f,
        "two": compiled(add_one_core(3, 5), VECTOR, [vector, vector], "list"),
        "none": compiled(add_one_core(), VECTOR, [], "none"),
        "scalar": compiled(SCALAR_CORE, SCALAR, [OutputSpec("float64", 0)], "value"),
        "builtin": make_builtin(f._entry_address, f, "f"),  # type: ignore[attr-defined]
        "slow": Compiled(),
        "x": np.arange(10.0),
        "big": np.arange(1000.0),
        "zero": np.array(1.0),
    }
    names["wrapped"] = Wrapped(names["builtin"])
    rows = [
        ("numpy x + 1, 10 numbers", "x + 1"),
        ("native f(x)", "f(x)"),
        ("native f(x), a builtin function", "builtin(x)"),
        ("builtin inside a Python __call__", "wrapped(x)"),
        ("two outputs in a list", "two(x)"),
        ("no outputs", "none(x)"),
        ("0-d array", "scalar(zero)"),
        ("Python float", "scalar(0.5)"),
        ("entry hands over to a Python _call_slow", "f(1)"),
        ("no entry: __call__ and _call_slow in Python", "slow(1)"),
        ("numpy x + 1, 1000 numbers", "big + 1"),
        ("native f(x), 1000 numbers, scalar loop", "f(big)"),
    ]
    times = {statement: nanoseconds(statement, names) for _, statement in rows}
    for label, statement in rows:
        print(f"{label:<46} {times[statement]:8.1f} ns")
    ratio = times["f(x)"] / times["x + 1"]
    print(f"native / numpy: {ratio:.2f} (target: at most 0.70)")
    return 0 if ratio <= 0.7 else 1


if __name__ == "__main__":
    raise SystemExit(main())
