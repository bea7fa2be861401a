"""The pass ``scan_siblings``: loops with the same number of steps become one.

Two kinds of pairs are joined: loops of which neither depends on the other, and a loop with the one
whose results it walks through in order, row by row. The step of such a pair takes the row from a
register, and if nobody else reads them the rows are not kept at all.

It is done where it was measured to help, for steps of (time of the joined loop over that of both)

* scalars: a recurrence waits for the result of the step before, and two of them wait together.
  Two logistic maps 0.56, their gradients 0.55, one that feeds a sum 0.60, a tanh that feeds a
  tanh 0.48, and 0.84 to 0.95 if all rows are returned;
* elementwise operations on arrays of the same size, if the loops share a sequence or one feeds
  the other: the array is read once, or never stored. 0.65 and 0.83 for 100 rows of 100,000
  numbers, 0.99 and 0.63 for 1000 rows of 1000.

Steps with products or other loops inside stay apart. For layers of a recurrent net the first
product of the second layer is one for all steps only if the first layer has been through, and
each layer has the cache for its weights: the joined loop takes 0.93 (16 units), 1.24 (128) and
2.4 times (512) as long with one row, 1.00, 1.04 and 1.30 times with 32. Loops that end on a
condition stay apart as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.ir.types import TensorType
from ltensor.ir.walks import ancestors, substitute
from ltensor.ops.cast import cast
from ltensor.ops.scan import Scan
from ltensor.ops.shape import set_flags
from ltensor.ops.subtensor import Subtensor
from ltensor.passes.manager import register
from ltensor.passes.remarks import Slot, Who, remark
from ltensor.passes.scan_apart import state_masks
from ltensor.passes.sizes import Sizes

#: operations of a joined step, beyond which values no longer stay in registers
MOST_OPERATIONS = 64
#: flops of an operation that is computed ahead, in lanes
DEAR = 6
#: how many loops before it, of as many steps, a loop is compared with
NEAREST = 16
INLINE = ("pointwise", "indexed", "shape")


def scan_siblings(function: Function) -> Function:
    """Join loops with the same number of steps where that is worth it."""
    refused: set[Any] = set()
    kinds: dict[Any, str] = {}
    while True:
        loops = [node for node in function.nodes if isinstance(node.op, Scan)]
        if len(loops) < 2:
            return function
        pair = _Search(function, loops, refused, kinds).pair()
        if pair is None:
            return function
        outputs = substitute(function.outputs, pair.table())
        function = Function(function.inputs, outputs, function.name)


class _Pair:
    """Two loops to be joined, and the sequences of the second that are results of the first."""

    def __init__(self, function: Function, first: Apply, second: Apply) -> None:
        self.function = function
        self.first, self.second = first, second
        self.fed: dict[int, int] = {}

    def table(self) -> dict[Variable, Variable]:
        """New variables for the results of both loops."""
        a: Any = self.first.op
        b: Any = self.second.op
        body = b.body
        if set(body.inputs) & set(a.body.inputs):
            body, _ = body.clone()
            b = b.replace(body=body)
        n, *a_values = a.split(self.first.inputs)
        _, *b_values = b.split(self.second.inputs)
        args = [
            [a.inner_seqs(), b.inner_seqs()],
            [[v for taps in op.inner_taps() for v in taps] for op in (a, b)],
            [a.inner_carries(), b.inner_carries()],
            [a.inner_refs(), b.inner_refs()],
        ]
        rows: dict[Variable, Variable] = {}
        for number, position in self.fed.items():
            argument, value = args[0][1][number], a.body.outputs[position]
            rows[argument] = set_flags(value, argument.type.broadcastable)
        rest = [k for k in range(b.n_seqs) if k not in self.fed]
        args[0][1] = [args[0][1][k] for k in rest]
        b_values[0] = [b_values[0][k] for k in rest]
        results = substitute(body.outputs, rows)
        parts = [_parts(a, a.body.outputs), _parts(b, results)]
        keeps = [list(a.keep), list(b.keep)]
        for position in set(self.fed.values()):
            if position < a.n_taps and not self._read_elsewhere(position):
                keeps[0][position] = 1
                remark(
                    "scan_siblings",
                    self.first,
                    "keeps 1 of n rows of {}: only the joined step reads them",
                    Slot(self.first, position),
                )
        op = Scan(
            Function(
                [v for kind in args for side in kind for v in side],
                [v for kind in range(3) for side in parts for v in side[kind]],
                a.body.name,
            ),
            len(args[0][0]) + len(args[0][1]),
            (*a.lags, *b.lags),
            a.n_carries + b.n_carries,
            a.n_outs + b.n_outs,
            False,
            [
                *keeps[0][: a.n_taps],
                *keeps[1][: b.n_taps],
                *keeps[0][a.n_taps :],
                *keeps[1][b.n_taps :],
            ],
            a.truncate,
            a.name if a.name == b.name else f"{a.name}+{b.name}",
        )
        op.computed_again = (*a.computed_again, *b.computed_again)
        values = [v for x, y in zip(a_values, b_values, strict=True) for v in (*x, *y)]
        node = op.make_node(n, *values)
        node.source = self.first.source
        self._tell(node)
        results_of = _parts(op, node.outputs)
        table: dict[Variable, Variable] = {}
        for kind, new in enumerate(results_of):
            old = [
                v for side in (self.first, self.second) for v in _parts(side.op, side.outputs)[kind]
            ]
            for before, after in zip(old, new, strict=True):
                after.name = before.name
                table[before] = set_flags(after, before.type.broadcastable)
        return table

    def _read_elsewhere(self, position: int) -> bool:
        """Whether somebody but the fed sequences reads a result of the first loop."""
        stack = [self.first.outputs[position]]
        through = {_base(self.second.inputs[1 + k])[1] for k in self.fed}
        while stack:
            for reader, _ in self.function.clients.get(stack.pop(), ()):
                if reader is self.second:
                    continue
                if reader is None or reader not in through:
                    return True
                stack.append(reader.outputs[0])
        return False

    def _tell(self, node: Apply) -> None:
        if self.fed:
            text = "joins the loop {} that walks through its results"
        else:
            text = "joins the loop {}: it has the same number of steps, neither needs the other"
        remark("scan_siblings", node, text, Who(self.second))


def _parts(op: Any, results: Sequence[Variable]) -> list[list[Variable]]:
    """Results by kind: rows of taps, carries, outs."""
    a, b = op.n_taps, op.n_taps + op.n_carries
    return [list(results[:a]), list(results[a:b]), list(results[b : b + op.n_outs])]


def _base(seq: Variable) -> tuple[Variable, Apply | None]:
    """The array of which a sequence is the first rows, and the slice that says so."""
    owner = seq.owner
    if owner is not None and isinstance(owner.op, Subtensor) and len(owner.op.pattern) == 1:
        entry = owner.op.pattern[0]
        if isinstance(entry, tuple) and entry[0] in (None, 0) and entry[2] in (None, 1):
            return owner.inputs[0], owner
    return seq, None


class _Search:
    """Looks for a pair that may be joined."""

    def __init__(
        self, function: Function, loops: list[Apply], refused: set[Any], kinds: dict[Any, str]
    ) -> None:
        self.function = function
        self.loops = loops
        self.refused = refused
        self.sizes = Sizes()
        #: what the steps of loops compute with, by op
        self.kinds = kinds
        self._above: dict[Apply, set[Variable]] = {}

    def pair(self) -> _Pair | None:
        """A pair, the first loop of which stands before the second."""
        before: dict[Any, list[Apply]] = {}
        for second in self.loops:
            same = before.setdefault(self.sizes.key(cast(second.inputs[0], "int64")), [])
            for first in same[-NEAREST:]:
                found = _Pair(self.function, first, second)
                reason = self._against(found)
                if reason is None:
                    return found
                key = (first.source, second.source, reason)
                if reason and key not in self.refused:
                    self.refused.add(key)
                    text = f"stays apart from the loop {{}} with the same number of steps: {reason}"
                    remark("scan_siblings", first, text, Who(second))
            same.append(second)
        return None

    def _kind_of(self, node: Apply) -> str:
        found = self.kinds.get(node.op)
        if found is None:
            found = self.kinds[node.op] = _kind(node.op)
        return found

    def above(self, node: Apply) -> set[Variable]:
        """What a loop depends on."""
        found = self._above.get(node)
        if found is None:
            found = self._above[node] = set(ancestors(node.inputs))
        return found

    def _against(self, pair: _Pair) -> str | None:
        """Why a pair stays apart; nothing to be told of gradients and other dependent loops."""
        first, second = pair.first, pair.second
        a: Any = first.op
        b: Any = second.op
        results = set(first.outputs)
        depends = not results.isdisjoint(self.above(second))
        if depends:
            self._feed(pair)
            others = [v for k, v in enumerate(second.inputs[1:]) if k not in pair.fed]
            if not pair.fed or not results.isdisjoint(ancestors(others)):
                return ""
        if a.has_stop or b.has_stop:
            return "it ends when a condition holds"
        kinds = self._kind_of(first), self._kind_of(second)
        if "other" in kinds:
            return "a step has products or loops of its own, so that nothing is gained"
        if kinds[0] != kinds[1]:
            return "one computes with scalars, the other with arrays"
        if kinds[0] == "scalars" and self._costly_rows(pair):
            return "what it computes from the rows alone is computed for many steps at once"
        if len(a.body.nodes) + len(b.body.nodes) > MOST_OPERATIONS:
            return "the step would be too large for the registers"
        if kinds[0] == "arrays":
            if not self._same_rows(first, second):
                return "their arrays are not known to have the same size"
            shared = set(a.split(first.inputs)[1]) & set(b.split(second.inputs)[1])
            if not pair.fed and not any(v.type.ndim > 1 for v in shared):
                return "they share no sequence of arrays"
        return None

    def _feed(self, pair: _Pair) -> None:
        """Sequences of the second loop that are whole traces of the first."""
        op: Any = pair.first.op
        first_out = op.n_taps + op.n_carries
        steps = cast(pair.first.inputs[0], "int64")
        for number, seq in enumerate(pair.second.op.split(pair.second.inputs)[1]):
            base, cut = _base(seq)
            if base.owner is not pair.first:
                continue
            position = pair.first.outputs.index(base)
            if op.n_taps <= position < first_out:
                continue
            if op.keep[position if position < op.n_taps else position - op.n_carries] is not None:
                continue
            if cut is None or self.sizes.same(self.sizes.of(seq)[0], steps):
                pair.fed[number] = position

    def _costly_rows(self, pair: _Pair) -> bool:
        """Whether the second loop computes something dear of its fed rows without a state."""
        op: Any = pair.second.op
        masks = state_masks(op, [*op.inner_taps(), *([v] for v in op.inner_carries())])
        fed = {v for k, v in enumerate(op.inner_seqs()) if k in pair.fed}
        for node in op.body.nodes:
            output = node.outputs[0]
            if fed.isdisjoint(node.inputs) or masks.get(output, 0):
                continue
            fed.add(output)
            if getattr(node.op, "cost", 0) > DEAR:
                return True
        return False

    def _same_rows(self, first: Apply, second: Apply) -> bool:
        keys = set()
        for node in (first, second):
            op: Any = node.op
            _, _, inits, carries, _ = op.split(node.inputs)
            for init in inits:
                keys.add(tuple(map(self.sizes.key, self.sizes.of(init)[1:])))
            for carry in carries:
                keys.add(tuple(map(self.sizes.key, self.sizes.of(carry))))
        return len(keys) == 1


def _kind(op: Any) -> str:
    """What a step computes with: ``scalars``, ``arrays`` (elementwise) or ``other``."""
    scalars = True
    for node in op.body.nodes:
        if getattr(node.op, "kind", "python") not in INLINE:
            return "other"
        scalars = scalars and all(_rank(v) == 0 for v in node.outputs)
    for v in (*op.body.inputs[: op.first_ref], *op.body.outputs):
        if not isinstance(v.type, TensorType):
            return "other"
        scalars = scalars and (_rank(v) == 0 or isinstance(v, Constant))
    return "scalars" if scalars else "arrays"


def _rank(variable: Variable) -> int:
    kind: Any = variable.type
    return kind.ndim if isinstance(kind, TensorType) else -1


register(scan_siblings)
