"""Walking, copying and comparing graphs: Theano's ``theano.gof.graph`` and ``theano.clone``."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ltensor.errors import MissingInputError
from ltensor.ir import walks
from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.ir.walks import substitute, toposort

__all__ = [
    "FunctionGraph",
    "ancestors",
    "clone",
    "clone_get_equiv",
    "clone_graph",
    "equal_computations",
    "inputs",
    "io_toposort",
    "is_same_graph",
    "list_of_nodes",
    "ops",
    "stack_search",
    "variables",
    "view_roots",
]

Variables = Iterable[Variable]


# --------------------------------------------------------------------------------- walking


def ancestors(variable_list: Variables, blockers: Variables | None = None) -> list[Variable]:
    """All variables that ``variable_list`` depends on, themselves included."""
    return walks.ancestors(variable_list, blockers or ())


def inputs(variable_list: Variables, blockers: Variables | None = None) -> list[Variable]:
    """The variables without owner (constants included) that ``variable_list`` depends on."""
    blocked = set(blockers or ())
    return [v for v in walks.ancestors(variable_list, blocked) if v.owner is None]


def io_toposort(
    inputs: Variables,
    outputs: Variables,
    orderings: Mapping[Apply, Sequence[Apply]] | None = None,
    clients: Any = None,
) -> list[Apply]:
    """The nodes between ``inputs`` and ``outputs``, each after those it depends on.

    ``orderings`` names for a node others that must come before it.
    """
    nodes = toposort(outputs, blockers=inputs)
    if not orderings:
        return nodes
    place = {node: k for k, node in enumerate(nodes)}
    done: dict[Apply, None] = {}
    state: dict[Apply, int] = {}
    for start in nodes:
        stack = [start]
        while stack:
            node = stack[-1]
            if node in done:
                stack.pop()
                continue
            before = [v.owner for v in node.inputs if v.owner in place]
            before += [n for n in orderings.get(node, ()) if n in place]
            waiting = [n for n in before if n not in done]
            if not waiting:
                done[node] = None
                stack.pop()
            elif state.get(node):
                raise ValueError("graph contains cycles")
            else:
                state[node] = 1
                stack.extend(waiting)
    return list(done)


def list_of_nodes(inputs: Variables, outputs: Variables) -> list[Apply]:
    """The nodes between ``inputs`` and ``outputs``."""
    return toposort(outputs, blockers=inputs)


def ops(i: Variables, o: Variables) -> set[Apply]:
    """The nodes between ``i`` and ``o``, as a set (Theano's name)."""
    return set(toposort(o, blockers=i))


def variables(i: Variables, o: Variables) -> set[Variable]:
    """The variables between ``i`` and ``o``, these included."""
    starts, ends = list(i), list(o)
    found = set(starts) | set(ends)
    for node in toposort(ends, blockers=starts):
        found.update(node.inputs)
        found.update(node.outputs)
    return found


def stack_search(
    start: Iterable[Any],
    expand: Callable[[Any], Iterable[Any] | None],
    mode: str = "bfs",
    build_inv: bool = False,
) -> Any:
    """Everything reached from ``start`` by ``expand``, in breadth-first or depth-first order.

    With ``build_inv`` also a dict from each thing to those it was reached from.
    """
    if mode not in ("bfs", "dfs"):
        raise ValueError("mode should be bfs or dfs", mode)
    waiting = deque(start)
    found: dict[Any, None] = {}
    reached_from: dict[Any, list[Any]] = {}
    while waiting:
        thing = waiting.popleft() if mode == "bfs" else waiting.pop()
        if thing in found:
            continue
        found[thing] = None
        for further in expand(thing) or ():
            reached_from.setdefault(further, []).append(thing)
            waiting.append(further)
    return (list(found), reached_from) if build_inv else list(found)


def view_roots(r: Variable) -> list[Variable]:
    """The variables of which ``r`` is declared a view (``op.view_map``), to the end; or itself."""
    found: list[Variable] = []
    stack = [r]
    while stack:
        variable = stack.pop()
        owner = variable.owner
        sources = None
        if owner is not None:
            number = owner.outputs.index(variable)
            sources = (owner.op.view_map or {}).get(number)
        if not sources:
            found.append(variable)
        else:
            assert owner is not None
            stack.extend(owner.inputs[k] for k in reversed(sources))
    return found


# --------------------------------------------------------------------------------- copying


def clone_get_equiv(
    inputs: Variables,
    outputs: Variables,
    copy_inputs: bool = True,
    copy_orphans: bool = True,
    memo: dict[Any, Any] | None = None,
) -> dict[Any, Any]:
    """A copy of the graph from ``inputs`` to ``outputs``: a dict from old to new.

    Parameters
    ----------
    copy_inputs : bool
        Whether inputs are copied too.
    copy_orphans : bool
        Whether variables without owner that are no inputs (constants) are copied.
    memo : dict, optional
        What is copied already; extended and returned.
    """
    table: dict[Any, Any] = {} if memo is None else memo
    starts, ends = list(inputs), list(outputs)
    for variable in starts:
        if variable not in table:
            table[variable] = _copy_leaf(variable) if copy_inputs else variable

    def leaf(variable: Variable) -> None:
        if variable not in table:
            table[variable] = _copy_leaf(variable) if copy_orphans else variable

    for node in toposort(ends, blockers=starts):
        for variable in node.inputs:
            if variable.owner is None:
                leaf(variable)
        if node in table:
            continue
        fresh = node.clone_with_new_inputs([table.get(v, v) for v in node.inputs])
        table[node] = fresh
        for old, new in zip(node.outputs, fresh.outputs, strict=True):
            table.setdefault(old, new)
    for variable in ends:
        if variable.owner is None:
            leaf(variable)
    return table


def _copy_leaf(variable: Variable) -> Variable:
    if isinstance(variable, Constant):
        copy = type(variable)(variable.type, variable.data, variable.name)
        copy.source = variable.source
        return copy
    return variable.clone()


def clone_graph(
    i: Variables, o: Variables, copy_inputs: bool = True
) -> tuple[list[Variable], list[Variable]]:
    """Copies of the inputs and outputs of a graph (``theano.gof.graph.clone``)."""
    starts, ends = list(i), list(o)
    table = clone_get_equiv(starts, ends, copy_inputs)
    return [table[v] for v in starts], [table[v] for v in ends]


def clone(
    output: Any,
    replace: Any = None,
    strict: bool = True,
    share_inputs: Any = True,
    copy_inputs: Any = None,
) -> Any:
    """A copy of the graph of ``output``, with some variables replaced (``theano.clone``).

    Called with two lists, as ``theano.gof.graph.clone(inputs, outputs)``, it is `clone_graph`.

    Parameters
    ----------
    output : Variable or list of Variable
    replace : dict or list of pairs, optional
        From variables of the graph to what stands in their place.
    strict : bool
        Whether a replacement must be of the type of what it replaces; otherwise the graph above
        it is rebuilt with the types that follow.
    share_inputs : bool
        Whether the copy reads the same inputs; otherwise it has inputs of its own. Shared
        variables are never copied.

    Raises
    ------
    TypeError
        With ``strict``, if types do not fit.
    """
    if copy_inputs is not None or _is_list_of_variables(replace):
        return clone_graph(output, replace, True if copy_inputs is None else copy_inputs)
    if replace is None:
        pairs: list[tuple[Variable, Any]] = []
    elif isinstance(replace, Mapping):
        pairs = list(replace.items())
    elif isinstance(replace, (list, tuple)):
        pairs = list(replace)
    else:
        raise ValueError(
            "replace is neither a dictionary, list, tuple or None ! The value provided is "
            f"{replace},of type {type(replace)}"
        )
    table: dict[Variable, Variable] = {}
    for old, new in pairs:
        table[old] = _replacement(old, new, strict)
    many = isinstance(output, (list, tuple))
    wanted = list(output) if many else [output]
    if not share_inputs:
        from ltensor.shared import SharedVariable

        for variable in walks.inputs_of(wanted, blockers=table):
            if not isinstance(variable, (Constant, SharedVariable)) and variable not in table:
                table[variable] = variable.clone()
    results = substitute(wanted, table, copy_all=True)
    return results if many else results[0]


def _is_list_of_variables(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) > 0
        and all(isinstance(v, Variable) for v in value)
    )


