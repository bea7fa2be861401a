"""Test values: computing along while a graph is built, to find a wrong shape at its line.

With ``config.compute_test_value`` on, every new node computes its outputs from the
``tag.test_value`` of its inputs; constants and shared variables bring their own value.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from ltensor.config import config
from ltensor.errors import MethodNotDefined
from ltensor.ir import graph
from ltensor.ir.graph import Apply, Constant, Variable

__all__ = ["compute_test_value", "get_debug_values", "get_test_value", "missing_test_message"]


def get_test_value(v: Any) -> Any:
    """The test value of a variable (or of what can become one).

    Raises
    ------
    AttributeError
        If it has none.
    """
    if not isinstance(v, Variable):
        from ltensor.ir.build import as_tensor

        v = as_tensor(v)
    return _value_of(v)


def _value_of(variable: Variable) -> Any:
    if isinstance(variable, Constant):
        return variable.data
    if hasattr(variable, "get_value"):
        return variable.get_value(borrow=True)
    if variable.has_tag("test_value"):
        value = variable.tag.test_value
        try:
            return variable.type.filter(value)
        except (TypeError, ValueError) as error:
            raise type(error)(
                f"For compute_test_value, one input test value does not have the requested type.\n"
                f"{_backtrace(variable)}\nThe error when converting the test value to that "
                f"variable type:\n{error}"
            ) from error
    raise AttributeError(f"{variable} has no test value {_backtrace(variable)}")


def _backtrace(variable: Variable) -> str:
    if variable.source is None:
        return ""
    return f" \nBacktrace when that variable is created:\n\n{variable.source.format()}"


def missing_test_message(msg: str) -> None:
    """Act on a missing test value as ``config.compute_test_value`` says.

    Raises
    ------
    AttributeError
        If it says ``'raise'``.
    """
    action = config.compute_test_value
    if action == "raise":
        raise AttributeError(msg)
    if action == "warn":
        warnings.warn(msg, stacklevel=2)


def get_debug_values(*args: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the test values of all arguments once, or nothing where one has none.

    Examples
    --------
    >>> for xv, yv in get_debug_values(x, y):                   # doctest: +SKIP
    ...     assert xv.shape == yv.shape
    """
    if config.compute_test_value == "off":
        return
    values = []
    for position, variable in enumerate(args):
        try:
            values.append(get_test_value(variable))
        except AttributeError:
            missing_test_message(f"Argument {position} ('{variable}') has no test value")
            return
    yield tuple(values)


def compute_test_value(node: Apply) -> None:
    """Give the outputs of a new node their test values.

    Raises
    ------
    ValueError
        If an input has none and ``config.compute_test_value`` is ``'raise'``.
    """
    values = []
    for position, variable in enumerate(node.inputs):
        try:
            values.append(_value_of(variable))
        except AttributeError:
            action = config.compute_test_value
            what = f"annot compute test value: input {position} ({variable}) of Op {node}"
            if action in ("raise", "pdb"):
                where = _backtrace(variable)
                raise ValueError(f"C{what} missing default value. {where}") from None
            if action == "warn":
                warnings.warn(f"Warning, C{what} missing default value", stacklevel=2)
            return
    for output, value in zip(node.outputs, _computed(node, values), strict=True):
        output.tag.__dict__["test_value"] = value


def _computed(node: Apply, values: list[Any]) -> list[Any]:
    destroyed = {position for sources in node.op.destroy_map.values() for position in sources}
    for position in destroyed:
        if isinstance(values[position], np.ndarray):
            values[position] = values[position].copy()
    try:
        return graph.evaluate(node, values)
    except (MethodNotDefined, NotImplementedError):
        return _compiled(node, values)


def _compiled(node: Apply, values: list[Any]) -> list[Any]:
    """Ops without a reference of their own (loops, branches) are compiled and run."""
    from ltensor.function import function

    inputs = [v if isinstance(v, Constant) else v.type.make_variable() for v in node.inputs]
    copy = node.clone_with_new_inputs(inputs)
    free = [(v, x) for v, x in zip(inputs, values, strict=True) if not isinstance(v, Constant)]
    with config.change_flags(compute_test_value="off"):
        run = function([v for v, _ in free], list(copy.outputs), on_unused_input="ignore")
    return list(run(*[x for _, x in free]))


graph.test_value_hook = compute_test_value
# programs' ops ask for it under Theano's name
graph.PureOp._get_test_value = staticmethod(get_test_value)
