"""Run-time errors: a check's record becomes Theano's exception with shapes and the user's line.

The first line comes from the table in `ltensor.runtime.failure_kinds`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ltensor.ir.dtypes import item_size
from ltensor.ir.types import TensorType
from ltensor.lowering.program import ErrorSite
from ltensor.runtime.failure_kinds import KINDS, Numbers


def shapes_of(site: ErrorSite, numbers: Numbers) -> list[tuple[int, ...]]:
    """The operands' shapes, recorded after the check's own numbers; empty if they were not."""
    if site.node is None or site.shapes_at is None:
        return []
    position = site.shapes_at
    shapes = []
    for variable in site.node.inputs:
        if isinstance(variable.type, TensorType):
            rank = variable.type.ndim
            shapes.append(tuple(numbers[position : position + rank]))
            position += rank
    return shapes


def exception(site: ErrorSite, record: Sequence[int], position: int = 0) -> BaseException:
    """The exception for a failed check.

    Parameters
    ----------
    site : ErrorSite
    record : sequence of int
        The error number, then the recorded values.
    position : int
        Place of the Apply in the order of execution.
    """
    if site.kind == "python":
        # what the user's perform raised, as it was
        return site.detail[0].take_error()
    numbers = list(record[1:])
    cls, first_line = KINDS[site.kind]
    shapes = shapes_of(site, numbers)
    text = first_line(site, numbers, shapes)
    if site.node is None:
        return cls(text)
    return cls(text + "\n" + describe(site.node, shapes, position))


def describe(node: Any, shapes: list[tuple[int, ...]], position: int) -> str:
    """The lines on the Apply that failed, in Theano's form."""
    tensors = [v for v in node.inputs if isinstance(v.type, TensorType)]
    lines = [
        f"Apply node that caused the error: {node}",
        f"Toposort index: {position}",
        f"Inputs types: {[v.type for v in node.inputs]}",
    ]
    if shapes and len(shapes) == len(tensors):
        strides = [_strides(s, v) for s, v in zip(shapes, tensors, strict=True)]
        lines += [f"Inputs shapes: {shapes}", f"Inputs strides: {strides}"]
        lines.append(f"Inputs values: {['not shown'] * len(tensors)}")
    lines.append("Outputs clients: [['output']]")
    source = node.source
    if source is not None:
        lines += [
            "",
            "Backtrace when the node is created(use Theano flag traceback.limit=N to make it "
            "longer):",
            source.format().rstrip("\n"),
        ]
    lines += [
        "",
        "HINT: Use the Theano flag 'exception_verbosity=high' for a debugprint and storage map "
        "footprint of this apply node.",
    ]
    return "\n".join(lines)


def _strides(shape: tuple[int, ...], variable: Any) -> tuple[int, ...]:
    """The strides in bytes of a C-ordered array."""
    step = item_size(variable.type.dtype)
    strides = []
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))
