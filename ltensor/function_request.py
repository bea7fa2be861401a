"""What a function is asked for: givens put in, updates and shared variables found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ltensor.errors import MissingInputError
from ltensor.io import In
from ltensor.ir.function import Function as Graph
from ltensor.ir.graph import Constant, Variable
from ltensor.ir.types import DisconnectedType, NullType, TensorType
from ltensor.ir.walks import inputs_of, substitute
from ltensor.ops.cast import cast
from ltensor.shared import SharedVariable

Pairs = list[tuple[Any, Any]]


class Request:
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
    kept : dict
        Inputs that are no arguments, and the shared variables that hold their values.
    """

    lent: Sequence[int] = ()
    kept: Mapping[Variable, SharedVariable] = {}

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
                fit_update(s, v)
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
            self.new_values.append(fit_update(target, value))
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
                self.new_values.append(fit_update(variable, default))

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
        self.kept = {v: table.get(state, state) for v, state in self.kept.items()}

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


def fit_update(target: SharedVariable, value: Any) -> Variable:
    """The expression of a shared variable's next value, of the variable's type.

    Raises
    ------
    TypeError
        If it is of another type.
    """
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