def _replacement(old: Variable, new: Any, strict: bool) -> Variable:
    if not isinstance(new, Variable):
        new = old.type.filter_variable(new)
    if not strict or new.type == old.type:
        return new
    return old.type.filter_variable(new)


# --------------------------------------------------------------------------------- comparing


def equal_computations(
    xs: Sequence[Variable],
    ys: Sequence[Variable],
    in_xs: Sequence[Variable] | None = None,
    in_ys: Sequence[Variable] | None = None,
) -> bool:
    """Whether two lists of variables are computed alike, ``in_xs`` standing for ``in_ys``."""
    first, second = list(xs), list(ys)
    sources, targets = list(in_xs or ()), list(in_ys or ())
    if len(first) != len(second) or len(sources) != len(targets):
        return False
    if any(a.type != b.type for a, b in zip(first, second, strict=True)):
        return False
    if any(a.type != b.type for a, b in zip(sources, targets, strict=True)):
        return False
    keys: dict[Any, int] = {}
    left = _numbers(first, {v: ("input", k) for k, v in enumerate(sources)}, keys)
    right = _numbers(second, {v: ("input", k) for k, v in enumerate(targets)}, keys)
    return left == right


def _numbers(
    outputs: Sequence[Variable], known: dict[Variable, Any], keys: dict[Any, int]
) -> list[int]:
    """A number for every output, the same for equal computations."""
    number: dict[Variable, int] = {}

    def enter(key: Any) -> int:
        return keys.setdefault(key, len(keys))

    def leaf(variable: Variable) -> int:
        if variable in known:
            return enter(known[variable])
        if isinstance(variable, Constant):
            return enter(("constant", variable.signature()))
        return enter(("variable", id(variable)))

    for node in toposort(outputs, blockers=known):
        operands = []
        for variable in node.inputs:
            if variable not in number:
                number[variable] = leaf(variable)
            operands.append(number[variable])
        for position, output in enumerate(node.outputs):
            if output in known:
                number[output] = leaf(output)
            else:
                number[output] = enter((node.op, tuple(operands), position))
    return [number[v] if v in number else leaf(v) for v in outputs]


