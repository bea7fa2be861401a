"""Structural rules that every Function must keep; passes are checked with it in tests."""

from __future__ import annotations

from typing import Any

from ltensor.errors import VerifyError
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.ir.types import TensorType


def verify(function: Function) -> None:
    """Check a Function and its regions.

    It must be closed; inputs are distinct and have no constants among them; every variable is
    the output of its owner that it says to be; every node comes after those it depends on; and
    the result types are those that the op's ``make_node`` gives today (dtype, rank, and no
    contradicting sizes).

    Raises
    ------
    VerifyError
        It names the operation and the user's line.
    """
    _verify(function, f"@{function.name}")


def _verify(function: Function, where: str) -> None:
    known: set[Variable] = set()
    for variable in function.inputs:
        if variable in known:
            raise VerifyError(f"{where}: the input {variable} occurs twice")
        if isinstance(variable, Constant):
            raise VerifyError(f"{where}: the input {variable} is a constant")
        known.add(variable)
    for node in function.nodes:
        for position, variable in enumerate(node.inputs):
            if variable not in known:
                _check_leaf(variable, node, position, where)
        _check_outputs(node, where)
        _check_types(node, where)
        for number, region in enumerate(node.op.regions):
            _verify(region, f"{where}, region {number} of {_shown(node)}")
        known.update(node.outputs)
    for variable in function.outputs:
        if variable not in known and not isinstance(variable, Constant):
            raise VerifyError(f"{where}: the output {variable} is not computed")


def _shown(node: Apply) -> str:
    text = f"{node.op}({', '.join(str(v) for v in node.inputs)})"
    if node.source is not None and node.source.frames:
        text += f" of {node.source.location()}"
    return text if len(text) < 300 else text[:300] + "..."


def _check_leaf(variable: Variable, node: Apply, position: int, where: str) -> None:
    if isinstance(variable, Constant):
        return
    if variable.owner is None:
        raise VerifyError(
            f"{where}: operand {position} of {_shown(node)} is {variable}, which is neither an "
            "input nor computed"
        )
    raise VerifyError(
        f"{where}: {_shown(node)} comes before its operand {position} is computed: the graph has "
        "a cycle or the operand is no output of its owner"
    )


def _check_outputs(node: Apply, where: str) -> None:
    if not node.outputs:
        raise VerifyError(f"{where}: {_shown(node)} has no output")
    for position, output in enumerate(node.outputs):
        if output.owner is not node or output.index != position:
            raise VerifyError(
                f"{where}: output {position} of {_shown(node)} says it is output {output.index} "
                f"of {output.owner}"
            )


def _check_types(node: Apply, where: str) -> None:
    try:
        again = node.op.make_node(*node.inputs)
    except NotImplementedError:
        return
    except (TypeError, ValueError, IndexError) as error:
        raise VerifyError(f"{where}: {_shown(node)} cannot be built again: {error}") from error
    if len(again.outputs) != len(node.outputs):
        raise VerifyError(
            f"{where}: {_shown(node)} has {len(node.outputs)} outputs, its op gives "
            f"{len(again.outputs)}"
        )
    for position, (old, new) in enumerate(zip(node.outputs, again.outputs, strict=True)):
        if not _agree(old.type, new.type):
            raise VerifyError(
                f"{where}: output {position} of {_shown(node)} is {old.type}, its op gives "
                f"{new.type}"
            )


def _agree(have: Any, built: Any) -> bool:
    if not isinstance(have, TensorType) or not isinstance(built, TensorType):
        return bool(have == built)
    if have.dtype != built.dtype or have.ndim != built.ndim:
        return False
    return all(
        a is None or b is None or a == b for a, b in zip(have.shape, built.shape, strict=True)
    )
