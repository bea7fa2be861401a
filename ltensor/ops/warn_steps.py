"""`WarnSteps`: the steps that a scan was asked for, with a warning if a sequence has fewer rows.

`scan` puts it into the graph only while ``config.scan.warn_short`` is on.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import disconnected_type
from ltensor.ops.opdef import Declaration, DeclaredOp, Sample, declare
from ltensor.ops.samples import draw
from ltensor.source import is_own


class WarnSteps(DeclaredOp):
    """``WarnSteps(name)(n_steps, length)``: is ``n_steps``; warns if it is larger than ``length``.

    Parameters
    ----------
    name : str
        That of the scan.
    """

    __props__ = ("name",)
    kind = "python"
    ir_name = "warn_steps"

    def __init__(self, name: str = "scan_fn") -> None:
        self.name = name

    def make_node(self, n_steps: Any, length: Any) -> Apply:
        n_steps = as_tensor(n_steps)
        return Apply(self, [n_steps, as_tensor(length)], [n_steps.type.make_variable()])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        asked, length = int(inputs[0]), int(inputs[1])
        output_storage[0][0] = inputs[0]
        if asked <= length:
            return
        where = "" if node.source is None else f"\nThe scan:\n{node.source.format().rstrip()}"
        depth, frame = 1, sys._getframe(1)
        while frame.f_back is not None and is_own(frame.f_code.co_filename):
            depth, frame = depth + 1, frame.f_back
        warnings.warn(
            f"scan {self.name}: n_steps is {asked}, but the shortest sequence has {length} rows: "
            f"the loop runs {length} steps. Fix: pass a smaller n_steps, or none at all.{where}",
            RuntimeWarning,
            stacklevel=depth + 1,
        )

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [()]

    def grad(self, inputs: list[Variable], output_grads: list[Variable]) -> list[Any]:
        return [disconnected_type.make_variable() for _ in inputs]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        return [[False], [False]]


def _samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    steps = np.abs(draw(rng, dtype, ())).astype(dtype)
    yield Sample(WarnSteps(), [steps, steps], "as many")


declare(
    Declaration(
        "warn_steps",
        "The steps a loop was asked for, with a warning if it cannot run them.",
        WarnSteps,
        _samples,
        0,
        dtypes=("int32", "int64"),
    )
)
