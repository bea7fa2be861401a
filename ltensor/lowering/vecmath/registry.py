"""Which functions there are, who emits them, and how exact they are."""

from __future__ import annotations

from collections.abc import Callable

from ltensor.lowering.vecmath import bessel, exponential, gamma, inverse, logarithm, special, trig
from ltensor.lowering.vecmath.builder import Builder, Value

Emitter = Callable[..., Value]


def through_double(emitter: Emitter) -> Emitter:
    """Let a float64 emitter serve float32 too, by computing in double precision."""

    def emit(build: Builder, *arguments: Value) -> Value:
        kind = arguments[0].kind
        return emitter(build, *(x.to("f64") for x in arguments)).to(kind)

    return emit


EMITTERS: dict[str, tuple[int, Emitter]] = {
    "exp": (1, exponential.exp),
    "exp2": (1, exponential.exp2),
    "exp10": (1, exponential.exp10),
    "expm1": (1, exponential.expm1),
    "tanh": (1, exponential.tanh),
    "sigmoid": (1, exponential.sigmoid),
    "softplus": (1, exponential.softplus),
    "log": (1, logarithm.log),
    "log2": (1, logarithm.log2),
    "log10": (1, logarithm.log10),
    "log1p": (1, logarithm.log1p),
    "pow": (2, logarithm.pow),
    "sin": (1, trig.sin),
    "cos": (1, trig.cos),
    "tan": (1, trig.tan),
    "arcsin": (1, inverse.arcsin),
    "arccos": (1, inverse.arccos),
    "arctan": (1, inverse.arctan),
    "arctan2": (2, inverse.arctan2),
    "sinh": (1, inverse.sinh),
    "cosh": (1, inverse.cosh),
    "arcsinh": (1, inverse.arcsinh),
    "arccosh": (1, inverse.arccosh),
    "arctanh": (1, inverse.arctanh),
    "hypot": (2, inverse.hypot),
    "erf": (1, special.erf),
    "erfc": (1, special.erfc),
    "erfcx": (1, through_double(special.erfcx)),
    "erfinv": (1, through_double(special.erfinv)),
    "erfcinv": (1, through_double(special.erfcinv)),
    "gamma": (1, through_double(gamma.gamma)),
    "gammaln": (1, through_double(gamma.gammaln)),
    "psi": (1, through_double(gamma.psi)),
    "tri_gamma": (1, through_double(gamma.tri_gamma)),
    "i0": (1, through_double(bessel.i0)),
    "i1": (1, through_double(bessel.i1)),
    "j0": (1, through_double(bessel.j0)),
    "j1": (1, through_double(bessel.j1)),
}

# Steps of a function, for those that compute some of them less often; float64 only.
STEPS: dict[str, tuple[int, Emitter]] = {
    "pow_log_high": (1, logarithm.pow_log_high),
    "pow_log_low": (1, logarithm.pow_log_low),
    "pow_of_log": (4, logarithm.pow_of_log),
}

# Those whose own function has a branch around work that few arguments need.
WITH_RARE_BRANCH = frozenset(
    {"sin", "cos", "tan", "pow", "erfinv", "erfcinv", "gamma", "gammaln", "psi", "tri_gamma"}
    | {"j0", "j1"}
)

# The largest error, in units of the last place of the exact result, as (float32, float64).  Where
# float32 is computed in double precision it is 0.5 and the rest of a rounding.
_BOUNDS: dict[str, tuple[float, float]] = {
    "exp": (1.1, 1.1),
    "exp2": (1, 1),
    "exp10": (1.25, 1.25),
    "expm1": (1.3, 1.3),
    "tanh": (1.25, 2.1),
    "sigmoid": (2.25, 2.25),
    "softplus": (2.5, 2.5),
    "log": (1, 1),
    "log2": (1, 1),
    "log10": (1, 1),
    "log1p": (1, 1),
    "pow": (0.51, 1.25),
    "sin": (1, 1),
    "cos": (1, 1),
    "tan": (1.75, 1.75),
    "arcsin": (1.75, 1.75),
    "arccos": (1.25, 1.25),
    "arctan": (2.0, 1.5),
    "arctan2": (1.5, 1.25),
    "sinh": (2, 2),
    "cosh": (1.5, 1.5),
    "arcsinh": (1.25, 1.25),
    "arccosh": (1.25, 1.25),
    "arctanh": (1.25, 1.25),
    "hypot": (1, 1),
    "erf": (1.25, 1.25),
    "erfc": (4.75, 3.5),
    "erfcx": (0.51, 4.5),
    "erfinv": (0.51, 3.5),
    "erfcinv": (0.51, 4),
    "gamma": (0.51, 6),
    "gammaln": (0.51, 8),
    "psi": (0.51, 200),
    "tri_gamma": (0.51, 6),
    "i0": (0.51, 5),
    "i1": (0.51, 5),
    # beyond 8 relative to the amplitude sqrt(2 / (pi x)): the zeros are not resolved there
    "j0": (0.51, 16),
    "j1": (0.51, 16),
}

ULP: dict[tuple[str, str], float] = {
    (name, dtype): bound
    for name, bounds in _BOUNDS.items()
    for dtype, bound in zip(("float32", "float64"), bounds, strict=True)
}
