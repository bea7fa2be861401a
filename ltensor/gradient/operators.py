"""`Lop`, `Rop`, `jacobian` and `hessian`, made of reverse sweeps."""

from __future__ import annotations

from typing import Any

from ltensor.errors import DisconnectedInputError
from ltensor.gradient.reverse import as_list, format_as, grad
from ltensor.ir import dtypes as dt
from ltensor.ir.aside import built_aside
from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Variable
from ltensor.ir.walks import ancestors, inputs_of, substitute
from ltensor.ops.alloc import arange, zeros_like
from ltensor.ops.arithmetic import add, mul
from ltensor.ops.copies import tensor_copy
from ltensor.ops.elementwise import zero_gradient
from ltensor.ops.reduce import sum as reduce_sum


def Lop(
    f: Any,
    wrt: Any,
    eval_points: Any,
    consider_constant: Any = None,
    disconnected_inputs: str = "raise",
) -> Any:
    """The row vector ``eval_points`` times the Jacobian of ``f`` with respect to ``wrt``."""
    outputs, points = as_list(f), [as_tensor(p) for p in as_list(eval_points)]
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
    outputs = [as_tensor(v) for v in as_list(f)]
    targets = as_list(wrt)
    points = [as_tensor(p) for p in as_list(eval_points)]
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
        raise AssertionError(
            "tensor.jacobian expects a 1 dimensional variable as `expression`. If not use flatten "
            "to make it a vector"
        )
    use_list, use_tuple = isinstance(wrt, list), isinstance(wrt, tuple)
    targets = as_list(wrt)
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
    return format_as(use_list, use_tuple, as_list(rows))


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
    for target in as_list(wrt):
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
