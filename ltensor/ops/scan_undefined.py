"""Gradients of a scan that do not exist: those of what a step hands to a draw, say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import NullType

if TYPE_CHECKING:
    from ltensor.ops.scan import Scan

Found = dict[Variable, Any]


def split_undefined(found: Found) -> tuple[Found, Found]:
    """Gradients within a step as (those that exist, those that do not)."""
    undefined = {v: g for v, g in found.items() if g is not None and isinstance(g.type, NullType)}
    return {v: None if v in undefined else g for v, g in found.items()}, undefined


def mark_undefined(
    op: Scan, node: Apply | None, results: list[Any], undefined: Found, windows: dict[Variable, Any]
) -> list[Any]:
    """The gradients of the operands, without those that depend on an undefined one.

    What a step passes on to an undefined adjoint of a state is undefined as well.
    """
    if not undefined or node is None:
        return results
    first = next(iter(undefined.values()))
    states = [*op.inner_taps(), *([v] for v in op.inner_carries())]
    through = [k for k, slot in enumerate(states) if any(v in undefined for v in slot)]
    direct: list[list[Variable]] = [[], *([v] for v in op.inner_seqs()), *states]
    for v in op.inner_refs():
        parts = [part.outputs[0] for part in windows[v].nodes] if v in windows else []
        direct.append([v, *parts])
    pattern = op.connection_pattern(node)
    marked = []
    for number, result in enumerate(results):
        here = any(v in undefined for v in direct[number])
        later = any(pattern[number][k] for k in through)
        marked.append(first.type.make_variable() if here or later else result)
    return marked
