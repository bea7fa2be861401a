"""`function`: from a symbolic graph to a compiled callable.

Collects inputs, shared variables, updates and givens by Theano's rules, hands one closed Function
to the passes and the lowering, and wraps the native code in a `CompiledFunction`.
"""

from __future__ import annotations

import copy
import os
import sys
import time
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

from ltensor.compile_modes import get_mode
from ltensor.compiled import CompiledFunction
from ltensor.config import config
from ltensor.errors import UnusedInputError
from ltensor.function_maker import FunctionMaker
from ltensor.function_request import Pairs, Request
from ltensor.io import In, Out
from ltensor.ir.graph import Constant, Variable
from ltensor.ir.types import RandomStateType
from ltensor.ir.walks import inputs_of
from ltensor.runtime.entry import Returns
from ltensor.shared import Container, RandomStateSharedVariable, SharedVariable

__all__ = ["Function", "FunctionMaker", "function", "orig_function", "pfunc"]


def function(
    inputs: Any,
    outputs: Any = None,
    mode: Any = None,
    updates: Any = None,
    givens: Any = None,
    no_default_updates: Any = False,
    accept_inplace: bool = False,
    name: str | None = None,
    rebuild_strict: bool = True,
    allow_input_downcast: bool | None = None,
    profile: Any = None,
    on_unused_input: str | None = None,
) -> CompiledFunction:
    """Compile a graph.

    Parameters
    ----------
    inputs : list of Variable or In
    outputs : Variable, Out, list, tuple, dict with str keys, or None
        What a call returns: a value, a list, a dict, or ``[]``.
    mode : str or Mode, optional
    updates : dict or list of pairs
        Shared variables and the expressions of their next values.
    givens : dict or list of pairs
        Variables and what stands in their place.
    no_default_updates : bool or list of shared variables
        Which default updates (of random streams, say) are left out.
    name : str, optional
        Default ``FILE.py:LINE`` of the call.
    allow_input_downcast : bool or None
        Whether arguments may lose precision; None: only Python floats to floatX scalars.
    profile : bool, optional
    on_unused_input : {'raise', 'warn', 'ignore'}, optional

    Raises
    ------
    UnusedInputError, MissingInputError, TypeError, ValueError
        As Theano's.
    """
    started = time.perf_counter()
    if name is None:
        frame = sys._getframe(1)
        name = f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
        caller = f"{frame.f_code.co_filename}:{frame.f_lineno}"
    else:
        caller = name
    if not isinstance(inputs, (list, tuple)):
        raise Exception(
            "Input variables of a Theano function should be contained in a list, even when there "
            "is a single input."
        )
    specs = [_as_input(p, allow_input_downcast) for p in inputs]
    _check_duplicates(specs)
    pairs = _pairs(updates)
    given = _pairs(givens)
    specs, states = _kept_states(specs)
    given += [(s.variable, state) for s, state in states]
    pairs += [(state, s.update) for s, state in states if s.update is not None]
    keys, output_list, returns, lent = _outputs(outputs)
    request = Request(specs, output_list, pairs, given, no_default_updates, rebuild_strict)
    request.lent = lent
    request.kept = {s.variable: state for s, state in states}
    request.rebuild()
    _check_unused(specs, request, on_unused_input or config.on_unused_input)
    chosen = get_mode(mode)
    wants_profile = bool(config.profile) if profile is None else profile
    maker = FunctionMaker(
        specs, request, keys, returns, chosen, name, caller, wants_profile, started
    )
    return maker.create()


pfunc = function
orig_function = function
Function = CompiledFunction


class Supervisor:
    """Theano's guard of borrowed inputs; accepted, arguments are never written here."""

    def __init__(self, protected: Any = ()) -> None:
        self.protected = list(protected)


def register_checker(checker: Any) -> None:
    """Theano's hook for checks of inputs; accepted without effect."""


def convert_function_input(value: Any) -> In:
    """``value`` (a variable, an `In` or a tuple) as an `In`."""
    return _as_input(value, None)


def rebuild_collect_shared(
    outputs: Any,
    inputs: Any = None,
    replace: Any = None,
    updates: Any = None,
    rebuild_strict: bool = True,
    copy_inputs_over: bool = True,
    no_default_updates: Any = False,
) -> Any:
    """Outputs with givens put in; returns (inputs, outputs, (_, updates, updates, shared)).

    Source: Theano's helper of the same name; programs use its outputs and shared variables.
    """
    single = isinstance(outputs, Variable)
    specs = [_as_input(v, None) for v in inputs or []]
    request = Request(
        specs,
        [outputs] if single else list(outputs or []),
        _pairs(updates),
        _pairs(replace),
        no_default_updates,
        rebuild_strict,
    )
    request.rebuild()
    changed = OrderedDict(zip(request.updated, request.new_values, strict=True))
    result: Any = request.outputs[0] if single else request.outputs
    return [s.variable for s in specs], result, [{}, changed, changed, request.shared]


# ------------------------------------------------------------------------------- arguments


def _from_tuple(parts: Sequence[Any]) -> In:
    """The old forms ``(x, value)`` and ``((x, update), value)``, both with or without a name first.

    Raises
    ------
    TypeError
        If it is none of these.
    """
    name, rest = (parts[0], parts[1:]) if parts and isinstance(parts[0], str) else (None, parts)
    variable, value = (*rest, None, None)[:2]
    update = None
    if isinstance(variable, (list, tuple)) and len(variable) == 2:
        variable, update = variable
    if (
        not 1 <= len(rest) <= 2
        or len(parts) < 2
        or not isinstance(variable, Variable)
        or not (update is None or isinstance(update, Variable))
        or isinstance(value, (Variable, In))
    ):
        raise TypeError(f"Unknown parameter type: {type(parts)}")
    return In(variable, name=name, value=value, update=update)


