"""`Function`: an ordered graph with inputs and outputs; what passes map to what they return.

A Function is closed: every variable it needs is an input, a constant, or computed inside. Loop
bodies and branches (regions) are Functions too. It is never changed; a pass returns a new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from ltensor.ir.graph import Apply, Constant, Variable, evaluate
from ltensor.ir.walks import inputs_of, substitute, toposort


class Function:
    """A closed graph.

    Attributes
    ----------
    name : str
    inputs, outputs : tuple of Variable
    """

    def __init__(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], name: str = "f"
    ) -> None:
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.name = name

    @cached_property
    def nodes(self) -> list[Apply]:
        """All operations, each after those it depends on."""
        return toposort(self.outputs, blockers=self.inputs)

    @cached_property
    def clients(self) -> dict[Variable, list[tuple[Apply | None, int]]]:
        """For every variable, who reads it: (node, position), or (None, position) for outputs."""
        table: dict[Variable, list[tuple[Apply | None, int]]] = {}
        for node in self.nodes:
            for position, variable in enumerate(node.inputs):
                table.setdefault(variable, []).append((node, position))
        for position, variable in enumerate(self.outputs):
            table.setdefault(variable, []).append((None, position))
        return table

    def free_variables(self) -> list[Variable]:
        """Variables that are neither inputs nor constants nor computed: must be empty."""
        known = set(self.inputs)
        return [
            v
            for v in inputs_of(self.outputs, blockers=self.inputs)
            if v not in known and not isinstance(v, Constant)
        ]

    def toposort(self) -> list[Apply]:
        """Theano's name for `nodes`."""
        return list(self.nodes)

    @property
    def apply_nodes(self) -> set[Apply]:
        """Theano's name: the set of operations."""
        return set(self.nodes)

    @property
    def variables(self) -> set[Variable]:
        """All variables."""
        found: set[Variable] = set(self.inputs) | set(self.outputs)
        for node in self.nodes:
            found.update(node.inputs)
            found.update(node.outputs)
        return found

    def replace(self, replacements: dict[Variable, Variable]) -> Function:
        """This function with some inner variables replaced by others."""
        if not replacements:
            return self
        return Function(self.inputs, substitute(self.outputs, replacements), self.name)

    def clone(self) -> tuple[Function, dict[Variable, Variable]]:
        """A copy with fresh inputs, and the map from old inputs to new ones."""
        mapping = {old: old.clone() for old in self.inputs}
        outputs = substitute(self.outputs, dict(mapping))
        return Function([mapping[v] for v in self.inputs], outputs, self.name), mapping

    def inline(self, arguments: Sequence[Variable]) -> list[Variable]:
        """The outputs with ``arguments`` in the place of the inputs."""
        return substitute(self.outputs, dict(zip(self.inputs, arguments, strict=True)))

    def interpret(self, values: Sequence[Any]) -> list[Any]:
        """The outputs for given values of the inputs, by the operations' ``perform``."""
        known: dict[Variable, Any] = dict(zip(self.inputs, values, strict=True))

        def value(variable: Variable) -> Any:
            return variable.data if isinstance(variable, Constant) else known[variable]

        for node in self.nodes:
            results = evaluate(node, [value(v) for v in node.inputs])
            known.update(zip(node.outputs, results, strict=True))
        return [value(v) for v in self.outputs]

    def __str__(self) -> str:
        from ltensor.ir.text import print_function

        return print_function(self)

    def __getstate__(self) -> dict[str, Any]:
        # the nodes first, each after its operands: a deep graph is pickled without recursion
        return {
            "nodes": self.nodes,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "name": self.name,
        }
