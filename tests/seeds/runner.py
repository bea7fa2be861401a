"""Runs a seed program on ltensor and compares what it computed with the real Theano's answers.

A program leaves values in ``RESULTS``; ``golden/NAME.json`` (and ``.npz`` for large arrays) holds
what Theano 1.0.5 computed.  A program may also define ``TOL`` (tolerances by key), ``PATTERNS``
(regular expressions for texts) and ``STDERR`` (what its error output must contain).

As a script (``runner.py PROGRAM OUT``) this file is the child process: it makes ``import theano``
mean ltensor, runs the program and pickles a description of its values.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
PROGRAMS = HERE / "programs"
GOLDEN = HERE / "golden"
NAMES = sorted(path.stem for path in PROGRAMS.glob("*.py"))

# (relative, absolute), unless the program says otherwise
TOLERANCE = {
    "float16": (2e-3, 2e-3),
    "float32": (2e-5, 1e-6),
    "float64": (1e-9, 1e-11),
    "complex64": (2e-5, 1e-6),
    "complex128": (1e-9, 1e-11),
}


@dataclass
class Outcome:
    """What a program left behind."""

    results: dict[str, dict[str, Any]]
    tolerances: dict[str, tuple[float, float]] = field(default_factory=dict)
    patterns: dict[str, str] = field(default_factory=dict)
    stderr_patterns: list[str] = field(default_factory=list)
    stderr: str = ""


class ProgramFailed(AssertionError):
    """The program ended with an error."""


# ------------------------------------------------------------------------- in the child


def describe(value: Any) -> dict[str, Any]:
    """Reduce a value to what is compared: its kind, dtype, shape and contents."""
    if isinstance(value, np.ndarray):
        return {"kind": "ndarray", "array": np.asarray(value)}
    if isinstance(value, np.generic):
        return {"kind": "npscalar", "array": np.asarray(value)}
    kind = type(value).__name__
    if isinstance(value, (list, tuple)):
        return {"kind": kind, "items": [describe(item) for item in value]}
    if isinstance(value, str):
        return {"kind": "str", "value": without_addresses(value)}
    if value is None or isinstance(value, (bool, int, float)):
        return {"kind": kind, "value": value}
    return {"kind": kind, "value": repr(value)}


def without_addresses(text: str) -> str:
    """Strip what differs from machine to machine: folders of files, addresses of objects."""
    text = re.sub(r"(?<![\w.])/(?:[\w.+-]+/)+([\w.+-]+\.py)", r"\1", text)
    return re.sub(r"0x[0-9a-f]{6,}", "0x0", text)


def run_here(program: str, out: str) -> None:
    """Run the program in this process and pickle an `Outcome`."""
    import runpy

    import ltensor.compat

    ltensor.compat.install()
    sys.argv = [program]
    left = runpy.run_path(program, run_name="__main__")
    outcome = Outcome(
        results={key: describe(value) for key, value in left["RESULTS"].items()},
        tolerances=left.get("TOL", {}),
        patterns=left.get("PATTERNS", {}),
        stderr_patterns=list(left.get("STDERR", [])),
    )
    with open(out, "wb") as file:
        pickle.dump(vars(outcome), file)


# ------------------------------------------------------------------------- in the parent


def child_environment() -> dict[str, str]:
    """Give the environment in which a child finds the very ltensor that this process uses."""
    import ltensor

    env = dict(os.environ, PYTHONHASHSEED="0")
    folder = str(Path(next(iter(ltensor.__path__))).parent)
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, env.get("PYTHONPATH", "")]))
    for flags in ("THEANO_FLAGS", "LTENSOR_FLAGS"):
        env.pop(flags, None)
    env["THEANORC"] = ""
    return env


def run(program: Path, timeout: float = 300) -> Outcome:
    """Run a program in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="ltensor-seed-") as folder:
        out = os.path.join(folder, "outcome.pickle")
        done = subprocess.run(
            [sys.executable, str(Path(__file__).resolve()), str(program), out],
            capture_output=True,
            text=True,
            errors="replace",
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            timeout=timeout,
            cwd=folder,
        )
        if not os.path.exists(out):
            raise ProgramFailed(
                f"{program.name} ended with status {done.returncode}\n{done.stderr[-4000:]}"
            )
        with open(out, "rb") as file:
            return Outcome(**{**pickle.load(file), "stderr": done.stderr})


