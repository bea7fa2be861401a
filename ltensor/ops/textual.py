"""Textual IR with the ops of the registry: `parse` and `parse_all`."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from ltensor.ir import parser
from ltensor.ir.function import Function
from ltensor.ir.graph import Op
from ltensor.ops.opdef import REGISTRY


def resolve(name: str, attributes: dict[str, Any], regions: Sequence[Function]) -> Op:
    """The op of that name; regions are the first arguments of its constructor.

    Raises
    ------
    ValueError
        If there is no such op.
    TypeError
        If it has no such attributes.
    """
    import ltensor.ops.all  # noqa: F401 - declares the ops

    declaration = REGISTRY.get(name)
    if declaration is None:
        near = difflib.get_close_matches(name, REGISTRY, n=1)
        raise ValueError("there is no such op" + (f"; did you mean {near[0]}?" if near else ""))
    return declaration.make(*regions, **attributes)


def parse(text: str, filename: str = "<text>") -> Function:
    """The one Function of a text.

    Raises
    ------
    ParseError
        With line and column.

    Examples
    --------
    >>> f = parse("func @f(%x: f64[?]) { %y = add %x, %x  return %y }")
    >>> print(f, end="")
    func @f(%x: f64[?]) -> f64[?] {
      %y = add %x, %x : f64[?]
      return %y
    }
    """
    return parser.parse(text, resolve, filename)


def parse_all(text: str, filename: str = "<text>") -> list[Function]:
    """All Functions of a text."""
    return parser.parse_all(text, resolve, filename)
