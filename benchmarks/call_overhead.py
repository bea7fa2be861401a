"""What a call costs: native entries against NumPy's ``x + 1`` for ten float64 numbers.

The second part calls functions as users make them: keywords, defaults, numbers, many arguments.

Run as ``python benchmarks/call_overhead.py`` from the repository. Times are the best of repeats,
in nanoseconds; the target is at most 0.7 of NumPy's.
"""

from __future__ import annotations

import functools
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

import ltensor as theano  # noqa: E402
import ltensor.tensor as T  # noqa: E402
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


#: what is called how, of the functions below
USES = [
    ("one vector", "f(a)"),
    ("0-d: Python float", "scalar(0.5)"),
    ("0-d float32: Python float", "single(0.5)"),
    ("0-d float32: numpy.float64", "single(np.float64(0.5))"),
    ("0-d int32: numpy.int64", "whole(np.int64(3))"),
    ("positional number", "both(a, 2.0)"),
    ("keyword", "both(a, s=2.0)"),
    ("default value", "both(a)"),
    ("8 vectors", "vectors8(*[a] * 8)"),
    ("32 vectors", "vectors32(*[a] * 32)"),
    ("a shared counter", "count()"),
    ("a shared variable, no arguments", "read()"),
    ("an update by an argument", "update(a)"),
    ("results in a dict", "keyed(a)"),
    ("every other element", "f(strided)"),
    ("float32 for float64", "f(narrow)"),
    ("a list of three", "f([1.0, 2.0, 3.0])"),
]


@functools.cache
def functions() -> dict[str, Any]:
    """Compile the functions of `USES`."""
    x, s = T.dvector("x"), T.dscalar("s")
    single, whole = T.fscalar("single"), T.iscalar("whole")
    counter, state = theano.shared(0.0), theano.shared(np.zeros(10))

    def total(count: int) -> Any:
        inputs = [T.dvector() for _ in range(count)]
        result: Any = inputs[0]
        for other in inputs[1:]:
            result = result + other
        return theano.function(inputs, result)

    return {
        "np": np,
        "a": np.arange(10.0),
        "strided": np.arange(20.0)[::2],
        "narrow": np.arange(10.0, dtype=np.float32),
        "f": theano.function([x], x + 1),
        "scalar": theano.function([s], s * 2),
        "single": theano.function([single], single * 2),
        "whole": theano.function([whole], whole * 2),
        "both": theano.function([x, theano.In(s, value=2.0)], x * s),
        "vectors8": total(8),
        "vectors32": total(32),
        "count": theano.function([], [], updates=[(counter, counter + 1)]),
        "read": theano.function([], state * 2),
        "update": theano.function([x], x.sum(), updates=[(state, state + x)]),
        "keyed": theano.function([x], {"y": x + 1}),
    }


def main() -> int:
    f = add_one()
    vector = OutputSpec("float64", 1)
    names = {
        "f": f,
        "two": compiled(add_one_core(3, 5), VECTOR, [vector, vector], "list"),
        "none": compiled(add_one_core(), VECTOR, [], "none"),
        "scalar": compiled(SCALAR_CORE, SCALAR, [OutputSpec("float64", 0)], "value"),
        "builtin": make_builtin(f, "f"),
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
    for label, statement in USES:
        print(f"{label:<46} {nanoseconds(statement, functions(), 20_000):8.1f} ns")
    ratio = times["f(x)"] / times["x + 1"]
    print(f"native / numpy: {ratio:.2f} (target: at most 0.70)")
    return 0 if ratio <= 0.7 else 1


if __name__ == "__main__":
    raise SystemExit(main())