def _as_input(parameter: Any, allow_downcast: bool | None) -> In:
    if isinstance(parameter, In):
        if parameter.allow_downcast is None:
            parameter.allow_downcast = allow_downcast
        spec = parameter
    elif isinstance(parameter, Variable):
        spec = In(parameter, allow_downcast=allow_downcast)
    elif isinstance(parameter, (list, tuple)):
        spec = _from_tuple(parameter)
        spec.allow_downcast = allow_downcast
    else:
        raise TypeError(f"Unknown parameter type: {type(parameter)}")
    if isinstance(spec.variable, SharedVariable):
        raise TypeError(
            f"Cannot use a shared variable ({spec.variable}) as explicit input. Consider "
            "substituting a non-shared variable via the `givens` parameter"
        )
    if isinstance(spec.variable, Constant):
        raise TypeError("Constants not allowed in param list", spec.variable)
    return spec


def _kept_states(specs: list[In]) -> tuple[list[In], list[tuple[In, SharedVariable]]]:
    """Inputs that are arguments, and random states with a value, which are shared variables.

    Native code reads a state where it lies and takes none as an argument: those that are given
    with the input (and updated, as a rule) are all that calls can use.
    """
    arguments: list[In] = []
    states: list[tuple[In, SharedVariable]] = []
    for spec in specs:
        kind, value = spec.variable.type, spec.value
        if isinstance(kind, RandomStateType) and value is not None:
            container = value if isinstance(value, Container) else None
            value = None if container is not None else copy.deepcopy(value)
            state = RandomStateSharedVariable(spec.name, kind, value, container=container)
            states.append((spec, state))
        else:
            arguments.append(spec)
    return arguments, states


def _check_duplicates(specs: Sequence[In]) -> None:
    seen: dict[Variable, int] = {}
    for position, spec in enumerate(specs):
        if spec.variable in seen:
            raise UnusedInputError(
                f"Variable {spec.variable} is used twice in inputs to theano.function, at indices "
                f"{seen[spec.variable]} and {position}.  This would result in values provided for "
                "it being ignored. Please do not duplicate variables in the inputs list."
            )
        seen[spec.variable] = position


def _pairs(mapping: Any) -> Pairs:
    if mapping is None:
        return []
    if isinstance(mapping, dict):
        if (
            not isinstance(mapping, OrderedDict)
            and type(mapping) is not dict
            and not hasattr(mapping, "items")
        ):
            raise TypeError("updates and givens must be dicts or lists of pairs")
        return list(mapping.items())
    if not isinstance(mapping, Iterable):
        raise ValueError("givens and updates must be dicts or lists of pairs", mapping)
    result = []
    for item in mapping:
        if not isinstance(item, (list, tuple)) or len(item) != 2:
            raise ValueError(
                "Updates parameter should be an OrderedDict or list/tuple with 2 elements",
            )
        result.append((item[0], item[1]))
    return result


def _outputs(outputs: Any) -> tuple[list[str] | None, list[Variable], Returns, list[int]]:
    """The names of a dict's outputs, the output variables, what a call returns, who may be lent."""
    if outputs is None:
        return None, [], "none", []
    keys: list[str] | None = None
    returns: Returns
    if isinstance(outputs, dict):
        for key in outputs:
            if not isinstance(key, str):
                raise AssertionError("outputs dict keys must be strings", key)
        keys = sorted(outputs)
        outputs = [outputs[k] for k in keys]
        returns = "list"
    elif isinstance(outputs, (list, tuple)):
        returns = "list" if outputs else "none"
    else:
        outputs, returns = [outputs], "value"
    variables: list[Variable] = []
    lent: list[int] = []
    for output in outputs:
        if isinstance(output, Out):
            if output.borrow:
                lent.append(len(variables))
            output = output.variable
        if not isinstance(output, Variable):
            raise TypeError(
                "Outputs must be theano Variable or Out instances. Received "
                f"{output} of type {type(output)}"
            )
        variables.append(output)
    return keys, variables, returns, lent


def _check_unused(specs: Sequence[In], request: Request, policy: str) -> None:
    if policy == "ignore":
        return
    wanted = [*request.outputs, *request.new_values, *request.input_updates]
    needed = set(inputs_of(wanted, blockers=request.blockers))
    needed |= request.touched
    for position, spec in enumerate(specs):
        if spec.variable in needed or spec.update is not None or spec.shared:
            continue
        text = (
            "theano.function was asked to create a function computing outputs given certain "
            f"inputs, but the provided input variable at index {position} is not part of the "
            f"computational graph needed to compute the outputs: {spec.variable}.\n%s"
        )
        if policy == "warn":
            warnings.warn(
                text % "To make this warning into an error, you can pass the parameter "
                "on_unused_input='raise' to theano.function. To disable it completely, use "
                "on_unused_input='ignore'.",
                stacklevel=4,
            )
        elif policy == "raise":
            raise UnusedInputError(
                text % "To make this error into a warning, you can pass the parameter "
                "on_unused_input='warn' to theano.function. To disable it completely, use "
                "on_unused_input='ignore'."
            )
        else:
            raise ValueError(
                f"Invalid value for keyword on_unused_input of theano.function: '{policy}'.\n"
                "Valid values are 'raise', 'warn', and 'ignore'."
            )
