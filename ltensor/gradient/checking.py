"""Gradients compared with finite differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ltensor.errors import GradientError
from ltensor.gradient.reverse import grad
from ltensor.ir.build import constant
from ltensor.ir.types import TensorType
from ltensor.ops.arithmetic import mul
from ltensor.ops.reduce import sum as reduce_sum


class numeric_grad:
    """Finite differences of a NumPy function.

    Attributes
    ----------
    gf : list of ndarray, or ndarray
    """

    type_eps = {"float64": 1e-7, "float32": 3e-4, "float16": 1e-1}

    def __init__(self, f: Any, pt: Any, eps: float | None = None, out_type: Any = None) -> None:
        single = isinstance(pt, np.ndarray)
        points = [np.array(p) for p in ([pt] if single else pt)]
        eps = eps or max(self.type_eps.get(str(p.dtype), 1e-7) for p in points)
        base = np.asarray(f(*[p.copy() for p in points]))
        gradients = []
        for k, point in enumerate(points):
            gradient = np.zeros(point.shape, dtype=point.dtype)
            for index in np.ndindex(*point.shape):
                moved = [p.copy() for p in points]
                moved[k][index] += eps
                gradient[index] = (np.asarray(f(*moved)) - base) / eps
            gradients.append(gradient)
        self.gf = gradients[0] if single else gradients


def verify_grad(
    fun: Any,
    pt: Sequence[np.ndarray],
    n_tests: int = 2,
    rng: Any = None,
    eps: float | None = None,
    out_type: Any = None,
    abs_tol: float | None = None,
    rel_tol: float | None = None,
    mode: Any = None,
    cast_to_output_type: bool = False,
    no_debug_ref: bool = True,
) -> None:
    """Compare the gradient of ``fun`` with finite differences along random projections.

    Raises
    ------
    GradientError
        If they differ by more than the tolerances.
    """
    from ltensor.function import function

    points = [np.array(p) for p in pt]
    if rng is None:
        raise TypeError(
            "rng should be a valid instance of numpy.random.RandomState. You may want "
            "to use theano.tests.unittest_tools.verify_grad instead of "
            "theano.gradient.verify_grad."
        )
    kinds = [TensorType(str(p.dtype), tuple(s == 1 for s in p.shape)) for p in points]
    inputs = [k.make_variable(f"input {n}") for n, k in enumerate(kinds)]
    output = fun(*inputs)
    value = function(inputs, output, mode=mode, on_unused_input="ignore")
    tolerance = {"float16": 5e-2, "float32": 1e-2}
    loosest = max(tolerance.get(str(p.dtype), 1e-4) for p in points)
    abs_tol = loosest if abs_tol is None else abs_tol
    rel_tol = loosest if rel_tol is None else rel_tol
    for _ in range(n_tests):
        weights = rng.random_sample(np.shape(value(*points))) + 0.5
        # float64 unless told otherwise: rounding of a float32 sum would drown the differences
        if cast_to_output_type and output.type.dtype == "float32":
            weights = weights.astype("float32")
        cost = reduce_sum(mul(constant(weights), output))
        gradients = grad(cost, inputs, disconnected_inputs="ignore")
        analytic = function(inputs, gradients, mode=mode, on_unused_input="ignore")(*points)

        def projected(*values: np.ndarray, weights: np.ndarray = weights) -> float:
            return float((weights * value(*values)).sum())

        numeric = numeric_grad(projected, points, eps).gf
        for k, (a, b) in enumerate(zip(analytic, numeric, strict=True)):
            absolute = np.abs(a - b)
            relative = absolute / np.maximum(np.abs(a) + np.abs(b), 1e-8)
            wrong = (absolute > abs_tol) & (relative > rel_tol)
            if wrong.any():
                where = np.unravel_index(int(np.argmax(absolute)), absolute.shape)
                raise GradientError(
                    k,
                    int(np.argmax(absolute)),
                    absolute.shape,
                    float(b[where]),
                    float(a[where]),
                    float(absolute[where]),
                    float(relative[where]),
                    abs_tol,
                    rel_tol,
                )


# Programs catch the error by this name.
verify_grad.E_grad = GradientError  # type: ignore[attr-defined]
