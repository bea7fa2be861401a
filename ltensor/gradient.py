"""Reverse-mode differentiation of graphs: `grad`, and `Lop`, `Rop`, `jacobian`, `hessian` on it.

One sweep from the cost to the inputs asks each op's ``L_op`` once. Source of the behaviour:
Theano's documentation and observations of 1.0.5.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ltensor.config import config
from ltensor.errors import DisconnectedInputError, GradientError, NullTypeGradError
from ltensor.ir import dtypes as dt
from ltensor.ir.aside import built_aside
from ltensor.ir.build import as_tensor, constant
from ltensor.ir.graph import Variable, ancestors, inputs_of, substitute
from ltensor.ir.types import DisconnectedType, NullType, TensorType
from ltensor.ops.alloc import arange, second, zeros_like
from ltensor.ops.arithmetic import add, mul
from ltensor.ops.copies import tensor_copy
from ltensor.ops.differentiate import Sweep
from ltensor.ops.elementwise import zero_gradient
from ltensor.ops.gradient_control import (
    consider_constant,
    disconnected_grad,
    grad_clip,
    grad_scale,
    undefined_grad,
    zero_grad,
)
from ltensor.ops.reduce import sum as reduce_sum

__all__ = [
    "DisconnectedInputError",
    "DisconnectedType",
    "GradientError",
    "Lop",
    "NullTypeGradError",
    "Rop",
    "consider_constant",
    "disconnected_grad",
    "format_as",
    "grad",
    "grad_clip",
    "grad_not_implemented",
    "grad_scale",
    "grad_undefined",
    "hessian",
    "jacobian",
    "numeric_grad",
    "subgraph_grad",
    "undefined_grad",
    "verify_grad",
    "zero_grad",
]

#: seconds spent in `grad`, for the profile
grad_time = 0.0


def format_as(use_list: bool, use_tuple: bool, outputs: Any) -> Any:
    """``outputs`` as a list, tuple or single value."""
    if use_list:
        return list(outputs)
    if use_tuple:
        return tuple(outputs)
    if isinstance(outputs, (list, tuple)):
        assert len(outputs) == 1
        return outputs[0]
    return outputs


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def grad_not_implemented(op: Any, x_pos: int, x: Variable, comment: str = "") -> Variable:
    """The gradient of an op whose author has not written it."""
    return NullType(
        f"This variable is Null because the grad method for input {x_pos} ({x}) of the {op} op "
        f"is not implemented. {comment}"
    ).make_variable()


def grad_undefined(op: Any, x_pos: int, x: Variable, comment: str = "") -> Variable:
    """The gradient of an op where none exists."""
    return NullType(
        f"This variable is Null because the grad method for input {x_pos} ({x}) of the {op} op "
        f"is mathematically undefined. {comment}"
    ).make_variable()


# --------------------------------------------------------------------------------- grad


def grad(
    cost: Variable | None,
    wrt: Any,
    consider_constant: Any = None,
    disconnected_inputs: str = "raise",
    add_names: bool = True,
    known_grads: dict[Variable, Variable] | None = None,
    return_disconnected: str = "zero",
    null_gradients: str = "raise",
) -> Any:
    """Gradients of a scalar.

    Parameters
    ----------
    cost : 0-d Variable or None
        What is differentiated; None if ``known_grads`` gives the start.
    wrt : Variable or list or tuple of Variable
        Returned in the same form.
    consider_constant : list of Variable, optional
        No gradient passes through these.
    disconnected_inputs : {'raise', 'warn', 'ignore'}
        For variables the cost does not depend on.
    known_grads : dict, optional
        Variables and the gradients of the (perhaps implicit) cost with respect to them. They
        hold as they are, also where ``cost`` or another known variable depends on one.
    return_disconnected : {'zero', 'None', 'Disconnected'}
        What stands for the gradient of an unconnected variable.
    null_gradients : {'raise', 'return'}

    Returns
    -------
    Variable, list or tuple
        In the dtype of the expression that leads to each variable, floatX for discrete ones.

    Raises
    ------
    TypeError
        If the cost is no scalar.
    DisconnectedInputError, NullTypeGradError
    """
    global grad_time
    started = time.perf_counter()
    use_list, use_tuple = isinstance(wrt, list), isinstance(wrt, tuple)
    targets = _as_list(wrt)
    if cost is None and known_grads is None:
        raise ValueError("cost and known_grads can't both be None.")
    if cost is not None:
        if not isinstance(cost, Variable):
            cost = as_tensor(cost)
        if isinstance(cost.type, NullType):
            raise ValueError(
                f"Can't differentiate a NaN cost.cost is NaN because {cost.type.why_null}"
            )
        if cost.type.ndim != 0:
            raise TypeError("cost must be a scalar.")
        if dt.is_complex(cost.type.dtype):
            raise AssertionError("the cost must not be complex: use abs or real")
    for target in targets:
        if not isinstance(target, Variable):
            raise TypeError(
                f"Expected Variable, got {target} of type {type(target)} as element of wrt"
            )
    blocked = set(_as_list(consider_constant)) if consider_constant is not None else set()
    starts: dict[Variable, Variable] = {}
    for variable, given in (known_grads or {}).items():
        start = as_tensor(given)
        if start.type.ndim != variable.type.ndim:
            raise TypeError(
                f"Ambiguous types: the known gradient of {variable} has {start.type.ndim} "
                f"dimensions, the variable {variable.type.ndim}"
            )
        starts[variable] = start
    if cost is not None and cost not in starts:
        starts[cost] = _ones(cost)
    sweep = Sweep(starts, targets, blocked, known_grads or ())
    gradients = sweep.run()
    results: list[Any] = []
    for target in targets:
        gradient = gradients.get(target)
        if gradient is not None and isinstance(gradient.type, NullType):
            if null_gradients == "raise":
                raise NullTypeGradError("tensor.grad encountered a NaN. " + gradient.type.why_null)
            results.append(gradient)
            continue
        if gradient is None or isinstance(gradient.type, DisconnectedType):
            if target not in sweep.connected or target not in sweep.reached:
                _disconnected(target, disconnected_inputs)
            results.append(_unconnected(target, return_disconnected))
            continue
        if add_names and cost is not None and cost.name and target.name and not gradient.name:
            gradient.name = f"(d{cost.name}/d{target.name})"
        results.append(gradient)
    grad_time += time.perf_counter() - started
    return format_as(use_list, use_tuple, results)


def _ones(cost: Variable) -> Variable:
    dtype = cost.type.dtype
    if dt.is_discrete(dtype):
        dtype = str(config.floatX)
    return second(cost, constant(1.0, dtype=dtype))


def _unconnected(target: Variable, how: str) -> Any:
    if how == "zero":
        return zero_gradient(target) if isinstance(target.type, TensorType) else None
    if how.lower() == "none":
        return None
    if how.lower() == "disconnected":
        return DisconnectedType().make_variable()
    raise ValueError("return_disconnected must be 'zero', 'None' or 'Disconnected'")


def _disconnected(target: Variable, policy: str) -> None:
    text = (
        "grad method was asked to compute the gradient with respect to a variable that is not part "
        "of the computational graph of the cost, or is used only by a non-differentiable operator: "
        f"{target}"
    )
    if policy == "ignore":
        return
    if policy == "warn":
        warnings.warn(text, stacklevel=3)
    elif policy == "raise":
        where = "" if target.source is None else f"\n{target.source.format()}"
        raise DisconnectedInputError(text + where)
    else:
        raise ValueError(
            "Invalid value for keyword disconnected_inputs: it must be 'ignore', 'warn' or 'raise'."
        )


def subgraph_grad(
    wrt: Any, end: Any, start: Any = None, cost: Variable | None = None, details: bool = False
) -> Any:
    """Gradients with respect to ``wrt`` and ``end`` of a part of a graph.

    Parameters
    ----------
    start : dict, optional
        Gradients known at the top of the part.
    cost : Variable, optional
        A scalar added to the part's cost.
    """
    ends = list(end)
    targets = _as_list(wrt)
    known = dict(start or {})
    gradients = grad(
        cost,
        [*ends, *targets],
        consider_constant=ends,
        disconnected_inputs="ignore",
        known_grads=known,
    )
    end_grads = gradients[: len(ends)]
    wrt_grads = gradients[len(ends) :]
    return wrt_grads, end_grads


# --------------------------------------------------------------------------------- operators


def Lop(
    f: Any,
    wrt: Any,
    eval_points: Any,
    consider_constant: Any = None,
    disconnected_inputs: str = "raise",
) -> Any:
    """The row vector ``eval_points`` times the Jacobian of ``f`` with respect to ``wrt``."""
    outputs, points = _as_list(f), [as_tensor(p) for p in _as_list(eval_points)]
    if len(outputs) != len(points):
        raise ValueError("f and eval_points must have the same length")
    if len(outputs) > 1:
        # known gradients replace others: one output may depend on another, or be given twice
        outputs = [tensor_copy(output) for output in outputs]
    known = dict(zip(outputs, points, strict=True))
    return grad(
        None,
        wrt,
        consider_constant=consider_constant,
        known_grads=known,
        disconnected_inputs=disconnected_inputs,
    )


def Rop(f: Any, wrt: Any, eval_points: Any, disconnected_outputs: str = "raise") -> Any:
    """The Jacobian of ``f`` with respect to ``wrt`` times the vector ``eval_points``.

    Computed as the transpose of a transposed product (two reverse sweeps), so that it is defined
    for whatever has a gradient.
    """
    use_list, use_tuple = isinstance(f, list), isinstance(f, tuple)
    outputs = [as_tensor(v) for v in _as_list(f)]
    targets = _as_list(wrt)
    points = [as_tensor(p) for p in _as_list(eval_points)]
    if len(targets) != len(points):
        raise ValueError("wrt and eval_points must have the same length")
    for position, (target, point) in enumerate(zip(targets, points, strict=True)):
        if target.type.ndim != point.type.ndim:
            raise ValueError(
                f"Element {position} of wrt and eval_points have mismatched dimensionality: "
                f"{target.type.ndim} and {point.type.ndim}"
            )
    results = built_aside(
        lambda: [_forward(output, targets, points, disconnected_outputs) for output in outputs],
        [*outputs, *targets, *points],
    )
    return format_as(use_list, use_tuple, results)


def _forward(
    output: Variable, targets: list[Variable], points: list[Variable], disconnected_outputs: str
) -> Variable:
    """One entry of `Rop`."""
    if dt.is_discrete(output.type.dtype):
        return zero_gradient(output)
    probe = output.type.make_variable("probe")
    backward = grad(
        None,
        targets,
        known_grads={output: probe},
        disconnected_inputs="ignore",
        return_disconnected="None",
    )
    terms = [reduce_sum(mul(g, p)) for g, p in zip(backward, points, strict=True) if g is not None]
    if not terms:
        # A gradient that happens to be constant, of a linear function say, still is made
        # from the targets: its derivative is zero, and nothing is wrong.
        reads = set(ancestors([output])).intersection(targets)
        if disconnected_outputs == "raise" and not reads:
            raise DisconnectedInputError(f"{output} does not depend on {targets}")
        return zeros_like(output)
    total = terms[0] if len(terms) == 1 else add(*terms)
    forward: Variable = grad(total, probe, disconnected_inputs="ignore")
    if probe in inputs_of([forward]):
        forward = substitute([forward], {probe: zeros_like(output)})[0]
    return forward


def jacobian(
    expression: Variable,
    wrt: Any,
    consider_constant: Any = None,
    disconnected_inputs: str = "raise",
) -> Any:
    """Derivatives of every item of a scalar or vector: ``result[i] = d expression[i] / d wrt``."""
    from ltensor.scan import scan

    expression = as_tensor(expression)
    if expression.type.ndim > 1:
        raise ValueError(
            "jacobian expects a 1 dimensional variable as `expression`. If not use "
            "flatten to make it a vector"
        )
    use_list, use_tuple = isinstance(wrt, list), isinstance(wrt, tuple)
    targets = _as_list(wrt)
    if expression.type.ndim == 0:
        return format_as(
            use_list,
            use_tuple,
            grad(expression, targets, consider_constant, disconnected_inputs),
        )

    def row(i: Variable, *refs: Variable) -> Any:
        return grad(
            expression[i],
            targets,
            consider_constant=consider_constant,
            disconnected_inputs=disconnected_inputs,
        )

    rows, updates = scan(row, sequences=arange(expression.shape[0]), non_sequences=targets)
    assert not updates, "Scan has returned a list of updates: this should not happen"
    return format_as(use_list, use_tuple, _as_list(rows))


def hessian(
    cost: Variable, wrt: Any, consider_constant: Any = None, disconnected_inputs: str = "raise"
) -> Any:
    """Second derivatives of a scalar with respect to vectors."""
    from ltensor.scan import scan

    cost = as_tensor(cost)
    if cost.type.ndim != 0:
        raise AssertionError("tensor.hessian expects a 0 dimensional variable as `cost`")
    use_list, use_tuple = isinstance(wrt, list), isinstance(wrt, tuple)
    results = []
    for target in _as_list(wrt):
        if target.type.ndim != 1:
            raise AssertionError(
                "tensor.hessian expects a (list of) 1 dimensional variable as `wrt`"
            )
        first = grad(
            cost,
            target,
            consider_constant=consider_constant,
            disconnected_inputs=disconnected_inputs,
        )

        def row(i: Variable, target: Variable = target, first: Variable = first) -> Any:
            return grad(
                first[i], target, consider_constant=consider_constant, disconnected_inputs="ignore"
            )

        rows, updates = scan(row, sequences=arange(first.shape[0]))
        assert not updates
        results.append(rows)
    return format_as(use_list, use_tuple, results)


# --------------------------------------------------------------------------------- checking


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
