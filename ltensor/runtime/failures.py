"""Run-time errors: what a check recorded becomes Theano's exception with shapes and the user's line.

Each kind of check has one entry in `KINDS`: the exception class and how its first line is made of
the recorded numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numpy.linalg import LinAlgError

from ltensor.ir.dtypes import item_size
from ltensor.ir.types import TensorType
from ltensor.lowering.program import ErrorSite

Numbers = Sequence[int]
FirstLine = Callable[[ErrorSite, Numbers, list[tuple[int, ...]]], str]


def _mismatch(site: ErrorSite, numbers: Numbers, shapes: list[tuple[int, ...]]) -> str:
    a, b, axis = site.detail
    return (
        f"Input dimension mis-match. (input[{a}].shape[{axis}] = {numbers[0]}, "
        f"input[{b}].shape[{axis}] = {numbers[1]})"
    )


def _reshape(site: ErrorSite, numbers: Numbers, shapes: list[tuple[int, ...]]) -> str:
    rank = site.detail[0]
    before = tuple(numbers[:rank])
    after = " ".join(map(str, numbers[rank : rank + site.node.outputs[0].type.ndim]))
    return f"Cannot reshape input of shape {before} to shape [{after}]"


def _dot(site: ErrorSite, numbers: Numbers, shapes: list[tuple[int, ...]]) -> str:
    x, y = shapes[0], shapes[1]
    if len(x) == 2 and len(y) == 2:
        return (
            f"Shape mismatch: x has {x[1]} cols (and {x[0]} rows) but y has {y[0]} rows "
            f"(and {y[1]} cols)"
        )
    return f"Shape mismatch: shapes {x} and {y} not aligned: {numbers[0]} != {numbers[1]}"


def _index(site: ErrorSite, numbers: Numbers, shapes: list[tuple[int, ...]]) -> str:
    if len(numbers) >= 2 and site.detail != ("unknown",):
        return f"index {numbers[0]} is out of bounds for size {numbers[1]}"
    return "index out of bounds"


def _fixed(text: str) -> FirstLine:
    return lambda site, numbers, shapes: text


def _detail(text: str) -> FirstLine:
    return lambda site, numbers, shapes: text.format(*numbers, detail=site.detail)


KINDS: dict[str, tuple[type[Exception], FirstLine]] = {
    "mismatch": (ValueError, _mismatch),
    "reshape": (ValueError, _reshape),
    "dot": (ValueError, _dot),
    "index": (IndexError, _index),
    "memory": (MemoryError, _fixed("not enough memory for the new value of a shared variable")),
    "rebroadcast": (
        ValueError,
        _detail("Dimension {detail[0]} in Rebroadcast's input was supposed to be 1 (got {0} instead)"),
    ),
    "negative_size": (ValueError, _detail("negative dimensions are not allowed: {0}")),
    "alloc_mismatch": (
        ValueError,
        _detail("could not stretch size {0} to size {1} (axis {detail[0]} of the value)"),
    ),
    "division": (ZeroDivisionError, _fixed("integer division or modulo by zero")),
    "negative_power": (
        ValueError,
        _fixed("Integers to negative integer powers are not allowed."),
    ),
    "empty_reduction": (
        ValueError,
        lambda s, n, h: f"zero-size array to reduction operation {s.detail[0]} which has no identity",
    ),
    "negative_steps": (
        IndexError,
        _detail("Scan was asked to run for negative number of step {0}"),
    ),
    "scan_init": (
        ValueError,
        _detail(
            "Scan: the initial state of output {detail[0]} has {0} rows but its taps need {1}"
        ),
    ),
    "scan_sequence": (
        ValueError,
        _detail("Scan: sequence {detail[0]} has {0} elements but {1} are needed"),
    ),
    "scan_shape": (
        ValueError,
        _detail(
            "Scan: the new value of state {detail[0]} has size {0} along axis {detail[1]}, the "
            "state has {1}"
        ),
    ),
    "specify_shape": (
        AssertionError,
        lambda s, n, h: (
            f"SpecifyShape: got shape {tuple(n[: s.detail[0]])} expected "
            f"{tuple(n[s.detail[0] : 2 * s.detail[0]])}"
        ),
    ),
    "batched_dot": (
        ValueError,
        _detail("batched_dot: the operands' batches have {0} and {1} entries"),
    ),
    "singular": (LinAlgError, _fixed("Singular matrix")),
    "not_square": (LinAlgError, _detail("Last 2 dimensions of the array must be square: {0}, {1}")),
    "not_definite": (LinAlgError, _fixed("Matrix is not positive definite")),
    "solve": (ValueError, _detail("solve: the matrix has {0} rows, the right hand side {1}")),
    "python_shape": (
        ValueError,
        _detail(
            "{detail[0]}: perform gave output {detail[1]} size {0} along axis {detail[2]}, but "
            "infer_shape said {1}"
        ),
    ),
    "random": (ValueError, _detail("{detail[0]}: a parameter is out of its domain: {detail[1]}")),
    "random_overflow": (OverflowError, _fixed("uniform: the range high - low is not finite")),
    "random_size": (MemoryError, _fixed("a random draw has too many elements for the memory")),
    "random_shape": (
        ValueError,
        _detail("random draw: a parameter of size {0} does not broadcast to size {1}"),
    ),
    "random_weights": (
        ValueError,
        _detail("choice: 'a' and 'p' must have the same size, not {0} and {1}"),
    ),
    "random_state": (ValueError, _detail("this is no state of the generator: its shape is {0}, {1}")),
    "random_uniforms": (
        ValueError,
        _detail("{0} rows of probabilities and n = {1} need as many uniform draws, not {2}"),
    ),
    "random_too_many": (ValueError, _detail("cannot choose {0} different ones of {1} categories")),
    "nan": (AssertionError, lambda s, n, h: " detected\n".join(s.detail)),
}


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
    cls, first_line = KINDS.get(site.kind, (ValueError, _fixed(str(site.kind))))
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
