"""What is known of a variable before the program runs: constant values, lengths, sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ltensor.errors import (
    EmptyConstantError,
    MethodNotDefined,
    MissingInputError,
    NotScalarConstantError,
)
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Constant, Variable, evaluate
from ltensor.ir.types import TensorType
from ltensor.ops.shape import ShapeI, vector_length
from ltensor.ops.shape_map import ShapeMap

__all__ = ["get_scalar_constant_value", "get_vector_length", "shape_of_variables"]

#: Ops whose result is its one operand's value, where that is the same throughout.
_TRANSPARENT = ("dimshuffle", "rebroadcast", "reshape", "alloc", "tensor_copy", "subtensor")


def get_scalar_constant_value(
    orig_v: Any,
    elemwise: bool = True,
    only_process_constants: bool = False,
    max_recur: int = 10,
) -> Any:
    """The value of a constant scalar, or of a constant that is one value throughout.

    Looks through expressions of constants, broadcasts and known sizes.

    Parameters
    ----------
    orig_v : Variable or number
    elemwise : bool
        Whether to look through elementwise operations.
    only_process_constants : bool
        Look at constants only.
    max_recur : int
        How many operations deep to look.

    Raises
    ------
    NotScalarConstantError
        If the value is not known, or not the same throughout.
    """
    if orig_v is None:
        raise NotScalarConstantError()
    if isinstance(orig_v, (bool, int, float, complex, np.generic)):
        return np.asarray(orig_v)
    if isinstance(orig_v, np.ndarray):
        return _unique(orig_v)
    variable: Variable = orig_v
    if isinstance(variable, Constant):
        return _unique(variable.data)
    node = variable.owner
    if node is None or only_process_constants or max_recur <= 0:
        raise NotScalarConstantError(variable)
    return _of_node(variable, node, elemwise, max_recur - 1)


def _unique(data: Any) -> np.ndarray:
    if not isinstance(data, np.ndarray) or data.dtype.kind not in "biufc":
        raise NotScalarConstantError(data)
    if data.size == 0:
        raise EmptyConstantError()
    first = data.flat[0]
    if data.size > 1 and not bool((data == first).all()):
        raise NotScalarConstantError(data)
    return np.asarray(first)


def _of_node(variable: Variable, node: Apply, elemwise: bool, depth: int) -> np.ndarray:
    def known(operand: Variable) -> np.ndarray:
        return np.asarray(get_scalar_constant_value(operand, elemwise, False, depth))

    name = getattr(node.op, "ir_name", "")
    if isinstance(node.op, ShapeI):
        size = node.inputs[0].type.shape[node.op.axis]
        if size is None:
            raise NotScalarConstantError(variable)
        return np.asarray(size, dtype="int64")
    if name == "subtensor":
        element = _element(node)
        if element is not None:
            return known(element)
    if name == "assert" and all(bool(known(condition)) for condition in node.inputs[1:]):
        return known(node.inputs[0])
    if name == "second":
        return known(node.inputs[1])
    if name in _TRANSPARENT:
        return known(node.inputs[0])
    if getattr(node.op, "kind", "") == "pointwise" and elemwise:
        return _computed(node, [known(operand) for operand in node.inputs])
    raise NotScalarConstantError(variable)


def _computed(node: Apply, values: list[np.ndarray]) -> np.ndarray:
    rank = node.outputs[0].type.ndim
    operands = [
        np.asarray(value, dtype=operand.type.dtype).reshape((1,) * rank)
        for value, operand in zip(values, node.inputs, strict=True)
    ]
    try:
        return _unique(evaluate(node, operands)[0])
    except (MethodNotDefined, ValueError, ZeroDivisionError) as error:
        raise NotScalarConstantError(node.outputs[0]) from error


def _element(node: Apply) -> Variable | None:
    """The variable picked by a constant index from a vector made of scalars, or a size."""
    from ltensor.ir.build import constant
    from ltensor.ops.shape import shape_i

    pattern = getattr(node.op, "pattern", None)
    source = node.inputs[0]
    if pattern is None:
        return None
    if isinstance(source, Constant) and all(isinstance(item, int) for item in pattern):
        picked = source.data[tuple(pattern)]
        return constant(picked) if np.ndim(picked) == 0 else None
    if len(pattern) != 1:
        return None
    position: Any = pattern[0]
    if isinstance(position, str):
        try:
            position = int(get_scalar_constant_value(node.inputs[1]))
        except NotScalarConstantError:
            return None
    if not isinstance(position, int):
        return None
    if isinstance(source, Constant):
        return constant(source.data[position])
    owner = source.owner
    if owner is None:
        return None
    name = getattr(owner.op, "ir_name", "")
    if name == "make_vector":
        return owner.inputs[position]
    if name == "shape":
        rank = owner.inputs[0].type.ndim
        return shape_i(owner.inputs[0], position % rank)
    raise NotScalarConstantError(node.outputs[0])


def get_vector_length(v: Any) -> int:
    """The number of elements of a vector, where it is known before the program runs.

    Raises
    ------
    TypeError
        If ``v`` is not a vector.
    ValueError
        If the length is not known.
    """
    from ltensor.ir.build import as_tensor

    variable = as_tensor(v)
    if not isinstance(variable.type, TensorType) or variable.type.ndim != 1:
        raise TypeError(f"argument must be symbolic vector, got '{variable}'")
    length = vector_length(variable)
    if length is None:
        from ltensor.printing import debugprint

        raise ValueError(f"length not known: {debugprint(variable, file='str').rstrip()}")
    return length


def shape_of_variables(
    fgraph: Any, input_shapes: Mapping[Variable, Sequence[int]]
) -> dict[Variable, tuple[int, ...]]:
    """The shapes of all tensors of a `FunctionGraph`, given those of its inputs.

    Nothing but sizes is computed.

    Raises
    ------
    MissingInputError
        If a size depends on the value of an input.

    Examples
    --------
    >>> import ltensor, ltensor.tensor as T
    >>> x = T.matrix()
    >>> y = x[2:].T
    >>> graph = ltensor.graph_tools.FunctionGraph([x], [y], clone=False)
    >>> shape_of_variables(graph, {x: (5, 4)})[y]
    (4, 3)
    """
    from ltensor.passes.shapes import use_shapes

    table = ShapeMap()
    dims = {v: sizes for v in fgraph.variables if (sizes := table.shape(v)) is not None}
    # sizes that the graph itself asks for are expressions of the inputs' sizes after the pass
    wanted = use_shapes(
        Function(fgraph.inputs, [size for sizes in dims.values() for size in sizes])
    ).outputs
    given: dict[Variable, np.ndarray] = {}
    for node in Function([], wanted).nodes:
        if isinstance(node.op, ShapeI) and node.inputs[0] in fgraph.inputs:
            number = input_shapes[node.inputs[0]][node.op.axis]
            given[node.outputs[0]] = np.asarray(number, dtype="int64")
    function = Function(list(given), wanted)
    if missing := function.free_variables():
        raise MissingInputError(f"a shape depends on the value of {missing[0]}", missing[0])
    numbers = iter(function.interpret(list(given.values())))
    return {v: tuple(int(next(numbers)) for _ in sizes) for v, sizes in dims.items()}