def is_same_graph(var1: Variable, var2: Variable, givens: Any = None, debug: bool = False) -> bool:
    """Whether two variables are computed alike from the same variables.

    ``givens`` (a dict or pairs) names variables of one graph that stand for others.
    """
    if givens:
        table = dict(givens)
        first, second = substitute([var1], dict(table)), substitute([var2], dict(table))
        return equal_computations(first, second)
    return equal_computations([var1], [var2])


# --------------------------------------------------------------------------------- FunctionGraph


class FunctionGraph:
    """A closed graph that can be changed in place: what Theano's optimizers worked on.

    ltensor's own passes work on `ltensor.ir.function.Function`, which never changes.

    Attributes
    ----------
    inputs, outputs : list of Variable

    Raises
    ------
    MissingInputError
        If the outputs depend on variables that are no inputs.
    """

    def __init__(
        self,
        inputs: Sequence[Variable],
        outputs: Sequence[Variable],
        features: Any = None,
        clone: bool = True,
        update_mapping: Any = None,
    ) -> None:
        starts, ends = list(inputs), list(outputs)
        if clone:
            starts, ends = clone_graph(starts, ends)
        known = set(starts)
        for variable in walks.inputs_of(ends, blockers=starts):
            if variable not in known and not isinstance(variable, Constant):
                raise MissingInputError(
                    f"Undeclared input: {variable}", *([variable] if variable.name is None else [])
                )
        self.inputs = starts
        self.outputs = ends
        self.features: list[Any] = []
        for feature in features or ():
            self.attach_feature(feature)

    def attach_feature(self, feature: Any) -> None:
        """Keep ``feature`` in ``features`` and call its ``on_attach``."""
        self.features.append(feature)
        if hasattr(feature, "on_attach"):
            feature.on_attach(self)

    def toposort(self) -> list[Apply]:
        """The nodes, each after those it depends on."""
        return toposort(self.outputs, blockers=self.inputs)

    @property
    def apply_nodes(self) -> set[Apply]:
        """The nodes."""
        return set(self.toposort())

    @property
    def variables(self) -> set[Variable]:
        """The variables."""
        return variables(self.inputs, self.outputs)

    def clients(self, variable: Variable) -> list[tuple[Any, int]]:
        """Who reads ``variable``: (node, position), or ('output', position)."""
        found: list[tuple[Any, int]] = [
            (node, k)
            for node in self.toposort()
            for k, v in enumerate(node.inputs)
            if v is variable
        ]
        return found + [("output", k) for k, v in enumerate(self.outputs) if v is variable]

    def replace(
        self, r: Variable, new_r: Variable, reason: str | None = None, verbose: Any = None
    ) -> None:
        """Every reader of ``r`` reads ``new_r`` from now on."""
        self.replace_all([(r, new_r)], reason)

    def replace_all(self, pairs: Iterable[tuple[Variable, Variable]], reason: Any = None) -> None:
        """Several replacements at once."""
        table = {}
        for old, new in pairs:
            table[old] = new if new.type == old.type else old.type.filter_variable(new)
        self.outputs = substitute(self.outputs, table)

    replace_validate = replace
    replace_all_validate = replace_all

    def clone(self) -> FunctionGraph:
        """A copy with variables of its own."""
        return FunctionGraph(self.inputs, self.outputs)

    def clone_get_equiv(self) -> tuple[FunctionGraph, dict[Any, Any]]:
        """A copy, and the dict from old to new."""
        table = clone_get_equiv(self.inputs, self.outputs)
        copy = FunctionGraph(
            [table[v] for v in self.inputs], [table[v] for v in self.outputs], clone=False
        )
        return copy, table

    def __str__(self) -> str:
        return f"[{', '.join(str(v) for v in self.outputs)}]"

    __repr__ = __str__
