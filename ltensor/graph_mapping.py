"""`map_variables`: graphs with variables replaced, inside of loops and of `OpFromGraph` as well."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ltensor.errors import UnsupportedError
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.ir.walks import inputs_of, substitute
from ltensor.ops.scan import Scan
from ltensor.ops.subgraph import OpFromGraph

__all__ = ["map_variables"]

Replacer = Callable[[Variable], Variable]


def map_variables(
    replacer: Replacer, graphs: Iterable[Variable], additional_inputs: Iterable[Variable] = ()
) -> list[Variable]:
    """``graphs`` with ``replacer(v)`` in the place of every variable ``v``.

    Bodies of loops and of `OpFromGraph` are rewritten too; what a replacement reads from outside
    becomes an operand of theirs. Variables that a replacement depends on are replaced in turn, but
    neither the replacement itself, nor the variable that it stands for.

    Parameters
    ----------
    replacer : callable
        From a variable to a variable of the same type; itself, where nothing is to be replaced.
    graphs : list of Variable
    additional_inputs : list of Variable
        Accepted: what replacements read need not be named.

    Raises
    ------
    TypeError
        If a replacement does not fit in type.
    UnsupportedError
        If a shared variable with a default update (the state of a random stream) would be new in a
        loop: its update would be lost.

    Examples
    --------
    >>> import ltensor.tensor as T
    >>> a, b, c = T.dscalars("a", "b", "c")
    >>> total = a + b
    >>> total.tag.instead = a * b
    >>> (y,) = map_variables(lambda v: getattr(v.tag, "instead", v), [total + c])
    >>> float(y.eval({a: 3, b: 4, c: 1}))
    13.0
    """
    return _Mapping(replacer, set()).of(graphs)


class _Mapping:
    """One walk over the graphs of one level.

    A variable is asked for as it reads (``True``: replaced if it is to be) or rebuilt (``False``:
    its own operation on operands as they read). A replacement is rebuilt, and so is a variable
    inside of its own replacement. The walk keeps a stack of its own: graphs may be deep.
    """

    def __init__(self, replacer: Replacer, placed: set[Variable]) -> None:
        self.replacer = replacer
        #: replacements, of all levels
        self.placed = placed
        self.asked: dict[Variable, Variable] = {}
        self.done: dict[tuple[Variable, bool], Variable] = {}
        self.open: set[tuple[Variable, bool]] = set()
        self.nodes: dict[Apply, Apply] = {}

    def of(self, variables: Iterable[Variable]) -> list[Variable]:
        """The variables as they read."""
        wanted = [(variable, True) for variable in variables]
        stack = wanted[::-1]
        while stack:
            key = stack[-1]
            if key not in self.done:
                waiting = [k for k in self._needs(*key) if k not in self.done]
                if waiting and key not in self.open:
                    self.open.add(key)
                    stack.extend(waiting)
                    continue
                self.done[key] = self._made(*key)
            self.open.discard(key)
            stack.pop()
        return [self.done[key] for key in wanted]

    def local(self, variable: Variable) -> Variable:
        """A variable of the user's, as it is called on this level."""
        return variable

    def _needs(self, variable: Variable, reads: bool) -> list[tuple[Variable, bool]]:
        if reads:
            return [(self._replacement(variable), False)]
        node = variable.owner
        if node is None or node in self.nodes:
            return []
        return [(v, (v, True) not in self.open) for v in node.inputs]

    def _replacement(self, variable: Variable) -> Variable:
        if variable in self.placed:
            return variable
        new = self.asked.get(variable)
        if new is None:
            new = self.replacer(variable)
            if new is not variable:
                new = variable.type.filter_variable(self.local(new))
                self.placed.add(new)
            if (new, False) in self.open:  # a copy of the variable in its own replacement
                new = variable
            self.asked[variable] = new
        return new

    def _made(self, variable: Variable, reads: bool) -> Variable:
        if reads:
            return self.done[self._replacement(variable), False]
        node = variable.owner
        if node is None:
            return variable
        if node not in self.nodes:
            inputs = []
            for v in node.inputs:
                new = self.done.get((v, True), self.done.get((v, False)))
                if new is None:
                    raise ValueError(f"replacements depend on each other: there is a cycle at {v}")
                inputs.append(new)
            self.nodes[node] = self._rebuilt(node, inputs)
        return self.nodes[node].outputs[node.outputs.index(variable)]

    def _rebuilt(self, node: Apply, inputs: list[Variable]) -> Apply:
        if isinstance(node.op, (Scan, OpFromGraph)):
            body = _Body(self, node.op, inputs)
            op = body.rewritten()
            if op is not node.op:
                return _applied(op, [*inputs, *map(self.local, body.brought)], node)
        if all(a is b for a, b in zip(inputs, node.inputs, strict=True)):
            return node
        return node.clone_with_new_inputs(inputs)


def _applied(op: Scan | OpFromGraph, inputs: list[Variable], old: Apply) -> Apply:
    """The rewritten operation of ``old`` on all of its operands."""
    if isinstance(op, Scan):
        node = op.make_node(*inputs)
    else:
        node = Apply(op, inputs, [v.type.make_variable() for v in op.graph.outputs])
    node.source = old.source
    for new, before in zip(node.outputs, old.outputs, strict=True):
        new.name, new.source = before.name, before.source
    return node


class _Body(_Mapping):
    """The walk over the body of a loop or an inner graph on operands ``inputs``."""

    def __init__(self, outside: _Mapping, op: Scan | OpFromGraph, inputs: list[Variable]) -> None:
        super().__init__(outside.replacer, outside.placed)
        self.op = op
        (self.region,) = op.regions
        inner = self.region.inputs
        self.names: dict[Variable, Variable] = {v: v for v in inner}
        if isinstance(op, Scan):
            first = op.first_ref
            self.names.update(zip(inputs[len(inputs) - op.n_refs :], inner[first:], strict=True))
        else:
            self.names.update(zip(inputs, inner, strict=True))
            self.names.update(zip(op.given_inputs, inner, strict=False))
        #: what replacements read from outside, beside the operands
        self.brought: list[Variable] = []

    def local(self, variable: Variable) -> Variable:
        for v in inputs_of([variable], blockers=self.names):
            if v in self.names or isinstance(v, Constant):
                continue
            if getattr(v, "default_update", None) is not None:
                raise UnsupportedError(
                    f"map_variables cannot bring {v} into {self.op}: its default update would be "
                    "lost. Draw outside, or build the graph again with the replacement."
                )
            inner = v.type.make_variable(v.name)
            self.names[v] = self.names[inner] = inner
            self.brought.append(v)
        return substitute([variable], dict(self.names))[0]

    def rewritten(self) -> Scan | OpFromGraph:
        """The op around the new body, which may read more operands; the op itself, if equal."""
        outputs = self.of(self.region.outputs)
        if all(a is b for a, b in zip(outputs, self.region.outputs, strict=True)):
            return self.op
        inputs = [*self.region.inputs, *(self.names[v] for v in self.brought)]
        changed: Any = self.op.with_regions([Function(inputs, outputs, self.region.name)])
        if isinstance(changed, OpFromGraph):
            changed.shared_inputs = [*changed.shared_inputs, *self.brought]
        return changed
