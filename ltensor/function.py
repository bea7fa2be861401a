"""`function`: from a symbolic graph to a compiled callable.

Collects inputs, shared variables, updates and givens by Theano's rules, hands one closed Function
to the passes and the lowering, and wraps the native code in a `CompiledFunction`.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ltensor.compile_modes import get_mode
from ltensor.compiled import CompiledFunction, FunctionMaker
from ltensor.config import config
from ltensor.errors import MissingInputError, UnusedInputError
from ltensor.io import In, Out
from ltensor.ir.function import Function as Graph
from ltensor.ir.graph import Constant, Variable, inputs_of, substitute
from ltensor.ir.types import DisconnectedType, NullType, TensorType
from ltensor.ops.cast import cast
from ltensor.runtime.entry import Returns
from ltensor.shared import SharedVariable

__all__ = ["Function", "FunctionMaker", "function", "orig_function", "pfunc"]

Pairs = list[tuple[Any, Any]]


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
    keys, output_list, returns, lent = _outputs(outputs)
    request = _Request(specs, output_list, pairs, given, no_default_updates, rebuild_strict)
    request.lent = lent
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
    """``value`` (a variable or an `In`) as an `In`."""
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
    request = _Request(
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


def _as_input(parameter: Any, allow_downcast: bool | None) -> In:
    if isinstance(parameter, In):
        if parameter.allow_downcast is None:
            parameter.allow_downcast = allow_downcast
        spec = parameter
    elif isinstance(parameter, Variable):
        spec = In(parameter, allow_downcast=allow_downcast)
    elif isinstance(parameter, (list, tuple)) and parameter and isinstance(parameter[-1], Variable):
        raise TypeError(f"Unknown parameter type: {type(parameter)}")
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


def _check_unused(specs: Sequence[In], request: _Request, policy: str) -> None:
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


class _Request:
    """Outputs and updates with givens put in, default updates added, shared variables found.

    Attributes
    ----------
    outputs, new_values : list of Variable
    updated : list of SharedVariable
        The targets of ``new_values``.
    shared : list of SharedVariable
        All shared variables that are read or updated.
    lent : list of int
        The outputs that may be values of shared variables themselves (``Out(borrow=True)``).
    """

    lent: Sequence[int] = ()

    def __init__(
        self,
        specs: Sequence[In],
        outputs: list[Variable],
        updates: Pairs,
        givens: Pairs,
        no_default_updates: Any,
        strict: bool,
    ) -> None:
        self.specs = specs
        self.outputs = outputs
        self.updates = updates
        self.givens = givens
        self.no_default_updates = no_default_updates
        self.strict = strict
        self.new_values: list[Variable] = []
        self.updated: list[SharedVariable] = []
        self.shared: list[SharedVariable] = []
        self.blockers = [s.variable for s in specs if s.variable.owner is not None]
        self.touched: set[Variable] = set()
        self.input_updates: list[Variable] = []

    def rebuild(self) -> None:
        """Do it all."""
        self._collect_updates()
        replacements = self._replacements()
        every = [*self.outputs, *self.new_values]
        if replacements:
            rebuilt = substitute(every, replacements)
            self.outputs = rebuilt[: len(self.outputs)]
            self.new_values = [
                _fit_update(s, v)
                for s, v in zip(self.updated, rebuilt[len(self.outputs) :], strict=True)
            ]
        self.input_updates = [s.update for s in self.specs if s.update is not None]
        self._collect_shared()

    def _collect_updates(self) -> None:
        for target, value in self.updates:
            if not isinstance(target, SharedVariable):
                raise TypeError("update target must be a SharedVariable", target)
            if target in self.updated:
                raise ValueError(
                    "this shared variable already has an update expression",
                    (target, self.new_values[self.updated.index(target)]),
                )
            self.updated.append(target)
            self.new_values.append(_fit_update(target, value))
        skip = self.no_default_updates
        if skip is True:
            return
        if not isinstance(skip, (bool, list, tuple)):
            raise TypeError("no_default_update should be either a boolean or a list")
        # default updates may read shared variables with default updates of their own
        done: set[Variable] = set()
        while True:
            replaced = {k for k, _ in self.givens}
            # What givens put in is read even where it names a variable that they replace.
            start = [*self.outputs, *self.new_values]
            read = inputs_of(start, blockers=[*self.blockers, *replaced])
            given = [v for _, v in self.givens if isinstance(v, Variable)]
            fresh = [
                v
                for v in dict.fromkeys(
                    [*(v for v in read if v not in replaced), *inputs_of(given, self.blockers)]
                )
                if isinstance(v, SharedVariable) and v not in done
            ]
            if not fresh:
                return
            for variable in fresh:
                done.add(variable)
                default = variable.default_update
                if default is None or variable in self.updated:
                    continue
                if isinstance(skip, (list, tuple)) and variable in skip:
                    continue
                self.updated.append(variable)
                self.new_values.append(_fit_update(variable, default))

    def _replacements(self) -> dict[Variable, Variable]:
        result: dict[Variable, Variable] = {}
        inputs = {s.variable for s in self.specs}
        for old, new in self.givens:
            if not isinstance(old, Variable):
                raise TypeError(f"givens keys must be Variable, got {old!r}")
            if old in inputs:
                raise RuntimeError(
                    f"You are trying to replace variable '{old}' through the `givens` parameter, "
                    "but this variable is an input to your function. Replacing inputs is currently "
                    "forbidden because it has no effect. One way to modify an input `x` to a "
                    "function evaluating f(x) is to define a new input `y` and use "
                    "`theano.function([y], f(x), givens={x: g(y)})`. Another solution consists in "
                    "using `theano.clone`, e.g. like this: `theano.function([x], "
                    "theano.clone(f(x), replace={x: g(x)}))`."
                )
            if old in result:
                raise AssertionError(
                    "When using 'givens' or 'replace' with several (old_v, new_v) "
                    "replacement pairs, you can not have a new_v variable depend "
                    "on an old_v one.",
                    old,
                )
            result[old] = _fit_given(old, new, self.strict)
            self.touched |= set(inputs_of([result[old]]))
        return result

    def _collect_shared(self) -> None:
        start = [*self.outputs, *self.new_values, *self.input_updates]
        for variable in inputs_of(start, blockers=self.blockers):
            if isinstance(variable, SharedVariable) and variable not in self.shared:
                self.shared.append(variable)
        for variable in self.updated:
            if variable not in self.shared:
                self.shared.append(variable)

    def graph(self, name: str) -> Graph:
        """The closed Function: inputs then shared variables; outputs then new values.

        Raises
        ------
        MissingInputError
            If a variable without value is needed.
        """
        inputs = [*[s.variable for s in self.specs], *self.shared]
        outputs = [*self.outputs, *self.new_values, *self.input_updates]
        # an input that is computed from others stands for itself from here on
        cut = {v: v.type.make_variable(v.name) for v in self.blockers}
        if cut:
            outputs = substitute(outputs, dict(cut))
            inputs = [cut.get(v, v) for v in inputs]
        result = Graph(inputs, outputs, name)
        free = result.free_variables()
        if free:
            self._missing(result, free[0])
        return result

    def replace_shared(self, mapping: dict[Any, Any]) -> None:
        """Exchange shared variables (by variable or name)."""
        table: dict[Variable, Any] = {}
        for old, new in mapping.items():
            found = next((v for v in self.shared if v is old or v.name == old), None)
            if found is None:
                raise ValueError(f"SharedVariable not found: {old}")
            if new.type != found.type:
                raise ValueError(f"Type mismatch: {found.type} cannot be replaced by {new.type}")
            table[found] = new
        n, m = len(self.outputs), len(self.outputs) + len(self.new_values)
        every = substitute([*self.outputs, *self.new_values, *self.input_updates], table)
        self.outputs, self.new_values, self.input_updates = every[:n], every[n:m], every[m:]
        self.updated = [table.get(v, v) for v in self.updated]
        self.shared = [table.get(v, v) for v in self.shared]

    def drop_updates(self) -> None:
        """Forget the updates of shared variables."""
        self.new_values, self.updated = [], []

    @staticmethod
    def _missing(graph: Graph, variable: Variable) -> None:
        if isinstance(variable.type, (NullType, DisconnectedType)):
            raise TypeError(
                f"{variable} cannot be computed: it is a gradient that is not defined, or does "
                "not exist"
            )
        for node in graph.nodes:
            if variable in node.inputs:
                raise MissingInputError(
                    f"Input {node.inputs.index(variable)} of the graph (indices start from 0), "
                    f"used to compute {node}, was not provided and not given a value. Use the "
                    "Theano flag exception_verbosity='high', for more information on this "
                    "error.\n ",
                    variable=variable,
                )
        raise MissingInputError(
            f"Undeclared input: the output {variable} was not provided and not given a value",
            variable=variable,
        )


def _fit_update(target: SharedVariable, value: Any) -> Variable:
    try:
        if isinstance(value, Variable):
            if value.type == target.type:
                return value
            kind: Any = target.type
            if isinstance(kind, TensorType) and kind.is_super(value.type):
                from ltensor.ops.shape import set_flags

                return set_flags(value, kind.broadcastable)
            raise TypeError
        return target.type.filter_variable(value, allow_convert=False)
    except TypeError as error:
        kind_text = f"shared_var.type={target.type}"
        value_type = getattr(value, "type", type(value))
        owner = getattr(value, "owner", None)
        made = getattr(value if owner is None else owner, "source", None)
        where = () if made is None else (f"The new value was made here:\n{made.format()}",)
        raise TypeError(
            f"An update must have the same type as the original shared variable (shared_var="
            f"{target}, {kind_text}, update_val={value}, update_val.type={value_type}).",
            "If the difference is related to the broadcast pattern, you can call the "
            "tensor.unbroadcast(var, axis_to_unbroadcast[, ...]) function to remove broadcastable "
            "dimensions.",
            *where,
        ) from error


def _fit_given(old: Variable, new: Any, strict: bool) -> Variable:
    kind: Any = old.type
    if not isinstance(new, Variable):
        if isinstance(kind, TensorType):
            array = np.asarray(new)
            return kind.make_constant(kind.filter(array if isinstance(new, np.ndarray) else new))
        return kind.filter_variable(new)
    if new.type == kind:
        return new
    if isinstance(kind, TensorType) and isinstance(new.type, TensorType):
        same_rank = new.type.ndim == kind.ndim
        plain = not isinstance(new, Constant) and not isinstance(old, SharedVariable)
        if same_rank and plain and new.type.dtype != kind.dtype:
            new = cast(new, kind.dtype)
        if kind.is_super(new.type):
            return new
        if same_rank and new.type.dtype == kind.dtype:
            from ltensor.ops.shape import set_flags

            return set_flags(new, kind.broadcastable)
    if not strict and isinstance(kind, TensorType) and isinstance(new.type, TensorType):
        return new  # the nodes that read it are made again for its type
    return kind.filter_variable(new)
