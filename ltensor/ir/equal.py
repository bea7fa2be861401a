"""Structural equality of Functions: the same operations on the same operands, whatever the names.

Two Functions are equal if walking both from their outputs meets equal ops, constants of equal
bits, and the same inputs. Regions are compared in the same way, so ops that hold Functions can
use this for their own ``==``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Constant, Op, Variable
from ltensor.ir.types import TensorType


def constant_key(variable: Constant) -> Any:
    """A hashable key that is equal for constants of equal bits."""
    data = variable.data
    if isinstance(variable.type, TensorType):
        return (variable.type, data.shape, data.tobytes())
    return (variable.type, repr(data))


def op_key(op: Op) -> Any:
    """A hashable key that is equal for ops that do the same."""
    if not op.regions:
        return op
    attributes: dict[str, Any] = getattr(op, "attributes", dict)()
    return (type(op), tuple(attributes.items()), tuple(function_key(r) for r in op.regions))


def function_key(function: Function) -> Any:
    """A hashable key that is equal for structurally equal Functions."""
    key = function.__dict__.get("_key")
    if key is None:
        key = structure(function, lambda node: op_key(node.op), lambda variable: variable.type)
        function.__dict__["_key"] = key
    return key


def structure(
    function: Function, of_node: Callable[[Apply], Any], of_input: Callable[[Variable], Any]
) -> Any:
    """A hashable key of how a Function is put together.

    ``of_node`` and ``of_input`` give what counts of an operation, other than its operands, and of
    an input.
    """
    place: dict[Variable, Any] = {v: ("in", k) for k, v in enumerate(function.inputs)}

    def where(variable: Variable) -> Any:
        known = place.get(variable)
        if known is None:
            if isinstance(variable, Constant):
                known = constant_key(variable)
            else:
                known = ("free", id(variable))
            place[variable] = known
        return known

    nodes = []
    for number, node in enumerate(function.nodes):
        nodes.append((of_node(node), *map(where, node.inputs)))
        for k, output in enumerate(node.outputs):
            place[output] = (number, k)
    return tuple(map(of_input, function.inputs)), tuple(nodes), tuple(map(where, function.outputs))


def equal(first: Function, second: Function) -> bool:
    """Whether two Functions are structurally equal.

    Types count by dtype and broadcast pattern, as `TensorType` compares them; names, source lines
    and known sizes other than 1 do not count.
    """
    return first is second or function_key(first) == function_key(second)


def structural_hash(function: Function) -> int:
    """A hash that is the same for equal Functions (in one process)."""
    return hash(function_key(function))
