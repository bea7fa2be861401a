"""Which values of a Function get a buffer, and which nests compute them.

A *root* is a value that is stored: an output, an operand of an op with its own loops, or an
expensive value that several nests read. Everything else is computed where it is read. Roots of the
same size whose values meet element by element share one nest (Halide's ``compute_at``, XLA's
loop fusion). A reduction of trailing dimensions joins them if an expensive value that both read
need then not be stored.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ltensor.ir import dtypes as dt
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.ir.types import TensorType

#: values dearer than this are stored rather than computed twice
EXPENSIVE = 6
#: values dearer than this are stored before they are stretched over further dimensions
DEAR_TO_STRETCH = 3
#: rows known to be shorter than this are not summed in the nest of others
SHORT_ROW = 16
#: values that one nest stores at most: LLVM takes the square of a loop's length to find registers,
#: and processors follow a few dozen streams of memory
MOST_STORED = 64
#: schedules that are made to store the innermost of expensive shared values and look again
PATIENCE = 6
#: longest chain of fused operations (bounds the recursion of the element code)
DEEPEST = 60

INLINE = ("pointwise", "indexed")


def kind_of(node: Apply) -> str:
    """The lowering kind of a node; user ops are called back."""
    return getattr(node.op, "kind", "python")


def is_scalar(variable: Variable) -> bool:
    """Whether the value is 0-d and lives in a register."""
    kind = variable.type
    return isinstance(kind, TensorType) and kind.ndim == 0


def is_inline(variable: Variable) -> bool:
    """Whether the value may be computed where it is read."""
    return (
        variable.owner is not None
        and kind_of(variable.owner) in INLINE
        and len(variable.owner.outputs) == 1
    )


class Group:
    """A nest (or one op with its own loops) and the variables it stores.

    ``kind`` is ``nest``, ``shared`` (a nest with reductions in it) or that of ``node``.
    """

    def __init__(self, kind: str, key: Any) -> None:
        self.kind = kind
        self.key = key
        self.variables: list[Variable] = []
        self.node: Apply | None = None
        #: reductions of trailing dimensions of the nest
        self.reductions: list[Apply] = []

    def takes(self, node: Apply) -> bool:
        """Whether the reduction may join: all reduce the same dimensions."""
        return self.kind == "nest" and all(
            _reduced(other) == _reduced(node) for other in self.reductions
        )


def _reduced(node: Apply) -> tuple[int, ...]:
    op: Any = node.op
    return tuple(op.reduced_axes(node.inputs[0].type.ndim))


def _may_share(node: Apply) -> bool:
    """Whether a reduction may run in the nest of others: over trailing, not tiny dimensions."""
    kind = node.inputs[0].type
    if kind_of(node) != "reduction" or not isinstance(kind, TensorType):
        return False
    op: Any = node.op
    axes = _reduced(node)
    # of a sum over all dimensions nothing is left for threads to share
    if not 0 < len(axes) < kind.ndim or axes[0] != kind.ndim - len(axes):
        return False
    if not hasattr(op, "combine_name") or dt.is_complex(kind.dtype):
        return False
    last = kind.shape[-1]
    # lanes of one size: a wide sum of narrow numbers would halve those of all others
    same = dt.item_size(op.accumulator(kind.dtype)) == dt.item_size(kind.dtype)
    return same and (last is None or last >= SHORT_ROW)


class Plan:
    """The schedule of one block.

    Parameters
    ----------
    function : Function
    nodes : list of Apply
        In topological order, those of the shape expressions included.
    bound : set of Variable
        Values that exist before the block runs.
    space : callable
        A hashable key of a variable's size.
    shape : callable
        The dims variables of a variable.
    """

    def __init__(
        self,
        function: Function,
        nodes: Sequence[Apply],
        bound: Iterable[Variable],
        space: Callable[[Variable], Any],
        shape: Callable[[Variable], Sequence[Variable]],
    ) -> None:
        self.function = function
        self.nodes = nodes
        self.bound = set(bound)
        self.space = space
        self.shape = shape
        self.roots: set[Variable] = set()
        self.readers: dict[Variable, list[Apply]] = {}
        for node in nodes:
            for variable in node.inputs:
                self.readers.setdefault(variable, []).append(node)
        self._require()
        #: reductions that join nests, and the values for whose sake that has been tried
        self.sharing: set[Apply] = set()
        self._tried: set[tuple[Apply, Variable]] = set()
        for attempt in itertools.count(1):
            self.groups: list[Group] = []
            self.home: dict[Variable, int] = {}
            self._schedule()
            shared = self._shared_by_groups()
            extra = self._innermost(shared) if attempt < PATIENCE else self._in_order(shared)
            if not extra:
                break
            if not self._join(extra):
                self.roots |= set(extra)

    # ------------------------------------------------------------- what must be stored

    def _require(self) -> None:
        for variable in self.function.outputs:
            self._store(variable)
        for node in self.nodes:
            kind = kind_of(node)
            if kind == "pointwise" or kind in ("shape", "reduction"):
                continue
            if kind == "indexed":
                for position, variable in enumerate(node.inputs):
                    gathers = not node.op.affine or position > 0
                    if gathers and not is_scalar(variable) and self.cost(variable) > EXPENSIVE:
                        self._store(variable)
                continue
            dense = kind in ("alias", "python") or getattr(node.op, "dense_operands", False)
            by_element = getattr(node.op, "element_operands", ())
            for position, variable in enumerate(node.inputs):
                if position in by_element:
                    continue
                if isinstance(variable.type, TensorType) and not is_scalar(variable):
                    self._store(variable, dense)
        self._depth: dict[Variable, int] = {}
        for node in self.nodes:
            if kind_of(node) not in INLINE or is_scalar(node.outputs[0]):
                continue
            output = node.outputs[0]
            depth = 1 + max((self._depth.get(v, 0) for v in node.inputs), default=0)
            if depth > DEEPEST:
                self.roots.add(output)
                depth = 0
            elif output in self.roots:
                depth = 0
            elif self._stretched(output) and self.cost(output) > DEAR_TO_STRETCH:
                self.roots.add(output)
                depth = 0
            self._depth[output] = depth

    def _stretched(self, variable: Variable) -> bool:
        """Whether a reader repeats the elements of ``variable``."""
        for reader in self.readers.get(variable, ()):
            if kind_of(reader) == "indexed" and getattr(reader.op, "repeats", False):
                return True
            if kind_of(reader) == "pointwise":
                mine, other = variable.type, reader.outputs[0].type
                if mine.broadcastable != other.broadcastable:
                    return True
        return False

    def _store(self, variable: Variable, dense: bool = True) -> None:
        while (
            not dense
            and variable not in self.bound
            and variable.owner is not None
            and getattr(variable.owner.op, "affine", False)
            and variable not in self.roots
        ):
            variable = variable.owner.inputs[0]
        if is_inline(variable) and not is_scalar(variable) and variable not in self.bound:
            self.roots.add(variable)

    def cost(self, variable: Variable) -> int:
        """Flops to compute one element from stored values."""
        memo: dict[Variable, int] = self.__dict__.setdefault("_costs", {})
        known = memo.get(variable)
        if known is not None:
            return known
        # an explicit stack: chains may be long
        stack = [variable]
        while stack:
            v = stack[-1]
            if v in memo:
                stack.pop()
                continue
            if v in self.bound or not is_inline(v) or v in self.roots or is_scalar(v):
                memo[v] = 0
                stack.pop()
                continue
            assert v.owner is not None
            waiting = [u for u in v.owner.inputs if u not in memo]
            if waiting:
                stack.extend(waiting)
                continue
            own = getattr(v.owner.op, "cost", 0)
            memo[v] = min(10**6, own + sum(memo[u] for u in v.owner.inputs))
            stack.pop()
        return memo[variable]

    # ------------------------------------------------------------- who computes it

    def stored(self, variable: Variable) -> bool:
        """Whether ``variable`` has a buffer or register of its own when others read it."""
        return variable in self.roots or not is_inline(variable)

    def leaves(self, variable: Variable) -> dict[Variable, bool]:
        """The stored values that ``variable`` is computed from -> met only element by element."""
        memo: dict[Variable, dict[Variable, bool]] = self.__dict__.setdefault("_leaves", {})
        result = memo.get(variable)
        if result is not None:
            return result
        stack = [variable]
        while stack:
            v = stack[-1]
            if v in memo:
                stack.pop()
                continue
            node = v.owner
            if node is None or v in self.bound:
                memo[v] = {}
                stack.pop()
                continue
            waiting = [u for u in node.inputs if self._through(u) and u not in memo]
            if waiting:
                stack.extend(waiting)
                continue
            found: dict[Variable, bool] = {}
            pointwise = kind_of(node) == "pointwise"
            for u in node.inputs:
                if u in self.bound or isinstance(u, Constant) or u.owner is None:
                    continue
                same = (
                    pointwise and not is_scalar(u) and u.type.broadcastable == v.type.broadcastable
                )
                if self._through(u):
                    for leaf, identity in memo[u].items():
                        found[leaf] = found.get(leaf, True) and identity and same
                else:
                    found[u] = found.get(u, True) and same
            memo[v] = found
            stack.pop()
        return memo[variable]

    def _through(self, variable: Variable) -> bool:
        return (
            variable not in self.bound
            and variable.owner is not None
            and is_inline(variable)
            and variable not in self.roots
        )

    def _recomputed(self, variable: Variable) -> bool:
        """Whether every nest that reads ``variable`` computes it: numbers stay in registers."""
        return not is_scalar(variable) and self._through(variable)

    def _schedule(self) -> None:
        self.__dict__.pop("_leaves", None)
        self.__dict__.pop("_costs", None)
        last_with_key: dict[Any, list[int]] = {}
        for node in self.nodes:
            kind = kind_of(node)
            if kind in INLINE:
                output = node.outputs[0]
                if output not in self.roots or is_scalar(output):
                    continue
                key = self.space(output)
                level = 0
                for leaf, identity in self._dependencies(output):
                    home = self.home.get(leaf)
                    if home is None:
                        continue
                    group = self.groups[home]
                    joined = identity and group.kind == "nest" and group.key == key
                    level = max(level, home if joined else home + 1)
                chosen = None
                for number in last_with_key.get(key, ()):
                    if number >= level:
                        chosen = number
                        break
                if chosen is None:
                    chosen = len(self.groups)
                    self.groups.append(Group("nest", key))
                    last_with_key.setdefault(key, []).append(chosen)
                self.groups[chosen].variables.append(output)
                self.home[output] = chosen
                if len(self.groups[chosen].variables) >= MOST_STORED:
                    last_with_key[key].remove(chosen)
            elif node in self.sharing:
                self._schedule_reduction(node, last_with_key)
            elif kind != "shape":
                number = len(self.groups)
                group = Group(kind, None)
                group.node = node
                group.variables = list(node.outputs)
                self.groups.append(group)
                for output in node.outputs:
                    self.home[output] = number
        for group in self.groups:
            if group.reductions:
                alone = len(group.reductions) == 1 and not group.variables
                group.kind = "reduction" if alone else "shared"
                group.node = group.reductions[0]

    def _schedule_reduction(self, node: Apply, last_with_key: dict[Any, list[int]]) -> None:
        """Put a reduction into the first nest of its operand's size that may compute it."""
        source = node.inputs[0]
        key = self.space(source)
        needs = self._dependencies(source) if self._through(source) else [(source, True)]
        level = 0
        for leaf, identity in needs:
            home = self.home.get(leaf)
            if home is not None:
                group = self.groups[home]
                joined = identity and group.kind == "nest" and group.key == key
                level = max(level, home if joined else home + 1)
        numbers = last_with_key.setdefault(key, [])
        for number in numbers:
            if number >= level and self.groups[number].takes(node):
                break
        else:
            number = len(self.groups)
            self.groups.append(Group("nest", key))
            numbers.append(number)
        self.groups[number].reductions.append(node)
        self.home[node.outputs[0]] = number

    def _dependencies(self, variable: Variable) -> Iterable[tuple[Variable, bool]]:
        yield from self.leaves(variable).items()
        for dim in self.shape(variable):
            if dim.owner is not None and dim not in self.bound:
                if self.stored(dim):
                    yield dim, False
                for leaf in self.leaves(dim):
                    yield leaf, False

    def _join(self, extra: dict[Variable, set[int]]) -> bool:
        """Let reductions join nests with which they share values; whether there are new ones.

        A value that has to be stored all the same is stored in a nest without reductions.
        """
        new: set[Apply] = set()
        for variable, numbers in extra.items():
            for number in numbers:
                group = self.groups[number]
                if group.kind == "shared":
                    # it has not helped
                    self.sharing -= set(group.reductions)
                node = group.node
                if node is None or (node, variable) in self._tried or not _may_share(node):
                    continue
                self._tried.add((node, variable))
                key = self.space(node.inputs[0])
                others = [self.groups[k] for k in numbers if k != number]
                if any(self._same_space(other, key) for other in others):
                    new.add(node)
        self.sharing |= new
        return bool(new)

    def _same_space(self, group: Group, key: Any) -> bool:
        """Whether a reduction of size ``key`` might share a nest with ``group``."""
        if group.kind in ("nest", "shared"):
            return bool(group.key == key)
        node = group.node
        return node is not None and _may_share(node) and bool(self.space(node.inputs[0]) == key)

    def _shared_by_groups(self) -> dict[Variable, set[int]]:
        """Expensive unstored values that more than one group computes, and these groups."""
        owners: dict[Variable, set[int]] = {}
        for number, group in enumerate(self.groups):
            stack: list[Variable] = []
            if group.kind in ("nest", "shared"):
                operands = [u for v in group.variables if v.owner for u in v.owner.inputs]
                operands += [node.inputs[0] for node in group.reductions]
            else:
                assert group.node is not None
                operands = group.node.inputs
            stack.extend(u for u in operands if self._recomputed(u))
            seen: set[Variable] = set()
            while stack:
                v = stack.pop()
                if v in seen:
                    continue
                seen.add(v)
                owners.setdefault(v, set()).add(number)
                assert v.owner is not None
                stack.extend(u for u in v.owner.inputs if self._recomputed(u))
        return {
            v: where for v, where in owners.items() if len(where) > 1 and self.cost(v) > EXPENSIVE
        }

    def _innermost(self, extra: dict[Variable, set[int]]) -> dict[Variable, set[int]]:
        """Those of ``extra`` that need none of the others, whose readers may then be cheap."""
        return {v: w for v, w in extra.items() if not any(u in extra for u in self._inner(v))}

    def _in_order(self, extra: dict[Variable, set[int]]) -> dict[Variable, set[int]]:
        """Those of ``extra`` that stay expensive when the ones before them are stored."""
        chosen: dict[Variable, set[int]] = {}
        before = set(self.roots)
        self.__dict__.pop("_costs", None)
        for node in self.nodes:
            for v in node.outputs:
                if v in extra and self.cost(v) > EXPENSIVE:
                    chosen[v] = extra[v]
                    self.roots.add(v)
                    self.__dict__["_costs"].pop(v, None)
        self.roots = before
        return chosen

    def _inner(self, variable: Variable) -> Iterable[Variable]:
        assert variable.owner is not None
        stack = [u for u in variable.owner.inputs if self._recomputed(u)]
        seen: set[Variable] = set()
        while stack:
            v = stack.pop()
            if v in seen:
                continue
            seen.add(v)
            yield v
            assert v.owner is not None
            stack.extend(u for u in v.owner.inputs if self._recomputed(u))
