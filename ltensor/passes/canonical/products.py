"""Products of matrices that are zero off the diagonal: they scale rows or columns."""

from __future__ import annotations

from ltensor.ir.build import constant_value
from ltensor.ir.graph import Apply, Variable
from ltensor.ops.alloc import Eye
from ltensor.ops.arithmetic import mul, neg
from ltensor.ops.diagonal import ExtractDiag
from ltensor.ops.linalg import Dot
from ltensor.ops.shape import DimShuffle, dimshuffle
from ltensor.passes.match import made_by, pattern
from ltensor.passes.rewrite import Rules
from ltensor.passes.sizes import Sizes

RULES = Rules("products")
#: factors looked through
DEEPEST = 6


def _unit_size(variable: Variable) -> Variable | None:
    """The number of rows of a unit matrix, if ``variable`` is one."""
    node = made_by(variable, Eye)
    if node is None:
        return None
    rows, columns, shift = node.inputs
    zero = constant_value(shift)
    if zero is None or zero != 0:
        return None
    return rows if rows is columns or Sizes().same(rows, columns) else None


def _diagonal(variable: Variable, depth: int = DEEPEST) -> tuple[Variable, list[Variable]] | None:
    """A matrix that is zero off the diagonal, as (its size, factors of its diagonal).

    Factors are vectors of that length or of one element.
    """
    if variable.type.ndim != 2 or depth == 0:
        return None
    size = _unit_size(variable)
    if size is not None:
        return size, []
    view = made_by(variable, DimShuffle)
    if view is not None:
        turned = view.op.new_order == (1, 0)
        return _diagonal(view.inputs[0], depth - 1) if turned else None
    negative = made_by(variable, neg)
    if negative is not None:
        found = _diagonal(negative.inputs[0], depth - 1)
        if found is None:
            return None
        size, factors = found
        return (size, [neg(factors[0]), *factors[1:]]) if factors else None
    product = made_by(variable, mul)
    if product is None:
        return None
    for k, v in enumerate(product.inputs):
        found = _diagonal(v, depth - 1)
        if found is None:
            continue
        size, factors = found
        others = [*product.inputs[:k], *product.inputs[k + 1 :]]
        return size, [*factors, *(_along(v) for v in others)]
    return None


def _along(matrix: Variable) -> Variable:
    """The diagonal of a matrix that may be stretched."""
    flags = pattern(matrix)
    if not any(flags):
        return ExtractDiag()(matrix)
    if all(flags):
        return dimshuffle(matrix, (1,))
    return dimshuffle(matrix, (0,) if flags[1] else (1,))


@RULES.rule(Dot)
def scale_rows_or_columns(node: Apply) -> Variable | None:
    """``dot(diag(d), x)`` and ``dot(x, diag(d))``, where the diagonal is seen."""
    for position in (0, 1):
        other = node.inputs[1 - position]
        found = _diagonal(node.inputs[position])
        if found is None:
            continue
        size, factors = found
        along = 0 if position == 0 or other.type.ndim == 1 else 1
        if other.type.broadcastable[along]:
            return None
        if not factors or all(v.type.broadcastable[0] for v in factors):
            sizes = Sizes()
            if not sizes.same(sizes.of(other)[along], size):
                return None
        if not factors:
            return other
        if other.type.ndim == 2:
            order = (0, "x") if along == 0 else ("x", 0)
            factors = [dimshuffle(v, order) for v in factors]
        return mul(*factors, other)
    return None
