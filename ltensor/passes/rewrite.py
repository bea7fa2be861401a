"""The driver of local rewriting: one sweep over a Function, rules looked up by op.

A *rule* looks at one node (and the nodes that compute its operands) and returns what its outputs
can be replaced by, or None. The sweep visits nodes after their operands, so a rule sees operands
that are already simplified, and what a rule returns is simplified at once. Nothing is recursive
and every node is visited once, so a sweep is linear in the graph and the number of rules fired.

Equal nodes that the sweep meets are merged on the way (value numbering): rules may compare
variables by identity. Every node made by a rule carries the source line of the node it replaces,
and the replacement of a named variable takes its name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ltensor.errors import LoweringError
from ltensor.ir.equal import op_key
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Constant, Op, Variable
from ltensor.ir.types import TensorType
from ltensor.ops.opdef import is_pure
from ltensor.passes.remarks import remark

__all__ = ["ANY_USES", "AnyUses", "Rules", "Sweep", "Uses", "conform", "is_pure", "rewrite"]

#: what a rule may return
Replacement = Variable | Sequence[Variable] | None
Rule = Callable[..., Replacement]

#: firings allowed per node of the graph, and at least: a stop for rules that undo each other
BUDGET_PER_NODE = 8
LEAST_BUDGET = 400
#: firings allowed for one node of the graph and what comes of it
BUDGET_OF_A_NODE = 200
#: constants above this many bytes are equal only if they are the same object
LARGE_CONSTANT = 1 << 16


class Uses:
    """How often variables are read in the graph that a sweep works on."""

    def __init__(self, function: Function) -> None:
        self._before = {v: len(readers) for v, readers in function.clients.items()}
        self._now: dict[Variable, int] = {}

    def moved(self, old: Variable, new: Variable) -> None:
        """The readers of ``old`` read ``new`` from now on."""
        self._now[new] = self._now.get(new, 0) + self._before.get(old, 0)

    def single(self, variable: Variable) -> bool:
        """Whether at most one reader is known."""
        count = self._now.get(variable)
        return (self._before.get(variable, 1) if count is None else count) <= 1


class AnyUses(Uses):
    """Lets rules take apart what others read as well."""

    def __init__(self) -> None:
        self._before, self._now = {}, {}

    def single(self, variable: Variable) -> bool:
        return True


#: for rules that look through whatever is there
ANY_USES = AnyUses()


class Rules:
    """A set of rules, by op, class of ops or name of op in the textual IR.

    Examples
    --------
    >>> from ltensor.ops.arithmetic import neg
    >>> rules = Rules("example")
    >>> @rules.rule(neg)
    ... def double_negation(node):
    ...     inner = node.inputs[0].owner
    ...     return inner.inputs[0] if inner is not None and inner.op == neg else None
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._entries: list[tuple[Any, tuple[Rule, bool]]] = []
        self._found: dict[Any, tuple[tuple[Rule, bool], ...]] = {}

    def rule(self, *ops: Op | type[Op] | str, uses: bool = False) -> Callable[[Rule], Rule]:
        """Register a rule for ``ops``; with ``uses`` it gets the `Uses` as second argument."""

        def register(function: Rule) -> Rule:
            for op in ops:
                key = op if isinstance(op, (str, type)) else getattr(op, "ir_name", op)
                self._entries.append((key, (function, uses)))
            self._found.clear()
            return function

        return register

    def include(self, other: Rules) -> Rules:
        """Take over the rules of ``other`` as well."""
        self._entries.extend(other._entries)
        self._found.clear()
        return self

    def of(self, op: Op) -> tuple[tuple[Rule, bool], ...]:
        """The rules for ``op``, in the order of their registration."""
        key = (type(op), getattr(op, "ir_name", None))
        found = self._found.get(key)
        if found is None:
            names = {key[1], *type(op).__mro__} - {None}
            found = tuple(rule for wanted, rule in self._entries if wanted in names)
            self._found[key] = found
        return found


def conform(new: Variable, old: Variable) -> Variable | None:
    """``new`` with dtype and broadcast pattern of ``old``, converted where that is possible."""
    wanted, have = old.type, new.type
    if have == wanted:
        return new
    if not (isinstance(wanted, TensorType) and isinstance(have, TensorType)):
        return None
    if have.ndim != wanted.ndim:
        return None
    from ltensor.ops.cast import cast
    from ltensor.ops.shape import set_flags

    return set_flags(cast(new, wanted.dtype), wanted.broadcastable)


class _Waiting:
    """A node whose replacement is being simplified."""

    __slots__ = ("node", "values")

    def __init__(self, node: Apply, values: list[Variable]) -> None:
        self.node = node
        self.values = values


