"""Bessel functions j0, j1, i0, i1: Chebyshev series near and far, written against the emitter.

The coefficients were fitted with 40 digits (mpmath) by interpolation at 64 Chebyshev nodes. Up to 8
the series is in x**2 (j) or in x (i, after exp(-x)); beyond it is in (8 / x)**2 for modulus and
phase (j) or in 8 / x (i).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.graph import Variable
from ltensor.ops.arithmetic import mul, neg, sub, switch, true_div
from ltensor.ops.compare import eq
from ltensor.ops.elementwise import ElementwiseOp, elementwise, real_float_like
from ltensor.ops.samples import interval

J0_NEAR = (
    0.15772797147489012,
    -0.008723442352852221,
    0.2651786132033368,
    -0.37009499387264977,
    0.15806710233209725,
    -0.034893769411408884,
    0.004819180069467605,
    -0.00046062616620627504,
    3.246032882100508e-05,
    -1.7619469077621507e-06,
    7.608163592418782e-08,
    -2.679253530557673e-09,
    7.848696314479465e-11,
    -1.9438346867370164e-12,
    4.125320595634374e-14,
    -7.588508125447546e-16,
    1.2218515873961411e-17,
)
J1_NEAR = (
    0.08104484632565812,
    -0.1489751450676521,
    0.1609992623572097,
    -0.08268049176681791,
    0.022213639654966037,
    -0.003646940600769276,
    0.0004050337728354822,
    -3.255554866857259e-05,
    1.9858774049915165e-06,
    -9.521984756750436e-08,
    3.687133759097148e-09,
    -1.178026622695885e-10,
    3.160154580348003e-12,
    -7.221755239651773e-14,
    1.4232144003513942e-15,
    -2.4441972916190464e-17,
)
J0_P = (
    0.9994603493475187,
    -0.0005365220468132117,
    3.0751847875194745e-06,
    -5.1705945376060975e-08,
    1.6306464635151382e-09,
    -7.86409137723707e-11,
    5.168262387349193e-12,
    -4.3045788699253914e-13,
    4.3265957431549404e-14,
    -5.069034095935236e-15,
    6.748072215733873e-16,
    -1.0011513723467786e-16,
    1.6305919233744186e-17,
)
J0_Q = (
    -0.12444683684269607,
    0.0005470815954089319,
    -5.9315987288485175e-06,
    1.4377965798375193e-07,
    -5.817532749493056e-09,
    3.376097523734991e-10,
    -2.565397936797308e-11,
    2.404916100281365e-12,
    -2.6690625482579414e-13,
    3.4041800321963686e-14,
    -4.87994410531204e-15,
    7.729703176242605e-16,
    -1.3348852171502517e-16,
    2.4865952389390515e-17,
    -4.952892629886516e-18,
)
J1_P = (
    1.0009030408600137,
    0.0008989898330859408,
    -3.987284300488908e-06,
    6.177633960644299e-08,
    -1.8718907491063067e-09,
    8.816898659582339e-11,
    -5.704863640395645e-12,
    4.699195515230542e-13,
    -4.6842237839904895e-14,
    5.452674896044717e-15,
    -7.221180842274018e-16,
    1.0667689114335412e-16,
    -1.7312313216116335e-17,
)
J1_Q = (
    0.3742222965562826,
    -0.0007702178839325664,
    7.3108922063643636e-06,
    -1.676782510726674e-07,
    6.583354662120443e-09,
    -3.749090950541556e-10,
    2.8121750359748866e-11,
    -2.61145253946232e-12,
    2.8774212663332235e-13,
    -3.649001916061838e-14,
    5.206626366226707e-15,
    -8.215318025458595e-16,
    1.4141084390211833e-16,
    -2.626761589838529e-17,
    5.2192649196714085e-18,
)
I0_NEAR = (
    0.33839763720473803,
    -0.3046826723431984,
    0.17162090152220877,
    -0.09490109704804764,
    0.04930528423967071,
    -0.02373741480589947,
    0.010546460394594998,
    -0.004324309995050576,
    0.0016394756169413357,
    -0.0005763755745385824,
    0.00018850288509584165,
    -5.754195010082104e-05,
    1.6448448070728896e-05,
    -4.4167383584587505e-06,
    1.1173875391201037e-06,
    -2.670793853940612e-07,
    6.046995022541919e-08,
    -1.300025009986248e-08,
    2.6598237246823866e-09,
    -5.189795601635263e-10,
    9.675809035373237e-11,
    -1.726826291441556e-11,
    2.95505266312964e-12,
    -4.856446783111929e-13,
    7.676185498604936e-14,
    -1.1685332877993451e-14,
    1.715391285555133e-15,
    -2.431279846547955e-16,
    3.3307945188222384e-17,
    -4.4153416464793395e-18,
)
I0_FAR = (
    0.4022452055070544,
    0.0033691164782556943,
    6.889758346916825e-05,
    2.8913705208347567e-06,
    2.0489185894690638e-07,
    2.266668990498178e-08,
    3.3962320257083865e-09,
    4.94060238822497e-10,
    1.1889147107846439e-11,
    -3.1499165279632416e-11,
    -1.3215811840447713e-11,
    -1.7941785315068062e-12,
    7.180124451383666e-13,
    3.8527783827421426e-13,
    1.54008621752141e-14,
    -4.150569347287222e-14,
    -9.554846698828307e-15,
    3.8116806693526224e-15,
    1.7725601330565263e-15,
    -3.425485619677219e-16,
    -2.8276239805165836e-16,
    3.461222867697461e-17,
    4.46562142029676e-17,
    -4.830504485944182e-18,
    -7.233180487874754e-18,
)
I1_NEAR = (
    0.12629359322181682,
    -0.17641651835783406,
    0.1026436586898471,
    -0.05294598120809499,
    0.024726449030626516,
    -0.010564084894626197,
    0.004156422944312888,
    -0.0015135724506312532,
    0.0005122859561685758,
    -0.00016176081582589674,
    4.781565107550054e-05,
    -1.3273163656039436e-05,
    3.4702513081376785e-06,
    -8.568720264695455e-07,
    2.0032947535521353e-07,
    -4.445059128796328e-08,
    9.381537386495773e-09,
    -1.8872497517228294e-09,
    3.625590281552117e-10,
    -6.663489723502027e-11,
    1.1736186298890901e-11,
    -1.9839743977649436e-12,
    3.223793365945575e-13,
    -5.042185504727912e-14,
    7.600684294735408e-15,
    -1.1055969477353862e-15,
    1.5536319577362005e-16,
    -2.111421214358166e-17,
    2.7779141127610464e-18,
)
I1_FAR = (
    0.38928811750914005,
    -0.009761097491361469,
    -0.00011058893876262371,
    -3.882564808877691e-06,
    -2.512236237870209e-07,
    -2.6314688468895196e-08,
    -3.835380385964237e-09,
    -5.589743462196584e-10,
    -1.8974958123505413e-11,
    3.2526035830154884e-11,
    1.4125807436613782e-11,
    2.0356285441470896e-12,
    -7.198551776245908e-13,
    -4.0835511110921974e-13,
    -2.1015418427726643e-14,
    4.272440016711951e-14,
    1.0420276984128802e-14,
    -3.8144030724370075e-15,
    -1.8803547755107825e-15,
    3.3082023109209285e-16,
    2.96262899764595e-16,
    -3.209525921993424e-17,
    -4.6503053684893586e-17,
    4.414348323071708e-18,
    7.517296310842105e-18,
)


def _series(e: Any, coefficients: Sequence[float], t: Any) -> Any:
    """A Chebyshev series at ``t`` in [-1, 1], by Clenshaw's recurrence."""
    twice = e.add(t, t)
    high, higher = e.const(0, t.dtype), e.const(0, t.dtype)
    for c in reversed(coefficients[1:]):
        high, higher = e.add(e.sub(e.mul(twice, high), higher), e.const(c, t.dtype)), high
    return e.add(e.sub(e.mul(t, high), higher), e.const(coefficients[0], t.dtype))


