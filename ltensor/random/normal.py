"""Normal draws made of uniform ones: the transform of Box and Muller."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ltensor.ir.build import constant
from ltensor.ir.graph import Variable
from ltensor.ops.arithmetic import abs_, add, mul
from ltensor.ops.compare import gt, le
from ltensor.ops.indexing import nonzero
from ltensor.ops.join import join
from ltensor.ops.shape import shape_i
from ltensor.ops.transcendental import cos, log, sin, sqrt

#: a truncated draw lies within so many deviations
BOUND = 2.0


def _radius(u: Variable) -> Variable:
    return sqrt(mul(constant(np.asarray(-2.0, u.type.dtype)), log(u)))


def _circle(u: Variable) -> tuple[Variable, Variable]:
    angle = mul(constant(np.asarray(2.0 * np.pi, u.type.dtype)), u)
    return cos(angle), sin(angle)


def box_muller(u1: Variable, u2: Variable) -> Variable:
    """As many standard normal values as there are uniform ones, which must not be 0."""
    radius = _radius(u1)
    x, y = _circle(u2)
    return join(0, mul(radius, x), mul(radius, y))


def truncated_box_muller(
    u1: Variable, u2: Variable, redraw: Callable[[Variable], Variable]
) -> Variable:
    """As `box_muller`, with what lies outside of (-2, 2) drawn again with the same angle.

    Parameters
    ----------
    redraw : callable
        ``redraw(count)`` gives uniform values between ``exp(-2)`` and 1, whose radius is below 2.
    """
    radius = _radius(u1)
    circle = _circle(u2)
    values = [mul(radius, side) for side in circle]
    bound = constant(np.asarray(BOUND, u1.type.dtype))
    kept = [value[nonzero(le(abs_(value), bound))[0]] for value in values]
    places = [nonzero(gt(abs_(value), bound))[0] for value in values]
    counts = [shape_i(place, 0) for place in places]
    fresh = _radius(redraw(add(*counts)))
    first = mul(fresh[: counts[0]], circle[0][places[0]])
    second = mul(fresh[counts[0] :], circle[1][places[1]])
    return join(0, kept[0], first, kept[1], second)