class Sweep:
    """One pass over a Function; see `rewrite`."""

    def __init__(self, function: Function, rules: Rules | None, share: bool) -> None:
        self.function = function
        self.rules = rules
        self.share = share
        self.uses = Uses(function)
        self.fired = 0
        self._left = 0
        self._reported = False
        self.budget = BUDGET_PER_NODE * len(function.nodes) + LEAST_BUDGET
        self._final: dict[Variable, Variable] = {v: v for v in function.inputs}
        self._table: dict[Any, Apply] = {}
        self._constants: dict[Any, Variable] = {}
        self._old = {id(node) for node in function.nodes}

    def run(self) -> Function:
        """The rewritten Function: the same object if nothing changed."""
        function = self.function
        for node in function.nodes:
            self._settle(node)
        outputs = [self._value(v) for v in function.outputs]
        if all(a is b for a, b in zip(outputs, function.outputs, strict=True)):
            return function
        return Function(function.inputs, outputs, function.name)

    def _value(self, variable: Variable) -> Variable:
        """The final variable for one that is settled or has no owner."""
        found = self._final.get(variable)
        if found is None:
            found = self._constant(variable) if isinstance(variable, Constant) else variable
            self._final[variable] = found
        return found

    def _constant(self, variable: Constant) -> Variable:
        if not self.share or not isinstance(variable.type, TensorType):
            return variable
        if variable.data.nbytes > LARGE_CONSTANT:
            return variable
        return self._constants.setdefault(variable.signature(), variable)

    def _settle(self, root: Apply) -> None:
        """Make the outputs of ``root`` final, and whatever is made for that."""
        self._left = min(BUDGET_OF_A_NODE, self.budget - self.fired)
        stack: list[Apply | _Waiting] = [root]
        final = self._final
        while stack:
            top = stack[-1]
            if isinstance(top, _Waiting):
                stack.pop()
                self._bind(top.node.outputs, [self._value(v) for v in top.values])
                continue
            if top.outputs[0] in final:
                stack.pop()
                continue
            inputs = []
            ready = True
            for variable in top.inputs:
                known = final.get(variable)
                if known is None:
                    owner = variable.owner
                    if owner is None:
                        known = self._value(variable)
                    else:
                        ready = False
                        self._push(stack, owner, root)
                        continue
                inputs.append(known)
            if not ready:
                continue
            stack.pop()
            self._finish(top, inputs, stack, root)

    def _push(self, stack: list[Any], node: Apply, root: Apply) -> None:
        if id(node) not in self._old:
            node.source = root.source
        stack.append(node)

    def _finish(self, top: Apply, inputs: list[Variable], stack: list[Any], root: Apply) -> None:
        """``top`` with final operands: merge it, rewrite it or keep it."""
        same = all(a is b for a, b in zip(inputs, top.inputs, strict=True))
        node = top if same else top.clone_with_new_inputs(inputs)
        key = None
        if self.share and is_pure(node):
            key = _key(node.op, inputs)
            found = self._table.get(key)
            if found is not None and _same_types(found, node):
                self._bind(top.outputs, found.outputs)
                return
        values = self._apply_rules(node)
        if values is None:
            if key is not None:
                self._table[key] = node
            self._bind(top.outputs, node.outputs)
            return
        stack.append(_Waiting(top, values))
        for value in reversed(values):
            if value not in self._final and value.owner is not None:
                self._push(stack, value.owner, root)

    def _apply_rules(self, node: Apply) -> list[Variable] | None:
        if self.rules is None:
            return None
        for rule, wants_uses in self.rules.of(node.op):
            if self._left <= 0:
                self._report_budget(node)
                return None
            result = rule(node, self.uses) if wants_uses else rule(node)
            if result is None:
                continue
            values = [result] if isinstance(result, Variable) else list(result)
            if all(a is b for a, b in zip(values, node.outputs, strict=True)):
                continue
            self.fired += 1
            self._left -= 1
            return [self._checked(rule, v, o) for v, o in zip(values, node.outputs, strict=True)]
        return None

    def _report_budget(self, node: Apply) -> None:
        """Say once that this sweep leaves the graph as it is, and which budget it has spent."""
        if self._reported:
            return
        self._reported = True
        whole = self.fired >= self.budget
        remark(
            self.rules.name if self.rules else "rewrite",
            node,
            "stopped rewriting {} after {} rules: it is right, but might be simplified further",
            "this graph" if whole else "what comes of one node",
            self.fired if whole else BUDGET_OF_A_NODE,
        )

    def _checked(self, rule: Rule, value: Variable, old: Variable) -> Variable:
        fitted = conform(value, old)
        if fitted is None:
            name = getattr(rule, "__name__", str(rule))
            raise LoweringError(
                f"the rule {name} of {self.rules.name if self.rules else '?'} replaces "
                f"{old.owner} : {old.type} by a value of type {value.type}"
            )
        return fitted

    def _bind(self, old: Sequence[Variable], new: Sequence[Variable]) -> None:
        for before, after in zip(old, new, strict=True):
            self._final[before] = after
            self._final[after] = after
            if before is after:
                continue
            self.uses.moved(before, after)
            owner = after.owner
            fresh = owner is not None and id(owner) not in self._old
            if fresh and before.name and after.name is None:
                after.name = before.name
                after.source = before.source


def _key(op: Any, inputs: Sequence[Variable]) -> Any:
    """What equal computations have in common."""
    if op.regions:
        return (op_key(op), *map(id, inputs))
    if len(inputs) == 2 and getattr(op, "commutative", False):
        first, second = id(inputs[0]), id(inputs[1])
        return (op, first, second) if first <= second else (op, second, first)
    return (op, *map(id, inputs))


def _same_types(a: Apply, b: Apply) -> bool:
    return len(a.outputs) == len(b.outputs) and all(
        x.type == y.type for x, y in zip(a.outputs, b.outputs, strict=True)
    )


def rewrite(function: Function, rules: Rules | None = None, share: bool = True) -> Function:
    """``function`` with ``rules`` applied wherever they fit, in one sweep.

    Parameters
    ----------
    function : Function
    rules : Rules, optional
        Without any, only equal nodes are merged.
    share : bool
        Whether equal pure nodes and equal constants are merged.

    Returns
    -------
    Function
        The same object if nothing changed.

    Raises
    ------
    LoweringError
        If a rule returns a value that cannot be given the type of what it replaces.
    """
    return Sweep(function, rules, share).run()
