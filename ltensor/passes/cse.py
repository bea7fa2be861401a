"""Common subexpressions: equal operations on equal operands become one."""

from __future__ import annotations

from ltensor.ir.function import Function
from ltensor.passes.manager import register
from ltensor.passes.rewrite import rewrite


@register
def cse(function: Function) -> Function:
    """Merge equal operations and equal constants.

    Two operands of a commutative operation may be in either order. Ops with side effects or
    random state are never merged.
    """
    return rewrite(function)
