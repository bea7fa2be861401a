"""Which forward values of a loop are kept for its gradient, and which are computed again.

A minimal cut of the body's graph: what the backward body needs must be separated from what is not
at hand by values that are kept; the capacity of a value is its bytes per step. Rows of sequences
and of traces, refs and what follows from them are at hand; products, draws, reductions and inner
loops are never computed again. Of cuts of equal weight the one nearest to what is needed is taken,
which leaves the least to compute again.

The idea of the cut is Enzyme's (Moses and Churavy, "Instead of rewriting foreign code for machine
learning", 2020) and of Volkov's remarks on rematerialization; the weights are our own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ltensor.ir import dtypes as dt
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.ir.types import TensorType
from ltensor.ops.opdef import is_pure
from ltensor.ops.shape_map import ShapeMap
from ltensor.ops.subtensor import Subtensor

if TYPE_CHECKING:
    from ltensor.ops.scan import Scan

#: taken for a size that is not known
USUAL_SIZE = 32
#: kinds of operations that are cheap to do again
CHEAP = ("pointwise", "indexed", "shape", "alias")
#: scalars (0-d) that take more operations than this are kept: a word of trace costs less
MOST_SCALAR_COST = 8
#: bodies with more values are cut greedily: the flow would take long
MOST_VALUES = 1500
#: capacity of what cannot be cut
ENDLESS = 1 << 50


def forward_values(
    op: Scan, outputs: Sequence[Variable]
) -> tuple[list[Variable], list[tuple[str | None, Any, Any]]]:
    """Which forward values a backward body with these ``outputs`` has to be given.

    Others are computed again from these and from what is at hand; the second result tells of them:
    name, operation, source.
    """
    free = set(op.inner_seqs()) | set(op.inner_refs()) | set(op.inner_rows())
    free |= set(op.inner_outs())
    for variables in op.inner_taps():
        free.update(variables)
    # what does not change from step to step is computed before the backward loop as well
    free |= invariants(op.body, op.inner_refs())
    inside = {v for node in op.body.nodes for v in node.outputs}
    inside |= set(op.inner_carries())
    # a value of which only sizes are read is not needed: sizes never depend on data here
    needed: list[Variable] = []
    seen: set[Variable] = set()
    stack = list(outputs)
    while stack:
        v = stack.pop()
        if v in seen or v in free or isinstance(v, Constant):
            continue
        seen.add(v)
        if v in inside:
            needed.append(v)
        elif v.owner is not None:
            stack.extend(v.owner.inputs)
    wanted = values_to_keep(op.body, free, needed, lambda value: _differs_in_size(op, value))
    stack, kept = needed, set(wanted)
    while stack:
        v = stack.pop()
        seen.add(v)
        if v not in kept and v not in free and v.owner is not None:
            stack.extend(v.owner.inputs)
    again = [
        (v.name, node.op, v.source or node.source)
        for node in op.body.nodes
        if getattr(node.op, "kind", "") == "pointwise" or node.op.regions
        for v in node.outputs
        if v in seen and v not in wanted
    ]
    return [v for v in wanted if isinstance(v.type, TensorType)], again


def _differs_in_size(op: Scan, value: Variable) -> bool:
    """Whether a forward value is computed again because its rows differ in size."""
    node = value.owner
    if node is None or not all(isinstance(v.type, TensorType) for v in node.inputs):
        return False
    return not op.sized_outside(value)


def values_to_keep(
    body: Function,
    free: set[Variable],
    needed: Sequence[Variable],
    banned: Callable[[Variable], bool],
) -> list[Variable]:
    """The forward values to keep, in the order of ``body``'s nodes.

    Parameters
    ----------
    body : Function
        The forward step.
    free : set of Variable
        Values that are at hand in the backward step.
    needed : sequence of Variable
        Forward values that the backward step reads.
    banned : callable
        Whether a value cannot be kept (its size differs from step to step).
    """
    cut = _Cut(body, free, banned)
    for v in needed:
        cut.need(v)
    return cut.kept()


def invariants(body: Function, refs: Sequence[Variable]) -> set[Variable]:
    """Values of the body that depend on refs and constants only, refs included."""
    found: set[Variable] = set(refs)
    for node in body.nodes:
        if (
            all(v in found or isinstance(v, Constant) for v in node.inputs)
            and getattr(node.op, "kind", "python") != "python"
            and all(isinstance(v.type, TensorType) for v in (*node.inputs, *node.outputs))
            and is_pure(node)
        ):
            found.update(node.outputs)
    return found


def is_cheap(node: Apply) -> bool:
    """Whether doing ``node`` again costs less than keeping its result."""
    if getattr(node.op, "kind", "python") not in CHEAP:
        return False
    output = node.outputs[0]
    is_scalar = isinstance(output.type, TensorType) and output.type.ndim == 0
    return not (is_scalar and getattr(node.op, "cost", 0) > MOST_SCALAR_COST)


class _Cut:
    """The flow network: every value is an edge from its first to its second vertex."""

    def __init__(
        self, body: Function, free: set[Variable], banned: Callable[[Variable], bool]
    ) -> None:
        self.free = free
        self.banned = banned
        self.shapes = ShapeMap.of(body)
        self.bounds = self._bounds(body)
        self.order = {v: k for k, v in enumerate(_values(body))}
        self.vertex: dict[Variable, int] = {}
        # adjacency: per vertex the numbers of its edges; edge k and k ^ 1 are a pair
        self.edges: list[list[int]] = [[], []]
        self.target: list[int] = []
        self.rest: list[int] = []
        #: values whose operands have been joined to them
        self._joined: set[Variable] = set()

    source, sink = 0, 1

    def need(self, variable: Variable) -> None:
        """The backward step reads ``variable``."""
        if variable in self.free or isinstance(variable, Constant):
            return
        self._enter(variable)
        self._edge(self.vertex[variable] + 1, self.sink, ENDLESS)

    def _enter(self, variable: Variable) -> None:
        """Vertices for ``variable`` and for what it is computed from."""
        stack = [variable]
        while stack:
            v = stack.pop()
            if v in self.vertex or v in self.free or isinstance(v, Constant):
                continue
            number = self.vertex[v] = len(self.edges)
            self.edges += [[], []]
            self._edge(number, number + 1, ENDLESS if self.banned(v) else self.size(v))
            node = v.owner
            if node is None or not (is_cheap(node) or self.banned(v)):
                self._edge(self.source, number, ENDLESS)
                continue
            for u in node.inputs:
                if u not in self.free and not isinstance(u, Constant):
                    stack.append(u)
        # edges from operands, once all have vertices
        for v in list(self.vertex):
            node = v.owner
            if v in self._joined or node is None or not (is_cheap(node) or self.banned(v)):
                continue
            self._joined.add(v)
            for u in node.inputs:
                if u in self.vertex:
                    self._edge(self.vertex[u] + 1, self.vertex[v], ENDLESS)

    def _edge(self, start: int, end: int, capacity: int) -> None:
        self.edges[start].append(len(self.target))
        self.target.append(end)
        self.rest.append(capacity)
        self.edges[end].append(len(self.target))
        self.target.append(start)
        self.rest.append(0)

    def size(self, variable: Variable) -> int:
        """Bytes per step of ``variable``, with a guess for sizes that are not known."""
        kind: Any = variable.type
        if not isinstance(kind, TensorType):
            return ENDLESS
        total = dt.item_size(kind.dtype)
        dims = self.shapes.shape(variable) or ()
        for k, known in enumerate(kind.shape):
            dim: Any = dims[k] if k < len(dims) else None
            if known is None and isinstance(dim, Constant):
                known = int(dim.data)
            total *= USUAL_SIZE + self.bounds.get(dim, 0) if known is None else known
        return max(total, 1)

    def _bounds(self, body: Function) -> dict[Variable, int]:
        """The largest constants by which dimensions are sliced: they are at least as large."""
        found: dict[Variable, int] = {}
        for node in body.nodes:
            if not isinstance(node.op, Subtensor):
                continue
            dims = self.shapes.shape(node.inputs[0]) or ()
            for dim, entry in zip(dims, node.op.pattern, strict=False):
                for bound in entry[:2] if isinstance(entry, tuple) else (entry,):
                    if isinstance(bound, int):
                        found[dim] = max(found.get(dim, 0), bound)
        return found

    # ------------------------------------------------------------- the flow

    def kept(self) -> list[Variable]:
        """The values on the minimal cut that is nearest to the sink."""
        if len(self.vertex) > MOST_VALUES:
            return self._greedy()
        while True:
            levels = self._levels()
            if levels[self.sink] < 0:
                break
            cursor = [0] * len(self.edges)
            while self._augment(levels, cursor):
                pass
        beyond = self._reaches_sink()
        found = [
            v for v, number in self.vertex.items() if number not in beyond and number + 1 in beyond
        ]
        return sorted(found, key=self._position)

    def _position(self, variable: Variable) -> int:
        return self.order.get(variable, -1)

    def _levels(self) -> list[int]:
        """Distances from the source along edges with room (Dinic's algorithm)."""
        levels = [-1] * len(self.edges)
        levels[self.source] = 0
        queue = deque([self.source])
        while queue:
            at = queue.popleft()
            for edge in self.edges[at]:
                end = self.target[edge]
                if self.rest[edge] > 0 and levels[end] < 0:
                    levels[end] = levels[at] + 1
                    queue.append(end)
        return levels

    def _augment(self, levels: list[int], cursor: list[int]) -> bool:
        """Push flow along one path; False if there is none."""
        path: list[int] = []
        at = self.source
        while at != self.sink:
            edges = self.edges[at]
            while cursor[at] < len(edges):
                edge = edges[cursor[at]]
                end = self.target[edge]
                if self.rest[edge] > 0 and levels[end] == levels[at] + 1:
                    break
                cursor[at] += 1
            else:
                if not path:
                    return False
                edge = path.pop()
                at = self.target[edge ^ 1]
                cursor[at] += 1
                continue
            path.append(edge)
            at = end
        amount = min(self.rest[edge] for edge in path)
        for edge in path:
            self.rest[edge] -= amount
            self.rest[edge ^ 1] += amount
        return True

    def _reaches_sink(self) -> set[int]:
        found = {self.sink}
        stack = [self.sink]
        while stack:
            at = stack.pop()
            for edge in self.edges[at]:
                start = self.target[edge]
                # the reverse of ``edge`` leads from ``start`` to here
                if start not in found and self.rest[edge ^ 1] > 0:
                    found.add(start)
                    stack.append(start)
        return found

    def _greedy(self) -> list[Variable]:
        """Without a flow: whatever is not cheap to compute from what is at hand."""
        found = []
        for v in self.vertex:
            node = v.owner
            if not self.banned(v) and (node is None or not is_cheap(node)):
                found.append(v)
        return sorted(found, key=self._position)


def _values(body: Function) -> Iterable[Variable]:
    yield from body.inputs
    for node in body.nodes:
        yield from node.outputs