class Comparison:
    """Collects what differs between an outcome and the golden data."""

    def __init__(self, name: str, outcome: Outcome) -> None:
        self.outcome = outcome
        self.differences: list[str] = []
        self.golden = json.loads((GOLDEN / f"{name}.json").read_text())["results"]
        npz = GOLDEN / f"{name}.npz"
        self.large = dict(np.load(npz)) if npz.exists() else {}

    def run(self) -> list[str]:
        """Compare everything; gives one line per difference."""
        for key, golden in sorted(self.golden.items()):
            self.compare(key, golden, self.outcome.results.get(key))
        for pattern in self.outcome.stderr_patterns:
            if not re.search(pattern, self.outcome.stderr):
                self.differences.append(f"stderr lacks {pattern!r}")
        return self.differences

    def compare(self, key: str, golden: dict[str, Any], mine: dict[str, Any] | None) -> None:
        """Compare one value; lists and tuples item by item."""
        if mine is None:
            self.differences.append(f"{key}: absent")
        elif golden["kind"] != mine["kind"]:
            shown = f" ({mine['value']!r})" if "value" in mine else ""
            self.differences.append(f"{key}: a {mine['kind']}{shown}, was a {golden['kind']}")
        elif "items" in golden:
            if len(golden["items"]) != len(mine["items"]):
                self.differences.append(
                    f"{key}: {len(mine['items'])} items, were {len(golden['items'])}"
                )
                return
            for i, pair in enumerate(zip(golden["items"], mine["items"], strict=True)):
                self.compare(f"{key}[{i}]", *pair)
        elif "dtype" in golden:
            self.compare_arrays(key, golden, mine["array"])
        else:
            self.compare_plain(key, golden["value"], mine["value"])

    def compare_arrays(self, key: str, golden: dict[str, Any], mine: np.ndarray) -> None:
        """Compare dtype, shape, and values within the tolerance."""
        if golden["dtype"] != str(mine.dtype):
            self.differences.append(f"{key}: dtype {mine.dtype}, was {golden['dtype']}")
            return
        if golden["shape"] != list(mine.shape):
            self.differences.append(f"{key}: shape {list(mine.shape)}, was {golden['shape']}")
            return
        wanted = self.array(golden)
        if wanted.dtype.kind in "fc":
            rtol, atol = self.outcome.tolerances.get(
                key.split("[")[0], TOLERANCE[str(wanted.dtype)]
            )
            near = np.isclose(mine, wanted, rtol=rtol, atol=atol, equal_nan=True)
        else:
            near = mine == wanted
        if not np.all(near):
            where = tuple(int(i) for i in np.argwhere(~near)[0])
            self.differences.append(
                f"{key}: {np.sum(~near)} of {near.size} values differ; "
                f"at {where} {mine[where]!r}, was {wanted[where]!r}"
            )

    def array(self, golden: dict[str, Any]) -> np.ndarray:
        """Rebuild an array of the golden data."""
        if "npz" in golden:
            return self.large[golden["npz"]]
        values = golden["values"]
        if np.dtype(golden["dtype"]).kind == "c":
            values = [complex(*pair) for pair in values]
        return np.array(values, dtype=golden["dtype"]).reshape(golden["shape"])

    def compare_plain(self, key: str, golden: Any, mine: Any) -> None:
        """Compare Python values: texts by pattern where there is one, floats nearly."""
        if key in self.outcome.patterns and isinstance(mine, str):
            pattern = self.outcome.patterns[key]
            if not re.fullmatch(pattern, mine.rstrip()):
                self.differences.append(f"{key}: {mine[:300]!r} does not fit {pattern!r}")
        elif isinstance(golden, float):
            if not abs(golden - mine) <= 1e-9 * max(abs(golden), 1):
                self.differences.append(f"{key}: {mine!r}, was {golden!r}")
        elif golden != mine:
            self.differences.append(f"{key}: {str(mine)[:300]!r}, was {str(golden)[:300]!r}")


def differences(name: str) -> list[str]:
    """Run a program and say in what it differs from the real Theano."""
    return Comparison(name, run(PROGRAMS / f"{name}.py")).run()


if __name__ == "__main__":
    run_here(*sys.argv[1:])
