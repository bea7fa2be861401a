"""What each kind of run-time check says: its exception class and how its first line is made.

An op that checks something new adds a line here. ``{0}``, ``{1}`` are the recorded numbers,
``{detail[0]}`` what the op said about the place of the check.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from numpy.linalg import LinAlgError

from ltensor.errors import UnsupportedError
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


def _refused(site: ErrorSite, numbers: Numbers, shapes: list[tuple[int, ...]]) -> str:
    """What NanGuardMode found: where in the array, in which step of which loops."""
    name, where, rank, loops = site.detail
    index, rest = [], numbers[0]
    for size in reversed(numbers[1 : 1 + rank]):
        index.append(rest % max(size, 1))
        rest //= max(size, 1)
    place = f"First bad element: index {tuple(reversed(index))}"
    steps = numbers[1 + rank : 1 + rank + len(loops)]
    for label, step in zip(loops, steps, strict=True):
        place += f", in step {step} of {label}"
    return f"{name} detected\n{where}\n{place}"


def _state(site: ErrorSite, number: int) -> str:
    """What the user calls a state of a scan."""
    op = site.node.op
    slots = [*(taps[0] for taps in op.inner_taps()), *op.inner_carries()]
    name = slots[number].name
    return str(number) if name is None else f"{number} ({name.partition('[t')[0]})"


def _row_shape(site: ErrorSite, numbers: Numbers, shapes: list[tuple[int, ...]]) -> str:
    """A row of a scan that changes its shape."""
    number, rank = site.detail
    op = site.node.op
    have, before = tuple(numbers[1 : 1 + rank]), tuple(numbers[1 + rank : 1 + 2 * rank])
    lines = [f"Scan: shapes must be the same in every step: in step {numbers[0]} "]
    if site.kind == "scan_shape":
        value = op.body.outputs[number]
        lines[0] += (
            f"the new value of state {_state(site, number)} has shape {have}, the state has "
            f"{before}"
        )
    else:
        value = op.inner_outs()[number]
        lines[0] += (
            f"output {number} of those that are not fed back has shape {have}, before {before}"
        )
    if value.owner is not None and value.owner.source is not None:
        lines += [f"It is made by {value.owner.op}:", value.owner.source.format().rstrip("\n")]
    if any(b == 1 and h != 1 for h, b in zip(have, before, strict=True)):
        lines.append("Fix: the initial state is not stretched: give it the shape of its new values")
    return "\n".join(lines)


def _fixed(text: str) -> FirstLine:
    return lambda site, numbers, shapes: text


def _detail(text: str) -> FirstLine:
    return lambda site, numbers, shapes: text.format(*numbers, detail=site.detail)


def _rank(site: ErrorSite) -> int:
    return site.detail[0]


KINDS: dict[str, tuple[type[Exception], FirstLine]] = {
    "assert": (AssertionError, lambda s, n, h: str(s.detail[0])),
    "mismatch": (ValueError, _mismatch),
    "reshape": (ValueError, _reshape),
    "dot": (ValueError, _dot),
    "aligned": (ValueError, _detail("Shape mismatch: x has {0} cols but y has {1} rows")),
    "index": (IndexError, _index),
    "memory": (MemoryError, _fixed("not enough memory for the new value of a shared variable")),
    "too_large": (
        MemoryError,
        lambda s, n, h: f"an array of shape {tuple(n[: _rank(s)])} has too many bytes",
    ),
    "rebroadcast": (
        ValueError,
        _detail(
            "Dimension {detail[0]} in Rebroadcast's input was supposed to be 1 (got {0} instead)"
        ),
    ),
    "arange_length": (ValueError, _fixed("arange: the length is not finite")),
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
        lambda s, n, h: (
            f"zero-size array to reduction operation {s.detail[0]} which has no identity"
        ),
    ),
    "negative_steps": (
        IndexError,
        _detail("Scan was asked to run for negative number of step {0}"),
    ),
    "scan_init": (
        ValueError,
        lambda s, n, h: (
            f"Scan: the initial state of output {_state(s, s.detail[0])} has {n[0]} rows but its "
            f"taps need {n[1]}"
        ),
    ),
    "scan_sequence": (
        ValueError,
        _detail("Scan: sequence {detail[0]} has {0} elements but {1} are needed"),
    ),
    "scan_shape": (ValueError, _row_shape),
    "scan_out_shape": (ValueError, _row_shape),
    "specify_shape": (
        AssertionError,
        lambda s, n, h: (
            f"SpecifyShape: got shape {tuple(n[: s.detail[0]])} expected "
            f"{tuple(n[s.detail[0] : 2 * s.detail[0]])}"
        ),
    ),
    "size_vector": (
        ValueError,
        _detail("the shape has {0} entries, {1} dimensions are wanted"),
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
    "random_state": (
        ValueError,
        _detail("this is no state of the generator: its shape is {0}, {1}"),
    ),
    "random_uniforms": (
        ValueError,
        _detail("{0} rows of probabilities and n = {1} need as many uniform draws, not {2}"),
    ),
    "random_too_many": (ValueError, _detail("cannot choose {0} different ones of {1} categories")),
    "too_many_repeats": (MemoryError, _detail("{detail[0]}: the result has too many elements")),
    "too_many_places": (
        UnsupportedError,
        _detail(
            "{detail[0]} of {0} elements of {detail[1]} along an axis is not supported, whose "
            "places take more than 32 bits; cast them to a dtype of 64 bits before"
        ),
    ),
    "zero_step": (ValueError, _fixed("slice step cannot be zero")),
    "subtensor_mismatch": (
        ValueError,
        _detail("could not put size {0} into a part of size {1} (axis {detail[0]} of the value)"),
    ),
    "index_mismatch": (
        IndexError,
        _detail("shape mismatch: index arrays of sizes {0} and {1} do not broadcast"),
    ),
    "mask_mismatch": (
        IndexError,
        _detail(
            "boolean index did not match indexed array along dimension {detail[0]}; dimension is "
            "{0} but corresponding boolean dimension is {1}"
        ),
    ),
    "join_mismatch": (
        ValueError,
        _detail(
            "all the input array dimensions except for the concatenation axis must match exactly, "
            "but along dimension {detail[1]}, the array at index 0 has size {0} and the array at "
            "index {detail[0]} has size {1}"
        ),
    ),
    "split_mismatch": (ValueError, _detail("the splits sum up to {0}, expected {1}")),
    "repeat_mismatch": (ValueError, _detail("repeat: {0} counts for {1} elements")),
    "negative_repeats": (ValueError, _detail("repeats may not contain negative values: {0}")),
    "class_bounds": (ValueError, _fixed("y_i value out of bounds")),
    "class_count": (
        ValueError,
        _detail("dimension mismatch in x, y_idx arguments ({0} rows, {1} classes)"),
    ),
    "bias_length": (ValueError, _detail("dimension mismatch in x, b arguments ({0}, {1})")),
    "shape_mismatch": (
        ValueError,
        _detail("{detail[0]}: the operands differ along axis {detail[1]}"),
    ),
    "conv_channels": (
        ValueError,
        lambda s, n, h: (
            f"conv: the images have {n[0]} channels, the filters take {n[1]}"
            if s.detail[0] == "images"
            else f"conv: the gradient's operands differ in {s.detail[0]}: {n[0]}, {n[1]}"
        ),
    ),
    "conv_groups": (
        ValueError,
        _detail("conv: {0} {detail[0]} cannot be cut into {detail[1]} groups"),
    ),
    "conv_empty": (
        ValueError,
        _detail(
            "conv: impossible output shape along spatial axis {detail[0]}: result size {0}, "
            "image {1}, filter {2}"
        ),
    ),
    "conv_size": (
        ValueError,
        _detail(
            "conv: the gradient has size {0} along spatial axis {detail[0]}, expected {1} "
            "(image {2}, filter {3})"
        ),
    ),
    "pool_parameters": (
        ValueError,
        _detail(
            "pool: window {0}, stride {1}, pad {2}: window and stride must be positive and "
            "0 <= pad < window"
        ),
    ),
    "pool_padding": (NotImplementedError, _fixed("padding works only with ignore_border=True")),
    "neib_sizes": (
        TypeError,
        lambda s, n, h: (
            f"neib_shape[{s.detail[0]}]={n[0]}, neib_step[{s.detail[0]}]={n[1]} and "
            f"ten4.shape[{s.detail[0] + 2}]={n[2]} not consistent"
        ),
    ),
    "neib_odd": (
        TypeError,
        _fixed("Images2Neibs: in mode wrap_centered need patch with odd shapes"),
    ),
    "neib_parameters": (ValueError, _fixed("neib_shape and neib_step must be positive")),
    "neib_matrix": (ValueError, _detail("neibs has size {0} along axis {detail[0]}, expected {1}")),
    "nan": (AssertionError, _refused),
}
