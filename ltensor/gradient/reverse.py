"""`grad`: one sweep from the cost to the inputs that asks each op's ``L_op`` once.

Source of the behaviour: Theano's documentation and observations of 1.0.5.
"""

from __future__ import annotations

import warnings
from typing import Any

from ltensor.config import config
from ltensor.errors import DisconnectedInputError, NullTypeGradError
from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor, constant
from ltensor.ir.graph import Variable
from ltensor.ir.types import DisconnectedType, NullType, TensorType
from ltensor.ops.alloc import second
from ltensor.ops.differentiate import Sweep
from ltensor.ops.elementwise import zero_gradient


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


def as_list(value: Any) -> list[Any]:
    """The items of a list or tuple, else the one value."""
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
    use_list, use_tuple = isinstance(wrt, list), isinstance(wrt, tuple)
    targets = as_list(wrt)
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
    blocked = set(as_list(consider_constant)) if consider_constant is not None else set()
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
    targets = as_list(wrt)
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
