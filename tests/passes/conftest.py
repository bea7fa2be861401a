"""Collects golden files ``*.lt``: textual IR, the passes to run on it, and what must come out.

A file holds cases; each begins with ``; RUN: pipeline`` and is followed by one function::

    ; RUN: canonicalize
    ; CHECK: sqr %x            this text occurs, after the line of the CHECK before it
    ; CHECK-NOT: pow           this text occurs nowhere
    ; COUNT: mul 2             so many operations of this name
    ; SAME                     nothing changed at all
    ; VALUES: skip             do not evaluate (random draws, values that are not finite on purpose)
    func @square(%x: f64[?]) { ... }

Every case is verified before and after, printed and parsed again, and evaluated by the ops' NumPy
references: results must be those of the function as it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ltensor.errors import ParseError, VerifyError

_DIRECTIVE = re.compile(r";\s*(RUN|CHECK-NOT|CHECK|COUNT|SAME|VALUES)(?::\s*(.*?))?\s*$")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> Any:
    if file_path.suffix == ".lt":
        return GoldenFile.from_parent(parent, path=file_path)
    return None


class GoldenFailed(Exception):
    """A case that does not come out as its file says."""


class GoldenFile(pytest.File):
    """A file of cases."""

    def collect(self) -> Iterator[pytest.Item]:
        lines = self.path.read_text(encoding="utf-8").splitlines()
        starts = [k for k, line in enumerate(lines) if re.match(r";\s*RUN:", line)]
        if not starts:
            raise ValueError(f"{self.path} has no RUN line")
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
            part = lines[start:end]
            name = re.search(r"func @(\w+)", "\n".join(part))
            if name is None:
                raise ValueError(f"{self.path}:{start + 1}: no function after RUN")
            # empty lines before it, so that errors tell the line of the file
            text = "\n" * start + "\n".join(part)
            yield GoldenCase.from_parent(self, name=name.group(1), text=text, line=start)


class GoldenCase(pytest.Item):
    """One case."""

    def __init__(self, *, text: str, line: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.text = text
        self.line = line
        matches = (_DIRECTIVE.match(line) for line in text.splitlines())
        self.directives = [(m.group(1), m.group(2) or "") for m in matches if m]

    def runtest(self) -> None:
        from ltensor.ir.equal import equal
        from ltensor.ir.text import print_function
        from ltensor.ops.textual import parse
        from ltensor.passes.manager import run_pipeline

        before = parse(self.text, str(self.path))
        pipeline = next(value for kind, value in self.directives if kind == "RUN")
        after = run_pipeline(before, pipeline, verify=True).function
        printed = print_function(after)
        again = parse(printed)
        if not equal(after, again) or print_function(again) != printed:
            raise GoldenFailed(f"the result does not parse back:\n{printed}")
        self.check(printed, [node.op.ir_name for node in after.nodes], equal(before, after))
        if ("VALUES", "skip") not in self.directives:
            compare_values(before, after)

    def check(self, printed: str, ops: list[str], same: bool) -> None:
        """The directives."""
        lines = [" ".join(line.split()) for line in printed.splitlines()]
        position = 0
        for kind, value in self.directives:
            wanted = " ".join(value.split())
            if kind == "CHECK":
                found = [k for k, line in enumerate(lines) if k >= position and wanted in line]
                if not found:
                    raise GoldenFailed(f"CHECK: {wanted}\nis not in (from here on)\n{printed}")
                position = found[0] + 1
            elif kind == "CHECK-NOT" and any(wanted in line for line in lines):
                raise GoldenFailed(f"CHECK-NOT: {wanted}\nis in\n{printed}")
            elif kind == "COUNT":
                name, number = wanted.split()
                if ops.count(name) != int(number):
                    raise GoldenFailed(f"COUNT: {wanted}, found {ops.count(name)}\n{printed}")
            elif kind == "SAME" and not same:
                raise GoldenFailed(f"SAME: it became\n{printed}")

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        if isinstance(excinfo.value, (GoldenFailed, ParseError, VerifyError)):
            return f"{self.path}:{self.line + 1}: {excinfo.value}"
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.line, f"{self.path.name}::{self.name}"


def arrays_for(function: Any, rng: np.random.Generator, size: int = 3) -> list[np.ndarray]:
    """Arguments: every unknown size is ``size``, floats lie in (0.2, 2), ints in [0, size)."""
    arrays = []
    for variable in function.inputs:
        kind = variable.type
        shape = tuple(size if s is None else s for s in kind.shape)
        if kind.dtype.startswith(("float", "complex")):
            values: Any = rng.uniform(0.2, 2, shape)
        else:
            values = rng.integers(0, 2 if kind.dtype == "bool" else size, shape)
        arrays.append(np.asarray(values).astype(kind.dtype))
    return arrays


def compare_values(before: Any, after: Any) -> None:
    """Both functions by the NumPy references of their ops."""
    from ltensor.testing import reference

    arrays = arrays_for(before, np.random.default_rng(1))
    expected = reference(before.inputs, before.outputs, arrays)
    got = reference(after.inputs, after.outputs, arrays)
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype, (a.dtype, b.dtype)
        assert a.shape == b.shape, (a.shape, b.shape)
        tolerance = 2e-5 if a.dtype in ("float32", "complex64") else 1e-10
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