def _in_double(body: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """An emitter that computes in float64."""
    return lambda e, x: e.cast(body(e, e.cast(x, "float64")), x.dtype)


def _oscillating(order: int) -> Callable[[Any, Any], Any]:
    near, modulus, phase = (J0_NEAR, J0_P, J0_Q) if order == 0 else (J1_NEAR, J1_P, J1_Q)

    def body(e: Any, x: Any) -> Any:
        def number(value: float) -> Any:
            return e.const(value, "float64")

        size = e.abs(x)
        bounded = e.min(size, number(8))
        inner = _series(e, near, e.sub(e.mul(e.mul(bounded, bounded), number(1 / 32)), number(1)))
        outside = e.max(size, number(8))
        inverse = e.div(number(8), outside)
        t = e.sub(e.mul(e.mul(inverse, inverse), number(2)), number(1))
        p, q = _series(e, modulus, t), e.div(_series(e, phase, t), outside)
        sine, cosine = e.math("sin", outside), e.math("cos", outside)
        # cos and sin of outside - pi / 4, without forming that difference; their common factor
        # sqrt(1 / 2) joins the root
        plus, minus = e.add(sine, cosine), e.sub(sine, cosine)
        a, c = (plus, minus) if order == 0 else (minus, e.neg(plus))
        root = e.sqrt(e.div(number(1 / math.pi), outside))
        outer = e.mul(root, e.sub(e.mul(p, a), e.mul(q, c)))
        if order:
            inner = e.mul(inner, x)
            outer = e.select(e.lt(x, number(0)), e.neg(outer), outer)
        vanished = e.eq(size, number(np.inf))
        return e.select(vanished, number(0), e.select(e.lt(size, number(8)), inner, outer))

    return _in_double(body)


def _growing(order: int) -> Callable[[Any, Any], Any]:
    near, far = (I0_NEAR, I0_FAR) if order == 0 else (I1_NEAR, I1_FAR)

    def body(e: Any, x: Any) -> Any:
        def number(value: float) -> Any:
            return e.const(value, "float64")

        size = e.abs(x)
        bounded = e.min(size, number(8))
        inner = _series(e, near, e.sub(e.mul(bounded, number(1 / 4)), number(1)))
        if order:
            inner = e.mul(inner, size)
        outside = e.max(size, number(8))
        t = e.sub(e.div(number(16), outside), number(1))
        outer = e.div(_series(e, far, t), e.sqrt(outside))
        # half of the exponent at a time: the result may fit where exp(size) does not
        power = e.math("exp", e.mul(size, number(0.5)))
        value = e.mul(e.mul(e.select(e.lt(size, number(8)), inner, outer), power), power)
        value = e.select(e.eq(size, number(np.inf)), size, value)
        return e.copysign(value, x) if order else value

    return _in_double(body)


def _integral(order: int, growing: bool) -> Callable[[np.ndarray], np.ndarray]:
    """The reference: Bessel's integral by the trapezoidal rule, exact for periodic functions."""
    points = 2048
    angle = (np.arange(points) + 0.5) * (2 * math.pi / points)

    def reference(x: np.ndarray) -> np.ndarray:
        wide = x.astype("float64")[..., None]
        if growing:
            values = np.exp(wide * np.cos(angle)) * np.cos(order * angle)
        else:
            values = np.cos(order * angle - wide * np.sin(angle))
        return values.mean(axis=-1).astype(x.dtype)

    return reference


def _slope(zero: Variable, one: Variable, x: Variable) -> Variable:
    """The derivative of order 1: that of order 0 less the function over x."""
    half = np.asarray(0.5, dtype=one.type.dtype)
    origin = eq(x, 0)
    return switch(origin, half, sub(zero, true_div(one, switch(origin, half, x))))


def _bessel(name: str, doc: str, order: int, growing: bool, vjp: Any) -> Any:
    return elementwise(
        name,
        doc=doc,
        types=real_float_like,
        ref=_integral(order, growing),
        emit=_growing(order) if growing else _oscillating(order),
        vjp=vjp,
        cost=120,
        domain=interval(-12, 20) if not growing else interval(-3, 12),
        ulp=16,
        dtypes=tuple(d for d in dt.ALL if not dt.is_complex(d)),
    )


j0 = _bessel(
    "j0", "Bessel function of the first kind, order 0.", 0, False,
    lambda x, y, g: [neg(mul(g, j1(x[0])))],
)  # fmt: skip
j1: ElementwiseOp = _bessel(
    "j1", "Bessel function of the first kind, order 1.", 1, False,
    lambda x, y, g: [mul(g, _slope(j0(x[0]), y, x[0]))],
)  # fmt: skip
i0 = _bessel(
    "i0", "Modified Bessel function of the first kind, order 0.", 0, True,
    lambda x, y, g: [mul(g, i1(x[0]))],
)  # fmt: skip
i1: ElementwiseOp = _bessel(
    "i1", "Modified Bessel function of the first kind, order 1.", 1, True,
    lambda x, y, g: [mul(g, _slope(i0(x[0]), y, x[0]))],
)  # fmt: skip
