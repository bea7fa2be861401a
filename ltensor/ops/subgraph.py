"""`OpFromGraph`: a graph as one operation, with a gradient of its own if wanted.

The pass ``inline_graphs`` puts the graph in the place of the operation before anything else is
optimized; where it did not run, the lowering computes it as a block of its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from ltensor.ir.aside import built_aside
from ltensor.ir.build import as_tensor
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.ir.types import DisconnectedType, NullType, disconnected_type
from ltensor.ir.walks import inputs_of, substitute
from ltensor.ops.elementwise import zero_gradient
from ltensor.ops.opdef import DeclaredOp

Override = Any


class OpFromGraph(DeclaredOp):
    """An operation that computes ``outputs`` from ``inputs``.

    Variables that the graph reads besides its inputs (shared ones) are read as they are.

    Parameters
    ----------
    inputs, outputs : list of Variable
    inline : bool
        Accepted for Theano's sake: graphs are always inlined when compiled.
    lop_overrides : callable, list or OpFromGraph
        ``f(inputs, outputs, output_grads)`` gives the list of gradients; or per input such a
        function, ``'default'``, None (zero), or a variable of `NullType` or `DisconnectedType`.
    grad_overrides
        As ``lop_overrides``, called as ``f(inputs, output_grads)``.
    rop_overrides : callable or list
        ``f(inputs, eval_points)`` gives the list of directional derivatives; or one per output.
    connection_pattern : list of list of bool, optional
        Which outputs (inner) depend on which inputs (outer).
    name : str, optional

    Examples
    --------
    >>> import ltensor, ltensor.tensor as T
    >>> x, y = T.dscalars("x", "y")
    >>> op = ltensor.OpFromGraph([x, y], [x * y + 1])
    >>> z = op(x + 1, y)
    """

    kind = "region"
    region_kind = "graph"
    ir_name = "graph"

    def __init__(
        self,
        inputs: Sequence[Variable],
        outputs: Sequence[Variable],
        inline: bool = False,
        lop_overrides: Override = "default",
        grad_overrides: Override = "default",
        rop_overrides: Override = "default",
        connection_pattern: list[list[bool]] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(outputs, (list, tuple)):
            raise TypeError(f"outputs must be list, got {type(outputs)}")
        for variable in (*inputs, *outputs):
            if not isinstance(variable, Variable):
                raise TypeError("inputs and outputs must be Variable instances", variable)
        for forbidden in ("updates", "givens"):
            if forbidden in kwargs:
                raise TypeError(f"{forbidden} are not allowed here")
        if lop_overrides != "default" and grad_overrides != "default":
            raise ValueError(
                "lop_overrides and grad_overrides are mutually exclusive: give one of them"
            )
        self.name = name
        self.is_inline = inline
        self._wants_outputs = grad_overrides == "default"
        self._backward = lop_overrides if grad_overrides == "default" else grad_overrides
        self._forward = rop_overrides
        self._pattern = connection_pattern
        known = set(inputs)
        implicit = [
            v
            for v in inputs_of(outputs, blockers=inputs)
            if v not in known and not isinstance(v, Constant)
        ]
        self.n_given = len(inputs)
        #: the variables that the user wrote the graph with
        self.given_inputs = tuple(inputs)
        #: what the graph reads besides its inputs; operands like the others
        self.shared_inputs = implicit
        everything = [*inputs, *implicit]
        mapping = {v: v.type.make_variable(v.name) for v in everything}
        self.graph = Function(
            [mapping[v] for v in everything], substitute(outputs, dict(mapping)), name or "graph"
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "grad":
            # Theano up to 0.9 took it; in 1.0 the gradient stays that of the graph, in silence
            warnings.warn(
                "OpFromGraph: `op.grad = f` changes nothing, as in Theano 1.0; give "
                "grad_overrides=f, where f returns a list",
                stacklevel=2,
            )
        super().__setattr__(name, value)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __str__(self) -> str:
        return f"{self.name or 'OpFromGraph'}{{inline={self.is_inline}}}"

    __repr__ = __str__

    def attributes(self) -> dict[str, Any]:
        return {}

    @property
    def regions(self) -> tuple[Function, ...]:
        """The graph."""
        return (self.graph,)

    def with_regions(self, regions: Sequence[Function]) -> OpFromGraph:
        """The same operation with another graph inside."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.graph = regions[0]
        return copy

    def make_node(self, *inputs: Any) -> Apply:
        wanted = self.graph.inputs[: self.n_given]
        if len(inputs) != self.n_given:
            raise ValueError(f"expected {self.n_given} inputs, got {len(inputs)}")
        operands = []
        for value, variable in zip(inputs, wanted, strict=True):
            if not isinstance(value, Variable):
                value = variable.type.filter_variable(as_tensor(value))
            operands.append(variable.type.filter_variable(value))
        outputs = [v.type.make_variable(v.name) for v in self.graph.outputs]
        return Apply(self, [*operands, *self.shared_inputs], outputs)

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        for cell, value in zip(output_storage, self.graph.interpret(inputs), strict=True):
            cell[0] = value

    # ---------------------------------------------------------------- derivatives

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        if self._pattern is not None:
            missing = len(self.shared_inputs)
            return [*self._pattern, *[[False] * len(node.outputs) for _ in range(missing)]]
        return _pattern_of(self.graph)

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        given = inputs[: self.n_given]
        wanted = self._backward
        if isinstance(wanted, OpFromGraph):
            arguments = [*given, *outputs] if self._wants_outputs else list(given)
            result = wanted(*arguments, *output_grads, return_list=True)
            return [*result, *self._no_shared(inputs)]
        if callable(wanted):
            result = self._call(wanted, given, outputs, output_grads)
            if not isinstance(result, (list, tuple)):
                raise TypeError(
                    "Gradient/L_op overriding function should return a list, got "
                    f"{type(result).__name__}"
                )
            if len(result) != self.n_given:
                raise ValueError(
                    f"the gradient of {self} has {len(result)} entries for {self.n_given} inputs"
                )
            return [self._entry(v, g) for v, g in zip(given, result, strict=True)] + (
                self._no_shared(inputs)
            )
        if wanted == "default":
            return self._default(inputs, output_grads)
        default: list[Any] | None = None
        result = []
        for number, entry in enumerate(wanted):
            if isinstance(entry, str) and entry == "default":
                if default is None:
                    default = self._default(inputs, output_grads)
                result.append(default[number])
            elif callable(entry):
                g = self._call(entry, given, outputs, output_grads)
                result.append(self._entry(given[number], g))
            else:
                result.append(self._entry(given[number], entry))
        return result + self._no_shared(inputs)

    def _call(self, function: Callable[..., Any], inputs: Any, outputs: Any, grads: Any) -> Any:
        if self._wants_outputs:
            return function(list(inputs), list(outputs), list(grads))
        return function(list(inputs), list(grads))

    @staticmethod
    def _entry(variable: Variable, gradient: Any) -> Any:
        if gradient is None:
            return zero_gradient(variable)
        if isinstance(gradient, Variable):
            return gradient
        return as_tensor(gradient)

    def _no_shared(self, inputs: list[Variable]) -> list[Any]:
        return [disconnected_type.make_variable() for _ in inputs[self.n_given :]]

    def _default(self, inputs: list[Variable], output_grads: list[Variable]) -> list[Any]:
        return built_aside(
            lambda: self._pulled_back(inputs, output_grads), [*inputs, *output_grads]
        )

    def _pulled_back(self, inputs: list[Variable], output_grads: list[Variable]) -> list[Any]:
        from ltensor.ops.differentiate import pullback

        # Fresh stand-ins: the same variable may be given twice.
        copy, _ = self.graph.clone()
        connected = [
            (v, g)
            for v, g in zip(copy.outputs, output_grads, strict=True)
            if not isinstance(g.type, (DisconnectedType, NullType))
        ]
        gradients = pullback(
            [v for v, _ in connected], [g for _, g in connected], list(copy.inputs)
        )
        found = [g for g in gradients if g is not None]
        inner = Function([*copy.inputs], found)
        table = dict(zip(inner.inputs, inputs, strict=True))
        values = iter(substitute(found, table))
        return [disconnected_type.make_variable() if g is None else next(values) for g in gradients]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        wanted = self._forward
        given, points = inputs[: self.n_given], eval_points[: self.n_given]
        if callable(wanted):
            return list(wanted(list(given), list(points)))
        if wanted == "default" and self._backward == "default":
            return self._default_r_op(inputs, eval_points)
        result = []
        default: list[Any] | None = None
        entries = ["default"] * len(self.graph.outputs) if wanted == "default" else wanted
        for number, entry in enumerate(entries):
            if isinstance(entry, str) and entry == "default":
                default = default or self._default_r_op(inputs, eval_points)
                result.append(default[number])
            elif callable(entry):
                result.append(entry(list(given), list(points)))
            else:
                result.append(entry)
        return result

    def _default_r_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        given = [v for v in [*inputs, *eval_points] if v is not None]
        return built_aside(lambda: self._pushed_forward(inputs, eval_points), given)

    def _pushed_forward(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        """Two reverse sweeps: the pullback is linear in its cotangents."""
        from ltensor.ops.differentiate import pullback

        copy, _ = self.graph.clone()
        table = dict(zip(copy.inputs, inputs, strict=True))
        moved = [k for k, p in enumerate(eval_points) if p is not None]
        results: list[Any] = []
        for output in copy.outputs:
            probe = output.type.make_variable("probe")
            wrt = [copy.inputs[k] for k in moved]
            back = pullback([output], [probe], wrt)
            pairs = [(g, eval_points[k]) for g, k in zip(back, moved, strict=True) if g is not None]
            if not pairs:
                results.append(None)
                continue
            forward = pullback([g for g, _ in pairs], [p for _, p in pairs], [probe])[0]
            if forward is None:
                results.append(None)
                continue
            table[probe] = zero_gradient(output)
            rebuilt = substitute([forward], {v: table[v] for v in (*copy.inputs,)})[0]
            zero = substitute([zero_gradient(output)], {v: table[v] for v in copy.inputs})[0]
            results.append(substitute([rebuilt], {probe: zero})[0])
        return results


def _pattern_of(function: Function) -> list[list[bool]]:
    """Which outputs depend on which inputs, by the inner ops' own patterns."""
    reached: dict[Variable, set[int]] = {v: {k} for k, v in enumerate(function.inputs)}
    for node in function.nodes:
        rule = getattr(node.op, "connection_pattern", None)
        pattern = None if rule is None else rule(node)
        for number, output in enumerate(node.outputs):
            found: set[int] = set()
            for position, variable in enumerate(node.inputs):
                if pattern is None or pattern[position][number]:
                    found |= reached.get(variable, set())
            reached[output] = found
    return [
        [k in reached.get(output, set()) for output in function.outputs]
        for k in range(len(function.inputs))
    ]
